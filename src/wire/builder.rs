//! Values put together by the application, in the same form as those that arrive: a tape.

use super::buffer::{MessageBuf, copy_of, make_room};
use super::document::{Document, Node, Tag};
use super::json::parse::parse;
use super::value::Value;
use crate::error::{Code, Error, Result};
use bytes::Bytes;

/// Builds one array or map, value by value. Containers nest; in a map, keys and values take turns.
#[derive(Debug)]
pub struct Builder {
    /// What was added so far; the root does not know its end until it is finished.
    document: Document,
    /// Containers that are not ended, the root first.
    open: Vec<Open>,
}

/// How many entries an emptied builder keeps memory for.
const KEPT_NODES: usize = 1024;

#[derive(Debug)]
struct Open {
    node: u32,
    /// In a map: a key was given and its value is due.
    has_key: bool,
}

impl Builder {
    /// An empty array.
    pub fn array() -> Builder {
        Builder::with_root(Tag::Array)
    }

    /// An empty map.
    pub fn map() -> Builder {
        Builder::with_root(Tag::Map)
    }

    fn with_root(tag: Tag) -> Builder {
        // Enough for the arguments of most calls.
        let mut tape = Vec::with_capacity(8);
        tape.push(Node::new(tag, 0, 1));
        Builder { document: Document::new(MessageBuf::default(), tape), open: vec![Open { node: 0, has_key: false }] }
    }

    /// From now on the memory of everything that is added is wiped before it is given back, also that of the built
    /// value. Binary data is not: it is the caller's.
    pub fn keep_secret(&mut self) {
        self.document.bytes.keep_secret();
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.document.tape.len() == 1
    }

    /// Whether no container is open and no key waits for its value.
    pub fn is_settled(&self) -> bool {
        self.open.len() == 1 && !self.open[0].has_key
    }

    /// The built value. Fails if a container was not ended or a key has no value.
    pub fn finish(mut self) -> Result<Document> {
        self.complete()?;
        self.document.tape[0].data = self.document.tape.len() as u64;
        Ok(self.document)
    }

    /// The built value, without taking it. Only its root does not know where it ends.
    pub(super) fn complete(&self) -> Result<&Document> {
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
        // Memory is kept for what is added next, unless it is large.
        let document = &mut self.document;
        document.bytes.clear();
        document.tape.truncate(1);
        document.tape.shrink_to(KEPT_NODES);
        document.tape[0].len = 0;
        document.attachments.clear();
        self.open.truncate(1);
        self.open[0].has_key = false;
    }

    fn top(&mut self) -> &mut Open {
        // The root is never closed.
        self.open.last_mut().expect("the root is open")
    }

    #[inline]
    fn room_for_node(&mut self) -> Result<()> {
        let tape = &mut self.document.tape;
        if tape.len() == tape.capacity() { make_room(tape, 1) } else { Ok(()) }
    }

    #[inline]
    fn add_node(&mut self, node: Node) -> Result<()> {
        self.room_for_node()?;
        self.document.tape.push(node);
        Ok(())
    }

    /// Adds several entries, or, if that fails on the way, none.
    fn whole(&mut self, add: impl FnOnce(&mut Builder) -> Result<()>) -> Result<()> {
        let (depth, entries, buffers) = (self.open.len(), self.document.tape.len(), self.document.attachments.len());
        let top = self.top();
        let (node, has_key) = (top.node as usize, top.has_key);
        let count = self.document.tape[node].len;
        add(self).inspect_err(|_| {
            self.open.truncate(depth);
            self.top().has_key = has_key;
            self.document.tape.truncate(entries);
            self.document.tape[node].len = count;
            self.document.attachments.truncate(buffers);
        })
    }

    /// Counts one value in the innermost container.
    fn count(&mut self) -> Result<()> {
        // Its entry, before anything is changed.
        self.room_for_node()?;
        let top = self.top();
        let (node, had_key) = (top.node as usize, std::mem::take(&mut top.has_key));
        if self.document.tape[node].tag() == Tag::Map && !had_key {
            return usage("a map needs a key before each value");
        }
        self.document.tape[node].len += 1;
        Ok(())
    }

    fn push(&mut self, tag: Tag, data: u64) -> Result<()> {
        self.count()?;
        self.add_node(Node::new(tag, 0, data))
    }

    fn slice(&mut self, tag: Tag, data: &[u8]) -> Result<Node> {
        let start = self.document.bytes.len() as u64;
        self.document.bytes.append(data)?;
        Ok(Node::new(tag, data.len() as u32, start))
    }

    /// The key of the next value of a map.
    pub fn key(&mut self, key: &str) -> Result<()> {
        let node = self.top().node as usize;
        if self.document.tape[node].tag() != Tag::Map || self.top().has_key {
            return usage("a key can only stand in a map, before a value");
        }
        check_len(key.len())?;
        let node = self.slice(Tag::Str, key.as_bytes())?;
        self.add_node(node)?;
        self.top().has_key = true;
        Ok(())
    }

    /// Adds null.
    pub fn null(&mut self) -> Result<()> {
        self.push(Tag::Null, 0)
    }

    /// Adds a truth value.
    pub fn bool(&mut self, v: bool) -> Result<()> {
        self.push(if v { Tag::True } else { Tag::False }, 0)
    }

    /// Adds an integer.
    pub fn int(&mut self, v: i64) -> Result<()> {
        self.push(if v < 0 { Tag::Int } else { Tag::Uint }, v as u64)
    }

    /// Adds an integer.
    pub fn uint(&mut self, v: u64) -> Result<()> {
        self.push(Tag::Uint, v)
    }

    /// Adds a float.
    pub fn float(&mut self, v: f64) -> Result<()> {
        self.push(Tag::Float, v.to_bits())
    }

    /// Adds a string.
    pub fn str(&mut self, v: &str) -> Result<()> {
        check_len(v.len())?;
        let node = self.slice(Tag::Str, v.as_bytes())?;
        self.count()?;
        self.add_node(node)
    }

    /// Adds binary data, which is kept by reference.
    pub fn bytes(&mut self, data: Bytes) -> Result<()> {
        check_len(data.len())?;
        self.push(Tag::Attachment, self.document.attachments.len() as u64)?;
        self.document.attachments.push(data);
        Ok(())
    }

    /// Adds a msgpack extension (generation 2 only).
    pub fn ext(&mut self, kind: i8, data: &[u8]) -> Result<()> {
        check_len(data.len())?;
        let node = self.slice(Tag::Ext, data)?;
        self.count()?;
        self.add_node(node.with_extra(kind))
    }

    /// Adds an array of floats.
    pub fn floats(&mut self, values: impl ExactSizeIterator<Item = f64>) -> Result<()> {
        let count = values.len();
        check_len(count.saturating_mul(9))?;
        let mut run = Vec::new();
        make_room(&mut run, 9 * count)?;
        run.resize(9 * count, 0xcb);
        for (to, v) in run.chunks_exact_mut(9).zip(values) {
            to[1..].copy_from_slice(&v.to_be_bytes());
        }
        let node = self.slice(Tag::FloatRun, &run)?;
        self.count()?;
        self.add_node(Node { len: count as u32, ..node })
    }

    /// Adds an array of integers.
    pub fn ints(&mut self, values: impl ExactSizeIterator<Item = i64>) -> Result<()> {
        check_len(values.len())?;
        self.whole(|this| {
            this.begin_array()?;
            for v in values {
                this.int(v)?;
            }
            this.end()
        })
    }

    /// The same for unsigned ones.
    pub fn uints(&mut self, values: impl ExactSizeIterator<Item = u64>) -> Result<()> {
        check_len(values.len())?;
        self.whole(|this| {
            this.begin_array()?;
            for v in values {
                this.uint(v)?;
            }
            this.end()
        })
    }

    /// Begins an array; what follows goes into it until [`end`](Builder::end).
    pub fn begin_array(&mut self) -> Result<()> {
        self.begin(Tag::Array)
    }

    /// Begins a map; what follows goes into it until [`end`](Builder::end).
    pub fn begin_map(&mut self) -> Result<()> {
        self.begin(Tag::Map)
    }

    fn begin(&mut self, tag: Tag) -> Result<()> {
        self.count()?;
        self.open.push(Open { node: self.document.tape.len() as u32, has_key: false });
        self.add_node(Node::new(tag, 0, 0))
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
            self.document.tape[top.node as usize].data = self.document.tape.len() as u64;
        }
        Ok(())
    }

    /// Adds a copy of a value, binary data by reference where it is a buffer of its own.
    pub fn value(&mut self, value: Value<'_>) -> Result<()> {
        self.whole(|this| this.copy(value))
    }

    fn copy(&mut self, value: Value<'_>) -> Result<()> {
        self.count()?;
        let document = value.document();
        let (from, element) = value.place();
        if let (Some(v), true) = (value.as_f64(), element != u32::MAX) {
            return self.add_node(Node::new(Tag::Float, 0, v.to_bits()));
        }
        let shift = self.document.tape.len() as i64 - i64::from(from);
        for index in from..document.after(from) {
            let node = document.node(index);
            let copy = match node.tag() {
                Tag::Str | Tag::BigInt | Tag::Ext => {
                    self.slice(node.tag(), document.slice(node))?.with_extra(node.extra())
                }
                Tag::FloatRun => {
                    let run = &document.bytes()[node.data as usize..][..9 * node.len as usize];
                    Node { len: node.len, ..self.slice(Tag::FloatRun, run)? }
                }
                Tag::Bytes | Tag::Attachment => {
                    self.document.attachments.push(match node.tag() {
                        Tag::Attachment => document.attachment(node).clone(),
                        _ => copy_of(document.slice(node))?.into(),
                    });
                    Node::new(Tag::Attachment, 0, self.document.attachments.len() as u64 - 1)
                }
                Tag::Array | Tag::Map => Node { data: (node.data as i64 + shift) as u64, ..node },
                _ => node,
            };
            self.add_node(copy)?;
        }
        Ok(())
    }
}

impl Builder {
    /// Adds the value of a JSON text without attachments.
    pub fn json(&mut self, text: &str) -> Result<()> {
        let document = parse_json(text, &[], self.document.bytes.is_secret())?;
        self.value(document.root())
    }
}

/// JSON text of the application as a document, with the attachments in their places. A `secret` one is wiped, also if it
/// is not valid.
pub(crate) fn parse_json(text: &str, attachments: &[(String, Bytes)], secret: bool) -> Result<Document> {
    check_len(text.len())?;
    let mut copy = MessageBuf::from(copy_of(text.as_bytes())?);
    if secret {
        copy.keep_secret();
    }
    let mut parsed = parse(copy, u32::MAX as usize)?;
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

fn check_len(len: usize) -> Result<()> {
    if len > u32::MAX as usize {
        return Err(Error::new(Code::Limit, format!("a value of {len} bytes; the protocol ends at 4294967295")));
    }
    Ok(())
}

fn usage<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Argument, message))
}
