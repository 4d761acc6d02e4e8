//! How the library uses TCP to detect a dead connection while the heartbeat pauses, and that it does not take a living server for a
//! dead one. tests/network.rs has the cut cables.
#![cfg(target_os = "linux")]

mod common;

use common::scripted::ScriptedServer;
use common::{PATIENCE, eventually};
use serde_json::json;
use socket2::SockRef;
use std::os::fd::BorrowedFd;
use std::sync::mpsc;
use std::time::Duration;
use wslink::{Args, Delivery, Protocol, Session, State};

/// Calls `f` with the socket of this process that is connected to a port.
fn with_socket_to<R>(port: u16, look: impl Fn(SockRef<'_>) -> R) -> R {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let fd = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // SAFETY: the descriptor is only read, while the session that owns it is alive. Descriptors of other
        // tests of this process may be closed meanwhile, and then answer with an error.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = SockRef::from(&socket);
        if socket.peer_addr().is_ok_and(|a| a.as_socket().is_some_and(|a| a.port() == port)) {
            return look(socket);
        }
    }
    panic!("no socket is connected to port {port}");
}

#[test]
fn the_system_probes_a_connection_as_often_as_the_heartbeat_says() {
    for (heartbeat, expected) in [
        (None, None),
        (Some(Duration::from_millis(300)), Some((1, 1))),
        (Some(Duration::from_secs(30)), Some((30, 10))),
        (Some(Duration::from_secs(1_000_000)), Some((32_767, 32_767))),
    ] {
        let server = ScriptedServer::start(|conn, _| {
            conn.hello(Protocol::V2);
            conn.until_end();
        });
        let mut config = server.config(Protocol::V2);
        config.session.heartbeat = heartbeat;
        let _session = common::connected(config);
        let found = with_socket_to(server.port(), |socket| {
            let seconds = |time: std::io::Result<Duration>| time.unwrap().as_secs();
            // TCP_USER_TIMEOUT would also end connections to a living server that does not read.
            assert_eq!(socket.tcp_user_timeout().unwrap(), None);
            let on = socket.keepalive().unwrap();
            on.then(|| {
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
                (seconds(socket.tcp_keepalive_time()), seconds(socket.tcp_keepalive_interval()))
            })
        });
        assert_eq!(found, expected, "{heartbeat:?}");
    }
}

#[test]
fn a_server_that_does_not_read_for_long_keeps_its_session() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let (read_on, stopped) = mpsc::channel::<()>();
        let stopped = std::sync::Mutex::new(stopped);
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            stopped.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            let call = conn.call().unwrap();
            conn.reply(&call.id, json!("done"));
            conn.until_end();
        });
        let mut config = server.config(protocol);
        config.delivery = Delivery::IoThread;
        config.session.heartbeat = Some(Duration::from_millis(300));
        config.session.v1_upload_limit = u64::MAX;
        let (send, states) = mpsc::channel();
        config.on_state(move |change| send.send(change.state).unwrap());
        let session = Session::new(config).unwrap();
        session.connect_wait().unwrap();
        let before = session.stats().bytes_out;
        let mut args = Args::new();
        let key = args.attach(vec![7; 32 << 20]);
        args.add_json(&format!("[{key:?}]")).unwrap();
        let (send, outcome) = mpsc::channel();
        session.call("upload", args, None, move |o| send.send(o).unwrap()).unwrap();
        eventually(|| session.stats().bytes_out > before + 100_000);
        // The wait below lasts many times as long as the detection of a dead server.
        assert!(outcome.recv_timeout(Duration::from_secs(4)).is_err(), "the call is over");
        assert!(session.stats().bytes_out < 32 << 20, "the window of the server is open");
        read_on.send(()).unwrap();
        outcome.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(states.try_iter().collect::<Vec<_>>(), [State::Connecting, State::Ready]);
    }
}
