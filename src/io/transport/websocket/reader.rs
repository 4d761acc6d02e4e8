//! Reads frames. The payload of large frames goes from the socket straight to its place in the message.

use super::http::{self, Detected};
use super::mask::{self, Mask};
use super::violation;
use crate::error::{Code, Error, Result, Stage};
use crate::session::inbound::{Inbound, Received};
use crate::wire::buffer::{BEHIND, RoomFor};
use std::io::Cursor;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The size of a read. More would make the sender wait, less would cost system calls.
const READ_SIZE: usize = 128 << 10;

/// The size of the first reads, until one of them fills the buffer. A session with small messages needs no more.
const INITIAL_SIZE: usize = 4 << 10;

/// After a large frame, only the beginning of the next one is read into the buffer, to learn where its payload goes.
const PEEK_SIZE: usize = BEHIND;

/// Payload of frames of this size and more is read in place.
const LARGE_FRAME: u64 = 32 << 10;

/// The longest payload of a control frame (RFC 6455 section 5.5).
const MAX_CONTROL: u64 = 125;

/// The content of a frame or message.
#[derive(Debug)]
pub enum Incoming<S> {
    /// A message.
    Message(Received<S>),
    /// A ping, to be answered with this payload.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// The server closes the connection. Data after this frame is ignored.
    Close(Option<u16>, String),
}

/// The reading side of a connection.
pub struct Reader {
    /// This end of the connection: what it receives is masked if it is the server (RFC 6455 section 5.1).
    role: Role,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// A fragmented message is arriving.
    fragmented: bool,
    /// The current or last frame is large: a read takes at most `PEEK_SIZE` bytes into the buffer.
    peek: bool,
    /// A Close frame was received.
    closed: bool,
}

#[derive(Clone, Copy)]
struct Frame {
    is_final: bool,
    remaining: u64,
    /// The key for the next byte, unless what remains is not masked.
    mask: Option<Mask>,
}

impl Frame {
    /// Unmasks the next part of the payload.
    fn unmask(&mut self, part: &mut [u8]) {
        if let Some(mask) = &mut self.mask {
            mask::apply(part, *mask);
            *mask = mask::rotated(*mask, part.len());
        }
    }
}

impl Reader {
    /// For this end of the connection. `tail`: bytes of frames that arrived with the handshake.
    pub fn new(role: Role, tail: &[u8]) -> Reader {
        let mut buffer = vec![0; INITIAL_SIZE.max(tail.len())];
        buffer[..tail.len()].copy_from_slice(tail);
        Reader { role, buffer, start: 0, end: tail.len(), frame: None, fragmented: false, peek: false, closed: false }
    }

    /// Payload of the arriving frame that is still to come, in bytes.
    pub fn frame_remaining(&self) -> u64 {
        self.frame.map_or(0, |f| f.remaining)
    }

    /// At the end of the stream: the error for an HTTP status line, if the remaining bytes are one.
    pub fn http_at_end(&self) -> Option<Error> {
        let rest = &self.buffer[self.start..self.end];
        match http::detect(if self.frame.is_none() && !self.closed { rest } else { &[] }, true) {
            Detected::Http(error) => Some(error),
            _ => None,
        }
    }

    /// Receives once. `read` reads from the socket into the memory that it is given. Returns the result of `read`, and the size
    /// of that memory.
    pub fn receive<S: Clone, E>(
        &mut self,
        inbound: &mut Inbound<S>,
        read: impl FnOnce(&mut [u8]) -> std::result::Result<usize, E>,
    ) -> Result<(std::result::Result<usize, E>, usize)> {
        // Continue with the small buffer if there is no memory.
        if self.end == self.buffer.len()
            && self.end < READ_SIZE
            && self.buffer.try_reserve_exact(READ_SIZE - self.end).is_ok()
        {
            self.buffer.resize(READ_SIZE, 0);
        }
        if self.start > 0 {
            if self.start < self.end {
                self.buffer.copy_within(self.start..self.end, 0);
            }
            (self.start, self.end) = (0, self.end - self.start);
        }
        let peek = self.peek && !(self.frame.is_some() && inbound.ignores());
        let limit = if peek { (self.end + PEEK_SIZE).min(self.buffer.len()) } else { self.buffer.len() };
        let rest = &mut self.buffer[self.end..limit];
        // Read the payload of a large frame straight into the message. Small frames go through the buffer.
        if peek
            && let Some(frame) = &mut self.frame
            && frame.remaining > 0
            && self.end == 0
        {
            let payload = usize::try_from(frame.remaining).unwrap_or(usize::MAX).min(READ_SIZE);
            // The read that completes the frame also takes the header of the next one.
            let beyond = if payload as u64 == frame.remaining { rest.len() } else { 0 };
            if let Some(room) = inbound.room(RoomFor { payload, beyond })? {
                let done = read(room);
                let asked = room.len();
                if let Ok(n) = done {
                    let in_place = n.min(payload);
                    self.end = n - in_place;
                    rest[..self.end].copy_from_slice(&room[in_place..n]);
                    frame.unmask(&mut room[..in_place]);
                    frame.remaining -= in_place as u64;
                    inbound.arrived(in_place)?;
                }
                return Ok((done, asked));
            }
        }
        let asked = rest.len();
        let done = read(rest);
        if let Ok(n) = done {
            self.end += n;
        }
        Ok((done, asked))
    }

    /// The next message or control frame; `None`: more data is needed.
    pub fn next<S: Clone>(&mut self, inbound: &mut Inbound<S>) -> Result<Option<Incoming<S>>> {
        while !self.closed {
            let Some(frame) = &mut self.frame else {
                match self.begin_frame(inbound)? {
                    Parsed::Frame => continue,
                    Parsed::Incoming(incoming) => return Ok(Some(incoming)),
                    Parsed::Incomplete => return Ok(None),
                }
            };
            let have = (self.end - self.start).min(usize::try_from(frame.remaining).unwrap_or(usize::MAX));
            if have > 0 {
                let part = &mut self.buffer[self.start..self.start + have];
                frame.unmask(part);
                inbound.data(part)?;
                self.start += have;
                frame.remaining -= have as u64;
            }
            if frame.remaining > 0 {
                return Ok(None);
            }
            let is_final = frame.is_final;
            self.frame = None;
            self.fragmented = !is_final;
            if is_final {
                match inbound.end()? {
                    Received::Nothing => {}
                    received => return Ok(Some(Incoming::Message(received))),
                }
            }
        }
        Ok(None)
    }

    fn begin_frame<S: Clone>(&mut self, inbound: &mut Inbound<S>) -> Result<Parsed<S>> {
        // Most frames of servers are small messages in one frame. Their header needs no general decoder.
        if self.role == Role::Client
            && !self.fragmented
            && let [head @ (0x81 | 0x82), len @ 0..=125, rest @ ..] = &self.buffer[self.start..self.end]
            && let Some(payload) = rest.get(..usize::from(*len))
            && let Some(received) = inbound.whole(*head == 0x81, payload)?
        {
            self.start += 2 + payload.len();
            self.peek = false;
            return Ok(match received {
                Received::Nothing => Parsed::Frame,
                message => Parsed::Incoming(Incoming::Message(message)),
            });
        }
        let bytes = &self.buffer[self.start..self.end];
        match http::detect(bytes, false) {
            Detected::Frame => {}
            Detected::Incomplete => return Ok(Parsed::Incomplete),
            Detected::Http(error) => return Err(error),
        }
        let mut cursor = Cursor::new(bytes);
        let Some((header, len)) = FrameHeader::parse(&mut cursor).map_err(malformed)? else {
            return Ok(Parsed::Incomplete);
        };
        let head = cursor.position() as usize;
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(violation("sent a frame with reserved bits set"));
        }
        match (self.role, header.mask) {
            (Role::Client, None) | (Role::Server, Some(_)) => {}
            (Role::Client, Some(_)) => return Err(violation("sent a masked frame, and only clients mask theirs")),
            (Role::Server, None) => {
                return Err(violation(
                    "opened the connection and sent a frame that is not masked, as clients must mask theirs",
                ));
            }
        }
        if len > i64::MAX as u64 {
            return Err(violation(format!("sent a frame of the impossible length {len}")));
        }
        match header.opcode {
            OpCode::Control(control) => {
                if len > MAX_CONTROL {
                    return Err(violation(format!("sent a control frame longer than {MAX_CONTROL} bytes: {len}")));
                }
                if !header.is_final {
                    return Err(violation("sent a fragment of a control frame"));
                }
                let Some(payload) = bytes.get(head..head + len as usize) else {
                    return Ok(Parsed::Incomplete);
                };
                let mut payload = payload.to_vec();
                if let Some(mask) = header.mask {
                    mask::apply(&mut payload, mask);
                }
                self.start += head + payload.len();
                Ok(Parsed::Incoming(match control {
                    Control::Ping => Incoming::Ping(payload),
                    Control::Pong => Incoming::Pong,
                    _ => {
                        self.closed = true;
                        close(&payload)?
                    }
                }))
            }
            OpCode::Data(data) => {
                self.start += head;
                let mut frame = Frame { is_final: header.is_final, remaining: len, mask: header.mask };
                let rest = &mut self.buffer[self.start..self.end];
                if header.is_final
                    && !self.fragmented
                    && data != Data::Continue
                    && let Some(payload) = usize::try_from(len).ok().and_then(|len| rest.get_mut(..len))
                {
                    frame.unmask(payload);
                    frame.mask = None;
                    if let Some(received) = inbound.whole(data == Data::Text, payload)? {
                        self.start += payload.len();
                        self.peek = len >= LARGE_FRAME;
                        return Ok(match received {
                            Received::Nothing => Parsed::Frame,
                            message => Parsed::Incoming(Incoming::Message(message)),
                        });
                    }
                }
                match (data, self.fragmented) {
                    (Data::Continue, true) => inbound.frame(len)?,
                    (Data::Continue, false) => return Err(violation("continues a message that it did not begin")),
                    (_, true) => return Err(violation("begins a message inside another")),
                    (data, false) => inbound.begin(data == Data::Text, len)?,
                }
                self.frame = Some(frame);
                self.peek = len >= LARGE_FRAME;
                Ok(Parsed::Frame)
            }
        }
    }
}

/// The result of parsing a frame header.
enum Parsed<S> {
    /// Nothing to report yet: continue with the payload, or with the next frame.
    Frame,
    /// A message or control frame to report.
    Incoming(Incoming<S>),
    /// More data is needed.
    Incomplete,
}

/// The error for a header that the codec refuses.
#[cold]
fn malformed(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Protocol(ProtocolError::InvalidOpcode(opcode)) => {
            violation(format!("sent a frame with the reserved opcode {opcode}"))
        }
        other => violation(format!("sent a frame that cannot be read: {other}")),
    }
}

/// Parses the payload of a Close frame (RFC 6455 section 5.5.1).
fn close<S>(payload: &[u8]) -> Result<Incoming<S>> {
    match payload {
        [] => Ok(Incoming::Close(None, String::new())),
        [_] => Err(violation("sent a Close frame of one byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(violation(format!("sent a Close frame with code {code}, which must not be sent")));
            }
            match std::str::from_utf8(reason) {
                Ok(reason) => Ok(Incoming::Close(Some(code), reason.to_owned())),
                // RFC 6455 section 8.1.
                Err(_) => Err(Error::new(Code::Utf8, "the server sent a Close frame whose reason is not UTF-8")
                    .at(Stage::Session)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::calls::ReplyId;
    use crate::wire::Protocol;
    use crate::wire::buffer::BufferPool;
    use crate::wire::chunks::ChunkHeader;
    use crate::wire::envelope::result;
    use crate::wire::limits::Limits;
    use std::io::{ErrorKind, Read};

    /// What the peer sends, and what has to be received.
    #[derive(Default)]
    struct Stream {
        bytes: Vec<u8>,
        /// The peer masks its frames, because it is the client.
        masked: bool,
        /// Where headers and payloads begin.
        boundaries: Vec<usize>,
        expected: Vec<Thing>,
    }

    #[derive(Debug, PartialEq)]
    enum Thing {
        Reply(String, Vec<u8>),
        Malformed,
        Ping,
        Close,
    }

    fn pattern(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    impl Stream {
        fn frame(&mut self, last: bool, opcode: OpCode, payload: &[u8]) {
            self.boundaries.push(self.bytes.len());
            let mask = self.masked.then(|| (self.bytes.len() as u32 ^ 0x9e37_79b9).to_be_bytes());
            let header = FrameHeader { is_final: last, opcode, mask, ..FrameHeader::default() };
            header.format(payload.len() as u64, &mut self.bytes).unwrap();
            self.boundaries.push(self.bytes.len());
            let mask = mask.unwrap_or_default();
            self.bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        }

        /// A message in frames of these sizes, and a last one with the rest. A ping follows each frame but the last.
        fn message(&mut self, text: bool, payload: &[u8], frames: &[usize]) {
            let (mut rest, mut opcode) = (payload, OpCode::Data(if text { Data::Text } else { Data::Binary }));
            for &size in frames {
                let (part, after) = rest.split_at(size);
                self.frame(false, opcode, part);
                self.frame(true, OpCode::Control(Control::Ping), b"there?");
                self.expected.push(Thing::Ping);
                (rest, opcode) = (after, OpCode::Data(Data::Continue));
            }
            self.frame(true, opcode, rest);
        }

        fn expect(&mut self, id: &str, data: Vec<u8>) {
            self.expected.push(Thing::Reply(id.to_owned(), data));
        }

        /// A generation 2 reply in chunks of these sizes and a last one with the rest. Each chunk is in frames of these sizes.
        fn blob(&mut self, id: &str, size: usize, chunks: &[usize], frames: &[usize]) {
            let data = pattern(size);
            let value = rmpv::Value::Map(vec![
                ("wslink".into(), "1.0".into()),
                ("id".into(), id.into()),
                ("result".into(), rmpv::Value::Binary(data.clone())),
            ]);
            let mut message = Vec::new();
            rmpv::encode::write_value(&mut message, &value).unwrap();
            let mut offset = 0usize;
            for size in chunks.iter().copied().chain([usize::MAX]) {
                let end = message.len().min(offset.saturating_add(size));
                let header = ChunkHeader { id: 7, offset: offset as u32, total: message.len() as u32 };
                self.message(false, &[&header.to_bytes()[..], &message[offset..end]].concat(), frames);
                offset = end;
            }
            self.expect(id, data);
        }

        /// Generation 1 attachments of these sizes, and a reply with each.
        fn attached(&mut self, sizes: &[usize], frames: &[usize]) {
            let keys: Vec<_> = (0..sizes.len()).map(|i| format!("wslink_bin{i}")).collect();
            let notice =
                serde_json::json!({"wslink": "1.0", "method": "wslink.binary.attachment", "args": keys}).to_string();
            self.message(true, notice.as_bytes(), &[]);
            for &size in sizes {
                self.message(false, &pattern(size), if size > 1000 { frames } else { &[] });
            }
            for (key, &size) in keys.iter().zip(sizes) {
                let reply = serde_json::json!({"wslink": "1.0", "id": key, "result": key}).to_string();
                self.message(true, reply.as_bytes(), &[]);
                self.expect(key, pattern(size));
            }
        }

        fn close(&mut self) {
            self.frame(true, OpCode::Control(Control::Close), &1000u16.to_be_bytes());
            self.expected.push(Thing::Close);
        }

        /// Positions in and around the headers, at which a read may end.
        fn cuts(&self) -> Vec<usize> {
            let near = |&boundary: &usize| {
                let around = (boundary.saturating_sub(2)..boundary + 2 + 12)
                    .chain([boundary + PEEK_SIZE - 1, boundary + PEEK_SIZE]);
                around.chain([boundary + LARGE_FRAME as usize, boundary + READ_SIZE])
            };
            let mut cuts: Vec<_> =
                self.boundaries.iter().flat_map(near).filter(|&cut| cut < self.bytes.len()).collect();
            cuts.sort();
            cuts.dedup();
            cuts
        }
    }

    /// A socket that would block once at position `cut`, and returns at most `step` bytes from each read.
    #[derive(Clone, Copy)]
    struct Socket {
        cut: usize,
        step: usize,
    }

    /// What is received, and the number of reads.
    fn receive(stream: &Stream, protocol: Protocol, limits: Limits, socket: Socket) -> Result<(Vec<Thing>, usize)> {
        let role = if stream.masked { Role::Server } else { Role::Client };
        let stream = &stream.bytes[..];
        let mut inbound = Inbound::<()>::new(limits, BufferPool::new(0));
        inbound.set_protocol(Some(protocol));
        let (mut reader, mut things, mut reads, mut at) = (Reader::new(role, &[]), Vec::new(), 0, 0);
        let mut blocks = socket.cut < stream.len();
        loop {
            let mut given = 0;
            let (done, asked) = reader.receive(&mut inbound, |into| {
                given = into.len();
                if blocks && at == socket.cut {
                    blocks = false;
                    return Err(ErrorKind::WouldBlock);
                }
                let here = &stream[at..if blocks { socket.cut } else { stream.len() }];
                let mut here = &here[..here.len().min(socket.step)];
                Ok(here.read(into).unwrap())
            })?;
            assert_eq!(asked, given);
            reads += 1;
            at += match done {
                Ok(0) => return Ok((things, reads)),
                Ok(n) => n,
                Err(_) => 0,
            };
            while let Some(incoming) = reader.next(&mut inbound)? {
                things.push(match incoming {
                    Incoming::Message(Received::Reply { id: ReplyId::Other(id), outcome, .. }) => {
                        let document = outcome?;
                        Thing::Reply(id, result(&document).as_bytes().unwrap().to_vec())
                    }
                    Incoming::Message(Received::Malformed(_)) => Thing::Malformed,
                    Incoming::Ping(payload) if payload == b"there?" => Thing::Ping,
                    Incoming::Close(Some(1000), _) => Thing::Close,
                    other => panic!("{other:?}"),
                });
            }
        }
    }

    fn arrives_however_it_is_cut(protocol: Protocol, stream: &Stream) {
        let whole = Socket { cut: usize::MAX, step: usize::MAX };
        let cuts = stream.cuts().into_iter().map(|cut| Socket { cut, ..whole });
        let steps =
            [1, 9, 1000, PEEK_SIZE - 1, PEEK_SIZE, PEEK_SIZE + 1, LARGE_FRAME as usize, 50_000, READ_SIZE, usize::MAX];
        for socket in cuts.chain(steps.map(|step| Socket { step, ..whole })) {
            let (things, _) = receive(stream, protocol, Limits::default(), socket).unwrap();
            let Socket { cut, step } = socket;
            assert!(things == stream.expected, "cut at {cut}, steps of {step}");
        }
    }

    #[test]
    fn large_and_small_messages_arrive_however_the_stream_is_cut() {
        let mut stream = Stream::default();
        large_and_small(&mut stream);
        arrives_however_it_is_cut(Protocol::V2, &stream);
    }

    #[test]
    fn masked_messages_arrive_however_the_stream_is_cut() {
        let mut stream = Stream { masked: true, ..Stream::default() };
        large_and_small(&mut stream);
        arrives_however_it_is_cut(Protocol::V2, &stream);
    }

    #[test]
    fn frames_are_masked_by_clients_only() {
        for masked in [false, true] {
            let mut stream = Stream { masked, ..Stream::default() };
            stream.blob("small", 20, &[], &[]);
            // The peer is taken for the other end.
            stream.masked = !masked;
            let socket = Socket { cut: usize::MAX, step: usize::MAX };
            let error = receive(&stream, Protocol::V2, Limits::default(), socket).unwrap_err();
            assert_eq!(error.code(), Code::Protocol);
            assert!(error.message().contains("mask"), "{error}");
        }
    }

    fn large_and_small(stream: &mut Stream) {
        stream.blob("small", 20, &[], &[]);
        stream.blob("large", 70_000, &[], &[]);
        stream.blob("in frames", 80_000, &[], &[40_000, 0, 33_000, 20]);
        stream.blob("small again", 300, &[], &[]);
        stream.blob("just large", LARGE_FRAME as usize, &[], &[]);
        stream.blob("and another", LARGE_FRAME as usize, &[], &[]);
        stream.blob("not so large", 20_000, &[], &[]);
        stream.blob("in chunks", 110_000, &[40_000, 10, 60_000], &[]);
        stream.blob("in chunks in frames", 70_000, &[34_000], &[5, 33_000]);
        stream.blob("larger than one read", 180_000, &[], &[]);
        stream.close();
    }

    #[test]
    fn attachments_and_text_arrive_however_the_stream_is_cut() {
        let mut stream = Stream::default();
        stream.attached(&[70_000], &[]);
        stream.attached(&[LARGE_FRAME as usize, 10, 33_000], &[]);
        stream.attached(&[90_000], &[40_000, 7]);
        // An attachment that was not announced.
        stream.message(false, &pattern(50_000), &[]);
        stream.expected.push(Thing::Malformed);
        stream.attached(&[160_000], &[]);
        stream.close();
        arrives_however_it_is_cut(Protocol::V1, &stream);
    }

    #[test]
    fn the_read_that_completes_a_message_takes_the_next_header() {
        const COUNT: usize = 50;
        for size in [40_000, 65_536, 100_000] {
            let mut stream = Stream::default();
            (0..COUNT).for_each(|i| stream.blob(&i.to_string(), size, &[], &[]));
            let socket = Socket { cut: usize::MAX, step: usize::MAX };
            let (_, reads) = receive(&stream, Protocol::V2, Limits::default(), socket).unwrap();
            // The first read is small.
            assert!(reads <= COUNT + 2, "{reads} reads for {COUNT} messages of {size} bytes");
        }
    }

    #[test]
    fn small_messages_take_few_reads() {
        const COUNT: usize = 5000;
        let mut stream = Stream::default();
        (0..COUNT).for_each(|i| stream.blob(&i.to_string(), 60, &[], &[]));
        let socket = Socket { cut: usize::MAX, step: usize::MAX };
        let (things, reads) = receive(&stream, Protocol::V2, Limits::default(), socket).unwrap();
        assert_eq!(things.len(), COUNT);
        // The first read is small, and the last one reports the end.
        assert!(reads <= stream.bytes.len().div_ceil(READ_SIZE) + 2, "{reads} reads for {} bytes", stream.bytes.len());
    }

    #[test]
    fn a_skipped_message_takes_few_reads() {
        let mut stream = Stream::default();
        // An attachment that was not announced.
        stream.message(false, &pattern(5_000_000), &[]);
        let socket = Socket { cut: usize::MAX, step: usize::MAX };
        let (things, reads) = receive(&stream, Protocol::V1, Limits::default(), socket).unwrap();
        assert_eq!(things, [Thing::Malformed]);
        assert!(reads <= 5_000_000usize.div_ceil(READ_SIZE) + 3, "{reads} reads");
    }

    #[test]
    fn payload_beyond_the_declared_size_or_the_limit_is_refused() {
        let chunk = ChunkHeader { id: 7, offset: 0, total: 50_000 }.to_bytes();
        let small = Limits { message_size: 100_000, ..Limits::default() };
        let mut beyond_the_total = Stream::default();
        beyond_the_total.message(false, &[&chunk[..], &pattern(50_001)].concat(), &[]);
        let mut beyond_the_limit = Stream::default();
        beyond_the_limit.message(true, &pattern(120_000), &[60_000]);
        for (protocol, code, mut stream) in
            [(Protocol::V2, Code::Protocol, beyond_the_total), (Protocol::V1, Code::Limit, beyond_the_limit)]
        {
            stream.close();
            for step in [1000, 50_000, usize::MAX] {
                let socket = Socket { cut: usize::MAX, step };
                let e = receive(&stream, protocol, small, socket).unwrap_err();
                assert_eq!(e.code(), code, "steps of {step}: {e}");
            }
        }
    }

    #[test]
    fn small_frames_in_a_burst_take_few_reads() {
        let frame = [0x89, 3, b'a', b'b', b'c'];
        let sent = frame.repeat(60_000);
        let mut remaining = &sent[..];
        let (mut reader, mut inbound) =
            (Reader::new(Role::Client, &[]), Inbound::<()>::new(Limits::default(), BufferPool::new(0)));
        let (mut reads, mut pings) = (0, 0);
        while !remaining.is_empty() {
            let read = |into: &mut [u8]| {
                let n = into.len().min(remaining.len());
                into[..n].copy_from_slice(&remaining[..n]);
                remaining = &remaining[n..];
                Ok::<_, std::convert::Infallible>(n)
            };
            reader.receive(&mut inbound, read).unwrap().0.unwrap();
            reads += 1;
            while let Some(incoming) = reader.next(&mut inbound).unwrap() {
                assert!(matches!(incoming, Incoming::Ping(payload) if payload == b"abc"));
                pings += 1;
            }
        }
        assert_eq!((pings, reads), (60_000, 4), "one small read, and full ones");
    }
}
