//! Generation 1: binary data in messages of its own, named by keys in the JSON.
//!
//! An attachment can come with an earlier message than the one that needs it, be named by several
//! messages, or by none: so what arrived is kept after use, in a bounded store, oldest out first.

use super::chunks::limit;
use super::document::Document;
use super::limits::Limits;
use super::value::Value;
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// The method of the text message that announces attachments.
pub const ATTACHMENT_METHOD: &str = "wslink.binary.attachment";

/// How many announced attachments may be missing; servers announce one at a time.
const MAX_ANNOUNCED: usize = 65_536;

/// The longest key that is taken; servers count: `wslink_bin17`.
const MAX_KEY: usize = 256;

/// Attachments announced and attachments received.
#[derive(Debug, Default)]
pub struct Attachments {
    /// Keys whose data has not come yet, in order.
    announced: VecDeque<String>,
    received: HashMap<String, Bytes>,
    /// The keys of `received`, oldest first.
    order: VecDeque<String>,
    bytes: u64,
    limits: Limits,
    forgotten: u64,
}

impl Attachments {
    /// An empty store.
    pub fn new(limits: Limits) -> Attachments {
        Attachments { limits, ..Attachments::default() }
    }

    /// Notes the keys of an announcement (the `args` of the message).
    pub fn announce(&mut self, keys: Value<'_>) -> Result<()> {
        for key in keys.elements() {
            let Some(key) = key.as_str() else {
                return Err(Error::new(Code::Protocol, "an attachment is announced with a key that is no string"));
            };
            if key.len() > MAX_KEY {
                return Err(Error::new(Code::Protocol, format!("an attachment key of {} bytes", key.len())));
            }
            if self.announced.len() >= MAX_ANNOUNCED {
                return Err(Error::new(Code::Protocol, format!("{MAX_ANNOUNCED} attachments announced and none sent")));
            }
            self.announced.push_back(key.to_owned());
        }
        Ok(())
    }

    /// Whether binary data is expected.
    pub fn is_expecting(&self) -> bool {
        !self.announced.is_empty()
    }

    /// Binary data arrived: it belongs to the oldest announced key. `false`: none was announced, the
    /// data is dropped.
    pub fn receive(&mut self, data: Bytes) -> Result<bool> {
        let Some(key) = self.announced.pop_front() else {
            return Ok(false);
        };
        let size = data.len() as u64;
        if size > self.limits.attachment_bytes.max(self.limits.message_size) {
            return Err(limit("attachment", size, self.limits.attachment_bytes, "max_attachment_bytes"));
        }
        if let Some(old) = self.received.insert(key.clone(), data) {
            self.bytes -= old.len() as u64;
            self.order.retain(|k| *k != key);
        }
        self.order.push_back(key);
        self.bytes += size;
        // The newest always stays: the message that names it is about to come.
        while self.order.len() > 1
            && (self.bytes > self.limits.attachment_bytes || self.order.len() > self.limits.attachment_count)
        {
            if let Some(old) = self.order.pop_front().and_then(|k| self.received.remove(&k)) {
                self.bytes -= old.len() as u64;
                self.forgotten += 1;
            }
        }
        Ok(true)
    }

    /// Puts the data in the place of the strings that name it. A string that names nothing received
    /// stays a string.
    pub fn resolve(&self, document: &mut Document, strings: &[u32]) {
        for &index in strings {
            let data = Value::at(document, index).as_str().and_then(|key| self.received.get(key)).cloned();
            if let Some(data) = data {
                document.attach(index, data);
            }
        }
    }

    /// Bytes held, for later messages.
    pub fn held(&self) -> u64 {
        self.bytes
    }

    /// How many attachments were forgotten to stay within the bounds.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse::parse;

    fn announce(a: &mut Attachments, keys: &str) {
        let keys = parse(keys.as_bytes().to_vec().into(), 99).unwrap().document;
        a.announce(keys.root()).unwrap();
    }

    fn resolved(a: &Attachments, text: &str) -> Document {
        let mut p = parse(text.as_bytes().to_vec().into(), 99).unwrap();
        a.resolve(&mut p.document, &p.attachment_keys);
        p.document
    }

    #[test]
    fn data_goes_to_the_announced_keys_in_order_and_everywhere_they_are_named() {
        let mut a = Attachments::new(Limits::default());
        announce(&mut a, r#"["wslink_bin1", "wslink_bin10"]"#);
        announce(&mut a, r#"["wslink_bin2"]"#);
        for data in ["one", "ten", ""] {
            assert!(a.receive(Bytes::from(data)).unwrap());
        }
        assert!(!a.receive(Bytes::from("nobody's")).unwrap());
        let text = r#"{"wslink_bin1": ["wslink_bin10", "wslink_bin1", {"x": "wslink_bin2"}, "wslink_bin1", "wslink_bin3", "x wslink_bin1"]}"#;
        for _ in 0..2 {
            let d = resolved(&a, text);
            let v: Vec<_> = d.root().get("wslink_bin1").unwrap().elements().collect();
            assert_eq!(v[0].as_bytes(), Some(&b"ten"[..]));
            assert_eq!(v[1].as_bytes(), Some(&b"one"[..]));
            assert_eq!(v[2].get("x").unwrap().as_bytes(), Some(&b""[..]));
            assert_eq!(v[3].as_bytes(), Some(&b"one"[..]));
            assert_eq!(v[4].as_str(), Some("wslink_bin3"), "never announced: a string");
            assert_eq!(v[5].as_str(), Some("x wslink_bin1"), "part of a string");
            assert_eq!(d.wire_size(), text.len() + 6, "twice in the message, once in memory");
        }
    }

    #[test]
    fn a_result_that_is_the_key_itself() {
        let mut a = Attachments::new(Limits::default());
        announce(&mut a, r#"["wslink_bin7"]"#);
        a.receive(Bytes::from("x")).unwrap();
        assert_eq!(resolved(&a, r#""wslink_bin7""#).root().as_bytes(), Some(&b"x"[..]));
    }

    #[test]
    fn the_store_is_bounded_and_the_newest_stays() {
        let mut a = Attachments::new(Limits { attachment_count: 2, attachment_bytes: 10, ..Limits::default() });
        for (i, data) in ["aaaa", "bbbb", "cccc", "a large one of many bytes"].iter().enumerate() {
            announce(&mut a, &format!(r#"["wslink_bin{i}"]"#));
            a.receive(Bytes::from(*data)).unwrap();
        }
        assert_eq!((a.held(), a.forgotten()), (25, 3));
        assert!(resolved(&a, r#""wslink_bin3""#).root().as_bytes().is_some());
        announce(&mut a, r#"["wslink_bin3"]"#);
        a.receive(Bytes::from("again")).unwrap();
        assert_eq!((a.held(), a.forgotten()), (5, 3));
    }
}
