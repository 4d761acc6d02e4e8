//! Waking a thread that looks at everything before it sleeps again: one wake-up is enough until it has come.

use super::sync::AtomicBool;
use std::io;
use std::sync::atomic::Ordering::AcqRel;

/// Whether a wake-up is on its way.
#[derive(Default)]
pub struct WakeFlag(AtomicBool);

impl WakeFlag {
    /// Sends a wake-up, unless one is on its way. To be called after the change that the thread shall see. After an
    /// error the next one is sent again.
    pub fn raise(&self, send: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.0.swap(true, AcqRel) {
            return Ok(());
        }
        send().inspect_err(|_| self.lower())
    }

    /// The wake-up has come. To be called before looking: a change after that look sends another one.
    pub fn lower(&self) {
        // Not a mere store: it also acquires what was changed before the wake-ups that were left out.
        self.0.swap(false, AcqRel);
    }
}
