//! Turns the payloads of WebSocket messages into replies and publications. Belongs to the thread that reads. Publications
//! without subscribers are dropped undecoded.

use super::calls::ReplyId;
use super::topics::Directory;
use crate::error::{Code, Error, Result, Stage};
use crate::wire::Protocol;
use crate::wire::attachments::Attachments;
use crate::wire::buffer::{BufferPool, MessageBuf, RoomFor};
use crate::wire::chunks::{self, Arriving, ChunkHeader, Chunks, HEADER_SIZE};
use crate::wire::document::{Document, SharedDocument};
use crate::wire::entry::{ENTRY_SIZE, MOST_ENTRIES};
use crate::wire::envelope::{self, Content};
use crate::wire::limits::Limits;
use crate::wire::{json, msgpack};
use bytes::Bytes;
use std::sync::Arc;

/// The result of a WebSocket message.
#[derive(Debug)]
pub enum Received<S> {
    /// No result yet: a part of a message, an attachment, or an announcement of attachments.
    Nothing,
    /// The reply to a call or to a system message.
    Reply {
        /// The generation of the message.
        protocol: Protocol,
        /// What the reply answers.
        id: ReplyId,
        /// The message; or the error that the server sent, or why the message cannot be decoded.
        outcome: Result<SharedDocument>,
    },
    /// A publication on a topic with subscribers.
    Publication {
        /// The subscribers of the topic.
        to: Arc<[S]>,
        /// The message; or the error that the server sent, or why the message cannot be decoded.
        outcome: Result<SharedDocument>,
    },
    /// A publication on a topic without subscribers, dropped undecoded.
    Unsubscribed,
    /// A malformed message, or binary data that was not announced; dropped.
    Malformed(Error),
}

impl<S> Received<S> {
    /// The defect of a malformed message, also of a reply or publication that delivers the defect as its outcome.
    pub fn fault(&self) -> Option<&Error> {
        match self {
            Received::Malformed(error) => Some(error),
            // An error that the server sent is a well-formed message.
            Received::Reply { outcome: Err(error), .. } | Received::Publication { outcome: Err(error), .. } => {
                (error.code() != Code::Remote).then_some(error)
            }
            _ => None,
        }
    }
}

/// The receiving half of a session on one connection.
#[derive(Debug)]
pub struct Inbound<S> {
    protocol: Option<Protocol>,
    /// What the message ids of calls begin with; empty before there are calls.
    call_prefix: String,
    limits: Limits,
    pool: BufferPool,
    chunks: Chunks,
    attachments: Attachments,
    topics: Directory<S>,
    arriving: Message,
    /// Payload of that message so far, in bytes, as its frame headers declare it.
    declared: u64,
    /// Upper bound of `declared`.
    allowed: u64,
    /// Size of the largest message completed since the last [`take_completed`](Inbound::take_completed).
    completed: Option<u64>,
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
        /// Payload of the first frame, in bytes.
        size: u64,
    },
    Chunk(Arriving),
    /// A chunk that holds a whole message of this size.
    Whole(MessageBuf, usize),
    /// A malformed message, for this reason. Its payload is skipped.
    Ignored(Error),
}

/// The addressee of a message.
enum Addressee<S> {
    Subscribers(Arc<[S]>),
    /// No one: a publication on a topic without subscribers.
    Nobody,
    /// The sender of the request with this id.
    Caller(ReplyId),
    /// Known only after decoding.
    Unknown,
}

/// Payload is copied to a message of up to this size in one step. Larger messages ask for memory as they grow.
const SMALL_MESSAGE: usize = 64 << 10;

impl<S: Clone> Inbound<S> {
    /// For a new connection.
    pub fn new(mut limits: Limits, pool: BufferPool) -> Inbound<S> {
        // Offsets in a message are 32-bit numbers.
        limits.message_size = limits.message_size.min(u64::from(u32::MAX));
        Inbound {
            protocol: None,
            call_prefix: String::new(),
            limits,
            chunks: Chunks::new(limits, pool.clone()),
            attachments: Attachments::new(limits),
            pool,
            topics: Directory::default(),
            arriving: Message::None,
            declared: 0,
            allowed: 0,
            completed: None,
        }
    }

    /// Sets the generation that the server speaks; `None`: not known yet.
    pub fn set_protocol(&mut self, protocol: Option<Protocol>) {
        self.protocol = protocol;
    }

    /// Sets what the message ids of calls begin with.
    pub fn set_call_prefix(&mut self, prefix: &str) {
        self.call_prefix = prefix.to_owned();
    }

    /// Sets the table of subscribers.
    pub fn set_topics(&mut self, topics: Directory<S>) {
        self.topics = topics;
    }

    /// How many unfinished messages and unused attachments were evicted to stay within the limits.
    pub fn evicted(&self) -> u64 {
        self.chunks.dropped() + self.attachments.forgotten()
    }

    /// Bytes so far and in total of the message that is arriving. `frame_remaining`: bytes of its current frame that are still to
    /// come.
    pub fn progress(&self, frame_remaining: u64) -> Option<(u64, u64)> {
        match &self.arriving {
            Message::Text(data) | Message::Attachment(data) => {
                Some((data.len() as u64, data.len() as u64 + frame_remaining))
            }
            Message::Whole(data, total) => Some((data.len() as u64, *total as u64)),
            Message::Ignored(_) => None,
            _ => self.chunks.progress(),
        }
    }

    /// Size of the largest message completed since the last call.
    pub fn take_completed(&mut self) -> Option<u64> {
        self.completed.take()
    }

    /// A WebSocket message begins. `size`: the payload length of its first frame.
    pub fn begin(&mut self, text: bool, size: u64) -> Result<()> {
        let chunk = !text && self.protocol != Some(Protocol::V1) && !self.attachments.is_expecting();
        self.declared = 0;
        self.allowed = self.limits.message_size + if chunk { HEADER_SIZE as u64 } else { 0 };
        self.frame(size)?;
        self.arriving = match (text, self.protocol) {
            // A server of generation 2 never sends text.
            (true, Some(Protocol::V2)) => Message::Ignored(unexpected("text, and protocol 2 has binary messages only")),
            (true, _) => Message::Text(self.pool.take(size as usize)),
            (false, _) if chunk => Message::ChunkHead { bytes: [0; HEADER_SIZE], len: 0, size },
            (false, _) if self.attachments.is_expecting() => Message::Attachment(self.pool.take(size as usize)),
            (false, _) => Message::Ignored(unexpected("binary data that was not announced as an attachment")),
        };
        Ok(())
    }

    /// A frame of the message begins, with `size` bytes of payload. The limit applies to skipped messages, too:
    /// otherwise a header with a huge length would make the session skip payload for ever.
    pub fn frame(&mut self, size: u64) -> Result<()> {
        self.declared = self.declared.saturating_add(size);
        if self.declared <= self.allowed {
            return Ok(());
        }
        match self.arriving {
            Message::Chunk(_) | Message::Whole(..) => chunks::beyond_total(),
            _ => Err(chunks::limit("message", self.declared, self.limits.message_size, "max_message_size")),
        }
    }

    /// Payload of the message arrives.
    pub fn data(&mut self, mut data: &[u8]) -> Result<()> {
        let small = SMALL_MESSAGE.min(usize::try_from(self.limits.message_size).unwrap_or(SMALL_MESSAGE));
        while !data.is_empty() {
            match &mut self.arriving {
                Message::None | Message::Ignored(_) => return Ok(()),
                Message::ChunkHead { bytes, len, size } => {
                    let n = data.len().min(HEADER_SIZE - *len);
                    bytes[*len..*len + n].copy_from_slice(&data[..n]);
                    *len += n;
                    data = &data[n..];
                    if *len == HEADER_SIZE {
                        let header = ChunkHeader::from_bytes(*bytes);
                        let total = header.total as usize;
                        self.arriving = match self.chunks.comes_whole(header, size.saturating_sub(HEADER_SIZE as u64)) {
                            true => Message::Whole(self.pool.take(total), total),
                            false => Message::Chunk(self.chunks.begin(header)?),
                        };
                        self.allowed = HEADER_SIZE as u64 + u64::from(header.total - header.offset);
                        self.frame(0)?;
                    }
                }
                Message::Text(text) | Message::Attachment(text) if text.len() + data.len() <= small => {
                    return text.append(data);
                }
                _ => {
                    let Some(room) = self.room(RoomFor::payload(data.len()))? else {
                        return chunks::beyond_total();
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

    /// Whether the payload of the message that is arriving is skipped.
    pub fn ignores(&self) -> bool {
        matches!(self.arriving, Message::Ignored(_))
    }

    /// Memory in the arriving message into which the next payload, at most `what`, can be read. [`arrived`](Inbound::arrived) has to follow.
    /// `None`: the payload has to go through [`data`](Inbound::data).
    pub fn room(&mut self, what: RoomFor) -> Result<Option<&mut [u8]>> {
        let bound = self.limits.message_size;
        match &mut self.arriving {
            Message::Chunk(chunk) => {
                let room = self.chunks.room(*chunk, what)?;
                Ok((!room.is_empty()).then_some(room))
            }
            Message::Whole(data, total) => match *total - data.len() {
                0 => Ok(None),
                remaining => data.room(what.at_most(remaining)).map(Some),
            },
            Message::Text(data) | Message::Attachment(data) => {
                let remaining = bound.saturating_sub(data.len() as u64);
                if remaining == 0 {
                    return Err(chunks::limit("message", bound + 1, bound, "max_message_size"));
                }
                data.room(what.at_most(usize::try_from(remaining).unwrap_or(usize::MAX))).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `n` bytes were written to the memory from [`room`](Inbound::room).
    pub fn arrived(&mut self, n: usize) -> Result<()> {
        match &mut self.arriving {
            Message::Chunk(chunk) => self.chunks.arrived(*chunk, n),
            Message::Text(data) | Message::Attachment(data) | Message::Whole(data, _) => {
                data.advance(n);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The WebSocket message is complete.
    pub fn end(&mut self) -> Result<Received<S>> {
        match std::mem::replace(&mut self.arriving, Message::None) {
            Message::None => Ok(Received::Nothing),
            Message::Ignored(why) => Ok(Received::Malformed(why)),
            Message::ChunkHead { len, .. } => chunks::without_header(len),
            Message::Chunk(chunk) => match self.chunks.end(chunk)? {
                Some(message) => {
                    self.completed = self.completed.max(Some(message.len() as u64));
                    self.message(Protocol::V2, message)
                }
                None => Ok(Received::Nothing),
            },
            Message::Whole(message, total) if message.len() == total => {
                self.completed = self.completed.max(Some(total as u64));
                self.message(Protocol::V2, message)
            }
            // The WebSocket message is shorter than the header of its chunk says.
            Message::Whole(message, total) => {
                let text = format!("the server's chunk has {} of {total} bytes", message.len());
                Ok(Received::Malformed(Error::new(Code::Protocol, text).at(Stage::Session)))
            }
            Message::Attachment(data) => {
                self.completed = self.completed.max(Some(data.len() as u64));
                Ok(match self.attachments.receive(Bytes::from_owner(data)) {
                    true => Received::Nothing,
                    false => Received::Malformed(unexpected("an attachment that it did not announce")),
                })
            }
            Message::Text(text) => {
                self.completed = self.completed.max(Some(text.len() as u64));
                self.message(Protocol::V1, text)
            }
        }
    }

    /// The result of a WebSocket message that arrived in one piece. `None`: the message has to go through
    /// [`begin`](Inbound::begin), [`data`](Inbound::data) and [`end`](Inbound::end), because it is a part of a larger one or
    /// not acceptable.
    pub fn whole(&mut self, text: bool, payload: &[u8]) -> Result<Option<Received<S>>> {
        let (protocol, message) = match (text, self.protocol) {
            (true, Some(Protocol::V2)) => return Ok(None),
            (true, _) => (Protocol::V1, payload),
            (false, Some(Protocol::V2)) => match payload.split_first_chunk::<HEADER_SIZE>() {
                Some((header, message)) if self.chunks.is_whole(ChunkHeader::from_bytes(*header), message.len()) => {
                    (Protocol::V2, message)
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        if message.len() as u64 > self.limits.message_size {
            return Ok(None);
        }
        match self.addressee(protocol, message) {
            Addressee::Nobody => self.unread(protocol, message).map(Some),
            to => {
                let mut copy = MessageBuf::default();
                copy.append(message)?;
                self.decoded(protocol, to, copy).map(Some)
            }
        }
    }

    /// The result of a complete message.
    fn message(&mut self, protocol: Protocol, message: MessageBuf) -> Result<Received<S>> {
        match self.addressee(protocol, &message) {
            Addressee::Nobody => self.unread(protocol, &message),
            to => self.decoded(protocol, to, message),
        }
    }

    /// Reads the addressee from the beginning of a message.
    fn addressee(&self, protocol: Protocol, message: &[u8]) -> Addressee<S> {
        let Some(id) = envelope::peek_id(protocol, message) else {
            return Addressee::Unknown;
        };
        if !self.call_prefix.is_empty()
            && let Some(call) = ReplyId::call(id.as_bytes(), self.call_prefix.as_bytes())
        {
            return Addressee::Caller(ReplyId::Call(call));
        }
        match envelope::topic(id) {
            Some(topic) => self.topics.get(topic).map_or(Addressee::Nobody, Addressee::Subscribers),
            None => Addressee::Caller(id.to_owned().into()),
        }
    }

    /// Drops a publication without subscribers. Text is checked nevertheless: WebSocket forbids text that is not UTF-8
    /// (RFC 6455 section 8.1).
    fn unread(&mut self, protocol: Protocol, message: &[u8]) -> Result<Received<S>> {
        if protocol == Protocol::V1 {
            self.attachments.skipped(message);
            json::parse::check_utf8(message).map_err(not_utf8)?;
        }
        Ok(Received::Unsubscribed)
    }

    /// Decodes a message for its addressee. Malformed content is an error for the addressee. Only text that is not UTF-8 is an
    /// error of the connection.
    fn decoded(&mut self, protocol: Protocol, to: Addressee<S>, message: MessageBuf) -> Result<Received<S>> {
        // Decoding JSON modifies the text, so find an id in an unusual place before.
        let unknown = matches!(to, Addressee::Unknown);
        let id = if unknown { envelope::find_id(protocol, &message) } else { None };
        let mut document = Document::undecoded(message);
        match self.decode(protocol, &mut document) {
            Ok(()) => Ok(self.addressed(protocol, to, document.into())),
            Err(fault) if fault.code() == Code::Utf8 => Err(not_utf8(fault)),
            Err(fault) => {
                let id = if unknown { id } else { envelope::peek_id(protocol, document.bytes()).map(str::to_owned) };
                Ok(self.unreadable(protocol, to, id, fault))
            }
        }
    }

    fn decode(&mut self, protocol: Protocol, document: &mut Document) -> Result<()> {
        // The tape may be as large as the largest message. The minimum lets small messages pass under any limit.
        let max_entries = (self.limits.message_size / ENTRY_SIZE).clamp(2 << 20, MOST_ENTRIES as u64) as usize;
        match protocol {
            Protocol::V2 => {
                msgpack::decode::decode_into(document, max_entries).map_err(envelope::not_msgpack)?;
            }
            Protocol::V1 => {
                let keys = json::parse::parse_into(document, max_entries).map_err(envelope::not_json)?;
                // Keys in an announcement are not replaced by attachments, even if one was announced before.
                let named = !keys.is_empty() || self.attachments.has_unused();
                if named && !envelope::announces_attachments(document) {
                    self.attachments.resolve(document, &keys);
                }
            }
        }
        Ok(())
    }

    /// The result of a decoded message.
    fn addressed(&mut self, protocol: Protocol, to: Addressee<S>, document: SharedDocument) -> Received<S> {
        match to {
            Addressee::Unknown | Addressee::Nobody => self.unaddressed(protocol, document),
            Addressee::Subscribers(to) => Received::Publication { to, outcome: envelope::outcome(document) },
            Addressee::Caller(id) => Received::Reply { protocol, id, outcome: envelope::outcome(document) },
        }
    }

    /// The result of a message that cannot be decoded.
    #[cold]
    fn unreadable(&mut self, protocol: Protocol, to: Addressee<S>, id: Option<String>, fault: Error) -> Received<S> {
        let error = envelope::unreadable(id.as_deref(), fault);
        match (to, id) {
            (Addressee::Subscribers(to), _) => Received::Publication { to, outcome: Err(error) },
            (Addressee::Caller(id), _) => Received::Reply { protocol, id, outcome: Err(error) },
            (_, None) => Received::Malformed(error),
            (_, Some(id)) => match envelope::topic(&id) {
                Some(topic) => match self.topics.get(topic) {
                    Some(to) => Received::Publication { to, outcome: Err(error) },
                    None => Received::Malformed(error),
                },
                None => Received::Reply { protocol, id: id.into(), outcome: Err(error) },
            },
        }
    }

    /// The result of a message whose id is not in the usual place: an announcement of attachments, or a message from an
    /// unusual server.
    fn unaddressed(&mut self, protocol: Protocol, document: SharedDocument) -> Received<S> {
        match envelope::classify(document) {
            Ok(Content::Reply { id, outcome }) => Received::Reply { protocol, id: id.into(), outcome },
            Ok(Content::Publication { topic, outcome }) => match self.topics.get(topic.as_str()) {
                Some(to) => Received::Publication { to, outcome },
                None => Received::Unsubscribed,
            },
            Ok(Content::Attachments(notice)) => {
                let keys = notice.root().get("args").filter(|_| protocol == Protocol::V1);
                let announced = match keys {
                    Some(keys) => self.attachments.announce(keys),
                    None => Err(Error::new(Code::Protocol, "the server's announcement of attachments has no keys")),
                };
                match announced {
                    Ok(()) => Received::Nothing,
                    Err(error) => Received::Malformed(error.at(Stage::Session)),
                }
            }
            Err(error) => Received::Malformed(error),
        }
    }
}

/// The error for data that the server should not have sent.
#[cold]
fn unexpected(what: &str) -> Error {
    Error::new(Code::Protocol, format!("the server sent {what}")).at(Stage::Session)
}

/// The error for text that is not UTF-8. It ends the connection.
#[cold]
fn not_utf8(fault: Error) -> Error {
    let text = format!("the server's text message is not valid UTF-8: {}", fault.message());
    Error::new(Code::Utf8, text).at(Stage::Session)
}
