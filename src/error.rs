//! Every failure as one type: a stable [`Code`], the [`Stage`] that failed, a sentence that a
//! person can act on, and, if there is one, the HTTP status or the error that the server sent.

use crate::retry::{self, Facts};
use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The kind of a failure. The numbers are those of the C header. They are grouped in hundreds; the meaning of a number
/// never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Code {
    /// An argument is invalid; the message says which and why.
    Argument = -100,
    /// A required pointer is null (C only).
    Null = -101,
    /// Text is not valid UTF-8.
    Utf8 = -102,
    /// Text is not valid JSON.
    Json = -103,
    /// The session is not in a state that allows this (for example a call before ready).
    State = -104,
    /// The function would wait for its own thread: a function that waits on the I/O thread, or dispatch inside a
    /// callback of dispatch.
    Reentrant = -105,
    /// The session is closed.
    Closed = -106,
    /// JSON text names an attachment key that was not added to these arguments.
    Attachment = -107,
    /// The value cannot be sent by the negotiated protocol.
    Unsupported = -108,
    /// The program was compiled with a header that is not compatible with the library.
    Version = -109,
    /// A panic inside this library was caught before it reached the caller; please report it.
    Panic = -110,
    /// No such value, key or index.
    NotFound = -111,
    /// The value is of another kind than requested.
    Kind = -112,
    /// The operating system refused something (memory, threads, descriptors).
    System = -113,

    /// The host name has no address.
    Resolve = -200,
    /// No TCP connection: refused, unreachable, or timed out.
    Connect = -201,
    /// The HTTP proxy refused or failed.
    Proxy = -202,
    /// The TLS handshake failed: the server does not speak TLS, or its certificate is not trusted.
    Tls = -203,
    /// The server answered the WebSocket upgrade with another HTTP status than 101.
    Upgrade = -204,
    /// Connected, but the server sent no valid reply to the wslink hello.
    Hello = -205,
    /// The server refused the secret.
    Auth = -206,
    /// The server speaks another protocol generation than the one that the configuration demands.
    Mismatch = -207,
    /// The launcher refused, failed, or is no launcher.
    Launcher = -208,

    /// The connection ended; the server may or may not have executed the call.
    ConnectionLost = -300,
    /// The deadline passed.
    Timeout = -301,
    /// Cancelled by the application.
    Cancelled = -302,
    /// The peer broke the WebSocket or wslink protocol.
    Protocol = -303,
    /// A limit was exceeded. The message names it, and its option if it can be configured.
    Limit = -304,

    /// The server replied with an error; see [`Error::remote`].
    Remote = -400,
}

impl Code {
    /// Every code, in descending order of the numbers.
    pub const ALL: &'static [Code] = &[
        Code::Argument,
        Code::Null,
        Code::Utf8,
        Code::Json,
        Code::State,
        Code::Reentrant,
        Code::Closed,
        Code::Attachment,
        Code::Unsupported,
        Code::Version,
        Code::Panic,
        Code::NotFound,
        Code::Kind,
        Code::System,
        Code::Resolve,
        Code::Connect,
        Code::Proxy,
        Code::Tls,
        Code::Upgrade,
        Code::Hello,
        Code::Auth,
        Code::Mismatch,
        Code::Launcher,
        Code::ConnectionLost,
        Code::Timeout,
        Code::Cancelled,
        Code::Protocol,
        Code::Limit,
        Code::Remote,
    ];

    /// A short English name of the code.
    pub fn text(self) -> &'static str {
        match self {
            Code::Argument => "invalid argument",
            Code::Null => "null pointer",
            Code::Utf8 => "invalid UTF-8",
            Code::Json => "invalid JSON",
            Code::State => "not possible in this state",
            Code::Reentrant => "not allowed from this callback or thread",
            Code::Closed => "session closed",
            Code::Attachment => "unknown attachment key",
            Code::Unsupported => "not supported by the negotiated protocol",
            Code::Version => "header and library do not fit",
            Code::Panic => "internal defect",
            Code::NotFound => "not found",
            Code::Kind => "value has another kind",
            Code::System => "refused by the operating system",
            Code::Resolve => "host name not resolved",
            Code::Connect => "no connection",
            Code::Proxy => "proxy failed",
            Code::Tls => "TLS failed",
            Code::Upgrade => "WebSocket upgrade refused",
            Code::Hello => "no wslink session",
            Code::Auth => "secret refused",
            Code::Mismatch => "other protocol generation",
            Code::Launcher => "no session from the launcher",
            Code::ConnectionLost => "connection lost",
            Code::Timeout => "timed out",
            Code::Cancelled => "cancelled",
            Code::Protocol => "protocol violated by the peer",
            Code::Limit => "limit exceeded",
            Code::Remote => "error reported by the server",
        }
    }
}

/// The step at which a failure happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Stage {
    /// Outside of a connection: arguments, state.
    Local = 0,
    /// Looking up the host name.
    Resolve = 1,
    /// The TCP connection.
    Connect = 2,
    /// The HTTP `CONNECT` to the proxy.
    Proxy = 3,
    /// The TLS handshake.
    Tls = 4,
    /// The WebSocket upgrade (RFC 6455 section 4).
    Upgrade = 5,
    /// Protocol detection and `wslink.hello`.
    Hello = 6,
    /// While the session was ready; not about one call.
    Session = 7,
    /// Concerns one call.
    Call = 8,
    /// The request to a launcher.
    Launcher = 9,
}

impl Stage {
    /// A short English name of the stage.
    pub fn text(self) -> &'static str {
        match self {
            Stage::Local => "local",
            Stage::Resolve => "resolve",
            Stage::Connect => "connect",
            Stage::Proxy => "proxy",
            Stage::Tls => "tls",
            Stage::Upgrade => "upgrade",
            Stage::Hello => "hello",
            Stage::Session => "session",
            Stage::Call => "call",
            Stage::Launcher => "launcher",
        }
    }
}

#[derive(Debug, Clone)]
struct Inner {
    facts: Facts,
    message: String,
    payload: Option<Arc<dyn Any + Send + Sync>>,
    retry_after: Option<Duration>,
}

/// A failure: code, stage, message, and the error that the server sent. As large as one pointer.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure outside of any connection.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            facts: Facts { code, stage: Stage::Local, io: None, http_status: None, close_code: None },
            message: message.into(),
            payload: None,
            retry_after: None,
        }))
    }

    /// Sets the stage.
    pub fn at(mut self, stage: Stage) -> Error {
        self.0.facts.stage = stage;
        self
    }

    /// Sets the error of the socket, if that caused the failure. An orderly end of the connection is
    /// [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn with_io(mut self, kind: impl Into<Option<io::ErrorKind>>) -> Error {
        self.0.facts.io = kind.into();
        self
    }

    /// Replaces the message.
    pub(crate) fn with_message(mut self, message: String) -> Error {
        self.0.message = message;
        self
    }

    /// Replaces the code.
    pub(crate) fn with_code(mut self, code: Code) -> Error {
        self.0.facts.code = code;
        self
    }

    /// Sets the HTTP status with which the server or proxy refused.
    pub fn with_http_status(mut self, status: u16) -> Error {
        self.0.facts.http_status = Some(status);
        self
    }

    pub(crate) fn with_close_code(mut self, code: u16) -> Error {
        self.0.facts.close_code = Some(code);
        self
    }

    /// Sets the time that the server asks to wait.
    pub(crate) fn with_retry_after(mut self, time: Option<Duration>) -> Error {
        self.0.retry_after = time;
        self
    }

    /// Sets what the server sent. Its type belongs to the wire layer, which depends on this file and not the other way
    /// round: [`Error::remote`] is in `wire/remote.rs`.
    pub(crate) fn with_payload(mut self, payload: Arc<dyn Any + Send + Sync>) -> Error {
        self.0.payload = Some(payload);
        self
    }

    pub(crate) fn payload(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.0.payload.as_deref()
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.0.facts.code
    }

    /// The step that failed.
    pub fn stage(&self) -> Stage {
        self.0.facts.stage
    }

    /// A sentence for a person. Never contains the secret.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status with which the server or proxy refused, if it did.
    pub fn http_status(&self) -> Option<u16> {
        self.0.facts.http_status
    }

    /// How long the server or proxy that refused asked to wait before the next attempt (`Retry-After`, RFC 9110 section
    /// 10.2.3), at most a day.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The code of the Close frame with which the peer ended the connection, if it sent one (RFC 6455 section 7.4).
    pub fn close_code(&self) -> Option<u16> {
        self.0.facts.close_code
    }

    /// Whether the same attempt may succeed later without a change by the application. The guide lists these errors,
    /// see "Errors, timeouts, and reconnecting".
    pub fn is_retriable(&self) -> bool {
        retry::is_retriable(&self.0.facts)
    }
}

/// Two errors are equal if their codes and messages are.
impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.code() == other.code() && self.message() == other.message()
    }
}

impl Eq for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.facts.code.text(), self.0.message)
    }
}

impl std::error::Error for Error {}
