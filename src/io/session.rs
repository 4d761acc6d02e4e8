//! The handle of a session. Any thread may use it; every method is safe to call in any state and from
//! inside callbacks, where waiting ones refuse instead of waiting for themselves.

use super::caller::Reading;
use super::config::{Config, Delivery};
use super::delivery::{CompletionCallback, Outcome, Policy, Publication, Subscription};
use super::establish::WAKER;
use super::link::Report;
use super::shared::{CALLER_FLUSH, Completion, Locked, Order, Shared, WAITING_CALLER_FLUSH, Waiter};
use super::thread::IoThread;
use crate::error::{Code, Error, Result, Stage};
use crate::session::calls::CallId;
use crate::session::core::{Peer, Seeds, State, closed_error};
use crate::wire::args::Args;
use mio::{Poll, Waker};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The owner of a session. Dropping it ends the session at once: calls that are still in flight are
/// completed as closed before the drop returns, and no callback runs after it. Dropping is allowed
/// anywhere, also inside a callback.
pub struct Session {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// A reference to a session, for callbacks and other threads. It does not keep the session alive: after
/// the [`Session`] is dropped, methods report that the session is closed.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

/// What a session has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Replies and wanted publications received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes received, framing included.
    pub bytes_in: u64,
    /// Bytes sent, framing included.
    pub bytes_out: u64,
    /// Publications that nobody subscribed to, dropped undecoded.
    pub unsubscribed: u64,
    /// Messages without meaning. Small publications that wait for `dispatch` count when they are dispatched, and not at all
    /// if they never are.
    pub malformed: u64,
    /// Unfinished messages and kept attachments given up for the limits.
    pub evicted: u64,
    /// Replies to calls that were over already.
    pub late_replies: u64,
    /// Replies to nothing that was asked.
    pub unknown_replies: u64,
    /// Calls that were accepted.
    pub calls: u64,
    /// Calls that wait for their reply.
    pub calls_in_flight: u64,
    /// Events that wait for `dispatch`.
    pub events_waiting: u64,
}

/// So much is written at most when a session is dropped on its own thread.
const LAST_FLUSH: usize = 1 << 20;

impl Session {
    /// A session that is not connected yet. Starts the I/O thread.
    pub fn new(config: Config) -> Result<Session> {
        let system = |what: &str, e: std::io::Error| Error::new(Code::System, format!("{what}: {e}"));
        let poll = Poll::new().map_err(|e| system("no poll", e))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(|e| system("no waker", e))?);
        // 53 bit: attachment numbers and call ids stay exact in every client of the same server.
        let seeds = Seeds {
            first_call: rand::random::<u64>() >> 12,
            first_key: rand::random::<u64>() >> 11,
            first_message: rand::random(),
            delays: rand::random(),
        };
        let registry = poll.registry().try_clone().map_err(|e| system("no poll", e))?;
        let shared = Arc::new(Shared::new(config, Arc::clone(&waker), registry, seeds));
        let io = IoThread::new(Arc::clone(&shared), poll, waker);
        let thread = std::thread::Builder::new()
            .name("wslink-io".into())
            .spawn(move || io.run())
            .map_err(|e| system("no I/O thread", e))?;
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
            locked.orders.push_back(Order::Exit);
        });
        shared.wake();
        if let Some(thread) = self.thread.take()
            && !shared.on_io_thread()
        {
            // The I/O thread does not panic; if it did, there is nothing left to wait for.
            let _ = thread.join();
        }
        if shared.on_io_thread() {
            // The thread ends later; memory of the application must not be read after this returns.
            shared.flush_last(LAST_FLUSH);
            drop(shared.link.detach());
        }
        // With a zero timeout the tick below ends the closing handshake that nobody waits for.
        shared.with_core(|core| core.tick(Instant::now()));
        shared.queue.close();
        let subscriptions = shared.look(|locked| locked.core.topics().clear());
        shared.topics_changed();
        for subscription in subscriptions {
            subscription.end();
        }
        shared.config.log.clear();
    }
}

impl Handle {
    /// Begins to connect; the state tells how it goes. While the session waits to reconnect: at once.
    pub fn connect(&self) -> Result<()> {
        self.0.with_locked(|locked| {
            if locked.freed {
                return Err(closed_error());
            }
            locked.core.connect(Instant::now())
        })
    }

    /// Connects and waits until the session is ready or has failed. The configured connect timeout
    /// applies; to each attempt, if there may be several
    /// ([`Reconnect::at_first`](crate::session::reconnect::Reconnect::at_first)).
    pub fn connect_wait(&self) -> Result<()> {
        self.may_wait("connect_wait")?;
        let endings = self.0.look(|locked| locked.endings);
        self.connect()?;
        // What ends this attempt counts, even if a callback has begun another one since.
        self.0.wait(None, |locked| locked.core.state() == State::Ready || locked.endings != endings);
        self.0.look(|locked| match locked.core.state() {
            State::Ready => Ok(()),
            _ => Err(locked.last_failure.clone().unwrap_or_else(closed_error)),
        })
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.look(|locked| locked.core.state())
    }

    /// Why the session is closed, if that was not asked for.
    pub fn failure(&self) -> Option<Error> {
        self.0.look(|locked| locked.core.failure().cloned())
    }

    /// What is known of the server, once ready.
    pub fn peer(&self) -> Peer {
        self.0.look(|locked| locked.core.peer().clone())
    }

    /// The address of the server or proxy, once connected.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        *self.0.peer_addr.lock()
    }

    /// What the session has done so far.
    pub fn stats(&self) -> Stats {
        let (counts, in_flight) = self.0.look(|locked| (locked.core.counts(), locked.core.calls_in_flight()));
        let c = &self.0.counters;
        Stats {
            messages_in: c.messages_in.load(Relaxed),
            messages_out: c.messages_out.load(Relaxed),
            bytes_in: c.bytes_in.load(Relaxed),
            bytes_out: c.bytes_out.load(Relaxed),
            unsubscribed: c.unsubscribed.load(Relaxed),
            malformed: c.malformed.load(Relaxed) + self.0.queue.malformed().count(),
            evicted: c.evicted.load(Relaxed),
            late_replies: counts.late_replies,
            unknown_replies: counts.unknown_replies,
            calls: counts.calls,
            calls_in_flight: in_flight as u64,
            events_waiting: self.0.queue.waiting() as u64,
        }
    }

    /// Calls a method. The completion gets the outcome, exactly once and never from inside this function.
    /// Without a timeout it waits as long as the connection lives.
    pub fn call(
        &self,
        method: &str,
        args: Args,
        timeout: Option<Duration>,
        completion: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<CallId> {
        self.call_with(method, &args, timeout, completion)
    }

    /// The same with arguments that stay with the caller, also if the call is accepted.
    pub fn call_with(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<CallId> {
        let completion = Completion::Callback(Box::new(|outcome| {
            completion(outcome);
            None
        }));
        self.begin(method, args, timeout, completion, |_| ()).map(|(id, _)| id).map_err(|(error, _)| error)
    }

    /// The same for callers that must not touch what the completion may have freed: `accepted` learns the id
    /// before the completion can run (it must not use the session), and the completion comes back if the call is
    /// not accepted.
    pub fn call_accepted(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: CompletionCallback,
        accepted: impl FnOnce(CallId),
    ) -> Result<(), (Error, CompletionCallback)> {
        match self.begin(method, args, timeout, Completion::Callback(completion), accepted) {
            Ok(_) => Ok(()),
            Err((error, Completion::Callback(completion))) => Err((error, completion)),
            // It is the one that was given.
            Err((error, Completion::Waiter(_))) => Err((error, Box::new(|_| None))),
        }
    }

    fn begin(
        &self,
        method: &str,
        args: &Args,
        timeout: Option<Duration>,
        completion: Completion,
        accepted: impl FnOnce(CallId),
    ) -> Result<(CallId, Report), (Error, Completion)> {
        let waiting = self.0.link.waiting();
        if waiting > self.0.config.send_queue_bytes {
            let message = format!(
                "{waiting} bytes of earlier calls wait to be sent, and the limit is {} (option send_queue_bytes)",
                self.0.config.send_queue_bytes
            );
            return Err((Error::new(Code::Limit, message), completion));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let most = match completion {
            Completion::Waiter(_) if waiting == 0 => WAITING_CALLER_FLUSH,
            _ => CALLER_FLUSH,
        };
        let (begun, sent) = self.0.with_locked_sending(most, |locked| {
            locked.core.call(method, args, deadline, completion).inspect(|id| accepted(*id))
        });
        begun.map(|id| (id, sent))
    }

    /// Calls a method and waits for the outcome.
    pub fn call_wait(&self, method: &str, args: Args, timeout: Option<Duration>) -> Outcome {
        self.call_wait_with(method, &args, timeout)
    }

    /// The same with arguments that stay with the caller.
    pub fn call_wait_with(&self, method: &str, args: &Args, timeout: Option<Duration>) -> Outcome {
        self.may_wait("call_wait")?;
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        let reading = Reading::begin(&self.0);
        let waiter = Waiter::new(reading.as_ref().map(Reading::waker));
        let completion = Completion::Waiter(Arc::clone(&waiter));
        let begun = self.begin(method, args, None, completion, |_| ());
        if let (Some(mut reading), Ok((id, _))) = (reading, &begun) {
            reading.wait(*id, &waiter, deadline);
        }
        // Only now, because what was sent may belong to the application.
        let id = begun.map(|(id, _)| id).map_err(|(error, _)| error)?;
        if let Some(outcome) = waiter.wait(deadline) {
            return outcome;
        }
        if self.0.with_core(|core| core.abandon(id)).is_none() {
            // The outcome came at the last moment and is on its way here.
            return waiter.wait(None).unwrap_or_else(|| Err(closed_error()));
        }
        let timeout = timeout.unwrap_or_default();
        let message = format!("no reply to {method:?} within {timeout:?}; the server may still execute it");
        Err(Error::new(Code::Timeout, message).at(Stage::Call).retriable_if(true))
    }

    /// Completes a call as cancelled; `false` if it is over already. The server goes on with it: wslink
    /// has no way to tell it.
    pub fn cancel(&self, id: CallId) -> bool {
        self.0.with_core(|core| core.cancel(id))
    }

    /// Subscribes to a topic: the callback gets every publication from now on. Subscriptions belong to
    /// the session and outlive its connections. Returns the id for [`unsubscribe`](Handle::unsubscribe), never 0;
    /// 0 if the session was dropped already.
    pub fn subscribe(
        &self,
        topic: &str,
        policy: Policy,
        callback: impl Fn(Publication<'_>) + Send + Sync + 'static,
    ) -> u64 {
        let subscription = Arc::new(Subscription::new(topic, policy, Arc::new(callback)));
        let id = self.0.look(|locked| (!locked.freed).then(|| locked.core.topics().subscribe(topic, subscription)));
        self.0.topics_changed();
        id.unwrap_or(0)
    }

    /// Ends a subscription: no callback begins after this returns, and none is running on another thread.
    /// Allowed inside the callback itself, which is then dropped when it returns.
    pub fn unsubscribe(&self, id: u64) -> Result<()> {
        let subscription = self.0.look(|locked| locked.core.topics().unsubscribe(id));
        self.0.topics_changed();
        match subscription {
            Some(subscription) => {
                self.0.queue.forget(&subscription);
                subscription.end();
                Ok(())
            }
            None => Err(no_subscription()),
        }
    }

    /// How many publications the callback of a subscription was given, and how many were dropped because
    /// they were not dispatched in time.
    pub fn subscription_counts(&self, id: u64) -> Result<(u64, u64)> {
        let subscription = self.0.look(|locked| locked.core.topics().get(id).cloned());
        subscription.map(|s| s.counts()).ok_or_else(no_subscription)
    }

    /// Begins to close: calls in flight are completed as closed, and the server is told. After `timeout`
    /// the connection is ended without its agreement.
    pub fn close(&self, timeout: Duration) {
        self.0.with_core(|core| core.close(Instant::now(), timeout));
    }

    /// Closes and waits until the session is closed.
    pub fn close_wait(&self, timeout: Duration) -> Result<()> {
        self.may_wait("close_wait")?;
        let endings = self.0.with_locked(|locked| {
            let endings = locked.endings;
            locked.core.close(Instant::now(), timeout);
            // This thread sees to the deadline: no reason to wake the other one.
            locked.armed = locked.core.deadline();
            endings
        });
        let over =
            |locked: &Locked| locked.endings != endings || matches!(locked.core.state(), State::Closed | State::Idle);
        if !self.0.wait(Instant::now().checked_add(timeout), over) {
            // The I/O thread would do this, if it is not inside a callback of the application.
            self.0.with_core(|core| core.tick(Instant::now()));
        }
        Ok(())
    }

    /// Runs callbacks that wait, at most `most` of them, on this thread. Waits up to `timeout` for the
    /// first one. Returns how many were run.
    pub fn dispatch(&self, most: usize, timeout: Option<Duration>) -> Result<usize> {
        if self.0.config.delivery == Delivery::IoThread {
            return Err(Error::new(
                Code::State,
                "this session runs its callbacks on the I/O thread; there is nothing to dispatch",
            ));
        }
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        let done = self.0.queue.dispatch(most, deadline);
        // Not from inside a callback: the dispatch that runs it sees to that.
        if !matches!(&done, Err(e) if e.code() == Code::Reentrant)
            && let Some((count, problem)) = self.0.queue.malformed().take()
        {
            self.0.log_malformed(count, &format!(": {problem}"));
        }
        done
    }

    /// Gives access to a descriptor that is readable while `dispatch` has something to do.
    pub fn with_descriptor<R>(&self, use_it: impl FnOnce(&std::io::PipeReader) -> R) -> Result<R> {
        self.0.queue.with_descriptor(use_it)
    }

    fn may_wait(&self, what: &str) -> Result<()> {
        if self.0.on_io_thread() {
            return Err(Error::new(Code::Reentrant, format!("{what} on the I/O thread would wait for itself")));
        }
        Ok(())
    }
}

fn no_subscription() -> Error {
    Error::new(Code::NotFound, "no subscription has this id (any more)")
}
