//! From the payloads of WebSocket messages to replies and publications. Belongs to the thread that
//! reads: nothing here waits for a lock, and what nobody subscribed to is dropped undecoded.

use super::topics::Snapshot;
use crate::error::{Code, Error, Result};
use crate::wire::Protocol;
use crate::wire::attachments::Attachments;
use crate::wire::buffer::{BufferPool, MessageBuf};
use crate::wire::chunks::{self, Arriving, ChunkHeader, Chunks, HEADER_SIZE};
use crate::wire::document::{Document, Node};
use crate::wire::envelope::{self, Content};
use crate::wire::limits::Limits;
use crate::wire::{json, msgpack};
use bytes::Bytes;
use std::sync::Arc;

/// A message that somebody waits for.
#[derive(Debug)]
pub enum Received<S> {
    /// The reply to a call or to a system message.
    Reply {
        /// The generation in which it came.
        protocol: Protocol,
        /// The id of what it answers.
        id: String,
        /// The message, or the error that the server sent.
        outcome: Result<Arc<Document>>,
    },
    /// A publication on a topic with subscribers.
    Publication {
        /// The subscribers of the topic.
        to: Arc<[S]>,
        /// The message, or the error that the server sent instead.
        outcome: Result<Arc<Document>>,
    },
}

/// What was received and not handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Publications on topics without subscriber.
    pub unsubscribed: u64,
    /// Messages without meaning: malformed, or binary data that was not announced.
    pub malformed: u64,
}

/// The receiving half of a session on one connection.
#[derive(Debug)]
pub struct Inbound<S> {
    protocol: Option<Protocol>,
    limits: Limits,
    pool: BufferPool,
    chunks: Chunks,
    attachments: Attachments,
    topics: Snapshot<S>,
    arriving: Message,
    dropped: Dropped,
    problem: Option<Error>,
}

/// The WebSocket message that is arriving.
#[derive(Debug)]
enum Message {
    None,
    Text(MessageBuf),
    Attachment(MessageBuf),
    ChunkHead {
        bytes: [u8; HEADER_SIZE],
        len: usize,
    },
    Chunk(Arriving),
    /// Of no use; stepped over.
    Ignored,
}

/// Messages below this come in one piece, mostly.
const SMALL: usize = 64 << 10;

impl<S> Inbound<S> {
    /// For a new connection.
    pub fn new(limits: Limits, pool: BufferPool) -> Inbound<S> {
        Inbound {
            protocol: None,
            limits,
            chunks: Chunks::new(limits, pool.clone()),
            attachments: Attachments::new(limits),
            pool,
            topics: Snapshot::default(),
            arriving: Message::None,
            dropped: Dropped::default(),
            problem: None,
        }
    }

    /// The generation is settled.
    pub fn set_protocol(&mut self, protocol: Option<Protocol>) {
        self.protocol = protocol;
    }

    /// Who wants publications from now on.
    pub fn set_topics(&mut self, topics: Snapshot<S>) {
        self.topics = topics;
    }

    /// Counts since the last time they were taken.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// What was wrong with the last message that could not be read.
    pub fn take_problem(&mut self) -> Option<Error> {
        self.problem.take()
    }

    /// How many messages or attachments were given up for the bounds on unfinished and kept data.
    pub fn evicted(&self) -> u64 {
        self.chunks.dropped() + self.attachments.forgotten()
    }

    /// Bytes so far and in total of the message that is arriving; `frame_left` bytes of its frame are
    /// still to come.
    pub fn progress(&self, frame_left: u64) -> Option<(u64, u64)> {
        match &self.arriving {
            Message::Text(data) | Message::Attachment(data) => {
                Some((data.len() as u64, data.len() as u64 + frame_left))
            }
            Message::Ignored => None,
            _ => self.chunks.progress(),
        }
    }

    /// A WebSocket message begins. `size` is the length of its first frame.
    pub fn begin(&mut self, text: bool, size: u64) -> Result<()> {
        self.arriving = match (text, self.protocol) {
            (true, Some(Protocol::V2)) => {
                // A server of generation 2 never sends text.
                self.dropped.malformed += 1;
                Message::Ignored
            }
            (true, _) => Message::Text(self.buffer(size)?),
            (false, Some(Protocol::V1)) if !self.attachments.is_expecting() => {
                self.dropped.malformed += 1;
                Message::Ignored
            }
            (false, protocol) if protocol == Some(Protocol::V1) || self.attachments.is_expecting() => {
                Message::Attachment(self.buffer(size)?)
            }
            _ => Message::ChunkHead { bytes: [0; HEADER_SIZE], len: 0 },
        };
        Ok(())
    }

    fn buffer(&self, size: u64) -> Result<MessageBuf> {
        if size > self.limits.message_size {
            return Err(chunks::limit("message", size, self.limits.message_size, "max_message_size"));
        }
        Ok(self.pool.take(size as usize))
    }

    /// Payload of the message arrives.
    pub fn data(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            match &mut self.arriving {
                Message::None | Message::Ignored => return Ok(()),
                Message::ChunkHead { bytes, len } => {
                    let n = data.len().min(HEADER_SIZE - *len);
                    bytes[*len..*len + n].copy_from_slice(&data[..n]);
                    *len += n;
                    data = &data[n..];
                    if *len == HEADER_SIZE {
                        let header = ChunkHeader::from_bytes(*bytes);
                        self.arriving = Message::Chunk(self.chunks.begin(header)?);
                    }
                }
                Message::Text(text) | Message::Attachment(text) if text.len() + data.len() < SMALL => {
                    return text.append(data);
                }
                _ => {
                    let Some(room) = self.room(data.len())? else {
                        return Err(Error::new(Code::Protocol, "malformed chunk: data beyond the total size"));
                    };
                    let n = room.len();
                    room.copy_from_slice(&data[..n]);
                    self.arrived(n)?;
                    data = &data[n..];
                }
            }
        }
        Ok(())
    }

    /// Where the next payload can be put directly, at most `most` bytes; `None` where it has to go
    /// through [`data`](Inbound::data). To be followed by [`arrived`](Inbound::arrived).
    pub fn room(&mut self, most: usize) -> Result<Option<&mut [u8]>> {
        let bound = self.limits.message_size;
        match &mut self.arriving {
            Message::Chunk(chunk) => {
                let room = self.chunks.room(*chunk, most)?;
                Ok((!room.is_empty()).then_some(room))
            }
            Message::Text(data) | Message::Attachment(data) => {
                let left = bound.saturating_sub(data.len() as u64);
                if left == 0 {
                    return Err(chunks::limit("message", bound + 1, bound, "max_message_size"));
                }
                data.room(most.min(usize::try_from(left).unwrap_or(usize::MAX))).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `n` bytes were written to what [`room`](Inbound::room) gave.
    pub fn arrived(&mut self, n: usize) -> Result<()> {
        match &mut self.arriving {
            Message::Chunk(chunk) => self.chunks.arrived(*chunk, n),
            Message::Text(data) | Message::Attachment(data) => {
                data.advance(n);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The WebSocket message is complete.
    pub fn end(&mut self) -> Result<Option<Received<S>>> {
        match std::mem::replace(&mut self.arriving, Message::None) {
            Message::None | Message::Ignored => Ok(None),
            Message::ChunkHead { len, .. } => {
                let message = format!("malformed chunk: {len} bytes, and the header alone has {HEADER_SIZE}");
                Err(Error::new(Code::Protocol, message))
            }
            Message::Chunk(chunk) => match self.chunks.end(chunk)? {
                Some(message) => Ok(self.message(Protocol::V2, message)),
                None => Ok(None),
            },
            Message::Attachment(data) => {
                if !self.attachments.receive(Bytes::from_owner(data))? {
                    self.dropped.malformed += 1;
                }
                Ok(None)
            }
            Message::Text(text) => {
                if let Err(e) = std::str::from_utf8(&text) {
                    let message = format!("text message is not valid UTF-8 at byte {}", e.valid_up_to());
                    return Err(Error::new(Code::Utf8, message));
                }
                Ok(self.message(Protocol::V1, text))
            }
        }
    }

    /// A whole message. What is wrong with its content concerns whoever waits for it, not the
    /// connection.
    fn message(&mut self, protocol: Protocol, bytes: MessageBuf) -> Option<Received<S>> {
        let id = envelope::peek_id(protocol, &bytes).map(str::to_owned);
        if let Some(topic) = id.as_deref().and_then(envelope::topic)
            && !self.topics.contains_key(topic)
        {
            self.dropped.unsubscribed += 1;
            return None;
        }
        match self.decode(protocol, bytes).and_then(envelope::classify) {
            Ok(Content::Reply { id, outcome }) => Some(Received::Reply { protocol, id, outcome }),
            Ok(Content::Publication { topic, outcome }) => self.publication(&topic, outcome),
            Ok(Content::Attachments(notice)) if protocol == Protocol::V1 => {
                let keys = notice.root().get("args");
                if keys.is_none_or(|keys| self.attachments.announce(keys).is_err()) {
                    self.dropped.malformed += 1;
                }
                None
            }
            Ok(Content::Attachments(_)) => {
                self.dropped.malformed += 1;
                None
            }
            Err(error) => {
                self.dropped.malformed += 1;
                self.problem = Some(error.clone());
                let id = id?;
                match envelope::topic(&id) {
                    Some(topic) => self.publication(topic, Err(error)),
                    None => Some(Received::Reply { protocol, id, outcome: Err(error) }),
                }
            }
        }
    }

    fn publication(&mut self, topic: &str, outcome: Result<Arc<Document>>) -> Option<Received<S>> {
        match self.topics.get(topic) {
            Some(to) => Some(Received::Publication { to: Arc::clone(to), outcome }),
            None => {
                self.dropped.unsubscribed += 1;
                None
            }
        }
    }

    fn decode(&self, protocol: Protocol, bytes: MessageBuf) -> Result<Document> {
        // The index may be as large as the largest message, but small messages are never in danger.
        let max_nodes =
            (self.limits.message_size / size_of::<Node>() as u64).clamp(1 << 20, u64::from(u32::MAX)) as usize;
        match protocol {
            Protocol::V2 => msgpack::decode::decode(bytes, max_nodes),
            Protocol::V1 => {
                let mut parsed = json::parse::parse(bytes, max_nodes)?;
                self.attachments.resolve(&mut parsed.document, &parsed.attachment_keys);
                Ok(parsed.document)
            }
        }
    }
}
