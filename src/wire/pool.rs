//! The pool that recycles the memory of large messages and of their tapes. Fresh memory costs a page fault per 4 KiB,
//! which for a large message takes longer than receiving it; recycled memory costs none.

use super::buffer::{BEHIND, MessageBuf};
use super::entry::Entry;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// Smaller allocations are left to the allocator, which is fast enough for them.
pub(super) const SMALLEST_POOLED: usize = 64 << 10;

/// Memory of dropped messages, to be used by later ones. Cheap to clone; all clones are one pool.
#[derive(Debug, Clone)]
pub struct BufferPool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The oldest first.
    free: Mutex<Vec<Memory>>,
    /// How many bytes `free` may hold.
    max_bytes: usize,
}

#[derive(Debug)]
enum Memory {
    /// Of a message.
    Bytes(Vec<u8>),
    /// Of a tape.
    Entries(Vec<Entry>),
}

impl Memory {
    fn size(&self) -> usize {
        match self {
            Memory::Bytes(data) => data.capacity(),
            Memory::Entries(entries) => entries.capacity() * size_of::<Entry>(),
        }
    }
}

impl BufferPool {
    /// A pool that holds at most `max_bytes` of free memory.
    pub fn new(max_bytes: usize) -> BufferPool {
        BufferPool(Arc::new(Inner { free: Mutex::new(Vec::new()), max_bytes }))
    }

    /// An empty buffer for a message of `size` bytes. Its memory comes from the pool if a free buffer fits; otherwise
    /// it is allocated when the first bytes arrive.
    pub fn take(&self, size: usize) -> MessageBuf {
        let least = size.saturating_add(BEHIND);
        let fits =
            |memory: &Memory| matches!(memory, Memory::Bytes(data) if data.len() >= least && data.len() / 4 <= size);
        let data = match if size >= SMALLEST_POOLED { self.0.take(fits) } else { None } {
            Some(Memory::Bytes(data)) => data,
            _ => Vec::new(),
        };
        MessageBuf::for_message(data, size, PoolRef(Arc::downgrade(&self.0)))
    }

    /// Returns all free memory to the allocator.
    pub fn trim(&self) {
        let free = std::mem::take(&mut *self.0.free.lock());
        drop(free);
    }

    /// How many bytes are free.
    #[cfg(any(test, feature = "internals"))]
    pub fn unused(&self) -> usize {
        self.0.free.lock().iter().map(Memory::size).sum()
    }
}

impl Inner {
    /// The smallest that fits, so that a large one is left for a large message.
    fn take(&self, fits: impl Fn(&Memory) -> bool) -> Option<Memory> {
        let mut free = self.free.lock();
        let best = (0..free.len()).filter(|&i| fits(&free[i])).min_by_key(|&i| free[i].size())?;
        Some(free.remove(best))
    }

    /// Keeps `memory`. If the pool would exceed its limit, the oldest memory is freed.
    fn recycle(&self, memory: Memory) {
        let size = memory.size();
        if size > self.max_bytes {
            return;
        }
        // Freed after the lock is released.
        let mut evicted = Vec::new();
        {
            let mut free = self.free.lock();
            let mut total: usize = free.iter().map(Memory::size).sum();
            while total + size > self.max_bytes {
                let oldest = free.remove(0);
                total -= oldest.size();
                evicted.push(oldest);
            }
            free.push(memory);
        }
    }
}

/// The pool to which a message returns its memory. Refers to nothing for messages without a pool, and after the pool
/// was dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct PoolRef(Weak<Inner>);

impl PoolRef {
    /// A tape with room for at least `least` entries, of any content, if the pool has one that is at most four times as
    /// large as `guess`.
    pub fn take_entries(&self, least: usize, guess: usize) -> Option<Vec<Entry>> {
        let most = guess.max(least).saturating_mul(4);
        let fits = |memory: &Memory| matches!(memory, Memory::Entries(entries) if (least..=most).contains(&entries.capacity()));
        match self.0.upgrade()?.take(fits) {
            Some(Memory::Entries(entries)) => Some(entries),
            _ => None,
        }
    }

    /// Returns the memory of a tape.
    #[inline]
    pub fn recycle_entries(&self, entries: Vec<Entry>) {
        self.recycle(Memory::Entries(entries));
    }

    /// Returns the memory of a message.
    #[inline]
    pub fn recycle_bytes(&self, bytes: Vec<u8>) {
        self.recycle(Memory::Bytes(bytes));
    }

    #[inline]
    fn recycle(&self, memory: Memory) {
        if memory.size() >= SMALLEST_POOLED
            && let Some(pool) = self.0.upgrade()
        {
            pool.recycle(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::RoomFor;
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
        let address = a.as_ptr();
        drop(a);
        let b = pool.take(90_000);
        assert!(b.is_empty());
        drop(b);
        let b = filled(&pool, 90_000);
        assert_eq!((b.as_ptr(), b.len()), (address, 90_000));
    }

    #[test]
    fn the_pool_holds_no_more_than_it_may() {
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
        assert_eq!(pool.take(100_000).capacity(), 0);
    }
}
