//! The tape of a document while it is written.

use super::buffer::Origin;
use super::document::{Node, Tag};
use crate::error::{Code, Error, Result};

/// Room at the beginning: enough for most small messages.
const FIRST_NODES: usize = 16;

/// So many entries are made ready at once: few enough to be in the cache still when they are written.
const STEP: usize = 2048;

/// Takes the entries of one message, in order.
pub(crate) struct TapeWriter<'a> {
    /// Entries that are written, and behind them some that are ready to be.
    nodes: Vec<Node>,
    used: usize,
    max_nodes: usize,
    /// How many bytes the message has.
    size: usize,
    origin: &'a Origin,
}

impl<'a> TapeWriter<'a> {
    /// For a message of `size` bytes. `nodes` is memory to begin with, whatever is in it.
    pub fn new(mut nodes: Vec<Node>, size: usize, max_nodes: usize, origin: &'a Origin) -> TapeWriter<'a> {
        nodes.truncate(max_nodes);
        TapeWriter { nodes, used: 0, max_nodes, size, origin }
    }

    /// Adds an entry and gives its index. `at` tells how many bytes of the message were read.
    #[inline(always)]
    pub fn push(&mut self, node: Node, at: impl FnOnce() -> usize) -> Result<u32> {
        let index = self.used;
        match self.nodes.get_mut(index) {
            Some(ready) => {
                let Node { data, len, tag, extra } = node;
                ready.data = data;
                ready.len = len;
                ready.tag = tag;
                ready.extra = extra;
            }
            None => {
                // By value, so that all of this can be in registers otherwise.
                let nodes = std::mem::take(&mut self.nodes);
                self.nodes = grow(nodes, node, at(), self.size, self.max_nodes, self.origin)?;
            }
        }
        self.used = index + 1;
        Ok(index as u32)
    }

    /// How many entries there are.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.used as u32
    }

    /// An entry, to be completed.
    #[inline(always)]
    pub fn at(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    /// Whether one of the keys of the map at `map`, whose members so far are all complete, has this text. Gives up with
    /// `true` if there are very many: to look at all of them for each one would take too long.
    #[inline(always)]
    pub fn may_have_key(&self, map: u32, message: &[u8], key: &[u8]) -> bool {
        let members = self.nodes.get(map as usize + 1..self.used).unwrap_or_default();
        may_have_key(members, map + 1, message, key)
    }

    /// The tape.
    #[inline]
    pub fn finish(mut self) -> Vec<Node> {
        self.nodes.truncate(self.used);
        self.nodes
    }
}

#[cold]
fn may_have_key(members: &[Node], first: u32, message: &[u8], key: &[u8]) -> bool {
    const MANY: usize = 64;
    let mut at = 0;
    for _ in 0..MANY {
        let Some(node) = members.get(at) else { return false };
        let text = message.get(node.data as usize..).and_then(|text| text.get(..node.len as usize));
        if node.tag == Tag::Str && text == Some(key) {
            return true;
        }
        at += 1;
        at = match members.get(at) {
            Some(Node { tag: Tag::Array | Tag::Map, data, .. }) => (*data - u64::from(first)) as usize,
            _ => at + 1,
        };
    }
    true
}

/// Adds an entry and makes some more ready; as much memory is taken as the rest of the message seems to need if it is like the
/// part that was read. That guess is not trusted with more memory than the message itself has.
#[cold]
fn grow(
    mut nodes: Vec<Node>,
    node: Node,
    at: usize,
    size: usize,
    max_nodes: usize,
    origin: &Origin,
) -> Result<Vec<Node>> {
    let have = nodes.len();
    if have >= max_nodes {
        return Err(too_many_values(max_nodes));
    }
    if have == nodes.capacity() {
        let guess = (have as u128 * size as u128 / at.max(1) as u128) as usize;
        let most = (size / size_of::<Node>()).max(2 * have).max(FIRST_NODES);
        let want = guess.saturating_add(guess / 16).min(most).max(have + have / 4 + 1).max(FIRST_NODES).min(max_nodes);
        if let Some(mut larger) = origin.take_tape(want, guess) {
            // What is in it needs no clearing.
            let common = have.min(larger.len());
            larger[..common].copy_from_slice(&nodes[..common]);
            larger.extend_from_slice(&nodes[common..]);
            origin.keep_tape(std::mem::replace(&mut nodes, larger));
        } else {
            nodes
                .try_reserve_exact(want - have)
                .map_err(|_| Error::new(Code::System, format!("no memory for the index of {want} values")))?;
        }
    }
    nodes.truncate(max_nodes);
    if nodes.len() == have {
        let ready = nodes.capacity().min(have + STEP).min(max_nodes);
        nodes.resize(ready, Node::new(Tag::Null, 0, 0));
    }
    nodes[have] = node;
    Ok(nodes)
}

fn too_many_values(max: usize) -> Error {
    Error::new(
        Code::Limit,
        format!(
            "the message has more than {max} values, whose index would be larger than the limit of the message size (option max_message_size)"
        ),
    )
}
