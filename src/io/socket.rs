//! Bytes in and out of a connection, with or without TLS. Does not block, but for reads that may wait a moment.

use super::tcp::Tcp;
use mio::net::TcpStream;
use native_tls::TlsStream;
use parking_lot::Mutex;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

/// A connected socket that several threads may use: one reads, one at a time writes.
pub enum Socket {
    /// Plain TCP.
    Plain(Tcp),
    /// TLS. One state for both directions, so both take turns.
    Tls(Box<Mutex<TlsStream<TcpStream>>>),
}

impl Socket {
    /// Reads what has come, at most `into.len()` bytes; 0 at the end. If nothing has come, and `wait` and
    /// [`can_wait`](Socket::can_wait) allow it, waits a moment for it.
    pub fn read(&self, into: &mut [u8], wait: bool) -> io::Result<usize> {
        retried(|| match self {
            Socket::Plain(tcp) => tcp.read(into, wait),
            Socket::Tls(stream) => stream.lock().read(into),
        })
    }

    /// Whether a read can wait a moment. With TLS it cannot: whoever writes would have to wait for it.
    pub fn can_wait(&self) -> bool {
        match self {
            Socket::Plain(tcp) => tcp.can_wait(),
            Socket::Tls(_) => false,
        }
    }

    /// Writes as much as the socket takes.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        retried(|| match self {
            Socket::Plain(tcp) => tcp.write(bytes),
            Socket::Tls(stream) => stream.lock().write(bytes),
        })
    }

    /// Whether a read that gave less than was asked for has emptied the socket. With TLS a read ends
    /// at the end of a record, whatever follows it.
    pub fn short_read_means_empty(&self) -> bool {
        matches!(self, Socket::Plain(_))
    }

    /// Ends both directions.
    pub fn shutdown(&self) {
        let _ = match self {
            Socket::Plain(tcp) => tcp.stream().shutdown(Shutdown::Both),
            Socket::Tls(stream) => {
                let mut stream = stream.lock();
                // Tells the server; there is no waiting for its answer.
                let _ = stream.shutdown();
                stream.get_ref().shutdown(Shutdown::Both)
            }
        };
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.with_tcp(|stream| stream.peer_addr().ok())
    }

    /// Uses the TCP stream below.
    pub fn with_tcp<R>(&self, use_it: impl FnOnce(&TcpStream) -> R) -> R {
        match self {
            Socket::Plain(tcp) => use_it(tcp.stream()),
            Socket::Tls(stream) => use_it(stream.lock().get_ref()),
        }
    }
}

fn retried(mut action: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match action() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
