//! Gathers output: copies small pieces, refers to large ones, and writes all of them in few system calls.

use std::io::{self, IoSlice, Write};
use std::ops::Range;

enum Piece {
    Copied(Range<usize>),
    Static(&'static [u8]),
}

#[derive(Default)]
pub struct Gather {
    copied: Vec<u8>,
    pieces: Vec<Piece>,
    size: usize,
}

impl Gather {
    pub fn size(&self) -> usize {
        self.size
    }
    pub fn put(&mut self, bytes: &[u8]) {
        self.write(|copied| copied.extend_from_slice(bytes));
    }
    /// Lets `append` add bytes at the end.
    pub fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.copied.len();
        append(&mut self.copied);
        let end = self.copied.len();
        self.size += end - begin;
        match self.pieces.last_mut() {
            Some(Piece::Copied(range)) => range.end = end,
            _ => self.pieces.push(Piece::Copied(begin..end)),
        }
    }
    pub fn refer(&mut self, bytes: &'static [u8]) {
        self.size += bytes.len();
        self.pieces.push(Piece::Static(bytes));
    }
    pub fn flush(&mut self, to: &mut impl Write) -> io::Result<()> {
        let mut slices: Vec<IoSlice> = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Copied(range) => IoSlice::new(&self.copied[range.clone()]),
                Piece::Static(bytes) => IoSlice::new(bytes),
            })
            .collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match to.write_vectored(rest)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut rest, written),
            }
        }
        self.copied.clear();
        self.pieces.clear();
        self.size = 0;
        Ok(())
    }
}
