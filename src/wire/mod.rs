//! Floor 1: bytes to documents and back. Knows both generations of the wslink wire format and
//! nothing of sockets, threads or time.
//!
//! * [`document`] and [`value`]: what arrived, in one form for both generations;
//! * [`json`] (generation 1) and [`msgpack`] (generation 2): the two encodings;
//! * [`builder`] and [`args`]: what a call sends, before the generation is known;
//! * [`decoder`]: messages of either generation to documents;
//! * [`envelope`]: the map around every message, and message ids;
//! * [`undecoded`]: small messages that wait undecoded;
//! * [`attachments`] (1) and [`chunks`] (2): how binary data travels;
//! * [`outgoing`]: a message as the frames that carry it.

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
pub mod msgpack;
pub mod outgoing;
pub mod secret;
mod tape;
mod text;
pub mod undecoded;
pub mod value;

/// A generation of the wslink wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Protocol {
    /// JSON text and separate attachments: wslink 0.1 to 1.12.
    V1 = 1,
    /// msgpack in chunks: wslink 2.
    V2 = 2,
}
