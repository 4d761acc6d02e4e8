//! Error objects.

use super::document::as_handle;
use super::guard::infallible;
use super::pointer;
use super::value::wslink_value;
use crate::error::{Error, Stage};
use std::ffi::{CString, c_char};

/// What went wrong. From an `err` out-parameter it belongs to the caller, who frees it; in a callback it is
/// borrowed for the duration of the callback. Immutable: any thread may read it.
pub struct wslink_error {
    error: Error,
    message: CString,
    remote_message: CString,
}

impl wslink_error {
    pub(super) fn new(error: Error) -> wslink_error {
        // A NUL inside a text would cut it for C.
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

/// Where it failed: one of `WSLINK_STAGE_...`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_stage(error: *const wslink_error) -> i32 {
    infallible(0, || pointer::borrow(error, "error").map_or(Stage::Local, |e| e.error.stage()) as i32)
}

/// A sentence for a person, NUL-terminated; lives as long as the error. Never contains the secret. Empty
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

/// The number that the server gave its error: -32601 unknown method, -32000 not authenticated, -32001
/// exception in the method, -32002 result not serialisable; applications may use others. False, and `code`
/// untouched, if this is no error of the server.
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

/// The server's words, NUL-terminated; lives as long as the error. Empty if this is no error of the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_remote_message(error: *const wslink_error) -> *const c_char {
    infallible(c"".as_ptr(), || pointer::borrow(error, "error").map_or(c"".as_ptr(), |e| e.remote_message.as_ptr()))
}

/// What the server sent along with its error: for an exception a map with `method`, `exception` and `trace`
/// (which holds paths and source lines of the server: show it on request). The value lives as long as the
/// error. False, and `data` untouched, if there is none.
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

/// A copy that lives on its own, for keeping an error beyond a callback. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_clone(error: *const wslink_error) -> *mut wslink_error {
    infallible(std::ptr::null_mut(), || match pointer::borrow(error, "error") {
        Ok(e) => pointer::give(wslink_error::new(e.error.clone())),
        Err(_) => std::ptr::null_mut(),
    })
}

/// Frees an error. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_error_free(error: *mut wslink_error) {
    infallible((), || pointer::release(error));
}
