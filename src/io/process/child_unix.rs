//! A child process with its process group on Unix, from its start to its end.

use super::output::OutputReader;
use super::plan::Plan;
use crate::platform::{child::isolate, threads};
use mio::unix::pipe::Receiver as PipeReceiver;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long to wait for processes to go after they are killed.
const KILLED_LIMIT: Duration = Duration::from_secs(1);

/// A running child. Dropping it kills its group; [`Child::end`] lets it end by itself.
pub struct Child {
    group: Pid,
    life: Arc<Life>,
    /// Waits for the child. It also has started it, because the system ends the child with the thread that did.
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Life {
    state: Mutex<LifeState>,
    changed: Condvar,
}

#[derive(Default)]
struct LifeState {
    /// The child is about to be reaped: its id may belong to another process.
    over: bool,
    /// It was told to end, and is killed at this time.
    kill_at: Option<Instant>,
}

impl Child {
    /// Starts a child.
    pub fn start(mut command: Command, plan: Plan) -> io::Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        isolate(&mut command);
        let life = Arc::<Life>::default();
        let (report, started) = crossbeam_channel::bounded(1);
        let same = Arc::clone(&life);
        let thread = threads::spawn("wslink-child", move || run(command, plan, &same, &report))?;
        match started.recv() {
            Ok(Ok(group)) => Ok(Child { group, life, thread: Some(thread) }),
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
        !self.life.state.lock().over
    }

    /// Ends the group: SIGTERM, and SIGKILL after `limit`. Waits until nothing is left of it and its output is read, so it must
    /// not be called on the thread that reads the output.
    pub fn end(mut self, limit: Duration) {
        let at = Instant::now() + limit;
        let mut state = self.life.state.lock();
        state.kill_at = Some(at);
        self.signal(&state, Signal::TERM);
        while !state.over && !self.life.changed.wait_until(&mut state, at).timed_out() {}
        self.signal(&state, Signal::KILL);
        drop(state);
        let _ = self.thread.take().map(JoinHandle::join);
    }

    fn signal(&self, state: &LifeState, signal: Signal) {
        if !state.over {
            let _ = kill_process_group(self.group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let state = self.life.state.lock();
        self.signal(&state, Signal::KILL);
    }
}

/// The life of a child, on its thread.
fn run(mut command: Command, plan: Plan, life: &Life, report: &crossbeam_channel::Sender<io::Result<Pid>>) {
    let Plan { secret_file, lines, on_end, end_timeout } = plan;
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
        let (reader, finish) = OutputReader::new(pipes, lines)?;
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
    let _ = report.send(Ok(group));
    // Wait without reaping: until then nobody else gets the id.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let waited = loop {
        match waitid(WaitId::Pid(group), options) {
            Err(rustix::io::Errno::INTR) => {}
            waited => break waited,
        }
    };
    let kill_at = {
        let mut state = life.state.lock();
        state.over = true;
        // If the application has reaped the child, the id may belong to somebody else.
        if waited.is_ok() && state.kill_at.is_none() {
            let _ = kill_process_group(group, Signal::TERM);
        }
        state.kill_at.unwrap_or_else(|| Instant::now() + end_timeout)
    };
    life.changed.notify_all();
    let status = child.wait();
    if waited.is_ok() {
        end_group(group, kill_at);
    }
    finish.finish();
    let _ = reader.join();
    drop(secret_file);
    on_end(status.unwrap_or_else(|_| ExitStatus::from_raw(0)));
}

/// Waits for what is left of a group that was told to end, and kills it at this time. The id of the group belongs to nobody
/// else while it has members.
fn end_group(group: Pid, kill_at: Instant) {
    let mut killed = false;
    while test_kill_process_group(group).is_ok() {
        if Instant::now() >= kill_at && !killed {
            let _ = kill_process_group(group, Signal::KILL);
            killed = true;
        }
        // A killed process may stay: as long as the system waits for a device, or if nobody reaps it.
        if Instant::now() >= kill_at + KILLED_LIMIT {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
