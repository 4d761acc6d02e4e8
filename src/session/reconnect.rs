//! Connecting again after a connection was lost: how often, how soon, and for how long.

use std::time::{Duration, Instant};

/// When a session connects again by itself. The application may have a say too, see
/// [`Effect::Judge`](super::core::Effect::Judge).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// So many attempts in a row, from one loss to the next ready session. `None`: without end.
    pub attempts: Option<u32>,
    /// Waited before the first attempt; doubled with every further one. What is really waited is chosen by chance
    /// between half of it and all of it, so that the clients of one server do not come back all at once.
    pub first_delay: Duration,
    /// The delay grows to this.
    pub longest_delay: Duration,
    /// No attempt begins, and none goes on, when so much time has passed since the loss. `None`: without end.
    pub total: Option<Duration>,
    /// Also if the very first connection fails, so that the server need not be up yet.
    pub at_first: bool,
}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect {
            attempts: None,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(30),
            total: None,
            at_first: false,
        }
    }
}

/// The attempts since the last time that all was well.
#[derive(Debug)]
pub(super) struct Attempts {
    made: u32,
    since: Option<Instant>,
    random: u64,
}

impl Attempts {
    /// None yet; `seed` should differ between clients.
    pub fn new(seed: u64) -> Attempts {
        // Zero would stay zero.
        Attempts { made: 0, since: None, random: seed | 1 }
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.made = 0;
        self.since = None;
    }

    /// How many were made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Something failed: the number of the next attempt and how long to wait before it, unless enough was tried.
    pub fn next(&mut self, now: Instant, policy: &Reconnect) -> Option<(u32, Duration)> {
        let since = *self.since.get_or_insert(now);
        if policy.attempts.is_some_and(|most| self.made >= most) {
            return None;
        }
        let doubled = policy.first_delay.saturating_mul(1u32.checked_shl(self.made).unwrap_or(u32::MAX));
        let delay = self.between_half_and_all(doubled.min(policy.longest_delay));
        let begin = now.checked_add(delay)?;
        if policy.total.is_some_and(|total| begin.saturating_duration_since(since) >= total) {
            return None;
        }
        self.made += 1;
        Some((self.made, delay))
    }

    /// When attempts end for good.
    pub fn deadline(&self, policy: &Reconnect) -> Option<Instant> {
        self.since?.checked_add(policy.total?)
    }

    fn between_half_and_all(&mut self, delay: Duration) -> Duration {
        // xorshift64*: it only has to differ between clients.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let share = (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as u32; // 24 bit
        let half = delay / 2;
        half + Duration::from_nanos((half.as_nanos() as u64 >> 24).saturating_mul(share.into())).min(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_longest_and_vary() {
        let policy = Reconnect { first_delay: SECOND, longest_delay: 5 * SECOND, ..Reconnect::default() };
        let now = Instant::now();
        for seed in 1..100 {
            let mut attempts = Attempts::new(seed);
            for (number, all) in [1, 2, 4, 5, 5].into_iter().enumerate() {
                let (n, delay) = attempts.next(now, &policy).unwrap();
                assert_eq!(n as usize, number + 1);
                assert!(delay >= all * SECOND / 2 && delay <= all * SECOND, "{delay:?} for {all} s");
            }
        }
        let first = |seed| Attempts::new(seed).next(now, &policy).unwrap().1;
        assert_ne!(first(1), first(3));
    }

    #[test]
    fn attempts_and_time_are_bounded_and_begin_anew() {
        let policy = Reconnect { attempts: Some(2), ..Reconnect::default() };
        let now = Instant::now();
        let mut attempts = Attempts::new(7);
        assert!(attempts.next(now, &policy).is_some() && attempts.next(now, &policy).is_some());
        assert_eq!(attempts.next(now, &policy), None);
        attempts.reset();
        assert_eq!(attempts.next(now, &policy).unwrap().0, 1);

        let policy = Reconnect { total: Some(10 * SECOND), first_delay: 4 * SECOND, ..Reconnect::default() };
        let mut attempts = Attempts::new(7);
        assert!(attempts.next(now, &policy).is_some());
        assert_eq!(attempts.deadline(&policy), Some(now + 10 * SECOND));
        assert_eq!(attempts.next(now + 8 * SECOND, &policy), None, "it would begin too late");
    }

    #[test]
    fn numbers_beyond_all_bounds_end_nothing() {
        let policy =
            Reconnect { first_delay: Duration::MAX, longest_delay: Duration::from_secs(1), ..Reconnect::default() };
        let mut attempts = Attempts::new(u64::MAX);
        attempts.made = u32::MAX - 1;
        assert!(attempts.next(Instant::now(), &policy).unwrap().1 <= SECOND);
        let policy = Reconnect { longest_delay: Duration::MAX, ..policy };
        assert_eq!(Attempts::new(1).next(Instant::now(), &policy), None, "a time that clocks do not know");
    }
}
