//! The configuration of sessions.

use super::callback::{UserData, wslink_drop_fn};
use super::codes::{WSLINK_NO_TIMEOUT, WSLINK_OK, WSLINK_PROTOCOL_AUTO};
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer;
use crate::error::{Code, Error, Result};
use crate::io::config::{Config, Delivery};
use crate::io::connect::attempt::Attempt;
use crate::io::log::LogLevel;
use crate::platform::cancelling::Uncancelled;
use crate::session::reconnect::Reconnect;
use crate::wire::Protocol;
use crate::wire::builder::Builder;
use crate::wire::document::{Document, SharedDocument};
use crate::wire::secret::Secret;
use std::ffi::{CString, c_char, c_void};
use std::time::Duration;
use zeroize::Zeroizing;

/// The options of a session. Used by one thread at a time. A session copies the configuration, which can then be
/// changed, used for other sessions, or freed.
///
/// A callback that is set again replaces the former one, whose user data is dropped as soon as no session and no copy
/// of the configuration shares it. A callback cannot be removed: NULL fails with `WSLINK_ERR_NULL`.
#[derive(Clone)]
pub struct wslink_config {
    pub(super) config: Config,
    members: Vec<(String, Secret)>,
}

impl wslink_config {
    /// Without further members of the hello.
    pub(super) fn new(config: Config) -> wslink_config {
        wslink_config { config, members: Vec::new() }
    }

    /// A copy with other options and the same further members of the hello.
    pub(super) fn with(&self, config: Config) -> wslink_config {
        wslink_config { config, members: self.members.clone() }
    }
}

/// The progress of a large message. If the call of an outgoing message ends before the message is sent, and sending
/// stops, there are no further reports.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_progress {
    /// True for a message from the server, false for a message to the server.
    pub incoming: bool,
    /// The number of the transfer, unique in the session.
    pub transfer: u64,
    /// The id of the call to which an outgoing message belongs, or 0.
    pub call: u64,
    /// How many bytes were transferred.
    pub bytes: u64,
    /// The size of the message in bytes. In the last report of a complete transfer, `bytes` is equal to it.
    pub total: u64,
}

/// A change of state, and its reason. Later versions may add members at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_state_change {
    /// The new state: one of `WSLINK_STATE_...`.
    pub state: i32,
    /// For `WSLINK_STATE_RECONNECTING`, and for `WSLINK_STATE_CONNECTING` after it: the number of the attempt,
    /// see `wslink_reconnect_options.attempts`. Otherwise 0.
    pub attempt: u32,
    /// For `WSLINK_STATE_RECONNECTING`: milliseconds until the attempt. Otherwise 0.
    pub delay_ms: u64,
    /// The reason of `WSLINK_STATE_LOST`, `WSLINK_STATE_RECONNECTING`, and `WSLINK_STATE_CLOSED` unless the application
    /// has closed the session; otherwise NULL. Borrowed for the callback.
    pub reason: *const wslink_error,
}

/// When and how often a session reconnects. Initialise with `WSLINK_RECONNECT_OPTIONS_INIT`, so that members of later
/// versions have their defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_reconnect_options {
    /// `sizeof(wslink_reconnect_options)`.
    pub size: usize,
    /// The maximum number of attempts in a row. The count begins again after a connection that was ready for ten
    /// seconds, or for `longest_delay_ms` or `total_ms` if one of them is shorter. 0 (default): unlimited.
    pub attempts: u32,
    /// The backoff before the first attempt in milliseconds, at least 1. It doubles for every further attempt. The
    /// actual delay is random, between half of the backoff and all of it. Default 500.
    pub first_delay_ms: u32,
    /// The maximum backoff in milliseconds. Default 30000.
    pub longest_delay_ms: u32,
    /// The maximum time for all attempts since the connection was lost, in milliseconds. 0 (default): unlimited.
    pub total_ms: u32,
    /// Not 0: attempts are also made if the first connection fails, so that `wslink_session_connect` and
    /// `wslink_session_connect_wait` wait for a server that is not up yet. Default 0.
    pub at_first: i32,
}

/// Called for every change of state; `change` is borrowed for the callback. The queue of `wslink_session_dispatch`
/// holds at most 64 changes. Beyond it, the last of several failed attempts to reconnect replaces the one before it;
/// otherwise the oldest change is dropped.
pub type wslink_state_fn = Option<extern "C" fn(user: *mut c_void, change: *const wslink_state_change)>;

/// Called after a failure, `reason`: true to make attempt number `attempt` to reconnect, false to give up.
/// `wslink_reconnect_options` limits the attempts all the same. Runs on the I/O thread, must return quickly, and must
/// not use the session.
pub type wslink_reconnect_filter_fn =
    Option<extern "C" fn(user: *mut c_void, reason: *const wslink_error, attempt: u32) -> bool>;

/// An attempt to connect that is about to begin. Valid during the callback that it is given to, on its thread.
pub struct wslink_attempt {
    _opaque: [u8; 0],
}

/// Called before each attempt to connect, including the first, to renew credentials that may have expired, by
/// `wslink_attempt_set_...`. New values stay for the following attempts. For an attempt that the application has
/// requested, `number` is 0 and `reason` is NULL. For an attempt to reconnect, `number` is its number and `reason` the
/// failure, borrowed. If the callback returns false, the session is closed (`WSLINK_ERR_CANCELLED`) and may be
/// connected again.
///
/// Runs on the I/O thread. No connection is open then, so the callback may take long; its time counts towards the
/// connect timeout. `wslink_session_free` waits for the callback, so the callback must not wait for a thread that may
/// free the session.
pub type wslink_attempt_fn = Option<
    extern "C" fn(user: *mut c_void, attempt: *mut wslink_attempt, number: u32, reason: *const wslink_error) -> bool,
>;

/// Receives the progress of large messages (256 KiB and more).
pub type wslink_progress_fn = Option<extern "C" fn(user: *mut c_void, progress: *const wslink_progress)>;

/// Receives a line of the log, NUL-terminated, borrowed. Runs on any thread, and must not use the session.
pub type wslink_log_fn = Option<extern "C" fn(user: *mut c_void, level: i32, line: *const c_char)>;

/// Called when the queue of `wslink_session_dispatch` is no longer empty. Runs on any thread, often
/// the I/O thread: it must only wake the event loop of the application (post an event, set a flag) and return.
pub type wslink_wakeup_fn = Option<extern "C" fn(user: *mut c_void)>;

fn change(
    config: *mut wslink_config,
    err: *mut *mut wslink_error,
    change: impl FnOnce(&mut wslink_config) -> Result<()>,
) -> i32 {
    // Some of the functions read files, where a thread can be cancelled.
    let _uncancelled = Uncancelled::new();
    fallible(err, || change(pointer::borrow_mut(config, "config")?).map(|()| WSLINK_OK))
}

fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Argument, message))
}

/// Creates a configuration with the defaults, for the server at a URL: `ws://host:port/path?query`, or `wss://` for
/// TLS. The default path of wslink servers is `/ws`. On success `*config` belongs to the caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new(
    url: *const c_char,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(config, "config")?;
        let made = Config::new(pointer::text(url, "url")?)?;
        pointer::store(config, pointer::give(wslink_config::new(made)), "config")?;
        Ok(WSLINK_OK)
    })
}

/// Copies a configuration. Callbacks are shared by the copies: several sessions may run them at the same
/// time, and their user data is dropped once, when all configurations and sessions that share it are freed. On success
/// `*copy` belongs to the caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_clone(
    config: *const wslink_config,
    copy: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        let config = pointer::borrow(config, "config")?;
        pointer::required(copy, "copy")?;
        pointer::store(copy, pointer::give(config.clone()), "copy")?;
        Ok(WSLINK_OK)
    })
}

/// Frees a configuration. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_free(config: *mut wslink_config) {
    // The end of a listener waits for its thread.
    let _uncancelled = Uncancelled::new();
    infallible((), || pointer::release(config));
}

/// Sets the secret of the hello. Default: "wslink-secret", which servers use that were started without a secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_secret(
    config: *mut wslink_config,
    secret: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.session.secret = pointer::text(secret, "secret")?.into();
        Ok(())
    })
}

/// Adds a member to the map of the hello, with its value as JSON text, for servers that validate more than the secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_hello_member(
    config: *mut wslink_config,
    name: *const c_char,
    json: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        let (name, json) = (pointer::text(name, "name")?, pointer::text(json, "json")?);
        if name == "secret" {
            return bad("the secret is set by wslink_config_set_secret");
        }
        let mut all: Vec<_> = c.members.iter().filter(|(n, _)| n != name).cloned().collect();
        all.push((name.to_owned(), json.into()));
        c.config.session.hello_members = SharedDocument::new(members(&all)?);
        c.members = all;
        Ok(())
    })
}

fn members(members: &[(String, Secret)]) -> Result<Document> {
    let mut map = Builder::map();
    map.keep_secret();
    for (name, json) in members {
        map.key(name)?;
        map.json(json)?;
    }
    map.finish()
}

/// Sets the protocol: `WSLINK_PROTOCOL_AUTO` (default), `WSLINK_PROTOCOL_V1` or `WSLINK_PROTOCOL_V2`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_protocol(
    config: *mut wslink_config,
    protocol: i32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.session.protocol = match protocol {
            WSLINK_PROTOCOL_AUTO => None,
            p if p == Protocol::V1 as i32 => Some(Protocol::V1),
            p if p == Protocol::V2 as i32 => Some(Protocol::V2),
            other => return bad(format!("{other} is not a protocol; use WSLINK_PROTOCOL_AUTO, _V1 or _V2")),
        };
        Ok(())
    })
}

/// Adds a header to the upgrade request (`Authorization`, `Cookie`, ...), for proxies in front of the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_header(
    config: *mut wslink_config,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.add_header(pointer::text(name, "name")?, pointer::text(value, "value")?))
}

/// Sets the time for one attempt to connect, from resolving the host name to the reply to the hello, in milliseconds.
/// Default: 20000. 0 fails with `WSLINK_ERR_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_connect_timeout(
    config: *mut wslink_config,
    milliseconds: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.set_connect_timeout(Duration::from_millis(milliseconds.into())))
}

/// Sets the heartbeat: after this many milliseconds without data from the server, a Ping is sent. After the same time
/// again without data, the connection is considered lost. While calls are in flight, no Pings are sent, because servers
/// do not answer during a call; instead the TCP connection is checked, which detects an unreachable server, but not one
/// that hangs. 0 (default): no heartbeat.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_heartbeat(
    config: *mut wslink_config,
    milliseconds: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.session.heartbeat = (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()));
        Ok(())
    })
}

/// Makes the session reconnect when the connection is lost. Calls in flight complete with `WSLINK_ERR_CONNECTION_LOST`
/// and are never repeated, subscriptions stay, and for the server it is a new client. NULL (default): no reconnecting.
/// After a refused secret an attempt is made only if `wslink_config_before_attempt` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_reconnect(
    config: *mut wslink_config,
    options: *const wslink_reconnect_options,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        if options.is_null() {
            return c.config.set_reconnect(None);
        }
        let defaults = Reconnect::default();
        let given = pointer::options(
            options,
            wslink_reconnect_options {
                size: size_of::<wslink_reconnect_options>(),
                attempts: 0,
                first_delay_ms: defaults.first_delay.as_millis() as u32,
                longest_delay_ms: defaults.longest_delay.as_millis() as u32,
                total_ms: 0,
                at_first: 0,
            },
        )?;
        c.config.set_reconnect(Some(Reconnect {
            attempts: (given.attempts > 0).then_some(given.attempts),
            first_delay: Duration::from_millis(given.first_delay_ms.into()),
            longest_delay: Duration::from_millis(given.longest_delay_ms.into()),
            total: (given.total_ms > 0).then(|| Duration::from_millis(given.total_ms.into())),
            at_first: given.at_first != 0,
        }))
    })
}

/// Sets a callback that decides after a failure whether another attempt to connect is made
/// (`wslink_config_set_reconnect`). Default: attempts are made after failures for which `wslink_error_is_retriable` is
/// true. After a refused secret the callback is called only if `wslink_config_before_attempt` is set; otherwise the
/// session is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_reconnect_filter(
    config: *mut wslink_config,
    callback: wslink_reconnect_filter_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(config, err, |c| {
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        c.config.set_reconnect_filter(move |reason, attempt| {
            let reason = wslink_error::new(reason.clone());
            callback(user.pointer(), &raw const reason, attempt)
        });
        Ok(())
    })
}

/// Sets a callback that runs before each attempt to connect, to renew a secret, a header or a URL that expires. With
/// this callback, a session that reconnects (`wslink_config_set_reconnect`) also goes on after a refused secret and
/// after the HTTP statuses 401 and 403. The callback then runs before the next attempt. If it changes nothing, that
/// attempt is not made, and the session is closed with the refusal as its failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_before_attempt(
    config: *mut wslink_config,
    callback: wslink_attempt_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(config, err, |c| {
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        c.config.before_attempt(move |attempt| {
            let (number, reason) = (attempt.number(), attempt.reason().cloned().map(wslink_error::new));
            let reason = reason.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            callback(user.pointer(), std::ptr::from_mut(attempt).cast(), number, reason)
        });
        Ok(())
    })
}

/// Sets the secret of the hello for this and all following attempts. The library wipes its copy when it is not needed
/// any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_attempt_set_secret(
    attempt: *mut wslink_attempt,
    secret: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    renew(attempt, err, |attempt| {
        attempt.set_secret(pointer::text(secret, "secret")?);
        Ok(())
    })
}

/// Sets the URL for this and all following attempts, for example another server, or a new token in the query.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_attempt_set_url(
    attempt: *mut wslink_attempt,
    url: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    renew(attempt, err, |attempt| attempt.set_url(pointer::text(url, "url")?))
}

/// Sets a header of the upgrade request for this and all following attempts. It replaces all headers of this name. If
/// `value` is NULL, they are removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_attempt_set_header(
    attempt: *mut wslink_attempt,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    renew(attempt, err, |attempt| {
        attempt.set_header(pointer::text(name, "name")?, pointer::optional_text(value, "value")?)
    })
}

fn renew(
    attempt: *mut wslink_attempt,
    err: *mut *mut wslink_error,
    renew: impl FnOnce(&mut Attempt) -> Result<()>,
) -> i32 {
    fallible(err, || renew(pointer::borrow_mut(attempt.cast::<Attempt>(), "attempt")?).map(|()| WSLINK_OK))
}

/// Sets the timeout of calls without a timeout of their own (`wslink_call_options`), in milliseconds. 0
/// (default): calls wait until the connection ends.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_call_timeout(
    config: *mut wslink_config,
    milliseconds: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        let set = milliseconds != 0 && milliseconds != WSLINK_NO_TIMEOUT;
        c.config.call_timeout = set.then(|| Duration::from_millis(milliseconds.into()));
        Ok(())
    })
}

/// Sets the largest message that is accepted, in bytes: one msgpack message, one JSON text, one attachment. Default: 1
/// GiB. A msgpack message or JSON text never has more than 4 GiB. Memory is allocated as data arrives, not as it is
/// announced.
///
/// The index of the values in a message has a limit of the same size, but at least 16 MiB and at most 2 GiB. In it
/// - an extension and a JSON integer of more than 60 bits take 24 bytes,
/// - a JSON float and a float32 take 16 bytes,
/// - most other values take 8 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_max_message_size(
    config: *mut wslink_config,
    bytes: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        if bytes == 0 {
            return bad("a message size limit of 0 lets nothing through");
        }
        c.config.session.limits.message_size = bytes;
        Ok(())
    })
}

/// Sets how many messages may be unfinished, that is, some of their chunks are missing, and how many bytes of them are
/// stored. Default: 64 and 2 GiB. Beyond the count the oldest message is dropped; beyond the bytes the connection ends.
/// In protocol 1, `bytes` limits the attachments to which no message has referred yet: the oldest are dropped, the
/// newest always stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_max_unfinished(
    config: *mut wslink_config,
    count: usize,
    bytes: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        if count == 0 || bytes == 0 {
            return bad("at least one unfinished message is needed");
        }
        (c.config.session.limits.unfinished_count, c.config.session.limits.unfinished_bytes) = (count, bytes);
        Ok(())
    })
}

/// Sets how many attachments, and how many bytes of them, are kept after a message has referred to them (protocol 1).
/// Default: 64 and 32 MiB. A server of protocol 1 sends an attachment once, even if several messages refer to it. If a
/// message refers to an attachment that is not kept any more, its value is the key, a string, instead of the data. The
/// least recently used attachments are dropped first. Raise the limits for servers that refer to attachments
/// repeatedly. 0 keeps none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_attachment_store(
    config: *mut wslink_config,
    count: usize,
    bytes: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        (c.config.session.limits.attachment_count, c.config.session.limits.attachment_bytes) = (count, bytes);
        Ok(())
    })
}

/// Sets how many bytes of publications the queue of `wslink_session_dispatch` may hold, for all subscriptions together.
/// Default: 1 GiB. Beyond it, publications are dropped by the overflow policy of their subscription, and counted. A
/// single publication may exceed it while no other publication is in the queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_queue_bytes(
    config: *mut wslink_config,
    bytes: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.queue_bytes = bytes;
        Ok(())
    })
}

/// Sets how many bytes of calls the send queue may hold. Default: 1 GiB. Beyond it, calls fail with
/// `WSLINK_ERR_LIMIT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_send_queue_bytes(
    config: *mut wslink_config,
    bytes: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.send_queue_bytes = bytes;
        Ok(())
    })
}

/// Sets how many bytes of free receive buffers the pool holds for large messages. Default: 160 MiB. 0: no pool.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_buffer_pool_bytes(
    config: *mut wslink_config,
    bytes: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.buffer_pool_bytes = bytes;
        Ok(())
    })
}

/// Sets the largest message that a protocol 1 server accepts, in bytes. Default: 4194303 (the server's default
/// `WSLINK_MAX_MSG_SIZE` - 1). A call with a larger message fails, because the server would close the connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_v1_upload_limit(
    config: *mut wslink_config,
    bytes: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.session.v1_upload_limit = bytes;
        Ok(())
    })
}

/// Sets TCP_NODELAY: whether small messages are sent without delay. Default: true.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_nodelay(
    config: *mut wslink_config,
    nodelay: bool,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.nodelay = nodelay;
        Ok(())
    })
}

/// Sets an HTTP proxy, which is used by `CONNECT`: `http://user:password@host:port`. NULL (default): no proxy.
/// Environment variables are not used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_proxy(
    config: *mut wslink_config,
    url: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.set_proxy(pointer::optional_text(url, "url")?))
}

/// Trusts the certificates in a file: of authorities, of intermediate authorities, or of the server itself. The file is
/// PEM, where text between the certificates is ignored, or one certificate in DER.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_ca_file(
    config: *mut wslink_config,
    path: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.tls.add_roots(&read_file(pointer::text(path, "path")?)?))
}

/// Trusts the certificates in PEM text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_ca_pem(
    config: *mut wslink_config,
    pem: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.tls.add_roots_pem(pointer::text(pem, "pem")?))
}

/// Sets whether the certificate authorities of the platform are trusted. Default: true.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_platform_roots(
    config: *mut wslink_config,
    trusted: bool,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.tls.platform_roots = trusted;
        Ok(())
    })
}

/// Accepts only the certificate with this SHA-256 fingerprint (64 hexadecimal digits, colons allowed),
/// whatever its name, dates and issuer are. Further calls accept further certificates. For servers that were started
/// with `--ssl adhoc`, whose certificate is not signed by an authority.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_certificate_pin(
    config: *mut wslink_config,
    fingerprint: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.tls.add_pin(pointer::text(fingerprint, "fingerprint")?))
}

/// Accepts any certificate: a man in the middle can read and change everything, including the secret. Default: false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_danger_accept_any_certificate(
    config: *mut wslink_config,
    accept: bool,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.tls.danger_no_verification = accept;
        Ok(())
    })
}

/// Sets the client certificate: a PEM file with its chain, and a PEM file with its key, which must not be encrypted
/// (PKCS #8 everywhere; OpenSSL also reads PKCS #1 and SEC 1).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_client_certificate(
    config: *mut wslink_config,
    chain_path: *const c_char,
    key_path: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        let chain = read_file(pointer::text(chain_path, "chain_path")?)?;
        let key = Zeroizing::new(read_file(pointer::text(key_path, "key_path")?)?);
        c.config.tls.set_identity(&chain, &*key)
    })
}

fn read_file(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).or_else(|e| bad(format!("file {path:?} cannot be read: {e}")))
}

/// Sets where callbacks run: `WSLINK_DELIVERY_QUEUED` (default) or `WSLINK_DELIVERY_IO_THREAD`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_delivery(
    config: *mut wslink_config,
    delivery: i32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        c.config.delivery = match delivery {
            d if d == Delivery::Queued as i32 => Delivery::Queued,
            d if d == Delivery::IoThread as i32 => Delivery::IoThread,
            other => return bad(format!("{other} is not a delivery; use WSLINK_DELIVERY_QUEUED or _IO_THREAD")),
        };
        Ok(())
    })
}

/// Sets the callback that receives the log, up to this level (`WSLINK_LOG_...`). Default: no log. Secrets are never
/// logged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_log(
    config: *mut wslink_config,
    level: i32,
    callback: wslink_log_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(config, err, |c| {
        let level = match level {
            l if l == LogLevel::Error as i32 => LogLevel::Error,
            l if l == LogLevel::Warning as i32 => LogLevel::Warning,
            l if l == LogLevel::Info as i32 => LogLevel::Info,
            l if l == LogLevel::Debug as i32 => LogLevel::Debug,
            other => return bad(format!("{other} is not a log level; use WSLINK_LOG_ERROR to _DEBUG")),
        };
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        c.config.set_log(level, move |level, line| {
            let line = CString::new(line.replace('\0', "\u{fffd}")).unwrap_or_default();
            callback(user.pointer(), level as i32, line.as_ptr());
        });
        Ok(())
    })
}

/// Sets the callback for changes of state, see `wslink_state_fn`. It runs where callbacks run, see
/// `wslink_config_set_delivery`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_on_state(
    config: *mut wslink_config,
    callback: wslink_state_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(config, err, |c| {
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        c.config.on_state(move |change| {
            let reason = change.error.clone().map(wslink_error::new);
            let entered = wslink_state_change {
                state: change.state as i32,
                attempt: change.attempt,
                delay_ms: change.delay.as_millis() as u64,
                reason: reason.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            };
            callback(user.pointer(), &raw const entered);
        });
        Ok(())
    })
}

/// Sets the callback for the progress of large messages, in both directions. It runs where callbacks run, see
/// `wslink_config_set_delivery`. At the end of the queue, a later report of a transfer replaces an earlier one. While
/// 10000 events are in the queue, reports are left out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_on_progress(
    config: *mut wslink_config,
    callback: wslink_progress_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(config, err, |c| {
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        c.config.on_progress(move |p| {
            let progress = wslink_progress {
                incoming: p.incoming,
                transfer: p.transfer,
                call: p.call.unwrap_or(0),
                bytes: p.bytes,
                total: p.total,
            };
            callback(user.pointer(), &raw const progress);
        });
        Ok(())
    })
}

/// Sets the callback that wakes the event loop of the application; see `wslink_wakeup_fn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_on_wakeup(
    config: *mut wslink_config,
    callback: wslink_wakeup_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(config, err, |c| {
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        c.config.on_wakeup(move || callback(user.pointer()));
        Ok(())
    })
}
