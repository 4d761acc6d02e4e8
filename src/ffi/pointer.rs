//! All casts between C pointers and what they stand for, and all reads and writes through them.
//!
//! The contract that makes them sound is the header's: a pointer is NULL or one that the library gave out
//! and that was not freed; strings, arrays and out-parameters are valid for the duration of the call.

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
    /// How many bytes.
    pub len: usize,
}

/// A borrowed view of binary data.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_bytes {
    /// The first byte; may be NULL if `len` is 0.
    pub ptr: *const u8,
    /// How many bytes.
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
    // SAFETY: by the contract above, not NULL means valid.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// A handle that only one thread uses at a time, as a mutable reference.
#[inline]
pub fn borrow_mut<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T> {
    // SAFETY: by the contract above, not NULL means valid, and the header says that no other thread uses
    // the handle meanwhile.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

/// Gives ownership to the caller.
pub fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes ownership back; NULL is nothing.
pub fn take_back<T>(pointer: *mut T) -> Option<Box<T>> {
    // SAFETY: made by `give`, and by the contract freed once.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Takes ownership back and drops the value; NULL is nothing.
pub fn release<T>(pointer: *mut T) {
    drop(take_back(pointer));
}

/// Writes to a required out-parameter.
#[inline]
pub fn store<T>(out: *mut T, value: T, what: &str) -> Result<()> {
    if out.is_null() {
        return Err(null(what));
    }
    // SAFETY: not NULL means valid for one `T`. `write` does not drop what was there, which may be
    // uninitialised.
    unsafe { out.write(value) };
    Ok(())
}

/// Writes to an out-parameter if the caller wants it.
#[inline]
pub fn store_opt<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: as in `store`.
        unsafe { out.write(value) };
    }
}

/// Checks a required out-parameter before work is done for it.
pub fn required<T>(out: *mut T, what: &str) -> Result<()> {
    if out.is_null() { Err(null(what)) } else { Ok(()) }
}

/// Hands an error object to the caller, if it wants one.
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
    // SAFETY: not NULL means NUL-terminated and valid during the call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Error::new(Code::Utf8, format!("{what} is not valid UTF-8")))
}

/// Text with a length.
pub fn str<'a>(text: wslink_str, what: &str) -> Result<&'a str> {
    let bytes = slice(text.ptr.cast(), text.len, what)?;
    if bytes.is_ascii() {
        // Most are, and short: so this is quicker.
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes)
        .map_err(|e| Error::new(Code::Utf8, format!("{what} is not valid UTF-8 at byte {}", e.valid_up_to())))
}

/// An array of the caller.
#[inline(always)]
pub fn slice<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    view(pointer, len).ok_or_else(|| if pointer.is_null() { null(what) } else { impossible(what) })
}

/// The same where nobody is told what is wrong.
#[inline(always)]
pub fn view<'a, T>(pointer: *const T, len: usize) -> Option<&'a [T]> {
    // Of no elements any address will do. That is asked last, since it is asked for each key that is looked up.
    if pointer.is_null() || !pointer.is_aligned() {
        return (len == 0).then_some(&[]);
    }
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return None;
    }
    // SAFETY: not NULL means valid for `len` elements during the call; they are aligned.
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
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(impossible(what));
    }
    // SAFETY: not NULL means valid for `len` initialised elements, which only the caller uses.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// Options that begin with their size: what the caller knows of them, over the defaults.
pub fn options<T: Copy>(given: *const T, defaults: T) -> Result<T> {
    if given.is_null() {
        return Ok(defaults);
    }
    // The size is the first member; only that much of the struct is known to be there.
    let size = *borrow(given.cast::<usize>(), "options")?;
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

/// Copies text into a buffer of the caller as `snprintf` does: cut to fit, always NUL-terminated if
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
