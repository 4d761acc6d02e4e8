//! A large message stalls halfway. Nothing that a user relies on waits for its rest.

mod common;

use common::scripted::{BINARY, Conn, FIN, ScriptedServer, chunk, pack};
use common::{PATIENCE, connected};
use serde_json::json;
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use wslink::{Args, Code, Delivery, Policy, Protocol, Session, State, result};

const BOTH: [Delivery; 2] = [Delivery::Queued, Delivery::IoThread];

/// A publication of this size on topic "large", encoded as frames.
fn large(size: usize) -> Vec<u8> {
    let message = pack(&json!({"wslink": "1.0", "id": "publish:large:0", "result": "x".repeat(size)}));
    Conn::frame_bytes(FIN | BINARY, &chunk(1, 0, message.len() as u32, &message))
}

/// A server that stalls a message after the first call, and a session that has received everything before it. The script continues
/// when the test says so.
fn stalled(
    delivery: Delivery,
    script: impl Fn(&mut Conn, &[u8]) + Send + Sync + 'static,
) -> (ScriptedServer, Session, Sender<()>, Receiver<usize>) {
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        let call = conn.call().unwrap();
        conn.reply(&call.id, json!(null));
        let message = large(1 << 20);
        let half = message.len() / 2;
        conn.raw(message.repeat(4));
        conn.raw(&message[..half]);
        // An error: the test does not need more.
        if may_go.lock().unwrap().recv_timeout(PATIENCE).is_ok() {
            script(conn, &message[half..]);
        }
        conn.until_end();
    });
    let mut config = server.config(Protocol::V2);
    config.delivery = delivery;
    let session = connected(config);
    let (send, come) = mpsc::channel();
    session.subscribe("large", Policy::default(), move |publication| {
        let outcome = publication.outcome.as_ref().unwrap();
        let _ = send.send(result(outcome).as_str().map_or(0, str::len));
    });
    session.call_wait("stall", Args::new(), Some(PATIENCE)).unwrap();
    for _ in 0..4 {
        assert_eq!(next(&session, &come), 1 << 20);
    }
    (server, session, go, come)
}

/// The next report of a callback, wherever it runs.
fn next<T>(session: &Session, come: &Receiver<T>) -> T {
    let mut told = None;
    common::eventually(|| {
        let _ = session.dispatch(1000, Some(Duration::ZERO));
        told = come.try_recv().ok();
        told.is_some()
    });
    told.unwrap()
}

#[test]
fn calls_are_sent_and_time_out_and_the_rest_arrives() {
    for delivery in BOTH {
        let (_server, session, go, come) = stalled(delivery, |conn, rest| {
            let asked = conn.call().unwrap();
            assert_eq!(asked.method, "unanswered");
            let asked = conn.call().unwrap();
            conn.raw(rest);
            conn.reply(&asked.id, json!("behind it"));
        });
        let short = Some(Duration::from_millis(20));
        let error = session.call_wait("unanswered", Args::new(), short).unwrap_err();
        assert_eq!(error.code(), Code::Timeout);
        let (send, outcome) = mpsc::channel();
        session.call("asynchronous", Args::new(), Some(PATIENCE), move |outcome| send.send(outcome).unwrap()).unwrap();
        go.send(()).unwrap();
        assert_eq!(next(&session, &come), 1 << 20);
        let outcome = next(&session, &outcome);
        assert_eq!(result(&outcome.unwrap()).as_str(), Some("behind it"));
    }
}

#[test]
fn what_goes_up_does_not_wait_for_what_comes_down() {
    for delivery in BOTH {
        const SIZE: usize = 24 << 20;
        let (_server, session, go, come) = stalled(delivery, |conn, rest| {
            // More than the socket buffers hold, so it must be written while the message is stalled.
            let asked = conn.call().unwrap();
            assert_eq!(asked.args[0].as_str().map(str::len), Some(SIZE));
            conn.raw(rest);
            conn.reply(&asked.id, json!("all of it"));
        });
        go.send(()).unwrap();
        let args = Args::new().with(&*"u".repeat(SIZE)).unwrap();
        let reply = session.call_wait("upload", args, Some(PATIENCE)).unwrap();
        assert_eq!(result(&reply).as_str(), Some("all of it"));
        assert_eq!(next(&session, &come), 1 << 20);
    }
}

#[test]
fn a_server_that_does_not_read_either_keeps_no_thread() {
    for delivery in BOTH {
        let (_server, session, _go, _come) = stalled(delivery, |_, _| ());
        let args = Args::new().with(&*"u".repeat(24 << 20)).unwrap();
        let error = session.call_wait("never read", args, Some(Duration::from_millis(20))).unwrap_err();
        assert_eq!(error.code(), Code::Timeout);
        drop(session);
    }
}

#[test]
fn a_session_ends_in_every_way() {
    for delivery in BOTH {
        for way in 0..3 {
            let (_server, session, go, _come) = stalled(delivery, |conn, _| conn.until_end());
            go.send(()).unwrap();
            let handle = session.handle();
            let call = thread::spawn(move || handle.call_wait("in flight", Args::new(), None));
            common::eventually(|| session.stats().calls_in_flight == 1);
            match way {
                0 => session.close(Duration::from_millis(20)),
                1 => session.close_wait(Duration::from_millis(20)).unwrap_or(()),
                _ => drop(session),
            }
            assert_eq!(call.join().unwrap().unwrap_err().code(), Code::Closed);
        }
    }
}

#[test]
fn a_server_that_vanishes_halfway_is_noticed_and_no_part_is_handed_on() {
    for delivery in BOTH {
        let (_server, session, go, come) = stalled(delivery, |conn, rest| {
            conn.raw(&rest[..rest.len() / 2]);
            conn.cut();
        });
        go.send(()).unwrap();
        common::eventually(|| {
            let _ = session.dispatch(1000, Some(Duration::ZERO));
            session.state() == State::Closed
        });
        assert_eq!(session.failure().unwrap().code(), Code::ConnectionLost);
        assert!(come.try_recv().is_err(), "half of a message is none");
    }
}

/// The server sends the rest of a large message byte by byte. The test counts the bytes between the drop of a session and its
/// end, which does not depend on the speed of the machine.
#[test]
fn a_session_that_is_freed_does_not_wait_for_a_trickle() {
    const TRIES: usize = 20;
    let bytes_since = Arc::new(AtomicUsize::new(0));
    for _ in 0..TRIES {
        let freed = Arc::new(AtomicBool::new(false));
        let (trickles, begun) = mpsc::channel();
        let server = ScriptedServer::start({
            let (freed, bytes_since) = (Arc::clone(&freed), Arc::clone(&bytes_since));
            move |conn, _| {
                conn.hello(Protocol::V2);
                conn.raw(&large(1 << 20)[..100_000]);
                conn.stream().set_nonblocking(true).unwrap();
                for sent in 0..1000 {
                    thread::sleep(Duration::from_millis(2));
                    // The Close frame is not counted.
                    match conn.stream().read(&mut [0; 1000]) {
                        Ok(1..) => {}
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                        _ => return,
                    }
                    conn.raw(b"x");
                    bytes_since.fetch_add(usize::from(freed.load(SeqCst)), SeqCst);
                    if sent == 20 {
                        trickles.send(()).unwrap();
                    }
                }
            }
        });
        let session = connected(server.config(Protocol::V2));
        session.subscribe("large", Policy::default(), |_| ());
        begun.recv_timeout(PATIENCE).unwrap();
        freed.store(true, SeqCst);
        drop(session);
    }
    let bytes_since = bytes_since.load(SeqCst);
    assert!(bytes_since < 4 * TRIES, "{bytes_since} bytes came before {TRIES} sessions had ended");
}

#[test]
fn every_message_arrives_once_after_many_stalls() {
    for delivery in BOTH {
        let server = ScriptedServer::start(|conn, _| {
            conn.hello(Protocol::V2);
            let message = large(200 << 10);
            while let Some(call) = conn.call() {
                // Two pieces, between which the client may find nothing, and a reply in the same write as the end.
                conn.raw(&message[..100 << 10]);
                thread::yield_now();
                conn.raw(&message[100 << 10..]);
                conn.reply(&call.id, json!(null));
            }
        });
        let mut config = server.config(Protocol::V2);
        config.delivery = delivery;
        let session = connected(config);
        let (send, come) = mpsc::channel();
        session.subscribe("large", Policy::default(), move |_| send.send(200 << 10).unwrap());
        for _ in 0..500 {
            session.call_wait("next", Args::new(), Some(PATIENCE)).unwrap();
            assert_eq!(next(&session, &come), 200 << 10);
        }
        assert_eq!(session.stats().messages_in, 1 + 2 * 500);
    }
}
