//! The tape of a document while it is written.

use super::buffer::Origin;
use super::document::{Node, Tag};
use super::text::same;
use crate::error::{Code, Error, Result};

/// Room at the beginning: enough for most small messages.
const FIRST_NODES: usize = 16;

/// So many entries are made ready at once: few enough to be in the cache still when they are written.
const STEP: usize = 2048;

/// Room is made for so many entries at once.
const ROOM: usize = 2;

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
        nodes.truncate(most_ready(max_nodes));
        TapeWriter { nodes, used: 0, max_nodes, size, origin }
    }

    /// Adds the first entries, which are few.
    pub fn begin_with(&mut self, nodes: &[Node]) {
        if self.nodes.len() < nodes.len() {
            self.nodes.reserve_exact(FIRST_NODES.max(nodes.len()) - self.nodes.len());
            self.nodes.resize(nodes.len(), Node::new(Tag::Null, 0, 0));
        }
        self.nodes[..nodes.len()].copy_from_slice(nodes);
        self.used = nodes.len();
    }

    /// Makes sure that two entries can be pushed. `at` tells how many bytes of the message were read.
    #[inline(always)]
    pub fn make_room(&mut self, at: usize) -> Result<()> {
        if self.used + ROOM > self.nodes.len() {
            // By value, so that all of this can be in registers otherwise.
            let nodes = std::mem::take(&mut self.nodes);
            self.nodes = grow(nodes, self.used, at, self.size, self.max_nodes, self.origin)?;
        }
        Ok(())
    }

    /// Adds an entry, for which there is room, and gives its index.
    #[inline(always)]
    pub fn push(&mut self, node: Node) -> u32 {
        let index = self.used;
        self.nodes[index] = node;
        self.used = index + 1;
        index as u32
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
    pub fn finish(mut self) -> Result<Vec<Node>> {
        if self.used > self.max_nodes {
            return Err(too_many_values(self.max_nodes));
        }
        self.nodes.truncate(self.used);
        Ok(self.nodes)
    }
}

#[cold]
fn may_have_key(members: &[Node], first: u32, message: &[u8], key: &[u8]) -> bool {
    const MANY: usize = 64;
    let mut at = 0;
    for _ in 0..MANY {
        let Some(node) = members.get(at) else { return false };
        if node.tag() == Tag::Str
            && node.len as usize == key.len()
            && let Some(text) = message.get(node.data as usize..).and_then(|text| text.get(..key.len()))
            && same(text, key)
        {
            return true;
        }
        at += 1;
        at = match members.get(at) {
            Some(node) if matches!(node.tag(), Tag::Array | Tag::Map) => (node.data - u64::from(first)) as usize,
            _ => at + 1,
        };
    }
    true
}

/// How many entries may be made ready. That there are too many is found after they were written.
fn most_ready(max_nodes: usize) -> usize {
    max_nodes.saturating_add(ROOM)
}

/// Makes more entries ready than the `used` ones; as much memory is taken as the rest of the message seems to need if it is
/// like the part that was read, of which there has to be a little. That guess is not trusted with more memory than the message
/// itself has.
#[cold]
fn grow(
    mut nodes: Vec<Node>,
    used: usize,
    at: usize,
    size: usize,
    max_nodes: usize,
    origin: &Origin,
) -> Result<Vec<Node>> {
    if used > max_nodes {
        return Err(too_many_values(max_nodes));
    }
    let (need, most_ready) = (used + ROOM, most_ready(max_nodes));
    if need > nodes.capacity() {
        let guess = (used as u128 * size as u128 / at.max(1) as u128) as usize;
        let most = (size / size_of::<Node>()).max(2 * used).max(FIRST_NODES);
        let first = nodes.capacity() < FIRST_NODES && need <= FIRST_NODES;
        let want = match first {
            true => FIRST_NODES,
            false => guess.saturating_add(guess / 16).min(most).max(need + used / 4),
        };
        let want = want.min(most_ready);
        if !first && let Some(mut larger) = origin.take_tape(want, guess) {
            // What is in it needs no clearing.
            let common = used.min(larger.len());
            larger[..common].copy_from_slice(&nodes[..common]);
            larger.extend_from_slice(&nodes[common..used]);
            larger.truncate(most_ready);
            origin.keep_tape(std::mem::replace(&mut nodes, larger));
        } else {
            nodes
                .try_reserve_exact(want - nodes.len())
                .map_err(|_| Error::new(Code::System, format!("no memory for the index of {want} values")))?;
        }
    }
    if nodes.len() < need {
        let ready = nodes.capacity().min(used + STEP).min(most_ready);
        nodes.resize(ready, Node::new(Tag::Null, 0, 0));
    }
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
