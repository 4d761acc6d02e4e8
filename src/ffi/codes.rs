//! The constants of the header. Their C type is `int32_t`; a value that the application passes is checked.

use crate::error::{Code, Stage};
use crate::io::config::Delivery;
use crate::io::log::LogLevel;
use crate::session::core::State;
use crate::wire::Protocol;
use crate::wire::value::Kind;

/// Elements of `int8_t`.
pub const WSLINK_TYPE_INT8: i32 = 1;
/// Elements of `uint8_t`.
pub const WSLINK_TYPE_UINT8: i32 = 2;
/// Elements of `int16_t`.
pub const WSLINK_TYPE_INT16: i32 = 3;
/// Elements of `uint16_t`.
pub const WSLINK_TYPE_UINT16: i32 = 4;
/// Elements of `int32_t`.
pub const WSLINK_TYPE_INT32: i32 = 5;
/// Elements of `uint32_t`.
pub const WSLINK_TYPE_UINT32: i32 = 6;
/// Elements of `int64_t`.
pub const WSLINK_TYPE_INT64: i32 = 7;
/// Elements of `uint64_t`.
pub const WSLINK_TYPE_UINT64: i32 = 8;
/// Elements of `float`.
pub const WSLINK_TYPE_FLOAT32: i32 = 9;
/// Elements of `double`.
pub const WSLINK_TYPE_FLOAT64: i32 = 10;

/// A call with this timeout waits until the connection ends, whatever the configuration says.
pub const WSLINK_NO_TIMEOUT: u32 = u32::MAX;

/// Success.
pub const WSLINK_OK: i32 = 0;

/// An argument is invalid; the message says which and why.
pub const WSLINK_ERR_ARGUMENT: i32 = -100;
/// A required pointer is null (C only).
pub const WSLINK_ERR_NULL: i32 = -101;
/// Text is not valid UTF-8.
pub const WSLINK_ERR_UTF8: i32 = -102;
/// Text is not valid JSON.
pub const WSLINK_ERR_JSON: i32 = -103;
/// The session is not in a state that allows this (for example a call before ready).
pub const WSLINK_ERR_STATE: i32 = -104;
/// The function would wait for its own thread: a function that waits on the I/O thread, or dispatch inside a callback
/// of dispatch.
pub const WSLINK_ERR_REENTRANT: i32 = -105;
/// The session is closed.
pub const WSLINK_ERR_CLOSED: i32 = -106;
/// JSON text names an attachment key that was not added to these arguments.
pub const WSLINK_ERR_ATTACHMENT: i32 = -107;
/// The value cannot be sent by the negotiated protocol.
pub const WSLINK_ERR_UNSUPPORTED: i32 = -108;
/// The program was compiled with a header that is not compatible with the library.
pub const WSLINK_ERR_VERSION: i32 = -109;
/// A panic inside this library was caught before it reached the caller; please report it.
pub const WSLINK_ERR_PANIC: i32 = -110;
/// No such value, key or index.
pub const WSLINK_ERR_NOT_FOUND: i32 = -111;
/// The value is of another kind than requested.
pub const WSLINK_ERR_KIND: i32 = -112;
/// The operating system refused something (memory, threads, descriptors).
pub const WSLINK_ERR_SYSTEM: i32 = -113;
/// The host name has no address.
pub const WSLINK_ERR_RESOLVE: i32 = -200;
/// No TCP connection: refused, unreachable, or timed out.
pub const WSLINK_ERR_CONNECT: i32 = -201;
/// The HTTP proxy refused or failed.
pub const WSLINK_ERR_PROXY: i32 = -202;
/// The TLS handshake failed: the server does not speak TLS, or its certificate is not trusted.
pub const WSLINK_ERR_TLS: i32 = -203;
/// The server answered the WebSocket upgrade with another HTTP status than 101.
pub const WSLINK_ERR_UPGRADE: i32 = -204;
/// Connected, but the server sent no valid reply to the wslink hello.
pub const WSLINK_ERR_HELLO: i32 = -205;
/// The server refused the secret.
pub const WSLINK_ERR_AUTH: i32 = -206;
/// The server speaks another protocol generation than the one that the configuration demands.
pub const WSLINK_ERR_MISMATCH: i32 = -207;
/// The launcher refused, failed, or is no launcher.
pub const WSLINK_ERR_LAUNCHER: i32 = -208;
/// The connection ended; the server may or may not have executed the call.
pub const WSLINK_ERR_CONNECTION_LOST: i32 = -300;
/// The deadline passed.
pub const WSLINK_ERR_TIMEOUT: i32 = -301;
/// Cancelled by the application.
pub const WSLINK_ERR_CANCELLED: i32 = -302;
/// The peer broke the WebSocket or wslink protocol.
pub const WSLINK_ERR_PROTOCOL: i32 = -303;
/// A limit was exceeded. The message names it, and its option if it can be configured.
pub const WSLINK_ERR_LIMIT: i32 = -304;
/// The server replied with an error; see `wslink_error_remote_code`.
pub const WSLINK_ERR_REMOTE: i32 = -400;

/// Outside of a connection: arguments, state.
pub const WSLINK_STAGE_LOCAL: i32 = 0;
/// Looking up the host name.
pub const WSLINK_STAGE_RESOLVE: i32 = 1;
/// The TCP connection.
pub const WSLINK_STAGE_CONNECT: i32 = 2;
/// The HTTP `CONNECT` to the proxy.
pub const WSLINK_STAGE_PROXY: i32 = 3;
/// The TLS handshake.
pub const WSLINK_STAGE_TLS: i32 = 4;
/// The WebSocket upgrade (RFC 6455 section 4).
pub const WSLINK_STAGE_UPGRADE: i32 = 5;
/// Protocol detection and `wslink.hello`.
pub const WSLINK_STAGE_HELLO: i32 = 6;
/// While the session was ready; not about one call.
pub const WSLINK_STAGE_SESSION: i32 = 7;
/// Concerns one call.
pub const WSLINK_STAGE_CALL: i32 = 8;
/// The request to a launcher.
pub const WSLINK_STAGE_LAUNCHER: i32 = 9;

/// Not connected yet.
pub const WSLINK_STATE_IDLE: i32 = 0;
/// Connecting: resolving, TCP, TLS, upgrade, hello.
pub const WSLINK_STATE_CONNECTING: i32 = 1;
/// Connected: calls are possible.
pub const WSLINK_STATE_READY: i32 = 2;
/// The connection ended, and the application has not closed it. `WSLINK_STATE_RECONNECTING` or `WSLINK_STATE_CLOSED`
/// follows.
pub const WSLINK_STATE_LOST: i32 = 3;
/// Waiting for the next attempt to connect (`wslink_config_set_reconnect`). `wslink_session_connect` begins it at once.
pub const WSLINK_STATE_RECONNECTING: i32 = 4;
/// The closing handshake is in progress.
pub const WSLINK_STATE_CLOSING: i32 = 5;
/// Closed; `wslink_session_connect` may be called again.
pub const WSLINK_STATE_CLOSED: i32 = 6;

/// `None`, `null`, `nil`.
pub const WSLINK_KIND_NULL: i32 = 0;
/// A boolean.
pub const WSLINK_KIND_BOOL: i32 = 1;
/// An integer in the range of `int64_t`.
pub const WSLINK_KIND_INT: i32 = 2;
/// An integer above the range of `int64_t`, within `uint64_t`.
pub const WSLINK_KIND_UINT: i32 = 3;
/// A double.
pub const WSLINK_KIND_FLOAT: i32 = 4;
/// UTF-8 text.
pub const WSLINK_KIND_STRING: i32 = 5;
/// Binary data: an attachment.
pub const WSLINK_KIND_BYTES: i32 = 6;
/// A list.
pub const WSLINK_KIND_ARRAY: i32 = 7;
/// An ordered list of pairs; keys are of any kind.
pub const WSLINK_KIND_MAP: i32 = 8;
/// A msgpack extension: a type from -128 to 127 and data.
pub const WSLINK_KIND_EXT: i32 = 9;
/// An integer of more than 64 bits, as decimal text (protocol 1 only).
pub const WSLINK_KIND_BIGINT: i32 = 10;

/// Detect which protocol the server speaks.
pub const WSLINK_PROTOCOL_AUTO: i32 = 0;

/// JSON text and separate attachments: wslink 0.1 to 1.12.
pub const WSLINK_PROTOCOL_V1: i32 = 1;
/// msgpack, split into chunks: wslink 2.
pub const WSLINK_PROTOCOL_V2: i32 = 2;

/// Callbacks run inside `wslink_session_dispatch`. The default.
pub const WSLINK_DELIVERY_QUEUED: i32 = 0;
/// Callbacks run on the I/O thread, immediately. They must be short, because the connection is not served while they
/// run.
pub const WSLINK_DELIVERY_IO_THREAD: i32 = 1;

/// The server connects to the session, by `--reverse-url`. The default, because it needs no free port and no ready line.
/// If no argument has `{url}`, the arguments `--reverse-url {url}` are added.
pub const WSLINK_REACH_REVERSE: i32 = 0;
/// The server chooses a port and prints a URL or the port. The line may lack its line break.
pub const WSLINK_REACH_PRINTED_PORT: i32 = 1;
/// A free port is chosen for the server, and connecting is tried until the server listens. If no argument has `{port}`,
/// the arguments `--port {port}` are added. If another program takes the port first, the server ends with an error.
pub const WSLINK_REACH_CHOSEN_PORT: i32 = 2;

/// Failures.
pub const WSLINK_LOG_ERROR: i32 = 1;
/// Unexpected events that are not failures.
pub const WSLINK_LOG_WARNING: i32 = 2;
/// The beginning and the end of connections.
pub const WSLINK_LOG_INFO: i32 = 3;
/// Every step.
pub const WSLINK_LOG_DEBUG: i32 = 4;

/// Overflow policy: when `capacity` publications are in the queue, new ones are dropped. The default.
pub const WSLINK_POLICY_ALL: i32 = 0;
/// Overflow policy: when `capacity` publications are in the queue, the oldest is dropped for a new one. Capacity 1
/// keeps only the latest, as image streams need it.
pub const WSLINK_POLICY_LAST: i32 = 1;

/// Strict JSON for any library. Values that JSON cannot express are converted (NaN to null).
pub const WSLINK_JSON_PLAIN: i32 = 0;
/// Lossless: `{"$float": "NaN"}`, `{"$bytes": hex}`, `{"$ext": ...}`, `{"$map": [[key, value], ...]}`.
pub const WSLINK_JSON_TAGGED: i32 = 1;

/// JSON text, as protocol 1 sends it: with Python's `NaN`, `Infinity` and integers of any size.
pub const WSLINK_ENCODING_JSON: i32 = 1;
/// msgpack, as protocol 2 sends it.
pub const WSLINK_ENCODING_MSGPACK: i32 = 2;

// The numbers of the header are equal to those of the library.
const _: () = assert!(
    WSLINK_ERR_ARGUMENT == Code::Argument as i32
        && WSLINK_ERR_NULL == Code::Null as i32
        && WSLINK_ERR_UTF8 == Code::Utf8 as i32
        && WSLINK_ERR_JSON == Code::Json as i32
        && WSLINK_ERR_STATE == Code::State as i32
        && WSLINK_ERR_REENTRANT == Code::Reentrant as i32
        && WSLINK_ERR_CLOSED == Code::Closed as i32
        && WSLINK_ERR_ATTACHMENT == Code::Attachment as i32
        && WSLINK_ERR_UNSUPPORTED == Code::Unsupported as i32
        && WSLINK_ERR_VERSION == Code::Version as i32
        && WSLINK_ERR_PANIC == Code::Panic as i32
        && WSLINK_ERR_NOT_FOUND == Code::NotFound as i32
        && WSLINK_ERR_KIND == Code::Kind as i32
        && WSLINK_ERR_SYSTEM == Code::System as i32
        && WSLINK_ERR_RESOLVE == Code::Resolve as i32
        && WSLINK_ERR_CONNECT == Code::Connect as i32
        && WSLINK_ERR_PROXY == Code::Proxy as i32
        && WSLINK_ERR_TLS == Code::Tls as i32
        && WSLINK_ERR_UPGRADE == Code::Upgrade as i32
        && WSLINK_ERR_HELLO == Code::Hello as i32
        && WSLINK_ERR_AUTH == Code::Auth as i32
        && WSLINK_ERR_MISMATCH == Code::Mismatch as i32
        && WSLINK_ERR_LAUNCHER == Code::Launcher as i32
        && WSLINK_ERR_CONNECTION_LOST == Code::ConnectionLost as i32
        && WSLINK_ERR_TIMEOUT == Code::Timeout as i32
        && WSLINK_ERR_CANCELLED == Code::Cancelled as i32
        && WSLINK_ERR_PROTOCOL == Code::Protocol as i32
        && WSLINK_ERR_LIMIT == Code::Limit as i32
        && WSLINK_ERR_REMOTE == Code::Remote as i32
        && WSLINK_STAGE_LOCAL == Stage::Local as i32
        && WSLINK_STAGE_RESOLVE == Stage::Resolve as i32
        && WSLINK_STAGE_CONNECT == Stage::Connect as i32
        && WSLINK_STAGE_PROXY == Stage::Proxy as i32
        && WSLINK_STAGE_TLS == Stage::Tls as i32
        && WSLINK_STAGE_UPGRADE == Stage::Upgrade as i32
        && WSLINK_STAGE_HELLO == Stage::Hello as i32
        && WSLINK_STAGE_SESSION == Stage::Session as i32
        && WSLINK_STAGE_CALL == Stage::Call as i32
        && WSLINK_STAGE_LAUNCHER == Stage::Launcher as i32
        && WSLINK_STATE_IDLE == State::Idle as i32
        && WSLINK_STATE_CONNECTING == State::Connecting as i32
        && WSLINK_STATE_READY == State::Ready as i32
        && WSLINK_STATE_LOST == State::Lost as i32
        && WSLINK_STATE_RECONNECTING == State::Reconnecting as i32
        && WSLINK_STATE_CLOSING == State::Closing as i32
        && WSLINK_STATE_CLOSED == State::Closed as i32
        && WSLINK_KIND_NULL == Kind::Null as i32
        && WSLINK_KIND_BOOL == Kind::Bool as i32
        && WSLINK_KIND_INT == Kind::Int as i32
        && WSLINK_KIND_UINT == Kind::Uint as i32
        && WSLINK_KIND_FLOAT == Kind::Float as i32
        && WSLINK_KIND_STRING == Kind::String as i32
        && WSLINK_KIND_BYTES == Kind::Bytes as i32
        && WSLINK_KIND_ARRAY == Kind::Array as i32
        && WSLINK_KIND_MAP == Kind::Map as i32
        && WSLINK_KIND_EXT == Kind::Ext as i32
        && WSLINK_KIND_BIGINT == Kind::BigInt as i32
        && WSLINK_PROTOCOL_V1 == Protocol::V1 as i32
        && WSLINK_PROTOCOL_V2 == Protocol::V2 as i32
        && WSLINK_DELIVERY_QUEUED == Delivery::Queued as i32
        && WSLINK_DELIVERY_IO_THREAD == Delivery::IoThread as i32
        && WSLINK_LOG_ERROR == LogLevel::Error as i32
        && WSLINK_LOG_WARNING == LogLevel::Warning as i32
        && WSLINK_LOG_INFO == LogLevel::Info as i32
        && WSLINK_LOG_DEBUG == LogLevel::Debug as i32
);
