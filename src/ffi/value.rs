//! Views of values.

use super::buffer::{new_buffer, wslink_buffer};
use super::codes::WSLINK_ERR_NULL;
use super::document::{as_document, share, wslink_document};
use super::guard::infallible;
use super::pointer::{self, wslink_bytes, wslink_str};
use crate::wire::value::{Number, Value};

/// A view of one value: passed by value, never freed. Valid as long as its document. The
/// members are private.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_value {
    /// The document of the value; NULL in the empty view.
    pub document: *const wslink_document,
    /// Private.
    // The position in the document. One number, because a processor stalls if it reads as one word what was written in
    // two halves.
    pub place: u64,
}

impl wslink_value {
    pub(super) const NOTHING: wslink_value = wslink_value { document: std::ptr::null(), place: 0 };

    /// The view of a value of `document`.
    #[inline]
    pub(super) fn of(document: *const wslink_document, value: Value<'_>) -> wslink_value {
        // The upper half of `place` is 0 unless the value is an element of a packed run. So `whole` checks with one
        // comparison that `place` is the index of an entry.
        let (node, element) = value.place();
        wslink_value { document, place: u64::from(element.wrapping_add(1)) << 32 | u64::from(node) }
    }

    /// The view of another value of the same document.
    #[inline]
    fn other(self, value: Value<'_>) -> wslink_value {
        wslink_value::of(self.document, value)
    }

    /// The value; `None` for the empty view and for an invalid one.
    #[inline]
    pub(super) fn view<'a>(self) -> Option<Value<'a>> {
        let element = ((self.place >> 32) as u32).wrapping_sub(1);
        self.whole().or_else(|| Value::from_place(as_document(self.document)?, (self.place as u32, element)))
    }

    /// As [`view`](wslink_value::view), but `None` for an element of a packed run, which is a float: most getters
    /// return false for it.
    #[inline]
    fn whole<'a>(self) -> Option<Value<'a>> {
        let document = as_document(self.document)?;
        (self.place < document.node_count() as u64).then(|| Value::at(document, self.place as u32))
    }
}

/// Runs a getter: true and `*out` written if it found something.
///
/// Getters are called for every value of a message, and catching panics costs more than a getter. So they do not catch
/// them. They cannot panic: the place of a view is checked first, and the tape is valid since the message was decoded.
#[inline]
fn get<T>(value: Option<Value<'static>>, out: *mut T, getter: impl FnOnce(Value<'static>) -> Option<T>) -> bool {
    match value.and_then(getter) {
        Some(found) => {
            pointer::store_opt(out, found);
            true
        }
        None => false,
    }
}

/// As [`get`], for getters with one frequent form of values. `rare` handles the other forms. It is `extern "C"` and so
/// never unwinds, which allows a tail call.
#[inline]
fn get_common<T>(
    value: wslink_value,
    out: *mut T,
    common: impl FnOnce(Value<'static>) -> Option<T>,
    rare: extern "C" fn(wslink_value, *mut T) -> bool,
) -> bool {
    match value.whole().and_then(common) {
        Some(found) => {
            pointer::store_opt(out, found);
            true
        }
        None => rare(value, out),
    }
}

/// The kind of the value: one of `WSLINK_KIND_...`, or `WSLINK_ERR_NULL` for the empty view.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_kind(value: wslink_value) -> i32 {
    value.view().map_or(WSLINK_ERR_NULL, |v| v.kind() as i32)
}

/// Whether the value is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_is_null(value: wslink_value) -> bool {
    value.whole().is_some_and(Value::is_null)
}

/// The boolean. Like every getter, this function returns whether the value is of the kind and fits, and writes `*out`
/// only then; `out` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_bool(value: wslink_value, out: *mut bool) -> bool {
    get(value.whole(), out, Value::as_bool)
}

/// The integer, if it is one and fits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_int(value: wslink_value, out: *mut i64) -> bool {
    get_common(value, out, Value::as_common_i64, rare_int)
}

#[inline(never)]
extern "C" fn rare_int(value: wslink_value, out: *mut i64) -> bool {
    get(value.whole(), out, Value::as_i64)
}

/// The integer, if it is one and not negative.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_uint(value: wslink_value, out: *mut u64) -> bool {
    get(value.whole(), out, Value::as_u64)
}

/// The number as a double: a float unchanged, an integer of any size rounded to the nearest double.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_double(value: wslink_value, out: *mut f64) -> bool {
    get_common(value, out, Value::as_common_f64, rare_double)
}

#[inline(never)]
extern "C" fn rare_double(value: wslink_value, out: *mut f64) -> bool {
    get(value.view(), out, Value::as_f64)
}

/// The text of a string: UTF-8, not NUL-terminated, and it may contain NUL. Valid as long as the document.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_string(value: wslink_value, out: *mut wslink_str) -> bool {
    get_common(value, out, |v| v.as_common_str_bytes().map(wslink_str::of), rare_string)
}

#[inline(never)]
extern "C" fn rare_string(value: wslink_value, out: *mut wslink_str) -> bool {
    get(value.whole(), out, |v| v.as_str_bytes().map(wslink_str::of))
}

/// The binary data, without a copy. Valid as long as the document; to keep it longer, use
/// `wslink_value_get_buffer` or `wslink_document_ref`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_bytes(value: wslink_value, out: *mut wslink_bytes) -> bool {
    get(value.whole(), out, |v| v.as_bytes().map(wslink_bytes::of))
}

/// The binary data as a buffer with a reference of its own, without a copy. The caller unrefs it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_buffer(value: wslink_value, out: *mut *const wslink_buffer) -> bool {
    infallible(false, || {
        if out.is_null() {
            return false;
        }
        let shared = share(value.document).and_then(|document| value.whole().and_then(|v| v.shared_bytes(&document)));
        match shared {
            Some(bytes) => pointer::store(out, new_buffer(bytes), "out").is_ok(),
            None => false,
        }
    })
}

/// The type and the data of an extension. Either out-parameter may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_ext(value: wslink_value, ext_type: *mut i8, data: *mut wslink_bytes) -> bool {
    infallible(false, || match value.whole().and_then(Value::as_ext) {
        Some((kind, bytes)) => {
            pointer::store_opt(ext_type, kind);
            pointer::store_opt(data, wslink_bytes::of(bytes));
            true
        }
        None => false,
    })
}

/// The decimal digits of an integer of more than 64 bits, with its sign.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_get_bigint(value: wslink_value, out: *mut wslink_str) -> bool {
    get(value.whole(), out, |v| v.as_big_int().map(|t| wslink_str::of(t.as_bytes())))
}

/// The number of elements of an array, of pairs of a map, or of bytes of a string, binary data or extension. 0 for
/// other kinds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_size(value: wslink_value) -> usize {
    value.whole().map_or(0, Value::len)
}

/// An element of an array. Takes time in proportion to `index`; to visit all elements, use `wslink_iter`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_at(value: wslink_value, index: usize, out: *mut wslink_value) -> bool {
    get(value.whole(), out, |v| v.index(index).map(|element| value.other(element)))
}

/// The value of a string key of a map. The last of several equal keys counts, as in Python.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_find(value: wslink_value, key: wslink_str, out: *mut wslink_value) -> bool {
    let Some(bytes) = pointer::view(key.ptr.cast(), key.len) else {
        return false;
    };
    match value.whole().and_then(|v| v.get_next(bytes)) {
        Some(found) => {
            pointer::store_opt(out, value.other(found));
            true
        }
        None => search(value, bytes, out),
    }
}

/// Not inlined, so that the frequent case need not spill registers.
#[inline(never)]
fn search(value: wslink_value, key: &[u8], out: *mut wslink_value) -> bool {
    get(value.whole(), out, |v| v.search(key).map(|found| value.other(found)))
}

/// An iterator over the elements of an array or the pairs of a map. A plain struct: never freed, valid as long
/// as the document. The members are private.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_iter {
    /// Private.
    pub next: wslink_value,
    /// Private.
    pub left: u32,
    /// Private.
    pub map: bool,
}

/// An iterator at the first element of an array or pair of a map; at the end for other kinds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_iter(value: wslink_value) -> wslink_iter {
    let nothing = wslink_iter { next: wslink_value::NOTHING, left: 0, map: false };
    match value.whole().and_then(Value::first) {
        Some((next, left, map)) => wslink_iter { next: value.other(next), left, map },
        None => nothing,
    }
}

/// The next element, or the next pair of a map (`key` is written for maps only and may be NULL). False at
/// the end. Visiting all elements takes time in proportion to the size of the container.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_iter_next(
    iter: *mut wslink_iter,
    key: *mut wslink_value,
    value: *mut wslink_value,
) -> bool {
    let Ok(iter) = pointer::borrow_mut(iter, "iter") else {
        return false;
    };
    if iter.left == 0 {
        return false;
    }
    let now = if iter.map { None } else { iter.next.whole() };
    let Some(now) = now else {
        return next_of_others(iter, key, value);
    };
    pointer::store_opt(value, iter.next);
    step(iter, now);
    true
}

/// Moves the iterator behind `now`.
#[inline]
fn step(iter: &mut wslink_iter, now: Value<'_>) {
    iter.left -= 1;
    if iter.left > 0 {
        iter.next = iter.next.other(now.following());
    }
}

/// For maps and packed runs. Not inlined, so that the frequent case need not spill registers.
#[inline(never)]
fn next_of_others(iter: &mut wslink_iter, key: *mut wslink_value, value: *mut wslink_value) -> bool {
    let Some(mut now) = iter.next.view() else {
        return false;
    };
    if iter.map {
        let Some(found) = iter.next.other(now.following()).view() else {
            return false;
        };
        pointer::store_opt(key, iter.next.other(now));
        now = found;
    }
    pointer::store_opt(value, iter.next.other(now));
    step(iter, now);
    true
}

/// Reads at most `capacity` strings from an array, up to the first element that is not a string. Much faster than one
/// call for each. The texts are valid as long as the document. Returns how many were written to `out`, and moves the
/// iterator behind them. 0 means that the array has ended, or that the next element is not a string: call
/// `wslink_iter_next`, which returns false at the end, and otherwise reads that element. Also 0 for a map, for NULL,
/// and if `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_iter_next_strings(
    iter: *mut wslink_iter,
    out: *mut wslink_str,
    capacity: usize,
) -> usize {
    let (Ok(iter), false) = (pointer::borrow_mut(iter, "iter"), out.is_null()) else {
        return 0;
    };
    let Some(first) = iter.next.whole().filter(|_| !iter.map) else {
        return 0;
    };
    let mut count = 0;
    for text in first.texts_from_here(iter.left).take(capacity) {
        pointer::store_opt(out.wrapping_add(count), wslink_str::of(text));
        count += 1;
    }
    iter.left -= count as u32;
    if iter.left > 0 {
        // A string has one place.
        iter.next.place += count as u64;
    }
    count
}

fn copy<T: Number>(value: wslink_value, out: *mut T, capacity: usize, count: *mut usize) -> bool {
    infallible(false, || {
        let Ok(out) = pointer::slice_mut(out, capacity, "out") else {
            return false;
        };
        match value.whole().and_then(|v| v.copy_numbers(out)) {
            Some(n) => {
                pointer::store_opt(count, n);
                true
            }
            None => false,
        }
    })
}

/// Copies at most `capacity` numbers of an array to `out`, and writes the number of its elements to `*count` (may
/// be NULL). False if the value is not an array, or one of the elements that would be copied is not a number; `out`
/// is then partly written. Also false if `out` is not aligned for its type. Integers are rounded to the nearest
/// double.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_copy_doubles(
    value: wslink_value,
    out: *mut f64,
    capacity: usize,
    count: *mut usize,
) -> bool {
    copy(value, out, capacity, count)
}

/// As `wslink_value_copy_doubles`, rounded to `float`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_copy_floats(
    value: wslink_value,
    out: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> bool {
    copy(value, out, capacity, count)
}

/// As `wslink_value_copy_doubles`, to `int64_t`; false if an element is a float or does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_copy_int64s(
    value: wslink_value,
    out: *mut i64,
    capacity: usize,
    count: *mut usize,
) -> bool {
    copy(value, out, capacity, count)
}

/// As `wslink_value_copy_doubles`, to `uint64_t`; false if an element is a float or does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_copy_uint64s(
    value: wslink_value,
    out: *mut u64,
    capacity: usize,
    count: *mut usize,
) -> bool {
    copy(value, out, capacity, count)
}

/// As `wslink_value_copy_doubles`, to `int32_t`; false if an element is a float or does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_copy_int32s(
    value: wslink_value,
    out: *mut i32,
    capacity: usize,
    count: *mut usize,
) -> bool {
    copy(value, out, capacity, count)
}

/// As `wslink_value_copy_doubles`, to `uint8_t`; false if an element is a float or does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_copy_uint8s(
    value: wslink_value,
    out: *mut u8,
    capacity: usize,
    count: *mut usize,
) -> bool {
    copy(value, out, capacity, count)
}
