//! A child process with its job object on Windows, from its start to its end. All processes of the job end with it.

use super::output::OutputReader;
use super::plan::Plan;
use crate::platform::threads;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::os::windows::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use win32job::{ExtendedLimitInfo, Job};

/// A program for the console opens no window: `CREATE_NO_WINDOW` of the Windows API.
const NO_WINDOW: u32 = 0x0800_0000;

/// A running child. Dropping it ends all processes of its job.
pub struct Child {
    id: u32,
    job: Arc<Mutex<Option<Job>>>,
    /// Waits for the child.
    thread: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts a child.
    pub fn start(mut command: Command, plan: Plan) -> io::Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).creation_flags(NO_WINDOW);
        // The system closes the handle when this process ends, which ends the processes of the job.
        let mut limits = ExtendedLimitInfo::new();
        let job = Job::create_with_limit_info(limits.limit_kill_on_job_close())?;
        let job = Arc::new(Mutex::new(Some(job)));
        let same = Arc::clone(&job);
        let (report, started) = crossbeam_channel::bounded(1);
        let thread = threads::spawn("wslink-child", move || run(command, plan, &same, &report))?;
        match started.recv() {
            Ok(Ok(id)) => Ok(Child { id, job, thread: Some(thread) }),
            Ok(Err(e)) => {
                let _ = thread.join();
                Err(e)
            }
            Err(_) => Err(io::Error::other("the thread of the child has panicked")),
        }
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.job.lock().is_some()
    }

    /// Ends the processes of the job at once, because Windows has no signal that asks them to. Waits until its output is read,
    /// so it must not be called on the thread that reads the output.
    pub fn end(mut self, _: Duration) {
        drop(self.job.lock().take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.job.lock().take());
    }
}

/// The life of a child, on its thread.
fn run(mut command: Command, plan: Plan, job: &Mutex<Option<Job>>, report: &Sender<io::Result<u32>>) {
    let Plan { secret_file, lines, on_end, .. } = plan;
    let started = command.spawn().and_then(|mut child| {
        let reading = || {
            // Processes that it has started before this are not in the job; Python takes longer to start one.
            if let Some(job) = &*job.lock() {
                job.assign_process(child.as_raw_handle() as isize)?;
            }
            let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
                return Err(io::Error::other("the child has no pipes"));
            };
            let reader = OutputReader::new(out, err, lines)?;
            threads::spawn("wslink-output", move || reader.run())
        };
        match reading() {
            Ok(reader) => Ok((child, reader)),
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(e)
            }
        }
    });
    // The command has copies of the secret.
    drop(command);
    let (mut child, reader) = match started {
        Ok(started) => started,
        Err(e) => {
            drop(secret_file);
            let _ = report.send(Err(e));
            return;
        }
    };
    let _ = report.send(Ok(child.id()));
    let status = child.wait();
    // Ends what it has left behind.
    drop(job.lock().take());
    let _ = reader.join();
    drop(secret_file);
    on_end(status.unwrap_or_else(|_| ExitStatus::from_raw(0)));
}
