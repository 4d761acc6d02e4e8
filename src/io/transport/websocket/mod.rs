//! WebSocket frames (RFC 6455 section 5). tungstenite's codec reads and writes frame headers. Its message reader and writer
//! are not used: the reader copies large messages twice, and the writer moves the remaining data after every partial write.

mod http;
mod mask;
pub mod reader;
mod scratch;
pub mod writer;

use crate::error::{Code, Error, Stage};
use crate::wire::Protocol;

/// The error for a violation of the WebSocket protocol. `what` completes the sentence "the server ...".
pub(super) fn violation(what: impl std::fmt::Display) -> Error {
    Error::new(Code::Protocol, format!("the server {what}")).at(Stage::Session)
}

/// The code of the Close frame for an error (RFC 6455 section 7.4.1). 1003 (data of a kind that is not accepted) is never
/// sent, because such data is skipped.
pub(super) fn close_code(error: &Error) -> Option<u16> {
    match error.code() {
        Code::Protocol => Some(1002),
        Code::Utf8 => Some(1007),
        Code::Limit => Some(1009),
        Code::System | Code::Panic => Some(1011),
        _ => None,
    }
}

/// The meaning of the server's Close frame (RFC 6455 section 7.4 and IANA's registry of close codes).
pub fn closed_by_server(code: Option<u16>, reason: &str, protocol: Option<Protocol>) -> String {
    let Some(code) = code else {
        return "the server closed the connection and gave no reason".into();
    };
    let meaning = match code {
        1000 => "normal end",
        1001 => "the server goes away",
        1002 => "it found the protocol violated",
        1003 => "it does not accept this kind of data",
        1007 => "it found malformed data in a message",
        1008 => "a message is against its policy",
        1009 => "a message is too big for it",
        1010 => "it misses an extension",
        1011 => "it failed",
        1012 => "it restarts",
        1013 => "it is overloaded, try later",
        1014 => "a gateway got no usable answer from it",
        3000 => "it requires authentication",
        3003 => "access is forbidden",
        3008 => "it waited too long",
        _ => "a code of the server's own",
    };
    let reason = if reason.is_empty() { String::new() } else { format!(", {reason:?}") };
    let advice = match (code, protocol) {
        (1009, Some(Protocol::V1)) => {
            ". A call had more bytes than it takes at once: set the option v1_upload_limit below its WSLINK_MAX_MSG_SIZE, \
             so that such a call fails alone"
        }
        (1009, _) => {
            ". If there is a proxy before the server, it has to take messages of the server's WSLINK_MAX_MSG_SIZE"
        }
        _ => "",
    };
    format!("the server closed the connection ({code}, {meaning}{reason}){advice}")
}
