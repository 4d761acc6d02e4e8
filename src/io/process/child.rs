//! A child process with its process group, from its start to its end.

use super::lines::{LastWords, LineCallback, ReadyLine};
use super::output::OutputReader;
use super::secret_file::SecretFile;
use crate::platform::{child::isolate, threads};
use mio::unix::pipe::Receiver as PipeReceiver;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// How long other processes of the group may take to end after the child has.
const GROUP_LIMIT: Duration = Duration::from_secs(1);

/// What runs when a child has ended, with its status and its last words.
pub type OnEnd = Box<dyn FnOnce(ExitStatus, &LastWords) + Send>;

/// What a child needs besides its command.
pub struct Plan {
    pub secret_file: Option<SecretFile>,
    pub on_line: Option<Arc<LineCallback>>,
    pub ready: Option<ReadyLine>,
    pub on_end: OnEnd,
}

/// A running child. Dropping it does not end it: see [`Child::end`].
pub struct Child {
    group: Pid,
    ended: Arc<Ended>,
    last_words: Arc<LastWords>,
    /// Waits for the child. It also has started it, because the system ends the child with the thread that did.
    thread: JoinHandle<()>,
    reader: ThreadId,
}

#[derive(Default)]
struct Ended {
    /// The child was reaped, so that its id may belong to another process.
    reaped: Mutex<bool>,
    changed: Condvar,
}

impl Child {
    /// Starts a child.
    pub fn start(mut command: Command, plan: Plan) -> io::Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        isolate(&mut command);
        let last_words = Arc::<LastWords>::default();
        let ended = Arc::<Ended>::default();
        let (report, started) = crossbeam_channel::bounded(1);
        let (words, end) = (Arc::clone(&last_words), Arc::clone(&ended));
        let thread = threads::spawn("wslink-child", move || run(command, plan, &words, &end, &report))?;
        match started.recv() {
            Ok(Ok((group, reader))) => Ok(Child { group, ended, last_words, thread, reader }),
            Ok(Err(e)) => {
                let _ = thread.join();
                Err(e)
            }
            Err(_) => Err(io::Error::other("the thread of the child has panicked")),
        }
    }

    /// The id of its process, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.group.as_raw_pid().cast_unsigned()
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        !*self.ended.reaped.lock()
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> &LastWords {
        &self.last_words
    }

    /// Ends the group: SIGTERM, and SIGKILL after `limit`. Waits until nothing is left of it, except on the thread that reads its
    /// output.
    pub fn end(self, limit: Duration) {
        if std::thread::current().id() == self.reader {
            self.signal(Signal::KILL);
            return;
        }
        self.signal(Signal::TERM);
        let at = Instant::now() + limit;
        let mut reaped = self.ended.reaped.lock();
        while !*reaped && !self.ended.changed.wait_until(&mut reaped, at).timed_out() {}
        drop(reaped);
        self.signal(Signal::KILL);
        let _ = self.thread.join();
    }

    fn signal(&self, signal: Signal) {
        let reaped = self.ended.reaped.lock();
        if !*reaped {
            let _ = kill_process_group(self.group, signal);
        }
    }
}

/// The life of a child, on its thread.
fn run(
    mut command: Command,
    plan: Plan,
    last_words: &Arc<LastWords>,
    ended: &Ended,
    report: &crossbeam_channel::Sender<io::Result<(Pid, ThreadId)>>,
) {
    let Plan { secret_file, on_line, ready, on_end } = plan;
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            drop(secret_file);
            let _ = report.send(Err(e));
            return;
        }
    };
    // The command has copies of the secret.
    drop(command);
    let group = Pid::from_child(&child);
    let reading = || {
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::Error::other("the child has no pipes"));
        };
        let pipes = [PipeReceiver::from(out), PipeReceiver::from(err)];
        let (reader, finish) = OutputReader::new(pipes, Arc::clone(last_words), on_line, ready)?;
        Ok((threads::spawn("wslink-output", move || reader.run())?, finish))
    };
    let (reader, finish) = match reading() {
        Ok(reading) => reading,
        Err(e) => {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
            drop(secret_file);
            let _ = report.send(Err(e));
            return;
        }
    };
    let _ = report.send(Ok((group, reader.thread().id())));
    // Wait without reaping, so that nobody signals another process with the same id.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(group), options).is_err_and(|e| e == rustix::io::Errno::INTR) {}
    let status = {
        let mut reaped = ended.reaped.lock();
        let status = child.wait();
        *reaped = true;
        status
    };
    end_group(group);
    ended.changed.notify_all();
    finish.finish();
    let _ = reader.join();
    drop(secret_file);
    on_end(status.unwrap_or_else(|_| ExitStatus::from_raw(-1)), last_words);
}

/// Ends what is left of the group of a child that was reaped. Its id belongs to nobody else while it has members.
fn end_group(group: Pid) {
    if kill_process_group(group, Signal::TERM).is_err() {
        return;
    }
    let limit = Instant::now() + GROUP_LIMIT;
    while test_kill_process_group(group).is_ok() {
        if Instant::now() >= limit {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
