//! Servers that break the rules, by accident or on purpose: each gets a bounded amount of memory, the
//! session a clear error, and the next connection is as good as any.

mod common;

use common::PATIENCE;
use common::scripted::{BINARY, CLOSE, CONTINUATION, Conn, FIN, Frame, PING, PONG, ScriptedServer, TEXT, chunk, pack};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use wslink::io::config::LogLevel;
use wslink::{Args, Code, Config, Outcome, Policy, Protocol, Session, Stage, State, result};

const V1: Protocol = Protocol::V1;
const V2: Protocol = Protocol::V2;

fn call(session: &Session) -> Outcome {
    session.call_wait("a.method", Args::new(), Some(PATIENCE))
}

/// The second connection of every server here is a good one.
fn good(conn: &mut Conn, protocol: Protocol) {
    conn.hello(protocol);
    conn.echo();
}

/// The session goes on as if nothing had happened, once it is connected again.
fn assert_usable(session: &Session) {
    session.connect_wait().unwrap_or_else(|e| panic!("{e}"));
    call(session).unwrap();
    session.close_wait(PATIENCE).unwrap();
}

type Act = fn(&mut Conn, &str);

/// What the server does when it is called, the code that the session fails with, the code of its Close frame,
/// and a part of the message.
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
    // Frames (both generations).
    (V2, |c, _| c.send(FIN | 0x40 | BINARY, b"x"), Code::Protocol, 1002, "reserved bits"),
    (V1, |c, _| c.send(FIN | 0x20 | TEXT, b"x"), Code::Protocol, 1002, "reserved bits"),
    (V1, |c, _| c.send(FIN | 0x10 | PING, b"x"), Code::Protocol, 1002, "reserved bits"),
    (V1, |c, _| c.raw([FIN | TEXT, 0x81, 1, 2, 3, 4, 5]), Code::Protocol, 1002, "masked"),
    (V2, |c, _| c.raw([FIN | PING, 0x80, 1, 2, 3, 4]), Code::Protocol, 1002, "masked"),
    (V2, |c, _| c.send(FIN | 3, b"x"), Code::Protocol, 1002, "WebSocket protocol violated"),
    (V2, |c, _| c.send(FIN | 11, b"x"), Code::Protocol, 1002, "WebSocket protocol violated"),
    (V2, |c, _| c.send(FIN | PING, &[0; 126]), Code::Protocol, 1002, "longer than 125 bytes"),
    (V2, |c, _| c.send(FIN | PONG, &[0; 70_000]), Code::Protocol, 1002, "longer than 125 bytes"),
    (V2, |c, _| c.send(PING, b"x"), Code::Protocol, 1002, "control frame is fragmented"),
    (V2, |c, _| c.send(FIN | CONTINUATION, b"x"), Code::Protocol, 1002, "continuation without a beginning"),
    (V1, |c, _| (0..2).for_each(|_| c.send(TEXT, b"x")), Code::Protocol, 1002, "begins inside another"),
    (V2, |c, _| c.raw(Conn::frame_head(FIN | BINARY, 1 << 63)), Code::Protocol, 1002, "impossible length"),
    (V1, |c, _| c.raw(Conn::frame_head(FIN | TEXT, 1 << 40)), Code::Limit, 1009, "max_message_size"),
    (V2, |c, _| c.send(FIN | CLOSE, &[3]), Code::Protocol, 1002, "Close frame of one byte"),
    (V2, |c, _| c.close(999, ""), Code::Protocol, 1002, "close code 999"),
    (V2, |c, _| c.close(1005, ""), Code::Protocol, 1002, "close code 1005"),
    (V2, |c, _| c.close(1006, ""), Code::Protocol, 1002, "close code 1006"),
    (V2, |c, _| c.close(1015, ""), Code::Protocol, 1002, "close code 1015"),
    (V2, |c, _| c.close(2999, ""), Code::Protocol, 1002, "close code 2999"),
    (V2, |c, _| c.close(5000, ""), Code::Protocol, 1002, "close code 5000"),
    (V2, |c, _| c.send(FIN | CLOSE, &[3, 0xe8, 0xff]), Code::Protocol, 1002, "not UTF-8"),
    // Text and attachments (generation 1).
    (V1, |c, _| c.send(FIN | TEXT, b"{\"id\": \"\xff\"}"), Code::Utf8, 1007, "not valid UTF-8 at byte 8"),
    (V1, |c, _| c.send(FIN | TEXT, b"\xed\xa0\x80"), Code::Utf8, 1007, "not valid UTF-8"),
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
                // A reset can overtake the Close frame where the client did not read everything.
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
fn the_close_frame_says_what_was_wrong() {
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

/// Malformed content of a message whose framing is right: what the one call that it answers is told. `{}`
/// stands for its id.
const V2_CONTENT: &[(&[u8], &str)] = &[
    (b"", "ends in the middle"),
    (b"\xc1", ""),
    (b"\x01\x02", ""),
    (b"\xdd\xff\xff\xff\xff", ""),
    (b"\xdf\xff\xff\xff\xff", ""),
    (b"\xc6\xff\xff\xff\xff", ""),
    (b"\xdb\xff\xff\xff\xff", ""),
    (b"\xc9\xff\xff\xff\xff\x01", ""),
    (b"\xa2\xff\xfe", ""),
    (b"\x81\xa1\xff\x01", ""),
    (b"\xcb\x00", ""),
];

/// A generation 2 reply whose result is these bytes.
fn raw_reply(id: &str, result: &[u8]) -> Vec<u8> {
    let mut bytes = pack(&json!({"id": id, "result": null}));
    assert_eq!(bytes.pop(), Some(0xc0));
    bytes.extend_from_slice(result);
    bytes
}

#[test]
fn malformed_content_ends_one_call_and_not_the_connection() {
    let nested = |open: u8, n: usize| vec![open; n];
    let mut contents: Vec<Vec<u8>> = V2_CONTENT.iter().map(|(bytes, _)| bytes.to_vec()).collect();
    contents.push(nested(0x91, 100_000));
    contents.push(nested(0x81, 1_000_000));
    for content in contents {
        let played = content.clone();
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(V2);
            let call = conn.call().unwrap();
            let bytes = raw_reply(&call.id, &played);
            conn.chunk(1, 0, bytes.len() as u32, &bytes);
            conn.echo();
        });
        let session = server.session(V2);
        let e = call(&session).map(|d| format!("{:?}", d.root())).unwrap_err();
        assert!(matches!(e.code(), Code::Protocol | Code::Limit | Code::Utf8), "{content:x?}: {e:?}");
        assert!(e.remote().is_none());
        call(&session).unwrap();
        assert_eq!((session.state(), session.stats().malformed), (State::Ready, 1));
    }
}

#[test]
fn malformed_json_ends_one_call_and_not_the_connection() {
    for content in [
        "",
        "nul",
        "[1, 2",
        "[1, 2]}, 3",
        "01",
        "1.",
        "+1",
        "'text'",
        "\"\\x\"",
        "\"\\u12\"",
        "\"a\nb\"",
        "{\"a\" 1}",
        "{a: 1}",
        "[1,]",
        "-",
        "-Inf",
        "NaNs",
        &"[".repeat(100_000),
        &"{\"a\":".repeat(100_000),
    ] {
        let played = content.to_owned();
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(V1);
            let call = conn.call().unwrap();
            conn.text(&format!("{{\"wslink\": \"1.0\", \"id\": \"{}\", \"result\": {played}}}", call.id));
            conn.echo();
        });
        let session = server.session(V1);
        let shown: String = content.chars().take(20).collect();
        let e = call(&session).map(|d| format!("{:?}", d.root())).unwrap_err();
        assert!(matches!(e.code(), Code::Protocol | Code::Json | Code::Limit), "{shown}: {e:?}");
        call(&session).unwrap();
        assert_eq!((session.state(), session.stats().malformed), (State::Ready, 1), "{shown}");
    }
}

#[test]
fn messages_without_meaning_are_counted_and_dropped() {
    for protocol in [V1, V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let call = conn.call().unwrap();
            let attachment = json!("wslink.binary.attachment");
            for message in [
                json!(null),
                json!(1),
                json!("text"),
                json!([1, 2]),
                json!({}),
                json!({"id": 5, "result": 1}),
                json!({"id": null, "result": 1}),
                json!({"result": 1}),
                json!({"id": "publish:t:0"}),
                json!({"method": "something.else", "args": []}),
                json!({"method": attachment}),
                json!({"method": attachment, "args": [5]}),
            ] {
                conn.message(&message);
            }
            conn.reply(&call.id, json!("fine"));
            conn.echo();
        });
        let session = server.session(protocol);
        let (send, receive) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| send.send(p.outcome.is_err()).unwrap());
        assert_eq!(result(&call(&session).unwrap()).as_str(), Some("fine"));
        assert_eq!(session.stats().malformed, 12);
        // The one that names a topic is reported there.
        while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
        assert_eq!(receive.try_iter().collect::<Vec<_>>(), [true]);
    }
}

#[test]
fn a_publication_that_turns_out_malformed_when_it_is_dispatched_is_reported_and_counted() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        let call = conn.call().unwrap();
        for result in [&[1][..], &[2], &[3], &[0xc1], &[0xa5, b'x'], &[4]] {
            let texts = ["id", "publish:t:0", "result"].map(|text| pack(&json!(text))).concat();
            let bytes = [&[0x82], &texts[..], result].concat();
            conn.chunk(1, 0, bytes.len() as u32, &bytes);
        }
        conn.reply(&call.id, json!("fine"));
        conn.echo();
    });
    let mut config = server.config(V2);
    let (log, lines) = mpsc::channel();
    config.set_log(LogLevel::Warning, move |_, line| log.send(line.to_owned()).unwrap());
    let session = common::connected(config);
    let (send, receive) = mpsc::channel();
    let handle = session.handle();
    session.subscribe("t", Policy::default(), move |p| {
        let number = p.outcome.as_ref().map(|d| result(d).as_u64()).map_err(|e| e.code());
        send.send((number, handle.stats().malformed)).unwrap();
    });
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some("fine"));
    session.dispatch(99, Some(Duration::ZERO)).unwrap();
    let wrong = Err(Code::Protocol);
    assert_eq!(
        receive.try_iter().collect::<Vec<_>>(),
        [(Ok(Some(1)), 0), (Ok(Some(2)), 0), (Ok(Some(3)), 0), (wrong, 1), (wrong, 2), (Ok(Some(4)), 2)]
    );
    let lines: Vec<_> = lines.try_iter().filter(|line| line.contains("without meaning")).collect();
    assert!(matches!(&lines[..], [line] if line.starts_with("2 message(s)")), "{lines:?}");
    call(&session).unwrap();
}

#[test]
fn errors_of_a_strange_form_are_still_errors() {
    for protocol in [V1, V2] {
        for error in [
            json!(null),
            json!("text"),
            json!([]),
            json!({}),
            json!({"code": "text", "message": 5}),
            json!({"code": 1u64 << 63}),
        ] {
            let server = ScriptedServer::start(move |conn, _| {
                conn.hello(protocol);
                let call = conn.call().unwrap();
                conn.message(&json!({"id": call.id, "error": error, "result": "and a result"}));
                conn.echo();
            });
            let session = server.session(protocol);
            let e = call(&session).unwrap_err();
            assert_eq!((e.code(), e.stage(), e.remote().unwrap().code), (Code::Remote, Stage::Call, 0));
            call(&session).unwrap();
        }
    }
}

#[test]
fn text_from_a_generation_2_server_and_binary_without_notice_from_generation_1_are_dropped() {
    for protocol in [V1, V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let call = conn.call().unwrap();
            let reply = json!({"wslink": "1.0", "id": call.id, "result": "of the other generation"});
            match protocol {
                V1 => conn.binary(&chunk(1, 0, pack(&reply).len() as u32, &pack(&reply))),
                V2 => conn.text(&reply.to_string()),
            }
            conn.reply(&call.id, json!("right"));
            conn.echo();
        });
        let session = server.session(protocol);
        assert_eq!(result(&call(&session).unwrap()).as_str(), Some("right"));
        assert_eq!(session.stats().malformed, 1);
    }
}

#[cfg(target_os = "linux")]
fn virtual_memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_only_declared_takes_no_memory() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        let call = conn.call().unwrap();
        for id in 0..60 {
            conn.chunk(id, 0, u32::MAX, b"a beginning");
        }
        let bytes = pack(&json!({"id": call.id, "result": 1}));
        conn.chunk(99, 0, bytes.len() as u32, &bytes);
        // A frame of 4 GiB of which nothing comes.
        let mut head = Conn::frame_head(FIN | BINARY, (1 << 32) + 11);
        head.extend(chunk(100, 0, u32::MAX, b""));
        conn.raw(head);
        conn.until_end();
    });
    let mut config = server.config(V2);
    config.session.limits.message_size = u64::from(u32::MAX);
    config.session.limits.unfinished_bytes = u64::MAX;
    let session = common::connected(config);
    let before = virtual_memory();
    call(&session).unwrap();
    let grown = virtual_memory().saturating_sub(before);
    assert!(grown < 8 << 30, "{grown} bytes more for 240 GiB that were declared");
}

#[test]
fn limits_that_the_application_sets_are_named_when_they_are_hit() {
    // Generation 1 in one frame and in fragments; generation 2 by its total, and by what is unfinished.
    let acts: [(Protocol, Act, &str); 5] = [
        (V1, |c, id| c.reply(id, json!("x".repeat(3000))), "max_message_size"),
        (V1, |c, _| c.fragments(TEXT, &[&[b'x'; 600][..]; 4], |_| {}), "max_message_size"),
        (V1, |c, _| c.attach("wslink_bin1", &[0; 3000]), "max_message_size"),
        (V2, |c, id| c.reply(id, json!("x".repeat(3000))), "max_message_size"),
        (V2, |c, _| (0..9).for_each(|i| c.chunk(i, 0, 2000, &[0; 1000])), "max_unfinished_bytes"),
    ];
    for (protocol, act, option) in acts {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, protocol);
            }
            conn.hello(protocol);
            let call = conn.call().unwrap();
            act(conn, &call.id);
            conn.until_end();
        });
        let mut config = server.config(protocol);
        config.session.limits.message_size = 2000;
        config.session.limits.unfinished_bytes = 5000;
        let session = common::connected(config);
        let e = call(&session).unwrap_err();
        assert_eq!(e.code(), Code::Limit, "{e}");
        assert!(e.message().contains(option) && e.message().contains("the limit is"), "{e}");
        assert_usable(&session);
    }
}

#[test]
fn too_many_unfinished_messages_lose_the_oldest() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        let call = conn.call().unwrap();
        for id in 0..1000 {
            conn.chunk(id, 0, 100, b"never finished");
        }
        conn.reply(&call.id, json!(1));
        conn.echo();
    });
    let session = server.session(V2);
    call(&session).unwrap();
    assert!(session.stats().evicted >= 1000 - 64, "{:?}", session.stats());
    call(&session).unwrap();
}

#[test]
fn endless_announcements_of_attachments_are_bounded() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V1);
        let call = conn.call().unwrap();
        let keys: Vec<_> = (0..100).map(|i| format!("wslink_bin{i}")).collect();
        let notice = json!({"method": "wslink.binary.attachment", "args": keys}).to_string();
        (0..700).for_each(|_| conn.text(&notice));
        conn.reply(&call.id, json!(1));
        conn.echo();
    });
    let session = server.session(V1);
    call(&session).unwrap();
    assert!(session.stats().malformed >= 44, "{:?}", session.stats());
    call(&session).unwrap();
}

#[test]
fn kept_attachments_are_bounded_and_the_newest_stays() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V1);
        let call = conn.call().unwrap();
        (0..1000).for_each(|i| conn.attach(&format!("wslink_bin{i}"), &[i as u8; 1000]));
        conn.reply(&call.id, json!(["wslink_bin0", "wslink_bin999"]));
        conn.echo();
    });
    let mut config = server.config(V1);
    config.session.limits.attachment_bytes = 50_000;
    let warnings = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&warnings);
    config.set_log(LogLevel::Warning, move |_, line| {
        count.fetch_add(usize::from(line.contains("given up")), SeqCst);
    });
    let session = common::connected(config);
    let reply = call(&session).unwrap();
    assert_eq!(result(&reply).index(0).unwrap().as_str(), Some("wslink_bin0"), "forgotten");
    assert_eq!(result(&reply).index(1).unwrap().as_bytes(), Some(&[231u8; 1000][..]));
    assert_eq!(session.stats().evicted, 950);
    assert_eq!(warnings.load(SeqCst), 1, "said once, and not for each image that a viewer gets");
}

#[test]
fn a_hello_that_is_answered_with_nonsense_is_an_error_of_that_stage() {
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
            assert_usable(&session);
        }
    }
}

#[test]
fn violations_during_the_hello_are_errors_of_that_stage_and_no_reason_to_try_the_other_generation() {
    let acts: [(Act, Code, &str); 6] = [
        (|c, _| c.chunk(1, 0, 0, b""), Code::Protocol, "total size is 0"),
        (|c, _| c.chunk(1, 0, u32::MAX, b""), Code::Limit, "max_message_size"),
        (|c, _| c.send(FIN | 0x40 | BINARY, b"x"), Code::Protocol, "reserved bits"),
        (|c, _| c.raw("HTTP/1.1 400 Bad Request\r\n\r\n"), Code::Protocol, ""),
        (|c, _| c.send(FIN | TEXT, b"\xff"), Code::Utf8, "UTF-8"),
        (|c, _| c.chunk(1, 0, 24, &raw_reply("system:c0:0", b"\xc1")), Code::Protocol, ""),
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

/// An HTTP response of the server, the status, and a part of the message.
const RESPONSES: &[(&str, Option<u16>, bool, &str)] = &[
    ("404 Not Found\r\nContent-Length: 14\r\n\r\n404: Not Found", Some(404), false, "404: Not Found; is the path"),
    ("404 Not Found\r\nContent-Length: 999\r\n\r\nonly a part", Some(404), false, "only a part"),
    ("404 Not Found\r\n\r\nuntil the end", Some(404), false, "until the end"),
    ("404 Not Found\r\n\r\n\x1b[31m\0bell\x07", Some(404), false, "[31m bell"),
    ("401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Some(401), false, "Authorization"),
    ("403 Forbidden\r\nContent-Length: 0\r\n\r\n", Some(403), false, "in use by another client"),
    ("405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n", Some(405), false, "405"),
    ("429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", Some(429), true, "429"),
    ("500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", Some(500), false, "500"),
    ("502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Some(502), true, "502"),
    ("503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Some(503), true, "not ready"),
    ("200 OK\r\nContent-Length: 4\r\n\r\nhtml", Some(200), false, "no WebSocket at this path"),
    (
        "302 Found\r\nLocation: ws://elsewhere.invalid/ws\r\nContent-Length: 0\r\n\r\n",
        Some(302),
        false,
        "elsewhere.invalid",
    ),
    ("101 Switching Protocols\r\n\r\n", None, false, "does not upgrade to websocket"),
    ("101 X\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", None, false, "does not upgrade"),
    ("101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", None, false, "Sec-WebSocket-Accept"),
    (
        "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n",
        None,
        false,
        "Sec-WebSocket-Accept",
    ),
];

#[test]
fn a_server_that_does_not_upgrade_is_reported_with_status_and_text() {
    for (response, status, retriable, text) in RESPONSES {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, V2);
            }
            conn.respond(&format!("HTTP/1.1 {response}"));
            conn.cut();
        });
        let session = Session::new(server.config(None)).unwrap();
        let e = session.connect_wait().unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade), "{response}: {e}");
        assert_eq!((e.http_status(), e.is_retriable()), (*status, *retriable), "{response}: {e}");
        assert!(e.message().contains(text) && !e.message().contains(char::is_control), "{response}: {e}");
        assert_usable(&session);
    }
}

#[test]
fn a_response_that_adds_what_was_not_asked_for_is_refused() {
    for (header, text) in [
        ("Sec-WebSocket-Extensions: permessage-deflate", "extension that was not offered"),
        ("Sec-WebSocket-Protocol: wslink", "sub-protocol that was not offered"),
    ] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.head();
            let answer = conn.switching().replace("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"));
            conn.raw(answer);
            assert_eq!(conn.header("Sec-WebSocket-Extensions"), None);
            conn.until_end();
        });
        let e = Session::new(server.config(None)).unwrap().connect_wait().unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade));
        assert!(e.message().contains(text), "{e}");
    }
}

#[test]
fn what_is_no_http_is_told() {
    let long: &'static str = format!("HTTP/1.1 101 X\r\nX: {}", "x".repeat(200_000)).leak();
    let many: &'static str = format!("HTTP/1.1 101 X\r\n{}", "X: y\r\n".repeat(5000)).leak();
    for (answer, text) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "no WebSocket server"),
        ("\x15\x03\x01\x00\x02\x02\x46", "use wss://"),
        ("\0\0\0\0", "no WebSocket server"),
        ("HTTP/1.1 banana\r\n\r\n", "no WebSocket server"),
        ("HTTP/1.1 101 X\r\nno colon\r\n\r\n", "no WebSocket server"),
        (long, "its answer has no end"),
        (many, "no WebSocket server"),
        ("", "if it speaks TLS, use wss://"),
        ("HTTP/1.1 101 Switching", "ended the connection instead of answering"),
    ] {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, V2);
            }
            conn.respond(answer);
        });
        let session = Session::new(server.config(None)).unwrap();
        let e = session.connect_wait().unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade), "{e}");
        assert!(e.message().contains(text), "{e}");
        assert_usable(&session);
    }
}

#[test]
fn a_redirect_is_never_followed_and_gets_no_secret() {
    let target = ScriptedServer::start(|_, _| panic!("followed"));
    let location = target.url();
    let server = ScriptedServer::start(move |conn, _| {
        conn.respond(&format!("HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
        assert!(!conn.request.contains("wslink-secret"));
        assert_eq!(conn.frame(), Frame::End);
    });
    let e = Session::new(server.config(None)).unwrap().connect_wait().unwrap_err();
    assert_eq!(e.http_status(), Some(307));
    assert!(e.message().contains(&target.url()), "{e}");
    assert_eq!(target.accepted(), 0);
}

#[test]
fn frames_that_come_with_the_upgrade_response_are_read() {
    let server = ScriptedServer::start(|conn, _| {
        conn.head();
        let mut bytes = conn.switching().into_bytes();
        bytes.extend(Conn::frame_bytes(FIN | PING, b"early"));
        let publish = pack(&json!({"id": "publish:t:0", "result": 1}));
        bytes.extend(Conn::frame_bytes(FIN | BINARY, &chunk(1, 0, publish.len() as u32, &publish)));
        // In two parts, to be put together again.
        conn.raw(&bytes[..10]);
        conn.raw(&bytes[10..]);
        conn.answer_hello(V2);
        conn.echo();
    });
    let session = Session::new(server.config(V2)).unwrap();
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| send.send(p.outcome.is_ok()).unwrap());
    session.connect_wait().unwrap();
    call(&session).unwrap();
    while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
    assert_eq!(receive.try_iter().collect::<Vec<_>>(), [true]);
}

#[test]
fn the_request_is_what_proxies_and_servers_need() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        assert!(conn.request.starts_with("GET /proxy/a%20b?sessionId=5&path=ws HTTP/1.1\r\n"), "{}", conn.request);
        assert_eq!(conn.header("Sec-WebSocket-Version").as_deref(), Some("13"));
        assert_eq!(conn.header("Authorization").as_deref(), Some("Bearer token"));
        assert_eq!(conn.header("Cookie").as_deref(), Some("a=b"));
        assert_eq!(conn.header("Sec-WebSocket-Protocol"), None);
        assert_eq!(conn.header("Sec-WebSocket-Extensions"), None, "compression is not offered");
        conn.echo();
    });
    let url = server.url().replace("/ws", "/proxy/a%20b?sessionId=5&path=ws").replace("ws://", "ws://user:pw@");
    let mut config = Config::new(&url).unwrap();
    config.session.protocol = Some(V2);
    config.add_header("Authorization", "Bearer token").unwrap();
    config.add_header("Cookie", "a=b").unwrap();
    call(&common::connected(config)).unwrap();
}
