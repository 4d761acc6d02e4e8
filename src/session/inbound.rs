//! From the payloads of WebSocket messages to replies and publications. Belongs to the thread that
//! reads: nothing here waits for a lock, and what nobody subscribed to is dropped undecoded.

use super::calls::ReplyId;
use super::recognition::Recognition;
use super::topics::Snapshot;
use crate::error::{Code, Error, Result};
use crate::wire::Protocol;
use crate::wire::attachments::Attachments;
use crate::wire::buffer::{BufferPool, MessageBuf, RoomFor};
use crate::wire::chunks::{self, Arriving, ChunkHeader, Chunks, HEADER_SIZE};
use crate::wire::document::{Document, SharedDocument};
use crate::wire::entry::{ENTRY_SIZE, MOST_ENTRIES};
use crate::wire::envelope::{self, Content};
use crate::wire::limits::Limits;
use crate::wire::undecoded::Undecoded;
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
        /// What it answers.
        id: ReplyId,
        /// The message, or the error that the server sent.
        outcome: Result<SharedDocument>,
    },
    /// A publication on a topic with subscribers.
    Publication {
        /// The subscribers of the topic.
        to: Arc<[S]>,
        /// The message, or the error that the server sent instead.
        outcome: Result<SharedDocument>,
    },
    /// The same, not decoded: the next one that [`Inbound::take_undecoded`] gives.
    Undecoded {
        /// The only subscriber of the topic.
        to: Arc<[S]>,
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
    /// What the ids of calls begin with; nothing as long as there are none.
    call_prefix: String,
    limits: Limits,
    pool: BufferPool,
    chunks: Chunks,
    attachments: Attachments,
    topics: Snapshot<S>,
    /// The last publication that somebody wanted: mostly the next one is on the same topic.
    last: Option<Last<S>>,
    /// The last reply to a call of this session.
    last_reply: Option<Recognition>,
    arriving: Message,
    /// Small documents that nobody has any more: their memory is for the next ones.
    spares: Vec<SharedDocument>,
    /// Small publications are decoded by others.
    leaves_undecoded: bool,
    /// Such publications, in a row.
    undecoded: Option<Undecoded>,
    dropped: Dropped,
    problem: Option<Error>,
    /// Bytes of the largest message that was completed since this was taken.
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
        /// Bytes of the first frame.
        size: u64,
    },
    Chunk(Arriving),
    /// A chunk that is a message, of this size.
    Whole(MessageBuf, usize),
    /// Of no use; stepped over.
    Ignored,
}

/// The last publication that somebody wanted.
#[derive(Debug)]
struct Last<S> {
    like: Recognition,
    to: Arc<[S]>,
    /// Another handle of the same, which is handed out and comes back: cheaper than to make one for each message.
    at_hand: Option<Arc<[S]>>,
    /// How many bytes had those that were left undecoded together the last time.
    undecoded_bytes: usize,
}

impl<S> Last<S> {
    /// Whether this is another publication on the same topic, and if so, whether it is the same up to its result.
    #[inline(always)]
    fn recognize(&mut self, protocol: Protocol, message: &[u8]) -> Option<bool> {
        let (number, same) = self.like.recognize(protocol, message)?;
        number.iter().all(u8::is_ascii_digit).then_some(same)
    }

    /// A handle of the subscribers.
    #[inline(always)]
    fn handle(&mut self) -> Arc<[S]> {
        self.at_hand.take().unwrap_or_else(|| Arc::clone(&self.to))
    }
}

/// Whom a message is for.
enum Addressee<S> {
    Subscribers(Arc<[S]>),
    /// Whoever sent the message with this id.
    Caller(ReplyId),
    /// To be found in the decoded message.
    Unknown,
}

/// Publications up to this size are decoded by whoever takes them from their queue: that takes at most a few microseconds
/// there, and the memory of few documents instead of one for each.
const LARGEST_UNDECODED: usize = 1 << 10;

/// Messages below this come in one piece, mostly.
const SMALL: usize = 64 << 10;

impl<S> Inbound<S> {
    /// For a new connection.
    pub fn new(mut limits: Limits, pool: BufferPool) -> Inbound<S> {
        // Places in a message are numbers of 32 bit.
        limits.message_size = limits.message_size.min(u64::from(u32::MAX));
        Inbound {
            protocol: None,
            call_prefix: String::new(),
            limits,
            chunks: Chunks::new(limits, pool.clone()),
            attachments: Attachments::new(limits),
            pool,
            topics: Snapshot::default(),
            last: None,
            last_reply: None,
            arriving: Message::None,
            spares: Vec::new(),
            leaves_undecoded: false,
            undecoded: None,
            dropped: Dropped::default(),
            problem: None,
            completed: None,
        }
    }

    /// The generation is settled.
    pub fn set_protocol(&mut self, protocol: Option<Protocol>) {
        self.protocol = protocol;
    }

    /// What the ids of calls begin with.
    pub fn set_call_prefix(&mut self, prefix: &str) {
        if self.call_prefix != prefix {
            self.call_prefix = prefix.to_owned();
            self.last_reply = None;
        }
    }

    /// Who wants publications from now on.
    pub fn set_topics(&mut self, topics: Snapshot<S>) {
        self.topics = topics;
        self.last = None;
    }

    /// Documents that were handed on and whose memory is free again, see [`Document::make_spare`].
    pub(crate) fn spares(&mut self) -> &mut Vec<SharedDocument> {
        &mut self.spares
    }

    /// Small publications for one subscriber, of a kind that is known, shall be decoded by others: they come as
    /// [`Received::Undecoded`].
    pub fn leave_undecoded(&mut self) {
        self.leaves_undecoded = true;
    }

    /// Those of the [`Received::Undecoded`] in a row that came since this was asked last. To be asked when something else was
    /// received.
    pub fn take_undecoded(&mut self) -> Option<Undecoded> {
        let mut undecoded = self.undecoded.take()?;
        undecoded.shrink();
        if let Some(last) = &mut self.last {
            last.undecoded_bytes = undecoded.bytes();
        }
        Some(undecoded)
    }

    /// The subscribers of a publication are no longer needed.
    pub fn take_back(&mut self, to: Arc<[S]>) {
        if let Some(last) = &mut self.last
            && last.at_hand.is_none()
            && Arc::ptr_eq(&last.to, &to)
        {
            last.at_hand = Some(to);
        }
    }

    /// Counts since the last time they were taken.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// The same, to look at.
    pub fn dropped(&self) -> Dropped {
        self.dropped
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
            Message::Whole(data, total) => Some((data.len() as u64, *total as u64)),
            Message::Ignored => None,
            _ => self.chunks.progress(),
        }
    }

    /// Bytes of the largest message that was completed since this was asked last.
    pub fn take_completed(&mut self) -> Option<u64> {
        self.completed.take()
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
            _ => Message::ChunkHead { bytes: [0; HEADER_SIZE], len: 0, size },
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
        let small = SMALL.min(usize::try_from(self.limits.message_size).unwrap_or(SMALL));
        while !data.is_empty() {
            match &mut self.arriving {
                Message::None | Message::Ignored => return Ok(()),
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
                    }
                }
                Message::Text(text) | Message::Attachment(text) if text.len() + data.len() <= small => {
                    return text.append(data);
                }
                _ => {
                    let Some(room) = self.room(RoomFor::payload(data.len()))? else {
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

    /// Whether nothing is kept of the message that is arriving.
    pub fn ignores(&self) -> bool {
        matches!(self.arriving, Message::Ignored)
    }

    /// Where the next payload can be put directly, as far as there is room for `what`; `None` where it has to go
    /// through [`data`](Inbound::data). To be followed by [`arrived`](Inbound::arrived).
    pub fn room(&mut self, what: RoomFor) -> Result<Option<&mut [u8]>> {
        let bound = self.limits.message_size;
        match &mut self.arriving {
            Message::Chunk(chunk) => {
                let room = self.chunks.room(*chunk, what)?;
                Ok((!room.is_empty()).then_some(room))
            }
            Message::Whole(data, total) => match *total - data.len() {
                0 => Ok(None),
                left => data.room(what.at_most(left)).map(Some),
            },
            Message::Text(data) | Message::Attachment(data) => {
                let left = bound.saturating_sub(data.len() as u64);
                if left == 0 {
                    return Err(chunks::limit("message", bound + 1, bound, "max_message_size"));
                }
                data.room(what.at_most(usize::try_from(left).unwrap_or(usize::MAX))).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `n` bytes were written to what [`room`](Inbound::room) gave.
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
    pub fn end(&mut self) -> Result<Option<Received<S>>> {
        match std::mem::replace(&mut self.arriving, Message::None) {
            Message::None | Message::Ignored => Ok(None),
            Message::ChunkHead { len, .. } => {
                let message = format!("malformed chunk: {len} bytes, and the header alone has {HEADER_SIZE}");
                Err(Error::new(Code::Protocol, message))
            }
            Message::Chunk(chunk) => match self.chunks.end(chunk)? {
                Some(message) => {
                    self.completed = self.completed.max(Some(message.len() as u64));
                    self.addressed(Protocol::V2, message)
                }
                None => Ok(None),
            },
            Message::Whole(message, total) if message.len() == total => {
                self.completed = self.completed.max(Some(total as u64));
                self.addressed(Protocol::V2, message)
            }
            // Less than its first frame was said to have.
            Message::Whole(..) => {
                self.dropped.malformed += 1;
                Ok(None)
            }
            Message::Attachment(data) => {
                self.completed = self.completed.max(Some(data.len() as u64));
                if !self.attachments.receive(Bytes::from_owner(data))? {
                    self.dropped.malformed += 1;
                }
                Ok(None)
            }
            Message::Text(text) => {
                self.completed = self.completed.max(Some(text.len() as u64));
                self.addressed(Protocol::V1, text)
            }
        }
    }

    fn addressed(&mut self, protocol: Protocol, message: MessageBuf) -> Result<Option<Received<S>>> {
        let Some((to, same)) = self.addressee(protocol, &message) else {
            return Ok(None);
        };
        let mut document = Document::of(message, self.spares.pop());
        let decoded = self.decode(protocol, &to, same, &mut document);
        self.message(protocol, to, same, decoded.map(|()| document.shareable()))
    }

    /// A WebSocket message that arrived in one piece. `None` in the outer option: it is part of something
    /// larger, and has to go through [`begin`](Inbound::begin), [`data`](Inbound::data) and
    /// [`end`](Inbound::end).
    #[inline(always)]
    pub fn whole(&mut self, text: bool, payload: &[u8]) -> Result<Option<Option<Received<S>>>> {
        if self.leaves_undecoded
            && !text
            && let Some(undecoded) = self.undecoded(payload)
        {
            return Ok(Some(Some(undecoded)));
        }
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
        let Some((to, same)) = self.addressee(protocol, message) else {
            return Ok(Some(None));
        };
        let decoded = self.decode_copy(protocol, &to, same, message)?;
        self.message(protocol, to, same, decoded).map(Some)
    }

    /// A publication that others shall decode. By itself, so that those that are decoded at once do not pay for it.
    #[inline(never)]
    fn undecoded(&mut self, payload: &[u8]) -> Option<Received<S>> {
        let (header, message) = payload.split_first_chunk::<HEADER_SIZE>()?;
        let last = self.last.as_mut().filter(|last| last.to.len() == 1 && message.len() <= LARGEST_UNDECODED)?;
        if last.recognize(Protocol::V2, message) != Some(true)
            || self.protocol != Some(Protocol::V2)
            || !self.chunks.is_whole(ChunkHeader::from_bytes(*header), message.len())
            || message.len() as u64 > self.limits.message_size
        {
            return None;
        }
        let beginning = last.like.beginning()?;
        match &mut self.undecoded {
            Some(undecoded) if undecoded.is_for(beginning) => undecoded.push(message),
            // Others wait and were not taken.
            Some(_) => return None,
            none => none.insert(Undecoded::new(Arc::clone(beginning), last.undecoded_bytes)).push(message),
        }
        Some(Received::Undecoded { to: last.handle() })
    }

    /// Whom a message is for, read from its beginning, and whether that is the same up to the result as in the last message
    /// of its kind. `None`: for nobody.
    #[inline(always)]
    fn addressee(&mut self, protocol: Protocol, message: &[u8]) -> Option<(Addressee<S>, bool)> {
        if let Some(last) = &mut self.last
            && let Some(same) = last.recognize(protocol, message)
        {
            return Some((Addressee::Subscribers(last.handle()), same));
        }
        if let Some(like) = &mut self.last_reply
            && let Some((number, same)) = like.recognize(protocol, message)
            && let Some(call) = ReplyId::number(number)
        {
            return Some((Addressee::Caller(ReplyId::Call(call)), same));
        }
        Some((self.new_addressee(protocol, message)?, false))
    }

    /// The same for a message of another kind than the last ones.
    fn new_addressee(&mut self, protocol: Protocol, message: &[u8]) -> Option<Addressee<S>> {
        let peeked = envelope::peek(protocol, message);
        let quote = usize::from(protocol == Protocol::V1);
        if let Some((id, end)) = peeked
            && !self.call_prefix.is_empty()
            && let Some(call) = ReplyId::call(id, self.call_prefix.as_bytes())
        {
            let rest = id.len() - self.call_prefix.len() + quote;
            self.last_reply = Recognition::new(self.last_reply.take(), message, end, rest);
            return Some(Addressee::Caller(ReplyId::Call(call)));
        }
        let Some((id, end)) = peeked.and_then(|(id, end)| Some((std::str::from_utf8(id).ok()?, end))) else {
            return Some(Addressee::Unknown);
        };
        let Some(topic) = envelope::topic(id) else {
            return Some(Addressee::Caller(id.to_owned().into()));
        };
        match self.topics.get(topic) {
            Some(to) => {
                let rest = id.len() - "publish::".len() - topic.len() + quote;
                // In the memory of the one before: topics may take turns.
                let before = self.last.take().map(|last| last.like);
                self.last = Recognition::new(before, message, end, rest).map(|like| Last {
                    like,
                    to: Arc::clone(to),
                    at_hand: None,
                    undecoded_bytes: 0,
                });
                Some(Addressee::Subscribers(Arc::clone(to)))
            }
            None => {
                self.dropped.unsubscribed += 1;
                None
            }
        }
    }

    /// How messages for this addressee begin.
    fn like(&mut self, to: &Addressee<S>) -> Option<&mut Recognition> {
        match to {
            Addressee::Subscribers(_) => self.last.as_mut().map(|last| &mut last.like),
            Addressee::Caller(ReplyId::Call(_)) => self.last_reply.as_mut(),
            _ => None,
        }
    }

    /// A whole message. What is wrong with its content concerns whoever waits for it, not the connection;
    /// except for text that is not UTF-8, which WebSocket forbids (RFC 6455 section 8.1).
    #[inline(always)]
    fn message(
        &mut self,
        protocol: Protocol,
        to: Addressee<S>,
        same: bool,
        decoded: Result<SharedDocument>,
    ) -> Result<Option<Received<S>>> {
        if let Err(error) = &decoded
            && error.code() == Code::Utf8
        {
            return Err(error.clone());
        }
        let outcome = match (decoded, &to) {
            (Ok(document), Addressee::Unknown) => return Ok(self.unaddressed(protocol, document)),
            // It has been found while decoding.
            (Ok(document), _) if same => Ok(document),
            (Ok(document), _) => envelope::outcome(document),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = &outcome
            && error.code() != Code::Remote
        {
            self.dropped.malformed += 1;
            self.problem = Some(error.clone());
        }
        if !same
            && protocol == Protocol::V2
            && let (Some(like), Ok(document)) = (self.like(&to), &outcome)
        {
            like.learn(document);
        }
        Ok(match to {
            Addressee::Subscribers(to) => Some(Received::Publication { to, outcome }),
            Addressee::Caller(id) => Some(Received::Reply { protocol, id, outcome }),
            Addressee::Unknown => None,
        })
    }

    /// A message whose id does not stand where servers put it: an announcement of attachments, or one from
    /// an unusual server.
    fn unaddressed(&mut self, protocol: Protocol, document: SharedDocument) -> Option<Received<S>> {
        match envelope::classify(document) {
            Ok(Content::Reply { id, outcome }) => return Some(Received::Reply { protocol, id: id.into(), outcome }),
            Ok(Content::Publication { topic, outcome }) => match self.topics.get(topic.as_str()) {
                Some(to) => return Some(Received::Publication { to: Arc::clone(to), outcome }),
                None => self.dropped.unsubscribed += 1,
            },
            Ok(Content::Attachments(notice)) => {
                let keys = notice.root().get("args").filter(|_| protocol == Protocol::V1);
                if keys.is_none_or(|keys| self.attachments.announce(keys).is_err()) {
                    self.dropped.malformed += 1;
                }
            }
            Err(error) => {
                self.dropped.malformed += 1;
                self.problem = Some(error);
            }
        }
        None
    }

    /// Decodes a copy of a message, in the memory of one before if nobody else has it. The outer error is no fault of the
    /// message.
    #[inline(always)]
    fn decode_copy(
        &mut self,
        protocol: Protocol,
        to: &Addressee<S>,
        same: bool,
        message: &[u8],
    ) -> Result<Result<SharedDocument>> {
        let mut document = Document::copy_of(message, self.spares.pop())?;
        Ok(self.decode(protocol, to, same, &mut document).map(|()| document.shareable()))
    }

    /// Decodes a document that has the bytes of its message.
    #[inline(always)]
    fn decode(&mut self, protocol: Protocol, to: &Addressee<S>, same: bool, document: &mut Document) -> Result<()> {
        // The index may be as large as the largest message, but small messages are never in danger.
        let max_entries = (self.limits.message_size / ENTRY_SIZE).clamp(2 << 20, MOST_ENTRIES as u64) as usize;
        match protocol {
            Protocol::V2 => {
                let beginning = if same { self.like(to).and_then(|like| like.beginning()) } else { None };
                msgpack::decode::decode_into(document, max_entries, beginning.map(|b| &**b))?;
                if let Some(beginning) = beginning {
                    envelope::set_result(document, beginning.value());
                }
            }
            Protocol::V1 => {
                let keys = json::parse::parse_into(document, max_entries)?;
                // The keys of an announcement are names, also if one of them was announced before.
                if !keys.is_empty() && !envelope::announces_attachments(document) {
                    self.attachments.resolve(document, &keys);
                }
            }
        }
        Ok(())
    }
}
