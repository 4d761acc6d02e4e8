//! Helpers of the tests: real servers from PyPI, which run while their object lives.
#![allow(dead_code)] // Each test file uses a part.

pub mod certificates;
pub mod scripted;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wslink::{Config, Session};

/// A timeout that is long enough on a loaded machine: whatever takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The real servers, each in its own virtual environment (`scripts/setup-servers`).
pub const VERSIONS: [&str; 3] = ["v1", "v2", "v2.2"];

/// A real wslink server, or its relay. It ends when this is dropped, because its standard input closes.
pub struct Server {
    child: Child,
    pub port: u16,
    scheme: &'static str,
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn python(version: &str) -> PathBuf {
    let venvs = std::env::var_os("WSLINK_VENVS").map_or_else(|| repository().join("target/venvs"), PathBuf::from);
    let python = venvs.join(version).join("bin/python");
    assert!(python.exists(), "{} is missing: run scripts/setup-servers", python.display());
    python
}

impl Server {
    /// Starts the test application of `tests/servers` with the wslink of this version.
    pub fn start(version: &str, args: &[&str]) -> Server {
        Server::spawn(version, "app.py", args, &[])
    }

    pub fn spawn(version: &str, script: &str, args: &[&str], env: &[(&str, &str)]) -> Server {
        let script = repository().join("tests/servers").join(script);
        let mut child = Command::new(python(version))
            .arg("-B")
            .arg(script)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (send, ready) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let mut reader = BufReader::new(stdout);
            let _ = reader.read_line(&mut line);
            let _ = send.send(line);
            // Read on, so that the server never blocks on its output.
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        let line = ready.recv_timeout(PATIENCE).expect("the server says that it is ready");
        let port = line.trim().strip_prefix("READY ").unwrap_or_else(|| panic!("{line:?}")).parse().expect("a port");
        let scheme = if args.contains(&"--ssl") { "wss" } else { "ws" };
        Server { child, port, scheme }
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}/ws", self.scheme, self.port)
    }

    /// A connected session.
    pub fn session(&self) -> Session {
        connected(Config::new(&self.url()).unwrap())
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether its process has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}

/// A port for a server that is started later, or never; each call returns another port. The ports are outside the range that the
/// system gives to clients: otherwise any program could take the port while the server is away, and a client could even connect
/// to itself.
pub fn port_of_its_own() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 2000;
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let for_clients = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok()).unwrap_or(32_768);
    assert!(for_clients > FIRST, "all ports are for clients: from {for_clients}");
    // Processes that run at the same time begin at different ports.
    let begin = std::process::id().wrapping_mul(16);
    let mut ports = std::iter::repeat_with(|| begin.wrapping_add(NEXT.fetch_add(1, Relaxed)))
        .map(|n| (FIRST + n % (for_clients - FIRST)) as u16);
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.by_ref().take(1000).find(free).expect("a free port")
}

/// A session that is ready.
pub fn connected(config: Config) -> Session {
    let session = Session::new(config).unwrap();
    session.connect_wait().unwrap_or_else(|e| panic!("{e}"));
    session
}

/// Waits until the condition holds.
pub fn eventually(mut has: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !has() {
        assert!(Instant::now() < end, "it does not come about within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The pattern of `test.bytes` (`tests/servers/values.py`).
pub fn pattern(size: usize, seed: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 + (i >> 8) * 7 + (i >> 16) * 13 + seed) as u8).collect()
}

/// The recorded traffic of real servers.
pub fn captures() -> PathBuf {
    repository().join("tests/captures")
}

pub fn is_file(path: &Path) -> bool {
    path.is_file()
}
