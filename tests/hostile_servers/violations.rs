//! Protocol violations: the connection ends, the error names the violation, the Close frame has its code.

use crate::common::PATIENCE;
use crate::common::scripted::{BINARY, CLOSE, CONTINUATION, Conn, FIN, Frame, PING, PONG, ScriptedServer, TEXT};
use crate::{Act, V1, V2, assert_usable, call, good, text_reply};
use wslink::{Code, Protocol, Session, Stage, State};

/// The server's reaction to the call, the code of the session's error, the code of the client's Close frame, and a part of the
/// error message.
type Violation = (Protocol, Act, Code, u16, &'static str);

const VIOLATIONS: &[Violation] = &[
    // The chunk header (generation 2).
    (V2, |c, _| c.binary(b""), Code::Protocol, 1002, "0 bytes, and the header alone has 12"),
    (V2, |c, _| c.binary(b"short"), Code::Protocol, 1002, "5 bytes, and the header alone has 12"),
    (V2, |c, _| c.chunk(1, 0, 0, b""), Code::Protocol, 1002, "total size is 0"),
    (V2, |c, _| c.chunk(1, 0, 0, b"data"), Code::Protocol, 1002, "total size is 0"),
    (V2, |c, _| c.chunk(1, 9, 8, b""), Code::Protocol, 1002, "offset 9 is beyond the total size 8"),
    (V2, |c, _| c.chunk(1, u32::MAX, 8, b"x"), Code::Protocol, 1002, "beyond the total size 8"),
    (V2, |c, _| c.chunk(1, 0, 2, b"three"), Code::Protocol, 1002, "data beyond the total size"),
    (V2, |c, _| c.chunk(1, 6, 8, b"three"), Code::Protocol, 1002, "data beyond the total size"),
    (V2, |c, _| [8, 9].iter().for_each(|t| c.chunk(1, 0, *t, b"")), Code::Protocol, 1002, "changes from 8 to 9"),
    (V2, |c, _| [0, 1].iter().for_each(|o| c.chunk(1, *o, 8, b"ab")), Code::Protocol, 1002, "already received"),
    (V2, |c, _| [4, 5].iter().for_each(|o| c.chunk(1, *o, 8, b"ab")), Code::Protocol, 1002, "already received"),
    (V2, |c, _| [4, 3].iter().for_each(|o| c.chunk(1, *o, 8, b"ab")), Code::Protocol, 1002, "beyond the total"),
    (V2, |c, _| (1..9999).for_each(|i| c.chunk(1, 2 * i, 99999, b"x")), Code::Protocol, 1002, "4096 chunks out of"),
    (V2, |c, _| c.chunk(1, 0, u32::MAX, b""), Code::Limit, 1009, "max_message_size"),
    (
        V2,
        |c, _| c.binary(b"{\"wslink\": \"1.0\"}"),
        Code::Protocol,
        1002,
        "sent text where a chunk of protocol 2 begins",
    ),
    (V2, |c, _| c.binary(b"502 Bad Gateway\r\n"), Code::Protocol, 1002, "begins: \"502 Bad Gate\""),
    // Frames (both generations).
    (V2, |c, _| c.send(FIN | 0x40 | BINARY, b"x"), Code::Protocol, 1002, "reserved bits"),
    (V1, |c, _| c.send(FIN | 0x20 | TEXT, b"x"), Code::Protocol, 1002, "reserved bits"),
    (V1, |c, _| c.send(FIN | 0x10 | PING, b"x"), Code::Protocol, 1002, "reserved bits"),
    (V1, |c, _| c.raw([FIN | TEXT, 0x81, 1, 2, 3, 4, 5]), Code::Protocol, 1002, "masked"),
    (V2, |c, _| c.raw([FIN | PING, 0x80, 1, 2, 3, 4]), Code::Protocol, 1002, "masked"),
    (V2, |c, _| c.send(FIN | 3, b"x"), Code::Protocol, 1002, "the reserved opcode 3"),
    (V2, |c, _| c.send(FIN | 11, b"x"), Code::Protocol, 1002, "the reserved opcode 11"),
    (V2, |c, _| c.send(FIN | PING, &[0; 126]), Code::Protocol, 1002, "longer than 125 bytes"),
    (V2, |c, _| c.send(FIN | PONG, &[0; 70_000]), Code::Protocol, 1002, "longer than 125 bytes"),
    (V2, |c, _| c.send(PING, b"x"), Code::Protocol, 1002, "fragment of a control frame"),
    (V2, |c, _| c.send(FIN | CONTINUATION, b"x"), Code::Protocol, 1002, "continues a message that it did not begin"),
    (V1, |c, _| (0..2).for_each(|_| c.send(TEXT, b"x")), Code::Protocol, 1002, "begins a message inside another"),
    (V2, |c, _| c.raw(Conn::frame_head(FIN | BINARY, 1 << 63)), Code::Protocol, 1002, "impossible length"),
    (V1, |c, _| c.raw(Conn::frame_head(FIN | TEXT, 1 << 40)), Code::Limit, 1009, "max_message_size"),
    (V2, |c, _| c.send(FIN | CLOSE, &[3]), Code::Protocol, 1002, "Close frame of one byte"),
    (V2, |c, _| c.close(999, ""), Code::Protocol, 1002, "code 999"),
    (V2, |c, _| c.close(1005, ""), Code::Protocol, 1002, "code 1005"),
    (V2, |c, _| c.close(1006, ""), Code::Protocol, 1002, "code 1006"),
    (V2, |c, _| c.close(1015, ""), Code::Protocol, 1002, "code 1015"),
    (V2, |c, _| c.close(2999, ""), Code::Protocol, 1002, "code 2999"),
    (V2, |c, _| c.close(5000, ""), Code::Protocol, 1002, "code 5000"),
    (V2, |c, _| c.send(FIN | CLOSE, &[3, 0xe8, 0xff]), Code::Protocol, 1007, "not UTF-8"),
    // Text and attachments (generation 1).
    (
        V1,
        |c, _| c.send(FIN | TEXT, b"{\"id\": \"\xff\"}"),
        Code::Protocol,
        1007,
        "not valid UTF-8: malformed from byte 8",
    ),
    (V1, |c, _| c.send(FIN | TEXT, b"\xed\xa0\x80"), Code::Protocol, 1007, "not valid UTF-8"),
    (V1, |c, _| c.fragments(TEXT, &[b"\xe2\x82", b"\x41"], |_| {}), Code::Protocol, 1007, "not valid UTF-8"),
    (V1, |c, id| c.send(FIN | TEXT, &text_reply(id, b"\"\xff\"")), Code::Protocol, 1007, "not valid UTF-8"),
    // Text is checked even if no subscription exists and the publication is not decoded.
    (V1, |c, _| c.send(FIN | TEXT, &text_reply("publish:t:0", b"\"\xff\"")), Code::Protocol, 1007, "not valid UTF-8"),
];

#[test]
fn a_violation_ends_the_connection_and_is_named() {
    for (number, &(protocol, act, code, close, text)) in VIOLATIONS.iter().enumerate() {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, protocol);
            }
            conn.hello(protocol);
            let call = conn.call().unwrap();
            act(conn, &call.id);
            match conn.frame() {
                Frame::Close(got) => assert_eq!(got, Some(close), "violation {number}"),
                // A reset can overtake the Close frame if the client has not read everything.
                Frame::End => {}
                other => panic!("violation {number}: {other:?}"),
            }
        });
        let session = server.session(protocol);
        let e = call(&session).unwrap_err();
        assert_eq!((e.code(), e.stage()), (code, Stage::Session), "violation {number}: {e}");
        assert!(e.message().contains(text), "violation {number}: {e}");
        assert_eq!(session.failure().as_ref(), Some(&e));
        assert_usable(&session);
    }
}

#[test]
fn a_violation_is_answered_with_a_close_code() {
    for (act, close) in [
        ((|c, _| c.chunk(1, 0, 0, b"")) as Act, 1002),
        (|c, _| c.send(FIN | 0x40 | BINARY, b"x"), 1002),
        (|c, _| c.chunk(1, 0, u32::MAX, b""), 1009),
    ] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(V2);
            act(conn, "");
            assert_eq!(conn.frame(), Frame::Close(Some(close)));
            assert_eq!(conn.frame(), Frame::End);
        });
        let session = Session::new(server.config(V2)).unwrap();
        let _ = session.connect_wait();
        while session.state() != State::Closed {
            session.dispatch(10, Some(PATIENCE)).unwrap();
        }
    }
}

#[test]
fn the_close_code_of_the_server_is_reported_with_meaning_and_remedy() {
    for (protocol, code, reason, text) in [
        (V2, 1001, "going", "(1001, the server goes away, \"going\")"),
        (V2, 1011, "", "(1011, it failed)"),
        (V1, 1012, "", "(1012, it restarts)"),
        (V1, 4321, "x", "(4321, a code of the server's own, \"x\")"),
        (V1, 1009, "", "set the option v1_upload_limit"),
        (V2, 1009, "", "If there is a proxy"),
    ] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            conn.call().unwrap();
            conn.close(code, reason);
            assert_eq!(conn.frame(), Frame::Close(Some(code)));
        });
        let e = call(&server.session(protocol)).unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::ConnectionLost, Stage::Session));
        assert!(e.message().contains(text) && e.message().contains(&code.to_string()), "{e}");
    }
}
