//! Values that the application builds. They have the form of received values: a document with a tape.

use super::buffer::MessageBuf;
use super::document::Document;
use super::entry::{Entry, LARGEST_MESSAGE, MOST_ENTRIES, Node, Tag};
use super::json::parse::parse;
use super::memory::{try_reserve, try_to_vec};
use super::tape::Tape;
use super::value::Value;
use crate::error::{Code, Error, Result};
use bytes::Bytes;

/// Builds one array or map, value by value. Containers nest; in a map, keys and values alternate.
#[derive(Debug)]
pub struct Builder {
    /// The values that were added so far. The end of the root container is set by [`finish`](Builder::finish).
    document: Document,
    /// Containers that were begun and not ended, the root first.
    open: Vec<OpenContainer>,
}

/// For how many entries [`clear`](Builder::clear) keeps memory.
const KEPT_ENTRIES: usize = 1024;

#[derive(Debug)]
struct OpenContainer {
    /// The index of its entry.
    index: u32,
    /// In a map: a key was added and its value was not.
    has_key: bool,
}

impl Builder {
    /// An empty array.
    pub fn array() -> Builder {
        Builder::with_root(false)
    }

    /// An empty map.
    pub fn map() -> Builder {
        Builder::with_root(true)
    }

    fn with_root(map: bool) -> Builder {
        // Enough for the arguments of most calls.
        let mut tape = Tape::with_capacity(8);
        tape.entries.push(Entry::container(map, 0).ended(1));
        Builder {
            document: Document::new(MessageBuf::default(), tape),
            open: vec![OpenContainer { index: 0, has_key: false }],
        }
    }

    /// From now on, the memory of added values is wiped before it is freed, also in the finished document. Binary data
    /// is not wiped: it is the caller's.
    pub fn keep_secret(&mut self) {
        self.document.bytes.keep_secret();
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.document.tape.entries.len() == 1
    }

    /// Whether every container was ended and every key has a value.
    pub fn is_complete(&self) -> bool {
        self.open.len() == 1 && !self.open[0].has_key
    }

    /// How many binary values were added.
    pub(super) fn attachment_count(&self) -> usize {
        self.document.attachments.len()
    }

    /// The finished document. Fails if a container was not ended or a key has no value.
    pub fn finish(mut self) -> Result<Document> {
        self.complete()?;
        self.document.tape.end(0);
        Ok(self.document)
    }

    /// As [`finish`](Builder::finish), but borrowed. The end of the root container is not set.
    pub(crate) fn complete(&self) -> Result<&Document> {
        if self.open.len() > 1 {
            return usage(format!("{} containers were begun and not ended", self.open.len() - 1));
        }
        if self.open[0].has_key {
            return usage("the last key has no value");
        }
        Ok(&self.document)
    }

    /// Removes everything that was added.
    pub fn clear(&mut self) {
        // The memory is kept for the next values, unless it is large.
        let document = &mut self.document;
        document.bytes.clear();
        document.tape.clear_to(1, KEPT_ENTRIES);
        document.tape.entries[0] = document.tape.entries[0].emptied();
        document.attachments.clear();
        self.open.truncate(1);
        self.open[0].has_key = false;
    }

    fn top(&mut self) -> &mut OpenContainer {
        // Only `finish` ends the root.
        self.open.last_mut().expect("the root is open")
    }

    /// Makes room for one entry.
    #[inline]
    fn reserve_entry(&mut self) -> Result<()> {
        let entries = &mut self.document.tape.entries;
        if entries.len() < entries.capacity().min(MOST_ENTRIES) { Ok(()) } else { grow(entries) }
    }

    #[inline]
    fn add(&mut self, entry: Entry) -> Result<()> {
        self.reserve_entry()?;
        self.document.tape.entries.push(entry);
        Ok(())
    }

    #[inline(always)]
    fn add_node(&mut self, node: Node) -> Result<()> {
        let entry = self.document.tape.entry_of(node)?;
        self.add(entry)
    }

    /// Runs `add`, which adds several entries. If it fails, the entries that it has added are removed.
    fn all_or_none(&mut self, add: impl FnOnce(&mut Builder) -> Result<()>) -> Result<()> {
        let (depth, tape, attachments) = (self.open.len(), self.document.tape.mark(), self.document.attachments.len());
        let top = self.top();
        let (index, has_key) = (top.index as usize, top.has_key);
        let container = self.document.tape.entries[index];
        add(self).inspect_err(|_| {
            self.open.truncate(depth);
            self.top().has_key = has_key;
            self.document.tape.truncate(&tape);
            self.document.tape.entries[index] = container;
            self.document.attachments.truncate(attachments);
        })
    }

    /// Counts one more value in the innermost container.
    fn count(&mut self) -> Result<()> {
        // Reserved first, so that nothing has changed if it fails.
        self.reserve_entry()?;
        let top = self.top();
        let (index, had_key) = (top.index as usize, std::mem::take(&mut top.has_key));
        let container = &mut self.document.tape.entries[index];
        if container.is_map() && !had_key {
            return usage("a map needs a key before each value");
        }
        container.count_one();
        Ok(())
    }

    fn push(&mut self, entry: Entry) -> Result<()> {
        self.count()?;
        self.add(entry)
    }

    #[inline]
    fn push_node(&mut self, node: Node) -> Result<()> {
        let entry = self.document.tape.entry_of(node)?;
        self.push(entry)
    }

    /// Appends `data` to the bytes of the document and returns a node for it.
    fn add_slice(&mut self, tag: Tag, data: &[u8]) -> Result<Node> {
        let start = self.document.bytes.len() as u64;
        self.document.bytes.append(data)?;
        Ok(Node::new(tag, data.len() as u32, start))
    }

    /// Adds the key of the next value of a map.
    pub fn key(&mut self, key: &str) -> Result<()> {
        let index = self.top().index as usize;
        if !self.document.tape.entries[index].is_map() || self.top().has_key {
            return usage("a key can only stand in a map, before a value");
        }
        check_len(key.len())?;
        let node = self.add_slice(Tag::Str, key.as_bytes())?;
        self.add_node(node)?;
        self.top().has_key = true;
        Ok(())
    }

    /// Adds null.
    pub fn null(&mut self) -> Result<()> {
        self.push(Entry::NULL)
    }

    /// Adds a boolean.
    pub fn bool(&mut self, v: bool) -> Result<()> {
        self.push(if v { Entry::TRUE } else { Entry::FALSE })
    }

    /// Adds an integer.
    pub fn int(&mut self, v: i64) -> Result<()> {
        self.push_node(Node::int(v))
    }

    /// Adds an unsigned integer.
    pub fn uint(&mut self, v: u64) -> Result<()> {
        self.push_node(Node::new(Tag::Uint, 0, v))
    }

    /// Adds a float.
    pub fn float(&mut self, v: f64) -> Result<()> {
        let entry = self.float_entry(v)?;
        self.push(entry)
    }

    /// The entry of a float. The float is appended to the bytes if an entry can express its offset, otherwise it is
    /// stored in the tape.
    fn float_entry(&mut self, v: f64) -> Result<Entry> {
        let start = self.document.bytes.len();
        if start > LARGEST_MESSAGE {
            return self.document.tape.add_float(v);
        }
        self.document.bytes.append(&v.to_be_bytes())?;
        Ok(Entry::float_at(start))
    }

    /// Adds a string.
    pub fn str(&mut self, v: &str) -> Result<()> {
        check_len(v.len())?;
        let node = self.add_slice(Tag::Str, v.as_bytes())?;
        self.push_node(node)
    }

    /// Adds binary data by reference.
    pub fn bytes(&mut self, data: Bytes) -> Result<()> {
        check_len(data.len())?;
        self.push(Entry::attachment(self.document.attachments.len()))?;
        self.document.attachments.push(data);
        Ok(())
    }

    /// Adds a msgpack extension (generation 2 only).
    pub fn ext(&mut self, kind: i8, data: &[u8]) -> Result<()> {
        check_len(data.len())?;
        let node = self.add_slice(Tag::Ext, data)?;
        self.push_node(Node { extra: kind, ..node })
    }

    /// Adds an array of floats.
    pub fn floats(&mut self, values: impl ExactSizeIterator<Item = f64>) -> Result<()> {
        let count = values.len();
        check_len(count.saturating_mul(9))?;
        let mut run = Vec::new();
        try_reserve(&mut run, 9 * count)?;
        run.resize(9 * count, 0xcb);
        for (to, v) in run.chunks_exact_mut(9).zip(values) {
            to[1..].copy_from_slice(&v.to_be_bytes());
        }
        let node = self.add_slice(Tag::FloatRun, &run)?;
        self.push_node(Node { len: count as u32, ..node })
    }

    /// Adds an array of integers.
    pub fn ints(&mut self, values: impl ExactSizeIterator<Item = i64>) -> Result<()> {
        check_len(values.len())?;
        self.all_or_none(|this| {
            this.begin_array()?;
            for v in values {
                this.int(v)?;
            }
            this.end()
        })
    }

    /// Adds an array of unsigned integers.
    pub fn uints(&mut self, values: impl ExactSizeIterator<Item = u64>) -> Result<()> {
        check_len(values.len())?;
        self.all_or_none(|this| {
            this.begin_array()?;
            for v in values {
                this.uint(v)?;
            }
            this.end()
        })
    }

    /// Begins an array. Values are added to it until [`end`](Builder::end).
    pub fn begin_array(&mut self) -> Result<()> {
        self.begin(false)
    }

    /// Begins a map. Keys and values are added to it until [`end`](Builder::end).
    pub fn begin_map(&mut self) -> Result<()> {
        self.begin(true)
    }

    fn begin(&mut self, map: bool) -> Result<()> {
        self.count()?;
        self.open.push(OpenContainer { index: self.document.tape.entries.len() as u32, has_key: false });
        self.add(Entry::container(map, 0))
    }

    /// Ends the innermost array or map.
    pub fn end(&mut self) -> Result<()> {
        if self.open.len() == 1 {
            return usage("end without a container that was begun");
        }
        if self.top().has_key {
            return usage("the last key has no value");
        }
        if let Some(top) = self.open.pop() {
            self.document.tape.end(top.index);
        }
        Ok(())
    }

    /// Adds a copy of a value. Attachments are added by reference, other binary data is copied.
    pub fn value(&mut self, value: Value<'_>) -> Result<()> {
        self.all_or_none(|this| this.copy(value))
    }

    fn copy(&mut self, value: Value<'_>) -> Result<()> {
        self.count()?;
        let document = value.document();
        let (from, element) = value.place();
        if let (Some(v), true) = (value.as_f64(), element != u32::MAX) {
            let entry = self.float_entry(v)?;
            return self.add(entry);
        }
        let shift = self.document.tape.entries.len() as i64 - i64::from(from);
        for index in from..document.after(from) {
            let entry = self.copy_of(document, index, shift)?;
            self.add(entry)?;
        }
        Ok(())
    }

    /// Copies the data of one entry of another document and returns the entry for this one. `shift` is the difference
    /// between the indices of the copies and of the originals.
    fn copy_of(&mut self, document: &Document, index: u32, shift: i64) -> Result<Entry> {
        let node = document.node(index);
        let copy = match node.tag {
            Tag::Float => return self.float_entry(f64::from_bits(node.data)),
            Tag::Array | Tag::Map => {
                let container = document.entry(index);
                return Ok(container.ended((i64::from(container.place()) + shift) as u32));
            }
            Tag::Str | Tag::BigInt | Tag::Ext => {
                Node { extra: node.extra, ..self.add_slice(node.tag, document.slice(node))? }
            }
            Tag::FloatRun => {
                let run = &document.bytes()[node.data as usize..][..9 * node.len as usize];
                Node { len: node.len, ..self.add_slice(Tag::FloatRun, run)? }
            }
            Tag::Bytes | Tag::Attachment => {
                self.document.attachments.push(match node.tag {
                    Tag::Attachment => document.attachment(node).clone(),
                    _ => try_to_vec(document.slice(node))?.into(),
                });
                Node::new(Tag::Attachment, 0, self.document.attachments.len() as u64 - 1)
            }
            _ => node,
        };
        self.document.tape.entry_of(copy)
    }
}

impl Builder {
    /// Adds a value as JSON text without attachments.
    pub fn json(&mut self, text: &str) -> Result<()> {
        let document = parse_json(text, &[], self.document.bytes.is_secret())?;
        self.value(document.root())
    }
}

/// Parses JSON text of the application and puts attachments in the place of their keys. The copy of a `secret` text is
/// wiped, also if the text is not valid.
pub(crate) fn parse_json(text: &str, attachments: &[(String, Bytes)], secret: bool) -> Result<Document> {
    check_len(text.len())?;
    let mut copy = MessageBuf::from(try_to_vec(text.as_bytes())?);
    if secret {
        copy.keep_secret();
    }
    let mut parsed = parse(copy, MOST_ENTRIES)?;
    for index in parsed.attachment_keys {
        let Some(key) = Value::at(&parsed.document, index).as_str() else {
            continue;
        };
        if super::json::write::attachment_number(key.as_bytes()).is_none() {
            continue;
        }
        match attachments.iter().find(|(k, _)| k == key) {
            Some((_, data)) => parsed.document.attach(index, data.clone()),
            None => {
                let message = format!("the text names {key:?}, but no attachment was added under this key");
                return Err(Error::new(Code::Attachment, message));
            }
        }
    }
    Ok(parsed.document)
}

#[cold]
fn grow(entries: &mut Vec<Entry>) -> Result<()> {
    if entries.len() >= MOST_ENTRIES {
        return Err(Error::new(
            Code::Limit,
            format!("more than {MOST_ENTRIES} values, the most that a message can have"),
        ));
    }
    try_reserve(entries, 1)
}

fn check_len(len: usize) -> Result<()> {
    if len > u32::MAX as usize {
        return Err(Error::new(Code::Limit, format!("a value of {len} bytes; the protocol ends at 4294967295")));
    }
    Ok(())
}

fn usage<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Argument, message))
}
