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

    /// How long a read waits at most; the system rounds it up, to 4 or 10 ms in most cases.
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
