//! The lines that a child process prints: put together of what arrives, who gets them, and the last ones for errors.

use crate::io::delivery::callback::guarded;
use crate::wire::secret::Secret;
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A line that is longer is passed on in parts of this many bytes.
const MAX_LINE: usize = 8 << 10;

/// After this time without output, a line without its end is taken for complete where a ready line is searched.
pub const LINE_PAUSE: Duration = Duration::from_millis(200);

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

/// The number of standard output, and of standard error.
pub const STREAMS: usize = 2;

/// Puts lines together of the output of a child, and passes them on.
pub struct Lines {
    streams: [Stream; STREAMS],
    last_words: Arc<LastWords>,
    on_line: Option<Arc<LineCallback>>,
    /// Looks for the ready line, until it returns true.
    ready: Option<ReadyLine>,
}

#[derive(Default)]
struct Stream {
    /// The line that is arriving.
    line: Vec<u8>,
    /// Parts of this line were passed on already.
    has_begun: bool,
}

impl Lines {
    /// No output yet.
    pub fn new(last_words: Arc<LastWords>, on_line: Option<Arc<LineCallback>>, ready: Option<ReadyLine>) -> Lines {
        Lines { streams: Default::default(), last_words, on_line, ready }
    }

    /// Whether a line without its end may be the ready line, see [`LINE_PAUSE`].
    pub fn may_be_ready(&self) -> bool {
        self.ready.is_some() && self.streams.iter().any(|stream| !stream.line.is_empty())
    }

    /// Takes bytes of a stream.
    pub fn take(&mut self, number: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let stream = &mut self.streams[number];
            let room = &bytes[..bytes.len().min(MAX_LINE - stream.line.len())];
            let end = room.iter().position(|b| *b == b'\n');
            stream.line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
            bytes = &bytes[end.map_or(room.len(), |end| end + 1)..];
            let is_complete = end.is_some();
            // After parts of a line, its end alone is no further part.
            let is_new = !stream.has_begun || !stream.line.is_empty();
            let pass_on = is_complete && is_new || stream.line.len() == MAX_LINE;
            stream.has_begun = !is_complete && (stream.has_begun || pass_on);
            if pass_on {
                let line = std::mem::take(&mut stream.line);
                self.pass_on(number, &line);
            }
        }
    }

    /// There was no output for [`LINE_PAUSE`]: looks for the ready line in lines without their end.
    pub fn look_at_partial_lines(&mut self) {
        for stream in &self.streams {
            let line = String::from_utf8_lossy(&stream.line);
            if self.ready.as_mut().is_some_and(|ready| ready(&line)) {
                self.ready = None;
            }
        }
    }

    /// A stream has ended, perhaps in the middle of a line.
    pub fn end(&mut self, number: usize) {
        let line = std::mem::take(&mut self.streams[number].line);
        if !line.is_empty() {
            self.pass_on(number, &line);
        }
    }

    fn pass_on(&mut self, number: usize, line: &[u8]) {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        self.last_words.add(&line);
        if self.ready.as_mut().is_some_and(|ready| ready(&line)) {
            self.ready = None;
        }
        if let Some(on_line) = &self.on_line {
            guarded(|| on_line(&line, number == 1));
        }
    }
}
