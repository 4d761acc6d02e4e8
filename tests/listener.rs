//! Sessions whose connections the server opens (`--reverse-url`), with real servers of both generations, and what strangers
//! get who connect to the listener.

mod common;

use common::certificates::{Authority, VALID};
use common::{PATIENCE, Server, VERSIONS, eventually};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use wslink::{
    Args, Code, Config, Listener, ListenerOptions, Policy, Protocol, Reconnect, Session, Stage, State, TlsIdentity,
    result,
};

fn listener() -> Listener {
    Listener::new(&ListenerOptions::default()).unwrap()
}

/// A server that connects to this configuration, with this secret.
fn server(version: &str, config: &Config, secret: &str) -> Server {
    Server::start(version, &["--reverse-url", &config.reverse_url().unwrap(), "--secret", secret])
}

fn accepting(listener: &Listener, secret: &str) -> Config {
    let mut config = Config::accepting(listener).unwrap();
    config.session.secret = secret.into();
    config.set_connect_timeout(PATIENCE).unwrap();
    config
}

fn add(session: &Session) -> Option<i64> {
    let sum = session.call_wait("myprotocol.add", Args::from_json("[[1, 2, 3]]").unwrap(), Some(PATIENCE)).unwrap();
    result(&sum).as_i64()
}

/// Sends bytes and returns everything that is answered.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The listener may refuse before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&part[..n]),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{e}");
                break;
            }
        }
        if answer.windows(4).any(|w| w == b"\r\n\r\n") {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }
    String::from_utf8(answer).unwrap()
}

fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

#[test]
fn servers_of_both_generations_connect_and_are_detected() {
    let listener = listener();
    for version in VERSIONS {
        let (v1, right, wrong) = match version {
            "v1" => (true, Protocol::V1, Protocol::V2),
            _ => (false, Protocol::V2, Protocol::V1),
        };
        for wanted in [None, Some(right)] {
            let mut config = accepting(&listener, "a secret");
            config.session.protocol = wanted;
            let session = Session::new(config.clone()).unwrap();
            let mut server = server(version, &config, "a secret");
            session.connect_wait().unwrap_or_else(|e| panic!("{version}: {e}"));
            assert_eq!(session.peer().protocol, Some(right));
            assert_eq!(session.peer().client_id, "creverse_connection_client_id");
            assert_eq!(add(&session), Some(6));
            let args = Args::new().with(5_000_000).unwrap().with(3i64).unwrap();
            let reply = session.call_wait("test.bytes", args, Some(PATIENCE)).unwrap();
            assert_eq!(result(&reply).as_bytes().unwrap(), common::pattern(5_000_000, 3));
            // A server whose connection ends ends, too.
            session.close_wait(PATIENCE).unwrap();
            eventually(|| server.has_ended());
        }
        // A generation 1 server would end on the hello of generation 2; the other way round it is told apart.
        if !v1 {
            let mut config = accepting(&listener, "a secret");
            config.session.protocol = Some(wrong);
            let session = Session::new(config.clone()).unwrap();
            let _server = server(version, &config, "a secret");
            let error = session.connect_wait().unwrap_err();
            assert_eq!(error.code(), Code::Mismatch, "{error}");
        }
    }
}

#[test]
fn a_wrong_secret_is_told() {
    let listener = listener();
    for version in VERSIONS {
        let config = accepting(&listener, "another secret");
        let session = Session::new(config.clone()).unwrap();
        let _server = server(version, &config, "the secret");
        let error = session.connect_wait().unwrap_err();
        assert_eq!(error.code(), Code::Auth, "{version}: {error}");
    }
}

#[test]
fn reconnecting_waits_for_the_next_server_and_keeps_subscriptions() {
    let listener = listener();
    for version in VERSIONS {
        let mut config = accepting(&listener, "s");
        let quick = Duration::from_millis(1);
        let policy = Reconnect { first_delay: quick, longest_delay: quick, ..Reconnect::default() };
        config.set_reconnect(Some(policy)).unwrap();
        let session = Session::new(config.clone()).unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let see = Arc::clone(&seen);
        session.subscribe("topic", Policy::default(), move |p| {
            assert!(p.outcome.is_ok());
            see.fetch_add(1, SeqCst);
        });
        let mut first = server(version, &config, "s");
        session.connect_wait().unwrap();
        first.kill();
        eventually(|| session.state() != State::Ready);
        let _second = server(version, &config, "s");
        eventually(|| session.state() == State::Ready);
        session
            .call_wait("test.publish", Args::new().with("topic").unwrap().with(3i64).unwrap(), Some(PATIENCE))
            .unwrap();
        eventually(|| session.dispatch(100, Some(Duration::ZERO)).is_ok() && seen.load(SeqCst) == 3);
    }
}

#[test]
fn one_listener_serves_several_sessions() {
    let listener = listener();
    let configs: Vec<_> = VERSIONS.iter().map(|_| accepting(&listener, "s")).collect();
    let sessions: Vec<_> = configs.iter().map(|config| Session::new(config.clone()).unwrap()).collect();
    sessions.iter().for_each(|session| session.connect().unwrap());
    let _servers: Vec<_> =
        VERSIONS.iter().zip(&configs).map(|(version, config)| server(version, config, "s")).collect();
    for (version, session) in VERSIONS.iter().zip(&sessions) {
        eventually(|| session.state() == State::Ready);
        assert_eq!(session.peer().protocol == Some(Protocol::V1), *version == "v1");
        assert_eq!(add(session), Some(6));
    }
}

#[test]
fn a_connection_through_a_forwarded_port() {
    // As with `ssh -R`: the server connects to a port of another machine, which is forwarded to the listener.
    let forwarder = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = forwarder.local_addr().unwrap();
    let listener = listener();
    let to = listener.address();
    std::thread::spawn(move || {
        let (far, _) = forwarder.accept().unwrap();
        let near = TcpStream::connect(to).unwrap();
        let copy = |mut from: TcpStream, mut to: TcpStream| {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            })
        };
        copy(far.try_clone().unwrap(), near.try_clone().unwrap());
        copy(near, far);
    });
    let config = accepting(&listener, "s");
    let session = Session::new(config.clone()).unwrap();
    let url = config.reverse_url().unwrap().replace(&to.port().to_string(), &at.port().to_string());
    let _server = Server::start("v1", &["--reverse-url", &url, "--secret", "s"]);
    session.connect_wait().unwrap();
    assert_eq!(add(&session), Some(6));
}

#[test]
fn a_listener_with_a_certificate_speaks_tls() {
    let authority = Authority::new("authority of the test", None);
    let signed = authority.issue(&["localhost"], VALID);
    let folder = std::env::temp_dir().join(format!("wslink-listener-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let identity = Some(TlsIdentity::from_pem(&signed.pem, &signed.key).unwrap());
    let options = ListenerOptions { host: Some("localhost".into()), identity, ..ListenerOptions::default() };
    let listener = Listener::new(&options).unwrap();
    let config = accepting(&listener, "s");
    let url = config.reverse_url().unwrap();
    assert!(url.starts_with("wss://localhost:"), "{url}");
    let session = Session::new(config).unwrap();
    // Python trusts the authority in this file.
    let environment = [("SSL_CERT_FILE", ca.to_str().unwrap())];
    let server = Server::spawn("v2", "app.py", &["--reverse-url", &url, "--secret", "s"], &environment);
    session.connect_wait().unwrap();
    assert_eq!(add(&session), Some(6));
    drop((session, server));
    // Plain HTTP is no TLS handshake.
    assert_eq!(ask(listener.address(), b"GET / HTTP/1.1\r\n\r\n"), "");
    eventually(|| listener.refused() > 0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused() {
    let (one, other) = (Authority::new("one", None), Authority::new("other", None));
    let (one, other) = (one.issue(&["localhost"], VALID), other.issue(&["localhost"], VALID));
    for (error, text) in [
        (TlsIdentity::from_pem(&one.pem, &other.key), "does not belong"),
        (TlsIdentity::from_pem("", &other.key), "no certificate"),
        (TlsIdentity::from_pkcs12(b"nothing", "password"), "not PKCS #12"),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::Argument);
        assert!(error.message().contains("listener certificate") && error.message().contains(text), "{error}");
    }
}

#[test]
fn strangers_get_a_status() {
    let listener = listener();
    let config = accepting(&listener, "s");
    let url = config.reverse_url().unwrap();
    let path = &url[url.rfind('/').unwrap()..];
    assert_eq!(path.len(), 33, "128 bits in hexadecimal digits");
    let long = format!("X: {}\r\n", "x".repeat(20_000));
    let many: String = (0..300).map(|i| format!("X-{i}: x\r\n")).collect();
    let cases = [
        (upgrade("/", ""), 404),
        (upgrade("/0123456789abcdef0123456789abcdef", ""), 404),
        (upgrade(&format!("{path}/"), ""), 404),
        (upgrade(&path[..32], ""), 404),
        (upgrade(path, "Origin: http://evil.example\r\n"), 403),
        (upgrade(path, "").replacen("GET", "POST", 1), 405),
        (format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"), 426),
        (upgrade(path, "").replacen(": 13", ": 8", 1), 426),
        (upgrade(path, "").replacen("Upgrade: websocket\r\n", "", 1), 426),
        (upgrade(path, "").replacen("HTTP/1.1", "HTTP/1.0", 1), 400),
        (upgrade(path, "").replacen("dGhlIHNhbXBsZSBub25jZQ==", "short", 1), 400),
        (upgrade(path, "") + "early data", 400),
        (upgrade(path, &long), 431),
        (upgrade(path, &many), 400),
        ("\u{16}\u{3}\u{1}garbage\r\n\r\n".into(), 400),
    ];
    for (i, (request, status)) in cases.iter().enumerate() {
        let answer = ask(listener.address(), request.as_bytes());
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{}\n{answer}", &request[..request.len().min(200)]);
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(answer.contains(&format!("content-length: {}\r\n", body.len())) && body.len() > 10, "{answer}");
        assert_eq!(listener.refused(), i as u64 + 1);
    }
    // None of them has taken the path.
    let session = Session::new(config.clone()).unwrap();
    let _server = server("v2", &config, "s");
    session.connect_wait().unwrap();
    // A second connection is refused while there is one.
    let answer = ask(listener.address(), upgrade(path, "").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert_eq!(add(&session), Some(6));
}

#[test]
fn whoever_knows_the_url_is_asked_for_nothing_but_answers() {
    // Who takes the path and is no wslink server: the session says so, and the path is free again.
    let listener = listener();
    let config = accepting(&listener, "s");
    let url = config.reverse_url().unwrap();
    let session = Session::new(config.clone()).unwrap();
    let mut stranger = TcpStream::connect(listener.address()).unwrap();
    stranger.write_all(upgrade(&url[url.rfind('/').unwrap()..], "").as_bytes()).unwrap();
    let mut answer = [0; 12];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    session.connect().unwrap();
    // Read on, until the session has asked for the protocol.
    let mut rest = Vec::new();
    while !rest.windows(12).any(|w| w == b"wslink.probe") {
        let mut byte = [0];
        stranger.read_exact(&mut byte).unwrap();
        rest.push(byte[0]);
    }
    assert!(!rest.windows(6).any(|w| w == b"secret"));
    drop(stranger);
    eventually(|| session.state() == State::Closed);
    let error = session.failure().unwrap();
    assert!(matches!(error.code(), Code::Hello | Code::ConnectionLost), "{error}");
    assert!(error.is_retriable());
    let _server = server("v2", &config, "s");
    session.connect_wait().unwrap();
    assert_eq!(add(&session), Some(6));
}

#[test]
fn a_connection_that_ended_before_a_session_took_it_keeps_nobody_out() {
    let listener = listener();
    let config = accepting(&listener, "s");
    let url = config.reverse_url().unwrap();
    let request = upgrade(&url[url.rfind('/').unwrap()..], "");
    let connect = || {
        let mut stream = TcpStream::connect(listener.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        (stream, String::from_utf8(answer.to_vec()).unwrap())
    };
    let (first, answer) = connect();
    assert_eq!(answer, "HTTP/1.1 101");
    assert_eq!(connect().1, "HTTP/1.1 409");
    drop(first);
    eventually(|| connect().1 == "HTTP/1.1 101");
    // That one has ended, too: the session waits for the next.
    let session = Session::new(config.clone()).unwrap();
    session.connect().unwrap();
    let _server = server("v2", &config, "s");
    eventually(|| session.state() == State::Ready);
    assert_eq!(add(&session), Some(6));
}

#[test]
fn connections_that_send_nothing_keep_nobody_out() {
    let listener = listener();
    let config = accepting(&listener, "s");
    let mut idle: Vec<_> = (0..200).map(|_| TcpStream::connect(listener.address()).unwrap()).collect();
    let session = Session::new(config.clone()).unwrap();
    let _server = server("v2", &config, "s");
    session.connect_wait().unwrap();
    assert_eq!(add(&session), Some(6));
    // The oldest were given up to make room.
    let _ = idle[0].set_read_timeout(Some(PATIENCE));
    assert_eq!(idle[0].read(&mut [0; 16]).unwrap_or(0), 0);
    // The last one is told that it is too slow.
    let last = idle.last_mut().unwrap();
    last.write_all(b"GET / HT").unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 12];
    last.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn nobody_comes() {
    let listener = listener();
    let mut config = accepting(&listener, "s");
    config.set_connect_timeout(Duration::from_millis(50)).unwrap();
    let session = Session::new(config.clone()).unwrap();
    let error = session.connect_wait().unwrap_err();
    assert_eq!((error.code(), error.stage(), error.is_retriable()), (Code::Timeout, Stage::Connect, true));
    assert!(error.message().contains("--reverse-url") && !error.message().contains("refused"), "{error}");
    ask(listener.address(), upgrade("/wrong", "").as_bytes());
    let error = session.connect_wait().unwrap_err();
    assert!(error.message().contains("has refused 1 connection(s), the last one: 404"), "{error}");
    // The token is a secret.
    let url = config.reverse_url().unwrap();
    assert!(!error.message().contains(&url[url.rfind('/').unwrap() + 1..]), "{error}");
}

#[test]
fn a_session_that_waits_is_freed_at_once() {
    let listener = listener();
    let (connecting, wait) = mpsc::channel();
    let mut config = accepting(&listener, "s");
    config.on_state(move |change| connecting.send(change.state).unwrap());
    config.delivery = wslink::Delivery::IoThread;
    let session = Session::new(config).unwrap();
    session.connect().unwrap();
    assert_eq!(wait.recv_timeout(PATIENCE).unwrap(), State::Connecting);
    let begin = Instant::now();
    drop(session);
    assert!(begin.elapsed() < PATIENCE / 2);
}

#[test]
fn url_and_headers_of_a_connection_that_the_server_opens_cannot_be_renewed() {
    let listener = listener();
    let mut config = accepting(&listener, "old");
    config.before_attempt(|attempt| {
        assert_eq!(attempt.set_url("ws://localhost/ws").unwrap_err().code(), Code::Argument);
        assert_eq!(attempt.set_header("Cookie", Some("a=b")).unwrap_err().code(), Code::Argument);
        attempt.set_secret("new");
        true
    });
    let session = Session::new(config.clone()).unwrap();
    let _server = server("v2", &config, "new");
    session.connect_wait().unwrap();
}

#[test]
fn options_that_cannot_work_are_refused() {
    let everywhere = ListenerOptions { address: "0.0.0.0".parse().unwrap(), ..ListenerOptions::default() };
    let error = Listener::new(&everywhere).unwrap_err();
    assert_eq!(error.code(), Code::Argument);
    assert!(error.message().contains("option host"), "{error}");
    for host in ["no host", "a/b", "user@host", "host:9000", "", "ws://host"] {
        let bad = ListenerOptions { host: Some(host.into()), ..ListenerOptions::default() };
        assert_eq!(Listener::new(&bad).unwrap_err().code(), Code::Argument, "{host}");
    }
    let named = ListenerOptions { host: Some("login.example".into()), ..everywhere };
    let listener = Listener::new(&named).unwrap();
    let url = Config::accepting(&listener).unwrap().reverse_url().unwrap();
    assert!(url.starts_with(&format!("ws://login.example:{}/", listener.address().port())), "{url}");
    let six = ListenerOptions { address: "::1".parse().unwrap(), ..ListenerOptions::default() };
    if let Ok(listener) = Listener::new(&six) {
        let url = Config::accepting(&listener).unwrap().reverse_url().unwrap();
        assert!(url.starts_with(&format!("ws://[::1]:{}/", listener.address().port())), "{url}");
    }
    let taken = ListenerOptions { port: listener.address().port(), ..named };
    let error = Listener::new(&taken).unwrap_err();
    assert_eq!(error.code(), Code::System);
    assert!(error.message().contains("cannot listen at"), "{error}");
}

#[test]
fn nothing_is_left_of_a_listener() {
    let closed = |address| TcpStream::connect(address).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    // An address of its own: the port may go to another test afterwards.
    let options = ListenerOptions { address: "127.0.0.77".parse().unwrap(), ..ListenerOptions::default() };
    for _ in 0..100 {
        let listener = Listener::new(&options).unwrap();
        let address = listener.address();
        let session = Session::new(accepting(&listener, "s")).unwrap();
        session.connect().unwrap();
        let _half_open = TcpStream::connect(address).unwrap();
        // The listener lives as long as a session uses it.
        drop(listener);
        assert!(TcpStream::connect(address).is_ok());
        drop(session);
        // The system may end a socket that listens shortly after it was closed.
        eventually(|| closed(address));
    }
}
