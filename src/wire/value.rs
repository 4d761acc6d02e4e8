//! Views of the values in a document: small, copied freely, never allocating.

use super::document::{Document, SharedDocument};
use super::entry::{Entry, Node, Tag};
use super::text::same;
use bytes::Bytes;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Kind {
    /// `None`, `null`, `nil`.
    Null = 0,
    /// A truth value.
    Bool = 1,
    /// An integer in the range of `i64`.
    Int = 2,
    /// An integer above the range of `i64`, within `u64`.
    Uint = 3,
    /// A double.
    Float = 4,
    /// UTF-8 text.
    String = 5,
    /// Binary data: an attachment.
    Bytes = 6,
    /// A list.
    Array = 7,
    /// An ordered list of pairs; keys are of any kind.
    Map = 8,
    /// A msgpack extension: a type from -128 to 127 and data.
    Ext = 9,
    /// An integer beyond 64 bit, as decimal text (generation 1 only).
    BigInt = 10,
}

/// Not inside a packed run of floats.
const WHOLE: u32 = u32::MAX;

/// A view of one value. Valid as long as its document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    /// Index of the tape entry.
    node: u32,
    /// Which element of the packed run at `node` is meant, or `WHOLE`.
    element: u32,
}

impl<'a> Value<'a> {
    pub(crate) fn at(document: &'a Document, node: u32) -> Value<'a> {
        Value { document, node, element: WHOLE }
    }

    /// The place of the value in its document, for [`Value::from_place`].
    #[inline]
    pub fn place(self) -> (u32, u32) {
        (self.node, self.element)
    }

    /// The value at a place that [`Value::place`] gave for the same document; `None` for any other.
    #[inline(always)]
    pub fn from_place(document: &'a Document, (node, element): (u32, u32)) -> Option<Value<'a>> {
        if node as usize >= document.node_count() {
            return None;
        }
        if element != WHOLE {
            let run = document.node(node);
            if run.tag != Tag::FloatRun || element >= run.len {
                return None;
            }
        }
        Some(Value { document, node, element })
    }

    /// The document that holds the value.
    pub fn document(self) -> &'a Document {
        self.document
    }

    #[inline]
    fn entry(self) -> Node {
        let node = self.document.node(self.node);
        if self.element == WHOLE {
            return node;
        }
        Node::new(Tag::Float, 0, run_bits(self.document, node, self.element))
    }

    /// What the value is.
    #[inline]
    pub fn kind(self) -> Kind {
        if self.element != WHOLE {
            return Kind::Float;
        }
        let node = self.document.node(self.node);
        match node.tag {
            Tag::Null => Kind::Null,
            Tag::False | Tag::True => Kind::Bool,
            Tag::Int => Kind::Int,
            Tag::Uint if node.data <= i64::MAX as u64 => Kind::Int,
            Tag::Uint => Kind::Uint,
            Tag::Float => Kind::Float,
            Tag::BigInt => Kind::BigInt,
            Tag::Str => Kind::String,
            Tag::Bytes | Tag::Attachment => Kind::Bytes,
            Tag::Array | Tag::FloatRun => Kind::Array,
            Tag::Map => Kind::Map,
            Tag::Ext => Kind::Ext,
        }
    }

    /// Whether this is null.
    #[inline]
    pub fn is_null(self) -> bool {
        self.element == WHOLE && self.document.entry(self.node) == Entry::NULL
    }

    /// The truth value, if this is one.
    #[inline]
    pub fn as_bool(self) -> Option<bool> {
        match (self.document.entry(self.node), self.element) {
            (Entry::FALSE, WHOLE) => Some(false),
            (Entry::TRUE, WHOLE) => Some(true),
            _ => None,
        }
    }

    /// The integer, if this is one and it fits.
    #[inline]
    pub fn as_i64(self) -> Option<i64> {
        let node = self.entry();
        match node.tag {
            Tag::Int => Some(node.data as i64),
            Tag::Uint => i64::try_from(node.data).ok(),
            _ => None,
        }
    }

    /// The same for the frequent ones.
    #[inline(always)]
    pub(crate) fn as_usual_i64(self) -> Option<i64> {
        self.document.entry(self.node).as_int()
    }

    /// The integer, if this is one and it is not negative.
    #[inline]
    pub fn as_u64(self) -> Option<u64> {
        let node = self.entry();
        (node.tag == Tag::Uint).then_some(node.data)
    }

    /// The number as a double: a float as it is, an integer rounded to the nearest double.
    #[inline(always)]
    pub fn as_f64(self) -> Option<f64> {
        if self.element != WHOLE {
            return Some(f64::from_bits(run_bits(self.document, self.document.node(self.node), self.element)));
        }
        number(self.document, self.document.entry(self.node))
    }

    /// The same for the frequent ones.
    #[inline(always)]
    pub(crate) fn as_usual_f64(self) -> Option<f64> {
        usual_number(self.document, self.document.entry(self.node))
    }

    /// The text, if this is a string.
    #[inline]
    pub fn as_str(self) -> Option<&'a str> {
        let node = self.entry();
        match node.tag {
            // Checked by the decoder; checking here again would cost as much as decoding.
            Tag::Str => std::str::from_utf8(self.document.slice(node)).ok(),
            _ => None,
        }
    }

    /// The UTF-8 text of a string as bytes, without looking at it.
    #[inline]
    pub fn as_str_bytes(self) -> Option<&'a [u8]> {
        self.as_usual_str_bytes().or_else(|| self.document.any_text(self.document.entry(self.node)))
    }

    /// The same for the usual ones.
    #[inline(always)]
    pub(crate) fn as_usual_str_bytes(self) -> Option<&'a [u8]> {
        let entry = self.document.entry(self.node);
        if entry.is_text() { self.document.text(entry) } else { None }
    }

    /// The binary data, if this is such.
    #[inline]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        let node = self.entry();
        match node.tag {
            Tag::Bytes => Some(self.document.slice(node)),
            Tag::Attachment => Some(self.document.attachment(node)),
            _ => None,
        }
    }

    /// The type and the data of an extension.
    pub fn as_ext(self) -> Option<(i8, &'a [u8])> {
        let node = self.entry();
        (node.tag == Tag::Ext).then(|| (node.extra, self.document.slice(node)))
    }

    /// The decimal digits of an integer beyond 64 bit, with its sign.
    pub fn as_big_int(self) -> Option<&'a str> {
        let node = self.entry();
        match node.tag {
            Tag::BigInt => std::str::from_utf8(self.document.slice(node)).ok(),
            _ => None,
        }
    }

    /// The binary data as a buffer that stays alive by itself, at no copy. `document` must be the
    /// shared handle of the document that this value belongs to.
    pub fn shared_bytes(self, document: &SharedDocument) -> Option<Bytes> {
        if !std::ptr::eq(self.document, &**document) {
            return None;
        }
        let node = self.entry();
        matches!(node.tag, Tag::Bytes | Tag::Attachment).then(|| Document::shared_slice(document, node))
    }

    /// How many elements an array has, pairs a map, bytes a string, binary or extension; else 0.
    #[inline]
    pub fn len(self) -> usize {
        let node = self.entry();
        match node.tag {
            Tag::Array | Tag::Map | Tag::FloatRun | Tag::Str | Tag::Bytes | Tag::Ext => node.len as usize,
            Tag::Attachment => self.document.attachment(node).len(),
            _ => 0,
        }
    }

    /// Whether [`len`](Value::len) is 0.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The value of a string key of a map. With duplicate keys the last one counts, as in Python.
    #[inline]
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.get_bytes(key.as_bytes())
    }

    /// The same for a key as UTF-8 bytes.
    #[inline(always)]
    pub fn get_bytes(self, key: &[u8]) -> Option<Value<'a>> {
        self.get_next(key).or_else(|| self.search(key))
    }

    /// Members are asked for in their order, mostly: so the first guess is what follows the last one found, or the first.
    #[inline(always)]
    pub(crate) fn get_next(self, key: &[u8]) -> Option<Value<'a>> {
        let document = self.document;
        let map = document.entry(self.node);
        if !map.is_distinct_map() {
            return None;
        }
        let next = document.hint.get(self.node).unwrap_or(self.node + 1);
        // The guess may be just behind the map, where a key of another one may be.
        let [name, value] = document.pair(next).filter(|_| next < map.place())?;
        is_usual_key(document, name, key).then(|| self.found(next + 1, value))
    }

    /// A member that was found in a map without equal keys.
    #[inline(always)]
    fn found(self, at: u32, value: Entry) -> Value<'a> {
        self.document.hint.set(self.node, value.after(at));
        Value::at(self.document, at)
    }

    /// Looks at one key after the other.
    #[inline(never)]
    pub(crate) fn search(self, key: &[u8]) -> Option<Value<'a>> {
        let document = self.document;
        let map = document.entry(self.node);
        if !map.is_map() {
            return None;
        }
        let mut found = None;
        let mut at = self.node + 1;
        for _ in 0..map.len() {
            let value = document.after(at);
            if is_key(document, document.entry(at), key) {
                if map.is_distinct_map() {
                    return Some(self.found(value, document.entry(value)));
                }
                found = Some(Value::at(document, value));
            }
            at = document.after(value);
        }
        found
    }

    /// The element of an array. Steps over the elements before it; to visit all, use
    /// [`elements`](Value::elements).
    pub fn index(self, index: usize) -> Option<Value<'a>> {
        let node = self.document.node(self.node);
        match node.tag {
            Tag::FloatRun if self.element == WHOLE && index < node.len as usize => {
                Some(Value { element: index as u32, ..self })
            }
            Tag::Array => self.elements().nth(index),
            _ => None,
        }
    }

    /// The elements of an array; nothing for other kinds.
    #[inline]
    pub fn elements(self) -> Elements<'a> {
        let node = self.document.node(self.node);
        let (left, run) = match node.tag {
            Tag::Array => (node.len, false),
            Tag::FloatRun if self.element == WHOLE => (node.len, true),
            _ => (0, false),
        };
        let next = if run { Value { element: 0, ..self } } else { Value::at(self.document, self.node + 1) };
        Elements { next, left }
    }

    /// The pairs of a map, in the order of the message; nothing for other kinds.
    #[inline]
    pub fn pairs(self) -> Pairs<'a> {
        let map = self.document.entry(self.node);
        let left = if map.is_map() { map.len() } else { 0 };
        Pairs { document: self.document, next: self.node + 1, left }
    }

    /// The first element of an array or key of a map, how many elements or pairs there are, and whether it
    /// is a map; for iterators that cannot borrow. `None` for other kinds and for empty ones.
    #[inline]
    pub fn first(self) -> Option<(Value<'a>, u32, bool)> {
        let node = self.document.node(self.node);
        match node.tag {
            Tag::FloatRun if self.element == WHOLE => Some((Value { element: 0, ..self }, node.len, false)),
            Tag::Array | Tag::Map if node.len > 0 => {
                Some((Value::at(self.document, self.node + 1), node.len, node.tag == Tag::Map))
            }
            _ => None,
        }
    }

    /// What follows this value in its container. Only for values that are not the last one.
    #[inline]
    pub fn following(self) -> Value<'a> {
        match self.element {
            WHOLE => Value::at(self.document, self.document.after(self.node)),
            element => Value { element: element + 1, ..self },
        }
    }

    /// The texts from this element of an array on, of which `left` are left, as far as there are only strings.
    #[inline]
    pub(crate) fn texts_from_here(self, left: u32) -> impl Iterator<Item = &'a [u8]> {
        // A string has one entry: what has more is none, and ends this. So does a packed run, whichever element of it this is.
        let entries = self.document.entries_from(self.node).iter().take(left as usize);
        entries.map_while(
            |entry| if entry.is_text() { self.document.text(*entry) } else { self.document.any_text(*entry) },
        )
    }

    /// Copies an array of numbers into `out` and returns how many there are; `None` if this is not an
    /// array or an element is not a number. Copies at most `out.len()`.
    pub fn copy_numbers<T: Number>(self, out: &mut [T]) -> Option<usize> {
        let entry = self.document.entry(self.node);
        if entry.is_array() {
            let members = self.document.members(self.node);
            let floats = copy_floats(self.document, out, members)?;
            if floats < out.len().min(members.len()) {
                copy_others(self.document, &mut out[floats..], &members[floats..])?;
            }
            return Some(members.len());
        }
        let run = self.document.node_of(entry);
        if run.tag != Tag::FloatRun || self.element != WHOLE {
            return None;
        }
        let data = &self.document.bytes()[run.data as usize..][..9 * run.len as usize];
        for (to, from) in out.iter_mut().zip(data.chunks_exact(9)) {
            *to = T::from_f64(f64::from_be_bytes(from[1..].try_into().expect("8 bytes")))?;
        }
        Some(run.len as usize)
    }
}

/// Two views are equal if the values are, whatever the generation that brought them: integers and
/// floats are different, floats are equal if their bits are, maps are equal in order.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        super::json::write::tagged(*self) == super::json::write::tagged(*other)
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&super::json::write::tagged(*self))
    }
}

/// Whether an entry is this key. One that does not fit in its entry is not found.
#[inline(always)]
fn is_usual_key(document: &Document, name: Entry, key: &[u8]) -> bool {
    name.is_text_of(key.len()) && document.part(name, key.len()).is_some_and(|text| same(key, text))
}

/// The same for any key.
fn is_key(document: &Document, name: Entry, key: &[u8]) -> bool {
    is_usual_key(document, name, key) || !name.is_self_contained() && document.any_text(name) == Some(key)
}

#[inline]
fn run_bits(document: &Document, run: Node, element: u32) -> u64 {
    let at = run.data as usize + 9 * element as usize + 1;
    u64::from_be_bytes(document.bytes()[at..at + 8].try_into().expect("8 bytes"))
}

#[inline(always)]
fn number(document: &Document, entry: Entry) -> Option<f64> {
    usual_number(document, entry).or_else(|| seldom_number(document, entry))
}

/// Few enough forms that they are compared: a jump by table is predicted worse.
#[inline(always)]
fn usual_number(document: &Document, entry: Entry) -> Option<f64> {
    if let Some(at) = entry.as_float_at() {
        document.float_at(at)
    } else if let Some(v) = entry.as_int() {
        Some(v as f64)
    } else {
        document.float(entry)
    }
}

#[cold]
#[inline(never)]
fn seldom_number(document: &Document, entry: Entry) -> Option<f64> {
    let node = document.node_of(entry);
    match node.tag {
        Tag::Float => Some(f64::from_bits(node.data)),
        Tag::Int => Some(node.data as i64 as f64),
        Tag::Uint => Some(node.data as f64),
        // std parses any number of digits exactly.
        Tag::BigInt => std::str::from_utf8(document.slice(node)).ok()?.parse().ok(),
        _ => None,
    }
}

/// Copies floats up to the first number that is no float64 of msgpack, and returns how many those are.
#[inline(always)]
fn copy_floats<T: Number>(document: &Document, out: &mut [T], from: &[Entry]) -> Option<usize> {
    let mut count = 0;
    for (to, at) in out.iter_mut().zip(from.iter().map_while(|entry| entry.as_float_at())) {
        *to = T::from_f64(document.float_at(at)?)?;
        count += 1;
    }
    Some(count)
}

/// Copies numbers of any kind. They have one entry each: what has more is none, and ends this.
#[inline(never)]
fn copy_others<T: Number>(document: &Document, out: &mut [T], from: &[Entry]) -> Option<()> {
    let floats = document.floats();
    for (to, entry) in out.iter_mut().zip(from) {
        *to = if let Some(v) = entry.as_float_index().and_then(|index| floats.get(index)) {
            T::from_f64(*v)?
        } else if let Some(v) = entry.as_int() {
            T::from_i64(v)?
        } else {
            match document.node_of(*entry) {
                Node { tag: Tag::Int, data, .. } => T::from_i64(data as i64)?,
                Node { tag: Tag::Uint, data, .. } => T::from_u64(data)?,
                _ => T::from_f64(number(document, *entry)?)?,
            }
        };
    }
    Some(())
}

/// A type that arrays of numbers can be copied into.
pub trait Number: Copy + sealed::Sealed {
    /// From a float; `None` if that is no value of the type.
    fn from_f64(v: f64) -> Option<Self>;
    /// From an integer; `None` if it does not fit.
    fn from_i64(v: i64) -> Option<Self>;
    /// From an integer; `None` if it does not fit.
    fn from_u64(v: u64) -> Option<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for f32 {}
    impl Sealed for i64 {}
    impl Sealed for u64 {}
    impl Sealed for i32 {}
    impl Sealed for u8 {}
}

macro_rules! float_number {
    ($t:ty) => {
        impl Number for $t {
            #[inline]
            fn from_f64(v: f64) -> Option<Self> {
                Some(v as $t)
            }
            #[inline]
            fn from_i64(v: i64) -> Option<Self> {
                Some(v as $t)
            }
            #[inline]
            fn from_u64(v: u64) -> Option<Self> {
                Some(v as $t)
            }
        }
    };
}

macro_rules! integer_number {
    ($t:ty) => {
        impl Number for $t {
            /// Never: a float is not silently cut to an integer.
            fn from_f64(_: f64) -> Option<Self> {
                None
            }
            #[inline]
            fn from_i64(v: i64) -> Option<Self> {
                v.try_into().ok()
            }
            #[inline]
            fn from_u64(v: u64) -> Option<Self> {
                v.try_into().ok()
            }
        }
    };
}

float_number!(f64);
float_number!(f32);
integer_number!(i64);
integer_number!(u64);
integer_number!(i32);
integer_number!(u8);

/// Iterator over the elements of an array.
pub struct Elements<'a> {
    next: Value<'a>,
    left: u32,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let value = self.next;
        if value.element == WHOLE {
            self.next.node = value.document.after(value.node);
        } else {
            self.next.element += 1;
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

/// Iterator over the pairs of a map.
pub struct Pairs<'a> {
    document: &'a Document,
    next: u32,
    left: u32,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Value<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let key = Value::at(self.document, self.next);
        let value = Value::at(self.document, self.document.after(self.next));
        self.next = self.document.after(value.node);
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::builder::parse_json;

    #[test]
    fn numbers_of_every_kind_are_read_and_copied_whatever_comes_first() {
        let numbers = [("0.5", 0.5), ("7", 7.0), ("-7", -7.0), ("18446744073709551615", 2f64.powi(64))];
        let numbers = [&numbers[..], &[("36893488147419103232", 2f64.powi(65))]].concat();
        for first in 0..numbers.len() {
            let in_turn = || numbers.iter().cycle().skip(first).take(numbers.len());
            let texts: Vec<_> = in_turn().map(|(text, _)| *text).collect();
            let wanted: Vec<_> = in_turn().map(|(_, number)| *number).collect();
            let document = parse_json(&format!("[{}]", texts.join(",")), &[], false).unwrap();
            let list = document.root();
            assert_eq!(list.elements().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>(), wanted);
            for room in 0..=wanted.len() + 1 {
                let mut out = vec![0.25; room];
                assert_eq!(list.copy_numbers(&mut out), Some(wanted.len()));
                let copied = room.min(wanted.len());
                assert_eq!(out[..copied], wanted[..copied]);
                assert!(out[copied..].iter().all(|untouched| *untouched == 0.25));
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_copied_as_one() {
        for text in ["[1.5, null, 2]", "[1.5, [2, 3], 4]", "[1, {\"a\": 2}]", "[1.5, \"2\"]", "[false]"] {
            let document = parse_json(text, &[], false).unwrap();
            assert_eq!(document.root().copy_numbers(&mut [0.0; 3]), None, "{text}");
        }
    }
}
