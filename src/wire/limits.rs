//! Bounds on what a server can make this client hold.

/// What is accepted from the server. A bound that is hit ends the message or the connection with an
/// error that names it; it never ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, in bytes: one msgpack message, one JSON text, one attachment.
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
