//! What the server needs of a connection besides reading and writing, and the content of blobs.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use native_tls::TlsStream;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use wslink_bench::{PERIOD, pattern};

/// How long the server polls for the next piece of an upload before it sleeps.
const AWAKE: Duration = Duration::from_millis(5);

pub trait Socket: Read + Write {
    /// Reads and discards `count` bytes that are in flight.
    fn discard(&mut self, count: usize) -> io::Result<()>;
    /// Waits for the next piece of an upload that is in flight.
    fn read_more(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.read(to)
    }
}

/// Calls `read` until it has returned `count` bytes.
fn all(mut count: usize, mut read: impl FnMut(usize) -> io::Result<usize>) -> io::Result<()> {
    while count > 0 {
        match read(count)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            taken => count -= taken,
        }
    }
    Ok(())
}

/// Polls for bytes for a short time. This server is faster than an uploading client. If it slept between the pieces, the client
/// would pay for waking it, by an amount that depends on the machine. Real servers are slower.
fn awake(mut receive: impl FnMut(MsgFlags) -> nix::Result<usize>) -> io::Result<usize> {
    let begun = Instant::now();
    while begun.elapsed() < AWAKE {
        match receive(MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => std::hint::spin_loop(),
            done => return Ok(done?),
        }
    }
    Ok(receive(MsgFlags::empty())?)
}

impl Socket for TcpStream {
    /// The bytes stay in the kernel, because the benchmark measures clients.
    fn discard(&mut self, count: usize) -> io::Result<()> {
        thread_local!(static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 1 << 20]));
        SCRATCH.with_borrow_mut(|scratch| {
            all(count, |left| {
                let most = left.min(scratch.len());
                awake(|flags| recv(self.as_raw_fd(), &mut scratch[..most], flags | MsgFlags::MSG_TRUNC))
            })
        })
    }
    fn read_more(&mut self, to: &mut [u8]) -> io::Result<usize> {
        awake(|flags| recv(self.as_raw_fd(), to, flags))
    }
}

impl Socket for TlsStream<TcpStream> {
    fn discard(&mut self, count: usize) -> io::Result<()> {
        let mut scratch = [0; 16 << 10];
        all(count, |left| self.read(&mut scratch[..left.min(16 << 10)]))
    }
}

/// Reads a little, and then sleeps: the sender gets rid of a few bytes at a time.
pub struct Slow(pub TcpStream);

impl Read for Slow {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}
impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
impl Socket for Slow {
    fn discard(&mut self, count: usize) -> io::Result<()> {
        let mut scratch = [0; 32 << 10];
        all(count, |left| {
            thread::sleep(Duration::from_micros(50));
            self.0.read(&mut scratch[..left.min(32 << 10)])
        })
    }
}

/// The bytes of a blob from `place` on, at most `most` of them.
pub fn blob(place: usize, most: usize) -> &'static [u8] {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| (0..5 * PERIOD).map(pattern).collect());
    let begin = place % PERIOD;
    &BYTES[begin..begin + most.min(4 * PERIOD)]
}
