//! Memory for messages and their tapes: taken from a small pool, written once, given back when the last view
//! of the message is dropped. Fresh memory costs a page fault per 4 KiB, which for large messages is more
//! than receiving them; used again it costs nothing.

use super::entry::Entry;
use super::text::PADDING;
use crate::error::{Code, Error, Result};
use parking_lot::Mutex;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use zeroize::Zeroize;

/// Buffers below this are not worth keeping: the allocator has them at hand.
const SMALLEST_KEPT: usize = 64 << 10;

/// So much memory lies behind a large message, for what comes with its end: the beginning of the next frame.
pub const BEHIND: usize = 512;

/// What memory a read asks for.
#[derive(Debug, Clone, Copy)]
pub struct RoomFor {
    /// For so many bytes of the message at most.
    pub payload: usize,
    /// And behind them, where nothing is yet, for so many that do not belong there and are taken away at once.
    pub beyond: usize,
}

impl RoomFor {
    /// Bytes of the message alone.
    pub fn payload(most: usize) -> RoomFor {
        RoomFor { payload: most, beyond: 0 }
    }

    /// If no more than this has a place: what comes is not what was announced, and nothing goes beyond it.
    pub fn at_most(self, left: usize) -> RoomFor {
        if self.payload > left { RoomFor::payload(left) } else { self }
    }
}

/// Buffers of finished messages, for the next ones. Cheap to clone; all clones are one pool.
#[derive(Debug, Clone)]
pub struct BufferPool(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    /// The oldest first.
    free: Mutex<Vec<Spare>>,
    /// How many bytes may lie unused.
    keep: usize,
}

/// Memory that lies unused.
#[derive(Debug)]
enum Spare {
    Bytes(Vec<u8>),
    Entries(Vec<Entry>),
}

impl Spare {
    fn size(&self) -> usize {
        match self {
            Spare::Bytes(data) => data.capacity(),
            Spare::Entries(entries) => entries.capacity() * size_of::<Entry>(),
        }
    }
}

impl BufferPool {
    /// A pool that keeps at most `keep` bytes of unused buffers.
    pub fn new(keep: usize) -> BufferPool {
        BufferPool(Arc::new(Shelf { free: Mutex::new(Vec::new()), keep }))
    }

    /// An empty buffer for a message of `size` bytes, with memory that the pool has.
    pub fn take(&self, size: usize) -> MessageBuf {
        let least = size.saturating_add(BEHIND);
        let fits = |spare: &Spare| matches!(spare, Spare::Bytes(data) if data.len() >= least && data.len() / 4 <= size);
        let data = match if size >= SMALLEST_KEPT { self.0.take(fits) } else { None } {
            Some(Spare::Bytes(data)) => data,
            _ => Vec::new(),
        };
        MessageBuf { data, filled: 0, expected: size, origin: Origin(Arc::downgrade(&self.0)), secret: false }
    }

    /// Gives all unused memory back to the allocator.
    pub fn trim(&self) {
        let unused = std::mem::take(&mut *self.0.free.lock());
        drop(unused);
    }

    /// How many bytes lie unused.
    pub fn unused(&self) -> usize {
        self.0.free.lock().iter().map(Spare::size).sum()
    }
}

impl Shelf {
    /// The smallest that fits, so that a large one stays for a large message.
    fn take(&self, fits: impl Fn(&Spare) -> bool) -> Option<Spare> {
        let mut free = self.free.lock();
        let best = (0..free.len()).filter(|&i| fits(&free[i])).min_by_key(|&i| free[i].size())?;
        Some(free.remove(best))
    }

    fn give_back(&self, spare: Spare) {
        let size = spare.size();
        if size > self.keep {
            return;
        }
        let mut dropped = Vec::new();
        {
            let mut free = self.free.lock();
            let mut total: usize = free.iter().map(Spare::size).sum();
            while total + size > self.keep {
                let old = free.remove(0);
                total -= old.size();
                dropped.push(old);
            }
            free.push(spare);
        }
    }
}

/// The pool that memory goes back to, if it has one and that still exists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin(Weak<Shelf>);

impl Origin {
    /// A tape with room for at least `least` entries and anything in it, if the pool has one that is not far too large for
    /// `guess`.
    pub fn take_entries(&self, least: usize, guess: usize) -> Option<Vec<Entry>> {
        let most = guess.max(least).saturating_mul(4);
        let fits =
            |spare: &Spare| matches!(spare, Spare::Entries(entries) if (least..=most).contains(&entries.capacity()));
        match self.0.upgrade()?.take(fits) {
            Some(Spare::Entries(entries)) => Some(entries),
            _ => None,
        }
    }

    /// Keeps the memory of a tape that is not needed any more.
    #[inline]
    pub fn keep_entries(&self, entries: Vec<Entry>) {
        self.keep(Spare::Entries(entries));
    }

    #[inline]
    fn keep(&self, spare: Spare) {
        if spare.size() >= SMALLEST_KEPT
            && let Some(shelf) = self.0.upgrade()
        {
            shelf.give_back(spare);
        }
    }
}

/// How much memory is taken at once on the word of a header alone. It is asked for as zeroed pages,
/// which the system provides one by one when they are written: what never arrives costs nothing.
const FIRST_STEP: usize = 64 << 20;

/// The bytes of one message. Grows while the message arrives, then never changes.
#[derive(Debug, Default)]
pub struct MessageBuf {
    /// All of it is initialised memory; the message is the beginning of it, and there is room for [`PADDING`] more, behind a
    /// large one for [`BEHIND`].
    data: Vec<u8>,
    filled: usize,
    /// How large the message will be, as far as is known.
    expected: usize,
    origin: Origin,
    /// Wiped when it is dropped or moved.
    secret: bool,
}

impl MessageBuf {
    /// From now on all memory that this has had is wiped before it is given back.
    pub(crate) fn keep_secret(&mut self) {
        self.secret = true;
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.secret
    }

    /// Makes room for so many bytes behind the others, and leaves no copy where they were before.
    fn move_secret(&mut self, more: usize) -> Result<()> {
        if self.data.capacity() - self.filled < more {
            let mut larger = Vec::new();
            make_room(&mut larger, (2 * self.filled + more).max(64))?;
            larger.extend_from_slice(&self.data[..self.filled]);
            std::mem::replace(&mut self.data, larger).zeroize();
        }
        Ok(())
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where the next bytes go: at least one, and no more than is wanted; what is wanted beyond the payload only behind all of
    /// that. To be followed by [`advance`](MessageBuf::advance).
    pub fn room(&mut self, what: RoomFor) -> Result<&mut [u8]> {
        if self.filled == self.data.len() {
            self.grow()?;
        }
        let end = self.filled.saturating_add(what.payload).saturating_add(what.beyond);
        let end = self.data.len().min(end);
        Ok(&mut self.data[self.filled..end])
    }

    /// Memory that is taken.
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// Makes sure of some room, of exactly `size` bytes if this is the beginning and they are few.
    pub fn reserve(&mut self, size: usize) -> Result<()> {
        if self.data.is_empty() && size < SMALLEST_KEPT {
            self.data = vec![0; size + PADDING];
        } else if self.filled == self.data.len() {
            self.grow()?;
        }
        Ok(())
    }

    /// `n` bytes of what [`room`](MessageBuf::room) gave were written.
    pub fn advance(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.data.len());
    }

    /// Appends a copy.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.filled + bytes.len();
        if end <= self.data.len() {
            self.data[self.filled..end].copy_from_slice(bytes);
        } else if end < SMALLEST_KEPT || self.secret {
            if self.secret {
                self.move_secret(bytes.len() + PADDING)?;
            }
            // Small messages come whole: no memory is cleared for them.
            self.data.truncate(self.filled);
            make_room(&mut self.data, bytes.len() + PADDING)?;
            self.data.extend_from_slice(bytes);
        } else {
            let mut rest = bytes;
            while !rest.is_empty() {
                let room = self.room(RoomFor::payload(rest.len()))?;
                let n = room.len();
                room.copy_from_slice(&rest[..n]);
                self.advance(n);
                rest = &rest[n..];
            }
            return Ok(());
        }
        self.filled = end;
        Ok(())
    }

    /// Removes the bytes. Memory of small messages is kept.
    #[inline]
    pub fn clear(&mut self) {
        if self.secret {
            self.data.zeroize();
        }
        self.filled = 0;
        if self.data.capacity() >= SMALLEST_KEPT {
            self.data = Vec::new();
        }
    }

    /// The bytes, to be changed in place, and where their memory goes back to.
    pub(crate) fn bytes_mut(&mut self) -> (&mut [u8], &Origin) {
        (&mut self.data[..self.filled], &self.origin)
    }

    /// Makes sure that there is something behind the message.
    pub(crate) fn pad(&mut self) -> Result<()> {
        let end = self.filled + PADDING;
        if end > self.data.len() {
            debug_assert!(!self.secret, "what is decoded as msgpack comes from the server");
            self.data.try_reserve_exact(end - self.data.len()).map_err(|_| no_memory(end))?;
            self.data.resize(end, 0);
        }
        Ok(())
    }

    /// Some of the bytes; of what lies behind the message, too.
    #[inline(always)]
    pub(crate) fn part(&self, start: usize, len: usize) -> Option<&[u8]> {
        debug_assert!(start + len <= self.filled);
        self.data.get(start..start + len)
    }

    /// The eight bytes of a number that msgpack wrote to this place.
    #[inline(always)]
    pub(crate) fn word_at(&self, start: usize) -> Option<u64> {
        Some(u64::from_be_bytes(*self.data.get(start..)?.first_chunk()?))
    }

    /// The same of a float64.
    #[inline(always)]
    pub(crate) fn float_at(&self, start: usize) -> Option<f64> {
        self.word_at(start).map(f64::from_bits)
    }

    /// The message and [`PADDING`] bytes of any content behind it, after [`pad`](MessageBuf::pad).
    pub(crate) fn padded(&self) -> &[u8] {
        &self.data[..self.filled + PADDING]
    }

    fn grow(&mut self) -> Result<()> {
        let have = self.data.len();
        // Never more than twice what has arrived, beyond the first step.
        let want = have.saturating_mul(2).max(FIRST_STEP);
        let size = if self.expected > have {
            self.expected.saturating_add(BEHIND).min(want)
        } else {
            want.min(have.max(16 << 10) * 2)
        };
        if have == 0 {
            self.data = bytemuck::try_zeroed_vec(size).map_err(|()| no_memory(size))?;
        } else {
            self.data.try_reserve_exact(size - have).map_err(|_| no_memory(size))?;
            self.data.resize(size, 0);
        }
        Ok(())
    }
}

/// The system has no memory for so much.
pub(crate) fn no_memory(bytes: usize) -> Error {
    Error::new(Code::System, format!("no memory for {bytes} bytes"))
}

/// Room for so many more, or an error where pushing would end the process.
pub(crate) fn make_room<T>(vec: &mut Vec<T>, more: usize) -> Result<()> {
    let bytes = vec.len().saturating_add(more).saturating_mul(size_of::<T>());
    vec.try_reserve(more).map_err(|_| no_memory(bytes))
}

/// A copy, or an error.
pub(crate) fn copy_of(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| no_memory(bytes.len()))?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

impl From<Vec<u8>> for MessageBuf {
    fn from(data: Vec<u8>) -> MessageBuf {
        MessageBuf { filled: data.len(), expected: data.len(), data, origin: Origin::default(), secret: false }
    }
}

impl Deref for MessageBuf {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.data[..self.filled]
    }
}

impl AsRef<[u8]> for MessageBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for MessageBuf {
    fn drop(&mut self) {
        if self.secret {
            self.data.zeroize();
        }
        self.origin.keep(Spare::Bytes(std::mem::take(&mut self.data)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &BufferPool, size: usize) -> MessageBuf {
        let mut buffer = pool.take(size);
        while buffer.len() < size {
            let room = buffer.room(RoomFor::payload(size - buffer.len())).unwrap();
            room.fill(7);
            let n = room.len();
            buffer.advance(n);
        }
        buffer
    }

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(1 << 20);
        let a = filled(&pool, 100_000);
        let place = a.as_ptr();
        drop(a);
        let b = pool.take(90_000);
        assert!(b.is_empty());
        drop(b);
        let b = filled(&pool, 90_000);
        assert_eq!((b.as_ptr(), b.len()), (place, 90_000));
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_may() {
        let three = 3 * (100_000 + BEHIND);
        let pool = BufferPool::new(three);
        let all: Vec<_> = (0..5).map(|_| filled(&pool, 100_000)).collect();
        drop(all);
        assert_eq!(pool.unused(), three);
        pool.trim();
        assert_eq!(pool.unused(), 0);
    }

    #[test]
    fn a_small_message_does_not_take_a_large_buffer() {
        let pool = BufferPool::new(64 << 20);
        drop(filled(&pool, 32 << 20));
        assert_eq!(pool.take(100_000).data.capacity(), 0);
    }

    #[test]
    fn memory_is_not_taken_on_the_word_of_a_header() {
        let mut buffer = BufferPool::new(0).take(usize::MAX);
        assert_eq!(buffer.room(RoomFor::payload(usize::MAX)).unwrap().len(), FIRST_STEP);
        buffer.advance(FIRST_STEP);
        assert_eq!(buffer.room(RoomFor::payload(usize::MAX)).unwrap().len(), FIRST_STEP);
    }

    #[test]
    fn appended_bytes_and_received_bytes_follow_each_other() {
        let mut buffer = BufferPool::new(0).take(10);
        buffer.append(b"abc").unwrap();
        buffer.room(RoomFor::payload(2)).unwrap().copy_from_slice(b"de");
        buffer.advance(2);
        buffer.append(&vec![b'f'; 200_000]).unwrap();
        assert_eq!(buffer.len(), 200_005);
        assert_eq!(&buffer[..7], b"abcdeff");
        buffer.append(b"z").unwrap();
        assert_eq!(buffer.last(), Some(&b'z'));
    }
}
