//! Messages in the format of the servers of both protocols, and the lists in replies.

use std::io::Write;

use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Json,
    Msgpack,
}

/// Writes one value after the other.
pub trait Writer {
    fn null(&mut self);
    fn boolean(&mut self, value: bool);
    fn uint(&mut self, value: u64);
    fn real(&mut self, value: f64);
    fn text(&mut self, value: &str);
    fn begin_list(&mut self, count: usize);
    fn end_list(&mut self);
    fn begin_map(&mut self, count: usize);
    fn key(&mut self, key: &str);
    fn end_map(&mut self);
    fn take(self) -> Vec<u8>;
}

#[derive(Default)]
pub struct Msgpack(pub Vec<u8>);

impl Msgpack {
    fn head(&mut self, short: u8, limit: usize, wide: u8, count: usize) {
        if count < limit {
            self.0.push(short | count as u8);
        } else if count < 65536 {
            self.0.push(wide);
            self.0.extend_from_slice(&(count as u16).to_be_bytes());
        } else {
            self.0.push(wide + 1);
            self.0.extend_from_slice(&(count as u32).to_be_bytes());
        }
    }
    /// Writes the bytes before binary data.
    pub fn binary_head(&mut self, size: usize) {
        self.0.push(0xc6);
        self.0.extend_from_slice(&(size as u32).to_be_bytes());
    }
}

impl Writer for Msgpack {
    fn null(&mut self) {
        self.0.push(0xc0);
    }
    fn boolean(&mut self, value: bool) {
        self.0.push(0xc2 + u8::from(value));
    }
    fn uint(&mut self, value: u64) {
        match value {
            0..128 => self.0.push(value as u8),
            128..256 => self.0.extend_from_slice(&[0xcc, value as u8]),
            256..65536 => self.head(0, 0, 0xcd, value as usize),
            65536..0x1_0000_0000 => self.head(0, 0, 0xcd, value as usize),
            _ => {
                self.0.push(0xcf);
                self.0.extend_from_slice(&value.to_be_bytes());
            }
        }
    }
    fn real(&mut self, value: f64) {
        self.0.push(0xcb);
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    fn text(&mut self, value: &str) {
        if (32..256).contains(&value.len()) {
            self.0.extend_from_slice(&[0xd9, value.len() as u8]);
        } else {
            self.head(0xa0, 32, 0xda, value.len());
        }
        self.0.extend_from_slice(value.as_bytes());
    }
    fn begin_list(&mut self, count: usize) {
        self.head(0x90, 16, 0xdc, count);
    }
    fn end_list(&mut self) {}
    fn begin_map(&mut self, count: usize) {
        self.head(0x80, 16, 0xde, count);
    }
    fn key(&mut self, key: &str) {
        self.text(key);
    }
    fn end_map(&mut self) {}
    fn take(self) -> Vec<u8> {
        self.0
    }
}

/// Python's separators.
#[derive(Default)]
pub struct Json(pub Vec<u8>);

impl Json {
    fn next(&mut self) {
        if !matches!(self.0.last(), None | Some(b'[' | b'{' | b' ')) {
            self.0.extend_from_slice(b", ");
        }
    }
}

impl Writer for Json {
    fn null(&mut self) {
        self.next();
        self.0.extend_from_slice(b"null");
    }
    fn boolean(&mut self, value: bool) {
        self.next();
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
    }
    fn uint(&mut self, value: u64) {
        self.next();
        write!(self.0, "{value}").expect("memory");
    }
    fn real(&mut self, value: f64) {
        self.next();
        serde_json::to_writer(&mut self.0, &value).expect("memory");
    }
    fn text(&mut self, value: &str) {
        self.next();
        serde_json::to_writer(&mut self.0, value).expect("memory");
    }
    fn begin_list(&mut self, _: usize) {
        self.next();
        self.0.push(b'[');
    }
    fn end_list(&mut self) {
        self.0.push(b']');
    }
    fn begin_map(&mut self, _: usize) {
        self.next();
        self.0.push(b'{');
    }
    fn key(&mut self, key: &str) {
        self.text(key);
        self.0.extend_from_slice(b": ");
    }
    fn end_map(&mut self) {
        self.0.push(b'}');
    }
    fn take(self) -> Vec<u8> {
        self.0
    }
}

/// Full mantissas, like the data of simulations.
pub fn float_at(place: usize) -> f64 {
    (place as f64 * 0.001).sin() * 1000.0 + 1e-7 * (place % 97) as f64
}

fn word_at(place: usize) -> &'static str {
    ["mesh", "actor", "contour", "streamline", "volume", "glyph", "slice", "outline"][place % 8]
}

pub fn string_at(place: usize) -> String {
    let words: Vec<&str> = (0..1 + place * 7 % 5).map(|k| word_at(place + k * 3)).collect();
    format!("{}-{place}", words.join(" "))
}

fn put_record(to: &mut impl Writer, place: usize) {
    to.begin_map(8);
    to.key("id");
    to.uint(place as u64);
    to.key("name");
    to.text(&string_at(place));
    to.key("visible");
    to.boolean(!place.is_multiple_of(3));
    to.key("opacity");
    to.real((place % 100) as f64 / 100.0);
    to.key("position");
    to.begin_list(3);
    for axis in 0..3 {
        to.real(float_at(place + axis * 1000));
    }
    to.end_list();
    to.key("parent");
    if place.is_multiple_of(10) {
        to.null()
    } else {
        to.uint(place as u64 / 10)
    }
    to.key("mtime");
    to.uint(1_732_284_000_000 + place as u64);
    to.key("kind");
    to.text(word_at(place));
    to.end_map();
}

/// Writes any value without negative numbers.
fn put_value(to: &mut impl Writer, value: &Value) {
    match value {
        Value::Null => to.null(),
        Value::Bool(truth) => to.boolean(*truth),
        Value::Number(number) => match number.as_u64() {
            Some(number) => to.uint(number),
            None => to.real(number.as_f64().expect("a number")),
        },
        Value::String(text) => to.text(text),
        Value::Array(list) => {
            to.begin_list(list.len());
            list.iter().for_each(|value| put_value(to, value));
            to.end_list();
        }
        Value::Object(map) => {
            to.begin_map(map.len());
            for (key, value) in map {
                to.key(key);
                put_value(to, value);
            }
            to.end_map();
        }
    }
}

/// A list of `count` floats, records or strings.
pub fn put_list(to: &mut impl Writer, kind: &str, count: usize) {
    to.begin_list(count);
    for place in 0..count {
        match kind {
            "floats" => to.real(float_at(place)),
            "strings" => to.text(&string_at(place)),
            _ => put_record(to, place),
        }
    }
    to.end_list();
}

/// A list in the format of the protocol.
pub fn list(protocol: Protocol, kind: &str, count: usize) -> Vec<u8> {
    match protocol {
        Protocol::Json => written(Json::default(), |to| put_list(to, kind, count)),
        Protocol::Msgpack => written(Msgpack::default(), |to| put_list(to, kind, count)),
    }
}

/// A value in the format of the protocol.
pub fn value(protocol: Protocol, value: &Value) -> Vec<u8> {
    match protocol {
        Protocol::Json => written(Json::default(), |to| put_value(to, value)),
        Protocol::Msgpack => written(Msgpack::default(), |to| put_value(to, value)),
    }
}

fn written<W: Writer>(mut to: W, put: impl FnOnce(&mut W)) -> Vec<u8> {
    put(&mut to);
    to.take()
}

/// The parts of a message before and after its result.
pub fn envelope(protocol: Protocol, id: &str) -> (Vec<u8>, Vec<u8>) {
    match protocol {
        Protocol::Json => (format!("{{\"wslink\": \"1.0\", \"id\": \"{id}\", \"result\": ").into(), b"}".to_vec()),
        Protocol::Msgpack => {
            // With room for the part after it.
            let mut head = Msgpack(Vec::with_capacity(id.len() + 128));
            head.begin_map(3);
            head.key("wslink");
            head.text("1.0");
            head.key("id");
            head.text(id);
            head.key("result");
            (head.take(), Vec::new())
        }
    }
}

/// A reply or publication with this result.
pub fn message(protocol: Protocol, id: &str, result: &[u8]) -> Vec<u8> {
    let (head, tail) = envelope(protocol, id);
    [&head, result, &tail].concat()
}
