//! A msgpack message to a document, in one pass over the bytes.

use crate::error::{Code, Error, Result};
use crate::wire::buffer::MessageBuf;
use crate::wire::document::{DISTINCT, Document, MAX_DEPTH, Node, Tag};
use crate::wire::tape::TapeWriter;
use crate::wire::text::{Keys, is_ascii};
use smallvec::SmallVec;

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
    let message = &document.bytes;
    let mut tape = TapeWriter::new(std::mem::take(&mut document.tape), message.len(), max_nodes, message.origin());
    values(message, &mut tape)?;
    document.tape = tape.finish();
    Ok(())
}

/// Everything that takes it by reference is inlined, so that it lives in registers.
struct Reader<'a> {
    /// Of the whole message.
    size: usize,
    rest: &'a [u8],
}

#[cold]
fn malformed(what: &str, at: usize) -> Error {
    Error::new(Code::Protocol, format!("malformed msgpack: {what} at byte {at}"))
}

impl<'a> Reader<'a> {
    /// How many bytes were read.
    #[inline(always)]
    fn at(&self) -> usize {
        self.size - self.rest.len()
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(malformed("message ends inside a value", self.at())),
        }
    }

    /// The next `len` bytes.
    #[inline(always)]
    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(malformed("message ends inside a value", self.at())),
        }
    }

    /// An entry for data that is stepped over.
    #[inline(always)]
    fn data(&mut self, tag: Tag, len: usize) -> Result<Node> {
        let start = self.at() as u64;
        self.bytes(len)?;
        Ok(Node::new(tag, len as u32, start))
    }

    #[inline(always)]
    fn string(&mut self, len: usize) -> Result<(Node, &'a [u8])> {
        let start = self.at() as u64;
        let text = self.bytes(len)?;
        if !is_ascii(text) && !is_utf8(text) {
            return Err(malformed("string is not valid UTF-8 before", self.at()));
        }
        Ok((Node::new(Tag::Str, len as u32, start), text))
    }

    #[inline(always)]
    fn ext(&mut self, len: usize) -> Result<Node> {
        let [kind] = self.fixed::<1>()?;
        Ok(Node { extra: kind as i8, ..self.data(Tag::Ext, len)? })
    }

    #[inline(always)]
    fn u8(&mut self) -> Result<usize> {
        Ok(usize::from(self.fixed::<1>()?[0]))
    }

    #[inline(always)]
    fn u16(&mut self) -> Result<usize> {
        Ok(usize::from(u16::from_be_bytes(self.fixed()?)))
    }

    #[inline(always)]
    fn u32(&mut self) -> Result<usize> {
        Ok(u32::from_be_bytes(self.fixed()?) as usize)
    }

    /// How many members an array or map has, if one begins here.
    #[inline(always)]
    fn container(&mut self, byte: u8) -> Result<Option<(Tag, usize)>> {
        let (tag, count) = match byte {
            0x80..=0x8f => (Tag::Map, usize::from(byte & 15)),
            0x90..=0x9f => (Tag::Array, usize::from(byte & 15)),
            0xdc => (Tag::Array, self.u16()?),
            0xdd => (Tag::Array, self.u32()?),
            0xde => (Tag::Map, self.u16()?),
            0xdf => (Tag::Map, self.u32()?),
            _ => return Ok(None),
        };
        // Every member takes a byte at least: a count beyond the message is a lie, found at once.
        if count << u32::from(tag == Tag::Map) > self.rest.len() {
            return Err(malformed("container larger than the message", self.at()));
        }
        Ok(Some((tag, count)))
    }

    /// The entry of a value that has no members.
    #[inline(always)]
    fn scalar(&mut self, byte: u8) -> Result<Node> {
        Ok(match byte {
            0x00..=0x7f => unsigned(u64::from(byte)),
            0xe0..=0xff => signed(i64::from(byte as i8)),
            0xa0..=0xbf => self.string(usize::from(byte & 31))?.0,
            0xc0 => Node::new(Tag::Null, 0, 0),
            0xc2 => Node::new(Tag::False, 0, 0),
            0xc3 => Node::new(Tag::True, 0, 0),
            0xc4 => self.u8().and_then(|n| self.data(Tag::Bytes, n))?,
            0xc5 => self.u16().and_then(|n| self.data(Tag::Bytes, n))?,
            0xc6 => self.u32().and_then(|n| self.data(Tag::Bytes, n))?,
            0xc7 => self.u8().and_then(|n| self.ext(n))?,
            0xc8 => self.u16().and_then(|n| self.ext(n))?,
            0xc9 => self.u32().and_then(|n| self.ext(n))?,
            0xca => float(f64::from(f32::from_be_bytes(self.fixed()?))),
            0xcb => float(f64::from_be_bytes(self.fixed()?)),
            0xcc => unsigned(u64::from(self.fixed::<1>()?[0])),
            0xcd => unsigned(u64::from(u16::from_be_bytes(self.fixed()?))),
            0xce => unsigned(u64::from(u32::from_be_bytes(self.fixed()?))),
            0xcf => unsigned(u64::from_be_bytes(self.fixed()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.fixed()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.fixed()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.fixed()?))),
            0xd3 => signed(i64::from_be_bytes(self.fixed()?)),
            0xd4 => self.ext(1)?,
            0xd5 => self.ext(2)?,
            0xd6 => self.ext(4)?,
            0xd7 => self.ext(8)?,
            0xd8 => self.ext(16)?,
            0xd9 => self.u8().and_then(|n| self.string(n))?.0,
            0xda => self.u16().and_then(|n| self.string(n))?.0,
            0xdb => self.u32().and_then(|n| self.string(n))?.0,
            // The containers are not asked about here.
            0x80..=0x9f | 0xc1 | 0xdc..=0xdf => {
                return Err(malformed("0xc1, which no value begins with,", self.at()));
            }
        })
    }
}

fn is_utf8(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok()
}

/// What follows `count` values that are all float64.
fn after_floats(rest: &[u8], count: usize) -> Option<&[u8]> {
    let (run, after) = rest.split_at_checked(count.checked_mul(9)?)?;
    run.chunks_exact(9).all(|value| value[0] == 0xcb).then_some(after)
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
#[derive(Clone, Copy)]
struct Open {
    node: u32,
    map: bool,
    /// How many values are to come; in a map two for each pair.
    left: usize,
    keys: Keys,
}

impl Open {
    #[inline(always)]
    fn key_is_next(&self) -> bool {
        self.map && self.left.is_multiple_of(2)
    }
}

fn values(message: &[u8], tape: &mut TapeWriter<'_>) -> Result<()> {
    let mut r = Reader { size: message.len(), rest: message };
    // The message is the one member of a container that has no entry.
    let mut open = Open { node: u32::MAX, map: false, left: 1, keys: Keys::NONE };
    let mut around: SmallVec<[Open; 16]> = SmallVec::new();
    loop {
        let mut byte = r.fixed::<1>()?[0];
        if open.key_is_next() && byte & 0xe0 == 0xa0 {
            // A key in the form that nearly all have, a string of up to 31 bytes.
            let (key, text) = r.string(usize::from(byte & 31))?;
            open.keys.add(text);
            tape.push(key, r.at())?;
            open.left -= 1;
            byte = r.fixed::<1>()?[0];
        } else if open.key_is_next() {
            open.keys.add_unknown();
        }
        match r.container(byte)? {
            None => {
                let node = r.scalar(byte)?;
                tape.push(node, r.at())?;
            }
            Some((tag, count)) => {
                let start = r.at() as u64;
                if tag == Tag::Array
                    && count >= SHORTEST_RUN
                    && r.rest.first() == Some(&0xcb)
                    && let Some(rest) = after_floats(r.rest, count)
                {
                    r.rest = rest;
                    tape.push(Node::new(Tag::FloatRun, count as u32, start), r.at())?;
                } else {
                    let index = tape.push(Node::new(tag, count as u32, 0), r.at())?;
                    tape.at(index).data = u64::from(index) + 1;
                    if count > 0 {
                        if around.len() == MAX_DEPTH {
                            return Err(malformed("nested too deeply (more than 2048 levels)", r.at()));
                        }
                        around.push(open);
                        let map = tag == Tag::Map;
                        open = Open { node: index, map, left: count << u32::from(map), keys: Keys::NONE };
                        continue;
                    }
                }
            }
        }
        // A value is complete: so may be the containers around it.
        open.left -= 1;
        while open.left == 0 {
            let Some(outer) = around.pop() else {
                if !r.rest.is_empty() {
                    return Err(malformed("bytes after the value", r.at()));
                }
                return Ok(());
            };
            let end = u64::from(tape.len());
            let entry = tape.at(open.node);
            entry.data = end;
            if open.map && open.keys.are_distinct() {
                entry.extra = DISTINCT;
            }
            open = outer;
            open.left -= 1;
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
