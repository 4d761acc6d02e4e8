//! Bounds on what a server can make this client hold.

/// What is accepted from the server. A bound that is hit ends the message or the connection with an
/// error that names it; it never ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes: one msgpack message, one JSON text, one attachment. The index of the values in a message may
    /// take as much again, and 16 MiB in any case. It counts 8 bytes for most values, 16 for a float of JSON and a float32, 24
    /// for an extension and for an integer of JSON beyond 60 bits. Whatever the limit, a msgpack message or JSON text ends at
    /// 4 GiB, and its index at 2 GiB.
    pub message_size: u64,
    /// How many messages may be unfinished (chunked) at a time.
    pub unfinished_count: usize,
    /// How many bytes of unfinished messages are held at a time.
    pub unfinished_bytes: u64,
    /// How many attachments are kept for later messages (generation 1).
    pub attachment_count: usize,
    /// How many bytes of attachments are kept for later messages (generation 1).
    pub attachment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: 1 << 30,
            unfinished_count: 64,
            unfinished_bytes: 2 << 30,
            attachment_count: 256,
            attachment_bytes: 512 << 20,
        }
    }
}
