//! Thousands of sessions with a simulated server, network, application and clock. A seeded generator chooses every step. A failing
//! session prints its seed, and `WSLINK_SEED=<seed> cargo test --test simulation -- --nocapture` runs it alone with a trace of its
//! steps. `WSLINK_SESSIONS=<n>` sets the number of sessions.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use wslink::Reconnect;
use wslink::session::calls::Deadline;
use wslink::session::core::{Core, Effect, Seeds, State, StateChange};
use wslink::session::inbound::{Inbound, Received};
use wslink::session::options::Options;
use wslink::wire::buffer::BufferPool;
use wslink::wire::limits::Limits;
use wslink::wire::msgpack::encode::Encode;
use wslink::wire::outgoing::Outgoing;
use wslink::{Args, Code, Error, Protocol, result};

/// splitmix64: a small generator that is good enough to choose steps.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A message of the server on its way to the client.
type Wire = (bool, Vec<u8>);

/// A server of one generation: the messages that it sends, and the calls that it never answers.
struct SimulatedServer {
    protocol: Protocol,
    /// Replies that are not sent yet.
    owed: Vec<(String, u64)>,
    to_client: VecDeque<Wire>,
    published: u64,
    authenticated: bool,
}

impl SimulatedServer {
    fn message(&mut self, id: &str, value: u64, chance: &mut Chance) {
        match self.protocol {
            Protocol::V1 => {
                let text = format!(r#"{{"wslink": "1.0", "id": "{id}", "result": {value}}}"#);
                self.to_client.push_back((true, text.into_bytes()));
            }
            Protocol::V2 => {
                let mut message = Vec::new();
                message.map_head(3);
                for text in ["wslink", "1.0", "id", id, "result"] {
                    message.str(text);
                }
                message.uint(value);
                self.chunks(&message, chance);
            }
        }
    }

    /// A message in one or more chunks, sometimes out of order.
    fn chunks(&mut self, message: &[u8], chance: &mut Chance) {
        let number = chance.next() as u32;
        let size = if chance.one_in(2) { message.len() } else { 1 + chance.below(message.len() as u64) as usize };
        let mut chunks: Vec<Wire> = message
            .chunks(size)
            .enumerate()
            .map(|(i, data)| {
                let mut frame = number.to_le_bytes().to_vec();
                frame.extend(((i * size) as u32).to_le_bytes());
                frame.extend((message.len() as u32).to_le_bytes());
                frame.extend(data);
                (false, frame)
            })
            .collect();
        if chunks.len() > 1 && chance.one_in(4) {
            let other = chance.below(chunks.len() as u64) as usize;
            chunks.swap(0, other);
        }
        self.to_client.extend(chunks);
    }

    fn hello(&mut self, chance: &mut Chance) {
        self.authenticated = true;
        match self.protocol {
            Protocol::V1 => {
                let text = r#"{"wslink": "1.0", "id": "system:c0:0", "result": {"clientID": "cabc"}}"#;
                self.to_client.push_back((true, text.into()));
            }
            Protocol::V2 => {
                let mut message = Vec::new();
                message.map_head(2);
                for text in ["id", "system:c0:0", "result"] {
                    message.str(text);
                }
                message.map_head(2);
                message.str("clientID");
                message.str("cabc");
                message.str("maxMsgSize");
                message.uint(13 + chance.below(200));
                self.chunks(&message, chance);
            }
        }
    }

    /// Handles a message of the client. `false` means that the server ends the connection.
    fn received(&mut self, text: bool, payload: &[u8], parts: &mut Vec<u8>, chance: &mut Chance) -> bool {
        match (self.protocol, text) {
            (Protocol::V2, true) => true, // ignored
            (Protocol::V1, false) => self.authenticated,
            (Protocol::V1, true) => {
                let message: serde_json::Value = serde_json::from_slice(payload).expect("the client sends JSON");
                if message["method"] == "wslink.binary.attachment" {
                    return true;
                }
                let id = message["id"].as_str().expect("ids are strings").to_owned();
                match message["method"].as_str() {
                    Some("wslink.hello") => self.hello(chance),
                    Some("wslink.probe") => {
                        let text = r#"{"id": "system:c0:0", "error": {"code": -32601, "message": "Unknown system method called"}}"#;
                        self.to_client.push_back((true, text.into()));
                    }
                    _ => self.owed.push((id, message["args"][0].as_u64().expect("the number of the call"))),
                }
                true
            }
            (Protocol::V2, false) => {
                parts.extend_from_slice(&payload[12..]);
                let total = u32::from_le_bytes(payload[8..12].try_into().unwrap()) as usize;
                if parts.len() < total {
                    return true;
                }
                let message: rmpv::Value = rmpv::decode::read_value(&mut &parts[..]).expect("the client sends msgpack");
                parts.clear();
                let get = |key: &str| {
                    message.as_map().unwrap().iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v.clone())
                };
                let id = get("id").unwrap().as_str().unwrap().to_owned();
                if get("method").unwrap().as_str() == Some("wslink.hello") {
                    self.hello(chance);
                } else {
                    self.owed.push((id, get("args").unwrap().as_array().unwrap()[0].as_u64().unwrap()));
                }
                true
            }
        }
    }
}

/// The application's record of its calls.
#[derive(Default)]
struct Application {
    /// Accepted calls that have not completed: number and deadline.
    open: BTreeMap<u64, Option<Instant>>,
    ids: BTreeMap<u64, u64>,
    next: u64,
    completed: u64,
    last_publication: Option<u64>,
    state: Option<State>,
    /// The last announced attempt to reconnect, and its time.
    attempt: Option<(u32, Instant)>,
    /// When the current connection became ready.
    ready_at: Option<Instant>,
    /// When the connection was lost that is being re-established.
    lost_at: Option<Instant>,
    /// The number of automatic reconnects.
    reconnected: u64,
}

struct World {
    chance: Chance,
    now: Instant,
    core: Core<u64, &'static str>,
    inbound: Inbound<&'static str>,
    server: SimulatedServer,
    app: Application,
    connected: bool,
    ping_pending: bool,
    parts: Vec<u8>,
    reconnect: Option<Reconnect>,
    /// The application calls connect now.
    in_a_hurry: bool,
    trace: bool,
}

impl World {
    fn new(seed: u64, trace: bool) -> World {
        let mut chance = Chance(seed);
        let now = Instant::now();
        let protocol = if chance.one_in(2) { Protocol::V1 } else { Protocol::V2 };
        let heartbeat = chance.one_in(3).then(|| Duration::from_secs(5));
        let reconnect = chance.one_in(2).then(|| Reconnect {
            attempts: chance.one_in(2).then(|| 1 + chance.below(4) as u32),
            first_delay: Duration::from_millis(chance.below(2000)),
            longest_delay: Duration::from_millis(chance.below(8000)),
            total: chance.one_in(3).then(|| Duration::from_secs(1 + chance.below(20))),
            at_first: chance.one_in(2),
        });
        let options = Options { heartbeat, reconnect, ..Options::default() };
        let seeds = Seeds {
            first_call: chance.below(1 << 52),
            first_key: 1,
            first_message: chance.next() as u32,
            delays: chance.next(),
        };
        let mut core = Core::new(options, seeds);
        core.topics().subscribe("topic", "subscriber");
        let mut world = World {
            now,
            core,
            inbound: Inbound::new(Limits::default(), BufferPool::new(1 << 20)),
            server: World::server(protocol),
            app: Application::default(),
            connected: false,
            ping_pending: false,
            parts: Vec::new(),
            reconnect,
            in_a_hurry: false,
            trace,
            chance,
        };
        world.core.connect(now).unwrap();
        world.effects();
        world
    }

    fn server(protocol: Protocol) -> SimulatedServer {
        SimulatedServer { protocol, owed: Vec::new(), to_client: VecDeque::new(), published: 0, authenticated: false }
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{}", what());
        }
    }

    fn effects(&mut self) {
        while let Some(effect) = self.core.take_effect() {
            match effect {
                Effect::Connect(until) => {
                    assert!(until > self.now, "an attempt that cannot succeed");
                    if self.chance.one_in(8) {
                        let code = [Code::Connect, Code::Tls][self.chance.below(2) as usize];
                        self.core.failed(Error::new(code, "no connection"));
                        continue;
                    }
                    let protocol = self.server.protocol;
                    self.server = World::server(protocol);
                    self.inbound = Inbound::new(Limits::default(), BufferPool::new(1 << 20));
                    self.inbound.set_topics(self.core.topics().directory());
                    self.connected = true;
                    self.parts.clear();
                    self.ping_pending = false;
                    self.app.last_publication = None;
                    self.note(|| "connected".into());
                    self.core.opened(self.now);
                }
                Effect::Send(message, _) => self.send(message),
                // Sent data arrives at once.
                Effect::Withdraw(_) => {}
                Effect::Ping => self.ping_pending = self.connected,
                Effect::Close(_) => {}
                Effect::Disconnect => self.connected = false,
                Effect::Complete(call, outcome) => {
                    self.note(|| format!("call {call}: {:?}", outcome.as_ref().map(|_| ()).map_err(Error::code)));
                    let deadline = self.app.open.remove(&call).expect("a completion for an open call, and only one");
                    self.app.ids.remove(&call);
                    self.app.completed += 1;
                    match outcome {
                        Ok(reply) => assert_eq!(result(&reply).as_u64(), Some(call), "the reply of another call"),
                        Err(e) if e.code() == Code::Timeout => {
                            assert!(deadline.is_some_and(|at| at <= self.now), "timed out before its deadline");
                        }
                        Err(e) => assert!(
                            matches!(e.code(), Code::ConnectionLost | Code::Cancelled | Code::Closed | Code::Protocol),
                            "{e}"
                        ),
                    }
                }
                Effect::Judge(error, _) => {
                    assert!(self.reconnect.is_some() && error.code() != Code::Auth);
                    let again = if self.chance.one_in(10) { self.chance.one_in(2) } else { error.is_retriable() };
                    self.core.judged(self.now, again);
                }
                Effect::State(change) => self.entered(&change),
            }
        }
        assert_eq!(self.core.calls_in_flight(), self.app.open.len());
    }

    /// Asserts that the states follow each other as documented, and that reconnecting follows its policy.
    fn entered(&mut self, change: &StateChange) {
        self.note(|| format!("{:?} {} {:?} {:?}", change.state, change.attempt, change.delay, change.error));
        let before = self.app.state.replace(change.state);
        let may_follow: &[Option<State>] = match change.state {
            State::Connecting => &[None, Some(State::Closed), Some(State::Reconnecting)],
            State::Ready => &[Some(State::Connecting)],
            State::Lost | State::Closing => &[Some(State::Ready)],
            State::Reconnecting => &[Some(State::Lost), Some(State::Connecting)],
            _ => &[Some(State::Connecting), Some(State::Lost), Some(State::Reconnecting), Some(State::Closing)],
        };
        assert!(may_follow.contains(&before), "{:?} after {before:?}", change.state);
        match change.state {
            State::Reconnecting => {
                let policy = self.reconnect.expect("nobody asked to reconnect");
                let number = self.app.attempt.map_or(1, |(n, _)| n + 1);
                assert_eq!(change.attempt, number, "attempts are counted since the last connection that lasted");
                assert!(policy.attempts.is_none_or(|most| number <= most), "too many attempts");
                assert!(change.delay <= policy.longest_delay);
                let due = self.now + change.delay;
                let lost_at = *self.app.lost_at.get_or_insert(self.now);
                assert!(policy.total.is_none_or(|total| due < lost_at + total), "an attempt that begins too late");
                assert!(change.error.is_some());
                self.app.attempt = Some((number, due));
            }
            State::Connecting => {
                assert_eq!(change.attempt, self.app.attempt.map_or(0, |(n, _)| n));
                if let Some((_, due)) = self.app.attempt {
                    assert!(self.now >= due || self.in_a_hurry, "an attempt before its time");
                }
            }
            State::Ready | State::Closed => {
                self.app.reconnected += u64::from(change.state == State::Ready && self.app.attempt.is_some());
                self.app.ready_at = (change.state == State::Ready).then_some(self.now);
                if change.state == State::Closed {
                    self.app.attempt = None;
                    self.app.lost_at = None;
                }
                // Publications sent meanwhile are lost.
                assert!(change.state == State::Ready || self.app.open.is_empty(), "closed with open calls");
            }
            State::Lost => {
                assert!(self.app.open.is_empty(), "a call outlives its connection");
                let lived = self.now - self.app.ready_at.take().expect("only what was ready is lost");
                if self.reconnect.is_some_and(|policy| {
                    let bounds = [Some(policy.longest_delay), policy.total, Some(Duration::from_secs(10))];
                    bounds.into_iter().flatten().min().is_some_and(|lasting| lived >= lasting)
                }) {
                    self.app.attempt = None;
                    self.app.lost_at = None;
                }
            }
            _ => {}
        }
    }

    fn send(&mut self, mut message: Outgoing) {
        while let Some(frame) = message.next_frame() {
            let mut payload = frame.prefix.map_or(Vec::new(), |p| p.to_vec());
            while !message.data().is_empty() {
                let n = message.data().len();
                payload.extend_from_slice(message.data());
                message.advance(n);
            }
            if self.connected && !self.server.received(frame.text, &payload, &mut self.parts, &mut self.chance) {
                self.end("the server does not understand");
            }
        }
    }

    fn end(&mut self, why: &str) {
        self.note(|| format!("end of the connection: {why}"));
        self.connected = false;
        self.server.to_client.clear();
        self.core.lost(self.now, Error::new(Code::ConnectionLost, why));
    }

    /// Delivers one message, in pieces of any size.
    fn arrive(&mut self) {
        let Some((text, payload)) = self.server.to_client.pop_front() else {
            return;
        };
        self.inbound.set_protocol(self.core.protocol());
        self.inbound.set_call_prefix(self.core.call_prefix());
        let received = if self.chance.one_in(2) {
            match self.inbound.whole(text, &payload).unwrap() {
                Some(received) => received,
                None => self.piecewise(text, &payload),
            }
        } else {
            self.piecewise(text, &payload)
        };
        self.core.heard(self.now);
        match received {
            Received::Reply { protocol, id, outcome } => self.core.reply(self.now, protocol, &id, outcome),
            Received::Publication { to, outcome } => {
                assert_eq!(to[..], ["subscriber"]);
                let i = result(&outcome.unwrap()).as_u64().unwrap();
                let next = self.app.last_publication.map_or(0, |last| last + 1);
                assert_eq!(i, next, "lost, repeated or out of order");
                self.app.last_publication = Some(i);
            }
            Received::Nothing | Received::Unsubscribed => {}
            Received::Malformed(why) => panic!("{why}"),
        }
    }

    fn piecewise(&mut self, text: bool, payload: &[u8]) -> Received<&'static str> {
        self.inbound.begin(text, payload.len() as u64).unwrap();
        let mut rest = payload;
        while !rest.is_empty() {
            let n = 1 + self.chance.below(rest.len() as u64) as usize;
            self.inbound.data(&rest[..n]).unwrap();
            rest = &rest[n..];
        }
        self.inbound.end().unwrap()
    }

    fn step(&mut self) {
        match self.chance.below(16) {
            0..=3 => self.call(),
            4..=8 => self.arrive(),
            9 | 10 => self.answer(),
            11 if self.connected && self.server.authenticated => {
                let i = self.server.published;
                self.server.published += 1;
                let topic = if self.chance.one_in(4) { "publish:nobody's:0" } else { "publish:topic:0" };
                // Only publications with a subscription are numbered.
                if topic == "publish:topic:0" {
                    self.server.message(topic, i, &mut self.chance);
                } else {
                    self.server.published -= 1;
                    self.server.message(topic, 0, &mut self.chance);
                }
            }
            12 => {
                self.now += Duration::from_millis(self.chance.below(3000));
                self.core.tick(self.now);
            }
            13 => {
                let any = self.app.ids.iter().nth(self.chance.below(8) as usize).map(|(call, id)| (*call, *id));
                if let Some((call, id)) = any {
                    self.note(|| format!("cancel {call}"));
                    assert!(self.core.cancel(id));
                }
            }
            14 if self.ping_pending && self.connected => {
                self.ping_pending = false;
                self.core.heard(self.now);
                self.core.pong(self.now);
            }
            15 if self.chance.one_in(30) && self.connected => self.end("cut"),
            15 if self.chance.one_in(40) => self.core.close(self.now, Duration::from_secs(1)),
            _ => {}
        }
        self.effects();
        let due = |deadline: &Option<Instant>| deadline.is_some_and(|at| at <= self.now);
        assert!(!self.app.open.values().any(due), "a deadline has passed, and the call is still open");
        let may_connect = matches!(self.core.state(), State::Closed | State::Reconnecting);
        if may_connect && self.chance.one_in(if self.reconnect.is_some() { 20 } else { 3 }) {
            self.in_a_hurry = true;
            self.core.connect(self.now).unwrap();
            self.effects();
            self.in_a_hurry = false;
        }
    }

    fn call(&mut self) {
        let call = self.app.next;
        let timeout = self.chance.one_in(2).then(|| Duration::from_millis(1 + self.chance.below(5000)));
        let mut args = Args::new();
        args.positional.uint(call).unwrap();
        if self.chance.one_in(4) {
            args.positional.bytes(vec![7; self.chance.below(500) as usize].into()).unwrap();
        }
        match self.core.call("m", &args, Deadline::after(self.now, timeout), call) {
            Ok(id) => {
                self.app.next += 1;
                self.app.open.insert(call, timeout.map(|t| self.now + t));
                self.app.ids.insert(call, id);
            }
            Err((e, completion)) => {
                assert_eq!(completion, call);
                assert!(matches!(e.code(), Code::State | Code::Closed), "{e}");
            }
        }
    }

    /// The server sends a reply: in order, late, twice, or to no call.
    fn answer(&mut self) {
        if !self.connected {
            return;
        }
        if self.chance.one_in(20) {
            self.server.message("rpc:cabc:1", 1, &mut self.chance);
        }
        if self.server.owed.is_empty() {
            return;
        }
        let which = if self.chance.one_in(5) { self.chance.below(self.server.owed.len() as u64) as usize } else { 0 };
        let (id, value) = self.server.owed.remove(which);
        self.server.message(&id, value, &mut self.chance);
        if self.chance.one_in(10) {
            self.server.message(&id, value, &mut self.chance);
        }
    }

    /// The end of the session: every accepted call has completed.
    fn finish(mut self) -> (u64, u64) {
        self.core.close(self.now, Duration::ZERO);
        self.core.tick(self.now + Duration::from_secs(1));
        self.effects();
        assert!(self.app.open.is_empty());
        assert_eq!(self.app.completed, self.app.next, "one completion for each accepted call");
        assert_eq!(self.core.counts().calls, self.app.next);
        (self.app.completed, self.app.reconnected)
    }
}

/// Returns the number of completed calls, and of automatic reconnects.
fn run(seed: u64, trace: bool) -> (u64, u64) {
    let mut world = World::new(seed, trace);
    for _ in 0..200 {
        world.step();
    }
    world.finish()
}

#[test]
fn every_session_keeps_its_promises() {
    let number = |name: &str| std::env::var(name).ok().map(|v| v.parse::<u64>().expect("a number"));
    if let Some(seed) = number("WSLINK_SEED") {
        run(seed, true);
        return;
    }
    let sessions = number("WSLINK_SESSIONS").unwrap_or(20_000);
    let (mut calls, mut reconnected) = (0, 0);
    for seed in 0..sessions {
        match std::panic::catch_unwind(|| run(seed, false)) {
            Ok((completed, again)) => {
                calls += completed;
                reconnected += again;
            }
            Err(cause) => {
                println!("failed: WSLINK_SEED={seed} cargo test --test simulation -- --nocapture");
                std::panic::resume_unwind(cause);
            }
        }
    }
    println!("{sessions} sessions, {calls} calls, reconnected {reconnected} times");
    assert!(
        reconnected > sessions / 10,
        "the simulation hardly reconnects: {reconnected} times in {sessions} sessions"
    );
    assert!(calls > sessions * 5, "the simulation hardly gets to calls: {calls} in {sessions} sessions");
}
