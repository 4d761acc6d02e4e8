//! The state machine of one session: connection states, calls in flight, heartbeat, reconnecting, closing.
//!
//! Methods report an event and its time, and change the state. The caller then carries out the effects that
//! [`Core::take_effect`] returns, in their order. It holds no lock during effects that run code of the application.

use super::calls::{CallId, Calls, Deadline, ReplyId};
use super::hello::{self, Answer, Hello, Next, ToSend};
use super::options::Options;
use super::reconnect::Attempts;
use super::topics::Topics;
use crate::error::{Code, Error, Result, Stage};
use crate::wire::Protocol;
use crate::wire::args::Args;
use crate::wire::document::SharedDocument;
use crate::wire::envelope;
use crate::wire::outgoing::{self, Format, Outgoing};
use crate::wire::secret::Secret;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum State {
    /// `connect` was not called yet.
    Idle = 0,
    /// Connecting: resolving, TCP, proxy, TLS, WebSocket upgrade, hello.
    Connecting = 1,
    /// Open: calls are possible.
    Ready = 2,
    /// The connection ended unexpectedly; [`State::Reconnecting`] or [`State::Closed`] follows.
    Lost = 3,
    /// Waiting for the next attempt to connect. `connect` begins it at once.
    Reconnecting = 4,
    /// The closing handshake with the server is in progress.
    Closing = 5,
    /// Ended; `connect` may be called again.
    Closed = 6,
}

/// A change of state, and its reason.
#[derive(Debug, Clone)]
pub struct StateChange {
    /// The new state.
    pub state: State,
    /// The reason for `Lost` and `Reconnecting`. Also for `Closed`, unless the application closed the session.
    pub error: Option<Error>,
    /// For `Reconnecting`, and for `Connecting` after it: the number of the attempt, counted as described for
    /// [`Reconnect::attempts`](super::reconnect::Reconnect::attempts). Otherwise 0.
    pub attempt: u32,
    /// For `Reconnecting`: the delay before the attempt. Otherwise 0.
    pub delay: Duration,
}

/// What the caller has to do. Effects are carried out in their order.
#[derive(Debug)]
pub enum Effect<C> {
    /// Open a connection before this deadline.
    Connect(Instant),
    /// Send a message, which may belong to a call.
    Send(Outgoing, Option<CallId>),
    /// Send a WebSocket ping.
    Ping,
    /// Send a Close frame with this code, and end the connection when the server has answered.
    Close(u16),
    /// End the connection at once.
    Disconnect,
    /// These calls ended without a reply: do not send the parts of their messages that are not begun.
    Withdraw(Vec<CallId>),
    /// Complete a call with this outcome.
    Complete(C, Result<SharedDocument>),
    /// Decide whether this failure is worth another attempt, which would have this number. The answer goes to
    /// [`Core::judged`].
    Judge(Error, u32),
    /// Report a change of state to the application.
    State(StateChange),
}

/// What the session knows of its server; empty before the session was ready.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// The generation.
    pub protocol: Option<Protocol>,
    /// The id that the server gave this client.
    pub client_id: String,
    /// Generation 2: the maximum size of a chunk that the server announced, in bytes.
    pub max_msg_size: Option<u64>,
}

/// A call that was begun, with all that encoding its message needs. Encoding long arguments takes long, so it happens
/// without the state machine and its lock.
#[derive(Debug)]
pub struct Begun {
    id: CallId,
    message_id: String,
    format: Format,
}

impl Begun {
    /// The id of the call.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Encodes the message of the call.
    pub fn message(mut self, method: &str, args: &Args) -> Result<Outgoing> {
        outgoing::call(&mut self.format, &self.message_id, method, args)
    }
}

/// Counters of calls and replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls that were accepted.
    pub calls: u64,
    /// Replies to calls that were no longer in flight (timed out or cancelled).
    pub late_replies: u64,
    /// Replies that match no request of this session.
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
    /// Waiting for the answer to [`Effect::Judge`].
    Judging,
    /// Waiting for the next attempt to connect.
    Backoff {
        until: Instant,
    },
    Closed,
}

/// Random numbers from the caller: hard to guess, or unlikely to collide with those of other clients.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// The number of the first call.
    pub first_call: u64,
    /// The first attachment key.
    pub first_key: u64,
    /// The first message id.
    pub first_message: u32,
    /// Seed of the random delays of reconnecting.
    pub delays: u64,
}

/// The state machine. `C` receives the outcome of a call. `S` is a subscriber: the state machine only keeps the table of
/// subscribers, and publications do not pass through it.
#[derive(Debug)]
pub struct Core<C, S> {
    options: Options,
    phase: Phase,
    hello: Hello,
    /// The server opens the connections.
    opened_by_server: bool,
    /// The generation that the server spoke on the last connection.
    last_protocol: Option<Protocol>,
    peer: Peer,
    /// What the message ids of our calls begin with: `rpc:<clientID>:`.
    call_prefix: String,
    format: Format,
    calls: Calls<C>,
    counts: CallCounts,
    topics: Topics<S>,
    effects: VecDeque<Effect<C>>,
    last_heard: Option<Instant>,
    pinged: bool,
    failure: Option<Error>,
    attempts: Attempts,
    /// The session was ready since the application last called `connect`.
    was_ready: bool,
    /// The application may renew a secret that the server refused.
    secret_renewable: bool,
    /// The number of attempts to connect that have begun.
    attempts_begun: u64,
}

impl<C, S: Clone> Core<C, S> {
    /// A session in state idle.
    pub fn new(options: Options, seeds: Seeds) -> Core<C, S> {
        Core {
            hello: Hello::new(options.protocol),
            opened_by_server: false,
            phase: Phase::Idle,
            last_protocol: None,
            peer: Peer::default(),
            call_prefix: String::new(),
            format: Format {
                protocol: Protocol::V2,
                chunk_size: None,
                upload_limit: options.v1_upload_limit,
                next_message: seeds.first_message,
                next_key: seeds.first_key,
            },
            calls: Calls::new(seeds.first_call),
            counts: CallCounts::default(),
            topics: Topics::default(),
            effects: VecDeque::new(),
            last_heard: None,
            pinged: false,
            failure: None,
            attempts: Attempts::new(seeds.delays),
            was_ready: false,
            secret_renewable: false,
            attempts_begun: 0,
            options,
        }
    }

    /// Takes the next effect.
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
            Phase::Judging | Phase::Backoff { .. } => State::Reconnecting,
            Phase::Closed => State::Closed,
        }
    }

    /// Why the session has to reconnect, or why it is closed; `None` if the application closed it.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// What is known of the server.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The generation that the open session speaks; `None` while it is not open.
    pub fn protocol(&self) -> Option<Protocol> {
        matches!(self.phase, Phase::Ready | Phase::Closing { .. }).then_some(self.peer.protocol).flatten()
    }

    /// The counters of calls and replies.
    pub fn counts(&self) -> CallCounts {
        self.counts
    }

    /// The number of calls in flight.
    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// The subscriptions.
    pub fn topics(&mut self) -> &mut Topics<S> {
        &mut self.topics
    }

    /// When [`tick`](Core::tick) has to be called. Every method can change this.
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Opening { deadline, .. } => Some(deadline),
            Phase::Closing { deadline } | Phase::Backoff { until: deadline } => Some(deadline),
            Phase::Ready => self.options.heartbeat.and_then(|every| Some(after(self.last_heard?, every))),
            _ => None,
        };
        let hello = matches!(self.phase, Phase::Opening { .. }).then(|| self.hello.deadline()).flatten();
        [phase, hello, self.calls.next_deadline()].into_iter().flatten().min()
    }

    /// Begins to connect. If the session waits to reconnect, the next attempt begins at once.
    pub fn connect(&mut self, now: Instant) -> Result<()> {
        match self.phase {
            Phase::Idle | Phase::Closed => {
                self.failure = None;
                self.was_ready = false;
                self.attempts.reset();
            }
            Phase::Backoff { .. } => {}
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
        self.attempts_begun += 1;
        self.hello = Hello::new(self.options.protocol);
        if self.opened_by_server {
            self.hello.set_opened_by_server();
        }
        self.phase = Phase::Opening { deadline, connected: false };
        self.announce_attempt(State::Connecting, None, self.attempts.made(), Duration::ZERO);
        self.effects.push_back(Effect::Connect(deadline));
    }

    /// Sets whether the application may renew the secret before an attempt. Then a refused secret does not end the session.
    pub fn set_secret_renewable(&mut self, renewable: bool) {
        self.secret_renewable = renewable;
    }

    /// From now on, the server opens the connections.
    pub fn set_opened_by_server(&mut self) {
        self.opened_by_server = true;
    }

    /// Sets the secret of future hellos.
    pub fn set_secret(&mut self, secret: Secret) {
        self.options.secret = secret;
    }

    /// The number of attempts to connect that have begun, and the number of the current attempt as the application sees it.
    /// One attempt may need two connections, for detection.
    pub fn attempts(&self) -> (u64, u32) {
        (self.attempts_begun, self.attempts.made())
    }

    /// The WebSocket connection is open.
    pub fn opened(&mut self, now: Instant) {
        let Phase::Opening { deadline, .. } = self.phase else {
            self.effects.push_back(Effect::Disconnect);
            return;
        };
        self.phase = Phase::Opening { deadline, connected: true };
        self.format.chunk_size = Some(u32::MAX);
        let next = self.hello.opened(now, self.last_protocol);
        self.follow_hello(now, next);
    }

    /// The connection could not be opened.
    pub fn failed(&mut self, error: Error) {
        if matches!(self.phase, Phase::Opening { .. }) {
            self.connection_failed(error);
        }
    }

    /// Data was received at this time.
    pub fn heard(&mut self, at: Instant) {
        if self.last_heard.is_none_or(|before| at > before) {
            self.last_heard = Some(at);
            self.pinged = false;
        }
    }

    /// A pong was received.
    pub fn pong(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Opening { .. }) {
            let next = self.hello.pong(now);
            self.follow_hello(now, next);
        }
    }

    /// A reply was received.
    pub fn reply(&mut self, now: Instant, protocol: Protocol, id: &ReplyId, outcome: Result<SharedDocument>) {
        let call = match id {
            ReplyId::Other(id) if id == envelope::SYSTEM_ID => return self.system_reply(now, protocol, outcome),
            ReplyId::Other(id) => ReplyId::call(id.as_bytes(), self.call_prefix.as_bytes()),
            ReplyId::Call(call) => Some(*call),
        };
        let outcome = match (outcome, call.and_then(|call| self.calls.method(call))) {
            (Err(error), Some(method)) => Err(envelope::name_method(error, method)),
            (outcome, _) => outcome,
        };
        match call.and_then(|call| self.calls.end(call)) {
            Some(completion) => self.effects.push_back(Effect::Complete(completion, outcome)),
            None if call.is_some_and(|call| self.calls.was_begun(call)) => self.counts.late_replies += 1,
            None => self.counts.unknown_replies += 1,
        }
    }

    /// What the message ids of calls begin with; empty before the first hello was answered.
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
            Err(e) => Answer::Error(envelope::name_method(e.clone(), "wslink.hello")),
        };
        let next = self.hello.answered(protocol, answer);
        if let (Next::Open(protocol), Ok(document)) = (&next, &outcome) {
            let result = envelope::result(document);
            let client_id = result.get("clientID");
            let Some(client_id) = client_id.and_then(|v| v.as_str()) else {
                return self.follow_hello(now, Next::Fail(hello::no_client_id(result)));
            };
            let max_msg_size = result.get("maxMsgSize").and_then(|v| v.as_u64());
            self.call_prefix = format!("rpc:{client_id}:");
            self.peer = Peer { protocol: Some(*protocol), client_id: client_id.to_owned(), max_msg_size };
        }
        self.follow_hello(now, next);
    }

    fn follow_hello(&mut self, now: Instant, next: Next) {
        match next {
            Next::Wait => {}
            Next::Send(what) => {
                for send in what {
                    self.send_hello(*send);
                }
            }
            Next::NewConnection => {
                if let Phase::Opening { deadline, .. } = self.phase {
                    self.phase = Phase::Opening { deadline, connected: false };
                    self.effects.push_back(Effect::Connect(deadline));
                }
            }
            Next::Open(protocol) => {
                self.phase = Phase::Ready;
                self.last_protocol = Some(protocol);
                self.last_heard = Some(now);
                self.pinged = false;
                self.format.protocol = protocol;
                self.format.chunk_size = Format::chunk_size(self.peer.max_msg_size.unwrap_or(512 << 10));
                self.was_ready = true;
                self.failure = None;
                self.attempts.ready(now);
                self.announce(State::Ready, None);
            }
            Next::Fail(error) => {
                self.effects.push_back(Effect::Disconnect);
                self.connection_failed(error);
            }
        }
    }

    fn send_hello(&mut self, send: ToSend) {
        let message = match send {
            ToSend::Ping => return self.effects.push_back(Effect::Ping),
            ToSend::Probe => outgoing::probe(),
            ToSend::Hello(protocol) => {
                self.format.protocol = protocol;
                match outgoing::hello(&mut self.format, &self.options.secret, &self.options.hello_members) {
                    Ok((message, size)) => {
                        if protocol == Protocol::V2 {
                            self.hello.sent(size);
                        }
                        message
                    }
                    Err(error) => {
                        self.effects.push_back(Effect::Disconnect);
                        return self.connection_failed(error);
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
                // Only the end of a connection hints at the generation; a violation of the protocol does not.
                let next = match error.code() {
                    Code::ConnectionLost => self.hello.lost(&error),
                    _ => Next::Fail(error.at(Stage::Hello)),
                };
                self.follow_hello(now, next);
            }
            Phase::Opening { connected: false, .. } => self.connection_failed(error),
            Phase::Ready => {
                if let Some(policy) = &self.options.reconnect {
                    self.attempts.lost(now, policy);
                }
                let error = if self.calls.is_empty() { error } else { with_advice_about_relays(error) };
                self.end_calls(|| error.clone());
                self.announce(State::Lost, Some(error.clone()));
                self.connection_failed(error);
            }
            Phase::Closing { .. } => self.closed(None),
            Phase::Idle | Phase::Judging | Phase::Backoff { .. } | Phase::Closed => {}
        }
    }

    /// Connecting failed, or the connection was lost: reconnects or closes.
    fn connection_failed(&mut self, error: Error) {
        let wanted = self.options.reconnect.is_some_and(|policy| self.was_ready || policy.at_first);
        // The server would refuse the same secret again, and may count refusals: retry only if the secret may be renewed.
        if !wanted || error.code() == Code::Auth && !self.secret_renewable {
            return self.closed(Some(error));
        }
        self.phase = Phase::Judging;
        self.failure = Some(error.clone());
        self.effects.push_back(Effect::Judge(error, self.attempts.made() + 1));
    }

    /// The answer to [`Effect::Judge`]: whether to try again.
    pub fn judged(&mut self, now: Instant, again: bool) {
        if self.phase != Phase::Judging {
            return;
        }
        let failure = self.failure.clone();
        let policy = self.options.reconnect.filter(|_| again);
        let retry_after = failure.as_ref().and_then(Error::retry_after);
        match policy.and_then(|policy| self.attempts.next(now, &policy, retry_after)) {
            Some((attempt, delay)) => {
                self.phase = Phase::Backoff { until: after(now, delay) };
                self.announce_attempt(State::Reconnecting, failure, attempt, delay);
            }
            None => self.closed(failure),
        }
    }

    /// Ends the session with an error from outside of the state machine.
    pub fn abort(&mut self, error: Error) {
        if !matches!(self.phase, Phase::Closed) {
            self.effects.push_back(Effect::Disconnect);
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
        let calls = self.calls.drain();
        self.complete(calls.into_iter().map(|(id, completion)| (id, completion, error())));
    }

    /// Completes calls without a reply, each with its error.
    fn complete(&mut self, calls: impl Iterator<Item = (CallId, C, Error)>) {
        let (mut ids, mut outcomes) = (Vec::new(), Vec::new());
        for (id, completion, error) in calls {
            ids.push(id);
            outcomes.push(Effect::Complete(completion, Err(error)));
        }
        if !ids.is_empty() {
            self.effects.push_back(Effect::Withdraw(ids));
            self.effects.extend(outcomes);
        }
    }

    fn announce(&mut self, state: State, error: Option<Error>) {
        self.announce_attempt(state, error, 0, Duration::ZERO);
    }

    fn announce_attempt(&mut self, state: State, error: Option<Error>, attempt: u32, delay: Duration) {
        self.effects.push_back(Effect::State(StateChange { state, error, attempt, delay }));
    }

    /// Begins a call, which fails if there is no reply before `deadline`. [`send`](Core::send) or [`refuse`](Core::refuse)
    /// has to follow; until then the call can end like any other. If the call is not accepted, the completion is returned.
    pub fn begin(
        &mut self,
        method: &str,
        args: &Args,
        deadline: Option<Deadline>,
        completion: C,
    ) -> Result<Begun, (Error, C)> {
        let failed = |error, completion| Err((error, completion));
        match self.phase {
            Phase::Ready => {}
            Phase::Closed | Phase::Closing { .. } => {
                return failed(self.failure.as_ref().map_or_else(closed_error, ended_error), completion);
            }
            Phase::Judging | Phase::Backoff { .. } => {
                let message = "the connection was lost, and the session waits to reconnect: wait for state ready";
                return failed(Error::new(Code::State, message).at(Stage::Session), completion);
            }
            _ => {
                let message = "the session is not ready: connect, and wait for state ready";
                return failed(Error::new(Code::State, message), completion);
            }
        }
        if method.is_empty() {
            return failed(Error::new(Code::Argument, "the name of the method is empty"), completion);
        }
        let id = self.calls.begin(completion, method, deadline);
        self.counts.calls += 1;
        let mut number = itoa::Buffer::new();
        let message_id = [self.call_prefix.as_str(), number.format(id)].concat();
        let format = self.format.reserve(args);
        Ok(Begun { id, message_id, format })
    }

    /// Sends the message of a call that was begun. Returns the message if the call is no longer in flight. The end of a
    /// connection ends all calls, so a call in flight always belongs to the current connection.
    pub fn send(&mut self, id: CallId, message: Outgoing) -> Option<Outgoing> {
        if !self.calls.is_in_flight(id) {
            return Some(message);
        }
        self.effects.push_back(Effect::Send(message, Some(id)));
        None
    }

    /// Revokes a call whose message cannot be encoded, and returns its completion unused. `None`: the call was completed
    /// meanwhile (cancelled, timed out, connection lost) and therefore counts as accepted.
    pub fn refuse(&mut self, id: CallId) -> Option<C> {
        let completion = self.calls.end(id)?;
        self.counts.calls -= 1;
        Some(completion)
    }

    /// Begins a call and sends its message, for callers that use the state machine from one thread.
    #[cfg(any(test, feature = "internals"))]
    pub fn call(
        &mut self,
        method: &str,
        args: &Args,
        deadline: Option<Deadline>,
        completion: C,
    ) -> Result<CallId, (Error, C)> {
        let begun = self.begin(method, args, deadline, completion)?;
        let id = begun.id();
        match begun.message(method, args) {
            Ok(message) => drop(self.send(id, message)),
            Err(error) => {
                if let Some(completion) = self.refuse(id) {
                    return Err((error, completion));
                }
            }
        }
        Ok(id)
    }

    /// Completes a call as cancelled; `false` if it is not in flight. The server goes on: wslink has no message to stop it.
    pub fn cancel(&mut self, id: CallId) -> bool {
        match self.calls.end(id) {
            Some(completion) => {
                let error = Error::new(Code::Cancelled, "cancelled by the application").at(Stage::Call);
                self.complete(std::iter::once((id, completion, error)));
                true
            }
            None => false,
        }
    }

    /// Replaces the deadline of a call, if it is in flight.
    pub fn set_deadline(&mut self, id: CallId, deadline: Deadline) {
        self.calls.set_deadline(id, deadline);
    }

    /// Ends a call whose caller no longer waits. Returns its completion unused; `None` if the call is not in flight.
    pub fn abandon(&mut self, id: CallId) -> Option<C> {
        let completion = self.calls.end(id)?;
        self.effects.push_back(Effect::Withdraw(vec![id]));
        Some(completion)
    }

    /// Closes the session. The closing handshake takes at most `timeout`; closing again can shorten that time, not
    /// lengthen it.
    pub fn close(&mut self, now: Instant, timeout: Duration) {
        match self.phase {
            Phase::Idle | Phase::Opening { .. } => {
                self.effects.push_back(Effect::Disconnect);
                self.closed(None);
            }
            Phase::Ready => {
                self.phase = Phase::Closing { deadline: after(now, timeout) };
                self.announce(State::Closing, None);
                self.end_calls(closed_error);
                self.effects.push_back(Effect::Close(1000));
            }
            Phase::Closing { ref mut deadline } => *deadline = (*deadline).min(after(now, timeout)),
            Phase::Judging | Phase::Backoff { .. } => self.closed(None),
            Phase::Closed => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        let expired = self.calls.expired(now);
        self.complete(expired.into_iter().map(|call| (call.id, call.completion, no_reply(&call.method, call.timeout))));
        match self.phase {
            Phase::Opening { deadline, .. } if now >= deadline => {
                let error = self.hello.timed_out(self.options.connect_timeout);
                self.effects.push_back(Effect::Disconnect);
                self.connection_failed(error);
            }
            Phase::Opening { .. } => {
                let next = self.hello.tick(now);
                self.follow_hello(now, next);
            }
            Phase::Closing { deadline } if now >= deadline => {
                self.effects.push_back(Effect::Disconnect);
                self.closed(None);
            }
            Phase::Backoff { until } if now >= until => self.attempt(now),
            Phase::Ready => self.check_heartbeat(now),
            _ => {}
        }
    }

    fn check_heartbeat(&mut self, now: Instant) {
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
            let message = format!("nothing heard from the server for {every:?} after a ping (option heartbeat)");
            self.effects.push_back(Effect::Disconnect);
            let error = Error::new(Code::ConnectionLost, message).at(Stage::Session);
            self.lost(now, error);
        } else {
            self.pinged = true;
            self.last_heard = Some(now);
            self.effects.push_back(Effect::Ping);
        }
    }
}

/// Adds advice to the error of a connection that ended in a normal way while calls had no reply. A relay of wslink ends it so
/// after it has lost a message that is too large for it, and says nothing of that.
fn with_advice_about_relays(error: Error) -> Error {
    if error.close_code() != Some(1000) {
        return error;
    }
    let message = format!(
        "{} while calls had no reply; if wslink's relay is on the way, a message was perhaps too large for it (4 MiB): \
         start the server with a smaller WSLINK_MAX_MSG_SIZE, such as 4000000 (protocol 2)",
        error.message()
    );
    error.with_message(message)
}

/// The deadline `time` after `now`, or a century if the clock cannot represent it.
fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 86_400))
}

/// The error of a call that begins after the session has failed.
fn ended_error(why: &Error) -> Error {
    let message = format!("it ended before this call ({why}); connect it again to go on");
    Error::new(Code::Closed, message).at(Stage::Session)
}

/// The error of a call whose deadline has passed.
pub fn no_reply(method: &str, timeout: Duration) -> Error {
    let message = format!("no reply to {method:?} within {timeout:?}; the server may still execute it");
    Error::new(Code::Timeout, message).at(Stage::Call)
}

/// The error of calls on a session that the application closed.
pub fn closed_error() -> Error {
    Error::new(Code::Closed, "this program has closed it; connect it again to go on").at(Stage::Session)
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
