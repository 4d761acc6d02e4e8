//! Listeners for servers that open the connection themselves.

use super::codes::WSLINK_OK;
use super::config::wslink_config;
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer;
use crate::error::{Code, Error, Result};
use crate::io::config::Config;
use crate::io::listener::{Listener, ListenerOptions};
use crate::io::tls::TlsIdentity;
use crate::platform::cancelling::Uncancelled;
use std::ffi::c_char;

/// Listens for wslink servers that open the connection themselves (option `--reverse-url` of servers), because they
/// cannot be reached. One listener may serve several sessions: each configuration of `wslink_config_new_accepting` has
/// a URL with a random token of its own.
///
/// Requests to other paths (404), with an Origin header, as web pages send it (403), to a path with a connection (409),
/// that are no upgrade to a WebSocket (400, 405, 426), too long (more than 16 KiB: 431) or too slow (10 s: 408) are
/// refused. Any thread may use it.
pub struct wslink_listener {
    listener: Listener,
}

/// Where to listen. Initialise with `WSLINK_LISTENER_OPTIONS_INIT`, so that members of later versions have their
/// defaults. All texts are NUL-terminated, and used during the call only.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_listener_options {
    /// `sizeof(wslink_listener_options)`.
    pub size: usize,
    /// The IP address to listen at. NULL (default): 127.0.0.1, which only this machine reaches.
    pub address: *const c_char,
    /// The host in the URL: the name or address by which servers reach this machine. NULL (default): the address. Needed
    /// for the addresses 0.0.0.0 and ::, which mean all.
    pub host: *const c_char,
    /// The port. 0 (default): one that the system picks.
    pub port: u16,
    /// A certificate, in PEM, followed by its issuers: the listener speaks TLS (`wss`). NULL (default): no TLS.
    pub certificate_pem: *const c_char,
    /// The key of the certificate, in PEM, not encrypted.
    pub key_pem: *const c_char,
}

/// Begins to listen, with the defaults if `options` is NULL. Starts a thread. On success `*listener` belongs to the
/// caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_new(
    options: *const wslink_listener_options,
    listener: *mut *mut wslink_listener,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(listener, "listener")?;
        let made = Listener::new(&options_of(options)?)?;
        pointer::store(listener, pointer::give(wslink_listener { listener: made }), "listener")?;
        Ok(WSLINK_OK)
    })
}

fn options_of(given: *const wslink_listener_options) -> Result<ListenerOptions> {
    let mut options = ListenerOptions::default();
    if given.is_null() {
        return Ok(options);
    }
    let null = std::ptr::null();
    let defaults = wslink_listener_options {
        size: size_of::<wslink_listener_options>(),
        address: null,
        host: null,
        port: 0,
        certificate_pem: null,
        key_pem: null,
    };
    let given = pointer::options(given, defaults)?;
    if let Some(address) = pointer::optional_text(given.address, "address")? {
        let bad = |_| Error::new(Code::Argument, format!("{address:?} is not an IP address to listen at"));
        options.address = address.parse().map_err(bad)?;
    }
    options.host = pointer::optional_text(given.host, "host")?.map(str::to_owned);
    options.port = given.port;
    options.identity = match (
        pointer::optional_text(given.certificate_pem, "certificate_pem")?,
        pointer::optional_text(given.key_pem, "key_pem")?,
    ) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsIdentity::from_pem(certificate, key)?),
        _ => return Err(Error::new(Code::Argument, "a listener needs both a certificate and its key, or neither")),
    };
    Ok(options)
}

/// Frees a handle. NULL is ignored. The socket is closed when no configuration and no session uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_free(listener: *mut wslink_listener) {
    let _uncancelled = Uncancelled::new();
    infallible((), || pointer::release(listener));
}

/// The port at which it listens; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_port(listener: *const wslink_listener) -> u16 {
    infallible(0, || pointer::borrow(listener, "listener").map_or(0, |l| l.listener.address().port()))
}

/// How many connections were refused so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_refused(listener: *const wslink_listener) -> u64 {
    infallible(0, || pointer::borrow(listener, "listener").map_or(0, |l| l.listener.refused()))
}

/// Creates a configuration with the defaults, for a server that opens the connection itself: start it with
/// `--reverse-url` and the URL of `wslink_config_reverse_url`. Connecting then means to wait for the server's next
/// connection, at most for the connect timeout; reconnecting, too. The server's protocol is detected without harm to
/// it. Options about the way to a server (proxy, headers, certificates) have no effect, and
/// `wslink_attempt_set_url` and `wslink_attempt_set_header` fail. Use one configuration for one session, because the
/// URL takes one connection at a time. On success `*config` belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new_accepting(
    listener: *const wslink_listener,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(config, "config")?;
        let made = Config::accepting(&pointer::borrow(listener, "listener")?.listener)?;
        pointer::store(config, pointer::give(wslink_config::new(made)), "config")?;
        Ok(WSLINK_OK)
    })
}

/// Copies the URL for the option `--reverse-url` of a server to `buffer`, as `snprintf` does: truncated to `size` and
/// NUL-terminated. Returns the length of the whole URL; 0 if the session connects to the server. The URL has a secret
/// token: who knows it may connect in the place of the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_reverse_url(
    config: *const wslink_config,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    infallible(0, || {
        let url = pointer::borrow(config, "config").ok().and_then(|c| c.config.reverse_url());
        pointer::copy_text(&url.unwrap_or_default(), buffer, size)
    })
}
