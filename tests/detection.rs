//! Detection of the server's generation: scripted servers for every known behaviour of wslink 0.1.14 to 2.6.0, and real servers,
//! directly and behind wslink's relay.

mod common;

use common::scripted::{Call, Conn, Frame, ScriptedServer, hello_result};
use common::{PATIENCE, Server, VERSIONS, connected, pattern};
use serde_json::json;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use wslink::{Args, Code, Config, Error, Policy, Protocol, Session, Stage, State, result};

const SECRET: &str = "s3cret of this session";

/// Everything that a server received before the session was ready, in the order of arrival.
type Seen = Arc<Mutex<Vec<String>>>;

/// How a server handles the messages of a new connection. It panics if a secret arrives as text.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Answers text; takes a binary message for a stray attachment.
    V1IgnoresBinary,
    /// Answers text; closes TCP at a binary message.
    V1EndsTcp,
    /// Answers text; resets TCP at a binary message.
    V1ResetsTcp,
    /// Answers binary messages, ignores text.
    V2,
}

struct Behaviour {
    kind: Kind,
    secret: &'static str,
    /// The pong precedes the answer, as behind a proxy.
    pong_first: bool,
    /// Sent before the hello succeeds (generation 2).
    max_hello: usize,
    max_msg_size: Option<u64>,
    publishes_early: bool,
}

const PLAIN: Behaviour = Behaviour {
    kind: Kind::V2,
    secret: SECRET,
    pong_first: false,
    max_hello: 512,
    max_msg_size: Some(4_194_304),
    publishes_early: false,
};

fn note(seen: &Seen, what: impl Into<String>) {
    seen.lock().unwrap().push(what.into());
}

/// Plays one connection until it ends; echoes calls once the session is ready.
fn play(b: &Behaviour, conn: &mut Conn, seen: &Seen) {
    conn.accept();
    conn.protocol = if b.kind == Kind::V2 { Protocol::V2 } else { Protocol::V1 };
    note(seen, "connection");
    let mut authenticated = false;
    // The client may send a ping after its message. The answer precedes the pong here.
    loop {
        match conn.frame() {
            Frame::End => return,
            Frame::Close(_) => return conn.close(1000, ""),
            Frame::Pong(_) => {}
            Frame::Ping(payload) => {
                note(seen, "ping");
                conn.send(0x80 | common::scripted::PONG, &payload);
            }
            Frame::Text(text) => {
                let call: serde_json::Value = serde_json::from_str(&text).unwrap();
                note(seen, format!("text {}", call["method"].as_str().unwrap()));
                if b.kind == Kind::V2 {
                    assert!(!text.contains(b.secret), "the secret goes into the log of this server");
                    continue;
                }
                let id = call["id"].as_str().unwrap().to_owned();
                let call = Call {
                    method: call["method"].as_str().unwrap().to_owned(),
                    args: call["args"].clone(),
                    kwargs: call["kwargs"].clone(),
                    id,
                    protocol: Protocol::V1,
                };
                answer(b, conn, &call, &mut authenticated);
            }
            Frame::Binary(chunk) => match b.kind {
                Kind::V1IgnoresBinary => note(seen, "binary"),
                Kind::V1EndsTcp => {
                    note(seen, "binary");
                    return;
                }
                Kind::V1ResetsTcp => {
                    note(seen, "binary");
                    return conn.reset_at_end();
                }
                Kind::V2 => {
                    let message = common::scripted::unpack(&chunk[12..]);
                    note(seen, format!("binary {}", message["method"].as_str().unwrap()));
                    if !authenticated && chunk.len() - 12 > b.max_hello {
                        return;
                    }
                    let text = |key: &str| message[key].as_str().unwrap().to_owned();
                    let call = Call {
                        id: text("id"),
                        method: text("method"),
                        args: message["args"].clone(),
                        kwargs: message["kwargs"].clone(),
                        protocol: Protocol::V2,
                    };
                    if b.pong_first && !authenticated {
                        // The proxy has already answered the ping.
                        assert!(matches!(conn.frame(), Frame::Ping(_)));
                        conn.send(0x80 | common::scripted::PONG, &[]);
                    }
                    answer(b, conn, &call, &mut authenticated);
                }
            },
        }
    }
}

fn answer(b: &Behaviour, conn: &mut Conn, call: &Call, authenticated: &mut bool) {
    match (call.id.starts_with("system:"), &*call.method) {
        (true, "wslink.hello") if call.args[0]["secret"] != b.secret => {
            conn.error(&call.id, -32000, "Authentication failed");
        }
        (true, "wslink.hello") => {
            *authenticated = true;
            if b.publishes_early {
                conn.publish("early", json!(1));
            }
            let mut result = hello_result(conn.protocol);
            if b.max_msg_size.is_none() {
                result.as_object_mut().unwrap().remove("maxMsgSize");
            }
            conn.reply(&call.id, result);
        }
        (true, _) => conn.error(&call.id, -32601, "Unknown system method called"),
        (false, _) => conn.reply(&call.id, call.args.clone()),
    }
}

/// Connects to such a server. Returns what the server received, and the session or the error.
fn connect(b: Behaviour, change: impl FnOnce(&mut Config)) -> (ScriptedServer, Vec<String>, Result<Session, Error>) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let server = ScriptedServer::start(move |conn, _| play(&b, conn, &log));
    let mut config = server.config(None);
    config.session.secret = SECRET.into();
    change(&mut config);
    let session = Session::new(config).unwrap();
    let outcome = session.connect_wait().map(|()| session);
    if let Ok(session) = &outcome {
        let reply = session.call_wait("m", Args::from_json("[1, 2]").unwrap(), Some(PATIENCE)).unwrap();
        assert_eq!(result(&reply).len(), 2);
    }
    let seen = seen.lock().unwrap().iter().take_while(|s| *s != "binary m" && *s != "text m").cloned().collect();
    (server, seen, outcome)
}

fn fixed(protocol: Protocol) -> impl FnOnce(&mut Config) {
    move |config| config.session.protocol = Some(protocol)
}

#[test]
fn a_generation_2_server_sees_only_its_own_hello() {
    let (_server, seen, session) = connect(PLAIN, |_| {});
    let session = session.unwrap();
    assert_eq!(session.peer().protocol, Some(Protocol::V2));
    assert_eq!(session.peer().client_id, "c0123456789abcdef0123456789abcdef");
    assert_eq!(session.peer().max_msg_size, Some(4_194_304));
    // The pong shows that the server has handled the hello, so the ping must be sent after the hello.
    assert_eq!(seen[..2], ["connection", "binary wslink.hello"]);
    assert!(seen[2..].is_empty() || seen[2..] == ["ping"], "{seen:?}");
    let (_server, seen, session) = connect(PLAIN, fixed(Protocol::V2));
    session.unwrap();
    assert_eq!(seen, ["connection", "binary wslink.hello"]);
}

#[test]
fn servers_of_1_8_3_and_later_end_tcp_on_the_binary_hello() {
    for kind in [Kind::V1EndsTcp, Kind::V1ResetsTcp] {
        let (server, seen, session) = connect(Behaviour { kind, ..PLAIN }, |_| {});
        let session = session.unwrap();
        assert_eq!((session.peer().protocol, session.peer().max_msg_size), (Some(Protocol::V1), None));
        let wanted = ["connection", "binary", "connection", "text wslink.probe", "ping", "text wslink.hello"];
        assert_eq!(seen, wanted);
        assert_eq!(server.accepted(), 2);
        // The generation is now known: the next connection uses it at once.
        session.close_wait(PATIENCE).unwrap();
        session.connect_wait().unwrap();
        assert_eq!(server.accepted(), 3);
    }
}

#[test]
fn servers_that_swallow_the_binary_hello_are_asked_on_the_same_connection() {
    // 0.1.14 to 1.5.2 always; 1.5.3 to 1.8.2 once any other client has authenticated.
    let (server, seen, session) = connect(Behaviour { kind: Kind::V1IgnoresBinary, ..PLAIN }, |_| {});
    assert_eq!(session.unwrap().peer().protocol, Some(Protocol::V1));
    assert_eq!(seen, ["connection", "binary", "ping", "text wslink.probe", "ping", "text wslink.hello"]);
    assert_eq!(server.accepted(), 1);
}

#[test]
fn the_pong_of_a_proxy_before_the_reply_does_not_mislead_detection() {
    let (_server, seen, session) = connect(Behaviour { pong_first: true, ..PLAIN }, |_| {});
    assert_eq!(session.unwrap().peer().protocol, Some(Protocol::V2));
    assert_eq!(seen, ["connection", "binary wslink.hello"]);
}

#[test]
fn a_modern_server_behind_a_proxy_may_answer_after_the_probe() {
    // The reply arrives only after the client has waited long enough to ask in text.
    let server = ScriptedServer::start(|conn, _| {
        conn.accept();
        let hello = conn.call().unwrap();
        assert_eq!((hello.protocol, &*hello.method), (Protocol::V2, "wslink.hello"));
        let probe = conn.call().unwrap();
        assert_eq!((probe.protocol, &*probe.method, probe.args), (Protocol::V1, "wslink.probe", json!([])));
        conn.reply(&hello.id, hello_result(Protocol::V2));
        conn.echo();
    });
    let session = server.session(None);
    assert_eq!(session.peer().protocol, Some(Protocol::V2));
    session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
    assert_eq!(server.accepted(), 1);
}

#[test]
fn the_text_answer_of_an_old_server_behind_a_proxy_may_come_after_the_pong() {
    let server = ScriptedServer::start(|conn, number| {
        conn.accept();
        conn.protocol = Protocol::V1;
        if number == 1 {
            assert!(matches!(conn.frame(), Frame::Binary(_)));
            return;
        }
        let Frame::Text(probe) = conn.frame() else { panic!("no probe") };
        assert!(probe.contains("wslink.probe") && !probe.contains("secret"));
        assert!(matches!(conn.frame(), Frame::Ping(_)));
        conn.send(0x80 | common::scripted::PONG, &[]);
        // A message that the client answers, which shows that it has seen the pong.
        conn.ping_and_wait(b"pong seen");
        conn.error("system:c0:0", -32601, "Unknown system method called");
        conn.answer_hello(Protocol::V1);
        conn.echo();
    });
    assert_eq!(server.session(None).peer().protocol, Some(Protocol::V1));
}

#[test]
fn a_wrong_secret_is_reported_for_every_kind_of_server() {
    for kind in [Kind::V2, Kind::V1EndsTcp, Kind::V1IgnoresBinary] {
        for protocol in [None, Some(if kind == Kind::V2 { Protocol::V2 } else { Protocol::V1 })] {
            let b = Behaviour { kind, secret: "another one", ..PLAIN };
            let (_server, _, session) = connect(b, |config| config.session.protocol = protocol);
            let e = session.map(|_| ()).unwrap_err();
            assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Auth, Stage::Hello, false));
            assert_eq!(e.remote().unwrap().code, -32000);
            assert!(!e.message().contains(SECRET) && !format!("{e:?}").contains(SECRET), "{e:?}");
        }
    }
}

#[test]
fn a_wrong_configured_generation_is_reported_with_the_right_one() {
    let (_server, seen, session) = connect(PLAIN, fixed(Protocol::V1));
    let e = session.map(|_| ()).unwrap_err();
    assert_eq!((e.code(), e.stage()), (Code::Mismatch, Stage::Hello), "{e}");
    assert!(e.message().contains("use auto or 2"), "{e}");
    assert_eq!(seen, ["connection", "text wslink.probe", "ping"], "the secret stays with the client");

    let (_server, _, session) = connect(Behaviour { kind: Kind::V1EndsTcp, ..PLAIN }, fixed(Protocol::V2));
    let e = session.map(|_| ()).unwrap_err();
    assert_eq!((e.code(), e.stage()), (Code::Mismatch, Stage::Hello), "{e}");
    assert!(e.message().contains("use auto or 1"), "{e}");

    // A server that ignores the binary hello looks like a slow one.
    let (_server, _, session) = connect(Behaviour { kind: Kind::V1IgnoresBinary, ..PLAIN }, |config| {
        fixed(Protocol::V2)(config);
        config.session.connect_timeout = Duration::from_millis(300);
    });
    let e = session.map(|_| ()).unwrap_err();
    assert_eq!((e.code(), e.stage()), (Code::Timeout, Stage::Hello), "{e}");
    assert!(e.message().contains("did not answer the hello"), "{e}");
}

#[test]
fn a_secret_that_is_too_long_is_explained() {
    const LONG: &str = "long long long long long long long long long long long long long long long long long long long \
        long long long long long long long long long long long long long long long long long long long long long long \
        long long long long long long long long long long long long long long long long long long long long long long \
        long long long long long long long long long long long long long long long long long long long long long long \
        long long long long long long long long long long long long long long long long long long long long long long";
    let secret = |config: &mut Config| config.session.secret = LONG.into();
    for protocol in [None, Some(Protocol::V2)] {
        let (server, _, session) = connect(Behaviour { secret: LONG, ..PLAIN }, |config| {
            secret(config);
            config.session.protocol = protocol;
        });
        let e = session.map(|_| ()).unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::Hello, Stage::Hello), "{e}");
        assert!(e.message().contains("WSLINK_AUTH_MSG_SIZE") && e.message().contains("512"), "{e}");
        assert!(!e.message().contains("long long"), "{e}");
        assert_eq!(server.accepted(), if protocol.is_none() { 2 } else { 1 });
    }
    // A server with a larger limit accepts it, and so does one of generation 1.
    for b in [Behaviour { max_hello: 4096, ..PLAIN }, Behaviour { kind: Kind::V1EndsTcp, ..PLAIN }] {
        let (_server, _, session) = connect(Behaviour { secret: LONG, ..b }, secret);
        session.unwrap();
    }
}

#[test]
fn the_longest_secret_that_fits_is_accepted() {
    for (length, fits) in [(440, true), (441, true), (459, true), (460, false)] {
        let secret: &'static str = "x".repeat(length).leak();
        let (_server, _, session) =
            connect(Behaviour { secret, ..PLAIN }, |config| config.session.secret = secret.into());
        assert_eq!(session.is_ok(), fits, "{length}");
    }
}

#[test]
fn optional_members_may_be_missing_in_the_hello_reply() {
    let (_server, _, session) = connect(Behaviour { max_msg_size: None, ..PLAIN }, |_| {});
    assert_eq!(session.unwrap().peer().max_msg_size, None);
}

#[test]
fn a_publication_may_come_before_the_reply_to_the_hello() {
    for kind in [Kind::V2, Kind::V1EndsTcp, Kind::V1IgnoresBinary] {
        let seen = Seen::default();
        let server = ScriptedServer::start(move |conn, _| {
            play(&Behaviour { kind, publishes_early: true, secret: "wslink-secret", ..PLAIN }, conn, &seen);
        });
        let session = Session::new(server.config(None)).unwrap();
        let (send, receive) = mpsc::channel();
        session.subscribe("early", Policy::default(), move |p| send.send(p.outcome.is_ok()).unwrap());
        session.connect_wait().unwrap();
        while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
        assert_eq!(receive.try_iter().collect::<Vec<_>>(), [true]);
    }
}

#[test]
fn old_servers_publish_attachments_to_clients_that_have_not_said_hello() {
    let server = ScriptedServer::start(|conn, number| {
        conn.accept();
        conn.protocol = Protocol::V1;
        if number == 1 {
            conn.attach("wslink_bin1", b"for all");
            conn.publish("t", json!("wslink_bin1"));
        }
        conn.answer_hello(Protocol::V1);
        conn.publish("t", json!("wslink_bin1"));
        conn.echo();
    });
    let session = Session::new(server.config(None)).unwrap();
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        send.send(result(p.outcome.as_ref().unwrap()).as_bytes().map(<[u8]>::to_vec)).unwrap();
    });
    session.connect_wait().unwrap();
    session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
    while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
    let data = Some(b"for all".to_vec());
    assert_eq!(receive.try_iter().collect::<Vec<_>>(), [data.clone(), data]);
}

#[test]
fn a_server_that_only_ever_ends_tcp_is_tried_twice_and_no_more() {
    let server = ScriptedServer::start(|conn, _| {
        conn.accept();
        conn.frame();
    });
    let session = Session::new(server.config(None)).unwrap();
    let e = session.connect_wait().unwrap_err();
    assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Hello, Stage::Hello, true), "{e}");
    assert_eq!(server.accepted(), 2);
}

#[test]
fn a_generation_that_was_known_may_have_changed_at_the_next_connection() {
    // The URL now leads to another server.
    let server = ScriptedServer::start(|conn, number| {
        let seen = Seen::default();
        let kind = if number <= 2 { Kind::V1EndsTcp } else { Kind::V2 };
        play(&Behaviour { kind, secret: "wslink-secret", ..PLAIN }, conn, &seen);
    });
    let session = server.session(None);
    assert_eq!(session.peer().protocol, Some(Protocol::V1));
    session.close_wait(PATIENCE).unwrap();
    session.connect_wait().unwrap();
    assert_eq!(session.peer().protocol, Some(Protocol::V2));
    session.close_wait(PATIENCE).unwrap();
}

#[test]
fn upload_chunks_obey_what_the_server_announced() {
    // 2.0.0 to 2.0.4 refuse a chunk of exactly maxMsgSize bytes, so the client sends one byte less; 0 means no limit.
    for (announced, largest) in [(Some(4_194_304), 4_194_303), (Some(16), 15), (Some(0), u64::MAX), (None, 512 << 10)] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.accept();
            let hello = conn.call().unwrap();
            conn.reply(&hello.id, json!({"clientID": "c", "maxMsgSize": announced}));
            conn.chunks.clear();
            let call = conn.call().unwrap();
            assert_eq!(
                call.args[0]["$bytes"].as_str().unwrap().len(),
                2 * if announced == Some(16) { 300 } else { 9_000_000 }
            );
            let sizes: Vec<_> = conn.chunks.iter().map(|(_, size, _)| *size as u64 + 12).collect();
            assert!(sizes.iter().all(|size| *size <= largest), "{announced:?} {sizes:?}");
            assert_eq!(sizes.len() == 1, announced == Some(0));
            conn.reply(&call.id, json!(null));
            conn.echo();
        });
        let session = server.session(Protocol::V2);
        let data = vec![7u8; if announced == Some(16) { 300 } else { 9_000_000 }];
        session.call_wait("m", Args::new().with(data).unwrap(), Some(PATIENCE)).unwrap();
    }
}

#[test]
fn the_real_servers_are_told_apart_and_wrong_expectations_are_named() {
    for version in VERSIONS {
        let server = Server::start(version, &["--secret", SECRET]);
        let right = if version == "v1" { Protocol::V1 } else { Protocol::V2 };
        for protocol in [None, Some(Protocol::V1), Some(Protocol::V2)] {
            let mut config = Config::new(&server.url()).unwrap();
            config.session.protocol = protocol;
            config.session.secret = SECRET.into();
            let session = Session::new(config.clone()).unwrap();
            match session.connect_wait() {
                Ok(()) => {
                    assert_eq!(session.peer().protocol, Some(right));
                    assert!(protocol.is_none_or(|p| p == right));
                }
                Err(e) => {
                    assert_ne!(protocol.unwrap(), right, "{version}: {e}");
                    assert_eq!(e.code(), Code::Mismatch, "{version}: {e}");
                }
            }
            config.session.secret = "wrong".into();
            if protocol.is_none_or(|p| p == right) {
                let e = Session::new(config).unwrap().connect_wait().unwrap_err();
                assert_eq!((e.code(), e.stage()), (Code::Auth, Stage::Hello), "{version}: {e}");
            }
        }
    }
}

#[test]
fn a_secret_that_real_servers_do_not_take_is_explained() {
    let long = "x".repeat(600);
    for version in VERSIONS {
        let server = Server::start(version, &["--secret", &long]);
        let mut config = Config::new(&server.url()).unwrap();
        config.session.secret = long.as_str().into();
        let outcome = Session::new(config).unwrap().connect_wait();
        match (version, outcome) {
            ("v1", outcome) => outcome.unwrap(),
            (_, outcome) => {
                let e = outcome.unwrap_err();
                assert!(e.message().contains("WSLINK_AUTH_MSG_SIZE"), "{version}: {e}");
            }
        }
    }
}

#[test]
fn real_servers_behind_the_relay_are_told_apart() {
    for version in VERSIONS {
        // wslink's relay does not forward frames of 4 MiB.
        let server = Server::start(version, if version == "v1" { &[] } else { &["--max-msg-size", "4000000"] });
        let relay = Server::spawn(version, "relay.py", &[], &[]);
        let url = format!("ws://127.0.0.1:{}/proxy/{}", relay.port, server.port);
        let session = connected(Config::new(&url).unwrap());
        assert_eq!(session.peer().protocol, Some(if version == "v1" { Protocol::V1 } else { Protocol::V2 }));
        for size in [1000i64, 3_000_000] {
            let args = Args::new().with(size).unwrap().with(3i64).unwrap();
            let reply = session.call_wait("test.bytes", args, Some(PATIENCE)).unwrap();
            assert!(result(&reply).as_bytes() == Some(&pattern(size as usize, 3)[..]));
        }
        session.close_wait(PATIENCE).unwrap();
        assert_eq!(session.state(), State::Closed);
    }
}

#[test]
fn a_message_that_is_too_large_for_the_relay_is_told() {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let relay = Server::spawn(version, "relay.py", &[], &[]);
        let url = format!("ws://127.0.0.1:{}/proxy/{}", relay.port, server.port);
        let session = connected(Config::new(&url).unwrap());
        // The relay loses the reply, and tells neither side.
        let args = Args::new().with(5_000_000i64).unwrap().with(3i64).unwrap();
        let (send, outcome) = std::sync::mpsc::channel();
        session.call("test.bytes", args, None, move |outcome| send.send(outcome.is_ok()).unwrap()).unwrap();
        // It loses more messages, and then ends the connection when one arrives.
        let next = || session.call_wait("test.echo", Args::new(), Some(Duration::from_millis(100)));
        let mut errors = std::iter::repeat_with(next).take(100_000).filter_map(Result::err);
        let e = errors.find(|e| e.code() != Code::Timeout).unwrap();
        assert_eq!((e.code(), e.close_code()), (Code::ConnectionLost, Some(1000)), "{e}");
        assert!(e.message().contains("wslink's relay"), "{e}");
        session.dispatch(100, Some(PATIENCE)).unwrap();
        assert_eq!(outcome.try_iter().collect::<Vec<_>>(), [false]);
    }
}

#[test]
fn the_relay_refuses_a_second_client_with_403() {
    let server = Server::start("v2", &[]);
    let relay = Server::spawn("v2", "relay.py", &[], &[]);
    let url = format!("ws://127.0.0.1:{}/proxy/{}", relay.port, server.port);
    let _first = connected(Config::new(&url).unwrap());
    let e = Session::new(Config::new(&url).unwrap()).unwrap().connect_wait().unwrap_err();
    assert_eq!((e.code(), e.http_status()), (Code::Upgrade, Some(403)));
    assert!(e.message().contains("in use by another client"), "{e}");
}
