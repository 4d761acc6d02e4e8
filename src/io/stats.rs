//! The statistics of a session.

use crate::session::inbound::Received;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The statistics of a session, over all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Replies and publications with subscribers received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes received, framing included.
    pub bytes_in: u64,
    /// Bytes sent, framing included.
    pub bytes_out: u64,
    /// Publications without subscribers received, which are dropped undecoded.
    pub unsubscribed: u64,
    /// Malformed messages, including replies and publications whose content cannot be read.
    pub malformed: u64,
    /// Unfinished messages and unused attachments that were dropped to stay within the limits.
    pub evicted: u64,
    /// Replies to calls that were no longer in flight.
    pub late_replies: u64,
    /// Replies that match no request of this session.
    pub unknown_replies: u64,
    /// Calls that were accepted.
    pub calls: u64,
    /// Calls in flight now: sent or to be sent, and without a reply.
    pub calls_in_flight: u64,
    /// Events in the event queue now.
    pub events_waiting: u64,
    /// Bytes in the send queue now. They accumulate while the server or the network is slower than the calls.
    pub bytes_waiting: u64,
}

/// The counters behind [`Stats`] that the I/O layer keeps.
#[derive(Default)]
pub struct Counters {
    /// Replies and publications with subscribers received.
    pub messages_in: AtomicU64,
    /// Messages sent.
    pub messages_out: AtomicU64,
    /// Bytes received, framing included.
    pub bytes_in: AtomicU64,
    /// Bytes sent, framing included.
    pub bytes_out: AtomicU64,
    /// Publications without subscribers received.
    pub unsubscribed: AtomicU64,
    /// Malformed messages, including replies and publications whose content cannot be read.
    pub malformed: AtomicU64,
    /// Unfinished messages and unused attachments that were dropped to stay within the limits.
    pub evicted: AtomicU64,
}

impl Counters {
    /// Counts a message that was received.
    pub fn count<S>(&self, message: &Received<S>) {
        if message.fault().is_some() {
            self.malformed.fetch_add(1, Relaxed);
        }
        let counter = match message {
            Received::Nothing | Received::Malformed(_) => return,
            Received::Unsubscribed => &self.unsubscribed,
            Received::Reply { .. } | Received::Publication { .. } => &self.messages_in,
        };
        counter.fetch_add(1, Relaxed);
    }
}
