//! The data that the handle of a session and its I/O thread share.
//!
//! Order of the locks: the state machine, then `SendQueue::pending` or the event queue. No lock is held while code of the
//! application runs: completions, callbacks, and the destructors of buffers.

use super::config::{Config, Delivery};
use super::delivery::queue::{CompletionCallback, Event, EventQueue, Put};
use super::delivery::session_callbacks::Callbacks;
use super::delivery::subscription::{Outcome, Subscription};
use super::log::LogLevel;
use super::orders::Order;
use super::progress;
use super::stats::Counters;
use super::sync::this_thread;
use super::transport::send_queue::{Report, SendQueue};
use super::transport::websocket::writer::{ControlFrame, Queued};
use super::wake::WakeFlag;
use crate::error::Error;
use crate::session::core::{Core, Effect, Seeds, State};
use crate::session::inbound::Received;
use crossbeam_channel::Sender;
use mio::Waker;
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Instant;

/// Receives the outcome of a call.
pub enum Completion {
    /// A callback, which runs from the event queue.
    Callback(CompletionCallback),
    /// A thread that waits for the outcome.
    Waiter(Sender<Outcome>),
}

/// The state machine, and what else its lock protects.
pub struct Locked {
    /// The state machine.
    pub core: Core<Completion, Arc<Subscription>>,
    /// When the I/O thread wakes up by itself; `None`: never.
    pub wakeup_at: Option<Instant>,
    orders: Sender<Order>,
    /// The owner has dropped the session: nothing may begin.
    pub freed: bool,
    /// The number of times the session was closed.
    pub times_closed: u64,
    /// Why the session was last closed; `None` if the application closed it.
    pub last_failure: Option<Error>,
}

impl Locked {
    /// Sends an order to the I/O thread. The caller wakes the thread afterwards.
    pub fn order(&self, order: Order) {
        // The thread may have ended already.
        let _ = self.orders.send(order);
    }
}

/// The data that the handle of a session and its I/O thread share.
pub struct Shared {
    /// The options.
    pub config: Config,
    locked: Mutex<Locked>,
    state_changed: Condvar,
    /// Outgoing messages.
    pub sending: SendQueue,
    /// Events for the application.
    pub queue: EventQueue,
    waker: Arc<Waker>,
    wake_flag: WakeFlag,
    io_thread: OnceLock<ThreadId>,
    /// The counters of the I/O layer.
    pub counters: Counters,
    /// The address of the server.
    pub peer_addr: Mutex<Option<SocketAddr>>,
    transfers: AtomicU64,
}

/// What has to be done without the lock after a change of the state machine.
#[derive(Default)]
#[must_use]
struct AfterUnlock {
    events: SmallVec<[Event; 1]>,
    put: Option<Put>,
    waiters: SmallVec<[(Sender<Outcome>, Outcome); 1]>,
    pending_decision: Option<(Error, u32)>,
    /// Messages to drop without a lock.
    withdrawn: Vec<Queued>,
    has_outgoing: bool,
    must_wake: bool,
}

/// How much a thread of the application writes from the send queue before it leaves the rest to the I/O thread.
pub const CALLER_FLUSH_BUDGET: usize = 512 << 10;

impl Shared {
    /// `waker` ends the sleep of the I/O thread.
    pub fn new(mut config: Config, waker: Arc<Waker>, orders: Sender<Order>, seeds: Seeds) -> Shared {
        config.log = config.log.for_session();
        let callbacks = Callbacks::default();
        callbacks.state.set(config.on_state.take());
        callbacks.progress.set(config.on_progress.take());
        callbacks.wakeup.set(config.on_wakeup.take());
        callbacks.reconnect.set(config.reconnect_filter.take());
        callbacks.attempt.set(config.before_attempt.take());
        let queue = EventQueue::new(callbacks, config.queue_bytes, config.delivery == Delivery::Queued);
        let mut core = Core::new(config.session.clone(), seeds);
        core.set_secret_renewable(queue.callbacks().attempt.is_set());
        if config.arrivals.is_some() {
            core.set_opened_by_server();
        }
        Shared {
            config,
            locked: Mutex::new(Locked {
                core,
                wakeup_at: None,
                orders,
                freed: false,
                times_closed: 0,
                last_failure: None,
            }),
            state_changed: Condvar::new(),
            sending: SendQueue::default(),
            queue,
            waker,
            wake_flag: WakeFlag::default(),
            io_thread: OnceLock::new(),
            counters: Counters::default(),
            peer_addr: Mutex::new(None),
            transfers: AtomicU64::new(0),
        }
    }

    /// Called by the I/O thread when it begins.
    pub fn enter_io_thread(&self) {
        let _ = self.io_thread.set(this_thread());
    }

    /// Whether this is the I/O thread.
    pub fn on_io_thread(&self) -> bool {
        self.io_thread.get() == Some(&this_thread())
    }

    /// Ends the sleep of the I/O thread.
    pub fn wake(&self) {
        if let Err(e) = self.wake_flag.raise(|| self.waker.wake()) {
            self.log(LogLevel::Error, || format!("the I/O thread cannot be woken: {e}"));
        }
    }

    /// The I/O thread was woken, and is about to check all its work.
    pub fn woken(&self) {
        self.wake_flag.lower();
    }

    /// Writes to the log.
    pub fn log(&self, level: LogLevel, line: impl FnOnce() -> String) {
        self.config.log.write(level, line);
    }

    /// Gives access under the lock without carrying out effects: for reading, and for changes that have none.
    pub fn inspect<R>(&self, read: impl FnOnce(&mut Locked) -> R) -> R {
        read(&mut self.locked.lock())
    }

    /// Changes the state machine, and carries out the effects.
    pub fn with_core<R>(&self, change: impl FnOnce(&mut Core<Completion, Arc<Subscription>>) -> R) -> R {
        self.with_locked(|locked| change(&mut locked.core))
    }

    /// Like [`with_core`](Shared::with_core), with access to all that the lock protects.
    pub fn with_locked<R>(&self, change: impl FnOnce(&mut Locked) -> R) -> R {
        self.with_locked_sending(change).0
    }

    /// Like [`with_locked`](Shared::with_locked), but also returns the report of the flush. The caller drops it where code of
    /// the application may run.
    pub fn with_locked_sending<R>(&self, change: impl FnOnce(&mut Locked) -> R) -> (R, Report) {
        let mut after = AfterUnlock::default();
        let result = {
            let mut locked = self.locked.lock();
            let result = change(&mut locked);
            self.take_effects(&mut locked, &mut after);
            self.put_events(&locked, &mut after);
            result
        };
        (result, self.carry_out(after))
    }

    /// Passes received messages on in their order: replies to the state machine, publications to the event queue.
    pub fn receive(&self, now: Instant, messages: impl Iterator<Item = Received<Arc<Subscription>>>) {
        let mut after = AfterUnlock::default();
        {
            let mut locked = self.locked.lock();
            locked.core.heard(now);
            for message in messages {
                match message {
                    Received::Publication { to, outcome } => after.events.push(Event::Publish(to, outcome)),
                    Received::Reply { protocol, id, outcome } => {
                        locked.core.reply(now, protocol, &id, outcome);
                        self.take_effects(&mut locked, &mut after);
                    }
                    Received::Nothing | Received::Unsubscribed | Received::Malformed(_) => {}
                }
            }
            self.put_events(&locked, &mut after);
        }
        self.carry_out(after);
    }

    /// Carries out the part of the effects that needs the lock, and notes the rest in `after`.
    fn take_effects(&self, locked: &mut Locked, after: &mut AfterUnlock) {
        while let Some(effect) = locked.core.take_effect() {
            match effect {
                Effect::Send(message, call) => {
                    after.has_outgoing = true;
                    self.sending.push((message, call));
                }
                Effect::Withdraw(calls) => {
                    after.has_outgoing = true;
                    after.withdrawn.extend(self.sending.withdraw(&calls));
                }
                Effect::Ping => {
                    after.has_outgoing = true;
                    self.sending.push_control(ControlFrame::Ping);
                }
                Effect::Close(code) => {
                    after.has_outgoing = true;
                    self.sending.push_control(ControlFrame::Close(code));
                }
                Effect::Connect(deadline) => {
                    after.must_wake = true;
                    locked.order(Order::Connect(deadline));
                }
                Effect::Disconnect => {
                    after.must_wake = true;
                    locked.order(Order::Disconnect);
                }
                Effect::Complete(Completion::Callback(callback), outcome) => {
                    after.events.push(Event::Complete(callback, outcome));
                }
                Effect::Complete(Completion::Waiter(waiter), outcome) => after.waiters.push((waiter, outcome)),
                Effect::Judge(error, attempt) => after.pending_decision = Some((error, attempt)),
                Effect::State(change) => {
                    if change.state == State::Closed {
                        locked.times_closed += 1;
                        locked.last_failure.clone_from(&change.error);
                    }
                    self.state_changed.notify_all();
                    if self.queue.wants_states() {
                        after.events.push(Event::State(change));
                    }
                }
            }
        }
    }

    /// Queues the events, while the lock is held, so that they are in the order of the changes of the state machine. Also notes
    /// whether the I/O thread must wake up earlier.
    fn put_events(&self, locked: &Locked, after: &mut AfterUnlock) {
        let deadline = locked.core.deadline();
        after.must_wake |= deadline.is_some_and(|at| locked.wakeup_at.is_none_or(|wakeup_at| at < wakeup_at));
        if !after.events.is_empty() {
            after.put = Some(self.queue.put(after.events.drain(..)));
        }
    }

    /// Carries out the part of the effects that must not hold the lock. Returns the report of the flush.
    fn carry_out(&self, mut after: AfterUnlock) -> Report {
        let mut sent = Report::default();
        for (waiter, outcome) in after.waiters {
            // An error means that the caller no longer waits.
            let _ = waiter.send(outcome);
        }
        if let Some(put) = after.put {
            self.queue.finish(put);
            after.must_wake |= self.config.delivery == Delivery::IoThread;
        }
        if let Some((error, attempt)) = after.pending_decision {
            self.decide_reconnect(&error, attempt);
        }
        // The I/O thread flushes and checks all its work before it sleeps.
        if !self.on_io_thread() {
            if after.has_outgoing {
                sent = self.sending.flush(CALLER_FLUSH_BUDGET);
                after.must_wake |= self.wrote(&sent);
            }
            if after.must_wake {
                self.wake();
            }
        }
        sent.withdrawn.append(&mut after.withdrawn);
        sent
    }

    fn decide_reconnect(&self, error: &Error, attempt: u32) {
        let again = self.queue.callbacks().worth_an_attempt(error, attempt);
        self.log(LogLevel::Info, || match again {
            true => format!("worth attempt {attempt} to reconnect: {error}"),
            false => format!("not worth another attempt to connect: {error}"),
        });
        self.with_core(|core| core.judged(Instant::now(), again));
    }

    /// Whether the I/O thread may run the callback of a publication at once: callbacks run there, and nothing is queued before
    /// it.
    pub fn may_deliver_now(&self) -> bool {
        self.config.delivery == Delivery::IoThread && self.queue.backlog() == 0
    }

    /// Queues events.
    pub fn push(&self, events: impl Iterator<Item = Event>) {
        let put = self.queue.put(events);
        self.queue.finish(put);
        if self.config.delivery == Delivery::IoThread && !self.on_io_thread() {
            self.wake();
        }
    }

    /// Flushes the send queue on the I/O thread. `true`: the thread has to flush again.
    pub fn flush(&self, budget: usize) -> bool {
        let report = self.sending.flush(budget);
        self.wrote(&report)
    }

    /// Flushes as much as the socket accepts, before the connection is ended.
    pub fn flush_last(&self, budget: usize) {
        self.wrote(&self.sending.flush_last(budget));
    }

    /// Counts a flush and reports its progress. `true`: the I/O thread has to flush.
    fn wrote(&self, report: &Report) -> bool {
        if report.bytes > 0 || report.messages > 0 {
            self.counters.bytes_out.fetch_add(report.bytes, Relaxed);
            self.counters.messages_out.fetch_add(report.messages, Relaxed);
        }
        if self.queue.wants_progress() {
            let reports: Vec<_> = progress::outgoing(report).map(Event::Progress).collect();
            if !reports.is_empty() {
                self.push(reports.into_iter());
            }
        }
        // A thread of the application found the socket full. The socket may have become writable while this thread held it, and
        // the I/O thread could not flush then.
        report.more || report.failed || (report.blocked && !self.on_io_thread())
    }

    /// A new number for an incoming transfer.
    pub fn next_transfer(&self) -> u64 {
        self.transfers.fetch_add(2, Relaxed)
    }

    /// Waits until `wanted` is true; returns `false` if it is not at the deadline.
    pub fn wait(&self, deadline: Option<Instant>, wanted: impl Fn(&Locked) -> bool) -> bool {
        let mut locked = self.locked.lock();
        while !wanted(&locked) {
            match deadline {
                None => self.state_changed.wait(&mut locked),
                Some(at) => {
                    if self.state_changed.wait_until(&mut locked, at).timed_out() {
                        return wanted(&locked);
                    }
                }
            }
        }
        true
    }
}
