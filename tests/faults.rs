//! Real servers with faults: killed under load and restarted, suspended, or disturbed by what the application does or fails to do.
//! `WSLINK_ROUNDS=<n>` sets the number of kills.
#![cfg(target_os = "linux")]

mod common;

use common::{PATIENCE, Server, connected, port_of_its_own};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use wslink::Reconnect;
use wslink::{Args, Code, Config, Delivery, Policy, Session, State, result};

/// Taken by tests that measure the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn json(text: &str) -> Args {
    Args::from_json(text).unwrap()
}

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn signal(pid: u64, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

fn pid(session: &Session) -> u64 {
    let info = session.call_wait("test.info", Args::new(), Some(PATIENCE)).unwrap();
    // The method returns a map in both generations.
    result(&info).get("pid").and_then(|pid| pid.as_u64()).unwrap()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The application's counts of its calls and publications.
#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    completed: AtomicU64,
    replies: AtomicU64,
    lost: AtomicU64,
    publications: AtomicU64,
    /// The number of the last publication of the current connection.
    last: Mutex<Option<u64>>,
    /// Publications whose number does not follow the previous one.
    wrong: AtomicU64,
}

/// A session that reconnects, and whose callbacks count.
fn counted(url: &str, tally: &Arc<Tally>) -> Session {
    let mut config = Config::new(url).unwrap();
    config.delivery = Delivery::IoThread;
    let policy = Reconnect {
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(20),
        ..Reconnect::default()
    };
    config.set_reconnect(Some(policy)).unwrap();
    let count = Arc::clone(tally);
    config.on_state(move |change| {
        if change.state == State::Ready {
            *count.last.lock().unwrap() = None;
        }
    });
    let session = Session::new(config).unwrap();
    let count = Arc::clone(tally);
    session.subscribe("load", Policy::default(), move |p| {
        let number = result(p.outcome.as_ref().unwrap()).get("i").and_then(|i| i.as_u64()).unwrap();
        let before = count.last.lock().unwrap().replace(number);
        count.wrong.fetch_add(u64::from(before.is_some_and(|before| number != before + 1)), SeqCst);
        count.publications.fetch_add(1, SeqCst);
    });
    session
}

/// Makes calls as fast as the session accepts them, with a limited number in flight, until told to stop.
fn load(session: &Session, tally: &Arc<Tally>, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        if tally.accepted.load(SeqCst) - tally.completed.load(SeqCst) > 30 || session.state() != State::Ready {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let count = Arc::clone(tally);
        let number = tally.accepted.load(SeqCst);
        // Every eighth call has enough data to be cut off in the middle.
        let args = Args::new().with(number).unwrap();
        let args = if number.is_multiple_of(8) { args.with(vec![7u8; 300_000]).unwrap() } else { args };
        let accepted = session.call("test.echo", args, None, move |outcome| {
            match outcome {
                Ok(reply) => {
                    let args = result(&reply).get("args");
                    assert_eq!(args.and_then(|a| a.index(0)).and_then(|v| v.as_u64()), Some(number));
                    count.replies.fetch_add(1, SeqCst);
                }
                Err(e) => {
                    assert_eq!(e.code(), Code::ConnectionLost, "{e}");
                    count.lost.fetch_add(1, SeqCst);
                }
            }
            count.completed.fetch_add(1, SeqCst);
        });
        match accepted {
            Ok(_) => {
                tally.accepted.fetch_add(1, SeqCst);
            }
            Err(e) => assert!(e.code() == Code::State && e.is_retriable(), "{e}"),
        }
    }
}

#[test]
fn servers_that_are_killed_under_load_again_and_again() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let rounds: usize = std::env::var("WSLINK_ROUNDS").map_or(5, |n| n.parse().expect("a number"));
    for version in ["v1", "v2"] {
        let tally = Arc::new(Tally::default());
        let port = port_of_its_own().to_string();
        let mut server = Server::start(version, &["--port", &port]);
        let session = counted(&server.url(), &tally);
        session.connect_wait().unwrap();
        let stop = AtomicBool::new(false);
        // The first rounds create everything that is created only once.
        let mut usual = (0, 0, 0);
        std::thread::scope(|s| {
            s.spawn(|| load(&session, &tally, &stop));
            for round in 0..rounds {
                wait_until("ready", || session.state() == State::Ready);
                let stream = session.call_wait("test.stream.start", json(r#"["load", 1000, 1]"#), Some(PATIENCE));
                stream.unwrap();
                let (replies, publications) = (tally.replies.load(SeqCst), tally.publications.load(SeqCst));
                wait_until("load", || {
                    tally.replies.load(SeqCst) > replies + 20 && tally.publications.load(SeqCst) > publications + 5
                });
                server.kill();
                drop(std::mem::replace(&mut server, Server::start(version, &["--port", &port])));
                if round == rounds.min(10) / 2 {
                    usual = (resident(), entries("/proc/self/task"), entries("/proc/self/fd"));
                }
            }
            wait_until("ready", || session.state() == State::Ready);
            stop.store(true, SeqCst);
        });
        wait_until("completions", || tally.completed.load(SeqCst) == tally.accepted.load(SeqCst));
        let stats = session.stats();
        assert_eq!((stats.calls_in_flight, stats.late_replies, stats.unknown_replies), (0, 0, 0), "{stats:?}");
        assert_eq!(tally.replies.load(SeqCst) + tally.lost.load(SeqCst), tally.accepted.load(SeqCst));
        assert_eq!(tally.wrong.load(SeqCst), 0, "publications lost, repeated or out of order");
        let now = (resident(), entries("/proc/self/task"), entries("/proc/self/fd"));
        println!("{version}: {rounds} kills, {}; KiB, threads, descriptors: {usual:?}, now {now:?}", tally_of(&tally));
        assert!(now.0 < usual.0 + (64 << 10), "memory grows: {usual:?} {now:?}");
        // The load thread has ended; threads that read a server's output may come and go.
        assert!(now.1 <= usual.1 + 1 && now.2 <= usual.2 + 2, "threads or descriptors grow: {usual:?} {now:?}");
        drop(session);
    }
}

fn tally_of(tally: &Tally) -> String {
    let [accepted, replies, lost, publications] =
        [&tally.accepted, &tally.replies, &tally.lost, &tally.publications].map(|n| n.load(SeqCst));
    format!("{accepted} calls, {replies} replies, {lost} lost, {publications} publications")
}

/// A session with a heartbeat, and its states.
fn beating(url: &str, every: Duration) -> (Session, mpsc::Receiver<State>) {
    let (send, states) = mpsc::channel();
    let mut config = Config::new(url).unwrap();
    config.session.heartbeat = Some(every);
    config.delivery = Delivery::IoThread;
    config.on_state(move |change| send.send(change.state).unwrap());
    let session = Session::new(config).unwrap();
    session.connect_wait().unwrap();
    (session, states)
}

#[test]
fn a_suspended_server_is_given_up_by_the_heartbeat() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let server = Server::start(version, &[]);
        let (session, _states) = beating(&server.url(), Duration::from_millis(200));
        let pid = pid(&session);
        signal(pid, "STOP");
        wait_until("given up", || session.state() == State::Closed);
        let error = session.failure().unwrap();
        assert_eq!(error.code(), Code::ConnectionLost);
        assert!(error.is_retriable() && error.message().contains("nothing heard"), "{error}");
        signal(pid, "CONT");
        session.connect_wait().unwrap();
        session.call_wait("test.echo", Args::new(), Some(PATIENCE)).unwrap();
    }
}

#[test]
fn a_server_that_was_suspended_for_less_keeps_its_session() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let server = Server::start(version, &[]);
        let (session, states) = beating(&server.url(), PATIENCE);
        let pid = pid(&session);
        signal(pid, "STOP");
        // Calls that were made meanwhile are answered afterwards.
        let (send, outcome) = mpsc::channel();
        session.call("test.echo", json("[5]"), None, move |o| send.send(o.is_ok()).unwrap()).unwrap();
        assert_eq!(outcome.recv_timeout(Duration::from_millis(300)), Err(mpsc::RecvTimeoutError::Timeout));
        signal(pid, "CONT");
        assert_eq!(outcome.recv_timeout(PATIENCE), Ok(true));
        assert_eq!(states.try_iter().collect::<Vec<_>>(), [State::Connecting, State::Ready]);
    }
}

#[test]
fn an_application_that_is_blocked_for_longer_than_the_heartbeat_of_its_server_stays_connected() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        // The server pings every second and drops a client that does not answer within half a second.
        let server = Server::start(version, &["--heartbeat", "1"]);
        let session = server.session();
        session.subscribe("load", Policy::Last(1), |_| ());
        session.call_wait("test.stream.start", json(r#"["load", 100000, 5]"#), Some(PATIENCE)).unwrap();
        // This thread is the application, and it does not dispatch for four heartbeats of the server.
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(session.state(), State::Ready);
        session.call_wait("test.echo", Args::new(), Some(PATIENCE)).unwrap();
        wait_until("much is received", || session.stats().messages_in > 100);
        // One publication, and the changes of state.
        assert!(session.stats().events_waiting < 10, "{:?}", session.stats());
    }
}

/// wslink sends to its clients one after the other, so a client that does not read blocks all others.
#[test]
fn a_client_beside_ours_is_served_while_our_application_does_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let server = Server::start(version, &[]);
        let (idle, other) = (server.session(), connected(Config::new(&server.url()).unwrap()));
        for session in [&idle, &other] {
            session.subscribe("load", Policy::Last(1), |_| ());
        }
        // Much more data than the socket buffers hold, sent to both clients.
        let args = json(r#"["load", 100, 1000000]"#);
        other.call_wait("test.publish.bytes", args, Some(PATIENCE)).unwrap();
        for _ in 0..20 {
            other.call_wait("test.echo", Args::new(), Some(PATIENCE)).unwrap();
        }
        wait_until("all is received", || idle.stats().bytes_in > 100_000_000);
        assert!(idle.stats().events_waiting < 10, "{:?}", idle.stats());
    }
}
