//! The receiving half of a connection, from the socket to messages. Belongs to the I/O thread.

use super::socket::Socket;
use super::websocket::close_code;
use super::websocket::reader::{Incoming, Reader};
use crate::error::{Code, Error, Result, Stage};
use crate::session::inbound::Inbound;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;
use tungstenite::protocol::Role;

/// Why a connection ends.
pub struct Ended {
    /// The error for the application.
    pub error: Error,
    /// The code of the Close frame to send before the end, if any.
    pub close: Option<u16>,
}

/// The receiving half.
pub struct Receiver<S> {
    socket: Arc<Socket>,
    reader: Reader,
    /// Turns payload into messages.
    pub inbound: Inbound<S>,
    /// When data was last received.
    pub heard: Instant,
    /// The socket may have data. The poll is edge-triggered, so this stays set until a read would block.
    pub readable: bool,
    /// The reader may have frames that were not looked at.
    buffered: bool,
    /// The poll has reported the end of the connection, perhaps before all data was read. It does not report it again.
    pub ending: bool,
}

impl<S: Clone> Receiver<S> {
    /// For a new connection. `tail`: bytes of frames that arrived with the handshake.
    pub fn new(socket: Arc<Socket>, role: Role, tail: &[u8], inbound: Inbound<S>, now: Instant) -> Receiver<S> {
        let (reader, buffered) = (Reader::new(role, tail), !tail.is_empty());
        Receiver { socket, reader, inbound, heard: now, readable: true, buffered, ending: true }
    }

    /// Whether there may be something to receive.
    pub fn has_input(&self) -> bool {
        self.readable || self.buffered
    }

    /// Reads the socket once, unless there are frames from an earlier read. Returns the number of bytes.
    pub fn read(&mut self) -> Result<usize, Ended> {
        if self.buffered {
            return Ok(0);
        }
        let socket = &self.socket;
        let (done, asked) = self.reader.receive(&mut self.inbound, |into| socket.read(into)).map_err(failed)?;
        match done {
            Ok(0) => Err(self.end("the server ended the connection without a Close frame".into())),
            Ok(n) => {
                self.heard = Instant::now();
                self.readable = n == asked || self.ending || !self.socket.short_read_means_empty();
                self.buffered = true;
                Ok(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                self.ending = false;
                Ok(0)
            }
            Err(e) => Err(self.end(format!("receiving failed: {e}"))),
        }
    }

    /// The stream ends: for this reason, unless the last bytes are an HTTP status line, which says more.
    fn end(&self, reason: String) -> Ended {
        self.reader.http_at_end().map_or_else(|| ended(reason), failed)
    }

    /// The next message or control frame that was received; `None`: more data is needed.
    pub fn next(&mut self) -> Result<Option<Incoming<S>>> {
        let next = self.reader.next(&mut self.inbound)?;
        self.buffered = next.is_some();
        Ok(next)
    }

    /// Bytes so far and in total of the message that is arriving.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.inbound.progress(self.reader.frame_remaining())
    }
}

/// The end of a connection that was lost.
pub fn ended(message: String) -> Ended {
    Ended { error: lost(message), close: None }
}

/// The error for a connection that was lost.
pub fn lost(message: String) -> Error {
    Error::new(Code::ConnectionLost, message).at(Stage::Session)
}

/// The end of a connection after a violation of the protocol or a limit. The Close frame gets the code for the error.
pub fn failed(error: Error) -> Ended {
    let close = close_code(&error);
    // For applications, `Code::Utf8` means that their own text is not UTF-8.
    let error = if error.code() == Code::Utf8 { error.with_code(Code::Protocol) } else { error };
    Ended { error: error.at(Stage::Session), close }
}
