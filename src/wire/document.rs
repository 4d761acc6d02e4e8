//! What arrived, whatever the generation: the bytes of the message and a flat index ("tape") of the
//! values in them. Strings and binary data are slices of the bytes, never copies; decoding allocates
//! a few times per message, and not for each value.

use super::buffer::MessageBuf;
use super::entry::{Entry, Node, Tag};
use super::tape::Tape;
use super::value::Value;
use crate::error::Result;
use bytes::Bytes;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use triomphe::UniqueArc;

/// An immutable message: its bytes, the index of its values, and (generation 1) its attachments.
///
/// Shared as [`SharedDocument`]; every [`Value`] borrows from it.
#[derive(Debug)]
pub struct Document {
    pub(super) bytes: MessageBuf,
    pub(super) tape: Tape,
    pub(super) attachments: Vec<Bytes>,
    /// Where the search for a key begins: see `Value::get_bytes`.
    pub(super) hint: Hint,
    /// Where the value of `result` is, if that was looked for already: see `envelope::outcome`. Otherwise 0.
    pub(super) result: AtomicU32,
}

/// The place after the value that was found last, and the map that it is in. Only a guess: any thread may change
/// it at any time.
#[derive(Debug)]
pub(super) struct Hint(AtomicU64);

impl Default for Hint {
    /// Of no map.
    fn default() -> Hint {
        Hint(AtomicU64::new(u64::MAX))
    }
}

impl Hint {
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

/// A handle of a document, cheap to clone; any thread may have one. It is not `std::sync::Arc`, only used like it: it has no
/// weak handles, and so it takes no locked instruction to find that nobody else has the document and that its memory can be
/// used again.
pub type SharedDocument = triomphe::Arc<Document>;

/// The deepest nesting that is decoded. Servers send at most about 1020 levels.
pub const MAX_DEPTH: usize = 2048;

impl Document {
    pub(crate) fn new(bytes: MessageBuf, tape: Tape) -> Document {
        debug_assert!(!tape.entries.is_empty());
        Document { bytes, tape, attachments: Vec::new(), hint: Hint::default(), result: AtomicU32::new(0) }
    }

    /// A message that is not decoded yet: it has no values, not even the outermost one.
    pub(crate) fn undecoded(bytes: MessageBuf) -> Document {
        Document {
            bytes,
            tape: Tape::default(),
            attachments: Vec::new(),
            hint: Hint::default(),
            result: AtomicU32::new(0),
        }
    }

    /// A copy of a message that is not decoded yet, in the memory of a document if nobody else has that.
    #[inline(always)]
    pub(crate) fn copy_of(message: &[u8], spare: Option<SharedDocument>) -> Result<UniqueArc<Document>> {
        let mut document = Document::empty(spare);
        document.bytes.clear();
        document.bytes.append(message)?;
        Ok(document)
    }

    /// A message that is not decoded yet, with the other parts of a document if nobody else has that.
    pub(crate) fn of(message: MessageBuf, spare: Option<SharedDocument>) -> UniqueArc<Document> {
        let mut document = Document::empty(spare);
        document.bytes = message;
        document
    }

    /// A document without values, in the memory of another one if nobody else has that.
    #[inline(always)]
    fn empty(spare: Option<SharedDocument>) -> UniqueArc<Document> {
        match spare.and_then(|spare| SharedDocument::try_unique(spare).ok()) {
            Some(mut document) => {
                document.attachments.clear();
                document.hint = Hint::default();
                document.result = AtomicU32::new(0);
                document
            }
            None => UniqueArc::new(Document::undecoded(MessageBuf::default())),
        }
    }

    /// Whether the memory of this document is worth keeping: it is small, or was so large that it has gone to others now,
    /// and nobody else seems to have it.
    #[inline]
    pub(crate) fn make_spare(document: &mut SharedDocument) -> bool {
        const SMALL: usize = 1 << 10;
        if SharedDocument::strong_count(document) != 1 || document.tape.memory() > SMALL {
            return false;
        }
        if document.bytes.capacity() > SMALL || !document.attachments.is_empty() {
            let Some(document) = SharedDocument::get_mut(document) else {
                return false;
            };
            document.bytes = MessageBuf::default();
            document.attachments.clear();
        }
        true
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value::at(self, 0)
    }

    /// How many bytes the message had on the wire, attachments included.
    pub fn wire_size(&self) -> usize {
        self.bytes.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// How much memory the document takes: its bytes, its attachments and the index of its values.
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

    /// What one of its entries means.
    #[inline]
    pub(crate) fn node_of(&self, entry: Entry) -> Node {
        entry.node(&self.bytes, &self.tape)
    }

    /// The float of an entry, if it has the index of one.
    #[inline(always)]
    pub(crate) fn float(&self, entry: Entry) -> Option<f64> {
        self.tape.float(entry.as_float_index()?)
    }

    /// All of those.
    pub(crate) fn floats(&self) -> &[f64] {
        self.tape.floats()
    }

    /// The float64 that msgpack wrote to this place.
    #[inline(always)]
    pub(crate) fn float_at(&self, place: usize) -> Option<f64> {
        self.bytes.float_at(place)
    }

    #[inline(always)]
    pub(crate) fn entry(&self, index: u32) -> Entry {
        self.tape.entries[index as usize]
    }

    /// The entries behind that of an array, as many as it has elements.
    #[inline]
    pub(crate) fn members(&self, array: u32) -> &[Entry] {
        &self.tape.entries[array as usize + 1..][..self.entry(array).len() as usize]
    }

    /// The entries up to this one.
    pub(crate) fn entries_before(&self, index: u32) -> &[Entry] {
        &self.tape.entries[..index as usize]
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

    /// The text of an entry of a string whose place fits, as `slice` in fewer steps: without a panic, and not held to where the message ends.
    #[inline(always)]
    pub(crate) fn text(&self, entry: Entry) -> Option<&[u8]> {
        self.part(entry, entry.len() as usize)
    }

    /// The text of any string.
    #[cold]
    #[inline(never)]
    pub(crate) fn any_text(&self, entry: Entry) -> Option<&[u8]> {
        let node = self.node_of(entry);
        (node.tag == Tag::Str).then(|| self.slice(node))
    }

    /// As `text`, if the length is known.
    #[inline(always)]
    pub(crate) fn part(&self, entry: Entry, len: usize) -> Option<&[u8]> {
        self.bytes.part(entry.place() as usize, len)
    }

    /// The bytes that a `Str`, `BigInt`, `Bytes` or `Ext` entry stands for.
    #[inline(always)]
    pub(crate) fn slice(&self, node: Node) -> &[u8] {
        &self.bytes[node.data as usize..][..node.len as usize]
    }

    /// Shows the keys of the outermost map that are texts of one of these lengths, and where their values are.
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

    /// The entry after `index` and all that it contains.
    #[inline]
    pub(crate) fn after(&self, index: u32) -> u32 {
        self.entry(index).after(index)
    }

    /// Turns the string at `index` into the attachment that it names.
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

    /// The binary data of a value of this document, by reference if it is a buffer of its own.
    pub(crate) fn own_attachment(&self, value: Value<'_>) -> Bytes {
        let node = self.node(value.place().0);
        match node.tag {
            Tag::Attachment => self.attachment(node).clone(),
            _ => Bytes::copy_from_slice(value.as_bytes().unwrap_or_default()),
        }
    }

    /// The binary data of an entry as a buffer that keeps itself alive, without a copy.
    pub(crate) fn shared_slice(document: &SharedDocument, node: Node) -> Bytes {
        match node.tag {
            Tag::Attachment => document.attachment(node).clone(),
            _ => Bytes::from_owner(Slice { document: document.clone(), node }),
        }
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        self.bytes.origin().keep_entries(std::mem::take(&mut self.tape.entries));
    }
}

fn same_buffer(a: &Bytes, b: &Bytes) -> bool {
    a.len() == b.len() && a.as_ptr() == b.as_ptr()
}

/// Part of a document that keeps the document.
struct Slice {
    document: SharedDocument,
    node: Node,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        self.document.slice(self.node)
    }
}
