//! JSON text to a document, in one pass. Strings are unescaped in place.
//!
//! Accepts what RFC 8259 allows and what Python adds: the bare words `NaN`, `Infinity` and
//! `-Infinity`, and integers of any size.

use crate::error::{Code, Error, Result};
use crate::platform::rounding::ToNearest;
use crate::wire::buffer::MessageBuf;
use crate::wire::document::{Document, MAX_DEPTH};
use crate::wire::entry::{Entry, LONGEST, Node, Tag};
use crate::wire::tape::{TapeWriter, check_size};
use crate::wire::text::{Keys, Text};
use smallvec::SmallVec;

/// A document, and which of its strings may be attachment keys.
pub struct Parsed {
    /// The values.
    pub document: Document,
    /// The indices of the string values that begin with `wslink_bin`, without the keys of maps.
    pub attachment_keys: Vec<u32>,
}

/// Parses one JSON text. `max_entries` limits the index. A value takes one entry of 8 bytes, a float two, an integer of
/// more than 60 bits and a string of 256 MiB or more take three.
pub fn parse(text: MessageBuf, max_entries: usize) -> Result<Parsed> {
    let mut document = Document::undecoded(text);
    let attachment_keys = parse_into(&mut document, max_entries)?;
    Ok(Parsed { document, attachment_keys })
}

/// Parses the text that is in `document`. Returns the attachment keys, see [`Parsed`].
pub(crate) fn parse_into(document: &mut Document, max_entries: usize) -> Result<Vec<u32>> {
    check_utf8(&document.bytes)?;
    // The conversion of decimal digits to a float is exact in this mode only.
    let _rounding = ToNearest::new();
    let Document { bytes, tape, .. } = document;
    check_size(bytes.len())?;
    let (text, pool) = bytes.bytes_mut();
    let tape = TapeWriter::new(tape, text.len(), max_entries, pool);
    let mut parser = Parser { text, at: 0, tape, open: SmallVec::new(), attachment_keys: Vec::new() };
    parser.document()?;
    parser.tape.finish()?;
    Ok(parser.attachment_keys)
}

/// Fails if the text is not UTF-8.
pub(crate) fn check_utf8(text: &[u8]) -> Result<()> {
    std::str::from_utf8(text)
        .map(drop)
        .map_err(|e| Error::new(Code::Utf8, format!("malformed from byte {} on", e.valid_up_to())))
}

/// A container whose members are being read.
struct OpenContainer {
    node: u32,
    map: bool,
    keys: Keys,
}

struct Parser<'a> {
    text: &'a mut [u8],
    at: usize,
    tape: TapeWriter<'a>,
    open: SmallVec<[OpenContainer; 16]>,
    attachment_keys: Vec<u32>,
}

const KEY_PREFIX: &[u8] = b"wslink_bin";

impl Parser<'_> {
    fn fail<T>(&self, what: &str) -> Result<T> {
        Err(Error::new(Code::Json, format!("{what} at byte {}", self.at)))
    }

    #[inline]
    fn peek(&self) -> u8 {
        // 0 is not valid in JSON, so that callers need not check for the end.
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn blank(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    fn document(&mut self) -> Result<()> {
        self.blank();
        loop {
            self.value()?;
            // After a value: close the containers that end here, then find the next value or the end of the text.
            loop {
                self.blank();
                let Some(top) = self.open.last() else {
                    return if self.at == self.text.len() { Ok(()) } else { self.fail("text after the value") };
                };
                let (node, map) = (top.node, top.map);
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.tape.at(node).count_one();
                        self.blank();
                        if map {
                            self.key()?;
                        }
                        break;
                    }
                    b']' if !map => self.close(node),
                    b'}' if map => self.close(node),
                    _ if map => return self.fail("',' or '}' expected"),
                    _ => return self.fail("',' or ']' expected"),
                }
            }
        }
    }

    fn close(&mut self, node: u32) {
        self.at += 1;
        let end = self.tape.len();
        let distinct = self.open.pop().is_some_and(|top| top.map && top.keys.are_distinct());
        let entry = self.tape.at(node);
        *entry = entry.ended(end);
        if distinct {
            *entry = entry.distinct();
        }
    }

    #[inline(always)]
    fn push(&mut self, entry: Entry) -> Result<()> {
        self.tape.make_room(self.at)?;
        self.tape.push(entry);
        Ok(())
    }

    #[inline(always)]
    fn push_text(&mut self, start: usize, len: usize) -> Result<()> {
        match len <= LONGEST {
            true => self.push(Entry::text(start, len)),
            false => self.push_node(Node::new(Tag::Str, len as u32, start as u64)),
        }
    }

    #[inline(always)]
    fn push_float(&mut self, v: f64) -> Result<()> {
        let entry = self.tape.float(v)?;
        self.push(entry)
    }

    #[cold]
    fn push_node(&mut self, node: Node) -> Result<()> {
        let entry = self.tape.entry_of(node)?;
        self.push(entry)
    }

    /// Parses a scalar or an empty container, after the beginnings of the containers in which it is the first value.
    fn value(&mut self) -> Result<()> {
        loop {
            match self.peek() {
                b'"' => {
                    let index = self.tape.len();
                    let (start, len) = self.string()?;
                    if len > KEY_PREFIX.len() && self.text[start..].starts_with(KEY_PREFIX) {
                        self.attachment_keys.push(index);
                    }
                    return self.push_text(start, len);
                }
                b'-' | b'0'..=b'9' => return self.number(),
                b'[' => {
                    self.enter(false)?;
                    if self.peek() == b']' {
                        return self.leave_empty();
                    }
                }
                b'{' => {
                    self.enter(true)?;
                    if self.peek() == b'}' {
                        return self.leave_empty();
                    }
                    self.key()?;
                }
                b't' => return self.word(b"true", Entry::TRUE),
                b'f' => return self.word(b"false", Entry::FALSE),
                b'n' => return self.word(b"null", Entry::NULL),
                b'N' => return self.float_word(b"NaN", f64::NAN),
                b'I' => return self.float_word(b"Infinity", f64::INFINITY),
                _ if self.at >= self.text.len() => return self.fail("text ends where a value is expected"),
                _ => return self.fail("a value is expected"),
            }
        }
    }

    fn enter(&mut self, map: bool) -> Result<()> {
        if self.open.len() == MAX_DEPTH {
            return self.fail("nested too deeply (more than 2048 levels)");
        }
        self.open.push(OpenContainer { node: self.tape.len(), map, keys: Keys::NONE });
        self.push(Entry::container(map, 1))?;
        self.at += 1;
        self.blank();
        Ok(())
    }

    fn leave_empty(&mut self) -> Result<()> {
        if let Some(top) = self.open.pop() {
            self.at += 1;
            let end = self.tape.len();
            *self.tape.at(top.node) = Entry::container(top.map, 0).ended(end);
        }
        Ok(())
    }

    fn key(&mut self) -> Result<()> {
        if self.peek() != b'"' {
            return self.fail("a string is expected as key");
        }
        let (start, len) = self.string()?;
        if let Some(top) = self.open.last_mut() {
            let key = Text::new(&self.text[start..], len);
            if top.keys.add(key) && top.keys.are_distinct() && self.tape.may_have_key(top.node, self.text, key.bytes())
            {
                top.keys.give_up();
            }
        }
        self.push_text(start, len)?;
        self.blank();
        if self.peek() != b':' {
            return self.fail("':' expected");
        }
        self.at += 1;
        self.blank();
        Ok(())
    }

    fn float_word(&mut self, word: &[u8], v: f64) -> Result<()> {
        let entry = self.tape.float(v)?;
        self.word(word, entry)
    }

    fn word(&mut self, word: &[u8], entry: Entry) -> Result<()> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail("a value is expected");
        }
        self.at += word.len();
        self.push(entry)
    }

    /// Parses the string at the opening quote, and returns the offset and length of its unescaped text.
    #[inline]
    fn string(&mut self) -> Result<(usize, usize)> {
        self.at += 1;
        let start = self.at;
        self.at = plain_end(self.text, start);
        match self.peek() {
            b'"' => {
                let len = self.at - start;
                self.at += 1;
                Ok((start, len))
            }
            b'\\' => self.escaped_string(start),
            _ if self.at >= self.text.len() => self.fail("text ends inside a string"),
            _ => self.fail("control character inside a string"),
        }
    }

    /// Parses the rest of a string from its first backslash on. The unescaped text is never longer than the escaped, so
    /// it is written over it.
    fn escaped_string(&mut self, start: usize) -> Result<(usize, usize)> {
        let mut to = self.at;
        loop {
            let end = plain_end(self.text, self.at);
            self.text.copy_within(self.at..end, to);
            to += end - self.at;
            self.at = end;
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok((start, to - start));
                }
                b'\\' => {
                    self.at += 1;
                    let escape = self.peek();
                    self.at += 1;
                    let plain = match escape {
                        b'"' | b'\\' | b'/' => escape,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            let c = self.unicode_escape()?;
                            let mut utf8 = [0; 4];
                            let utf8 = c.encode_utf8(&mut utf8).as_bytes();
                            self.text[to..to + utf8.len()].copy_from_slice(utf8);
                            to += utf8.len();
                            continue;
                        }
                        _ => {
                            self.at -= 1;
                            return self.fail("unknown escape");
                        }
                    };
                    self.text[to] = plain;
                    to += 1;
                }
                _ if self.at >= self.text.len() => return self.fail("text ends inside a string"),
                _ => return self.fail("control character inside a string"),
            }
        }
    }

    /// Parses the digits after `\u`. An unpaired surrogate becomes U+FFFD: it is valid JSON, but not a character.
    fn unicode_escape(&mut self) -> Result<char> {
        let unit = self.hex4()?;
        if (0xD800..0xDC00).contains(&unit) && self.text[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xDC00..0xE000).contains(&low) {
                let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            match (self.peek() as char).to_digit(16) {
                Some(digit) => unit = unit * 16 + digit,
                None => return self.fail("four hexadecimal digits expected after \\u"),
            }
            self.at += 1;
        }
        Ok(unit)
    }

    #[inline]
    fn number(&mut self) -> Result<()> {
        let start = self.at;
        let negative = self.peek() == b'-';
        if negative {
            self.at += 1;
            if self.peek() == b'I' {
                return self.float_word(b"Infinity", f64::NEG_INFINITY);
            }
        }
        let first = self.at;
        let mut value = 0;
        self.few_digits(&mut value);
        let digits = self.at - first;
        if digits == 0 {
            return self.fail("a digit is expected");
        }
        if digits > 1 && self.text[first] == b'0' {
            return self.fail("a number must not begin with 0");
        }
        if !matches!(self.peek(), b'.' | b'e' | b'E') {
            return self.integer(start, negative, value, digits);
        }
        // A float: further digits are appended to `value`, which is exact if there are at most 19.
        let mut exponent: i32 = 0;
        let mut total = digits;
        if self.peek() == b'.' {
            self.at += 1;
            let point = self.at;
            self.many_digits(&mut value);
            if self.at == point {
                return self.fail("a digit is expected after the point");
            }
            total += self.at - point;
            exponent = -i32::try_from(self.at - point).unwrap_or(i32::MAX);
        }
        let mut simple = total <= 19;
        if matches!(self.peek(), b'e' | b'E') {
            simple = false;
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            let power = self.at;
            while self.peek().is_ascii_digit() {
                self.at += 1;
            }
            if self.at == power {
                return self.fail("a digit is expected in the exponent");
            }
        }
        // Clinger's fast path: both operands are exact doubles, so the quotient is rounded correctly.
        if simple && value < 1 << 53 && exponent >= -22 {
            let magnitude = value as f64 / POWERS_OF_TEN[-exponent as usize];
            return self.push_float(if negative { -magnitude } else { magnitude });
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).unwrap_or("");
        match text.parse::<f64>() {
            Ok(v) => self.push_float(v),
            Err(_) => self.fail("not a number"),
        }
    }

    /// Parses digits and appends them to those of `value`, which is meaningless after more than 19 digits.
    #[inline(always)]
    fn few_digits(&mut self, value: &mut u64) {
        while let digit @ b'0'..=b'9' = self.peek() {
            *value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
    }

    /// As `few_digits`, but eight digits at a time.
    #[inline(always)]
    fn many_digits(&mut self, value: &mut u64) {
        while let Some(more) = self.text.get(self.at..).and_then(|text| eight_digits(*text.first_chunk()?)) {
            *value = value.wrapping_mul(100_000_000).wrapping_add(more);
            self.at += 8;
        }
        self.few_digits(value);
    }

    fn integer(&mut self, start: usize, negative: bool, value: u64, digits: usize) -> Result<()> {
        // 19 digits always fit in a u64, 20 digits sometimes.
        let fits = digits <= 19 || (digits == 20 && self.text_as::<u64>(start + usize::from(negative)));
        let node = match (fits, negative) {
            (true, false) => Node::new(Tag::Uint, 0, value),
            (true, true) if value <= 1 << 63 => Node::int(value.wrapping_neg() as i64),
            _ => Node::new(Tag::BigInt, (self.at - start) as u32, start as u64),
        };
        match Entry::of(node) {
            Some(entry) => self.push(entry),
            None => self.push_node(node),
        }
    }

    fn text_as<T: std::str::FromStr>(&self, start: usize) -> bool {
        std::str::from_utf8(&self.text[start..self.at]).is_ok_and(|t| t.parse::<T>().is_ok())
    }
}

/// The value of eight decimal digits; `None` if a byte is not a digit. Checks all bytes at once, then combines them to
/// numbers of two, four and eight digits.
#[inline(always)]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let digits = u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030;
    // Adding 0x76 sets the highest bit of every byte that is more than 9.
    if (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let pairs = digits * 10 + (digits >> 8);
    let first = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let second = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    Some(first.wrapping_add(second) >> 32)
}

/// The offset of the next quote, backslash or control character, or of the end. Checks eight bytes at a time.
#[inline]
fn plain_end(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_byte = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
    while let Some(eight) = text.get(at..at + 8) {
        let v = u64::from_le_bytes(eight.try_into().expect("8 bytes"));
        let quote = zero_byte(v ^ (ONES * u64::from(b'"')));
        let slash = zero_byte(v ^ (ONES * u64::from(b'\\')));
        let control = v.wrapping_sub(ONES * 0x20) & !v & HIGH;
        let stop = quote | slash | control;
        if stop != 0 {
            // The lowest marked byte is right: a borrow can only mark bytes above it by mistake.
            return at + stop.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < text.len() && text[at] != b'"' && text[at] != b'\\' && text[at] >= 0x20 {
        at += 1;
    }
    at
}

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::value::Kind;

    fn document(text: &str) -> Document {
        parse(text.as_bytes().to_vec().into(), usize::MAX).unwrap_or_else(|e| panic!("{text}: {e}")).document
    }

    fn fails(text: &str) -> Error {
        match parse(text.as_bytes().to_vec().into(), usize::MAX) {
            Ok(p) => panic!("{text} was accepted as {:?}", p.document.root()),
            Err(e) => e,
        }
    }

    #[test]
    fn eight_digits_are_parsed_and_other_bytes_are_refused() {
        for number in [0, 1, 12_345_678, 87_654_321, 99_999_999, 10_000_000, 9] {
            let text = format!("{number:08}");
            let text: [u8; 8] = text.as_bytes().try_into().unwrap();
            assert_eq!(eight_digits(text), Some(number));
            for at in 0..8 {
                for other in (0..=255).filter(|b: &u8| !b.is_ascii_digit()) {
                    let mut text = text;
                    text[at] = other;
                    assert_eq!(eight_digits(text), None, "{other} at {at}");
                }
            }
        }
    }

    #[test]
    fn numbers_keep_their_kind_and_every_bit() {
        let d = document(
            "[0, -0, -1, 9223372036854775807, 9223372036854775808, 18446744073709551615, 18446744073709551616, \
             -9223372036854775808, -9223372036854775809, 0.1, -0.0, 5e-324, 1e+300, 1.7976931348623157e308, 3.0, 1e16]",
        );
        let v: Vec<_> = d.root().elements().collect();
        assert_eq!(v[0].as_u64(), Some(0));
        assert_eq!(v[1].as_i64(), Some(0));
        assert_eq!(v[2].as_i64(), Some(-1));
        assert_eq!((v[3].kind(), v[3].as_i64()), (Kind::Int, Some(i64::MAX)));
        assert_eq!((v[4].kind(), v[4].as_u64()), (Kind::Uint, Some(1 << 63)));
        assert_eq!(v[5].as_u64(), Some(u64::MAX));
        assert_eq!((v[6].kind(), v[6].as_big_int()), (Kind::BigInt, Some("18446744073709551616")));
        assert_eq!(v[6].as_f64(), Some(18446744073709551616.0));
        assert_eq!(v[7].as_i64(), Some(i64::MIN));
        assert_eq!(v[8].as_big_int(), Some("-9223372036854775809"));
        for (i, want) in [(9, 0.1), (10, -0.0), (11, 5e-324), (12, 1e300), (13, f64::MAX), (14, 3.0), (15, 1e16)] {
            assert_eq!(v[i].kind(), Kind::Float);
            assert_eq!(v[i].as_f64().map(f64::to_bits), Some(f64::to_bits(want)), "{want}");
        }
    }

    #[test]
    fn python_words_are_floats_outside_of_strings_only() {
        let d = document(r#"{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN inside a string"}"#);
        assert!(d.root().get("a").unwrap().as_f64().unwrap().is_nan());
        assert_eq!(d.root().get("b").unwrap().index(0).unwrap().as_f64(), Some(f64::INFINITY));
        assert_eq!(d.root().get("b").unwrap().index(1).unwrap().as_f64(), Some(f64::NEG_INFINITY));
        assert_eq!(d.root().get("c").unwrap().as_str(), Some("NaN inside a string"));
    }

    #[test]
    fn escapes_of_every_kind() {
        let d = document(
            r#"["a\"b\\c\/d\b\f\n\r\tz", "\u00e9\u20ac\ud83d\ude00!", "\ud800x", "\ud800\ud83d\ude00", "é€😀"]"#,
        );
        let v: Vec<_> = d.root().elements().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(v, ["a\"b\\c/d\u{8}\u{c}\n\r\tz", "é€😀!", "\u{fffd}x", "\u{fffd}😀", "é€😀"]);
    }

    #[test]
    fn strings_of_every_length_end_where_they_should() {
        for len in 0..40 {
            let plain = "é".repeat(len / 2) + &"x".repeat(len % 2);
            let d = document(&format!("[\"{plain}\", \"{plain}\\n\"]"));
            assert_eq!(d.root().index(0).unwrap().as_str(), Some(plain.as_str()));
            assert_eq!(d.root().index(1).unwrap().as_str(), Some(format!("{plain}\n").as_str()));
        }
    }

    #[test]
    fn containers_know_their_ends() {
        let d = document(r#" { "a" : [ ] , "b" : { } , "c" : [ [ 1 , 2 ] , { "d" : [ ] } ] , "e" : 5 } "#);
        let root = d.root();
        assert_eq!(root.len(), 4);
        assert_eq!(root.pairs().map(|(k, _)| k.as_str().unwrap()).collect::<Vec<_>>(), ["a", "b", "c", "e"]);
        assert_eq!(root.get("c").unwrap().index(1).unwrap().get("d").unwrap().len(), 0);
        assert_eq!(root.get("e").unwrap().as_i64(), Some(5));
    }

    #[test]
    fn the_last_of_equal_keys_counts_as_in_python() {
        assert_eq!(document(r#"{"a": 1, "a": 2}"#).root().get("a").unwrap().as_i64(), Some(2));
    }

    #[test]
    fn nesting_as_deep_as_servers_send_and_no_deeper_than_allowed() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(document(&deep(1020)).root().len(), 1);
        document(&deep(MAX_DEPTH));
        assert_eq!(fails(&deep(MAX_DEPTH + 1)).code(), Code::Json);
    }

    #[test]
    fn malformed_text_is_refused_with_its_place() {
        for text in [
            "",
            " ",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "1 2",
            "tru",
            "nul",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "\"",
            "\"\\",
            "\"\\u12",
            "\"\\x\"",
            "\"a\nb\"",
            "]",
            "}",
            "[}",
            "{]",
            "'a'",
            "-NaN",
            "-Infinit",
            "--1",
            "\u{feff}1",
        ] {
            let e = fails(text);
            assert!(e.message().contains("at byte"), "{text}: {e}");
        }
        let e = parse(vec![b'"', 0xff, b'"'].into(), usize::MAX).err().unwrap();
        assert_eq!(e.code(), Code::Utf8);
    }

    #[test]
    fn the_index_is_bounded() {
        let e = parse(b"[1,2,3,4]".to_vec().into(), 4).err().unwrap();
        assert_eq!(e.code(), Code::Limit);
    }

    #[test]
    fn only_values_are_taken_for_attachment_keys() {
        let p = parse(
            br#"{"wslink_bin1": "wslink_bin2", "x": ["wslink_bin", "wslink_bin3x", "a wslink_bin4"]}"#.to_vec().into(),
            99,
        )
        .unwrap();
        let names: Vec<_> = p
            .attachment_keys
            .iter()
            .map(|&i| crate::wire::value::Value::at(&p.document, i).as_str().unwrap())
            .collect();
        assert_eq!(names, ["wslink_bin2", "wslink_bin3x"]);
    }

    /// Text that both this parser and serde_json accept has the same meaning for both.
    #[test]
    fn agrees_with_serde_json() {
        let values = serde_json::json!({
            "s": ["", "a", "\"\\/\n\r\t\u{8}\u{c}\u{1}\u{7f}\u{2028}é€😀", "wslink_bin0"],
            "n": [0, 1, -1, 1.5, -2.5e-10, 1e300, u64::MAX, i64::MIN, 0.1, 123456789.12345679],
            "m": {"a": {"b": [null, true, false, {}, []]}}
        });
        for text in [serde_json::to_string(&values).unwrap(), serde_json::to_string_pretty(&values).unwrap()] {
            let d = document(&text);
            let back: serde_json::Value = serde_json::from_str(&super::super::write::plain(d.root()).text).unwrap();
            assert_eq!(back, values);
        }
    }
}
