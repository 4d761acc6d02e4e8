//! The upper bound: the bytes of each workload over a socket, without frames and decoding, into reused memory. Over TLS it is a
//! loop of reads with the same TLS library.
//!
//!   raw <tcp|tls>://127.0.0.1:PORT <workload> <parameters...>     as benches/client.cpp

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use wslink_bench::meter::Meter;
use wslink_bench::{CALL, REPLY, SMALL, UPLOAD, pattern};

trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

/// The size of one read; larger reads are slower, because the sender resumes too late.
const MOST: usize = 128 << 10;

fn open(url: &str) -> Box<dyn Socket> {
    let (scheme, address) = url.split_once("://").expect("url");
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    if scheme == "tcp" {
        return Box::new(stream);
    }
    let connector = native_tls::TlsConnector::new().expect("TLS");
    Box::new(connector.connect("127.0.0.1", stream).expect("TLS handshake"))
}

fn read(socket: &mut dyn Socket, to: &mut [u8]) {
    let mut begin = 0;
    while begin < to.len() {
        let end = to.len().min(begin + MOST);
        match socket.read(&mut to[begin..end]).expect("read") {
            0 => panic!("the server ended the connection"),
            count => begin += count,
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (url, workload, params) = (&arguments[1], arguments[2].as_str(), &arguments[3..]);
    let number = |at: usize| params[at].parse::<usize>().expect("number");
    let command = |text: String| {
        let mut socket = open(url);
        socket.write_all(text.as_bytes()).expect("write");
        socket
    };
    let echo = format!("echo {CALL} {REPLY}\n");
    let mut meter;
    match workload {
        "latency" => {
            let mut socket = command(echo);
            let (call, mut reply) = ([0; CALL], [0; REPLY]);
            let mut once = || {
                socket.write_all(&call).expect("write");
                read(&mut socket, &mut reply);
            };
            (0..500).for_each(|_| once());
            meter = Meter::begin();
            (0..number(0)).for_each(|_| meter.lap(&mut once));
            meter.ops = number(0) as f64;
        }
        "pipeline" => {
            let (total, depth) = (number(0), number(1));
            let mut socket = command(echo);
            let calls = vec![0; CALL * depth];
            let mut replies = vec![0; REPLY * depth];
            meter = Meter::begin();
            let (mut sent, mut come) = (depth.min(total), 0);
            socket.write_all(&calls[..CALL * sent]).expect("write");
            while come < total * REPLY {
                let before = come / REPLY;
                come += socket.read(&mut replies).expect("read");
                let more = (come / REPLY - before).min(total - sent);
                socket.write_all(&calls[..CALL * more]).expect("write");
                sent += more;
            }
            meter.ops = total as f64;
        }
        "fanin" => {
            let mut buffer = vec![0; MOST];
            meter = Meter::begin();
            let mut socket = command(format!("publish {SMALL} {}\n", number(0)));
            let mut left = SMALL * number(0);
            while left > 0 {
                let most = left.min(MOST);
                match socket.read(&mut buffer[..most]).expect("read") {
                    0 => panic!("the server ended the connection"),
                    count => left -= count,
                }
            }
            meter.ops = number(0) as f64;
        }
        "blob" => {
            let (size, count) = (number(0), number(1));
            let mut buffer = vec![0; size];
            meter = Meter::begin();
            let mut socket = command(format!("publish {size} {count}\n"));
            for _ in 0..count {
                meter.lap(|| read(&mut socket, &mut buffer));
                assert!(buffer[0] == pattern(0) && buffer[size - 1] == pattern(size - 1), "wrong blob");
            }
            meter.ops = count as f64;
            meter.bytes = (size * count) as f64;
        }
        "structured" => {
            let (count, repeats) = (number(1), number(2));
            let mut socket = command(format!("list {} {count}\n", params[0]));
            let mut size = [0; 8];
            read(&mut socket, &mut size);
            let mut buffer = vec![0; usize::from_le_bytes(size)];
            meter = Meter::begin();
            for _ in 0..repeats {
                meter.lap(|| {
                    socket.write_all(&[0; CALL]).expect("write");
                    read(&mut socket, &mut buffer);
                });
            }
            meter.ops = (count * repeats) as f64;
            meter.bytes = (buffer.len() * repeats) as f64;
        }
        "upload" => {
            let (size, count) = (number(0), number(1));
            let data: Vec<u8> = (0..size + UPLOAD).map(pattern).collect();
            let mut socket = command(format!("echo {} {REPLY}\n", size + UPLOAD));
            meter = Meter::begin();
            for _ in 0..count {
                meter.lap(|| {
                    socket.write_all(&data).expect("write");
                    read(&mut socket, &mut [0; REPLY]);
                });
            }
            meter.ops = count as f64;
            meter.bytes = (size * count) as f64;
        }
        "connect" => {
            meter = Meter::begin();
            for _ in 0..number(0) {
                let begun = Instant::now();
                let mut socket = command(echo.clone());
                // Upgrade, hello, close.
                for _ in 0..3 {
                    socket.write_all(&[0; CALL]).expect("write");
                    read(&mut socket, &mut [0; REPLY]);
                }
                drop(socket);
                meter.lap_since(begun);
            }
            meter.ops = number(0) as f64;
        }
        other => {
            eprintln!("no such workload: {other}");
            std::process::exit(2);
        }
    }
    meter.check = meter.ops;
    meter.report("raw", "bytes", workload, params);
}
