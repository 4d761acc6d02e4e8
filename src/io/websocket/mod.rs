//! WebSocket frames (RFC 6455 section 5). tungstenite's codec reads and writes the headers; its message
//! reader and writer are not used because they copy large messages twice and move what is left after
//! every partial write.

pub mod reader;
mod scratch;
pub mod writer;

use crate::error::{Code, Error, Stage};

/// The peer broke the protocol.
pub(super) fn violation(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Protocol, format!("WebSocket protocol violated by the server: {what}")).at(Stage::Session)
}

/// The code of the Close frame that an error deserves (RFC 6455 section 7.4.1).
pub(super) fn close_code(error: &Error) -> Option<u16> {
    match error.code() {
        Code::Protocol => Some(1002),
        Code::Utf8 => Some(1007),
        Code::Limit => Some(1009),
        Code::System => Some(1011),
        _ => None,
    }
}
