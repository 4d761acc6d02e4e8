//! Detects HTTP where a frame should begin. When wslink's relay or another proxy loses its server, it writes a response such
//! as `HTTP/1.1 502 Bad Gateway` into the open WebSocket connection.

use crate::error::{Code, Error, Stage};

/// The beginning of an HTTP response. It cannot be a valid frame, because a reserved bit is set.
const PREFIX: &[u8] = b"HTTP/";

/// Limit on the length of a status line.
const MAX_STATUS_LINE: usize = 1 << 10;

/// What was found where a frame should begin.
pub enum Detected {
    /// Not HTTP.
    Frame,
    /// Perhaps HTTP: more bytes are needed.
    Incomplete,
    /// HTTP: the error for its status.
    Http(Error),
}

/// Examines the bytes received so far. `end`: no more bytes follow.
pub fn detect(bytes: &[u8], end: bool) -> Detected {
    let begins = bytes.iter().zip(PREFIX).take_while(|(a, b)| a == b).count();
    if begins == 0 || (begins < PREFIX.len() && (begins < bytes.len() || end)) {
        return Detected::Frame;
    }
    let line = bytes.iter().position(|&b| b == b'\n').or((end || bytes.len() > MAX_STATUS_LINE).then_some(bytes.len()));
    match line {
        Some(line) => Detected::Http(status_error(&String::from_utf8_lossy(&bytes[..line.min(MAX_STATUS_LINE)]))),
        None => Detected::Incomplete,
    }
}

/// The error for a status line such as `HTTP/1.1 502 Bad Gateway`.
fn status_error(line: &str) -> Error {
    let said: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let said = said.split_once(' ').map_or("", |(_, said)| said.trim());
    let status = said.split(' ').next().and_then(|status| status.parse().ok());
    let text = format!(
        "the server or a proxy before it answered in HTTP on the open WebSocket: {}",
        if said.is_empty() { "it has no status" } else { said }
    );
    let error = Error::new(Code::ConnectionLost, text).at(Stage::Session);
    match status {
        Some(status @ 100..=599) => error.with_http_status(status),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_detected_as_soon_as_its_first_line_is_complete() {
        let line = "HTTP/1.1 502 Bad Gateway\r\n";
        for end in 1..line.len() {
            assert!(matches!(detect(&line.as_bytes()[..end], false), Detected::Incomplete), "{end}");
        }
        for (bytes, end, status, text) in [
            (line, false, Some(502), ": 502 Bad Gateway"),
            ("HTTP/1.0 503\n\nbody", false, Some(503), ": 503"),
            ("HTTP/1.1 500 Internal Server Error", true, Some(500), ": 500 Internal Server Error"),
            ("HTTP/1.1 50", true, None, ": 50"),
            ("HTTP/", true, None, "no status"),
            ("HTTP/1.1 banana\x1b[31m\n", false, None, ": banana [31m"),
        ] {
            let Detected::Http(e) = detect(bytes.as_bytes(), end) else { panic!("{bytes}") };
            assert_eq!(
                (e.code(), e.stage(), e.is_retriable()),
                (Code::ConnectionLost, Stage::Session, true),
                "{bytes}"
            );
            assert_eq!(e.http_status(), status, "{bytes}");
            assert!(e.message().ends_with(text), "{e}");
        }
        let long = [PREFIX, &[b'x'; 2 * MAX_STATUS_LINE]].concat();
        assert!(matches!(detect(&long, false), Detected::Http(_)));
    }

    #[test]
    fn frames_are_not_taken_for_http() {
        for bytes in [&b""[..], &[0x82, 5], b"HELO", b"HTT", b"\x48\x00", b"GET / HTTP/1.1"] {
            assert!(matches!(detect(bytes, true), Detected::Frame), "{bytes:?}");
        }
    }
}
