//! All conversions between C pointers and Rust references, and all accesses through pointers.
//!
//! They are sound because the header requires: a handle is NULL, or was created by the library
//! and not freed; strings, arrays and out-parameters are valid for the duration of the call.

use super::error::wslink_error;
use crate::error::{Code, Error, Result};
use std::ffi::{CStr, c_char};

/// A borrowed view of UTF-8 text; not necessarily NUL-terminated. A NULL `ptr` with `len` 0 is the empty
/// string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_str {
    /// The first byte.
    pub ptr: *const c_char,
    /// The length in bytes.
    pub len: usize,
}

/// A borrowed view of binary data.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_bytes {
    /// The first byte; may be NULL if `len` is 0.
    pub ptr: *const u8,
    /// The size in bytes.
    pub len: usize,
}

impl wslink_str {
    /// A view of text that outlives the use of the view.
    pub fn of(text: &[u8]) -> wslink_str {
        wslink_str { ptr: text.as_ptr().cast(), len: text.len() }
    }
}

impl wslink_bytes {
    /// A view of data that outlives the use of the view.
    pub fn of(data: &[u8]) -> wslink_bytes {
        wslink_bytes { ptr: data.as_ptr(), len: data.len() }
    }
}

#[cold]
fn null(what: &str) -> Error {
    Error::new(Code::Null, format!("{what} is NULL"))
}

#[cold]
fn impossible(what: &str) -> Error {
    Error::new(
        Code::Argument,
        format!("{what} has an impossible length, or its address is not one of an array of its type"),
    )
}

/// A handle as a reference.
#[inline]
pub fn borrow<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: by the contract above, a handle that is not NULL is valid.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// A handle that only one thread uses at a time, as a mutable reference.
#[inline]
pub fn borrow_mut<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T> {
    if !pointer.is_aligned() {
        return Err(impossible(what));
    }
    // SAFETY: by the contract above, a handle that is not NULL is valid, and no other thread uses it during the call.
    // It is aligned.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

/// Gives ownership to the caller.
pub fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes ownership back; `None` for NULL.
pub fn take_back<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: made by `give`, and by the contract freed once.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Takes ownership back and drops the value; ignores NULL.
pub fn release<T>(pointer: *mut T) {
    drop(take_back(pointer));
}

/// Writes to a required out-parameter.
#[inline]
pub fn store<T>(out: *mut T, value: T, what: &str) -> Result<()> {
    if out.is_null() {
        return Err(null(what));
    }
    // SAFETY: an out-parameter that is not NULL is valid for one `T`, with any alignment. The old content may be
    // uninitialised, and is not dropped.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Writes to an out-parameter if the caller wants it.
#[inline]
pub fn store_opt<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: as in `store`.
        unsafe { out.write_unaligned(value) };
    }
}

/// Checks a required out-parameter before work is done for it.
pub fn required<T>(out: *mut T, what: &str) -> Result<()> {
    if out.is_null() { Err(null(what)) } else { Ok(()) }
}

/// Passes an error object to the caller, if the caller wants one.
pub fn store_error(err: *mut *mut wslink_error, error: Error) {
    if !err.is_null() {
        store_opt(err, give(wslink_error::new(error)));
    }
}

/// NUL-terminated text.
pub fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    optional_text(text, what)?.ok_or_else(|| null(what))
}

/// NUL-terminated text, or NULL.
pub fn optional_text<'a>(text: *const c_char, what: &str) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: text that is not NULL is NUL-terminated and valid during the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Error::new(Code::Utf8, format!("{what} is not valid UTF-8")))
}

/// Text with a length.
pub fn str<'a>(text: wslink_str, what: &str) -> Result<&'a str> {
    let bytes = slice(text.ptr.cast(), text.len, what)?;
    if bytes.is_ascii() {
        // The frequent case: this check is faster.
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes)
        .map_err(|e| Error::new(Code::Utf8, format!("{what} is not valid UTF-8 at byte {}", e.valid_up_to())))
}

/// An array of the caller.
#[inline]
pub fn slice<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    view(pointer, len).ok_or_else(|| if pointer.is_null() { null(what) } else { impossible(what) })
}

/// As [`slice`], without an error.
#[inline]
pub fn view<'a, T>(pointer: *const T, len: usize) -> Option<&'a [T]> {
    // Without elements any address is allowed. This runs for each key lookup, so the rare case is checked last.
    if pointer.is_null() || !pointer.is_aligned() {
        return (len == 0).then_some(&[]);
    }
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return None;
    }
    // SAFETY: an array that is not NULL is valid for `len` elements during the call. It is aligned.
    Some(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// An array of the caller, to be written.
pub fn slice_mut<'a, T>(pointer: *mut T, len: usize, what: &str) -> Result<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    if pointer.is_null() {
        return Err(null(what));
    }
    if !pointer.is_aligned() || len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(impossible(what));
    }
    // SAFETY: an array that is not NULL is valid for `len` initialised elements, which nobody else uses during the
    // call. It is aligned.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// The first member of a struct of the caller, its size.
pub fn size_of_struct<T>(given: *const T, what: &str) -> Result<usize> {
    const SIZE: usize = size_of::<usize>();
    let mut size = [0; SIZE];
    size.copy_from_slice(slice(given.cast::<u8>(), SIZE, what)?);
    Ok(usize::from_ne_bytes(size))
}

/// Options that begin with their size: the members that the caller has, and the defaults for the others.
pub fn options<T: Copy>(given: *const T, defaults: T) -> Result<T> {
    if given.is_null() {
        return Ok(defaults);
    }
    // Only as many bytes as `size` says are valid.
    let size = size_of_struct(given, "options")?;
    if size < size_of::<usize>() {
        return Err(Error::new(Code::Argument, "options: size is not set; begin with the ..._INIT macro"));
    }
    let mut merged = defaults;
    let n = size.min(size_of::<T>());
    let from = slice(given.cast::<u8>(), n, "options")?;
    let to = slice_mut((&raw mut merged).cast::<u8>(), n, "options")?;
    to.copy_from_slice(from);
    Ok(merged)
}

/// Copies text to a buffer of the caller as `snprintf` does: truncated to `size`, and NUL-terminated if
/// `size` is not 0. Returns the length of the whole text.
pub fn copy_text(text: &str, buffer: *mut c_char, size: usize) -> usize {
    if size > 0
        && let Ok(buffer) = slice_mut(buffer.cast::<u8>(), size, "buffer")
    {
        let mut n = text.len().min(size - 1);
        while !text.is_char_boundary(n) {
            n -= 1;
        }
        buffer[..n].copy_from_slice(&text.as_bytes()[..n]);
        buffer[n] = 0;
    }
    text.len()
}
