//! The output of a child process: always read, so that the child never waits for its reader.

use super::lines::{LastWords, LineCallback, ReadyLine};
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
            registered.map(|()| Pipe { receiver, line: Vec::new() })
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
        let mut events = Events::with_capacity(4);
        while self.pipes.iter().any(Option::is_some) {
            let partial = self.ready.is_some() && self.pipes.iter().flatten().any(|pipe| !pipe.line.is_empty());
            let _ = self.poll.poll(&mut events, partial.then_some(LINE_PAUSE));
            if partial && events.is_empty() {
                self.look_at_partial_lines();
            }
            // Read after the flag: what was written before the end of the child is there.
            let finish = self.finish.load(Acquire);
            for number in 0..2 {
                self.read(number);
            }
            if finish {
                break;
            }
        }
        for number in 0..2 {
            self.end(number);
        }
    }

    fn read(&mut self, number: usize) {
        let mut bytes = [0; READ_SIZE];
        loop {
            let Some(pipe) = &mut self.pipes[number] else { return };
            match pipe.receiver.read(&mut bytes) {
                Ok(0) => return self.end(number),
                Ok(n) => self.take(number, &bytes[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(number),
            }
        }
    }

    fn take(&mut self, number: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Some(pipe) = &mut self.pipes[number] else { return };
            let room = &bytes[..bytes.len().min(MAX_LINE - pipe.line.len())];
            let end = room.iter().position(|b| *b == b'\n');
            pipe.line.extend_from_slice(&room[..end.unwrap_or(room.len())]);
            bytes = &bytes[end.map_or(room.len(), |end| end + 1)..];
            if end.is_some() || pipe.line.len() == MAX_LINE {
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
            crate::io::delivery::callback::guarded(|| on_line(&line, number == 1));
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
