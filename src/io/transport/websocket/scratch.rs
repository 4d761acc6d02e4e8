//! The buffer between messages and the socket. Data is masked (RFC 6455 section 5.3) while it is copied into this buffer, and
//! written to the socket while it is in the processor's caches.

use super::mask::{self, Mask};
use std::io::{self, Write};
use zeroize::Zeroize;

/// The size of the buffer, and of a write: half a MiB, and room for the headers around data of a round size. Without that
/// room, the last few bytes would cost another write.
pub const SCRATCH_SIZE: usize = (512 << 10) + (4 << 10);

/// The initial size of the buffer, which is enough for small messages.
const INITIAL_SIZE: usize = 1 << 10;

/// The scratch buffer. Its memory is kept and reused.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    /// The number of bytes put in since the buffer was last cleared.
    filled: usize,
    /// The number of these bytes that the socket has accepted.
    written: usize,
    /// The bytes include a secret, and its mask next to it.
    secret: bool,
}

impl Scratch {
    /// The number of bytes put in since the buffer was last cleared.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The number of these bytes that the socket has accepted.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether all bytes are written.
    pub fn is_empty(&self) -> bool {
        self.written == self.filled
    }

    /// The bytes that are not written yet.
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..self.filled]
    }

    /// The socket has accepted `n` bytes.
    pub fn advance(&mut self, n: usize) {
        self.written += n;
    }

    /// Empties the buffer, and wipes a secret in it.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.secret) {
            self.bytes[..self.filled].zeroize();
        }
        (self.filled, self.written) = (0, 0);
    }

    /// Prepares for a secret, which is wiped after it is written. `size`: room for the secret and other data. The buffer does not
    /// grow while it holds a secret, because growing would leave a copy in freed memory.
    pub fn reserve_secret(&mut self, size: usize) {
        if !self.secret {
            self.room(size);
            self.secret = true;
        }
    }

    /// Makes room for `wanted` bytes and returns the room there is. It is less if the buffer is full or no memory is available.
    /// An empty buffer always has some room.
    pub fn room(&mut self, wanted: usize) -> usize {
        let wanted = wanted.min(SCRATCH_SIZE - self.filled);
        let need = self.filled + wanted;
        if need > self.bytes.len() && !self.secret {
            let size = need.max((2 * need).min(SCRATCH_SIZE)).max(INITIAL_SIZE);
            // If there is no memory for the initial size, the process aborts, as for any small allocation.
            if size == INITIAL_SIZE || self.bytes.try_reserve_exact(size - self.bytes.len()).is_ok() {
                self.bytes.resize(size, 0);
            }
        }
        wanted.min(self.bytes.len() - self.filled)
    }

    /// Appends `data`, masked. There must be room for it.
    pub fn put_masked(&mut self, data: &[u8], mask: Mask) {
        mask::copy(data, self.append(data.len()), mask);
    }

    /// Appends `n` bytes, for the caller to fill.
    fn append(&mut self, n: usize) -> &mut [u8] {
        let begin = self.filled;
        self.filled += n;
        &mut self.bytes[begin..self.filled]
    }
}

/// For frame headers. There must be room for them.
impl Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes.len()).copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_wiped_and_does_not_move() {
        let mut scratch = Scratch::default();
        assert_eq!(scratch.room(6), 6);
        scratch.put_masked(b"before", [0; 4]);
        scratch.reserve_secret(100_000);
        let place = scratch.unwritten().as_ptr();
        scratch.put_masked(&[7; 99_000], [0; 4]);
        scratch.write_all(&[7; 1000]).unwrap();
        let room = scratch.room(usize::MAX);
        scratch.put_masked(&vec![7; room], [0; 4]);
        assert_eq!((scratch.unwritten().as_ptr(), scratch.room(1)), (place, 0));
        scratch.advance(scratch.unwritten().len());
        assert!(scratch.is_empty() && scratch.bytes.iter().all(|byte| *byte != 0));
        scratch.clear();
        assert!(scratch.bytes.iter().all(|byte| *byte == 0));
        assert_eq!(scratch.room(usize::MAX), SCRATCH_SIZE);
    }
}
