//! A WebSocket server that a test scripts byte by byte. It plays what real servers do rarely, in other versions, or never. It
//! has one thread per connection; a panic in that thread fails the test.

use rmpv::Value as Pack;
use serde_json::{Value as Json, json};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use tungstenite::handshake::derive_accept_key;
use wslink::{Config, Protocol, Session};

use super::PATIENCE;

pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame of the client, unmasked.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    /// The end of the TCP connection.
    End,
}

/// A decoded call of the client.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub method: String,
    pub args: Json,
    pub kwargs: Json,
    /// The generation of its encoding.
    pub protocol: Protocol,
}

/// The server. Declare it before the session that connects to it, so that it is dropped after the session.
pub struct ScriptedServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    acceptor: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

impl ScriptedServer {
    /// `script` plays one connection; the first connection has number 1. The connection ends when `script` returns.
    pub fn start(script: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> ScriptedServer {
        ScriptedServer::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), script)
    }

    pub fn start_at(ip: IpAddr, script: impl Fn(&mut Conn, usize) + Send + Sync + 'static) -> ScriptedServer {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count, script) = (Arc::clone(&stop), Arc::clone(&accepted), Arc::new(script));
        let acceptor = thread::spawn(move || {
            let mut connections = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(SeqCst) {
                    break;
                }
                let number = count.fetch_add(1, SeqCst) + 1;
                let script = Arc::clone(&script);
                connections.push(thread::spawn(move || script(&mut Conn::new(stream), number)));
            }
            connections
        });
        ScriptedServer { address, stop, accepted, acceptor: Some(acceptor) }
    }

    /// The number of accepted connections.
    pub fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// A configuration for a session with this generation, or with detection.
    pub fn config(&self, protocol: impl Into<Option<Protocol>>) -> Config {
        let mut config = Config::new(&self.url()).unwrap();
        config.session.protocol = protocol.into();
        config.session.connect_timeout = PATIENCE;
        config
    }

    /// A session that is ready.
    pub fn session(&self, protocol: impl Into<Option<Protocol>>) -> Session {
        super::connected(self.config(protocol))
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        let connections = self.acceptor.take().unwrap().join().expect("the acceptor never panics");
        let failed = connections.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        if failed > 0 && !thread::panicking() {
            panic!("the script failed on {failed} connection(s), see above");
        }
    }
}

/// One connection, seen by the server.
pub struct Conn {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// The head of the upgrade request.
    pub request: String,
    /// The generation in which `message` and its relatives encode; the hello functions set it.
    pub protocol: Protocol,
    /// Attachments of the client (generation 1), in the order of arrival.
    pub attachments: Vec<(String, Vec<u8>)>,
    announced: VecDeque<String>,
    /// Headers of the chunks of the client: offset, data size, total.
    pub chunks: Vec<(u32, usize, u32)>,
    /// Unfinished messages of the client, by message id.
    pub partial: HashMap<u32, Vec<u8>>,
    next_chunk: u32,
}

impl Conn {
    fn new(stream: TcpStream) -> Conn {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Conn {
            stream,
            buffer: Vec::new(),
            request: String::new(),
            protocol: Protocol::V2,
            attachments: Vec::new(),
            announced: VecDeque::new(),
            chunks: Vec::new(),
            partial: HashMap::new(),
            next_chunk: 1000,
        }
    }

    /// Receives more; `false` at the end of TCP. A silent client fails the test.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 64 << 10];
        match self.stream.read(&mut bytes) {
            Ok(n) => {
                self.buffer.extend_from_slice(&bytes[..n]);
                n > 0
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the client sent nothing for {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }

    /// Reads an HTTP request head.
    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                self.request = String::from_utf8(head).unwrap();
                return self.request.clone();
            }
            assert!(self.receive(), "the client ended TCP instead of sending a request");
        }
    }

    /// Reads the content of the request whose head was read.
    pub fn content(&mut self) -> String {
        let size = self.header("Content-Length").map_or(0, |size| size.parse().unwrap());
        while self.buffer.len() < size {
            assert!(self.receive(), "the client ended TCP in the middle of its request");
        }
        String::from_utf8(self.buffer.drain(..size).collect()).unwrap()
    }

    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.request.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
    }

    /// The answer of a server to the request that was read.
    pub fn switching(&self) -> String {
        let key = self.header("Sec-WebSocket-Key").expect("an upgrade request");
        let accept = derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    }

    /// The WebSocket handshake.
    pub fn accept(&mut self) {
        self.head();
        let answer = self.switching();
        self.raw(answer);
    }

    /// Reads the upgrade request and answers with something else.
    pub fn respond(&mut self, answer: &str) {
        self.head();
        self.raw(answer);
    }

    /// Writes bytes. Bytes that the client does not read are lost, as with a real server; the next read then returns the end.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// A frame header: `first` has FIN, reserved bits and opcode.
    pub fn frame_head(first: u8, len: u64) -> Vec<u8> {
        let mut head = vec![first];
        match len {
            0..=125 => head.push(len as u8),
            126..=0xffff => {
                head.push(126);
                head.extend((len as u16).to_be_bytes());
            }
            _ => {
                head.push(127);
                head.extend(len.to_be_bytes());
            }
        }
        head
    }

    /// A frame as bytes.
    pub fn frame_bytes(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Conn::frame_head(first, payload.len() as u64);
        bytes.extend_from_slice(payload);
        bytes
    }

    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.raw(Conn::frame_bytes(first, payload));
    }

    pub fn text(&mut self, text: &str) {
        self.send(FIN | TEXT, text.as_bytes());
    }

    pub fn binary(&mut self, data: &[u8]) {
        self.send(FIN | BINARY, data);
    }

    /// A message in fragments; `between` is called after each fragment except the last.
    pub fn fragments(&mut self, opcode: u8, parts: &[&[u8]], mut between: impl FnMut(&mut Conn)) {
        for (i, part) in parts.iter().enumerate() {
            let last = i + 1 == parts.len();
            self.send(if i == 0 { opcode } else { CONTINUATION } | if last { FIN } else { 0 }, part);
            if !last {
                between(self);
            }
        }
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason.as_bytes());
        self.send(FIN | CLOSE, &payload);
    }

    /// Sends a ping and waits for its pong; the client must not send anything else first.
    pub fn ping_and_wait(&mut self, payload: &[u8]) {
        self.send(FIN | PING, payload);
        assert_eq!(self.frame(), Frame::Pong(payload.to_vec()));
    }

    /// A chunk of generation 2 with any header.
    pub fn chunk(&mut self, id: u32, offset: u32, total: u32, data: &[u8]) {
        let bytes = chunk(id, offset, total, data);
        self.binary(&bytes);
    }

    /// A whole message in the generation of the session, with its members in the order of real servers.
    pub fn message(&mut self, message: &Json) {
        let members = message.as_object().map(|members| {
            let place = |key: &str| ["wslink", "id", "method"].iter().position(|first| *first == key).unwrap_or(9);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| place(key));
            members
        });
        match (self.protocol, members) {
            (Protocol::V1, Some(members)) => {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("{}: {value}", json!(key))).collect();
                self.text(&format!("{{{}}}", members.join(", ")));
            }
            (Protocol::V1, None) => self.text(&message.to_string()),
            (Protocol::V2, members) => {
                let bytes = members.map_or_else(
                    || pack(message),
                    |members| {
                        let mut bytes = vec![0x80 | members.len() as u8];
                        members.iter().for_each(|(key, value)| bytes.extend([pack(&json!(key)), pack(value)].concat()));
                        bytes
                    },
                );
                self.next_chunk += 1;
                self.chunk(self.next_chunk, 0, bytes.len() as u32, &bytes);
            }
        }
    }

    pub fn reply(&mut self, id: &str, result: Json) {
        self.message(&json!({"wslink": "1.0", "id": id, "result": result}));
    }

    pub fn error(&mut self, id: &str, code: i64, message: &str) {
        self.message(&json!({"wslink": "1.0", "id": id, "error": {"code": code, "message": message}}));
    }

    pub fn publish(&mut self, topic: &str, value: Json) {
        self.message(&json!({"wslink": "1.0", "id": format!("publish:{topic}:0"), "result": value}));
    }

    /// The announcement of attachments and their data (generation 1).
    pub fn attach(&mut self, key: &str, data: &[u8]) {
        self.text(&json!({"wslink": "1.0", "method": "wslink.binary.attachment", "args": [key]}).to_string());
        self.binary(data);
    }

    /// The next frame of the client.
    pub fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.parse_frame() {
                return frame;
            }
            if !self.receive() {
                return Frame::End;
            }
        }
    }

    fn parse_frame(&mut self) -> Option<Frame> {
        let b = &self.buffer;
        let (&first, &second) = (b.first()?, b.get(1)?);
        assert_eq!(first & 0x70, 0, "the client set reserved bits");
        assert_eq!(first & FIN, FIN, "the client does not fragment");
        assert_eq!(second & 0x80, 0x80, "frames of a client are masked");
        let (len, at) = match second & 0x7f {
            126 => (u16::from_be_bytes([*b.get(2)?, *b.get(3)?]) as usize, 4),
            127 => (u64::from_be_bytes(b.get(2..10)?.try_into().unwrap()) as usize, 10),
            n => (n as usize, 2),
        };
        let mask: [u8; 4] = b.get(at..at + 4)?.try_into().unwrap();
        let mut payload = b.get(at + 4..at + 4 + len)?.to_vec();
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i % 4]);
        self.buffer.drain(..at + 4 + len);
        Some(match first & 15 {
            TEXT => Frame::Text(String::from_utf8(payload).expect("text of the client is UTF-8")),
            BINARY => Frame::Binary(payload),
            PING => Frame::Ping(payload),
            PONG => Frame::Pong(payload),
            CLOSE if payload.is_empty() => Frame::Close(None),
            CLOSE => Frame::Close(Some(u16::from_be_bytes([payload[0], payload[1]]))),
            other => panic!("opcode {other}"),
        })
    }

    /// The next call of the client in either generation. Pings and a Close frame are answered as real servers do. `None` means
    /// that the connection has ended.
    pub fn call(&mut self) -> Option<Call> {
        loop {
            match self.frame() {
                Frame::Ping(payload) => self.send(FIN | PONG, &payload),
                Frame::Pong(_) => {}
                Frame::Close(code) => {
                    self.close(code.unwrap_or(1000), "");
                    return None;
                }
                Frame::End => return None,
                Frame::Text(text) => {
                    let message: Json = serde_json::from_str(&text).expect("JSON");
                    if message["method"] == "wslink.binary.attachment" {
                        let keys = message["args"].as_array().unwrap();
                        self.announced.extend(keys.iter().map(|k| k.as_str().unwrap().to_owned()));
                    } else {
                        return Some(decoded(message, Protocol::V1));
                    }
                }
                Frame::Binary(data) => {
                    if let Some(key) = self.announced.pop_front() {
                        self.attachments.push((key, data));
                    } else if let Some(message) = self.add_chunk(&data) {
                        return Some(decoded(unpack(&message), Protocol::V2));
                    }
                }
            }
        }
    }

    fn add_chunk(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let word = |i: usize| u32::from_le_bytes(chunk[i..i + 4].try_into().unwrap());
        self.chunks.push((word(4), chunk.len() - 12, word(8)));
        let partial = self.partial.entry(word(0)).or_default();
        assert_eq!(word(4) as usize, partial.len(), "chunks come in order");
        partial.extend_from_slice(&chunk[12..]);
        if partial.len() == word(8) as usize { self.partial.remove(&word(0)) } else { None }
    }

    /// The WebSocket handshake, and a hello that is answered like a server of this generation. Returns the hello.
    pub fn hello(&mut self, protocol: Protocol) -> Call {
        self.accept();
        self.answer_hello(protocol)
    }

    /// Answers probes (generation 1) and the hello. Ignores messages of the other generation, like very old servers of generation 1
    /// and all servers of generation 2.
    pub fn answer_hello(&mut self, protocol: Protocol) -> Call {
        self.protocol = protocol;
        loop {
            let call = self.call().expect("a hello");
            if call.protocol != protocol {
                continue;
            }
            if call.method != "wslink.hello" {
                self.error(&call.id, -32601, "Unknown system method called");
                continue;
            }
            self.reply(&call.id, hello_result(protocol));
            return call;
        }
    }

    /// Answers every call with its arguments, until the client leaves.
    pub fn echo(&mut self) {
        while let Some(call) = self.call() {
            self.reply(&call.id, call.args);
        }
    }

    /// Reads until the client has left, whatever it sends.
    pub fn until_end(&mut self) {
        while self.frame() != Frame::End {}
    }

    /// Ends TCP in an orderly way (FIN), without a Close frame.
    pub fn cut(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// The connection will be reset (RST) when the script ends.
    pub fn reset_at_end(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// The socket takes no more data, because the client has not read: for tests of reading.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

/// The result of a hello.
pub fn hello_result(protocol: Protocol) -> Json {
    match protocol {
        Protocol::V1 => json!({"clientID": "c0123456789abcdef0123456789abcdef"}),
        Protocol::V2 => json!({"clientID": "c0123456789abcdef0123456789abcdef", "maxMsgSize": 4194304}),
    }
}

/// A chunk of generation 2.
pub fn chunk(id: u32, offset: u32, total: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [id, offset, total].iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend_from_slice(data);
    bytes
}

fn decoded(message: Json, protocol: Protocol) -> Call {
    let text = |key: &str| message[key].as_str().unwrap_or_else(|| panic!("{key} in {message}")).to_owned();
    assert!(message["args"].is_array(), "args is always a list: {message}");
    Call {
        id: text("id"),
        method: text("method"),
        args: message["args"].clone(),
        kwargs: message["kwargs"].clone(),
        protocol,
    }
}

/// Encodes as msgpack; `{"$bytes": "<hex>"}` stands for binary data.
pub fn pack(value: &Json) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &to_pack(value)).unwrap();
    bytes
}

/// Decodes msgpack, with binary data as in [`pack`].
pub fn unpack(mut bytes: &[u8]) -> Json {
    let value = rmpv::decode::read_value(&mut bytes).expect("msgpack");
    assert!(bytes.is_empty(), "bytes after the message");
    from_pack(&value)
}

fn to_pack(value: &Json) -> Pack {
    match value {
        Json::Null => Pack::Nil,
        Json::Bool(b) => Pack::from(*b),
        Json::Number(n) => match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => Pack::from(n),
            (_, Some(n)) => Pack::from(n),
            _ => Pack::from(n.as_f64().unwrap()),
        },
        Json::String(s) => Pack::from(s.as_str()),
        Json::Array(a) => Pack::Array(a.iter().map(to_pack).collect()),
        Json::Object(o) => match o.get("$bytes") {
            Some(hex) => Pack::Binary(data_encoding::HEXLOWER.decode(hex.as_str().unwrap().as_bytes()).unwrap()),
            None => Pack::Map(o.iter().map(|(k, v)| (Pack::from(k.as_str()), to_pack(v))).collect()),
        },
    }
}

fn from_pack(value: &Pack) -> Json {
    match value {
        Pack::Nil => Json::Null,
        Pack::Boolean(b) => json!(b),
        Pack::Integer(n) => n.as_u64().map_or_else(|| json!(n.as_i64()), |n| json!(n)),
        Pack::F32(f) => json!(f),
        Pack::F64(f) => json!(f),
        Pack::String(s) => json!(s.as_str().expect("UTF-8")),
        Pack::Binary(b) => json!({"$bytes": data_encoding::HEXLOWER.encode(b)}),
        Pack::Array(a) => a.iter().map(from_pack).collect(),
        Pack::Map(m) => m.iter().map(|(k, v)| (k.as_str().expect("string keys").to_owned(), from_pack(v))).collect(),
        Pack::Ext(kind, data) => json!({"$ext": kind, "hex": data_encoding::HEXLOWER.encode(data)}),
    }
}
