//! Parses calls of both protocols. Of large calls only the beginning is available.

use serde::Deserialize;
use serde_json::value::RawValue;
use wslink_bench::messages::Protocol;

pub struct Request<'a> {
    protocol: Protocol,
    /// `None` for an announcement of attachments.
    pub id: Option<&'a str>,
    pub method: &'a str,
    /// The encoded arguments.
    pub args: Vec<&'a [u8]>,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    id: Option<&'a str>,
    method: &'a str,
    #[serde(borrow, default)]
    args: Vec<&'a RawValue>,
}

/// The type of the value at the beginning of `bytes`: its count (of bytes, elements, or the number itself) and its header size.
fn msgpack_head(bytes: &[u8]) -> Option<(u64, usize)> {
    let wide = |size: usize| {
        let number = bytes.get(1..1 + size)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Some((number, 1 + size))
    };
    match *bytes.first()? {
        small @ 0..0x80 => Some((small.into(), 1)),
        container @ 0x80..0xa0 => Some((u64::from(container & 15), 1)),
        text @ 0xa0..0xc0 => Some((u64::from(text & 31), 1)),
        0xc4 | 0xcc | 0xd9 => wide(1),
        0xc5 | 0xcd | 0xda | 0xdc | 0xde => wide(2),
        0xc6 | 0xca | 0xce | 0xdb | 0xdd | 0xdf => wide(4),
        0xcb | 0xcf => wide(8),
        0xd0..=0xd3 => wide(1 << (bytes[0] - 0xd0)),
        _ => Some((0, 1)),
    }
}

/// The size of the value at the beginning of `bytes`.
fn msgpack_size(bytes: &[u8]) -> Option<usize> {
    let (count, mut size) = msgpack_head(bytes)?;
    let elements = match bytes[0] {
        0x80..0x90 | 0xde | 0xdf => 2 * count,
        0x90..0xa0 | 0xdc | 0xdd => count,
        0xa0..0xc0 | 0xc4..=0xc6 | 0xd9..=0xdb => return Some(size + count as usize),
        _ => 0,
    };
    for _ in 0..elements {
        size += msgpack_size(bytes.get(size..)?)?;
    }
    Some(size)
}

fn msgpack_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let (count, head) = msgpack_head(bytes)?;
    bytes.get(head..head + count as usize)
}

fn msgpack_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(msgpack_bytes(bytes)?).ok()
}

/// Splits the first value off. An incomplete value is the whole rest.
fn msgpack_next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = msgpack_size(rest)?.min(rest.len());
    let (value, left) = rest.split_at(size);
    *rest = left;
    Some(value)
}

impl<'a> Request<'a> {
    pub fn parse(protocol: Protocol, bytes: &'a [u8]) -> Option<Request<'a>> {
        match protocol {
            Protocol::Json => {
                let text: Text = serde_json::from_slice(bytes).ok()?;
                let args = text.args.iter().map(|arg| arg.get().as_bytes()).collect();
                Some(Request { protocol, id: text.id, method: text.method, args })
            }
            Protocol::Msgpack => {
                let mut request = Request { protocol, id: None, method: "", args: Vec::new() };
                let (pairs, head) = msgpack_head(bytes)?;
                let mut rest = &bytes[head..];
                for _ in 0..pairs {
                    let Some(key) = msgpack_next(&mut rest) else { break };
                    let key = msgpack_bytes(key)?;
                    if key == b"args" {
                        let (count, head) = msgpack_head(rest)?;
                        rest = &rest[head..];
                        for _ in 0..count {
                            request.args.push(msgpack_next(&mut rest)?);
                        }
                        continue;
                    }
                    let value = msgpack_next(&mut rest)?;
                    match key {
                        b"id" => request.id = Some(msgpack_text(value)?),
                        b"method" => request.method = msgpack_text(value)?,
                        _ => {}
                    }
                }
                Some(request)
            }
        }
    }

    pub fn text(&self, at: usize) -> Option<&'a str> {
        let arg = *self.args.get(at)?;
        match self.protocol {
            Protocol::Json => std::str::from_utf8(arg.strip_prefix(b"\"")?.strip_suffix(b"\"")?).ok(),
            Protocol::Msgpack => msgpack_text(arg),
        }
    }
    /// A number, or the size of binary data.
    pub fn number(&self, at: usize) -> Option<usize> {
        let arg = *self.args.get(at)?;
        match self.protocol {
            Protocol::Json => std::str::from_utf8(arg).ok()?.parse().ok(),
            Protocol::Msgpack => Some(msgpack_head(arg)?.0 as usize),
        }
    }
}
