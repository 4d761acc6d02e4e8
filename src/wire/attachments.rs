//! Generation 1: each attachment is a WebSocket message of its own, which JSON messages refer to by a key.
//!
//! An attachment arrives before the message that refers to it, perhaps together with an earlier message. Several
//! messages can refer to it, or none. So an attachment is kept until a message refers to it, and then, within limits,
//! for further references.

use super::document::Document;
use super::limits::Limits;
use super::value::{Kind, Value};
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The method of the text message that announces attachments.
pub const ATTACHMENT_METHOD: &str = "wslink.binary.attachment";

/// How many announced attachments may be outstanding; servers announce one at a time.
const MAX_ANNOUNCED: usize = 65_536;

/// The longest key that is accepted; servers use a counter: `wslink_bin17`.
const MAX_KEY: usize = 256;

/// When this many messages have arrived after an attachment, and none refers to it, it is kept no longer than one that
/// was referred to: the message that refers to it was sent to another client, or could not be decoded.
const MAX_MESSAGES: u64 = 256;

/// The beginning of every key that a server gives.
const PREFIX: &[u8] = b"wslink_bin";

/// The announced and the received attachments of one connection.
#[derive(Debug, Default)]
pub struct Attachments {
    /// Keys whose data has not arrived yet, in order.
    announced: VecDeque<String>,
    /// Attachments that no message has referred to yet.
    unreferenced: Store,
    /// Attachments that a message has referred to.
    referenced: Store,
    limits: Limits,
    /// How many messages have arrived.
    messages: u64,
    evicted: u64,
}

/// Attachments by key and by age.
#[derive(Debug, Default)]
struct Store {
    by_key: HashMap<String, Stored>,
    /// The keys, by the sequence numbers of their attachments.
    by_age: BTreeMap<u64, String>,
    next_sequence: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Stored {
    data: Bytes,
    sequence: u64,
    /// How many messages had arrived before it.
    messages: u64,
}

impl Store {
    fn insert(&mut self, key: &str, data: Bytes, messages: u64) {
        self.remove(key);
        self.bytes += data.len() as u64;
        self.by_age.insert(self.next_sequence, key.to_owned());
        self.by_key.insert(key.to_owned(), Stored { data, sequence: self.next_sequence, messages });
        self.next_sequence += 1;
    }

    fn remove(&mut self, key: &str) -> Option<Bytes> {
        let stored = self.by_key.remove(key)?;
        self.by_age.remove(&stored.sequence);
        self.bytes -= stored.data.len() as u64;
        Some(stored.data)
    }

    /// The attachment that was inserted first.
    fn oldest(&self) -> Option<(&str, &Stored)> {
        let (_, key) = self.by_age.first_key_value()?;
        Some((key, self.by_key.get(key)?))
    }

    fn evict_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_first() {
            self.remove(&key);
        }
    }

    fn len(&self) -> usize {
        self.by_age.len()
    }
}

impl Attachments {
    /// An empty store.
    pub fn new(limits: Limits) -> Attachments {
        Attachments { limits, ..Attachments::default() }
    }

    /// Notes the keys of an announcement (the `args` of the message). If one is malformed, none is noted: data belongs
    /// to keys by its order, and would be assigned to the wrong keys.
    pub fn announce(&mut self, keys: Value<'_>) -> Result<()> {
        let malformed = |why: String| {
            Err(Error::new(Code::Protocol, format!("the server's announcement of attachments is malformed: {why}")))
        };
        if keys.kind() != Kind::Array || keys.is_empty() {
            return malformed("it has no list of keys".into());
        }
        if self.announced.len() + keys.len() > MAX_ANNOUNCED {
            return malformed(format!("more than {MAX_ANNOUNCED} are announced and not sent"));
        }
        for key in keys.elements() {
            match key.as_str() {
                None => return malformed("a key is no string".into()),
                Some(key) if key.len() > MAX_KEY => {
                    return malformed(format!("a key of {} bytes, and {MAX_KEY} are taken", key.len()));
                }
                Some(_) => {}
            }
        }
        self.announced.extend(keys.elements().filter_map(|key| key.as_str().map(str::to_owned)));
        Ok(())
    }

    /// Whether the data of an announced key is outstanding.
    pub fn is_expecting(&self) -> bool {
        !self.announced.is_empty()
    }

    /// Binary data arrived. It belongs to the oldest announced key. Returns `false` and drops the data if no key was
    /// announced.
    pub fn receive(&mut self, data: Bytes) -> bool {
        let Some(key) = self.announced.pop_front() else {
            return false;
        };
        self.referenced.remove(&key);
        self.unreferenced.insert(&key, data, self.messages);
        // The newest always stays, because the message that refers to it comes next.
        while self.unreferenced.len() > 1
            && (self.unreferenced.bytes > self.limits.unfinished_bytes || self.unreferenced.len() > MAX_ANNOUNCED)
        {
            self.unreferenced.evict_oldest();
            self.evicted += 1;
        }
        true
    }

    /// A message was decoded: replaces those of its `strings` that are keys by their data. A string that is no known
    /// key stays a string. While there are [unreferenced attachments](Attachments::has_unused), this must be called for
    /// every message except announcements, because it also counts messages.
    pub fn resolve(&mut self, document: &mut Document, strings: &[u32]) {
        for &index in strings {
            if let Some(data) = Value::at(document, index).as_str().and_then(|key| self.reference(key)) {
                document.attach(index, data);
            }
        }
        self.count_message();
    }

    /// Whether there are attachments that no message has referred to yet.
    pub fn has_unused(&self) -> bool {
        self.unreferenced.len() > 0
    }

    /// A message arrived that is not an announcement.
    fn count_message(&mut self) {
        self.messages += 1;
        while let Some((key, _)) =
            self.unreferenced.oldest().filter(|(_, stored)| stored.messages + MAX_MESSAGES < self.messages)
        {
            let key = key.to_owned();
            self.reference(&key);
        }
        self.evict_referenced();
    }

    /// A message arrived that nobody receives, so it is not decoded. The attachments to which it refers count as
    /// referenced; otherwise they would pile up.
    pub fn skipped(&mut self, message: &[u8]) {
        let mut rest = message;
        while self.unreferenced.len() > 0
            && let Some(at) = rest.windows(PREFIX.len()).position(|part| part == PREFIX)
        {
            let key = &rest[at..];
            let digits = key[PREFIX.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (key, after) = key.split_at(PREFIX.len() + digits);
            if let Some(key) = std::str::from_utf8(key).ok().filter(|key| self.unreferenced.by_key.contains_key(*key)) {
                self.reference(key);
            }
            rest = after;
        }
        self.count_message();
    }

    /// Returns the data of a key and makes it the most recently referenced.
    fn reference(&mut self, key: &str) -> Option<Bytes> {
        let data = self.unreferenced.remove(key).or_else(|| self.referenced.remove(key))?;
        self.referenced.insert(key, data.clone(), self.messages);
        Some(data)
    }

    /// Evicts the least recently referenced attachments until the limits are met.
    fn evict_referenced(&mut self) {
        while self.referenced.bytes > self.limits.attachment_bytes
            || self.referenced.len() > self.limits.attachment_count
        {
            self.referenced.evict_oldest();
        }
    }

    /// How many bytes of attachments are stored.
    #[cfg(any(test, feature = "internals"))]
    pub fn held(&self) -> u64 {
        self.unreferenced.bytes + self.referenced.bytes
    }

    /// How many attachments were evicted before a message has referred to them.
    pub fn forgotten(&self) -> u64 {
        self.evicted
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

    fn resolved(a: &mut Attachments, text: &str) -> Document {
        let mut p = parse(text.as_bytes().to_vec().into(), 99).unwrap();
        a.resolve(&mut p.document, &p.attachment_keys);
        p.document
    }

    fn receive(a: &mut Attachments, key: &str, data: impl Into<Bytes>) {
        announce(a, &format!("[\"{key}\"]"));
        assert!(a.receive(data.into()));
    }

    /// Whether a message that names this key gets data.
    fn has(a: &mut Attachments, key: &str) -> bool {
        resolved(a, &format!("\"{key}\"")).root().as_bytes().is_some()
    }

    #[test]
    fn data_goes_to_the_announced_keys_in_order_and_everywhere_they_are_named() {
        let mut a = Attachments::new(Limits::default());
        announce(&mut a, r#"["wslink_bin1", "wslink_bin10"]"#);
        announce(&mut a, r#"["wslink_bin2"]"#);
        for data in ["one", "ten", ""] {
            assert!(a.receive(Bytes::from(data)));
        }
        assert!(!a.receive(Bytes::from("nobody's")));
        let text = r#"{"wslink_bin1": ["wslink_bin10", "wslink_bin1", {"x": "wslink_bin2"}, "wslink_bin1", "wslink_bin3", "x wslink_bin1"]}"#;
        for _ in 0..2 {
            let d = resolved(&mut a, text);
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
        receive(&mut a, "wslink_bin7", "x");
        assert_eq!(resolved(&mut a, r#""wslink_bin7""#).root().as_bytes(), Some(&b"x"[..]));
    }

    #[test]
    fn what_no_message_has_named_is_bounded_and_the_newest_stays() {
        let mut a = Attachments::new(Limits { unfinished_bytes: 10, ..Limits::default() });
        for (i, data) in ["aaaa", "bbbb", "cccc", "a large one of many bytes"].iter().enumerate() {
            receive(&mut a, &format!("wslink_bin{i}"), *data);
        }
        assert_eq!((a.held(), a.forgotten()), (25, 3));
        assert!(has(&mut a, "wslink_bin3") && !has(&mut a, "wslink_bin2"));
        receive(&mut a, "wslink_bin3", "again");
        assert_eq!((a.held(), a.forgotten()), (5, 3), "one key has one data");
    }

    #[test]
    fn of_what_was_named_the_newest_stays_within_the_bounds() {
        let mut a = Attachments::new(Limits { attachment_count: 2, attachment_bytes: 10, ..Limits::default() });
        for (i, data) in ["aaaa", "bbbb", "cc"].iter().enumerate() {
            receive(&mut a, &format!("wslink_bin{i}"), *data);
        }
        assert_eq!(a.held(), 10, "all that is not named");
        // However much one message names, it gets all of it.
        let d = resolved(&mut a, r#"["wslink_bin0", "wslink_bin1", "wslink_bin2", "wslink_bin0"]"#);
        assert!(d.root().elements().all(|v| v.as_bytes().is_some()));
        assert_eq!(a.held(), 6);
        assert!(has(&mut a, "wslink_bin0") && has(&mut a, "wslink_bin2") && !has(&mut a, "wslink_bin1"));
        receive(&mut a, "wslink_bin3", "twelve bytes");
        assert!(has(&mut a, "wslink_bin3") && !has(&mut a, "wslink_bin3"), "more than may stay");
        assert_eq!((a.held(), a.forgotten()), (0, 0), "nothing was lost that no message had");
    }

    #[test]
    fn what_is_sent_for_a_message_that_nobody_wants_or_never_comes_does_not_pile_up() {
        let limits = Limits { attachment_count: 1, attachment_bytes: 5, ..Limits::default() };
        let mut a = Attachments::new(limits);
        for (key, named) in [
            ("wslink_bin1", r#"{"id": "publish:t:0", "result": {"blob": "wslink_bin1"}}"#),
            ("wslink_bin2", r#"["wslink_bin2"]"#),
            ("wslink_bin3", r#"["wslink_bin", "wslink_bin33", "wslink_bin3"#),
        ] {
            receive(&mut a, key, "data");
            a.skipped(b"of another wslink_bin, and of wslink_bin99");
            assert_eq!(a.unreferenced.len(), 1);
            a.skipped(named.as_bytes());
            assert_eq!((a.unreferenced.len(), a.held()), (0, 4), "{named}");
            assert!(has(&mut a, key), "as after any other use");
        }
        receive(&mut a, "wslink_bin4", "data of a message for another client");
        (0..MAX_MESSAGES).for_each(|_| a.count_message());
        assert_eq!(a.unreferenced.len(), 1);
        a.count_message();
        assert_eq!(a.held(), 0);
    }

    #[test]
    fn a_malformed_announcement_announces_nothing() {
        let long = "x".repeat(MAX_KEY + 1);
        let many = format!("[{}\"wslink_bin0\"]", "\"wslink_bin0\", ".repeat(MAX_ANNOUNCED));
        let malformed = [
            r#"["wslink_bin1", 5]"#,
            r#"[null, "wslink_bin1"]"#,
            r#"["wslink_bin1", ["wslink_bin2"]]"#,
            r#""wslink_bin1""#,
            r#"{"wslink_bin1": "wslink_bin2"}"#,
            "[]",
            "null",
            &format!("[\"wslink_bin1\", \"{long}\"]"),
            &many,
        ];
        for keys in malformed {
            let mut a = Attachments::new(Limits::default());
            let document = parse(keys.as_bytes().to_vec().into(), 99_999).unwrap().document;
            assert_eq!(a.announce(document.root()).unwrap_err().code(), Code::Protocol);
            assert!(!a.is_expecting(), "{keys:.60}");
            receive(&mut a, "wslink_bin7", "its own");
            assert_eq!(resolved(&mut a, r#""wslink_bin7""#).root().as_bytes(), Some(&b"its own"[..]));
        }
    }

    #[test]
    fn a_key_that_is_announced_twice_gets_data_twice() {
        let mut a = Attachments::new(Limits::default());
        announce(&mut a, r#"["wslink_bin1", "wslink_bin1"]"#);
        announce(&mut a, r#"["wslink_bin2"]"#);
        for data in ["first", "second", "of another"] {
            assert!(a.receive(data.into()));
        }
        assert_eq!(resolved(&mut a, r#""wslink_bin1""#).root().as_bytes(), Some(&b"second"[..]));
        assert_eq!(resolved(&mut a, r#""wslink_bin2""#).root().as_bytes(), Some(&b"of another"[..]));
    }
}
