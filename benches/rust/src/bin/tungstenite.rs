//! A Rust client without a client library: protocol 2 with tungstenite and rmpv, blocking; each message is copied together and
//! decoded to a tree.
//!
//!   tungstenite ws://127.0.0.1:PORT/ws <workload> <parameters...>     as benches/client.cpp
//!
//! With RMPV=ref the tree refers to the message for strings and binary data. With THREAD=1 each connection has a thread that
//! sleeps until the end, to show the cost of a client that can be woken while no call waits.

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use rmpv::{Value, ValueRef};
use tungstenite::{Message, WebSocket};
use wslink_bench::meter::Meter;
use wslink_bench::tree::Tree;
use wslink_bench::{frames, messages, pattern};

struct Client {
    socket: WebSocket<TcpStream>,
    id: String,
    most: usize,
    calls: u32,
    unfinished: HashMap<u32, Vec<u8>>,
}

/// A message, perhaps after the header of its only chunk.
enum Whole {
    Chunk(tungstenite::Bytes),
    Joined(Vec<u8>),
}
impl Whole {
    fn bytes(&self) -> &[u8] {
        match self {
            Whole::Chunk(bytes) => &bytes[12..],
            Whole::Joined(bytes) => bytes,
        }
    }
}

impl Client {
    fn open(url: &str) -> Client {
        let address = url.trim_start_matches("ws://").split('/').next().expect("address");
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let (socket, _) = tungstenite::client(url, stream).expect("handshake");
        let mut client = Client { socket, id: String::new(), most: 1 << 20, calls: 0, unfinished: HashMap::new() };
        let secret = Value::Map(vec![("secret".into(), "wslink-secret".into())]);
        client.send("system:c0:0", "wslink.hello", vec![secret]);
        let reply = client.receive();
        let reply = Value::decode(reply.bytes());
        client.id = String::from_utf8_lossy(reply.get("result").get("clientID").bytes()).to_string();
        client.most = reply.get("result").get("maxMsgSize").uint() as usize;
        client
    }
    fn call(&mut self, method: &str, args: Vec<Value>) {
        let id = format!("rpc:{}:{}", self.id, self.calls);
        self.send(&id, method, args);
    }
    fn send(&mut self, id: &str, method: &str, args: Vec<Value>) {
        let call = Value::Map(vec![
            ("wslink".into(), "1.0".into()),
            ("id".into(), id.into()),
            ("method".into(), method.into()),
            ("args".into(), Value::Array(args)),
            ("kwargs".into(), Value::Map(vec![])),
        ]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &call).expect("memory");
        self.calls += 1;
        let mut offset = 0;
        for part in bytes.chunks(self.most - 12) {
            let mut chunk = Vec::with_capacity(12 + part.len());
            chunk.extend_from_slice(&frames::chunk(self.calls, offset, bytes.len()));
            chunk.extend_from_slice(part);
            self.socket.send(Message::binary(chunk)).expect("send");
            offset += part.len();
        }
    }
    fn receive(&mut self) -> Whole {
        loop {
            let Message::Binary(bytes) = self.socket.read().expect("read") else { continue };
            let (id, offset, total) = frames::parse_chunk(&bytes).expect("chunk");
            if bytes.len() - 12 == total {
                return Whole::Chunk(bytes);
            }
            let joined = self.unfinished.entry(id).or_insert_with(|| Vec::with_capacity(total));
            assert_eq!(joined.len(), offset, "order");
            joined.extend_from_slice(&bytes[12..]);
            if joined.len() == total {
                return Whole::Joined(self.unfinished.remove(&id).expect("it is there"));
            }
        }
    }
    /// Receives a message and reads it as a tree of the chosen kind.
    fn read<R>(&mut self, by_reference: bool, visit: impl Visit<R>) -> R {
        let message = self.receive();
        if by_reference {
            visit.visit(&ValueRef::decode(message.bytes()))
        } else {
            visit.visit(&Value::decode(message.bytes()))
        }
    }
}

/// The work on a tree of either kind.
trait Visit<R> {
    fn visit<'a>(self, tree: &impl Tree<'a>) -> R;
}

struct Number<'k>(&'k str);
impl Visit<u64> for Number<'_> {
    fn visit<'a>(self, tree: &impl Tree<'a>) -> u64 {
        tree.get("result").get(self.0).uint()
    }
}
struct Size;
impl Visit<u64> for Size {
    fn visit<'a>(self, tree: &impl Tree<'a>) -> u64 {
        tree.get("result").uint()
    }
}
/// The number of a small publication; `None` for the reply.
struct Small;
impl Visit<Option<u64>> for Small {
    fn visit<'a>(self, tree: &impl Tree<'a>) -> Option<u64> {
        tree.get("id").bytes().starts_with(b"publish:").then(|| tree.get("result").get("i").uint())
    }
}
struct Blob(usize, u64);
impl Visit<()> for Blob {
    fn visit<'a>(self, tree: &impl Tree<'a>) {
        let result = tree.get("result");
        let blob = result.get("blob").bytes();
        assert!(blob.len() == self.0 && blob[0] == pattern(0) && blob[self.0 - 1] == pattern(self.0 - 1), "wrong blob");
        assert_eq!(result.get("mtime").uint(), self.1, "order");
    }
}
struct Sum;
impl Visit<f64> for Sum {
    fn visit<'a>(self, tree: &impl Tree<'a>) -> f64 {
        tree.get("result").sum()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (url, workload, params) = (&arguments[1], arguments[2].as_str(), &arguments[3..]);
    let number = |at: usize| params[at].parse::<usize>().expect("number");
    let by_ref = std::env::var("RMPV").is_ok_and(|kind| kind == "ref");
    let with_thread = std::env::var("THREAD").is_ok_and(|with| with == "1");
    let echo = |i: usize| vec![Value::Map(vec![("i".into(), i.into()), ("s".into(), "ping".into())])];
    let mut meter;
    match workload {
        "connect" => {
            meter = Meter::begin();
            for _ in 0..number(0) {
                let begun = Instant::now();
                let mut client = Client::open(url);
                let thread = with_thread.then(|| {
                    let (mut sleeping, waking) = UnixStream::pair().expect("socket pair");
                    (waking, thread::spawn(move || sleeping.read(&mut [0])))
                });
                client.socket.close(None).expect("close");
                while client.socket.read().is_ok() {}
                drop(client);
                if let Some((waking, thread)) = thread {
                    drop(waking);
                    thread.join().expect("thread").expect("end of file");
                }
                meter.lap_since(begun);
            }
            meter.ops = number(0) as f64;
            meter.check = meter.ops;
        }
        "decode" => {
            let (count, repeats) = (number(1), number(2));
            let list = messages::list(messages::Protocol::Msgpack, &params[0], count);
            let message = messages::message(messages::Protocol::Msgpack, "rpc:c0:1", &list);
            let once = || match by_ref {
                true => Sum.visit(&ValueRef::decode(&message)),
                false => Sum.visit(&Value::decode(&message)),
            };
            once();
            meter = Meter::begin();
            for _ in 0..repeats {
                let sum = meter.lap(once);
                meter.check = sum;
            }
            meter.ops = (count * repeats) as f64;
            meter.bytes = (message.len() * repeats) as f64;
        }
        _ => {
            let mut client = Client::open(url);
            meter = Meter::begin();
            match workload {
                "latency" => {
                    let mut once = |i: usize| {
                        client.call("bench.echo", echo(i));
                        assert_eq!(client.read(by_ref, Number("i")), i as u64, "reply");
                    };
                    (0..500).for_each(&mut once);
                    meter = Meter::begin();
                    (0..number(0)).for_each(|i| meter.lap(|| once(i)));
                    meter.ops = number(0) as f64;
                    meter.check = meter.ops;
                }
                "pipeline" => {
                    let (total, depth) = (number(0), number(1));
                    (0..depth.min(total)).for_each(|i| client.call("bench.echo", echo(i)));
                    for i in 0..total {
                        assert_eq!(client.read(by_ref, Number("i")), i as u64, "reply");
                        if i + depth < total {
                            client.call("bench.echo", echo(i + depth));
                        }
                    }
                    meter.ops = total as f64;
                    meter.check = meter.ops;
                }
                "fanin" => {
                    client.call("bench.publish.small", vec!["bench.small".into(), number(0).into()]);
                    while let Some(i) = client.read(by_ref, Small) {
                        meter.check += i as f64;
                        meter.ops += 1.0;
                    }
                }
                "blob" => {
                    let (size, count) = (number(0), number(1));
                    client.call("bench.publish.blob", vec!["bench.blob".into(), count.into(), size.into()]);
                    for i in 0..count {
                        meter.lap(|| client.read(by_ref, Blob(size, i as u64)));
                    }
                    client.receive();
                    meter.ops = count as f64;
                    meter.bytes = (size * count) as f64;
                    meter.check = meter.ops;
                }
                "structured" => {
                    let (count, repeats) = (number(1), number(2));
                    let mut ask = |count: usize| {
                        client.call("bench.structured", vec![params[0].as_str().into(), count.into()]);
                        client.read(by_ref, Sum)
                    };
                    ask(10);
                    meter = Meter::begin();
                    for _ in 0..repeats {
                        meter.check = meter.lap(|| ask(count));
                    }
                    meter.ops = (count * repeats) as f64;
                }
                "upload" => {
                    let (size, count) = (number(0), number(1));
                    let data: Vec<u8> = (0..size).map(pattern).collect();
                    meter = Meter::begin();
                    for _ in 0..count {
                        meter.lap(|| {
                            client.call("bench.upload", vec![Value::Binary(data.clone())]);
                            assert_eq!(client.read(by_ref, Size), size as u64, "reply");
                        });
                    }
                    meter.ops = count as f64;
                    meter.bytes = (size * count) as f64;
                    meter.check = meter.ops;
                }
                other => {
                    eprintln!("no such workload: {other}");
                    std::process::exit(2);
                }
            }
        }
    }
    meter.report(if by_ref { "tungstenite-ref" } else { "tungstenite" }, "v2", workload, params);
}
