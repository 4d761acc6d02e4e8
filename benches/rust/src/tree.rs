//! The common interface of both kinds of rmpv trees: the one that owns its strings and binary data, and the one that refers to the
//! message.

use rmpv::{Value, ValueRef};

pub trait Tree<'a>: Sized {
    fn decode(bytes: &'a [u8]) -> Self;
    fn get(&self, key: &str) -> &Self;
    fn uint(&self) -> u64;
    fn bytes(&self) -> &[u8];
    /// The sum of all numbers, string sizes and key sizes.
    fn sum(&self) -> f64;
}

macro_rules! tree {
    ($lifetime:lifetime, $type:ty, $variants:ident, $decode:path) => {
        impl<$lifetime> Tree<$lifetime> for $type {
            fn decode(mut bytes: &$lifetime [u8]) -> Self {
                $decode(&mut bytes).expect("msgpack")
            }
            fn get(&self, key: &str) -> &Self {
                let $variants::Map(pairs) = self else { panic!("no map") };
                let found = pairs.iter().find(|(k, _)| matches!(k, $variants::String(k) if k.as_str() == Some(key)));
                &found.expect("key").1
            }
            fn uint(&self) -> u64 {
                let $variants::Integer(number) = self else { panic!("no integer") };
                number.as_u64().expect("not negative")
            }
            fn bytes(&self) -> &[u8] {
                match self {
                    $variants::String(text) => text.as_bytes(),
                    $variants::Binary(bytes) => bytes,
                    _ => panic!("no bytes"),
                }
            }
            fn sum(&self) -> f64 {
                match self {
                    $variants::Boolean(truth) => f64::from(u8::from(*truth)),
                    $variants::Integer(number) => number.as_f64().expect("number"),
                    $variants::F64(number) => *number,
                    $variants::String(text) => text.as_bytes().len() as f64,
                    $variants::Array(list) => list.iter().map(|value| value.sum()).sum(),
                    $variants::Map(pairs) => pairs.iter().map(|(key, value)| key.sum() + value.sum()).sum(),
                    _ => 0.0,
                }
            }
        }
    };
}
tree!('a, Value, Value, rmpv::decode::read_value);
tree!('a, ValueRef<'a>, ValueRef, rmpv::decode::read_value_ref);
