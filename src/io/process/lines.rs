//! The lines that a child process prints: who gets them, and the last ones for errors.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// How many lines are kept for errors, and at most how many bytes of them.
const MAX_KEPT_LINES: usize = 5;
const MAX_KEPT_BYTES: usize = 500;

/// Receives each line, without its end. The second argument: the line is on standard error.
pub type LineCallback = dyn Fn(&str, bool) + Send + Sync;

/// Looks at each line for the sign that the server is ready, until it returns true.
pub type ReadyLine = Box<dyn FnMut(&str) -> bool + Send>;

/// The last lines of the output.
#[derive(Default)]
pub struct LastWords(Mutex<VecDeque<String>>);

impl LastWords {
    /// Adds a line.
    pub fn add(&self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let end = (0..=MAX_KEPT_BYTES.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        let mut lines = self.0.lock();
        lines.push_back(line[..end].to_owned());
        if lines.len() > MAX_KEPT_LINES {
            lines.pop_front();
        }
    }

    /// The end of a sentence that shows them.
    pub fn shown(&self) -> String {
        let lines = self.0.lock();
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
