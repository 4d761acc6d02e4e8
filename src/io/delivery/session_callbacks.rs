//! The callbacks of a session that belong to no call and no subscription.

use super::callback::Slot;
use crate::error::Error;
use crate::io::config::{ProgressCallback, ReconnectFilter, StateCallback, WakeupCallback};
use crate::io::connect::attempt::{Attempt, AttemptCallback, is_refusal};

/// One slot for each of these callbacks.
#[derive(Default)]
pub struct Callbacks {
    /// Called after a change of state.
    pub state: Slot<StateCallback>,
    /// Called with the progress of large messages.
    pub progress: Slot<ProgressCallback>,
    /// Called when there are events to dispatch.
    pub wakeup: Slot<WakeupCallback>,
    /// Decides whether a failure is worth another attempt to connect.
    pub reconnect: Slot<ReconnectFilter>,
    /// Called before an attempt to connect.
    pub attempt: Slot<AttemptCallback>,
}

impl Callbacks {
    /// Whether a failure is worth another attempt to connect. The filter of the application decides, if there is one.
    pub fn worth_an_attempt(&self, error: &Error, attempt: u32) -> bool {
        let mut worth = error.is_retriable() || is_refusal(error) && self.attempt.is_set();
        self.reconnect.run(|filter| worth = filter(error, attempt));
        worth
    }

    /// Lets the application change URL, headers and secret of an attempt to connect. Returns whether the application wants the
    /// attempt; `None` if it has no callback for this.
    pub fn renew(&self, attempt: &mut Attempt) -> Option<bool> {
        let (mut called, mut wanted) = (false, false);
        self.attempt.run(|callback| {
            // Set first, because the callback may panic.
            called = true;
            wanted = callback(attempt);
        });
        called.then_some(wanted)
    }

    /// Removes all callbacks.
    pub fn clear(&self) {
        self.wakeup.clear();
        self.reconnect.clear();
        self.attempt.clear();
        self.progress.clear();
        self.state.clear();
    }
}
