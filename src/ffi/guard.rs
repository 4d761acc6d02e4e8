//! The wall at the border: no panic passes, failures become codes and error objects.

use super::error::wslink_error;
use super::pointer;
use crate::error::{Code, Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a fallible function. On failure the code is returned and, if the caller wants it, an error object
/// stored; `*err` is not touched on success.
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

/// Runs a function that cannot fail, or has only one way to say so.
pub fn infallible<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}
