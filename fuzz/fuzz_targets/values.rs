//! Every value of any document, read by every C function. The first byte chooses the encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ptr::{null, null_mut};
use wslink_fuzz::c::*;
use wslink_fuzz::input::Input;

/// The result of a getter.
macro_rules! get {
    ($getter:ident, $value:expr, $empty:expr) => {{
        let mut out = $empty;
        // SAFETY: the value belongs to a document that lives, and `out` has the type that the getter writes.
        unsafe { $getter($value, &mut out) }.then_some(out)
    }};
}

/// The copied numbers, and their count.
macro_rules! copied {
    ($copy:ident, $value:expr, $zero:expr, $capacity:expr) => {{
        let mut out = vec![$zero; $capacity];
        let mut count = usize::MAX;
        // SAFETY: as above, with room for `capacity`.
        unsafe { $copy($value, out.as_mut_ptr(), $capacity, &mut count) }.then_some((count, out))
    }};
}

const NOTHING: wslink_value = wslink_value { document: null(), place: 0 };
const NO_TEXT: wslink_str = wslink_str { ptr: null(), len: 0 };
const NO_BYTES: wslink_bytes = wslink_bytes { ptr: null(), len: 0 };

fn bytes<'a>(data: wslink_bytes) -> &'a [u8] {
    // SAFETY: a view of a document or text that lives.
    if data.len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data.ptr, data.len) } }
}

fn text<'a>(view: wslink_str) -> &'a str {
    std::str::from_utf8(bytes(wslink_bytes { ptr: view.ptr.cast(), len: view.len })).expect("text is UTF-8")
}

/// Exactly the getters of the value's kind return something.
fn getters(v: wslink_value) {
    let kind = unsafe { wslink_value_kind(v) };
    let size = unsafe { wslink_value_size(v) };
    let number = (WSLINK_KIND_INT..=WSLINK_KIND_FLOAT).contains(&kind) || kind == WSLINK_KIND_BIGINT;
    assert_eq!(unsafe { wslink_value_is_null(v) }, kind == WSLINK_KIND_NULL);
    assert_eq!(get!(wslink_value_get_bool, v, false).is_some(), kind == WSLINK_KIND_BOOL);
    let (int, uint) = (get!(wslink_value_get_int, v, 0), get!(wslink_value_get_uint, v, 0));
    assert_eq!(int.is_some(), kind == WSLINK_KIND_INT);
    assert_eq!(uint.is_some(), kind == WSLINK_KIND_UINT || int.is_some_and(|n| n >= 0));
    if let (Some(int), Some(uint)) = (int, uint) {
        assert_eq!(int as u64, uint);
    }
    assert_eq!(get!(wslink_value_get_double, v, 0.0).is_some(), number);
    let string = get!(wslink_value_get_string, v, NO_TEXT).map(text);
    assert_eq!(string.map(str::len), (kind == WSLINK_KIND_STRING).then_some(size));
    let data = get!(wslink_value_get_bytes, v, NO_BYTES).map(bytes);
    assert_eq!(data.map(<[u8]>::len), (kind == WSLINK_KIND_BYTES).then_some(size));
    let buffer = get!(wslink_value_get_buffer, v, null());
    assert_eq!(buffer.is_some(), data.is_some());
    if let (Some(buffer), Some(data)) = (buffer, data) {
        unsafe {
            assert_eq!(bytes(wslink_bytes { ptr: wslink_buffer_data(buffer), len: wslink_buffer_size(buffer) }), data);
            wslink_buffer_unref(buffer);
        }
    }
    let mut extension = NO_BYTES;
    assert_eq!(unsafe { wslink_value_get_ext(v, null_mut(), &mut extension) }, kind == WSLINK_KIND_EXT);
    assert_eq!(bytes(extension).len(), if kind == WSLINK_KIND_EXT { size } else { 0 });
    let digits = get!(wslink_value_get_bigint, v, NO_TEXT).map(text);
    assert_eq!(digits.is_some(), kind == WSLINK_KIND_BIGINT);
    assert!(digits.is_none_or(|d| d.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit())));
}

/// The members of a container; of a map, keys and values.
fn members(v: wslink_value) -> Vec<(wslink_value, wslink_value)> {
    let kind = unsafe { wslink_value_kind(v) };
    let mut iter = unsafe { wslink_value_iter(v) };
    let mut all = Vec::new();
    let (mut key, mut value) = (NOTHING, NOTHING);
    while unsafe { wslink_iter_next(&mut iter, &mut key, &mut value) } {
        all.push((key, value));
    }
    let container = matches!(kind, WSLINK_KIND_ARRAY | WSLINK_KIND_MAP);
    assert_eq!(all.len(), if container { unsafe { wslink_value_size(v) } } else { 0 });
    assert!(!unsafe { wslink_iter_next(&mut iter, &mut key, &mut value) });
    let strings = all.iter().map_while(|(_, value)| get!(wslink_value_get_string, *value, NO_TEXT));
    let strings: Vec<&str> = strings.filter(|_| kind == WSLINK_KIND_ARRAY).map(text).collect();
    assert_eq!(many_strings(v, all.len()), strings);
    all
}

/// The texts at the beginning of an array of `size` elements, read a few at a time.
fn many_strings(v: wslink_value, size: usize) -> Vec<&'static str> {
    let (mut iter, mut all, mut some) = (unsafe { wslink_value_iter(v) }, Vec::new(), [NO_TEXT; 3]);
    loop {
        let count = unsafe { wslink_iter_next_strings(&mut iter, some.as_mut_ptr(), some.len()) };
        if count == 0 {
            break;
        }
        all.extend(some[..count].iter().map(|s| text(*s)));
    }
    // The iterator is at the next value.
    let mut next = NOTHING;
    let more = unsafe { wslink_iter_next(&mut iter, null_mut(), &mut next) };
    assert_eq!(more, all.len() < size);
    assert!(
        !more
            || unsafe { wslink_value_kind(v) } == WSLINK_KIND_MAP
            || get!(wslink_value_get_string, next, NO_TEXT).is_none()
    );
    all
}

fn by_place(v: wslink_value, all: &[(wslink_value, wslink_value)]) {
    let kind = unsafe { wslink_value_kind(v) };
    // Only the first few, because each access steps over the values before it.
    for (i, (key, value)) in all.iter().enumerate().take(20) {
        let mut at = NOTHING;
        let at = unsafe { wslink_value_at(v, i, &mut at) }.then_some(at);
        assert_eq!(at.map(|at| at.place), (kind == WSLINK_KIND_ARRAY).then_some(value.place));
        if kind == WSLINK_KIND_MAP
            && let Some(name) = get!(wslink_value_get_string, *key, NO_TEXT)
        {
            let last = all
                .iter()
                .rev()
                .find(|(k, _)| get!(wslink_value_get_string, *k, NO_TEXT).is_some_and(|k| text(k) == text(name)));
            let found = find(v, name);
            assert_eq!(found.map(|f| f.place), last.map(|(_, value)| value.place));
        }
    }
    let mut behind = NOTHING;
    assert!(!unsafe { wslink_value_at(v, all.len(), &mut behind) });
    // The fuzzer finds this key in the code and creates documents that have it.
    let other = "a key that is hardly in a document";
    let is_other = |key| get!(wslink_value_get_string, key, NO_TEXT).is_some_and(|key| text(key) == other);
    let found = find(v, wslink_str { ptr: other.as_ptr().cast(), len: other.len() });
    assert_eq!(found.is_some(), kind == WSLINK_KIND_MAP && all.iter().any(|(key, _)| is_other(*key)));
}

fn find(v: wslink_value, key: wslink_str) -> Option<wslink_value> {
    let mut out = NOTHING;
    // SAFETY: as in `get`.
    unsafe { wslink_value_find(v, key, &mut out) }.then_some(out)
}

fn copies(v: wslink_value, all: &[(wslink_value, wslink_value)], capacity: usize) {
    let array = unsafe { wslink_value_kind(v) } == WSLINK_KIND_ARRAY;
    let looked_at = &all[..capacity.min(all.len())];
    let doubles: Option<Vec<f64>> = looked_at.iter().map(|(_, v)| get!(wslink_value_get_double, *v, 0.0)).collect();
    let copy = copied!(wslink_value_copy_doubles, v, 0.0, capacity);
    assert_eq!(copy.is_some(), array && doubles.is_some());
    if let (Some((count, copy)), Some(doubles)) = (copy, doubles) {
        assert_eq!(count, all.len());
        assert!(copy.iter().zip(&doubles).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    let ints: Option<Vec<i64>> = looked_at.iter().map(|(_, v)| get!(wslink_value_get_int, *v, 0)).collect();
    let copy = copied!(wslink_value_copy_int64s, v, 0, capacity);
    assert_eq!(copy.map(|(_, copy)| copy[..looked_at.len()].to_vec()), ints.clone().filter(|_| array));
    let small = ints.and_then(|i| i.iter().map(|n| u8::try_from(*n).ok()).collect::<Option<Vec<u8>>>());
    let copy = copied!(wslink_value_copy_uint8s, v, 0, capacity);
    assert_eq!(copy.map(|(_, copy)| copy[..looked_at.len()].to_vec()), small.filter(|_| array));
    let _ = copied!(wslink_value_copy_floats, v, 0.0, capacity);
    let _ = copied!(wslink_value_copy_uint64s, v, 0, capacity);
    let _ = copied!(wslink_value_copy_int32s, v, 0, capacity);
}

fn json(v: wslink_value) {
    for style in [WSLINK_JSON_PLAIN, WSLINK_JSON_TAGGED] {
        let mut json = null_mut();
        unsafe {
            assert_eq!(wslink_value_to_json(v, style, &mut json, null_mut()), WSLINK_OK);
            let written = text(wslink_json_text(json));
            assert!(!written.is_empty() && !written.contains('\0'));
            let count = wslink_json_attachment_count(json);
            for i in 0..=count {
                let (mut key, mut data) = (NO_TEXT, NO_BYTES);
                assert_eq!(wslink_json_attachment(json, i, &mut key, &mut data), i < count);
                if i < count {
                    assert!(written.contains(&format!("\"{}\"", text(key))));
                    let buffer = wslink_json_attachment_buffer(json, i);
                    assert_eq!(wslink_buffer_size(buffer), data.len);
                    wslink_buffer_unref(buffer);
                }
            }
            wslink_json_free(json);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let options = input.byte();
    let forged = u64::from(input.short()) | u64::from(input.byte()) << 32;
    let encoding = if options & 1 == 1 { WSLINK_ENCODING_JSON } else { WSLINK_ENCODING_MSGPACK };
    let (mut document, mut error) = (null(), null_mut());
    let code = unsafe { wslink_document_decode(input.0.as_ptr(), input.0.len(), encoding, &mut document, &mut error) };
    if code != WSLINK_OK {
        unsafe {
            assert!(document.is_null() && wslink_error_code(error) == code && !wslink_error_message(error).is_null());
            wslink_error_free(error);
        }
        return;
    }
    let root = unsafe { wslink_document_root(document) };
    assert_eq!(unsafe { wslink_document_wire_size(document) }, input.0.len());
    json(root);
    let mut todo = vec![root, unsafe { wslink_document_result(document) }];
    let mut visited = 0;
    while let Some(value) = todo.pop() {
        visited += 1;
        getters(value);
        let all = members(value);
        by_place(value, &all);
        copies(value, &all, usize::from(options >> 4));
        if all.len() < 100 {
            copies(value, &all, all.len());
        }
        if visited < 5000 {
            todo.extend(all.into_iter().flat_map(|(key, value)| [key, value]).filter(|v| !v.document.is_null()));
        }
    }
    // Every position is checked. The result is a value of the document, or nothing.
    let forged = wslink_value { document, place: forged | u64::from(options & 2 == 0) * 0xffff_ffff_0000_0000 };
    if unsafe { wslink_value_kind(forged) } >= 0 {
        getters(forged);
        by_place(forged, &members(forged));
    }
    // Owned results outlive the document.
    let kept = get!(wslink_value_get_buffer, root, null());
    unsafe { wslink_document_unref(document) };
    if let Some(kept) = kept {
        unsafe {
            let all = bytes(wslink_bytes { ptr: wslink_buffer_data(kept), len: wslink_buffer_size(kept) });
            std::hint::black_box(all.iter().fold(0u8, |a, b| a ^ b));
            wslink_buffer_unref(kept);
        }
    }
});
