//! Reconnecting after a connection was lost: number of attempts, backoff, time limit.

use std::time::{Duration, Instant};

/// When a session reconnects automatically. The application may also decide about each failure, see
/// [`Config::set_reconnect_filter`](crate::io::config::Config::set_reconnect_filter).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// Maximum number of attempts in a row. `None`: no limit. The count restarts after a connection that was ready for
    /// ten seconds (or for `longest_delay` or `total`, if that is shorter). So a server that drops every connection right
    /// after the hello uses the attempts up.
    pub attempts: Option<u32>,
    /// The delay before the first attempt. It doubles with every further attempt. The actual delay is random, between half
    /// of it and all of it, so that the clients of one server do not reconnect all at once.
    pub first_delay: Duration,
    /// Upper bound of the delay. A `Retry-After` of the server may exceed it.
    pub longest_delay: Duration,
    /// Time limit from the loss of the connection; it also ends an attempt that is in progress. After several losses it
    /// counts from the first one, until a connection lasts as described for `attempts`. `None`: no limit.
    pub total: Option<Duration>,
    /// Also retry the very first connection, so that the server need not be up yet.
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

/// A connection that was ready for this long counts as stable.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The longest delay of an attempt that a server may ask for with `Retry-After`.
const MAX_DELAY_BY_SERVER: Duration = Duration::from_secs(3600);

/// The attempts since the last stable connection.
#[derive(Debug)]
pub(super) struct Attempts {
    made: u32,
    /// The time of the first failure.
    since: Option<Instant>,
    /// When the current connection became ready.
    ready: Option<Instant>,
    random: u64,
}

impl Attempts {
    /// No attempts yet. `seed` should differ between clients.
    pub fn new(seed: u64) -> Attempts {
        // The generator would never leave a state of zero.
        Attempts { made: 0, since: None, ready: None, random: seed | 1 }
    }

    /// Restarts the count and the time limit.
    pub fn reset(&mut self) {
        self.made = 0;
        self.since = None;
        self.ready = None;
    }

    /// A connection is ready.
    pub fn ready(&mut self, now: Instant) {
        self.ready = Some(now);
    }

    /// A connection is lost. If it was stable, its loss counts as the first failure.
    pub fn lost(&mut self, now: Instant, policy: &Reconnect) {
        let stable_after = STABLE_AFTER.min(policy.longest_delay).min(policy.total.unwrap_or(STABLE_AFTER));
        if self.ready.take().is_some_and(|ready| now.saturating_duration_since(ready) >= stable_after) {
            self.reset();
        }
    }

    /// The number of attempts made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// An attempt or a connection failed. Returns the number of the next attempt and the delay before it; `None` if no
    /// attempt is left. `retry_after`: the shortest delay that the server asks for.
    pub fn next(&mut self, now: Instant, policy: &Reconnect, retry_after: Option<Duration>) -> Option<(u32, Duration)> {
        let since = *self.since.get_or_insert(now);
        if policy.attempts.is_some_and(|max| self.made >= max) {
            return None;
        }
        let backoff = policy.first_delay.saturating_mul(1u32.checked_shl(self.made).unwrap_or(u32::MAX));
        let delay = self.jittered(backoff.min(policy.longest_delay));
        let delay = delay.max(retry_after.unwrap_or_default().min(MAX_DELAY_BY_SERVER));
        let begin = now.checked_add(delay)?;
        if policy.total.is_some_and(|total| begin.saturating_duration_since(since) >= total) {
            return None;
        }
        self.made += 1;
        Some((self.made, delay))
    }

    /// When the time limit for reconnecting is reached.
    pub fn deadline(&self, policy: &Reconnect) -> Option<Instant> {
        self.since?.checked_add(policy.total?)
    }

    /// A random delay between half of `delay` and all of it.
    fn jittered(&mut self, delay: Duration) -> Duration {
        // xorshift64*: the numbers need not be secret, only differ between clients.
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
                let (n, delay) = attempts.next(now, &policy, None).unwrap();
                assert_eq!(n as usize, number + 1);
                assert!(delay >= all * SECOND / 2 && delay <= all * SECOND, "{delay:?} for {all} s");
            }
        }
        let first = |seed| Attempts::new(seed).next(now, &policy, None).unwrap().1;
        assert_ne!(first(1), first(3));
    }

    #[test]
    fn attempts_and_time_are_bounded_and_can_be_reset() {
        let policy = Reconnect { attempts: Some(2), ..Reconnect::default() };
        let now = Instant::now();
        let mut attempts = Attempts::new(7);
        assert!(attempts.next(now, &policy, None).is_some() && attempts.next(now, &policy, None).is_some());
        assert_eq!(attempts.next(now, &policy, None), None);
        attempts.reset();
        assert_eq!(attempts.next(now, &policy, None).unwrap().0, 1);

        let policy = Reconnect { total: Some(10 * SECOND), first_delay: 4 * SECOND, ..Reconnect::default() };
        let mut attempts = Attempts::new(7);
        assert!(attempts.next(now, &policy, None).is_some());
        assert_eq!(attempts.deadline(&policy), Some(now + 10 * SECOND));
        assert_eq!(attempts.next(now + 8 * SECOND, &policy, None), None, "it would begin too late");
    }

    #[test]
    fn only_a_stable_connection_restarts_the_count() {
        let now = Instant::now();
        let policy = Reconnect { attempts: Some(2), total: Some(60 * SECOND), ..Reconnect::default() };
        let cases = [(SECOND, 30 * SECOND), (9 * SECOND, 30 * SECOND), (SECOND, 2 * SECOND)];
        for (lived, longest_delay) in cases {
            let policy = Reconnect { longest_delay, ..policy };
            let mut attempts = Attempts::new(7);
            for number in 1..=2 {
                assert_eq!(attempts.next(now, &policy, None).unwrap().0, number);
                attempts.ready(now);
                attempts.lost(now + lived, &policy);
            }
            assert_eq!(attempts.next(now, &policy, None), None, "lived {lived:?}");
            assert_eq!(attempts.deadline(&policy), Some(now + 60 * SECOND), "since the first loss");
        }
        for (lived, policy) in [
            (10 * SECOND, policy),
            (SECOND, Reconnect { longest_delay: SECOND, ..policy }),
            (SECOND, Reconnect { total: Some(SECOND), ..policy }),
        ] {
            let mut attempts = Attempts::new(7);
            attempts.next(now, &Reconnect::default(), None);
            attempts.ready(now);
            attempts.lost(now + lived, &policy);
            assert_eq!((attempts.made(), attempts.deadline(&policy)), (0, None), "lived {lived:?}");
        }
    }

    #[test]
    fn a_server_that_asks_to_wait_is_obeyed_within_reason() {
        let now = Instant::now();
        let policy = Reconnect { first_delay: SECOND, longest_delay: SECOND, ..Reconnect::default() };
        let wait = |asked| Attempts::new(7).next(now, &policy, Some(asked)).unwrap().1;
        assert_eq!(wait(120 * SECOND), 120 * SECOND);
        assert_eq!(wait(Duration::MAX), MAX_DELAY_BY_SERVER);
        assert!((SECOND / 2..=SECOND).contains(&wait(Duration::ZERO)), "not sooner than the policy says");
        let policy = Reconnect { total: Some(60 * SECOND), ..policy };
        assert_eq!(Attempts::new(7).next(now, &policy, Some(120 * SECOND)), None, "it would begin too late");
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let policy =
            Reconnect { first_delay: Duration::MAX, longest_delay: Duration::from_secs(1), ..Reconnect::default() };
        let mut attempts = Attempts::new(u64::MAX);
        attempts.made = u32::MAX - 1;
        assert!(attempts.next(Instant::now(), &policy, None).unwrap().1 <= SECOND);
        let policy = Reconnect { longest_delay: Duration::MAX, ..policy };
        assert_eq!(
            Attempts::new(1).next(Instant::now(), &policy, None),
            None,
            "a time that the clock cannot represent"
        );
    }
}
