//! Reads and writes the bytes of a connection, with or without TLS. Never blocks.

use crate::io::tls;
use mio::net::TcpStream;
use parking_lot::Mutex;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

/// A connected socket. Several threads may use it: one reads, and one at a time writes.
pub enum Socket {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS. Reading and writing share its state, and therefore a lock.
    Tls(Box<Mutex<tls::Stream>>),
}

impl Socket {
    /// Reads what has arrived, at most `into.len()` bytes; 0 at the end of the stream.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        retry_interrupted(|| match self {
            Socket::Plain(stream) => (&*stream).read(into),
            Socket::Tls(stream) => stream.lock().read(into).map_err(tls::translated),
        })
    }

    /// Writes as much as the socket accepts.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry_interrupted(|| match self {
            Socket::Plain(stream) => (&*stream).write(bytes),
            Socket::Tls(stream) => stream.lock().write(bytes).map_err(tls::translated),
        })
    }

    /// Whether a read of fewer bytes than requested means that the socket is empty. Not with TLS, where a read ends with its
    /// record.
    pub fn short_read_means_empty(&self) -> bool {
        matches!(self, Socket::Plain(_))
    }

    /// Shuts down both directions.
    pub fn shutdown(&self) {
        let _ = match self {
            Socket::Plain(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tls(stream) => {
                let mut stream = stream.lock();
                // Does not wait for the server's answer.
                tls::shutdown(&mut stream);
                stream.get_ref().shutdown(Shutdown::Both)
            }
        };
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.with_tcp(|stream| stream.peer_addr().ok())
    }

    /// Whether the peer has neither ended the connection nor reset it, as far as it is known.
    pub fn is_open(&self) -> bool {
        self.with_tcp(|stream| match stream.peek(&mut [0]) {
            Ok(n) => n > 0,
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        })
    }

    /// The TCP stream, to register it with a poll.
    pub fn tcp_mut(&mut self) -> &mut TcpStream {
        match self {
            Socket::Plain(stream) => stream,
            Socket::Tls(stream) => stream.get_mut().get_mut(),
        }
    }

    /// Gives access to the TCP stream.
    pub fn with_tcp<R>(&self, use_it: impl FnOnce(&TcpStream) -> R) -> R {
        match self {
            Socket::Plain(stream) => use_it(stream),
            Socket::Tls(stream) => use_it(stream.lock().get_ref()),
        }
    }
}

fn retry_interrupted(mut action: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match action() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
