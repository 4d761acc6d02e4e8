//! Bytes that are on their way to the socket. Data is masked (RFC 6455 section 5.3) while it is copied here, in one pass, and
//! this is small enough to stay in the processor's cache until it is written.

use std::io::{self, Write};
use zeroize::Zeroize;

/// So much is masked and written at once.
pub const SCRATCH: usize = 512 << 10;

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
    /// How much can be put here.
    pub fn room(&self) -> usize {
        SCRATCH.saturating_sub(self.filled)
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

    /// A secret follows, which is wiped when it is written, in at most so many bytes that are put here until then: they
    /// are not to outgrow their memory, because that would leave a copy behind.
    pub fn keep_secret(&mut self, most: usize) {
        if !std::mem::replace(&mut self.secret, true) {
            self.grow(most);
        }
    }

    /// Puts `data` here, masked with a key whose first byte is for the first byte of the data.
    pub fn put_masked(&mut self, data: &[u8], mask: [u8; 4]) {
        let word = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
        let (from, rest) = data.as_chunks::<8>();
        let (to, last) = self.take(data.len()).as_chunks_mut::<8>();
        for (to, from) in to.iter_mut().zip(from) {
            *to = (u64::from_ne_bytes(*from) ^ word).to_ne_bytes();
        }
        for (i, (to, from)) in last.iter_mut().zip(rest).enumerate() {
            *to = from ^ mask[i % 4];
        }
    }

    /// The next `n` bytes, to be written to.
    fn take(&mut self, n: usize) -> &mut [u8] {
        self.grow(n);
        let begin = self.filled;
        self.filled += n;
        &mut self.bytes[begin..self.filled]
    }

    /// Makes sure that `n` bytes more have their place.
    fn grow(&mut self, n: usize) {
        let need = self.filled + n;
        if need > self.bytes.len() {
            let size = if need <= SMALL { SMALL } else { need.max(SCRATCH.min(2 * need)) };
            self.bytes.resize(size, 0);
        }
    }
}

impl Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes.len()).copy_from_slice(bytes);
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
                scratch.put_masked(piece, mask);
                mask = turned(mask, piece.len());
            }
            assert_eq!(scratch.unwritten(), masked, "in pieces of {size}");
            scratch.advance(1000);
            assert_eq!(scratch.unwritten(), &masked[1000..]);
            assert_eq!(scratch.room(), SCRATCH - data.len());
        }
    }

    #[test]
    fn a_secret_is_wiped_and_does_not_move() {
        let mut scratch = Scratch::default();
        scratch.put_masked(b"before", [0; 4]);
        scratch.keep_secret(100_000);
        let place = scratch.unwritten().as_ptr();
        scratch.put_masked(&[7; 99_000], [0; 4]);
        scratch.write_all(&[7; 1000]).unwrap();
        assert_eq!(scratch.unwritten().as_ptr(), place);
        scratch.advance(scratch.unwritten().len());
        assert!(scratch.is_empty() && !scratch.bytes.iter().all(|byte| *byte == 0));
        scratch.clear();
        assert!(scratch.bytes.iter().all(|byte| *byte == 0));
    }
}
