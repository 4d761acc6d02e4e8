//! Launchers: the real one of both generations, and answers that a real one does not give on demand.

mod common;

use common::certificates::{Authority, VALID};
use common::scripted::{Conn, ScriptedServer};
use common::{PATIENCE, Server, VERSIONS, connected, port_of_its_own};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use wslink::{Args, Code, Config, Error, Launched, Launcher, LogLevel, Protocol, Session, Stage, result};

const ALLOWING: &[(&str, &str)] = &[("WSLINK_LAUNCHER_GET", "1"), ("WSLINK_LAUNCHER_DELETE", "1")];

fn real(version: &str, args: &[&str], env: &[(&str, &str)]) -> Server {
    let port = port_of_its_own().to_string();
    Server::spawn(version, "launcher.py", &[&["--app-port", &port], args].concat(), env)
}

fn launcher(url: &str) -> Launcher {
    Launcher::new(&Config::launcher(url).unwrap()).unwrap()
}

fn at(server: &Server) -> Launcher {
    launcher(&format!("http://127.0.0.1:{}", server.port))
}

fn application(name: &str) -> Args {
    Args::new().with_keyword("application", name).unwrap()
}

fn add(session: &Session) -> Option<i64> {
    let sum = session.call_wait("myprotocol.add", Args::from_json("[[1, 2, 3]]").unwrap(), Some(PATIENCE)).unwrap();
    result(&sum).as_i64()
}

/// A session with what was launched works.
fn check(launched: &Launched) {
    assert_eq!(add(&connected(launched.config().clone())), Some(6));
}

#[test]
fn a_session_is_opened_asked_for_and_closed() {
    for version in VERSIONS {
        let server = real(version, &[], ALLOWING);
        let launcher = at(&server);
        let launched = launcher.open(&application("test").with_keyword("file", "cone.vtk").unwrap()).unwrap();
        assert!(launched.url().starts_with("ws://127.0.0.1:"), "{}", launched.url());
        let root = launched.document().root();
        assert_eq!(root.get("id").unwrap().as_str(), Some(launched.id()));
        assert_eq!(root.get("application").unwrap().as_str(), Some("test"));
        assert!(root.get("secret").unwrap().as_str().is_some_and(|secret| !secret.is_empty()));
        let session = connected(launched.config().clone());
        assert_eq!(add(&session), Some(6));

        let same = launcher.status(launched.id()).unwrap();
        assert_eq!((same.id(), same.url()), (launched.id(), launched.url()));

        // The launcher has one port.
        let e = launcher.open(&application("test")).unwrap_err();
        assert_eq!((e.code(), e.stage(), e.http_status()), (Code::Launcher, Stage::Launcher, Some(503)), "{e}");
        assert!(e.is_retriable() && e.message().contains("All the resources are currently taken; try again"), "{e}");

        launcher.close(launched.id()).unwrap();
        let e = launcher.status(launched.id()).unwrap_err();
        assert!(e.code() == Code::Launcher && e.message().contains("no session with this id"), "{e}");
        let e = launcher.close("no/such id?").unwrap_err();
        assert!(e.code() == Code::Launcher && e.message().contains("no session with this id"), "{e}");
    }
}

#[test]
fn a_server_without_a_secret_has_the_default_one() {
    check(&at(&real("v2", &[], &[])).open(&application("open")).unwrap());
}

#[test]
fn a_taken_launcher_is_asked_again_after_the_delays() {
    let server = real("v2", &[], ALLOWING);
    let launcher = Arc::new(at(&server));
    let first = launcher.open(&application("test")).unwrap();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let (same, closing, id) = (Arc::clone(&reports), at(&server), first.id().to_owned());
    launcher.set_retry_delays([Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60)]);
    launcher.on_progress(move |attempt, reason| {
        same.lock().unwrap().push((attempt, reason.and_then(Error::http_status)));
        if attempt == 3 {
            closing.close(&id).unwrap();
        }
    });
    check(&launcher.open(&application("test")).unwrap());
    assert_eq!(*reports.lock().unwrap(), [(1, None), (2, Some(503)), (3, Some(503))]);
}

#[test]
fn what_the_launcher_refuses_is_told_in_its_words() {
    for version in VERSIONS {
        // Some refusals leave the one port of the launcher taken.
        let fresh = || real(version, &["--start-timeout", "1"], &[]);
        for (request, status, text) in [
            (application("never"), None, "503 Service Unavailable: Session did not start before timeout expired"),
            (application("missing"), None, "503 Service Unavailable: The process did not properly start"),
            (application("unknown"), Some(500), "does it know an application of this name?"),
            (
                Args::new(),
                Some(400),
                "400 Bad Request: The request is not complete; it does not understand the request",
            ),
        ] {
            let server = fresh();
            let e = at(&server).open(&request).unwrap_err();
            assert_eq!((e.code(), e.stage(), e.http_status()), (Code::Launcher, Stage::Launcher, status), "{e}");
            assert!(e.message().contains(text), "{e}");
            assert_eq!(e.is_retriable(), status == Some(500), "{e}");
        }
        let server = fresh();
        let launcher = at(&server);
        let e = launcher.status("x").unwrap_err();
        assert!(e.message().contains("WSLINK_LAUNCHER_GET"), "{e}");
        let e = launcher.close("x").unwrap_err();
        assert!(e.message().contains("WSLINK_LAUNCHER_DELETE"), "{e}");

        let e = self::launcher(&format!("http://127.0.0.1:{}/other", server.port)).open(&application("test"));
        let e = e.unwrap_err();
        let direct = format!("ws://127.0.0.1:{}/ws", server.port);
        assert!(e.message().contains("no launcher at this path: is the path /other/ right?"), "{e}");
        assert!(e.message().contains(&direct) && !e.is_retriable(), "{e}");
    }
}

#[test]
fn a_server_without_a_launcher_is_told() {
    for version in VERSIONS {
        let server = Server::start(version, &[]);
        let e = at(&server).open(&application("test")).unwrap_err();
        assert_eq!(e.code(), Code::Launcher);
        assert!(e.message().contains("there is no launcher at this path"), "{e}");
        assert!(e.message().contains(&server.url()), "{e}");
    }
}

#[test]
fn the_session_url_is_relative_to_the_launcher() {
    // No proxy stands before this launcher, so the host is all that is taken from its URL.
    let server = real("v2", &["--session-url", "//USE_HOSTNAME:${port}/ws"], &[]);
    let launched = at(&server).open(&application("test")).unwrap();
    assert!(launched.url().starts_with("ws://127.0.0.1:"), "{}", launched.url());
    check(&launched);
}

#[test]
fn a_launcher_with_tls_is_verified_as_servers_are() {
    let authority = Authority::new("authority", None);
    let signed = authority.issue(&["127.0.0.1"], VALID);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let [cert, key] = [("crt", signed.pem), ("key", signed.key)].map(|(kind, pem)| {
        let path = folder.join(format!("launcher.{}.{kind}", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let server = real("v2", &["--ssl-cert", &cert, "--ssl-key", &key], &[]);
    let url = format!("https://127.0.0.1:{}", server.port);
    let e = launcher(&url).open(&application("test")).unwrap_err();
    assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
    let mut config = Config::launcher(&url).unwrap();
    config.tls.add_roots_pem(&authority.pem).unwrap();
    check(&Launcher::new(&config).unwrap().open(&application("test")).unwrap());

    let e = launcher(&url.replace("https", "http")).open(&application("test")).unwrap_err();
    assert!(e.code() == Code::Launcher && e.message().contains("https://"), "{e}");
}

/// An answer with JSON.
fn json(status: &str, content: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}", content.len())
}

/// Reads a request, head and content.
fn read_request(conn: &mut Conn) -> String {
    conn.head() + &conn.content()
}

/// The error for an answer of a launcher.
fn error_for(answer: impl AsRef<[u8]>) -> Error {
    let answer = answer.as_ref().to_vec();
    let server = ScriptedServer::start(move |conn, _| {
        read_request(conn);
        conn.raw(&answer);
        conn.cut();
    });
    launcher(&format!("http://127.0.0.1:{}", server.port())).open(&application("x")).unwrap_err()
}

#[test]
fn answers_that_no_launcher_gives_are_told() {
    let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>Welcome</body></html>";
    let longer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":";
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(3 << 20));
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n{{}}", "x".repeat(3 << 20));
    let moved = "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://u:geheim@other/paraview/?t=geheim\r\nContent-Length: 0\r\n\r\n";
    #[rustfmt::skip]
    let rows: &[(&str, bool, &str)] = &[
        (page, false, "answered with a web page"),
        ("HTTP/1.1 200 OK\r\n\r\n  <!DOCTYPE html><p>x", false, "answered with a web page"),
        (longer, true, "ended the connection without a complete answer"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n", true, "without a complete answer"),
        ("", true, "ended the connection without a complete answer"),
        (&json("200 OK", "{\"id\": \"1\", \"sess"), false, "is not JSON"),
        (&json("200 OK", ""), false, "is not JSON"),
        (&json("200 OK", "[1]"), false, "no JSON object"),
        (&json("200 OK", "{\"id\": \"1\"}"), false, "without sessionURL"),
        (&json("200 OK", "{\"id\": \"1\", \"sessionURL\": \"gopher://h\"}"), false, "scheme \"gopher\""),
        (&huge, false, "more than 1048576 bytes"),
        (&head, false, "this is no launcher"),
        (moved, false, "redirects to https://...@other/paraview/?..., which is not followed"),
        ("SSH-2.0-OpenSSH_9.2\r\n", false, "is not HTTP"),
        ("\x15\x03\x01\x00\x02\x02\x46", false, "use https://"),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", false, "credentials are missing or wrong"),
        (&json("502 Bad Gateway", "{\"error\": \"no\\nroute.\"}"), true, "502 Bad Gateway: no route; the launcher behind"),
        (&json("503 Service Unavailable", "soon."), true, "503 Service Unavailable: soon; try again later"),
    ];
    for (answer, again, text) in rows {
        let e = error_for(answer);
        assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Launcher, Stage::Launcher, *again), "{e}");
        assert!(e.message().contains(text), "{text:?} is not in {e}");
        assert!(!e.message().contains("geheim") && e.message().len() < 700, "{e}");
    }
}

#[test]
fn answers_in_every_form_of_http_are_read() {
    let content = "{\"id\": \"7\", \"sessionURL\": \"/ws\", \"more\": {\"a\": [1]}}";
    let size = content.len();
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\n{}\r\n{:x}\r\n{}\r\n0\r\nX: y\r\n\r\n",
        &content[..3],
        size - 3,
        &content[3..]
    );
    for answer in [
        json("200 OK", content),
        json("201 Created", content),
        format!("HTTP/1.1 102 Processing\r\n\r\n{}", json("200 OK", content)),
        format!("HTTP/1.0 200 OK\r\n\r\n{content}"),
        chunked,
    ] {
        let server = ScriptedServer::start(move |conn, _| {
            read_request(conn);
            conn.raw(&answer);
            conn.cut();
        });
        let launched = launcher(&format!("http://127.0.0.1:{}", server.port())).open(&application("x")).unwrap();
        assert_eq!(launched.url(), server.url());
        assert_eq!(launched.document().root().get("more").unwrap().get("a").unwrap().len(), 1);
    }
}

#[test]
fn the_request_is_what_launchers_expect() {
    let (send, requests) = mpsc::channel();
    let send = Mutex::new(send);
    let server = ScriptedServer::start(move |conn, _| {
        send.lock().unwrap().send(read_request(conn)).unwrap();
        conn.raw(json("200 OK", "{\"id\": \"7\", \"sessionURL\": \"ws://elsewhere:1/ws\", \"secret\": \"s\"}"));
        conn.cut();
    });
    let mut config = Config::launcher(&format!("http://u:p%40@127.0.0.1:{}/a/b", server.port())).unwrap();
    config.add_header("X-Token", "geheim").unwrap();
    let launcher = Launcher::new(&config).unwrap();
    let request = application("x").with_keyword("size", 3).unwrap();
    let launched = launcher.open(&request).unwrap();
    let sent = requests.recv().unwrap();
    let (head, content) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /a/b/ HTTP/1.1\r\n"), "{head}");
    assert_eq!(content.replace(": ", ":").replace(", ", ","), "{\"application\":\"x\",\"size\":3}");
    let host = format!("host: 127.0.0.1:{}", server.port());
    for line in [&host, "content-type: application/json", "x-token: geheim", "authorization: basic dtpwqa=="] {
        assert!(head.to_ascii_lowercase().lines().any(|one| one == line), "{line} is not in {head}");
    }
    // Nothing of this is shown.
    assert!(!format!("{launcher:?} {launched:?}").contains("geheim"));

    launcher.status("a/b").unwrap();
    assert!(requests.recv().unwrap().starts_with("GET /a/b/a%2Fb HTTP/1.1\r\n"));
    launcher.close("7").unwrap();
    assert!(requests.recv().unwrap().starts_with("DELETE /a/b/7 HTTP/1.1\r\n"));
}

#[test]
fn headers_are_for_the_host_of_the_launcher() {
    for (host, token) in [("127.0.0.1", Some("geheim")), ("localhost", None)] {
        let (send, headers) = mpsc::channel();
        let send = Mutex::new(send);
        let session = ScriptedServer::start(move |conn, _| {
            conn.accept();
            let kept = [conn.header("X-Token"), conn.header("Authorization").map(|_| "basic".into())];
            send.lock().unwrap().send(kept).unwrap();
            conn.answer_hello(Protocol::V2);
            conn.until_end();
        });
        let url = format!("ws://{host}:{}/ws", session.port());
        let server = ScriptedServer::start(move |conn, _| {
            read_request(conn);
            conn.raw(json("200 OK", &format!("{{\"id\": \"7\", \"sessionURL\": \"{url}\"}}")));
            conn.until_end();
        });
        let mut config = Config::launcher(&format!("http://u:p@127.0.0.1:{}", server.port())).unwrap();
        config.add_header("X-Token", "geheim").unwrap();
        config.session.protocol = Some(Protocol::V2);
        let launched = Launcher::new(&config).unwrap().open(&application("x")).unwrap();
        let _session = connected(launched.config().clone());
        let kept = [token.map(str::to_owned), token.map(|_| "basic".to_owned())];
        assert_eq!(headers.recv().unwrap(), kept, "{host}");
    }
}

#[test]
fn requests_go_through_the_proxy() {
    let server = real("v2", &[], &[]);
    let port = server.port;
    let proxy = ScriptedServer::start(move |conn, n| {
        assert!(conn.head().starts_with(&format!("CONNECT 127.0.0.1:{port} ")), "connection {n}");
        conn.raw("HTTP/1.1 200 Connection established\r\n\r\n");
        let mut up = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut back, mut answers) = (conn.stream().try_clone().unwrap(), up.try_clone().unwrap());
        std::thread::scope(|both| {
            both.spawn(move || {
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Both);
            });
            let _ = std::io::copy(&mut conn.stream().try_clone().unwrap(), &mut up);
            let _ = up.shutdown(std::net::Shutdown::Both);
        });
    });
    let mut config = Config::launcher(&format!("http://127.0.0.1:{port}")).unwrap();
    config.set_proxy(Some(&format!("http://127.0.0.1:{}", proxy.port()))).unwrap();
    let launched = Launcher::new(&config).unwrap().open(&application("test")).unwrap();
    assert_eq!(proxy.accepted(), 1);
    let mut direct = launched.config().clone();
    direct.set_proxy(None).unwrap();
    assert_eq!(add(&connected(direct)), Some(6));
}

#[test]
fn a_server_that_does_not_listen_yet_is_waited_for() {
    let port = port_of_its_own();
    let server = ScriptedServer::start(move |conn, _| {
        read_request(conn);
        conn.raw(json("200 OK", &format!("{{\"id\": \"7\", \"sessionURL\": \"ws://127.0.0.1:{port}/ws\"}}")));
        conn.cut();
    });
    let (send, refused) = mpsc::channel();
    let send = Mutex::new(send);
    let mut config = Config::launcher(&format!("http://127.0.0.1:{}", server.port())).unwrap();
    config.set_log(LogLevel::Debug, move |_, line| {
        if line.contains("may still be starting") {
            let _ = send.lock().unwrap().send(());
        }
    });
    let launched = Launcher::new(&config).unwrap().open(&application("x")).unwrap();
    let session = Session::new(launched.config().clone()).unwrap();
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| session.connect_wait());
        refused.recv_timeout(PATIENCE).unwrap();
        let _server = Server::start("v2", &["--port", &port.to_string()]);
        connecting.join().unwrap().unwrap();
        assert_eq!(add(&session), Some(6));
    });
}

#[test]
fn waiting_ends_when_it_is_cancelled_or_takes_too_long() {
    let (send, arrived) = mpsc::channel();
    let send = Mutex::new(send);
    let silent = ScriptedServer::start(move |conn, _| {
        read_request(conn);
        send.lock().unwrap().send(()).unwrap();
        conn.until_end();
    });
    let url = format!("http://127.0.0.1:{}", silent.port());
    let waiting = launcher(&url);
    // A request that may have started a server is not repeated.
    waiting.set_retry_delays([Duration::from_secs(600)]);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| waiting.open(&application("x")).unwrap_err());
        arrived.recv_timeout(PATIENCE).unwrap();
        waiting.cancel();
        let e = opening.join().unwrap();
        assert_eq!((e.code(), e.stage()), (Code::Cancelled, Stage::Launcher), "{e}");
        assert!(e.message().contains("the request to the launcher was given up"), "{e}");
    });
    waiting.set_timeout(Duration::from_millis(20)).unwrap();
    let e = waiting.open(&application("x")).unwrap_err();
    assert_eq!((e.code(), e.stage()), (Code::Timeout, Stage::Launcher), "{e}");
    assert!(e.message().contains("within 20ms (option timeout of the launcher)"), "{e}");

    // The delay between two attempts is cancelled, too.
    let (send, delayed) = mpsc::channel();
    let nobody = launcher(&format!("http://127.0.0.1:{}", port_of_its_own()));
    nobody.set_retry_delays([Duration::from_secs(600)]);
    let send = Mutex::new(send);
    nobody.on_progress(move |_, reason| {
        if let Some(reason) = reason {
            send.lock().unwrap().send(reason.code()).unwrap();
        }
    });
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| nobody.open(&application("x")).unwrap_err());
        assert_eq!(delayed.recv_timeout(PATIENCE).unwrap(), Code::Connect);
        nobody.cancel();
        assert_eq!(opening.join().unwrap().code(), Code::Cancelled);
    });
}

#[test]
fn what_cannot_work_is_refused() {
    for (url, why) in [
        ("ws://host/", "scheme \"ws\""),
        ("host:80", "scheme"),
        ("http://host/paraview/?x=1", "has a query"),
        ("http://host/#top", "fragment"),
    ] {
        let e = Config::launcher(url).unwrap_err();
        assert!(e.code() == Code::Argument && e.message().contains(why), "{url}: {e}");
    }
    let e = Launcher::new(&Config::new("ws://host/ws").unwrap()).unwrap_err();
    assert_eq!(e.code(), Code::Argument);
    let config = Config::launcher("http://host").unwrap();
    let e = Session::new(config.clone()).err().unwrap();
    assert!(e.code() == Code::Argument && e.message().contains("launcher"), "{e}");
    let launcher = Launcher::new(&config).unwrap();
    assert_eq!(launcher.set_timeout(Duration::ZERO).unwrap_err().code(), Code::Argument);
    launcher.set_timeout(Duration::MAX).unwrap();
    for request in [Args::new().with(1).unwrap(), Args::new().with_keyword("data", vec![1u8]).unwrap()] {
        let e = launcher.open(&request).unwrap_err();
        assert!(e.code() == Code::Argument && e.message().contains("the request to a launcher"), "{e}");
    }
}
