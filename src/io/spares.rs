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
pub fn keep_spare(spares: &mut Vec<SharedDocument>, mut document: SharedDocument) {
    if spares.len() < MOST && Document::make_spare(&mut document) {
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
    pub fn push(&mut self, mut document: SharedDocument) {
        if Document::make_spare(&mut document) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::buffer::BufferPool;
    use crate::wire::json::parse::parse;
    use crate::wire::msgpack::decode::decode;
    use bytes::Bytes;

    #[test]
    fn a_document_whose_data_is_large_is_kept_without_it() {
        let pool = BufferPool::new(1 << 20);
        let mut large = pool.take(0x20005);
        large.append(&[&[0xc6, 0, 2, 0, 0][..], &[7; 0x20000]].concat()).unwrap();
        let mut attached = pool.take(0x20000);
        attached.append(&[8; 0x20000]).unwrap();
        let mut text = parse(br#"["wslink_bin0"]"#.to_vec().into(), 99).unwrap().document;
        text.attach(1, Bytes::from_owner(attached));
        let mut spares = Vec::new();
        keep_spare(&mut spares, SharedDocument::new(decode(large, 99).unwrap()));
        assert_eq!(spares.len(), 1);
        let once = pool.unused();
        assert!(once >= 0x20000);
        keep_spare(&mut spares, SharedDocument::new(text));
        assert_eq!(spares.len(), 2);
        assert!(pool.unused() >= once + 0x20000);
    }

    #[test]
    fn a_document_that_somebody_has_or_that_has_many_values_is_not_kept() {
        let mut spares = Vec::new();
        let document = SharedDocument::new(decode(vec![1].into(), 9).unwrap());
        let kept = document.clone();
        keep_spare(&mut spares, document);
        assert!(spares.is_empty());
        let many = [&[0xdc, 1, 0][..], &[1; 256]].concat();
        keep_spare(&mut spares, SharedDocument::new(decode(many.into(), 999).unwrap()));
        assert!(spares.is_empty());
        keep_spare(&mut spares, kept);
        assert_eq!(spares.len(), 1);
    }
}
