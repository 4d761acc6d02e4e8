//! A msgpack message to a document, in one pass.

use crate::error::{Code, Error, Result};
use crate::wire::buffer::MessageBuf;
use crate::wire::document::{Document, MAX_DEPTH};
use crate::wire::entry::{Entry, MOST_ENTRIES, Node, Tag};
use crate::wire::tape::{TapeWriter, check_size};
use crate::wire::text::{Keys, PADDING, Text};
use smallvec::SmallVec;
use std::cmp::Ordering;

/// An array of at least this many values that are all float64 becomes a packed run: one entry instead of one per value.
const SHORTEST_RUN: usize = 8;

/// Decodes one message. Bytes after the value are an error. `max_entries` limits the index. A value takes one entry of
/// 8 bytes, a float32 two, an extension and a string or binary data of 256 MiB or more take three.
pub fn decode(message: MessageBuf, max_entries: usize) -> Result<Document> {
    let mut document = Document::undecoded(message);
    decode_into(&mut document, max_entries)?;
    Ok(document)
}

/// Decodes the message that is in `document`. After an error the document still has the bytes of the message.
pub(crate) fn decode_into(document: &mut Document, max_entries: usize) -> Result<()> {
    let Document { bytes, tape, .. } = document;
    bytes.pad()?;
    check_size(bytes.len())?;
    let mut tape = TapeWriter::new(tape, bytes.len(), max_entries, bytes.pool());
    match values(bytes.padded(), &mut tape) {
        Ok(()) => tape.finish(),
        Err(Fault::Malformed(what, unread)) => {
            let at = bytes.len() - unread.saturating_sub(PADDING);
            Err(Error::new(Code::Protocol, format!("{what} at byte {at}")))
        }
        Err(Fault::Other(error)) => Err(error),
    }
}

/// Why a message cannot be decoded.
enum Fault {
    /// A description, and how many bytes were not read, including the padding.
    Malformed(&'static str, usize),
    Other(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

type Read<T> = Result<T, Fault>;

// Not inlined, so that well-formed messages need no instructions for it.
#[cold]
#[inline(never)]
fn ends() -> Fault {
    Fault::Malformed("the message ends inside a value", 0)
}

#[cold]
#[inline(never)]
fn malformed(what: &'static str, rest: &[u8]) -> Fault {
    Fault::Malformed(what, rest.len())
}

/// The lowest five bits of the first bytes from 0xc0 to 0xdf.
mod head {
    pub const NIL: u8 = 0xc0 & 31;
    pub const FALSE: u8 = 0xc2 & 31;
    pub const TRUE: u8 = 0xc3 & 31;
    pub const FLOAT64: u8 = 0xcb & 31;
    pub const UINT8: u8 = 0xcc & 31;
    pub const UINT16: u8 = 0xcd & 31;
    pub const UINT32: u8 = 0xce & 31;
    pub const UINT64: u8 = 0xcf & 31;
    pub const INT8: u8 = 0xd0 & 31;
    pub const INT16: u8 = 0xd1 & 31;
    pub const INT32: u8 = 0xd2 & 31;
    pub const STR8: u8 = 0xd9 & 31;
    pub const ARRAY16: u8 = 0xdc & 31;
    pub const ARRAY32: u8 = 0xdd & 31;
    pub const MAP16: u8 = 0xde & 31;
    pub const MAP32: u8 = 0xdf & 31;
}

/// How many bytes are read at once: enough for any head, any number and any short text. Only the first is certain to be
/// in the message; the others may be padding. A value that ends in the padding is detected before it is used, because
/// the next value then begins beyond the end.
const WINDOW: usize = 1 + PADDING;

type Window = [u8; WINDOW];

/// The first bytes of a value.
#[inline(always)]
fn first(rest: &[u8]) -> Read<&Window> {
    rest.first_chunk().ok_or_else(ends)
}

/// The bytes after the first byte.
#[inline(always)]
fn operand<const N: usize>(window: &Window) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&window[1..1 + N]);
    bytes
}

#[inline(always)]
fn u8(window: &Window) -> usize {
    usize::from(window[1])
}

#[inline(always)]
fn u16(window: &Window) -> usize {
    usize::from(u16::from_be_bytes(operand(window)))
}

#[inline(always)]
fn u32(window: &Window) -> usize {
    u32::from_be_bytes(operand(window)) as usize
}

/// The rest after `len` bytes, which may extend into the padding.
#[inline(always)]
fn skip(rest: &[u8], len: usize) -> Read<&[u8]> {
    rest.get(len..).ok_or_else(ends)
}

/// The rest after `len` bytes, which must be inside the message.
fn skip_inside(rest: &[u8], len: usize) -> Read<&[u8]> {
    skip(rest, len).and_then(|rest| if rest.len() < PADDING { Err(ends()) } else { Ok(rest) })
}

/// Splits off a string of `len` bytes, and checks it for UTF-8.
#[inline(always)]
fn text(rest: &[u8], len: usize) -> Read<(Text<'_>, &[u8])> {
    let after = skip(rest, len)?;
    let text = Text::new(rest, len);
    if !text.is_ascii() {
        skip_inside(rest, len)?;
        if std::str::from_utf8(text.bytes()).is_err() {
            return Err(malformed("a string that is not valid UTF-8", rest));
        }
    }
    Ok((text, after))
}

/// As [`text`], also returns the entry. Only for a length that fits in an entry.
#[inline(always)]
fn string<'a>(padded: &[u8], rest: &'a [u8], len: usize) -> Read<(Entry, Text<'a>, &'a [u8])> {
    let (text, after) = text(rest, len)?;
    Ok((Entry::text(padded.len() - rest.len(), len), text, after))
}

/// Splits off a value with one of the less frequent heads.
#[inline(never)]
fn rare_value<'a>(tape: &mut TapeWriter<'_>, padded: &[u8], rest: &'a [u8]) -> Read<(Entry, &'a [u8])> {
    let window = first(rest)?;
    let data = |head: usize, tag: Tag, len: usize| -> Read<(Node, &'a [u8])> {
        let rest = &rest[head..];
        Ok((Node::new(tag, len as u32, (padded.len() - rest.len()) as u64), skip_inside(rest, len)?))
    };
    let ext = |head: usize, len: usize| -> Read<(Node, &'a [u8])> {
        let (node, rest) = data(head + 1, Tag::Ext, len)?;
        Ok((Node { extra: window[head] as i8, ..node }, rest))
    };
    let text = |head: usize, len: usize| -> Read<(Node, &'a [u8])> {
        let rest = &rest[head..];
        let (_, after) = text(rest, len)?;
        Ok((Node::new(Tag::Str, len as u32, (padded.len() - rest.len()) as u64), after))
    };
    let (node, rest) = match window[0] {
        0xc4 => data(2, Tag::Bytes, u8(window))?,
        0xc5 => data(3, Tag::Bytes, u16(window))?,
        0xc6 => data(5, Tag::Bytes, u32(window))?,
        0xc7 => ext(2, u8(window))?,
        0xc8 => ext(3, u16(window))?,
        0xc9 => ext(5, u32(window))?,
        0xca => (Node::float(f64::from(f32::from_be_bytes(operand(window)))), &rest[5..]),
        0xcf => (Node::new(Tag::Uint, 0, u64::from_be_bytes(operand(window))), &rest[9..]),
        0xd3 => (Node::int(i64::from_be_bytes(operand(window))), &rest[9..]),
        0xd4 => ext(1, 1)?,
        0xd5 => ext(1, 2)?,
        0xd6 => ext(1, 4)?,
        0xd7 => ext(1, 8)?,
        0xd8 => ext(1, 16)?,
        0xda => text(3, u16(window))?,
        0xdb => text(5, u32(window))?,
        _ => return Err(malformed("0xc1, which no value begins with,", &rest[1..])),
    };
    let entry = match (Entry::of(node), node.tag) {
        (Some(entry), _) => entry,
        (None, Tag::Uint | Tag::Int) => Entry::integer_at(padded.len() - rest.len() - 8, node.tag == Tag::Int),
        (None, _) => tape.entry_of(node)?,
    };
    Ok((entry, rest))
}

/// The rest after `count` values; `None` if one of them is not a float64 or not inside the message.
fn after_floats(rest: &[u8], count: usize) -> Option<&[u8]> {
    let (run, after) = rest.split_at_checked(count.checked_mul(9)?)?;
    (after.len() >= PADDING && run.chunks_exact(9).all(|value| value[0] == 0xcb)).then_some(after)
}

/// A container whose members are being read.
#[derive(Clone, Copy)]
struct OpenContainer {
    /// Bit 0: whether the container is an array. The other bits: how many values remain; a pair of a map counts as two.
    remaining: u64,
    node: u64,
    keys: Keys,
}

impl OpenContainer {
    #[inline(always)]
    fn new(map: bool, values: u64, node: u32) -> OpenContainer {
        OpenContainer { remaining: values << 1 | u64::from(!map), node: u64::from(node), keys: Keys::NONE }
    }

    #[inline(always)]
    fn is_map(&self) -> bool {
        self.remaining & 1 == 0
    }

    /// Whether the next value is the key of a map: an even number of values remains then.
    #[inline(always)]
    fn key_is_next(&self) -> bool {
        self.remaining & 3 == 0
    }

    /// One more value is complete. Returns whether it was the last one.
    #[inline(always)]
    fn advance(&mut self) -> bool {
        self.remaining -= 2;
        self.remaining < 2
    }
}

/// The containers around the innermost open one.
type OuterContainers = SmallVec<[OpenContainer; 8]>;

/// Reads the value of a message that is followed by [`PADDING`] bytes.
#[inline(always)]
fn values(padded: &[u8], tape: &mut TapeWriter<'_>) -> Read<()> {
    let mut rest = padded;
    // This container has no entry. Its only member is the value of the message.
    let mut open = OpenContainer::new(false, 1, u32::MAX);
    let mut outer_containers = OuterContainers::new();
    'next: loop {
        tape.make_room(padded.len() - rest.len())?;
        let mut window = first(rest)?;
        if open.key_is_next() {
            if window[0] & 0xe0 == 0xa0 {
                // The form of nearly all keys: a string of at most 31 bytes.
                let (key, text, after) = string(padded, &rest[1..], usize::from(window[0] & 31))?;
                if open.keys.add(text)
                    && open.keys.are_distinct()
                    && tape.may_have_key(open.node as u32, padded, text.bytes())
                {
                    open.keys.give_up();
                }
                tape.push(key);
                open.advance();
                rest = after;
                window = first(rest)?;
            } else {
                open.keys.give_up();
            }
        }
        let byte = window[0];
        // The entry of a value without members. A container with members continues the outer loop.
        let entry = 'complete: {
            let (map, count, after) = 'container: {
                if byte < 0x80 {
                    rest = &rest[1..];
                    break 'complete Entry::small(i64::from(byte));
                } else if byte < 0xc0 {
                    if byte >= 0xa0 {
                        let (entry, _, after) = string(padded, &rest[1..], usize::from(byte & 31))?;
                        rest = after;
                        break 'complete entry;
                    }
                    (byte < 0x90, usize::from(byte & 15), &rest[1..])
                } else if byte >= 0xe0 {
                    rest = &rest[1..];
                    break 'complete Entry::small(i64::from(byte as i8));
                } else {
                    let (entry, len) = match byte & 31 {
                        head::NIL => (Entry::NULL, 1),
                        head::FALSE => (Entry::FALSE, 1),
                        head::TRUE => (Entry::TRUE, 1),
                        head::FLOAT64 => (Entry::float_at(padded.len() - rest.len() + 1), 9),
                        head::UINT8 => (Entry::small(u8(window) as i64), 2),
                        head::UINT16 => (Entry::small(u16(window) as i64), 3),
                        head::UINT32 => (Entry::small(u32(window) as i64), 5),
                        // Less than 2^59, so that it fits in an entry.
                        head::UINT64 if window[1] < 8 => (Entry::small(i64::from_be_bytes(operand(window))), 9),
                        head::INT8 => (Entry::small(i64::from(i8::from_be_bytes(operand(window)))), 2),
                        head::INT16 => (Entry::small(i64::from(i16::from_be_bytes(operand(window)))), 3),
                        head::INT32 => (Entry::small(i64::from(i32::from_be_bytes(operand(window)))), 5),
                        head::STR8 => {
                            let (entry, _, after) = string(padded, &rest[2..], u8(window))?;
                            rest = after;
                            break 'complete entry;
                        }
                        head::ARRAY16 => break 'container (false, u16(window), &rest[3..]),
                        head::ARRAY32 => break 'container (false, u32(window), &rest[5..]),
                        head::MAP16 => break 'container (true, u16(window), &rest[3..]),
                        head::MAP32 => break 'container (true, u32(window), &rest[5..]),
                        _ => {
                            let (entry, after) = rare_value(tape, padded, rest)?;
                            rest = after;
                            break 'complete entry;
                        }
                    };
                    rest = &rest[len..];
                    break 'complete entry;
                }
            };
            rest = after;
            // Every member takes at least one byte, so a count larger than the rest of the message is malformed.
            let members = (count as u64) << u32::from(map);
            if members + PADDING as u64 > rest.len() as u64 {
                return Err(malformed("a container that is larger than the message", rest));
            }
            if !map
                && count >= SHORTEST_RUN
                && rest.first() == Some(&0xcb)
                && let Some(after) = after_floats(rest, count)
            {
                let start = (padded.len() - rest.len()) as u64;
                rest = after;
                break 'complete tape.entry_of(Node::new(Tag::FloatRun, count as u32, start))?;
            }
            // If there are more than `MOST_ENTRIES` members, writing their entries fails.
            let container = Entry::container(map, count.min(MOST_ENTRIES) as u32);
            if count == 0 {
                break 'complete container.ended(tape.len() + 1);
            }
            if outer_containers.len() == MAX_DEPTH {
                return Err(malformed("nested too deeply (more than 2048 levels)", rest));
            }
            outer_containers.push(open);
            let node = tape.push(container);
            open = OpenContainer::new(map, members, node);
            continue 'next;
        };
        tape.push(entry);
        // The value may be the last one of its container, which may be the last one of the container around it, and so
        // on.
        while open.advance() {
            let Some(outer) = outer_containers.pop() else {
                return match rest.len().cmp(&PADDING) {
                    Ordering::Less => Err(ends()),
                    Ordering::Equal => Ok(()),
                    Ordering::Greater => Err(malformed("bytes after the value", rest)),
                };
            };
            let end = tape.len();
            let entry = tape.at(open.node as u32);
            *entry = entry.ended(end);
            if open.is_map() && open.keys.are_distinct() {
                *entry = entry.distinct();
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
