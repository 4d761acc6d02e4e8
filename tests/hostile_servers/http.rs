//! HTTP: the upgrade request, answers that do not upgrade, and HTTP inside of an upgraded connection.

use crate::common::connected;
use crate::common::scripted::{BINARY, Conn, FIN, Frame, PING, PONG, ScriptedServer, TEXT, chunk, pack};
use crate::{V1, V2, assert_usable, call, good};
use serde_json::json;
use std::sync::mpsc;
use std::time::Duration;
use wslink::{Code, Config, Policy, Protocol, Session, Stage};

type Write = fn(&mut Conn);

/// HTTP that a proxy writes into the upgraded connection after it has lost its server.
const HTTP_IN_WEBSOCKET: &[(Protocol, Write, Option<u16>, &str)] = &[
    (V2, |c| c.raw("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), Some(502), "502 Bad Gateway"),
    (V1, |c| c.raw("HTTP/1.1 500 Internal Server Error\r\n\r\n500: text"), Some(500), "500 Internal Server Error"),
    (V1, |c| c.raw("HTTP/1.0 503 Service Unavailable\n"), Some(503), "503 Service Unavailable"),
    // Truncated by the end of the connection.
    (V2, |c| then_cut(c, "HTTP/1.1 504 Gateway Timeout"), Some(504), "504 Gateway Timeout"),
    (V2, |c| then_cut(c, "HTTP/1.1"), None, "it has no status"),
    // After a frame, and between the frames of a message.
    (V2, |c| c.raw([&[FIN | PONG, 0], &b"HTTP/1.1 502 X\r\n"[..]].concat()), Some(502), "502 X"),
    (V1, |c| c.raw([&[TEXT, 1, b'{'], &b"HTTP/1.1 502 X\r\n"[..]].concat()), Some(502), "502 X"),
];

fn then_cut(conn: &mut Conn, text: &str) {
    conn.raw(text);
    conn.cut();
}

#[test]
fn http_instead_of_a_frame_ends_the_connection_with_its_status() {
    for &(protocol, act, status, text) in HTTP_IN_WEBSOCKET {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, protocol);
            }
            conn.hello(protocol);
            conn.call().unwrap();
            act(conn);
            assert_eq!(conn.frame(), Frame::End, "no Close frame for a proxy that does not speak WebSocket any more");
        });
        let session = server.session(protocol);
        let e = call(&session).unwrap_err();
        assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::ConnectionLost, Stage::Session, true), "{e}");
        assert!(e.http_status() == status && e.message().contains(text), "{e}");
        assert_usable(&session);
    }
}

#[test]
fn http_instead_of_a_hello_reply_is_reported_with_its_status() {
    for protocol in [V1, V2] {
        let server = ScriptedServer::start(move |conn, connection| {
            if connection > 1 {
                return good(conn, protocol);
            }
            conn.accept();
            conn.call().unwrap();
            conn.raw("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
            conn.until_end();
        });
        let session = Session::new(server.config(protocol)).unwrap();
        let e = session.connect_wait().unwrap_err();
        assert_eq!(e.stage(), Stage::Hello, "{e}");
        assert!(e.message().contains("502 Bad Gateway") && e.http_status() == Some(502) && e.is_retriable(), "{e}");
        assert_usable(&session);
    }
}

/// An HTTP response, its status, whether a retry may help, and a part of the message.
const RESPONSES: &[(&str, Option<u16>, bool, &str)] = &[
    ("404 Not Found\r\nContent-Length: 14\r\n\r\n404: Not Found", Some(404), false, "404: Not Found; is the path"),
    ("404 Not Found\r\nContent-Length: 999\r\n\r\nonly a part", Some(404), false, "only a part"),
    ("404 Not Found\r\n\r\nuntil the end", Some(404), false, "until the end"),
    ("404 Not Found\r\n\r\n\x1b[31m\0bell\x07", Some(404), false, "[31m bell"),
    ("401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Some(401), false, "Authorization"),
    ("403 Forbidden\r\nContent-Length: 0\r\n\r\n", Some(403), false, "in use by another client"),
    ("405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n", Some(405), false, "405"),
    ("429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", Some(429), true, "429"),
    ("500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", Some(500), true, "500"),
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
fn an_upgrade_with_an_unrequested_extension_or_protocol_is_refused() {
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
fn an_answer_that_is_not_http_is_reported() {
    let long: &'static str = format!("HTTP/1.1 101 X\r\nX: {}", "x".repeat(200_000)).leak();
    let many: &'static str = format!("HTTP/1.1 101 X\r\n{}", "X: y\r\n".repeat(5000)).leak();
    for (answer, text) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "no WebSocket server"),
        ("\x15\x03\x01\x00\x02\x02\x46", "use wss://"),
        ("\0\0\0\0", "no WebSocket server"),
        ("HTTP/1.1 banana\r\n\r\n", "no WebSocket server"),
        ("HTTP/1.1 101 X\r\nno colon\r\n\r\n", "does not upgrade"),
        (long, "has more than 64 KiB of headers"),
        (many, "ended the connection instead of answering"),
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
fn frames_behind_the_upgrade_response_are_read() {
    let server = ScriptedServer::start(|conn, _| {
        conn.head();
        let mut bytes = conn.switching().into_bytes();
        bytes.extend(Conn::frame_bytes(FIN | PING, b"early"));
        let publish = pack(&json!({"id": "publish:t:0", "result": 1}));
        bytes.extend(Conn::frame_bytes(FIN | BINARY, &chunk(1, 0, publish.len() as u32, &publish)));
        // Split, so that the client has to join the parts.
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
fn the_upgrade_request_has_path_query_and_headers() {
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
    call(&connected(config)).unwrap();
}
