//! Limits on the memory that a server can make this client allocate.

/// Limits on received messages. A message beyond a limit, or the connection, ends with an error that names the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message, in bytes: one msgpack message, one JSON text, one attachment. A msgpack message or JSON
    /// text never has more than 4 GiB.
    ///
    /// The index of the values in a message has a limit of the same size, but at least 16 MiB and at most 2 GiB. In it
    /// - an extension and a JSON integer of more than 60 bits take 24 bytes,
    /// - a JSON float and a float32 take 16 bytes,
    /// - most other values take 8 bytes.
    pub message_size: u64,
    /// How many messages may be unfinished, that is, some of their chunks are missing.
    pub unfinished_count: usize,
    /// How many bytes of unfinished messages are stored. In generation 1: of attachments that no message has referred
    /// to yet.
    pub unfinished_bytes: u64,
    /// How many attachments are stored after a message has referred to them, for further references (generation 1).
    pub attachment_count: usize,
    /// How many bytes of attachments are stored after a message has referred to them (generation 1).
    pub attachment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: 1 << 30,
            unfinished_count: 64,
            unfinished_bytes: 2 << 30,
            attachment_count: 64,
            attachment_bytes: 32 << 20,
        }
    }
}
