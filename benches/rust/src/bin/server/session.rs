//! One WebSocket connection in either protocol, which its first message tells.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

use wslink_bench::frames;
use wslink_bench::messages::{self, Json, Msgpack, Protocol, Writer, envelope};

use crate::gather::Gather;
use crate::requests::Request;
use crate::socket::{Socket, blob};

/// Of payloads above this size only the beginning is kept.
const LARGE: usize = 64 << 10;
const KEPT: usize = 4 << 10;
/// The largest frame of protocol 2.
const MOST: usize = 4 << 20;
/// As long as the client ids of the real server.
const CLIENT: &str = "c0123456789abcdef0123456789abcdef";

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not understood")
}

pub fn serve(stream: impl Socket) -> io::Result<()> {
    let mut session = Session {
        socket: tungstenite::accept(stream).map_err(|_| bad())?.into_inner(),
        protocol: None,
        out: Gather::default(),
        serial: 0,
        unfinished: HashMap::new(),
        announced: VecDeque::new(),
        attachments: HashMap::new(),
    };
    let mut input = vec![0; 512 << 10];
    let (mut begin, mut end) = (0, 0);
    loop {
        while let Some(head) = frames::parse(&input[begin..end]) {
            let start = begin + head.size;
            let here = (end - start).min(head.payload);
            let wanted = if head.payload > LARGE { KEPT } else { head.payload };
            if here < wanted {
                break;
            }
            session.socket.discard(head.payload - here)?;
            let kept = &mut input[start..start + wanted];
            frames::unmask(kept, head.mask);
            begin = start + here;
            session.frame(head.opcode, kept, head.payload)?;
            if head.opcode == frames::CLOSE {
                return session.out.flush(&mut session.socket);
            }
        }
        session.out.flush(&mut session.socket)?;
        input.copy_within(begin..end, 0);
        (begin, end) = (0, end - begin);
        let room = &mut input[end..];
        let more = !session.unfinished.is_empty();
        match if more { session.socket.read_more(room) } else { session.socket.read(room) }? {
            0 => return Ok(()),
            count => end += count,
        }
    }
}

/// The large part of a message.
#[derive(Clone, Copy)]
enum Body {
    Blob(usize),
    Bytes(&'static [u8]),
}

impl Body {
    fn size(self) -> usize {
        match self {
            Body::Blob(size) => size,
            Body::Bytes(bytes) => bytes.len(),
        }
    }
    fn put(self, out: &mut Gather, mut range: Range<usize>) {
        match self {
            Body::Bytes(bytes) => out.refer(&bytes[range]),
            Body::Blob(_) => {
                while !range.is_empty() {
                    let piece = blob(range.start, range.len());
                    out.refer(piece);
                    range.start += piece.len();
                }
            }
        }
    }
}

struct Session<S> {
    socket: S,
    protocol: Option<Protocol>,
    out: Gather,
    serial: u32,
    /// Protocol 2: the beginning of incomplete messages, and the number of their received bytes.
    unfinished: HashMap<u32, (Vec<u8>, usize)>,
    /// Protocol 1: announced attachments, and the sizes of received ones.
    announced: VecDeque<String>,
    attachments: HashMap<String, usize>,
}

impl<S: Socket> Session<S> {
    /// Handles a frame; of a large payload only the beginning is available.
    fn frame(&mut self, opcode: u8, kept: &[u8], payload: usize) -> io::Result<()> {
        match opcode {
            frames::CLOSE | frames::PING => {
                let answer = if opcode == frames::PING { frames::PONG } else { opcode };
                self.out.write(|out| frames::put(out, answer, payload));
                self.out.put(kept);
                Ok(())
            }
            frames::TEXT => {
                self.protocol = Some(Protocol::Json);
                self.call(Protocol::Json, kept)
            }
            frames::BINARY if self.protocol == Some(Protocol::Json) => {
                let key = self.announced.pop_front().ok_or_else(bad)?;
                self.attachments.insert(key, payload);
                Ok(())
            }
            frames::BINARY => {
                self.protocol = Some(Protocol::Msgpack);
                self.chunk(kept, payload)
            }
            _ => Ok(()),
        }
    }

    fn chunk(&mut self, kept: &[u8], payload: usize) -> io::Result<()> {
        let (id, offset, total) = frames::parse_chunk(kept).ok_or_else(bad)?;
        let (data, size) = (&kept[12..], payload - 12);
        if size == total {
            return self.call(Protocol::Msgpack, data);
        }
        let (beginning, come) = self.unfinished.entry(id).or_insert_with(|| (data.to_vec(), 0));
        if *come != offset {
            return Err(bad());
        }
        *come += size;
        if *come == total {
            let beginning = std::mem::take(beginning);
            self.unfinished.remove(&id);
            self.call(Protocol::Msgpack, &beginning)?;
        }
        Ok(())
    }

    fn call(&mut self, protocol: Protocol, bytes: &[u8]) -> io::Result<()> {
        let request = Request::parse(protocol, bytes).ok_or_else(bad)?;
        let Some(id) = request.id else {
            // The announcement of attachments.
            self.announced.extend((0..request.args.len()).filter_map(|at| request.text(at)).map(str::to_string));
            return Ok(());
        };
        let number = |at| request.number(at).ok_or_else(bad);
        let text = |at| request.text(at).ok_or_else(bad);
        match request.method {
            "wslink.hello" => match protocol {
                Protocol::Json => self.reply(id, format!("{{\"clientID\": \"{CLIENT}\"}}").as_bytes()),
                Protocol::Msgpack => {
                    let mut result = Msgpack::default();
                    result.begin_map(2);
                    result.key("clientID");
                    result.text(CLIENT);
                    result.key("maxMsgSize");
                    result.uint(MOST as u64);
                    self.reply(id, &result.take());
                }
            },
            "bench.echo" => self.reply(id, request.args.first().ok_or_else(bad)?),
            "bench.upload" => {
                let size = match protocol {
                    Protocol::Json => self.attachments.remove(text(0)?).ok_or_else(bad)?,
                    Protocol::Msgpack => number(0)?,
                };
                self.reply_number(id, size);
            }
            "bench.structured" => {
                let body = list(protocol, text(0)?, number(1)?);
                let (head, tail) = envelope(protocol, id);
                self.message(&head, Body::Bytes(body), &tail);
            }
            "bench.publish.small" => {
                self.publish_small(text(0)?, number(1)?)?;
                self.reply_number(id, number(1)?);
            }
            "bench.publish.blob" => {
                self.publish_blobs(text(0)?, number(1)?, number(2)?)?;
                self.reply_number(id, number(1)?);
            }
            // Clients ask this to detect the protocol.
            _ if protocol == Protocol::Json => {
                let error = r#"{"code": -32601, "message": "Unknown method"}"#;
                let error = format!("{{\"wslink\": \"1.0\", \"id\": \"{id}\", \"error\": {error}}}");
                self.message(error.as_bytes(), Body::Blob(0), b"");
            }
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn reply(&mut self, id: &str, result: &[u8]) {
        let (mut head, tail) = envelope(self.protocol(), id);
        head.extend_from_slice(result);
        self.message(&head, Body::Blob(0), &tail);
    }
    fn reply_number(&mut self, id: &str, number: usize) {
        let mut text = Json::default();
        let mut packed = Msgpack::default();
        text.uint(number as u64);
        packed.uint(number as u64);
        let result = if self.protocol() == Protocol::Json { text.take() } else { packed.take() };
        self.reply(id, &result);
    }

    /// `{"i": ..., "s": "ping"}`, gathered in large writes.
    fn publish_small(&mut self, topic: &str, count: usize) -> io::Result<()> {
        let protocol = self.protocol();
        let (mut head, tail) = envelope(protocol, &format!("publish:{topic}:0"));
        let fixed = head.len();
        for i in 0..count {
            head.truncate(fixed);
            match protocol {
                Protocol::Json => write!(head, "{{\"i\": {i}, \"s\": \"ping\"}}")?,
                Protocol::Msgpack => {
                    head.extend_from_slice(b"\x82\xa1i");
                    let mut number = Msgpack(std::mem::take(&mut head));
                    number.uint(i as u64);
                    head = number.take();
                    head.extend_from_slice(b"\xa1s\xa4ping");
                }
            }
            self.message(&head, Body::Blob(0), &tail);
            if self.out.size() > 128 << 10 {
                self.out.flush(&mut self.socket)?;
            }
        }
        Ok(())
    }

    /// `{"size": [...], "blob": ..., "mtime": ...}`, as viewers publish images; small ones are gathered in writes of a
    /// megabyte.
    fn publish_blobs(&mut self, topic: &str, count: usize, size: usize) -> io::Result<()> {
        let protocol = self.protocol();
        let (begin, end) = envelope(protocol, &format!("publish:{topic}:0"));
        for i in 0..count {
            let mut head = begin.clone();
            match protocol {
                Protocol::Json => {
                    let key = format!("wslink_bin{i}");
                    let notice = format!(
                        "{{\"wslink\": \"1.0\", \"method\": \"wslink.binary.attachment\", \"args\": [\"{key}\"]}}"
                    );
                    self.message(notice.as_bytes(), Body::Blob(0), b"");
                    self.out.write(|out| frames::put(out, frames::BINARY, size));
                    Body::Blob(size).put(&mut self.out, 0..size);
                    write!(head, "{{\"size\": [100, 100], \"blob\": \"{key}\", \"mtime\": {i}}}")?;
                    self.message(&head, Body::Blob(0), &end);
                }
                Protocol::Msgpack => {
                    let mut head = Msgpack(head);
                    head.begin_map(3);
                    head.key("size");
                    head.begin_list(2);
                    head.uint(100);
                    head.uint(100);
                    head.key("blob");
                    head.binary_head(size);
                    let mut tail = Msgpack::default();
                    tail.key("mtime");
                    tail.uint(i as u64);
                    self.message(&head.take(), Body::Blob(size), &tail.take());
                }
            }
            if self.out.size() >= 1 << 20 {
                self.out.flush(&mut self.socket)?;
            }
        }
        Ok(())
    }

    fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::Msgpack)
    }

    /// One message of three parts; the middle part may be large.
    fn message(&mut self, head: &[u8], body: Body, tail: &[u8]) {
        let total = head.len() + body.size() + tail.len();
        let middle = head.len()..head.len() + body.size();
        let put = |out: &mut Gather, range: Range<usize>| {
            if range.start < middle.start {
                out.put(&head[range.start..range.end.min(middle.start)]);
            }
            let of_body = range.start.max(middle.start)..range.end.min(middle.end);
            if !of_body.is_empty() {
                body.put(out, of_body.start - middle.start..of_body.end - middle.start);
            }
            if range.end > middle.end {
                out.put(&tail[range.start.max(middle.end) - middle.end..range.end - middle.end]);
            }
        };
        if self.protocol() == Protocol::Json {
            self.out.write(|out| frames::put(out, frames::TEXT, total));
            return put(&mut self.out, 0..total);
        }
        self.serial = self.serial.wrapping_add(1);
        let mut offset = 0;
        while offset < total {
            let size = (total - offset).min(MOST - 12);
            self.out.write(|out| {
                frames::put(out, frames::BINARY, size + 12);
                out.extend_from_slice(&frames::chunk(self.serial, offset, total));
            });
            put(&mut self.out, offset..offset + size);
            offset += size;
        }
    }
}

/// A list, created at the first call and kept.
pub fn list(protocol: Protocol, kind: &str, count: usize) -> &'static [u8] {
    type Lists = HashMap<(Protocol, String, usize), &'static [u8]>;
    static LISTS: LazyLock<Mutex<Lists>> = LazyLock::new(Mutex::default);
    let mut lists = LISTS.lock().expect("no panic");
    lists.entry((protocol, kind.to_string(), count)).or_insert_with(|| messages::list(protocol, kind, count).leak())
}
