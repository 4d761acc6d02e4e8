//! Reads the output of a child process on Windows, always, so that the child never waits for its reader.

use super::lines::{LINE_PAUSE, Lines, STREAMS, enter_reader_thread};
use crate::platform::threads;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io::{self, ErrorKind, Read};
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

/// How much is read at a time.
const READ_SIZE: usize = 16 << 10;

/// How long to wait for output if no line has begun.
const LONG: Duration = Duration::from_secs(86_400);

/// Bytes of a stream; none: it has ended.
type Bytes = (usize, Vec<u8>);

/// Reads both pipes. Pipes of Windows cannot be waited for together, so each has a thread. They end when all processes of the
/// child's job have ended.
pub struct OutputReader {
    bytes: Receiver<Bytes>,
    lines: Lines,
}

impl OutputReader {
    /// Starts to read these pipes.
    pub fn new(out: ChildStdout, err: ChildStderr, lines: Lines) -> io::Result<OutputReader> {
        let (sender, bytes) = bounded(4);
        let both = sender.clone();
        threads::spawn("wslink-stdout", move || read(0, out, &both))?;
        threads::spawn("wslink-stderr", move || read(1, err, &sender))?;
        Ok(OutputReader { bytes, lines })
    }

    /// Passes lines on until both pipes have ended.
    pub fn run(mut self) {
        enter_reader_thread();
        let mut open = STREAMS;
        while open > 0 {
            let pause = if self.lines.may_be_ready() { LINE_PAUSE } else { LONG };
            match self.bytes.recv_timeout(pause) {
                Ok((number, bytes)) if bytes.is_empty() => {
                    self.lines.end(number);
                    open -= 1;
                }
                Ok((number, bytes)) => self.lines.take(number, &bytes),
                Err(RecvTimeoutError::Timeout) => self.lines.look_at_partial_lines(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

fn read(number: usize, mut pipe: impl Read, to: &Sender<Bytes>) {
    loop {
        let mut bytes = vec![0; READ_SIZE];
        let n = match pipe.read(&mut bytes) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        bytes.truncate(n);
        if to.send((number, bytes)).is_err() || n == 0 {
            return;
        }
    }
}
