//! Calls in flight: each has a completion that is used exactly once.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

/// The number of a call: the last component of its message id. Never used twice in a session.
pub type CallId = u64;

/// What a reply says it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyId {
    /// A call of this session, perhaps on an earlier connection: its number is never used twice.
    Call(CallId),
    /// Anything else: a system message, or what this session never asked.
    Other(String),
}

impl From<String> for ReplyId {
    fn from(id: String) -> ReplyId {
        ReplyId::Other(id)
    }
}

impl ReplyId {
    /// The call that an id stands for, if the ids of calls begin with `prefix`.
    #[inline]
    pub fn call(id: &[u8], prefix: &[u8]) -> Option<CallId> {
        ReplyId::number(id.strip_prefix(prefix)?)
    }

    /// The call with this number.
    #[inline]
    pub fn number(digits: &[u8]) -> Option<CallId> {
        // 19 digits are always in the range.
        if digits.is_empty() || digits.len() > 19 {
            return None;
        }
        digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + CallId::from(digit - b'0')))
    }
}

/// The calls that wait for a reply. `C` is whatever receives the outcome.
#[derive(Debug)]
pub struct Calls<C> {
    waiting: HashMap<CallId, Waiting<C>, BuildHasherDefault<IdHasher>>,
    deadlines: BTreeSet<(Instant, CallId)>,
    next: CallId,
    first: CallId,
}

/// Hashes the ids of calls. They are numbers of our own choice, one after the other, so that nobody can
/// make them collide.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }

    fn write_u64(&mut self, id: u64) {
        // The table looks at the upper bits too.
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
struct Waiting<C> {
    completion: C,
    deadline: Option<Instant>,
}

impl<C> Calls<C> {
    /// Numbers begin at `first`, which should be random: a relay gives successive clients the same
    /// client id, and a late reply meant for another one must not match.
    pub fn new(first: CallId) -> Calls<C> {
        Calls { waiting: HashMap::default(), deadlines: BTreeSet::new(), next: first, first }
    }

    /// The id that the next call gets.
    pub fn next_id(&self) -> CallId {
        self.next
    }

    /// Begins a call.
    pub fn begin(&mut self, completion: C, deadline: Option<Instant>) -> CallId {
        let id = self.next;
        self.next += 1;
        self.waiting.insert(id, Waiting { completion, deadline });
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        id
    }

    /// Ends a call: its completion, if the call was still waiting.
    pub fn end(&mut self, id: CallId) -> Option<C> {
        let call = self.waiting.remove(&id)?;
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        Some(call.completion)
    }

    /// Whether a call with this id was ever begun.
    pub fn was_begun(&self, id: CallId) -> bool {
        (self.first..self.next).contains(&id)
    }

    /// The calls whose deadline has passed.
    pub fn expired(&mut self, now: Instant) -> Vec<C> {
        let mut completions = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            completions.extend(self.end(id));
        }
        completions
    }

    /// All calls, in the order in which they were begun.
    pub fn drain(&mut self) -> Vec<C> {
        self.deadlines.clear();
        let mut calls: Vec<_> = self.waiting.drain().collect();
        calls.sort_unstable_by_key(|(id, _)| *id);
        calls.into_iter().map(|(_, call)| call.completion).collect()
    }

    /// When the next deadline passes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many calls wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no call waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_call_ends_once() {
        let now = Instant::now();
        let mut calls = Calls::new(100);
        let a = calls.begin("a", None);
        let b = calls.begin("b", Some(now + Duration::from_secs(2)));
        let c = calls.begin("c", Some(now + Duration::from_secs(1)));
        assert_eq!(calls.next_deadline(), Some(now + Duration::from_secs(1)));
        assert_eq!(calls.end(c), Some("c"));
        assert_eq!(calls.end(c), None);
        assert!(calls.expired(now + Duration::from_secs(1)).is_empty());
        assert_eq!(calls.expired(now + Duration::from_secs(2)), ["b"]);
        assert_eq!(calls.end(b), None);
        assert!(calls.was_begun(a) && calls.was_begun(c) && !calls.was_begun(99) && !calls.was_begun(103));
        calls.begin("d", Some(now));
        assert_eq!(calls.drain(), ["a", "d"]);
        assert!(calls.is_empty() && calls.next_deadline().is_none());
    }
}
