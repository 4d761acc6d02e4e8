//! Listeners: for servers that open the connection themselves.

use super::codes::WSLINK_OK;
use super::config::wslink_config;
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer::{self, wslink_bytes};
use crate::error::{Code, Error, Result};
use crate::io::config::Config;
use crate::io::listener::{Listener, ListenerOptions};
use crate::io::tls::TlsIdentity;
use crate::platform::cancelling::Uncancelled;
use std::ffi::c_char;

/// Listens for servers that open the connection themselves, because they were started with the option `--reverse-url`:
/// servers behind a firewall, or with a port that is not known in advance. `wslink_config_new_accepting` makes
/// configurations of it, for any number of sessions. It has a thread, and may be used by any thread.
pub struct wslink_listener(Listener);

/// The options of a listener. Initialise with `WSLINK_LISTENER_OPTIONS_INIT`, so that members of later versions have
/// their defaults. All text is NUL-terminated UTF-8, and copied.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_listener_options {
    /// `sizeof(wslink_listener_options)`.
    pub size: usize,
    /// The IP address to listen at, such as "127.0.0.1", "::1" or, for all addresses of this machine, "0.0.0.0". NULL
    /// (default): 127.0.0.1, which only this machine reaches.
    pub address: *const c_char,
    /// The host in the URL for servers: the name or address by which they reach this machine. NULL (default):
    /// `address`, which must then not be that of all addresses.
    pub host: *const c_char,
    /// The port. 0 (default): one that the system picks, see `wslink_listener_port`.
    pub port: u16,
    /// For TLS (`wss`): the certificate chain in PEM, beginning with the certificate itself; with `key_pem`. NULL
    /// (default): no TLS (`ws`), unless there is `pkcs12`.
    pub certificate_pem: *const c_char,
    /// The key of the certificate in PEM, which must not be encrypted (PKCS #8 everywhere; OpenSSL also reads PKCS #1
    /// and SEC 1). NULL if there is no `certificate_pem`.
    pub key_pem: *const c_char,
    /// For TLS instead of `certificate_pem` and `key_pem`: the content of a PKCS #12 file. Empty (default): none.
    pub pkcs12: wslink_bytes,
    /// The password of `pkcs12`. NULL (default): an empty one.
    pub pkcs12_password: *const c_char,
}

impl wslink_listener_options {
    const DEFAULTS: wslink_listener_options = wslink_listener_options {
        size: size_of::<wslink_listener_options>(),
        address: std::ptr::null(),
        host: std::ptr::null(),
        port: 0,
        certificate_pem: std::ptr::null(),
        key_pem: std::ptr::null(),
        pkcs12: wslink_bytes { ptr: std::ptr::null(), len: 0 },
        pkcs12_password: std::ptr::null(),
    };

    fn read(given: *const wslink_listener_options) -> Result<ListenerOptions> {
        let all = pointer::options(given, Self::DEFAULTS)?;
        // All versions have these members. A part of a pointer is none.
        if all.size < size_of::<wslink_listener_options>() {
            return bad("options: size is too small; begin with WSLINK_LISTENER_OPTIONS_INIT");
        }
        let mut options = ListenerOptions { port: all.port, ..ListenerOptions::default() };
        if let Some(address) = pointer::optional_text(all.address, "address")? {
            options.address = address.parse().or_else(|_| {
                bad(format!("{address:?} is not an IP address; a listener needs one, such as 127.0.0.1 or ::1"))
            })?;
        }
        options.host = pointer::optional_text(all.host, "host")?.map(str::to_owned);
        options.identity = all.identity()?;
        Ok(options)
    }

    fn identity(&self) -> Result<Option<TlsIdentity>> {
        let chain = pointer::optional_text(self.certificate_pem, "certificate_pem")?;
        let key = pointer::optional_text(self.key_pem, "key_pem")?;
        let password = pointer::optional_text(self.pkcs12_password, "pkcs12_password")?;
        let pkcs12 = pointer::slice(self.pkcs12.ptr, self.pkcs12.len, "pkcs12")?;
        match (chain, key, pkcs12, password) {
            (None, None, [], None) => Ok(None),
            (Some(chain), Some(key), [], None) => TlsIdentity::from_pem(chain, key).map(Some),
            (None, None, [_, ..], password) => TlsIdentity::from_pkcs12(pkcs12, password.unwrap_or_default()).map(Some),
            _ => bad("the certificate of a listener is certificate_pem with key_pem, or pkcs12 with pkcs12_password"),
        }
    }
}

fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Argument, message))
}

/// Begins to listen, and starts a thread. `options` may be NULL. `WSLINK_ERR_SYSTEM` if the port is in use, or the
/// address not one of this machine; `WSLINK_ERR_ARGUMENT` if an option cannot be used. On success `*listener` belongs
/// to the caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_new(
    options: *const wslink_listener_options,
    listener: *mut *mut wslink_listener,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(listener, "listener")?;
        let made = Listener::new(&wslink_listener_options::read(options)?)?;
        pointer::store(listener, pointer::give(wslink_listener(made)), "listener")?;
        Ok(WSLINK_OK)
    })
}

/// Frees a listener. NULL is ignored. Configurations and sessions that were made of it stay usable: it ends, and closes
/// its socket, when the last of them is freed, too. This waits for its thread, which runs no callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_free(listener: *mut wslink_listener) {
    let _uncancelled = Uncancelled::new();
    infallible((), || pointer::release(listener));
}

/// The port at which a listener listens. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_port(listener: *const wslink_listener) -> u16 {
    infallible(0, || pointer::borrow(listener, "listener").map_or(0, |l| l.0.address().port()))
}

/// How many connections a listener has refused: with a wrong path, from a web page (with an `Origin`), too slow, to a
/// path in use, or with a request that is not one of wslink servers. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_listener_refused(listener: *const wslink_listener) -> u64 {
    infallible(0, || pointer::borrow(listener, "listener").map_or(0, |l| l.0.refused()))
}

/// Creates a configuration with the defaults, for a server that opens the connection itself. Start it with the option
/// `--reverse-url` and the URL of `wslink_config_reverse_url`. A session then does not connect: `wslink_session_connect`
/// and the like wait for the server's next connection, at most for the connect timeout
/// (`wslink_config_set_connect_timeout`), and reconnecting (`wslink_config_set_reconnect`) waits for the server to
/// connect again.
///
/// Each configuration has a URL of its own. Its copies and sessions share that URL, at which one connection is accepted
/// at a time: use one configuration for one session. The URL is closed when the last of them is freed.
///
/// Options about the way to a server have no effect: `wslink_config_add_header`, `wslink_config_set_proxy`, and those of
/// TLS (`wslink_config_add_ca_file` and so on). `wslink_attempt_set_url` and `wslink_attempt_set_header` fail with
/// `WSLINK_ERR_ARGUMENT`. On success `*config` belongs to the caller, who frees it; it may outlive the listener.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new_accepting(
    listener: *const wslink_listener,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(config, "config")?;
        let made = Config::accepting(&pointer::borrow(listener, "listener")?.0)?;
        pointer::store(config, pointer::give(wslink_config::new(made)), "config")?;
        Ok(WSLINK_OK)
    })
}

/// Copies the URL for the option `--reverse-url` of a server to `buffer`, as `snprintf` does: truncated to `size` and
/// NUL-terminated. Returns the length of the whole URL. Empty if the configuration is not one of
/// `wslink_config_new_accepting`. It contains a secret token: whoever knows it may connect in the place of the server.
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
