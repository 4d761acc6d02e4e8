//! Which failures a session retries, as seen by an application. Unit tests in `src/retry.rs` check the whole table row by row;
//! these tests have servers that produce the rows, and the limits of retrying.

mod common;

use common::PATIENCE;
use common::scripted::{Conn, ScriptedServer};
use std::sync::mpsc;
use std::time::Duration;
use wslink::Reconnect;
use wslink::StateChange;
use wslink::{Args, Code, Config, Delivery, Error, Protocol, Session, State};

const V2: Protocol = Protocol::V2;

/// One retry, at once.
fn once_more() -> Reconnect {
    Reconnect {
        attempts: Some(1),
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_secs(30),
        at_first: true,
        ..Reconnect::default()
    }
}

/// A session that connects with one retry, and its states.
fn watched(mut config: Config) -> (Session, mpsc::Receiver<StateChange>) {
    config.delivery = Delivery::IoThread;
    config.set_reconnect(Some(once_more())).unwrap();
    let (send, states) = mpsc::channel();
    config.on_state(move |change: &StateChange| send.send(change.clone()).unwrap());
    let session = Session::new(config).unwrap();
    session.connect().unwrap();
    (session, states)
}

/// The reason with which the session was closed, and the number of connections.
fn tried(server: &ScriptedServer, config: Config) -> (Error, usize) {
    let (_session, states) = watched(config);
    loop {
        let change = states.recv_timeout(PATIENCE).expect("a state");
        if change.state == State::Closed {
            return (change.error.expect("nobody has asked for it"), server.accepted());
        }
    }
}

#[test]
fn http_refusals_are_retried_by_status() {
    for (status, again) in [
        (200, false),
        (204, false),
        (301, false),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (407, false),
        (408, true),
        (410, false),
        (425, true),
        (426, false),
        (429, true),
        (500, true),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
        (505, false),
        (520, true),
        (521, true),
        (522, true),
        (523, true),
        (524, true),
        (526, false),
        (530, true),
    ] {
        let server = ScriptedServer::start(move |conn: &mut Conn, _| {
            conn.respond(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        });
        let (error, connections) = tried(&server, server.config(V2));
        assert_eq!((error.code(), error.http_status()), (Code::Upgrade, Some(status)), "{error}");
        assert_eq!((error.is_retriable(), connections), (again, 1 + usize::from(again)), "{status}");
    }
}

#[test]
fn close_codes_decide_about_a_retry() {
    let again = [1000, 1001, 1002, 1003, 1007, 1009, 1011, 1012, 1013, 1014, 3000, 4000, 4999].map(|code| (code, true));
    for (code, again) in again.into_iter().chain([(1008, false), (1010, false)]) {
        let server = ScriptedServer::start(move |conn: &mut Conn, _| {
            conn.hello(V2);
            conn.close(code, "");
            conn.until_end();
        });
        let (error, connections) = tried(&server, server.config(V2));
        assert_eq!((error.code(), error.close_code()), (Code::ConnectionLost, Some(code)), "{error}");
        assert_eq!((error.is_retriable(), connections), (again, 1 + usize::from(again)), "{code}");
    }
}

#[test]
fn a_connection_that_ends_silently_at_any_step_is_retried() {
    type Script = fn(&mut Conn);
    let scripts: [(Script, Code); 4] = [
        (|_| (), Code::Upgrade),
        (|conn| conn.raw("HTTP/1.1 1"), Code::Upgrade),
        (|conn| conn.accept(), Code::Mismatch),
        (|conn| drop(conn.hello(V2)), Code::ConnectionLost),
    ];
    for reset in [false, true] {
        for (script, code) in scripts {
            let server = ScriptedServer::start(move |conn: &mut Conn, _| {
                if reset {
                    conn.reset_at_end();
                }
                script(conn);
            });
            let (error, connections) = tried(&server, server.config(V2));
            // A server of generation 1 always closes the connection like this.
            let again = code != Code::Mismatch;
            // A reset may arrive before the client has used the connection.
            assert!(error.code() == code || (reset && error.code() == Code::Connect), "{error}");
            assert_eq!((error.is_retriable(), connections), (again, 1 + usize::from(again)), "{error}");
        }
    }
}

#[test]
fn a_server_or_proxy_that_hangs_up_in_a_handshake_is_retried() {
    for (tls, code) in [(true, Code::Tls), (false, Code::Proxy)] {
        for reset in [false, true] {
            let server = ScriptedServer::start(move |conn: &mut Conn, _| {
                if reset {
                    conn.reset_at_end();
                }
                if !tls {
                    conn.head();
                }
            });
            let address = format!("127.0.0.1:{}", server.port());
            let mut config = Config::new(&format!("{}://{address}/ws", if tls { "wss" } else { "ws" })).unwrap();
            if !tls {
                config.set_proxy(Some(&format!("http://{address}"))).unwrap();
            }
            let (error, connections) = tried(&server, config);
            assert!(error.code() == code || (reset && error.code() == Code::Connect), "{error}");
            assert!(error.is_retriable() && connections == 2, "{error}");
        }
    }
}

#[test]
fn retry_after_delays_the_next_attempt() {
    let server = ScriptedServer::start(|conn: &mut Conn, _| {
        conn.respond("HTTP/1.1 503 X\r\nRetry-After: 900\r\nContent-Length: 0\r\n\r\n");
    });
    let (_session, states) = watched(server.config(V2));
    let delay =
        (0..2).map(|_| states.recv_timeout(PATIENCE).unwrap()).find(|c| c.state == State::Reconnecting).unwrap().delay;
    assert_eq!(delay, Duration::from_secs(900));
}

#[test]
fn a_server_that_ends_connections_while_it_restarts_is_found_again_whatever_was_told_about_it() {
    // Both sessions are configured for generation 2. The second one has a secret that only a server with a larger limit accepts.
    for secret in ["wslink-secret".to_owned(), "s".repeat(700)] {
        let server = ScriptedServer::start(|conn: &mut Conn, number| match number {
            1 => drop(conn.hello(V2)),
            2 => conn.accept(),
            _ => {
                conn.hello(V2);
                conn.echo();
            }
        });
        let mut config = server.config(V2);
        config.session.secret = secret.as_str().into();
        config.delivery = Delivery::IoThread;
        config.set_reconnect(Some(Reconnect { attempts: Some(9), ..once_more() })).unwrap();
        let (send, states) = mpsc::channel();
        config.on_state(move |change: &StateChange| send.send(change.state).unwrap());
        let session = Session::new(config).unwrap();
        session.connect_wait().unwrap();
        let ready = || loop {
            match states.recv_timeout(PATIENCE).expect("a state") {
                State::Ready => break,
                State::Closed => panic!("{:?}", session.failure()),
                _ => {}
            }
        };
        ready();
        ready();
        session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
    }
}

#[test]
fn a_server_that_drops_every_connection_after_the_hello_uses_the_attempts_up() {
    let server = ScriptedServer::start(|conn: &mut Conn, _| drop(conn.hello(V2)));
    let mut config = server.config(V2);
    config.set_reconnect(Some(Reconnect { attempts: Some(3), ..once_more() })).unwrap();
    let session = Session::new(config).unwrap();
    session.connect_wait().unwrap();
    common::eventually(|| session.state() == State::Closed);
    assert_eq!(server.accepted(), 4, "the first one, and three attempts");
    assert!(session.failure().unwrap().is_retriable());
    // Nobody dispatches, so the queue has Connecting, Ready, Lost, and so on.
    assert!(session.stats().events_waiting <= 64);
}
