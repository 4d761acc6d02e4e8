//! Illegal and oversized frames: each is refused as soon as its header has arrived, whatever its content. The servers send nothing
//! after the header and wait for the Close frame.

mod common;

use common::PATIENCE;
use common::scripted::{BINARY, CONTINUATION, Conn, FIN, Frame, PING, ScriptedServer, TEXT, chunk};
use serde_json::json;
use wslink::{Args, Code, Protocol, Session, Stage, State, result};

const V1: Protocol = Protocol::V1;
const V2: Protocol = Protocol::V2;

/// The max_message_size of the sessions.
const BOUND: u64 = 4096;

/// More than any machine holds.
const HUGE: u64 = 1 << 62;

/// What the server sends to a ready session with a call in flight, the code of the error, the code of the Close frame, and a part of
/// the message.
type Case = (Protocol, Act, Code, u16, &'static str);

type Act = fn(&mut Conn);

/// The header of a frame without its payload.
fn head(conn: &mut Conn, first: u8, len: u64) {
    conn.raw(Conn::frame_head(first, len));
}

fn announce(conn: &mut Conn) {
    conn.message(&json!({"method": "wslink.binary.attachment", "args": ["wslink_bin1"]}));
}

/// The beginning of a frame with a chunk whose header declares a message of 8 bytes.
fn chunk_of_8(conn: &mut Conn, first: u8, declared: u64, data: &[u8]) {
    head(conn, first, declared);
    conn.raw(chunk(1, 0, 8, data));
}

const TOO_LARGE: &[Case] = &[
    // Frames that are read.
    (V1, |c| head(c, FIN | TEXT, BOUND + 1), Code::Limit, 1009, "max_message_size"),
    (V1, |c| head(c, FIN | TEXT, HUGE), Code::Limit, 1009, "max_message_size"),
    (V2, |c| head(c, FIN | BINARY, BOUND + 13), Code::Limit, 1009, "max_message_size"),
    (V2, |c| head(c, FIN | BINARY, HUGE), Code::Limit, 1009, "max_message_size"),
    (
        V1,
        |c| {
            announce(c);
            head(c, FIN | BINARY, HUGE)
        },
        Code::Limit,
        1009,
        "max_message_size",
    ),
    // Frames that are skipped: unannounced binary data in generation 1, text in generation 2.
    (V1, |c| head(c, FIN | BINARY, BOUND + 1), Code::Limit, 1009, "max_message_size"),
    (V1, |c| head(c, FIN | BINARY, HUGE), Code::Limit, 1009, "max_message_size"),
    (V1, |c| head(c, BINARY, HUGE), Code::Limit, 1009, "max_message_size"),
    (V2, |c| head(c, FIN | TEXT, BOUND + 1), Code::Limit, 1009, "max_message_size"),
    (V2, |c| head(c, FIN | TEXT, HUGE), Code::Limit, 1009, "max_message_size"),
    (V2, |c| head(c, TEXT, HUGE), Code::Limit, 1009, "max_message_size"),
    // The total of all frames of a message.
    (V1, |c| fragments(c, TEXT, BOUND as usize, 1), Code::Limit, 1009, "max_message_size"),
    (V1, |c| fragments(c, TEXT, 1, HUGE), Code::Limit, 1009, "max_message_size"),
    (V1, |c| fragments(c, TEXT, 0, HUGE), Code::Limit, 1009, "max_message_size"),
    (V1, |c| fragments(c, BINARY, BOUND as usize, 1), Code::Limit, 1009, "max_message_size"),
    (V1, |c| fragments(c, BINARY, 1, HUGE), Code::Limit, 1009, "max_message_size"),
    (V2, |c| fragments(c, TEXT, BOUND as usize, 1), Code::Limit, 1009, "max_message_size"),
    (V2, |c| fragments(c, TEXT, 1, HUGE), Code::Limit, 1009, "max_message_size"),
    (
        V1,
        |c| {
            announce(c);
            fragments(c, BINARY, 1, HUGE)
        },
        Code::Limit,
        1009,
        "max_message_size",
    ),
    // Before the chunk header is complete.
    (V2, |c| fragments(c, BINARY, 4, HUGE), Code::Limit, 1009, "max_message_size"),
    (V2, |c| fragments(c, BINARY, 0, BOUND + 13), Code::Limit, 1009, "max_message_size"),
    // After the chunk header: more data than the chunk can have.
    (V2, |c| chunk_of_8(c, FIN | BINARY, 12 + 9, b""), Code::Protocol, 1002, "beyond the total size"),
    (V2, |c| chunk_of_8(c, FIN | BINARY, 12 + BOUND, b"a"), Code::Protocol, 1002, "beyond the total size"),
    (
        V2,
        |c| {
            chunk_of_8(c, BINARY, 16, b"abcd");
            head(c, FIN, 5)
        },
        Code::Protocol,
        1002,
        "beyond the total",
    ),
    (
        V2,
        |c| {
            chunk_of_8(c, BINARY, 16, b"abcd");
            head(c, 0, HUGE)
        },
        Code::Protocol,
        1002,
        "beyond the total",
    ),
    (
        V2,
        |c| {
            chunk_of_8(c, BINARY, 20, b"all 8 of");
            head(c, 0, 1)
        },
        Code::Protocol,
        1002,
        "beyond the total",
    ),
];

/// A frame of this size, and the header of the next frame.
fn fragments(conn: &mut Conn, opcode: u8, first: usize, next: u64) {
    conn.send(opcode, &vec![b'x'; first]);
    head(conn, CONTINUATION, next);
}

/// Every position between frames, also inside a skipped message.
const FORBIDDEN: &[(u8, u64, &str)] = &[
    (FIN | PING, 126, "longer than 125 bytes"),
    (FIN | PING, HUGE, "longer than 125 bytes"),
    (FIN | 10, 126, "longer than 125 bytes"),
    (FIN | 8, 70_000, "longer than 125 bytes"),
    (PING, 1, "fragment"),
    (8, 2, "fragment"),
    (FIN | 3, 1, "opcode 3"),
    (FIN | 4, 1, "opcode 4"),
    (FIN | 5, 0, "opcode 5"),
    (FIN | 6, HUGE, "opcode 6"),
    (FIN | 7, 1, "opcode 7"),
    (FIN | 11, 1, "opcode 11"),
    (FIN | 12, 1, "opcode 12"),
    (FIN | 13, 0, "opcode 13"),
    (FIN | 14, HUGE, "opcode 14"),
    (FIN | 15, 1, "opcode 15"),
    (3, 1, "opcode 3"),
    (FIN | 0x40 | PING, 1, "reserved bits"),
    (FIN | 0x20 | CONTINUATION, 1, "reserved bits"),
    (FIN | 0x10 | BINARY, 1, "reserved bits"),
    (FIN | BINARY, u64::MAX, "impossible length"),
    (FIN | CONTINUATION, 1 << 63, "impossible length"),
];

/// What precedes the frame: nothing, or the beginning of a message that is read or skipped.
const BEFORE: &[(Protocol, Act)] = &[
    (V1, |_| ()),
    (V2, |_| ()),
    (V1, |c| c.send(TEXT, b"{")),
    (V1, |c| c.send(BINARY, b"nobody's")),
    (V2, |c| c.send(TEXT, b"{")),
    (V2, |c| c.send(BINARY, b"\x01")),
];

/// Plays one case. Asserts that the call, the session and the server get the error, and that the next connection works.
fn refused(what: &str, protocol: Protocol, act: impl Fn(&mut Conn) + Send + Sync + 'static, wanted: (Code, u16, &str)) {
    let (code, close, text) = wanted;
    let shown = what.to_owned();
    let server = ScriptedServer::start(move |conn, connection| {
        conn.hello(protocol);
        if connection > 1 {
            return conn.echo();
        }
        conn.call().unwrap();
        act(conn);
        assert_eq!(conn.frame(), Frame::Close(Some(close)), "{shown}");
        assert_eq!(conn.frame(), Frame::End, "{shown}");
    });
    let mut config = server.config(protocol);
    config.session.limits.message_size = BOUND;
    let session = common::connected(config);
    let e = session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap_err();
    assert_eq!((e.code(), e.stage()), (code, Stage::Session), "{what}: {e}");
    assert!(e.message().contains(text), "{what}: {e}");
    session.connect_wait().unwrap();
    session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
}

#[test]
fn every_frame_is_bounded_also_if_its_content_is_skipped() {
    for (number, &(protocol, act, code, close, text)) in TOO_LARGE.iter().enumerate() {
        refused(&format!("case {number}"), protocol, act, (code, close, text));
    }
}

#[test]
fn forbidden_frames_are_refused_wherever_they_come() {
    for &(protocol, before) in BEFORE {
        for &(first, len, text) in FORBIDDEN {
            let act = move |conn: &mut Conn| {
                before(conn);
                head(conn, first, len);
            };
            refused(&format!("{first:#x} with {len} bytes"), protocol, act, (Code::Protocol, 1002, text));
        }
        let masked = move |conn: &mut Conn| {
            before(conn);
            conn.raw([FIN | PING, 0x81, 1, 2, 3, 4, b'x']);
        };
        refused("masked", protocol, masked, (Code::Protocol, 1002, "masked"));
    }
}

#[test]
fn frames_are_bounded_before_the_session_is_open() {
    for protocol in [None, Some(V1), Some(V2)] {
        for first in [FIN | TEXT, FIN | BINARY, TEXT, BINARY] {
            let server = ScriptedServer::start(move |conn, _| {
                conn.accept();
                conn.call().unwrap();
                head(conn, first, HUGE);
                // The client may send a ping with its hello.
                let frame = std::iter::repeat_with(|| conn.frame()).find(|frame| !matches!(frame, Frame::Ping(_)));
                assert_eq!(frame, Some(Frame::Close(Some(1009))), "{protocol:?} {first:#x}");
            });
            let session = Session::new(server.config(protocol)).unwrap();
            let e = session.connect_wait().unwrap_err();
            assert_eq!((e.code(), e.stage()), (Code::Limit, Stage::Hello), "{protocol:?} {first:#x}: {e}");
            assert!(e.message().contains("max_message_size"), "{e}");
        }
    }
}

#[test]
fn skipped_frames_have_the_size_limit_of_read_frames() {
    for protocol in [V1, V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let call = conn.call().unwrap();
            let opcode = if protocol == V1 { BINARY } else { TEXT };
            conn.send(FIN | opcode, &[b'x'; BOUND as usize]);
            conn.fragments(opcode, &[&[b'x'; 1024][..]; 4], |conn| conn.ping_and_wait(b"there?"));
            conn.reply(&call.id, json!("fine"));
            conn.echo();
        });
        let mut config = server.config(protocol);
        config.session.limits.message_size = BOUND;
        let session = common::connected(config);
        let reply = session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
        assert_eq!(result(&reply).as_str(), Some("fine"));
        assert_eq!((session.state(), session.stats().malformed), (State::Ready, 2));
    }
}
