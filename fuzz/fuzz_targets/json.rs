//! The JSON decoder compared with serde_json, and a round trip through the writers.
//!
//! Intended differences: the library accepts Python's `NaN` and `Infinity`, numbers too large for a double, unpaired
//! surrogates (U+FFFD) and more than 128 levels; integers beyond 64 bits keep all digits (serde_json makes doubles), and `-0`
//! is the integer 0, as in Python.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt::{Formatter, Result as FmtResult};
use wslink::wire::json::{parse::parse, write};
use wslink::wire::outgoing::{Format, call};
use wslink::wire::value::{Kind, Value};
use wslink::{Args, Code, Protocol};
use wslink_fuzz::{MAX_NODES, survey};

/// A value from serde_json, with all pairs of a map in order.
enum Theirs {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    Array(Vec<Theirs>),
    Map(Vec<(String, Theirs)>),
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Theirs;

    fn expecting(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Theirs, E> {
        Ok(Theirs::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Theirs, E> {
        Ok(Theirs::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Theirs, E> {
        Ok(Theirs::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Theirs, E> {
        Ok(Theirs::Uint(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Theirs, E> {
        Ok(Theirs::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Theirs, E> {
        Ok(Theirs::Text(v.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Theirs, A::Error> {
        let mut all = Vec::new();
        while let Some(v) = list.next_element()? {
            all.push(v);
        }
        Ok(Theirs::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Theirs, A::Error> {
        let mut all = Vec::new();
        while let Some(pair) = map.next_entry()? {
            all.push(pair);
        }
        Ok(Theirs::Map(all))
    }
}

impl<'de> Deserialize<'de> for Theirs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Theirs, D::Error> {
        from.deserialize_any(Reader)
    }
}

fn same(ours: Value<'_>, theirs: &Theirs) -> bool {
    match theirs {
        Theirs::Null => ours.is_null(),
        Theirs::Bool(b) => ours.as_bool() == Some(*b),
        Theirs::Int(n) => ours.as_i64() == Some(*n),
        Theirs::Uint(n) => ours.as_u64() == Some(*n),
        Theirs::Float(f) => match ours.kind() {
            Kind::Float => ours.as_f64().map(f64::to_bits) == Some(f.to_bits()),
            Kind::BigInt => ours.as_f64() == Some(*f),
            _ => ours.as_i64() == Some(0) && *f == 0.0,
        },
        Theirs::Text(s) => ours.as_str() == Some(s),
        Theirs::Array(list) => {
            ours.kind() == Kind::Array && ours.len() == list.len() && ours.elements().zip(list).all(|(o, t)| same(o, t))
        }
        Theirs::Map(pairs) => {
            ours.kind() == Kind::Map
                && ours.len() == pairs.len()
                && ours.pairs().zip(pairs).all(|((key, value), (k, v))| key.as_str() == Some(k) && same(value, v))
        }
    }
}

fn is_more_than_json(v: Value<'_>) -> bool {
    v.as_f64().is_some_and(|f| !f.is_finite()) || v.as_str().is_some_and(|s| s.contains('\u{fffd}'))
}

fuzz_target!(|data: &[u8]| {
    let theirs = serde_json::from_slice::<Theirs>(data);
    let document = match parse(data.to_vec().into(), MAX_NODES) {
        Ok(parsed) => parsed.document,
        Err(e) => {
            assert!(matches!(e.code(), Code::Json | Code::Utf8 | Code::Limit));
            assert!(theirs.is_err(), "we refuse, serde_json does not: {e}");
            return;
        }
    };
    let root = document.root();
    let (depth, more) = survey(root, is_more_than_json);
    match theirs {
        Ok(theirs) => assert!(same(root, &theirs), "{root:?}"),
        Err(e) => assert!(more || depth > 127, "we accept, serde_json does not: {e}"),
    }
    if depth > 120 {
        return;
    }
    // Strict JSON for other readers, except for integers that are too large for their doubles.
    if !survey(root, |v| v.kind() == Kind::BigInt && v.as_f64().is_some_and(f64::is_infinite)).1 {
        serde_json::from_str::<Theirs>(&write::plain(root).text).expect("plain text is strict JSON");
    }
    // As an argument of a protocol 1 call.
    let mut args = Args::new();
    args.positional.value(root).unwrap();
    let mut format =
        Format { protocol: Protocol::V1, chunk_size: None, upload_limit: u64::MAX, next_message: 1, next_key: 1 };
    let mut message = call(&mut format, "id", "m", &args).unwrap();
    assert!(message.next_frame().unwrap().text);
    let text = message.data().to_vec();
    message.advance(text.len());
    assert!(message.next_frame().is_none());
    let back = parse(text.into(), MAX_NODES).unwrap().document;
    assert_eq!(back.root().get("args").and_then(|a| a.index(0)), Some(root));
});
