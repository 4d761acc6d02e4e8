//! Wakes a thread that checks all its work before it sleeps again. While one wake-up is pending, others are left out.

use super::sync::AtomicBool;
use std::io;
use std::sync::atomic::Ordering::AcqRel;

/// Whether a wake-up is pending.
#[derive(Default)]
pub struct WakeFlag(AtomicBool);

impl WakeFlag {
    /// Sends a wake-up, unless one is pending. Call it after the change that the thread has to see. If sending fails, the next
    /// call sends again.
    pub fn raise(&self, send: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.0.swap(true, AcqRel) {
            return Ok(());
        }
        send().inspect_err(|_| self.lower())
    }

    /// The wake-up has arrived. Call it before checking for work, so that every later change sends another wake-up.
    pub fn lower(&self) {
        // A swap, not a store: it acquires the changes before the wake-ups that were left out.
        self.0.swap(false, AcqRel);
    }
}
