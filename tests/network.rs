//! A network that fails silently, for a short or a long time, and a slow network. The server is in a separate network namespace, at
//! the other end of a virtual cable. The tests need `ip` and `tc` (iproute2) and superuser rights, so they run only
//! on request:
//!
//!     cargo test --test network
#![cfg(target_os = "linux")]

mod common;

use common::{PATIENCE, eventually, pattern};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wslink::Reconnect;
use wslink::{Args, Code, Config, Delivery, Policy, Session, State, result};

/// Tests run one at a time, because they share one cable.
static ALONE: Mutex<()> = Mutex::new(());

const HERE: &str = "10.213.77.1";
const THERE: &str = "10.213.77.2";

fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap_or_else(|e| panic!("{command}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {text}(this test needs iproute2 and the rights of the superuser)");
}

/// A network namespace with a server.
struct Island {
    name: String,
    cable: String,
    server: Child,
    port: u16,
}

impl Island {
    fn new(version: &str) -> Island {
        let (name, cable) = (format!("wslink-{}", std::process::id()), format!("wsl{}", std::process::id()));
        let inside = format!("ip netns exec {name}");
        run(&format!("ip netns add {name}"));
        run(&format!("ip link add {cable} type veth peer name cable netns {name}"));
        run(&format!("ip addr add {HERE}/30 dev {cable}"));
        run(&format!("ip link set {cable} up"));
        run(&format!("{inside} ip addr add {THERE}/30 dev cable"));
        run(&format!("{inside} ip link set cable up"));
        let root = env!("CARGO_MANIFEST_DIR");
        let venvs = std::env::var("WSLINK_VENVS").unwrap_or_else(|_| format!("{root}/target/venvs"));
        let mut server = Command::new("ip")
            .args(["netns", "exec", &name, &format!("{venvs}/{version}/bin/python"), "-B"])
            .args([&format!("{root}/tests/servers/app.py"), "--host", THERE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("READY ").expect("a server that is ready").parse().unwrap();
        Island { name, cable, server, port }
    }

    fn config(&self) -> Config {
        let mut config = Config::new(&format!("ws://{THERE}:{}/ws", self.port)).unwrap();
        config.delivery = Delivery::IoThread;
        config
    }

    /// Pulls the cable: nothing arrives, and neither side is informed.
    fn cut(&self) {
        run(&format!("ip netns exec {} ip link set cable down", self.name));
    }

    fn mend(&self) {
        run(&format!("ip netns exec {} ip link set cable up", self.name));
    }

    /// Limits the server's sending rate from now on.
    fn slow_down(&self, rate: &str) {
        let queue = format!("tbf rate {rate} burst 16k latency 100ms");
        run(&format!("ip netns exec {} tc qdisc add dev cable root {queue}", self.name));
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
        let _ = Command::new("ip").args(["link", "del", &self.cable]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn watched(config: Config) -> (Session, mpsc::Receiver<State>) {
    let (send, states) = mpsc::channel();
    let mut config = config;
    config.on_state(move |change| send.send(change.state).unwrap());
    let session = Session::new(config).unwrap();
    session.connect_wait().unwrap();
    (session, states)
}

fn until(states: &mpsc::Receiver<State>, wanted: State) {
    while states.recv_timeout(PATIENCE).expect("a state") != wanted {}
}

/// The number of bytes to a port that are queued or sent, and not acknowledged by TCP.
fn unacknowledged(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[2].ends_with(&format!(":{port:04X}"))).expect("a connection");
    u64::from_str_radix(row[4].split(':').next().unwrap(), 16).unwrap()
}

fn begin(session: &Session, method: &str, args: &str, timeout: Option<Duration>) -> mpsc::Receiver<wslink::Outcome> {
    let (send, outcome) = mpsc::channel();
    session.call(method, Args::from_json(args).unwrap(), timeout, move |o| send.send(o).unwrap()).unwrap();
    outcome
}

#[test]
fn a_silent_cut_is_found_by_the_heartbeat_and_mended_by_reconnecting() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let island = Island::new(version);
        let mut config = island.config();
        config.session.heartbeat = Some(Duration::from_millis(300));
        config.session.connect_timeout = Duration::from_secs(2);
        let policy = Reconnect {
            first_delay: Duration::from_millis(10),
            longest_delay: Duration::from_millis(100),
            ..Reconnect::default()
        };
        config.set_reconnect(Some(policy)).unwrap();
        let (session, states) = watched(config);
        let (send, published) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |_| send.send(()).unwrap());
        island.cut();
        until(&states, State::Lost);
        until(&states, State::Reconnecting);
        // Attempts fail while the cable is out.
        until(&states, State::Connecting);
        until(&states, State::Reconnecting);
        island.mend();
        until(&states, State::Ready);
        session.call_wait("test.publish", Args::from_json(r#"["t"]"#).unwrap(), Some(PATIENCE)).unwrap();
        published.recv_timeout(PATIENCE).unwrap();
    }
}

#[test]
fn a_short_cut_is_not_noticed_and_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let island = Island::new(version);
        let (session, states) = watched(island.config());
        let before: Vec<_> = (0..20).map(|i| begin(&session, "test.echo", &format!("[{i}]"), None)).collect();
        let large = begin(&session, "test.bytes", "[5000000, 1]", None);
        island.cut();
        let meanwhile: Vec<_> = (20..40).map(|i| begin(&session, "test.echo", &format!("[{i}]"), None)).collect();
        // Long enough for TCP to retransmit in vain.
        std::thread::sleep(Duration::from_millis(500));
        island.mend();
        for (i, outcome) in before.into_iter().chain(meanwhile).enumerate() {
            let reply = outcome.recv_timeout(PATIENCE).unwrap().unwrap();
            let echo = result(&reply).get("args").and_then(|a| a.index(0)).and_then(|v| v.as_u64());
            assert_eq!(echo, Some(i as u64));
        }
        let reply = large.recv_timeout(PATIENCE).unwrap().unwrap();
        assert!(result(&reply).as_bytes() == Some(&pattern(5_000_000, 1)[..]));
        assert_eq!(states.try_iter().collect::<Vec<_>>(), [State::Connecting, State::Ready]);
    }
}

#[test]
fn a_call_whose_reply_is_cut_off_ends_with_its_timeout_and_the_connection_after_it() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let island = Island::new(version);
        island.slow_down("8mbit");
        let mut config = island.config();
        // TCP needs three more seconds to detect the cut, and the call ends before.
        config.session.heartbeat = Some(Duration::from_secs(3));
        let (session, states) = watched(config);
        let outcome = begin(&session, "test.bytes", "[8000000]", Some(Duration::from_secs(2)));
        // In the middle of the reply.
        eventually(|| session.stats().bytes_in >= 200_000);
        island.cut();
        assert_eq!(outcome.recv_timeout(PATIENCE).unwrap().unwrap_err().code(), Code::Timeout);
        until(&states, State::Closed);
        assert_eq!(session.failure().unwrap().code(), Code::ConnectionLost);
        island.mend();
        // The system may still cache that the host is unreachable.
        eventually(|| session.connect_wait().is_ok());
    }
}

#[test]
fn a_call_without_timeout_ends_when_the_cable_is_pulled() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    // The call precedes the cut, so TCP has nothing to send; or follows it; or the cut interrupts its reply.
    for (version, method, args, cut_first) in [
        ("v1", "test.sleep", "[600]", false),
        ("v2", "test.sleep", "[600]", false),
        ("v1", "test.echo", "[1]", true),
        ("v2", "test.echo", "[1]", true),
        ("v1", "test.bytes", "[20000000]", false),
        ("v2", "test.bytes", "[20000000]", false),
    ] {
        let island = Island::new(version);
        let mut config = island.config();
        config.session.heartbeat = Some(Duration::from_secs(1));
        let (session, _states) = watched(config);
        if method == "test.bytes" {
            island.slow_down("8mbit");
        }
        let before = session.stats().bytes_in;
        let began = Instant::now();
        let outcome = if cut_first {
            island.cut();
            begin(&session, method, args, None)
        } else {
            let outcome = begin(&session, method, args, None);
            match method {
                "test.sleep" => eventually(|| unacknowledged(island.port) == 0),
                _ => eventually(|| session.stats().bytes_in > before + 100_000),
            }
            island.cut();
            outcome
        };
        let error = outcome.recv_timeout(PATIENCE).unwrap().unwrap_err();
        println!("{version} {method}: {error}, after {:?}", began.elapsed());
        assert_eq!(error.code(), Code::ConnectionLost, "{error}");
        assert!(error.is_retriable());
    }
}

#[test]
fn an_upload_that_is_cut_off_ends_too() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let island = Island::new(version);
        let mut config = island.config();
        config.session.heartbeat = Some(Duration::from_secs(1));
        let (session, _states) = watched(config);
        island.cut();
        let mut args = Args::new();
        let key = args.attach(vec![7; 4_000_000]);
        args.add_json(&format!("[{key:?}]")).unwrap();
        let (send, outcome) = mpsc::channel();
        session.call("test.echo", args, None, move |o| send.send(o).unwrap()).unwrap();
        let error = outcome.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert_eq!(error.code(), Code::ConnectionLost, "{error}");
    }
}

#[test]
fn a_suspended_server_is_not_taken_for_a_dead_one() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let island = Island::new(version);
        let mut config = island.config();
        config.session.heartbeat = Some(Duration::from_secs(1));
        let (session, states) = watched(config);
        // `ip netns exec` has become the server.
        run(&format!("kill -STOP {}", island.server.id()));
        let small = begin(&session, "test.echo", "[1]", None);
        let mut large = Vec::new();
        for _ in 0..4 {
            let mut args = Args::new();
            let key = args.attach(vec![7; 4_000_000]);
            args.add_json(&format!("[{key:?}]")).unwrap();
            let (send, outcome) = mpsc::channel();
            session.call("test.echo", args, None, move |o| send.send(o).unwrap()).unwrap();
            large.push(outcome);
        }
        // Longer than a heartbeat, its wait, and every probe.
        std::thread::sleep(Duration::from_secs(8));
        run(&format!("kill -CONT {}", island.server.id()));
        small.recv_timeout(PATIENCE).unwrap().unwrap();
        for outcome in large {
            outcome.recv_timeout(PATIENCE).unwrap().unwrap();
        }
        assert_eq!(states.try_iter().collect::<Vec<_>>(), [State::Connecting, State::Ready]);
    }
}

#[test]
fn waits_for_an_unreachable_server_end_at_their_timeout() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let island = Island::new("v2");
    island.cut();
    let mut config = island.config();
    config.session.connect_timeout = Duration::from_millis(300);
    let error = Session::new(config).unwrap().connect_wait().unwrap_err();
    assert!(matches!(error.code(), Code::Timeout | Code::Connect) && error.is_retriable(), "{error}");
    // Freeing does not wait at all.
    let session = Session::new(island.config()).unwrap();
    session.connect().unwrap();
    drop(session);
}

#[test]
fn a_slow_line_is_not_taken_for_a_dead_one() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let island = Island::new(version);
        island.slow_down("1mbit");
        let mut config = island.config();
        config.session.heartbeat = Some(Duration::from_secs(1));
        let (session, states) = watched(config);
        let (send, published) = mpsc::channel();
        session.subscribe("t", Policy::default(), move |p| {
            let message = p.outcome.as_ref().unwrap();
            let data = result(message).get("data").unwrap();
            send.send(data.as_bytes() == Some(&pattern(500_000, 0)[..])).unwrap();
        });
        // Four seconds on this connection, without a call in flight that would pause the heartbeat.
        let quick = Some(Duration::from_millis(1));
        let _ = session.call_wait("test.publish.bytes", Args::from_json(r#"["t", 1, 500000]"#).unwrap(), quick);
        assert_eq!(published.recv_timeout(PATIENCE), Ok(true));
        assert_eq!(states.try_iter().collect::<Vec<_>>(), [State::Connecting, State::Ready], "{:?}", session.failure());
    }
}

/// Removes a namespace.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// If nobody listens at a port, the system may choose that port for the client, and TCP connects the socket to itself. In a
/// namespace with only one port for clients it must.
#[test]
fn a_socket_connected_to_itself_is_not_taken_for_a_server() {
    const PORT: u16 = 40_000;
    const INSIDE: &str = "WSLINK_TEST_HAS_ONE_PORT";
    if std::env::var_os(INSIDE).is_none() {
        let namespace = Namespace(format!("wslink-port-{}", std::process::id()));
        let name = &namespace.0;
        run(&format!("ip netns add {name}"));
        run(&format!("ip netns exec {name} ip link set lo up"));
        run(&format!("ip netns exec {name} sysctl -qw net.ipv4.ip_local_port_range={PORT}\t{PORT}"));
        let this = std::env::current_exe().unwrap();
        let output = Command::new("ip")
            .args(["netns", "exec", name, this.to_str().unwrap()])
            .args(["--exact", "a_socket_connected_to_itself_is_not_taken_for_a_server"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(" 1 passed"), "{text}");
        return;
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], PORT));
    let stream = std::net::TcpStream::connect(address).unwrap();
    assert_eq!(stream.local_addr().unwrap(), address, "it meets itself");
    // So that the port is free again at once.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);

    let session = Session::new(Config::new(&format!("ws://{address}/ws")).unwrap()).unwrap();
    let error = session.connect_wait().unwrap_err();
    assert!(error.code() == Code::Connect && error.is_retriable(), "{error}");
    assert!(error.message().contains("met itself") && error.message().contains("is the server running"), "{error}");
}
