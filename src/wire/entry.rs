//! The entries of a tape: eight bytes for each value. They are small because memory bandwidth limits the decoding of
//! large messages. A value that does not fit in eight bytes is stored elsewhere, and its entry says where.

use super::buffer::MessageBuf;
use super::tape::Tape;

/// The type of a value in a tape. The public counterpart is [`super::value::Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// An integer of more than 64 bits (JSON only). `data`, `len`: offset and length of its decimal text.
    BigInt,
    /// `data`, `len`: offset and length of the UTF-8 text.
    Str,
    /// `data`, `len`: offset and length of the data.
    Bytes,
    /// `data`: index of the attachment in the document.
    Attachment,
    /// `len` elements follow; `data`: index of the entry behind the last descendant.
    Array,
    /// `len` pairs of key and value follow; `data`: index of the entry behind the last descendant.
    Map,
    /// `data`, `len`: offset and length of the data; `extra`: the type.
    Ext,
    /// A packed run: an array of `len` float64 values as in msgpack, 9 bytes each, from offset `data` on.
    FloatRun,
}

/// An unpacked entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub tag: Tag,
    pub extra: i8,
    pub len: u32,
    pub data: u64,
}

impl Node {
    #[inline(always)]
    pub fn new(tag: Tag, len: u32, data: u64) -> Node {
        Node { tag, extra: 0, len, data }
    }

    #[inline(always)]
    pub fn float(v: f64) -> Node {
        Node::new(Tag::Float, 0, v.to_bits())
    }

    #[inline(always)]
    pub fn int(v: i64) -> Node {
        Node::new(if v < 0 { Tag::Int } else { Tag::Uint }, 0, v as u64)
    }
}

/// One entry. The lowest four bits are its form. The other 60 bits are a length of 28 bits and a place of 32 bits (an
/// offset or an index), or one number. It is one word, because decoding mostly writes entries, and one word takes one
/// write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

/// The encodings of a value in an entry.
mod form {
    pub const NULL: u32 = 0;
    pub const FALSE: u32 = 1;
    pub const TRUE: u32 = 2;
    /// An integer of 60 bits.
    pub const INT: u32 = 3;
    /// The offset of a float64 of msgpack.
    pub const FLOAT_AT: u32 = 4;
    /// The offset of an integer of msgpack that is not negative and has more than 60 bits.
    pub const UINT_AT: u32 = 5;
    /// The offset of an integer of msgpack that is negative and has more than 60 bits.
    pub const INT_AT: u32 = 6;
    /// The index of a float that is stored in the tape.
    pub const FLOAT: u32 = 7;
    /// The index of any other node that is stored in the tape because it does not fit in an entry.
    pub const WIDE: u32 = 8;
    pub const STR: u32 = 9;
    pub const BYTES: u32 = 10;
    pub const ATTACHMENT: u32 = 11;
    pub const FLOAT_RUN: u32 = 12;
    // From here on containers: the length, and the index behind the last descendant.
    pub const ARRAY: u32 = 13;
    pub const MAP: u32 = 14;
    /// A map that certainly has no duplicate keys.
    pub const DISTINCT_MAP: u32 = 15;
}

const FORM_BITS: u32 = 4;
const FORM: u32 = (1 << FORM_BITS) - 1;
const LEN_BITS: u32 = 32 - FORM_BITS;

/// The longest string, binary data or packed run whose length fits in an entry.
pub(crate) const LONGEST: usize = (1 << LEN_BITS) - 1;

/// The most entries that a tape can have, because the number of members of a container must fit in its entry.
pub(crate) const MOST_ENTRIES: usize = LONGEST;

/// The largest message whose offsets fit in entries. It is also the largest message of protocol 2.
pub(crate) const LARGEST_MESSAGE: usize = u32::MAX as usize;

/// The size of an entry in bytes.
pub(crate) const ENTRY_SIZE: u64 = size_of::<Entry>() as u64;

impl Entry {
    pub const NULL: Entry = Entry(form::NULL as u64);
    pub const FALSE: Entry = Entry(form::FALSE as u64);
    pub const TRUE: Entry = Entry(form::TRUE as u64);

    #[inline(always)]
    fn new(form: u32, len: usize, place: usize) -> Entry {
        debug_assert!(len <= LONGEST && place <= LARGEST_MESSAGE);
        Entry(u64::from(form) | (len as u64) << FORM_BITS | (place as u64) << 32)
    }

    /// An integer that fits.
    #[inline(always)]
    pub fn small(v: i64) -> Entry {
        debug_assert!(is_small(v));
        Entry((v << FORM_BITS) as u64 | u64::from(form::INT))
    }

    /// An integer, if it fits.
    #[inline(always)]
    pub fn int(v: i64) -> Option<Entry> {
        is_small(v).then(|| Entry::small(v))
    }

    /// A string of at most [`LONGEST`] bytes at this offset.
    #[inline(always)]
    pub fn text(start: usize, len: usize) -> Entry {
        Entry::new(form::STR, len, start)
    }

    /// The float64 of msgpack whose eight bytes begin at this offset.
    #[inline(always)]
    pub fn float_at(start: usize) -> Entry {
        Entry::new(form::FLOAT_AT, 0, start)
    }

    /// The integer of msgpack whose eight bytes begin at this offset. They are read as an int64 if `negative`,
    /// otherwise as a uint64.
    #[inline]
    pub fn integer_at(start: usize, negative: bool) -> Entry {
        Entry::new(if negative { form::INT_AT } else { form::UINT_AT }, 0, start)
    }

    /// A container with this many members, at most [`MOST_ENTRIES`]. Its end is not set.
    #[inline(always)]
    pub fn container(map: bool, members: u32) -> Entry {
        Entry::new(if map { form::MAP } else { form::ARRAY }, members as usize, 0)
    }

    /// Sets the end of a container: the index behind its last descendant.
    #[inline(always)]
    pub fn ended(self, end: u32) -> Entry {
        Entry(u64::from(self.head()) | u64::from(end) << 32)
    }

    /// Sets the number of members to 0.
    pub fn emptied(self) -> Entry {
        Entry::new(self.form(), 0, self.place() as usize)
    }

    /// Adds one to the number of members. To be called before the end is set, because more than [`MOST_ENTRIES`]
    /// members overflow into it. The tape then has too many entries, which is an error later.
    #[inline(always)]
    pub fn count_one(&mut self) {
        self.0 += 1 << FORM_BITS;
    }

    /// Marks a map without duplicate keys.
    #[inline(always)]
    pub fn distinct(self) -> Entry {
        Entry(self.0 | u64::from(form::DISTINCT_MAP))
    }

    /// Packs a node; `None` if it does not fit.
    #[inline(always)]
    pub fn of(node: Node) -> Option<Entry> {
        let (len, place) = (node.len as usize, node.data as usize);
        let slice = |form| (len <= LONGEST && place <= LARGEST_MESSAGE).then(|| Entry::new(form, len, place));
        match node.tag {
            Tag::Null => Some(Entry::NULL),
            Tag::False => Some(Entry::FALSE),
            Tag::True => Some(Entry::TRUE),
            Tag::Int => Entry::int(node.data as i64),
            Tag::Uint => i64::try_from(node.data).ok().and_then(Entry::int),
            Tag::Str => slice(form::STR),
            Tag::Bytes => slice(form::BYTES),
            Tag::Attachment => slice(form::ATTACHMENT),
            Tag::FloatRun => slice(form::FLOAT_RUN),
            Tag::Array => slice(form::ARRAY),
            Tag::Map => slice(form::MAP),
            Tag::Float | Tag::BigInt | Tag::Ext => None,
        }
    }

    /// The attachment with this index.
    pub fn attachment(index: usize) -> Entry {
        Entry::new(form::ATTACHMENT, 0, index)
    }

    /// The float with this index in the tape.
    #[inline(always)]
    pub fn float(index: usize) -> Entry {
        Entry::new(form::FLOAT, 0, index)
    }

    /// The node with this index in the tape.
    pub fn wide(index: usize) -> Entry {
        Entry::new(form::WIDE, 0, index)
    }

    /// Form and length.
    #[inline(always)]
    fn head(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    fn form(self) -> u32 {
        self.head() & FORM
    }

    /// The length of a string, binary data or packed run, or the number of members of a container.
    #[inline(always)]
    pub fn len(self) -> u32 {
        self.head() >> FORM_BITS
    }

    /// The offset of the bytes, the index of the attachment, float or node, or the end of the container.
    #[inline(always)]
    pub fn place(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub fn is_map(self) -> bool {
        self.form() >= form::MAP
    }

    /// Whether this is a map that certainly has no duplicate keys.
    #[inline(always)]
    pub fn is_distinct_map(self) -> bool {
        self.form() == form::DISTINCT_MAP
    }

    #[inline(always)]
    pub fn is_array(self) -> bool {
        self.form() == form::ARRAY
    }

    #[inline(always)]
    pub fn is_container(self) -> bool {
        self.form() >= form::ARRAY
    }

    /// Whether this is a string whose length fits in an entry.
    #[inline(always)]
    pub fn is_text(self) -> bool {
        self.form() == form::STR
    }

    /// Whether this is a string of this length, which fits in an entry.
    #[inline(always)]
    pub fn is_text_of(self, len: usize) -> bool {
        u64::from(self.head()) == (len as u64) << FORM_BITS | u64::from(form::STR)
    }

    #[inline(always)]
    fn number(self) -> i64 {
        self.0 as i64 >> FORM_BITS
    }

    /// An integer of 60 bits.
    #[inline(always)]
    pub fn as_int(self) -> Option<i64> {
        (self.form() == form::INT).then(|| self.number())
    }

    /// The offset of a float64 of msgpack.
    #[inline(always)]
    pub fn as_float_at(self) -> Option<usize> {
        (self.form() == form::FLOAT_AT).then_some(self.place() as usize)
    }

    /// The index of a float that is stored in the tape.
    #[inline(always)]
    pub fn as_float_index(self) -> Option<usize> {
        (self.form() == form::FLOAT).then_some(self.place() as usize)
    }

    /// Whether the meaning depends only on the entry and the bytes, and not on the rest of the tape or on attachments.
    pub fn is_self_contained(self) -> bool {
        !matches!(self.form(), form::WIDE | form::FLOAT | form::ATTACHMENT)
    }

    /// The index behind this entry and everything in it, if its own index is `index`.
    #[inline(always)]
    pub fn after(self, index: u32) -> u32 {
        if self.is_container() { self.place() } else { index + 1 }
    }

    /// Unpacks the entry. `bytes` and `tape` are those of its document.
    #[inline]
    pub fn node(self, bytes: &MessageBuf, tape: &Tape) -> Node {
        let (len, place) = (self.len(), self.place() as usize);
        let tag = match self.form() {
            form::NULL => Tag::Null,
            form::FALSE => Tag::False,
            form::TRUE => Tag::True,
            form::INT => return Node::int(self.number()),
            form::FLOAT_AT => return Node::float(bytes.float_at(place).unwrap_or_default()),
            form::UINT_AT => return Node::new(Tag::Uint, 0, bytes.word_at(place).unwrap_or_default()),
            form::INT_AT => return Node::int(bytes.word_at(place).unwrap_or_default() as i64),
            form::FLOAT => return Node::float(tape.float(place).unwrap_or_default()),
            form::WIDE => return tape.node(place).unwrap_or(Node::new(Tag::Null, 0, 0)),
            form::STR => Tag::Str,
            form::BYTES => Tag::Bytes,
            form::ATTACHMENT => Tag::Attachment,
            form::FLOAT_RUN => Tag::FloatRun,
            form::ARRAY => Tag::Array,
            _ => Tag::Map,
        };
        Node::new(tag, len, place as u64)
    }
}

/// Whether a number fits in 60 bits.
#[inline(always)]
fn is_small(v: i64) -> bool {
    v << FORM_BITS >> FORM_BITS == v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs a node and unpacks it.
    fn through_a_tape(node: Node) -> Node {
        let mut tape = Tape::default();
        // So that the index is not 0.
        for other in [Node::float(0.25), Node::new(Tag::BigInt, 30, 9)] {
            tape.entry_of(other).unwrap();
        }
        let entry = tape.entry_of(node).unwrap();
        entry.node(&MessageBuf::default(), &tape)
    }

    #[test]
    fn every_node_is_the_same_in_a_tape() {
        let lengths = [0, 1, LONGEST as u32 - 1, LONGEST as u32, LONGEST as u32 + 1, u32::MAX];
        let places = [0, 1, LARGEST_MESSAGE as u64 - 1, LARGEST_MESSAGE as u64, LARGEST_MESSAGE as u64 + 1, u64::MAX];
        let slices = [Tag::BigInt, Tag::Str, Tag::Bytes, Tag::Ext, Tag::FloatRun];
        let slices = slices.map(|tag| lengths.map(|len| places.map(|place| Node::new(tag, len, place))));
        let around = |bit: u32| [-2, -1, 0, 1].map(|i: i64| (1i64 << bit).wrapping_add(i));
        let integers = [0, 8, 31, 32, 58, 59, 60, 62, 63].map(around).concat();
        let integers = integers
            .iter()
            .flat_map(|v| [Node::int(*v), Node::int(v.wrapping_neg()), Node::new(Tag::Uint, 0, *v as u64)]);
        let floats = [
            0.0,
            -0.0,
            0.1,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::MIN_POSITIVE,
            f64::from_bits(0x7ff0_0000_0000_0001),
        ];
        let others = [Tag::Null, Tag::False, Tag::True].map(|tag| Node::new(tag, 0, 0));
        let ext = Node { extra: -128, ..Node::new(Tag::Ext, 7, 40) };
        let nodes = slices.into_iter().flatten().flatten().chain(integers).chain(floats.map(Node::float)).chain(others);
        for node in nodes.chain([ext, Node::new(Tag::Attachment, 0, 5)]) {
            assert_eq!(through_a_tape(node), node);
        }
    }

    #[test]
    fn a_container_keeps_its_count_and_its_end() {
        for (map, members, end) in [(false, 0, 1), (true, 3, 7), (false, MOST_ENTRIES as u32, u32::MAX), (true, 1, 0)] {
            let container = Entry::container(map, members);
            let ended = container.ended(end);
            assert_eq!((ended.is_map(), ended.is_array(), ended.len(), ended.after(0)), (map, !map, members, end));
            assert_eq!((ended.emptied().len(), ended.emptied().after(0)), (0, end));
            let mut more = container;
            more.count_one();
            assert_eq!(more.ended(end), Entry::container(map, (members + 1) % (1 << LEN_BITS)).ended(end));
            assert!(!ended.is_distinct_map());
            if map {
                let distinct = ended.distinct();
                assert!(distinct.is_distinct_map() && distinct.is_map());
                assert_eq!((distinct.len(), distinct.after(0)), (members, end));
            }
        }
    }

    #[test]
    fn a_text_is_found_by_its_length_only_if_it_has_it() {
        let text = Entry::text(1000, 20);
        for len in [0, 19, 21, 20 + (1 << LEN_BITS), 20 + (1 << 32), usize::MAX] {
            assert!(!text.is_text_of(len), "{len}");
        }
        assert!(text.is_text_of(20));
        assert!(!Entry::container(false, 20).is_text_of(20));
    }
}
