//! The map around every message, and the ids in it.

use super::Protocol;
use super::document::{Document, SharedDocument};
use super::value::Value;
use crate::error::{Code, Error, Remote, Result, Stage};
use std::sync::atomic::Ordering::Relaxed;

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

/// The id of a message, read without decoding the rest. `None`: not at the beginning where servers put
/// it, so the message has to be decoded to find it.
pub fn peek_id(protocol: Protocol, message: &[u8]) -> Option<&str> {
    std::str::from_utf8(peek(protocol, message)?.0).ok()
}

/// The same as bytes of any content, and how far in the message the id ends: two messages that are the same up to there
/// have the same id.
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
    /// A string without escapes, and what follows it.
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
    fn string(m: &[u8]) -> Option<(&[u8], &[u8])> {
        let (len, rest) = match *m.first()? {
            b @ 0xa0..=0xbf => (usize::from(b & 31), &m[1..]),
            0xd9 => (usize::from(*m.get(1)?), &m[2..]),
            0xda => (usize::from(u16::from_be_bytes([*m.get(1)?, *m.get(2)?])), &m[3..]),
            _ => return None,
        };
        rest.split_at_checked(len)
    }
    let (0x80..=0x8f, mut rest) = message.split_first()? else {
        return None;
    };
    for _ in 0..3 {
        let (key, after) = string(rest)?;
        let (value, after) = string(after)?;
        if key == b"id" {
            return Some((value, after));
        }
        rest = after;
    }
    None
}

/// What a decoded message is.
pub enum Content {
    /// The answer to a call or to a system message, with its id.
    Reply {
        /// The id that was sent.
        id: String,
        /// The message on success, the server's error otherwise.
        outcome: Result<SharedDocument>,
    },
    /// A publication, or the error that the server sent instead of one.
    Publication {
        /// On which topic.
        topic: String,
        /// The message on success, the server's error otherwise.
        outcome: Result<SharedDocument>,
    },
    /// Announces attachments (generation 1).
    Attachments(SharedDocument),
}

/// The value that a reply or publication brought.
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

/// Sorts a decoded message. An error means that the message has no form that wslink knows.
pub fn classify(document: impl Into<SharedDocument>) -> Result<Content> {
    let document = document.into();
    let root = document.root();
    let Some(id) = root.get("id") else {
        if announces_attachments(&document) {
            return Ok(Content::Attachments(document));
        }
        return malformed("neither an id nor an attachment announcement");
    };
    let Some(id) = id.as_str().map(str::to_owned) else {
        return malformed("an id that is no string");
    };
    let outcome = outcome(document);
    if let Err(e) = &outcome
        && e.remote().is_none()
    {
        return Err(e.clone());
    }
    Ok(match topic(&id) {
        Some(topic) => Content::Publication { topic: topic.to_owned(), outcome },
        None => Content::Reply { id, outcome },
    })
}

/// What a reply or publication says: the message if it has a result, the server's error if it has one.
pub fn outcome(document: SharedDocument) -> Result<SharedDocument> {
    let (mut result, mut failed) = (0, false);
    // Of equal keys the last one counts.
    document.for_top_keys([6, 5], |key, value| match key {
        b"result" => result = value,
        b"error" => failed = true,
        _ => {}
    });
    if failed {
        return Err(remote_error(document));
    }
    if result == 0 {
        return malformed("neither a result nor an error");
    }
    set_result(&document, result);
    Ok(document)
}

/// The result is known to be the value at this index.
pub(crate) fn set_result(document: &Document, value: u32) {
    document.result.store(value, Relaxed);
}

#[cold]
fn malformed<T>(what: &str) -> Result<T> {
    Err(Error::new(Code::Protocol, format!("message with {what}")))
}

#[cold]
fn remote_error(document: SharedDocument) -> Error {
    let (code, message) = match document.root().get("error") {
        Some(error) => (
            error.get("code").and_then(Value::as_i64).unwrap_or(0),
            error.get("message").and_then(Value::as_str).unwrap_or("(no message)").to_owned(),
        ),
        None => (0, String::new()),
    };
    let mut text = message.clone();
    if let Some(data) = document.root().get("error").and_then(|e| e.get("data")) {
        // For an exception its repr, for an unknown method its name; the trace only on request.
        if let Some(detail) = data.get("exception").or(Some(data)).and_then(Value::as_str) {
            text = format!("{text}: {detail}");
        }
    }
    Error::new(Code::Remote, format!("{text} ({code})")).at(Stage::Call).with_remote(Remote { code, message, document })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse::parse;
    use crate::wire::msgpack::{decode::decode, encode::Encode};

    fn classify_json(text: &str) -> Result<Content> {
        classify(parse(text.as_bytes().to_vec().into(), 99).unwrap().document)
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
    fn remote_errors_are_readable() {
        let text = r#"{"id": "x", "error": {"code": -32001, "message": "Exception raised",
            "data": {"method": "m", "exception": "ValueError('no')", "trace": "Traceback..."}}}"#;
        let Content::Reply { outcome: Err(e), .. } = classify_json(text).unwrap() else { panic!() };
        assert_eq!(e.message(), "Exception raised: ValueError('no') (-32001)");
        assert_eq!(e.remote().unwrap().data().unwrap().get("trace").unwrap().as_str(), Some("Traceback..."));
    }

    #[test]
    fn unknown_forms_are_refused() {
        for text in ["1", "[]", "{}", r#"{"id": 5, "result": 1}"#, r#"{"id": "x"}"#, r#"{"method": "other"}"#] {
            assert!(classify_json(text).is_err(), "{text}");
        }
        assert!(classify(decode(vec![0xc0].into(), 9).unwrap()).is_err());
    }
}
