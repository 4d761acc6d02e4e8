//! What the handle of a session and its I/O thread share.
//!
//! Order of the locks: the receiving half, then `core`, then `link` (its short one) or the event queue. None of them is held
//! while code of the application runs: completions, callbacks, and the destructors of buffers; but for the receiving half on
//! the I/O thread.

use super::batch::{Arrived, Batch};
use super::caller::Interest;
use super::config::{Config, Delivery, LogLevel, PROGRESS_FROM, Progress};
use super::delivery::{Callbacks, CompletionCallback, Event, EventQueue, Outcome, Put, Subscription};
use super::link::{Link, Report};
use super::receiving::Receiving;
use super::sync::this_thread;
use super::wake::WakeFlag;
use super::websocket::writer::ControlFrame;
use crate::error::Error;
use crate::session::core::{Core, Effect, Seeds, State};
use crate::session::inbound::Inbound;
use mio::{Registry, Waker};
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread, ThreadId};
use std::time::Instant;

/// Who receives the outcome of a call.
pub enum Completion {
    /// A callback, by way of the event queue.
    Callback(CompletionCallback),
    /// A thread that waits for it.
    Waiter(Arc<Waiter>),
}

/// A thread that waits for the outcome of one call.
pub struct Waiter {
    outcome: Mutex<Option<Outcome>>,
    thread: Thread,
    /// Ends its sleep, if it reads the socket itself.
    reading: Option<Arc<Waker>>,
}

impl Waiter {
    /// For the current thread.
    pub fn new(reading: Option<Arc<Waker>>) -> Arc<Waiter> {
        Arc::new(Waiter { outcome: Mutex::new(None), thread: thread::current(), reading })
    }

    fn complete(&self, outcome: Outcome) {
        *self.outcome.lock() = Some(outcome);
        if self.thread.id() == this_thread() {
            return;
        }
        self.thread.unpark();
        if let Some(waker) = &self.reading {
            // If that fails, its next look at the socket is still to come.
            let _ = waker.wake();
        }
    }

    /// Whether the outcome is there.
    pub fn is_complete(&self) -> bool {
        self.outcome.lock().is_some()
    }

    /// Waits for the outcome; `None` at the deadline.
    pub fn wait(&self, deadline: Option<Instant>) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.outcome.lock().take() {
                return Some(outcome);
            }
            match deadline {
                None => thread::park(),
                Some(at) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    thread::park_timeout(left);
                }
            }
        }
    }
}

/// What the I/O thread is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Connect, until this time.
    Connect(Instant),
    /// End the connection.
    Drop,
    /// End the thread.
    Exit,
}

/// The state machine, and when the I/O thread will look at it by itself.
pub struct Locked {
    /// The state machine.
    pub core: Core<Completion, Arc<Subscription>>,
    /// When the I/O thread wakes up; `None`: not by itself.
    pub armed: Option<Instant>,
    /// Orders for the I/O thread, oldest first.
    pub orders: VecDeque<Order>,
    /// The owner is gone: nothing begins any more.
    pub freed: bool,
    /// How often the session was closed.
    pub endings: u64,
    /// Why, the last time.
    pub last_failure: Option<Error>,
}

/// Counters that the I/O thread keeps.
#[derive(Default)]
pub struct Counters {
    /// WebSocket messages for somebody: replies and wanted publications.
    pub messages_in: AtomicU64,
    /// Messages sent.
    pub messages_out: AtomicU64,
    /// Bytes received, framing included.
    pub bytes_in: AtomicU64,
    /// Bytes sent, framing included.
    pub bytes_out: AtomicU64,
    /// Publications on topics without subscriber.
    pub unsubscribed: AtomicU64,
    /// Messages without meaning.
    pub malformed: AtomicU64,
    /// Unfinished messages and kept attachments that were given up.
    pub evicted: AtomicU64,
}

/// What is shared.
pub struct Shared {
    /// The options.
    pub config: Config,
    locked: Mutex<Locked>,
    state_changed: Condvar,
    /// Outgoing messages.
    pub link: Link,
    /// Events for the application.
    pub queue: EventQueue,
    waker: Arc<Waker>,
    wake_flag: WakeFlag,
    io_thread: OnceLock<ThreadId>,
    /// Changes with every subscription.
    pub topics_version: AtomicU64,
    /// Counters.
    pub counters: Counters,
    /// The address of the server.
    pub peer_addr: Mutex<Option<SocketAddr>>,
    /// The receiving half of the connection. Only the I/O thread waits for it, and only if there is none or the socket was
    /// shut down, because a caller may sleep with it.
    pub receiving: Mutex<Option<Receiving>>,
    /// A caller has left something in the receiving half, or the socket cannot be watched any more.
    pub left: AtomicBool,
    /// What the I/O thread is woken for by the socket.
    pub interest: Interest,
    transfers: AtomicU64,
}

/// What is left to do when the state machine was changed.
#[derive(Default)]
#[must_use]
pub struct Todo {
    events: SmallVec<[Event; 1]>,
    put: Option<Put>,
    waiters: SmallVec<[(Arc<Waiter>, Outcome); 1]>,
    judge: Option<(Error, u32)>,
    sends: bool,
    must_wake: bool,
}

/// When a thread of the application has written so much of what waits, it leaves the rest to the I/O thread.
pub const CALLER_FLUSH: usize = 512 << 10;

/// The same if it waits for the reply anyway, and nothing of others was waiting before its call.
pub const WAITING_CALLER_FLUSH: usize = 4 << 20;

impl Shared {
    /// `waker` ends the sleep of the I/O thread; with `registry` it is told what of the socket to wait for.
    pub fn new(mut config: Config, waker: Arc<Waker>, registry: Registry, seeds: Seeds) -> Shared {
        config.log = config.log.opened();
        let callbacks = Callbacks::default();
        callbacks.state.set(config.on_state.take());
        callbacks.progress.set(config.on_progress.take());
        callbacks.wakeup.set(config.on_wakeup.take());
        callbacks.reconnect.set(config.reconnect_filter.take());
        let queue = EventQueue::new(callbacks, config.queue_bytes, config.delivery == Delivery::Queued);
        let core = Core::new(config.session.clone(), seeds);
        Shared {
            config,
            locked: Mutex::new(Locked {
                core,
                armed: None,
                orders: VecDeque::new(),
                freed: false,
                endings: 0,
                last_failure: None,
            }),
            state_changed: Condvar::new(),
            link: Link::default(),
            queue,
            waker,
            wake_flag: WakeFlag::default(),
            io_thread: OnceLock::new(),
            topics_version: AtomicU64::new(0),
            counters: Counters::default(),
            peer_addr: Mutex::new(None),
            receiving: Mutex::new(None),
            left: AtomicBool::new(false),
            interest: Interest::new(registry),
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

    /// The I/O thread was woken, and looks at everything from now on.
    pub fn woken(&self) {
        self.wake_flag.lower();
    }

    /// Writes to the log.
    pub fn log(&self, level: LogLevel, line: impl FnOnce() -> String) {
        self.config.log.write(level, line);
    }

    /// Notes in the log that so many messages could not be read, and what is wrong with the last one.
    pub fn log_malformed(&self, count: u64, why: &str) {
        self.log(LogLevel::Warning, || format!("{count} message(s) without meaning dropped{why}"));
    }

    /// Looks at the state machine without changing it.
    pub fn look<R>(&self, look: impl FnOnce(&mut Locked) -> R) -> R {
        look(&mut self.locked.lock())
    }

    /// Changes the state machine, and does what comes out of that.
    pub fn with_core<R>(&self, change: impl FnOnce(&mut Core<Completion, Arc<Subscription>>) -> R) -> R {
        self.with_locked(|locked| change(&mut locked.core))
    }

    /// The same, with the orders.
    pub fn with_locked<R>(&self, change: impl FnOnce(&mut Locked) -> R) -> R {
        self.with_locked_sending(CALLER_FLUSH, change).0
    }

    /// The same, and another thread than the I/O thread writes about `most` bytes of what is to be sent. What was sent is
    /// to be dropped where code of the application may run.
    pub fn with_locked_sending<R>(&self, most: usize, change: impl FnOnce(&mut Locked) -> R) -> (R, Report) {
        let mut todo = Todo::default();
        let result = {
            let mut locked = self.locked.lock();
            let result = change(&mut locked);
            self.take_effects(&mut locked, &mut todo);
            self.settle(&locked, &mut todo);
            result
        };
        (result, self.carry_out_writing(todo, most))
    }

    /// Hands received messages on, in their order: replies to the state machine, publications to the queue.
    pub fn receive(&self, now: Instant, batch: &mut Batch, inbound: &mut Inbound<Arc<Subscription>>) {
        let todo = self.take_in(now, batch, inbound);
        self.carry_out(todo);
    }

    /// The same without waking anybody, which is left for [`carry_out`](Shared::carry_out).
    pub fn take_in(&self, now: Instant, batch: &mut Batch, inbound: &mut Inbound<Arc<Subscription>>) -> Todo {
        self.counters.messages_in.fetch_add(batch.len() as u64, Relaxed);
        let mut todo = Todo::default();
        {
            let mut locked = self.locked.lock();
            locked.core.heard(now);
            for message in batch.drain(inbound) {
                match message {
                    Arrived::Publications(to, outcomes) => todo.events.push(Event::Publish(to, outcomes)),
                    Arrived::Undecoded(to, messages) => todo.events.push(Event::PublishUndecoded(to, messages)),
                    Arrived::Reply(protocol, id, outcome) => {
                        locked.core.reply(now, protocol, &id, outcome);
                        self.take_effects(&mut locked, &mut todo);
                    }
                }
            }
            self.settle(&locked, &mut todo);
        }
        todo
    }

    /// Does under the lock what has to be done there about the effects, and notes the rest.
    fn take_effects(&self, locked: &mut Locked, todo: &mut Todo) {
        while let Some(effect) = locked.core.take_effect() {
            match effect {
                Effect::Send(message, call) => {
                    todo.sends = true;
                    if let Some(spare) = self.link.push((message, call)) {
                        locked.core.reuse(spare);
                    }
                }
                Effect::Ping => {
                    todo.sends = true;
                    self.link.push_control(ControlFrame::Ping);
                }
                Effect::Close(code) => {
                    todo.sends = true;
                    self.link.push_control(ControlFrame::Close(code));
                }
                Effect::Connect(deadline) => {
                    todo.must_wake = true;
                    locked.orders.push_back(Order::Connect(deadline));
                }
                Effect::Drop => {
                    todo.must_wake = true;
                    locked.orders.push_back(Order::Drop);
                }
                Effect::Complete(Completion::Callback(callback), outcome) => {
                    todo.events.push(Event::Complete(callback, outcome));
                }
                Effect::Complete(Completion::Waiter(waiter), outcome) => todo.waiters.push((waiter, outcome)),
                Effect::Judge(error, attempt) => todo.judge = Some((error, attempt)),
                Effect::State(change) => {
                    if change.state == State::Closed {
                        locked.endings += 1;
                        locked.last_failure.clone_from(&change.error);
                    }
                    self.state_changed.notify_all();
                    if self.queue.wants_states() {
                        todo.events.push(Event::State(change));
                    }
                }
            }
        }
    }

    /// The last thing under the lock: events are put in the queue in the order in which they came about.
    fn settle(&self, locked: &Locked, todo: &mut Todo) {
        let deadline = locked.core.deadline();
        todo.must_wake |= deadline.is_some_and(|at| locked.armed.is_none_or(|armed| at < armed));
        if !todo.events.is_empty() {
            todo.put = Some(self.queue.put(todo.events.drain(..)));
        }
    }

    /// What is done without the lock. Returns what was sent.
    pub fn carry_out(&self, todo: Todo) -> Report {
        self.carry_out_writing(todo, CALLER_FLUSH)
    }

    fn carry_out_writing(&self, mut todo: Todo, most: usize) -> Report {
        let mut sent = Report::default();
        for (waiter, outcome) in todo.waiters {
            waiter.complete(outcome);
        }
        if let Some(put) = todo.put {
            self.queue.finish(put);
            todo.must_wake |= self.config.delivery == Delivery::IoThread;
        }
        if let Some((error, attempt)) = todo.judge {
            self.judge(&error, attempt);
        }
        // The I/O thread sees to everything before it sleeps.
        if !self.on_io_thread() {
            if todo.sends {
                sent = self.link.flush(most);
                todo.must_wake |= self.wrote(&sent);
            }
            if todo.must_wake {
                self.wake();
            }
        }
        sent
    }

    fn judge(&self, error: &Error, attempt: u32) {
        let again = self.queue.worth_an_attempt(error, attempt);
        self.log(LogLevel::Info, || match again {
            true => format!("worth attempt {attempt} to reconnect: {error}"),
            false => format!("not worth another attempt to connect: {error}"),
        });
        self.with_core(|core| core.judged(Instant::now(), again));
    }

    /// Puts events in the queue.
    pub fn push(&self, events: impl Iterator<Item = Event>) {
        let put = self.queue.put(events);
        self.queue.finish(put);
        if self.config.delivery == Delivery::IoThread && !self.on_io_thread() {
            self.wake();
        }
    }

    /// Writes what waits, on the I/O thread. `true`: it has to go on with that.
    pub fn flush(&self, most: usize) -> bool {
        let report = self.link.flush(most);
        let watched = self.interest.want_writable(report.blocked);
        if !watched {
            self.left.store(true, SeqCst);
        }
        self.wrote(&report) || !watched
    }

    /// Writes what the socket still takes, before the connection is ended.
    pub fn flush_last(&self, most: usize) {
        self.wrote(&self.link.flush_last(most));
    }

    fn wrote(&self, report: &Report) -> bool {
        if report.bytes > 0 || report.messages > 0 {
            self.counters.bytes_out.fetch_add(report.bytes, Relaxed);
            self.counters.messages_out.fetch_add(report.messages, Relaxed);
        }
        if self.queue.wants_progress() {
            let of = |call, bytes, total| Progress {
                incoming: false,
                transfer: outgoing_transfer(call),
                call,
                bytes,
                total,
            };
            let done = report.done.iter().map(|(m, call)| of(*call, m.total(), m.total()));
            let current = report.current.filter(|_| report.bytes > 0).map(|s| of(s.call, s.bytes, s.total));
            let told: Vec<_> = done.chain(current).filter(|p| p.total >= PROGRESS_FROM).map(Event::Progress).collect();
            if !told.is_empty() {
                self.push(told.into_iter());
            }
        }
        // The socket may have become writable while this thread still held it; then nobody else was told.
        report.more || report.failed || (report.blocked && !self.on_io_thread())
    }

    /// A number for an incoming transfer.
    pub fn next_transfer(&self) -> u64 {
        self.transfers.fetch_add(2, Relaxed)
    }

    /// Waits for a state; `false` at the deadline.
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

    /// Notes that the subscriptions changed.
    pub fn topics_changed(&self) {
        self.topics_version.fetch_add(1, SeqCst);
    }

    /// Whether the connection that the I/O thread works on was given up by the application.
    pub fn dropped(&self) -> bool {
        self.look(|locked| locked.orders.iter().any(|order| !matches!(order, Order::Connect(_))))
    }
}

/// Outgoing transfers have odd numbers, incoming ones even ones.
fn outgoing_transfer(call: Option<u64>) -> u64 {
    call.unwrap_or(0).wrapping_mul(2) | 1
}
