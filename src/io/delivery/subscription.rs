//! One subscription: its callback, its overflow policy, and its backlog in the event queue.

use super::callback::{Slot, guarded};
use crate::error::Result;
use crate::wire::document::SharedDocument;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// The outcome of a call or publication: a message (see [`result`](crate::wire::envelope::result) for its value), or an error.
pub type Outcome = Result<SharedDocument>;

/// The subscriptions to one topic.
pub type Subscribers = Arc<[Arc<Subscription>]>;

/// What the callback of a subscription receives.
pub struct Publication<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The message (see [`result`](crate::wire::envelope::result) for its value), or the error that the server published or
    /// that decoding met.
    pub outcome: &'a Outcome,
}

/// Receives publications.
pub type PublicationCallback = dyn Fn(Publication<'_>) + Send + Sync;

/// The overflow policy of a subscription: which publications are dropped if they arrive faster than they are dispatched.
/// The limit [`Config::queue_bytes`](crate::io::config::Config::queue_bytes) applies in addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Keep all publications. While this many are queued, new ones are dropped.
    All(usize),
    /// Keep this many of the latest publications. Older ones are dropped.
    Last(usize),
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::All(65_536)
    }
}

/// One subscription.
pub struct Subscription {
    topic: String,
    pub(super) policy: Policy,
    callback: Slot<PublicationCallback>,
    /// The callback must not be called again.
    ended: AtomicBool,
    /// Locked only while the lock of the queue is held.
    pub(super) backlog: Mutex<Backlog>,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// The publications of one subscription in the queue, oldest first.
#[derive(Default)]
pub(super) struct Backlog {
    /// The number of each event in the queue, and its memory in bytes.
    events: VecDeque<(u64, u64)>,
    /// The memory of all these publications, in bytes.
    pub bytes: u64,
    /// When a publication of this subscription was last dispatched, by the dispatch clock of the queue.
    pub last_dispatched: u64,
}

impl Backlog {
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn push(&mut self, event: u64, bytes: u64) {
        self.events.push_back((event, bytes));
        self.bytes += bytes;
    }

    /// Removes the oldest publication. Returns its number in the queue, and its memory in bytes.
    pub fn pop(&mut self) -> Option<(u64, u64)> {
        let (event, bytes) = self.events.pop_front()?;
        self.bytes -= bytes;
        Some((event, bytes))
    }
}

impl Subscription {
    pub(crate) fn new(topic: &str, policy: Policy, callback: Arc<PublicationCallback>) -> Subscription {
        Subscription {
            topic: topic.to_owned(),
            policy,
            callback: Slot::new(callback),
            ended: AtomicBool::new(false),
            backlog: Mutex::default(),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// How many publications the callback received, and how many the overflow policy dropped.
    pub fn counts(&self) -> (u64, u64) {
        (self.delivered.load(Relaxed), self.dropped.load(Relaxed))
    }

    /// Runs the callback for each of these publications, until the subscription ends.
    pub(crate) fn run(&self, outcomes: impl Iterator<Item = Outcome>) {
        self.callback.run(|callback| {
            for outcome in outcomes {
                // A callback may have ended its own subscription.
                if self.ended.load(Acquire) {
                    break;
                }
                self.delivered.fetch_add(1, Relaxed);
                guarded(|| callback(Publication { topic: &self.topic, outcome: &outcome }));
            }
        });
    }

    pub(super) fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Relaxed);
    }

    pub(super) fn keeps_last(&self) -> bool {
        matches!(self.policy, Policy::Last(_))
    }

    /// Removes the callback. Waits for other threads that are inside it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Release);
        self.callback.clear();
    }
}
