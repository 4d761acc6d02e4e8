//! The map around the content of every message, and message ids.

use super::Protocol;
use super::document::{Document, SharedDocument};
use super::remote::remote_error;
use super::value::Value;
use crate::error::{Code, Error, Result, Stage};
use std::sync::atomic::Ordering::Relaxed;

pub(crate) use super::remote::shown;

/// The id of the hello and of the probe, as in every wslink client.
pub const SYSTEM_ID: &str = "system:c0:0";

/// wslink's code for a refused secret or a call before the hello.
pub const AUTHENTICATION_FAILED: i64 = -32000;

/// The topic of a publish id: everything between the first and the last colon. Topics may be empty and
/// may hold colons.
pub fn topic(id: &str) -> Option<&str> {
    let rest = id.strip_prefix("publish:")?;
    rest.rfind(':').map(|end| &rest[..end])
}

/// Reads the id of a message without decoding the message. `None` if the id is not among the first members, where
/// servers put it: then the message must be decoded to find it.
pub fn peek_id(protocol: Protocol, message: &[u8]) -> Option<&str> {
    std::str::from_utf8(peek(protocol, message)?.0).ok()
}

/// As [`peek_id`], without a check for UTF-8. Also returns the offset in the message at which the value of the id ends.
pub fn peek(protocol: Protocol, message: &[u8]) -> Option<(&[u8], usize)> {
    let (id, rest) = match protocol {
        Protocol::V1 => peek_json(message),
        Protocol::V2 => peek_msgpack(message),
    }?;
    Some((id, message.len() - rest.len()))
}

fn peek_json(text: &[u8]) -> Option<(&[u8], &[u8])> {
    fn blank(t: &[u8]) -> &[u8] {
        t.trim_ascii_start()
    }
    /// Splits off a string without escapes.
    fn string(t: &[u8]) -> Option<(&[u8], &[u8])> {
        let t = t.strip_prefix(b"\"")?;
        let end = t.iter().position(|&b| b == b'"' || b == b'\\')?;
        (t[end] == b'"').then(|| (&t[..end], &t[end + 1..]))
    }
    let mut rest = blank(blank(text).strip_prefix(b"{")?);
    for _ in 0..3 {
        let (key, after) = string(rest)?;
        let (value, after) = string(blank(blank(after).strip_prefix(b":")?))?;
        if key == b"id" {
            return Some((value, after));
        }
        rest = blank(blank(after).strip_prefix(b",")?);
    }
    None
}

fn peek_msgpack(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (0x80..=0x8f, mut rest) = message.split_first()? else {
        return None;
    };
    for _ in 0..3 {
        let (key, after) = msgpack_string(rest)?;
        let (value, after) = msgpack_string(after)?;
        if key == b"id" {
            return Some((value, after));
        }
        rest = after;
    }
    None
}

/// Splits off a string of at most 65,535 bytes.
fn msgpack_string(m: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = match *m.first()? {
        b @ 0xa0..=0xbf => (usize::from(b & 31), &m[1..]),
        0xd9 => (usize::from(*m.get(1)?), &m[2..]),
        0xda => (usize::from(u16::from_be_bytes([*m.get(1)?, *m.get(2)?])), &m[3..]),
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Searches all members of the root map for the id of a message that cannot be decoded. `None` if there is no id, or
/// the search fails at the malformed part of the message.
pub fn find_id(protocol: Protocol, message: &[u8]) -> Option<String> {
    if let Some(id) = peek_id(protocol, message) {
        return Some(id.to_owned());
    }
    match protocol {
        Protocol::V1 => find_id_json(message),
        Protocol::V2 => find_id_msgpack(message),
    }
}

/// Needs only brackets and strings to be well-formed: it counts brackets outside of strings to find the members of the
/// root map.
fn find_id_json(text: &[u8]) -> Option<String> {
    let (mut depth, mut at, mut id_is_next) = (0, 0, false);
    while let Some(&byte) = text.get(at) {
        let begin = at;
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                while *text.get(at)? != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if depth == 1 {
                    let string = &text[begin..at];
                    if id_is_next {
                        return serde_json::from_slice(string).ok();
                    }
                    id_is_next = string == b"\"id\"" && text[at..].trim_ascii_start().first() == Some(&b':');
                    continue;
                }
            }
            b' ' | b'\n' | b'\r' | b'\t' | b':' => continue,
            _ => {}
        }
        id_is_next = false;
    }
    None
}

/// Needs only the lengths of values to be well-formed.
fn find_id_msgpack(message: &[u8]) -> Option<String> {
    let (members, mut rest) = match *message {
        [head @ 0x80..=0x8f, ref rest @ ..] => (u32::from(head & 15), rest),
        [0xde, a, b, ref rest @ ..] => (u32::from(u16::from_be_bytes([a, b])), rest),
        [0xdf, a, b, c, d, ref rest @ ..] => (u32::from_be_bytes([a, b, c, d]), rest),
        _ => return None,
    };
    for _ in 0..members {
        let value = after_msgpack(rest)?;
        if msgpack_string(rest).is_some_and(|(key, _)| key == b"id") {
            return String::from_utf8(msgpack_string(value)?.0.to_vec()).ok();
        }
        rest = after_msgpack(value)?;
    }
    None
}

/// Splits off one value of msgpack and returns the bytes behind it. Each iteration consumes at least one byte.
fn after_msgpack(mut rest: &[u8]) -> Option<&[u8]> {
    let mut values = 1u64;
    while values > 0 {
        let (&head, after) = rest.split_first()?;
        // The length or count that follows, of 1, 2 or 4 bytes.
        let number = |size: usize| Some(after.get(..size)?.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        let (bytes, members) = match head {
            0x80..=0x8f => (0, 2 * u64::from(head & 15)),
            0x90..=0x9f => (0, u64::from(head & 15)),
            0xa0..=0xbf => (u64::from(head & 31), 0),
            0xc4 | 0xd9 => (1 + number(1)?, 0),
            0xc5 | 0xda => (2 + number(2)?, 0),
            0xc6 | 0xdb => (4 + number(4)?, 0),
            0xc7 => (2 + number(1)?, 0),
            0xc8 => (3 + number(2)?, 0),
            0xc9 => (5 + number(4)?, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 | 0xd4 => (2, 0),
            0xd5 => (3, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xd6 => (5, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd7 => (9, 0),
            0xd8 => (17, 0),
            0xdc => (2, number(2)?),
            0xdd => (4, number(4)?),
            0xde => (2, 2 * number(2)?),
            0xdf => (4, 2 * number(4)?),
            _ => (0, 0),
        };
        rest = after.get(usize::try_from(bytes).ok()?..)?;
        values = values - 1 + members;
    }
    Some(rest)
}

/// The content of a decoded message.
pub enum Content {
    /// The reply to a call or to a system message.
    Reply {
        /// The id of the call.
        id: String,
        /// The message on success, the server's error otherwise.
        outcome: Result<SharedDocument>,
    },
    /// A publication, or the error that the server sent in place of one.
    Publication {
        /// The topic.
        topic: String,
        /// The message on success, the server's error otherwise.
        outcome: Result<SharedDocument>,
    },
    /// An announcement of attachments (generation 1).
    Attachments(SharedDocument),
}

/// The value of a reply or publication: the `result` member, or the whole message if it has none.
pub fn result(document: &Document) -> Value<'_> {
    match document.result.load(Relaxed) {
        0 => document.root().get("result").unwrap_or(document.root()),
        found => Value::at(document, found),
    }
}

/// Whether a message announces attachments (generation 1).
pub fn announces_attachments(document: &Document) -> bool {
    document.root().get("method").and_then(Value::as_str) == Some(super::attachments::ATTACHMENT_METHOD)
}

/// Determines the content of a decoded message. Fails if the message has none of the forms of wslink.
pub fn classify(document: impl Into<SharedDocument>) -> Result<Content> {
    let document = document.into();
    let root = document.root();
    let Some(id) = root.get("id") else {
        if announces_attachments(&document) {
            return Ok(Content::Attachments(document));
        }
        return malformed("is neither a reply or publication nor an announcement of attachments");
    };
    let Some(id) = id.as_str().map(str::to_owned) else {
        return malformed("has an id that is no string");
    };
    let outcome = outcome(document);
    Ok(match topic(&id) {
        Some(topic) => Content::Publication { topic: topic.to_owned(), outcome },
        None => Content::Reply { id, outcome },
    })
}

/// The outcome of a reply or publication: the message if it has a `result`, the server's error if it has an `error`. If
/// it has both and the error is null, the result counts, as in JSON-RPC 1.
pub fn outcome(document: SharedDocument) -> Result<SharedDocument> {
    let (mut result, mut error) = (0, 0);
    // The last of several equal keys counts.
    document.for_top_keys([6, 5], |key, value| match key {
        b"result" => result = value,
        b"error" => error = value,
        _ => {}
    });
    if error != 0 && (result == 0 || !Value::at(&document, error).is_null()) {
        return Err(remote_error(document));
    }
    if result == 0 {
        return Err(without_outcome(&document));
    }
    set_result(&document, result);
    Ok(document)
}

/// Notes the index of the `result` member.
pub(crate) fn set_result(document: &Document, value: u32) {
    document.result.store(value, Relaxed);
}

#[cold]
fn malformed<T>(what: &str) -> Result<T> {
    Err(unreadable(None, Error::new(Code::Protocol, what)))
}

#[cold]
fn without_outcome(document: &Document) -> Error {
    let id = document.root().get("id").and_then(Value::as_str);
    unreadable(id, Error::new(Code::Protocol, "has neither a result nor an error"))
}

/// The beginning of every error text about a reply.
const REPLY: &str = "the server's reply";

/// Rewords an error of the JSON decoder for [`unreadable`].
#[cold]
pub fn not_json(fault: Error) -> Error {
    match fault.code() {
        Code::Json => Error::new(Code::Protocol, format!("is not valid JSON: {}", fault.message())),
        _ => fault,
    }
}

/// Rewords an error of the msgpack decoder for [`unreadable`].
#[cold]
pub fn not_msgpack(fault: Error) -> Error {
    match fault.code() {
        Code::Protocol => Error::new(Code::Protocol, format!("is not valid msgpack: {}", fault.message())),
        _ => fault,
    }
}

/// The error about a message that cannot be decoded, for the call or the subscriptions to which `id` belongs. The text
/// of a `fault` with the code [`Code::Protocol`] is the end of a sentence ("is not valid JSON: ..."), and this function
/// adds the beginning. Other faults keep their text and get a stage.
#[cold]
pub fn unreadable(id: Option<&str>, fault: Error) -> Error {
    let what = match fault.code() {
        Code::Protocol => fault.message(),
        // A limit, no memory.
        _ => return fault.at(if id.is_some_and(|id| topic(id).is_none()) { Stage::Call } else { Stage::Session }),
    };
    match id.map(|id| (id, topic(id))) {
        Some((_, None)) => Error::new(Code::Protocol, format!("{REPLY} {what}")).at(Stage::Call),
        Some((_, Some(topic))) => {
            Error::new(Code::Protocol, format!("the server's publication on {topic:?} {what}")).at(Stage::Session)
        }
        None => {
            let text = format!(
                "a message of the server {what}. No call and no subscription learns of it: no id can be read in it"
            );
            Error::new(Code::Protocol, text).at(Stage::Session)
        }
    }
}

/// Inserts the name of the method into an error of [`unreadable`] about a reply.
#[cold]
pub fn name_method(error: Error, method: &str) -> Error {
    match error.message().strip_prefix(REPLY).filter(|_| error.code() == Code::Protocol) {
        Some(what) => {
            let text = format!("{REPLY} to {method:?}{what}");
            error.with_message(text)
        }
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse::parse;
    use crate::wire::msgpack::{decode::decode, encode::Encode};

    fn classify_json(text: &str) -> Result<Content> {
        classify(parse(text.as_bytes().to_vec().into(), 9999).unwrap().document)
    }

    #[test]
    fn a_topic_is_between_the_first_and_the_last_colon() {
        assert_eq!(topic("publish:a.b:0"), Some("a.b"));
        assert_eq!(topic("publish::0"), Some(""));
        assert_eq!(topic("publish:a:b c:é:0"), Some("a:b c:é"));
        assert_eq!(topic("publish:"), None);
        assert_eq!(topic("rpc:c1:0"), None);
    }

    #[test]
    fn the_id_is_found_without_decoding() {
        let json = r#"{"wslink": "1.0", "id": "publish:a:0", "result": "#.as_bytes();
        assert_eq!(peek_id(Protocol::V1, json), Some("publish:a:0"));
        assert_eq!(peek_id(Protocol::V1, br#"{"id":"x"}"#), Some("x"));
        assert_eq!(peek_id(Protocol::V1, br#"{"result": 1, "id": "x"}"#), None);
        assert_eq!(peek_id(Protocol::V1, br#"{"id": "a\"b"}"#), None);
        let mut m = Vec::new();
        m.map_head(3);
        for text in ["wslink", "1.0", "id", "publish:a:0", "result"] {
            m.str(text);
        }
        assert_eq!(peek_id(Protocol::V2, &m), Some("publish:a:0"));
        for end in 0..22 {
            assert_eq!(peek_id(Protocol::V2, &m[..end]), None);
        }
    }

    #[test]
    fn replies_publications_and_announcements() {
        match classify_json(r#"{"id": "rpc:c:1", "result": null}"#).unwrap() {
            Content::Reply { id, outcome } => {
                assert_eq!(id, "rpc:c:1");
                assert!(result(&outcome.unwrap()).is_null());
            }
            _ => panic!("not a reply"),
        }
        match classify_json(r#"{"id": "publish:t:0", "error": {"code": -32002, "message": "m"}}"#).unwrap() {
            Content::Publication { topic, outcome } => {
                assert_eq!(topic, "t");
                assert_eq!(outcome.unwrap_err().remote().unwrap().code, -32002);
            }
            _ => panic!("not a publication"),
        }
        let text = r#"{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["wslink_bin0"]}"#;
        assert!(matches!(classify_json(text).unwrap(), Content::Attachments(_)));
    }

    #[test]
    fn unknown_forms_are_refused() {
        for text in ["1", "[]", "{}", r#"{"id": 5, "result": 1}"#, r#"{"method": "other"}"#] {
            let Err(e) = classify_json(text) else { panic!("{text}") };
            assert_eq!((e.code(), e.stage()), (Code::Protocol, Stage::Session), "{text}");
        }
        assert!(classify(decode(vec![0xc0].into(), 9).unwrap()).is_err());
    }

    #[test]
    fn whoever_waits_for_a_message_without_result_and_error_is_told() {
        let reply = classify_json(r#"{"id": "x"}"#);
        let Ok(Content::Reply { outcome: Err(e), .. }) = reply else { panic!("no error for the caller") };
        assert_eq!((e.code(), e.stage()), (Code::Protocol, Stage::Call));
        assert_eq!(e.message(), "the server's reply has neither a result nor an error");
        assert_eq!(name_method(e, "m").message(), r#"the server's reply to "m" has neither a result nor an error"#);
        let publication = classify_json(r#"{"more": 1, "id": "publish:t:0"}"#);
        let Ok(Content::Publication { outcome: Err(e), .. }) = publication else { panic!("no error for subscribers") };
        assert_eq!((e.code(), e.stage()), (Code::Protocol, Stage::Session));
        assert_eq!(e.message(), r#"the server's publication on "t" has neither a result nor an error"#);
    }

    /// `{"result": <result>, "id": "the id"}`
    fn result_first(result: &[u8]) -> Vec<u8> {
        let mut m = Vec::new();
        m.map_head(2);
        m.str("result");
        m.extend_from_slice(result);
        m.str("id");
        m.str("the id");
        m
    }

    #[test]
    fn the_id_is_found_behind_what_is_malformed() {
        for result in [
            r#""\x""#,
            "nul",
            "[1, 2,]",
            "[1 2}",
            "{a: 1}",
            r#"{"id": "of another"}"#,
            r#"["id", ":", {"id": "no"}], "key": "id", "id" "wrong"#,
            r#""} \" ] \\""#,
            "'text'",
            "\"a\nb\"",
            "01",
        ] {
            let text = format!("{{\"result\": {result}, \"id\" : \"the \\u0069d\"}}");
            let found = find_id(Protocol::V1, text.as_bytes());
            // Here an odd number of quotes hides it.
            let want = if result.ends_with("wrong") { None } else { Some("the id") };
            assert_eq!(found.as_deref(), want, "{text}");
        }
        let hidden = ["", "{", r#"{"id": 5}"#, r#"{"id"}"#, r#"{"id": "x"#, r#"{"a": {"id": "x"}}"#, r#"["id", "x"]"#];
        for text in hidden {
            assert_eq!(find_id(Protocol::V1, text.as_bytes()), None, "{text}");
        }
        for result in [
            &[0xc1][..],
            &[0xa2, 0xff, 0xfe],
            &[0xd9, 1, 0xff],
            &[0x81, 0xa2, b'i', b'd', 0xa1, b'x'],
            &[0x92, 0xc1, 0xdc, 0, 1, 0xde, 0, 1, 0xc0, 0xc4, 2, 1, 2],
            &[0x95, 0xca, 0, 0, 0, 0, 0xcb, 0, 0, 0, 0, 0, 0, 0, 0, 0xd4, 1, 2, 0xc7, 1, 2, 3, 0xd0, 9],
        ] {
            assert_eq!(find_id(Protocol::V2, &result_first(result)).as_deref(), Some("the id"), "{result:x?}");
        }
        for result in [&[][..], &[0xc6, 0xff, 0xff, 0xff, 0xff], &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0x9f]] {
            assert_eq!(find_id(Protocol::V2, &result_first(result)), None, "{result:x?}");
        }
    }

    #[test]
    fn a_result_counts_if_the_error_beside_it_is_null() {
        for text in [r#"{"id": "x", "error": null, "result": 5}"#, r#"{"id": "x", "result": 5, "error": null}"#] {
            let reply = classify_json(text).unwrap();
            let Content::Reply { outcome: Ok(document), .. } = reply else { panic!("{text}") };
            assert_eq!(result(&document).as_i64(), Some(5));
        }
        for text in [r#"{"id": "x", "error": {}, "result": null}"#, r#"{"id": "x", "result": 5, "error": "no"}"#] {
            assert!(matches!(classify_json(text).unwrap(), Content::Reply { outcome: Err(_), .. }), "{text}");
        }
    }
}
