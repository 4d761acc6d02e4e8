//! Where the publications of one subscription wait: in order, some of them decoded.

use super::delivery::{Outcome, Policy};
use crate::wire::undecoded::Undecoded;
use std::collections::VecDeque;

/// So many publications at most leave a room together: what is on its way to the callback waits no more, and does not count
/// as such.
pub const TOGETHER: usize = 512;

/// So many parts at most: decoded ones take more memory.
const PARTS_TOGETHER: usize = 64;

/// The room.
#[derive(Default)]
pub struct Room {
    parts: VecDeque<Part>,
    len: usize,
}

/// Publications that wait one behind the other.
pub enum Part {
    /// One that is decoded.
    Decoded(Outcome),
    /// Some that are not.
    Undecoded(Undecoded),
    /// None (any more).
    Nothing,
}

impl Part {
    /// How many publications it is.
    pub fn len(&self) -> usize {
        match self {
            Part::Decoded(_) => 1,
            Part::Undecoded(messages) => messages.len(),
            Part::Nothing => 0,
        }
    }

    /// How much memory they take.
    pub fn memory(&self) -> u64 {
        match self {
            Part::Decoded(outcome) => memory(outcome),
            Part::Undecoded(messages) => messages.memory() as u64,
            Part::Nothing => 0,
        }
    }

    /// How much memory the first of them takes, if there is any.
    pub fn memory_of_first(&self) -> Option<u64> {
        match self {
            Part::Undecoded(messages) if messages.len() > 1 => Some(messages.memory_of_first() as u64),
            part => (part.len() > 0).then(|| part.memory()),
        }
    }

    /// Drops the first of them; what is to be freed is put in `dropped`.
    pub fn drop_first(&mut self, dropped: &mut Vec<Outcome>) {
        match self {
            Part::Undecoded(messages) => messages.drop_first(),
            Part::Decoded(_) | Part::Nothing => {
                if let Part::Decoded(outcome) = std::mem::replace(self, Part::Nothing) {
                    dropped.push(outcome);
                }
            }
        }
    }
}

/// What becomes of a publication that comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It waits.
    Waits,
    /// It is dropped.
    Dropped,
    /// It waits, and the one that has waited longest is dropped for it.
    TakesTurn,
}

impl Room {
    /// How many publications wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How much memory they take.
    pub fn memory(&self) -> u64 {
        self.parts.iter().map(Part::memory).sum()
    }

    /// What becomes of the next publication. `full`: there is no memory for one more.
    pub fn admit(&self, policy: Policy, full: bool) -> Admission {
        match policy {
            Policy::All(most) if full || self.len >= most => Admission::Dropped,
            Policy::Last(_) if full && self.len == 0 => Admission::Dropped,
            Policy::Last(most) if full || self.len >= most.max(1) => Admission::TakesTurn,
            _ => Admission::Waits,
        }
    }

    /// Publications come in.
    pub fn push(&mut self, part: Part) {
        self.len += part.len();
        self.parts.push_back(part);
    }

    /// The first of several comes in.
    pub fn push_first(&mut self, part: &mut Part) {
        self.len += 1;
        let first = match (part, self.parts.back_mut()) {
            (Part::Undecoded(messages), Some(Part::Undecoded(last)))
                if last.is_like(messages) && last.len() < TOGETHER =>
            {
                return messages.move_first(last);
            }
            (Part::Undecoded(messages), _) => {
                let mut first = messages.empty_like();
                messages.move_first(&mut first);
                Part::Undecoded(first)
            }
            (part, _) => std::mem::replace(part, Part::Nothing),
        };
        self.parts.push_back(first);
    }

    /// The one that has waited longest is dropped; what is to be freed is put in `dropped`. Returns how much memory it took.
    pub fn drop_first(&mut self, dropped: &mut Vec<Outcome>) -> u64 {
        let Some(part) = self.parts.front_mut() else { return 0 };
        let freed = part.memory_of_first().unwrap_or(0);
        part.drop_first(dropped);
        if part.len() == 0 {
            self.parts.pop_front();
        }
        self.len -= 1;
        freed
    }

    /// Takes some out: at least one, if there is any, and at most so many. `empty` is memory for undecoded ones. Returns how
    /// many these are.
    pub fn take(&mut self, most: usize, empty: &mut Option<Undecoded>, to: &mut Vec<Part>) -> usize {
        let (together, mut taken) = (most.min(TOGETHER), 0);
        while taken < together && to.len() < PARTS_TOGETHER {
            match self.parts.front_mut() {
                // It is only divided where it has to be.
                Some(part) if taken > 0 && part.len() > together - taken && part.len() <= most - taken => break,
                Some(Part::Undecoded(messages)) if messages.len() > together - taken => {
                    let empty = empty.take().filter(|empty| empty.is_like(messages));
                    let mut first = empty.unwrap_or_else(|| messages.empty_like());
                    (taken..together).for_each(|_| messages.move_first(&mut first));
                    taken = together;
                    to.push(Part::Undecoded(first));
                }
                _ => {
                    let Some(part) = self.parts.pop_front() else { break };
                    taken += part.len();
                    to.push(part);
                }
            }
        }
        self.len -= taken;
        taken
    }
}

/// What an outcome holds, the message that brought an error included.
pub fn memory(outcome: &Outcome) -> u64 {
    match outcome {
        Ok(document) => document.memory() as u64,
        Err(error) => (error.remote().map_or(0, |r| r.document.memory()) + 2 * error.message().len()) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::delivery::{Callbacks, Event, EventQueue, Publication, Subscribers, Subscription};
    use super::*;
    use crate::session::inbound::{Inbound, Received};
    use crate::session::topics::Topics;
    use crate::wire::buffer::BufferPool;
    use crate::wire::limits::Limits;
    use crate::wire::msgpack::encode::Encode;
    use crate::wire::{Protocol, chunks};
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// A queue with one subscription, which notes the numbers that it is given; "nothing" is what cannot be decoded.
    struct Delivery {
        inbound: Inbound<Arc<Subscription>>,
        queue: EventQueue,
        to: Subscribers,
        seen: Arc<Mutex<Vec<String>>>,
        /// Publications of several forms arrive.
        mixed: bool,
    }

    impl Delivery {
        fn new(policy: Policy, most_bytes: u64, leave_undecoded: bool) -> Delivery {
            let seen: Arc<Mutex<Vec<String>>> = Arc::default();
            let see = Arc::clone(&seen);
            let callback = move |p: Publication<'_>| {
                let shown = p.outcome.as_ref().map(|d| format!("{:?}", crate::wire::envelope::result(d)));
                see.lock().push(shown.unwrap_or_else(|_| "nothing".into()));
            };
            let subscription = Arc::new(Subscription::new("t", policy, Arc::new(callback)));
            let mut topics = Topics::default();
            topics.subscribe("t", Arc::clone(&subscription));
            let mut inbound = Inbound::new(Limits::default(), BufferPool::new(0));
            inbound.set_protocol(Some(Protocol::V2));
            inbound.set_topics(topics.snapshot());
            if leave_undecoded {
                inbound.leave_undecoded();
            }
            let to = Arc::new([subscription]);
            Delivery { inbound, queue: EventQueue::new(Callbacks::default(), most_bytes, true), to, seen, mixed: false }
        }

        /// Publications arrive together. `None` is a malformed one. Returns how many of them are left undecoded.
        fn arrive(&mut self, results: impl Iterator<Item = Option<u64>>) -> usize {
            let mut undecoded = 0;
            for result in results {
                let mut message = vec![0x83];
                // Now and then one of another form, which is decoded at once, and so is one that is large.
                let id = if self.mixed && result.is_some_and(|number| number % 11 == 3) {
                    "publish:t:10"
                } else {
                    "publish:t:0"
                };
                for text in ["wslink", "1.0", "id", id, "result"] {
                    message.str(text);
                }
                match result {
                    Some(number) if self.mixed && number % 17 == 5 => message.str(&format!("{number:01100}")),
                    Some(number) => message.uint(number),
                    None => message.push(0xc1),
                }
                let head = chunks::ChunkHeader { id: 1, offset: 0, total: message.len() as u32 }.to_bytes();
                match self.inbound.whole(false, &[&head, &message[..]].concat()).unwrap().unwrap().unwrap() {
                    Received::Undecoded { to } => {
                        undecoded += 1;
                        self.inbound.take_back(to);
                    }
                    Received::Publication { to, outcome } => {
                        self.put_undecoded();
                        self.put(Event::Publish(to, [outcome].into_iter().collect()));
                    }
                    Received::Reply { .. } => unreachable!(),
                }
            }
            self.put_undecoded();
            undecoded
        }

        fn put_undecoded(&mut self) {
            if let Some(messages) = self.inbound.take_undecoded() {
                self.put(Event::PublishUndecoded(Arc::clone(&self.to[0]), messages));
            }
        }

        fn put(&self, event: Event) {
            self.queue.finish(self.queue.put([event].into_iter()));
        }

        fn dispatch(&self, most: usize) -> usize {
            self.queue.dispatch(most, Some(std::time::Instant::now())).unwrap()
        }
    }

    /// Numbers that look random.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    #[test]
    fn publications_that_are_left_undecoded_are_treated_as_those_that_are_decoded_at_once() {
        for policy in
            [Policy::All(0), Policy::All(1), Policy::All(100), Policy::Last(0), Policy::Last(1), Policy::Last(7)]
        {
            for seed in 0..50 {
                let mut chance = Chance(seed);
                let (mut at_once, mut later) =
                    (Delivery::new(policy, u64::MAX, false), Delivery::new(policy, u64::MAX, true));
                (at_once.mixed, later.mixed) = (true, true);
                let (mut number, mut undecoded) = (0, 0);
                for _ in 0..40 {
                    match chance.below(3) {
                        0 => {
                            let most = 1 + chance.below(30) as usize;
                            assert_eq!(at_once.dispatch(most), later.dispatch(most), "{policy:?}, seed {seed}");
                        }
                        _ => {
                            let results: Vec<Option<u64>> = (0..chance.below(60))
                                .map(|_| {
                                    number += 1;
                                    (chance.below(20) > 0).then_some(number)
                                })
                                .collect();
                            at_once.arrive(results.iter().copied());
                            undecoded += later.arrive(results.iter().copied());
                        }
                    }
                    assert_eq!(*at_once.seen.lock(), *later.seen.lock(), "{policy:?}, seed {seed}");
                    assert_eq!(at_once.queue.waiting(), later.queue.waiting());
                    let (delivered, dropped) = later.to[0].counts();
                    assert_eq!(delivered + dropped + later.queue.waiting() as u64, number, "{policy:?}, seed {seed}");
                    let (Policy::All(most) | Policy::Last(most)) = policy;
                    assert!(later.queue.waiting() <= most.max(usize::from(policy == Policy::Last(0))));
                    assert_eq!(at_once.to[0].counts(), later.to[0].counts(), "{policy:?}, seed {seed}");
                }
                assert!(undecoded > number as usize / 2, "{undecoded} of {number}");
                let malformed = later.seen.lock().iter().filter(|shown| *shown == "nothing").count() as u64;
                let noted = later.queue.malformed().count() + later.inbound.take_dropped().malformed;
                // What is dropped undecoded does not count.
                assert!((malformed..=at_once.inbound.take_dropped().malformed).contains(&noted), "{noted}");
            }
        }
    }

    #[test]
    fn few_leave_the_room_at_once_and_those_that_leave_take_little_memory() {
        let mut delivery = Delivery::new(Policy::default(), u64::MAX, true);
        delivery.arrive((0..2).map(Some));
        assert_eq!(delivery.arrive((0..2000).map(Some)), 2000);
        delivery.dispatch(2);
        let (mut room, mut parts) = (std::mem::take(&mut *delivery.to[0].waiting.lock()), Vec::new());
        assert_eq!((room.len(), room.take(usize::MAX, &mut None, &mut parts)), (2000, TOGETHER));
        // After many came few, which do not wait in memory for many.
        assert_eq!(delivery.arrive([Some(1)].into_iter()), 1);
        let Some(Part::Undecoded(one)) = delivery.to[0].waiting.lock().parts.pop_front() else { panic!() };
        assert!(one.capacity() < 100, "{}", one.capacity());
    }

    #[test]
    fn what_waits_undecoded_counts_for_the_bound_and_no_longer_when_it_is_gone() {
        for policy in [Policy::All(1000), Policy::Last(1000)] {
            // Two of them teach what the others have in common.
            let mut delivery = Delivery::new(policy, 4000, true);
            delivery.arrive((0..2).map(Some));
            delivery.dispatch(9);
            for round in 0..3 {
                assert_eq!(delivery.arrive((0..500).map(Some)), 500);
                let waiting = delivery.queue.waiting();
                // A message takes about 40 bytes.
                assert!((80..120).contains(&waiting), "{policy:?}: {waiting}");
                delivery.seen.lock().clear();
                assert_eq!(delivery.dispatch(usize::MAX), waiting);
                let (first, last) = match policy {
                    Policy::All(_) => (0, waiting - 1),
                    Policy::Last(_) => (500 - waiting, 499),
                };
                let seen = delivery.seen.lock();
                assert!(
                    seen[0].contains(&first.to_string()) && seen[waiting - 1].contains(&last.to_string()),
                    "{seen:?}"
                );
                let (delivered, dropped) = delivery.to[0].counts();
                assert_eq!(
                    (delivered + dropped, dropped),
                    (2 + 500 * (round + 1), (500 - waiting as u64) * (round + 1))
                );
            }
            // One that ends gives all of it back.
            delivery.arrive((0..500).map(Some));
            delivery.queue.forget(&delivery.to[0]);
            let seen = delivery.seen.lock().len();
            delivery.dispatch(usize::MAX);
            assert_eq!(delivery.seen.lock().len(), seen);
            assert_eq!((delivery.arrive((0..10).map(Some)), delivery.queue.waiting()), (10, 10));
        }
    }
}
