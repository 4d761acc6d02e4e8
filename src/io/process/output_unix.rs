//! Reads the output of a child process on Unix, always, so that the child never waits for its reader.

use super::lines::{LINE_PAUSE, Lines, STREAMS, enter_reader_thread};
use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

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
    pipes: [Option<Receiver>; STREAMS],
    finish: Arc<AtomicBool>,
    lines: Lines,
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
    pub fn new(pipes: [Receiver; STREAMS], lines: Lines) -> io::Result<(OutputReader, Finish)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut number = 0;
        let pipes = pipes.map(|mut receiver| {
            let registered = receiver
                .set_nonblocking(true)
                .and_then(|()| poll.registry().register(&mut receiver, Token(number), Interest::READABLE));
            number += 1;
            registered.map(|()| receiver)
        });
        let [out, err] = pipes;
        let finish = Arc::new(AtomicBool::new(false));
        let reader = OutputReader { poll, pipes: [Some(out?), Some(err?)], finish: Arc::clone(&finish), lines };
        Ok((reader, Finish { flag: finish, waker }))
    }

    /// Reads until both pipes end, or until [`Finish::finish`].
    pub fn run(mut self) {
        enter_reader_thread();
        let mut events = Events::with_capacity(4);
        let (mut more, mut last_turns) = (false, 0);
        while self.pipes.iter().any(Option::is_some) {
            let partial = self.lines.may_be_ready();
            let timeout = if more { Some(Duration::ZERO) } else { partial.then_some(LINE_PAUSE) };
            let _ = self.poll.poll(&mut events, timeout);
            if partial && !more && events.is_empty() {
                self.lines.look_at_partial_lines();
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
        for number in 0..STREAMS {
            self.end(number);
        }
    }

    /// Reads a pipe. `true`: there may be more.
    fn read(&mut self, number: usize) -> bool {
        let mut bytes = [0; READ_SIZE];
        for _ in 0..MAX_READS_IN_A_ROW {
            let Some(pipe) = &mut self.pipes[number] else { return false };
            match pipe.read(&mut bytes) {
                Ok(n) if n > 0 => self.lines.take(number, &bytes[..n]),
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

    fn end(&mut self, number: usize) {
        self.pipes[number] = None;
        self.lines.end(number);
    }
}
