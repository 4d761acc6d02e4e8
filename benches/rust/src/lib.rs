//! What server and clients of the benchmark share.

pub mod frames;
pub mod messages;
pub mod meter;
pub mod tree;

/// The bytes of a call of `bench.echo` and of its reply, in frames, for those who send only bytes.
pub const CALL: usize = 124;
pub const REPLY: usize = 95;
/// The bytes of a small publication, in its frame.
pub const SMALL: usize = 74;
/// What an upload has around its data.
pub const UPLOAD: usize = 128;

/// The byte at a place of every blob.
pub fn pattern(place: usize) -> u8 {
    let place = place % PERIOD;
    (place * 31 + place / 251) as u8
}
/// After so many bytes a blob repeats itself.
pub const PERIOD: usize = 1 << 20;
