//! Shared by the server and the clients of the benchmark.

pub mod frames;
pub mod messages;
pub mod meter;
pub mod tree;

/// The frames of a `bench.echo` call and its reply, for clients that exchange bytes only.
pub const CALL: usize = 124;
pub const REPLY: usize = 95;
/// The frame of a small publication.
pub const SMALL: usize = 74;
/// The number of bytes that surround the data of an upload.
pub const UPLOAD: usize = 128;

/// A byte of a blob, by its position.
pub fn pattern(place: usize) -> u8 {
    let place = place % PERIOD;
    (place * 31 + place / 251) as u8
}
/// The period of a blob's bytes.
pub const PERIOD: usize = 1 << 20;
