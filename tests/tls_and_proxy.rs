//! TLS with real servers and certificates of every kind, and HTTP proxies.

mod common;

use common::scripted::{Conn, Frame, ScriptedServer};
use common::{PATIENCE, Server, VERSIONS, connected, pattern};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::net::TcpStream;
use std::path::PathBuf;
use wslink::{Args, Code, Config, Error, Protocol, Session, Stage, result};

fn error_of(config: Config) -> Error {
    Session::new(config).unwrap().connect_wait().unwrap_err()
}

/// Sends and receives data that is larger than any buffer in between.
fn exercise(session: &Session) {
    let args = Args::new().with(9_000_000i64).unwrap().with(3i64).unwrap();
    let reply = session.call_wait("test.bytes", args, Some(PATIENCE)).unwrap();
    assert!(result(&reply).as_bytes() == Some(&pattern(9_000_000, 3)[..]));
    let args = Args::new().with(pattern(3_000_000, 0)).unwrap();
    let reply = session.call_wait("test.sum", args, Some(PATIENCE)).unwrap();
    assert_eq!(result(&reply).get("len").unwrap().as_i64(), Some(3_000_000));
    session.close_wait(PATIENCE).unwrap();
}

#[test]
fn a_self_signed_server_is_refused_unless_pinned_or_not_verified() {
    for version in VERSIONS {
        let server = Server::start(version, &["--ssl", "adhoc"]);
        let config = Config::new(&server.url()).unwrap();
        let e = error_of(config.clone());
        assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Tls, Stage::Tls, false), "{e}");
        assert!(e.message().contains("pin its fingerprint") && e.message().contains("verification off"), "{e}");

        let mut wrong = config.clone();
        wrong.tls.add_pin(&"00".repeat(32)).unwrap();
        let e = error_of(wrong);
        assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
        let fingerprint = e.message().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(fingerprint.len(), 64, "{e}");

        let mut pinned = config.clone();
        pinned.tls.add_pin(&"ab".repeat(32)).unwrap();
        let with_colons: Vec<_> = fingerprint.as_bytes().chunks(2).map(|c| std::str::from_utf8(c).unwrap()).collect();
        pinned.tls.add_pin(&with_colons.join(":").to_uppercase()).unwrap();
        exercise(&connected(pinned));

        let mut open = config;
        open.tls.danger_no_verification = true;
        exercise(&connected(open));
    }
}

/// A private authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, in files for the server.
    fn issue(&self, file: &str, names: &[&str], years: (i32, i32)) -> Vec<PathBuf> {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).into()).collect::<Vec<_>>()).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        [("crt", certificate.pem()), ("key", key.serialize_pem())]
            .map(|(kind, pem)| {
                let path = directory.join(format!("{file}.{}.{kind}", std::process::id()));
                std::fs::write(&path, pem).unwrap();
                path
            })
            .into()
    }
}

fn tls_server(files: &[PathBuf]) -> Server {
    let paths: Vec<_> = files.iter().map(|p| p.to_str().unwrap()).collect();
    let server = Server::start("v2", &["--ssl-cert", paths[0], "--ssl-key", paths[1]]);
    files.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    server
}

fn config_for(host: &str, server: &Server, authority: Option<&Authority>) -> Config {
    let mut config = Config::new(&format!("wss://{host}:{}/ws", server.port)).unwrap();
    if let Some(authority) = authority {
        config.tls.add_roots_pem(&authority.pem).unwrap();
    }
    config
}

#[test]
fn a_certificate_of_an_own_authority_is_accepted_for_its_names_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = tls_server(&authority.issue("names", &["127.0.0.1", "elsewhere.example"], (2020, 2120)));
    let mut config = config_for("127.0.0.1", &server, Some(&authority));
    exercise(&connected(config.clone()));
    config.tls.platform_roots = false;
    exercise(&connected(config));

    let e = error_of(config_for("localhost", &server, Some(&authority)));
    assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
    assert!(e.message().contains("for another name"), "{e}");
    for authority in [None, Some(&other)] {
        let e = error_of(config_for("127.0.0.1", &server, authority));
        assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
        assert!(e.message().contains("trust its issuer"), "{e}");
    }
}

#[test]
fn a_certificate_that_is_out_of_date_is_refused() {
    let authority = Authority::new();
    let server = tls_server(&authority.issue("expired", &["127.0.0.1"], (2010, 2011)));
    let e = error_of(config_for("127.0.0.1", &server, Some(&authority)));
    assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
    assert!(e.message().contains("out of date"), "{e}");
}

#[test]
fn malformed_certificates_and_pins_are_refused_at_once() {
    let mut config = Config::new("wss://h/").unwrap();
    for pem in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n",
        "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----",
    ] {
        let e = config.tls.add_roots_pem(pem).unwrap_err();
        assert_eq!(e.code(), Code::Argument, "{pem}");
        assert!(e.message().starts_with("CA certificates:"), "{e}");
    }
    for pin in ["", "00", "zz", &"00".repeat(31), &"00".repeat(33)] {
        assert_eq!(config.tls.add_pin(pin).unwrap_err().code(), Code::Argument, "{pin}");
    }
    let e = config.tls.set_identity("no certificate", "no key").unwrap_err();
    assert_eq!(e.code(), Code::Argument);
    assert!(e.message().starts_with("client certificate:"), "{e}");
}

#[test]
fn ws_at_a_tls_port_and_wss_at_a_plain_port_name_the_mistake() {
    let tls = Server::start("v2", &["--ssl", "adhoc"]);
    let e = error_of(Config::new(&tls.url().replace("wss:", "ws:")).unwrap());
    assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade), "{e}");
    assert!(e.message().contains("use wss://"), "{e}");

    let plain = Server::start("v2", &[]);
    let e = error_of(Config::new(&plain.url().replace("ws:", "wss:")).unwrap());
    assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
    assert!(e.message().contains("use ws:// instead of wss://"), "{e}");

    let ends = ScriptedServer::start(|conn, _| {
        // After the handshake has begun: earlier it would be a failure to connect.
        conn.stream().peek(&mut [0]).unwrap();
        conn.reset_at_end();
    });
    let e = error_of(Config::new(&ends.url().replace("ws:", "wss:")).unwrap());
    assert_eq!((e.code(), e.stage()), (Code::Tls, Stage::Tls), "{e}");
}

/// A configuration for a URL behind a scripted proxy.
fn behind(proxy: &ScriptedServer, credentials: &str, url: &str) -> Config {
    let mut config = Config::new(url).unwrap();
    config.session.protocol = Some(Protocol::V2);
    config.set_proxy(Some(&format!("http://{credentials}127.0.0.1:{}", proxy.port()))).unwrap();
    config
}

#[test]
fn a_proxy_gets_connect_and_then_the_tunnel_is_used() {
    let proxy = ScriptedServer::start(|conn, _| {
        let head = conn.head();
        assert!(head.starts_with("CONNECT server.invalid:8080 HTTP/1.1\r\n"), "{head}");
        assert_eq!(conn.header("Host").as_deref(), Some("server.invalid:8080"));
        assert_eq!(conn.header("Proxy-Authorization").as_deref(), Some("Basic dXNlckBob21lOnBhOnNz"));
        conn.raw("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n");
        conn.hello(Protocol::V2);
        assert!(conn.request.starts_with("GET /ws HTTP/1.1\r\n") && conn.header("Proxy-Authorization").is_none());
        assert_eq!(conn.header("Host").as_deref(), Some("server.invalid:8080"));
        conn.echo();
    });
    // Only the proxy can resolve the server's name.
    let session = connected(behind(&proxy, "user%40home:pa:ss@", "ws://server.invalid:8080/ws"));
    session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
    assert_eq!(session.peer_addr().unwrap().port(), proxy.port());
}

#[test]
fn tls_goes_through_a_proxy_to_the_server_itself() {
    let authority = Authority::new();
    let server = tls_server(&authority.issue("tunnel", &["127.0.0.1"], (2020, 2120)));
    let proxy = ScriptedServer::start(|conn, _| {
        let head = conn.head();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        conn.raw("HTTP/1.1 200 OK\r\n\r\n");
        let (mut up, mut down) = (TcpStream::connect(target).unwrap(), conn.stream().try_clone().unwrap());
        let (mut from_server, mut to_client) = (up.try_clone().unwrap(), down.try_clone().unwrap());
        let answers = std::thread::spawn(move || {
            // Ends, with or without an error, when one side has closed.
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(std::net::Shutdown::Both);
        });
        let _ = std::io::copy(&mut down, &mut up);
        let _ = up.shutdown(std::net::Shutdown::Both);
        answers.join().unwrap();
    });
    let mut config = behind(&proxy, "", &format!("wss://127.0.0.1:{}/ws", server.port));
    config.tls.add_roots_pem(&authority.pem).unwrap();
    exercise(&connected(config));
}

#[test]
fn failures_at_the_proxy_have_code_and_stage_of_the_proxy() {
    type Answer = (&'static str, &'static str, Option<u16>, bool, &'static str);
    let answers: [Answer; 9] = [
        ("", "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\n\r\n", Some(407), false, "write http://user:password@"),
        ("user:pw@", "HTTP/1.1 407 X\r\n\r\n", Some(407), false, "does not accept the credentials"),
        ("", "HTTP/1.1 403 Forbidden\r\n\r\n", Some(403), false, "with status 403"),
        ("", "HTTP/1.1 502 Bad Gateway\r\n\r\nbody", Some(502), true, "with status 502"),
        ("", "HTTP/1.1 200 OK\r\n\r\nunasked", None, false, "sent data before the tunnel was used"),
        ("", "SSH-2.0-OpenSSH\r\n", None, false, "not HTTP"),
        ("", "HTTP/1.1 101 X\r\n\r\n", Some(101), false, "with status 101"),
        ("", "HTTP/1.1 200", None, true, "ended the connection"),
        ("", "", None, true, "ended the connection"),
    ];
    for (credentials, answer, status, retriable, text) in answers {
        let proxy = ScriptedServer::start(move |conn, _| {
            conn.respond(answer);
            assert!(!conn.request.contains("wslink-secret"));
            conn.cut();
            assert_eq!(conn.frame(), Frame::End);
        });
        let e = error_of(behind(&proxy, credentials, "ws://server.invalid/ws"));
        assert_eq!((e.code(), e.stage()), (Code::Proxy, Stage::Proxy), "{answer}: {e}");
        assert_eq!((e.http_status(), e.is_retriable()), (status, retriable), "{answer}: {e}");
        assert!(e.message().contains(text) && e.message().contains(&proxy.port().to_string()), "{answer}: {e}");
        assert!(!e.message().contains("pw"), "{e}");
    }
}

#[test]
fn an_unreachable_proxy_is_named() {
    let port = common::port_of_its_own();
    let mut config = Config::new("ws://server.invalid/ws").unwrap();
    config.set_proxy(Some(&format!("http://127.0.0.1:{port}"))).unwrap();
    let e = error_of(config);
    assert_eq!((e.code(), e.is_retriable()), (Code::Connect, true), "{e}");
    assert!(e.message().contains(&format!("127.0.0.1:{port}")), "{e}");
}

#[test]
fn a_refusal_behind_the_proxy_is_reported_for_the_server() {
    let proxy = ScriptedServer::start(|conn: &mut Conn, _| {
        conn.head();
        conn.raw("HTTP/1.1 200 OK\r\n\r\n");
        conn.respond("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    });
    let e = error_of(behind(&proxy, "", "ws://server.invalid/ws"));
    assert_eq!((e.code(), e.stage(), e.http_status()), (Code::Upgrade, Stage::Upgrade, Some(404)), "{e}");
}
