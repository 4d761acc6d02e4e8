//! An open connection: reads it, passes messages on, counts, and reports progress. Belongs to the I/O thread.

use super::config::Delivery;
use super::connect::establish::Established;
use super::delivery::queue::Event;
use super::delivery::subscription::Subscription;
use super::listener::Lease;
use super::log::LogLevel;
use super::progress::IncomingProgress;
use super::shared::Shared;
use super::transport::liveness::Watch;
use super::transport::receiver::{Ended, Receiver, failed, lost};
use super::transport::socket::Socket;
use super::transport::websocket::closed_by_server;
use super::transport::websocket::reader::Incoming;
use super::transport::websocket::writer::{ControlFrame, Writer};
use crate::error::{Error, Result};
use crate::session::core::State;
use crate::session::inbound::{Inbound, Received};
use crate::wire::buffer::BufferPool;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The maximum number of publications that are passed on together where callbacks run on the I/O thread. Few enough that an
/// allocator reuses the memory of the publications that were delivered before.
const MAX_BATCH: usize = 6;

/// The maximum number of publications that are passed on together to another thread, which has to be woken for them.
const MAX_BATCH_TO_THREAD: usize = 512;

/// An open connection. Its sending half is in the send queue, which several threads share.
pub struct Connection {
    /// The socket.
    pub socket: Arc<Socket>,
    /// The receiving half.
    pub receiver: Receiver<Arc<Subscription>>,
    /// The receiver knows the server's generation.
    protocol_known: bool,
    progress: IncomingProgress,
    /// The number of malformed messages that are not logged yet, and the fault of the last one.
    malformed: Option<(u64, Error)>,
    /// The number of messages and attachments of this connection that were dropped to stay within the limits.
    evicted: u64,
    /// The send queue must be flushed: the socket may accept data, and data may be queued.
    pub must_flush: bool,
    /// Detects that the peer is gone.
    pub watch: Watch,
    /// The use of a path of a listener, if the server has opened the connection.
    _lease: Option<Lease>,
}

impl Connection {
    /// A connection that was just opened.
    pub fn new(shared: &Shared, opened: Established, pool: BufferPool, now: Instant) -> Connection {
        let role = opened.role();
        let Established { socket, tail, lease } = opened;
        let socket = Arc::new(socket);
        drop(shared.sending.attach(Arc::clone(&socket), Writer::new(role)));
        let mut inbound = Inbound::new(shared.config.session.limits, pool);
        inbound.set_topics(shared.inspect(|locked| locked.core.topics().directory()));
        Connection {
            receiver: Receiver::new(Arc::clone(&socket), role, &tail, inbound, now),
            socket,
            protocol_known: false,
            progress: IncomingProgress::default(),
            malformed: None,
            evicted: 0,
            must_flush: true,
            watch: Watch::default(),
            _lease: lease,
        }
    }

    /// Reads the socket once, and handles the data.
    pub fn read(&mut self, shared: &Shared) -> Result<(), Ended> {
        let bytes = self.receiver.read()?;
        shared.counters.bytes_in.fetch_add(bytes as u64, Relaxed);
        self.learn_protocol(shared);
        let mut messages = Vec::new();
        let parsed = self.parse_received(shared, &mut messages);
        if let Some((count, fault)) = self.malformed.take() {
            shared.log(LogLevel::Warning, || format!("{count} malformed message(s), the last one: {fault}"));
        }
        self.count_evicted(shared);
        // Progress of a message precedes the message.
        self.report_progress(shared);
        self.pass_on(shared, messages);
        parsed
    }

    /// Passes messages on: to the callbacks of publications at once, if these run on this thread and nothing is queued before
    /// them; otherwise to the state machine and the queue.
    fn pass_on(&self, shared: &Shared, messages: Vec<Received<Arc<Subscription>>>) {
        let mut messages = messages.into_iter().peekable();
        while shared.may_deliver_now()
            && let Some(Received::Publication { to, outcome }) =
                messages.next_if(|message| matches!(message, Received::Publication { to, .. } if to.len() == 1))
        {
            // Publications in a row for one subscription enter its callback once.
            let same = |message: &Received<_>| matches!(message, Received::Publication { to: next, .. } if Arc::ptr_eq(next, &to));
            let next = std::iter::from_fn(|| match messages.next_if(same) {
                Some(Received::Publication { outcome, .. }) => Some(outcome),
                _ => None,
            });
            to[0].run(std::iter::once(outcome).chain(next));
        }
        if messages.peek().is_some() {
            shared.receive(self.receiver.heard, messages);
        }
    }

    /// Parses the data that was received, up to a maximum number of publications. The caller passes the messages on together,
    /// which costs one lock instead of one for each.
    fn parse_received(
        &mut self,
        shared: &Shared,
        messages: &mut Vec<Received<Arc<Subscription>>>,
    ) -> Result<(), Ended> {
        let now = self.receiver.heard;
        let max = if shared.config.delivery == Delivery::IoThread { MAX_BATCH } else { MAX_BATCH_TO_THREAD };
        let mut publications = 0;
        while publications < max
            && let Some(incoming) = self.receiver.next().map_err(failed)?
        {
            match incoming {
                Incoming::Message(message) => {
                    shared.counters.count(&message);
                    if let Some(fault) = message.fault() {
                        let count = self.malformed.take().map_or(0, |(count, _)| count);
                        self.malformed = Some((count + 1, fault.clone()));
                    }
                    publications += usize::from(matches!(message, Received::Publication { .. }));
                    messages.push(message);
                    if !self.protocol_known {
                        // This message may determine the generation of the next frames.
                        shared.receive(now, messages.drain(..));
                        self.learn_protocol(shared);
                    }
                }
                Incoming::Ping(payload) => shared.sending.push_control(ControlFrame::Pong(payload)),
                Incoming::Pong => shared.with_core(|core| {
                    core.heard(now);
                    core.pong(now);
                }),
                Incoming::Close(code, reason) => {
                    let (asked, protocol) =
                        shared.inspect(|locked| (locked.core.state() == State::Closing, locked.core.protocol()));
                    let mut error = lost(closed_by_server(code, &reason, protocol));
                    if let Some(code) = code {
                        error = error.with_close_code(code);
                    }
                    return Err(Ended { error, close: (!asked).then_some(code.unwrap_or(1000)) });
                }
            }
        }
        Ok(())
    }

    /// Tells the receiver the server's generation and the prefix of call ids, once they are known.
    fn learn_protocol(&mut self, shared: &Shared) {
        if !self.protocol_known {
            let inbound = &mut self.receiver.inbound;
            let protocol = shared.inspect(|locked| {
                inbound.set_call_prefix(locked.core.call_prefix());
                locked.core.protocol()
            });
            // Before detection is complete, use the generation that the application has set.
            inbound.set_protocol(protocol.or(shared.config.session.protocol));
            self.protocol_known = protocol.is_some();
        }
    }

    fn count_evicted(&mut self, shared: &Shared) {
        let evicted = self.receiver.inbound.evicted();
        if evicted == self.evicted {
            return;
        }
        shared.counters.evicted.fetch_add(evicted - self.evicted, Relaxed);
        // Log only the first time: evictions are mostly harmless.
        if self.evicted == 0 {
            let what = "unfinished messages or kept attachments given up to stay within the limits; \
                        from now on they are only counted";
            shared.log(LogLevel::Warning, || what.into());
        }
        self.evicted = evicted;
    }

    fn report_progress(&mut self, shared: &Shared) {
        if shared.queue.wants_progress() {
            let completed = self.receiver.inbound.take_completed();
            let reports = self.progress.update(self.receiver.progress(), completed, || shared.next_transfer());
            let mut reports = reports.map(Event::Progress).peekable();
            if reports.peek().is_some() {
                shared.push(reports);
            }
        }
    }
}
