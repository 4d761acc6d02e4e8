//! The send queue. Any thread can push messages, and the thread that gets the socket writes them. So a small call costs one
//! system call and no hand-over to another thread.

use super::socket::Socket;
use super::websocket::writer::{CallId, ControlFrame, Flushed, Queued, Sent, Writer, queue_control};
use crate::io::sync::{AtomicU64, Mutex};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Capacity for queued messages that is kept when the queue is empty.
const MAX_KEPT_CAPACITY: usize = 1024;

/// The outgoing half of a session.
#[derive(Default)]
pub struct SendQueue {
    /// Held only briefly, also while the lock of the core is held.
    pending: Mutex<Pending>,
    /// Held while writing. Threads wait for this lock only when a connection begins or ends.
    active: Mutex<Option<Active>>,
    /// Bytes of messages that are not written yet. Changed under the lock of `pending`, read without it.
    backlog: AtomicU64,
}

#[derive(Default)]
struct Pending {
    messages: Vec<Queued>,
    controls: VecDeque<ControlFrame>,
    /// Calls that ended without a reply and whose messages the writer may have.
    withdrawn: Vec<CallId>,
    /// There is a connection, and so a writer.
    attached: bool,
    /// Why writing failed.
    failed: Option<io::Error>,
}

struct Active {
    writer: Writer,
    socket: Arc<Socket>,
}

/// The result of a flush.
#[derive(Default)]
pub struct Report {
    /// The budget is used up: there is more to write, and the socket may accept more.
    pub more: bool,
    /// The socket would block.
    pub blocked: bool,
    /// Writing failed.
    pub failed: bool,
    /// Bytes written.
    pub bytes: u64,
    /// The number of messages sent.
    pub messages: u64,
    /// The messages sent. Drop them without a lock: they may hold memory of the application.
    pub done: SmallVec<[Queued; 1]>,
    /// Messages that were withdrawn. Drop them without a lock, too.
    pub withdrawn: Vec<Queued>,
    /// The progress of the message that is being sent.
    pub current: Option<Sent>,
}

impl SendQueue {
    /// Queues a message.
    pub fn push(&self, message: Queued) {
        let mut pending = self.pending.lock();
        self.backlog.store(self.backlog() + message.0.total(), Relaxed);
        pending.messages.push(message);
    }

    /// Withdraws the messages of these calls. Returns those that the writer does not have yet, to be dropped without a lock.
    /// A later [`flush`](SendQueue::flush) reports the others.
    pub fn withdraw(&self, calls: &[CallId]) -> Vec<Queued> {
        let mut calls = calls.to_vec();
        calls.sort_unstable();
        let mut pending = self.pending.lock();
        let is_withdrawn = |queued: &mut Queued| queued.1.is_some_and(|call| calls.binary_search(&call).is_ok());
        let taken: Vec<_> = pending.messages.extract_if(.., is_withdrawn).collect();
        let bytes = taken.iter().map(|(message, _)| message.total()).sum();
        self.backlog.store(self.backlog().saturating_sub(bytes), Relaxed);
        if pending.attached {
            pending.withdrawn.extend(calls);
        }
        taken
    }

    /// Queues a control frame.
    pub fn push_control(&self, frame: ControlFrame) {
        queue_control(&mut self.pending.lock().controls, frame);
    }

    /// Bytes of messages that are not written yet.
    pub fn backlog(&self) -> u64 {
        self.backlog.load(Relaxed)
    }

    /// Takes the error with which writing failed. Does not lock the socket, not even briefly: a thread that pushed a message
    /// at that moment would fail to lock it, and the message would stay in the queue.
    pub fn take_failure(&self) -> Option<io::Error> {
        self.pending.lock().failed.take()
    }

    /// A connection begins. Returns the messages that were queued since the previous one ended. Their calls have ended with it.
    /// Drop them without a lock.
    pub fn attach(&self, socket: Arc<Socket>, writer: Writer) -> Vec<Queued> {
        let stale = self.detach();
        *self.active.lock() = Some(Active { writer, socket });
        self.pending.lock().attached = true;
        stale
    }

    /// The connection ended. Returns the messages that were not sent. Drop them without a lock.
    pub fn detach(&self) -> Vec<Queued> {
        let active = self.active.lock().take();
        let mut pending = {
            let mut pending = self.pending.lock();
            self.backlog.store(0, Relaxed);
            std::mem::take(&mut *pending)
        };
        if let Some(mut active) = active {
            active.writer.abandon();
            pending.messages.extend(active.writer.take_done());
        }
        pending.messages
    }

    /// Writes queued messages, at most about `budget` bytes. If another thread is writing, that thread continues instead.
    pub fn flush(&self, budget: usize) -> Report {
        self.write(budget, false)
    }

    /// Like [`flush`](SendQueue::flush), before the connection ends: waits for a thread that is writing instead of relying on
    /// it. The wait is short, because no write blocks.
    pub fn flush_last(&self, budget: usize) -> Report {
        self.write(budget, true)
    }

    fn write(&self, budget: usize, wait: bool) -> Report {
        let mut report = Report::default();
        loop {
            // A thread that holds the socket checks the queue again after releasing it.
            let active = if wait { Some(self.active.lock()) } else { self.active.try_lock() };
            let Some(mut active) = active else {
                return report;
            };
            let Some(Active { writer, socket }) = active.as_mut() else {
                return report;
            };
            let mut withdrawn = {
                let Pending { messages, controls, withdrawn, .. } = &mut *self.pending.lock();
                writer.push(messages.drain(..), controls.drain(..));
                messages.shrink_to(MAX_KEPT_CAPACITY);
                std::mem::take(withdrawn)
            };
            if !withdrawn.is_empty() {
                withdrawn.sort_unstable();
                writer.withdraw(&withdrawn);
            }
            let flushed = writer.flush(budget.saturating_sub(report.bytes as usize), |bytes| socket.write(bytes));
            report.bytes += writer.take_bytes_out();
            report.done.extend(writer.take_done());
            report.withdrawn.extend(writer.take_withdrawn());
            report.current = writer.current();
            let written = writer.take_written();
            report.messages += written.messages;

            let mut pending = self.pending.lock();
            // Release the socket while `pending` is locked. A thread that pushes after the check below then finds the socket
            // free, and `backlog` is not reduced after the next connection has set it to zero.
            drop(active);
            self.backlog.store(self.backlog().saturating_sub(written.bytes), Relaxed);
            match flushed {
                // Withdraw these messages now, even if the socket would block.
                Ok(_) if !pending.withdrawn.is_empty() => {}
                Ok(Flushed::Everything) if pending.messages.is_empty() && pending.controls.is_empty() => return report,
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
