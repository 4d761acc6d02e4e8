//! Uploads: attachments of generation 1, limits, and a server that does not read.

mod common;

use common::PATIENCE;
use common::scripted::{Frame, ScriptedServer};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;
use wslink::{Args, Code, Policy, Protocol, State, result};

#[test]
fn each_attachment_goes_before_its_call_under_a_key_of_its_own() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V1);
        let call = conn.call().unwrap();
        let keys: Vec<_> = conn.attachments.iter().map(|(key, _)| key.clone()).collect();
        let data: Vec<_> = conn.attachments.iter().map(|(_, data)| data.len()).collect();
        // The server replaces only the first occurrence of a key, so the same data is sent twice.
        assert_eq!(data, [3, 3, 0, 100_000, 2]);
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 5);
        for key in &keys {
            // A server has one table for all clients, so keys begin at a random number.
            let number: u64 = key.strip_prefix("wslink_bin").unwrap().parse().unwrap();
            assert!((1 << 20..1 << 54).contains(&number), "{number}");
        }
        assert_eq!(call.args, json!([keys[0], {"again": keys[1]}, keys[2], keys[3], "wslink_bin", "text"]));
        assert_eq!(call.kwargs, json!({"named": keys[4]}));
        conn.reply(&call.id, json!(null));
        conn.echo();
    });
    let session = server.session(Protocol::V1);
    let mut args = Args::new();
    let key = args.attach(&b"abc"[..]);
    let empty = args.attach(&b""[..]);
    let large = args.attach(vec![7; 100_000]);
    args.add_json(&json!([key, {"again": key}, empty, large, "wslink_bin", "text"]).to_string()).unwrap();
    let args = args.with_keyword("named", b"kw".to_vec()).unwrap();
    session.call_wait("m", args, Some(PATIENCE)).unwrap();
}

#[test]
fn uploads_of_many_threads_never_mix() {
    // Announcement, data and call must follow each other without a gap, because the server has one queue for all clients.
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V1);
        while let Some(call) = conn.call() {
            let (key, data) = conn.attachments.pop().unwrap();
            assert!(conn.attachments.is_empty());
            assert_eq!((call.args[0].as_str(), call.args[1].as_u64()), (Some(&*key), Some(data.len() as u64)));
            assert!(data.iter().all(|b| *b == data[0]));
            conn.reply(&call.id, json!(null));
        }
    });
    let session = server.session(Protocol::V1);
    let together = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 1..=4usize {
            let (session, together) = (&session, &together);
            scope.spawn(move || {
                together.wait();
                for i in 0..20 {
                    let data = vec![thread as u8; thread * 10_000 + i];
                    let args = Args::new().with(data.clone()).unwrap().with(data.len() as u64).unwrap();
                    session.call_wait("m", args, Some(PATIENCE)).unwrap();
                }
            });
        }
    });
}

#[test]
fn calls_that_the_server_would_refuse_are_not_sent() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V1);
        conn.echo();
    });
    let session = server.session(Protocol::V1);
    let upload = |size: usize| session.call_wait("m", Args::new().with(vec![0u8; size]).unwrap(), Some(PATIENCE));
    upload(4_194_303).unwrap();
    let e = upload(4_194_304).unwrap_err();
    assert_eq!(e.code(), Code::Limit);
    assert!(e.message().contains("4194304 bytes") && e.message().contains("v1_upload_limit"), "{e}");
    let text = "x".repeat(4_194_304);
    let e = session.call_wait("m", Args::new().with(&*text).unwrap(), Some(PATIENCE)).unwrap_err();
    assert_eq!(e.code(), Code::Limit);
    assert_eq!(session.state(), State::Ready);
    upload(10).unwrap();
}

#[test]
fn reading_goes_on_while_the_server_does_not_read() {
    let (published, wait_published) = mpsc::channel();
    let wait_published = Mutex::new(wait_published);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        assert!(matches!(conn.frame(), Frame::Binary(_)));
        // The rest of the upload fills all socket buffers.
        for i in 0..100 {
            conn.publish("t", json!(i));
        }
        wait_published.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        while conn.frame() != Frame::End {}
    });
    let session = server.session(Protocol::V2);
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| send.send(p.outcome.is_ok()).unwrap());
    session.call("upload", Args::new().with(vec![1u8; 60 << 20]).unwrap(), None, |_| {}).unwrap();
    let mut got = 0;
    while got < 100 {
        assert_ne!(session.dispatch(100, Some(PATIENCE)).unwrap(), 0);
        got += receive.try_iter().count();
    }
    published.send(()).unwrap();
}

#[test]
fn calls_that_wait_to_be_sent_are_bounded() {
    let (done, wait_done) = mpsc::channel();
    let wait_done = Mutex::new(wait_done);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        wait_done.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let mut config = server.config(Protocol::V2);
    config.send_queue_bytes = 10 << 20;
    let session = common::connected(config);
    let mut accepted = 0;
    let refused = loop {
        assert!(accepted < 100);
        match session.call("upload", Args::new().with(vec![1u8; 5 << 20]).unwrap(), None, |_| {}) {
            Ok(_) => accepted += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(refused.code(), Code::Limit);
    assert!(refused.message().contains("send_queue_bytes"), "{refused}");
    assert!(accepted >= 2);
    // stats().bytes_waiting shows the number before the limit is reached, so that an application can slow down.
    let waiting = session.stats().bytes_waiting;
    assert!(refused.message().starts_with(&format!("{waiting} bytes")) && waiting > 10 << 20, "{waiting}: {refused}");
    done.send(()).unwrap();
    common::eventually(|| session.stats().bytes_waiting == 0);
}

#[test]
fn large_arguments_are_released_after_their_call() {
    struct Memory(Vec<u8>, mpsc::Sender<()>);
    impl AsRef<[u8]> for Memory {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Memory {
        fn drop(&mut self) {
            self.1.send(()).unwrap();
        }
    }
    for cut in [false, true] {
        for protocol in [Protocol::V1, Protocol::V2] {
            let server = ScriptedServer::start(move |conn, _| {
                conn.hello(protocol);
                if cut {
                    conn.frame();
                    return;
                }
                conn.echo();
            });
            let session = server.session(protocol);
            let (send, receive) = mpsc::channel();
            let data = tungstenite::Bytes::from_owner(Memory(vec![3; 3_000_000], send));
            let outcome = session.call_wait("m", Args::new().with(data).unwrap(), Some(PATIENCE));
            assert_eq!(outcome.is_err(), cut);
            receive.recv_timeout(PATIENCE).unwrap();
            drop(session);
            assert!(receive.try_recv().is_err(), "given back twice");
        }
    }
}

#[test]
fn a_new_connection_is_a_new_client_and_keeps_the_subscriptions() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let server = ScriptedServer::start(move |conn, number| {
            conn.accept();
            conn.protocol = protocol;
            if protocol == Protocol::V1 {
                let probe = conn.call().unwrap();
                conn.error(&probe.id, -32601, "Unknown system method called");
            }
            let hello = conn.call().unwrap();
            conn.reply(&hello.id, json!({"clientID": format!("client {number}: é")}));
            let call = conn.call().unwrap();
            assert!(call.id.starts_with(&format!("rpc:client {number}: é:")), "{}", call.id);
            conn.publish("t", json!(number));
            if number == 1 {
                return;
            }
            // A late reply to a call of the first connection is ignored here.
            conn.reply("rpc:client 1: é:0", json!(0));
            conn.reply(&call.id, json!(number));
            conn.echo();
        });
        let session = server.session(protocol);
        let (send, receive) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| {
            send.send(result(p.outcome.as_ref().unwrap()).as_i64().unwrap()).unwrap();
        });
        assert_eq!(session.peer().client_id, "client 1: é");
        let lost = session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap_err();
        assert_eq!(lost.code(), Code::ConnectionLost);
        session.connect_wait().unwrap();
        assert_eq!(session.peer().client_id, "client 2: é");
        session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
        while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
        assert_eq!(receive.try_iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(session.stats().unknown_replies, 1);
    }
}

#[test]
fn a_heartbeat_ends_a_dead_connection_and_leaves_a_busy_server_alone() {
    let pings = Arc::new(Mutex::new(0));
    let count = Arc::clone(&pings);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        let call = conn.call().unwrap();
        // A method runs: the server sends no pongs, and the client must send no pings.
        for _ in 0..3 {
            conn.ping_and_wait(b"");
            // Longer than a heartbeat.
            std::thread::sleep(Duration::from_millis(60));
        }
        conn.reply(&call.id, json!(null));
        while conn.frame() != Frame::End {
            *count.lock().unwrap() += 1;
        }
    });
    let mut config = server.config(Protocol::V2);
    config.session.heartbeat = Some(Duration::from_millis(40));
    let session = common::connected(config);
    session.call_wait("slow", Args::new(), Some(PATIENCE)).unwrap();
    // From here on the server is silent.
    while session.state() != State::Closed {
        assert_ne!(session.dispatch(10, Some(PATIENCE)).unwrap(), 0);
    }
    let e = session.failure().unwrap();
    assert_eq!((e.code(), e.is_retriable()), (Code::ConnectionLost, true));
    assert!(e.message().contains("nothing heard from the server"), "{e}");
    drop(session);
    drop(server);
    assert!(*pings.lock().unwrap() >= 1);
}

#[test]
fn a_stuck_upload_blocks_neither_replies_nor_progress() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (late, is_late) = mpsc::channel::<()>();
    let is_late = Mutex::new(is_late);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        // The client reads nothing while the upload waits: the call times out, and then there is data to receive.
        is_late.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        conn.publish("t", json!(1));
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let mut config = server.config(Protocol::V2);
    config.delivery = wslink::Delivery::IoThread;
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    config.on_progress(move |_| {
        count.fetch_add(1, Relaxed);
    });
    let session = common::connected(config);
    let (published, publication) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |_| published.send(()).unwrap());
    let (completed, completion) = mpsc::channel();
    let large = Args::new().with(vec![7; 64 << 20]).unwrap();
    let timeout = Some(Duration::from_millis(300));
    session.call("m", large, timeout, move |outcome| completed.send(outcome.unwrap_err().code()).unwrap()).unwrap();
    assert_eq!(completion.recv_timeout(PATIENCE), Ok(Code::Timeout));
    late.send(()).unwrap();
    publication.recv_timeout(PATIENCE).unwrap();
    // Progress is reported when it changes, not while the upload waits.
    let times = told.load(Relaxed);
    assert!(times < 1000, "{times} reports of progress");
    go_on.send(()).unwrap();
}
