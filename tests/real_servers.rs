//! Against real wslink servers of both generations, from PyPI.

mod common;

use common::{PATIENCE, Server, VERSIONS, connected, pattern};
use std::sync::mpsc;
use wslink::{Args, Code, Config, Policy, Protocol, Session, State, result};

fn for_each_version(test: impl Fn(&str, &Session)) {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let session = server.session();
        test(version, &session);
        session.close_wait(PATIENCE).unwrap();
        assert_eq!(session.state(), State::Closed);
    }
}

#[test]
fn detection_finds_the_generation_and_calls_work() {
    for_each_version(|version, session| {
        let peer = session.peer();
        assert_eq!(peer.protocol, Some(if version == "v1" { Protocol::V1 } else { Protocol::V2 }));
        assert_eq!(peer.max_msg_size, (version != "v1").then_some(4_194_304));
        let sum = session.call_wait("myprotocol.add", Args::from_json("[[1, 2, 3]]").unwrap(), Some(PATIENCE)).unwrap();
        assert_eq!(result(&sum).as_i64(), Some(6));
        let e = session.call_wait("no.such.method", Args::new(), Some(PATIENCE)).unwrap_err();
        assert_eq!((e.code(), e.remote().unwrap().code), (Code::Remote, -32601));
    });
}

#[test]
fn large_attachments_come_whole() {
    for_each_version(|_, session| {
        for size in [0, 1, 1000, 70_000, 5_000_000, 40_000_000] {
            let args = Args::new().with(size).unwrap().with(3i64).unwrap();
            let reply = session.call_wait("test.bytes", args, Some(PATIENCE)).unwrap();
            assert!(result(&reply).as_bytes() == Some(&pattern(size as usize, 3)[..]), "{size}");
        }
    });
}

#[test]
fn publications_reach_their_subscribers() {
    for_each_version(|_, session| {
        let (send, receive) = mpsc::channel();
        for topic in ["a.topic", "", "with:colons:and spaces é"] {
            let send = send.clone();
            session.subscribe(topic, Policy::default(), move |p| {
                let value = result(p.outcome.as_ref().unwrap());
                send.send((p.topic.to_owned(), value.get("i").unwrap().as_i64().unwrap())).unwrap();
            });
        }
        for topic in ["a.topic", "", "with:colons:and spaces é", "nobody's"] {
            let args = Args::new().with(topic).unwrap().with(3i64).unwrap();
            session.call_wait("test.publish", args, Some(PATIENCE)).unwrap();
        }
        let mut got = Vec::new();
        while got.len() < 9 {
            session.dispatch(100, Some(PATIENCE)).unwrap();
            got.extend(receive.try_iter());
        }
        assert_eq!(got[0], ("a.topic".to_owned(), 0));
        assert_eq!(got[5], (String::new(), 2));
        assert_eq!(got[8], ("with:colons:and spaces é".to_owned(), 2));
    });
}

#[test]
fn a_killed_server_ends_every_pending_call_at_once() {
    for version in VERSIONS {
        let mut server = Server::start(version, &[]);
        let session = connected(Config::new(&server.url()).unwrap());
        let (send, receive) = mpsc::channel();
        for _ in 0..3 {
            let send = send.clone();
            session.call("test.sleep", Args::from_json("[60]").unwrap(), None, move |o| send.send(o).unwrap()).unwrap();
        }
        session
            .call_wait("test.sleep", Args::from_json("[0]").unwrap(), Some(std::time::Duration::from_millis(50)))
            .unwrap_err();
        server.kill();
        while session.state() != State::Closed {
            session.dispatch(10, Some(PATIENCE)).unwrap();
        }
        while session.dispatch(10, Some(std::time::Duration::ZERO)).unwrap() > 0 {}
        let outcomes: Vec<_> = receive.try_iter().collect();
        assert_eq!(outcomes.len(), 3);
        assert!(outcomes.iter().all(|o| o.as_ref().unwrap_err().code() == Code::ConnectionLost));
    }
}
