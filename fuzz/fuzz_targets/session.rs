//! The state machine and the receiving half of a session with any events in any order: frames, times, calls, cancellations,
//! subscriptions, closes, lost connections. The promises of the session must hold at every step.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use wslink::Reconnect;
use wslink::session::calls::Deadline;
use wslink::session::core::{Core, Effect, Seeds, State, StateChange};
use wslink::session::inbound::{Inbound, Received};
use wslink::session::options::Options;
use wslink::wire::chunks::ChunkHeader;
use wslink::wire::limits::Limits;
use wslink::wire::msgpack::encode::Encode;
use wslink::{Args, Code, Error, Outcome, Protocol, result};
use wslink_fuzz::input::Input;
use wslink_fuzz::pool;

/// An accepted call that has not completed.
struct Open {
    number: u64,
    deadline: Option<Instant>,
}

struct World<'a> {
    input: Input<'a>,
    now: Instant,
    core: Core<u64, u64>,
    inbound: Inbound<u64>,
    reconnect: Option<Reconnect>,
    limits: Limits,
    state: State,
    connected: bool,
    hurry: bool,
    attempts: u32,
    /// When the current connection became ready.
    ready_at: Option<Instant>,
    open: BTreeMap<u64, Open>,
    begun: u64,
    completed: u64,
    subscriptions: Vec<u64>,
    messages: u32,
}

const TOPICS: [&str; 3] = ["topic", "", "a:b"];

impl<'a> World<'a> {
    fn new(data: &'a [u8]) -> World<'a> {
        let mut input = Input(data);
        let options = input.byte();
        let small = Duration::from_millis(u64::from(input.byte()) * 10);
        let protocol = [None, Some(Protocol::V1), Some(Protocol::V2), None][usize::from(options & 3)];
        let reconnect = (options & 4 != 0).then(|| Reconnect {
            attempts: (options & 8 != 0).then_some(2),
            first_delay: small,
            longest_delay: small * 3,
            total: (options & 16 != 0).then(|| small * 4),
            at_first: options & 32 != 0,
        });
        let heartbeat = (options & 64 != 0).then(|| small.max(Duration::from_millis(1)));
        let tight = Limits { message_size: 500, unfinished_count: 2, unfinished_bytes: 1000, ..Limits::default() };
        let limits = if options & 128 != 0 { tight } else { Limits { message_size: 64 << 10, ..Limits::default() } };
        let seeds = Seeds { first_call: small.as_millis() as u64, first_key: 1, first_message: u32::MAX, delays: 1 };
        World {
            core: Core::new(Options { protocol, heartbeat, reconnect, limits, ..Options::default() }, seeds),
            inbound: Inbound::new(limits, pool()),
            input,
            now: Instant::now(),
            reconnect,
            limits,
            state: State::Idle,
            connected: false,
            hurry: false,
            attempts: 0,
            ready_at: None,
            open: BTreeMap::new(),
            begun: 0,
            completed: 0,
            subscriptions: Vec::new(),
            messages: 0,
        }
    }

    fn step(&mut self) {
        match self.input.byte() % 20 {
            0 => {
                let before = self.core.state();
                self.hurry = true;
                let accepted = self.core.connect(self.now).is_ok();
                let may = matches!(before, State::Idle | State::Closed | State::Reconnecting);
                assert!(may || !accepted);
                self.effects();
                self.hurry = false;
            }
            1 | 2 => {
                self.inbound = Inbound::new(self.limits, pool());
                self.inbound.set_topics(self.core.topics().directory());
                self.connected = true;
                self.core.opened(self.now);
            }
            3 => self.core.failed(Error::new(Code::Connect, "no connection")),
            4 => {
                let code = [Code::ConnectionLost, Code::Protocol, Code::Auth][usize::from(self.input.byte() % 3)];
                self.lost(Error::new(code, "cut"));
            }
            5 => {
                let milliseconds = u64::from(self.input.short());
                self.now += Duration::from_millis(milliseconds);
                self.core.tick(self.now);
            }
            6 => {
                if let Some(at) = self.core.deadline() {
                    self.now = self.now.max(at);
                    self.core.tick(self.now);
                }
            }
            7 => {
                let which = usize::from(self.input.byte());
                let id = self.open.keys().nth(which).copied();
                assert_eq!(self.core.cancel(id.unwrap_or(u64::MAX)), id.is_some());
            }
            8 => {
                let topic = TOPICS[usize::from(self.input.byte()) % TOPICS.len()];
                let subscriber = self.subscriptions.len() as u64;
                let id = self.core.topics().subscribe(topic, subscriber);
                self.subscriptions.push(id);
                self.inbound.set_topics(self.core.topics().directory());
            }
            9 => {
                let which = usize::from(self.input.byte());
                let id = self.subscriptions.get(which).copied();
                let gone = self.core.topics().unsubscribe(id.unwrap_or(u64::MAX));
                assert!(gone.is_none_or(|subscriber| subscriber == which as u64));
                self.inbound.set_topics(self.core.topics().directory());
            }
            10 => {
                let timeout = Duration::from_millis(u64::from(self.input.byte()));
                self.core.close(self.now, timeout);
            }
            11 => self.core.abort(Error::new(Code::System, "no more descriptors")),
            12 => {
                self.core.heard(self.now);
                self.core.pong(self.now);
            }
            13 => {
                if let Some(id) = self.open.keys().next().copied() {
                    let number = self.core.abandon(id).expect("a call that is open");
                    self.complete(number, None);
                }
            }
            14 | 15 => self.call(),
            16 => self.hello(),
            17 => self.answer(),
            _ => {
                let flags = self.input.byte();
                let payload = self.input.block();
                self.frame(flags & 1 != 0, payload, usize::from(flags >> 1));
            }
        }
        self.effects();
    }

    fn call(&mut self) {
        let flags = self.input.byte();
        let timeout = (flags & 1 != 0).then(|| Duration::from_millis(u64::from(flags) * 20));
        let mut args = Args::new();
        args.positional.uint(self.begun).unwrap();
        if flags & 2 != 0 {
            args.positional.bytes(vec![flags; 300].into()).unwrap();
        }
        let ready = self.core.state() == State::Ready;
        match self.core.call("m", &args, Deadline::after(self.now, timeout), self.begun) {
            Ok(id) => {
                assert!(ready);
                let open = Open { number: self.begun, deadline: timeout.map(|t| self.now + t) };
                assert!(self.open.insert(id, open).is_none(), "an id that is used twice");
                self.begun += 1;
            }
            Err((_, completion)) => assert_eq!(completion, self.begun),
        }
    }

    /// A reply to the hello, of the generation that the input chooses.
    fn hello(&mut self) {
        let flags = self.input.byte();
        if flags & 1 != 0 {
            let text = br#"{"wslink": "1.0", "id": "system:c0:0", "result": {"clientID": "c1"}}"#;
            return self.frame(true, text, usize::from(flags >> 1));
        }
        let mut message = Vec::new();
        message.map_head(2);
        message.str("id");
        message.str("system:c0:0");
        message.str("result");
        message.map_head(2);
        message.str("clientID");
        message.str("c1");
        message.str("maxMsgSize");
        message.uint(u64::from(self.input.short()));
        self.whole_chunk(&message, usize::from(flags >> 1));
    }

    /// A reply to one of the open calls, or to none.
    fn answer(&mut self) {
        let flags = self.input.byte();
        let which = self.open.iter().nth(usize::from(flags >> 2));
        let (id, number) = which.map_or((u64::from(flags), 0), |(id, open)| (*id, open.number));
        let id = format!("rpc:c1:{id}");
        if flags & 1 != 0 {
            let text = format!(r#"{{"wslink": "1.0", "id": "{id}", "result": {number}}}"#);
            return self.frame(true, text.as_bytes(), usize::from(flags & 2));
        }
        let mut message = Vec::new();
        message.map_head(2);
        message.str("id");
        message.str(&id);
        message.str("result");
        message.uint(number);
        self.whole_chunk(&message, usize::from(flags & 2));
    }

    fn whole_chunk(&mut self, message: &[u8], step: usize) {
        self.messages += 1;
        let header = ChunkHeader { id: self.messages, offset: 0, total: message.len() as u32 };
        self.frame(false, &[&header.to_bytes(), message].concat(), step);
    }

    /// Delivers a message in pieces of `step` bytes, or at once.
    fn frame(&mut self, text: bool, payload: &[u8], step: usize) {
        if !self.connected {
            return;
        }
        self.inbound.set_protocol(self.core.protocol());
        self.inbound.set_call_prefix(self.core.call_prefix());
        match feed(&mut self.inbound, text, payload, step) {
            Ok(Received::Reply { protocol, id, outcome }) => {
                self.core.heard(self.now);
                self.core.reply(self.now, protocol, &id, outcome);
            }
            Ok(Received::Publication { to, .. }) => {
                assert!(!to.is_empty());
                for subscriber in to.iter() {
                    let id = self.subscriptions[*subscriber as usize];
                    assert_eq!(self.core.topics().get(id), Some(subscriber), "a publication for who has left");
                }
            }
            Ok(Received::Nothing | Received::Unsubscribed | Received::Malformed(_)) => self.core.heard(self.now),
            Err(error) => self.lost(error),
        }
    }

    fn lost(&mut self, error: Error) {
        self.connected = false;
        self.core.lost(self.now, error);
    }

    fn effects(&mut self) {
        while let Some(effect) = self.core.take_effect() {
            match effect {
                Effect::Connect(until) => {
                    assert!(until > self.now, "an attempt that cannot succeed");
                    self.connected = false;
                }
                Effect::Send(mut message, _) => {
                    let (total, mut sent) = (message.total(), 0);
                    while message.next_frame().is_some() {
                        while !message.data().is_empty() {
                            let n = message.data().len().min(100);
                            sent += n as u64;
                            message.advance(n);
                        }
                    }
                    assert!(sent == total && message.sent() == total);
                }
                Effect::Ping | Effect::Close(_) | Effect::Withdraw(_) => {}
                Effect::Disconnect => self.connected = false,
                Effect::Complete(number, outcome) => self.complete(number, Some(outcome)),
                Effect::Judge(error, attempt) => {
                    assert!(self.reconnect.is_some() && error.code() != Code::Auth && attempt > 0);
                    let again = self.input.byte() % 8 != 1;
                    self.core.judged(self.now, again);
                }
                Effect::State(change) => self.entered(&change),
            }
        }
        assert_eq!(self.core.calls_in_flight(), self.open.len());
        assert_eq!(self.core.state(), self.state);
    }

    /// `None`: the caller has withdrawn it.
    fn complete(&mut self, number: u64, outcome: Option<Outcome>) {
        let id = self.open.iter().find(|(_, open)| open.number == number).map(|(id, _)| *id);
        let open = id.and_then(|id| self.open.remove(&id)).expect("one completion for each call");
        self.completed += 1;
        match outcome {
            Some(Err(e)) if e.code() == Code::Timeout => {
                assert!(open.deadline.is_some_and(|at| at <= self.now), "timed out before its deadline");
            }
            Some(Ok(reply)) => assert!(!reply.root().is_empty() && !format!("{:?}", result(&reply)).is_empty()),
            _ => {}
        }
    }

    fn entered(&mut self, change: &StateChange) {
        let before = std::mem::replace(&mut self.state, change.state);
        let may_follow: &[State] = match change.state {
            State::Connecting => &[State::Idle, State::Closed, State::Reconnecting],
            State::Ready => &[State::Connecting],
            State::Lost | State::Closing => &[State::Ready],
            State::Reconnecting => &[State::Lost, State::Connecting],
            _ => &[State::Idle, State::Connecting, State::Ready, State::Lost, State::Reconnecting, State::Closing],
        };
        assert!(may_follow.contains(&before), "{:?} after {before:?}", change.state);
        match change.state {
            State::Reconnecting => {
                let policy = self.reconnect.expect("nobody asked to reconnect");
                self.attempts += 1;
                assert_eq!(change.attempt, self.attempts);
                assert!(policy.attempts.is_none_or(|most| self.attempts <= most));
                assert!(change.error.is_some());
            }
            State::Connecting => assert_eq!(change.attempt, self.attempts),
            State::Ready => self.ready_at = Some(self.now),
            State::Closed => {
                self.attempts = 0;
                assert!(self.open.is_empty(), "closed with open calls");
            }
            State::Lost => {
                assert!(self.open.is_empty(), "a call outlives its connection");
                let lived = self.now - self.ready_at.take().expect("only what was ready is lost");
                if self.reconnect.is_some_and(|policy| {
                    let bounds = [Some(policy.longest_delay), policy.total, Some(Duration::from_secs(10))];
                    bounds.into_iter().flatten().min().is_some_and(|lasting| lived >= lasting)
                }) {
                    self.attempts = 0;
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) {
        self.core.close(self.now, Duration::ZERO);
        self.core.tick(self.now + Duration::from_secs(1));
        self.effects();
        assert_eq!(self.state, State::Closed);
        assert_eq!((self.open.len(), self.completed), (0, self.begun), "one completion for each accepted call");
        assert_eq!(self.core.counts().calls, self.begun);
    }
}

fn feed(inbound: &mut Inbound<u64>, text: bool, payload: &[u8], step: usize) -> wslink::Result<Received<u64>> {
    if step == 0
        && let Some(received) = inbound.whole(text, payload)?
    {
        return Ok(received);
    }
    inbound.begin(text, payload.len() as u64)?;
    for part in payload.chunks(step.max(1)) {
        inbound.data(part)?;
    }
    inbound.end()
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new(data);
    let mut steps = 0;
    while !world.input.is_empty() && steps < 1000 {
        world.step();
        steps += 1;
    }
    world.finish();
});
