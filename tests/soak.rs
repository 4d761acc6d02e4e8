//! Random load on real servers of both generations, which are killed, suspended and restarted. At the end every count must balance,
//! and memory must not have grown. `scripts/soak [SECONDS]` runs it.
#![cfg(target_os = "linux")]

mod common;

use common::{PATIENCE, Server, pattern, port_of_its_own};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use wslink::LogLevel;
use wslink::Reconnect;
use wslink::{Args, Code, Config, Delivery, Outcome, Policy, Session, State, result};

/// Sessions for each server; each has its own application thread.
const SESSIONS: u64 = 4;

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// splitmix64: a small generator that is good enough to choose the next step.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Default)]
struct Tally {
    accepted: AtomicU64,
    completed: AtomicU64,
    replies: AtomicU64,
    remote_errors: AtomicU64,
    lost: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    publications: AtomicU64,
    sessions: AtomicU64,
    ready: AtomicU64,
    kills: AtomicU64,
    suspensions: AtomicU64,
    /// Callbacks that were passed to the library, and those that it has dropped.
    callbacks: AtomicU64,
    drops: AtomicU64,
    /// Violated promises.
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap();
        if wrong.len() < 20 {
            wrong.push(what);
        }
    }

    /// A part of a callback, which counts the callback's drop.
    fn callback(self: &Arc<Tally>) -> Counted {
        self.callbacks.fetch_add(1, SeqCst);
        Counted(Arc::clone(self))
    }

    fn outcome(&self, outcome: &Outcome) {
        self.completed.fetch_add(1, SeqCst);
        let count = match outcome.as_ref().map_err(wslink::Error::code) {
            Ok(_) => &self.replies,
            Err(Code::Remote) => &self.remote_errors,
            Err(Code::ConnectionLost) => &self.lost,
            Err(Code::Timeout) => &self.timed_out,
            Err(Code::Cancelled) => &self.cancelled,
            Err(Code::Closed) => &self.closed,
            Err(code) => return self.wrong(format!("a call ended with {code:?}: {:?}", outcome.as_ref().err())),
        };
        count.fetch_add(1, SeqCst);
    }
}

struct Counted(Arc<Tally>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, SeqCst);
    }
}

/// One application thread and its session, which is freed and created again from time to time.
struct User<'a> {
    version: &'a str,
    url: &'a str,
    tally: &'a Arc<Tally>,
    chance: Chance,
    subscriptions: Vec<u64>,
    calls: Vec<u64>,
}

impl User<'_> {
    fn session(&mut self) -> Session {
        let mut config = Config::new(self.url).unwrap();
        config.session.heartbeat = Some(Duration::from_millis(300 + self.chance.below(1000)));
        config.session.connect_timeout = Duration::from_secs(5);
        config.delivery = if self.chance.one_in(2) { Delivery::IoThread } else { Delivery::Queued };
        let policy = Reconnect {
            first_delay: Duration::from_millis(1 + self.chance.below(50)),
            longest_delay: Duration::from_millis(200),
            at_first: true,
            ..Reconnect::default()
        };
        config.set_reconnect(Some(policy)).unwrap();
        let (tally, guard) = (Arc::clone(self.tally), self.tally.callback());
        config.on_state(move |change| {
            let _ = &guard;
            tally.ready.fetch_add(u64::from(change.state == State::Ready), SeqCst);
        });
        let (tally, version) = (Arc::clone(self.tally), self.version.to_owned());
        config.set_log(LogLevel::Warning, move |_, line| {
            if line.contains("malformed message(s)") {
                tally.wrong(format!("{version}: {line}"));
            }
        });
        self.tally.sessions.fetch_add(1, SeqCst);
        self.subscriptions.clear();
        self.calls.clear();
        let session = Session::new(config).unwrap();
        session.connect().unwrap();
        session
    }

    /// Returns when told to stop. The session is then freed, so every accepted call has completed.
    fn live(mut self, stop: &AtomicBool) {
        while !stop.load(SeqCst) {
            let session = self.session();
            let steps = 200 + self.chance.below(5000);
            for _ in 0..steps {
                if stop.load(SeqCst) {
                    break;
                }
                self.step(&session);
                // Like a program that has other work too.
                let _ = session.dispatch(20, Some(Duration::ZERO));
            }
            if self.chance.one_in(2) {
                session.close_wait(Duration::from_millis(self.chance.below(200))).unwrap();
            }
            let handle = session.handle();
            drop(session);
            let stats = handle.stats();
            if stats.calls_in_flight != 0 || stats.unknown_replies != 0 || stats.malformed != 0 {
                self.tally.wrong(format!("after the end of a session: {stats:?}"));
            }
        }
    }

    fn step(&mut self, session: &Session) {
        if session.state() != State::Ready {
            thread::sleep(Duration::from_millis(1));
        }
        match self.chance.below(20) {
            0..=9 => self.echo(session),
            10 | 11 => self.download(session),
            12 => self.call(session, "test.raise", Args::new(), |_| None),
            13 => self.call(session, "test.sleep", Args::new().with(0.05).unwrap(), |_| None),
            14 => {
                let topic = format!("topic{}", self.chance.below(4));
                let count = self.chance.below(30);
                let args = Args::new().with(topic.as_str()).unwrap().with(count).unwrap();
                self.call(session, "test.publish", args, |_| None);
            }
            15 => {
                let args = Args::new().with("blocking").unwrap();
                let timeout = Duration::from_millis(1 + self.chance.below(300));
                // The tally does not count blocking calls and their outcomes.
                let _ = session.call_wait("test.echo", args, Some(timeout));
            }
            16 if !self.calls.is_empty() => {
                let which = self.chance.below(self.calls.len() as u64) as usize;
                session.cancel(self.calls.swap_remove(which));
            }
            17 if self.subscriptions.len() < 6 => self.subscribe(session),
            18 if !self.subscriptions.is_empty() => {
                let which = self.chance.below(self.subscriptions.len() as u64) as usize;
                session.unsubscribe(self.subscriptions.swap_remove(which)).unwrap();
            }
            19 if self.chance.one_in(100) => session.close(Duration::from_millis(self.chance.below(50))),
            19 if session.state() == State::Closed => drop(session.connect()),
            _ => {}
        }
        let end = Instant::now() + PATIENCE;
        while session.stats().calls_in_flight > 50 {
            if Instant::now() > end {
                return self.tally.wrong(format!("calls hang: {:?}", session.stats()));
            }
            thread::sleep(Duration::from_millis(1));
            let _ = session.dispatch(20, Some(Duration::ZERO));
        }
    }

    fn call(
        &mut self,
        session: &Session,
        method: &str,
        args: Args,
        check: impl FnOnce(&Outcome) -> Option<String> + Send + 'static,
    ) {
        let (tally, guard) = (Arc::clone(self.tally), self.tally.callback());
        let timeout = (!self.chance.one_in(3)).then(|| Duration::from_millis(1 + self.chance.below(2000)));
        // Count first, because the completion may run before the function returns.
        self.tally.accepted.fetch_add(1, SeqCst);
        let accepted = session.call(method, args, timeout, move |outcome| {
            let _ = &guard;
            tally.outcome(&outcome);
            if let Some(what) = check(&outcome) {
                tally.wrong(what);
            }
        });
        match accepted {
            Ok(id) => {
                self.calls.push(id);
                if self.calls.len() > 100 {
                    self.calls.remove(0);
                }
            }
            Err(_) => {
                self.tally.accepted.fetch_sub(1, SeqCst);
                self.tally.refused.fetch_add(1, SeqCst);
            }
        }
    }

    /// A server of generation 1 mixes up the attachments of clients that upload at the same time, so it gets text.
    fn echo(&mut self, session: &Session) {
        let number = self.chance.below(u64::MAX);
        let size = if self.chance.one_in(10) { self.chance.below(1 << 20) } else { self.chance.below(200) } as usize;
        let data = vec![b'a' + (number % 26) as u8; size];
        let args = Args::new().with(number).unwrap();
        let args = match self.version {
            "v1" => args.with(String::from_utf8(data.clone()).unwrap().as_str()),
            _ => args.with(data.clone()),
        };
        self.call(session, "test.echo", args.unwrap(), move |outcome| {
            let reply = outcome.as_ref().ok()?;
            let args = result(reply).get("args");
            let same = args.and_then(|a| a.index(0)).and_then(|v| v.as_u64()) == Some(number);
            let echo = args.and_then(|a| a.index(1)).and_then(|v| v.as_bytes().or(v.as_str().map(str::as_bytes)));
            (!same || echo != Some(&data[..])).then(|| format!("the echo of {number} is another one"))
        });
    }

    fn download(&mut self, session: &Session) {
        let (size, seed) = (self.chance.below(200_000) as usize, self.chance.below(256) as usize);
        let args = Args::new().with(size as u64).unwrap().with(seed as u64).unwrap();
        self.call(session, "test.bytes", args, move |outcome| {
            let reply = outcome.as_ref().ok()?;
            let right = result(reply).as_bytes() == Some(&pattern(size, seed)[..]);
            (!right).then(|| format!("{size} bytes are others"))
        });
    }

    fn subscribe(&mut self, session: &Session) {
        let topic = format!("topic{}", self.chance.below(4));
        let policy = [Policy::All(1000), Policy::Last(1), Policy::Last(5)][self.chance.below(3) as usize];
        let (tally, guard) = (Arc::clone(self.tally), self.tally.callback());
        self.subscriptions.push(session.subscribe(&topic, policy, move |p| {
            let _ = &guard;
            tally.publications.fetch_add(1, SeqCst);
            if let Err(e) = p.outcome {
                tally.wrong(format!("a publication is an error: {e}"));
            }
        }));
    }
}

/// The server, and the faults that it is given.
fn trouble(version: &str, mut server: Server, tally: &Tally, mut chance: Chance, stop: &AtomicBool) {
    let port = server.port.to_string();
    while !stop.load(SeqCst) {
        for _ in 0..20 + chance.below(60) {
            if stop.load(SeqCst) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        if chance.one_in(2) {
            server.kill();
            tally.kills.fetch_add(1, SeqCst);
            drop(server);
            server = Server::start(version, &["--port", &port]);
        } else {
            tally.suspensions.fetch_add(1, SeqCst);
            let signal = |name: &str| {
                let pid = server.id().to_string();
                assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
            };
            signal("-STOP");
            thread::sleep(Duration::from_millis(chance.below(3000)));
            signal("-CONT");
        }
    }
}

#[test]
fn soak() {
    let seconds = std::env::var("WSLINK_SOAK_SECONDS").map_or(20, |s| s.parse().expect("a number"));
    let seed = std::env::var("WSLINK_SEED").map_or(1, |s| s.parse().expect("a number"));
    let tally = Arc::new(Tally::default());
    let stop = AtomicBool::new(false);
    let before = (entries("/proc/self/task"), entries("/proc/self/fd"));
    let mut memory = Vec::new();
    let servers = ["v1", "v2"].map(|version| {
        let port = port_of_its_own().to_string();
        (version, Server::start(version, &["--port", &port]))
    });
    let urls = servers.each_ref().map(|(_, server)| server.url());
    thread::scope(|s| {
        for (number, ((version, server), url)) in servers.into_iter().zip(&urls).enumerate() {
            let (tally, stop, number) = (&tally, &stop, number as u64);
            s.spawn(move || trouble(version, server, tally, Chance(seed + number), stop));
            for user in 0..SESSIONS {
                let chance = Chance(seed + 1000 * (1 + user) + number);
                let user = User { version, url, tally, chance, subscriptions: Vec::new(), calls: Vec::new() };
                s.spawn(move || user.live(stop));
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(500));
            memory.push(resident());
        }
        stop.store(true, SeqCst);
    });
    let t = |n: &AtomicU64| n.load(SeqCst);
    let [accepted, completed] = [&tally.accepted, &tally.completed].map(t);
    println!("{seconds} s, {} sessions, ready {} times", t(&tally.sessions), t(&tally.ready));
    println!("servers: {} kills, {} suspensions", t(&tally.kills), t(&tally.suspensions));
    println!(
        "{accepted} calls: {} replies, {} remote errors, {} lost, {} timed out, {} cancelled, {} closed; {} refused",
        t(&tally.replies),
        t(&tally.remote_errors),
        t(&tally.lost),
        t(&tally.timed_out),
        t(&tally.cancelled),
        t(&tally.closed),
        t(&tally.refused)
    );
    println!("{} publications, {} callbacks, {} drops", t(&tally.publications), t(&tally.callbacks), t(&tally.drops));
    let quarter = memory.len() / 4;
    let peak = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (early, late) = (peak(&memory[quarter..2 * quarter]), peak(&memory[3 * quarter..]));
    println!("memory: at most {early} KiB in the second quarter, {late} KiB in the last one");

    assert!(tally.wrong.lock().unwrap().is_empty(), "{:#?}", tally.wrong.lock().unwrap());
    assert_eq!(completed, accepted, "one completion for each accepted call");
    assert_eq!(t(&tally.drops), t(&tally.callbacks), "each callback is dropped once");
    assert!(t(&tally.replies) > accepted / 10 && t(&tally.ready) > t(&tally.kills), "hardly anything happened");
    // The pools of the sessions fill at the beginning.
    let most = if seconds < 120 { 512 << 10 } else { early + early / 4 + (16 << 10) };
    assert!(late < most, "memory grows: {memory:?}");
    // The threads that read the servers' output end by themselves.
    let end = Instant::now() + PATIENCE;
    while (entries("/proc/self/task"), entries("/proc/self/fd")) > before {
        assert!(Instant::now() < end, "threads or descriptors stay behind: {before:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
