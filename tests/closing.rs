//! How sessions end: by a closing handshake, without an answer of the server, and by a drop at any place.

mod common;

use common::PATIENCE;
use common::scripted::{BINARY, CLOSE, Conn, FIN, Frame, ScriptedServer, chunk, pack};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use wslink::{Args, Code, Delivery, Outcome, Policy, Protocol, Session, State};

#[test]
fn close_performs_the_closing_handshake() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            assert_eq!(conn.frame(), Frame::Close(Some(1000)));
            conn.publish("late", json!(1));
            conn.close(1000, "");
            assert_eq!(conn.frame(), Frame::End);
        });
        let session = server.session(protocol);
        session.close_wait(PATIENCE).unwrap();
        assert_eq!((session.state(), session.failure().is_none()), (State::Closed, true));
        session.close_wait(PATIENCE).unwrap();
    }
}

#[test]
fn a_server_that_does_not_answer_the_close_frame_is_given_up() {
    for ends_tcp in [false, true] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(Protocol::V2);
            assert_eq!(conn.frame(), Frame::Close(Some(1000)));
            if ends_tcp {
                conn.cut();
            } else {
                assert_eq!(conn.frame(), Frame::End);
            }
        });
        let session = server.session(Protocol::V2);
        let timeout = if ends_tcp { PATIENCE } else { Duration::from_millis(50) };
        session.close_wait(timeout).unwrap();
        assert_eq!((session.state(), session.failure().is_none()), (State::Closed, true));
    }
}

/// Counts how often it is dropped.
struct CountDrop(Arc<AtomicUsize>);

impl CountDrop {
    fn touch(&self) {}
}

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_dropped_session_completes_each_call_once_and_drops_each_callback_once() {
    for delivery in [Delivery::Queued, Delivery::IoThread] {
        let server = ScriptedServer::start(|conn, _| {
            conn.hello(Protocol::V2);
            conn.until_end();
        });
        let (dropped, called) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut config = server.config(Protocol::V2);
        config.delivery = delivery;
        let guard = || CountDrop(Arc::clone(&dropped));
        let (a, b, c) = (guard(), guard(), guard());
        config.on_state(move |_| a.touch());
        config.on_progress(move |_| b.touch());
        config.on_wakeup(move || c.touch());
        let session = common::connected(config);
        for _ in 0..10 {
            let (guard, called) = (guard(), Arc::clone(&called));
            let completion = move |outcome: Outcome| {
                let _guard = guard;
                assert_eq!(outcome.unwrap_err().code(), Code::Closed);
                called.fetch_add(1, SeqCst);
            };
            session.call("never.answered", Args::new(), None, completion).unwrap();
            let guard = CountDrop(Arc::clone(&dropped));
            session.subscribe("t", Policy::default(), move |_| guard.touch());
        }
        let handle = session.handle();
        drop(session);
        assert_eq!((called.load(SeqCst), dropped.load(SeqCst)), (10, 23));
        assert_eq!(handle.call_wait("m", Args::new(), None).unwrap_err().code(), Code::Closed);
        assert_eq!(handle.state(), State::Closed);
        drop(handle);
        assert_eq!((called.load(SeqCst), dropped.load(SeqCst)), (10, 23));
    }
}

#[test]
fn a_session_may_be_dropped_in_its_own_callbacks() {
    for delivery in [Delivery::Queued, Delivery::IoThread] {
        for place in ["completion", "publication", "state"] {
            let server = ScriptedServer::start(|conn, _| {
                conn.hello(Protocol::V2);
                while let Some(call) = conn.call() {
                    conn.publish("t", json!(1));
                    conn.reply(&call.id, json!(1));
                }
            });
            let slot: Arc<Mutex<Option<Session>>> = Arc::default();
            let (send, receive) = mpsc::channel();
            let taken = Arc::clone(&slot);
            let drop_if = move |here: bool| {
                let session = if here { taken.lock().unwrap().take() } else { None };
                if session.is_some() {
                    drop(session);
                    send.send(()).unwrap();
                }
            };
            let mut config = server.config(Protocol::V2);
            config.delivery = delivery;
            let f = drop_if.clone();
            config.on_state(move |change| f(place == "state" && change.state == State::Closing));
            let session = common::connected(config);
            let handle = session.handle();
            let f = drop_if.clone();
            session.subscribe("t", Policy::default(), move |_| f(place == "publication"));
            *slot.lock().unwrap() = Some(session);
            let completed = Arc::new(AtomicUsize::new(0));
            let mut accepted = 0;
            for _ in 0..3 {
                let (f, completed) = (drop_if.clone(), Arc::clone(&completed));
                let completion = move |_| {
                    completed.fetch_add(1, SeqCst);
                    f(place == "completion");
                };
                // On the I/O thread the first outcome may already have dropped the session.
                accepted += usize::from(handle.call("m", Args::new(), None, completion).is_ok());
            }
            if place == "state" {
                handle.close(PATIENCE);
            }
            if delivery == Delivery::Queued {
                while slot.lock().unwrap().is_some() {
                    match handle.dispatch(1, Some(PATIENCE)) {
                        Ok(ran) => assert_ne!(ran, 0),
                        Err(error) => assert_eq!(error.code(), Code::Closed, "freed in the callback"),
                    }
                }
            }
            receive.recv_timeout(PATIENCE).unwrap();
            assert_eq!(handle.state(), State::Closed, "{place}");
            assert_eq!(completed.load(SeqCst), accepted, "{place}");
        }
    }
}

#[test]
fn close_wait_returns_when_the_session_is_dropped() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        conn.until_end();
    });
    let session = server.session(Protocol::V2);
    let handle = session.handle();
    let (send, receive) = mpsc::channel();
    // The server does not answer the Close frame, and the first close would wait for an hour.
    let waiting = std::thread::spawn(move || send.send(handle.close_wait(Duration::from_secs(3600))).unwrap());
    while session.state() != State::Closing {
        session.dispatch(10, Some(Duration::from_millis(1))).unwrap();
    }
    drop(session);
    receive.recv_timeout(PATIENCE).unwrap().unwrap();
    waiting.join().unwrap();
}

#[test]
fn a_second_close_can_shorten_the_timeout() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        conn.until_end();
    });
    let session = server.session(Protocol::V2);
    session.close(Duration::MAX);
    session.close_wait(Duration::from_millis(20)).unwrap();
    assert_eq!(session.state(), State::Closed);
}

#[test]
fn dispatch_reports_that_its_callback_freed_the_session() {
    let server = ScriptedServer::start(|c, _| {
        c.accept();
        c.answer_hello(Protocol::V2);
        c.publish("t", json!(1));
        c.until_end();
    });
    let session = Session::new(server.config(Protocol::V2)).unwrap();
    let handle = session.handle();
    let owner = Arc::new(Mutex::new(None));
    let inside = owner.clone();
    session.subscribe("t", Policy::default(), move |_| drop(inside.lock().unwrap().take()));
    session.connect_wait().unwrap();
    *owner.lock().unwrap() = Some(session);
    let end = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < end, "nothing happens");
        if let Err(error) = handle.dispatch(usize::MAX, Some(PATIENCE)) {
            break error;
        }
    };
    assert_eq!(error.code(), Code::Closed);
}

/// Memory given by reference whose release function drops the session.
struct EndsTheSession(Vec<u8>, Arc<Mutex<Option<Session>>>, mpsc::Sender<()>);

impl AsRef<[u8]> for EndsTheSession {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for EndsTheSession {
    fn drop(&mut self) {
        drop(self.1.lock().unwrap().take());
        self.2.send(()).unwrap();
    }
}

#[test]
fn the_release_of_uploaded_memory_may_end_the_session() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        // Reads everything, and does not answer.
        while conn.call().is_some() {}
    });
    let session = server.session(Protocol::V2);
    let handle = session.handle();
    let owner = Arc::new(Mutex::new(Some(session)));
    let (send, released) = mpsc::channel();
    let data = tungstenite::Bytes::from_owner(EndsTheSession(vec![7; 8 << 20], Arc::clone(&owner), send));
    let args = Args::new().with(data).unwrap();
    handle.call("m", args, None, |_| ()).unwrap();
    released.recv_timeout(PATIENCE).expect("released, and the session ended by that");
    assert_eq!(handle.state(), State::Closed);
}

/// A write error on another thread does not discard replies that have already arrived.
#[test]
fn received_replies_are_delivered_although_a_write_fails() {
    const CALLS: usize = 30;
    let (sent, all_is_sent) = mpsc::channel();
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        let calls: Vec<_> = (0..CALLS).map(|_| conn.call().unwrap()).collect();
        // One write, which TCP delivers as a whole.
        let mut all = Vec::new();
        for (n, call) in calls.iter().enumerate() {
            let reply = pack(&json!({"wslink": "1.0", "id": call.id, "result": vec![0; 1000]}));
            let chunk = chunk(7000 + n as u32, 0, reply.len() as u32, &reply);
            all.extend(Conn::frame_bytes(FIN | BINARY, &chunk));
        }
        all.extend(Conn::frame_bytes(FIN | CLOSE, &1001_u16.to_be_bytes()));
        conn.raw(all);
        // From now on every write to it fails.
        conn.stream().shutdown(std::net::Shutdown::Both).unwrap();
        sent.send(()).unwrap();
    });
    let mut config = server.config(Protocol::V2);
    config.delivery = Delivery::IoThread;
    let (send_state, states) = mpsc::channel();
    config.on_state(move |change| send_state.send(change.clone()).unwrap());
    let session = common::connected(config);
    let (send, outcomes) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let first = Mutex::new(Some(wait));
    let first = Arc::new(first);
    for _ in 0..CALLS {
        let (send, first) = (send.clone(), Arc::clone(&first));
        let completion = move |outcome: Outcome| {
            // The first callback blocks the I/O thread until all replies have arrived and a write has failed.
            let wait = first.lock().unwrap().take();
            if let Some(wait) = wait {
                wait.recv_timeout(PATIENCE).unwrap();
            }
            send.send(outcome.map(|_| ())).unwrap();
        };
        session.call("m", Args::new(), None, completion).unwrap();
    }
    all_is_sent.recv_timeout(PATIENCE).unwrap();
    // The first of these writes is answered by a reset, and the later ones fail.
    for _ in 0..10 {
        session.call("too late", Args::new(), None, |_| ()).unwrap();
    }
    go_on.send(()).unwrap();
    for n in 0..CALLS {
        let outcome = outcomes.recv_timeout(PATIENCE).unwrap();
        assert!(outcome.is_ok(), "reply {n}: {outcome:?}");
    }
    let lost = std::iter::from_fn(|| states.recv_timeout(PATIENCE).ok()).find(|change| change.state == State::Lost);
    assert_eq!(lost.unwrap().error.unwrap().close_code(), Some(1001));
}
