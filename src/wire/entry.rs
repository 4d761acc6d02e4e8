//! The entries of a tape: eight bytes for each value, since large messages are held up by memory and not by instructions.
//! What does not fit says where it is.

use super::buffer::MessageBuf;
use super::tape::Tape;

/// What an entry means. Private to the wire floor; the public view is [`super::value::Kind`].
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
    /// `len` pairs of key and value follow; `data`: index after the last descendant.
    Map,
    /// `data`, `len`: the place of the data; `extra`: the type.
    Ext,
    /// An array of `len` float64 values kept as msgpack wrote them, 9 bytes each, from `data`.
    FloatRun,
}

/// All that an entry means, unpacked.
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

/// One entry. The lowest four bits are the form, on which the others depend: 28 bits of length and 32 bits of place, or 60 bits
/// of a number. One word and not two halves, because decoding is mostly writing these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

/// How an entry says what it means.
mod form {
    pub const NULL: u32 = 0;
    pub const FALSE: u32 = 1;
    pub const TRUE: u32 = 2;
    /// An integer of 60 bit.
    pub const INT: u32 = 3;
    /// The place of a float64 in the bytes, as msgpack writes it.
    pub const FLOAT_AT: u32 = 4;
    /// The same of an integer that takes more than 60 bits and is not negative, and of one that is.
    pub const UINT_AT: u32 = 5;
    pub const INT_AT: u32 = 6;
    /// The index of a float that is in none of the bytes.
    pub const FLOAT: u32 = 7;
    /// The index of any other node that does not fit.
    pub const WIDE: u32 = 8;
    pub const STR: u32 = 9;
    pub const BYTES: u32 = 10;
    pub const ATTACHMENT: u32 = 11;
    pub const FLOAT_RUN: u32 = 12;
    // From here on containers: the length, and the place behind the last descendant.
    pub const ARRAY: u32 = 13;
    pub const MAP: u32 = 14;
    /// A map in which no key occurs twice for certain.
    pub const DISTINCT_MAP: u32 = 15;
}

const FORM_BITS: u32 = 4;
const FORM: u32 = (1 << FORM_BITS) - 1;
const LEN_BITS: u32 = 32 - FORM_BITS;

/// The longest string, binary data or packed run that has its length in its entry.
pub(crate) const LONGEST: usize = (1 << LEN_BITS) - 1;

/// So many entries a tape can have: a container has the count of its members in its entry.
pub(crate) const MOST_ENTRIES: usize = LONGEST;

/// The longest message whose places fit in entries, which is the longest one that protocol 2 has.
pub(crate) const LARGEST_MESSAGE: usize = u32::MAX as usize;

/// How much memory an entry takes.
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

    /// A string of at most [`LONGEST`] bytes, which begins here.
    #[inline(always)]
    pub fn text(start: usize, len: usize) -> Entry {
        Entry::new(form::STR, len, start)
    }

    /// The float64 of which msgpack wrote the eight bytes to this place.
    #[inline(always)]
    pub fn float_at(start: usize) -> Entry {
        Entry::new(form::FLOAT_AT, 0, start)
    }

    /// The same for an integer; `negative` tells how its eight bytes are meant.
    #[inline]
    pub fn integer_at(start: usize, negative: bool) -> Entry {
        Entry::new(if negative { form::INT_AT } else { form::UINT_AT }, 0, start)
    }

    /// A container of so many members, at most [`MOST_ENTRIES`], which are still to come.
    #[inline(always)]
    pub fn container(map: bool, members: u32) -> Entry {
        Entry::new(if map { form::MAP } else { form::ARRAY }, members as usize, 0)
    }

    /// The same container, which ends before this index.
    #[inline(always)]
    pub fn ended(self, end: u32) -> Entry {
        Entry(u64::from(self.head()) | u64::from(end) << 32)
    }

    /// The same container without members.
    pub fn emptied(self) -> Entry {
        Entry::new(self.form(), 0, self.place() as usize)
    }

    /// Counts one more member of a container that has not ended. If there are more than [`MOST_ENTRIES`], which is an error as
    /// soon as it is noticed, the count starts anew and the place, which is told in the end, is wrong until then.
    #[inline(always)]
    pub fn count_one(&mut self) {
        self.0 += 1 << FORM_BITS;
    }

    /// The same map, in which no key occurs twice.
    #[inline(always)]
    pub fn distinct(self) -> Entry {
        Entry(self.0 | u64::from(form::DISTINCT_MAP))
    }

    /// A node that fits; `None` if it does not.
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

    /// The float with this index.
    #[inline(always)]
    pub fn float(index: usize) -> Entry {
        Entry::new(form::FLOAT, 0, index)
    }

    /// The wide node with this index.
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

    /// Of a string, binary data, a container or a packed run.
    #[inline(always)]
    pub fn len(self) -> u32 {
        self.head() >> FORM_BITS
    }

    /// Where the bytes begin, what index the attachment has, or where the container ends.
    #[inline(always)]
    pub fn place(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub fn is_map(self) -> bool {
        self.form() >= form::MAP
    }

    /// Whether this is a map in which no key occurs twice.
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

    /// Whether this is a string, whose place fits.
    #[inline(always)]
    pub fn is_text(self) -> bool {
        self.form() == form::STR
    }

    /// The same for one of this length.
    #[inline(always)]
    pub fn is_text_of(self, len: usize) -> bool {
        u64::from(self.head()) == (len as u64) << FORM_BITS | u64::from(form::STR)
    }

    #[inline(always)]
    fn number(self) -> i64 {
        self.0 as i64 >> FORM_BITS
    }

    /// An integer of 60 bit.
    #[inline(always)]
    pub fn as_int(self) -> Option<i64> {
        (self.form() == form::INT).then(|| self.number())
    }

    /// Where the float64 is that msgpack wrote.
    #[inline(always)]
    pub fn as_float_at(self) -> Option<usize> {
        (self.form() == form::FLOAT_AT).then_some(self.place() as usize)
    }

    /// The index of a float that is in none of the bytes.
    #[inline(always)]
    pub fn as_float_index(self) -> Option<usize> {
        (self.form() == form::FLOAT).then_some(self.place() as usize)
    }

    /// Whether this stands for itself and the bytes, so that it means the same in another document with these bytes.
    pub fn is_self_contained(self) -> bool {
        !matches!(self.form(), form::WIDE | form::FLOAT | form::ATTACHMENT)
    }

    /// Where the entry is that follows this one and all that it contains, if this is the one at `index`.
    #[inline(always)]
    pub fn after(self, index: u32) -> u32 {
        if self.is_container() { self.place() } else { index + 1 }
    }

    /// What it means, in a document with these bytes and this tape.
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

/// Whether a number has 60 bits.
#[inline(always)]
fn is_small(v: i64) -> bool {
    v << FORM_BITS >> FORM_BITS == v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a node in an entry, and of what does not fit in one.
    fn through_a_tape(node: Node) -> Node {
        let mut tape = Tape::default();
        // So that no index is the first.
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
