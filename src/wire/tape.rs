//! The tape of a document: the index of its values.

use super::entry::{Entry, LARGEST_MESSAGE, MOST_ENTRIES, Node, Tag};
use super::pool::PoolRef;
use super::text::same;
use crate::error::{Code, Error, Result};

/// The values of one message, in the order of the message: an entry for each, and the values that do not fit in
/// entries.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub entries: Vec<Entry>,
    /// Boxed, so that a tape is small: it is moved for each message, and few messages have wide values.
    wide: Option<Box<Wide>>,
}

/// Values that do not fit in entries.
#[derive(Debug, Default)]
struct Wide {
    floats: Vec<f64>,
    nodes: Vec<Node>,
}

/// The lengths of a tape at some time, to go back to.
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

    /// How many bytes of memory the tape takes.
    pub fn memory(&self) -> usize {
        let wide = |wide: &Wide| size_of::<f64>() * wide.floats.capacity() + size_of::<Node>() * wide.nodes.capacity();
        size_of::<Entry>() * self.entries.capacity() + self.wide.as_deref().map_or(0, wide)
    }

    /// Ends a container behind the last entry.
    pub fn end(&mut self, container: u32) {
        let end = self.entries.len() as u32;
        let entry = &mut self.entries[container as usize];
        *entry = entry.ended(end);
    }

    /// The current lengths.
    pub fn mark(&self) -> Mark {
        let (floats, nodes) = self.wide.as_deref().map_or((0, 0), |wide| (wide.floats.len(), wide.nodes.len()));
        Mark { entries: self.entries.len(), floats, nodes }
    }

    /// Removes everything that was added since [`mark`](Tape::mark).
    pub fn truncate(&mut self, to: &Mark) {
        self.entries.truncate(to.entries);
        if let Some(wide) = &mut self.wide {
            wide.floats.truncate(to.floats);
            wide.nodes.truncate(to.nodes);
        }
    }

    /// Keeps only the first entries. Memory beyond `capacity` entries is freed.
    pub fn clear_to(&mut self, first: usize, capacity: usize) {
        self.truncate(&Mark { entries: first, ..Mark::default() });
        self.entries.shrink_to(capacity);
        if self.wide.as_deref().is_some_and(|wide| wide.floats.capacity() + wide.nodes.capacity() > capacity) {
            self.wide = None;
        }
    }

    /// The entry of a node. If the node does not fit in an entry, it is stored in the tape and the entry has its index.
    #[inline(always)]
    pub fn entry_of(&mut self, node: Node) -> Result<Entry> {
        match Entry::of(node) {
            Some(entry) => Ok(entry),
            None => self.add_wide(node),
        }
    }

    /// Stores a float in the tape and returns its entry.
    #[inline(always)]
    pub fn add_float(&mut self, v: f64) -> Result<Entry> {
        let floats = &mut self.wide.get_or_insert_default().floats;
        if floats.len() == floats.capacity() {
            grow_wide(floats)?;
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
            grow_wide(nodes)?;
        }
        nodes.push(node);
        Ok(Entry::wide(nodes.len() - 1))
    }

    /// The stored float with this index.
    #[inline(always)]
    pub fn float(&self, index: usize) -> Option<f64> {
        self.floats().get(index).copied()
    }

    /// All stored floats.
    #[inline(always)]
    pub fn floats(&self) -> &[f64] {
        self.wide.as_deref().map_or(&[], |wide| &wide.floats)
    }

    /// The stored node with this index.
    pub fn node(&self, index: usize) -> Option<Node> {
        self.wide.as_deref()?.nodes.get(index).copied()
    }
}

/// The first capacity: enough for most small messages.
const FIRST_ENTRIES: usize = 16;

/// How many entries are initialised at a time: few enough to be in the cache when they are written.
const STEP: usize = 2048;

/// For how many entries [`TapeWriter::make_room`] makes room.
const ROOM: usize = 2;

/// Writes the tape of one message.
pub(crate) struct TapeWriter<'a> {
    /// `used` entries that were written, and behind them initialised memory.
    entries: Vec<Entry>,
    used: usize,
    /// Receives wide values at once, and `entries` at the end.
    tape: &'a mut Tape,
    max_entries: usize,
    /// The size of the message in bytes.
    size: usize,
    pool: &'a PoolRef,
}

impl<'a> TapeWriter<'a> {
    /// For a message of `size` bytes, which [`check_size`] allows. `tape` is empty.
    pub fn new(tape: &'a mut Tape, size: usize, max_entries: usize, pool: &'a PoolRef) -> TapeWriter<'a> {
        debug_assert!(tape.entries.is_empty() && tape.wide.is_none());
        TapeWriter { entries: Vec::new(), used: 0, tape, max_entries: max_entries.min(MOST_ENTRIES), size, pool }
    }

    /// Makes sure that two entries can be pushed. `at` is the number of bytes of the message that were read.
    #[inline(always)]
    pub fn make_room(&mut self, at: usize) -> Result<()> {
        if self.used + ROOM > self.entries.len() {
            // Passed by value, so that the compiler can keep the fields of the writer in registers.
            let entries = std::mem::take(&mut self.entries);
            let most = self.most()?;
            self.entries = grow(entries, self.used, at, self.size, most, self.pool)?;
        }
        Ok(())
    }

    /// Adds an entry, for which there must be room, and returns its index.
    #[inline(always)]
    pub fn push(&mut self, entry: Entry) -> u32 {
        let index = self.used;
        self.entries[index] = entry;
        self.used = index + 1;
        index as u32
    }

    /// As [`Tape::entry_of`].
    #[cold]
    #[inline(never)]
    pub fn entry_of(&mut self, node: Node) -> Result<Entry> {
        self.tape.entry_of(node)
    }

    /// As [`Tape::add_float`].
    #[inline(always)]
    pub fn float(&mut self, v: f64) -> Result<Entry> {
        self.tape.add_float(v)
    }

    /// How many entries were written.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.used as u32
    }

    /// An entry, to be changed.
    #[inline(always)]
    pub fn at(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    /// Whether the map at `map` has this key already. All its members must be complete. Returns `true` for a map with
    /// very many keys, because comparing each key with all others takes too long.
    #[inline(always)]
    pub fn may_have_key(&self, map: u32, message: &[u8], key: &[u8]) -> bool {
        may_have_key(self.entries.get(..self.used).unwrap_or_default(), map, message, key)
    }

    /// How many entries are allowed: `max_entries` without what the wide values take of it. An error if more were
    /// written.
    #[inline(always)]
    fn most(&self) -> Result<usize> {
        let most = match &self.tape.wide {
            None => Some(self.max_entries),
            Some(wide) => self.max_entries.checked_sub(wide.floats.len() + 2 * wide.nodes.len()),
        };
        most.filter(|most| self.used <= *most).ok_or_else(|| too_many_values(self.max_entries))
    }

    /// Moves the entries to the tape.
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
            // A wide entry: its text is not at hand here.
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

/// How many entries may be initialised: [`ROOM`] more than the limit, because the limit is checked only after entries
/// were written.
fn max_initialised(max_entries: usize) -> usize {
    max_entries.saturating_add(ROOM)
}

/// Initialises entries behind the `used` ones, and allocates if necessary. How much is allocated is extrapolated from
/// the part of the message that was read, but is at most the size of the message.
#[cold]
fn grow(
    mut entries: Vec<Entry>,
    used: usize,
    at: usize,
    size: usize,
    max_entries: usize,
    pool: &PoolRef,
) -> Result<Vec<Entry>> {
    let (need, max_initialised) = (used + ROOM, max_initialised(max_entries));
    if need > entries.capacity() {
        let guess = (used as u128 * size as u128 / at.max(1) as u128) as usize;
        let most = (size / size_of::<Entry>()).max(2 * used).max(FIRST_ENTRIES);
        let first = entries.capacity() < FIRST_ENTRIES && need <= FIRST_ENTRIES;
        let want = match first {
            true => FIRST_ENTRIES,
            false => guess.saturating_add(guess / 16).min(most).max(need + used / 4),
        };
        let want = want.min(max_initialised);
        if !first && let Some(mut larger) = pool.take_entries(want, guess) {
            // Its old entries are initialised memory and stay.
            let common = used.min(larger.len());
            larger[..common].copy_from_slice(&entries[..common]);
            larger.extend_from_slice(&entries[common..used]);
            larger.truncate(max_initialised);
            pool.recycle_entries(std::mem::replace(&mut entries, larger));
        } else {
            entries
                .try_reserve_exact(want - entries.len())
                .map_err(|_| Error::new(Code::System, format!("no memory for the index of {want} values")))?;
        }
    }
    if entries.len() < need {
        let initialised = entries.capacity().min(used + STEP).min(max_initialised);
        entries.resize(initialised, Entry::NULL);
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

/// Grows by a quarter, so that unused capacity is small: wide values count for the limit of the index.
#[cold]
fn grow_wide<T>(vec: &mut Vec<T>) -> Result<()> {
    let more = (vec.len() / 4).max(FIRST_ENTRIES);
    vec.try_reserve_exact(more).map_err(|_| Error::new(Code::System, format!("no memory for {more} more numbers")))
}

/// Fails if a message of `size` bytes is too large for the 32-bit offsets in tape entries.
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
