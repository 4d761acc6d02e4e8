//! Error objects.

use super::document::as_handle;
use super::guard::infallible;
use super::pointer;
use super::value::wslink_value;
use crate::error::{Error, Stage};
use std::ffi::{CString, c_char};

/// A failure. From an `err` out-parameter it belongs to the caller, who frees it; in a callback it is
/// borrowed for the duration of the callback. Immutable: any thread may read it.
pub struct wslink_error {
    error: Error,
    message: CString,
    remote_message: CString,
}

impl wslink_error {
    pub(super) fn new(error: Error) -> wslink_error {
        // A NUL would end the text for C.
        let text = |t: &str| CString::new(t.replace('\0', "\u{fffd}")).unwrap_or_default();
        wslink_error {
            message: text(&error.to_string()),
            remote_message: text(error.remote().map_or("", |r| &r.message)),
            error,
        }
    }
}

/// The code: one of `WSLINK_ERR_...`. `WSLINK_OK` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_code(error: *const wslink_error) -> i32 {
    infallible(0, || pointer::borrow(error, "error").map_or(0, |e| e.error.code() as i32))
}

/// The step that failed: one of `WSLINK_STAGE_...`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_stage(error: *const wslink_error) -> i32 {
    infallible(0, || pointer::borrow(error, "error").map_or(Stage::Local, |e| e.error.stage()) as i32)
}

/// A sentence for a person, NUL-terminated; valid as long as the error. Never contains the secret. Empty
/// for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_message(error: *const wslink_error) -> *const c_char {
    infallible(c"".as_ptr(), || pointer::borrow(error, "error").map_or(c"".as_ptr(), |e| e.message.as_ptr()))
}

/// The HTTP status with which the server or a proxy refused, or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_http_status(error: *const wslink_error) -> i32 {
    infallible(0, || pointer::borrow(error, "error").ok().and_then(|e| e.error.http_status()).map_or(0, i32::from))
}

/// Whether the same attempt may succeed later without a change by the application.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_is_retriable(error: *const wslink_error) -> bool {
    infallible(false, || pointer::borrow(error, "error").is_ok_and(|e| e.error.is_retriable()))
}

/// The number of the server's error: -32601 unknown method, -32000 not authenticated, -32001 exception in the method,
/// -32002 result not serialisable; applications may use others. 0 if the server sent no number, or one that is not an
/// integer of 64 bits: see wslink_error_remote_value() then. False, and `code` untouched, if the error did not come
/// from the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_remote_code(error: *const wslink_error, code: *mut i64) -> bool {
    infallible(false, || match pointer::borrow(error, "error").ok().and_then(|e| e.error.remote()) {
        Some(remote) => {
            pointer::store_opt(code, remote.code);
            true
        }
        None => false,
    })
}

/// The message of the server's error, NUL-terminated; valid as long as the error. If the server's error has no message,
/// the beginning of it as JSON text. Empty if the error did not come from the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_remote_message(error: *const wslink_error) -> *const c_char {
    infallible(c"".as_ptr(), || pointer::borrow(error, "error").map_or(c"".as_ptr(), |e| e.remote_message.as_ptr()))
}

/// The data of the server's error: for an exception a map with `method`, `exception` and `trace`.
/// The trace contains paths and source lines of the server: show it only on request. The value is valid as long as the
/// error. False, and `data` untouched, if there is no data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_remote_data(error: *const wslink_error, data: *mut wslink_value) -> bool {
    infallible(false, || {
        let remote = pointer::borrow(error, "error").ok().and_then(|e| e.error.remote());
        match remote.and_then(|r| Some(wslink_value::of(as_handle(&r.document), r.data()?))) {
            Some(value) => pointer::store(data, value, "data").is_ok(),
            None => false,
        }
    })
}

/// The whole error as the server sent it: wslink sends a map with `code`, `message` and mostly `data`; other servers
/// may send any value, for example a text. The value is valid as long as the error. False, and `value` untouched, if
/// the error did not come from the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_remote_value(error: *const wslink_error, value: *mut wslink_value) -> bool {
    infallible(false, || match pointer::borrow(error, "error").ok().and_then(|e| e.error.remote()) {
        Some(remote) => {
            pointer::store(value, wslink_value::of(as_handle(&remote.document), remote.value()), "value").is_ok()
        }
        None => false,
    })
}

/// A copy that belongs to the caller, to keep an error after a callback. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_clone(error: *const wslink_error) -> *mut wslink_error {
    infallible(std::ptr::null_mut(), || match pointer::borrow(error, "error") {
        Ok(e) => pointer::give(wslink_error::new(e.error.clone())),
        Err(_) => std::ptr::null_mut(),
    })
}

/// Frees an error. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_free(error: *mut wslink_error) {
    infallible((), || pointer::release(error));
}
