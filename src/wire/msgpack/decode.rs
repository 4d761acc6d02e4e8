//! A msgpack message to a document, in one pass over the bytes.

use crate::error::{Code, Error, Result};
use crate::wire::buffer::MessageBuf;
use crate::wire::document::{Document, MAX_DEPTH};
use crate::wire::entry::{Entry, MOST_ENTRIES, Node, Tag};
use crate::wire::tape::{TapeWriter, check_size};
use crate::wire::text::{Keys, PADDING, Text};
use smallvec::SmallVec;
use std::cmp::Ordering;

/// Arrays of at least this many float64 stay packed: one entry instead of one per value.
const SHORTEST_RUN: usize = 8;

/// Decodes one message; bytes after the value are an error. `max_entries` bounds the index: one entry of
/// 8 bytes for each value, another one for a float32, two more for an extension and for a string or binary data of 256 MiB.
pub fn decode(message: MessageBuf, max_entries: usize) -> Result<Document> {
    let mut document = Document::undecoded(message);
    decode_into(&mut document, max_entries, None)?;
    Ok(document)
}

/// The beginning of a message, decoded: all that precedes the value of the last member of its outermost map.
#[derive(Debug)]
pub(crate) struct Beginning {
    entries: Vec<Entry>,
    size: usize,
}

impl Beginning {
    /// What precedes the value at this index. `None` if that is not the last value of the outermost map, if its key is no
    /// string, or if not all keys of that map are distinct.
    pub fn before(document: &Document, value: u32) -> Option<Beginning> {
        let (key, _) = document.root().pairs().last().filter(|(_, last)| last.place().0 == value)?;
        let key = document.entry(key.place().0);
        let entries = document.entries_before(value);
        let fits = document.entry(0).is_distinct_map()
            && key.is_text()
            && entries.iter().all(|entry| entry.is_self_contained());
        let size = key.place() as usize + key.len() as usize;
        fits.then(|| Beginning { entries: entries.to_vec(), size })
    }

    /// How many bytes of the message it takes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Where the value is that follows.
    pub fn value(&self) -> u32 {
        self.entries.len() as u32
    }
}

/// The same for a document that has the bytes of the message, in the memory of its index. `beginning` is that of another
/// message whose bytes are the same so far: it is not decoded again.
pub(crate) fn decode_into(document: &mut Document, max_entries: usize, beginning: Option<&Beginning>) -> Result<()> {
    let Document { bytes, tape, .. } = document;
    bytes.pad()?;
    check_size(bytes.len())?;
    let mut tape = TapeWriter::new(tape, bytes.len(), max_entries, bytes.origin());
    match values(bytes.padded(), &mut tape, beginning) {
        Ok(()) => tape.finish(),
        Err(Fault::Malformed(what, left)) => {
            let at = bytes.len() - left.saturating_sub(PADDING);
            Err(Error::new(Code::Protocol, format!("malformed msgpack: {what} at byte {at}")))
        }
        Err(Fault::Other(error)) => Err(error),
    }
}

/// Why a message cannot be decoded; if it is malformed, how many bytes were left then, with the padding.
enum Fault {
    Malformed(&'static str, usize),
    Other(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Other(error)
    }
}

type Read<T> = Result<T, Fault>;

// Not inlined, so that nothing is prepared for it where all is well.
#[cold]
#[inline(never)]
fn ends() -> Fault {
    Fault::Malformed("message ends inside a value", 0)
}

#[cold]
#[inline(never)]
fn malformed(what: &'static str, rest: &[u8]) -> Fault {
    Fault::Malformed(what, rest.len())
}

/// First bytes from 0xc0 to 0xdf, without the bits that these have in common.
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

/// So many bytes hold any head, any number and any short text; with the first of them inside of the message, the others
/// may be in the padding. What is read there is never used: the next step finds that it begins beyond the end.
const WINDOW: usize = 1 + PADDING;

type Window = [u8; WINDOW];

/// The bytes that a value begins with.
#[inline(always)]
fn first(rest: &[u8]) -> Read<&Window> {
    rest.first_chunk().ok_or_else(ends)
}

/// The bytes behind the first one.
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

/// What follows `len` bytes, of which some may be in the padding.
#[inline(always)]
fn skip(rest: &[u8], len: usize) -> Read<&[u8]> {
    rest.get(len..).ok_or_else(ends)
}

/// The same without the padding.
fn skip_inside(rest: &[u8], len: usize) -> Read<&[u8]> {
    skip(rest, len).and_then(|rest| if rest.len() < PADDING { Err(ends()) } else { Ok(rest) })
}

/// The text of a string of `len` bytes, with which `rest` begins, and what follows it.
#[inline(always)]
fn text(rest: &[u8], len: usize) -> Read<(Text<'_>, &[u8])> {
    let after = skip(rest, len)?;
    let text = Text::new(rest, len);
    if !text.is_ascii() {
        skip_inside(rest, len)?;
        if std::str::from_utf8(text.bytes()).is_err() {
            return Err(malformed("string is not valid UTF-8 before", after));
        }
    }
    Ok((text, after))
}

/// The same for one of the usual lengths, with its entry.
#[inline(always)]
fn string<'a>(padded: &[u8], rest: &'a [u8], len: usize) -> Read<(Entry, Text<'a>, &'a [u8])> {
    let (text, after) = text(rest, len)?;
    Ok((Entry::text(padded.len() - rest.len(), len), text, after))
}

/// A value of one of the forms that are not frequent, and what follows it.
#[inline(never)]
fn seldom<'a>(tape: &mut TapeWriter<'_>, padded: &[u8], rest: &'a [u8]) -> Read<(Entry, &'a [u8])> {
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

/// What follows `count` values that are all float64, and inside of the message.
fn after_floats(rest: &[u8], count: usize) -> Option<&[u8]> {
    let (run, after) = rest.split_at_checked(count.checked_mul(9)?)?;
    (after.len() >= PADDING && run.chunks_exact(9).all(|value| value[0] == 0xcb)).then_some(after)
}

/// A container whose members are still being read.
#[derive(Clone, Copy)]
struct Open {
    /// Twice as many as there are values to come, of which a map has two for each pair; one more in an array.
    left: u64,
    node: u64,
    keys: Keys,
}

impl Open {
    #[inline(always)]
    fn new(map: bool, values: u64, node: u32) -> Open {
        Open { left: values << 1 | u64::from(!map), node: u64::from(node), keys: Keys::NONE }
    }

    #[inline(always)]
    fn is_map(&self) -> bool {
        self.left & 1 == 0
    }

    #[inline(always)]
    fn key_is_next(&self) -> bool {
        self.left & 3 == 0
    }

    /// One value is complete. `true`: it was the last one.
    #[inline(always)]
    fn advance(&mut self) -> bool {
        self.left -= 2;
        self.left < 2
    }
}

/// The containers around the one that is being read.
type Around = SmallVec<[Open; 8]>;

/// Reads the one value of a message, which has [`PADDING`] bytes behind it.
#[inline(always)]
fn values(padded: &[u8], tape: &mut TapeWriter<'_>, beginning: Option<&Beginning>) -> Read<()> {
    let mut rest = padded;
    // The message is the one member of a container that has no entry.
    let mut open = Open::new(false, 1, u32::MAX);
    let mut around = Around::new();
    let mut deepest = MAX_DEPTH;
    if let Some(Beginning { entries, size }) = beginning {
        // Of the outermost map only the last value is left, which is read as if it were the message; where the map ends is
        // told below.
        deepest -= 1;
        rest = skip(padded, *size)?;
        tape.begin_with(entries);
    }
    'next: loop {
        tape.make_room(padded.len() - rest.len())?;
        let mut window = first(rest)?;
        if open.key_is_next() {
            if window[0] & 0xe0 == 0xa0 {
                // A key in the form that nearly all have, a string of up to 31 bytes.
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
        // What has no members is complete with its entry.
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
                        // Less than 2^59, as nearly all are.
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
                            let (entry, after) = seldom(tape, padded, rest)?;
                            rest = after;
                            break 'complete entry;
                        }
                    };
                    rest = &rest[len..];
                    break 'complete entry;
                }
            };
            rest = after;
            // Every member takes a byte at least: a count beyond the message is a lie, found at once.
            let left = (count as u64) << u32::from(map);
            if left + PADDING as u64 > rest.len() as u64 {
                return Err(malformed("container larger than the message", rest));
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
            // More members than that are more entries than there can be, which is found when they are read.
            let container = Entry::container(map, count.min(MOST_ENTRIES) as u32);
            if count == 0 {
                break 'complete container.ended(tape.len() + 1);
            }
            if around.len() == deepest {
                return Err(malformed("nested too deeply (more than 2048 levels)", rest));
            }
            around.push(open);
            let node = tape.push(container);
            open = Open::new(map, left, node);
            continue 'next;
        };
        tape.push(entry);
        // A value is complete: so may be the containers around it.
        while open.advance() {
            let Some(outer) = around.pop() else {
                if beginning.is_some() {
                    let end = tape.len();
                    *tape.at(0) = tape.at(0).ended(end);
                }
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
    fn from_a_beginning_on_everything_is_the_same() {
        let (head, limit) = (bytes("82 a26964 01 a6726573756c74"), 3000);
        let whole = |value: &[u8]| decode([&head, value].concat().into(), limit);
        let first = whole(&[0xc0]).unwrap();
        let beginning = Beginning::before(&first, first.node_count() as u32 - 1).unwrap();
        assert_eq!(beginning.size(), head.len());
        // The last value of the outermost map only, if that has a string for a key and no key twice, and if what precedes it fits
        // in entries.
        for (message, value) in [
            ("81 a161 81 a162 05", 4),
            ("82 a161 01 a162 02", 2),
            ("81 01 02", 2),
            ("82 a161 01 a161 02", 4),
            ("82 a161 d40501 a162 02", 4),
            ("82 a161 ca3f000000 a162 02", 4),
        ] {
            assert!(Beginning::before(&document(message), value).is_none(), "{message}");
        }
        let nested = |depth| [vec![0x91; depth], vec![0xc0]].concat();
        let mut values: Vec<_> = [
            "c0",
            "80",
            "90",
            "93 01 02 03",
            "81 a161 92 01 80",
            "82 a161 01 a161 02",
            "a568656c6c6f",
            "c403010203",
            "",
            "a5 68",
            "92 01",
            "c1",
            "c0 c0",
            "90 00",
            "dd ffffffff",
        ]
        .map(bytes)
        .into();
        values.push([&[0xdc, 0, 9][..], &bytes("cb3ff8000000000000").repeat(9)].concat());
        values.extend([MAX_DEPTH - 2, MAX_DEPTH - 1, MAX_DEPTH].map(nested));
        values.extend(
            [limit - 8, limit - 5, limit - 4, limit]
                .map(|n| [&[0xdc, (n >> 8) as u8, n as u8][..], &vec![0; n]].concat()),
        );
        for value in values {
            let mut document = Document::undecoded([&head, &value[..]].concat().into());
            let got = decode_into(&mut document, limit, Some(&beginning)).map(|()| format!("{:?}", document.tape));
            let wanted = whole(&value).map(|document| format!("{:?}", document.tape));
            let words = |result: Result<String>| result.map_err(|error| error.to_string());
            assert_eq!(words(got), words(wanted), "{:02x?}", &value[..value.len().min(20)]);
        }
    }

    #[test]
    fn nesting_as_deep_as_servers_send() {
        let mut message = vec![0x91; 1020];
        message.push(0xc0);
        assert_eq!(decode(message.into(), usize::MAX).unwrap().node_count(), 1021);
    }
}
