//! Secrets, headers and URLs that expire: a callback renews them before each attempt to connect, and the subscriptions stay.

mod common;

use common::PATIENCE;
use common::scripted::{Conn, ScriptedServer};
use serde_json::json;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use wslink::Attempt;
use wslink::Reconnect;
use wslink::{Code, Config, Delivery, Policy, Protocol, Session, State, result};

fn soon() -> Option<Reconnect> {
    let millisecond = Duration::from_millis(1);
    Some(Reconnect { first_delay: millisecond, longest_delay: 20 * millisecond, ..Reconnect::default() })
}

/// A server of this protocol that accepts the secret only on the connection with this number, and refuses it on others like real
/// servers. A ready session gets a publication, and ends unless it was opened with the last secret.
fn asks_for_tokens(protocol: Protocol, refusals: &'static [&'static str], last: &'static str) -> ScriptedServer {
    ScriptedServer::start(move |conn: &mut Conn, number| {
        conn.accept();
        conn.protocol = protocol;
        loop {
            let Some(call) = conn.call() else {
                return;
            };
            if call.protocol != protocol {
                return; // as the server of protocol 1, on the hello of protocol 2
            }
            if call.method != "wslink.hello" {
                conn.error(&call.id, -32601, "Unknown system method called");
                continue;
            }
            let secret = call.args[0]["secret"].as_str().unwrap().to_owned();
            if number > 1 && refusals.contains(&&*secret) {
                conn.error(&call.id, -32000, "Authentication failed");
                continue;
            }
            conn.reply(&call.id, common::scripted::hello_result(protocol));
            conn.publish("t", json!(secret));
            if secret == last {
                conn.until_end();
            }
            return;
        }
    })
}

#[test]
fn an_expired_secret_is_renewed_and_the_subscriptions_stay() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let server = asks_for_tokens(protocol, &["token 1"], "token 2");
        let mut config = server.config(protocol);
        config.delivery = Delivery::IoThread;
        config.set_reconnect(soon()).unwrap();
        let (note, asked) = mpsc::channel();
        config.before_attempt(move |attempt: &mut Attempt| {
            let code = attempt.reason().map(|reason| reason.code());
            note.send((attempt.number(), code)).unwrap();
            // The last secret stays until the server refuses it as expired.
            match code {
                None => attempt.set_secret("token 1"),
                Some(Code::Auth) => attempt.set_secret("token 2"),
                Some(_) => {}
            }
            true
        });
        let session = Session::new(config).unwrap();
        let (send, published) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| {
            send.send(result(p.outcome.as_ref().unwrap()).as_str().unwrap().to_owned()).unwrap();
        });
        session.connect_wait().unwrap();
        assert_eq!(published.recv_timeout(PATIENCE).unwrap(), "token 1");
        assert_eq!(published.recv_timeout(PATIENCE).unwrap(), "token 2", "{protocol:?}");
        let asked: Vec<_> = asked.try_iter().collect();
        assert_eq!(asked, [(0, None), (1, Some(Code::ConnectionLost)), (2, Some(Code::Auth))], "{protocol:?}");
    }
}

#[test]
fn detection_that_needs_two_connections_is_one_attempt() {
    let server = asks_for_tokens(Protocol::V1, &[], "the token");
    let mut config = server.config(None);
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    config.before_attempt(move |attempt| {
        *count.lock().unwrap() += 1;
        attempt.set_secret("the token");
        true
    });
    let session = Session::new(config).unwrap();
    session.connect_wait().unwrap();
    assert_eq!((server.accepted(), *asked.lock().unwrap()), (2, 1));
}

#[test]
fn a_header_and_a_url_that_expired_are_renewed_after_an_answer_that_refuses_them() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let (note, requests) = mpsc::channel();
        let note = Mutex::new(note);
        let server = ScriptedServer::start(move |conn: &mut Conn, number| {
            conn.head();
            let path = conn.request.split(' ').nth(1).unwrap().to_owned();
            let tokens = conn.request.lines().filter(|line| line.to_lowercase().starts_with("authorization:")).count();
            note.lock().unwrap().send((path, conn.header("Authorization"), tokens)).unwrap();
            if number == 1 {
                return conn.raw(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
            }
            let answer = conn.switching();
            conn.raw(answer);
            conn.answer_hello(Protocol::V2);
            conn.until_end();
        });
        let mut config = server.config(Protocol::V2);
        config.set_reconnect(soon().map(|policy| Reconnect { at_first: true, ..policy })).unwrap();
        config.add_header("Authorization", "Bearer 0").unwrap();
        let url = server.url();
        config.before_attempt(move |attempt| {
            let number = attempt.number() + 1;
            attempt.set_header("authorization", Some(&format!("Bearer {number}"))).unwrap();
            attempt.set_url(&format!("{url}?token={number}")).unwrap();
            assert_eq!(attempt.set_header("Host", Some("h")).unwrap_err().code(), Code::Argument);
            assert_eq!(attempt.set_url("http://h/").unwrap_err().code(), Code::Argument);
            true
        });
        let session = Session::new(config).unwrap();
        session.connect_wait().unwrap();
        let requests: Vec<_> = requests.try_iter().collect();
        let expected = |number| (format!("/ws?token={number}"), Some(format!("Bearer {number}")), 1);
        assert_eq!(requests, [expected(1), expected(2)], "{status}");
    }
}

#[test]
fn the_same_secret_is_not_refused_twice() {
    let server = asks_for_tokens(Protocol::V2, &["token 1"], "token 2");
    let mut config = server.config(Protocol::V2);
    config.set_reconnect(soon()).unwrap();
    config.before_attempt(|attempt| {
        attempt.set_secret("token 1");
        true
    });
    let session = Session::new(config).unwrap();
    session.connect_wait().unwrap();
    common::eventually(|| session.state() == State::Closed);
    assert_eq!(session.failure().unwrap().code(), Code::Auth);
    assert_eq!(server.accepted(), 2, "one that was good, and one that was refused");
}

#[test]
fn an_attempt_that_the_application_does_not_want_ends_the_session_until_it_connects_again() {
    let server = asks_for_tokens(Protocol::V2, &[], "token");
    let mut config = server.config(Protocol::V2);
    let token = Arc::new(Mutex::new(None::<String>));
    let current = Arc::clone(&token);
    config.before_attempt(move |attempt| match &*current.lock().unwrap() {
        Some(token) => {
            attempt.set_secret(token);
            true
        }
        None => false,
    });
    let session = Session::new(config).unwrap();
    let error = session.connect_wait().unwrap_err();
    assert_eq!((error.code(), server.accepted()), (Code::Cancelled, 0), "{error}");
    assert_eq!(session.state(), State::Closed);
    *token.lock().unwrap() = Some("token".into());
    session.connect_wait().unwrap();
}

/// A session whose callback reports that it has begun, and blocks until released.
fn slow(server: &ScriptedServer) -> (Session, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (begun, wait_begun) = mpsc::channel();
    let (go_on, wait_go_on) = mpsc::channel();
    let wait_go_on = Mutex::new(wait_go_on);
    let mut config = server.config(Protocol::V2);
    config.before_attempt(move |_| {
        begun.send(()).unwrap();
        wait_go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        true
    });
    (Session::new(config).unwrap(), wait_begun, go_on)
}

#[test]
fn a_session_is_closed_while_the_callback_takes_its_time_and_the_attempt_is_not_made() {
    let server = asks_for_tokens(Protocol::V2, &[], "wslink-secret");
    let (session, begun, go_on) = slow(&server);
    session.connect().unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    session.close_wait(PATIENCE).unwrap();
    assert_eq!(session.state(), State::Closed, "nobody waits for the callback");
    go_on.send(()).unwrap();
    drop(session);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn what_is_renewed_for_an_attempt_counts_also_if_others_were_given_up_before_it_began() {
    let server = asks_for_tokens(Protocol::V2, &[], "new");
    let (begun, wait_begun) = mpsc::channel();
    let (go_on, wait_go_on) = mpsc::channel();
    let wait_go_on = Mutex::new(wait_go_on);
    let mut config = server.config(Protocol::V2);
    config.delivery = Delivery::IoThread;
    config.before_attempt(move |attempt| {
        if begun.send(()).is_ok() {
            wait_go_on.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        }
        attempt.set_secret("new");
        true
    });
    let session = Session::new(config).unwrap();
    let (send, secrets) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        send.send(result(p.outcome.as_ref().unwrap()).as_str().unwrap().to_owned()).unwrap();
    });
    session.connect().unwrap();
    wait_begun.recv_timeout(PATIENCE).unwrap();
    drop(wait_begun);
    for _ in 0..2 {
        session.close(Duration::ZERO);
        session.connect().unwrap();
    }
    go_on.send(()).unwrap();
    assert_eq!(secrets.recv_timeout(PATIENCE).unwrap(), "new");
}

#[test]
fn a_session_may_be_freed_inside_the_callback() {
    let server = asks_for_tokens(Protocol::V2, &[], "wslink-secret");
    let held = Arc::new(Mutex::new(None::<Session>));
    let (freed, wait_freed) = mpsc::channel();
    let mut config = server.config(Protocol::V2);
    let inside = Arc::clone(&held);
    config.before_attempt(move |attempt| {
        let session = inside.lock().unwrap().take();
        drop(session);
        attempt.set_secret("still there");
        freed.send(()).unwrap();
        true
    });
    let session = Session::new(config).unwrap();
    let handle = session.handle();
    *held.lock().unwrap() = Some(session);
    handle.connect().unwrap();
    wait_freed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(handle.state(), State::Closed);
    assert_eq!(handle.connect().unwrap_err().code(), Code::Closed);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_panic_in_the_callback_ends_the_attempt_and_nothing_else() {
    let mut config = Config::new("ws://127.0.0.1:1/ws").unwrap();
    config.before_attempt(|_| panic!("on purpose"));
    let session = Session::new(config).unwrap();
    assert_eq!(session.connect_wait().unwrap_err().code(), Code::Cancelled);
}
