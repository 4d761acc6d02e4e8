//! Whether a failed attempt is worth repeating: one table over the facts of an error.
//!
//! A failure is retriable if the same attempt may succeed later without a change by the application. The restart of a
//! server or proxy is retriable; a refused certificate, secret or path is not. A session that reconnects uses this
//! table unless the application has set a filter.

use crate::error::{Code, Stage};
use std::io::ErrorKind;

/// The facts of an error that decide whether it is retriable.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The kind of failure.
    pub code: Code,
    /// The step that failed.
    pub stage: Stage,
    /// The error of the socket, if that caused the failure.
    pub io: Option<ErrorKind>,
    /// The HTTP status of a refusal.
    pub http_status: Option<u16>,
    /// The code of the peer's Close frame.
    pub close_code: Option<u16>,
}

/// Whether the same attempt may succeed later.
pub fn is_retriable(facts: &Facts) -> bool {
    match facts.code {
        // The server may not be up yet. A resolver without a network reports that the name does not exist.
        Code::Resolve | Code::Connect | Code::Timeout => true,
        // Memory and descriptors become free again. But if the session could not be created, the application must know.
        Code::System => facts.stage != Stage::Local,
        Code::ConnectionLost => facts.close_code.is_none_or(close_code_is_retriable),
        // The HTTP status decides if there is one; otherwise a connection that ended is retriable, and an invalid
        // answer is not.
        Code::Proxy | Code::Upgrade | Code::Tls | Code::Hello | Code::Launcher => match facts.http_status {
            Some(status) => status_is_retriable(status),
            None => facts.io.is_some_and(is_disconnect),
        },
        // The session waits for the next attempt to reconnect.
        Code::State => facts.stage == Stage::Session,
        _ => false,
    }
}

/// Whether a request that was refused with this HTTP status may be accepted later (RFC 9110 section 15; a proxy that
/// cannot reach the server behind it sends 52x or 530).
fn status_is_retriable(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=524 | 530)
}

/// Whether a server that closed with this code may accept the next connection (RFC 6455 section 7.4). Most codes
/// concern a message of the old connection, which is not repeated.
fn close_code_is_retriable(code: u16) -> bool {
    // 1008 is a policy violation. 1010 is a missing extension, and this client has no extensions.
    !matches!(code, 1008 | 1010)
}

/// Whether the peer or the network ended the connection.
fn is_disconnect(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    matches!(
        kind,
        UnexpectedEof
            | ConnectionReset
            | ConnectionAborted
            | ConnectionRefused
            | BrokenPipe
            | NotConnected
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(code: Code, stage: Stage) -> Facts {
        Facts { code, stage, io: None, http_status: None, close_code: None }
    }

    #[test]
    fn every_code_by_itself() {
        let retried = [Code::System, Code::Resolve, Code::Connect, Code::ConnectionLost, Code::Timeout];
        for &code in Code::ALL {
            assert_eq!(is_retriable(&facts(code, Stage::Connect)), retried.contains(&code), "{code:?}");
        }
        assert!(!is_retriable(&facts(Code::System, Stage::Local)), "the session could not be made");
        assert!(is_retriable(&facts(Code::State, Stage::Session)), "a call while the session waits to reconnect");
        assert!(!is_retriable(&facts(Code::State, Stage::Local)));
    }

    #[test]
    fn every_status() {
        let retried = [408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 530];
        for status in 100..=999 {
            for code in [Code::Upgrade, Code::Proxy, Code::Launcher] {
                // The status counts, also if the connection ended with it.
                for io in [None, Some(ErrorKind::UnexpectedEof)] {
                    let facts = Facts { http_status: Some(status), io, ..facts(code, Stage::Upgrade) };
                    assert_eq!(is_retriable(&facts), retried.contains(&status), "{code:?} {status}");
                }
            }
        }
    }

    #[test]
    fn every_way_in_which_a_socket_fails() {
        use ErrorKind::*;
        let went_away = [
            UnexpectedEof,
            ConnectionReset,
            ConnectionAborted,
            ConnectionRefused,
            BrokenPipe,
            NotConnected,
            TimedOut,
            HostUnreachable,
            NetworkUnreachable,
            NetworkDown,
        ];
        for code in [Code::Tls, Code::Proxy, Code::Upgrade, Code::Hello, Code::Launcher] {
            for kind in went_away {
                assert!(is_retriable(&Facts { io: Some(kind), ..facts(code, Stage::Tls) }), "{code:?} {kind:?}");
            }
            for kind in [InvalidData, PermissionDenied, InvalidInput, Other] {
                assert!(!is_retriable(&Facts { io: Some(kind), ..facts(code, Stage::Tls) }), "{code:?} {kind:?}");
            }
        }
    }

    #[test]
    fn every_close_code() {
        for code in 1000..5000 {
            let facts = Facts { close_code: Some(code), ..facts(Code::ConnectionLost, Stage::Session) };
            assert_eq!(is_retriable(&facts), ![1008, 1010].contains(&code), "{code}");
        }
    }
}
