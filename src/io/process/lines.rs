//! The lines that a child process prints: who gets them, and the last ones for errors.

use crate::wire::secret::Secret;
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::VecDeque;

/// How many lines are kept for errors, and at most how many bytes of them.
const MAX_KEPT_LINES: usize = 5;
const MAX_KEPT_BYTES: usize = 500;

/// Receives each line, without its end. The second argument: the line is on standard error.
pub type LineCallback = dyn Fn(&str, bool) + Send + Sync;

/// Looks at each line for the sign that the server is ready, until it returns true.
pub type ReadyLine = Box<dyn FnMut(&str) -> bool + Send>;

thread_local!(static ON_READER_THREAD: Cell<bool> = const { Cell::new(false) });

/// Whether this thread reads the output of a child. It must not wait for the end of a child.
pub fn on_reader_thread() -> bool {
    ON_READER_THREAD.get()
}

/// This thread reads the output of a child.
#[cfg_attr(not(unix), allow(dead_code))]
pub fn enter_reader_thread() {
    ON_READER_THREAD.set(true);
}

/// The last lines of the output, without the secrets in them.
pub struct LastWords {
    lines: Mutex<VecDeque<String>>,
    /// What is not shown.
    secrets: Vec<Secret>,
}

impl LastWords {
    /// No lines yet.
    pub fn new(secrets: Vec<Secret>) -> LastWords {
        LastWords { lines: Mutex::default(), secrets }
    }

    /// Adds a line.
    pub fn add(&self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let shown = self.secrets.iter().fold(line.to_owned(), |line, secret| line.replace(&**secret, "..."));
        let end = (0..=MAX_KEPT_BYTES.min(shown.len())).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        let mut lines = self.lines.lock();
        lines.push_back(shown[..end].to_owned());
        if lines.len() > MAX_KEPT_LINES {
            lines.pop_front();
        }
    }

    /// The end of a sentence that shows them.
    pub fn shown(&self) -> String {
        let lines = self.lines.lock();
        let mut bytes = 0;
        let last = lines.iter().rev().take_while(|line| {
            bytes += line.len();
            bytes <= MAX_KEPT_BYTES || bytes == line.len()
        });
        let mut last: Vec<&str> = last.map(String::as_str).collect();
        last.reverse();
        match last[..] {
            [] => "; it has printed nothing".into(),
            _ => format!("; its last words: {}", last.join(" / ")),
        }
    }
}
