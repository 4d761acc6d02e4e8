//! What arrived, whatever the generation: the bytes of the message and a flat index ("tape") of the
//! values in them. Strings and binary data are slices of the bytes, never copies; decoding allocates
//! a constant number of times per message.

use super::buffer::MessageBuf;
use super::value::Value;
use crate::error::Result;
use bytes::Bytes;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use triomphe::UniqueArc;

/// What a tape entry is. Private to the wire floor; the public view is [`super::value::Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Null,
    False,
    True,
    /// `data`: an `i64` below zero.
    Int,
    /// `data`: a `u64`.
    Uint,
    /// `data`: the bits of an `f64`.
    Float,
    /// An integer beyond 64 bit (JSON only): `data`, `len` are the place of its decimal text.
    BigInt,
    /// `data`, `len`: the place of the UTF-8 text in the bytes.
    Str,
    /// `data`, `len`: the place of the data in the bytes.
    Bytes,
    /// `data`: index of the attachment of the document.
    Attachment,
    /// `len` elements follow; `data`: index after the last descendant.
    Array,
    /// `len` pairs of key and value follow; `data`: index after the last descendant; `extra`: `DISTINCT` if no
    /// key occurs twice for certain.
    Map,
    /// `data`, `len`: the place of the data; `extra`: the type.
    Ext,
    /// An array of `len` float64 values kept as msgpack wrote them, 9 bytes each, from `data`.
    FloatRun,
}

/// One entry of the tape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub data: u64,
    pub len: u32,
    /// The tag in the lowest byte, `extra` in the next: one number, because decoding is mostly writing these.
    pub(super) kind: u32,
}

/// In the entry of a map: all keys are different.
pub(crate) const DISTINCT: i8 = 1;

const _: () = assert!(size_of::<Node>() == 16);

impl Node {
    #[inline(always)]
    pub fn new(tag: Tag, len: u32, data: u64) -> Node {
        Node { data, len, kind: tag as u32 }
    }

    #[inline(always)]
    pub fn with_extra(self, extra: i8) -> Node {
        Node { kind: self.kind & 0xff | u32::from(extra as u8) << 8, ..self }
    }

    /// Whether this is a map in which no key occurs twice.
    #[inline(always)]
    pub fn is_distinct_map(&self) -> bool {
        self.kind == Tag::Map as u32 | (DISTINCT as u32) << 8
    }

    #[inline(always)]
    pub fn extra(&self) -> i8 {
        (self.kind >> 8) as i8
    }

    /// Where the entry is that follows this one and all that it contains, if this is the one at `index`.
    #[inline(always)]
    pub fn after(&self, index: u32) -> u32 {
        match self.tag() {
            Tag::Array | Tag::Map => self.data as u32,
            _ => index + 1,
        }
    }

    #[inline(always)]
    pub fn tag(&self) -> Tag {
        match self.kind as u8 {
            0 => Tag::Null,
            1 => Tag::False,
            2 => Tag::True,
            3 => Tag::Int,
            4 => Tag::Uint,
            5 => Tag::Float,
            6 => Tag::BigInt,
            7 => Tag::Str,
            8 => Tag::Bytes,
            9 => Tag::Attachment,
            10 => Tag::Array,
            11 => Tag::Map,
            12 => Tag::Ext,
            _ => Tag::FloatRun,
        }
    }
}

/// An immutable message: its bytes, the index of its values, and (generation 1) its attachments.
///
/// Shared as [`SharedDocument`]; every [`Value`] borrows from it.
#[derive(Debug)]
pub struct Document {
    pub(super) bytes: MessageBuf,
    pub(super) tape: Vec<Node>,
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
    pub(crate) fn new(bytes: MessageBuf, tape: Vec<Node>) -> Document {
        debug_assert!(!tape.is_empty());
        Document { bytes, tape, attachments: Vec::new(), hint: Hint::default(), result: AtomicU32::new(0) }
    }

    /// A message that is not decoded yet: it has no values, not even the outermost one.
    pub(crate) fn undecoded(bytes: MessageBuf) -> Document {
        Document { bytes, tape: Vec::new(), attachments: Vec::new(), hint: Hint::default(), result: AtomicU32::new(0) }
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
        if SharedDocument::strong_count(document) != 1 || document.tape.capacity() * size_of::<Node>() > SMALL {
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
        self.wire_size() + self.tape.capacity() * size_of::<Node>()
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn node(&self, index: u32) -> Node {
        self.tape[index as usize]
    }

    /// The same in its place, for those who look at one part of it.
    #[inline(always)]
    pub(crate) fn entry(&self, index: u32) -> &Node {
        &self.tape[index as usize]
    }

    /// The entries behind that of an array, as many as it has elements.
    #[inline]
    pub(crate) fn members(&self, array: u32) -> &[Node] {
        &self.tape[array as usize + 1..][..self.entry(array).len as usize]
    }

    /// The entries up to this one.
    pub(crate) fn entries_before(&self, index: u32) -> &[Node] {
        &self.tape[..index as usize]
    }

    /// The entries from this one on.
    #[inline]
    pub(crate) fn entries_from(&self, index: u32) -> &[Node] {
        &self.tape[index as usize..]
    }

    pub(crate) fn node_count(&self) -> usize {
        self.tape.len()
    }

    /// An entry and the one behind it.
    #[inline(always)]
    pub(crate) fn pair(&self, index: u32) -> Option<&[Node; 2]> {
        self.tape.get(index as usize..)?.first_chunk()
    }

    /// The text of a `Str` entry, as `slice` in fewer steps: without a panic, and not held to where the message ends.
    #[inline(always)]
    pub(crate) fn text(&self, node: &Node) -> Option<&[u8]> {
        self.bytes.part(node.data as usize, node.len as usize)
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
        let pairs = if root.tag() == Tag::Map { root.len } else { 0 };
        let mut at = 1;
        for _ in 0..pairs {
            let value = self.after(at);
            let key = self.entry(at);
            if key.tag() == Tag::Str && lengths.contains(&key.len) {
                show(self.slice(*key), value);
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
        self.tape[index as usize] = Node::new(Tag::Attachment, 0, slot as u64);
    }

    /// The binary data of a value of this document, by reference if it is a buffer of its own.
    pub(crate) fn own_attachment(&self, value: Value<'_>) -> Bytes {
        let node = self.node(value.place().0);
        match node.tag() {
            Tag::Attachment => self.attachment(node).clone(),
            _ => Bytes::copy_from_slice(value.as_bytes().unwrap_or_default()),
        }
    }

    /// The binary data of an entry as a buffer that keeps itself alive, without a copy.
    pub(crate) fn shared_slice(document: &SharedDocument, node: Node) -> Bytes {
        match node.tag() {
            Tag::Attachment => document.attachment(node).clone(),
            _ => Bytes::from_owner(Slice { document: document.clone(), node }),
        }
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        self.bytes.origin().keep_tape(std::mem::take(&mut self.tape));
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
