//! Violations and odd values before the session is ready.

use crate::common::PATIENCE;
use crate::common::scripted::{BINARY, CLOSE, FIN, Frame, ScriptedServer, TEXT};
use crate::{Act, V1, V2, assert_usable, call, good, raw_reply, text_reply};
use serde_json::json;
use wslink::{Args, Code, Protocol, Session, Stage, result};

#[test]
fn a_malformed_hello_reply_fails_at_stage_hello() {
    let id = "system:c0:0";
    let reply = |result: serde_json::Value| json!({"id": id, "result": result});
    for (answer, code) in [
        (reply(json!(null)), Code::Hello),
        (reply(json!("c1")), Code::Hello),
        (reply(json!({})), Code::Hello),
        (reply(json!({"clientID": 5})), Code::Hello),
        (json!({"id": id, "error": {"code": -32099, "message": "own"}}), Code::Hello),
        (json!({"id": id, "error": null}), Code::Hello),
    ] {
        for protocol in [V1, V2] {
            let played = answer.clone();
            let server = ScriptedServer::start(move |conn, connection| {
                if connection > 1 {
                    return good(conn, protocol);
                }
                conn.accept();
                conn.protocol = protocol;
                if protocol == V1 {
                    let probe = conn.call().unwrap();
                    conn.error(&probe.id, -32601, "Unknown system method called");
                }
                conn.call().unwrap();
                conn.message(&played);
                conn.until_end();
            });
            let session = Session::new(server.config(protocol)).unwrap();
            let e = session.connect_wait().unwrap_err();
            assert_eq!((e.code(), e.stage()), (code, Stage::Hello), "{answer}: {e}");
            let number = answer["result"]["clientID"].is_number();
            assert_eq!(e.message().contains("has a clientID that is no text: 5"), number, "{e}");
            assert_usable(&session);
        }
    }
}

#[test]
fn violations_during_the_hello_do_not_try_the_other_generation() {
    let acts: [(Act, Code, &str); 4] = [
        (|c, _| c.chunk(1, 0, 0, b""), Code::Protocol, "total size is 0"),
        (|c, _| c.chunk(1, 0, u32::MAX, b""), Code::Limit, "max_message_size"),
        (|c, _| c.send(FIN | 0x40 | BINARY, b"x"), Code::Protocol, "reserved bits"),
        (
            |c, _| c.chunk(1, 0, 24, &raw_reply("system:c0:0", b"\xc1")),
            Code::Protocol,
            "the server's reply to \"wslink.hello\" is not valid msgpack",
        ),
    ];
    for (number, (act, code, text)) in acts.into_iter().enumerate() {
        for protocol in [None, Some(V2)] {
            let server = ScriptedServer::start(move |conn, connection| {
                if connection > 1 {
                    return good(conn, V2);
                }
                conn.accept();
                conn.call().unwrap();
                act(conn, "");
                conn.until_end();
            });
            let session = Session::new(server.config(protocol)).unwrap();
            let e = session.connect_wait().unwrap_err();
            assert_eq!((e.code(), e.stage()), (code, Stage::Hello), "{number}: {e}");
            assert!(e.message().contains(text), "{number}: {e}");
            assert_eq!(server.accepted(), 1, "{number}");
            assert_usable(&session);
        }
    }
}

#[test]
fn violations_during_the_hello_are_answered_with_a_close_code() {
    let acts: [(Option<Protocol>, Act, Code, u16); 9] = [
        (Some(V1), |c, _| c.send(FIN | TEXT, b"\xff"), Code::Protocol, 1007),
        (None, |c, _| c.send(FIN | TEXT, b"\xff"), Code::Protocol, 1007),
        (Some(V1), |c, _| c.send(FIN | TEXT, &text_reply("system:c0:0", b"\"\xff\"")), Code::Protocol, 1007),
        (Some(V1), |c, _| c.fragments(TEXT, &[b"\xe2\x82", b"\x41"], |_| {}), Code::Protocol, 1007),
        (None, |c, _| c.chunk(1, 0, 0, b""), Code::Protocol, 1002),
        (Some(V2), |c, _| c.chunk(1, 0, u32::MAX, b""), Code::Limit, 1009),
        (Some(V1), |c, _| c.send(FIN | 0x40 | BINARY, b"x"), Code::Protocol, 1002),
        (Some(V2), |c, _| c.send(FIN | 0x40 | TEXT, b"x"), Code::Protocol, 1002),
        (None, |c, _| c.send(FIN | CLOSE, &[3, 0xe8, 0xff]), Code::Protocol, 1007),
    ];
    for (number, (protocol, act, code, close)) in acts.into_iter().enumerate() {
        let server = ScriptedServer::start(move |conn, _| {
            conn.accept();
            conn.call().unwrap();
            act(conn, "");
            // The client may send a ping with its hello.
            let frame = std::iter::repeat_with(|| conn.frame()).find(|frame| !matches!(frame, Frame::Ping(_)));
            assert_eq!(frame, Some(Frame::Close(Some(close))), "{number}");
        });
        let session = Session::new(server.config(protocol)).unwrap();
        let e = session.connect_wait().unwrap_err();
        assert_eq!((e.code(), e.stage()), (code, Stage::Hello), "{number}: {e}");
        assert_eq!(server.accepted(), 1, "{number}");
    }
}

#[test]
fn messages_of_the_other_generation_are_dropped_before_the_hello() {
    for protocol in [V1, V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.accept();
            conn.protocol = protocol;
            match protocol {
                V1 => {
                    conn.binary(b"stray");
                    conn.chunk(1, 0, 0, b"");
                    conn.chunk(1, 0, 99, b"never finished");
                }
                V2 => {
                    conn.text("stray");
                    conn.text(r#"{"id": "system:c0:0", "result": {"clientID": "of the other generation"}}"#);
                    conn.text("\"");
                }
            }
            conn.answer_hello(protocol);
            conn.echo();
        });
        let session = server.session(protocol);
        call(&session).unwrap();
        assert_eq!((session.peer().protocol, session.stats().malformed), (Some(protocol), 3));
        assert_eq!(session.peer().client_id, "c0123456789abcdef0123456789abcdef");
    }
}

#[test]
fn attachments_before_the_hello_are_kept() {
    let server = ScriptedServer::start(|conn, _| {
        conn.accept();
        conn.attach("wslink_bin7", b"early");
        conn.answer_hello(V1);
        let call = conn.call().unwrap();
        conn.reply(&call.id, json!("wslink_bin7"));
        conn.echo();
    });
    let session = server.session(V1);
    assert_eq!(result(&call(&session).unwrap()).as_bytes(), Some(&b"early"[..]));
    assert_eq!(session.stats().malformed, 0);
}

#[test]
fn an_odd_max_msg_size_does_no_harm() {
    for size in [json!(-1), json!("4194304"), json!(null), json!(1.5), json!(u64::MAX), json!(1), json!(12), json!(13)]
    {
        let server = ScriptedServer::start(move |conn, _| {
            conn.accept();
            let hello = conn.call().unwrap();
            conn.reply(&hello.id, json!({"clientID": "c", "maxMsgSize": size}));
            conn.echo();
        });
        let session = server.session(V2);
        let args = Args::new().with("x".repeat(500).as_str()).unwrap();
        let reply = session.call_wait("m", args, Some(PATIENCE)).unwrap();
        assert_eq!(result(&reply).index(0).unwrap().len(), 500);
    }
}
