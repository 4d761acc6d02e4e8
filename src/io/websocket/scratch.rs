//! Bytes that are on their way to the socket. Data is masked (RFC 6455 section 5.3) while it is copied here, in one pass, and
//! written from here before it has left the processor's caches.

use std::io::{self, Write};
use zeroize::Zeroize;

/// So much is masked and written at once: half a MiB, and what surrounds data of a round size, which would cost one more
/// write for a few bytes otherwise.
pub const SCRATCH: usize = (512 << 10) + (4 << 10);

/// Small sessions stay small until they send something large.
const SMALL: usize = 1 << 10;

/// What is to be written next. Once memory is here it stays, and is written over.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    /// How much of the bytes is of use, and how much of that is written.
    filled: usize,
    written: usize,
    /// A secret is among them, and the mask beside it.
    secret: bool,
}

impl Scratch {
    /// How much was put here since it was empty.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// How much of that is written.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether nothing is left to be written.
    pub fn is_empty(&self) -> bool {
        self.written == self.filled
    }

    /// What is left to be written.
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..self.filled]
    }

    /// So many bytes are written.
    pub fn advance(&mut self, n: usize) {
        self.written += n;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.secret) {
            self.bytes[..self.filled].zeroize();
        }
        (self.filled, self.written) = (0, 0);
    }

    /// A secret follows, which is wiped when it is written. `size`: how much room is made for it and what comes with it;
    /// it never outgrows that, because it would leave a copy behind.
    pub fn keep_secret(&mut self, size: usize) {
        if !self.secret {
            self.room(size);
            self.secret = true;
        }
    }

    /// Makes room for `wanted` bytes and tells for how many there is: fewer where this is full, and where the system has
    /// no memory for all. In an empty one there is always room for some.
    pub fn room(&mut self, wanted: usize) -> usize {
        let wanted = wanted.min(SCRATCH - self.filled);
        let need = self.filled + wanted;
        if need > self.bytes.len() && !self.secret {
            let size = need.max((2 * need).min(SCRATCH)).max(SMALL);
            // The smallest is taken like all small memory.
            if size == SMALL || self.bytes.try_reserve_exact(size - self.bytes.len()).is_ok() {
                self.bytes.resize(size, 0);
            }
        }
        wanted.min(self.bytes.len() - self.filled)
    }

    /// Puts `data` here, for which there is room, masked with a key whose first byte is for the first byte of the data.
    pub fn put_masked(&mut self, data: &[u8], mask: [u8; 4]) {
        let word = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
        let (from, rest) = data.as_chunks::<8>();
        let (to, last) = self.next(data.len()).as_chunks_mut::<8>();
        for (to, from) in to.iter_mut().zip(from) {
            *to = (u64::from_ne_bytes(*from) ^ word).to_ne_bytes();
        }
        for (i, (to, from)) in last.iter_mut().zip(rest).enumerate() {
            *to = from ^ mask[i % 4];
        }
    }

    /// The next `n` bytes, to be written to.
    fn next(&mut self, n: usize) -> &mut [u8] {
        let begin = self.filled;
        self.filled += n;
        &mut self.bytes[begin..self.filled]
    }
}

/// For heads of frames, for which there is room.
impl Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.next(bytes.len()).copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The key for what follows `n` bytes.
pub fn turned(mask: [u8; 4], n: usize) -> [u8; 4] {
    u32::from_le_bytes(mask).rotate_right(8 * (n % 4) as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_piece_by_piece_is_masked_as_a_whole() {
        let data: Vec<u8> = (0..3000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let key = [0x12, 0x9f, 0x03, 0xc4];
        let masked: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        for size in 1..40 {
            let mut scratch = Scratch::default();
            let mut mask = key;
            for piece in data.chunks(size) {
                assert_eq!(scratch.room(piece.len()), piece.len());
                scratch.put_masked(piece, mask);
                mask = turned(mask, piece.len());
            }
            assert_eq!(scratch.unwritten(), masked, "in pieces of {size}");
            scratch.advance(1000);
            assert_eq!(scratch.unwritten(), &masked[1000..]);
            assert_eq!(scratch.room(usize::MAX), SCRATCH - data.len());
        }
    }

    #[test]
    fn a_secret_is_wiped_and_does_not_move() {
        let mut scratch = Scratch::default();
        assert_eq!(scratch.room(6), 6);
        scratch.put_masked(b"before", [0; 4]);
        scratch.keep_secret(100_000);
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
        assert_eq!(scratch.room(usize::MAX), SCRATCH);
    }
}
