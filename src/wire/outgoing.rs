//! A call as the WebSocket frames that carry it, without copying large data.

use super::Protocol;
use super::args::Args;
use super::attachments::ATTACHMENT_METHOD;
use super::buffer::make_room;
use super::chunks::{ChunkHeader, HEADER_SIZE};
use super::document::Document;
use super::entry::Tag;
use super::json;
use super::msgpack::encode::Encode;
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use smallvec::SmallVec;
use zeroize::Zeroize;

/// Binary data below this is copied next to its neighbours; from here on it is sent from where it is.
const SMALLEST_PART: usize = 4 << 10;

/// Messages that may be of this size get their memory at once.
const LARGE: usize = 64 << 10;

/// Memory for a small call.
const SMALL_CALL: usize = 192;

/// A message that takes no more memory than this gives it to another one.
const LARGEST_SPARE: usize = 512;

/// How messages have to be formed for one server.
#[derive(Debug, Clone)]
pub struct Format {
    /// The generation.
    pub protocol: Protocol,
    /// Generation 2: largest data of a chunk; `None` never splits.
    pub chunk_size: Option<u32>,
    /// Generation 1: largest message the server takes, in bytes.
    pub upload_limit: u64,
    /// Generation 2: id of the next message. It only groups chunks.
    pub next_message: u32,
    /// Generation 1: number of the next attachment key. The server has one table for all clients, so
    /// this begins at a random number.
    pub next_key: u64,
}

impl Format {
    /// The chunk size for the `maxMsgSize` that a server announced: the size of a whole chunk with its
    /// header. One byte less, because wslink 2.0.0 to 2.0.4 refuse a chunk of exactly that size.
    pub fn chunk_size(max_msg_size: u64) -> Option<u32> {
        let data = max_msg_size.saturating_sub(HEADER_SIZE as u64 + 1).max(1);
        (max_msg_size > 0).then(|| u32::try_from(data).unwrap_or(u32::MAX))
    }
}

/// Messages that must follow each other without another between them, and how far they are sent. Nothing of them is
/// dropped before all of this is, so that the release of memory of the application runs where the owner of this wants.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// In a place of their own, because this is handed on from one queue to the next.
    content: Box<Content>,
}

#[derive(Debug, Default)]
struct Content {
    /// Nearly always there is only one.
    messages: SmallVec<[Message; 1]>,
    /// The message that is being sent.
    at: usize,
    total: u64,
    sent: u64,
    /// What was composed for this is wiped when it is dropped.
    secret: bool,
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
    /// The part that is being sent, and how much of it was taken.
    at: usize,
    taken: usize,
    size: u64,
    /// Generation 2: id of the message, and how much of it one chunk holds.
    chunk: Option<(u32, u32)>,
    /// Whether a frame was begun: an empty message has one too (zero-length attachments are real).
    begun: bool,
    /// How much of `size` is in frames that were begun.
    framed: u64,
    /// How much of the frame that was begun is still to be taken.
    frame_left: u64,
}

/// Part of a message.
#[derive(Debug)]
enum Part {
    Inline(Vec<u8>),
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
    /// Text or binary.
    pub text: bool,
    /// What precedes the data: the chunk header.
    pub prefix: Option<[u8; HEADER_SIZE]>,
    /// Bytes of data that follow.
    pub len: u64,
}

impl Outgoing {
    /// Bytes of all messages together, without framing.
    pub fn total(&self) -> u64 {
        self.content.total
    }

    /// Whether this is not to stay in memory.
    pub fn is_secret(&self) -> bool {
        self.content.secret
    }

    /// Bytes taken so far.
    pub fn sent(&self) -> u64 {
        self.content.sent
    }

    /// The next frame, after all data of the one before was taken; `None` at the end.
    pub fn next_frame(&mut self) -> Option<FrameStart> {
        let content = &mut *self.content;
        if content.messages.get(content.at).is_some_and(|m| m.begun && m.framed == m.size) {
            content.at += 1;
        }
        let message = content.messages.get_mut(content.at)?;
        let left = message.size - message.framed;
        let len = message.chunk.map_or(left, |(_, most)| left.min(u64::from(most)));
        let prefix = message
            .chunk
            .map(|(id, _)| ChunkHeader { id, offset: message.framed as u32, total: message.size as u32 }.to_bytes());
        message.begun = true;
        message.framed += len;
        message.frame_left = len;
        Some(FrameStart { text: message.text, prefix, len })
    }

    /// The next data of the frame, as much as lies together; empty at its end.
    pub fn data(&self) -> &[u8] {
        let Some(message) = self.content.messages.get(self.content.at) else {
            return &[];
        };
        let part = message.parts.get(message.at).map_or(&[][..], |p| &p.bytes()[message.taken..]);
        &part[..part.len().min(usize::try_from(message.frame_left).unwrap_or(usize::MAX))]
    }

    /// `n` bytes of [`data`](Outgoing::data) were taken.
    pub fn advance(&mut self, n: usize) {
        let content = &mut *self.content;
        if let Some(message) = content.messages.get_mut(content.at) {
            message.frame_left -= n as u64;
            content.sent += n as u64;
            message.taken += n;
            if message.parts.get(message.at).is_some_and(|part| part.bytes().len() == message.taken) {
                message.at += 1;
                message.taken = 0;
            }
        }
    }

    fn push(&mut self, text: bool, parts: Parts, chunk: Option<(u32, u32)>) {
        let parts = parts.finish();
        let size: u64 = parts.iter().map(|p| p.bytes().len() as u64).sum();
        self.content.total += size;
        let (at, taken, framed, frame_left) = (0, 0, 0, 0);
        self.content.messages.push(Message { text, parts, at, taken, size, chunk, begun: false, framed, frame_left });
    }

    /// Whether the memory of this is worth being used again for another call, and nothing else is in it.
    pub fn is_spare(&self) -> bool {
        let [message] = &self.content.messages[..] else { return false };
        matches!(&message.parts[..], [Part::Inline(bytes)] if bytes.capacity() <= LARGEST_SPARE) && !self.is_secret()
    }

    /// Empties this. Returns the memory that was its only part.
    fn recycle(&mut self) -> Vec<u8> {
        let part = self.content.messages.pop().and_then(|mut message| message.parts.pop());
        *self.content = Content::default();
        match part {
            Some(Part::Inline(mut bytes)) => {
                bytes.clear();
                bytes
            }
            _ => Vec::new(),
        }
    }

    /// A message of text, whole in one frame.
    pub fn text(text: impl Into<Vec<u8>>) -> Outgoing {
        let mut outgoing = Outgoing::default();
        outgoing.push(true, Parts::new(text.into(), false), None);
        outgoing
    }
}

/// Bytes put together from small ones that are copied and large ones that are not.
#[derive(Debug)]
struct Parts {
    done: SmallVec<[Part; 1]>,
    inline: Vec<u8>,
    /// Wiped, if they come to nothing.
    secret: bool,
}

impl Parts {
    fn new(inline: Vec<u8>, secret: bool) -> Parts {
        Parts { done: SmallVec::new(), inline, secret }
    }

    fn shared(&mut self, data: &Bytes) {
        if data.len() < SMALLEST_PART {
            self.inline.extend_from_slice(data);
            return;
        }
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

/// A call, formed for a server.
pub fn call(format: &mut Format, id: &str, method: &str, args: &Args) -> Result<Outgoing> {
    call_in(Outgoing::default(), format, id, method, args)
}

/// The same in the memory of a message that is over, see [`is_spare`](Outgoing::is_spare).
pub fn call_in(spare: Outgoing, format: &mut Format, id: &str, method: &str, args: &Args) -> Result<Outgoing> {
    let args = (args.positional.complete()?, args.keywords.complete()?);
    message(spare, format, id, method, args, Kind::Call)
}

/// A hello: the call that opens the session. If it is larger than what a generation 2 server takes
/// before it knows the client, members that such a server does not need are left out.
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
    let compose = |format: &mut Format, kind| {
        message(Outgoing::default(), format, super::envelope::SYSTEM_ID, "wslink.hello", args, kind)
    };
    let mut outgoing = compose(format, Kind::Hello)?;
    if format.protocol == Protocol::V2 && outgoing.total() > HELLO_LIMIT {
        outgoing = compose(format, Kind::ShortHello)?;
    }
    let size = outgoing.total();
    Ok((outgoing, size))
}

/// What a generation 2 server accepts before the hello succeeded (its `WSLINK_AUTH_MSG_SIZE`).
pub const HELLO_LIMIT: u64 = 512;

/// The question that tells the generations apart and holds no secret: generation 1 servers answer it
/// with an error, generation 2 servers ignore it.
pub fn probe() -> Outgoing {
    Outgoing::text(r#"{"wslink": "1.0", "id": "system:c0:0", "method": "wslink.probe", "args": [], "kwargs": {}}"#)
}

/// Positional and keyword arguments.
type Arguments<'a> = (&'a Document, &'a Document);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Hello,
    /// Without what a server of generation 2 does not need.
    ShortHello,
}

impl Kind {
    fn is_secret(self) -> bool {
        self != Kind::Call
    }

    /// Memory for a message with these arguments: `room`, or more of it. A hello must not outgrow it, because that would
    /// leave a copy of the secret behind; nor a large call, because memory that is not there then ends the process.
    fn room(self, mut room: Vec<u8>, protocol: Protocol, (args, kwargs): Arguments<'_>) -> Result<Vec<u8>> {
        let bytes = args.bytes().len() + kwargs.bytes().len();
        let nodes = args.node_count() + kwargs.node_count();
        let most = match protocol {
            // Escapes take six bytes, numbers (of which floats are among the bytes, too) and keys of attachments at most forty.
            Protocol::V1 => 512 + 6 * bytes + 40 * nodes,
            // Binary data that is copied is less than a part.
            Protocol::V2 => {
                let all = args.attachments.iter().chain(&kwargs.attachments).map(Bytes::len);
                512 + bytes + 9 * nodes + all.filter(|len| *len < SMALLEST_PART).sum::<usize>()
            }
        };
        // Small calls stay small.
        make_room(&mut room, if self == Kind::Call && most < LARGE { SMALL_CALL } else { most })?;
        Ok(room)
    }
}

fn message(
    mut outgoing: Outgoing,
    format: &mut Format,
    id: &str,
    method: &str,
    args: Arguments<'_>,
    kind: Kind,
) -> Result<Outgoing> {
    let room = kind.room(outgoing.recycle(), format.protocol, args)?;
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
    let text = &mut message.inline;
    text.extend_from_slice(b"{\"wslink\": \"1.0\", \"id\": ");
    json::write::quoted(id, text);
    text.extend_from_slice(b", \"method\": ");
    json::write::quoted(method, text);
    text.extend_from_slice(b", \"args\": ");
    let mut attachments = json::write::wire(args.root(), &mut format.next_key, text)?;
    text.extend_from_slice(b", \"kwargs\": ");
    attachments.extend(json::write::wire(kwargs.root(), &mut format.next_key, text)?);
    text.push(b'}');

    for (key, value) in attachments {
        let data = value.document().own_attachment(value);
        check_upload(format, data.len() as u64, "attachment")?;
        let notice = format!(r#"{{"wslink": "1.0", "method": "{ATTACHMENT_METHOD}", "args": ["{key}"]}}"#);
        outgoing.push(true, Parts::new(notice.into_bytes(), false), None);
        let mut parts = Parts::new(Vec::new(), false);
        parts.shared(&data);
        outgoing.push(false, parts, None);
    }
    check_upload(format, message.inline.len() as u64, "message")?;
    outgoing.push(true, message, None);
    Ok(())
}

fn check_upload(format: &Format, size: u64, what: &str) -> Result<()> {
    if size > format.upload_limit {
        return Err(Error::new(
            Code::Limit,
            format!(
                "{what} of {size} bytes, and a server of protocol 1 takes {} at once; if this one takes more \
                 (its WSLINK_MAX_MSG_SIZE), say so with option v1_upload_limit",
                format.upload_limit
            ),
        ));
    }
    Ok(())
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
    // What is the same in every message is written in msgpack already.
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
    let number = format.next_message;
    format.next_message = number.wrapping_add(1);
    outgoing.push(false, parts, Some((number, format.chunk_size.unwrap_or(u32::MAX))));
    if outgoing.total() > u64::from(u32::MAX) {
        let message = format!("message of {} bytes; protocol 2 ends at 4294967295", outgoing.total());
        return Err(Error::new(Code::Limit, message));
    }
    Ok(())
}

/// The tape is in the order of msgpack already, so this is one pass.
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
            // All text of a document was checked when it came in.
            Tag::Str => out.utf8(document.slice(node)),
            Tag::Ext => out.ext(node.extra, document.slice(node)),
            Tag::Array => out.array_head(node.len),
            Tag::Map => out.map_head(node.len),
            Tag::FloatRun => {
                out.array_head(node.len);
                out.extend_from_slice(&document.bytes()[node.data as usize..][..9 * node.len as usize]);
            }
            Tag::Bytes => {
                out.bin_head(node.len);
                out.extend_from_slice(document.slice(node));
            }
            Tag::Attachment => {
                let data = document.attachment(node);
                out.bin_head(data.len() as u32);
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

    /// All frames: text or binary, and the payload with its prefix.
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
    fn the_memory_of_small_calls_is_used_again_and_that_of_others_is_not() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let small = |text: &str| Args::new().with(text).unwrap().with_keyword("n", 5).unwrap();
            let spare = call(&mut format(protocol), "rpc:c:1", "before", &small(&"long".repeat(20))).unwrap();
            assert!(spare.is_spare());
            let mut sent = spare;
            while let Some(start) = sent.next_frame() {
                sent.advance(start.len as usize);
            }
            let again = call_in(sent, &mut format(protocol), "rpc:c:2", "m", &small("x")).unwrap();
            let fresh = call(&mut format(protocol), "rpc:c:2", "m", &small("x")).unwrap();
            assert_eq!((again.total(), again.sent()), (fresh.total(), 0));
            assert_eq!(frames(again), frames(fresh));

            let binary = Args::new().with(vec![7u8; 3 * SMALLEST_PART]).unwrap();
            assert!(!call(&mut format(protocol), "rpc:c:3", "m", &binary).unwrap().is_spare());
            assert!(
                !call(&mut format(protocol), "rpc:c:4", "m", &small(&"x".repeat(LARGEST_SPARE))).unwrap().is_spare()
            );
            let nothing = Builder::map().finish().unwrap();
            assert!(!hello(&mut format(protocol), "secret", &nothing).unwrap().0.is_spare());
        }
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
