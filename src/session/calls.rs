//! Calls in flight: each has a completion that is used exactly once.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// The number of a call, which is the last component of its message id. Never reused within a session.
pub type CallId = u64;

/// What a reply answers, according to its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyId {
    /// The number of a call, made on any connection of this session. The call may have ended already.
    Call(CallId),
    /// Any other id: that of a system message, or an unknown one.
    Other(String),
}

impl From<String> for ReplyId {
    fn from(id: String) -> ReplyId {
        ReplyId::Other(id)
    }
}

impl ReplyId {
    /// The call that a message id stands for. `prefix`: what the message ids of this session's calls begin with.
    #[inline]
    pub fn call(id: &[u8], prefix: &[u8]) -> Option<CallId> {
        ReplyId::number(id.strip_prefix(prefix)?)
    }

    /// Parses the number of a call.
    #[inline]
    pub fn number(digits: &[u8]) -> Option<CallId> {
        // 19 digits cannot overflow.
        if digits.is_empty() || digits.len() > 19 {
            return None;
        }
        digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + CallId::from(digit - b'0')))
    }
}

/// The calls in flight. `C` receives the outcome of a call.
#[derive(Debug)]
pub struct Calls<C> {
    in_flight: HashMap<CallId, InFlight<C>, BuildHasherDefault<IdHasher>>,
    deadlines: BTreeSet<(Instant, CallId)>,
    next: CallId,
    first: CallId,
}

/// Hashes call ids. The client numbers its calls itself, so a server cannot force collisions.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }

    fn write_u64(&mut self, id: u64) {
        // The hash table uses the upper bits, too.
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The deadline of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The time at which it passes.
    pub at: Instant,
    /// The time from the beginning of the call to the deadline, for error texts.
    pub timeout: Duration,
}

impl Deadline {
    /// The deadline `timeout` after `now`. `None`: no deadline, also if the clock cannot represent it.
    pub fn after(now: Instant, timeout: Option<Duration>) -> Option<Deadline> {
        let timeout = timeout?;
        Some(Deadline { at: now.checked_add(timeout)?, timeout })
    }
}

/// A call whose deadline has passed.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired<C> {
    /// The id of the call.
    pub id: CallId,
    /// Receives the outcome.
    pub completion: C,
    /// The method.
    pub method: Box<str>,
    /// The timeout of the call.
    pub timeout: Duration,
}

#[derive(Debug)]
struct InFlight<C> {
    completion: C,
    /// For error texts.
    method: Box<str>,
    deadline: Option<Deadline>,
}

impl<C> Calls<C> {
    /// Numbers begin at `first`. It should be random: a relay gives successive clients the same client id, and a late
    /// reply to an earlier client must not match a call of this one.
    pub fn new(first: CallId) -> Calls<C> {
        Calls { in_flight: HashMap::default(), deadlines: BTreeSet::new(), next: first, first }
    }

    /// Begins a call.
    pub fn begin(&mut self, completion: C, method: &str, deadline: Option<Deadline>) -> CallId {
        let id = self.next;
        self.next += 1;
        self.in_flight.insert(id, InFlight { completion, method: method.into(), deadline });
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline.at, id));
        }
        id
    }

    /// Ends a call and returns its completion; `None` if the call is not in flight.
    pub fn end(&mut self, id: CallId) -> Option<C> {
        self.take(id).map(|call| call.completion)
    }

    fn take(&mut self, id: CallId) -> Option<InFlight<C>> {
        let call = self.in_flight.remove(&id)?;
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline.at, id));
        }
        Some(call)
    }

    /// Replaces the deadline of a call, if it is in flight.
    pub fn set_deadline(&mut self, id: CallId, deadline: Deadline) {
        if let Some(call) = self.in_flight.get_mut(&id) {
            if let Some(before) = call.deadline.replace(deadline) {
                self.deadlines.remove(&(before.at, id));
            }
            self.deadlines.insert((deadline.at, id));
        }
    }

    /// Whether a call is in flight.
    pub fn is_in_flight(&self, id: CallId) -> bool {
        self.in_flight.contains_key(&id)
    }

    /// The method of a call in flight.
    pub fn method(&self, id: CallId) -> Option<&str> {
        self.in_flight.get(&id).map(|call| &*call.method)
    }

    /// Whether a call with this id was ever begun.
    pub fn was_begun(&self, id: CallId) -> bool {
        (self.first..self.next).contains(&id)
    }

    /// Removes and returns the calls whose deadline has passed.
    pub fn expired(&mut self, now: Instant) -> Vec<Expired<C>> {
        let mut calls = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            calls.extend(self.take(id).and_then(|call| {
                let timeout = call.deadline?.timeout;
                Some(Expired { id, completion: call.completion, method: call.method, timeout })
            }));
        }
        calls
    }

    /// Removes and returns all calls, in the order in which they were begun.
    pub fn drain(&mut self) -> Vec<(CallId, C)> {
        self.deadlines.clear();
        let mut calls: Vec<_> = self.in_flight.drain().map(|(id, call)| (id, call.completion)).collect();
        calls.sort_unstable_by_key(|(id, _)| *id);
        calls
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many calls are in flight.
    pub fn len(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether no call is in flight.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_call_ends_once() {
        let now = Instant::now();
        let within = |seconds| Deadline::after(now, Some(Duration::from_secs(seconds)));
        let mut calls = Calls::new(100);
        let a = calls.begin("a", "m", None);
        let b = calls.begin("b", "m.b", within(2));
        let c = calls.begin("c", "m", within(1));
        assert_eq!(calls.next_deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(calls.end(c), Some("c"));
        assert_eq!(calls.end(c), None);
        assert!(calls.expired(now + Duration::from_secs(1)).is_empty());
        let expired = Expired { id: b, completion: "b", method: "m.b".into(), timeout: Duration::from_secs(2) };
        assert_eq!(calls.expired(now + Duration::from_secs(2)), [expired]);
        assert_eq!(calls.end(b), None);
        assert!(calls.was_begun(a) && calls.was_begun(c) && !calls.was_begun(99) && !calls.was_begun(103));
        let d = calls.begin("d", "m", within(9));
        assert!(calls.is_in_flight(d) && !calls.is_in_flight(b));
        calls.set_deadline(d, within(3).unwrap());
        assert_eq!(calls.next_deadline(), Some(now + Duration::from_secs(3)));
        assert_eq!(calls.drain(), [(a, "a"), (d, "d")]);
        assert!(calls.is_empty() && calls.next_deadline().is_none());
    }
}
