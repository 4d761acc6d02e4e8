//! A msgpack message to a document, in one pass over the bytes.

use crate::error::{Code, Error, Result};
use crate::wire::buffer::MessageBuf;
use crate::wire::document::{Document, MAX_DEPTH, Node, Tag};
use crate::wire::json::parse::too_many_values;

/// Arrays of at least this many float64 stay packed: one entry instead of one per value.
const SHORTEST_RUN: usize = 8;

/// Decodes one message; bytes after the value are an error. `max_nodes` bounds the index: 16 bytes of
/// memory for each value.
pub fn decode(message: MessageBuf, max_nodes: usize) -> Result<Document> {
    let mut tape = Vec::with_capacity(16);
    let mut reader = Reader { data: &message, at: 0 };
    values(&mut reader, &mut tape, max_nodes)?;
    if reader.at != message.len() {
        return reader.fail("bytes after the value");
    }
    Ok(Document::new(message, tape))
}

struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[cold]
    fn fail<T>(&self, what: &str) -> Result<T> {
        Err(Error::new(Code::Protocol, format!("malformed msgpack: {what} at byte {}", self.at)))
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.data[self.at..].first_chunk::<N>() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => self.fail("message ends inside a value"),
        }
    }

    /// The place of `len` bytes of data.
    #[inline]
    fn data(&mut self, len: usize) -> Result<u64> {
        if self.data.len() - self.at < len {
            return self.fail("message ends inside a value");
        }
        let start = self.at;
        self.at += len;
        Ok(start as u64)
    }

    #[inline]
    fn string(&mut self, len: usize) -> Result<Node> {
        let start = self.data(len)?;
        let text = &self.data[start as usize..self.at];
        if !text.is_ascii() && std::str::from_utf8(text).is_err() {
            return self.fail("string is not valid UTF-8 before");
        }
        Ok(Node::new(Tag::Str, len as u32, start))
    }

    #[inline]
    fn binary(&mut self, len: usize) -> Result<Node> {
        let start = self.data(len)?;
        Ok(Node::new(Tag::Bytes, len as u32, start))
    }

    fn ext(&mut self, len: usize) -> Result<Node> {
        let [kind] = self.fixed::<1>()?;
        let start = self.data(len)?;
        Ok(Node { ext: kind as i8, ..Node::new(Tag::Ext, len as u32, start) })
    }

    /// An array header. A run of floats stays packed in one entry.
    #[inline]
    fn array(&mut self, count: usize) -> Result<Node> {
        self.room_for(count)?;
        let start = self.at as u64;
        let tag = if self.float_run(count) { Tag::FloatRun } else { Tag::Array };
        Ok(Node::new(tag, count as u32, start))
    }

    #[inline]
    fn map(&mut self, count: usize) -> Result<Node> {
        self.room_for(count)?;
        Ok(Node::new(Tag::Map, count as u32, 0))
    }

    /// Every member takes a byte at least: a count beyond the message is a lie, found at once.
    #[inline]
    fn room_for(&self, count: usize) -> Result<()> {
        if count > self.data.len() - self.at { self.fail("container larger than the message") } else { Ok(()) }
    }

    #[inline]
    fn u8(&mut self) -> Result<usize> {
        Ok(usize::from(self.fixed::<1>()?[0]))
    }

    #[inline]
    fn u16(&mut self) -> Result<usize> {
        Ok(usize::from(u16::from_be_bytes(self.fixed()?)))
    }

    #[inline]
    fn u32(&mut self) -> Result<usize> {
        Ok(u32::from_be_bytes(self.fixed()?) as usize)
    }

    /// Whether the next `count` values are all float64; then they are stepped over.
    #[inline]
    fn float_run(&mut self, count: usize) -> bool {
        if count < SHORTEST_RUN || self.data.get(self.at) != Some(&0xcb) {
            return false;
        }
        let Some(bytes) = count.checked_mul(9).and_then(|n| self.data[self.at..].get(..n)) else {
            return false;
        };
        if !bytes.chunks_exact(9).all(|value| value[0] == 0xcb) {
            return false;
        }
        self.at += bytes.len();
        true
    }
}

#[inline]
fn signed(v: i64) -> Node {
    Node::new(if v < 0 { Tag::Int } else { Tag::Uint }, 0, v as u64)
}

#[inline]
fn unsigned(v: u64) -> Node {
    Node::new(Tag::Uint, 0, v)
}

fn float(v: f64) -> Node {
    Node::new(Tag::Float, 0, v.to_bits())
}

/// A container whose members are still being read.
struct Open {
    node: u32,
    left: u64,
}

fn values(r: &mut Reader<'_>, tape: &mut Vec<Node>, max_nodes: usize) -> Result<()> {
    let mut open: Vec<Open> = Vec::new();
    loop {
        if tape.len() >= max_nodes {
            return Err(too_many_values(max_nodes));
        }
        let [byte] = r.fixed::<1>()?;
        let node = match byte {
            0x00..=0x7f => unsigned(u64::from(byte)),
            0xe0..=0xff => signed(i64::from(byte as i8)),
            0xa0..=0xbf => r.string(usize::from(byte & 31))?,
            0xc0 => Node::new(Tag::Null, 0, 0),
            0xc1 => return r.fail("0xc1, which no value begins with,"),
            0xc2 => Node::new(Tag::False, 0, 0),
            0xc3 => Node::new(Tag::True, 0, 0),
            0xc4 => r.u8().and_then(|n| r.binary(n))?,
            0xc5 => r.u16().and_then(|n| r.binary(n))?,
            0xc6 => r.u32().and_then(|n| r.binary(n))?,
            0xc7 => r.u8().and_then(|n| r.ext(n))?,
            0xc8 => r.u16().and_then(|n| r.ext(n))?,
            0xc9 => r.u32().and_then(|n| r.ext(n))?,
            0xca => float(f64::from(f32::from_be_bytes(r.fixed()?))),
            0xcb => float(f64::from_be_bytes(r.fixed()?)),
            0xcc => unsigned(u64::from(r.fixed::<1>()?[0])),
            0xcd => unsigned(u64::from(u16::from_be_bytes(r.fixed()?))),
            0xce => unsigned(u64::from(u32::from_be_bytes(r.fixed()?))),
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
            0xd9 => r.u8().and_then(|n| r.string(n))?,
            0xda => r.u16().and_then(|n| r.string(n))?,
            0xdb => r.u32().and_then(|n| r.string(n))?,
            0x90..=0x9f => r.array(usize::from(byte & 15))?,
            0xdc => r.u16().and_then(|n| r.array(n))?,
            0xdd => r.u32().and_then(|n| r.array(n))?,
            0x80..=0x8f => r.map(usize::from(byte & 15))?,
            0xde => r.u16().and_then(|n| r.map(n))?,
            0xdf => r.u32().and_then(|n| r.map(n))?,
        };
        let index = tape.len() as u32;
        tape.push(node);
        let left = match node.tag {
            Tag::Array => u64::from(node.len),
            Tag::Map => 2 * u64::from(node.len),
            _ => 0,
        };
        if left > 0 {
            if open.len() == MAX_DEPTH {
                return r.fail("nested too deeply (more than 2048 levels)");
            }
            open.push(Open { node: index, left });
            continue;
        }
        if matches!(node.tag, Tag::Array | Tag::Map) {
            tape[index as usize].data = u64::from(index) + 1;
        }
        // A value is complete: so may be the containers around it.
        loop {
            let Some(top) = open.last_mut() else {
                return Ok(());
            };
            top.left -= 1;
            if top.left > 0 {
                break;
            }
            tape[top.node as usize].data = tape.len() as u64;
            open.pop();
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
