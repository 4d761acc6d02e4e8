//! Launchers: HTTP services that start servers.

use super::args::wslink_args;
use super::callback::{UserData, wslink_drop_fn};
use super::codes::WSLINK_OK;
use super::config::wslink_config;
use super::document::{as_handle, wslink_document};
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer;
use crate::error::{Code, Error, Result};
use crate::io::config::Config;
use crate::io::launcher::{Launched, Launcher};
use crate::platform::cancelling::Uncancelled;
use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

/// A launcher: an HTTP service that starts servers (`python -m wslink.launcher`). Its functions wait for the service,
/// which may take half a minute; use a thread for which that is no harm. Any thread may use it.
pub struct wslink_launcher {
    launcher: Launcher,
    /// What its sessions have besides the options of the launcher.
    template: wslink_config,
}

/// A session that a launcher has opened, or told about. Immutable: any thread may read it.
pub struct wslink_launched {
    launched: Launched,
    config: wslink_config,
    id: CString,
    url: CString,
}

/// Receives the number of each attempt to open a session, beginning with 1, and why the one before failed (NULL for the
/// first one; borrowed). Runs on the thread that opens, before the delay.
pub type wslink_launch_progress_fn =
    Option<extern "C" fn(user: *mut c_void, attempt: u32, reason: *const wslink_error)>;

/// Creates a configuration with the defaults, for a launcher at an `http` or `https` URL, such as
/// "https://host/paraview/", and for sessions with the servers that it starts. Without a path, the URL gets the usual
/// one, `/paraview/`. No session can be made of it: it is for `wslink_launcher_new`. On success `*config` belongs to the
/// caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new_launcher(
    url: *const c_char,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(config, "config")?;
        let made = wslink_config::new(Config::launcher(pointer::text(url, "url")?)?);
        pointer::store(config, pointer::give(made), "config")?;
        Ok(WSLINK_OK)
    })
}

/// Creates a launcher. Headers, credentials, proxy, TLS, log and connect timeout are those of `config`
/// (`wslink_config_new_launcher`), which is copied. Nothing is sent yet. On success `*launcher` belongs to the caller,
/// who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_new(
    config: *const wslink_config,
    launcher: *mut *mut wslink_launcher,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(launcher, "launcher")?;
        let config = pointer::borrow(config, "config")?;
        let made = wslink_launcher { launcher: Launcher::new(&config.config)?, template: config.clone() };
        pointer::store(launcher, pointer::give(made), "launcher")?;
        Ok(WSLINK_OK)
    })
}

/// Frees a launcher, which no thread may be using. NULL is ignored. What it has opened stays open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_free(launcher: *mut wslink_launcher) {
    let _uncancelled = Uncancelled::new();
    infallible((), || pointer::release(launcher));
}

/// Sets how long the launcher may take for an answer after it is connected, in milliseconds. It answers when the server
/// is ready, or has not become ready within the launcher's own limit. Default: 120000. 0 fails with
/// `WSLINK_ERR_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_set_timeout(
    launcher: *mut wslink_launcher,
    milliseconds: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::borrow(launcher, "launcher")?.launcher.set_timeout(Duration::from_millis(milliseconds.into()))?;
        Ok(WSLINK_OK)
    })
}

/// Sets the delays before further attempts of `wslink_launcher_open`, `count` of them, in milliseconds. An attempt
/// follows if the launcher could not be reached, or refused with a status that may not last, such as 503 because all
/// resources are taken. A request that may have started a server is not repeated. Default: none, so that there is one
/// attempt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_set_retry_delays(
    launcher: *mut wslink_launcher,
    milliseconds: *const u32,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        let delays = pointer::slice(milliseconds, count, "milliseconds")?;
        let delays = delays.iter().map(|ms| Duration::from_millis((*ms).into()));
        pointer::borrow(launcher, "launcher")?.launcher.set_retry_delays(delays);
        Ok(WSLINK_OK)
    })
}

/// Sets a callback for the attempts of `wslink_launcher_open`, see `wslink_launch_progress_fn`. `drop` is called as for
/// all callbacks, see `wslink_drop_fn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_on_progress(
    launcher: *mut wslink_launcher,
    callback: wslink_launch_progress_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    fallible(err, || {
        let launcher = pointer::borrow(launcher, "launcher")?;
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        launcher.launcher.on_progress(move |attempt, reason| {
            let reason = reason.map(|reason| wslink_error::new(reason.clone()));
            callback(user.pointer(), attempt, reason.as_ref().map_or(std::ptr::null(), std::ptr::from_ref));
        });
        Ok(WSLINK_OK)
    })
}

/// Has the launcher start a server, and waits until it is ready. The keyword arguments of `args` are the members of the
/// request; `application` is the name of what to start. They are taken, as by a call. On success `*launched` belongs to
/// the caller, who frees it.
///
/// Fails with `WSLINK_ERR_LAUNCHER` and the launcher's own words, `WSLINK_ERR_TIMEOUT`, `WSLINK_ERR_CANCELLED`, or an
/// error of connecting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_open(
    launcher: *const wslink_launcher,
    args: *mut wslink_args,
    launched: *mut *mut wslink_launched,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(launched, "launched")?;
        let launcher = pointer::borrow(launcher, "launcher")?;
        let request = pointer::borrow_mut(args, "args")?.take();
        give(launcher, launcher.launcher.open(&request)?, launched)
    })
}

/// Asks for the session with this id. Most launchers do not allow that (`WSLINK_LAUNCHER_GET=1` in their environment
/// does). On success `*launched` belongs to the caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_status(
    launcher: *const wslink_launcher,
    id: *const c_char,
    launched: *mut *mut wslink_launched,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(launched, "launched")?;
        let launcher = pointer::borrow(launcher, "launcher")?;
        give(launcher, launcher.launcher.status(pointer::text(id, "id")?)?, launched)
    })
}

/// Has the launcher end the server of the session with this id. Most launchers do not allow that
/// (`WSLINK_LAUNCHER_DELETE=1` in their environment does); their servers end some time after their last client has left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_close(
    launcher: *const wslink_launcher,
    id: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::borrow(launcher, "launcher")?.launcher.close(pointer::text(id, "id")?)?;
        Ok(WSLINK_OK)
    })
}

/// Ends the functions of this launcher that wait on other threads, with `WSLINK_ERR_CANCELLED`. A server whose start was
/// requested may still be started. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launcher_cancel(launcher: *const wslink_launcher) {
    infallible((), || {
        if let Ok(launcher) = pointer::borrow(launcher, "launcher") {
            launcher.launcher.cancel();
        }
    });
}

fn give(launcher: &wslink_launcher, found: Launched, launched: *mut *mut wslink_launched) -> Result<i32> {
    // A NUL would end the text for C.
    let text = |t: &str| CString::new(t.replace('\0', "\u{fffd}")).unwrap_or_default();
    let config = launcher.template.with(found.config().clone());
    let made = wslink_launched { id: text(found.id()), url: text(found.url()), config, launched: found };
    pointer::store(launched, pointer::give(made), "launched")?;
    Ok(WSLINK_OK)
}

/// Frees the description of a session. NULL is ignored. The session itself stays open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launched_free(launched: *mut wslink_launched) {
    infallible((), || pointer::release(launched));
}

/// The id of the session at the launcher, NUL-terminated; valid as long as `launched`. Empty for NULL, and if the
/// launcher has told none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launched_id(launched: *const wslink_launched) -> *const c_char {
    infallible(c"".as_ptr(), || pointer::borrow(launched, "launched").map_or(c"".as_ptr(), |l| l.id.as_ptr()))
}

/// Where the server is: a `ws` or `wss` URL, which may hold a token. NUL-terminated; valid as long as `launched`. Empty
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launched_url(launched: *const wslink_launched) -> *const c_char {
    infallible(c"".as_ptr(), || pointer::borrow(launched, "launched").map_or(c"".as_ptr(), |l| l.url.as_ptr()))
}

/// The whole answer of the launcher, whose root (`wslink_document_root`) is a map. It has the secret of the server, if
/// the launcher tells one. Borrowed: valid as long as `launched`, or longer with a reference. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_launched_document(launched: *const wslink_launched) -> *const wslink_document {
    infallible(std::ptr::null(), || {
        pointer::borrow(launched, "launched").map_or(std::ptr::null(), |l| as_handle(l.launched.document()))
    })
}

/// Creates the configuration for a session with the server: that of the launcher, with URL and secret of the server.
/// Headers and credentials are only kept for a server on the launcher's host, and not for one without TLS if the
/// launcher has TLS. For ten seconds after the launcher's answer, a session that finds nobody listening tries again. On success `*config` belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new_launched(
    launched: *const wslink_launched,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(config, "config")?;
        let made = pointer::borrow(launched, "launched")?.config.clone();
        pointer::store(config, pointer::give(made), "config")?;
        Ok(WSLINK_OK)
    })
}
