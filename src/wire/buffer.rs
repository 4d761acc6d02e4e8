//! The buffer that one message is received into.

use super::memory::{out_of_memory, try_reserve};
use super::pool::{PoolRef, SMALLEST_POOLED};
use super::secret::try_reserve_wiping;
use super::text::PADDING;
use crate::error::Result;
use std::ops::Deref;
use zeroize::Zeroize;

pub use super::pool::BufferPool;

/// How many bytes a large buffer has behind its message. A read that brings the end of a message also brings the
/// beginning of the next frame, which is received here and then moved away.
pub const BEHIND: usize = 512;

/// What memory a read asks for.
#[derive(Debug, Clone, Copy)]
pub struct RoomFor {
    /// At most this many bytes of the message.
    pub payload: usize,
    /// At most this many bytes behind the payload, where the memory is still unused. They belong to the next frame, so
    /// the reader moves them away at once.
    pub beyond: usize,
}

impl RoomFor {
    /// Bytes of the message alone.
    pub fn payload(most: usize) -> RoomFor {
        RoomFor { payload: most, beyond: 0 }
    }

    /// The same, limited for a message of which `remaining` bytes are missing. A larger payload means that the server
    /// does not keep to the size that it announced; nothing is read beyond the message then.
    pub fn at_most(self, remaining: usize) -> RoomFor {
        if self.payload > remaining { RoomFor::payload(remaining) } else { self }
    }
}

/// The most memory that is allocated because of a size that a header announces. It is allocated as zeroed pages, which
/// the system provides when they are first written: bytes that never arrive take no memory.
const FIRST_STEP: usize = 64 << 20;

/// The bytes of one message. Grows while the message arrives, then never changes. Its memory goes back to the pool when
/// the last owner of the message is dropped.
#[derive(Debug, Default)]
pub struct MessageBuf {
    /// Initialised memory. The message is its beginning. There is room for [`PADDING`] bytes behind it, in a large
    /// buffer for [`BEHIND`].
    data: Vec<u8>,
    filled: usize,
    /// The announced size of the message.
    expected: usize,
    pool: PoolRef,
    /// The memory is wiped before it is freed.
    secret: bool,
}

impl MessageBuf {
    /// An empty buffer for a message of `size` bytes. `data` is initialised memory to begin with.
    pub(super) fn for_message(data: Vec<u8>, size: usize, pool: PoolRef) -> MessageBuf {
        MessageBuf { data, filled: 0, expected: size, pool, secret: false }
    }

    /// From now on, all memory of this buffer is wiped before it is freed.
    pub(crate) fn keep_secret(&mut self) {
        self.secret = true;
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.secret
    }

    pub(crate) fn pool(&self) -> &PoolRef {
        &self.pool
    }

    /// Memory for the next bytes: at least one byte, at most `what.payload` and `what.beyond` together. It may be less
    /// than the payload; then the read has no room for bytes beyond. To be followed by
    /// [`advance`](MessageBuf::advance).
    pub fn room(&mut self, what: RoomFor) -> Result<&mut [u8]> {
        if self.filled == self.data.len() {
            self.grow()?;
        }
        let end = self.filled.saturating_add(what.payload).saturating_add(what.beyond);
        let end = self.data.len().min(end);
        Ok(&mut self.data[self.filled..end])
    }

    /// The size of the allocation.
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// Makes room for at least one more byte; for exactly `size` bytes if the buffer is empty and `size` is small.
    pub fn reserve(&mut self, size: usize) -> Result<()> {
        if self.data.is_empty() && size < SMALLEST_POOLED {
            self.data = vec![0; size + PADDING];
        } else if self.filled == self.data.len() {
            self.grow()?;
        }
        Ok(())
    }

    /// `n` bytes were written to the memory that [`room`](MessageBuf::room) returned.
    pub fn advance(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.data.len());
    }

    /// Appends a copy.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.filled + bytes.len();
        if end <= self.data.len() {
            self.data[self.filled..end].copy_from_slice(bytes);
        } else if end < SMALLEST_POOLED || self.secret {
            // A small message is appended whole, so that its memory needs no zeroing.
            self.data.truncate(self.filled);
            let additional = bytes.len() + PADDING;
            match self.secret {
                true => try_reserve_wiping(&mut self.data, additional)?,
                false => try_reserve(&mut self.data, additional)?,
            }
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

    /// Removes the bytes. The memory of a small message is kept.
    #[inline]
    pub fn clear(&mut self) {
        if self.secret {
            self.data.zeroize();
        }
        self.filled = 0;
        if self.data.capacity() >= SMALLEST_POOLED {
            self.data = Vec::new();
        }
    }

    /// The bytes, to be changed in place, and the pool.
    pub(crate) fn bytes_mut(&mut self) -> (&mut [u8], &PoolRef) {
        (&mut self.data[..self.filled], &self.pool)
    }

    /// Makes sure that there are [`PADDING`] initialised bytes behind the message.
    pub(crate) fn pad(&mut self) -> Result<()> {
        let end = self.filled + PADDING;
        if end > self.data.len() {
            debug_assert!(!self.secret, "only messages of the server are padded");
            self.data.try_reserve_exact(end - self.data.len()).map_err(|_| out_of_memory(end))?;
            self.data.resize(end, 0);
        }
        Ok(())
    }

    /// A slice of the message. For speed, only debug builds check it against the end of the message; all builds check
    /// it against the end of the memory.
    #[inline(always)]
    pub(crate) fn part(&self, start: usize, len: usize) -> Option<&[u8]> {
        debug_assert!(start + len <= self.filled);
        self.data.get(start..start + len)
    }

    /// The 64-bit number of msgpack at this offset.
    #[inline(always)]
    pub(crate) fn word_at(&self, start: usize) -> Option<u64> {
        Some(u64::from_be_bytes(*self.data.get(start..)?.first_chunk()?))
    }

    /// The float64 of msgpack at this offset.
    #[inline(always)]
    pub(crate) fn float_at(&self, start: usize) -> Option<f64> {
        self.word_at(start).map(f64::from_bits)
    }

    /// The message and the [`PADDING`] bytes behind it, of any content. Only after [`pad`](MessageBuf::pad).
    pub(crate) fn padded(&self) -> &[u8] {
        &self.data[..self.filled + PADDING]
    }

    fn grow(&mut self) -> Result<()> {
        let have = self.data.len();
        // After the first step, at most twice the memory that was filled.
        let want = have.saturating_mul(2).max(FIRST_STEP);
        let size = if self.expected > have {
            self.expected.saturating_add(BEHIND).min(want)
        } else {
            want.min(have.max(16 << 10) * 2)
        };
        if have == 0 {
            self.data = bytemuck::try_zeroed_vec(size).map_err(|()| out_of_memory(size))?;
        } else {
            self.data.try_reserve_exact(size - have).map_err(|_| out_of_memory(size))?;
            self.data.resize(size, 0);
        }
        Ok(())
    }
}

impl From<Vec<u8>> for MessageBuf {
    fn from(data: Vec<u8>) -> MessageBuf {
        MessageBuf { filled: data.len(), expected: data.len(), data, pool: PoolRef::default(), secret: false }
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
        self.pool.recycle_bytes(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_alone_does_not_decide_how_much_is_allocated() {
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
