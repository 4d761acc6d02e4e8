//! The arguments of a call.

use super::callback::{ForeignBytes, UserData, wslink_drop_fn};
use super::codes::WSLINK_OK;
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer::{self, wslink_str};
use super::value::wslink_value;
use crate::error::{Code, Error, Result};
use crate::wire::args::Args;
use crate::wire::builder::Builder;
use crate::wire::memory::try_to_vec;
use bytes::Bytes;
use std::ffi::{c_char, c_void};

/// The arguments of one call: positional arguments in order, keyword arguments by name, binary data of any size.
/// Used by one thread at a time. A call takes the content and leaves the handle empty, to be filled
/// again or freed.
pub struct wslink_args(Box<Args>);

impl wslink_args {
    /// Takes the content and leaves the handle empty.
    pub(super) fn take(&mut self) -> Box<Args> {
        std::mem::take(&mut self.0)
    }

    /// Returns content that was not used.
    pub(super) fn put_back(&mut self, content: Box<Args>) {
        self.0 = content;
    }
}

/// The size of the buffer for the key of an attachment, including the NUL.
pub const WSLINK_ATTACHMENT_KEY_SIZE: usize = 32;

/// Creates empty arguments. The caller frees them. NULL only if memory is exhausted.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_args_new() -> *mut wslink_args {
    infallible(std::ptr::null_mut(), || pointer::give(wslink_args(Box::default())))
}

/// Frees arguments, and releases data that was added by reference and not sent. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_free(args: *mut wslink_args) {
    infallible((), || {
        drop(pointer::take_back(args));
    });
}

/// Removes everything that was added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_clear(args: *mut wslink_args) {
    infallible((), || {
        if let Ok(args) = pointer::borrow_mut(args, "args") {
            args.0.clear();
        }
    });
}

fn change(args: *mut wslink_args, err: *mut *mut wslink_error, change: impl FnOnce(&mut Args) -> Result<()>) -> i32 {
    fallible(err, || change(&mut pointer::borrow_mut(args, "args")?.0).map(|()| WSLINK_OK))
}

fn add(args: *mut wslink_args, err: *mut *mut wslink_error, add: impl FnOnce(&mut Builder) -> Result<()>) -> i32 {
    change(args, err, |args| add(args.target()))
}

/// Adds null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_null(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::null)
}

/// Adds a boolean.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_bool(args: *mut wslink_args, v: bool, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.bool(v))
}

/// Adds an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_int(args: *mut wslink_args, v: i64, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.int(v))
}

/// Adds an unsigned integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_uint(args: *mut wslink_args, v: u64, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.uint(v))
}

/// Adds a double. NaN and the infinities are allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_double(args: *mut wslink_args, v: f64, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.float(v))
}

/// Adds a string, which must be UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_string(
    args: *mut wslink_args,
    text: wslink_str,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.str(pointer::str(text, "text")?))
}

/// Adds a copy of binary data.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_bytes(
    args: *mut wslink_args,
    data: *const c_void,
    len: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.bytes(try_to_vec(pointer::slice(data.cast(), len, "data")?)?.into()))
}

/// Adds binary data by reference: it must stay valid and unchanged until the library calls `release(user)`. It does so
/// exactly once, on any thread, when it does not need the data any more, also if this function fails. `release` must
/// not wait for the session. It may be NULL for memory that outlives the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_buffer(
    args: *mut wslink_args,
    data: *const c_void,
    len: usize,
    release: wslink_drop_fn,
    user: *mut c_void,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, release);
    add(args, err, |b| b.bytes(foreign(data, len, user)?))
}

fn foreign(data: *const c_void, len: usize, user: UserData) -> Result<Bytes> {
    let data = pointer::slice(data.cast::<u8>(), len, "data")?;
    Ok(Bytes::from_owner(ForeignBytes::new(data, user)))
}

/// Adds a msgpack extension (protocol 2 only; with protocol 1 the call fails).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_ext(
    args: *mut wslink_args,
    ext_type: i8,
    data: *const c_void,
    len: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.ext(ext_type, pointer::slice(data.cast(), len, "data")?))
}

/// Adds an array of doubles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_doubles(
    args: *mut wslink_args,
    values: *const f64,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.floats(pointer::slice(values, count, "values")?.iter().copied()))
}

/// Adds an array of floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_floats(
    args: *mut wslink_args,
    values: *const f32,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.floats(pointer::slice(values, count, "values")?.iter().map(|v| f64::from(*v))))
}

/// Adds an array of integers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_int64s(
    args: *mut wslink_args,
    values: *const i64,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.ints(pointer::slice(values, count, "values")?.iter().copied()))
}

/// Adds an array of unsigned integers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_uint64s(
    args: *mut wslink_args,
    values: *const u64,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.uints(pointer::slice(values, count, "values")?.iter().copied()))
}

/// Adds an array of integers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_int32s(
    args: *mut wslink_args,
    values: *const i32,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.ints(pointer::slice(values, count, "values")?.iter().map(|v| i64::from(*v))))
}

/// Adds a copy of a received value. Attachments of protocol 1 are added by reference, other binary data is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_value(
    args: *mut wslink_args,
    value: wslink_value,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.value(value.view().ok_or_else(|| Error::new(Code::Null, "value is an empty view"))?))
}

/// Begins an array. Values are added to it until `wslink_args_end`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_begin_array(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::begin_array)
}

/// Begins a map. Keys (`wslink_args_key`) and values are added to it in turn until `wslink_args_end`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_begin_map(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::begin_map)
}

/// Adds the key of the next value of a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_key(args: *mut wslink_args, key: wslink_str, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.key(pointer::str(key, "key")?))
}

/// Ends the innermost array or map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_end(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::end)
}

/// Makes the next value that is added the keyword argument `name`. The values after it are positional again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_keyword(
    args: *mut wslink_args,
    name: wslink_str,
    err: *mut *mut wslink_error,
) -> i32 {
    change(args, err, |args| args.keyword(pointer::str(name, "name")?))
}

/// Adds binary data by reference, as `wslink_args_add_buffer` does, but not as a value. Its key is
/// written to `key` (NUL-terminated, `WSLINK_ATTACHMENT_KEY_SIZE` bytes). In JSON text that is added afterwards,
/// each string that equals the key stands for the data, as in every wslink client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_attach(
    args: *mut wslink_args,
    data: *const c_void,
    len: usize,
    release: wslink_drop_fn,
    user: *mut c_void,
    key: *mut c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, release);
    change(args, err, |args| {
        pointer::required(key, "key")?;
        let data = foreign(data, len, user)?;
        pointer::copy_text(&args.attach(data), key, WSLINK_ATTACHMENT_KEY_SIZE);
        Ok(())
    })
}

/// Adds one value as JSON text. `NaN`, `Infinity` and `-Infinity` are accepted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_json(
    args: *mut wslink_args,
    json: wslink_str,
    err: *mut *mut wslink_error,
) -> i32 {
    change(args, err, |args| args.add_json_value(pointer::str(json, "json")?))
}

/// Adds positional arguments from the text of a JSON array, such as `[1, "two"]`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_json_array(
    args: *mut wslink_args,
    json: wslink_str,
    err: *mut *mut wslink_error,
) -> i32 {
    change(args, err, |args| args.add_json(pointer::str(json, "json")?))
}

/// Adds keyword arguments from the text of a JSON object, such as `{"size": 3}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_json_keywords(
    args: *mut wslink_args,
    json: wslink_str,
    err: *mut *mut wslink_error,
) -> i32 {
    change(args, err, |args| args.add_keywords_json(pointer::str(json, "json")?))
}
