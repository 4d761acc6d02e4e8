//! From bytes to messages. Payload of large frames goes from the socket straight to where the message
//! is put together.

use super::violation;
use crate::error::Result;
use crate::session::inbound::{Inbound, Received};
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// As much is read at once. More lets the sender wait, less costs system calls.
const READ_SIZE: usize = 128 << 10;

/// After a large frame only the beginning of the next one is read here, to learn where the rest goes.
const PEEK_SIZE: usize = 4 << 10;

/// Frames of this size and more are received in place.
const LARGE: u64 = 32 << 10;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: u64 = 125;

/// Something that a frame brought.
#[derive(Debug)]
pub enum Incoming<S> {
    /// A message for somebody.
    Message(Received<S>),
    /// A ping, to be answered with this payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// The server closes; nothing after this means anything.
    Close(Option<u16>, String),
}

/// The reading side of a connection.
pub struct Reader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// Inside a message of several frames.
    fragmented: bool,
    peek: bool,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Frame {
    last: bool,
    left: u64,
}

impl Reader {
    /// `tail`: what came along with the handshake.
    pub fn new(tail: &[u8]) -> Reader {
        let mut buffer = vec![0; READ_SIZE.max(tail.len())].into_boxed_slice();
        buffer[..tail.len()].copy_from_slice(tail);
        Reader { buffer, start: 0, end: tail.len(), frame: None, fragmented: false, peek: false, closed: false }
    }

    /// How much of the frame that is arriving is still to come.
    pub fn frame_left(&self) -> u64 {
        self.frame.map_or(0, |f| f.left)
    }

    /// Receives once, with a function that reads into memory. Returns what that returned, and how much
    /// it was asked for.
    pub fn receive<S, E>(
        &mut self,
        inbound: &mut Inbound<S>,
        read: impl FnOnce(&mut [u8]) -> std::result::Result<usize, E>,
    ) -> Result<(std::result::Result<usize, E>, usize)> {
        if let Some(frame) = &mut self.frame
            && frame.left > 0
            && self.start == self.end
        {
            let most = usize::try_from(frame.left).unwrap_or(usize::MAX).min(READ_SIZE);
            if let Some(room) = inbound.room(most)? {
                let asked = room.len();
                let done = read(room);
                if let Ok(n) = done {
                    inbound.arrived(n)?;
                    frame.left -= n as u64;
                }
                return Ok((done, asked));
            }
        }
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let most = if self.peek { (self.end + PEEK_SIZE).min(self.buffer.len()) } else { self.buffer.len() };
        let room = &mut self.buffer[self.end..most];
        let asked = room.len();
        let done = read(room);
        if let Ok(n) = done {
            self.end += n;
        }
        Ok((done, asked))
    }

    /// The next thing that what was received brings; `None`: more has to be received.
    pub fn next<S>(&mut self, inbound: &mut Inbound<S>) -> Result<Option<Incoming<S>>> {
        while !self.closed {
            let Some(frame) = &mut self.frame else {
                match self.begin_frame(inbound)? {
                    Begun::Frame => continue,
                    Begun::Incoming(incoming) => return Ok(Some(incoming)),
                    Begun::Incomplete => return Ok(None),
                }
            };
            let have = (self.end - self.start).min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            if have > 0 {
                inbound.data(&self.buffer[self.start..self.start + have])?;
                self.start += have;
                frame.left -= have as u64;
            }
            if frame.left > 0 {
                return Ok(None);
            }
            let last = frame.last;
            self.frame = None;
            self.fragmented = !last;
            if last && let Some(received) = inbound.end()? {
                return Ok(Some(Incoming::Message(received)));
            }
        }
        Ok(None)
    }

    fn begin_frame<S>(&mut self, inbound: &mut Inbound<S>) -> Result<Begun<S>> {
        let bytes = &self.buffer[self.start..self.end];
        // By far the most frequent frame, a small one that is a whole message, needs no general decoder.
        if !self.fragmented
            && let [head @ (0x81 | 0x82), len @ 0..=125, rest @ ..] = bytes
            && let Some(payload) = rest.get(..usize::from(*len))
            && let Some(received) = inbound.whole(*head == 0x81, payload)?
        {
            self.start += 2 + payload.len();
            self.peek = false;
            return Ok(received.map_or(Begun::Frame, |message| Begun::Incoming(Incoming::Message(message))));
        }
        let mut cursor = Cursor::new(bytes);
        let Some((header, len)) = FrameHeader::parse(&mut cursor).map_err(violation)? else {
            return Ok(Begun::Incomplete);
        };
        let head = cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("a frame has reserved bits set"));
        }
        if header.mask.is_some() {
            return Err(violation("a frame of the server is masked"));
        }
        if len > i64::MAX as u64 {
            return Err(violation("a frame has an impossible length"));
        }
        match header.opcode {
            OpCode::Control(control) => {
                if len > MAX_CONTROL || !header.is_final {
                    return Err(violation("a control frame is fragmented or longer than 125 bytes"));
                }
                let Some(payload) = bytes.get(head..head + len as usize) else {
                    return Ok(Begun::Incomplete);
                };
                let payload = payload.to_vec();
                self.start += head + payload.len();
                Ok(Begun::Incoming(match control {
                    Control::Ping => Incoming::Ping(payload),
                    Control::Pong => Incoming::Pong,
                    _ => {
                        self.closed = true;
                        close(&payload)?
                    }
                }))
            }
            OpCode::Data(data) => {
                if header.is_final
                    && !self.fragmented
                    && data != Data::Continue
                    && let Some(payload) = usize::try_from(len).ok().and_then(|len| bytes[head..].get(..len))
                    && let Some(received) = inbound.whole(data == Data::Text, payload)?
                {
                    self.start += head + payload.len();
                    self.peek = len >= LARGE;
                    return Ok(received.map_or(Begun::Frame, |message| Begun::Incoming(Incoming::Message(message))));
                }
                self.start += head;
                match (data, self.fragmented) {
                    (Data::Continue, true) => {}
                    (Data::Continue, false) => return Err(violation("a continuation without a beginning")),
                    (_, true) => return Err(violation("a message begins inside another")),
                    (data, false) => inbound.begin(data == Data::Text, len)?,
                }
                self.frame = Some(Frame { last: header.is_final, left: len });
                self.peek = len >= LARGE;
                Ok(Begun::Frame)
            }
        }
    }
}

enum Begun<S> {
    /// A data frame, or one that is done with.
    Frame,
    Incoming(Incoming<S>),
    Incomplete,
}

/// The payload of a Close frame (RFC 6455 section 5.5.1).
fn close<S>(payload: &[u8]) -> Result<Incoming<S>> {
    match payload {
        [] => Ok(Incoming::Close(None, String::new())),
        [_] => Err(violation("a Close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(violation(format!("close code {code}")));
            }
            match std::str::from_utf8(reason) {
                Ok(reason) => Ok(Incoming::Close(Some(code), reason.to_owned())),
                Err(_) => Err(violation("the reason in a Close frame is not UTF-8")),
            }
        }
    }
}
