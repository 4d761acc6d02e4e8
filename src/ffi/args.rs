//! The arguments of a call.

use super::callback::{ForeignBytes, UserData, wslink_drop_fn};
use super::codes::WSLINK_OK;
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer::{self, wslink_str};
use super::value::wslink_value;
use crate::error::{Code, Error, Result};
use crate::wire::args::Args;
use crate::wire::buffer::copy_of;
use crate::wire::builder::Builder;
use bytes::Bytes;
use std::cell::Cell;
use std::ffi::{c_char, c_void};

/// The arguments of one call: positional ones in order, keyword arguments by name, binary data of any size.
/// Used by one thread at a time. A call takes the content out and leaves the handle empty, to be filled
/// again or freed.
pub struct wslink_args(Box<Args>);

thread_local! {
    /// Emptied arguments whose memory serves the next calls of this thread, one in the handle of the application and
    /// one that is sent: an accepted call must not touch the handle again, which its completion may have freed.
    static SPARES: Cell<[Option<Box<Args>>; 2]> = const { Cell::new([None, None]) };
}

/// Keeps the memory of arguments that are not needed any more.
pub(super) fn keep_spare(mut content: Box<Args>) {
    content.clear();
    // At the end of a thread there is no next call.
    let _ = SPARES.try_with(|spares| {
        let mut all = spares.take();
        if let Some(place) = all.iter_mut().find(|place| place.is_none()) {
            *place = Some(content);
        }
        spares.set(all);
    });
}

/// Empty arguments.
fn spare() -> Box<Args> {
    let kept = SPARES.try_with(|spares| {
        let mut all = spares.take();
        let one = all.iter_mut().find_map(Option::take);
        spares.set(all);
        one
    });
    kept.ok().flatten().unwrap_or_default()
}

impl wslink_args {
    /// The content, leaving nothing behind.
    pub(super) fn take(&mut self) -> Box<Args> {
        std::mem::replace(&mut self.0, spare())
    }

    /// The content again, which was not used.
    pub(super) fn put_back(&mut self, content: Box<Args>) {
        self.0 = content;
    }
}

/// How large the buffer for the key of an attachment must be, NUL included.
pub const WSLINK_ATTACHMENT_KEY_SIZE: usize = 32;

/// Empty arguments. The caller frees them. NULL only if there is no memory.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_args_new() -> *mut wslink_args {
    infallible(std::ptr::null_mut(), || pointer::give(wslink_args(spare())))
}

/// Frees arguments, and releases what was added by reference and not sent. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_free(args: *mut wslink_args) {
    infallible((), || {
        if let Some(args) = pointer::take_back(args) {
            keep_spare(args.0);
        }
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

/// Adds a truth value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_bool(args: *mut wslink_args, v: bool, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.bool(v))
}

/// Adds an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_int(args: *mut wslink_args, v: i64, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.int(v))
}

/// Adds an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_uint(args: *mut wslink_args, v: u64, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.uint(v))
}

/// Adds a float; NaN and the infinities arrive as such.
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
    add(args, err, |b| b.bytes(copy_of(pointer::slice(data.cast(), len, "data")?)?.into()))
}

/// Adds binary data by reference: it must stay valid and unchanged until `release(user)` is called, exactly
/// once, on any thread, when the library needs it no more (also if this function fails). `release` must not
/// wait for the session. NULL for memory that lives longer than the session.
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

/// Adds a msgpack extension (protocol 2 only; on protocol 1 the call will fail).
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

/// Adds an array of doubles in one step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_doubles(
    args: *mut wslink_args,
    values: *const f64,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.floats(pointer::slice(values, count, "values")?.iter().copied()))
}

/// Adds an array of floats in one step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_floats(
    args: *mut wslink_args,
    values: *const f32,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.floats(pointer::slice(values, count, "values")?.iter().map(|v| f64::from(*v))))
}

/// Adds an array of integers in one step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_int64s(
    args: *mut wslink_args,
    values: *const i64,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.ints(pointer::slice(values, count, "values")?.iter().copied()))
}

/// Adds an array of integers in one step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_uint64s(
    args: *mut wslink_args,
    values: *const u64,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.uints(pointer::slice(values, count, "values")?.iter().copied()))
}

/// Adds an array of integers in one step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_int32s(
    args: *mut wslink_args,
    values: *const i32,
    count: usize,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.ints(pointer::slice(values, count, "values")?.iter().map(|v| i64::from(*v))))
}

/// Adds a copy of a value that was received, binary data by reference where it is a buffer of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_add_value(
    args: *mut wslink_args,
    value: wslink_value,
    err: *mut *mut wslink_error,
) -> i32 {
    add(args, err, |b| b.value(value.view().ok_or_else(|| Error::new(Code::Null, "value is a view of nothing"))?))
}

/// Begins an array; what is added goes into it until `wslink_args_end`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_begin_array(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::begin_array)
}

/// Begins a map; keys and values are added in turn until `wslink_args_end`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_begin_map(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::begin_map)
}

/// The key of the next value of a map.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_key(args: *mut wslink_args, key: wslink_str, err: *mut *mut wslink_error) -> i32 {
    add(args, err, |b| b.key(pointer::str(key, "key")?))
}

/// Ends the array or map that was begun last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_end(args: *mut wslink_args, err: *mut *mut wslink_error) -> i32 {
    add(args, err, Builder::end)
}

/// The next value that is added is the keyword argument `name`; the values after it are positional again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_args_keyword(
    args: *mut wslink_args,
    name: wslink_str,
    err: *mut *mut wslink_error,
) -> i32 {
    change(args, err, |args| args.keyword(pointer::str(name, "name")?))
}

/// Adds binary data by reference, as `wslink_args_add_buffer` does, not as a value but under a key that is
/// written to `key` (NUL-terminated, `WSLINK_ATTACHMENT_KEY_SIZE` bytes): JSON text that is added afterwards
/// names it wherever the data belongs, as in every wslink client.
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

/// Adds one value as JSON text; `NaN`, `Infinity` and `-Infinity` are understood.
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
