//! A file descriptor for the event loop of the application: a pipe, which holds one byte while events are queued.

use std::io::{self, PipeReader, PipeWriter, Read, Write};

/// The pipe.
pub struct Descriptor {
    reader: PipeReader,
    writer: PipeWriter,
    raised: bool,
}

impl Descriptor {
    /// A descriptor that is not readable.
    pub fn new() -> io::Result<Descriptor> {
        let (reader, writer) = io::pipe()?;
        Ok(Descriptor { reader, writer, raised: false })
    }

    /// Makes the descriptor readable or not.
    pub fn set(&mut self, raise: bool) {
        if self.raised == raise {
            return;
        }
        // Neither blocks, because the pipe is empty before the write and holds one byte before the read.
        let done = if raise { self.writer.write_all(&[1]).is_ok() } else { self.reader.read_exact(&mut [0]).is_ok() };
        self.raised = raise == done;
    }

    /// The end of the pipe that becomes readable.
    pub fn reader(&self) -> &PipeReader {
        &self.reader
    }

    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        self.raised
    }
}
