//! Documents (received messages), and JSON text made of their values.

use super::buffer::{new_buffer, wslink_buffer};
use super::codes::{WSLINK_ENCODING_JSON, WSLINK_ENCODING_MSGPACK, WSLINK_JSON_PLAIN, WSLINK_JSON_TAGGED, WSLINK_OK};
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer::{self, wslink_bytes, wslink_str};
use super::value::wslink_value;
use crate::error::{Code, Error};
use crate::wire::document::{Document, SharedDocument};
use crate::wire::{Protocol, decoder, envelope, json};
use bytes::Bytes;
use std::ffi::CString;

/// A received message: its bytes and an index of the values in them. Immutable, with a reference
/// count; any thread may read, ref and unref it. In a callback it is borrowed: to use it, or a value or
/// view of it, after the callback, add a reference.
pub struct wslink_document {
    _opaque: [u8; 0],
}

/// The pointer for C. It is derived from the shared handle and not from a `&Document`, so that `share` may access the
/// reference count through it.
#[inline]
pub(super) fn as_handle(document: &SharedDocument) -> *const wslink_document {
    SharedDocument::as_ptr(document).cast()
}

/// The document of a pointer. The caller guarantees the lifetime.
#[inline]
pub(super) fn as_document<'a>(document: *const wslink_document) -> Option<&'a Document> {
    // SAFETY: a pointer that is not NULL comes from `as_handle` or `give`, and its document still has a reference.
    unsafe { document.cast::<Document>().as_ref() }
}

/// Passes a reference to the caller.
pub(super) fn give(document: SharedDocument) -> *const wslink_document {
    SharedDocument::into_raw(document).cast()
}

/// A new reference to the document of a pointer.
pub(super) fn share(document: *const wslink_document) -> Option<SharedDocument> {
    if document.is_null() {
        return None;
    }
    let document = document.cast::<Document>();
    // SAFETY: the pointer comes from `as_handle` or `give`, and the caller owns or borrows a reference during this
    // call.
    unsafe {
        SharedDocument::increment_strong_count(document);
        Some(SharedDocument::from_raw(document))
    }
}

/// Adds a reference. Returns `document`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_document_ref(document: *const wslink_document) -> *const wslink_document {
    if let Some(shared) = share(document) {
        std::mem::forget(shared);
    }
    document
}

/// Releases a reference; the last one frees the message. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_document_unref(document: *const wslink_document) {
    infallible((), || {
        if !document.is_null() {
            // SAFETY: the reference comes from `give` or `wslink_document_ref`.
            drop(unsafe { SharedDocument::from_raw(document.cast::<Document>()) });
        }
    });
}

/// Decodes a recorded message, or any other JSON text or msgpack value.
/// `encoding` is `WSLINK_ENCODING_JSON` or `WSLINK_ENCODING_MSGPACK`. The `size` bytes at `data` are copied. They
/// must be exactly one value, of at most 4 GiB. Keys of attachments in JSON text stay strings. On success
/// `*document` belongs to the caller, who unrefs it. Fails with `WSLINK_ERR_JSON`, `WSLINK_ERR_UTF8`,
/// `WSLINK_ERR_PROTOCOL` (malformed msgpack) or `WSLINK_ERR_LIMIT`. Any thread may call this. The memory of released
/// documents is pooled, at most 64 MiB in the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_document_decode(
    data: *const u8,
    size: usize,
    encoding: i32,
    document: *mut *const wslink_document,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(document, "document")?;
        let protocol = match encoding {
            WSLINK_ENCODING_JSON => Protocol::V1,
            WSLINK_ENCODING_MSGPACK => Protocol::V2,
            _ => return Err(Error::new(Code::Argument, format!("{encoding} is not an encoding"))),
        };
        let decoded = decoder::decode_copy(protocol, pointer::slice(data, size, "data")?)?;
        pointer::store(document, give(SharedDocument::new(decoded)), "document")?;
        Ok(WSLINK_OK)
    })
}

/// The value of a reply or publication: the `result` member of the message, or the whole message if it has none.
/// Valid as long as the document. For NULL the empty view, for which every getter returns false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_document_result(document: *const wslink_document) -> wslink_value {
    match as_document(document) {
        Some(message) => wslink_value::of(document, envelope::result(message)),
        None => wslink_value::NOTHING,
    }
}

/// The whole message, a map with `id` and `result`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_document_root(document: *const wslink_document) -> wslink_value {
    infallible(wslink_value::NOTHING, || match as_document(document) {
        Some(message) => wslink_value::of(document, message.root()),
        None => wslink_value::NOTHING,
    })
}

/// How many bytes the message had on the wire, including its attachments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_document_wire_size(document: *const wslink_document) -> usize {
    infallible(0, || as_document(document).map_or(0, Document::wire_size))
}

/// JSON text made of a value, and the binary data of the value. Belongs to the caller, who frees it with
/// `wslink_json_free`, and does not need the document. Immutable: any thread may read it.
pub struct wslink_json {
    text: CString,
    attachments: Vec<(String, Bytes)>,
}

/// Writes a value as JSON text. `style` is `WSLINK_JSON_PLAIN` (binary data is replaced by the key of an
/// attachment, such as "wslink_bin0") or `WSLINK_JSON_TAGGED` (lossless, without attachments). On success
/// `*json` belongs to the caller, who frees it with `wslink_json_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_value_to_json(
    value: wslink_value,
    style: i32,
    json: *mut *mut wslink_json,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(json, "json")?;
        let document = share(value.document).ok_or_else(|| Error::new(Code::Null, "value is an empty view"))?;
        let value = value.view().ok_or_else(|| Error::new(Code::Argument, "value is not one of its document"))?;
        let (text, attachments) = match style {
            WSLINK_JSON_PLAIN => {
                let plain = json::write::plain(value);
                let attachments = plain.buffers(&document);
                (plain.text, attachments)
            }
            WSLINK_JSON_TAGGED => (json::write::tagged(value), Vec::new()),
            _ => return Err(Error::new(Code::Argument, format!("{style} is not a style of JSON text"))),
        };
        // JSON text contains no NUL: it is escaped in strings.
        let text = CString::new(text).unwrap_or_default();
        pointer::store(json, pointer::give(wslink_json { text, attachments }), "json")?;
        Ok(WSLINK_OK)
    })
}

/// The text, also NUL-terminated; valid as long as `json`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_json_text(json: *const wslink_json) -> wslink_str {
    infallible(wslink_str::of(b""), || {
        pointer::borrow(json, "json").map_or(wslink_str::of(b""), |j| wslink_str::of(j.text.as_bytes()))
    })
}

/// The number of attachments of the text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_json_attachment_count(json: *const wslink_json) -> usize {
    infallible(0, || pointer::borrow(json, "json").map_or(0, |j| j.attachments.len()))
}

/// One attachment: its key and its data, which are valid as long as `json`. False if there is no attachment with this
/// index.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_json_attachment(
    json: *const wslink_json,
    index: usize,
    key: *mut wslink_str,
    data: *mut wslink_bytes,
) -> bool {
    infallible(false, || match pointer::borrow(json, "json").ok().and_then(|j| j.attachments.get(index)) {
        Some((name, bytes)) => {
            pointer::store_opt(key, wslink_str::of(name.as_bytes()));
            pointer::store_opt(data, wslink_bytes::of(bytes));
            true
        }
        None => false,
    })
}

/// One attachment as a buffer, without a copy; the caller unrefs it. NULL if there is no attachment with this index.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_json_attachment_buffer(json: *const wslink_json, index: usize) -> *const wslink_buffer {
    infallible(std::ptr::null(), || {
        let found = pointer::borrow(json, "json").ok().and_then(|j| j.attachments.get(index));
        found.map_or(std::ptr::null(), |(_, bytes)| new_buffer(bytes.clone()))
    })
}

/// Frees JSON text. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_json_free(json: *mut wslink_json) {
    infallible((), || pointer::release(json));
}
