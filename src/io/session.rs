//! The handle of a session. Any thread may use it, in any state and also inside callbacks. On the I/O thread, methods that
//! wait return an error, because they would wait for themselves.

use super::config::{Config, Delivery};
use super::delivery::queue::CompletionCallback;
use super::delivery::subscription::{Outcome, Policy, Publication, Subscription};
use super::orders::{self, Order, WAKER};
use super::shared::{Completion, Locked, Shared};
use super::stats::Stats;
use super::thread::IoThread;
use super::transport::send_queue::Report;
use crate::error::{Code, Error, Result};
use crate::platform::threads;
use crate::session::calls::{CallId, Deadline};
use crate::session::core::{Peer, Seeds, State, closed_error, no_reply};
use crate::wire::args::Args;
use crate::wire::outgoing::Outgoing;
use mio::{Poll, Waker};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The owner of a session. Dropping it closes the session at once: calls in flight are completed as closed before the drop
/// returns, and no callback runs after it. Dropping is allowed on any thread, also inside a callback.
pub struct Session {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// A reference to a session, for callbacks and other threads. It does not keep the session alive: after the [`Session`] is
/// dropped, methods report that the session is closed.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// How long a blocking call whose timeout has passed waits for the I/O thread to read the socket once more.
const MAX_REPLY_GRACE: Duration = Duration::from_millis(500);

/// The maximum number of bytes written when a session is dropped on its I/O thread.
const FINAL_FLUSH_BUDGET: usize = 1 << 20;

impl Session {
    /// A session that is not connected yet. Starts the I/O thread.
    pub fn new(config: Config) -> Result<Session> {
        if config.is_launcher {
            let text =
                "the configuration is one of a launcher: open a session with the launcher, and use its configuration";
            return Err(Error::new(Code::Argument, text));
        }
        let system = |what: &str, e: std::io::Error| Error::new(Code::System, format!("{what}: {e}"));
        let poll = Poll::new().map_err(|e| system("no event queue for the session", e))?;
        let waker = Arc::new(
            Waker::new(poll.registry(), WAKER).map_err(|e| system("no wake-up for the thread of the session", e))?,
        );
        // At most 53 bits: JavaScript clients of the same server can represent these numbers exactly.
        let seeds = Seeds {
            first_call: rand::random::<u64>() >> 12,
            first_key: rand::random::<u64>() >> 11,
            first_message: rand::random(),
            delays: rand::random(),
        };
        let (orders, received) = orders::channel();
        let shared = Arc::new(Shared::new(config, waker, orders, seeds));
        let io = IoThread::new(Arc::clone(&shared), poll, received);
        let thread =
            threads::spawn("wslink-io", move || io.run()).map_err(|e| system("no thread for the session", e))?;
        Ok(Session { handle: Handle(shared), thread: Some(thread) })
    }

    /// A reference for callbacks and other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Deref for Session {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let shared = &self.handle.0;
        shared.queue.stop();
        shared.with_locked(|locked| {
            locked.freed = true;
            locked.core.close(Instant::now(), Duration::ZERO);
            locked.order(Order::Exit);
        });
        shared.wake();
        if let Some(thread) = self.thread.take()
            && !shared.on_io_thread()
        {
            // The I/O thread does not panic, and a panicked thread would need no wait.
            let _ = thread.join();
        }
        if shared.on_io_thread() {
            // The I/O thread ends later, but must not read memory of the application after this function.
            shared.flush_last(FINAL_FLUSH_BUDGET);
            drop(shared.sending.detach());
        }
        // The closing handshake has a timeout of zero, so this tick ends it.
        shared.with_core(|core| core.tick(Instant::now()));
        shared.queue.close();
        let subscriptions = shared.inspect(|locked| locked.core.topics().clear());
        for subscription in subscriptions {
            subscription.end();
        }
        shared.config.log.clear();
    }
}

impl Handle {
    /// Begins to connect; changes of state report the result. If the session waits to reconnect, the next attempt begins at
    /// once.
    pub fn connect(&self) -> Result<()> {
        self.0.with_locked(|locked| {
            if locked.freed {
                return Err(closed_error());
            }
            locked.core.connect(Instant::now())
        })
    }

    /// Connects, and waits until the session is ready or closed. The connect timeout applies to each attempt; there may be
    /// several with [`Reconnect::at_first`](crate::session::reconnect::Reconnect::at_first).
    pub fn connect_wait(&self) -> Result<()> {
        self.refuse_on_io_thread("connect_wait")?;
        let times_closed = self.0.inspect(|locked| locked.times_closed);
        self.connect()?;
        // The end of this attempt counts, even if a callback has called `connect` again since.
        self.0.wait(None, |locked| locked.core.state() == State::Ready || locked.times_closed != times_closed);
        self.0.inspect(|locked| match locked.core.state() {
            State::Ready => Ok(()),
            _ => Err(locked.last_failure.clone().unwrap_or_else(closed_error)),
        })
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.0.inspect(|locked| locked.core.state())
    }

    /// Why the session is closed or has to reconnect; `None` if the application closed it.
    pub fn failure(&self) -> Option<Error> {
        self.0.inspect(|locked| locked.core.failure().cloned())
    }

    /// What is known of the server; empty before the session was ready.
    pub fn peer(&self) -> Peer {
        self.0.inspect(|locked| locked.core.peer().clone())
    }

    /// The address of the server or proxy of the last connection; `None` before the first one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        *self.0.peer_addr.lock()
    }

    /// The statistics of the session.
    pub fn stats(&self) -> Stats {
        let (counts, in_flight) = self.0.inspect(|locked| (locked.core.counts(), locked.core.calls_in_flight()));
        let c = &self.0.counters;
        Stats {
            messages_in: c.messages_in.load(Relaxed),
            messages_out: c.messages_out.load(Relaxed),
            bytes_in: c.bytes_in.load(Relaxed),
            bytes_out: c.bytes_out.load(Relaxed),
            unsubscribed: c.unsubscribed.load(Relaxed),
            malformed: c.malformed.load(Relaxed),
            evicted: c.evicted.load(Relaxed),
            late_replies: counts.late_replies,
            unknown_replies: counts.unknown_replies,
            calls: counts.calls,
            calls_in_flight: in_flight as u64,
            events_waiting: self.0.queue.backlog() as u64,
            bytes_waiting: self.0.sending.backlog(),
        }
    }

    /// Calls a method. If the call is accepted, the completion receives the outcome exactly once, and never inside this
    /// function. `timeout`: `None` means [`Config::call_timeout`]. Without either, and with [`Duration::MAX`], the call ends
    /// with its connection at the latest.
    pub fn call(
        &self,
        method: &str,
        args: Args,
        timeout: Option<Duration>,
        completion: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<CallId> {
        self.call_with(method, &args, timeout, completion)
    }

    /// Like [`call`](Handle::call), with borrowed arguments.
    pub fn call_with(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<CallId> {
        let completion = Completion::Callback(Box::new(completion));
        self.begin(method, args, self.timeout(timeout), completion, |_| ()).map_err(|(error, _)| error)
    }

    /// Like [`call_with`](Handle::call_with), for callers that need the id before the completion can run, for instance because
    /// the completion frees the memory in which they store the id. `accepted` receives the id first, and must not use the
    /// session. If encoding then fails, `accepted` receives 0. If the call is not accepted, the completion is returned.
    pub fn call_accepted(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: CompletionCallback,
        accepted: impl FnMut(CallId),
    ) -> Result<(), (Error, CompletionCallback)> {
        match self.begin(method, args, self.timeout(timeout), Completion::Callback(completion), accepted) {
            Ok(_) => Ok(()),
            Err((error, Completion::Callback(completion))) => Err((error, completion)),
            // Unreachable: the completion that was passed is returned.
            Err((error, Completion::Waiter(_))) => Err((error, Box::new(|_| ()))),
        }
    }

    fn begin(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: Completion,
        accepted: impl FnMut(CallId),
    ) -> Result<CallId, (Error, Completion)> {
        let (id, message) = self.prepare(method, args, timeout, completion, accepted)?;
        drop(self.send(id, message));
        Ok(id)
    }

    /// Begins a call and encodes its message; the message is `None` if the call ended meanwhile. No lock is held while encoding,
    /// which takes long for long arguments.
    fn prepare(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: Completion,
        mut accepted: impl FnMut(CallId),
    ) -> Result<(CallId, Option<Outgoing>), (Error, Completion)> {
        let waiting = self.0.sending.backlog();
        if waiting > self.0.config.send_queue_bytes {
            let message = format!(
                "{waiting} bytes of earlier calls wait to be sent, and the limit is {} (option send_queue_bytes)",
                self.0.config.send_queue_bytes
            );
            return Err((Error::new(Code::Limit, message), completion));
        }
        let deadline = timeout.and_then(|timeout| Deadline::after(Instant::now(), Some(timeout)));
        let begun = self
            .0
            .with_core(|core| core.begin(method, args, deadline, completion).inspect(|begun| accepted(begun.id())))?;
        let id = begun.id();
        match begun.message(method, args) {
            Ok(message) => Ok((id, Some(message))),
            Err(error) => match self.0.with_core(|core| core.refuse(id)) {
                Some(completion) => {
                    accepted(0);
                    Err((error, completion))
                }
                None => Ok((id, None)),
            },
        }
    }

    /// Sends the message of a call, unless the call has ended. The caller drops the result where code of the application may
    /// run.
    fn send(&self, id: CallId, message: Option<Outgoing>) -> (Option<Outgoing>, Report) {
        match message {
            Some(message) => self.0.with_locked_sending(|locked| locked.core.send(id, message)),
            None => (None, Report::default()),
        }
    }

    /// The timeout of a call: the given one, or that of the configuration.
    fn timeout(&self, given: Option<Duration>) -> Option<Duration> {
        given.or(self.0.config.call_timeout)
    }

    /// Calls a method, and waits for the outcome. For the timeout see [`call`](Handle::call).
    pub fn call_wait(&self, method: &str, args: Args, timeout: Option<Duration>) -> Outcome {
        self.call_wait_with(method, &args, timeout)
    }

    /// Like [`call_wait`](Handle::call_wait), with borrowed arguments.
    pub fn call_wait_with(&self, method: &str, args: &Args, timeout: Option<Duration>) -> Outcome {
        self.refuse_on_io_thread("call_wait")?;
        let timeout = self.timeout(timeout);
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        let (completion, outcome) = crossbeam_channel::bounded(1);
        let completion = Completion::Waiter(completion);
        let (id, message) = self.prepare(method, args, None, completion, |_| ()).map_err(|(error, _)| error)?;
        drop(self.send(id, message));
        let wait = |deadline: Option<Instant>| match deadline {
            Some(at) => outcome.recv_deadline(at).ok(),
            None => outcome.recv().ok(),
        };
        if let Some(outcome) = wait(deadline) {
            return outcome;
        }
        // The reply may be in the socket. The I/O thread reads it before it handles this deadline, unless it is in a callback.
        let (now, timeout) = (Instant::now(), timeout.unwrap_or_default());
        self.0.with_core(|core| core.set_deadline(id, Deadline { at: now, timeout }));
        if let Some(outcome) = wait(Some(now + MAX_REPLY_GRACE)) {
            return outcome;
        }
        if self.0.with_core(|core| core.abandon(id)).is_none() {
            // The call was completed meanwhile: the outcome is about to arrive in the channel.
            return wait(None).unwrap_or_else(|| Err(closed_error()));
        }
        Err(no_reply(method, timeout))
    }

    /// Completes a call as cancelled; `false` if it is not in flight. A queued message is withdrawn, and memory of the
    /// application that it refers to is released at once. A message that is being sent releases it at the end of the current
    /// chunk (generation 2) or of the message (generation 1). The server still executes a call that it has received, because
    /// wslink has no message to stop it.
    pub fn cancel(&self, id: CallId) -> bool {
        self.0.with_core(|core| core.cancel(id))
    }

    /// Subscribes to a topic: the callback receives every publication from now on, as far as `policy` keeps it. Subscriptions
    /// belong to the session and outlive its connections. Returns the id for [`unsubscribe`](Handle::unsubscribe), or 0 if the
    /// session was dropped.
    pub fn subscribe(
        &self,
        topic: &str,
        policy: Policy,
        callback: impl Fn(Publication<'_>) + Send + Sync + 'static,
    ) -> u64 {
        let subscription = Arc::new(Subscription::new(topic, policy, Arc::new(callback)));
        // The session gets a clone, so that a callback that is not accepted is not dropped under the lock.
        self.0.inspect(|locked| match locked.freed {
            true => 0,
            false => locked.core.topics().subscribe(topic, Arc::clone(&subscription)),
        })
    }

    /// Ends a subscription. After this returns, the callback does not begin again and is not running on another thread. Inside
    /// the callback itself this is allowed, too; the callback is then dropped when it returns.
    pub fn unsubscribe(&self, id: u64) -> Result<()> {
        let subscription = self.0.inspect(|locked| locked.core.topics().unsubscribe(id));
        match subscription {
            Some(subscription) => {
                self.0.queue.drop_backlog(&subscription);
                subscription.end();
                Ok(())
            }
            None => Err(no_subscription()),
        }
    }

    /// How many publications the callback of a subscription received, and how many its overflow policy dropped.
    pub fn subscription_counts(&self, id: u64) -> Result<(u64, u64)> {
        let subscription = self.0.inspect(|locked| locked.core.topics().get(id).cloned());
        subscription.map(|s| s.counts()).ok_or_else(no_subscription)
    }

    /// Begins to close: calls in flight are completed as closed, and the closing handshake begins. After `timeout` the
    /// connection is ended without the server's answer.
    pub fn close(&self, timeout: Duration) {
        self.0.with_core(|core| core.close(Instant::now(), timeout));
    }

    /// Closes the session, and waits until it is closed, at most for `timeout`.
    pub fn close_wait(&self, timeout: Duration) -> Result<()> {
        self.refuse_on_io_thread("close_wait")?;
        let times_closed = self.0.with_locked(|locked| {
            let times_closed = locked.times_closed;
            locked.core.close(Instant::now(), timeout);
            // This thread handles the deadline, so the I/O thread need not wake up for it.
            locked.wakeup_at = locked.core.deadline();
            times_closed
        });
        let closed = |locked: &Locked| {
            locked.times_closed != times_closed || matches!(locked.core.state(), State::Closed | State::Idle)
        };
        if !self.0.wait(Instant::now().checked_add(timeout), closed) {
            // The I/O thread may be inside a callback, so handle the deadline here.
            self.0.with_core(|core| core.tick(Instant::now()));
        }
        Ok(())
    }

    /// Runs the callbacks of at most `max` queued events on this thread. Waits for the first event, at most for `timeout`;
    /// `None`: no limit. Returns the number of events.
    pub fn dispatch(&self, max: usize, timeout: Option<Duration>) -> Result<usize> {
        if self.0.config.delivery == Delivery::IoThread {
            return Err(Error::new(
                Code::State,
                "this session runs its callbacks on the I/O thread; there is nothing to dispatch",
            ));
        }
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        self.0.queue.dispatch(max, deadline)
    }

    /// Gives access to a file descriptor that is readable while events are queued for [`dispatch`](Handle::dispatch).
    pub fn with_descriptor<R>(&self, use_it: impl FnOnce(&std::io::PipeReader) -> R) -> Result<R> {
        self.0.queue.with_descriptor(use_it)
    }

    fn refuse_on_io_thread(&self, what: &str) -> Result<()> {
        if self.0.on_io_thread() {
            return Err(Error::new(Code::Reentrant, format!("{what} on the I/O thread would wait for itself")));
        }
        Ok(())
    }
}

fn no_subscription() -> Error {
    Error::new(Code::NotFound, "no subscription has this id (any more)")
}
