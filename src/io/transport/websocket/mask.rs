//! Masking of payload (RFC 6455 section 5.3). A key is kept rotated, so that its first byte is for the next byte of payload.

/// A masking key.
pub type Mask = [u8; 4];

/// Masks or unmasks `data` in place.
pub fn apply(data: &mut [u8], mask: Mask) {
    let (words, rest) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ repeated(mask)).to_ne_bytes();
    }
    for (i, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[i % 4];
    }
}

/// Masks or unmasks `from` into `to`, which has the same length.
pub fn copy(from: &[u8], to: &mut [u8], mask: Mask) {
    let (from, from_rest) = from.as_chunks::<8>();
    let (to, to_rest) = to.as_chunks_mut::<8>();
    for (to, from) in to.iter_mut().zip(from) {
        *to = (u64::from_ne_bytes(*from) ^ repeated(mask)).to_ne_bytes();
    }
    for (i, (to, from)) in to_rest.iter_mut().zip(from_rest).enumerate() {
        *to = from ^ mask[i % 4];
    }
}

/// The key for the byte after `n` bytes.
pub fn rotated(mask: Mask, n: usize) -> Mask {
    u32::from_le_bytes(mask).rotate_right(8 * (n % 4) as u32).to_le_bytes()
}

fn repeated(mask: Mask) -> u64 {
    u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_in_pieces_is_masked_like_the_whole() {
        let data: Vec<u8> = (0..3000u32).map(|i| (i * 7 + i / 251) as u8).collect();
        let key = [0x12, 0x9f, 0x03, 0xc4];
        let masked: Vec<u8> = data.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        for size in 1..40 {
            let (mut copied, mut in_place) = (vec![0; data.len()], data.clone());
            let mut mask = key;
            for ((from, to), place) in data.chunks(size).zip(copied.chunks_mut(size)).zip(in_place.chunks_mut(size)) {
                copy(from, to, mask);
                apply(place, mask);
                mask = rotated(mask, from.len());
            }
            assert!(copied == masked && in_place == masked, "in pieces of {size}");
        }
    }
}
