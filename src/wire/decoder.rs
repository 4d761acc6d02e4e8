//! Messages of either generation to documents.

use super::Protocol;
use super::buffer::BufferPool;
use super::document::Document;
use super::{json, msgpack};
use crate::error::{Code, Error, Result};
use std::sync::LazyLock;

/// How much memory [`decode_copy`] keeps for what is decoded next.
const KEPT_BYTES: usize = 64 << 20;

/// Decodes a copy of one message, outside of any session.
pub fn decode_copy(protocol: Protocol, message: &[u8]) -> Result<Document> {
    static POOL: LazyLock<BufferPool> = LazyLock::new(|| BufferPool::new(KEPT_BYTES));
    // Places in a message are numbers of 32 bit.
    if message.len() > u32::MAX as usize {
        return Err(Error::new(
            Code::Limit,
            format!("a message of {} bytes; the protocol ends at 4294967295", message.len()),
        ));
    }
    let mut copy = POOL.take(message.len());
    copy.append(message)?;
    let max_nodes = u32::MAX as usize;
    match protocol {
        Protocol::V2 => msgpack::decode::decode(copy, max_nodes),
        Protocol::V1 => Ok(json::parse::parse(copy, max_nodes)?.document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::msgpack::encode::Encode;
    use crate::wire::value::Value;

    /// A list of `records` maps, in whose keys the decoder knows its way.
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
                    // Between them a value that has members, whose keys are no keys of this map.
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
        assert!(unused >= 16 * 100_001);
        let again = decode();
        assert_eq!((again.root().len(), again.root().elements().count()), (100_001, 100_001));
        assert!(pool.unused() < 64 << 10, "bytes and index came from the pool");
        drop(again);
        assert_eq!(pool.unused(), unused);
    }

    #[test]
    fn the_index_takes_memory_by_what_was_read() {
        // Many small values first, so that the rest looks as if it were like them.
        let mut message = vec![0xdd, 0, 0, 0x10, 0x01];
        message.resize(5 + 4096, 0);
        message.extend([0xc6, 0x04, 0, 0, 0]);
        message.resize(message.len() + (64 << 20), 7);
        let document = msgpack::decode::decode(message.into(), u32::MAX as usize).unwrap();
        assert_eq!(document.root().len(), 4097);
        assert!(document.memory() <= 2 * document.wire_size() + 4096, "{}", document.memory());
    }
}
