//! Connecting: addresses, timeouts of each stage, giving up. And how real servers end a session.

mod common;

use common::scripted::{Conn, FIN, Frame, PING, ScriptedServer};
use common::{PATIENCE, Server, VERSIONS};
use std::io::Read;
use std::net::ToSocketAddrs;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wslink::{Args, Code, Config, Protocol, Session, Stage, State, result};

#[test]
fn every_address_of_a_host_name_is_tried() {
    let addresses: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().map(|a| a.ip()).collect();
    for ip in &addresses {
        let server = ScriptedServer::start_at(*ip, |conn, _| {
            conn.hello(Protocol::V2);
            conn.echo();
        });
        let mut config = Config::new(&format!("ws://localhost:{}/ws", server.port())).unwrap();
        config.session.protocol = Some(Protocol::V2);
        let session = common::connected(config);
        session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
        assert_eq!(session.peer_addr().unwrap().ip(), *ip);
    }
    let port = common::port_of_its_own();
    let session = Session::new(Config::new(&format!("ws://localhost:{port}/ws")).unwrap()).unwrap();
    let e = session.connect_wait().unwrap_err();
    assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Connect, Stage::Connect, true));
    for ip in addresses {
        assert!(e.message().contains(&ip.to_string()), "{e} does not name {ip}");
    }
    assert!(e.message().contains("is the server running?"), "{e}");
}

#[test]
fn a_host_name_without_address_says_so() {
    let session = Session::new(Config::new("ws://no-such-host.invalid:1/ws").unwrap()).unwrap();
    let e = session.connect_wait().unwrap_err();
    assert_eq!((e.code(), e.stage()), (Code::Resolve, Stage::Resolve));
    assert!(e.message().contains("no-such-host.invalid"), "{e}");
}

/// Connects with a short timeout and returns the error.
fn too_slow(mut config: Config) -> wslink::Error {
    config.set_connect_timeout(Duration::from_millis(300)).unwrap();
    let session = Session::new(config).unwrap();
    let e = session.connect_wait().unwrap_err();
    assert_eq!((e.code(), e.is_retriable()), (Code::Timeout, true), "{e}");
    assert!(e.message().contains("300ms"), "{e}");
    assert_eq!(session.state(), State::Closed);
    e
}

#[test]
fn a_connect_that_takes_too_long_names_the_stage() {
    let silent = ScriptedServer::start(|conn, _| conn.until_silence_ends());
    let e = too_slow(silent.config(None));
    assert_eq!(e.stage(), Stage::Upgrade, "{e}");
    let e = too_slow(Config::new(&silent.url().replace("ws://", "wss://")).unwrap());
    assert_eq!(e.stage(), Stage::Tls, "{e}");
    let mut config = Config::new("ws://127.0.0.1:9/ws").unwrap();
    config.set_proxy(Some(&format!("http://127.0.0.1:{}", silent.port()))).unwrap();
    assert_eq!(too_slow(config).stage(), Stage::Proxy);

    let half_an_answer = ScriptedServer::start(|conn, _| {
        conn.respond("HTTP/1.1 101 Switching Protocols\r\n");
        conn.until_silence_ends();
    });
    assert_eq!(too_slow(half_an_answer.config(None)).stage(), Stage::Upgrade);

    // First a server without pongs, then one that sends only pongs.
    for pongs in [false, true] {
        let mute = ScriptedServer::start(move |conn, _| {
            conn.accept();
            while pongs && conn.call().is_some() {}
            conn.until_end();
        });
        for protocol in [None, Some(Protocol::V1), Some(Protocol::V2)] {
            let e = too_slow(mute.config(protocol));
            assert_eq!(e.stage(), Stage::Hello, "{e}");
            assert!(e.message().contains("connect_timeout"), "{e}");
        }
    }
}

#[test]
fn a_host_that_does_not_answer_tcp_times_out_in_that_stage() {
    // The backlog of this listener is full: further connections wait for ever.
    use socket2::{Domain, SockAddr, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::from("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap())).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let fillers: Vec<_> = (0..16)
        .map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address);
            filler
        })
        .collect();
    let port = address.as_socket().unwrap().port();
    let e = too_slow(Config::new(&format!("ws://127.0.0.1:{port}/ws")).unwrap());
    assert_eq!(e.stage(), Stage::Connect, "{e}");
    drop(fillers);
}

impl Conn {
    /// Does not answer until the client has left.
    fn until_silence_ends(&mut self) {
        let mut bytes = [0; 4096];
        while self.stream().read(&mut bytes).is_ok_and(|n| n > 0) {}
    }
}

/// The response, the frames and the end arrive in one segment. The system signals them once, and they are more than one read takes.
#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_ends_with_the_upgrade_response_is_detected() {
    let server = ScriptedServer::start(|conn, _| {
        conn.head();
        socket2::SockRef::from(conn.stream()).set_tcp_cork(true).unwrap();
        let answer = conn.switching();
        conn.raw(answer);
        conn.raw(Conn::frame_bytes(FIN | PING, &[7; 125]).repeat(100));
        conn.stream().shutdown(std::net::Shutdown::Write).unwrap();
        conn.until_silence_ends();
    });
    for protocol in [None, Some(Protocol::V1)] {
        let e = Session::new(server.config(protocol)).unwrap().connect_wait().unwrap_err();
        assert_eq!((e.code(), e.stage()), (Code::Hello, Stage::Hello), "{e}");
    }
}

#[test]
fn a_session_may_be_dropped_while_it_connects() {
    let reached = Arc::new((Mutex::new(0), std::sync::Condvar::new()));
    let signal = Arc::clone(&reached);
    let server = ScriptedServer::start(move |conn, number| {
        // During the upgrade, and during the hello.
        conn.head();
        if number == 2 {
            let answer = conn.switching();
            conn.raw(answer);
            assert!(matches!(conn.frame(), Frame::Binary(_)));
        }
        *signal.0.lock().unwrap() += 1;
        signal.1.notify_all();
        conn.until_silence_ends();
    });
    for number in 1..=2 {
        let session = Session::new(server.config(None)).unwrap();
        session.connect().unwrap();
        let (count, timeout) =
            reached.1.wait_timeout_while(reached.0.lock().unwrap(), PATIENCE, |count| *count < number).unwrap();
        assert!(!timeout.timed_out());
        drop(count);
        drop(session);
    }
    assert_eq!(server.accepted(), 2);
}

#[test]
fn a_wrong_path_at_a_real_server_is_told_with_the_status() {
    for version in VERSIONS {
        let server = Server::start(version, &["--ws-endpoint", "a/b"]);
        for (path, status) in [("ws", Some(404)), ("a/b/", Some(404)), ("A/b", Some(404)), ("a/b?sessionId=1", None)] {
            let url = server.url().replace("/ws", &format!("/{path}"));
            let session = Session::new(Config::new(&url).unwrap()).unwrap();
            let outcome = session.connect_wait();
            assert_eq!(
                outcome.as_ref().err().map(|e| (e.code(), e.http_status())),
                status.map(|s| (Code::Upgrade, Some(s)))
            );
        }
    }
}

#[test]
fn the_exit_of_a_real_server_is_answered_and_then_ends_every_session() {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let (session, other) = (server.session(), server.session());
        let reply = session.call_wait("application.exit", Args::new(), Some(PATIENCE)).unwrap();
        assert!(result(&reply).is_null());
        for session in [session, other] {
            while session.state() != State::Closed {
                assert_ne!(session.dispatch(10, Some(PATIENCE)).unwrap(), 0);
            }
            let e = session.failure().unwrap();
            assert_eq!((e.code(), e.stage()), (Code::ConnectionLost, Stage::Session), "{version}: {e}");
            assert!(e.message().contains("(1001, the server goes away, \"Server shutdown\")"), "{version}: {e}");
        }
    }
}

#[test]
fn the_heartbeat_of_a_real_server_finds_a_silent_client_alive() {
    for version in VERSIONS {
        // This server ends connections that do not answer a ping within half a second.
        let server = Server::start(version, &["--heartbeat", "1"]);
        let (busy, idle) = (server.session(), server.session());
        busy.call_wait("test.sleep", Args::from_json("[2.7]").unwrap(), Some(PATIENCE)).unwrap();
        // Neither session has dispatched anything.
        for session in [busy, idle] {
            assert_eq!(session.state(), State::Ready, "{version}");
            session.call_wait("myprotocol.add", Args::from_json("[[1, 2]]").unwrap(), Some(PATIENCE)).unwrap();
        }
    }
}
