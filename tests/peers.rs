//! Proxies between the library and real servers of both generations: tinyproxy, nginx, HAProxy and jupyter-server-proxy. They must
//! be installed, so these tests run only on request, by `scripts/test-peers`.

mod common;

use common::certificates::{Authority, Signed, VALID};
use common::scripted::ScriptedServer;
use common::{PATIENCE, Server, connected, eventually, port_of_its_own};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;
use wslink::Reconnect;
use wslink::{Args, Code, Config, Delivery, Error, Session, Stage, State, result};

/// One server of each generation.
const GENERATIONS: [&str; 2] = ["v1", "v2"];

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}.{}.{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Writes a file and returns its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program that listens on a port until this is dropped.
struct Peer(Child);

impl Peer {
    fn start(command: &mut Command, port: u16) -> Peer {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        let mut peer = Peer(child.unwrap_or_else(|e| panic!("{name:?}: {e}; run scripts/test-peers")));
        eventually(|| {
            assert!(peer.0.try_wait().unwrap().is_none(), "{name:?} has ended");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn error_of(config: Config) -> Error {
    Session::new(config).unwrap().connect_wait().unwrap_err()
}

/// Makes large and small calls, in both directions.
fn exercise(session: &Session) {
    let args = Args::new().with(3_000_000i64).unwrap().with(3i64).unwrap();
    let reply = session.call_wait("test.bytes", args, Some(PATIENCE)).unwrap();
    assert_eq!(result(&reply).as_bytes().map(<[u8]>::len), Some(3_000_000));
    let args = Args::new().with(vec![7u8; 1_000_000]).unwrap();
    let reply = session.call_wait("test.sum", args, Some(PATIENCE)).unwrap();
    assert_eq!(result(&reply).get("len").unwrap().as_i64(), Some(1_000_000));
    let reply = session.call_wait("myprotocol.add", Args::from_json("[[1, 2]]").unwrap(), Some(PATIENCE)).unwrap();
    assert_eq!(result(&reply).as_i64(), Some(3));
}

/// Code, stage, HTTP status, whether the error is retriable, and texts of its message.
#[track_caller]
fn assert_error(e: &Error, code: Code, stage: Stage, status: Option<u16>, retriable: bool, words: &[&str]) {
    assert_eq!((e.code(), e.stage(), e.http_status()), (code, stage, status), "{e}");
    assert_eq!(e.is_retriable(), retriable, "{e}");
    for text in words {
        assert!(e.message().contains(text), "{e} lacks {text:?}");
    }
    println!("{e}");
}

#[test]
fn tinyproxy() {
    let folder = Folder::new("tinyproxy");
    let servers = GENERATIONS.map(|version| Server::start(version, &[]));
    let tls = Server::start("v2", &["--ssl", "adhoc"]);
    let nobody = port_of_its_own();
    let start = |more: &str| {
        let port = port_of_its_own();
        let allowed: String = servers.iter().chain([&tls]).map(|s| format!("ConnectPort {}\n", s.port)).collect();
        let config = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nLogFile \"{}\"\nLogLevel Critical\n{allowed}ConnectPort {nobody}\n{more}\n",
            folder.0.join("log").display()
        );
        let file = folder.file(&format!("{port}.conf"), config);
        (Peer::start(Command::new("tinyproxy").args(["-d", "-c", &file]), port), port)
    };
    let behind = |proxy: u16, credentials: &str, url: &str| {
        let mut config = Config::new(url).unwrap();
        config.set_proxy(Some(&format!("http://{credentials}127.0.0.1:{proxy}"))).unwrap();
        config
    };

    let (_proxy, port) = start("");
    for server in &servers {
        let session = connected(behind(port, "", &server.url()));
        exercise(&session);
        assert_eq!(session.peer_addr().unwrap().port(), port);
    }
    let e = error_of(behind(port, "", &tls.url()));
    assert_error(&e, Code::Tls, Stage::Tls, None, false, &["pin its fingerprint"]);
    let mut open = behind(port, "", &tls.url());
    open.tls.danger_no_verification = true;
    exercise(&connected(open));

    let refused = |status, retriable, url: &str, words: &[&str]| {
        let e = error_of(behind(port, "", url));
        assert_error(&e, Code::Proxy, Stage::Proxy, Some(status), retriable, words);
    };
    refused(403, false, "ws://127.0.0.1:1/ws", &["403", "does not allow this host or port"]);
    refused(500, true, &format!("ws://127.0.0.1:{nobody}/ws"), &["500 Unable to connect"]);
    refused(500, true, &format!("ws://no-such-host.invalid:{nobody}/ws"), &["500 Unable to connect"]);
    // The proxy serves HTTP like a web server, with its own error text.
    let e = error_of(Config::new(&format!("ws://127.0.0.1:{port}/ws")).unwrap());
    assert_error(&e, Code::Upgrade, Stage::Upgrade, e.http_status(), e.is_retriable(), &["the server answered"]);
    assert!(e.http_status().is_some(), "{e}");

    let (_strict, port) = start("BasicAuth user secret");
    exercise(&connected(behind(port, "user:secret@", &servers[1].url())));
    for (credentials, words) in
        [("", "write http://user:password@"), ("user:wrong@", "does not accept the credentials")]
    {
        let e = error_of(behind(port, credentials, &servers[1].url()));
        assert_eq!((e.code(), e.stage(), e.is_retriable()), (Code::Proxy, Stage::Proxy, false), "{e}");
        assert!(matches!(e.http_status(), Some(401 | 407)), "{e}");
        assert!(e.message().contains(words), "{e} lacks {words:?}");
        assert!(!e.message().contains("wrong@"), "{e}");
    }
}

/// nginx with TLS, in front of servers of both generations.
struct Nginx {
    folder: Folder,
    port: u16,
    authority: Authority,
    peer: Option<Peer>,
}

impl Nginx {
    fn new(locations: &str) -> Nginx {
        let folder = Folder::new("nginx");
        let port = port_of_its_own();
        let authority = Authority::new("authority of nginx", None);
        let Signed { pem, key } = authority.issue(&["127.0.0.1", "localhost"], VALID);
        let (pem, key) = (folder.file("crt", pem), folder.file("key", key));
        let root = folder.0.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"))
            .collect();
        folder.file(
            "nginx.conf",
            format!(
                "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/error.log;\n\
                 events {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n{temporary}\
                 proxy_http_version 1.1;\nserver {{\nlisten 127.0.0.1:{port} ssl;\n\
                 ssl_certificate {pem};\nssl_certificate_key {key};\n{locations}\n}}\n}}\n"
            ),
        );
        Nginx { folder, port, authority, peer: None }
    }

    fn start(&mut self) {
        let root = self.folder.0.to_str().unwrap();
        let mut command = Command::new("nginx");
        command.args(["-p", root, "-c", &format!("{root}/nginx.conf"), "-e", &format!("{root}/error.log")]);
        self.peer = Some(Peer::start(&mut command, self.port));
    }

    fn config(&self, path: &str) -> Config {
        let mut config = Config::new(&format!("wss://localhost:{}{path}", self.port)).unwrap();
        config.tls.add_roots_pem(&self.authority.pem).unwrap();
        config
    }
}

/// A location that forwards to a server, with the headers for WebSocket.
fn location(path: &str, port: u16) -> String {
    format!(
        "location {path} {{ proxy_pass http://127.0.0.1:{port}/ws; proxy_set_header Upgrade $http_upgrade; \
         proxy_set_header Connection upgrade; proxy_read_timeout 60s; }}\n"
    )
}

#[test]
fn nginx() {
    let [v1, v2] = GENERATIONS.map(|version| Server::start(version, &[]));
    let nobody = port_of_its_own();
    let mut nginx = Nginx::new(
        &[
            location("/v1/ws", v1.port),
            location("/v2/ws", v2.port),
            location("/down", nobody),
            format!("location /bare {{ proxy_pass http://127.0.0.1:{}/ws; }}\n", v2.port),
            "location /login { return 302 https://login.invalid/; }\n".into(),
            "location /busy { add_header Retry-After 7 always; return 429; }\n".into(),
            "location /secret { return 401; }\n".into(),
        ]
        .concat(),
    );
    nginx.start();
    for path in ["/v1/ws", "/v2/ws", "/v2/ws?sessionId=1&name=J\u{fc}rgen"] {
        exercise(&connected(nginx.config(path)));
    }
    let refused = |path: &str, status, retriable, words: &[&str]| {
        let e = error_of(nginx.config(path));
        assert_error(&e, Code::Upgrade, Stage::Upgrade, Some(status), retriable, words);
        assert!(!e.message().contains('<'), "{e}");
        e
    };
    refused("/down", 502, true, &["502 Bad Gateway", "is down"]);
    refused("/nowhere", 404, false, &["404 Not Found", "is the path of the URL right?"]);
    refused("/login", 302, false, &["it redirects to https://login.invalid/"]);
    refused("/secret", 401, false, &["credentials are missing or wrong"]);
    let e = refused("/busy", 429, true, &["too many requests"]);
    assert_eq!(e.retry_after(), Some(Duration::from_secs(7)));
    // Without the upgrade headers, the server takes the request for one of a browser.
    let e = error_of(nginx.config("/bare"));
    assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade), "{e}");
    assert!(matches!(e.http_status(), Some(400 | 500)) && e.message().contains("pass the Upgrade header on"), "{e}");

    let plain = Config::new(&format!("ws://localhost:{}/v2/ws", nginx.port)).unwrap();
    let e = error_of(plain);
    assert_error(&e, Code::Upgrade, Stage::Upgrade, Some(400), false, &["HTTPS port", "use wss://"]);
}

/// All connections end, nobody listens for a while, and then the server is back: subscriptions go on.
#[test]
fn nginx_that_starts_again() {
    let servers = GENERATIONS.map(|version| Server::start(version, &[]));
    let mut nginx = Nginx::new(&[location("/v1/ws", servers[0].port), location("/v2/ws", servers[1].port)].concat());
    nginx.start();
    let sessions = ["/v1/ws", "/v2/ws"].map(|path| {
        let mut config = nginx.config(path);
        config.delivery = Delivery::IoThread;
        let policy = Reconnect {
            first_delay: Duration::from_millis(20),
            longest_delay: Duration::from_millis(100),
            ..Reconnect::default()
        };
        config.set_reconnect(Some(policy)).unwrap();
        let (send, states) = mpsc::channel();
        config.on_state(move |change| send.send(change.state).unwrap());
        (connected(config), states)
    });
    let until = |states: &mpsc::Receiver<State>, wanted| {
        while states.recv_timeout(PATIENCE).expect("a state") != wanted {}
    };
    for (_, states) in &sessions {
        until(states, State::Ready);
    }
    nginx.peer = None;
    for (_, states) in &sessions {
        until(states, State::Reconnecting);
        // The first attempt after the loss has failed, too.
        until(states, State::Reconnecting);
    }
    nginx.start();
    for (session, states) in &sessions {
        until(states, State::Ready);
        exercise(session);
    }
}

#[test]
fn haproxy() {
    let folder = Folder::new("haproxy");
    let servers = GENERATIONS.map(|version| Server::start(version, &[]));
    let silent = ScriptedServer::start(|conn, _| {
        conn.head();
        conn.until_end();
    });
    let authority = Authority::new("authority of HAProxy", None);
    let clients = Authority::new("clients of HAProxy", None);
    let own = authority.issue(&["127.0.0.1"], VALID);
    let pem = folder.file("both.pem", format!("{}{}", own.pem, own.key));
    let client_roots = folder.file("clients.pem", &clients.pem);
    let [tls, plain] = [port_of_its_own(), port_of_its_own()];
    let backends: String = GENERATIONS
        .iter()
        .zip(&servers)
        .map(|(version, server)| format!("backend {version}\n  server s 127.0.0.1:{}\n", server.port))
        .collect();
    let file = folder.file(
        "haproxy.cfg",
        format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 2s\n  timeout server 2s\n  timeout tunnel 4s\n\
             frontend f\n  bind 127.0.0.1:{tls} ssl crt {pem} ca-file {client_roots} verify required\n  bind 127.0.0.1:{plain}\n\
             \x20 http-request set-path /ws if {{ path_beg /v }}\n\
             \x20 http-request deny deny_status 403 if {{ path_beg /denied }}\n\
             \x20 use_backend v1 if {{ url_param(to) v1 }}\n  use_backend v2 if {{ url_param(to) v2 }}\n\
             \x20 use_backend silent if {{ path_beg /silent }}\n  default_backend none\n\
             {backends}backend silent\n  server s 127.0.0.1:{}\nbackend none\n",
            silent.port()
        ),
    );
    let _peer = Peer::start(Command::new("haproxy").args(["-db", "-q", "-f", &file]), plain);

    for version in GENERATIONS {
        exercise(&connected(Config::new(&format!("ws://127.0.0.1:{plain}/v?to={version}")).unwrap()));
    }
    let refused = |path: &str, status, retriable, words: &[&str]| {
        let e = error_of(Config::new(&format!("ws://127.0.0.1:{plain}{path}")).unwrap());
        assert_error(&e, Code::Upgrade, Stage::Upgrade, Some(status), retriable, words);
        assert!(!e.message().contains('<'), "{e}");
    };
    refused("/nothing", 503, true, &["503 Service Unavailable", "not ready"]);
    refused("/denied", 403, false, &["403 Forbidden"]);
    refused("/silent", 504, true, &["504 Gateway Time-out", "does not answer"]);

    // The proxy closes connections that are silent for four seconds; a heartbeat keeps them open.
    for version in GENERATIONS {
        let url = format!("ws://127.0.0.1:{plain}/v?to={version}");
        let idle = connected(Config::new(&url).unwrap());
        while idle.state() != State::Closed {
            assert_ne!(idle.dispatch(10, Some(PATIENCE)).unwrap(), 0);
        }
        let e = idle.failure().unwrap();
        assert_error(&e, Code::ConnectionLost, Stage::Session, None, true, &[]);
        let mut config = Config::new(&url).unwrap();
        config.session.heartbeat = Some(Duration::from_secs(1));
        let alive = connected(config);
        // Longer than the tunnel would live without a heartbeat.
        assert_eq!(alive.dispatch(1, Some(Duration::from_secs(6))).map(|_| alive.state()), Ok(State::Ready));
        exercise(&alive);
    }

    let secure = |identity: Option<&Signed>| {
        let mut config = Config::new(&format!("wss://127.0.0.1:{tls}/v?to=v2")).unwrap();
        config.tls.add_roots_pem(&authority.pem).unwrap();
        if let Some(identity) = identity {
            config.tls.set_identity(&identity.pem, &identity.key).unwrap();
        }
        config
    };
    exercise(&connected(secure(Some(&clients.issue(&["client"], VALID)))));
    let e = error_of(secure(None));
    assert_error(&e, Code::Tls, Stage::Tls, None, false, &["wants a certificate of the client"]);
    let e = error_of(secure(Some(&Authority::new("strangers", None).issue(&["client"], VALID))));
    assert_error(&e, Code::Tls, Stage::Tls, None, false, &["does not accept the certificate of the client"]);
}

#[test]
fn jupyter_server_proxy() {
    let folder = Folder::new("jupyter");
    let servers = GENERATIONS.map(|version| Server::start(version, &[]));
    let port = port_of_its_own();
    let home = folder.0.to_str().unwrap();
    let python = common::python("jupyter");
    let mut command = Command::new(python.with_file_name("jupyter-server"));
    command.args(["--no-browser", "--allow-root", "--ip=127.0.0.1", "--IdentityProvider.token=geheim"]);
    command.args([&format!("--port={port}"), "--ServerApp.port_retries=0", "--log-level=CRITICAL"]);
    command.current_dir(home).env("HOME", home).env("JUPYTER_CONFIG_DIR", home).env("JUPYTER_RUNTIME_DIR", home);
    let _peer = Peer::start(&mut command, port);

    let url = |server: u16, query: &str| format!("ws://127.0.0.1:{port}/proxy/{server}/ws{query}");
    for server in &servers {
        exercise(&connected(Config::new(&url(server.port, "?token=geheim")).unwrap()));
        let mut config = Config::new(&url(server.port, "")).unwrap();
        config.add_header("Authorization", "token geheim").unwrap();
        exercise(&connected(config));
    }
    for query in ["", "?token=wrong"] {
        let e = error_of(Config::new(&url(servers[1].port, query)).unwrap());
        assert_error(&e, Code::Upgrade, Stage::Upgrade, Some(403), false, &["403 Forbidden", "not allowed"]);
    }
}
