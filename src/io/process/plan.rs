//! What a child process needs besides its command.

use super::lines::Lines;
use super::secret_file::SecretFile;
use std::process::ExitStatus;
use std::time::Duration;

/// What runs when a child has ended, with its status.
pub type OnEnd = Box<dyn FnOnce(ExitStatus) + Send>;

/// What a child needs besides its command.
pub struct Plan {
    pub secret_file: Option<SecretFile>,
    pub lines: Lines,
    pub on_end: OnEnd,
    /// How long the other processes of its group may take to end after it has ended by itself.
    #[cfg_attr(windows, expect(dead_code, reason = "they are ended at once"))]
    pub end_timeout: Duration,
}
