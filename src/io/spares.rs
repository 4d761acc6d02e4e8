//! Documents that nobody has any more: their memory is for the next ones.

use crate::wire::document::{Document, SharedDocument};
use parking_lot::Mutex;

/// So many small documents are kept: about as many as one read of the socket brings.
const MOST: usize = 2048;

/// When the application is done with so many documents, their memory is given to those that come.
const TOGETHER: usize = 64;

/// Those that are no longer needed where callbacks run, on their way to the I/O thread.
#[derive(Default)]
pub struct Spares(Mutex<Vec<SharedDocument>>);

impl Spares {
    /// Moves them to where they are used again, if there are none.
    pub fn take(&self, to: &mut Vec<SharedDocument>) {
        if to.is_empty() {
            std::mem::swap(&mut *self.0.lock(), to);
        }
    }

    /// Gives their memory back.
    pub fn clear(&self) {
        let spares = std::mem::take(&mut *self.0.lock());
        drop(spares);
    }

    fn pop(&self) -> Option<SharedDocument> {
        self.0.lock().pop()
    }
}

/// Keeps the memory of a small document for the next one, unless there is enough of it, or the application has kept the
/// document.
pub fn keep_spare(spares: &mut Vec<SharedDocument>, document: SharedDocument) {
    if spares.len() < MOST && Document::is_spare(&document) {
        spares.push(document);
    }
}

/// Documents that the application has just been given and has not kept.
pub struct Returned<'a> {
    to: &'a Spares,
    documents: Vec<SharedDocument>,
}

impl<'a> Returned<'a> {
    /// None yet.
    pub fn new(to: &'a Spares) -> Returned<'a> {
        Returned { to, documents: Vec::new() }
    }

    /// One comes back.
    pub fn push(&mut self, document: SharedDocument) {
        if Document::is_spare(&document) {
            self.documents.push(document);
            if self.documents.len() == TOGETHER {
                self.flush();
            }
        }
    }

    /// One of them, for a message that is decoded here.
    pub fn pop(&mut self) -> Option<SharedDocument> {
        self.documents.pop().or_else(|| self.to.pop())
    }

    fn flush(&mut self) {
        if !self.documents.is_empty() {
            let mut spares = self.to.0.lock();
            self.documents.drain(..).for_each(|document| keep_spare(&mut spares, document));
        }
    }
}

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
