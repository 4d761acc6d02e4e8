//! Buffers: binary data that keeps itself alive.

use super::guard::infallible;
use super::pointer;
use bytes::Bytes;
use std::sync::Arc;

/// Binary data with a count of its owners. Immutable; any thread may read, ref and unref it. The memory is
/// where the message arrived: nothing is copied.
pub struct wslink_buffer(Bytes);

/// One more owner. Returns `buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_ref(buffer: *const wslink_buffer) -> *const wslink_buffer {
    if !buffer.is_null() {
        // SAFETY: given out by `new_buffer`, and the caller is an owner.
        unsafe { Arc::increment_strong_count(buffer) };
    }
    buffer
}

/// One owner less; the last one frees the memory. NULL is nothing. Has the type of a deleter for buffers
/// of other libraries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_unref(buffer: *const wslink_buffer) {
    infallible((), || {
        if !buffer.is_null() {
            // SAFETY: given out by `new_buffer`, and the caller gives its ownership up.
            drop(unsafe { Arc::from_raw(buffer) });
        }
    });
}

/// The first byte. Lives as long as the buffer has an owner. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_data(buffer: *const wslink_buffer) -> *const u8 {
    pointer::borrow(buffer, "buffer").map_or(std::ptr::null(), |b| b.0.as_ptr())
}

/// How many bytes. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_size(buffer: *const wslink_buffer) -> usize {
    pointer::borrow(buffer, "buffer").map_or(0, |b| b.0.len())
}

/// Gives the caller an owner.
pub(super) fn new_buffer(data: Bytes) -> *const wslink_buffer {
    Arc::into_raw(Arc::new(wslink_buffer(data)))
}
