//! The I/O thread of a session. It sleeps until the socket is ready, a deadline passes or the application wakes it. It never
//! waits for the application.

use super::config::Delivery;
use super::connect::attempt::{Attempt, is_refusal, not_wanted};
use super::connect::deadline::ConnectDeadline;
use super::connect::endpoint::Endpoint;
use super::connect::establish::establish;
use super::connection::Connection;
use super::delivery::subscription::Subscription;
use super::log::LogLevel;
use super::orders::{CONNECTION, Order, Orders};
use super::shared::{Completion, Shared};
use super::transport::receiver::{Ended, ended};
use super::transport::websocket::writer::ControlFrame;
use crate::error::{Code, Error, Result, Stage};
use crate::session::core::Core;
use crate::wire::buffer::BufferPool;
use crate::wire::secret::Secret;
use mio::{Events, Poll};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The maximum number of reads before other work gets its turn.
const MAX_READS_IN_A_ROW: usize = 16;

/// How long a deadline that has passed is put off while the socket has more to read.
const MAX_DEADLINE_GRACE: Duration = Duration::from_millis(50);

/// The maximum number of reads from a connection on which writing has failed.
const MAX_FINAL_READS: usize = 1 << 14;

/// The maximum number of bytes written before other work gets its turn.
const IO_FLUSH_BUDGET: usize = 1 << 20;

/// The I/O thread.
pub struct IoThread {
    shared: Arc<Shared>,
    poll: Poll,
    events: Events,
    orders: Orders,
    connection: Option<Connection>,
    /// Endpoint and secret as the application has last renewed them.
    renewed: Option<(Endpoint, Secret)>,
    /// The attempt for which the application was last asked to renew them.
    renewed_for: u64,
    pool: BufferPool,
    /// Events were delivered since the thread last checked the socket and the deadlines.
    delivered: bool,
    /// Since when a deadline that has passed is put off until the socket is read.
    grace_since: Option<Instant>,
}

impl IoThread {
    /// The state of a thread that does not run yet.
    pub fn new(shared: Arc<Shared>, poll: Poll, orders: Orders) -> IoThread {
        let pool = BufferPool::new(shared.config.buffer_pool_bytes);
        IoThread {
            shared,
            poll,
            events: Events::with_capacity(16),
            orders,
            connection: None,
            renewed: None,
            renewed_for: 0,
            pool,
            delivered: false,
            grace_since: None,
        }
    }

    /// Runs until the session is freed.
    pub fn run(self) {
        let shared = Arc::clone(&self.shared);
        shared.enter_io_thread();
        if catch_unwind(AssertUnwindSafe(|| self.run_loop())).is_err() {
            // Threads that wait for a state or an outcome must not wait for ever.
            let message = "an internal defect ended the I/O thread; please report it";
            shared.with_locked(|locked| {
                locked.freed = true;
                locked.core.abort(Error::new(Code::Panic, message));
            });
        }
    }

    fn run_loop(mut self) {
        loop {
            let on_this_thread = self.shared.config.delivery == Delivery::IoThread;
            if on_this_thread && self.shared.queue.backlog() > 0 {
                let now = Instant::now();
                // An error means that a callback has freed the session.
                let _ = self.shared.queue.dispatch(usize::MAX, Some(now));
                self.delivered = true;
            }
            let order = self.orders.take();
            match order {
                Some(Order::Exit) => {
                    // Send the Close frame, if the socket accepts it.
                    self.shared.flush_last(IO_FLUSH_BUDGET);
                    break;
                }
                Some(Order::Disconnect) => self.disconnect(),
                Some(Order::Connect(deadline)) => self.connect(deadline),
                None => {}
            }
            if order.is_some() {
                continue;
            }
            self.read_and_write();
            if self.connection.as_ref().is_some_and(|c| c.receiver.has_input() || c.must_flush) {
                self.tick_after_reading();
                continue;
            }
            // Queued events are delivered first. But callbacks that cause further events must not keep the thread from the
            // socket and the deadlines.
            let idle = !on_this_thread || self.shared.queue.backlog() == 0;
            if idle || self.delivered {
                self.sleep(idle);
            }
        }
        self.disconnect();
    }

    /// Checks the socket and the deadlines. If the thread is `idle`, waits for them.
    fn sleep(&mut self, idle: bool) {
        self.delivered = false;
        let deadline = self.shared.inspect(|locked| {
            locked.wakeup_at = locked.core.deadline();
            locked.wakeup_at
        });
        if self.orders.is_empty() {
            let timeout = match idle {
                true => deadline.map(|at| at.saturating_duration_since(Instant::now())),
                false => Some(Duration::ZERO),
            };
            let woke = self.poll.poll(&mut self.events, timeout);
            match woke {
                Err(e) if e.kind() != ErrorKind::Interrupted => {
                    let error = Error::new(Code::System, format!("waiting for the socket failed: {e}"));
                    self.end(Ended { error: error.at(Stage::Session), close: None });
                }
                _ => {}
            }
            self.take_events();
        }
        self.tick_after_reading();
    }

    /// Handles deadlines that have passed, after reading the socket: a process that was stopped for a while may find replies
    /// that arrived in time. A server that sends without end puts deadlines off for at most [`MAX_DEADLINE_GRACE`].
    fn tick_after_reading(&mut self) {
        let now = Instant::now();
        let due = self.shared.inspect(|locked| locked.core.deadline()).filter(|at| *at <= now);
        if let Some(deadline) = due
            && self.may_have_input()
        {
            // The grace counts from the later of two times: when this deadline passed, and when a deadline was first put off.
            let since = deadline.max(*self.grace_since.get_or_insert(now));
            if now.saturating_duration_since(since) < MAX_DEADLINE_GRACE {
                return;
            }
        }
        self.grace_since = None;
        self.tick();
    }

    /// Whether the socket may have data. Polls again, because a poll that ended with its timeout may not report the socket.
    fn may_have_input(&mut self) -> bool {
        let readable = |this: &IoThread| this.connection.as_ref().is_some_and(|c| c.receiver.has_input());
        if self.connection.is_some()
            && !readable(self)
            && self.poll.poll(&mut self.events, Some(Duration::ZERO)).is_ok()
        {
            self.take_events();
        }
        readable(self)
    }

    /// Notes the events of the poll.
    fn take_events(&mut self) {
        for event in &self.events {
            if event.token() == CONNECTION {
                if let Some(Connection { receiver, .. }) = &mut self.connection {
                    receiver.readable = true;
                    receiver.ending |= event.is_read_closed() || event.is_error();
                }
            } else {
                self.shared.woken();
            }
            // The socket is writable, or there is more to write.
            if let Some(connection) = &mut self.connection {
                connection.must_flush = true;
            }
        }
    }

    /// Handles deadlines that have passed.
    fn tick(&mut self) {
        let now = Instant::now();
        let heard = self.connection.as_ref().map(|c| c.receiver.heard);
        let due = self.shared.inspect(|locked| locked.core.deadline().is_some_and(|at| at <= now));
        if due {
            if let (Some(connection), Some(heartbeat)) = (&mut self.connection, self.shared.config.session.heartbeat)
                && connection.socket.with_tcp(|tcp| connection.watch.is_dead(tcp, now, heartbeat))
            {
                let message = format!(
                    "nothing that was sent has been acknowledged for {heartbeat:?} and longer (option heartbeat): is the network down?"
                );
                return self.end(ended(message));
            }
            self.shared.with_core(|core| {
                if let Some(heard) = heard {
                    core.heard(heard);
                }
                core.tick(now);
            });
        }
    }

    fn connect(&mut self, deadline: Instant) {
        self.disconnect();
        if !self.renew() || self.orders.cancels_connection() {
            return;
        }
        let config = &self.shared.config;
        let endpoint = self.renewed.as_ref().map_or(&config.endpoint, |(endpoint, _)| endpoint);
        let timeout = config.session.connect_timeout;
        let shared = Arc::clone(&self.shared);
        let woken = || shared.woken();
        let mut deadline =
            ConnectDeadline::new(&mut self.poll, &mut self.events, &mut self.orders, &woken, deadline, timeout);
        let outcome = match &config.process {
            Some(process) => process.connect(config, endpoint, &mut deadline),
            None => establish(config, endpoint, &mut deadline).map(|established| (established, None)),
        };
        let now = Instant::now();
        match outcome {
            Ok((established, secret)) => {
                *self.shared.peer_addr.lock() = established.socket.peer_addr();
                self.connection = Some(Connection::new(&self.shared, established, self.pool.clone(), now));
                self.unless_cancelled(|core| {
                    if let Some(secret) = secret {
                        core.set_secret(secret);
                    }
                    core.opened(now);
                });
            }
            Err(error) => {
                self.shared.log(LogLevel::Info, || format!("connecting failed: {error}"));
                self.unless_cancelled(|core| core.failed(error));
            }
        }
    }

    /// Lets the application renew URL, headers and secret of an attempt to connect; `false`: no attempt.
    fn renew(&mut self) -> bool {
        // After an order that cancels this attempt, the state machine is already at a later one.
        let orders = &mut self.orders;
        let asked = self.shared.inspect(|locked| {
            (!orders.cancels_connection()).then(|| (locked.core.attempts(), locked.core.failure().cloned()))
        });
        let Some(((begun, number), reason)) = asked else {
            return false;
        };
        if begun == self.renewed_for || !self.shared.queue.callbacks().attempt.is_set() {
            return true;
        }
        self.renewed_for = begun;
        let config = &self.shared.config;
        let (endpoint, secret) =
            self.renewed.take().unwrap_or_else(|| (config.endpoint.clone(), config.session.secret.clone()));
        let mut attempt =
            Attempt::new(number, reason.clone(), endpoint, secret, config.arrivals.is_some(), config.process.is_some());
        let wanted = self.shared.queue.callbacks().renew(&mut attempt);
        let (endpoint, secret, changed) = attempt.into_parts();
        self.renewed = Some((endpoint, secret.clone()));
        let problem = match reason {
            _ if wanted == Some(false) => Some(not_wanted()),
            // The server would refuse the same credentials again, and may count refusals.
            Some(refusal) if is_refusal(&refusal) && !changed => Some(refusal),
            _ => None,
        };
        let wanted = problem.is_none();
        self.unless_cancelled(|core| match problem {
            Some(problem) => core.abort(problem),
            None => core.set_secret(secret),
        });
        wanted
    }

    /// Reports an event of the connection to the state machine, unless the application has cancelled this connection. Then
    /// the pending orders refer to another one.
    fn unless_cancelled(&mut self, change: impl FnOnce(&mut Core<Completion, Arc<Subscription>>)) {
        let orders = &mut self.orders;
        self.shared.with_locked(|locked| {
            // No order can be sent meanwhile, because senders need this lock.
            if !orders.cancels_connection() {
                change(&mut locked.core);
            }
        });
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.socket.shutdown();
            drop(connection);
            self.pool.trim();
        }
        let unsent = self.shared.sending.detach();
        drop(unsent);
    }

    /// Ends the connection, and reports its end to the state machine.
    fn end(&mut self, Ended { error, close }: Ended) {
        if let Some(code) = close {
            self.shared.sending.push_control(ControlFrame::Close(code));
            self.shared.flush_last(IO_FLUSH_BUDGET);
        }
        self.shared.log(LogLevel::Info, || format!("connection over: {error}"));
        self.disconnect();
        let now = Instant::now();
        self.unless_cancelled(|core| core.lost(now, error));
    }

    fn end_on_error(&mut self, handled: Result<(), Ended>) {
        if let Err(ended) = handled {
            self.end(ended);
        }
    }

    /// Reads and writes without blocking.
    fn read_and_write(&mut self) {
        if self.connection.as_ref().is_some_and(|c| c.receiver.has_input()) {
            let handled = self.read();
            self.end_on_error(handled);
        }
        // Calls from callbacks, pongs, and the rest of large messages.
        let more = self.shared.flush(IO_FLUSH_BUDGET);
        if let Some(connection) = &mut self.connection {
            connection.must_flush = more;
        }
        if let Some(failure) = self.shared.sending.take_failure() {
            // The server may have said why before it ended the connection.
            let mut last = Ok(());
            if let Some(connection) = &mut self.connection {
                connection.receiver.readable = true;
                // The poll may have reported the end already, and does not report it again: read until a read would block.
                connection.receiver.ending = true;
                // Receive replies and a Close frame that have arrived.
                for _ in 0..MAX_FINAL_READS {
                    last = connection.read(&self.shared);
                    if last.is_err() || !connection.receiver.has_input() {
                        break;
                    }
                }
            }
            self.end(last.err().unwrap_or_else(|| ended(format!("sending failed: {failure}"))));
        }
    }

    /// Reads the socket, several times if it has much data.
    fn read(&mut self) -> Result<(), Ended> {
        for _ in 0..MAX_READS_IN_A_ROW {
            let Some(connection) = &mut self.connection else { break };
            connection.read(&self.shared)?;
            // Deliver events on this thread before reading more, which frees their memory.
            let deliver = self.shared.config.delivery == Delivery::IoThread && self.shared.queue.backlog() > 0;
            if deliver || !connection.receiver.has_input() {
                break;
            }
        }
        Ok(())
    }
}
