//! Memory for messages: taken from a small pool, written once, given back when the last view of the
//! message is dropped. Fresh memory costs a page fault per 4 KiB, which for large messages is more
//! than receiving them; used again it costs nothing.

use parking_lot::Mutex;
use std::ops::Deref;
use std::sync::{Arc, Weak};

/// Buffers below this are not worth keeping: the allocator has them at hand.
const SMALLEST_KEPT: usize = 64 << 10;

/// Buffers of finished messages, for the next ones. Cheap to clone; all clones are one pool.
#[derive(Debug, Clone)]
pub struct BufferPool(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    free: Mutex<Vec<Vec<u8>>>,
    /// How many bytes may lie unused.
    keep: usize,
}

impl BufferPool {
    /// A pool that keeps at most `keep` bytes of unused buffers.
    pub fn new(keep: usize) -> BufferPool {
        BufferPool(Arc::new(Shelf { free: Mutex::new(Vec::new()), keep }))
    }

    /// An empty buffer; one with room for `size` bytes if the pool has it.
    pub fn take(&self, size: usize) -> MessageBuf {
        let mut data = Vec::new();
        if size >= SMALLEST_KEPT {
            let mut free = self.0.free.lock();
            // The smallest that is large enough, so that a large one stays for a large message.
            let best = (0..free.len())
                .filter(|&i| free[i].capacity() >= size && free[i].capacity() / 4 <= size)
                .min_by_key(|&i| free[i].capacity());
            if let Some(i) = best {
                data = free.swap_remove(i);
            }
        }
        MessageBuf { data, pool: Arc::downgrade(&self.0) }
    }

    /// Gives all unused memory back to the allocator.
    pub fn trim(&self) {
        let unused = std::mem::take(&mut *self.0.free.lock());
        drop(unused);
    }

    /// How many bytes lie unused.
    pub fn unused(&self) -> usize {
        self.0.free.lock().iter().map(Vec::capacity).sum()
    }
}

impl Shelf {
    fn give_back(&self, mut data: Vec<u8>) {
        if data.capacity() < SMALLEST_KEPT || data.capacity() > self.keep {
            return;
        }
        data.clear();
        let mut dropped = Vec::new();
        {
            let mut free = self.free.lock();
            let mut total: usize = free.iter().map(Vec::capacity).sum();
            while total + data.capacity() > self.keep {
                let old = free.remove(0);
                total -= old.capacity();
                dropped.push(old);
            }
            free.push(data);
        }
    }
}

/// The bytes of one message. Grows while the message arrives, then never changes.
#[derive(Debug, Default)]
pub struct MessageBuf {
    data: Vec<u8>,
    pool: Weak<Shelf>,
}

impl MessageBuf {
    /// The bytes, to be filled.
    pub fn vec(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }
}

impl From<Vec<u8>> for MessageBuf {
    fn from(data: Vec<u8>) -> MessageBuf {
        MessageBuf { data, pool: Weak::new() }
    }
}

impl Deref for MessageBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl AsRef<[u8]> for MessageBuf {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for MessageBuf {
    fn drop(&mut self) {
        if self.data.capacity() >= SMALLEST_KEPT
            && let Some(pool) = self.pool.upgrade()
        {
            pool.give_back(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(1 << 20);
        let mut a = pool.take(100_000);
        a.vec().reserve(100_000);
        let place = a.vec().as_ptr();
        drop(a);
        let mut b = pool.take(90_000);
        assert_eq!(b.vec().as_ptr(), place);
        assert!(b.is_empty());
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_may() {
        let pool = BufferPool::new(300_000);
        let all: Vec<_> = (0..5)
            .map(|_| {
                let mut b = pool.take(100_000);
                b.vec().reserve_exact(100_000);
                b
            })
            .collect();
        drop(all);
        assert_eq!(pool.unused(), 300_000);
        pool.trim();
        assert_eq!(pool.unused(), 0);
    }

    #[test]
    fn a_small_message_does_not_take_a_large_buffer() {
        let pool = BufferPool::new(64 << 20);
        let mut big = pool.take(32 << 20);
        big.vec().reserve_exact(32 << 20);
        drop(big);
        let mut small = pool.take(100_000);
        assert_eq!(small.vec().capacity(), 0);
    }
}
