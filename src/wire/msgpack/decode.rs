//! A msgpack message to a document, in one pass over the bytes.

use crate::error::{Code, Error, Result};
use crate::wire::buffer::MessageBuf;
use crate::wire::document::{DISTINCT, Document, MAX_DEPTH, Node, Tag};
use crate::wire::tape::TapeWriter;
use crate::wire::text::{Keys, PADDING, Text};

/// Arrays of at least this many float64 stay packed: one entry instead of one per value.
const SHORTEST_RUN: usize = 8;

/// Decodes one message; bytes after the value are an error. `max_nodes` bounds the index: 16 bytes of
/// memory for each value.
pub fn decode(message: MessageBuf, max_nodes: usize) -> Result<Document> {
    let mut document = Document::undecoded(message);
    decode_into(&mut document, max_nodes)?;
    Ok(document)
}

/// The same for a document that has the bytes of the message, in the memory of its index.
pub(crate) fn decode_into(document: &mut Document, max_nodes: usize) -> Result<()> {
    document.bytes.pad()?;
    let message = &document.bytes;
    let mut tape = TapeWriter::new(std::mem::take(&mut document.tape), message.len(), max_nodes, message.origin());
    let mut reader = Reader { size: message.len() + PADDING, rest: message.padded() };
    match values(&mut reader, &mut tape) {
        Ok(()) => {
            document.tape = tape.finish();
            Ok(())
        }
        Err(Fault::Malformed(what)) => {
            Err(Error::new(Code::Protocol, format!("malformed msgpack: {what} at byte {}", reader.at())))
        }
        Err(Fault::Other(error)) => Err(error),
    }
}

/// Why a message cannot be decoded. Where is known to the reader.
enum Fault {
    Malformed(&'static str),
    Other(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

type Read<T> = Result<T, Fault>;

/// Everything that takes it by reference is inlined, so that it lives in registers.
#[derive(Clone, Copy)]
struct Reader<'a> {
    /// Of the whole message, with the padding behind it.
    size: usize,
    /// With the padding, so that short text can be looked at in one step.
    rest: &'a [u8],
}

const ENDS: Fault = Fault::Malformed("message ends inside a value");

impl<'a> Reader<'a> {
    /// How many bytes were read.
    #[inline(always)]
    fn at(&self) -> usize {
        self.size - self.rest.len()
    }

    /// How many bytes of the message are left.
    #[inline(always)]
    fn left(&self) -> usize {
        self.rest.len() - PADDING
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) if rest.len() >= PADDING => {
                self.rest = rest;
                Ok(*bytes)
            }
            _ => Err(ENDS),
        }
    }

    /// Steps over `len` bytes. Gives them with all that follows.
    #[inline(always)]
    fn skip(&mut self, len: usize) -> Read<&'a [u8]> {
        let from_here = self.rest;
        match from_here.get(len..) {
            Some(rest) if rest.len() >= PADDING => {
                self.rest = rest;
                Ok(from_here)
            }
            _ => Err(ENDS),
        }
    }

    /// An entry for data that is stepped over.
    #[inline(always)]
    fn data(&mut self, tag: Tag, len: usize) -> Read<Node> {
        let start = self.at() as u64;
        self.skip(len)?;
        Ok(Node::new(tag, len as u32, start))
    }

    #[inline(always)]
    fn string(&mut self, len: usize) -> Read<(Node, Text<'a>)> {
        let start = self.at() as u64;
        let text = Text::new(self.skip(len)?, len);
        if !text.is_ascii() && !is_utf8(text.bytes()) {
            return Err(Fault::Malformed("string is not valid UTF-8 before"));
        }
        Ok((Node::new(Tag::Str, len as u32, start), text))
    }

    #[inline(always)]
    fn ext(&mut self, len: usize) -> Read<Node> {
        let [kind] = self.fixed::<1>()?;
        Ok(Node { extra: kind as i8, ..self.data(Tag::Ext, len)? })
    }

    #[inline(always)]
    fn u8(&mut self) -> Read<usize> {
        Ok(usize::from(self.fixed::<1>()?[0]))
    }

    #[inline(always)]
    fn u16(&mut self) -> Read<usize> {
        Ok(usize::from(u16::from_be_bytes(self.fixed()?)))
    }

    #[inline(always)]
    fn u32(&mut self) -> Read<usize> {
        Ok(u32::from_be_bytes(self.fixed()?) as usize)
    }

    /// A value of one of the forms that are not frequent. By value, so that the reader of the others is in registers.
    #[inline(never)]
    fn seldom(mut self, byte: u8) -> Read<(Node, Reader<'a>)> {
        let r = &mut self;
        let node = match byte {
            0xc4 => r.u8().and_then(|n| r.data(Tag::Bytes, n))?,
            0xc5 => r.u16().and_then(|n| r.data(Tag::Bytes, n))?,
            0xc6 => r.u32().and_then(|n| r.data(Tag::Bytes, n))?,
            0xc7 => r.u8().and_then(|n| r.ext(n))?,
            0xc8 => r.u16().and_then(|n| r.ext(n))?,
            0xc9 => r.u32().and_then(|n| r.ext(n))?,
            0xca => float(f64::from(f32::from_be_bytes(r.fixed()?))),
            0xcf => unsigned(u64::from_be_bytes(r.fixed()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(r.fixed()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(r.fixed()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(r.fixed()?))),
            0xd3 => signed(i64::from_be_bytes(r.fixed()?)),
            0xd4 => r.ext(1)?,
            0xd5 => r.ext(2)?,
            0xd6 => r.ext(4)?,
            0xd7 => r.ext(8)?,
            0xd8 => r.ext(16)?,
            0xda => r.u16().and_then(|n| r.string(n))?.0,
            0xdb => r.u32().and_then(|n| r.string(n))?.0,
            _ => return Err(Fault::Malformed("0xc1, which no value begins with,")),
        };
        Ok((node, self))
    }
}

fn is_utf8(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
}

/// What follows `count` values that are all float64.
fn after_floats(rest: &[u8], count: usize) -> Option<&[u8]> {
    let (run, after) = rest.split_at_checked(count.checked_mul(9)?)?;
    (after.len() >= PADDING && run.chunks_exact(9).all(|value| value[0] == 0xcb)).then_some(after)
}

#[inline(always)]
fn signed(v: i64) -> Node {
    Node::new(if v < 0 { Tag::Int } else { Tag::Uint }, 0, v as u64)
}

#[inline(always)]
fn unsigned(v: u64) -> Node {
    Node::new(Tag::Uint, 0, v)
}

#[inline(always)]
fn float(v: f64) -> Node {
    Node::new(Tag::Float, 0, v.to_bits())
}

/// A container whose members are still being read.
#[derive(Clone, Copy, Default)]
struct Open {
    /// How many values are to come, in a map two for each pair; and [`Open::ARRAY`].
    left: u64,
    node: u64,
    keys: Keys,
}

impl Open {
    /// Marks what is no map. A message has fewer bytes than this, so no container has as many members.
    const ARRAY: u64 = 1 << 32;

    #[inline(always)]
    fn new(map: bool, values: u64, node: u32) -> Open {
        let array = if map { 0 } else { Open::ARRAY };
        Open { left: values | array, node: u64::from(node), keys: Keys::NONE }
    }

    #[inline(always)]
    fn is_map(&self) -> bool {
        self.left & Open::ARRAY == 0
    }

    #[inline(always)]
    fn key_is_next(&self) -> bool {
        self.left & (Open::ARRAY | 1) == 0
    }

    /// One value is complete. `true`: it was the last one.
    #[inline(always)]
    fn advance(&mut self) -> bool {
        self.left -= 1;
        self.left as u32 == 0
    }
}

/// The containers around the one that is being read.
struct Around {
    depth: usize,
    first: [Open; 8],
    deeper: Vec<Open>,
}

impl Around {
    #[inline(always)]
    fn push(&mut self, open: Open) {
        match self.first.get_mut(self.depth) {
            Some(place) => *place = open,
            None => self.deeper.push(open),
        }
        self.depth += 1;
    }

    #[inline(always)]
    fn pop(&mut self) -> Option<Open> {
        self.depth = self.depth.checked_sub(1)?;
        match self.first.get(self.depth) {
            Some(open) => Some(*open),
            None => self.deeper.pop(),
        }
    }
}

#[inline(always)]
fn values(reader: &mut Reader<'_>, tape: &mut TapeWriter<'_>) -> Read<()> {
    let message = reader.rest;
    let r = reader;
    // The message is the one member of a container that has no entry.
    let mut open = Open::new(false, 1, u32::MAX);
    let mut around = Around { depth: 0, first: [Open::default(); 8], deeper: Vec::new() };
    'next: loop {
        let mut byte = r.fixed::<1>()?[0];
        if open.key_is_next() {
            if byte & 0xe0 == 0xa0 {
                // A key in the form that nearly all have, a string of up to 31 bytes.
                let (key, text) = r.string(usize::from(byte & 31))?;
                if open.keys.add(text)
                    && open.keys.are_distinct()
                    && tape.may_have_key(open.node as u32, message, text.bytes())
                {
                    open.keys.give_up();
                }
                tape.push(key, || r.at())?;
                open.advance();
                byte = r.fixed::<1>()?[0];
            } else {
                open.keys.give_up();
            }
        }
        let node = 'complete: {
            let (map, count) = match byte {
                0x00..=0x7f => break 'complete unsigned(u64::from(byte)),
                0xe0..=0xff => break 'complete signed(i64::from(byte as i8)),
                0xa0..=0xbf => break 'complete r.string(usize::from(byte & 31))?.0,
                0x80..=0x8f => (true, usize::from(byte & 15)),
                0x90..=0x9f => (false, usize::from(byte & 15)),
                0xc0 => break 'complete Node::new(Tag::Null, 0, 0),
                0xc2 => break 'complete Node::new(Tag::False, 0, 0),
                0xc3 => break 'complete Node::new(Tag::True, 0, 0),
                0xcb => break 'complete float(f64::from_be_bytes(r.fixed()?)),
                0xcc => break 'complete unsigned(u64::from(r.fixed::<1>()?[0])),
                0xcd => break 'complete unsigned(u64::from(u16::from_be_bytes(r.fixed()?))),
                0xce => break 'complete unsigned(u64::from(u32::from_be_bytes(r.fixed()?))),
                0xd9 => break 'complete r.u8().and_then(|n| r.string(n))?.0,
                0xdc => (false, r.u16()?),
                0xdd => (false, r.u32()?),
                0xde => (true, r.u16()?),
                0xdf => (true, r.u32()?),
                _ => {
                    let (node, after) = r.seldom(byte)?;
                    *r = after;
                    break 'complete node;
                }
            };
            // Every member takes a byte at least: a count beyond the message is a lie, found at once.
            let left = (count as u64) << u32::from(map);
            if left > r.left() as u64 {
                return Err(Fault::Malformed("container larger than the message"));
            }
            if !map
                && count >= SHORTEST_RUN
                && r.rest.first() == Some(&0xcb)
                && let Some(rest) = after_floats(r.rest, count)
            {
                let start = r.at() as u64;
                r.rest = rest;
                break 'complete Node::new(Tag::FloatRun, count as u32, start);
            }
            let tag = if map { Tag::Map } else { Tag::Array };
            if count == 0 {
                break 'complete Node::new(tag, 0, u64::from(tape.len()) + 1);
            }
            if around.depth == MAX_DEPTH {
                return Err(Fault::Malformed("nested too deeply (more than 2048 levels)"));
            }
            around.push(open);
            let node = tape.push(Node::new(tag, count as u32, 0), || r.at())?;
            open = Open::new(map, left, node);
            continue 'next;
        };
        tape.push(node, || r.at())?;
        // A value is complete: so may be the containers around it.
        while open.advance() {
            let Some(outer) = around.pop() else {
                return if r.left() == 0 { Ok(()) } else { Err(Fault::Malformed("bytes after the value")) };
            };
            let end = u64::from(tape.len());
            let entry = tape.at(open.node as u32);
            entry.data = end;
            if open.is_map() && open.keys.are_distinct() {
                entry.extra = DISTINCT;
            }
            open = outer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::value::{Kind, Value};

    fn document(hex: &str) -> Document {
        decode(bytes(hex).into(), usize::MAX).unwrap_or_else(|e| panic!("{hex}: {e}"))
    }

    fn bytes(hex: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap()
    }

    #[test]
    fn every_form_of_every_kind() {
        let cases: &[(&str, &str)] = &[
            ("c0", "null"),
            ("c2", "false"),
            ("c3", "true"),
            ("00", "0"),
            ("7f", "127"),
            ("ff", "-1"),
            ("e0", "-32"),
            ("cc80", "128"),
            ("cd0100", "256"),
            ("ce00010000", "65536"),
            ("cfffffffffffffffff", "18446744073709551615"),
            ("d0df", "-33"),
            ("d1ff7f", "-129"),
            ("d2ffff7fff", "-32769"),
            ("d38000000000000000", "-9223372036854775808"),
            ("d005", "5"),
            ("ca3fc00000", "1.5"),
            ("cb3ff8000000000000", "1.5"),
            ("cb7ff8000000000000", r#"{"$float": "NaN"}"#),
            ("cbfff0000000000000", r#"{"$float": "-Infinity"}"#),
            ("a0", r#""""#),
            ("a3616263", r#""abc""#),
            ("d903616263", r#""abc""#),
            ("da0003616263", r#""abc""#),
            ("db00000003616263", r#""abc""#),
            ("c40201ff", r#"{"$bytes": "01ff"}"#),
            ("c5000201ff", r#"{"$bytes": "01ff"}"#),
            ("c60000000201ff", r#"{"$bytes": "01ff"}"#),
            ("d6ff00000001", r#"{"$ext": -1, "data": "00000001"}"#),
            ("c70205abcd", r#"{"$ext": 5, "data": "abcd"}"#),
            ("d40701", r#"{"$ext": 7, "data": "01"}"#),
            ("90", "[]"),
            ("93 01 90 91c0", "[1, [], [null]]"),
            ("dc0001 01", "[1]"),
            ("dd00000001 01", "[1]"),
            ("80", "{}"),
            ("81 a161 92 01 80", r#"{"a": [1, {}]}"#),
            ("de0001 a161 01", r#"{"a": 1}"#),
            ("df00000001 a161 01", r#"{"a": 1}"#),
            (
                "84 01 02 c0 c3 c401aa 05 92 0102 03",
                r#"{"$map": [[1, 2], [null, true], [{"$bytes": "aa"}, 5], [[1, 2], 3]]}"#,
            ),
        ];
        for (hex, want) in cases {
            assert_eq!(crate::wire::json::write::tagged(document(hex).root()), *want, "{hex}");
        }
    }

    #[test]
    fn packed_floats_look_like_any_other_array() {
        let mut message = vec![0x9a];
        for i in 0..10 {
            message.push(0xcb);
            message.extend((f64::from(i) * 0.5).to_be_bytes());
        }
        let packed = decode(message.clone().into(), usize::MAX).unwrap();
        assert_eq!(packed.node_count(), 1);
        message[1 + 9 * 9] = 0x00;
        message.truncate(1 + 9 * 9 + 1);
        let plain = decode(message.into(), usize::MAX).unwrap();
        assert_eq!(plain.node_count(), 11);
        for (document, last) in [(&packed, 4.5), (&plain, 0.0)] {
            let root = document.root();
            assert_eq!((root.kind(), root.len()), (Kind::Array, 10));
            assert_eq!(root.index(3).and_then(Value::as_f64), Some(1.5));
            assert_eq!(root.elements().filter_map(Value::as_f64).sum::<f64>(), 18.0 + last);
            let mut out = [0.0; 10];
            assert_eq!(root.copy_numbers(&mut out), Some(10));
            assert_eq!(out[8..], [4.0, last]);
            let mut short = [0.0f32; 2];
            assert_eq!(root.copy_numbers(&mut short), Some(10));
            assert_eq!(short, [0.0, 0.5]);
            assert!(root.index(10).is_none());
            assert!(root.index(2).unwrap().elements().next().is_none());
        }
        assert_eq!(packed.root().copy_numbers(&mut [0i64; 10]), None);
    }

    #[test]
    fn malformed_messages_are_refused() {
        for hex in [
            "",
            "c1",
            "a2 61",
            "d9",
            "d905 61",
            "da00",
            "c4 05",
            "c605000000",
            "92 01",
            "81 a161",
            "81",
            "cb0000",
            "ca00",
            "cd00",
            "dd ffffffff",
            "df ffffffff",
            "dc ffff 01",
            "db ffffffff 61",
            "c9 ffffffff 01",
            "c7 01",
            "d8 0102",
            "c0 c0",
            "a2 c328",
            "a1 ff",
        ] {
            let e = decode(bytes(hex).into(), usize::MAX).err().unwrap_or_else(|| panic!("{hex} was accepted"));
            assert_eq!(e.code(), Code::Protocol, "{hex}");
        }
        assert_eq!(decode(vec![0x91; 3000].into(), usize::MAX).err().unwrap().code(), Code::Protocol);
        assert_eq!(decode(vec![0x92, 0, 0].into(), 2).err().unwrap().code(), Code::Limit);
    }

    #[test]
    fn nesting_as_deep_as_servers_send() {
        let mut message = vec![0x91; 1020];
        message.push(0xc0);
        assert_eq!(decode(message.into(), usize::MAX).unwrap().node_count(), 1021);
    }
}
