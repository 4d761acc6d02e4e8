//! Catches panics before they reach C, and converts failures to codes and error objects.

use super::error::wslink_error;
use super::pointer;
use crate::error::{Code, Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a function that can fail. On failure it returns the code and stores an error object, if the caller wants one.
/// On success it does not touch `*err`.
pub fn fallible(err: *mut *mut wslink_error, body: impl FnOnce() -> Result<i32>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Error::new(Code::Panic, "an internal defect of the library was stopped at its border; please report it"))
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let code = error.code() as i32;
            pointer::store_error(err, error);
            code
        }
    }
}

/// Runs a function that returns no error object. Returns `fallback` if it panics.
pub fn infallible<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}
