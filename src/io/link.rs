//! What is on its way out. Any thread puts messages in; whoever gets hold of the socket writes them, so
//! that a small call costs one system call and no hand-over to another thread.

use super::socket::Socket;
use super::sync::{AtomicBool, AtomicU64, Mutex};
use super::websocket::writer::{ControlFrame, Flushed, Message, Queued, Sent, Writer, queue_control};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Room for so many messages that wait is kept for the next ones.
const MOST_KEPT: usize = 1024;

/// The outgoing half of a session.
#[derive(Default)]
pub struct Link {
    /// Taken for moments only, also under the lock of the core.
    pending: Mutex<Pending>,
    /// Held while writing; waited for at the end of a connection only.
    active: Mutex<Option<Active>>,
    /// Bytes of messages that are not written yet. Changed under the lock of `pending`, looked at without.
    waiting: AtomicU64,
    /// If this is set, everything is written and no failure is to be told. Changed under the lock of `pending`, looked at
    /// without.
    at_rest: AtomicBool,
}

#[derive(Default)]
struct Pending {
    messages: Vec<Queued>,
    controls: VecDeque<ControlFrame>,
    /// Messages that are sent, whose memory can be used again.
    spares: Vec<Message>,
    /// Why writing failed.
    failed: Option<io::Error>,
}

struct Active {
    writer: Writer,
    socket: Arc<Socket>,
}

/// What a flush did.
#[derive(Default)]
pub struct Report {
    /// There is more to write although the socket takes more.
    pub more: bool,
    /// The socket takes no more now.
    pub blocked: bool,
    /// Writing failed.
    pub failed: bool,
    /// Bytes written.
    pub bytes: u64,
    /// How many messages are sent.
    pub messages: u64,
    /// Those of them whose memory is not kept. To be dropped without a lock: they may hold memory of the application.
    pub done: SmallVec<[Queued; 1]>,
    /// The message that is being sent.
    pub current: Option<Sent>,
}

impl Link {
    /// Puts a message behind the others. Returns one that is over, if there is one, for its memory.
    pub fn push(&self, message: Queued) -> Option<Message> {
        let mut pending = self.pending.lock();
        self.waiting.store(self.waiting() + message.0.total(), Relaxed);
        self.at_rest.store(false, Release);
        pending.messages.push(message);
        pending.spares.pop()
    }

    /// Puts a control frame behind the other control frames.
    pub fn push_control(&self, frame: ControlFrame) {
        let mut pending = self.pending.lock();
        self.at_rest.store(false, Release);
        queue_control(&mut pending.controls, frame);
    }

    /// Bytes of messages that wait to be written.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Whether there is nothing to write, and no failure to tell of.
    pub fn is_at_rest(&self) -> bool {
        self.at_rest.load(Acquire)
    }

    /// Why writing failed, once. Does not take the socket, not even for a moment: a message that another thread puts
    /// in meanwhile would stay behind.
    pub fn take_failure(&self) -> Option<io::Error> {
        if self.is_at_rest() {
            return None;
        }
        self.pending.lock().failed.take()
    }

    /// A new connection. Returns what was put in after the end of the one before, by a call that did not
    /// know of it yet and was completed since; to be dropped without a lock.
    pub fn attach(&self, socket: Arc<Socket>) -> Vec<Queued> {
        let stale = self.detach();
        *self.active.lock() = Some(Active { writer: Writer::new(), socket });
        stale
    }

    /// The connection is over. Returns what was not sent, to be dropped without a lock.
    pub fn detach(&self) -> Vec<Queued> {
        let active = self.active.lock().take();
        let mut pending = {
            let mut pending = self.pending.lock();
            self.waiting.store(0, Relaxed);
            self.at_rest.store(false, Release);
            std::mem::take(&mut *pending)
        };
        if let Some(mut active) = active {
            active.writer.abandon();
            pending.messages.extend(active.writer.take_done());
        }
        pending.messages
    }

    /// Writes what waits, unless another thread does it already; then that one goes on with it. Writes
    /// about `most` bytes at most.
    pub fn flush(&self, most: usize) -> Report {
        // Asked after each row of reads, and mostly there is nothing.
        if self.is_at_rest() { Report::default() } else { self.write(most, false) }
    }

    /// The same before the connection is ended: there is no later for another thread to go on. Waits
    /// for it, which is never long because no write blocks.
    pub fn flush_last(&self, most: usize) -> Report {
        self.write(most, true)
    }

    fn write(&self, most: usize, wait: bool) -> Report {
        let mut report = Report::default();
        loop {
            // Whoever holds the socket looks here again after letting go of it.
            let active = if wait { Some(self.active.lock()) } else { self.active.try_lock() };
            let Some(mut active) = active else {
                return report;
            };
            let Some(Active { writer, socket }) = active.as_mut() else {
                return report;
            };
            {
                let Pending { messages, controls, .. } = &mut *self.pending.lock();
                writer.push(messages.drain(..), controls.drain(..));
                messages.shrink_to(MOST_KEPT);
            }
            let flushed = writer.flush(most.saturating_sub(report.bytes as usize), |bytes| socket.write(bytes));
            report.bytes += writer.take_bytes_out();
            report.done.extend(writer.take_done());
            report.current = writer.current();
            let written = writer.take_written();
            report.messages += written.messages;

            let mut pending = self.pending.lock();
            // They stay few: as long as there are some here, the writer collects no more than it may.
            if pending.spares.is_empty() {
                pending.spares.extend(writer.take_spares());
            }
            // Before the next connection, which counts anew; after this look whoever puts something in finds the socket
            // free.
            drop(active);
            self.waiting.store(self.waiting().saturating_sub(written.bytes), Relaxed);
            match flushed {
                Ok(Flushed::Everything) if pending.messages.is_empty() && pending.controls.is_empty() => {
                    self.at_rest.store(pending.failed.is_none(), Release);
                    return report;
                }
                Ok(Flushed::Everything) => {}
                Ok(Flushed::Blocked) => {
                    report.blocked = true;
                    return report;
                }
                Ok(Flushed::Paused) => {
                    report.more = true;
                    return report;
                }
                Err(e) => {
                    pending.failed = Some(e);
                    report.failed = true;
                    return report;
                }
            }
        }
    }
}
