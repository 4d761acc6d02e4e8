//! The deadline of an attempt to connect, and the waits that it ends. They also end when the application cancels the
//! attempt, so that freeing a session never waits for a server.

use crate::error::{Code, Error, Result, Stage};
use crate::io::orders::{CONNECTION, Orders};
use crossbeam_channel::{Receiver, never, select};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll};
use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

/// The deadline of an attempt to connect, and its waits.
pub struct ConnectDeadline<'a> {
    poll: &'a mut Poll,
    events: &'a mut Events,
    orders: &'a mut Orders,
    /// Called after each sleep: a wake-up may have come.
    woken: &'a dyn Fn(),
    at: Instant,
    started: Instant,
    timeout: Duration,
    /// The deadline has passed, and events from before it got one more round.
    late: bool,
}

impl<'a> ConnectDeadline<'a> {
    /// Waits end at `at` or when an order cancels the attempt. `timeout` is the configured duration, for error texts.
    pub fn new(
        poll: &'a mut Poll,
        events: &'a mut Events,
        orders: &'a mut Orders,
        woken: &'a dyn Fn(),
        at: Instant,
        timeout: Duration,
    ) -> ConnectDeadline<'a> {
        ConnectDeadline { poll, events, orders, woken, at, started: Instant::now(), timeout, late: false }
    }

    /// Registers a socket: [`wait`](ConnectDeadline::wait) ends when it is ready.
    pub fn register(&self, stream: &mut TcpStream) -> io::Result<()> {
        self.poll.registry().register(stream, CONNECTION, Interest::READABLE | Interest::WRITABLE)
    }

    /// Deregisters a socket.
    pub fn deregister(&self, stream: &mut TcpStream) {
        let _ = self.poll.registry().deregister(stream);
    }

    /// How long the attempt may take (option connect_timeout).
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long the attempt has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time at which the deadline passes.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether the deadline has passed without an event that still has to be handled.
    pub fn has_passed(&self) -> bool {
        Instant::now() >= self.at && self.events.is_empty()
    }

    /// Waits for the result of another thread.
    pub fn receive<T>(&mut self, answer: &Receiver<T>, stage: Stage) -> Result<T> {
        match self.receive_either(answer, &never::<Infallible>(), stage)? {
            Ok(answer) => Ok(answer),
            Err(impossible) => match impossible {},
        }
    }

    /// Waits for the first of two results of other threads.
    pub fn receive_either<A, B>(
        &mut self,
        one: &Receiver<A>,
        other: &Receiver<B>,
        stage: Stage,
    ) -> Result<std::result::Result<A, B>> {
        let gone = |_| Error::new(Code::System, "a helper thread ended without an answer").at(stage);
        loop {
            self.check_orders(stage)?;
            select! {
                recv(one) -> answer => return answer.map(Ok).map_err(gone),
                recv(other) -> answer => return answer.map(Err).map_err(gone),
                recv(self.orders.receiver()) -> order => self.orders.keep(order),
                default(self.at.saturating_duration_since(Instant::now())) => return Err(timed_out(stage, self.timeout)),
            }
        }
    }

    fn check_orders(&mut self, stage: Stage) -> Result<()> {
        if self.orders.cancels_connection() {
            let what = if stage == Stage::Launcher { "the request to the launcher" } else { "connecting" };
            return Err(Error::new(Code::Cancelled, format!("{what} was given up by the application")).at(stage));
        }
        Ok(())
    }

    /// Waits for an event of the socket. An event that happened before the deadline counts even if it is handled later,
    /// because the process may have been stopped for a while.
    pub fn wait(&mut self, stage: Stage) -> Result<()> {
        self.wait_until(self.at, stage)?;
        if Instant::now() >= self.at {
            if self.late || self.events.is_empty() {
                return Err(timed_out(stage, self.timeout));
            }
            self.late = true;
        }
        Ok(())
    }

    /// The deadline for optional data, such as the text of a refusal.
    pub fn for_optional_data(&self) -> Instant {
        self.at.min(Instant::now() + Duration::from_millis(500))
    }

    /// Waits for an event of the socket; an error at `until`.
    pub fn wait_before(&mut self, until: Instant, stage: Stage) -> Result<()> {
        self.wait_until(until, stage)?;
        if Instant::now() >= until { Err(timed_out(stage, self.timeout)) } else { Ok(()) }
    }

    /// Waits for some time; an error at the deadline.
    pub fn pause(&mut self, time: Duration, stage: Stage) -> Result<()> {
        self.wait_until(Instant::now() + time, stage)?;
        if Instant::now() >= self.at { Err(timed_out(stage, self.timeout)) } else { Ok(()) }
    }

    /// Waits for an event of the socket, at most until `until`. It is no error if none comes.
    pub fn wait_until(&mut self, until: Instant, stage: Stage) -> Result<()> {
        self.check_orders(stage)?;
        let left = until.min(self.at).saturating_duration_since(Instant::now());
        match self.poll.poll(self.events, Some(left)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::new(Code::System, format!("waiting for the socket failed: {e}")).at(stage));
            }
            _ => {}
        }
        (self.woken)();
        self.check_orders(stage)
    }
}

fn timed_out(stage: Stage, timeout: Duration) -> Error {
    let what = match stage {
        Stage::Resolve => "the host name was not resolved",
        Stage::Connect => "no TCP connection",
        Stage::Proxy => "the proxy did not answer",
        Stage::Tls => "the TLS handshake did not end",
        Stage::Launcher => "the launcher did not answer",
        _ => "the server did not answer the WebSocket upgrade",
    };
    let option = if stage == Stage::Launcher { "timeout of the launcher" } else { "connect_timeout" };
    Error::new(Code::Timeout, format!("{what} within {timeout:?} (option {option})")).at(stage)
}
