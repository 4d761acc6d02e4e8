//! Malformed messages in valid frames: one call or publication fails, and the connection stays.

use crate::common::connected;
use crate::common::scripted::{Conn, FIN, ScriptedServer, TEXT, chunk, pack};
use crate::{V1, V2, call, raw_reply};
use serde_json::json;
use std::sync::mpsc;
use std::time::Duration;
use wslink::LogLevel;
use wslink::{Code, Policy, Protocol, Stage, State, result};

/// Malformed results in messages with valid framing, and a part of the error of the call.
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
        assert_eq!((e.code(), e.stage()), (Code::Protocol, Stage::Call), "{content:x?}: {e:?}");
        assert!(e.message().starts_with("the server's reply to \"a.method\" is not valid msgpack: "), "{e}");
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
        assert_eq!((e.code(), e.stage()), (Code::Protocol, Stage::Call), "{shown}: {e:?}");
        assert!(e.message().starts_with("the server's reply to \"a.method\" is not valid JSON: "), "{shown}: {e}");
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
        // The malformed publication is reported to the subscriber of its topic.
        while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
        assert_eq!(receive.try_iter().collect::<Vec<_>>(), [true]);
    }
}

#[test]
fn a_publication_that_is_malformed_is_reported_and_counted() {
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
    let session = connected(config);
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        let number = p.outcome.as_ref().map(|d| result(d).as_u64()).map_err(|e| e.code());
        send.send(number).unwrap();
    });
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some("fine"));
    session.dispatch(99, Some(Duration::ZERO)).unwrap();
    let wrong = Err(Code::Protocol);
    assert_eq!(
        receive.try_iter().collect::<Vec<_>>(),
        [Ok(Some(1)), Ok(Some(2)), Ok(Some(3)), wrong, wrong, Ok(Some(4))]
    );
    assert_eq!(session.stats().malformed, 2);
    // One line for each read of the socket.
    let lines: Vec<_> = lines.try_iter().filter(|line| line.contains("malformed message(s)")).collect();
    let told: u64 = lines.iter().map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(told, 2, "{lines:?}");
    call(&session).unwrap();
}

/// A reply to the call with this id.
type ReplyTo = fn(&str) -> Vec<u8>;

/// Malformed replies with a valid id, many with the id last: what the server sends, and a part of the error of the call.
const MALFORMED_REPLIES: &[(Protocol, ReplyTo, &str)] = &[
    (V1, |id| format!(r#"{{"result": "\x", "id": "{id}"}}"#).into(), "is not valid JSON: unknown escape at byte 13"),
    (
        V1,
        |id| format!(r#"{{"result": "a\nb \x", "id": "{id}"}}"#).into(),
        "is not valid JSON: unknown escape at byte 18",
    ),
    (V1, |id| format!(r#"{{"result": [1,, 2], "id": "{id}"}}"#).into(), "is not valid JSON: a value is expected at"),
    (V1, |id| format!(r#"{{"result": [1, 2}}, "id": "{id}"}}"#).into(), "is not valid JSON: ',' or ']' expected at"),
    (V1, |id| format!(r#"{{"result": 01, "id" : "{id}"}}"#).into(), "is not valid JSON: a number must not begin"),
    (V1, |id| format!(r#"{{"result": 1, "id": "{id}"}} more"#).into(), "is not valid JSON: text after the value"),
    (V1, |id| format!(r#"{{"id": "{id}", "result": 1}} more"#).into(), "is not valid JSON: text after the value"),
    (V1, |id| format!(r#"{{"id": "{id}", "error": {{"#).into(), "is not valid JSON: a string is expected as key"),
    (V1, |id| format!(r#"{{"id": "{id}"}}"#).into(), "has neither a result nor an error"),
    (V1, |id| format!(r#"{{"more": 1, "id": "{id}"}}"#).into(), "has neither a result nor an error"),
    (V2, |id| result_first(id, b"\xc1"), "is not valid msgpack: 0xc1, which no value begins with, at byte"),
    (V2, |id| result_first(id, b"\xa2\xff\xfe"), "is not valid msgpack: a string that is not valid UTF-8 at byte 9"),
    (V2, |id| result_first(id, b"\x81\xa1\xff\x92\x01\x02"), "a string that is not valid UTF-8 at byte 10"),
    (V2, |id| [result_first(id, b"\x01"), vec![1]].concat(), "is not valid msgpack: bytes after the value at"),
    (V2, |id| pack(&json!({"id": id})), "has neither a result nor an error"),
    (V2, |id| pack(&json!({"a": [1], "id": id})), "has neither a result nor an error"),
];

/// A generation 2 reply with these bytes as its result, and the id behind it.
fn result_first(id: &str, result: &[u8]) -> Vec<u8> {
    [&[0x82], &pack(&json!("result"))[..], result, &pack(&json!("id")), &pack(&json!(id))].concat()
}

fn send_message(conn: &mut Conn, bytes: &[u8]) {
    match conn.protocol {
        V1 => conn.send(FIN | TEXT, bytes),
        V2 => conn.chunk(7, 0, bytes.len() as u32, bytes),
    }
}

#[test]
fn a_malformed_reply_fails_its_call_and_names_the_method() {
    for (number, &(protocol, reply, text)) in MALFORMED_REPLIES.iter().enumerate() {
        for large in [false, true] {
            let server = ScriptedServer::start(move |conn, _| {
                conn.hello(protocol);
                let call = conn.call().unwrap();
                let mut bytes = reply(&call.id);
                if large && protocol == V1 {
                    // Large messages are received in place.
                    bytes = [vec![b' '; 100_000], bytes].concat();
                }
                send_message(conn, &bytes);
                conn.echo();
            });
            let session = server.session(protocol);
            let e = call(&session).unwrap_err();
            assert_eq!(
                (e.code(), e.stage(), e.remote().is_none()),
                (Code::Protocol, Stage::Call, true),
                "{number}: {e}"
            );
            let begin = "the server's reply to \"a.method\" ";
            assert!(e.message().starts_with(begin), "{number}: {e}");
            assert!(large || e.message().contains(text), "{number}: {e}");
            call(&session).unwrap();
            assert_eq!((session.state(), session.stats().malformed), (State::Ready, 1), "{number}");
        }
    }
}

#[test]
fn a_malformed_message_without_id_is_counted_and_logged() {
    for (protocol, bytes, text) in [
        (V1, &b"{\"result\": \"\\x\"}"[..], "is not valid JSON: unknown escape at byte 13"),
        (V1, b"nonsense", "is not valid JSON"),
        (V1, b"{\"result\": [1, \"id\": \"x\"}", "is not valid JSON"),
        (V1, b"{\"id\": 5, \"result\": \"\\x\"}", "is not valid JSON"),
        (V2, b"\x81\xa6result\xc1", "is not valid msgpack: 0xc1"),
        (V2, b"\xc1", "is not valid msgpack: 0xc1"),
    ] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let call = conn.call().unwrap();
            send_message(conn, bytes);
            conn.reply(&call.id, json!("fine"));
            conn.echo();
        });
        let mut config = server.config(protocol);
        let (log, lines) = mpsc::channel();
        config.set_log(LogLevel::Warning, move |_, line| log.send(line.to_owned()).unwrap());
        let session = connected(config);
        assert_eq!(result(&call(&session).unwrap()).as_str(), Some("fine"));
        assert_eq!((session.state(), session.stats().malformed), (State::Ready, 1));
        let lines: Vec<_> = lines.try_iter().collect();
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.contains(text) && line.contains("No call and no subscription learns of it"), "{line}");
    }
}

#[test]
fn a_malformed_publication_is_reported_to_its_subscribers() {
    for (protocol, bytes) in [
        (V1, &b"{\"id\": \"publish:t:0\", \"result\": \"\\x\"}"[..]),
        (V1, b"{\"result\": \"\\x\", \"id\": \"publish:t:0\"}"),
        (V2, b"\x82\xa2id\xabpublish:t:0\xa6result\xc1"),
        (V2, b"\x82\xa6result\xc1\xa2id\xabpublish:t:0"),
    ] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let call = conn.call().unwrap();
            // Well-formed publications precede it, because later publications may be decoded in another way than the first.
            (0..4).for_each(|i| conn.publish("t", json!(i)));
            send_message(conn, bytes);
            conn.reply(&call.id, json!("fine"));
            conn.echo();
        });
        let session = server.session(protocol);
        let (send, receive) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| send.send(p.outcome.as_ref().err().cloned()).unwrap());
        call(&session).unwrap();
        while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
        let told: Vec<_> = receive.try_iter().collect();
        assert!(told.len() == 5 && told[..4].iter().all(Option::is_none), "{told:?}");
        let e = told[4].clone().unwrap();
        assert_eq!((e.code(), e.stage()), (Code::Protocol, Stage::Session), "{e}");
        assert!(e.message().starts_with("the server's publication on \"t\" is not valid "), "{e}");
        assert_eq!(session.stats().malformed, 1);
    }
}

#[test]
fn errors_of_any_form_keep_their_value() {
    for protocol in [V1, V2] {
        for (error, code, text) in [
            (json!("text"), 0, "text"),
            (json!(["a", "b"]), 0, "[\"a\", \"b\"]"),
            (json!([]), 0, "[]"),
            (json!({}), 0, "{}"),
            (json!(false), 0, "false"),
            (json!({"code": "E42", "message": "no"}), 0, "no (E42)"),
            (json!({"code": 1u64 << 63, "message": "no"}), 0, "no (9223372036854775808)"),
            (json!({"code": -32001.0, "message": "no"}), -32001, "no (-32001.0)"),
            (json!({"code": 7, "message": {"en": "no"}}), 7, "{\"en\": \"no\"} (7)"),
            (json!({"message": "no"}), 0, "no"),
        ] {
            let played = error.clone();
            let server = ScriptedServer::start(move |conn, _| {
                conn.hello(protocol);
                let call = conn.call().unwrap();
                conn.message(&json!({"id": call.id, "error": played, "result": "and a result"}));
                let call = conn.call().unwrap();
                conn.message(&json!({"id": call.id, "error": played}));
                conn.echo();
            });
            let session = server.session(protocol);
            for _ in 0..2 {
                let e = call(&session).unwrap_err();
                let remote = e.remote().unwrap();
                assert_eq!((e.code(), e.stage(), remote.code), (Code::Remote, Stage::Call, code), "{error}: {e}");
                assert_eq!(e.message(), text);
                let kept: serde_json::Value = serde_json::from_str(&format!("{:?}", remote.value())).unwrap();
                assert_eq!(kept, error);
            }
            call(&session).unwrap();
        }
    }
}

#[test]
fn a_null_error_beside_a_result_is_ignored() {
    for protocol in [V1, V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            // Several replies with the same beginning.
            for _ in 0..5 {
                let call = conn.call().unwrap();
                conn.message(&json!({"id": call.id, "error": null, "result": "a result"}));
            }
            let call = conn.call().unwrap();
            conn.message(&json!({"id": call.id, "error": null}));
            conn.echo();
        });
        let session = server.session(protocol);
        for _ in 0..5 {
            assert_eq!(result(&call(&session).unwrap()).as_str(), Some("a result"));
        }
        let e = call(&session).unwrap_err();
        assert_eq!((e.code(), e.message()), (Code::Remote, "null"), "{e}");
        call(&session).unwrap();
    }
}

#[test]
fn messages_of_the_other_generation_are_dropped() {
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
