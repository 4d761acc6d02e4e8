//! Blocking calls, while publications, pings and other calls use the same connection.

mod common;

use common::scripted::{BINARY, Conn, FIN, Frame, PING, ScriptedServer, chunk};
use common::{PATIENCE, connected, pattern};
use serde_json::json;
use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use wslink::{Args, Code, Delivery, Outcome, Policy, Protocol, Session, State, result};

fn call(session: &Session) -> Outcome {
    session.call_wait("a.method", Args::new(), None)
}

/// A server that handles the first call by the script.
fn at_a_call(
    protocol: Protocol,
    script: impl Fn(&mut Conn, &str) + Send + Sync + 'static,
) -> (ScriptedServer, Arc<Session>) {
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(protocol);
        let call = conn.call().expect("the call");
        script(conn, &call.id);
        conn.until_end();
    });
    let session = Arc::new(server.session(protocol));
    (server, session)
}

/// The outcome of a blocking call on another thread.
fn in_a_thread(session: &Arc<Session>) -> mpsc::Receiver<Outcome> {
    let (send, receive) = mpsc::channel();
    let session = Arc::clone(session);
    thread::spawn(move || send.send(call(&session)));
    receive
}

#[test]
fn publications_keep_their_place_among_replies_and_need_no_call_to_arrive() {
    for delivery in [Delivery::Queued, Delivery::IoThread] {
        let server = ScriptedServer::start(|conn, _| {
            conn.hello(Protocol::V2);
            let mut n = 0;
            while let Some(call) = conn.call() {
                let mut publish = |conn: &mut Conn| {
                    n += 1;
                    conn.publish("t", json!(n));
                };
                // Most calls bring nothing but their reply, as in an application.
                match call.args[0].as_u64().unwrap() % 40 {
                    20 => publish(conn),
                    21 => {
                        conn.publish("nobody", json!(0));
                    }
                    22 => {
                        conn.reply(&call.id, json!(0));
                        publish(conn);
                        continue;
                    }
                    _ => {}
                }
                conn.reply(&call.id, json!(n));
            }
        });
        let mut config = server.config(Protocol::V2);
        config.delivery = delivery;
        let session = connected(config);
        let (send, receive) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| {
            send.send(result(p.outcome.as_ref().unwrap()).as_u64().unwrap()).unwrap();
        });
        let mut seen = 0;
        for i in 0..2000u64 {
            let reply = session.call_wait("m", Args::new().with(i as i64).unwrap(), Some(PATIENCE)).unwrap();
            let published = result(&reply).as_u64().unwrap();
            if delivery == Delivery::Queued {
                while session.dispatch(1000, Some(Duration::ZERO)).unwrap() > 0 {}
                let before = receive.try_iter().inspect(|n| {
                    seen += 1;
                    assert_eq!(*n, seen);
                });
                before.for_each(drop);
                assert!(seen >= published, "{seen} publications of {published} that came before the reply");
            }
            if i % 40 == 22 {
                // The publication follows the reply; no further call is made until it has arrived.
                while seen < (i / 40 + 1) * 2 {
                    if delivery == Delivery::Queued {
                        session.dispatch(1000, Some(PATIENCE)).unwrap();
                    }
                    seen += 1;
                    assert_eq!(receive.recv_timeout(PATIENCE).expect("a publication"), seen);
                }
            }
        }
        assert_eq!((seen, session.stats().unsubscribed), (100, 50));
    }
}

#[test]
fn closing_ends_a_call_that_waits_for_a_silent_server() {
    for end in ["close", "drop", "abandoned"] {
        let (asked, was_asked) = mpsc::channel();
        let asked = Mutex::new(asked);
        let (_server, session) = at_a_call(Protocol::V2, move |conn, _| {
            asked.lock().unwrap().send(()).unwrap();
            if end == "abandoned" {
                conn.cut();
            }
        });
        let handle = session.handle();
        let (send, outcome) = mpsc::channel();
        thread::spawn(move || send.send(handle.call_wait("m", Args::new(), None)));
        was_asked.recv_timeout(PATIENCE).unwrap();
        match end {
            // Longer than the test waits: the outcome does not depend on the server.
            "close" => session.close(PATIENCE * 10),
            "drop" => drop(session),
            _ => {}
        }
        let error = outcome.recv_timeout(PATIENCE).expect("the call is over").unwrap_err();
        let expected = if end == "abandoned" { Code::ConnectionLost } else { Code::Closed };
        assert_eq!(error.code(), expected, "{error}");
    }
}

#[test]
fn after_its_timeout_a_caller_leaves_the_socket_to_the_others() {
    let (_server, session) = at_a_call(Protocol::V2, |conn, id| {
        let second = conn.call().unwrap();
        conn.publish("t", json!(7));
        conn.reply(id, json!("late"));
        conn.reply(&second.id, json!("second"));
    });
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| send.send(p.outcome.is_ok()).unwrap());
    let error = session.call_wait("slow", Args::new(), Some(Duration::from_millis(20))).unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some("second"));
    session.dispatch(1000, Some(Duration::ZERO)).unwrap();
    assert_eq!(receive.try_iter().count(), 1);
    assert_eq!(session.stats().late_replies, 1);
}

#[test]
fn a_ping_is_answered_while_a_caller_waits() {
    let (_server, session) = at_a_call(Protocol::V2, |conn, id| {
        conn.send(FIN | PING, b"there?");
        assert_eq!(conn.frame(), Frame::Pong(b"there?".to_vec()));
        conn.reply(id, json!("done"));
    });
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some("done"));
}

#[test]
fn what_is_wrong_with_the_connection_is_told_as_ever() {
    type Script = fn(&mut Conn);
    let cases: [(&str, Script); 3] = [
        ("the server closed the connection (1001, the server goes away, \"going\")", |conn| conn.close(1001, "going")),
        ("the server ended the connection without a Close frame", Conn::cut),
        ("the server sent a frame with reserved bits set", |conn| conn.send(FIN | 0x40 | BINARY, b"x")),
    ];
    for (what, script) in cases {
        let (_server, session) = at_a_call(Protocol::V2, move |conn, _| script(conn));
        let error = call(&session).unwrap_err();
        assert!(error.message().contains(what), "{error}");
        common::eventually(|| session.state() == State::Closed);
        assert!(session.failure().expect("a reason").message().contains(what));
    }
}

#[test]
fn a_large_reply_in_pieces_and_a_large_call_of_another_thread_pass_each_other() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let size = 3 << 20;
        let (asked, was_asked) = mpsc::channel();
        let asked = Mutex::new(asked);
        let (_server, session) = at_a_call(protocol, move |conn, id| {
            asked.lock().unwrap().send(()).unwrap();
            // The client cannot send all of it before the server begins to read.
            let upload = conn.call().expect("the upload");
            conn.reply(id, json!("x".repeat(size)));
            conn.reply(&upload.id, json!("whole"));
        });
        let waiting = in_a_thread(&session);
        was_asked.recv_timeout(PATIENCE).unwrap();
        let args = Args::new().with(pattern(size, 1)).unwrap();
        let reply = session.call_wait("upload", args, Some(PATIENCE)).unwrap();
        assert_eq!(result(&reply).as_str(), Some("whole"));
        let first = waiting.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(result(&first).as_str().map(str::len), Some(size));
    }
}

#[test]
fn many_callers_each_get_their_own_reply() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        let mut n = 0;
        while let Some(call) = conn.call() {
            n += 1;
            if n % 100 == 0 {
                conn.publish("t", json!(n));
            }
            conn.reply(&call.id, call.args[0].clone());
        }
    });
    let session = server.session(Protocol::V2);
    let (send, publications) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| send.send(p.outcome.is_ok()).unwrap());
    thread::scope(|scope| {
        for caller in 0..4i64 {
            let session = &session;
            scope.spawn(move || {
                for i in 0..1000 {
                    let number = caller * 1000 + i;
                    let reply = session.call_wait("m", Args::new().with(number).unwrap(), Some(PATIENCE)).unwrap();
                    assert_eq!(result(&reply).as_i64(), Some(number));
                }
            });
        }
    });
    while session.dispatch(1000, Some(Duration::ZERO)).unwrap() > 0 {}
    assert_eq!(publications.try_iter().count(), 40);
}

#[test]
fn a_timeout_ends_the_wait_whatever_else_comes_without_end() {
    let (_server, session) = at_a_call(Protocol::V2, |conn, _| {
        let message = common::scripted::pack(&json!({"wslink": "1.0", "id": "publish:nobody:0", "result": 1}));
        let frame = Conn::frame_bytes(FIN | BINARY, &chunk(1, 0, message.len() as u32, &message));
        let many = frame.repeat(10_000);
        // Until the session is dropped.
        while conn.stream().write_all(&many).is_ok() {}
    });
    let error = session.call_wait("m", Args::new(), Some(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error}");
}

#[test]
fn a_reply_does_not_overtake_what_came_before_it_on_the_io_thread() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        conn.echo();
    });
    let mut config = server.config(Protocol::V2);
    config.delivery = Delivery::IoThread;
    let session = Arc::new(connected(config));
    let ((enter, entered), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let completion = move |_| {
        enter.send(()).unwrap();
        released.recv_timeout(PATIENCE).unwrap();
    };
    session.call("m", Args::new(), None, completion).unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    let outcome = in_a_thread(&session);
    // Long enough for the reply to arrive, if it could.
    assert!(outcome.recv_timeout(Duration::from_millis(300)).is_err());
    release.send(()).unwrap();
    outcome.recv_timeout(PATIENCE).unwrap().unwrap();
}

#[test]
fn what_a_caller_reads_and_drops_is_a_sign_of_life() {
    let (pinged, was_pinged) = mpsc::channel();
    let pinged = Mutex::new(pinged);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        // Like a server that runs a method: it answers no ping.
        assert_eq!(conn.frame(), Frame::Ping(vec![]));
        pinged.lock().unwrap().send(()).unwrap();
        assert!(matches!(conn.frame(), Frame::Binary(_)));
        conn.publish("nobody", json!(1));
        assert_eq!(conn.frame(), Frame::Ping(vec![]), "the connection was given up");
        pinged.lock().unwrap().send(()).unwrap();
        conn.until_end();
    });
    let mut config = server.config(Protocol::V2);
    config.session.heartbeat = Some(Duration::from_secs(1));
    let session = connected(config);
    was_pinged.recv_timeout(PATIENCE).expect("a ping");
    let error = session.call_wait("slow", Args::new(), Some(Duration::from_millis(500))).unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error}");
    was_pinged.recv_timeout(PATIENCE).expect("another ping");
}

#[test]
fn a_message_without_meaning_is_told_while_its_caller_still_waits() {
    let (_server, session) = at_a_call(Protocol::V1, |conn, _| conn.text("this is not JSON"));
    let outcome = in_a_thread(&session);
    common::eventually(|| session.stats().malformed == 1);
    session.close(PATIENCE);
    assert_eq!(outcome.recv_timeout(PATIENCE).unwrap().unwrap_err().code(), Code::Closed);
}
