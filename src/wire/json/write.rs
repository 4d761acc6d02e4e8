//! Values to JSON text.

use crate::error::{Code, Error};
use crate::wire::memory::try_reserve_half;
use crate::wire::value::{Elements, Kind, Pairs, Value};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use std::fmt;
use std::io::{self, Write};

/// The dialects of JSON text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Strict JSON for any library, see [`plain`].
    Plain,
    /// Lossless, see [`tagged`].
    Tagged,
    /// For a server of generation 1, see [`wire`].
    Wire,
}

/// JSON text, and the binary data of the value.
#[derive(Debug, Clone)]
pub struct Plain<'a> {
    /// Strict JSON (RFC 8259). Binary data is replaced by the key of an attachment.
    pub text: String,
    /// The keys in the order of the text, and the binary values that they replace.
    pub attachments: Vec<(String, Value<'a>)>,
}

/// Text that any JSON library reads. Binary data is replaced by a key, `"wslink_bin<N>"`, with numbers that no
/// string of the value has. Values that JSON cannot express are converted:
/// NaN and the infinities to `null`, keys of other kinds to strings as in Python,
/// an extension to `{"$ext": type, "data": hex}`.
pub fn plain(value: Value<'_>) -> Plain<'_> {
    let mut writer = Writer::new(Vec::new(), Dialect::Plain, first_free_key(value));
    // Writing to a Vec cannot fail.
    let _ = writer.value(value);
    Plain { text: into_text(writer.out), attachments: writer.attachments }
}

/// Lossless text. Values that JSON cannot express are tagged: `{"$float": "NaN"}`, `{"$bytes": hex}`, `{"$ext": type,
/// "data": hex}`, and `{"$map": [[key, value], ...]}` for a map with a key that is not a string. Integers have all
/// digits.
pub fn tagged(value: Value<'_>) -> String {
    let mut writer = Writer::new(Vec::new(), Dialect::Tagged, 0);
    let _ = writer.value(value);
    into_text(writer.out)
}

/// Shows a value as `tagged` does, without a string in between.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Writer::new(Text(f), Dialect::Tagged, 0).value(*self).map_err(|_| fmt::Error)
    }
}

/// Writes to a formatter.
struct Text<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Text<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Every write consists of whole characters.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer with a limit. A failure to allocate is an error and does not end the process.
pub(crate) struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    limit: u64,
    failed: Option<Failure>,
}

/// Why text for a server could not be written.
pub(crate) enum Failure {
    /// It would be longer than its limit.
    Limit,
    /// Another reason.
    Error(Error),
}

impl Bounded<'_> {
    /// Appends to `out` until its length would exceed `limit`.
    pub fn new(out: &mut Vec<u8>, limit: u64) -> Bounded<'_> {
        Bounded { out, limit, failed: None }
    }

    /// The reason why a write failed.
    fn failure(self) -> Failure {
        self.failed.unwrap_or_else(|| Failure::Error(Error::new(Code::System, "writing JSON text failed")))
    }
}

impl Write for Bounded<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.out.len() + bytes.len()) as u64 > self.limit {
            self.failed = Some(Failure::Limit);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Err(error) = try_reserve_half(self.out, bytes.len()) {
            self.failed = Some(Failure::Error(error));
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a value for a server of generation 1: NaN and the infinities as Python writes them, every
/// binary value as a key of its own, counted from `next_key`, because the server replaces only the first
/// occurrence of a key. Returns the keys with their values. Fails when `out` would exceed `limit`.
pub(crate) fn wire<'a>(
    value: Value<'a>,
    next_key: &mut u64,
    out: &mut Vec<u8>,
    limit: u64,
) -> Result<Vec<(String, Value<'a>)>, Failure> {
    let mut writer = Writer::new(Bounded::new(out, limit), Dialect::Wire, *next_key);
    if writer.value(value).is_err() {
        return Err(writer.out.failure());
    }
    *next_key = writer.next_key;
    match writer.unsupported {
        Some(what) => Err(Failure::Error(Error::new(
            Code::Unsupported,
            format!("{what} cannot be sent to a server of protocol 1 (JSON)"),
        ))),
        None => Ok(writer.attachments),
    }
}

/// One string as a JSON string, quotes included.
pub fn quoted(text: &str, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A float with as many digits as it needs to be read back exactly. NaN and the infinities as Python writes them.
pub fn float(v: f64, out: &mut Vec<u8>) {
    let _ = write_float(v, out);
}

fn write_float(v: f64, out: &mut impl Write) -> io::Result<()> {
    if v.is_finite() {
        serde_json::to_writer(out, &v).map_err(io::Error::from)
    } else {
        out.write_all(special(v).as_bytes())
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

fn into_text(mut out: Vec<u8>) -> String {
    // The application may keep the text for a long time, so a large rest of memory is freed.
    if out.capacity() / 4 > out.len() / 3 {
        out.shrink_to_fit();
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The number of an attachment key; `None` for any other string.
pub(crate) fn attachment_number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"wslink_bin")?;
    let number = std::str::from_utf8(digits).ok()?;
    if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None }
}

fn first_free_key(value: Value<'_>) -> u64 {
    let numbers = value.strings().filter_map(attachment_number);
    numbers.map(|n| n.saturating_add(1)).max().unwrap_or(0)
}

struct Writer<'a, W> {
    out: W,
    dialect: Dialect,
    next_key: u64,
    attachments: Vec<(String, Value<'a>)>,
    /// A kind of value in the text that the dialect cannot express.
    unsupported: Option<&'static str>,
}

/// A container whose members are being written. The open containers are kept in a list, because recursion would use
/// stack in proportion to the depth of the value. The text of a variant is written before the next member.
enum OpenContainer<'a> {
    Array(Elements<'a>, &'static str),
    Map(Pairs<'a>, &'static str),
    /// A map as a list of pairs.
    PairList(Pairs<'a>, &'static str),
    /// A pair whose key was written and whose value was not.
    PairValue(Value<'a>),
    /// A pair whose key and value were written.
    PairEnd,
}

impl<'a, W: Write> Writer<'a, W> {
    fn new(out: W, dialect: Dialect, next_key: u64) -> Writer<'a, W> {
        Writer { out, dialect, next_key, attachments: Vec::new(), unsupported: None }
    }

    fn value(&mut self, root: Value<'a>) -> io::Result<()> {
        let mut open = Vec::new();
        self.begin(root, &mut open)?;
        while let Some(container) = open.last_mut() {
            match container {
                OpenContainer::Array(elements, before) => match elements.next() {
                    Some(element) => {
                        self.text(std::mem::replace(before, ", "))?;
                        self.begin(element, &mut open)?;
                    }
                    None => self.end("]", &mut open)?,
                },
                OpenContainer::Map(pairs, before) => match pairs.next() {
                    Some((key, value)) => {
                        self.text(std::mem::replace(before, ", "))?;
                        self.key(key)?;
                        self.text(": ")?;
                        self.begin(value, &mut open)?;
                    }
                    None => self.end("}", &mut open)?,
                },
                OpenContainer::PairList(pairs, before) => match pairs.next() {
                    Some((key, value)) => {
                        self.text(std::mem::replace(before, ", ["))?;
                        open.push(OpenContainer::PairValue(value));
                        self.begin(key, &mut open)?;
                    }
                    None => self.end("]}", &mut open)?,
                },
                OpenContainer::PairValue(value) => {
                    let value = *value;
                    self.text(", ")?;
                    *container = OpenContainer::PairEnd;
                    self.begin(value, &mut open)?;
                }
                OpenContainer::PairEnd => self.end("]", &mut open)?,
            }
        }
        Ok(())
    }

    fn end(&mut self, text: &str, open: &mut Vec<OpenContainer<'a>>) -> io::Result<()> {
        open.pop();
        self.text(text)
    }

    /// Writes a scalar, or the beginning of a container.
    fn begin(&mut self, value: Value<'a>, open: &mut Vec<OpenContainer<'a>>) -> io::Result<()> {
        match value.kind() {
            Kind::Array => {
                open.push(OpenContainer::Array(value.elements(), ""));
                self.text("[")
            }
            Kind::Map if self.dialect == Dialect::Tagged && value.pairs().any(|(k, _)| k.kind() != Kind::String) => {
                open.push(OpenContainer::PairList(value.pairs(), "["));
                self.text("{\"$map\": [")
            }
            Kind::Map => {
                open.push(OpenContainer::Map(value.pairs(), ""));
                self.text("{")
            }
            _ => self.scalar(value),
        }
    }

    fn scalar(&mut self, value: Value<'a>) -> io::Result<()> {
        match value.kind() {
            Kind::Null | Kind::Array | Kind::Map => self.text("null"),
            Kind::Bool => self.text(if value.as_bool() == Some(true) { "true" } else { "false" }),
            Kind::Int => self.text(itoa::Buffer::new().format(value.as_i64().unwrap_or_default())),
            Kind::Uint => self.text(itoa::Buffer::new().format(value.as_u64().unwrap_or_default())),
            Kind::BigInt => self.text(value.as_big_int().unwrap_or_default()),
            Kind::String => self.quoted(value.as_str().unwrap_or_default()),
            Kind::Float => {
                let v = value.as_f64().unwrap_or_default();
                match self.dialect {
                    Dialect::Plain if !v.is_finite() => self.text("null"),
                    Dialect::Tagged if !v.is_finite() => write!(self.out, "{{\"$float\": \"{}\"}}", special(v)),
                    _ => write_float(v, &mut self.out),
                }
            }
            Kind::Bytes if self.dialect == Dialect::Tagged => {
                self.text("{\"$bytes\": \"")?;
                self.hex(value.as_bytes().unwrap_or_default())?;
                self.text("\"}")
            }
            Kind::Bytes => {
                let key = format!("wslink_bin{}", self.next_key);
                self.next_key += 1;
                self.quoted(&key)?;
                self.attachments.push((key, value));
                Ok(())
            }
            Kind::Ext => {
                if self.dialect == Dialect::Wire {
                    self.unsupported = Some("an extension");
                }
                let (kind, data) = value.as_ext().unwrap_or_default();
                write!(self.out, "{{\"$ext\": {kind}, \"data\": \"")?;
                self.hex(data)?;
                self.text("\"}")
            }
        }
    }

    /// Writes the key of a map as a JSON string. Other kinds are converted as by Python's `json.dumps`: `1`, `1.5`,
    /// `true`, `null`.
    fn key(&mut self, key: Value<'a>) -> io::Result<()> {
        let text = match key.kind() {
            Kind::String => return self.quoted(key.as_str().unwrap_or_default()),
            Kind::Float => {
                let mut text = Vec::new();
                float(key.as_f64().unwrap_or_default(), &mut text);
                into_text(text)
            }
            Kind::Bytes => HEXLOWER.encode(key.as_bytes().unwrap_or_default()),
            _ => tagged(key),
        };
        self.quoted(&text)
    }

    fn quoted(&mut self, text: &str) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, text).map_err(io::Error::from)
    }

    /// Writes hexadecimal digits, without a string of all of them.
    fn hex(&mut self, data: &[u8]) -> io::Result<()> {
        let mut digits = [0; 512];
        for piece in data.chunks(digits.len() / 2) {
            let digits = &mut digits[..2 * piece.len()];
            HEXLOWER.encode_mut(piece, digits);
            self.out.write_all(digits)?;
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }
}

impl Plain<'_> {
    /// The attachments as buffers that own references to the document.
    pub fn buffers(&self, document: &crate::wire::document::SharedDocument) -> Vec<(String, Bytes)> {
        let shared = |v: &Value<'_>| v.shared_bytes(document);
        self.attachments.iter().filter_map(|(k, v)| Some((k.clone(), shared(v)?))).collect()
    }
}
