//! The state machine of one session: connection states, calls in flight, heartbeat, reconnecting, closing.
//!
//! Methods take the time and change the state; what is to be done about it comes out of
//! [`Core::take_effect`] in order. The caller holds no lock while it acts on an effect that runs code of
//! the application.

use super::calls::{CallId, Calls, ReplyId};
use super::hello::{Answer, Hello, Next, Send};
use super::options::Options;
use super::reconnect::Attempts;
use super::topics::Topics;
use crate::error::{Code, Error, Result, Stage};
use crate::wire::Protocol;
use crate::wire::args::Args;
use crate::wire::document::SharedDocument;
use crate::wire::envelope;
use crate::wire::outgoing::{self, Format, Outgoing};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum State {
    /// Not asked to connect yet.
    Idle = 0,
    /// On the way: resolving, connecting, TLS, upgrade, hello.
    Connecting = 1,
    /// Open: calls are possible.
    Ready = 2,
    /// The connection ended without being asked to; [`State::Reconnecting`] or [`State::Closed`] follows.
    Lost = 3,
    /// Waiting for the next attempt to connect, which `connect` begins at once.
    Reconnecting = 4,
    /// Closing in agreement with the server.
    Closing = 5,
    /// Over; `connect` may be called again.
    Closed = 6,
}

/// A state that was entered, and why.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// The state.
    pub state: State,
    /// The reason for `Lost` and `Reconnecting`, and for `Closed` if it was not asked for.
    pub error: Option<Error>,
    /// For `Reconnecting`, and for `Connecting` after it: the number of the attempt, counted from the last time the
    /// session was ready. Otherwise 0.
    pub attempt: u32,
    /// For `Reconnecting`: how long it is until that attempt. Otherwise 0.
    pub delay: Duration,
}

/// What the surroundings have to do, in this order.
#[derive(Debug)]
pub enum Effect<C> {
    /// Open a connection, until this time.
    Connect(Instant),
    /// Send a message.
    Send(Outgoing, Option<CallId>),
    /// Send a WebSocket ping.
    Ping,
    /// Send a Close frame with this code, and end the connection when the server has answered.
    Close(u16),
    /// End the connection at once.
    Drop,
    /// A call is over.
    Complete(C, Result<SharedDocument>),
    /// Ask whether this failure is worth another attempt, which would have this number, and answer with
    /// [`Core::judged`].
    Judge(Error, u32),
    /// Tell the application.
    State(StateChange),
}

/// What the session knows of its server once it is ready.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The generation.
    pub protocol: Option<Protocol>,
    /// The name that the server gave this client.
    pub client_id: String,
    /// Generation 2: the size of the largest chunk that the server announced.
    pub max_msg_size: Option<u64>,
}

/// Counts of what concerns calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls that were accepted.
    pub calls: u64,
    /// Replies that came after the call was over (timed out or cancelled).
    pub late_replies: u64,
    /// Replies to nothing that was asked.
    pub unknown_replies: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Waiting for the connection, or for the hello on it.
    Opening {
        deadline: Instant,
        connected: bool,
    },
    Ready,
    Closing {
        deadline: Instant,
    },
    /// Asked whether to try again.
    Judged,
    /// Waiting for the next attempt.
    Waiting {
        until: Instant,
    },
    Closed,
}

/// Numbers that have to be hard to guess or unlikely to meet, from the surroundings.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// Where the numbers of calls begin.
    pub first_call: u64,
    /// Where attachment keys begin.
    pub first_key: u64,
    /// Where message ids begin.
    pub first_message: u32,
    /// Makes the delays of reconnecting differ between clients.
    pub delays: u64,
}

/// The state machine. `C` receives the outcome of a call, `S` publications, which do not pass through here.
#[derive(Debug)]
pub struct Core<C, S> {
    options: Options,
    phase: Phase,
    hello: Hello,
    /// What the server spoke the last time.
    known: Option<Protocol>,
    peer: Peer,
    /// What the ids of our calls begin with: `rpc:<clientID>:`.
    call_prefix: String,
    format: Format,
    /// A message that is over, whose memory is for the next call.
    spare: Option<Outgoing>,
    calls: Calls<C>,
    counts: CallCounts,
    topics: Topics<S>,
    effects: VecDeque<Effect<C>>,
    last_heard: Option<Instant>,
    pinged: bool,
    failure: Option<Error>,
    attempts: Attempts,
    /// The session was ready since it was last asked to connect.
    was_ready: bool,
}

impl<C, S: Clone> Core<C, S> {
    /// A session that was not asked to connect yet.
    pub fn new(options: Options, seeds: Seeds) -> Core<C, S> {
        Core {
            hello: Hello::new(options.protocol),
            phase: Phase::Idle,
            known: None,
            peer: Peer::default(),
            call_prefix: String::new(),
            format: Format {
                protocol: Protocol::V2,
                chunk_size: None,
                upload_limit: options.v1_upload_limit,
                next_message: seeds.first_message,
                next_key: seeds.first_key,
            },
            spare: None,
            calls: Calls::new(seeds.first_call),
            counts: CallCounts::default(),
            topics: Topics::default(),
            effects: VecDeque::new(),
            last_heard: None,
            pinged: false,
            failure: None,
            attempts: Attempts::new(seeds.delays),
            was_ready: false,
            options,
        }
    }

    /// The next thing to do.
    pub fn take_effect(&mut self) -> Option<Effect<C>> {
        self.effects.pop_front()
    }

    /// The state as the application sees it.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Idle => State::Idle,
            Phase::Opening { .. } => State::Connecting,
            Phase::Ready => State::Ready,
            Phase::Closing { .. } => State::Closing,
            Phase::Judged | Phase::Waiting { .. } => State::Reconnecting,
            Phase::Closed => State::Closed,
        }
    }

    /// Why the session is closed, if it was not asked for, or why it has to reconnect.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The server, once ready.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The generation that the open session speaks; `None` while it is not open.
    pub fn settled(&self) -> Option<Protocol> {
        matches!(self.phase, Phase::Ready | Phase::Closing { .. }).then_some(self.peer.protocol).flatten()
    }

    /// What was counted.
    pub fn counts(&self) -> CallCounts {
        self.counts
    }

    /// Calls that wait for their reply.
    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Gives the memory of a message back, see [`Outgoing::is_spare`].
    pub fn reuse(&mut self, spare: Outgoing) {
        self.spare = Some(spare);
    }

    /// The subscriptions.
    pub fn topics(&mut self) -> &mut Topics<S> {
        &mut self.topics
    }

    /// When [`tick`](Core::tick) has to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Opening { deadline, .. } => Some(deadline),
            Phase::Closing { deadline } | Phase::Waiting { until: deadline } => Some(deadline),
            Phase::Ready => self.options.heartbeat.and_then(|every| Some(after(self.last_heard?, every))),
            _ => None,
        };
        let hello = matches!(self.phase, Phase::Opening { .. }).then(|| self.hello.deadline()).flatten();
        [phase, hello, self.calls.next_deadline()].into_iter().flatten().min()
    }

    /// Connect. While the session waits to reconnect: at once.
    pub fn connect(&mut self, now: Instant) -> Result<()> {
        match self.phase {
            Phase::Idle | Phase::Closed => {
                self.failure = None;
                self.was_ready = false;
                self.attempts.reset();
            }
            Phase::Waiting { .. } => {}
            _ => return Err(Error::new(Code::State, "the session is connected or connecting already")),
        }
        self.attempt(now);
        Ok(())
    }

    fn attempt(&mut self, now: Instant) {
        let last = self.options.reconnect.and_then(|policy| self.attempts.deadline(&policy));
        if last.is_some_and(|last| last <= now) {
            return self.closed(self.failure.clone());
        }
        let deadline = after(now, self.options.connect_timeout);
        let deadline = last.map_or(deadline, |last| last.min(deadline));
        self.hello = Hello::new(self.options.protocol);
        self.phase = Phase::Opening { deadline, connected: false };
        self.announce_attempt(State::Connecting, None, self.attempts.made(), Duration::ZERO);
        self.effects.push_back(Effect::Connect(deadline));
    }

    /// The WebSocket connection is open.
    pub fn opened(&mut self, now: Instant) {
        let Phase::Opening { deadline, .. } = self.phase else {
            self.effects.push_back(Effect::Drop);
            return;
        };
        self.phase = Phase::Opening { deadline, connected: true };
        self.format.chunk_size = Some(u32::MAX);
        let next = self.hello.opened(now, self.known);
        self.go_on(now, next);
    }

    /// No connection came about.
    pub fn failed(&mut self, error: Error) {
        if matches!(self.phase, Phase::Opening { .. }) {
            self.over(error);
        }
    }

    /// Data came in, at that time.
    pub fn heard(&mut self, at: Instant) {
        if self.last_heard.is_none_or(|before| at > before) {
            self.last_heard = Some(at);
            self.pinged = false;
        }
    }

    /// A pong came in.
    pub fn pong(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Opening { .. }) {
            let next = self.hello.pong(now);
            self.go_on(now, next);
        }
    }

    /// A reply came in.
    pub fn reply(&mut self, now: Instant, protocol: Protocol, id: &ReplyId, outcome: Result<SharedDocument>) {
        let call = match id {
            ReplyId::Other(id) if id == envelope::SYSTEM_ID => return self.system_reply(now, protocol, outcome),
            ReplyId::Other(id) => ReplyId::call(id.as_bytes(), self.call_prefix.as_bytes()),
            ReplyId::Call(call) => Some(*call),
        };
        match call.and_then(|call| self.calls.end(call)) {
            Some(completion) => self.effects.push_back(Effect::Complete(completion, outcome)),
            None if call.is_some_and(|call| self.calls.was_begun(call)) => self.counts.late_replies += 1,
            None => self.counts.unknown_replies += 1,
        }
    }

    /// What the ids of calls begin with; empty before the first hello was answered.
    pub fn call_prefix(&self) -> &str {
        &self.call_prefix
    }

    fn system_reply(&mut self, now: Instant, protocol: Protocol, outcome: Result<SharedDocument>) {
        if !matches!(self.phase, Phase::Opening { .. }) {
            self.counts.unknown_replies += 1;
            return;
        }
        let answer = match &outcome {
            Ok(_) => Answer::Result,
            Err(e) => Answer::Error(e.clone()),
        };
        let next = self.hello.answered(protocol, answer);
        if let (Next::Open(protocol), Ok(document)) = (&next, &outcome) {
            let result = envelope::result(document);
            let client_id = result.get("clientID").and_then(|v| v.as_str());
            let Some(client_id) = client_id else {
                let error = Error::new(Code::Hello, "the reply to the hello has no clientID").at(Stage::Hello);
                return self.go_on(now, Next::Fail(error));
            };
            let max_msg_size = result.get("maxMsgSize").and_then(|v| v.as_u64());
            self.call_prefix = format!("rpc:{client_id}:");
            self.peer = Peer { protocol: Some(*protocol), client_id: client_id.to_owned(), max_msg_size };
        }
        self.go_on(now, next);
    }

    fn go_on(&mut self, now: Instant, next: Next) {
        match next {
            Next::Wait => {}
            Next::Send(what) => {
                for send in what {
                    self.send_hello(*send);
                }
            }
            Next::Reconnect => {
                if let Phase::Opening { deadline, .. } = self.phase {
                    self.phase = Phase::Opening { deadline, connected: false };
                    self.effects.push_back(Effect::Connect(deadline));
                }
            }
            Next::Open(protocol) => {
                self.phase = Phase::Ready;
                self.known = Some(protocol);
                self.last_heard = Some(now);
                self.pinged = false;
                self.format.protocol = protocol;
                self.format.chunk_size = Format::chunk_size(self.peer.max_msg_size.unwrap_or(512 << 10));
                self.was_ready = true;
                self.failure = None;
                self.attempts.reset();
                self.announce(State::Ready, None);
            }
            Next::Fail(error) => {
                self.effects.push_back(Effect::Drop);
                self.over(error);
            }
        }
    }

    fn send_hello(&mut self, send: Send) {
        let message = match send {
            Send::Ping => return self.effects.push_back(Effect::Ping),
            Send::Probe => outgoing::probe(),
            Send::Hello(protocol) => {
                self.format.protocol = protocol;
                match outgoing::hello(&mut self.format, &self.options.secret, &self.options.hello_members) {
                    Ok((message, size)) => {
                        if protocol == Protocol::V2 {
                            self.hello.sent(size);
                        }
                        message
                    }
                    Err(error) => {
                        self.effects.push_back(Effect::Drop);
                        return self.over(error);
                    }
                }
            }
        };
        self.effects.push_back(Effect::Send(message, None));
    }

    /// The connection ended.
    pub fn lost(&mut self, now: Instant, error: Error) {
        match self.phase {
            Phase::Opening { connected: true, .. } => {
                // A violation of the protocol is no hint about the generation.
                let next = match error.code() {
                    Code::ConnectionLost => self.hello.lost(&error),
                    _ => Next::Fail(error.at(Stage::Hello)),
                };
                self.go_on(now, next);
            }
            Phase::Opening { connected: false, .. } => self.over(error),
            Phase::Ready => {
                self.end_calls(|| error.clone());
                self.announce(State::Lost, Some(error.clone()));
                self.over(error);
            }
            Phase::Closing { .. } => self.closed(None),
            Phase::Idle | Phase::Judged | Phase::Waiting { .. } | Phase::Closed => {}
        }
    }

    /// Connecting has failed, or the connection was lost.
    fn over(&mut self, error: Error) {
        let wanted = self.options.reconnect.is_some_and(|policy| self.was_ready || policy.at_first);
        // The same secret will be refused again, and servers may count.
        if !wanted || error.code() == Code::Auth {
            return self.closed(Some(error));
        }
        self.phase = Phase::Judged;
        self.failure = Some(error.clone());
        self.effects.push_back(Effect::Judge(error, self.attempts.made() + 1));
    }

    /// The answer to [`Effect::Judge`]: whether to try again.
    pub fn judged(&mut self, now: Instant, again: bool) {
        if self.phase != Phase::Judged {
            return;
        }
        let failure = self.failure.clone();
        let policy = self.options.reconnect.filter(|_| again);
        match policy.and_then(|policy| self.attempts.next(now, &policy)) {
            Some((attempt, delay)) => {
                self.phase = Phase::Waiting { until: after(now, delay) };
                self.announce_attempt(State::Reconnecting, failure, attempt, delay);
            }
            None => self.closed(failure),
        }
    }

    /// Ends the session because of something outside of it.
    pub fn abort(&mut self, error: Error) {
        if !matches!(self.phase, Phase::Closed) {
            self.effects.push_back(Effect::Drop);
            self.closed(Some(error));
        }
    }

    fn closed(&mut self, error: Option<Error>) {
        self.end_calls(|| error.clone().unwrap_or_else(closed_error));
        self.phase = Phase::Closed;
        self.failure.clone_from(&error);
        self.announce(State::Closed, error);
    }

    fn end_calls(&mut self, error: impl Fn() -> Error) {
        for completion in self.calls.drain() {
            self.effects.push_back(Effect::Complete(completion, Err(error())));
        }
    }

    fn announce(&mut self, state: State, error: Option<Error>) {
        self.announce_attempt(state, error, 0, Duration::ZERO);
    }

    fn announce_attempt(&mut self, state: State, error: Option<Error>, attempt: u32, delay: Duration) {
        self.effects.push_back(Effect::State(StateChange { state, error, attempt, delay }));
    }

    /// Begins a call, which fails if there is no reply until `deadline`. The completion comes back if it was not accepted.
    pub fn call(
        &mut self,
        method: &str,
        args: &Args,
        deadline: Option<Instant>,
        completion: C,
    ) -> Result<CallId, (Error, C)> {
        let failed = |error, completion| Err((error, completion));
        match self.phase {
            Phase::Ready => {}
            Phase::Closed | Phase::Closing { .. } => return failed(closed_error(), completion),
            Phase::Judged | Phase::Waiting { .. } => {
                let message = "the connection was lost, and the session waits to reconnect: wait for state ready";
                return failed(Error::new(Code::State, message).retriable_if(true), completion);
            }
            _ => {
                let message = "the session is not ready: connect, and wait for state ready";
                return failed(Error::new(Code::State, message), completion);
            }
        }
        if method.is_empty() {
            return failed(Error::new(Code::Argument, "the name of the method is empty"), completion);
        }
        // In its own place behind the prefix, to be taken away again.
        let mut id = std::mem::take(&mut self.call_prefix);
        let prefix = id.len();
        id.push_str(itoa::Buffer::new().format(self.calls.next_id()));
        let spare = self.spare.take().unwrap_or_default();
        let message = outgoing::call_in(spare, &mut self.format, &id, method, args);
        id.truncate(prefix);
        self.call_prefix = id;
        let message = match message {
            Ok(message) => message,
            Err(error) => return failed(error, completion),
        };
        let id = self.calls.begin(completion, deadline);
        self.counts.calls += 1;
        self.effects.push_back(Effect::Send(message, Some(id)));
        Ok(id)
    }

    /// Cancels a call; `false` if it is over or never was. The server is not told: wslink has no way to.
    pub fn cancel(&mut self, id: CallId) -> bool {
        match self.calls.end(id) {
            Some(completion) => {
                let error = Error::new(Code::Cancelled, "cancelled by the application").at(Stage::Call);
                self.effects.push_back(Effect::Complete(completion, Err(error)));
                true
            }
            None => false,
        }
    }

    /// Takes a call back whose caller has given up waiting by itself: no effect.
    pub fn abandon(&mut self, id: CallId) -> Option<C> {
        self.calls.end(id)
    }

    /// Closes the session in agreement with the server, for at most `timeout`. Closing again can shorten
    /// that time, not lengthen it.
    pub fn close(&mut self, now: Instant, timeout: Duration) {
        match self.phase {
            Phase::Idle | Phase::Opening { .. } => {
                self.effects.push_back(Effect::Drop);
                self.closed(None);
            }
            Phase::Ready => {
                self.phase = Phase::Closing { deadline: after(now, timeout) };
                self.announce(State::Closing, None);
                self.end_calls(closed_error);
                self.effects.push_back(Effect::Close(1000));
            }
            Phase::Closing { ref mut deadline } => *deadline = (*deadline).min(after(now, timeout)),
            Phase::Judged | Phase::Waiting { .. } => self.closed(None),
            Phase::Closed => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        for completion in self.calls.expired(now) {
            let error =
                Error::new(Code::Timeout, "no reply within the timeout of the call; the server may still execute it");
            self.effects.push_back(Effect::Complete(completion, Err(error.at(Stage::Call).retriable_if(true))));
        }
        match self.phase {
            Phase::Opening { deadline, .. } if now >= deadline => {
                let error = self.hello.timed_out(self.options.connect_timeout);
                self.effects.push_back(Effect::Drop);
                self.over(error);
            }
            Phase::Opening { .. } => {
                let next = self.hello.tick(now);
                self.go_on(now, next);
            }
            Phase::Closing { deadline } if now >= deadline => {
                self.effects.push_back(Effect::Drop);
                self.closed(None);
            }
            Phase::Waiting { until } if now >= until => self.attempt(now),
            Phase::Ready => self.beat(now),
            _ => {}
        }
    }

    fn beat(&mut self, now: Instant) {
        let (Some(every), Some(heard)) = (self.options.heartbeat, self.last_heard) else {
            return;
        };
        if now < after(heard, every) {
            return;
        }
        if !self.calls.is_empty() {
            // A server does not answer pings while a method runs.
            self.last_heard = Some(now);
            self.pinged = false;
        } else if self.pinged {
            let message = format!("nothing heard from the server for {:?} after a ping", every);
            self.effects.push_back(Effect::Drop);
            let error = Error::new(Code::ConnectionLost, message).at(Stage::Session).retriable_if(true);
            self.lost(now, error);
        } else {
            self.pinged = true;
            self.last_heard = Some(now);
            self.effects.push_back(Effect::Ping);
        }
    }
}

/// A deadline. Clocks end somewhere; "as long as it takes" is a century.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400))
}

/// What calls get when the session is closed.
pub fn closed_error() -> Error {
    Error::new(Code::Closed, "the session is closed").at(Stage::Session)
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
