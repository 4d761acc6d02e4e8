//! The configuration of sessions.

use super::callback::{UserData, wslink_drop_fn};
use super::codes::{WSLINK_OK, WSLINK_PROTOCOL_AUTO};
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer;
use crate::error::{Code, Error, Result};
use crate::io::config::{Config, Delivery, LogLevel};
use crate::session::reconnect::Reconnect;
use crate::wire::Protocol;
use crate::wire::builder::Builder;
use crate::wire::document::{Document, SharedDocument};
use crate::wire::secret::Secret;
use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

/// The options of a session. Used by one thread at a time; a session copies it, so that it can be changed,
/// used for more sessions, or freed at once.
pub struct wslink_config {
    pub(super) config: Config,
    members: Vec<(String, Secret)>,
}

/// How far a large message is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_progress {
    /// From the server; otherwise to it.
    pub incoming: bool,
    /// Tells transfers apart; never used again in a session.
    pub transfer: u64,
    /// The id of the call that an outgoing message belongs to, or 0.
    pub call: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes in total. The last report of a transfer that arrives or is sent whole has `bytes` equal to it.
    pub total: u64,
}

/// A state that was entered, and why. Later versions may add members at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_state_change {
    /// One of `WSLINK_STATE_...`.
    pub state: i32,
    /// For `WSLINK_STATE_RECONNECTING`, and for `WSLINK_STATE_CONNECTING` after it: the number of the attempt,
    /// counted from the last time the session was ready. Otherwise 0.
    pub attempt: u32,
    /// For `WSLINK_STATE_RECONNECTING`: milliseconds until that attempt. Otherwise 0.
    pub delay_ms: u64,
    /// Why, for `WSLINK_STATE_LOST`, `WSLINK_STATE_RECONNECTING`, and a `WSLINK_STATE_CLOSED` that was not asked
    /// for; otherwise NULL. Borrowed for the callback.
    pub reason: *const wslink_error,
}

/// When a session connects again by itself. Begin with `WSLINK_RECONNECT_OPTIONS_INIT`, so that members of later
/// versions have their defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_reconnect_options {
    /// `sizeof(wslink_reconnect_options)`.
    pub size: usize,
    /// So many attempts in a row, from one loss to the next ready session. 0 (default): without end.
    pub attempts: u32,
    /// Milliseconds before the first attempt, at least 1; doubled with every further one. What is really waited is
    /// chosen by chance between half of it and all of it. Default 500.
    pub first_delay_ms: u32,
    /// The delay grows to this, in milliseconds. Default 30000.
    pub longest_delay_ms: u32,
    /// The whole time for attempts since the loss, in milliseconds. 0 (default): without end.
    pub total_ms: u32,
    /// Not 0: also if the very first connection fails, so that `wslink_session_connect` and
    /// `wslink_session_connect_wait` wait for a server that is not up yet. Default 0.
    pub at_first: i32,
}

/// Told about every change of state; `change` is borrowed for the callback.
pub type wslink_state_fn = Option<extern "C" fn(user: *mut c_void, change: *const wslink_state_change)>;

/// Asked before every attempt to reconnect whether the failure is worth it: true to try again. `attempt` is the number
/// that the attempt would have. Runs on the I/O thread, must answer at once, and must not use the session.
pub type wslink_reconnect_filter_fn =
    Option<extern "C" fn(user: *mut c_void, reason: *const wslink_error, attempt: u32) -> bool>;

/// Told how far large messages are (256 KiB and more).
pub type wslink_progress_fn = Option<extern "C" fn(user: *mut c_void, progress: *const wslink_progress)>;

/// Receives a line of the log, NUL-terminated, borrowed. Runs on any thread, and must not use the session.
pub type wslink_log_fn = Option<extern "C" fn(user: *mut c_void, level: i32, line: *const c_char)>;

/// Called when `wslink_session_dispatch` has something to do after it had nothing. Runs on any thread, often
/// the I/O thread: it must only wake the application's event loop (post an event, set a flag) and return.
pub type wslink_wakeup_fn = Option<extern "C" fn(user: *mut c_void)>;

fn change(
    config: *mut wslink_config,
    err: *mut *mut wslink_error,
    change: impl FnOnce(&mut wslink_config) -> Result<()>,
) -> i32 {
    fallible(err, || change(pointer::borrow_mut(config, "config")?).map(|()| WSLINK_OK))
}

fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Argument, message))
}

/// The defaults, for a server at a URL: `ws://host:port/path?query`, or `wss://` for TLS. wslink servers
/// listen at the path `/ws` unless told otherwise. On success `*config` belongs to the caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new(
    url: *const c_char,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(config, "config")?;
        let made = Config::new(pointer::text(url, "url")?)?;
        pointer::store(config, pointer::give(wslink_config { config: made, members: Vec::new() }), "config")?;
        Ok(WSLINK_OK)
    })
}

/// Frees a configuration. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_free(config: *mut wslink_config) {
    infallible((), || pointer::release(config));
}

/// The secret of the hello; "wslink-secret" if not set, as for servers that were started without one.
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

/// A further member of the hello's map, its value as JSON text, for servers with a validation of their own.
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

/// `WSLINK_PROTOCOL_AUTO` (default), `WSLINK_PROTOCOL_V1` or `WSLINK_PROTOCOL_V2`.
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

/// Adds a header to the upgrade request, for proxies before the server (`Authorization`, `Cookie`, ...).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_header(
    config: *mut wslink_config,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.add_header(pointer::text(name, "name")?, pointer::text(value, "value")?))
}

/// Time for everything from the host name to the reply to the hello, in milliseconds; 20000 if not set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_connect_timeout(
    config: *mut wslink_config,
    milliseconds: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.set_connect_timeout(Duration::from_millis(milliseconds.into())))
}

/// Ping when nothing was heard for this many milliseconds, and give the connection up when nothing is heard
/// for as long again. Suspended while calls are in flight, because servers do not answer then; TCP is asked
/// instead, which finds a server that cannot be reached, not one that stands still. 0 (default): never.
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

/// Connect again by itself when the connection is lost: calls in flight are completed as
/// `WSLINK_ERR_CONNECTION_LOST` and never repeated, subscriptions stay, the server sees a new client. NULL (default):
/// not. A refused secret is never tried again.
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

/// Asked before every attempt to reconnect; without it, attempts are made after failures for which
/// `wslink_error_is_retriable` is true.
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

/// Largest message that is accepted, in bytes: one msgpack message, one JSON text, one attachment. Memory is
/// taken as it arrives, not as it is announced. 1 GiB if not set. The index of the values in a message may take as much again,
/// and 16 MiB in any case. It counts 8 bytes for most values, 16 for a float of JSON and a float32, 24 for an extension and for an
/// integer of JSON beyond 60 bits. Whatever the limit, a msgpack message or JSON text ends at 4 GiB, and its index at 2 GiB.
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

/// How many messages may be unfinished (chunked) at a time, and how many bytes of them are held. 64 and 2 GiB
/// if not set. Beyond the count the oldest is given up; beyond the bytes the connection ends.
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

/// How many attachments, and how many bytes of them, are kept for later messages (protocol 1). 256 and 512 MiB
/// if not set; the oldest are given up, the newest always stays.
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

/// How many bytes of publications may wait for `wslink_session_dispatch`, over all subscriptions; 1 GiB if not
/// set. Beyond it publications are dropped as their subscription says, and counted.
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

/// How many bytes of calls may wait to be sent; 1 GiB if not set. Beyond it calls are refused with
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

/// How many bytes of receive buffers are kept for the next large messages; 160 MiB if not set. 0: none.
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

/// Largest message that a protocol 1 server takes, in bytes; 4194303 if not set (a server's
/// `WSLINK_MAX_MSG_SIZE` - 1). Larger ones are refused here instead of losing the connection.
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

/// Whether small messages leave at once (TCP_NODELAY). True if not set.
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

/// Connects through an HTTP proxy, with `CONNECT`: `http://user:password@host:port`. NULL (default): directly.
/// The environment is not looked at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_proxy(
    config: *mut wslink_config,
    url: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.set_proxy(pointer::optional_text(url, "url")?))
}

/// Trusts the certificates of a PEM file, of authorities or of the server itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_ca_file(
    config: *mut wslink_config,
    path: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.tls.add_roots_pem(&read_file(pointer::text(path, "path")?)?))
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

/// Whether the certificate authorities of the platform are trusted. True if not set.
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

/// Accepts exactly the certificate with this SHA-256 fingerprint (64 hexadecimal digits, colons allowed),
/// whatever name, date and issuer are in it; further calls accept further ones. For servers that were started
/// with `--ssl adhoc`, whose certificate no authority has signed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_add_certificate_pin(
    config: *mut wslink_config,
    fingerprint: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| c.config.tls.add_pin(pointer::text(fingerprint, "fingerprint")?))
}

/// Accepts any certificate: whoever sits between can read and change everything, the secret included. False
/// if not set.
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

/// Shows a certificate of the client: a PEM file with its chain and one with its PKCS #8 key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_set_client_certificate(
    config: *mut wslink_config,
    chain_path: *const c_char,
    key_path: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(config, err, |c| {
        let chain = read_file(pointer::text(chain_path, "chain_path")?)?;
        let key = Secret::from(read_file(pointer::text(key_path, "key_path")?)?);
        c.config.tls.set_identity(&chain, &key)
    })
}

fn read_file(path: &str) -> Result<String> {
    std::fs::read_to_string(path).or_else(|e| bad(format!("file {path:?} cannot be read: {e}")))
}

/// Where callbacks run: `WSLINK_DELIVERY_QUEUED` (default) or `WSLINK_DELIVERY_IO_THREAD`.
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

/// Where the log goes, up to this level (`WSLINK_LOG_...`). Nothing is logged if not set; secrets never are.
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

/// Told about every change of state. Runs where callbacks run.
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

/// Told how far large messages are, in both directions. Runs where callbacks run; reports that were not
/// dispatched yet are replaced by later ones of the same transfer.
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

/// Called when there is something to dispatch; see `wslink_wakeup_fn`.
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
