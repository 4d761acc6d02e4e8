//! The tape of a document while it is written.

use super::buffer::Origin;
use super::document::Node;
use crate::error::{Code, Error, Result};

/// Room at the beginning: enough for most small messages.
const FIRST_NODES: usize = 16;

/// Takes the entries of one message, in order.
pub(crate) struct TapeWriter<'a> {
    nodes: Vec<Node>,
    /// How many entries fit without a further look at memory and bound.
    room: usize,
    max_nodes: usize,
    /// How many bytes the message has.
    size: usize,
    origin: &'a Origin,
}

impl<'a> TapeWriter<'a> {
    /// For a message of `size` bytes. `nodes` is memory to begin with.
    pub fn new(mut nodes: Vec<Node>, size: usize, max_nodes: usize, origin: &'a Origin) -> TapeWriter<'a> {
        nodes.clear();
        nodes.reserve(FIRST_NODES);
        TapeWriter { room: nodes.capacity().min(max_nodes), nodes, max_nodes, size, origin }
    }

    /// Adds an entry and gives its index. `at` is how many bytes of the message were read.
    #[inline(always)]
    pub fn push(&mut self, node: Node, at: usize) -> Result<u32> {
        let index = self.nodes.len();
        if index >= self.room {
            self.grow(at)?;
        }
        self.nodes.push(node);
        Ok(index as u32)
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// An entry, to be completed.
    #[inline]
    pub fn at(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }

    /// The tape.
    pub fn finish(self) -> Vec<Node> {
        self.nodes
    }

    /// Makes room, for as many entries as the rest of the message seems to hold if it is like the part that was
    /// read. That guess is not trusted with more memory than the message itself has.
    #[cold]
    fn grow(&mut self, at: usize) -> Result<()> {
        let have = self.nodes.len();
        if have >= self.max_nodes {
            return Err(too_many_values(self.max_nodes));
        }
        let guess = (have as u128 * self.size as u128 / at.max(1) as u128) as usize;
        let most = (self.size / size_of::<Node>()).max(2 * have);
        let want = guess.saturating_add(guess / 16).min(most).max(have + have / 4 + 1).min(self.max_nodes);
        if let Some(mut larger) = self.origin.take_tape(want, guess) {
            larger.extend_from_slice(&self.nodes);
            self.origin.keep_tape(std::mem::replace(&mut self.nodes, larger));
        } else {
            self.nodes
                .try_reserve_exact(want - have)
                .map_err(|_| Error::new(Code::System, format!("no memory for the index of {want} values")))?;
        }
        self.room = self.nodes.capacity().min(self.max_nodes);
        Ok(())
    }
}

fn too_many_values(max: usize) -> Error {
    Error::new(
        Code::Limit,
        format!(
            "the message has more than {max} values, whose index would be larger than the limit of the message size (option max_message_size)"
        ),
    )
}
