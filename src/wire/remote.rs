//! The error that a server sends in place of a result.

use super::document::{Document, SharedDocument};
use super::json::write::tagged;
use super::value::{Kind, Value};
use crate::error::{Code, Error, Stage};
use std::fmt;
use std::sync::Arc;

/// The error that a server sent in place of a result.
#[derive(Clone)]
pub struct Remote {
    /// wslink's number: -32601 unknown method, -32000 not authenticated, -32001 exception in the method, -32002 result
    /// not serialisable; applications may use others. 0 if the server sent no number, or one that is not an integer of
    /// 64 bits: see [`Remote::value`] then.
    pub code: i64,
    /// The `message` of the error. If it has none, the beginning of the error as JSON text.
    pub message: String,
    /// The whole message that contains the error.
    pub document: SharedDocument,
}

impl Remote {
    /// The error as the server sent it: wslink sends a map with `code`, `message` and mostly `data`, other servers may
    /// send any value.
    pub fn value(&self) -> Value<'_> {
        error_of(&self.document)
    }

    /// The `data` member of the error, if the server sent one. For an exception it is a map with `method`,
    /// `exception` and `trace`.
    pub fn data(&self) -> Option<Value<'_>> {
        self.document.root().get("error")?.get("data")
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("code", &self.code).field("message", &self.message).finish()
    }
}

impl Error {
    /// The error that the server sent, if this is one.
    pub fn remote(&self) -> Option<&Remote> {
        self.payload()?.downcast_ref()
    }

    /// Sets the error that the server sent.
    pub(crate) fn with_remote(self, remote: Remote) -> Error {
        self.with_payload(Arc::new(remote))
    }
}

/// The `error` member of a message, which every message that becomes a [`Remote`] has. Without it, the whole message.
fn error_of(document: &Document) -> Value<'_> {
    document.root().get("error").unwrap_or(document.root())
}

/// The most characters that are shown of an error that is not text.
const MOST_SHOWN: usize = 300;

/// Larger messages are not converted to JSON only to show its beginning.
const LARGEST_SHOWN: usize = 1 << 20;

/// A value of the server for an error text: text unchanged, the beginning of any other value as JSON.
pub(crate) fn shown(value: Value<'_>) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    let size = value.document().wire_size();
    if size > LARGEST_SHOWN {
        return format!("(in a message of {size} bytes)");
    }
    let json = tagged(value);
    match json.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", &json[..end]),
        None => json,
    }
}

/// The error that a message of the server contains. Servers other than wslink's send errors of other forms than
/// `{"code": number, "message": text, "data": ...}`.
#[cold]
pub(super) fn remote_error(document: SharedDocument) -> Error {
    let error = error_of(&document);
    let code = error.get("code").filter(|code| !code.is_null());
    let (message, mut text) = match error.get("message").map(shown).filter(|message| !message.is_empty()) {
        Some(message) => (message.clone(), message),
        None => (shown(error), String::new()),
    };
    if text.is_empty() {
        text.clone_from(&message);
    } else {
        // The data of an exception contains its repr; that of an unknown method is its name. The trace is left out,
        // because it has paths and source lines of the server.
        let data = error.get("data");
        if let Some(detail) = data.and_then(|data| data.get("exception").or(Some(data))).and_then(Value::as_str) {
            text = format!("{text}: {detail}");
        }
        if let Some(code) = code {
            text = format!("{text} ({})", shown(code));
        }
    }
    let code = code.and_then(integer).unwrap_or(0);
    Error::new(Code::Remote, text).at(Stage::Call).with_remote(Remote { code, message, document })
}

/// An integer, also if it was sent as a float.
fn integer(value: Value<'_>) -> Option<i64> {
    const EXACT: f64 = (1u64 << 53) as f64;
    let float = || value.as_f64().filter(|v| v.fract() == 0.0 && v.abs() <= EXACT).map(|v| v as i64);
    value.as_i64().or_else(|| (value.kind() == Kind::Float).then(float).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::wire::envelope::{Content, classify};
    use crate::wire::json::parse::parse;

    fn classify_json(text: &str) -> Result<Content> {
        classify(parse(text.as_bytes().to_vec().into(), 9999).unwrap().document)
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
    fn errors_of_any_form_are_kept_and_shown() {
        let long = format!("[{}\"é\"]", "\"é\", ".repeat(500));
        for (error, code, message, text) in [
            (r#""no such file""#, 0, "no such file", "no such file"),
            (r#"["a", "b"]"#, 0, r#"["a", "b"]"#, r#"["a", "b"]"#),
            ("[]", 0, "[]", "[]"),
            ("{}", 0, "{}", "{}"),
            ("null", 0, "null", "null"),
            ("false", 0, "false", "false"),
            ("17", 0, "17", "17"),
            (r#"{"code": 5}"#, 5, r#"{"code": 5}"#, r#"{"code": 5}"#),
            (r#"{"code": 5, "message": ""}"#, 5, r#"{"code": 5, "message": ""}"#, r#"{"code": 5, "message": ""}"#),
            (r#"{"message": "m"}"#, 0, "m", "m"),
            (r#"{"code": null, "message": "m"}"#, 0, "m", "m"),
            (r#"{"code": -32002, "message": "m"}"#, -32002, "m", "m (-32002)"),
            (r#"{"code": -32002.0, "message": "m"}"#, -32002, "m", "m (-32002.0)"),
            (r#"{"code": 1.5, "message": "m"}"#, 0, "m", "m (1.5)"),
            (r#"{"code": "E42", "message": "m"}"#, 0, "m", "m (E42)"),
            (r#"{"code": 9223372036854775808, "message": "m"}"#, 0, "m", "m (9223372036854775808)"),
            (r#"{"code": 1, "message": {"en": "no"}}"#, 1, r#"{"en": "no"}"#, r#"{"en": "no"} (1)"#),
            (r#"{"code": 1, "message": "m", "data": "d"}"#, 1, "m", "m: d (1)"),
        ] {
            let reply = classify_json(&format!(r#"{{"id": "x", "error": {error}}}"#)).unwrap();
            let Content::Reply { outcome: Err(e), .. } = reply else { panic!("{error}") };
            let remote = e.remote().unwrap();
            assert_eq!((e.code(), remote.code), (Code::Remote, code), "{error}");
            assert_eq!((&*remote.message, e.message()), (message, text), "{error}");
            assert_eq!(format!("{:?}", remote.value()), error);
        }
        let Content::Reply { outcome: Err(e), .. } =
            classify_json(&format!(r#"{{"id": "x", "error": {long}}}"#)).unwrap()
        else {
            panic!("no error")
        };
        assert_eq!(e.message().chars().count(), MOST_SHOWN + 3);
        assert_eq!(e.remote().unwrap().value().len(), 501);
    }
}
