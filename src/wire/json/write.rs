//! Values to JSON text.

use crate::error::{Code, Error, Result};
use crate::wire::buffer::make_room;
use crate::wire::value::{Kind, Value};
use bytes::Bytes;
use data_encoding::HEXLOWER;

/// What the text is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Any JSON library.
    Plain,
    /// Nothing is lost.
    Tagged,
    /// A generation 1 server.
    Wire,
}

/// JSON text with the binary data of the value beside it.
#[derive(Debug, Clone)]
pub struct Plain<'a> {
    /// Strict JSON (RFC 8259). Binary data is a string, the key of one of the attachments.
    pub text: String,
    /// The keys in the order of the text, each with the value that it stands for.
    pub attachments: Vec<(String, Value<'a>)>,
}

/// Text that any JSON library reads. Binary data becomes `"wslink_bin<N>"`, numbered so that no
/// string of the value is mistaken for one. What JSON has no word for is made readable rather than
/// lost: NaN and the infinities become `null`, keys that are no strings become strings as in Python,
/// an extension becomes `{"$ext": type, "data": hex}`.
pub fn plain(value: Value<'_>) -> Plain<'_> {
    let mut writer = Writer::new(Dialect::Plain, first_free_key(value));
    let _ = writer.value(value);
    Plain { text: into_text(writer.out), attachments: writer.attachments }
}

/// Text that loses nothing: `{"$float": "NaN"}`, `{"$bytes": hex}`, `{"$ext": type, "data": hex}`, and
/// `{"$map": [[key, value], ...]}` for a map with a key that is no string. Integers have all digits.
pub fn tagged(value: Value<'_>) -> String {
    let mut writer = Writer::new(Dialect::Tagged, 0);
    let _ = writer.value(value);
    into_text(writer.out)
}

/// Appends a value as a generation 1 server reads it: Python's words for NaN and the infinities, every
/// binary value under a key of its own, counted from `next_key` (the server replaces only the first
/// occurrence of a key). Returns the keys with their data.
pub(crate) fn wire<'a>(value: Value<'a>, next_key: &mut u64, out: &mut Vec<u8>) -> Result<Vec<(String, Value<'a>)>> {
    let mut writer = Writer::new(Dialect::Wire, *next_key);
    writer.out = std::mem::take(out);
    writer.value(value)?;
    *out = writer.out;
    *next_key = writer.next_key;
    match writer.unsupported {
        Some(what) => {
            Err(Error::new(Code::Unsupported, format!("{what} cannot be sent to a server of protocol 1 (JSON)")))
        }
        None => Ok(writer.attachments),
    }
}

/// One string as a JSON string, quotes included.
pub fn quoted(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A float so that it comes back with the same bits: Python's words for what is no number.
pub fn float(v: f64, out: &mut Vec<u8>) {
    if v.is_finite() {
        let _ = serde_json::to_writer(out, &v);
    } else {
        out.extend_from_slice(special(v).as_bytes());
    }
}

fn special(v: f64) -> &'static str {
    if v.is_nan() {
        "NaN"
    } else if v > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}

/// Whether a string has the form of an attachment key, and its number.
pub(crate) fn attachment_number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"wslink_bin")?;
    let number = std::str::from_utf8(digits).ok()?;
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None }
}

fn first_free_key(value: Value<'_>) -> u64 {
    let mut free = 0;
    let mut todo = vec![value];
    while let Some(v) = todo.pop() {
        match v.kind() {
            Kind::String => {
                if let Some(n) = v.as_str_bytes().and_then(attachment_number) {
                    free = free.max(n.saturating_add(1));
                }
            }
            Kind::Array => todo.extend(v.elements().filter(|e| e.kind() != Kind::Float)),
            Kind::Map => todo.extend(v.pairs().flat_map(|(k, v)| [k, v])),
            _ => {}
        }
    }
    free
}

struct Writer<'a> {
    out: Vec<u8>,
    dialect: Dialect,
    next_key: u64,
    attachments: Vec<(String, Value<'a>)>,
    /// What the dialect has no form for.
    unsupported: Option<&'static str>,
}

/// What is still to be written; a list instead of recursion, so that depth costs no stack.
enum Step<'a> {
    Value(Value<'a>),
    Key(Value<'a>),
    Text(&'static [u8]),
}

impl<'a> Writer<'a> {
    fn new(dialect: Dialect, next_key: u64) -> Writer<'a> {
        Writer { out: Vec::new(), dialect, next_key, attachments: Vec::new(), unsupported: None }
    }

    /// Fails where there is no memory, which is noticed for messages to a server only.
    fn value(&mut self, root: Value<'a>) -> Result<()> {
        let mut todo = vec![Step::Value(root)];
        let careful = self.dialect == Dialect::Wire;
        while let Some(step) = todo.pop() {
            let value = match step {
                Step::Text(text) => {
                    self.out.extend_from_slice(text);
                    continue;
                }
                Step::Key(key) => {
                    self.key(key);
                    continue;
                }
                Step::Value(value) => value,
            };
            match value.kind() {
                Kind::Array => {
                    if careful {
                        make_room(&mut todo, 2 * value.len() + 1)?;
                    }
                    self.out.push(b'[');
                    todo.push(Step::Text(b"]"));
                    let first = todo.len();
                    for (i, element) in value.elements().enumerate() {
                        if i > 0 {
                            todo.push(Step::Text(b", "));
                        }
                        todo.push(Step::Value(element));
                    }
                    todo[first..].reverse();
                }
                Kind::Map
                    if self.dialect == Dialect::Tagged && value.pairs().any(|(k, _)| k.kind() != Kind::String) =>
                {
                    self.out.extend_from_slice(b"{\"$map\": [");
                    todo.push(Step::Text(b"]}"));
                    let first = todo.len();
                    for (i, (key, value)) in value.pairs().enumerate() {
                        todo.push(Step::Text(if i > 0 { b", [" } else { b"[" }));
                        todo.extend([Step::Value(key), Step::Text(b", "), Step::Value(value), Step::Text(b"]")]);
                    }
                    todo[first..].reverse();
                }
                Kind::Map => {
                    if careful {
                        make_room(&mut todo, 4 * value.len() + 1)?;
                    }
                    self.out.push(b'{');
                    todo.push(Step::Text(b"}"));
                    let first = todo.len();
                    for (i, (key, value)) in value.pairs().enumerate() {
                        if i > 0 {
                            todo.push(Step::Text(b", "));
                        }
                        todo.extend([Step::Key(key), Step::Text(b": "), Step::Value(value)]);
                    }
                    todo[first..].reverse();
                }
                _ => self.scalar(value),
            }
        }
        Ok(())
    }

    fn scalar(&mut self, value: Value<'a>) {
        match value.kind() {
            Kind::Null | Kind::Array | Kind::Map => self.out.extend_from_slice(b"null"),
            Kind::Bool => self.text(if value.as_bool() == Some(true) { "true" } else { "false" }),
            Kind::Int => self.text(&value.as_i64().unwrap_or_default().to_string()),
            Kind::Uint => self.text(&value.as_u64().unwrap_or_default().to_string()),
            Kind::BigInt => self.text(value.as_big_int().unwrap_or_default()),
            Kind::String => quoted(value.as_str().unwrap_or_default(), &mut self.out),
            Kind::Float => {
                let v = value.as_f64().unwrap_or_default();
                match self.dialect {
                    Dialect::Plain if !v.is_finite() => self.text("null"),
                    Dialect::Tagged if !v.is_finite() => {
                        self.text(&format!("{{\"$float\": \"{}\"}}", special(v)));
                    }
                    _ => float(v, &mut self.out),
                }
            }
            Kind::Bytes if self.dialect == Dialect::Tagged => {
                let hex = HEXLOWER.encode(value.as_bytes().unwrap_or_default());
                self.text(&format!("{{\"$bytes\": \"{hex}\"}}"));
            }
            Kind::Bytes => {
                let key = format!("wslink_bin{}", self.next_key);
                self.next_key += 1;
                quoted(&key, &mut self.out);
                self.attachments.push((key, value));
            }
            Kind::Ext => {
                if self.dialect == Dialect::Wire {
                    self.unsupported = Some("an extension");
                }
                let (kind, data) = value.as_ext().unwrap_or_default();
                self.text(&format!("{{\"$ext\": {kind}, \"data\": \"{}\"}}", HEXLOWER.encode(data)));
            }
        }
    }

    /// A map key as a JSON string. Keys that are no strings are written as Python's `json.dumps`
    /// does: `1`, `1.5`, `true`, `null`.
    fn key(&mut self, key: Value<'a>) {
        let text = match key.kind() {
            Kind::String => return quoted(key.as_str().unwrap_or_default(), &mut self.out),
            Kind::Float => {
                let mut text = Vec::new();
                float(key.as_f64().unwrap_or_default(), &mut text);
                into_text(text)
            }
            Kind::Bytes => HEXLOWER.encode(key.as_bytes().unwrap_or_default()),
            _ => tagged(key),
        };
        quoted(&text, &mut self.out);
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }
}

impl Plain<'_> {
    /// The attachments as buffers that outlive the document handle that is given.
    pub fn buffers(&self, document: &crate::wire::document::SharedDocument) -> Vec<(String, Bytes)> {
        let shared = |v: &Value<'_>| v.shared_bytes(document);
        self.attachments.iter().filter_map(|(k, v)| Some((k.clone(), shared(v)?))).collect()
    }
}
