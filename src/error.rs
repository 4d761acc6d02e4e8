//! What can go wrong, as one value: a stable [`Code`], the [`Stage`] that failed, a sentence that a
//! person can act on, and, where there is one, the HTTP status or the error that the server sent.

use crate::wire::document::SharedDocument;
use std::fmt;

/// What kind of failure this is. The numbers are the ones of the C header; they are grouped in
/// hundreds, and a number is never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Code {
    /// An argument is not acceptable; the message says which and why.
    Argument = -100,
    /// A required pointer is null (C only).
    Null = -101,
    /// Text is not valid UTF-8.
    Utf8 = -102,
    /// Text is not valid JSON.
    Json = -103,
    /// The session is not in a state that allows this (for example a call before ready).
    State = -104,
    /// Not allowed from inside a callback or on the I/O thread, where it would wait for itself.
    Reentrant = -105,
    /// The session is closed.
    Closed = -106,
    /// JSON text names an attachment key that was not added to these arguments.
    Attachment = -107,
    /// The value cannot be sent by the negotiated protocol.
    Unsupported = -108,
    /// The header of the program and the library do not fit together.
    Version = -109,
    /// A defect of this library was stopped at its border; please report it.
    Panic = -110,
    /// No such value, key or index.
    NotFound = -111,
    /// The value has another kind than the one asked for.
    Kind = -112,
    /// The operating system refused something (memory, threads, descriptors).
    System = -113,

    /// The host name has no address.
    Resolve = -200,
    /// No TCP connection: refused, unreachable, or timed out.
    Connect = -201,
    /// The HTTP proxy refused or failed.
    Proxy = -202,
    /// TLS failed: no TLS there, or a certificate that is not trusted.
    Tls = -203,
    /// The server answered the WebSocket upgrade with something else than 101.
    Upgrade = -204,
    /// Connected, but the wslink hello got no usable answer.
    Hello = -205,
    /// The server refused the secret.
    Auth = -206,
    /// The server speaks the other protocol generation.
    Mismatch = -207,

    /// The connection ended; the call may or may not have been executed.
    ConnectionLost = -300,
    /// The deadline passed.
    Timeout = -301,
    /// Cancelled by the application.
    Cancelled = -302,
    /// The peer broke the WebSocket or wslink protocol.
    Protocol = -303,
    /// A configured bound was hit; the message names it.
    Limit = -304,

    /// The server answered the call with an error; see [`Error::remote`].
    Remote = -400,
}

impl Code {
    /// Every code, in the order of the numbers.
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
            Code::ConnectionLost => "connection lost",
            Code::Timeout => "timed out",
            Code::Cancelled => "cancelled",
            Code::Protocol => "protocol violated by the peer",
            Code::Limit => "limit exceeded",
            Code::Remote => "error reported by the server",
        }
    }
}

/// Where on the way it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum Stage {
    /// Not part of a connection: arguments, state.
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
    /// A ready session.
    Session = 7,
    /// One call.
    Call = 8,
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
        }
    }
}

/// The error that a server sent instead of a result.
#[derive(Clone)]
pub struct Remote {
    /// wslink's number: -32601 unknown method, -32000 not authenticated, -32001 exception in the
    /// method, -32002 result not serialisable; applications may use others.
    pub code: i64,
    /// The server's words.
    pub message: String,
    /// The whole message that brought the error; its `data` member holds the trace of an exception.
    pub document: SharedDocument,
}

impl Remote {
    /// The `data` member of the error, if the server sent one (for exceptions a map with `method`,
    /// `exception` and `trace`).
    pub fn data(&self) -> Option<crate::wire::value::Value<'_>> {
        self.document.root().get("error")?.get("data")
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("code", &self.code).field("message", &self.message).finish()
    }
}

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    stage: Stage,
    message: String,
    http_status: Option<u16>,
    remote: Option<Remote>,
    retriable: bool,
}

/// A failure: code, stage, message, and what the server said. One pointer wide.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure outside of any connection.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            code,
            stage: Stage::Local,
            message: message.into(),
            http_status: None,
            remote: None,
            retriable: false,
        }))
    }

    /// The same failure, placed at a stage.
    pub fn at(mut self, stage: Stage) -> Error {
        self.0.stage = stage;
        self
    }

    /// The same failure, marked as one that a later attempt may not meet.
    pub fn retriable_if(mut self, retriable: bool) -> Error {
        self.0.retriable = retriable;
        self
    }

    pub(crate) fn with_http_status(mut self, status: u16) -> Error {
        self.0.http_status = Some(status);
        self
    }

    pub(crate) fn with_remote(mut self, remote: Remote) -> Error {
        self.0.remote = Some(remote);
        self
    }

    /// What kind of failure.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Where it failed.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// A sentence for a person. Never contains the secret.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status with which the server or proxy refused, if it did.
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    /// The error that the server sent, if this is one.
    pub fn remote(&self) -> Option<&Remote> {
        self.0.remote.as_ref()
    }

    /// Whether the same attempt may succeed later without a change by the application.
    pub fn is_retriable(&self) -> bool {
        self.0.retriable
    }
}

/// Equal if code and message are.
impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.code() == other.code() && self.message() == other.message()
    }
}

impl Eq for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.text(), self.0.message)
    }
}

impl std::error::Error for Error {}
