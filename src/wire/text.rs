//! Short texts: compared, checked and told apart without calls of library functions, which cost more than the work.

const HIGH: u64 = 0x8080_8080_8080_8080;

/// Whether all bytes are ASCII.
#[inline(always)]
pub(crate) fn is_ascii(text: &[u8]) -> bool {
    let (first, last) = words(text);
    let mut bits = first | last;
    let mut rest = text;
    // Not by chunks_exact: that is made for long text, which is slower for what is usual here.
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        bits |= u64::from_le_bytes(*eight);
        rest = after;
    }
    bits & HIGH == 0
}

/// Whether two texts are equal.
#[inline(always)]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && if a.len() <= 16 { words(a) == words(b) } else { a == b }
}

/// The first and the last eight bytes; of shorter text, all bytes in the first word. Texts of the same length up to
/// 16 bytes are equal if their words are.
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

/// The keys of a map so far, roughly: enough to say of most maps that no key occurs twice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    /// One bit for each key, by its bytes.
    seen: u64,
    distinct: bool,
}

impl Keys {
    /// None yet.
    pub const NONE: Keys = Keys { seen: 0, distinct: true };

    /// One more key.
    #[inline(always)]
    pub fn add(&mut self, key: &[u8]) {
        let (a, b) = words(key);
        let mixed = (a ^ b.rotate_left(29) ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = 1 << (mixed >> 58);
        self.distinct &= self.seen & bit == 0;
        self.seen |= bit;
    }

    /// One more key, of which nothing is known.
    #[inline(always)]
    pub fn add_unknown(&mut self) {
        self.distinct = false;
    }

    /// Whether all keys are different for certain.
    #[inline(always)]
    pub fn are_distinct(self) -> bool {
        self.distinct
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_differ_in_every_byte() {
        for len in 0..40 {
            let text: Vec<u8> = (0..len).map(|i| b'a' + i as u8 % 26).collect();
            assert!(same(&text, &text.clone()) && is_ascii(&text), "{len}");
            assert!(!same(&text, &[&text[..], b"x"].concat()), "{len}");
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!same(&text, &other) && !is_ascii(&other), "byte {at} of {len}");
            }
        }
    }

    #[test]
    fn a_key_that_occurs_twice_is_never_missed() {
        let keys: Vec<String> = (0..50).map(|i| "k".repeat(i)).collect();
        for twice in &keys {
            let mut seen = Keys::NONE;
            seen.add(twice.as_bytes());
            assert!(seen.are_distinct());
            seen.add(b"between");
            seen.add(twice.as_bytes());
            assert!(!seen.are_distinct(), "{twice}");
        }
    }

    #[test]
    fn the_keys_of_most_small_maps_are_known_to_differ() {
        let distinct = (0..1000).filter(|i| {
            let mut seen = Keys::NONE;
            (0..4).for_each(|k| seen.add(format!("field {i} {k}").as_bytes()));
            seen.are_distinct()
        });
        assert!(distinct.count() > 800);
    }
}
