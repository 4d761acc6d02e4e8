//! Buffers: binary data with a reference count.

use super::codes::{
    WSLINK_OK, WSLINK_TYPE_FLOAT32, WSLINK_TYPE_FLOAT64, WSLINK_TYPE_INT8, WSLINK_TYPE_INT16, WSLINK_TYPE_INT32,
    WSLINK_TYPE_INT64, WSLINK_TYPE_UINT8, WSLINK_TYPE_UINT16, WSLINK_TYPE_UINT32, WSLINK_TYPE_UINT64,
};
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer::{self, wslink_bytes};
use crate::error::{Code, Error, Result};
use crate::wire::numbers::{Element, numbers};
use bytes::Bytes;
use std::borrow::Cow;
use std::ffi::c_void;
use std::sync::Arc;

/// Binary data with a reference count. Immutable; any thread may read, ref and unref it. The memory is
/// that of the received message: nothing is copied.
pub struct wslink_buffer(Bytes);

/// Adds a reference. Returns `buffer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_ref(buffer: *const wslink_buffer) -> *const wslink_buffer {
    if !buffer.is_null() {
        // SAFETY: made by `new_buffer`, and the caller has a reference.
        unsafe { Arc::increment_strong_count(buffer) };
    }
    buffer
}

/// Releases a reference; the last one frees the memory. NULL is ignored. Other libraries can use this function as
/// the deleter of a buffer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_unref(buffer: *const wslink_buffer) {
    infallible((), || {
        if !buffer.is_null() {
            // SAFETY: made by `new_buffer`, and the caller gives up its reference.
            drop(unsafe { Arc::from_raw(buffer) });
        }
    });
}

/// The first byte. Valid until the last reference is released. NULL for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_data(buffer: *const wslink_buffer) -> *const u8 {
    pointer::borrow(buffer, "buffer").map_or(std::ptr::null(), |b| b.0.as_ptr())
}

/// The size in bytes. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_buffer_size(buffer: *const wslink_buffer) -> usize {
    pointer::borrow(buffer, "buffer").map_or(0, |b| b.0.len())
}

/// Binary data as an array of little-endian numbers, as VTK and vtk.js send them. `element` is one of
/// `WSLINK_TYPE_...`. Received data begins at any address, but a pointer to numbers must be aligned for their type. If
/// the data is aligned, `*array` points to the data, `*copy` is NULL, and the array is valid as long as the data.
/// Otherwise `*array` points to a copy in the buffer `*copy`, which belongs to the caller, who unrefs it when the array
/// is not needed any more. `wslink_buffer_unref(copy)` is correct in both cases. `*count` is the number of elements.
/// Fails with `WSLINK_ERR_KIND` if the size of the data is not a multiple of that of an element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_bytes_as_array(
    data: wslink_bytes,
    element: i32,
    array: *mut *const c_void,
    count: *mut usize,
    copy: *mut *const wslink_buffer,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(array, "array")?;
        pointer::required(count, "count")?;
        pointer::required(copy, "copy")?;
        let data = pointer::slice(data.ptr, data.len, "data")?;
        let (at, len, copied) = match element {
            WSLINK_TYPE_INT8 => view::<i8>(data),
            WSLINK_TYPE_UINT8 => view::<u8>(data),
            WSLINK_TYPE_INT16 => view::<i16>(data),
            WSLINK_TYPE_UINT16 => view::<u16>(data),
            WSLINK_TYPE_INT32 => view::<i32>(data),
            WSLINK_TYPE_UINT32 => view::<u32>(data),
            WSLINK_TYPE_INT64 => view::<i64>(data),
            WSLINK_TYPE_UINT64 => view::<u64>(data),
            WSLINK_TYPE_FLOAT32 => view::<f32>(data),
            WSLINK_TYPE_FLOAT64 => view::<f64>(data),
            other => Err(Error::new(Code::Argument, format!("{other} is not a type of element; use WSLINK_TYPE_..."))),
        }?;
        pointer::store(array, at, "array")?;
        pointer::store(count, len, "count")?;
        pointer::store(copy, copied.map_or(std::ptr::null(), new_buffer), "copy")?;
        Ok(WSLINK_OK)
    })
}

/// The address and the number of the elements, and the owner of the memory if they are a copy.
fn view<T: Element + Send + Sync>(data: &[u8]) -> Result<(*const c_void, usize, Option<Bytes>)> {
    Ok(match numbers::<T>(data)? {
        Cow::Borrowed(there) => (there.as_ptr().cast(), there.len(), None),
        Cow::Owned(copy) => (copy.as_ptr().cast(), copy.len(), Some(Bytes::from_owner(Numbers(copy)))),
    })
}

/// The owner of a copy, for `Bytes`.
struct Numbers<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Numbers<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Makes a buffer with one reference, which belongs to the caller.
pub(super) fn new_buffer(data: Bytes) -> *const wslink_buffer {
    Arc::into_raw(Arc::new(wslink_buffer(data)))
}
