//! Short strings: comparing them, checking them for ASCII, and finding duplicate keys. Without library calls, which
//! take longer than the work itself.

const HIGH: u64 = 0x8080_8080_8080_8080;

/// With this many bytes behind it, a text of any length can be read in one step.
pub(crate) const PADDING: usize = 16;

/// Masks for the first 0 to 15 bytes.
static FIRST_BYTES: [u128; PADDING] = {
    let mut masks = [0; PADDING];
    let mut len = 1;
    while len < PADDING {
        masks[len] = u128::MAX >> (8 * (PADDING - len));
        len += 1;
    }
    masks
};

/// A text, with its first bytes in a register.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    /// All bytes of a text of at most 16 bytes; not used for a longer one.
    short: u128,
    len: usize,
    from_here: &'a [u8],
}

impl<'a> Text<'a> {
    /// The first `len` bytes of `from_here`. Faster if `from_here` has at least [`PADDING`] bytes.
    #[inline(always)]
    pub fn new(from_here: &'a [u8], len: usize) -> Text<'a> {
        let first = match from_here.first_chunk::<PADDING>() {
            Some(first) => u128::from_le_bytes(*first),
            None => {
                let mut first = [0; PADDING];
                first[..from_here.len()].copy_from_slice(from_here);
                u128::from_le_bytes(first)
            }
        };
        let short = FIRST_BYTES.get(len).map_or(first, |mask| first & mask);
        Text { short, len, from_here }
    }

    /// The bytes.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        &self.from_here[..self.len]
    }

    /// Whether all bytes are ASCII.
    #[inline(always)]
    pub fn is_ascii(&self) -> bool {
        if self.len <= PADDING {
            (self.short as u64 | (self.short >> 64) as u64) & HIGH == 0
        } else {
            is_ascii(self.bytes())
        }
    }

    /// Two words that differ for most different texts.
    #[inline(always)]
    fn words(&self) -> (u64, u64) {
        if self.len <= PADDING { (self.short as u64, (self.short >> 64) as u64) } else { words(self.bytes()) }
    }
}

/// Whether all bytes of a text of more than 16 bytes are ASCII.
#[inline(always)]
fn is_ascii(text: &[u8]) -> bool {
    // The first and the last bytes, which may overlap, instead of a loop, which is slower for such lengths.
    if let (Some(first), Some(last), ..=64) = (text.first_chunk::<16>(), text.last_chunk::<16>(), text.len()) {
        let mut bits = u128::from_le_bytes(*first) | u128::from_le_bytes(*last);
        if let (Some(first), Some(last), 33..) = (text.first_chunk::<32>(), text.last_chunk::<32>(), text.len()) {
            bits |= bits_of(first) | bits_of(last);
        }
        (bits as u64 | (bits >> 64) as u64) & HIGH == 0
    } else {
        text.is_ascii()
    }
}

/// The two halves, combined by "or".
#[inline(always)]
fn bits_of(text: &[u8; 32]) -> u128 {
    let (first, second) = text.split_at(16);
    let word = |half: &[u8]| half.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
    word(first) | word(second)
}

/// Whether two texts are equal.
#[inline(always)]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    // Words from the beginning on, and the last word, which may overlap with them. Without a call of `memcmp`, for
    // which registers would be saved.
    if len >= 8 {
        let mut at = 0;
        while at + 8 < len {
            if a[at..at + 8] != b[at..at + 8] {
                return false;
            }
            at += 8;
        }
        a[len - 8..] == b[len - 8..]
    } else if len >= 4 {
        a[..4] == b[..4] && a[len - 4..] == b[len - 4..]
    } else {
        len == 0 || a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1]
    }
}

/// The first and the last eight bytes; for a text of less than eight bytes, all bytes in the first word. Texts of the
/// same length up to 16 bytes are equal if their words are.
#[inline(always)]
fn words(text: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32, 0)
    } else {
        match *text {
            [a] => (u64::from(a), 0),
            [a, b] => (u64::from(u16::from_le_bytes([a, b])), 0),
            [a, b, c] => (u64::from(u32::from_le_bytes([a, b, c, 0])), 0),
            _ => (0, 0),
        }
    }
}

/// The keys of a map so far, as a Bloom filter of 64 bits: two bits for each key, all bits if a key may be a duplicate.
/// With one bit for each key, every third map of eight keys would have a false positive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys(u64);

impl Keys {
    /// No keys.
    pub const NONE: Keys = Keys(0);

    /// Adds a key. Returns `true` if it may be a duplicate; then the keys themselves must be compared.
    #[inline(always)]
    #[must_use]
    pub fn add(&mut self, key: Text<'_>) -> bool {
        let (a, b) = key.words();
        let mixed = (a ^ b.rotate_left(29) ^ key.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = 1 << (mixed >> 58) | 1 << (mixed >> 52 & 63);
        let known = self.0 & bits == bits;
        self.0 |= bits;
        known
    }

    /// Notes that a key may be a duplicate.
    #[inline(always)]
    pub fn give_up(&mut self) {
        self.0 = u64::MAX;
    }

    /// Whether there is certainly no duplicate key.
    #[inline(always)]
    pub fn are_distinct(self) -> bool {
        self.0 != u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_differ_in_every_byte() {
        for len in (0..40).chain(60..70) {
            let text: Vec<u8> = (0..len).map(|i| b'a' + i as u8 % 26).collect();
            let ascii = |text: &[u8]| {
                let padded = [text, &[0xff; PADDING]].concat();
                let found = Text::new(text, len).is_ascii();
                assert_eq!(found, Text::new(&padded, len).is_ascii());
                found
            };
            assert!(same(&text, &text.clone()) && ascii(&text), "{len}");
            assert!(!same(&text, &[&text[..], b"x"].concat()), "{len}");
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!same(&text, &other) && !ascii(&other), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn a_key_that_occurs_twice_is_never_missed() {
        let keys: Vec<String> = (0..50).map(|i| "k".repeat(i)).collect();
        for twice in &keys {
            let mut seen = Keys::NONE;
            assert!(!seen.add(Text::new(twice.as_bytes(), twice.len())));
            let _ = seen.add(Text::new(b"between", 7));
            // The same key, with something else behind it.
            let behind = format!("{twice} and much more behind it");
            assert!(seen.add(Text::new(behind.as_bytes(), twice.len())), "{twice}");
        }
    }
}
