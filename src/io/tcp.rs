//! A TCP connection that does not block, but for reads that are told to wait a moment.

use mio::net::TcpStream;
use std::io;

/// A connected socket. One thread at a time reads, one writes.
///
/// A read that may wait and finds nothing sleeps until something comes, for some milliseconds at most. Where more is on its
/// way, that is one system call less than to wait for the socket and to read it then; but nothing else ends that sleep.
pub struct Tcp {
    stream: TcpStream,
    #[cfg(target_os = "linux")]
    waits: std::sync::OnceLock<bool>,
}

impl Tcp {
    /// Takes a socket that is connected and does not block.
    pub fn new(stream: TcpStream) -> Tcp {
        Tcp {
            stream,
            #[cfg(target_os = "linux")]
            waits: std::sync::OnceLock::new(),
        }
    }

    /// What it is made of. To be read and written here alone.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// Once a read may wait, the socket blocks, and every call that must not says so.
#[cfg(target_os = "linux")]
mod system {
    use super::*;
    use rustix::net::{RecvFlags, SendFlags, recv, send};
    use socket2::SockRef;
    use std::time::Duration;

    /// How long a read waits at most. The system makes two of its ticks of it: 8 ms where it has 250 in a second, 20 ms where
    /// it has 100.
    const MOMENT: Duration = Duration::from_millis(1);

    impl Tcp {
        /// Reads what has come.
        pub fn read(&self, into: &mut [u8], wait: bool) -> io::Result<usize> {
            let flags = if wait && self.can_wait() { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
            Ok(recv(&self.stream, into, flags)?.1)
        }

        /// Writes as much as there is room for.
        pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            Ok(send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
        }

        /// Whether reads can wait.
        pub fn can_wait(&self) -> bool {
            *self.waits.get_or_init(|| {
                let socket = SockRef::from(&self.stream);
                // First the limit: without it, nothing may block.
                socket.set_read_timeout(Some(MOMENT)).and_then(|()| socket.set_nonblocking(false)).is_ok()
            })
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::*;
    use std::io::{Read, Write};

    impl Tcp {
        /// Reads what has come.
        pub fn read(&self, into: &mut [u8], _: bool) -> io::Result<usize> {
            (&self.stream).read(into)
        }

        /// Writes as much as there is room for.
        pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            (&self.stream).write(bytes)
        }

        /// Whether reads can wait.
        pub fn can_wait(&self) -> bool {
            false
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Write};
    use std::net::TcpListener;

    fn pair() -> (Tcp, std::net::TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        own.set_nonblocking(true).unwrap();
        (Tcp::new(TcpStream::from_std(own)), listener.accept().unwrap().0)
    }

    /// How often this thread has slept.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_read_sleeps_only_if_it_may_and_a_write_never_does() {
        let (tcp, mut peer) = pair();
        let mut into = [0; 100];
        let mut read = |wait| {
            let before = sleeps();
            let done = tcp.read(&mut into, wait).map_err(|e| e.kind());
            (done, sleeps() - before)
        };
        assert_eq!(read(false), (Err(ErrorKind::WouldBlock), 0));
        let (done, slept) = read(true);
        assert_eq!(done, Err(ErrorKind::WouldBlock));
        assert!(slept > 0);
        // From now on the socket blocks.
        assert_eq!(read(false), (Err(ErrorKind::WouldBlock), 0));
        peer.write_all(b"here").unwrap();
        assert_eq!(read(true).0, Ok(4));
        let before = sleeps();
        let full = (0..1000).find_map(|_| tcp.write(&[7; 1 << 20]).err()).expect("a socket that nobody reads is full");
        assert_eq!((full.kind(), sleeps() - before), (ErrorKind::WouldBlock, 0));
        drop(peer);
        assert!(matches!(read(true).0, Ok(0) | Err(ErrorKind::ConnectionReset)));
    }
}
