//! Publications on their way from the queue to a callback: decoded there if they are not yet, and their memory taken back.

use super::delivery::Outcome;
use super::room::Part;
use super::spares::{Returned, Spares};
use crate::error::Error;
use crate::wire::document::SharedDocument;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Gives publications to a callback, and decodes those that are not decoded yet.
pub struct Taking<'a> {
    stopping: &'a AtomicBool,
    malformed: &'a Malformed,
    returned: Returned<'a>,
}

impl<'a> Taking<'a> {
    /// Nothing is given any more as soon as `stopping` is set. Documents that come back go to `spares`.
    pub fn new(stopping: &'a AtomicBool, malformed: &'a Malformed, spares: &'a Spares) -> Taking<'a> {
        Taking { stopping, malformed, returned: Returned::new(spares) }
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
            Part::Decoded(outcome) => self.give_one(outcome, &give),
            Part::Undecoded(mut messages) => {
                while let Some(outcome) = messages.decode_first(self.returned.pop()) {
                    if let Err(error) = &outcome {
                        self.malformed.note(error);
                    }
                    if !self.give_one(outcome, &give) {
                        return false;
                    }
                }
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
    /// How many of them were not told of.
    untold: AtomicU64,
    /// What is wrong with the last of these.
    problem: Mutex<Option<Error>>,
}

impl Malformed {
    #[cold]
    fn note(&self, error: &Error) {
        *self.problem.lock() = Some(error.clone());
        self.count.fetch_add(1, Relaxed);
        self.untold.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// How many came since this was asked last, and what is wrong with the last one.
    pub fn take(&self) -> Option<(u64, Error)> {
        // Without lock mostly.
        if self.untold.load(Relaxed) == 0 {
            return None;
        }
        let problem = self.problem.lock().take()?;
        Some((self.untold.swap(0, Relaxed), problem))
    }
}
