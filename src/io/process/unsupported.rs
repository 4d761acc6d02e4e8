//! Where child processes are not supported yet: starting one fails.

use super::lines::{LastWords, LineCallback, ReadyLine};
use super::secret_file::SecretFile;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

/// What runs when a child has ended, with its status.
pub type OnEnd = Box<dyn FnOnce(ExitStatus) + Send>;

/// What a child needs besides its command.
#[allow(dead_code)] // Nothing is started.
pub struct Plan {
    pub secret_file: Option<SecretFile>,
    pub last_words: Arc<LastWords>,
    pub on_line: Option<Arc<LineCallback>>,
    pub ready: Option<ReadyLine>,
    pub on_end: OnEnd,
    pub end_timeout: Duration,
}

/// A child that cannot exist.
pub enum Child {}

impl Child {
    pub fn start(_: Command, _: Plan) -> io::Result<Child> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "child processes are not supported on this system yet"))
    }

    pub fn id(&self) -> u32 {
        match *self {}
    }

    pub fn is_running(&self) -> bool {
        match *self {}
    }

    pub fn end(self, _: Duration) {
        match self {}
    }
}
