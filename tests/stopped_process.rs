//! A process that is stopped for a while (SIGSTOP, a sleeping laptop) and then finds its deadlines passed and the answers in its
//! sockets: answers that arrived in time count.
#![cfg(target_os = "linux")]

mod common;

use common::scripted::{Conn, FIN, Frame, PONG, ScriptedServer, hello_result};
use common::{PATIENCE, eventually};
use serde_json::json;
use std::io::{BufRead, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use wslink::{Args, Config, Protocol, Session, State};

/// The deadline that passes while the process is stopped.
const DEADLINE: Duration = Duration::from_secs(2);

const ROUNDS: usize = 2;

/// The client's process, as the server's script sees it.
#[derive(Clone, Default)]
struct Client(Arc<AtomicU32>);

impl Client {
    /// Stops the process, sends it data, and continues it when its deadline has passed.
    fn late(&self, send: impl FnOnce()) {
        eventually(|| self.0.load(SeqCst) != 0);
        self.signal(libc::SIGSTOP);
        eventually(|| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.load(SeqCst))).unwrap();
            stat.rsplit(')').next().unwrap().trim().starts_with('T')
        });
        send();
        // The deadline, which has begun already, must really pass.
        std::thread::sleep(DEADLINE + Duration::from_millis(50));
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        // A system call, because a command may take longer than the deadline on a busy machine.
        // SAFETY: the process is a child of this process, which has not waited for it yet.
        assert_eq!(unsafe { libc::kill(self.0.load(SeqCst) as i32, signal) }, 0);
    }

    /// Runs a test of this file in a separate process.
    fn start(&self, test: &str, url: &str) -> Child {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", test])
            .env("WSLINK_TEST_URL", url)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        self.0.store(child.id(), SeqCst);
        child
    }
}

/// The parameters of the client, read in its process.
fn config() -> Config {
    Config::new(&std::env::var("WSLINK_TEST_URL").expect("started by another test")).unwrap()
}

fn ends_well(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_pong_that_came_in_time_keeps_the_connection() {
    let client = Client::default();
    let (stopped, (done, rounds_over)) = (client.clone(), mpsc::channel());
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        for _ in 0..ROUNDS {
            assert_eq!(next_ping(conn), Frame::Ping(Vec::new()));
            stopped.late(|| conn.send(FIN | PONG, b""));
        }
        assert_eq!(next_ping(conn), Frame::Ping(Vec::new()), "it lives and goes on");
        conn.send(FIN | PONG, b"");
        done.send(()).unwrap();
        while next_ping(conn) != Frame::End {
            conn.send(FIN | PONG, b"");
        }
    });
    let mut child = client.start("beats", &server.url());
    rounds_over.recv_timeout(PATIENCE).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    ends_well(child);
}

/// The next ping of the client's heartbeat, or `Frame::End` when the connection has ended.
fn next_ping(conn: &mut Conn) -> Frame {
    loop {
        match conn.frame() {
            ping @ Frame::Ping(_) => return ping,
            Frame::End | Frame::Close(_) => return Frame::End,
            _ => {}
        }
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn beats() {
    let mut config = config();
    config.session.protocol = Some(Protocol::V2);
    config.session.heartbeat = Some(DEADLINE);
    let session = common::connected(config);
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    assert_eq!(session.state(), State::Ready, "{:?}", session.failure());
}

#[test]
fn a_reply_that_came_in_time_is_no_timeout() {
    let client = Client::default();
    let stopped = client.clone();
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(Protocol::V2);
        while let Some(call) = conn.call() {
            stopped.late(|| conn.reply(&call.id, json!(1)));
        }
    });
    ends_well(client.start("calls", &server.url()));
}

#[test]
#[ignore = "runs in a process of its own"]
fn calls() {
    // With a callback for progress, the thread that waits leaves the socket to the I/O thread.
    for progress in [false, true] {
        let mut config = config();
        config.session.protocol = Some(Protocol::V2);
        if progress {
            config.on_progress(|_| ());
        }
        let session = common::connected(config);
        for _ in 0..ROUNDS {
            session.call_wait("m", Args::new(), Some(DEADLINE)).unwrap();
            let (send, outcome) = mpsc::channel();
            session.call("m", Args::new(), Some(DEADLINE), move |o| send.send(o.map(|_| ())).unwrap()).unwrap();
            let mut came = None;
            eventually(|| {
                session.dispatch(1, Some(PATIENCE)).unwrap();
                came = outcome.try_recv().ok();
                came.is_some()
            });
            came.unwrap().unwrap();
        }
    }
}

#[test]
fn a_hello_that_was_answered_in_time_opens_the_session() {
    let client = Client::default();
    let stopped = client.clone();
    let server = ScriptedServer::start(move |conn, _| {
        conn.accept();
        conn.protocol = Protocol::V2;
        let hello = conn.call().unwrap();
        stopped.late(|| conn.reply(&hello.id, hello_result(Protocol::V2)));
        conn.until_end();
    });
    ends_well(client.start("connects", &server.url()));
}

#[test]
#[ignore = "runs in a process of its own"]
fn connects() {
    let mut config = config();
    config.session.protocol = Some(Protocol::V2);
    config.set_connect_timeout(DEADLINE).unwrap();
    Session::new(config).unwrap().connect_wait().unwrap();
}
