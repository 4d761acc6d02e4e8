//! The log of a session.

use super::delivery::callback::Slot;
use std::sync::Arc;

/// The severity of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed.
    Error = 1,
    /// Something is unusual.
    Warning = 2,
    /// A connection began or ended.
    Info = 3,
    /// Every step of connecting.
    Debug = 4,
}

/// Receives the log.
pub type LogCallback = dyn Fn(LogLevel, &str) + Send + Sync;

/// The log of one session. Clones share its callback.
#[derive(Clone)]
pub struct Log {
    level: LogLevel,
    callback: Option<Arc<LogCallback>>,
    sink: Arc<Slot<LogCallback>>,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: LogLevel::Warning, callback: None, sink: Arc::default() }
    }
}

impl Log {
    /// A log for lines of this severity and above.
    pub(crate) fn new(level: LogLevel, callback: Arc<LogCallback>) -> Log {
        Log { level, callback: Some(callback), sink: Arc::default() }
    }

    /// Writes a line. `line` is called only if the line is wanted.
    pub fn write(&self, level: LogLevel, line: impl FnOnce() -> String) {
        if level <= self.level && self.sink.is_set() {
            let line = line();
            self.sink.run(|log| log(level, &line));
        }
    }

    /// A log for one session. Clearing it does not affect other sessions with the same options.
    pub(crate) fn for_session(&self) -> Log {
        let sink = Arc::<Slot<LogCallback>>::default();
        sink.set(self.callback.clone());
        Log { level: self.level, callback: None, sink }
    }

    pub(crate) fn clear(&self) {
        self.sink.clear();
    }
}
