//! Messages that begin like the one before: of publications on one topic, and of replies to the calls of one session, only a
//! number differs before the result. So what precedes it is neither taken apart nor decoded each time.

use crate::wire::Protocol;
use crate::wire::document::Document;
use crate::wire::envelope;
use crate::wire::msgpack::decode::Beginning;
use std::sync::Arc;

/// Longer beginnings of messages are not remembered. Servers send none.
const LONGEST: usize = 1 << 10;

/// How messages of one kind begin.
#[derive(Debug, Default)]
pub struct Recognition {
    /// The message up to the number that its id ends with. In msgpack the length of the id is part of that.
    head: Vec<u8>,
    /// How many bytes the rest of the id has, in text with its quote.
    rest: usize,
    common: Common,
}

/// What is known of the bytes between the id and the result.
#[derive(Debug, Default)]
enum Common {
    /// Only one message came so far: perhaps the kinds take turns, and it would be found out for nothing.
    #[default]
    Nothing,
    /// They come in a row: to be found out from the next one.
    Wanted,
    /// All of these bytes, and the beginning up to the result, decoded.
    Is(Vec<u8>, Arc<Beginning>),
    /// The message has no such form.
    Useless,
}

impl Recognition {
    /// From a message whose id ends at `end`, the last `rest` bytes of which may be others in the next one. In the memory
    /// of another recognition. `None` if it is not worth it.
    pub fn new(before: Option<Recognition>, message: &[u8], end: usize, rest: usize) -> Option<Recognition> {
        let head = message.get(..end.checked_sub(rest)?)?;
        if head.len() > LONGEST {
            return None;
        }
        let mut memory = before.unwrap_or_default().head;
        memory.clear();
        memory.extend_from_slice(head);
        Some(Recognition { head: memory, rest, common: Common::Nothing })
    }

    /// What the id of a message ends with that is of the same kind if this is a number, and whether the message is the same
    /// up to its result but for that.
    #[inline(always)]
    pub fn recognize<'m>(&mut self, protocol: Protocol, message: &'m [u8]) -> Option<(&'m [u8], bool)> {
        let (rest, after) = message.strip_prefix(&*self.head)?.split_at_checked(self.rest)?;
        let number = match protocol {
            Protocol::V1 => rest.strip_suffix(b"\"")?,
            Protocol::V2 => rest,
        };
        let same = match &self.common {
            Common::Is(common, _) => after.starts_with(common),
            Common::Nothing if protocol == Protocol::V2 => {
                self.common = Common::Wanted;
                false
            }
            _ => false,
        };
        Some((number, same))
    }

    /// The beginning of a message that is the same up to its result.
    pub fn beginning(&self) -> Option<&Arc<Beginning>> {
        match &self.common {
            Common::Is(_, beginning) => Some(beginning),
            _ => None,
        }
    }

    /// A message of this kind was decoded from its first byte on, and has a result.
    pub fn learn(&mut self, document: &Document) {
        if let Common::Wanted = self.common {
            let id_ends = self.head.len() + self.rest;
            self.common = Beginning::before(document, envelope::result(document).place().0)
                .filter(|beginning| (id_ends..LONGEST).contains(&beginning.size()))
                .map_or(Common::Useless, |b| Common::Is(document.bytes()[id_ends..b.size()].to_vec(), b.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::session::inbound::{Inbound, Received};
    use crate::session::topics::Topics;
    use crate::wire::Protocol;
    use crate::wire::buffer::BufferPool;
    use crate::wire::limits::Limits;
    use crate::wire::msgpack::encode::Encode;

    fn inbound(protocol: Protocol) -> Inbound<u32> {
        let mut topics = Topics::default();
        topics.subscribe("a", 1);
        topics.subscribe("a:1", 2);
        let mut inbound = Inbound::new(Limits::default(), BufferPool::new(1 << 20));
        inbound.set_protocol(Some(protocol));
        inbound.set_call_prefix("rpc:c1:");
        inbound.set_topics(topics.snapshot());
        inbound
    }

    /// What a message comes to, in words.
    fn receive(inbound: &mut Inbound<u32>, text: bool, payload: &[u8]) -> String {
        let received = match inbound.whole(text, payload) {
            Ok(Some(received)) => received,
            other => return format!("{other:?}"),
        };
        let mut dropped = inbound.take_dropped();
        let received = match received {
            Some(Received::Undecoded { to }) => {
                let spare = inbound.spares().pop();
                let outcome = inbound.take_undecoded().unwrap().decode_first(spare).unwrap();
                dropped.malformed += u64::from(outcome.is_err());
                Some(Received::Publication { to, outcome })
            }
            received => received,
        };
        let (to, outcome) = match received {
            Some(Received::Undecoded { .. }) => unreachable!(),
            None => return format!("nobody, {dropped:?}"),
            Some(Received::Reply { protocol, id, outcome }) => (format!("{protocol:?} {id:?}"), outcome),
            Some(Received::Publication { to, outcome }) => {
                let words = format!("{to:?}");
                inbound.take_back(to);
                (words, outcome)
            }
        };
        let outcome = match outcome {
            Ok(document) => {
                let result = crate::wire::envelope::result(&document);
                let words = format!("{result:?} in {:?}", document.root());
                inbound.spares().push(document);
                words
            }
            Err(error) => error.to_string(),
        };
        format!("{to} {outcome} {dropped:?}")
    }

    fn chunk(message: &[u8]) -> Vec<u8> {
        let mut chunk = Vec::new();
        for word in [7, 0, message.len() as u32] {
            chunk.extend(word.to_le_bytes());
        }
        chunk.extend(message);
        chunk
    }

    /// Like `json`, but the outermost map has these members in this order, whatever they are.
    fn msgpack(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        out.map_head(members.len() as u32);
        for (key, value) in members {
            out.str(key);
            out.extend_from_slice(value);
        }
        out
    }

    fn str(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        out.str(text);
        out
    }

    /// Every sequence of three messages (the third one may be recognised by what the first two had in common), and after
    /// each two of the same: what comes is the same as if it were the first one.
    fn same_as_alone(protocol: Protocol, messages: &[Vec<u8>], leave_undecoded: bool) {
        let text = protocol == Protocol::V1;
        let alone: Vec<String> = messages.iter().map(|m| receive(&mut inbound(protocol), text, m)).collect();
        for (i, first) in messages.iter().enumerate() {
            for (j, second) in messages.iter().enumerate() {
                let mut inbound = inbound(protocol);
                if leave_undecoded {
                    inbound.leave_undecoded();
                }
                let mut expect = |message: &[u8], want: &String| {
                    assert_eq!(receive(&mut inbound, text, message), *want, "after {i} and {j}");
                };
                expect(first, &alone[i]);
                expect(first, &alone[i]);
                expect(second, &alone[j]);
                for (third, want) in messages.iter().zip(&alone) {
                    expect(first, &alone[i]);
                    expect(third, want);
                }
            }
        }
    }

    #[test]
    fn a_message_means_the_same_whatever_came_before() {
        let version = ("wslink", &str("1.0")[..]);
        let one: &[u8] = &[1];
        let nested: &[u8] = &[0x92, 0x81, 0xa1, b'x', 0xc0, 0xa1, b'y'];
        let mut messages = Vec::new();
        for id in [
            "publish:a:0",
            "publish:a:7",
            "publish:a:10",
            "publish:a:100",
            "publish:a:1:0",
            "publish:b:0",
            "publish:a:x",
        ] {
            messages.push(msgpack(&[version, ("id", &str(id)), ("result", one)]));
        }
        for id in ["rpc:c1:8", "rpc:c1:9", "rpc:c1:10", "rpc:c2:8", "rpc:c1:", "rpc:c1:a"] {
            messages.push(msgpack(&[version, ("id", &str(id)), ("result", nested)]));
        }
        for id in ["publish:a:0", "rpc:c1:8"] {
            let id = ("id", &str(id)[..]);
            // More, fewer and other members, in other orders.
            messages.push(msgpack(&[version, id, ("result", nested), ("more", one)]));
            messages.push(msgpack(&[version, id, ("result", one), ("error", &[0x80])]));
            messages.push(msgpack(&[version, id, ("error", &[0x80]), ("result", one)]));
            messages.push(msgpack(&[version, id, ("result", nested), ("result", one)]));
            messages.push(msgpack(&[version, id, ("error", &[0x80])]));
            messages.push(msgpack(&[id, ("result", nested)]));
            messages.push(msgpack(&[version, id, ("list", nested), ("result", one)]));
            messages.push(msgpack(&[version, id]));
            // The result is malformed, too long, missing.
            messages.push(msgpack(&[version, id, ("result", &[0xc1])]));
            messages.push(msgpack(&[version, id, ("result", &[0xa2, 0xc3, 0x28])]));
            messages.push(msgpack(&[version, id, ("result", &[0x93, 1])]));
            messages.push(msgpack(&[version, id, ("result", &[1, 2])]));
            messages.push(msgpack(&[version, id, ("result", &[])]));
        }
        let chunks: Vec<Vec<u8>> = messages.iter().map(|m| chunk(m)).collect();
        // Also if publications are left undecoded.
        [false, true].into_iter().for_each(|undecoded| same_as_alone(Protocol::V2, &chunks, undecoded));
    }

    #[test]
    fn a_text_means_the_same_whatever_came_before() {
        let messages = [
            r#"{"wslink": "1.0", "id": "publish:a:0", "result": 1}"#,
            r#"{"wslink": "1.0", "id": "publish:a:1", "result": [1, {"x": null}]}"#,
            r#"{"wslink": "1.0", "id": "publish:a:10", "result": 2}"#,
            r#"{"wslink": "1.0", "id": "publish:a:100", "result": 2}"#,
            r#"{"wslink": "1.0", "id": "publish:a:1:0", "result": 3}"#,
            r#"{"wslink": "1.0", "id": "publish:a:0", "result": 1, "error": {}}"#,
            r#"{"wslink": "1.0", "id": "publish:a:0"}"#,
            r#"{"wslink": "1.0", "id": "rpc:c1:1", "result": 1}"#,
            r#"{"wslink": "1.0", "id": "rpc:c1:2", "result": 2}"#,
            r#"{"wslink": "1.0", "id": "rpc:c1:22", "result": 3}"#,
            r#"{"wslink": "1.0", "id": "rpc:c1:2x", "result": 3}"#,
            r#"{"wslink": "1.0", "id": "rpc:c1:3", "result": }"#,
        ];
        let messages = messages.map(|m| m.as_bytes().to_vec());
        [false, true].into_iter().for_each(|undecoded| same_as_alone(Protocol::V1, &messages, undecoded));
    }
}
