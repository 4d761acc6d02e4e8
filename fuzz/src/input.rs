//! Takes the input of a target apart from its beginning. Missing bytes are zero or empty, so that every input is valid.

/// The unread rest of an input.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn short(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    /// At most `n` bytes.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes with their length before them: two bytes, little endian.
    pub fn block(&mut self) -> &'a [u8] {
        let n = self.short();
        self.bytes(n.into())
    }

    /// Short text with its length before it; bytes that are not UTF-8 are replaced.
    pub fn text(&mut self) -> String {
        let n = self.byte();
        String::from_utf8_lossy(self.bytes(n.into())).into_owned()
    }
}
