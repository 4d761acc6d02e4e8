//! Limits of what a server can make the client do (memory, waits, secrets), and of what an application can do to itself.

mod common;

use common::PATIENCE;
use common::scripted::{BINARY, Conn, FIN, ScriptedServer, chunk, pack};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use wslink::{Args, Code, Config, Delivery, Policy, Protocol, Publication, Session, State};

const V1: Protocol = Protocol::V1;
const V2: Protocol = Protocol::V2;

/// Resident memory in MiB. The tests of a file run in parallel, so the limits are generous.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4 / 1024
}

/// Taken by tests that measure the memory of the process, so that one runs at a time.
static MEMORY: Mutex<()> = Mutex::new(());

fn dispatch_until(session: &Session, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() && session.state() == State::Ready {
        assert!(Instant::now() < end, "nothing happens");
        session.dispatch(1000, Some(Duration::from_millis(20))).unwrap();
    }
}

#[test]
fn a_refusal_with_a_missing_body_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (over, wait) = mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.read(&mut [0; 4096]).unwrap();
        client.write_all(b"HTTP/1.1 503 no\r\ncontent-length: 100\r\n\r\n").unwrap();
        let _ = wait.recv_timeout(PATIENCE);
    });
    let mut config = Config::new(&format!("ws://127.0.0.1:{port}/")).unwrap();
    config.set_connect_timeout(Duration::from_millis(300)).unwrap();
    let error = Session::new(config).unwrap().connect_wait().unwrap_err();
    assert_eq!((error.code(), error.http_status()), (Code::Upgrade, Some(503)));
    drop(over);
    server.join().unwrap();
}

#[test]
fn queued_publication_errors_count_against_queue_bytes() {
    let server = ScriptedServer::start(|c, _| {
        c.accept();
        c.answer_hello(V2);
        for _ in 0..30 {
            let data = "x".repeat(1 << 20);
            c.message(&json!({"id": "publish:t:0", "error": {"code": 1, "message": "m", "data": data}}));
        }
        c.until_end();
    });
    let mut config = server.config(V2);
    config.queue_bytes = 5 << 20;
    let session = Session::new(config).unwrap();
    let id = session.subscribe("t", Policy::default(), |_| ());
    session.connect_wait().unwrap();
    let end = Instant::now() + PATIENCE;
    while session.stats().messages_in < 31 {
        assert!(Instant::now() < end, "nothing happens");
        std::thread::yield_now();
    }
    assert!(session.stats().events_waiting <= 5, "{:?}", session.stats());
    assert!(session.subscription_counts(id).unwrap().1 >= 25);
}

#[test]
fn pongs_to_a_server_that_does_not_read_are_not_accumulated() {
    let _alone = MEMORY.lock().unwrap();
    let (sent, wait) = mpsc::channel();
    let (over, wait_over) = mpsc::channel::<()>();
    let (sent, wait_over) = (Mutex::new(sent), Mutex::new(wait_over));
    let server = ScriptedServer::start(move |c, _| {
        c.accept();
        c.answer_hello(V2);
        let many: Vec<u8> = [0x89u8, 0].repeat(1 << 20);
        for _ in 0..10 {
            c.raw(&many);
        }
        sent.lock().unwrap().send(()).unwrap();
        let _ = wait_over.lock().unwrap().recv_timeout(PATIENCE);
    });
    let session = Session::new(server.config(V2)).unwrap();
    let before = resident();
    session.connect_wait().unwrap();
    wait.recv_timeout(PATIENCE).unwrap();
    assert!(resident() < before + 64, "{before} MiB before, {} now", resident());
    assert_eq!(session.state(), State::Ready);
    drop(over);
}

#[test]
fn attachment_keys_are_limited_in_length() {
    let server = ScriptedServer::start(|c, _| {
        c.accept();
        c.answer_hello(V1);
        let key = "k".repeat(1 << 20);
        c.text(&format!(r#"{{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["{key}"]}}"#));
        c.publish("t", json!(1));
        c.until_end();
    });
    let session = Session::new(server.config(V1)).unwrap();
    let seen = Arc::new(AtomicBool::new(false));
    let see = seen.clone();
    session.subscribe("t", Policy::default(), move |_| see.store(true, SeqCst));
    session.connect_wait().unwrap();
    dispatch_until(&session, || seen.load(SeqCst));
    assert_eq!(session.stats().malformed, 1);
}

#[test]
fn chunks_out_of_order_count_with_their_bookkeeping() {
    let _alone = MEMORY.lock().unwrap();
    let server = ScriptedServer::start(|c, _| {
        c.accept();
        c.answer_hello(V2);
        for id in 0..64u32 {
            let mut out = Vec::new();
            for i in 1..4000u32 {
                let mut payload = (1000 + id).to_le_bytes().to_vec();
                payload.extend((2 * i).to_le_bytes());
                payload.extend(60_000u32.to_le_bytes());
                payload.push(1);
                out.extend(Conn::frame_bytes(FIN | BINARY, &payload));
            }
            // Writing fails when the client has closed the connection.
            c.raw(&out);
        }
        c.until_end();
    });
    let mut config = server.config(V2);
    config.session.limits.unfinished_bytes = 4 << 20;
    let session = Session::new(config).unwrap();
    let before = resident();
    session.connect_wait().unwrap();
    dispatch_until(&session, || false);
    let error = session.failure().unwrap();
    assert!(error.message().contains("max_unfinished"), "{error}");
    assert!(resident() < before + 64, "{before} MiB before, {} now", resident());
}

#[test]
fn dispatch_runs_the_queued_events_and_returns() {
    let over = Arc::new(AtomicBool::new(false));
    let end = over.clone();
    let server = ScriptedServer::start(move |c, _| {
        c.accept();
        c.answer_hello(V2);
        let patience = Instant::now() + PATIENCE;
        while !end.load(SeqCst) && Instant::now() < patience {
            c.publish("t", json!(1));
        }
        c.until_end();
    });
    let session = Session::new(server.config(V2)).unwrap();
    let handle = session.handle();
    // Each callback returns only when more events are queued.
    session.subscribe("t", Policy::All(100), move |_| {
        let end = Instant::now() + PATIENCE;
        while handle.stats().events_waiting == 0 && Instant::now() < end {
            std::thread::yield_now();
        }
    });
    session.connect_wait().unwrap();
    let ran = session.dispatch(usize::MAX, Some(PATIENCE)).unwrap();
    assert!((1..=101).contains(&ran), "{ran}");
    over.store(true, SeqCst);
}

#[test]
fn a_second_session_of_a_configuration_still_logs() {
    let server = ScriptedServer::start(|c, _| {
        c.accept();
        c.answer_hello(V2);
        c.until_end();
    });
    let lines = Arc::new(AtomicU32::new(0));
    let mut config = server.config(V2);
    let count = lines.clone();
    config.set_log(wslink::LogLevel::Debug, move |_, _| {
        count.fetch_add(1, SeqCst);
    });
    let first = Session::new(config.clone()).unwrap();
    let second = Session::new(config).unwrap();
    first.connect_wait().unwrap();
    drop(first);
    let before = lines.load(SeqCst);
    second.connect_wait().unwrap();
    assert!(lines.load(SeqCst) > before);
}

#[test]
fn a_subscription_after_the_session_was_dropped_keeps_nothing() {
    let session = Session::new(Config::new("ws://127.0.0.1:1/").unwrap()).unwrap();
    let handle = session.handle();
    drop(session);
    let data = Arc::new(());
    let (inner, kept) = (handle.clone(), data.clone());
    assert_eq!(
        handle.subscribe("t", Policy::default(), move |_| {
            let _ = (&inner, &kept);
        }),
        0
    );
    assert_eq!(Arc::strong_count(&data), 1);
    assert_eq!(handle.connect().unwrap_err().code(), Code::Closed);
}

/// Uses the session when it is dropped.
struct Looks(wslink::Handle);

impl Drop for Looks {
    fn drop(&mut self) {
        assert_eq!(self.0.state(), State::Closed);
    }
}

#[test]
fn a_refused_callback_is_dropped_without_a_lock() {
    let session = Session::new(Config::new("ws://127.0.0.1:1/").unwrap()).unwrap();
    let looks = Looks(session.handle());
    drop(session);
    let (send, id) = mpsc::channel();
    std::thread::spawn(move || {
        let handle = looks.0.clone();
        let callback = move |_: Publication<'_>| {
            let _ = &looks;
        };
        send.send(handle.subscribe("t", Policy::default(), callback)).unwrap();
    });
    assert_eq!(id.recv_timeout(PATIENCE).expect("it returns"), 0);
}

#[test]
fn late_replies_do_not_extend_the_deadlines_of_other_calls() {
    const CALLS: usize = 150;
    const TIMEOUT: Duration = Duration::from_millis(300);
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(V2);
        let calls: Vec<_> = (0..CALLS).map(|_| conn.call().expect("a call")).collect();
        // The client always has more to read.
        let message = pack(&json!({"wslink": "1.0", "id": "publish:t:0", "result": "x".repeat(16_000)}));
        let flood = Conn::frame_bytes(FIN | BINARY, &chunk(1, 0, message.len() as u32, &message)).repeat(4);
        for call in &calls[..CALLS - 1] {
            conn.reply(&call.id, json!(1));
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(15) {
                conn.raw(&flood);
            }
        }
        conn.until_end();
    });
    let mut config = server.config(V2);
    config.delivery = Delivery::IoThread;
    let session = common::connected(config);
    session.subscribe("t", Policy::default(), |_| std::thread::sleep(Duration::from_micros(100)));
    let (send, ends) = mpsc::channel();
    for _ in 0..CALLS {
        let send = send.clone();
        session.call("m", Args::new(), Some(TIMEOUT), move |outcome| send.send(outcome.is_ok()).unwrap()).unwrap();
    }
    // Most replies arrive long after the timeout.
    let in_time = (0..CALLS).filter(|_| ends.recv_timeout(PATIENCE).unwrap()).count();
    assert!(in_time < CALLS * 2 / 3, "{in_time}");
}

#[test]
fn json_arguments_cannot_be_added_inside_an_open_container() {
    let mut args = Args::new();
    args.keyword("k").unwrap();
    args.target().begin_map().unwrap();
    assert_eq!(args.add_keywords_json("{\"a\": 1}").unwrap_err().code(), Code::Argument);
    assert_eq!(args.add_json("[1]").unwrap_err().code(), Code::Argument);
    args.target().end().unwrap();
    args.add_json("[1]").unwrap();
}

/// Calls that are small enough for callers to write them. The server begins to read only when the socket is full, so a blocked
/// caller must hand its message over to the I/O thread.
#[test]
fn a_full_socket_is_written_to_again() {
    for _ in 0..10 {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let server = ScriptedServer::start(move |c, _| {
            c.accept();
            c.answer_hello(V2);
            let _ = wait.lock().unwrap().recv();
            while let Some(call) = c.call() {
                c.reply(&call.id, json!(1));
            }
        });
        let session = Session::new(server.config(V2)).unwrap();
        session.connect_wait().unwrap();
        let (send, outcomes) = mpsc::channel();
        let mut go = Some(go);
        for i in 0..60 {
            if i == 30 {
                drop(go.take());
            }
            let send = send.clone();
            let args = Args::new().with(vec![1u8; 200_000]).unwrap();
            session.call("m", args, None, move |o| send.send(o.is_ok()).unwrap()).unwrap();
        }
        let done = AtomicU32::new(0);
        dispatch_until(&session, || {
            done.fetch_add(outcomes.try_iter().filter(|ok| *ok).count() as u32, SeqCst);
            done.load(SeqCst) == 60
        });
        assert_eq!(done.load(SeqCst), 60);
    }
}
