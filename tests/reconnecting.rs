//! Sessions that reconnect: after the end of a connection, with a server that starts later or never, and with real servers that are
//! killed and restarted.

mod common;

use common::scripted::{Conn, ScriptedServer};
use common::{PATIENCE, Server, port_of_its_own};
use serde_json::json;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use wslink::Reconnect;
use wslink::StateChange;
use wslink::{Args, Code, Config, Delivery, Policy, Protocol, Session, State, result};

const V2: Protocol = Protocol::V2;

fn soon() -> Reconnect {
    Reconnect {
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(20),
        ..Reconnect::default()
    }
}

/// A session whose states arrive in the receiver. Callbacks run on the I/O thread.
fn watched(mut config: Config, policy: Reconnect) -> (Session, mpsc::Receiver<StateChange>) {
    let (send, states) = mpsc::channel();
    config.delivery = Delivery::IoThread;
    config.on_state(move |change| send.send(change.clone()).unwrap());
    config.set_reconnect(Some(policy)).unwrap();
    (Session::new(config).unwrap(), states)
}

/// The states up to and including this one.
fn until(states: &mpsc::Receiver<StateChange>, last: State) -> Vec<StateChange> {
    let mut seen = Vec::new();
    loop {
        seen.push(states.recv_timeout(PATIENCE).expect("a state"));
        if seen.last().is_some_and(|change| change.state == last) {
            return seen;
        }
    }
}

fn names(changes: &[StateChange]) -> Vec<State> {
    changes.iter().map(|change| change.state).collect()
}

fn no_server() -> Config {
    Config::new(&format!("ws://127.0.0.1:{}/ws", port_of_its_own())).unwrap()
}

#[test]
fn a_lost_session_comes_back_with_its_subscriptions_and_without_its_calls() {
    let server = ScriptedServer::start(|conn: &mut Conn, number| {
        conn.hello(V2);
        let _call = conn.call().unwrap();
        conn.publish("t", json!(number));
        if number < 3 {
            return; // without a reply
        }
        conn.until_end();
    });
    let (session, states) = watched(server.config(V2), soon());
    let (send, published) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        send.send(result(p.outcome.as_ref().unwrap()).as_i64().unwrap()).unwrap();
    });
    session.connect().unwrap();
    assert_eq!(names(&until(&states, State::Ready)), [State::Connecting, State::Ready]);
    for _ in 0..2 {
        let (send, outcome) = mpsc::channel();
        session.call("m", Args::new(), None, move |o| send.send(o).unwrap()).unwrap();
        let lost = outcome.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!(lost.code(), Code::ConnectionLost);
        let changes = until(&states, State::Ready);
        assert_eq!(names(&changes), [State::Lost, State::Reconnecting, State::Connecting, State::Ready]);
        assert_eq!(changes[1].error.as_ref().unwrap().code(), Code::ConnectionLost);
        assert!(changes[1].delay <= Duration::from_millis(20));
    }
    session.call("m", Args::new(), None, |_| ()).unwrap();
    let values: Vec<_> = (0..3).map(|_| published.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(values, [1, 2, 3]);
    assert_eq!(server.accepted(), 3, "a call is never repeated, a connection not made in vain");
}

#[test]
fn connecting_waits_for_a_server_that_is_not_up_yet() {
    let port = port_of_its_own();
    let config = Config::new(&format!("ws://127.0.0.1:{port}/ws")).unwrap();
    let (session, states) = watched(config, Reconnect { at_first: true, ..soon() });
    std::thread::scope(|s| {
        let waiting = s.spawn(|| session.connect_wait());
        let changes = until(&states, State::Reconnecting);
        assert_eq!(names(&changes), [State::Connecting, State::Reconnecting]);
        assert_eq!(changes[1].error.as_ref().unwrap().code(), Code::Connect);
        until(&states, State::Reconnecting);
        let _server = Server::start("v2", &["--port", &port.to_string()]);
        let changes = until(&states, State::Ready);
        let attempts: Vec<_> = changes.iter().filter(|c| c.state == State::Connecting).map(|c| c.attempt).collect();
        assert!(attempts.is_sorted() && attempts[0] >= 2, "{attempts:?}");
        waiting.join().unwrap().unwrap();
        session.call_wait("test.echo", Args::from_json("[1]").unwrap(), Some(PATIENCE)).unwrap();
    });
}

#[test]
fn attempts_and_time_are_bounded_and_the_last_reason_is_told() {
    let policy = Reconnect { attempts: Some(3), at_first: true, ..soon() };
    let (session, states) = watched(no_server(), policy);
    let error = session.connect_wait().unwrap_err();
    assert_eq!(error.code(), Code::Connect);
    let changes = until(&states, State::Closed);
    assert_eq!(changes.iter().filter(|c| c.state == State::Connecting).count(), 4, "the first one and three more");
    assert_eq!(changes.last().unwrap().error.as_ref().unwrap().code(), Code::Connect);

    let total = Duration::from_millis(60);
    let (session, states) = watched(no_server(), Reconnect { total: Some(total), at_first: true, ..soon() });
    let begun = Instant::now();
    session.connect_wait().unwrap_err();
    // This tests that the limits exist; the simulation tests their exact values.
    assert!(begun.elapsed() < PATIENCE);
    until(&states, State::Closed);
}

#[test]
fn without_at_first_the_first_failure_ends_the_session() {
    let (session, states) = watched(no_server(), soon());
    assert_eq!(session.connect_wait().unwrap_err().code(), Code::Connect);
    assert_eq!(names(&until(&states, State::Closed)), [State::Connecting, State::Closed]);
}

#[test]
fn a_refused_secret_is_never_tried_again() {
    for version in ["v1", "v2"] {
        let server = Server::start(version, &["--secret", "right"]);
        let mut config = Config::new(&server.url()).unwrap();
        config.session.secret = "wrong".into();
        config.set_reconnect_filter(|_, _| panic!("nobody may decide otherwise"));
        let (session, states) = watched(config, Reconnect { at_first: true, ..soon() });
        assert_eq!(session.connect_wait().unwrap_err().code(), Code::Auth);
        assert_eq!(names(&until(&states, State::Closed)), [State::Connecting, State::Closed]);
    }
}

#[test]
fn the_application_decides_which_failures_are_worth_another_attempt() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&asked);
    let mut config = no_server();
    config.set_reconnect_filter(move |error, attempt| {
        note.lock().unwrap().push((error.code(), attempt));
        attempt < 3
    });
    let (session, states) = watched(config, Reconnect { at_first: true, ..soon() });
    session.connect_wait().unwrap_err();
    until(&states, State::Closed);
    assert_eq!(*asked.lock().unwrap(), [(Code::Connect, 1), (Code::Connect, 2), (Code::Connect, 3)]);

    // The application retries what the library would give up: a proxy that answers 404 while the server starts.
    let server = ScriptedServer::start(|conn, number| match number {
        1 => conn.respond("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        _ => {
            conn.hello(V2);
            conn.until_end();
        }
    });
    let mut config = server.config(V2);
    config.set_reconnect_filter(|error, _| error.http_status() == Some(404));
    let (session, _states) = watched(config, Reconnect { at_first: true, ..soon() });
    session.connect_wait().unwrap();
}

#[test]
fn a_session_that_waits_to_reconnect_can_connect_close_and_be_freed() {
    let server = ScriptedServer::start(|conn, number| {
        conn.hello(V2);
        if number > 1 {
            conn.until_end();
        }
    });
    let never = Reconnect {
        first_delay: Duration::from_secs(3600),
        longest_delay: Duration::from_secs(3600),
        ..Reconnect::default()
    };
    let (session, states) = watched(server.config(V2), never);
    session.connect().unwrap();
    until(&states, State::Reconnecting);
    assert_eq!(session.state(), State::Reconnecting);
    let refused = session.call_wait("m", Args::new(), None).unwrap_err();
    assert!(refused.code() == Code::State && refused.is_retriable(), "{refused}");
    session.connect_wait().unwrap();
    assert_eq!(names(&until(&states, State::Ready)), [State::Connecting, State::Ready]);

    for close in [true, false] {
        let (session, states) = watched(no_server(), Reconnect { at_first: true, ..never });
        session.connect().unwrap();
        until(&states, State::Reconnecting);
        if close {
            session.close_wait(PATIENCE).unwrap();
            until(&states, State::Closed);
            assert!(session.failure().is_none(), "it was asked for");
        }
        drop(session);
    }
}

#[test]
fn a_blocked_connect_ends_when_the_session_is_closed() {
    let never = Reconnect {
        first_delay: Duration::from_secs(3600),
        longest_delay: Duration::from_secs(3600),
        at_first: true,
        ..Reconnect::default()
    };
    let (session, states) = watched(no_server(), never);
    std::thread::scope(|s| {
        let waiting = s.spawn(|| session.connect_wait());
        until(&states, State::Reconnecting);
        session.close(Duration::ZERO);
        assert_eq!(waiting.join().unwrap().unwrap_err().code(), Code::Closed);
    });
}

#[test]
fn a_policy_that_makes_no_sense_is_refused() {
    let mut config = no_server();
    let busy = Reconnect { first_delay: Duration::ZERO, ..Reconnect::default() };
    assert_eq!(config.set_reconnect(Some(busy)).unwrap_err().code(), Code::Argument);
    let shrinking = Reconnect { longest_delay: Duration::from_millis(1), ..Reconnect::default() };
    assert_eq!(config.set_reconnect(Some(shrinking)).unwrap_err().code(), Code::Argument);
}

#[test]
fn real_servers_are_found_again_after_they_were_killed() {
    let rounds = 3;
    for version in ["v1", "v2"] {
        let port = port_of_its_own().to_string();
        let mut server = Server::start(version, &["--port", &port]);
        let (session, states) = watched(Config::new(&server.url()).unwrap(), soon());
        let (send, published) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| {
            send.send(result(p.outcome.as_ref().unwrap()).get("value").and_then(|v| v.as_i64()).unwrap()).unwrap();
        });
        session.connect().unwrap();
        until(&states, State::Ready);
        for round in 1..=rounds {
            let (send, outcome) = mpsc::channel();
            session.call("test.sleep", Args::from_json("[60]").unwrap(), None, move |o| send.send(o).unwrap()).unwrap();
            server.kill();
            assert_eq!(outcome.recv_timeout(PATIENCE).unwrap().unwrap_err().code(), Code::ConnectionLost);
            drop(server);
            server = Server::start(version, &["--port", &port]);
            until(&states, State::Ready);
            let args = Args::from_json(&format!(r#"["t", 1, {round}]"#)).unwrap();
            session.call_wait("test.publish", args, Some(PATIENCE)).unwrap();
            assert_eq!(published.recv_timeout(PATIENCE), Ok(round), "subscriptions stay");
        }
    }
}
