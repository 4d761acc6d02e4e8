//! The output of a child process: always read, so that the child never waits for its reader.

use super::lines::{LastWords, LineCallback, ReadyLine, enter_reader_thread};
use crate::io::delivery::callback::guarded;
use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

/// A line that is longer is passed on in parts of this many bytes.
const MAX_LINE: usize = 8 << 10;

/// After this time without output, a line without its end is taken for complete where a ready line is searched.
const LINE_PAUSE: Duration = Duration::from_millis(200);

/// How much is read at a time.
const READ_SIZE: usize = 16 << 10;

/// How many reads of one pipe follow each other, so that both pipes get their turn.
const MAX_READS_IN_A_ROW: usize = 16;

/// How many such turns there are after the end of the child. A process that has left its group may write for ever.
const MAX_LAST_TURNS: usize = 64;

const WAKER: Token = Token(2);

/// Reads both pipes.
pub struct OutputReader {
    poll: Poll,
    pipes: [Option<Pipe>; 2],
    finish: Arc<AtomicBool>,
    last_words: Arc<LastWords>,
    on_line: Option<Arc<LineCallback>>,
    /// Looks for the ready line, until it returns true.
    ready: Option<ReadyLine>,
}

struct Pipe {
    receiver: Receiver,
    /// The line that is arriving.
    line: Vec<u8>,
    /// Parts of this line were passed on already.
    has_begun: bool,
}

/// Ends the reading, when the child has ended.
pub struct Finish {
    flag: Arc<AtomicBool>,
    waker: Waker,
}

impl Finish {
    /// The reader returns when it has read what is there. A process that has left the group of the child may keep the pipes open
    /// for ever.
    pub fn finish(&self) {
        self.flag.store(true, Release);
        let _ = self.waker.wake();
    }
}

impl OutputReader {
    /// For these pipes.
    pub fn new(
        pipes: [Receiver; 2],
        last_words: Arc<LastWords>,
        on_line: Option<Arc<LineCallback>>,
        ready: Option<ReadyLine>,
    ) -> io::Result<(OutputReader, Finish)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut number = 0;
        let pipes = pipes.map(|mut receiver| {
            let registered = receiver
                .set_nonblocking(true)
                .and_then(|()| poll.registry().register(&mut receiver, Token(number), Interest::READABLE));
            number += 1;
            registered.map(|()| Pipe { receiver, line: Vec::new(), has_begun: false })
        });
        let [out, err] = pipes;
        let finish = Arc::new(AtomicBool::new(false));
        let reader = OutputReader {
            poll,
            pipes: [Some(out?), Some(err?)],
            finish: Arc::clone(&finish),
            last_words,
            on_line,
            ready,
        };
        Ok((reader, Finish { flag: finish, waker }))
    }

    /// Reads until both pipes end, or until [`Finish::finish`].
    pub fn run(mut self) {
        enter_reader_thread();
        let mut events = Events::with_capacity(4);
        let (mut more, mut last_turns) = (false, 0);
        while self.pipes.iter().any(Option::is_some) {
            let partial = self.ready.is_some() && self.pipes.iter().flatten().any(|pipe| !pipe.line.is_empty());
            let timeout = if more { Some(Duration::ZERO) } else { partial.then_some(LINE_PAUSE) };
            let _ = self.poll.poll(&mut events, timeout);
            if partial && !more && events.is_empty() {
                self.look_at_partial_lines();
            }
            // Read after the flag: what was written before the end of the child is there.
            let finish = self.finish.load(Acquire);
            more = [self.read(0), self.read(1)].contains(&true);
            if finish {
                last_turns += 1;
                if !more || last_turns >= MAX_LAST_TURNS {
                    break;
                }
            }
        }
        for number in 0..2 {
            self.end(number);
        }
    }

    /// Reads a pipe. `true`: there may be more.
    fn read(&mut self, number: usize) -> bool {
        let mut bytes = [0; READ_SIZE];
        for _ in 0..MAX_READS_IN_A_ROW {
            let Some(pipe) = &mut self.pipes[number] else { return false };
            match pipe.receiver.read(&mut bytes) {
                Ok(n) if n > 0 => self.take(number, &bytes[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Ok(_) | Err(_) => {
                    self.end(number);
                    return false;
                }
            }
        }
        true
    }

    fn take(&mut self, number: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(pipe) = &mut self.pipes[number] else { return };
            let room = &bytes[..bytes.len().min(MAX_LINE - pipe.line.len())];
            let end = room.iter().position(|b| *b == b'\n');
            pipe.line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
            bytes = &bytes[end.map_or(room.len(), |end| end + 1)..];
            let is_complete = end.is_some();
            // After parts of a line, its end alone is no further part.
            let is_new = !pipe.has_begun || !pipe.line.is_empty();
            let pass_on = is_complete && is_new || pipe.line.len() == MAX_LINE;
            pipe.has_begun = !is_complete && (pipe.has_begun || pass_on);
            if pass_on {
                let line = std::mem::take(&mut pipe.line);
                self.line(number, &line);
            }
        }
    }

    fn line(&mut self, number: usize, line: &[u8]) {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        self.last_words.add(&line);
        if self.ready.as_mut().is_some_and(|ready| ready(&line)) {
            self.ready = None;
        }
        if let Some(on_line) = &self.on_line {
            guarded(|| on_line(&line, number == 1));
        }
    }

    fn look_at_partial_lines(&mut self) {
        for number in 0..2 {
            let Some(pipe) = &self.pipes[number] else { continue };
            let line = String::from_utf8_lossy(&pipe.line);
            if self.ready.as_mut().is_some_and(|ready| ready(&line)) {
                self.ready = None;
            }
        }
    }

    fn end(&mut self, number: usize) {
        let Some(pipe) = &mut self.pipes[number] else { return };
        let line = std::mem::take(&mut pipe.line);
        if !line.is_empty() {
            self.line(number, &line);
        }
        self.pipes[number] = None;
    }
}
