//! Publications on their way from the queue to a callback: decoded there if they are not yet, and their memory taken back.

use super::delivery::Outcome;
use super::room::Part;
use super::spares::{Returned, Spares};
use crate::error::{Code, Error};
use crate::wire::document::SharedDocument;
use crate::wire::undecoded::Undecoded;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Gives publications to a callback, and decodes those that are not decoded yet.
pub struct Taking<'a> {
    stopping: &'a AtomicBool,
    malformed: &'a Malformed,
    returned: Returned<'a>,
    /// Memory for undecoded ones.
    pub empty: Option<Undecoded>,
}

impl<'a> Taking<'a> {
    /// Nothing is given any more as soon as `stopping` is set. Documents that come back go to `spares`.
    pub fn new(stopping: &'a AtomicBool, malformed: &'a Malformed, spares: &'a Spares) -> Taking<'a> {
        Taking { stopping, malformed, returned: Returned::new(spares), empty: None }
    }

    /// The application has no more use for a document.
    pub fn take_back(&mut self, document: Option<SharedDocument>) {
        if let Some(document) = document {
            self.returned.push(document);
        }
    }

    /// Gives those of one part; `false` if nothing more may be given.
    pub fn give(&mut self, part: Part, give: impl Fn(&Outcome) -> bool) -> bool {
        match part {
            Part::Nothing => true,
            Part::Decoded(outcome) => self.give_one(outcome, &give),
            Part::Undecoded(mut messages) => {
                while let Some(outcome) = messages.decode_first(self.returned.pop()) {
                    if let Err(error) = &outcome
                        && error.code() != Code::System
                    {
                        self.malformed.note(error);
                    }
                    if !self.give_one(outcome, &give) {
                        return false;
                    }
                }
                self.empty = Some(messages);
                true
            }
        }
    }

    fn give_one(&mut self, outcome: Outcome, give: impl Fn(&Outcome) -> bool) -> bool {
        let goes_on = !self.stopping.load(SeqCst) && give(&outcome);
        self.take_back(outcome.ok());
        goes_on
    }
}

/// Messages without meaning that were found where callbacks run.
#[derive(Default)]
pub struct Malformed {
    count: AtomicU64,
    /// Not all of them were told of. Changed under the lock of `untold`.
    any_untold: AtomicBool,
    /// How many were not, and what is wrong with the last of these.
    untold: Mutex<Option<(u64, Error)>>,
}

impl Malformed {
    #[cold]
    fn note(&self, error: &Error) {
        self.count.fetch_add(1, Relaxed);
        let mut untold = self.untold.lock();
        let before = untold.take().map_or(0, |(count, _)| count);
        *untold = Some((before + 1, error.clone()));
        self.any_untold.store(true, Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// How many came since this was asked last, and what is wrong with the last one.
    pub fn take(&self) -> Option<(u64, Error)> {
        // Mostly there is none.
        if !self.any_untold.load(Relaxed) {
            return None;
        }
        let mut untold = self.untold.lock();
        self.any_untold.store(false, Relaxed);
        untold.take()
    }
}
