//! Events on their way to the application: one queue, in order, with a bound for publications.
//!
//! The I/O thread only puts events in, so that a slow application never keeps it from answering the
//! server. They come out in [`EventQueue::dispatch`], on the thread of the application or, if the
//! session is set so, on the I/O thread.

use super::callback::{Entered, Slot, guarded};
use super::config::{Progress, ProgressCallback, ReconnectFilter, WakeupCallback};
use super::room::{Admission, Part, Room};
use super::spares::Spares;
use super::sync::this_thread;
use super::taking::{Malformed, Taking};
use crate::error::{Code, Error, Result};
use crate::session::core::{StateChange, closed_error};
use crate::wire::document::SharedDocument;
use crate::wire::undecoded::Undecoded;
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst};
use std::thread::ThreadId;
use std::time::Instant;

/// Told about changes of state.
pub type StateCallback = dyn Fn(&StateChange) + Send + Sync;

/// The outcome of a call: the message whose `result` is the value, or why there is none.
pub type Outcome = Result<SharedDocument>;

/// Several of them, mostly one.
pub type Outcomes = SmallVec<[Outcome; 1]>;

/// Who wants the publications on a topic.
pub type Subscribers = Arc<[Arc<Subscription>]>;

/// Receives the outcome of a call. Gives the message back if it has no more use for it, so that its memory is used again.
pub type CompletionCallback = Box<dyn FnOnce(Outcome) -> Option<SharedDocument> + Send>;

/// What a subscription is told.
pub struct Publication<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The message whose `result` is the published value, or the error that the server sent instead.
    pub outcome: &'a Outcome,
}

/// Receives publications.
pub type PublicationCallback = dyn Fn(Publication<'_>) + Send + Sync;

/// What a subscription does with publications that are not dispatched as fast as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Keep every one; when this many wait, new ones are dropped.
    All(usize),
    /// Keep the last of them; older ones are dropped.
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
    policy: Policy,
    callback: Slot<PublicationCallback>,
    pub(super) waiting: Mutex<Room>,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

impl Subscription {
    pub(super) fn new(topic: &str, policy: Policy, callback: Arc<PublicationCallback>) -> Subscription {
        Subscription {
            topic: topic.to_owned(),
            policy,
            callback: Slot::new(callback),
            waiting: Mutex::default(),
            delivered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// How many publications the callback was given, and how many were dropped because they were not
    /// dispatched in time.
    pub fn counts(&self) -> (u64, u64) {
        (self.delivered.load(Relaxed), self.dropped.load(Relaxed))
    }

    fn run(&self, outcome: &Outcome) {
        self.delivered.fetch_add(1, Relaxed);
        self.callback.run(|f| f(Publication { topic: &self.topic, outcome }));
    }

    /// Gives the callback what was taken from the queue, unless it ends on the way.
    fn run_all(&self, mut parts: impl Iterator<Item = Part>, taking: &mut Taking<'_>) {
        if let Some(entered) = self.enter() {
            while parts.next().is_some_and(|part| taking.give(part, |outcome| self.give(&entered, outcome))) {}
            self.leave(entered);
        }
    }

    /// Enters the callback, to give it several publications in a row.
    pub(super) fn enter(&self) -> Option<Entered<PublicationCallback>> {
        self.callback.enter()
    }

    /// Gives it one. `false`: the subscription has ended, and nothing more may be given.
    pub(super) fn give(&self, entered: &Entered<PublicationCallback>, outcome: &Outcome) -> bool {
        if !self.callback.is_current(entered) {
            return false;
        }
        // By one thread at a time, so that this need not be one step.
        self.delivered.store(self.delivered.load(Relaxed) + 1, Relaxed);
        guarded(|| (entered.callback)(Publication { topic: &self.topic, outcome }));
        true
    }

    /// Leaves it.
    pub(super) fn leave(&self, entered: Entered<PublicationCallback>) {
        self.callback.leave(entered);
    }

    /// Takes the callback back; waits for another thread that is inside it.
    pub(super) fn end(&self) {
        self.callback.clear();
    }
}

/// Something for the application.
pub enum Event {
    /// A call is over.
    Complete(CompletionCallback, Outcome),
    /// Publications, and who wants them.
    Publish(Subscribers, Outcomes),
    /// The same for the only one who wants them, not decoded yet.
    PublishUndecoded(Arc<Subscription>, Undecoded),
    /// A change of state.
    State(StateChange),
    /// A large message is so far.
    Progress(Progress),
}

/// An event as it waits: publications wait with their subscription, which may drop them.
enum Entry {
    Complete(CompletionCallback, Outcome),
    Publish(Arc<Subscription>, Outcome),
    /// So many of them.
    Waiting(Arc<Subscription>, usize),
    State(StateChange),
    Progress(Progress),
}

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    /// How many events these are.
    count: usize,
    /// Bytes of publications that wait.
    bytes: u64,
    dispatcher: Option<ThreadId>,
    /// Nothing is dispatched any more.
    stopped: bool,
    /// Nothing is put in any more.
    closed: bool,
    signal: Option<Signal>,
}

/// A descriptor that is readable while there is something to dispatch: a pipe with one byte in it.
struct Signal {
    reader: PipeReader,
    writer: PipeWriter,
    raised: bool,
}

impl Inner {
    /// Makes the descriptor say whether something waits.
    fn settle(&mut self) {
        let raise = !self.entries.is_empty() && !self.stopped;
        if let Some(signal) = &mut self.signal
            && signal.raised != raise
        {
            // One byte in an empty pipe, or the one byte that is in it: neither can block.
            let done =
                if raise { signal.writer.write_all(&[1]).is_ok() } else { signal.reader.read_exact(&mut [0]).is_ok() };
            signal.raised = raise == done;
        }
    }
}

impl Inner {
    fn push(&mut self, entry: Entry) {
        self.entries.push_back(entry);
        self.count += 1;
    }

    /// So many more publications of this subscription wait, after everything else.
    fn push_waiting(&mut self, subscription: &Arc<Subscription>, more: usize) {
        if more == 0 {
            return;
        }
        self.count += more;
        match self.entries.back_mut() {
            Some(Entry::Waiting(last, count)) if Arc::ptr_eq(last, subscription) => *count += more,
            _ => self.entries.push_back(Entry::Waiting(Arc::clone(subscription), more)),
        }
    }

    /// Takes the first event out, and the publications for which it stands, if it is such: at most so many. Where only the
    /// last ones count, one at a time: newer ones may still take the place of the others. Returns how many events these were.
    fn take(
        &mut self,
        most: usize,
        empty: &mut Option<Undecoded>,
        publications: &mut Vec<Part>,
    ) -> Option<(Entry, usize)> {
        let Some(Entry::Waiting(subscription, count)) = self.entries.front_mut() else {
            let entry = self.entries.pop_front()?;
            self.count -= 1;
            return Some((entry, 1));
        };
        let most = if matches!(subscription.policy, Policy::All(_)) { most.min(*count) } else { 1 };
        let taken = match subscription.waiting.lock().take(most, empty, publications) {
            // It was unsubscribed since.
            0 => most,
            taken => taken,
        };
        *count -= taken;
        self.count -= taken;
        let (subscription, left) = (Arc::clone(subscription), *count);
        if left == 0 {
            self.entries.pop_front();
        }
        let bytes: u64 = publications.iter().map(Part::memory).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        Some((Entry::Waiting(subscription, taken), taken))
    }
}

/// The callbacks of a session that are not bound to a call or a topic.
#[derive(Default)]
pub struct Callbacks {
    /// Changes of state.
    pub state: Slot<StateCallback>,
    /// Progress of large messages.
    pub progress: Slot<ProgressCallback>,
    /// Something waits for `dispatch`.
    pub wakeup: Slot<WakeupCallback>,
    /// Whether a failure is worth another attempt to connect.
    pub reconnect: Slot<ReconnectFilter>,
}

/// Reports of progress are left out when so many events wait: they are of use only while they are new.
const MAX_WAITING_WITH_PROGRESS: usize = 10_000;

/// What is left to do after events were put in.
#[derive(Default)]
#[must_use]
pub struct Put {
    /// Came after the session was freed: calls are completed, the rest is dropped.
    late: Vec<Event>,
    /// To be freed without a lock.
    dropped: Vec<Outcome>,
    /// The queue was empty before.
    woke: bool,
}

/// The queue.
pub struct EventQueue {
    inner: Mutex<Inner>,
    /// How many events wait, to be looked at without the lock.
    waiting: AtomicUsize,
    changed: Condvar,
    callbacks: Callbacks,
    most_bytes: u64,
    wants_progress: bool,
    wants_states: bool,
    /// The same as `stopped`, to be looked at between publications.
    stopping: AtomicBool,
    /// Documents of publications that nobody has any more: the I/O thread uses their memory again.
    spares: Spares,
    /// Publications that were decoded here and had no meaning.
    malformed: Malformed,
    /// Publications go through the waiting room of their subscription.
    waiting_rooms: bool,
}

impl EventQueue {
    /// `waiting_rooms`: publications wait as their subscription says; otherwise they are dispatched at
    /// once anyway.
    pub fn new(callbacks: Callbacks, most_bytes: u64, waiting_rooms: bool) -> EventQueue {
        let wants_progress = callbacks.progress.is_set();
        // A program that dispatches may look at the state whenever that returns.
        let wants_states = waiting_rooms || callbacks.state.is_set();
        EventQueue {
            inner: Mutex::default(),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            callbacks,
            most_bytes,
            wants_progress,
            wants_states,
            stopping: AtomicBool::new(false),
            spares: Spares::default(),
            malformed: Malformed::default(),
            waiting_rooms,
        }
    }

    /// Whether somebody is told about progress.
    pub fn wants_progress(&self) -> bool {
        self.wants_progress
    }

    /// Whether changes of state are of use to anybody.
    pub fn wants_states(&self) -> bool {
        self.wants_states
    }

    /// Whether the application thinks that a failure is worth another attempt to connect.
    pub fn worth_an_attempt(&self, error: &Error, attempt: u32) -> bool {
        let mut worth = error.is_retriable();
        self.callbacks.reconnect.run(|filter| worth = filter(error, attempt));
        worth
    }

    /// Puts events in. Runs no code of the application, so that it may be called under a lock; what is
    /// left to do is done by [`finish`](EventQueue::finish), without one.
    pub fn put(&self, events: impl Iterator<Item = Event>) -> Put {
        let mut put = Put::default();
        let mut inner = self.inner.lock();
        let was_empty = inner.entries.is_empty();
        for event in events {
            match event {
                event if inner.closed => put.late.push(event),
                Event::Complete(callback, outcome) => inner.push(Entry::Complete(callback, outcome)),
                Event::State(change) => inner.push(Entry::State(change)),
                Event::Progress(_) if inner.count >= MAX_WAITING_WITH_PROGRESS => {}
                Event::Progress(progress) => match inner.entries.back_mut() {
                    Some(Entry::Progress(last)) if last.transfer == progress.transfer => *last = progress,
                    _ => inner.push(Entry::Progress(progress)),
                },
                Event::PublishUndecoded(to, messages) => {
                    self.publish(&mut inner, &to, Part::Undecoded(messages), &mut put.dropped);
                }
                Event::Publish(to, outcomes) => {
                    if let [subscription] = &to[..] {
                        for outcome in outcomes {
                            self.publish(&mut inner, subscription, Part::Decoded(outcome), &mut put.dropped);
                        }
                        continue;
                    }
                    // Each one goes to all before the next one goes to any.
                    for outcome in outcomes {
                        for subscription in to.iter() {
                            self.publish(&mut inner, subscription, Part::Decoded(outcome.clone()), &mut put.dropped);
                        }
                    }
                }
            }
        }
        if was_empty && !inner.entries.is_empty() {
            inner.settle();
            put.woke = true;
        }
        self.tell_waiting(&inner);
        put
    }

    /// Tells whoever waits that something was put in.
    pub fn finish(&self, put: Put) {
        let Put { late, dropped, woke } = put;
        drop(dropped);
        if woke {
            self.changed.notify_all();
            self.callbacks.wakeup.run(|f| f());
        }
        for event in late {
            if let Event::Complete(callback, _) = event {
                guarded(|| drop(callback(Err(closed_error()))));
            }
        }
    }

    /// What is dropped for it, is to be freed without the lock.
    fn publish(&self, inner: &mut Inner, subscription: &Arc<Subscription>, mut part: Part, dropped: &mut Vec<Outcome>) {
        if !self.waiting_rooms
            && let Part::Decoded(outcome) = part
        {
            return inner.push(Entry::Publish(Arc::clone(subscription), outcome));
        }
        let mut waiting = subscription.waiting.lock();
        let (count, size) = (part.len(), part.memory());
        if matches!(subscription.policy, Policy::All(most) if waiting.len() + count <= most)
            && inner.bytes + size <= self.most_bytes
        {
            waiting.push(part);
            inner.bytes += size;
            return inner.push_waiting(subscription, count);
        }
        // One after the other.
        let (mut more, mut lost) = (0, 0);
        while let Some(size) = part.memory_of_first() {
            let full = inner.bytes + size > self.most_bytes && inner.bytes > 0;
            let admission = waiting.admit(subscription.policy, full);
            if admission == Admission::Dropped {
                part.drop_first(dropped);
                lost += 1;
                continue;
            }
            waiting.push_first(&mut part);
            inner.bytes += size;
            if admission == Admission::TakesTurn {
                inner.bytes -= waiting.drop_first(dropped);
                lost += 1;
            } else {
                more += 1;
            }
        }
        subscription.dropped.fetch_add(lost, Relaxed);
        inner.push_waiting(subscription, more);
    }

    /// Runs up to `most` events, waiting for the first until `deadline`. Returns how many were run.
    pub fn dispatch(&self, mut most: usize, deadline: Option<Instant>) -> Result<usize> {
        let me = this_thread();
        {
            let mut inner = self.inner.lock();
            if inner.dispatcher == Some(me) {
                return Err(Error::new(Code::Reentrant, "dispatch was called from inside a callback of dispatch"));
            }
            loop {
                if inner.stopped {
                    return Err(closed_error());
                }
                if inner.dispatcher.is_none() && !inner.entries.is_empty() {
                    break;
                }
                if deadline.is_some_and(|at| at <= Instant::now()) {
                    return Ok(0);
                }
                match deadline {
                    Some(at) => {
                        self.changed.wait_until(&mut inner, at);
                    }
                    None => self.changed.wait(&mut inner),
                }
            }
            inner.dispatcher = Some(me);
            // Those that come meanwhile are for the next time: a server may publish without end.
            most = most.min(inner.count);
        }
        let mut taking = Taking::new(&self.stopping, &self.malformed, &self.spares);
        let (mut count, mut together) = (0, Vec::new());
        while count < most {
            let taken = {
                let mut inner = self.inner.lock();
                // Freed from inside a callback: nothing may run any more.
                let taken =
                    if inner.stopped { None } else { inner.take(most - count, &mut taking.empty, &mut together) };
                if inner.entries.is_empty() {
                    inner.settle();
                }
                self.tell_waiting(&inner);
                taken
            };
            let Some((entry, events)) = taken else { break };
            count += events;
            match entry {
                Entry::Waiting(subscription, _) => subscription.run_all(together.drain(..), &mut taking),
                Entry::Complete(callback, outcome) => guarded(|| taking.take_back(callback(outcome))),
                Entry::Publish(subscription, outcome) => subscription.run(&outcome),
                Entry::State(change) => self.callbacks.state.run(|f| f(&change)),
                Entry::Progress(progress) => self.callbacks.progress.run(|f| f(&progress)),
            }
        }
        drop(taking);
        let (more, stopped) = {
            let mut inner = self.inner.lock();
            inner.dispatcher = None;
            (!inner.entries.is_empty(), inner.stopped)
        };
        self.changed.notify_all();
        if stopped {
            // Perhaps from inside one of these callbacks: a loop around this must not go on.
            return Err(closed_error());
        }
        if more {
            self.callbacks.wakeup.run(|f| f());
        }
        Ok(count)
    }

    /// Documents for which the application has no more use.
    pub fn spares(&self) -> &Spares {
        &self.spares
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Acquire)
    }

    fn tell_waiting(&self, inner: &Inner) {
        self.waiting.store(inner.count, Release);
    }

    /// Whether nothing waits and nothing is being dispatched.
    pub fn is_quiet(&self) -> bool {
        let inner = self.inner.lock();
        inner.count == 0 && inner.dispatcher.is_none()
    }

    /// The bytes of a subscription that ends are no longer waiting.
    pub fn forget(&self, subscription: &Subscription) {
        let waiting = std::mem::take(&mut *subscription.waiting.lock());
        let mut inner = self.inner.lock();
        inner.bytes = inner.bytes.saturating_sub(waiting.memory());
    }

    /// Publications that were decoded by [`dispatch`](EventQueue::dispatch) and had no meaning.
    pub fn malformed(&self) -> &Malformed {
        &self.malformed
    }

    /// Nothing is dispatched from now on. Whoever waits in [`dispatch`](EventQueue::dispatch) is told.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        let mut inner = self.inner.lock();
        inner.stopped = true;
        inner.settle();
        self.changed.notify_all();
    }

    /// Nothing is put in from now on. Waits for another thread that is dispatching, completes the
    /// calls that wait, and takes all callbacks back.
    pub fn close(&self) {
        let me = this_thread();
        let entries = {
            self.stopping.store(true, SeqCst);
            let mut inner = self.inner.lock();
            inner.stopped = true;
            inner.closed = true;
            inner.settle();
            self.changed.notify_all();
            while inner.dispatcher.is_some_and(|t| t != me) {
                self.changed.wait(&mut inner);
            }
            inner.count = 0;
            self.tell_waiting(&inner);
            std::mem::take(&mut inner.entries)
        };
        for entry in entries {
            if let Entry::Complete(callback, _) = entry {
                guarded(|| drop(callback(Err(closed_error()))));
            }
        }
        self.callbacks.wakeup.clear();
        self.callbacks.reconnect.clear();
        self.callbacks.progress.clear();
        self.callbacks.state.clear();
    }

    /// Gives access to the descriptor that is readable while something waits.
    pub fn with_descriptor<R>(&self, use_it: impl FnOnce(&PipeReader) -> R) -> Result<R> {
        let mut inner = self.inner.lock();
        if inner.signal.is_none() {
            let (reader, writer) =
                std::io::pipe().map_err(|e| Error::new(Code::System, format!("no pipe for the descriptor: {e}")))?;
            inner.signal = Some(Signal { reader, writer, raised: false });
            inner.settle();
        }
        match &inner.signal {
            Some(signal) => Ok(use_it(&signal.reader)),
            None => Err(closed_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::buffer::BufferPool;
    use crate::wire::msgpack::decode::decode;

    fn document(message: Vec<u8>) -> SharedDocument {
        SharedDocument::new(decode(message.into(), 99).unwrap())
    }

    #[test]
    fn each_publication_goes_to_all_before_the_next_one_goes_to_any() {
        for waiting_rooms in [true, false] {
            let seen: Arc<Mutex<Vec<(char, u64)>>> = Arc::default();
            let to: Subscribers = ['a', 'b']
                .map(|name| {
                    let seen = Arc::clone(&seen);
                    let callback = move |p: Publication<'_>| {
                        seen.lock().push((name, p.outcome.as_ref().unwrap().root().as_u64().unwrap()));
                    };
                    Arc::new(Subscription::new("t", Policy::default(), Arc::new(callback)))
                })
                .into();
            let queue = EventQueue::new(Callbacks::default(), u64::MAX, waiting_rooms);
            let outcomes = (1..=2).map(|n| Ok(document(vec![n]))).collect();
            queue.finish(queue.put([Event::Publish(to, outcomes)].into_iter()));
            assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 4);
            assert_eq!(*seen.lock(), [('a', 1), ('b', 1), ('a', 2), ('b', 2)]);
        }
    }

    #[test]
    fn a_large_reply_that_is_done_with_is_freed_before_the_next_one_is_handed_on() {
        let queue = EventQueue::new(Callbacks::default(), u64::MAX, true);
        let pool = BufferPool::new(1 << 20);
        let mut large = pool.take(0x20005);
        large.append(&[&[0xc6, 0, 2, 0, 0][..], &[7; 0x20000]].concat()).unwrap();
        let freed = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&freed);
        let events = [
            Event::Complete(Box::new(Result::ok), Ok(SharedDocument::new(decode(large, 99).unwrap()))),
            Event::Complete(
                Box::new(move |_| {
                    seen.store(pool.unused() > 0, SeqCst);
                    None
                }),
                Ok(document(vec![1])),
            ),
        ];
        queue.finish(queue.put(events.into_iter()));
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 2);
        assert!(freed.load(SeqCst));
    }
}
