//! Behaviour that servers may show and a real server does not show on demand, played by a scripted server.

mod common;

use common::PATIENCE;
use common::scripted::{BINARY, CLOSE, Conn, FIN, Frame, PING, ScriptedServer, TEXT, chunk, pack};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wslink::{Args, Code, Delivery, Outcome, Policy, Protocol, Session, Stage, State, result};

const BOTH: [Protocol; 2] = [Protocol::V1, Protocol::V2];

fn call(session: &Session) -> Outcome {
    session.call_wait("a.method", Args::new(), Some(PATIENCE))
}

/// Waits until an event reports this state.
fn dispatch_until(session: &Session, state: State) {
    while session.state() != state {
        assert_ne!(session.dispatch(1000, Some(PATIENCE)).unwrap(), 0, "nothing happens");
    }
    while session.dispatch(1000, Some(Duration::ZERO)).unwrap() > 0 {}
}

/// A server that plays the script for one call of `m` after the hello.
fn answering(
    protocol: Protocol,
    answer: impl Fn(&mut Conn, &str) + Send + Sync + 'static,
) -> (ScriptedServer, Session) {
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(protocol);
        let call = conn.call().expect("a call");
        answer(conn, &call.id);
        conn.echo();
    });
    let session = server.session(protocol);
    (server, session)
}

#[test]
fn a_reply_after_the_timeout_is_counted_and_dropped() {
    for protocol in BOTH {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let late = conn.call().unwrap();
            let second = conn.call().unwrap();
            conn.reply(&late.id, json!("late"));
            conn.reply(&second.id, json!("second"));
            conn.echo();
        });
        let session = server.session(protocol);
        let e = session.call_wait("slow", Args::new(), Some(Duration::from_millis(20))).unwrap_err();
        assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Timeout, Stage::Call, true));
        assert!(e.message().contains("the server may still execute it"), "{e}");
        assert_eq!(result(&call(&session).unwrap()).as_str(), Some("second"));
        let stats = session.stats();
        assert_eq!((stats.late_replies, stats.unknown_replies, stats.calls_in_flight), (1, 0, 0));
    }
}

#[test]
fn a_callback_gets_its_timeout_and_a_cancelled_call_its_cancellation_once() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        let ids = [conn.call().unwrap().id, conn.call().unwrap().id];
        let last = conn.call().unwrap();
        ids.iter().for_each(|id| conn.reply(id, json!("late")));
        conn.reply(&last.id, json!(null));
        conn.echo();
    });
    let session = server.session(Protocol::V2);
    let (send, receive) = mpsc::channel();
    let on = |send: Sender<Outcome>| move |outcome| send.send(outcome).unwrap();
    session.call("slow", Args::new(), Some(Duration::from_millis(20)), on(send.clone())).unwrap();
    let id = session.call("slow", Args::new(), None, on(send)).unwrap();
    assert!(session.cancel(id));
    assert!(!session.cancel(id), "over already");
    let mut codes = vec![];
    while codes.len() < 2 {
        assert_ne!(session.dispatch(10, Some(PATIENCE)).unwrap(), 0);
        codes.extend(receive.try_iter().map(|o| o.unwrap_err().code()));
    }
    assert_eq!(codes, [Code::Cancelled, Code::Timeout]);
    call(&session).unwrap();
    assert_eq!(session.stats().late_replies, 2);
    assert_eq!(session.dispatch(10, Some(Duration::ZERO)).unwrap(), 0, "one completion for each call");
}

#[test]
fn calls_without_a_timeout_have_that_of_the_session() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let mut held = Vec::new();
            while let Some(call) = conn.call() {
                match &*call.method {
                    "held" => held.push(call.id),
                    "go" => {
                        held.iter().for_each(|id| conn.reply(id, json!("held")));
                        conn.reply(&call.id, json!("gone"));
                    }
                    _ => {}
                }
            }
        });
        let mut config = server.config(protocol);
        config.call_timeout = Some(Duration::from_millis(20));
        config.delivery = Delivery::IoThread;
        let session = common::connected(config);
        let begin = |method: &str, timeout| {
            let (send, outcome) = mpsc::channel();
            session.call(method, Args::new(), timeout, move |o| send.send(o).unwrap()).unwrap();
            outcome
        };
        // Both calls outlive the default timeout.
        let (endless, own) = (begin("held", Some(Duration::MAX)), begin("held", Some(PATIENCE)));
        let late = begin("silent", None).recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!((late.code(), late.stage()), (Code::Timeout, Stage::Call), "{late}");
        let late = session.call_wait("silent", Args::new(), None).unwrap_err();
        assert_eq!(late.code(), Code::Timeout, "{late}");
        assert!(late.message().contains("20ms"), "{late}");
        let upload = Args::new().with(vec![1u8; 3 << 20]).unwrap();
        assert_eq!(session.call_wait("silent", upload, None).unwrap_err().code(), Code::Timeout);
        assert_eq!(result(&session.call_wait("go", Args::new(), Some(Duration::MAX)).unwrap()).as_str(), Some("gone"));
        for outcome in [endless, own] {
            assert_eq!(result(&outcome.recv_timeout(PATIENCE).unwrap().unwrap()).as_str(), Some("held"));
        }
    }
}

#[test]
fn a_second_reply_and_replies_to_nothing_change_nothing() {
    for protocol in BOTH {
        let (_server, session) = answering(protocol, |conn, id| {
            let (prefix, number) = id.rsplit_once(':').unwrap();
            let next = number.parse::<u64>().unwrap() + 1;
            for unknown in ["", "anything", "rpc:other:5", "system:c0:0", &format!("{prefix}:{next}"), "rpc:", prefix] {
                conn.reply(unknown, json!("for nobody"));
            }
            conn.reply(id, json!("first"));
            conn.reply(id, json!("second"));
        });
        assert_eq!(result(&call(&session).unwrap()).as_str(), Some("first"));
        assert_eq!(result(&call(&session).unwrap()).len(), 0, "the echo of no arguments");
        let stats = session.stats();
        assert_eq!((stats.late_replies, stats.unknown_replies), (1, 7));
        assert_eq!(session.state(), State::Ready);
    }
}

#[test]
fn ids_are_unique_strings_and_a_relay_that_hands_the_client_id_on_cannot_confuse_them() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ids);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        while let Some(call) = conn.call() {
            seen.lock().unwrap().push(call.id.clone());
            conn.reply(&call.id, json!(null));
        }
    });
    for _ in 0..3 {
        let session = server.session(Protocol::V2);
        (0..3).for_each(|_| assert!(call(&session).is_ok()));
        session.close_wait(PATIENCE).unwrap();
        session.connect_wait().unwrap();
        call(&session).unwrap();
    }
    let mut ids = ids.lock().unwrap().clone();
    assert!(ids.iter().all(|id| id.starts_with("rpc:c0123456789abcdef0123456789abcdef:")), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 12);
}

#[test]
fn a_publication_that_the_server_could_not_make_is_reported_to_its_subscriber() {
    for protocol in BOTH {
        let (_server, session) = answering(protocol, |conn, id| {
            conn.error("publish:a:topic:0", -32002, "Method result cannot be serialized");
            conn.publish("a:topic", json!({"fine": true}));
            conn.reply(id, json!(null));
        });
        let (send, receive) = mpsc::channel();
        session.subscribe("a:topic", Policy::default(), move |p| {
            send.send(
                p.outcome.as_ref().map(|d| result(d).get("fine").is_some()).map_err(|e| e.remote().unwrap().code),
            )
            .unwrap();
        });
        call(&session).unwrap();
        while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
        assert_eq!(receive.try_iter().collect::<Vec<_>>(), [Err(-32002), Ok(true)]);
    }
}

/// `n` calls in flight, with the channel of their outcomes.
fn in_flight(session: &Session, n: usize) -> Receiver<(usize, Outcome)> {
    let (send, receive) = mpsc::channel();
    for i in 0..n {
        let send = send.clone();
        session.call("never.answered", Args::new(), None, move |o| send.send((i, o)).unwrap()).unwrap();
    }
    receive
}

#[test]
fn the_end_of_tcp_fails_every_call_in_flight_at_once() {
    for (protocol, reset) in [(Protocol::V1, false), (Protocol::V2, false), (Protocol::V2, true)] {
        let server = ScriptedServer::start(move |conn, number| {
            conn.hello(protocol);
            if number == 1 {
                (0..5).for_each(|_| assert!(conn.call().is_some()));
                if reset {
                    conn.reset_at_end();
                }
                return;
            }
            conn.echo();
        });
        let session = server.session(protocol);
        let outcomes = in_flight(&session, 5);
        dispatch_until(&session, State::Closed);
        let outcomes: Vec<_> = outcomes.try_iter().collect();
        assert_eq!(outcomes.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for (_, outcome) in outcomes {
            let e = outcome.unwrap_err();
            assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::ConnectionLost, Stage::Session, true));
        }
        assert_eq!(session.failure().unwrap().code(), Code::ConnectionLost);
        assert_eq!(session.stats().calls_in_flight, 0);
        assert_eq!(call(&session).unwrap_err().code(), Code::Closed);
        session.connect_wait().unwrap();
        call(&session).unwrap();
    }
}

#[test]
fn the_end_of_tcp_is_seen_when_it_comes_together_with_the_last_message() {
    let (ended, wait_ended) = mpsc::channel();
    let (go, wait_go) = mpsc::channel();
    let (ended, wait_go) = (Mutex::new(ended), Mutex::new(wait_go));
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        conn.publish("first", json!(1));
        wait_go.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        // A callback blocks the client's I/O thread, so all of this has arrived when the thread reads again.
        conn.publish("second", json!(1));
        conn.cut();
        ended.lock().unwrap().send(()).unwrap();
    });
    let mut config = server.config(Protocol::V2);
    config.delivery = Delivery::IoThread;
    let (closed, wait_closed) = mpsc::channel();
    config.on_state(move |change| {
        if change.state == State::Closed {
            closed.send(change.error.as_ref().map(wslink::Error::code)).unwrap();
        }
    });
    let session = Session::new(config).unwrap();
    let (wait_ended, seen) = (Mutex::new(wait_ended), Arc::new(AtomicUsize::new(0)));
    session.subscribe("first", Policy::default(), move |_| {
        go.send(()).unwrap();
        wait_ended.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let count = Arc::clone(&seen);
    session.subscribe("second", Policy::default(), move |_| _ = count.fetch_add(1, SeqCst));
    session.connect().unwrap();
    assert_eq!(wait_closed.recv_timeout(PATIENCE).unwrap(), Some(Code::ConnectionLost));
    assert_eq!(seen.load(SeqCst), 1);
}

#[test]
fn nothing_after_a_close_frame_is_read() {
    // wslink's relay writes an HTTP response into the WebSocket when its server has ended.
    for protocol in BOTH {
        let (_server, session) = answering(protocol, |conn, id| {
            let reply = json!({"wslink": "1.0", "id": id, "result": "after the close"});
            let mut bytes = Conn::frame_bytes(FIN | CLOSE, &[3, 0xe8]);
            bytes.extend(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nText");
            bytes.extend(Conn::frame_bytes(FIN | TEXT, reply.to_string().as_bytes()));
            conn.raw(bytes);
            assert_eq!(conn.frame(), Frame::Close(Some(1000)));
            assert_eq!(conn.frame(), Frame::End);
        });
        let e = call(&session).unwrap_err();
        assert_eq!(e.code(), Code::ConnectionLost);
        assert!(e.message().contains("closed the connection (1000"), "{e}");
        dispatch_until(&session, State::Closed);
        let stats = session.stats();
        assert_eq!((stats.malformed, stats.unknown_replies, stats.late_replies), (0, 0, 0));
    }
}

#[test]
fn the_close_code_of_the_server_is_reported() {
    for (code, reason) in [(1001, "Server shutdown"), (1009, ""), (1011, "oh"), (4321, "own")] {
        let (_server, session) = answering(Protocol::V2, move |conn, _| {
            conn.close(code, reason);
            assert_eq!(conn.frame(), Frame::Close(Some(code)));
        });
        let e = call(&session).unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::ConnectionLost, Stage::Session));
        assert!(e.message().contains(&code.to_string()) && e.message().contains(reason), "{e}");
    }
}

#[test]
fn a_close_code_is_read_while_a_large_message_is_being_sent() {
    // A server that refuses a large message stops reading while the client still writes.
    let (told, wait_told) = mpsc::channel();
    let wait_told = Mutex::new(wait_told);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        assert!(matches!(conn.frame(), Frame::Binary(_)), "the first chunk");
        conn.close(1009, "too big");
        wait_told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let session = server.session(Protocol::V2);
    let e = session.call_wait("upload", Args::new().with(vec![7u8; 40 << 20]).unwrap(), Some(PATIENCE)).unwrap_err();
    assert!(
        e.code() == Code::ConnectionLost && e.message().contains("(1009, a message is too big for it, \"too big\")"),
        "{e}"
    );
    dispatch_until(&session, State::Closed);
    told.send(()).unwrap();
}

#[test]
fn fragments_with_pings_between_are_one_message() {
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7) as u8).collect();
    let expected = data.clone();
    for protocol in BOTH {
        let data = data.clone();
        let (_server, session) = answering(protocol, move |conn, id| {
            let pings = |conn: &mut Conn| {
                conn.ping_and_wait(b"are you there?");
                conn.ping_and_wait(&[]);
                conn.ping_and_wait(&[0xff; 125]);
            };
            let parts: Vec<&[u8]> = vec![&data[..1], &[], &data[1..1_000_000], &data[1_000_000..]];
            if protocol == Protocol::V1 {
                conn.text(r#"{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["wslink_bin5"]}"#);
                conn.fragments(BINARY, &parts, pings);
                let reply = format!(r#"{{"wslink": "1.0", "id": "{id}", "result": ["é", "wslink_bin5"]}}"#);
                // Also splits the two bytes of é.
                let cut = reply.find('é').unwrap() + 1;
                let (a, b) = reply.as_bytes().split_at(cut);
                conn.fragments(TEXT, &[&a[..3], &a[3..], b], pings);
            } else {
                let hex = data_encoding::HEXLOWER.encode(&data);
                let bytes = pack(&json!({"wslink": "1.0", "id": id, "result": ["é", {"$bytes": hex}]}));
                let whole = chunk(9, 0, bytes.len() as u32, &bytes);
                conn.fragments(BINARY, &[&whole[..5], &whole[5..12], &whole[12..500_000], &whole[500_000..]], pings);
            }
        });
        let reply = call(&session).unwrap();
        assert_eq!(result(&reply).index(0).unwrap().as_str(), Some("é"));
        assert!(result(&reply).index(1).unwrap().as_bytes() == Some(&expected[..]));
    }
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_read() {
    let (_server, session) = answering(Protocol::V2, |conn, id| {
        let bytes = pack(&json!({"wslink": "1.0", "id": id, "result": "x".repeat(300)}));
        for byte in Conn::frame_bytes(FIN | BINARY, &chunk(1, 0, bytes.len() as u32, &bytes)) {
            conn.raw([byte]);
        }
    });
    assert_eq!(result(&call(&session).unwrap()).len(), 300);
}

#[test]
fn pings_are_answered_while_the_application_is_busy_in_a_callback() {
    let (pings_done, wait_for_pings) = mpsc::channel();
    let pings_done = Mutex::new(pings_done);
    let (_server, session) = answering(Protocol::V2, move |conn, id| {
        conn.publish("busy", json!(1));
        // The application is in the callback of this publication, or has not received it yet.
        (0..20).for_each(|i| conn.ping_and_wait(&[i]));
        pings_done.lock().unwrap().send(()).unwrap();
        conn.reply(id, json!("done"));
    });
    let wait_for_pings = Mutex::new(wait_for_pings);
    session.subscribe("busy", Policy::default(), move |_| {
        wait_for_pings.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let (send, receive) = mpsc::channel();
    session.call("m", Args::new(), None, move |o| send.send(o.is_ok()).unwrap()).unwrap();
    while receive.try_recv() != Ok(true) {
        assert_ne!(session.dispatch(1, Some(PATIENCE)).unwrap(), 0);
    }
}

#[test]
fn pings_are_answered_between_the_chunks_of_an_upload() {
    let (_server, session) = answering(Protocol::V2, |conn, id| {
        let id = id.to_owned();
        conn.send(FIN | PING, b"in between");
        let (mut pong, mut data, mut data_after_pong) = (false, 0, 0);
        while data < 40 << 20 {
            match conn.frame() {
                Frame::Pong(payload) => pong = payload == b"in between",
                Frame::Binary(chunk) => {
                    data += chunk.len();
                    data_after_pong += if pong { chunk.len() } else { 0 };
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(data_after_pong > 0, "the pong waited for the whole upload");
        conn.reply(&id, json!(null));
    });
    let (send, receive) = mpsc::channel();
    session.call("first", Args::new(), None, move |o| send.send(o.is_ok()).unwrap()).unwrap();
    session.call("upload", Args::new().with(vec![1u8; 40 << 20]).unwrap(), None, |_| {}).unwrap();
    while receive.try_recv() != Ok(true) {
        assert_ne!(session.dispatch(1, Some(PATIENCE)).unwrap(), 0);
    }
}

#[test]
fn an_application_that_never_dispatches_loses_publications_but_no_completion() {
    const PUBLISHED: u64 = 2000;
    for protocol in BOTH {
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            let ids: Vec<_> = (0..501).map(|_| conn.call().unwrap().id).collect();
            for i in 0..PUBLISHED {
                for topic in ["all", "last", "one", "nobody's"] {
                    conn.publish(topic, json!({"i": i, "padding": "x".repeat(500)}));
                }
            }
            ids.iter().for_each(|id| conn.reply(id, json!(null)));
            conn.echo();
        });
        let session = server.session(protocol);
        let (send, receive) = mpsc::channel();
        let subscribe = |topic: &'static str, policy| {
            let send = send.clone();
            session.subscribe(topic, policy, move |p| {
                let i = result(p.outcome.as_ref().unwrap()).get("i").unwrap().as_u64().unwrap();
                send.send((topic, i)).unwrap();
            })
        };
        let all = subscribe("all", Policy::All(10));
        let last = subscribe("last", Policy::Last(3));
        let one = subscribe("one", Policy::Last(1));
        let outcomes = in_flight(&session, 500);
        // Waits without dispatching, until everything that the server sent has been read.
        call(&session).unwrap();
        while session.dispatch(usize::MAX, Some(Duration::ZERO)).unwrap() > 0 {}
        assert_eq!(outcomes.try_iter().filter(|(_, o)| o.is_ok()).count(), 500);
        let got: Vec<_> = receive.try_iter().collect();
        let of = |t| got.iter().filter(|(topic, _)| *topic == t).map(|(_, i)| *i).collect::<Vec<_>>();
        assert_eq!(of("all"), (0..10).collect::<Vec<_>>());
        assert_eq!(of("last"), (PUBLISHED - 3..PUBLISHED).collect::<Vec<_>>());
        assert_eq!(of("one"), [PUBLISHED - 1]);
        assert_eq!(session.subscription_counts(all).unwrap(), (10, PUBLISHED - 10));
        assert_eq!(session.subscription_counts(last).unwrap(), (3, PUBLISHED - 3));
        assert_eq!(session.subscription_counts(one).unwrap(), (1, PUBLISHED - 1));
        assert_eq!(session.stats().unsubscribed, PUBLISHED);
    }
}

#[test]
fn the_bytes_of_waiting_publications_are_bounded_over_all_subscriptions() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        let call = conn.call().unwrap();
        for i in 0..100 {
            conn.publish(if i % 2 == 0 { "even" } else { "odd" }, json!("x".repeat(1000)));
        }
        conn.reply(&call.id, json!(null));
        conn.echo();
    });
    let mut config = server.config(Protocol::V2);
    config.queue_bytes = 10_500;
    let session = common::connected(config);
    let even = session.subscribe("even", Policy::default(), |_| {});
    let odd = session.subscribe("odd", Policy::Last(1000), |_| {});
    call(&session).unwrap();
    while session.dispatch(usize::MAX, Some(Duration::ZERO)).unwrap() > 0 {}
    let (even, odd) = (session.subscription_counts(even).unwrap(), session.subscription_counts(odd).unwrap());
    assert_eq!((even.0 + even.1, odd.0 + odd.1), (50, 50), "each one is delivered or counted as dropped");
    assert!((8..=10).contains(&(even.0 + odd.0)), "{even:?} {odd:?}");
}

#[test]
fn chunks_may_be_interleaved_and_out_of_order() {
    let (_server, session) = answering(Protocol::V2, |conn, id| {
        let a = pack(&json!({"wslink": "1.0", "id": id, "result": "a".repeat(1000)}));
        let b = pack(&json!({"wslink": "1.0", "id": "publish:t:0", "result": "b".repeat(999)}));
        let (ta, tb) = (a.len() as u32, b.len() as u32);
        conn.chunk(1, 700, ta, &a[700..]);
        conn.chunk(2, 0, tb, &b[..10]);
        conn.chunk(1, 300, ta, &a[300..600]);
        conn.chunk(2, 10, tb, &[]);
        conn.chunk(1, 0, ta, &a[..300]);
        conn.chunk(2, 10, tb, &b[10..]);
        conn.chunk(1, 600, ta, &a[600..700]);
        // The id may be used again.
        let c = pack(&json!({"wslink": "1.0", "id": "publish:t:0", "result": "c"}));
        conn.chunk(1, 0, c.len() as u32, &c);
    });
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        send.send(result(p.outcome.as_ref().unwrap()).as_str().unwrap().to_owned()).unwrap();
    });
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some(&*"a".repeat(1000)));
    call(&session).unwrap();
    while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
    assert_eq!(receive.try_iter().collect::<Vec<_>>(), ["b".repeat(999), "c".into()]);
}

#[test]
fn attachments_may_come_early_be_shared_be_kept_and_be_empty() {
    let (_server, session) = answering(Protocol::V1, |conn, id| {
        // Announced together, sent in order, with another message between (servers before 1.0.5).
        conn.text(r#"{"wslink":"1.0","method":"wslink.binary.attachment","args":["wslink_bin1","wslink_bin10"]}"#);
        conn.binary(b"one");
        conn.publish("t", json!({"shared": "wslink_bin1"}));
        conn.binary(b"ten");
        conn.attach("wslink_bin2", b"");
        conn.reply("nobody's", json!("wslink_bin10"));
        conn.error("nobody's", -32001, "an error forgets nothing");
        conn.reply(
            id,
            json!(["wslink_bin10", "wslink_bin1", "wslink_bin2", "wslink_bin3", {"wslink_bin1": "x wslink_bin1"}]),
        );
        let next = conn.call().unwrap();
        conn.reply(&next.id, json!("wslink_bin1"));
    });
    let (send, receive) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        let value = result(p.outcome.as_ref().unwrap()).get("shared").unwrap();
        send.send(value.as_bytes().map(<[u8]>::to_vec)).unwrap();
    });
    let reply = call(&session).unwrap();
    let v: Vec<_> = result(&reply).elements().collect();
    assert_eq!(v[0].as_bytes(), Some(&b"ten"[..]));
    assert_eq!(v[1].as_bytes(), Some(&b"one"[..]));
    assert_eq!(v[2].as_bytes(), Some(&b""[..]));
    assert_eq!(v[3].as_str(), Some("wslink_bin3"), "never announced");
    assert_eq!(v[4].get("wslink_bin1").unwrap().as_str(), Some("x wslink_bin1"), "a key of a map, part of a text");
    assert_eq!(result(&call(&session).unwrap()).as_bytes(), Some(&b"one"[..]), "kept by the server's application");
    while session.dispatch(10, Some(Duration::ZERO)).unwrap() > 0 {}
    assert_eq!(receive.try_iter().collect::<Vec<_>>(), [Some(b"one".to_vec())]);
}

#[test]
fn a_key_that_is_announced_again_brings_new_data() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V1);
        for data in [&b"old"[..], b"new"] {
            conn.attach("wslink_bin1", data);
            conn.publish("t", json!("wslink_bin1"));
        }
        conn.text(r#"{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["wslink_bin1", "wslink_bin2"]}"#);
        conn.binary(b"newer");
        conn.binary(b"other");
        conn.publish("t", json!("wslink_bin2"));
        conn.until_end();
    });
    let mut config = server.config(Protocol::V1);
    config.delivery = Delivery::IoThread;
    let session = Session::new(config).unwrap();
    let (send, got) = mpsc::channel();
    session.subscribe("t", Policy::default(), move |p| {
        send.send(result(p.outcome.as_ref().unwrap()).as_bytes().map(<[u8]>::to_vec)).unwrap();
    });
    session.connect_wait().unwrap();
    let all: Vec<_> =
        (0..3).map(|_| got.recv_timeout(PATIENCE).unwrap().map(|b| String::from_utf8(b).unwrap())).collect();
    assert_eq!(all, [Some("old".into()), Some("new".into()), Some("other".into())]);
    assert_eq!(session.stats().malformed, 0);
}

#[test]
fn attachments_end_with_their_connection() {
    let server = ScriptedServer::start(|conn, number| {
        conn.hello(Protocol::V1);
        while let Some(call) = conn.call() {
            if number == 1 {
                conn.attach("wslink_bin0", b"of the first");
            }
            conn.reply(&call.id, json!("wslink_bin0"));
        }
    });
    let session = server.session(Protocol::V1);
    assert_eq!(result(&call(&session).unwrap()).as_bytes(), Some(&b"of the first"[..]));
    session.close_wait(PATIENCE).unwrap();
    session.connect_wait().unwrap();
    assert_eq!(result(&call(&session).unwrap()).as_str(), Some("wslink_bin0"));
}

#[test]
fn progress_reports_the_end_of_large_messages() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V1);
        let call = conn.call().unwrap();
        conn.text(r#"{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["a", "b", "c", "d"]}"#);
        let attachments = [300_000, 10, 300_000, 10].map(|size| Conn::frame_bytes(FIN | BINARY, &vec![7; size]));
        conn.raw(attachments.concat());
        conn.reply(&call.id, json!(["a", "b", "c", "d"]));
        conn.echo();
    });
    let mut config = server.config(Protocol::V1);
    config.delivery = Delivery::IoThread;
    let (send, told) = mpsc::channel();
    config.on_progress(move |p| send.send(*p).unwrap());
    let session = common::connected(config);
    assert_eq!(result(&call(&session).unwrap()).len(), 4);
    session.close_wait(PATIENCE).unwrap();
    drop(session);
    let ends: Vec<_> = told.try_iter().filter(|p| p.bytes == p.total).collect();
    assert_eq!(ends.iter().map(|p| p.total).collect::<Vec<_>>(), [300_000, 300_000]);
    assert_ne!(ends[0].transfer, ends[1].transfer);
}
