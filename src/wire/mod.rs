//! Layer 1: bytes to documents and back. Knows both generations of the wslink wire format and
//! nothing of sockets, threads or time.
//!
//! * [`document`] and [`value`]: a received message, in one form for both generations;
//! * `tape`, `entry` and `text`: the index of the values in a message, its entries, and short strings in it;
//! * [`json`] (generation 1) and [`msgpack`] (generation 2): the two encodings;
//! * [`builder`] and [`args`]: the arguments of a call, before the generation is known;
//! * [`decoder`]: bytes that the application has to a document;
//! * [`envelope`] and `remote`: the map around every message, message ids, and the errors that a server sends;
//! * [`numbers`]: binary data as arrays of numbers;
//! * [`attachments`] (generation 1) and [`chunks`] (generation 2): how binary data and large messages travel;
//! * [`outgoing`]: a message as the WebSocket frames that carry it;
//! * [`buffer`], `pool`, `memory` and [`secret`]: the memory of messages; [`limits`]: bounds on it.

pub mod args;
pub mod attachments;
pub mod buffer;
pub mod builder;
pub mod chunks;
pub mod decoder;
pub mod document;
pub(crate) mod entry;
pub mod envelope;
pub mod json;
pub mod limits;
pub(crate) mod memory;
pub mod msgpack;
pub mod numbers;
pub mod outgoing;
mod pool;
pub(crate) mod remote;
pub mod secret;
mod tape;
mod text;
pub mod value;

/// A generation of the wslink wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Protocol {
    /// JSON text and separate attachments: wslink 0.1 to 1.12.
    V1 = 1,
    /// msgpack, split into chunks: wslink 2.
    V2 = 2,
}
