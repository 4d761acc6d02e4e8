//! Views of the values in a document: small, copyable, and without allocation.

use super::document::{Document, SharedDocument};
use super::entry::{Entry, Node, Tag};
use super::numbers::{Element, numbers};
use super::text::same;
use crate::error::{Code, Error, Result};
use crate::platform::rounding::ToNearest;
use bytes::Bytes;
use std::borrow::Cow;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Kind {
    /// `None`, `null`, `nil`.
    Null = 0,
    /// A boolean.
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
    /// An integer of more than 64 bits, as decimal text (generation 1 only).
    BigInt = 10,
}

/// The element number of a view that is not of an element of a packed run.
const WHOLE: u32 = u32::MAX;

/// A view of one value. Borrows from its document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    /// The index of its entry in the tape.
    node: u32,
    /// The number of the element in the packed run at `node`, or `WHOLE`.
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

    /// The value at a place that [`Value::place`] returned for the same document; `None` if there is no value at this
    /// place.
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

    /// The kind of the value.
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

    /// Whether the value is null.
    #[inline]
    pub fn is_null(self) -> bool {
        self.element == WHOLE && self.document.entry(self.node) == Entry::NULL
    }

    /// The boolean, if the value is one.
    #[inline]
    pub fn as_bool(self) -> Option<bool> {
        match (self.document.entry(self.node), self.element) {
            (Entry::FALSE, WHOLE) => Some(false),
            (Entry::TRUE, WHOLE) => Some(true),
            _ => None,
        }
    }

    /// The integer, if the value is one and fits.
    #[inline]
    pub fn as_i64(self) -> Option<i64> {
        let node = self.entry();
        match node.tag {
            Tag::Int => Some(node.data as i64),
            Tag::Uint => i64::try_from(node.data).ok(),
            _ => None,
        }
    }

    /// As [`as_i64`](Value::as_i64), but only for an integer whose entry contains it. Not for an element of a packed
    /// run.
    #[inline(always)]
    pub(crate) fn as_common_i64(self) -> Option<i64> {
        self.document.entry(self.node).as_int()
    }

    /// The integer, if the value is one and is not negative.
    #[inline]
    pub fn as_u64(self) -> Option<u64> {
        let node = self.entry();
        (node.tag == Tag::Uint).then_some(node.data)
    }

    /// The number as a double: a float unchanged, an integer rounded to the nearest double.
    #[inline(always)]
    pub fn as_f64(self) -> Option<f64> {
        if self.element != WHOLE {
            return Some(f64::from_bits(run_bits(self.document, self.document.node(self.node), self.element)));
        }
        number(self.document, self.document.entry(self.node))
    }

    /// As [`as_f64`](Value::as_f64), but only for the frequent encodings. Not for an element of a packed run.
    #[inline(always)]
    pub(crate) fn as_common_f64(self) -> Option<f64> {
        common_number(self.document, self.document.entry(self.node))
    }

    /// The text, if the value is a string.
    #[inline]
    pub fn as_str(self) -> Option<&'a str> {
        let node = self.entry();
        match node.tag {
            Tag::Str => std::str::from_utf8(self.document.slice(node)).ok(),
            _ => None,
        }
    }

    /// As [`as_str`](Value::as_str), but as bytes, and without another check for UTF-8, which takes as long as
    /// decoding.
    #[inline]
    pub fn as_str_bytes(self) -> Option<&'a [u8]> {
        self.as_common_str_bytes().or_else(|| self.document.any_text(self.document.entry(self.node)))
    }

    /// As [`as_str_bytes`](Value::as_str_bytes), but only for a string whose length fits in its entry.
    #[inline(always)]
    pub(crate) fn as_common_str_bytes(self) -> Option<&'a [u8]> {
        let entry = self.document.entry(self.node);
        if entry.is_text() { self.document.text(entry) } else { None }
    }

    /// The binary data, if the value is binary.
    #[inline]
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        let node = self.entry();
        match node.tag {
            Tag::Bytes => Some(self.document.slice(node)),
            Tag::Attachment => Some(self.document.attachment(node)),
            _ => None,
        }
    }

    /// The binary data as an array of little-endian numbers, as VTK and vtk.js send them. The result borrows the data
    /// if it happens to be aligned for the type, otherwise it is a copy. Fails if the value is not binary data, or its
    /// size is not a multiple of that of an element. For a list of numbers see [`copy_numbers`](Value::copy_numbers).
    pub fn numbers<T: Element>(self) -> Result<Cow<'a, [T]>> {
        let bytes = self.as_bytes().ok_or_else(|| {
            let message =
                format!("the value is no binary data but of kind {:?}, and no array of {}", self.kind(), T::NAME);
            Error::new(Code::Kind, message)
        })?;
        numbers(bytes)
    }

    /// The type and the data of an extension.
    pub fn as_ext(self) -> Option<(i8, &'a [u8])> {
        let node = self.entry();
        (node.tag == Tag::Ext).then(|| (node.extra, self.document.slice(node)))
    }

    /// The decimal digits of an integer of more than 64 bits, with its sign.
    pub fn as_big_int(self) -> Option<&'a str> {
        let node = self.entry();
        match node.tag {
            Tag::BigInt => std::str::from_utf8(self.document.slice(node)).ok(),
            _ => None,
        }
    }

    /// The binary data as a buffer that owns a reference to the message, without a copy. `document` must be the
    /// document of this value, otherwise the result is `None`.
    pub fn shared_bytes(self, document: &SharedDocument) -> Option<Bytes> {
        if !std::ptr::eq(self.document, &**document) {
            return None;
        }
        let node = self.entry();
        matches!(node.tag, Tag::Bytes | Tag::Attachment).then(|| Document::shared_slice(document, node))
    }

    /// The number of elements of an array, of pairs of a map, or of bytes of a string, binary data or extension. 0 for
    /// other kinds.
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

    /// The value of a string key of a map. The last of several equal keys counts, as in Python.
    #[inline]
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.get_bytes(key.as_bytes())
    }

    /// As [`get`](Value::get), with the key as UTF-8 bytes.
    #[inline(always)]
    pub fn get_bytes(self, key: &[u8]) -> Option<Value<'a>> {
        self.get_next(key).or_else(|| self.search(key))
    }

    /// The first step of [`get_bytes`](Value::get_bytes): checks only the member behind the one that was found last, or
    /// the first member, because members are mostly looked up in their order.
    #[inline(always)]
    pub(crate) fn get_next(self, key: &[u8]) -> Option<Value<'a>> {
        let document = self.document;
        let map = document.entry(self.node);
        if !map.is_distinct_map() {
            return None;
        }
        let next = document.hint.get(self.node).unwrap_or(self.node + 1);
        // `next` may be the end of the map, where an entry of another map may follow.
        let [name, value] = document.pair(next).filter(|_| next < map.place())?;
        is_common_key(document, name, key).then(|| self.found(next + 1, value))
    }

    /// A member that was found in a map without duplicate keys.
    #[inline(always)]
    fn found(self, at: u32, value: Entry) -> Value<'a> {
        self.document.hint.set(self.node, value.after(at));
        Value::at(self.document, at)
    }

    /// The second step of [`get_bytes`](Value::get_bytes): compares one key after the other.
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

    /// An element of an array. Takes time in proportion to `index`; to visit all elements, use
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
        let (remaining, run) = match node.tag {
            Tag::Array => (node.len, false),
            Tag::FloatRun if self.element == WHOLE => (node.len, true),
            _ => (0, false),
        };
        let next = if run { Value { element: 0, ..self } } else { Value::at(self.document, self.node + 1) };
        Elements { next, remaining }
    }

    /// The pairs of a map, in the order of the message; nothing for other kinds.
    #[inline]
    pub fn pairs(self) -> Pairs<'a> {
        let map = self.document.entry(self.node);
        let remaining = if map.is_map() { map.len() } else { 0 };
        Pairs { document: self.document, next: self.node + 1, remaining }
    }

    /// The elements of an array, or the alternating keys and values of a map; nothing for other kinds.
    fn members(self) -> Elements<'a> {
        let map = self.document.entry(self.node);
        if map.is_map() {
            Elements { next: Value::at(self.document, self.node + 1), remaining: 2 * map.len() }
        } else {
            self.elements()
        }
    }

    /// All strings in this value, including itself and the keys of maps.
    pub(crate) fn strings(self) -> impl Iterator<Item = &'a [u8]> {
        let end = if self.element == WHOLE { self.document.after(self.node) } else { self.node };
        (self.node..end).filter_map(move |node| Value::at(self.document, node).as_str_bytes())
    }

    /// The first element of an array or the first key of a map, the number of elements or pairs, and whether this
    /// is a map. For iterators that cannot borrow. `None` for other kinds and for empty containers.
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

    /// The value that follows in the same container. Not for the last value of a container.
    #[inline]
    pub fn following(self) -> Value<'a> {
        match self.element {
            WHOLE => Value::at(self.document, self.document.after(self.node)),
            element => Value { element: element + 1, ..self },
        }
    }

    /// The texts of at most `remaining` elements of an array, from this element on, up to the first that is not a
    /// string.
    #[inline]
    pub(crate) fn texts_from_here(self, remaining: u32) -> impl Iterator<Item = &'a [u8]> {
        // Every string has exactly one entry, and the entry of any other value ends the iteration: so entries count as
        // elements.
        let entries = self.document.entries_from(self.node).iter().take(remaining as usize);
        entries.map_while(
            |entry| if entry.is_text() { self.document.text(*entry) } else { self.document.any_text(*entry) },
        )
    }

    /// Copies at most `out.len()` numbers of an array to `out` and returns the number of its elements. `None` if the
    /// value is not an array, or if an element that would be copied is not a number or does not fit.
    pub fn copy_numbers<T: Number>(self, out: &mut [T]) -> Option<usize> {
        let _rounding = ToNearest::new();
        let entry = self.document.entry(self.node);
        if entry.is_array() {
            let members = self.document.members(self.node);
            let floats = copy_floats(self.document, out, members)?;
            if floats < out.len().min(members.len()) {
                copy_any(self.document, &mut out[floats..], &members[floats..])?;
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

/// Compares the values, whichever generation their messages have. An integer never equals a float. Floats are equal if
/// their bits are equal, or if both are NaN. Maps are equal if their pairs are equal in the same order.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        // A list of the containers around the current pair. Recursion would use stack in proportion to the depth of the
        // message.
        let mut open = Vec::new();
        let mut pair = Some((*self, *other));
        loop {
            let Some((a, b)) = pair else {
                let Some(Members(a, b)) = open.last_mut() else {
                    return true;
                };
                pair = a.next().zip(b.next());
                if pair.is_none() {
                    open.pop();
                }
                continue;
            };
            if a.kind() != b.kind() || a.len() != b.len() {
                return false;
            }
            match a.kind() {
                Kind::Array | Kind::Map => open.push(Members(a.members(), b.members())),
                _ if !same_scalar(a, b) => return false,
                _ => {}
            }
            pair = None;
        }
    }
}

/// The members of two containers that are still to be compared.
struct Members<'a, 'b>(Elements<'a>, Elements<'b>);

/// Whether two values of one kind that are not containers are equal.
fn same_scalar(a: Value<'_>, b: Value<'_>) -> bool {
    match a.kind() {
        Kind::Null | Kind::Array | Kind::Map => true,
        Kind::Bool => a.as_bool() == b.as_bool(),
        Kind::Int => a.as_i64() == b.as_i64(),
        Kind::Uint => a.as_u64() == b.as_u64(),
        Kind::Float => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
            _ => false,
        },
        Kind::String => a.as_str_bytes() == b.as_str_bytes(),
        Kind::Bytes => a.as_bytes() == b.as_bytes(),
        Kind::Ext => a.as_ext() == b.as_ext(),
        Kind::BigInt => a.as_big_int() == b.as_big_int(),
    }
}

/// Whether an entry is this key. `false` for a key whose length does not fit in its entry.
#[inline(always)]
fn is_common_key(document: &Document, name: Entry, key: &[u8]) -> bool {
    name.is_text_of(key.len()) && document.part(name, key.len()).is_some_and(|text| same(key, text))
}

/// Whether an entry is this key.
fn is_key(document: &Document, name: Entry, key: &[u8]) -> bool {
    is_common_key(document, name, key) || !name.is_self_contained() && document.any_text(name) == Some(key)
}

#[inline]
fn run_bits(document: &Document, run: Node, element: u32) -> u64 {
    let at = run.data as usize + 9 * element as usize + 1;
    u64::from_be_bytes(document.bytes()[at..at + 8].try_into().expect("8 bytes"))
}

#[inline(always)]
fn number(document: &Document, entry: Entry) -> Option<f64> {
    common_number(document, entry).or_else(|| rare_number(document, entry))
}

/// The number of an entry of a frequent form. Compares the forms one by one, because the branches are predicted better
/// than a jump table.
#[inline(always)]
fn common_number(document: &Document, entry: Entry) -> Option<f64> {
    if let Some(at) = entry.as_float_at() {
        document.float_at(at)
    } else if let Some(v) = entry.as_int() {
        Some(nearest(v))
    } else {
        document.float(entry)
    }
}

#[cold]
#[inline(never)]
fn rare_number(document: &Document, entry: Entry) -> Option<f64> {
    let node = document.node_of(entry);
    match node.tag {
        Tag::Float => Some(f64::from_bits(node.data)),
        Tag::Int => Some(nearest(node.data as i64)),
        Tag::Uint => Some(nearest_unsigned(node.data)),
        // The parser of std rounds any number of digits correctly.
        Tag::BigInt => std::str::from_utf8(document.slice(node)).ok()?.parse().ok(),
        _ => None,
    }
}

/// The double nearest to an integer, whatever the rounding mode of this thread.
#[inline(always)]
fn nearest(v: i64) -> f64 {
    if v.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS {
        return v as f64;
    }
    let magnitude = nearest_unsigned(v.unsigned_abs());
    if v < 0 { -magnitude } else { magnitude }
}

#[inline(never)]
fn nearest_unsigned(v: u64) -> f64 {
    // An integer with more bits than the mantissa is rounded to the nearest double; a tie is rounded to even.
    let excess = (u64::BITS - v.leading_zeros()).saturating_sub(f64::MANTISSA_DIGITS);
    let (kept, rest) = (v >> excess, v & ((1 << excess) - 1));
    let (half, odd) = ((1 << excess) >> 1, kept & 1 == 1);
    let up = excess > 0 && (rest > half || rest == half && odd);
    // Both conversions and the product are exact.
    (kept + u64::from(up)) as f64 * (1u64 << excess) as f64
}

/// Copies elements up to the first that is not a float64 of msgpack, and returns how many were copied.
#[inline(always)]
fn copy_floats<T: Number>(document: &Document, out: &mut [T], from: &[Entry]) -> Option<usize> {
    let mut count = 0;
    for (to, at) in out.iter_mut().zip(from.iter().map_while(|entry| entry.as_float_at())) {
        *to = T::from_f64(document.float_at(at)?)?;
        count += 1;
    }
    Some(count)
}

/// Copies numbers of any kind; `None` if an entry is not a number. Every number has exactly one entry.
#[inline(never)]
fn copy_any<T: Number>(document: &Document, out: &mut [T], from: &[Entry]) -> Option<()> {
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
    /// From a float; `None` if the type is an integer.
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
            /// Always `None`: a float is not silently truncated to an integer.
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
    remaining: u32,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        if self.remaining == 0 {
            return None;
        }
        self.remaining -= 1;
        let value = self.next;
        if value.element == WHOLE {
            self.next.node = value.document.after(value.node);
        } else {
            self.next.element += 1;
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
    }
}

/// Iterator over the pairs of a map.
pub struct Pairs<'a> {
    document: &'a Document,
    next: u32,
    remaining: u32,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Value<'a>, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        self.remaining -= 1;
        let key = Value::at(self.document, self.next);
        let value = Value::at(self.document, self.document.after(self.next));
        self.next = self.document.after(value.node);
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining as usize, Some(self.remaining as usize))
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
