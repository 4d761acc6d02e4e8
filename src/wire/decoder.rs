//! Decodes a message that the application has, of either generation.

use super::Protocol;
use super::buffer::BufferPool;
use super::document::Document;
use super::entry::MOST_ENTRIES;
use super::{json, msgpack, tape};
use crate::error::{Code, Error, Result};
use std::sync::LazyLock;

/// How much free memory the pool of [`decode_copy`] holds.
const POOL_BYTES: usize = 64 << 20;

/// Decodes a copy of one message, without a session.
pub fn decode_copy(protocol: Protocol, message: &[u8]) -> Result<Document> {
    static POOL: LazyLock<BufferPool> = LazyLock::new(|| BufferPool::new(POOL_BYTES));
    tape::check_size(message.len())?;
    let mut copy = POOL.take(message.len());
    copy.append(message)?;
    match protocol {
        Protocol::V2 => msgpack::decode::decode(copy, MOST_ENTRIES).map_err(|fault| match fault.code() {
            Code::Protocol => Error::new(Code::Protocol, format!("the data is not valid msgpack: {}", fault.message())),
            _ => fault,
        }),
        Protocol::V1 => Ok(json::parse::parse(copy, MOST_ENTRIES)?.document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::entry::LONGEST;
    use crate::wire::msgpack::encode::Encode;
    use crate::wire::value::{Kind, Value};

    /// A list of `records` maps with equal keys.
    fn records(protocol: Protocol, records: usize) -> Document {
        let text: Vec<String> = (0..records)
            .map(|i| format!(r#"{{"id": {i}, "name": "id", "at": {{"id": 1, "x": 2}}, "end": -{i}}}"#))
            .collect();
        if protocol == Protocol::V1 {
            return decode_copy(protocol, format!("[{}]", text.join(",")).as_bytes()).unwrap();
        }
        let mut packed = Vec::new();
        packed.array_head(records as u32);
        for i in 0..records as i64 {
            packed.map_head(4);
            packed.str("id");
            packed.int(i);
            packed.str("name");
            packed.str("id");
            packed.str("at");
            packed.map_head(2);
            packed.str("id");
            packed.int(1);
            packed.str("x");
            packed.int(2);
            packed.str("end");
            packed.int(-i);
        }
        decode_copy(protocol, &packed).unwrap()
    }

    #[test]
    fn members_are_found_in_any_order() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let document = records(protocol, 50);
            for keys in [["id", "name", "at", "end"], ["end", "at", "name", "id"], ["at", "end", "id", "id"]] {
                for (i, record) in document.root().elements().enumerate() {
                    for key in keys {
                        let value = record.get(key).unwrap();
                        match key {
                            "id" => assert_eq!(value.as_u64(), Some(i as u64)),
                            "name" => assert_eq!(value.as_str(), Some("id")),
                            "at" => assert_eq!(value.get("x").and_then(Value::as_i64), Some(2)),
                            _ => assert_eq!(value.as_i64(), Some(-(i as i64))),
                        }
                        assert!(record.get("none").is_none() && record.get("x").is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn of_equal_keys_the_last_one_counts_however_many_there_are() {
        for protocol in [Protocol::V1, Protocol::V2] {
            for count in [1, 2, 8, 40, 63, 64, 65, 300] {
                for twice in [None, Some(0), Some(count / 2), Some(count - 1)] {
                    // Each value contains a map with the same key, which is not a key of the outer map.
                    let mut keys: Vec<String> = (0..count).map(|i| format!("key number {i}")).collect();
                    keys.extend(twice.map(|i| keys[i].clone()));
                    let document = if protocol == Protocol::V1 {
                        let members =
                            keys.iter().enumerate().map(|(i, key)| format!(r#""{key}": [{{"{key}": 0}}, {i}]"#));
                        let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
                        decode_copy(protocol, text.as_bytes()).unwrap()
                    } else {
                        let mut packed = Vec::new();
                        packed.map_head(keys.len() as u32);
                        for (i, key) in keys.iter().enumerate() {
                            packed.str(key);
                            packed.array_head(2);
                            packed.map_head(1);
                            packed.str(key);
                            packed.int(0);
                            packed.int(i as i64);
                        }
                        decode_copy(protocol, &packed).unwrap()
                    };
                    let find = |i: usize| document.root().get(&keys[i]).unwrap().index(1).unwrap().as_u64();
                    for i in (0..count).chain((0..count).rev()) {
                        let want = if twice == Some(i) { count } else { i };
                        assert_eq!(find(i), Some(want as u64), "{protocol:?}, {count} keys, {twice:?} twice");
                    }
                }
            }
        }
    }

    #[test]
    fn the_memory_of_a_large_index_is_used_again() {
        let pool = BufferPool::new(64 << 20);
        let text = format!("[{}1]", "1,".repeat(100_000));
        let decode = || {
            let mut copy = pool.take(text.len());
            copy.append(text.as_bytes()).unwrap();
            json::parse::parse(copy, usize::MAX).unwrap().document
        };
        drop(decode());
        let unused = pool.unused();
        assert!(unused >= 8 * 100_001);
        let again = decode();
        assert_eq!((again.root().len(), again.root().elements().count()), (100_001, 100_001));
        assert!(pool.unused() < 64 << 10, "bytes and index came from the pool");
        drop(again);
        assert_eq!(pool.unused(), unused);
    }

    #[test]
    fn the_index_takes_memory_by_what_was_read() {
        // Many small values first, so that the decoder expects as many in the rest.
        let mut message = vec![0xdd, 0, 0, 0x10, 0x01];
        message.resize(5 + 4096, 0);
        message.extend([0xc6, 0x04, 0, 0, 0]);
        message.resize(message.len() + (64 << 20), 7);
        let document = msgpack::decode::decode(message.into(), u32::MAX as usize).unwrap();
        assert_eq!(document.root().len(), 4097);
        assert!(document.memory() <= 2 * document.wire_size() + 4096, "{}", document.memory());
    }

    /// A text whose length does not fit in an entry.
    fn long_text() -> String {
        "k".repeat(LONGEST + 1)
    }

    #[test]
    fn a_very_long_key_is_found() {
        let mut packed = vec![];
        packed.map_head(2);
        packed.utf8(b"first");
        packed.int(1);
        packed.utf8(long_text().as_bytes());
        packed.int(2);
        let document = msgpack::decode::decode(packed.into(), usize::MAX).unwrap();
        let (key, _) = document.root().pairs().nth(1).unwrap();
        let key = key.as_str().unwrap();
        assert_eq!(key.len(), LONGEST + 1);
        assert_eq!(document.root().get(key).unwrap().as_i64(), Some(2));
        assert_eq!(document.root().get("first").unwrap().as_i64(), Some(1));
        assert!(document.root().get(&key[1..]).is_none());
    }

    #[test]
    fn a_very_long_string_is_read() {
        let text = ["[\"a\",\"", &long_text(), "\",\"end\",1]"].concat();
        let document = json::parse::parse(text.into_bytes().into(), usize::MAX).unwrap().document;
        let lengths = [1, LONGEST + 1, 3];
        let list = document.root();
        assert_eq!(list.elements().take(3).map(|text| text.as_str().unwrap().len()).collect::<Vec<_>>(), lengths);
        let (first, count, _) = list.first().unwrap();
        assert_eq!(first.texts_from_here(count).map(<[u8]>::len).collect::<Vec<_>>(), lengths);
        let long = list.index(1).unwrap();
        assert_eq!(
            (long.kind(), long.len(), long.as_str_bytes().unwrap().len()),
            (Kind::String, lengths[1], lengths[1])
        );
    }

    #[test]
    fn numbers_of_more_than_60_bits_are_read_as_others() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let mut message = b"[576460752303423488,-576460752303423489,18446744073709551615,0.1,-1]".to_vec();
            if protocol == Protocol::V2 {
                message.clear();
                message.array_head(5);
                message.uint(1 << 59);
                message.int(-(1 << 59) - 1);
                message.uint(u64::MAX);
                message.float(0.1);
                message.int(-1);
            }
            let document = decode_copy(protocol, &message).unwrap();
            let numbers: Vec<_> = document.root().elements().collect();
            let integers = [Some(1 << 59), Some(-(1 << 59) - 1), None, None, Some(-1)];
            assert_eq!(numbers.iter().map(|v| v.as_i64()).collect::<Vec<_>>(), integers);
            let positive = [Some(1 << 59), None, Some(u64::MAX), None, None];
            assert_eq!(numbers.iter().map(|v| v.as_u64()).collect::<Vec<_>>(), positive);
            let kinds = [Kind::Int, Kind::Int, Kind::Uint, Kind::Float, Kind::Int];
            assert_eq!(numbers.iter().map(|v| v.kind()).collect::<Vec<_>>(), kinds);
            let all = [2f64.powi(59), -2f64.powi(59), 2f64.powi(64), 0.1, -1.0];
            assert_eq!(numbers.iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>(), all);
            let mut copied = [0.0; 5];
            assert_eq!(document.root().copy_numbers(&mut copied), Some(5));
            assert_eq!(copied, all);
            let mut copied = [0i64; 2];
            assert_eq!(document.root().copy_numbers(&mut copied), Some(5));
            assert_eq!(copied, [1 << 59, -(1 << 59) - 1]);
        }
    }

    #[test]
    fn numbers_that_take_more_room_count_for_the_limit_of_the_index() {
        let floats = |count: usize| format!("[{}0.1]", "0.1,".repeat(count - 1));
        let large = |count: usize| format!("[{}18446744073709551615]", "18446744073709551615,".repeat(count - 1));
        // The list takes one entry, a float two, a large integer three.
        for (text, entries) in [(floats(50), 101), (large(50), 151), (floats(5000), 10001), (large(5000), 15001)] {
            let parse = |most| json::parse::parse(text.clone().into_bytes().into(), most).map(drop);
            assert_eq!(parse(entries), Ok(()));
            let error = parse(entries - 1).unwrap_err();
            assert_eq!(error.code(), Code::Limit);
            assert!(error.message().contains("max_message_size"), "{error}");
        }
    }
}
