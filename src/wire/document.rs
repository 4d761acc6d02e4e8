//! A received message of either generation: its bytes and a flat index of the values in them, the tape. Strings and
//! binary data are slices of the bytes, never copies. Decoding allocates a few times per message, not for each value.

use super::buffer::MessageBuf;
use super::entry::{Entry, Node, Tag};
use super::tape::Tape;
use super::value::Value;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// An immutable message: its bytes, the index of its values, and (generation 1) its attachments.
///
/// Shared as [`SharedDocument`]; every [`Value`] borrows from it.
#[derive(Debug)]
pub struct Document {
    pub(super) bytes: MessageBuf,
    pub(super) tape: Tape,
    pub(super) attachments: Vec<Bytes>,
    /// Where the search for a key begins, see `Value::get_next`.
    pub(super) hint: Hint,
    /// The index of the entry of the `result` member, see `envelope::outcome`; 0 if it has not been looked up.
    pub(super) result: AtomicU32,
}

/// The member of a map that is probably looked up next: the one after the member that was found last. Any thread may
/// replace it at any time.
#[derive(Debug)]
pub(super) struct Hint(AtomicU64);

impl Default for Hint {
    /// No map.
    fn default() -> Hint {
        Hint(AtomicU64::new(u64::MAX))
    }
}

impl Hint {
    /// The index of the next key in `map`.
    #[inline]
    pub fn get(&self, map: u32) -> Option<u32> {
        let hint = self.0.load(Relaxed);
        ((hint >> 32) as u32 == map).then_some(hint as u32)
    }

    #[inline]
    pub fn set(&self, map: u32, next: u32) {
        self.0.store(u64::from(map) << 32 | u64::from(next), Relaxed);
    }
}

/// A handle of a document, cheap to clone; any thread may have one.
pub type SharedDocument = Arc<Document>;

/// The deepest nesting that is accepted. Servers send at most about 1020 levels.
pub const MAX_DEPTH: usize = 2048;

impl Document {
    pub(crate) fn new(bytes: MessageBuf, tape: Tape) -> Document {
        debug_assert!(!tape.entries.is_empty());
        Document { bytes, tape, attachments: Vec::new(), hint: Hint::default(), result: AtomicU32::new(0) }
    }

    /// A message that is not decoded yet. It has no values, not even a root.
    pub(crate) fn undecoded(bytes: MessageBuf) -> Document {
        Document {
            bytes,
            tape: Tape::default(),
            attachments: Vec::new(),
            hint: Hint::default(),
            result: AtomicU32::new(0),
        }
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value::at(self, 0)
    }

    /// How many bytes the message had on the wire, including its attachments.
    pub fn wire_size(&self) -> usize {
        self.bytes.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// How many bytes of memory the message, its attachments and the index of its values take.
    pub fn memory(&self) -> usize {
        self.wire_size() + self.tape.memory()
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn node(&self, index: u32) -> Node {
        self.node_of(self.entry(index))
    }

    /// Unpacks an entry of this document.
    #[inline]
    pub(crate) fn node_of(&self, entry: Entry) -> Node {
        entry.node(&self.bytes, &self.tape)
    }

    /// The float of an entry that refers to one in [`floats`](Document::floats).
    #[inline(always)]
    pub(crate) fn float(&self, entry: Entry) -> Option<f64> {
        self.tape.float(entry.as_float_index()?)
    }

    /// The floats that are stored in the tape and not in the bytes.
    pub(crate) fn floats(&self) -> &[f64] {
        self.tape.floats()
    }

    /// The float64 of msgpack at this offset.
    #[inline(always)]
    pub(crate) fn float_at(&self, offset: usize) -> Option<f64> {
        self.bytes.float_at(offset)
    }

    #[inline(always)]
    pub(crate) fn entry(&self, index: u32) -> Entry {
        self.tape.entries[index as usize]
    }

    /// The first entries behind that of an array, as many as the array has elements. They are its elements, unless one
    /// of them is a container: its members follow it then.
    #[inline]
    pub(crate) fn members(&self, array: u32) -> &[Entry] {
        &self.tape.entries[array as usize + 1..][..self.entry(array).len() as usize]
    }

    /// The entries from this one on.
    #[inline]
    pub(crate) fn entries_from(&self, index: u32) -> &[Entry] {
        &self.tape.entries[index as usize..]
    }

    pub(crate) fn node_count(&self) -> usize {
        self.tape.entries.len()
    }

    /// An entry and the one behind it.
    #[inline(always)]
    pub(crate) fn pair(&self, index: u32) -> Option<[Entry; 2]> {
        let entries = &self.tape.entries;
        let second = *entries.get(index as usize + 1)?;
        Some([entries[index as usize], second])
    }

    /// The text of an entry for which `is_text` is true. Faster than `slice`: it cannot panic, and checks against the
    /// end of the memory, not of the message.
    #[inline(always)]
    pub(crate) fn text(&self, entry: Entry) -> Option<&[u8]> {
        self.part(entry, entry.len() as usize)
    }

    /// The text of the entry of any string, `None` for other values.
    #[cold]
    #[inline(never)]
    pub(crate) fn any_text(&self, entry: Entry) -> Option<&[u8]> {
        let node = self.node_of(entry);
        (node.tag == Tag::Str).then(|| self.slice(node))
    }

    /// As `text`, with a length that is already known.
    #[inline(always)]
    pub(crate) fn part(&self, entry: Entry, len: usize) -> Option<&[u8]> {
        self.bytes.part(entry.place() as usize, len)
    }

    /// The bytes of a `Str`, `BigInt`, `Bytes` or `Ext` node.
    #[inline(always)]
    pub(crate) fn slice(&self, node: Node) -> &[u8] {
        &self.bytes[node.data as usize..][..node.len as usize]
    }

    /// Calls `show` for each key of the root map that is a string of one of these lengths, with the index of its value.
    #[inline(always)]
    pub(crate) fn for_top_keys<'a>(&'a self, lengths: [u32; 2], mut show: impl FnMut(&'a [u8], u32)) {
        let root = self.entry(0);
        let pairs = if root.is_map() { root.len() } else { 0 };
        let mut at = 1;
        for _ in 0..pairs {
            let value = self.after(at);
            let key = self.entry(at);
            if key.is_text()
                && lengths.contains(&key.len())
                && let Some(text) = self.text(key)
            {
                show(text, value);
            }
            at = self.after(value);
        }
    }

    pub(crate) fn attachment(&self, node: Node) -> &Bytes {
        &self.attachments[node.data as usize]
    }

    /// The index of the entry behind the value at `index` and everything in it.
    #[inline]
    pub(crate) fn after(&self, index: u32) -> u32 {
        self.entry(index).after(index)
    }

    /// Replaces the string at `index` by the attachment of which it is the key.
    pub(crate) fn attach(&mut self, index: u32, data: Bytes) {
        let slot = match self.attachments.iter().position(|a| same_buffer(a, &data)) {
            Some(slot) => slot,
            None => {
                self.attachments.push(data);
                self.attachments.len() - 1
            }
        };
        self.tape.entries[index as usize] = Entry::attachment(slot);
    }

    /// The binary data of a value of this document: an attachment by reference, otherwise a copy.
    pub(crate) fn own_attachment(&self, value: Value<'_>) -> Bytes {
        let node = self.node(value.place().0);
        match node.tag {
            Tag::Attachment => self.attachment(node).clone(),
            _ => Bytes::copy_from_slice(value.as_bytes().unwrap_or_default()),
        }
    }

    /// The binary data of a node without a copy: an attachment, or a slice that owns a reference to the document.
    pub(crate) fn shared_slice(document: &SharedDocument, node: Node) -> Bytes {
        match node.tag {
            Tag::Attachment => document.attachment(node).clone(),
            _ => Bytes::from_owner(Slice { document: document.clone(), node }),
        }
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        self.bytes.pool().recycle_entries(std::mem::take(&mut self.tape.entries));
    }
}

fn same_buffer(a: &Bytes, b: &Bytes) -> bool {
    a.len() == b.len() && a.as_ptr() == b.as_ptr()
}

/// Binary data in a document, and a reference to the document.
struct Slice {
    document: SharedDocument,
    node: Node,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.document.slice(self.node)
    }
}
