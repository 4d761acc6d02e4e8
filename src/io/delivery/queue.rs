//! The event queue: the events of a session for the application, in the order in which they happened.
//!
//! The I/O thread only adds events, so that a slow application never keeps it from answering the server.
//! [`EventQueue::dispatch`] runs the callbacks on a thread of the application or, if the session is configured so, on the
//! I/O thread.

use super::callback::guarded;
use super::descriptor::Descriptor;
use super::numbered_queue::NumberedQueue;
use super::session_callbacks::Callbacks;
use super::subscription::{Outcome, Policy, Subscribers, Subscription};
use crate::error::{Code, Error, Result};
use crate::io::config::Progress;
use crate::io::sync::this_thread;
use crate::session::core::{State, StateChange, closed_error};
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::PipeReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Release};
use std::thread::ThreadId;
use std::time::Instant;

/// Receives the outcome of a call.
pub type CompletionCallback = Box<dyn FnOnce(Outcome) + Send>;

/// Something that happened and concerns the application.
pub enum Event {
    /// A call is complete.
    Complete(CompletionCallback, Outcome),
    /// A publication, and the subscriptions to its topic.
    Publish(Subscribers, Outcome),
    /// A change of state.
    State(StateChange),
    /// The progress of a large message.
    Progress(Progress),
}

/// A queued event, for one subscription if it is a publication.
enum Entry {
    Complete(CompletionCallback, Outcome),
    Publish(Arc<Subscription>, Outcome),
    State(StateChange),
    Progress(Progress),
}

/// While the queue holds this many events, progress is not queued: it is useful only while it is new.
const MAX_BACKLOG_FOR_PROGRESS: usize = 10_000;

/// Limit on the number of queued changes of state.
const MAX_QUEUED_STATES: usize = 64;

/// How many events at the front of the queue are examined to find the subscription whose turn it is.
const MAX_TURN_SCAN: usize = 64;

/// How many publications are taken out under one lock.
const MAX_BATCH: usize = 64;

#[derive(Default)]
struct Inner {
    /// The queued events.
    entries: NumberedQueue<Entry>,
    /// The number of queued changes of state.
    states: usize,
    /// The memory of the queued publications, in bytes.
    bytes: u64,
    /// The number of publications dispatched so far: the clock of `Backlog::last_dispatched`.
    dispatch_clock: u64,
    /// The thread that is dispatching.
    dispatcher: Option<ThreadId>,
    /// Nothing is queued any more.
    closed: bool,
    descriptor: Option<Descriptor>,
}

impl Inner {
    /// Appends a change of state. At the limit, a new attempt to reconnect replaces a failed one directly before it; otherwise
    /// the oldest change of state is dropped.
    fn push_state(&mut self, change: StateChange) {
        if self.states + 1 >= MAX_QUEUED_STATES && change.state == State::Reconnecting {
            let newest = self.entries.iter().rev().map(|(number, entry)| match entry {
                Entry::State(change) => Some((number, change.state)),
                _ => None,
            });
            if let [Some((failed, State::Connecting)), Some((before, State::Reconnecting))] =
                newest.take(2).collect::<SmallVec<[_; 2]>>()[..]
            {
                self.entries.remove(failed);
                self.entries.remove(before);
                self.states -= 2;
            }
        }
        if self.states >= MAX_QUEUED_STATES {
            let is_state = |entry: &Entry| matches!(entry, Entry::State(_));
            let oldest = self.entries.iter().find(|(_, entry)| is_state(entry)).map(|(number, _)| number);
            if let Some(oldest) = oldest {
                self.entries.remove(oldest);
                self.states -= 1;
            }
        }
        self.entries.push(Entry::State(change));
        self.states += 1;
    }

    /// Removes the oldest publication of a subscription. The caller frees it without the lock.
    fn drop_oldest(&mut self, subscription: &Subscription, dropped: &mut Vec<Entry>) {
        if let Some((number, bytes)) = subscription.backlog.lock().pop() {
            self.bytes -= bytes;
            dropped.extend(self.entries.remove(number));
        }
    }

    /// Removes and returns the next event to dispatch.
    fn take(&mut self) -> Option<Entry> {
        let entry = self.entries.remove(self.next_number()?)?;
        match &entry {
            Entry::State(_) => self.states -= 1,
            Entry::Publish(subscription, _) => {
                let mut backlog = subscription.backlog.lock();
                self.dispatch_clock += 1;
                backlog.last_dispatched = self.dispatch_clock;
                // The backlog is empty if policies do not apply.
                self.bytes -= backlog.pop().map_or(0, |(_, bytes)| bytes);
            }
            Entry::Complete(..) | Entry::Progress(_) => {}
        }
        Some(entry)
    }

    /// Takes the next event, and the publications that follow it, at most `max` in all. The first event may be of any kind.
    /// The others are publications under `Policy::All`: if a callback frees the session, the rest of the batch is lost, and
    /// nothing else may be lost then. Publications under `Policy::Last` stay in the queue, where newer ones may replace them.
    fn take_batch(&mut self, max: usize, batch: &mut VecDeque<Entry>) {
        batch.extend(self.take());
        while batch.len() < max.min(MAX_BATCH)
            && let Some(Entry::Publish(subscription, _)) = self.entries.first()
            && !subscription.keeps_last()
        {
            batch.extend(self.take());
        }
    }

    /// The number of the next event to dispatch. It is the first one, with one exception: if the queue begins with publications
    /// under `Policy::Last`, the subscription that was dispatched least recently has its turn. Otherwise some subscriptions
    /// of a slow program would starve, because every new publication replaces an older one and goes to the end of the queue.
    fn next_number(&self) -> Option<u64> {
        let (first, _) = self.entries.iter().next()?;
        let candidates = self.entries.iter().take(MAX_TURN_SCAN).map_while(|(number, entry)| match entry {
            Entry::Publish(subscription, _) if subscription.keeps_last() => {
                Some((subscription.backlog.lock().last_dispatched, number))
            }
            _ => None,
        });
        Some(candidates.min().map_or(first, |(_, number)| number))
    }
}

/// The rest of a [`put`](EventQueue::put), which [`finish`](EventQueue::finish) does without the lock.
#[derive(Default)]
#[must_use]
pub struct Put {
    /// Events that arrived after the queue was closed. Calls are completed, the rest is dropped.
    late: Vec<Event>,
    /// Publications that were dropped.
    dropped: Vec<Entry>,
    /// The queue was empty before: notify the application.
    notify: bool,
}

/// The event queue.
pub struct EventQueue {
    inner: Mutex<Inner>,
    /// The number of queued events, which is read without the lock.
    backlog: AtomicUsize,
    changed: Condvar,
    callbacks: Callbacks,
    max_bytes: u64,
    wants_progress: bool,
    wants_states: bool,
    apply_policies: bool,
    /// Nothing is dispatched any more. Set under the lock, and read without it between callbacks.
    stopped: AtomicBool,
}

impl EventQueue {
    /// An empty queue for at most `max_bytes` of publications. `apply_policies`: overflow policies apply, because the
    /// application dispatches. Otherwise the I/O thread dispatches publications as soon as they arrive.
    pub fn new(callbacks: Callbacks, max_bytes: u64, apply_policies: bool) -> EventQueue {
        let wants_progress = callbacks.progress.is_set();
        // An application that dispatches may check the state whenever `dispatch` returns.
        let wants_states = apply_policies || callbacks.state.is_set();
        EventQueue {
            inner: Mutex::default(),
            backlog: AtomicUsize::new(0),
            changed: Condvar::new(),
            callbacks,
            max_bytes,
            wants_progress,
            wants_states,
            apply_policies,
            stopped: AtomicBool::new(false),
        }
    }

    /// The callbacks that belong to no call and no subscription.
    pub fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// Whether progress must be queued.
    pub fn wants_progress(&self) -> bool {
        self.wants_progress
    }

    /// Whether changes of state must be queued.
    pub fn wants_states(&self) -> bool {
        self.wants_states
    }

    /// Queues events. Runs no code of the application, so the caller may hold a lock. [`finish`](EventQueue::finish) has to
    /// follow without one.
    pub fn put(&self, events: impl Iterator<Item = Event>) -> Put {
        let mut put = Put::default();
        let mut inner = self.inner.lock();
        let was_empty = inner.entries.is_empty();
        for event in events {
            match event {
                event if inner.closed => put.late.push(event),
                Event::Complete(callback, outcome) => {
                    inner.entries.push(Entry::Complete(callback, outcome));
                }
                Event::State(change) => inner.push_state(change),
                Event::Progress(_) if inner.entries.len() >= MAX_BACKLOG_FOR_PROGRESS => {}
                Event::Progress(progress) => match inner.entries.last_mut() {
                    Some(Entry::Progress(last)) if last.transfer == progress.transfer => *last = progress,
                    _ => {
                        inner.entries.push(Entry::Progress(progress));
                    }
                },
                Event::Publish(to, outcome) => {
                    if let [subscription] = &to[..] {
                        self.publish(&mut inner, subscription, outcome, &mut put.dropped);
                        continue;
                    }
                    for subscription in to.iter() {
                        self.publish(&mut inner, subscription, outcome.clone(), &mut put.dropped);
                    }
                }
            }
        }
        put.notify = was_empty && !inner.entries.is_empty();
        self.show(&mut inner);
        put
    }

    /// Finishes a [`put`](EventQueue::put): frees what was dropped, and notifies the application of new events.
    pub fn finish(&self, put: Put) {
        let Put { late, dropped, notify } = put;
        drop(dropped);
        if notify {
            self.changed.notify_all();
            self.callbacks.wakeup.run(|wakeup| wakeup());
        }
        for event in late {
            if let Event::Complete(callback, _) = event {
                guarded(|| callback(Err(closed_error())));
            }
        }
    }

    /// Queues a publication, if the overflow policy of its subscription and the memory limit allow it.
    fn publish(&self, inner: &mut Inner, subscription: &Arc<Subscription>, outcome: Outcome, dropped: &mut Vec<Entry>) {
        let entry = |outcome| Entry::Publish(Arc::clone(subscription), outcome);
        if !self.apply_policies {
            inner.entries.push(entry(outcome));
            return;
        }
        let size = memory_size(&outcome);
        // If nothing else is queued, a single publication may exceed the limit.
        let fits = |bytes: u64| bytes == 0 || bytes + size <= self.max_bytes;
        let (queued, own_bytes) = {
            let backlog = subscription.backlog.lock();
            (backlog.len(), backlog.bytes)
        };
        let accepted = match subscription.policy {
            Policy::All(max) => queued < max && fits(inner.bytes),
            // Older publications of this subscription can be dropped to make room.
            Policy::Last(_) => fits(inner.bytes) || fits(inner.bytes - own_bytes),
        };
        if !accepted {
            subscription.count_dropped(1);
            dropped.push(entry(outcome));
            return;
        }
        if let Policy::Last(max) = subscription.policy {
            let mut kept = queued;
            while kept >= max.max(1) || kept > 0 && !fits(inner.bytes) {
                inner.drop_oldest(subscription, dropped);
                kept -= 1;
            }
            subscription.count_dropped((queued - kept) as u64);
        }
        let number = inner.entries.push(entry(outcome));
        subscription.backlog.lock().push(number, size);
        inner.bytes += size;
    }

    /// Runs the callbacks of at most `max` events, and waits for the first event until `deadline`. Returns their number.
    pub fn dispatch(&self, mut max: usize, deadline: Option<Instant>) -> Result<usize> {
        let me = this_thread();
        {
            let mut inner = self.inner.lock();
            if inner.dispatcher == Some(me) {
                return Err(Error::new(Code::Reentrant, "dispatch was called from inside a callback of dispatch"));
            }
            loop {
                if self.is_stopped() {
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
            // Leave later events to the next call, because a server may publish without end.
            max = max.min(inner.entries.len());
        }
        let (mut count, mut batch) = (0, VecDeque::new());
        while count < max && !self.is_stopped() {
            if batch.is_empty() {
                let mut inner = self.inner.lock();
                inner.take_batch(max - count, &mut batch);
                self.show(&mut inner);
            }
            let Some(entry) = batch.pop_front() else { break };
            count += 1;
            match entry {
                Entry::Publish(subscription, outcome) => {
                    // Publications in a row for one subscription enter its callback once.
                    let next = std::iter::from_fn(|| match batch.front() {
                        Some(Entry::Publish(to, _)) if Arc::ptr_eq(to, &subscription) && !self.is_stopped() => {
                            count += 1;
                            match batch.pop_front() {
                                Some(Entry::Publish(_, outcome)) => Some(outcome),
                                _ => None,
                            }
                        }
                        _ => None,
                    });
                    subscription.run(std::iter::once(outcome).chain(next));
                }
                Entry::Complete(callback, outcome) => guarded(|| callback(outcome)),
                Entry::State(change) => self.callbacks.state.run(|callback| callback(&change)),
                Entry::Progress(progress) => self.callbacks.progress.run(|callback| callback(&progress)),
            }
        }
        let more = {
            let mut inner = self.inner.lock();
            inner.dispatcher = None;
            !inner.entries.is_empty()
        };
        self.changed.notify_all();
        if self.is_stopped() {
            // An error, so that a loop around this call ends.
            return Err(closed_error());
        }
        if more {
            self.callbacks.wakeup.run(|wakeup| wakeup());
        }
        Ok(count)
    }

    /// The number of queued events.
    pub fn backlog(&self) -> usize {
        self.backlog.load(Acquire)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Acquire)
    }

    /// Updates the number that is read without the lock, and the descriptor.
    fn show(&self, inner: &mut Inner) {
        self.backlog.store(inner.entries.len(), Release);
        let raise = !inner.entries.is_empty() && !self.is_stopped();
        if let Some(descriptor) = &mut inner.descriptor {
            descriptor.set(raise);
        }
    }

    /// Removes the backlog of a subscription that ends.
    pub fn drop_backlog(&self, subscription: &Subscription) {
        // Free the publications without the lock.
        let mut dropped = Vec::new();
        let mut inner = self.inner.lock();
        while subscription.backlog.lock().len() > 0 {
            inner.drop_oldest(subscription, &mut dropped);
        }
        self.show(&mut inner);
        drop(inner);
    }

    /// Stops dispatching. Threads that wait in [`dispatch`](EventQueue::dispatch) return an error.
    pub fn stop(&self) {
        let mut inner = self.inner.lock();
        self.stopped.store(true, Release);
        self.show(&mut inner);
        self.changed.notify_all();
    }

    /// Closes the queue. Waits for another thread that is dispatching, completes the calls in the queue as closed, and removes
    /// all callbacks.
    pub fn close(&self) {
        let me = this_thread();
        let entries = {
            let mut inner = self.inner.lock();
            self.stopped.store(true, Release);
            inner.closed = true;
            self.show(&mut inner);
            self.changed.notify_all();
            while inner.dispatcher.is_some_and(|t| t != me) {
                self.changed.wait(&mut inner);
            }
            let entries = std::mem::take(&mut inner.entries);
            self.show(&mut inner);
            entries
        };
        for entry in entries.into_elements() {
            if let Entry::Complete(callback, _) = entry {
                guarded(|| callback(Err(closed_error())));
            }
        }
        self.callbacks.clear();
    }

    /// Gives access to the descriptor, which is readable while events are queued.
    pub fn with_descriptor<R>(&self, use_it: impl FnOnce(&PipeReader) -> R) -> Result<R> {
        let mut inner = self.inner.lock();
        if inner.descriptor.is_none() {
            let created = Descriptor::new();
            let created = created.map_err(|e| Error::new(Code::System, format!("no pipe for the descriptor: {e}")))?;
            inner.descriptor = Some(created);
            self.show(&mut inner);
        }
        match &inner.descriptor {
            Some(descriptor) => Ok(use_it(descriptor.reader())),
            None => Err(closed_error()),
        }
    }
}

/// The memory of an outcome in bytes, including the message of an error from the server.
fn memory_size(outcome: &Outcome) -> u64 {
    match outcome {
        Ok(document) => document.memory() as u64,
        Err(error) => (error.remote().map_or(0, |r| r.document.memory()) + 2 * error.message().len()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::subscription::Publication;
    use super::*;
    use crate::wire::document::SharedDocument;
    use crate::wire::msgpack::decode::decode;

    fn document(message: Vec<u8>) -> SharedDocument {
        SharedDocument::new(decode(message.into(), 99).unwrap())
    }

    /// Records what is dispatched.
    #[derive(Default, Clone)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl Seen {
        fn subscription(&self, name: &'static str, policy: Policy) -> Subscribers {
            let seen = Arc::clone(&self.0);
            let callback = move |p: Publication<'_>| {
                seen.lock().push(format!("{name} {}", p.outcome.as_ref().unwrap().root().as_u64().unwrap()));
            };
            [Arc::new(Subscription::new(name, policy, Arc::new(callback)))].into()
        }

        fn reply(&self, name: &'static str) -> Event {
            let seen = Arc::clone(&self.0);
            let callback = move |_| seen.lock().push(name.into());
            Event::Complete(Box::new(callback), Ok(document(vec![1])))
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock())
        }
    }

    fn publish(to: &Subscribers, n: u8) -> Event {
        Event::Publish(Arc::clone(to), Ok(document(vec![n])))
    }

    #[test]
    fn the_latest_publication_does_not_overtake_what_came_before_it() {
        let seen = Seen::default();
        let queue = EventQueue::new(Callbacks::default(), u64::MAX, true);
        let (one, two) = (seen.subscription("one", Policy::Last(1)), seen.subscription("two", Policy::Last(2)));
        let events = [
            publish(&one, 1),
            publish(&two, 1),
            seen.reply("first"),
            publish(&one, 2),
            publish(&two, 2),
            seen.reply("second"),
            publish(&two, 3),
            publish(&one, 3),
        ];
        queue.finish(queue.put(events.into_iter()));
        assert_eq!(queue.backlog(), 5);
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 5);
        // The first topic was not dispatched yet, so it has its turn.
        assert_eq!(seen.take(), ["first", "two 2", "second", "one 3", "two 3"]);
        assert_eq!((one[0].counts(), two[0].counts()), ((1, 2), (2, 1)));
        // Dispatch one event at a time.
        queue.finish(queue.put([publish(&one, 1), seen.reply("reply"), publish(&one, 2)].into_iter()));
        assert_eq!(queue.dispatch(1, None).unwrap(), 1);
        assert_eq!(seen.take(), ["reply"]);
        queue.finish(queue.put([seen.reply("reply"), publish(&one, 3)].into_iter()));
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 2);
        assert_eq!(seen.take(), ["reply", "one 3"]);
    }

    #[test]
    fn a_subscription_keeps_as_many_publications_as_its_policy_allows() {
        for (policy, kept) in [(Policy::All(2), ["a 1", "a 2"]), (Policy::Last(2), ["a 2", "a 3"])] {
            let seen = Seen::default();
            let queue = EventQueue::new(Callbacks::default(), u64::MAX, true);
            let to = seen.subscription("a", policy);
            queue.finish(queue.put((1..=3).map(|n| publish(&to, n))));
            assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 2);
            assert_eq!(seen.take(), kept);
            assert_eq!(to[0].counts(), (2, 1));
        }
    }

    #[test]
    fn a_publication_can_be_replaced_while_the_one_before_it_is_dispatched() {
        let seen = Seen::default();
        let queue = Arc::new(EventQueue::new(Callbacks::default(), u64::MAX, true));
        let latest = seen.subscription("latest", Policy::Last(1));
        let (inside, newer) = (Arc::clone(&queue), Arc::clone(&latest));
        let callback = move |_: Publication<'_>| inside.finish(inside.put([publish(&newer, 2)].into_iter()));
        let first: Subscribers = [Arc::new(Subscription::new("first", Policy::All(9), Arc::new(callback)))].into();
        queue.finish(queue.put([publish(&first, 0), publish(&latest, 1)].into_iter()));
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 2);
        assert_eq!(seen.take(), ["latest 2"]);
        queue.close();
        first[0].end();
    }

    #[test]
    fn the_backlog_of_a_subscription_that_ends_is_removed() {
        for policy in [Policy::All(100), Policy::Last(2)] {
            let seen = Seen::default();
            let queue = EventQueue::new(Callbacks::default(), u64::MAX, true);
            let raised = || {
                queue.with_descriptor(|_| ()).unwrap();
                queue.inner.lock().descriptor.as_ref().unwrap().is_raised()
            };
            let (ends, stays) = (seen.subscription("ends", policy), seen.subscription("stays", policy));
            queue.finish(queue.put((1..=3).map(|n| publish(&ends, n))));
            assert!(raised());
            queue.drop_backlog(&ends[0]);
            assert_eq!((queue.backlog(), raised()), (0, false), "{policy:?}");
            assert_eq!(queue.dispatch(usize::MAX, Some(Instant::now())).unwrap(), 0);
            // Other subscriptions keep their backlog. A publication that was received before the end is still delivered.
            queue.finish(queue.put((1..=6).map(|n| publish(if n % 3 == 0 { &stays } else { &ends }, n))));
            queue.drop_backlog(&ends[0]);
            assert_eq!(queue.backlog(), 2, "{policy:?}");
            queue.finish(queue.put([publish(&ends, 7)].into_iter()));
            assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 3);
            let mut received = seen.take();
            received.sort();
            assert_eq!(received, ["ends 7", "stays 3", "stays 6"]);
            // Many repetitions leave nothing in the queue.
            let latest = seen.subscription("latest", Policy::Last(1));
            for _ in 0..1000 {
                queue.finish(queue.put([publish(&ends, 1), publish(&latest, 2)].into_iter()));
                queue.drop_backlog(&ends[0]);
                assert_eq!(queue.inner.lock().entries.len(), 1);
            }
            queue.close();
            queue.drop_backlog(&latest[0]);
        }
    }

    #[test]
    fn a_slow_program_gets_the_latest_of_each_topic_in_turn() {
        let seen = Seen::default();
        let queue = EventQueue::new(Callbacks::default(), u64::MAX, true);
        let all = ["a", "b", "c"].map(|name| seen.subscription(name, Policy::Last(1)));
        // The server publishes on all topics while one callback runs.
        for frame in 0..9 {
            queue.finish(queue.put(all.iter().map(|to| publish(to, frame))));
            assert_eq!(queue.dispatch(1, None).unwrap(), 1);
        }
        assert_eq!(seen.take(), ["a 0", "b 1", "c 2", "a 3", "b 4", "c 5", "a 6", "b 7", "c 8"]);
        // A publication does not overtake a reply.
        queue.finish(queue.put([publish(&all[1], 10), seen.reply("reply"), publish(&all[0], 10)].into_iter()));
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 3);
        assert_eq!(seen.take(), ["b 10", "reply", "a 10"]);
    }

    #[test]
    fn publications_that_replace_each_other_without_end_take_no_memory_in_the_queue() {
        let seen = Seen::default();
        let queue = EventQueue::new(Callbacks::default(), u64::MAX, true);
        let all = ["a", "b", "c"].map(|name| seen.subscription(name, Policy::Last(1)));
        for n in 0..10_000 {
            queue.finish(queue.put(all.iter().map(|to| publish(to, (n % 100) as u8))));
            assert_eq!(queue.inner.lock().entries.len(), 3);
        }
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), 3);
        assert_eq!(seen.take(), ["a 99", "b 99", "c 99"]);
    }

    #[test]
    fn the_backlog_stays_within_the_limit_of_bytes_under_any_policy() {
        let large = |size: u16| document([&[0xc5][..], &size.to_be_bytes(), &vec![7; size.into()]].concat());
        let bound = 30_000;
        for policy in [Policy::All(100), Policy::Last(1), Policy::Last(3), Policy::Last(100)] {
            let queue = EventQueue::new(Callbacks::default(), bound, true);
            let topic = |policy| -> Subscribers { [Arc::new(Subscription::new("t", policy, Arc::new(|_| ())))].into() };
            let (to, other) = (topic(policy), topic(Policy::All(100)));
            let put = |to: &Subscribers, size| {
                queue.finish(queue.put([Event::Publish(Arc::clone(to), Ok(large(size)))].into_iter()));
                let bytes = queue.inner.lock().bytes;
                assert!(bytes <= bound, "{policy:?}: {bytes}");
            };
            // A growing publication displaces several smaller ones.
            for size in [100, 200, 5_000, 9_000, 9_500, 12_000, 20_000, 100] {
                put(&to, size);
            }
            put(&other, 12_000);
            let kept = to[0].backlog.lock().len();
            // A publication that does not fit in any case displaces nothing.
            put(&to, 29_000);
            if other[0].backlog.lock().len() > 0 {
                assert_eq!(to[0].backlog.lock().len(), kept, "{policy:?}");
            }
            let bytes = to[0].backlog.lock().bytes + other[0].backlog.lock().bytes;
            assert_eq!(queue.inner.lock().bytes, bytes, "{policy:?}");
            let expected = to[0].backlog.lock().len() + other[0].backlog.lock().len();
            assert_eq!(queue.backlog(), expected, "{policy:?}");
            assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), expected, "{policy:?}");
            assert_eq!(queue.inner.lock().bytes, 0, "{policy:?}");
        }
    }

    #[test]
    fn repeated_changes_of_state_do_not_pile_up() {
        let seen: Arc<Mutex<Vec<(State, u32)>>> = Arc::default();
        let see = Arc::clone(&seen);
        let callbacks = Callbacks::default();
        callbacks
            .state
            .set(Some(Arc::new(move |change: &StateChange| see.lock().push((change.state, change.attempt)))));
        let queue = EventQueue::new(callbacks, u64::MAX, true);
        let push = |state, attempt| {
            let change = StateChange { state, error: None, attempt, delay: std::time::Duration::ZERO };
            queue.finish(queue.put([Event::State(change)].into_iter()));
        };
        // A server that is gone: the loss, the first attempts and the last one are delivered.
        push(State::Connecting, 0);
        push(State::Ready, 0);
        push(State::Lost, 0);
        for attempt in 1..1000 {
            push(State::Reconnecting, attempt);
            push(State::Connecting, attempt);
        }
        queue.dispatch(usize::MAX, None).unwrap();
        let mut expected = vec![State::Connecting, State::Ready, State::Lost];
        expected.extend([State::Reconnecting, State::Connecting].repeat(30));
        let names = seen.lock().iter().map(|(state, _)| *state).collect::<Vec<_>>();
        assert_eq!(names[..expected.len()], expected);
        assert!(names.len() <= MAX_QUEUED_STATES, "{}", names.len());
        assert_eq!(seen.lock().last().unwrap().1, 999);
        seen.lock().clear();
        // A server that drops each connection: the latest changes are delivered, in their usual order.
        for _ in 0..1000 {
            expected = vec![State::Ready, State::Lost, State::Reconnecting, State::Connecting];
            expected.iter().for_each(|state| push(*state, 1));
        }
        assert_eq!(queue.dispatch(usize::MAX, None).unwrap(), MAX_QUEUED_STATES);
        assert_eq!(
            seen.lock().iter().map(|(state, _)| *state).collect::<Vec<_>>(),
            expected.repeat(MAX_QUEUED_STATES / 4)
        );
    }
}
