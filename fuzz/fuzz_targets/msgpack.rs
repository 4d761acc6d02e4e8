//! The msgpack decoder compared with the `rmpv` crate, and a round trip through the encoder.
//!
//! Intended differences: the library refuses bytes after the value, text that is not UTF-8, the byte 0xc1 (null in rmpv), and
//! more than 2048 levels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rmpv::Value as Theirs;
use wslink::wire::document::Document;
use wslink::wire::msgpack::decode::decode;
use wslink::wire::outgoing::{Format, call};
use wslink::wire::value::{Kind, Value};
use wslink::{Args, Code, Protocol};
use wslink_fuzz::{MAX_NODES, survey};

fn same(ours: Value<'_>, theirs: &Theirs) -> bool {
    match theirs {
        Theirs::Nil => ours.is_null(),
        Theirs::Boolean(b) => ours.as_bool() == Some(*b),
        Theirs::Integer(n) => (ours.as_i64(), ours.as_u64()) == (n.as_i64(), n.as_u64()),
        Theirs::F32(f) => same_float(ours, f64::from(*f)),
        Theirs::F64(f) => same_float(ours, *f),
        Theirs::String(s) => ours.as_str().is_some() && ours.as_str() == s.as_str(),
        Theirs::Binary(data) => ours.as_bytes() == Some(data),
        Theirs::Ext(kind, data) => ours.as_ext() == Some((*kind, data)),
        Theirs::Array(list) => {
            ours.kind() == Kind::Array && ours.len() == list.len() && ours.elements().zip(list).all(|(o, t)| same(o, t))
        }
        Theirs::Map(pairs) => {
            ours.kind() == Kind::Map
                && ours.len() == pairs.len()
                && ours.pairs().zip(pairs).all(|((key, value), (k, v))| same(key, k) && same(value, v))
        }
    }
}

fn same_float(ours: Value<'_>, theirs: f64) -> bool {
    ours.kind() == Kind::Float
        && ours.as_f64().is_some_and(|f| f.to_bits() == theirs.to_bits() || f.is_nan() && theirs.is_nan())
}

/// The value as the argument of an encoded call, decoded again.
fn sent(value: Value<'_>) -> (Vec<u8>, Document) {
    let mut args = Args::new();
    args.positional.value(value).unwrap();
    let mut format =
        Format { protocol: Protocol::V2, chunk_size: None, upload_limit: u64::MAX, next_message: 1, next_key: 1 };
    let mut message = call(&mut format, "id", "m", &args).unwrap();
    message.next_frame().unwrap();
    let mut bytes = Vec::new();
    while !message.data().is_empty() {
        bytes.extend_from_slice(message.data());
        message.advance(message.data().len());
    }
    assert!(message.next_frame().is_none());
    (bytes.clone(), decode(bytes.into(), MAX_NODES).expect("what we send we understand"))
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    // rmpv counts each level twice.
    let theirs = rmpv::decode::read_value_with_max_depth(&mut rest, 2 * 2100).ok().filter(|_| rest.is_empty());
    let document = match decode(data.to_vec().into(), MAX_NODES) {
        Ok(document) => document,
        Err(e) => {
            assert!(matches!(e.code(), Code::Protocol | Code::Limit));
            let meant = ["not valid UTF-8", "0xc1", "too deeply"].iter().any(|why| e.message().contains(why));
            assert!(theirs.is_none() || meant, "we refuse, rmpv does not: {e}");
            return;
        }
    };
    let theirs = theirs.expect("we accept, rmpv does not");
    assert!(same(document.root(), &theirs), "{:?} is not {theirs:?}", document.root());
    // The call adds levels of its own.
    if survey(document.root(), |_| false).0 < 2000 {
        let (bytes, back) = sent(document.root());
        let value = back.root().get("args").and_then(|args| args.index(0)).unwrap();
        assert!(same(value, &theirs), "{:?} was sent as {value:?}", document.root());
        assert_eq!(sent(value).0, bytes);
    }
});
