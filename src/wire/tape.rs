//! The tape of a document: the index of its values.

use super::buffer::Origin;
use super::entry::{Entry, LARGEST_MESSAGE, MOST_ENTRIES, Node, Tag};
use super::text::same;
use crate::error::{Code, Error, Result};

/// The values of one message, in order: an entry for each, and what does not fit in one.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub entries: Vec<Entry>,
    /// Apart, because few messages have such, and a tape is moved for each.
    wide: Option<Box<Wide>>,
}

/// What does not fit in entries.
#[derive(Debug, Default)]
struct Wide {
    floats: Vec<f64>,
    nodes: Vec<Node>,
}

/// How much there was in a tape.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    entries: usize,
    floats: usize,
    nodes: usize,
}

impl Tape {
    pub fn with_capacity(entries: usize) -> Tape {
        Tape { entries: Vec::with_capacity(entries), wide: None }
    }

    /// How much memory it takes.
    pub fn memory(&self) -> usize {
        let wide = |wide: &Wide| size_of::<f64>() * wide.floats.capacity() + size_of::<Node>() * wide.nodes.capacity();
        size_of::<Entry>() * self.entries.capacity() + self.wide.as_deref().map_or(0, wide)
    }

    /// Ends a container here.
    pub fn end(&mut self, container: u32) {
        let end = self.entries.len() as u32;
        let entry = &mut self.entries[container as usize];
        *entry = entry.ended(end);
    }

    /// How much there is.
    pub fn mark(&self) -> Mark {
        let (floats, nodes) = self.wide.as_deref().map_or((0, 0), |wide| (wide.floats.len(), wide.nodes.len()));
        Mark { entries: self.entries.len(), floats, nodes }
    }

    /// Goes back to there.
    pub fn truncate(&mut self, to: &Mark) {
        self.entries.truncate(to.entries);
        if let Some(wide) = &mut self.wide {
            wide.floats.truncate(to.floats);
            wide.nodes.truncate(to.nodes);
        }
    }

    /// Keeps the first entries, and memory for so many; nothing of what does not fit in entries.
    pub fn clear_to(&mut self, first: usize, entries: usize) {
        self.truncate(&Mark { entries: first, ..Mark::default() });
        self.entries.shrink_to(entries);
        if self.wide.as_deref().is_some_and(|wide| wide.floats.capacity() + wide.nodes.capacity() > entries) {
            self.wide = None;
        }
    }

    /// The entry of a node, of which is kept here what does not fit.
    #[inline(always)]
    pub fn entry_of(&mut self, node: Node) -> Result<Entry> {
        match Entry::of(node) {
            Some(entry) => Ok(entry),
            None => self.add_wide(node),
        }
    }

    /// The entry of a float that is in none of the bytes.
    #[inline(always)]
    pub fn add_float(&mut self, v: f64) -> Result<Entry> {
        let floats = &mut self.wide.get_or_insert_default().floats;
        if floats.len() == floats.capacity() {
            more_room(floats)?;
        }
        floats.push(v);
        Ok(Entry::float(floats.len() - 1))
    }

    #[cold]
    fn add_wide(&mut self, node: Node) -> Result<Entry> {
        if node.tag == Tag::Float {
            return self.add_float(f64::from_bits(node.data));
        }
        let nodes = &mut self.wide.get_or_insert_default().nodes;
        if nodes.len() == nodes.capacity() {
            more_room(nodes)?;
        }
        nodes.push(node);
        Ok(Entry::wide(nodes.len() - 1))
    }

    /// The float with this index, which is in none of the bytes.
    #[inline(always)]
    pub fn float(&self, index: usize) -> Option<f64> {
        self.floats().get(index).copied()
    }

    /// All of those.
    #[inline(always)]
    pub fn floats(&self) -> &[f64] {
        self.wide.as_deref().map_or(&[], |wide| &wide.floats)
    }

    /// The node with this index, which does not fit in an entry.
    pub fn node(&self, index: usize) -> Option<Node> {
        self.wide.as_deref()?.nodes.get(index).copied()
    }
}

/// Room at the beginning: enough for most small messages.
const FIRST_ENTRIES: usize = 16;

/// So many entries are made ready at once: few enough to be in the cache still when they are written.
const STEP: usize = 2048;

/// Room is made for so many entries at once.
const ROOM: usize = 2;

/// Takes the values of one message, in order.
pub(crate) struct TapeWriter<'a> {
    /// Entries that are written, and behind them some that are ready to be.
    entries: Vec<Entry>,
    used: usize,
    /// Where they go in the end, and at once what does not fit in them.
    tape: &'a mut Tape,
    max_entries: usize,
    /// How many bytes the message has.
    size: usize,
    origin: &'a Origin,
}

impl<'a> TapeWriter<'a> {
    /// For a message of `size` bytes, which [`check_size`] allows. `tape` is memory to begin with, whatever is in it.
    pub fn new(tape: &'a mut Tape, size: usize, max_entries: usize, origin: &'a Origin) -> TapeWriter<'a> {
        let max_entries = max_entries.min(MOST_ENTRIES);
        let mut entries = std::mem::take(&mut tape.entries);
        entries.truncate(most_ready(max_entries));
        if let Some(wide) = &mut tape.wide {
            wide.floats.clear();
            wide.nodes.clear();
        }
        TapeWriter { entries, used: 0, tape, max_entries, size, origin }
    }

    /// Adds the first entries, which are few.
    pub fn begin_with(&mut self, entries: &[Entry]) {
        if self.entries.len() < entries.len() {
            self.entries.reserve_exact(FIRST_ENTRIES.max(entries.len()) - self.entries.len());
            self.entries.resize(entries.len(), Entry::NULL);
        }
        self.entries[..entries.len()].copy_from_slice(entries);
        self.used = entries.len();
    }

    /// Makes sure that two entries can be pushed. `at` tells how many bytes of the message were read.
    #[inline(always)]
    pub fn make_room(&mut self, at: usize) -> Result<()> {
        if self.used + ROOM > self.entries.len() {
            // By value, so that all of this can be in registers otherwise.
            let entries = std::mem::take(&mut self.entries);
            let most = self.most()?;
            self.entries = grow(entries, self.used, at, self.size, most, self.origin)?;
        }
        Ok(())
    }

    /// Adds an entry, for which there is room, and gives its index.
    #[inline(always)]
    pub fn push(&mut self, entry: Entry) -> u32 {
        let index = self.used;
        self.entries[index] = entry;
        self.used = index + 1;
        index as u32
    }

    /// The entry of a node, which may not fit.
    #[cold]
    #[inline(never)]
    pub fn entry_of(&mut self, node: Node) -> Result<Entry> {
        self.tape.entry_of(node)
    }

    /// The entry of a float that is in none of the bytes.
    #[inline(always)]
    pub fn float(&mut self, v: f64) -> Result<Entry> {
        self.tape.add_float(v)
    }

    /// How many entries there are.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.used as u32
    }

    /// An entry, to be completed.
    #[inline(always)]
    pub fn at(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    /// Whether one of the keys of the map at `map`, whose members so far are all complete, has this text. Gives up with
    /// `true` if there are very many: to look at all of them for each one would take too long.
    #[inline(always)]
    pub fn may_have_key(&self, map: u32, message: &[u8], key: &[u8]) -> bool {
        may_have_key(self.entries.get(..self.used).unwrap_or_default(), map, message, key)
    }

    /// How many entries there may be for what the others leave; an error if there are more.
    #[inline(always)]
    fn most(&self) -> Result<usize> {
        let most = match &self.tape.wide {
            None => Some(self.max_entries),
            Some(wide) => self.max_entries.checked_sub(wide.floats.len() + 2 * wide.nodes.len()),
        };
        most.filter(|most| self.used <= *most).ok_or_else(|| too_many_values(self.max_entries))
    }

    /// Completes the tape.
    #[inline(always)]
    pub fn finish(mut self) -> Result<()> {
        self.most()?;
        self.entries.truncate(self.used);
        self.tape.entries = self.entries;
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn may_have_key(entries: &[Entry], map: u32, message: &[u8], key: &[u8]) -> bool {
    const MANY: usize = 64;
    let first = map + 1;
    let members = entries.get(first as usize..).unwrap_or_default();
    let mut at = 0;
    for _ in 0..MANY {
        let Some(entry) = members.get(at) else { return false };
        if !entry.is_text_of(key.len()) {
            // The key may be where no entry can tell.
            if !entry.is_self_contained() {
                return true;
            }
        } else if let Some(text) = message.get(entry.place() as usize..).and_then(|text| text.get(..key.len()))
            && same(text, key)
        {
            return true;
        }
        at += 1;
        at = match members.get(at) {
            Some(entry) if entry.is_container() => (entry.place() - first) as usize,
            _ => at + 1,
        };
    }
    true
}

/// How many entries may be made ready. That there are too many is found after they were written.
fn most_ready(max_entries: usize) -> usize {
    max_entries.saturating_add(ROOM)
}

/// Makes more entries ready than the `used` ones; as much memory is taken as the rest of the message seems to need if it is
/// like the part that was read, of which there has to be a little. That guess is not trusted with more memory than the message
/// itself has.
#[cold]
fn grow(
    mut entries: Vec<Entry>,
    used: usize,
    at: usize,
    size: usize,
    max_entries: usize,
    origin: &Origin,
) -> Result<Vec<Entry>> {
    let (need, most_ready) = (used + ROOM, most_ready(max_entries));
    if need > entries.capacity() {
        let guess = (used as u128 * size as u128 / at.max(1) as u128) as usize;
        let most = (size / size_of::<Entry>()).max(2 * used).max(FIRST_ENTRIES);
        let first = entries.capacity() < FIRST_ENTRIES && need <= FIRST_ENTRIES;
        let want = match first {
            true => FIRST_ENTRIES,
            false => guess.saturating_add(guess / 16).min(most).max(need + used / 4),
        };
        let want = want.min(most_ready);
        if !first && let Some(mut larger) = origin.take_entries(want, guess) {
            // What is in it needs no clearing.
            let common = used.min(larger.len());
            larger[..common].copy_from_slice(&entries[..common]);
            larger.extend_from_slice(&entries[common..used]);
            larger.truncate(most_ready);
            origin.keep_entries(std::mem::replace(&mut entries, larger));
        } else {
            entries
                .try_reserve_exact(want - entries.len())
                .map_err(|_| Error::new(Code::System, format!("no memory for the index of {want} values")))?;
        }
    }
    if entries.len() < need {
        let ready = entries.capacity().min(used + STEP).min(most_ready);
        entries.resize(ready, Entry::NULL);
    }
    Ok(entries)
}

#[cold]
fn too_many_values(max: usize) -> Error {
    let limit = match max {
        MOST_ENTRIES => format!("more than {max} entries"),
        _ => format!(
            "more than {} bytes, the limit of the message size (option max_message_size)",
            max * size_of::<Entry>()
        ),
    };
    Error::new(Code::Limit, format!("the message has too many values: their index would have {limit}"))
}

/// Grows by a quarter: what does not fit in entries counts for the limit of the index, and shall not take much more than that.
#[cold]
fn more_room<T>(vec: &mut Vec<T>) -> Result<()> {
    let more = (vec.len() / 4).max(FIRST_ENTRIES);
    vec.try_reserve_exact(more).map_err(|_| Error::new(Code::System, format!("no memory for {more} more numbers")))
}

/// Whether the places in a message of this size can be told.
#[inline]
pub(super) fn check_size(size: usize) -> Result<()> {
    if size > LARGEST_MESSAGE {
        return Err(Error::new(
            Code::Limit,
            format!("a message of {size} bytes; the protocol ends at {LARGEST_MESSAGE}"),
        ));
    }
    Ok(())
}
