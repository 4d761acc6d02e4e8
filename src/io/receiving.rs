//! The receiving half of a connection. One thread at a time has it: mostly the I/O thread, or one that waits for the
//! reply to its call (`caller.rs`).

use super::batch::Batch;
use super::caller::Sleep;
use super::config::{LogLevel, PROGRESS_FROM, Progress};
use super::delivery::{Event, Subscription};
use super::shared::Shared;
use super::socket::Socket;
use super::websocket::close_code;
use super::websocket::reader::{Incoming, Reader};
use crate::error::{Code, Error, Result, Stage};
use crate::session::inbound::Inbound;
use crate::wire::buffer::BufferPool;
use crate::wire::limits::Limits;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Instant;

/// The receiving half.
pub struct Receiving {
    /// The socket to receive from.
    pub socket: Arc<Socket>,
    /// From bytes to frames.
    pub reader: Reader,
    /// From frames to messages.
    pub inbound: Inbound<Arc<Subscription>>,
    /// When something was received last.
    pub heard: Instant,
    /// Empty; memory for the messages that one read brings.
    pub batch: Batch,
    /// What a waiting caller came upon and left to the I/O thread, which has to look at it first.
    pub left: Option<Result<Option<Incoming<Arc<Subscription>>>>>,
    /// The same for the end of the connection.
    pub over: Option<Step>,
    /// Which generation the server speaks is known.
    pub settled: bool,
    /// Where a waiting caller sleeps; made for the first one.
    pub sleep: Option<Sleep>,
    /// So many callers had better not read themselves, because the last one came upon something else than its reply.
    pub discouraged: u32,
    /// The socket may have something to read that nothing will tell of any more.
    pub unread: bool,
    /// The end of the connection may have been announced together with data, and is not again: it is found by reading
    /// until nothing is left.
    pub ending: bool,
    /// More is likely to come in a moment, and reads can wait for that: a large message is arriving, or just has.
    pub flows: bool,
    topics_version: Option<u64>,
    transfer: Option<Transfer>,
    evicted: u64,
}

/// What one read of the socket came to.
pub enum Read {
    /// Data came.
    Data,
    /// Nothing was there.
    Nothing,
    /// The connection is over.
    Over(Step),
}

/// An incoming message of which progress is told.
struct Transfer {
    id: u64,
    told: u64,
    total: u64,
}

/// What one look at the connection came to.
pub enum Step {
    /// It goes on.
    Fine,
    /// The connection is over, for this reason; with a Close frame of this code.
    Over(Error, Option<u16>),
}

impl Receiving {
    /// For a new connection. `tail`: what came along with the handshake.
    pub fn new(socket: Arc<Socket>, tail: &[u8], limits: Limits, pool: BufferPool, now: Instant) -> Receiving {
        Receiving {
            socket,
            reader: Reader::new(tail),
            inbound: Inbound::new(limits, pool),
            heard: now,
            batch: Batch::default(),
            left: None,
            over: None,
            settled: false,
            sleep: None,
            discouraged: 0,
            unread: true,
            ending: true,
            flows: false,
            topics_version: None,
            transfer: None,
            evicted: 0,
        }
    }

    /// Reads the socket once.
    pub fn read(&mut self, shared: &Shared, now: impl FnOnce() -> Instant) -> Read {
        let socket = &self.socket;
        // Nothing wakes this thread there, not even that more can be written.
        let wait = self.flows && shared.link.is_at_rest();
        let received = self.reader.receive(&mut self.inbound, |into| socket.read(into, wait));
        let (done, asked) = match received {
            Ok(received) => received,
            Err(error) => return Read::Over(failed(error)),
        };
        match done {
            Ok(0) => Read::Over(ended("the server ended the connection without a Close frame".into())),
            Ok(n) => {
                // By whoever has this half alone, so that it need not be one step.
                let bytes_in = &shared.counters.bytes_in;
                bytes_in.store(bytes_in.load(Relaxed) + n as u64, Relaxed);
                self.heard = now();
                self.unread = n == asked || self.ending || !self.socket.short_read_means_empty();
                // Behind a message a caller may want to read itself, which it cannot while another thread sleeps in a read.
                let more = self.reader.frame_left() > 0 || self.sleep.is_none();
                self.flows = self.reader.is_large() && more && self.socket.can_wait();
                Read::Data
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.unread = false;
                self.ending = false;
                self.flows = false;
                Read::Nothing
            }
            Err(e) => Read::Over(ended(format!("receiving failed: {e}"))),
        }
    }

    /// The next thing that was received and not looked at.
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Incoming<Arc<Subscription>>>> {
        if self.left.is_some()
            && let Some(left) = self.left.take()
        {
            return left;
        }
        self.reader.next(&mut self.inbound)
    }

    /// Gets what has to be known before messages are looked at.
    pub fn prepare(&mut self, shared: &Shared) {
        let version = shared.topics_version.load(SeqCst);
        if self.topics_version != Some(version) {
            self.inbound.set_topics(shared.look(|locked| locked.core.topics().snapshot()));
            self.topics_version = Some(version);
        }
        shared.queue.spares().take(self.inbound.spares());
    }

    /// What was found out about the server counts for the messages that follow.
    pub fn settle(&mut self, shared: &Shared) {
        if !self.settled {
            let protocol = shared.look(|locked| {
                self.inbound.set_call_prefix(locked.core.call_prefix());
                locked.core.settled()
            });
            self.inbound.set_protocol(protocol);
            self.settled = protocol.is_some();
        }
    }

    /// Counts what was received and not handed on.
    pub fn count(&mut self, shared: &Shared) {
        let dropped = self.inbound.take_dropped();
        if dropped.unsubscribed > 0 {
            shared.counters.unsubscribed.fetch_add(dropped.unsubscribed, Relaxed);
        }
        if dropped.malformed > 0 {
            shared.counters.malformed.fetch_add(dropped.malformed, Relaxed);
            let why = self.inbound.take_problem().map_or(String::new(), |e| format!(": {e}"));
            shared.log_malformed(dropped.malformed, &why);
        }
        let evicted = self.inbound.evicted();
        if evicted > self.evicted {
            shared.counters.evicted.fetch_add(evicted - self.evicted, Relaxed);
            // For most this is no loss but the end of what has served its purpose, each time something new comes.
            if self.evicted == 0 {
                let what = "unfinished messages or kept attachments given up to stay within the limits; \
                            from now on they are only counted";
                shared.log(LogLevel::Warning, || what.into());
            }
            self.evicted = evicted;
        }
    }

    /// Tells how far a large message is.
    pub fn tell_progress(&mut self, shared: &Shared) {
        if !shared.queue.wants_progress() {
            return;
        }
        let now = self.inbound.progress(self.reader.frame_left()).filter(|(_, total)| *total >= PROGRESS_FROM);
        let mut told = Vec::new();
        let progress = |t: &Transfer, bytes| {
            Event::Progress(Progress { incoming: true, transfer: t.id, call: None, bytes, total: t.total })
        };
        let completed = self.inbound.take_completed();
        if let Some(transfer) = &self.transfer
            && now.is_none_or(|(bytes, total)| total != transfer.total || bytes < transfer.told)
        {
            // The message of which progress was told is over; whether it arrived is another question.
            if completed == Some(transfer.total) {
                told.push(progress(transfer, transfer.total));
            }
            self.transfer = None;
        }
        if let Some((bytes, total)) = now {
            let transfer = self.transfer.get_or_insert_with(|| Transfer { id: shared.next_transfer(), told: 0, total });
            if bytes - transfer.told >= (total / 100).max(64 << 10) {
                transfer.told = bytes;
                told.push(progress(transfer, bytes));
            }
        }
        if !told.is_empty() {
            shared.push(told.into_iter());
        }
    }

    /// Whether nothing is to be counted that would go to the log, which may be code of the application.
    pub fn counts_silently(&self) -> bool {
        self.inbound.dropped().malformed == 0 && self.inbound.evicted() == self.evicted
    }
}

/// The connection is lost, for this reason.
pub fn ended(message: String) -> Step {
    Step::Over(lost(message), None)
}

/// Why it is lost.
pub fn lost(message: String) -> Error {
    Error::new(Code::ConnectionLost, message).at(Stage::Session).retriable_if(true)
}

/// The peer did something wrong, or a bound was hit: the connection ends with a code that says so.
pub fn failed(error: Error) -> Step {
    let close = close_code(&error);
    Step::Over(error.at(Stage::Session), close)
}
