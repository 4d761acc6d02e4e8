//! Small messages of one kind that are not decoded yet, one behind the other: they take as little memory as they can while
//! they wait, and are decoded where they are needed.

use super::document::{Document, SharedDocument};
use super::envelope;
use super::msgpack::decode::{Beginning, decode_into};
use crate::error::Result;
use std::collections::VecDeque;
use std::sync::Arc;

/// A queue of messages of generation 2 that are the same up to their result, but for a number in their id.
#[derive(Debug)]
pub struct Undecoded {
    beginning: Arc<Beginning>,
    /// The messages, and before them what was taken out.
    bytes: Vec<u8>,
    start: usize,
    /// How long each of them is.
    lengths: VecDeque<u32>,
}

/// What a message takes beside its bytes.
const OVERHEAD: usize = size_of::<u32>();

impl Undecoded {
    /// No message of this kind, and memory for so many bytes.
    pub(crate) fn new(beginning: Arc<Beginning>, capacity: usize) -> Undecoded {
        Undecoded { beginning, bytes: Vec::with_capacity(capacity), start: 0, lengths: VecDeque::new() }
    }

    /// Whether this is for messages of this kind.
    #[inline]
    pub(crate) fn is_for(&self, beginning: &Arc<Beginning>) -> bool {
        Arc::ptr_eq(&self.beginning, beginning)
    }

    /// Puts a message in.
    #[inline]
    pub fn push(&mut self, message: &[u8]) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.start));
        }
        self.bytes.extend_from_slice(message);
        self.lengths.push_back(message.len() as u32);
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// How many bytes they have.
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// How many bytes of memory are taken for them.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How much memory they take.
    pub fn memory(&self) -> usize {
        self.bytes() + OVERHEAD * self.len()
    }

    /// How much memory the next one takes.
    pub fn memory_of_first(&self) -> usize {
        self.lengths.front().map_or(0, |&len| len as usize + OVERHEAD)
    }

    /// Drops the first of them.
    pub fn drop_first(&mut self) {
        self.start += self.lengths.pop_front().unwrap_or(0) as usize;
    }

    /// No message, of the same kind.
    pub fn empty_like(&self) -> Undecoded {
        Undecoded::new(Arc::clone(&self.beginning), 0)
    }

    /// Gives memory back of which most is not needed.
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > 2 * self.bytes.len() {
            self.bytes.shrink_to_fit();
        }
    }

    /// Whether these are of the same kind.
    pub fn is_like(&self, other: &Undecoded) -> bool {
        self.is_for(&other.beginning)
    }

    /// Moves the first of them to the end of others of the same kind.
    pub fn move_first(&mut self, to: &mut Undecoded) {
        if let Some(len) = self.lengths.pop_front() {
            let end = self.start + len as usize;
            to.push(&self.bytes[self.start..end]);
            self.start = end;
        }
    }

    /// Takes the first of them out, and decodes it in the memory of a document that nobody has any more.
    #[inline]
    pub fn decode_first(&mut self, spare: Option<SharedDocument>) -> Option<Result<SharedDocument>> {
        let end = self.start + self.lengths.pop_front()? as usize;
        let message = &self.bytes[self.start..end];
        self.start = end;
        let decoded = Document::copy_of(message, spare).and_then(|mut document| {
            decode_into(&mut document, message.len(), Some(&self.beginning))?;
            envelope::set_result(&document, self.beginning.value());
            Ok(document.shareable())
        });
        Some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::msgpack::decode::decode;
    use crate::wire::value::Value;

    /// `{"a": result}`
    fn message(result: &[u8]) -> Vec<u8> {
        [&[0x81, 0xa1, b'a'], result].concat()
    }

    fn none() -> Undecoded {
        let document = decode(message(&[1]).into(), 9).unwrap();
        Undecoded::new(Beginning::before(&document, 2).unwrap().into(), 0)
    }

    #[test]
    fn each_is_decoded_by_itself_in_order() {
        let mut messages = none();
        for result in [&[5][..], &[0xc1], &[0x92, 1], &[0xa1, b'x'], &[1, 2]] {
            messages.push(&message(result));
        }
        let mut spare = None;
        let mut decode = || {
            let decoded = messages.decode_first(spare.take())?;
            let shown = decoded.as_ref().map(|d| format!("{:?} in {:?}", envelope::result(d), d.root()));
            let shown = shown.map_err(|e| e.message().to_owned());
            spare = decoded.ok();
            Some(shown)
        };
        assert_eq!(decode(), Some(Ok(r#"5 in {"a": 5}"#.into())));
        assert_eq!(decode(), Some(Err("malformed msgpack: 0xc1, which no value begins with, at byte 4".into())));
        assert!(decode().unwrap().is_err());
        assert_eq!(decode(), Some(Ok(r#""x" in {"a": "x"}"#.into())));
        assert!(decode().unwrap().is_err());
        assert_eq!(decode(), None);
    }

    #[test]
    fn a_document_that_somebody_has_is_not_written_over() {
        let mut messages = none();
        (1..=3).for_each(|n| messages.push(&message(&[n])));
        let first = messages.decode_first(None).unwrap().unwrap();
        let kept = first.clone();
        let second = messages.decode_first(Some(first)).unwrap().unwrap();
        let place = std::ptr::from_ref(&*second);
        let third = messages.decode_first(Some(second)).unwrap().unwrap();
        assert_eq!(std::ptr::from_ref(&*third), place);
        let values = [&kept, &third].map(|d| d.root().get("a").and_then(Value::as_u64));
        assert_eq!(values, [Some(1), Some(3)]);
    }

    #[test]
    fn those_that_were_taken_out_leave_their_memory_to_those_that_come() {
        let (mut messages, mut others) = (none(), none());
        for n in 0..10_000u32 {
            messages.push(&message(&[(n % 100) as u8]));
            match n {
                0..3 => {}
                _ if n % 2 == 0 => messages.drop_first(),
                _ => {
                    messages.move_first(&mut others);
                    others.drop_first();
                }
            }
        }
        assert_eq!((messages.len(), messages.memory(), messages.memory_of_first()), (3, 24, 8));
        assert!(messages.bytes.capacity() < 64 && others.bytes.capacity() < 64);
        assert_eq!(others.memory(), 0);
        let first = messages.decode_first(None).unwrap().unwrap();
        assert_eq!(first.root().get("a").and_then(Value::as_u64), Some(97));
    }
}
