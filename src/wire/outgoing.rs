//! A call as the WebSocket frames that carry it. Large binary data is not copied.

use super::Protocol;
use super::args::Args;
use super::attachments::ATTACHMENT_METHOD;
use super::chunks::{ChunkHeader, HEADER_SIZE};
use super::document::Document;
use super::entry::Tag;
use super::json;
use super::json::write::Failure;
use super::memory::try_reserve;
use super::msgpack::encode::Encode;
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use smallvec::SmallVec;
use zeroize::Zeroize;

/// Binary data of at least this size is sent without a copy. Smaller data is copied into the part that precedes it.
const SMALLEST_PART: usize = 4 << 10;

/// The memory of messages that may reach this size is allocated in one step.
const LARGE: usize = 64 << 10;

/// How much memory is first allocated for smaller calls.
const SMALL_CALL: usize = 192;

/// The format of the messages to one server.
#[derive(Debug, Clone)]
pub struct Format {
    /// The generation.
    pub protocol: Protocol,
    /// Generation 2: the largest data of a chunk. `None`: messages are not split.
    pub chunk_size: Option<u32>,
    /// Generation 1: the largest message that the server accepts, in bytes.
    pub upload_limit: u64,
    /// Generation 2: the id in the chunk headers of the next message.
    pub next_message: u32,
    /// Generation 1: the number of the next attachment key. Begins at a random number, because the server has one table
    /// of keys for all clients.
    pub next_key: u64,
}

impl Format {
    /// The chunk size for the `maxMsgSize` that a server announced, which is the size of a chunk with its
    /// header. One byte less, because wslink 2.0.0 to 2.0.4 refuse a chunk of exactly that size.
    pub fn chunk_size(max_msg_size: u64) -> Option<u32> {
        let data = max_msg_size.saturating_sub(HEADER_SIZE as u64 + 1).max(1);
        (max_msg_size > 0).then(|| u32::try_from(data).unwrap_or(u32::MAX))
    }
}

/// The messages of one call, which are sent one after the other without other messages between them, and how much of
/// them was sent. Parts are dropped together with the `Outgoing` and not when they were sent, because dropping one may
/// call a release function of the application: the owner decides on which thread.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Boxed, because an `Outgoing` is moved from queue to queue.
    content: Box<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// Nearly always only one.
    messages: SmallVec<[Message; 1]>,
    /// The index of the message that is being sent.
    at: usize,
    total: u64,
    sent: u64,
    /// The inline parts are wiped when they are dropped.
    secret: bool,
    /// No frame follows the one that is being sent.
    stopped: bool,
}

impl Content {
    /// The index of the message to which the next frame belongs.
    fn next(&self) -> usize {
        let is_framed = self.messages.get(self.at).is_some_and(|m| m.begun && m.framed == m.size);
        self.at + usize::from(is_framed)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if self.secret {
            self.messages.iter_mut().for_each(|message| wipe(&mut message.parts));
        }
    }
}

#[derive(Debug)]
struct Message {
    text: bool,
    parts: SmallVec<[Part; 1]>,
    /// The index of the part that is being sent, and how many bytes of it were sent.
    at: usize,
    part_sent: usize,
    size: u64,
    /// Generation 2: the id of the message, and the largest data of a chunk.
    chunk: Option<(u32, u32)>,
    /// Whether the first frame was begun. An empty message has a frame, too: attachments may be empty.
    begun: bool,
    /// How many bytes of `size` are in frames that were begun.
    framed: u64,
    /// How many bytes of the current frame were not sent yet.
    frame_remaining: u64,
}

/// Part of a message.
#[derive(Debug)]
enum Part {
    /// Bytes that were composed for the message.
    Inline(Vec<u8>),
    /// Binary data of the application.
    Shared(Bytes),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Part::Inline(bytes) => bytes,
            Part::Shared(bytes) => bytes,
        }
    }
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameStart {
    /// Whether the frame is text; otherwise it is binary.
    pub text: bool,
    /// The chunk header that precedes the data.
    pub prefix: Option<[u8; HEADER_SIZE]>,
    /// How many bytes of data follow.
    pub len: u64,
}

impl Outgoing {
    /// The size of all messages in bytes, without framing.
    pub fn total(&self) -> u64 {
        self.content.total
    }

    /// Whether the messages contain a secret, so that no copy of them may stay in memory.
    pub fn is_secret(&self) -> bool {
        self.content.secret
    }

    /// How many bytes of [`total`](Outgoing::total) were sent.
    pub fn sent(&self) -> u64 {
        self.content.sent
    }

    /// Begins the next frame. All data of the frame before must have been sent. `None` if there is no further frame.
    pub fn next_frame(&mut self) -> Option<FrameStart> {
        let content = &mut *self.content;
        if content.stopped {
            return None;
        }
        content.at = content.next();
        let message = content.messages.get_mut(content.at)?;
        let remaining = message.size - message.framed;
        let len = message.chunk.map_or(remaining, |(_, most)| remaining.min(u64::from(most)));
        let prefix = message
            .chunk
            .map(|(id, _)| ChunkHeader { id, offset: message.framed as u32, total: message.size as u32 }.to_bytes());
        message.begun = true;
        message.framed += len;
        message.frame_remaining = len;
        Some(FrameStart { text: message.text, prefix, len })
    }

    /// Whether the first frame was begun.
    pub fn is_begun(&self) -> bool {
        self.content.messages.first().is_some_and(|message| message.begun)
    }

    /// Makes the frame that is being sent the last one, if the protocol allows it. In generation 2 it does: the server
    /// keeps the chunks of the unfinished message until the connection ends. In generation 1 all messages are sent,
    /// because the server would keep an attachment to which no call refers until it exits.
    pub fn stop(&mut self) {
        let content = &mut *self.content;
        content.stopped |= content
            .messages
            .get(content.at)
            .is_some_and(|message| message.chunk.is_some() && message.framed < message.size);
    }

    /// Whether [`stop`](Outgoing::stop) has ended this before its last frame.
    pub fn is_stopped(&self) -> bool {
        self.content.stopped
    }

    /// Whether the next frame is an attachment that was announced. No other message may be sent before it, because a
    /// server of generation 1 takes the next binary message for this attachment.
    pub fn attachment_is_next(&self) -> bool {
        let next = self.content.next();
        next > 0 && self.content.messages.get(next).is_some_and(|message| !message.text && message.chunk.is_none())
    }

    /// The next data of the frame, as much as is contiguous. Empty at the end of the frame.
    pub fn data(&self) -> &[u8] {
        let Some(message) = self.content.messages.get(self.content.at) else {
            return &[];
        };
        let part = message.parts.get(message.at).map_or(&[][..], |p| &p.bytes()[message.part_sent..]);
        &part[..part.len().min(usize::try_from(message.frame_remaining).unwrap_or(usize::MAX))]
    }

    /// `n` bytes of [`data`](Outgoing::data) were sent.
    pub fn advance(&mut self, n: usize) {
        let content = &mut *self.content;
        if let Some(message) = content.messages.get_mut(content.at) {
            message.frame_remaining -= n as u64;
            content.sent += n as u64;
            message.part_sent += n;
            if message.parts.get(message.at).is_some_and(|part| part.bytes().len() == message.part_sent) {
                message.at += 1;
                message.part_sent = 0;
            }
        }
    }

    fn push(&mut self, text: bool, parts: Parts, chunk: Option<(u32, u32)>) {
        let parts = parts.finish();
        let size: u64 = parts.iter().map(|p| p.bytes().len() as u64).sum();
        self.content.total += size;
        self.content.messages.push(Message {
            text,
            parts,
            at: 0,
            part_sent: 0,
            size,
            chunk,
            begun: false,
            framed: 0,
            frame_remaining: 0,
        });
    }

    /// A text message in one frame.
    pub fn text(text: impl Into<Vec<u8>>) -> Outgoing {
        let mut outgoing = Outgoing::default();
        outgoing.push(true, Parts::new(text.into(), false), None);
        outgoing
    }
}

/// Composes the parts of a message.
#[derive(Debug)]
struct Parts {
    done: SmallVec<[Part; 1]>,
    /// The size of all `done` parts.
    done_bytes: u64,
    /// The inline part that is being composed.
    inline: Vec<u8>,
    /// All memory is wiped if composing fails.
    secret: bool,
}

impl Parts {
    fn new(inline: Vec<u8>, secret: bool) -> Parts {
        Parts { done: SmallVec::new(), done_bytes: 0, inline, secret }
    }

    /// Fails if `more` bytes would exceed the largest message of generation 2. To be called before data that may be
    /// large is added.
    fn check_size(&self, more: u64) -> Result<()> {
        const LARGEST: u64 = u32::MAX as u64;
        if self.done_bytes + self.inline.len() as u64 + more > LARGEST {
            let message = format!("message of more than {LARGEST} bytes, the most that protocol 2 can send at once");
            return Err(Error::new(Code::Limit, message));
        }
        Ok(())
    }

    fn shared(&mut self, data: &Bytes) {
        if data.len() < SMALLEST_PART {
            self.inline.extend_from_slice(data);
            return;
        }
        self.done_bytes += (self.inline.len() + data.len()) as u64;
        if !self.inline.is_empty() {
            self.done.push(Part::Inline(std::mem::take(&mut self.inline)));
        }
        self.done.push(Part::Shared(data.clone()));
    }

    fn finish(mut self) -> SmallVec<[Part; 1]> {
        if !self.inline.is_empty() {
            self.done.push(Part::Inline(std::mem::take(&mut self.inline)));
        }
        std::mem::take(&mut self.done)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.secret {
            self.inline.zeroize();
            wipe(&mut self.done);
        }
    }
}

fn wipe(parts: &mut [Part]) {
    for part in parts {
        if let Part::Inline(bytes) = part {
            bytes.zeroize();
        }
    }
}

impl Format {
    /// The format for a call with these arguments. Its message id and its attachment keys are reserved for the call.
    pub fn reserve(&mut self, args: &Args) -> Format {
        let reserved = self.clone();
        self.next_message = self.next_message.wrapping_add(1);
        self.next_key = self.next_key.wrapping_add(args.attachment_keys() as u64);
        reserved
    }
}

/// Composes a call.
pub fn call(format: &mut Format, id: &str, method: &str, args: &Args) -> Result<Outgoing> {
    let args = (args.positional.complete()?, args.keywords.complete()?);
    message(format, id, method, args, Kind::Call)
}

/// Composes a hello, the call that opens the session, and returns it with its size. If it is larger than a server of
/// generation 2 accepts from a client that is not authenticated, it leaves out the members that this server does not
/// need.
pub fn hello(format: &mut Format, secret: &str, members: &Document) -> Result<(Outgoing, u64)> {
    let mut args = Args::new();
    args.positional.keep_secret();
    args.positional.begin_map()?;
    args.positional.key("secret")?;
    args.positional.str(secret)?;
    for (key, value) in members.root().pairs() {
        args.positional.key(key.as_str().unwrap_or_default())?;
        args.positional.value(value)?;
    }
    args.positional.end()?;
    let args = (args.positional.complete()?, args.keywords.complete()?);
    let compose = |format: &mut Format, kind| message(format, super::envelope::SYSTEM_ID, "wslink.hello", args, kind);
    let mut outgoing = compose(format, Kind::Hello)?;
    if format.protocol == Protocol::V2 && outgoing.total() > HELLO_LIMIT {
        outgoing = compose(format, Kind::ShortHello)?;
    }
    let size = outgoing.total();
    Ok((outgoing, size))
}

/// The largest message that a server of generation 2 accepts before the hello succeeded (its `WSLINK_AUTH_MSG_SIZE`).
pub const HELLO_LIMIT: u64 = 512;

/// A call that detects the generation of the server without sending the secret: a server of generation 1 replies
/// with an error, a server of generation 2 ignores it.
pub fn probe() -> Outgoing {
    Outgoing::text(r#"{"wslink": "1.0", "id": "system:c0:0", "method": "wslink.probe", "args": [], "kwargs": {}}"#)
}

/// Positional and keyword arguments.
type Arguments<'a> = (&'a Document, &'a Document);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Hello,
    /// A hello without the members that a server of generation 2 does not need.
    ShortHello,
}

impl Kind {
    fn is_secret(self) -> bool {
        self != Kind::Call
    }

    /// Reserves memory for a message with these arguments. For a hello it must be enough, because moving the message
    /// would leave a copy of the secret behind. For a large call it must be enough, because a failure to allocate later
    /// would end the process.
    fn room(self, protocol: Protocol, (args, kwargs): Arguments<'_>) -> Result<Vec<u8>> {
        let bytes = args.bytes().len() + kwargs.bytes().len();
        let nodes = args.node_count() + kwargs.node_count();
        let most = match protocol {
            // The JSON writer grows the text up to the limit, and reports a failure to allocate.
            Protocol::V1 if self == Kind::Call => 0,
            // An escape takes at most six bytes for each byte; a number and the key of an attachment take at most
            // forty.
            Protocol::V1 => 512 + 6 * bytes + 40 * nodes,
            // Only binary data that is smaller than a part is copied.
            Protocol::V2 => {
                let all = args.attachments.iter().chain(&kwargs.attachments).map(Bytes::len);
                512 + bytes + 9 * nodes + all.filter(|len| *len < SMALLEST_PART).sum::<usize>()
            }
        };
        let mut room = Vec::new();
        try_reserve(&mut room, if self == Kind::Call && most < LARGE { SMALL_CALL } else { most })?;
        Ok(room)
    }
}

fn message(format: &mut Format, id: &str, method: &str, args: Arguments<'_>, kind: Kind) -> Result<Outgoing> {
    let room = kind.room(format.protocol, args)?;
    let mut outgoing = Outgoing::default();
    outgoing.content.secret = kind.is_secret();
    let parts = Parts::new(room, kind.is_secret());
    match format.protocol {
        Protocol::V1 => message_v1(&mut outgoing, parts, format, id, method, args),
        Protocol::V2 => message_v2(&mut outgoing, parts, format, id, method, args, kind),
    }?;
    Ok(outgoing)
}

fn message_v1(
    outgoing: &mut Outgoing,
    mut message: Parts,
    format: &mut Format,
    id: &str,
    method: &str,
    (args, kwargs): Arguments<'_>,
) -> Result<()> {
    // Too large attachments are refused before anything is written.
    for data in args.attachments.iter().chain(&kwargs.attachments) {
        check_upload(format, data.len() as u64)?;
    }
    let text = &mut message.inline;
    text.extend_from_slice(b"{\"wslink\": \"1.0\", \"id\": ");
    json::write::quoted(id, text);
    text.extend_from_slice(b", \"method\": ");
    json::write::quoted(method, text);
    text.extend_from_slice(b", \"args\": ");
    let limit = format.upload_limit;
    let write = |value, next_key: &mut u64, text: &mut Vec<u8>| {
        json::write::wire(value, next_key, text, limit).map_err(|failure| match failure {
            Failure::Limit => beyond_limit(limit),
            Failure::Error(error) => error,
        })
    };
    let mut attachments = write(args.root(), &mut format.next_key, text)?;
    text.extend_from_slice(b", \"kwargs\": ");
    attachments.extend(write(kwargs.root(), &mut format.next_key, text)?);
    text.push(b'}');
    if text.len() as u64 > limit {
        return Err(beyond_limit(limit));
    }

    for (key, value) in attachments {
        let data = value.document().own_attachment(value);
        let notice = format!(r#"{{"wslink": "1.0", "method": "{ATTACHMENT_METHOD}", "args": ["{key}"]}}"#);
        outgoing.push(true, Parts::new(notice.into_bytes(), false), None);
        let mut parts = Parts::new(Vec::new(), false);
        parts.shared(&data);
        outgoing.push(false, parts, None);
    }
    outgoing.push(true, message, None);
    Ok(())
}

fn check_upload(format: &Format, size: u64) -> Result<()> {
    if size > format.upload_limit {
        return Err(upload_error(format!("attachment of {size} bytes"), format.upload_limit));
    }
    Ok(())
}

/// The error does not say how large the message is, because writing stops at the limit.
fn beyond_limit(limit: u64) -> Error {
    upload_error(format!("message of more than {limit} bytes"), limit)
}

fn upload_error(what: String, limit: u64) -> Error {
    Error::new(
        Code::Limit,
        format!(
            "{what}, and a server of protocol 1 takes {limit} at once; if this one takes more \
             (its WSLINK_MAX_MSG_SIZE), say so with option v1_upload_limit"
        ),
    )
}

fn message_v2(
    outgoing: &mut Outgoing,
    mut parts: Parts,
    format: &mut Format,
    id: &str,
    method: &str,
    (args, kwargs): Arguments<'_>,
    kind: Kind,
) -> Result<()> {
    let short = kind == Kind::ShortHello;
    // The constant members are msgpack literals.
    parts.inline.extend_from_slice(if short { b"\x83\xa2id" } else { b"\x85\xa6wslink\xa31.0\xa2id" });
    parts.inline.str(id);
    parts.inline.extend_from_slice(b"\xa6method");
    parts.inline.str(method);
    parts.inline.extend_from_slice(b"\xa4args");
    append_msgpack(args, &mut parts)?;
    if !short {
        parts.inline.extend_from_slice(b"\xa6kwargs");
        append_msgpack(kwargs, &mut parts)?;
    }
    parts.check_size(0)?;
    let number = format.next_message;
    format.next_message = number.wrapping_add(1);
    outgoing.push(false, parts, Some((number, format.chunk_size.unwrap_or(u32::MAX))));
    Ok(())
}

/// One pass over the tape, which is in the order of msgpack.
fn append_msgpack(document: &Document, parts: &mut Parts) -> Result<()> {
    for index in 0..document.node_count() as u32 {
        let node = document.node(index);
        let out = &mut parts.inline;
        match node.tag {
            Tag::Null => out.nil(),
            Tag::False => out.boolean(false),
            Tag::True => out.boolean(true),
            Tag::Int => out.int(node.data as i64),
            Tag::Uint => out.uint(node.data),
            Tag::Float => out.float(f64::from_bits(node.data)),
            // The text was checked for UTF-8 when it was added to the document.
            Tag::Str => {
                parts.check_size(u64::from(node.len))?;
                parts.inline.utf8(document.slice(node));
            }
            Tag::Ext => out.ext(node.extra, document.slice(node)),
            Tag::Array => out.array_head(node.len),
            Tag::Map => out.map_head(node.len),
            Tag::FloatRun => {
                parts.check_size(9 * u64::from(node.len))?;
                let out = &mut parts.inline;
                out.array_head(node.len);
                out.extend_from_slice(&document.bytes()[node.data as usize..][..9 * node.len as usize]);
            }
            Tag::Bytes => {
                out.bin_head(node.len);
                out.extend_from_slice(document.slice(node));
            }
            Tag::Attachment => {
                let data = document.attachment(node);
                parts.check_size(data.len() as u64)?;
                parts.inline.bin_head(data.len() as u32);
                parts.shared(data);
            }
            Tag::BigInt => {
                return Err(Error::new(
                    Code::Unsupported,
                    "an integer beyond 64 bit cannot be sent to a server of protocol 2 (msgpack)",
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::builder::Builder;
    use crate::wire::json::parse::parse;
    use crate::wire::msgpack::decode::decode;
    use crate::wire::value::Value;

    fn format(protocol: Protocol) -> Format {
        Format { protocol, chunk_size: None, upload_limit: 4_194_303, next_message: 7, next_key: 100 }
    }

    /// All frames: whether they are text, and the payload with its prefix.
    fn frames(mut outgoing: Outgoing) -> Vec<(bool, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(start) = outgoing.next_frame() {
            let mut payload = start.prefix.map_or(Vec::new(), |p| p.to_vec());
            let head = payload.len() as u64;
            while !outgoing.data().is_empty() {
                let n = outgoing.data().len().min(1000);
                payload.extend_from_slice(&outgoing.data()[..n]);
                outgoing.advance(n);
            }
            assert_eq!(payload.len() as u64, head + start.len);
            frames.push((start.text, payload));
        }
        assert_eq!(outgoing.sent(), outgoing.total());
        frames
    }

    #[test]
    fn a_hello_of_generation_2_is_the_recorded_one() {
        let members = Builder::map().finish().unwrap();
        let (outgoing, size) = hello(&mut format(Protocol::V2), "wslink-secret", &members).unwrap();
        let frames = frames(outgoing);
        let recorded = "00000000530000008\
            5a677736c696e6ba3312e30a26964ab73797374656d3a63303a30a66d6574686f64ac77736c696e6b2e68656c6c6fa461726773\
            9181a6736563726574ad77736c696e6b2d736563726574a66b776172677380";
        assert_eq!(data_encoding::HEXLOWER.encode(&frames[0].1[4..]), recorded);
        assert_eq!((frames.len(), frames[0].0, size), (1, false, 0x53));
    }

    #[test]
    fn a_hello_of_generation_1_is_the_recorded_one() {
        let members = Builder::map().finish().unwrap();
        let (outgoing, _) = hello(&mut format(Protocol::V1), "wslink-secret", &members).unwrap();
        let recorded = r#"{"wslink": "1.0", "id": "system:c0:0", "method": "wslink.hello", "args": [{"secret": "wslink-secret"}], "kwargs": {}}"#;
        assert_eq!(frames(outgoing), [(true, recorded.as_bytes().to_vec())]);
    }

    #[test]
    fn a_long_hello_leaves_out_what_generation_2_does_not_need() {
        let members = Builder::map().finish().unwrap();
        let size = |n: usize| hello(&mut format(Protocol::V2), &"x".repeat(n), &members).unwrap().1;
        assert_eq!(size(440), 512);
        assert_eq!(size(441), 513 - 19);
        assert_eq!(size(459), 512);
        assert_eq!(size(460), 513);
    }

    #[test]
    fn chunks_cover_the_message_and_fit_the_server() {
        let mut f = Format { chunk_size: Format::chunk_size(1024), ..format(Protocol::V2) };
        let data: Vec<u8> = (0..20_000u32).map(|i| (i * 7) as u8).collect();
        let args = Args::new().with(data.clone()).unwrap().with(5i64).unwrap();
        let mut message = Vec::new();
        let frames = frames(call(&mut f, "rpc:c:1", "m", &args).unwrap());
        for (_, frame) in &frames {
            assert!(frame.len() < 1024);
            let header = ChunkHeader::from_bytes(frame[..12].try_into().unwrap());
            assert_eq!((header.id, header.offset as usize), (7, message.len()));
            message.extend_from_slice(&frame[12..]);
            assert!(message.len() <= header.total as usize);
        }
        let d = decode(message.into(), 99).unwrap();
        let args = d.root().get("args").unwrap();
        assert_eq!(args.index(0).and_then(Value::as_bytes), Some(&data[..]));
        assert_eq!(args.index(1).and_then(Value::as_i64), Some(5));
        assert_eq!(f.next_message, 8);
        assert_eq!(Format::chunk_size(0), None);
        assert_eq!(Format::chunk_size(3), Some(1));
    }

    #[test]
    fn generation_1_sends_each_attachment_before_the_call_and_under_its_own_key() {
        let mut args = Args::new();
        let key = args.attach(&b"data"[..]);
        let empty = args.attach(Bytes::new());
        args.add_json(&format!(r#"["{key}", {{"again": "{key}"}}, NaN, 100000000000000000000]"#)).unwrap();
        args.add_keywords_json(&format!(r#"{{"e": "{empty}", "é": -Infinity}}"#)).unwrap();
        let frames = frames(call(&mut format(Protocol::V1), "rpc:c:1", "a.b", &args).unwrap());
        let text = |i: usize| String::from_utf8(frames[i].1.clone()).unwrap();
        let kinds: Vec<bool> = frames.iter().map(|f| f.0).collect();
        assert_eq!(kinds, [true, false, true, false, true, false, true]);
        assert_eq!(text(0), r#"{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["wslink_bin100"]}"#);
        assert_eq!((text(1), text(3), text(5)), ("data".into(), "data".into(), String::new()));
        assert_eq!(
            text(6),
            r#"{"wslink": "1.0", "id": "rpc:c:1", "method": "a.b", "args": ["wslink_bin100", {"again": "wslink_bin101"}, NaN, 100000000000000000000], "kwargs": {"e": "wslink_bin102", "é": -Infinity}}"#
        );
    }

    #[test]
    fn what_a_generation_cannot_carry_is_refused_before_it_is_sent() {
        let mut args = Args::new();
        args.positional.ext(3, b"x").unwrap();
        assert_eq!(call(&mut format(Protocol::V1), "i", "m", &args).unwrap_err().code(), Code::Unsupported);
        let args = Args::from_json("[100000000000000000000]").unwrap();
        assert_eq!(call(&mut format(Protocol::V2), "i", "m", &args).unwrap_err().code(), Code::Unsupported);
        let args = Args::new().with(vec![0; 4_194_304]).unwrap();
        let e = call(&mut format(Protocol::V1), "i", "m", &args).unwrap_err();
        assert_eq!(e.code(), Code::Limit);
        assert!(e.message().contains("v1_upload_limit"), "{e}");
        let args = Args::new().with(vec![0; 4_194_303]).unwrap();
        assert!(call(&mut format(Protocol::V1), "i", "m", &args).is_ok());
    }

    #[test]
    fn a_message_beyond_the_largest_of_generation_2_is_refused() {
        // Never touched, so that it takes no memory.
        let data = Bytes::from(vec![0u8; 1 << 30]);
        let mut args = Args::new();
        (0..4).for_each(|_| args.positional.bytes(data.clone()).unwrap());
        let e = call(&mut format(Protocol::V2), "i", "m", &args).unwrap_err();
        assert_eq!(e.code(), Code::Limit);
        assert!(e.message().contains("4294967295"), "{e}");
        let mut args = Args::new();
        (0..3).for_each(|_| args.positional.bytes(data.clone()).unwrap());
        assert_eq!(call(&mut format(Protocol::V2), "i", "m", &args).unwrap().total() >> 30, 3);
    }

    #[test]
    fn a_reserved_format_shares_no_number_with_the_next_one() {
        let mut f = format(Protocol::V1);
        let args = Args::new().with(vec![1u8]).unwrap().with_keyword("k", vec![2u8]).unwrap();
        let first = f.reserve(&args);
        assert_eq!((first.next_key, first.next_message), (100, 7));
        assert_eq!((f.next_key, f.next_message), (102, 8));
        let mut used = first;
        call(&mut used, "i", "m", &args).unwrap();
        assert_eq!(used.next_key, f.next_key);
    }

    #[test]
    fn misuse_of_the_builder_is_an_error() {
        let mut b = Builder::map();
        assert!(b.int(1).is_err());
        b.key("a").unwrap();
        assert!(b.key("b").is_err());
        assert!(b.complete().is_err());
        b.begin_array().unwrap();
        assert!(b.key("c").is_err());
        assert!(b.complete().is_err());
        b.end().unwrap();
        assert!(b.end().is_err());
        assert_eq!(Args::from_json("{}").unwrap_err().code(), Code::Json);
        assert_eq!(Args::from_json(r#"["wslink_bin4"]"#).unwrap_err().code(), Code::Attachment);
        assert_eq!(
            Args::from_json(r#"["wslink_bin", "wslink_binx"]"#).unwrap().positional.finish().unwrap().root().len(),
            2
        );
    }

    #[test]
    fn values_survive_both_generations() {
        let text = r#"{"a": [null, true, -5, 18446744073709551615, 1.5, "é\"\n", {"x": []}, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.5]]}"#;
        let mut args = Args::new();
        args.add_json_value(text).unwrap();
        args.positional.floats((0..10).map(f64::from)).unwrap();
        args.positional.ints([1, -2].into_iter()).unwrap();
        for protocol in [Protocol::V1, Protocol::V2] {
            let (_, frame) = frames(call(&mut format(protocol), "i", "m", &args).unwrap()).pop().unwrap();
            let d = match protocol {
                Protocol::V1 => parse(frame.into(), 999).unwrap().document,
                Protocol::V2 => decode(frame[12..].to_vec().into(), 999).unwrap(),
            };
            let back = d.root().get("args").unwrap();
            assert_eq!(back, args.positional.complete().unwrap().root());
            // And once more through a copy of the view.
            let mut copy = Builder::array();
            back.elements().for_each(|v| copy.value(v).unwrap());
            assert_eq!(copy.finish().unwrap().root(), back);
        }
    }
}
