//! Generation 2: messages are split into chunks. Each chunk is one WebSocket message that begins with a 12-byte header.
//! Source: `wslink/chunking.py` of wslink 2.

use super::buffer::{BufferPool, MessageBuf, RoomFor};
use super::limits::Limits;
use crate::error::{Code, Error, Result};
use std::collections::BTreeMap;

/// Bytes of a chunk header.
pub const HEADER_SIZE: usize = 12;

/// How many chunks of one message may arrive out of order; servers send them in order.
const MAX_OUT_OF_ORDER: usize = 4096;

/// How much memory an entry of [`Unfinished::out_of_order`] takes besides its data, about.
const OUT_OF_ORDER_OVERHEAD: u64 = 128;

/// The header of a chunk: three little-endian 32-bit numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The same for all chunks of one message.
    pub id: u32,
    /// The offset of the data of this chunk in the message.
    pub offset: u32,
    /// The size of the whole message.
    pub total: u32,
}

impl ChunkHeader {
    /// From the wire.
    pub fn from_bytes(bytes: [u8; HEADER_SIZE]) -> ChunkHeader {
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        ChunkHeader { id: word(0), offset: word(4), total: word(8) }
    }

    /// For the wire.
    pub fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[0..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.total.to_le_bytes());
        bytes
    }
}

/// Reassembles messages from chunks. Accepts any order and interleaving. Every byte of a message must arrive
/// exactly once; the reference code only counts bytes, so that overlapping chunks leave gaps there.
#[derive(Debug)]
pub struct Chunks {
    /// In the order of the first chunks that arrived. Real servers do not interleave messages, so there is at most one.
    unfinished: Vec<Unfinished>,
    limits: Limits,
    pool: BufferPool,
    dropped: u64,
}

#[derive(Debug)]
struct Unfinished {
    id: u32,
    total: u32,
    /// The beginning of the message, without a gap.
    data: MessageBuf,
    /// Chunks that arrived before the chunks that precede them, by their offsets.
    out_of_order: BTreeMap<u32, MessageBuf>,
    /// How much memory `out_of_order` takes, which may be much more than its bytes.
    out_of_order_memory: u64,
    received: u64,
}

/// A chunk whose data is being received.
#[derive(Debug, Clone, Copy)]
pub struct Arriving {
    id: u32,
    offset: u32,
    in_order: bool,
}

impl Chunks {
    /// Nothing received yet.
    pub fn new(limits: Limits, pool: BufferPool) -> Chunks {
        Chunks { unfinished: Vec::new(), limits, pool, dropped: 0 }
    }

    /// How many unfinished messages were dropped because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many bytes of the most recently begun unfinished message have been received, and its size.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.unfinished.last().map(|u| (u.received, u64::from(u.total)))
    }

    /// Whether a chunk with `len` bytes of data is a whole message.
    pub fn is_whole(&self, header: ChunkHeader, len: usize) -> bool {
        header.offset == 0
            && header.total > 0
            && header.total as usize == len
            && self.unfinished.iter().all(|u| u.id != header.id)
    }

    /// Whether a chunk that will have `len` bytes of data is a whole message and within the limits, so that it can be
    /// received without being added to the unfinished messages.
    pub fn comes_whole(&self, header: ChunkHeader, len: u64) -> bool {
        u64::from(header.total) == len
            && self.is_whole(header, header.total as usize)
            && len <= self.limits.message_size
            && self.unfinished.len() < self.limits.unfinished_count.max(1)
            && self.held() + len <= self.limits.unfinished_bytes
    }

    /// How much memory the unfinished messages take.
    fn held(&self) -> u64 {
        self.unfinished.iter().map(|u| u.received + u.out_of_order_memory).sum()
    }

    /// A chunk begins.
    pub fn begin(&mut self, header: ChunkHeader) -> Result<Arriving> {
        self.accept(header).map_err(|error| text_as_header(header).unwrap_or(error))
    }

    fn accept(&mut self, header: ChunkHeader) -> Result<Arriving> {
        let ChunkHeader { id, offset, total } = header;
        if total == 0 {
            return bad("the total size is 0");
        }
        if offset > total {
            return bad(format!("offset {offset} is beyond the total size {total}"));
        }
        if u64::from(total) > self.limits.message_size {
            return Err(limit("message", u64::from(total), self.limits.message_size, "max_message_size"));
        }
        let index = match self.unfinished.iter().position(|u| u.id == id) {
            Some(index) => {
                let known = self.unfinished[index].total;
                if known != total {
                    return bad(format!("the total size changes from {known} to {total} within a message"));
                }
                index
            }
            None => {
                if self.unfinished.len() >= self.limits.unfinished_count.max(1) {
                    self.drop_oldest();
                }
                let data = self.pool.take(total as usize);
                self.unfinished.push(Unfinished {
                    id,
                    total,
                    data,
                    out_of_order: BTreeMap::new(),
                    out_of_order_memory: 0,
                    received: 0,
                });
                self.unfinished.len() - 1
            }
        };
        let message = &mut self.unfinished[index];
        let at = message.data.len() as u64;
        if u64::from(offset) < at {
            return bad(format!("offset {offset} was already received"));
        }
        let in_order = u64::from(offset) == at;
        if !in_order {
            let before = message.out_of_order.range(..=offset).next_back();
            if before.is_some_and(|(&o, part)| o as usize + part.len() > offset as usize || o == offset) {
                return bad(format!("offset {offset} was already received"));
            }
            if message.out_of_order.len() >= MAX_OUT_OF_ORDER {
                return bad(format!("more than {MAX_OUT_OF_ORDER} chunks out of order"));
            }
            message.out_of_order.insert(offset, MessageBuf::default());
            message.out_of_order_memory += OUT_OF_ORDER_OVERHEAD;
        }
        Ok(Arriving { id, offset, in_order })
    }

    /// Memory for the next data of the chunk, at most what the read asks for. Empty if the next byte of the message has
    /// already arrived, or the message ends here. To be followed by [`arrived`](Chunks::arrived).
    pub fn room(&mut self, chunk: Arriving, what: RoomFor) -> Result<&mut [u8]> {
        let Some(message) = self.unfinished.iter_mut().find(|u| u.id == chunk.id) else {
            return bad("the message of this chunk was given up");
        };
        // The room ends where the next chunk that has already arrived begins.
        let after = chunk.offset.saturating_add(u32::from(!chunk.in_order));
        let end = message.out_of_order.range(after..).next().map_or(message.total, |(&offset, _)| offset) as usize;
        let (start, part) = if chunk.in_order {
            (0, &mut message.data)
        } else {
            match message.out_of_order.get_mut(&chunk.offset) {
                Some(part) => (chunk.offset as usize, part),
                None => return bad("the message of this chunk was given up"),
            }
        };
        let remaining = end - (start + part.len());
        if remaining == 0 {
            return Ok(&mut []);
        }
        // Chunks out of order may be many and small, so each gets only the memory that it needs.
        if !chunk.in_order {
            let before = part.capacity();
            part.reserve(remaining.min(what.payload))?;
            message.out_of_order_memory += (part.capacity() - before) as u64;
        }
        part.room(what.at_most(remaining))
    }

    /// `n` bytes were written to the memory that [`room`](Chunks::room) returned.
    pub fn arrived(&mut self, chunk: Arriving, n: usize) -> Result<()> {
        if let Some(message) = self.unfinished.iter_mut().find(|u| u.id == chunk.id) {
            message.received += n as u64;
            if chunk.in_order {
                message.data.advance(n);
            } else if let Some(part) = message.out_of_order.get_mut(&chunk.offset) {
                part.advance(n);
            }
        }
        let held = self.held();
        if held > self.limits.unfinished_bytes {
            let text = format!(
                "the server's unfinished messages have {held} bytes, and the limit is {}: raise the option \
                 max_unfinished to receive them",
                self.limits.unfinished_bytes
            );
            return Err(Error::new(Code::Limit, text));
        }
        Ok(())
    }

    /// Ends the chunk. Returns the message if it is complete.
    pub fn end(&mut self, chunk: Arriving) -> Result<Option<MessageBuf>> {
        let Some(index) = self.unfinished.iter().position(|u| u.id == chunk.id) else {
            return Ok(None);
        };
        let message = &mut self.unfinished[index];
        while let Some(part) = message.out_of_order.remove(&(message.data.len() as u32)) {
            message.data.append(&part)?;
        }
        // A chunk without data is forgotten: the same offset may come again.
        message.out_of_order.retain(|_, part| !part.is_empty());
        message.out_of_order_memory =
            message.out_of_order.values().map(|part| part.capacity() as u64 + OUT_OF_ORDER_OVERHEAD).sum();
        Ok((message.data.len() == message.total as usize).then(|| self.unfinished.remove(index).data))
    }

    fn drop_oldest(&mut self) {
        self.unfinished.remove(0);
        self.dropped += 1;
    }
}

fn bad<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Error::new(Code::Protocol, format!("the server's chunk is malformed: {what}")))
}

/// The error for a chunk that has more data than its message has room for.
pub(crate) fn beyond_total<T>() -> Result<T> {
    bad("data beyond the total size")
}

/// The error for a chunk that is shorter than its header.
pub(crate) fn without_header<T>(len: usize) -> Result<T> {
    bad(format!("{len} bytes, and the header alone has {HEADER_SIZE}"))
}

/// The error for text that was sent in place of a chunk. `None` if the header is not readable text.
#[cold]
fn text_as_header(header: ChunkHeader) -> Option<Error> {
    let bytes = header.to_bytes();
    let text = std::str::from_utf8(&bytes).ok()?;
    let readable = text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
    readable.then(|| {
        let text = format!("the server sent text where a chunk of protocol 2 begins: {text:?}. Is it a wslink server?");
        Error::new(Code::Protocol, text)
    })
}

/// The error for data of the server that is larger than an option allows.
pub(crate) fn limit(what: &str, size: u64, bound: u64, option: &str) -> Error {
    let text = format!(
        "the server's {what} has {size} bytes, and the limit is {bound}: raise the option {option} to receive it"
    );
    Error::new(Code::Limit, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks() -> Chunks {
        Chunks::new(
            Limits { message_size: 1 << 20, unfinished_count: 3, unfinished_bytes: 1000, ..Limits::default() },
            BufferPool::new(0),
        )
    }

    fn put(c: &mut Chunks, id: u32, offset: u32, total: u32, data: &[u8]) -> Result<Option<Vec<u8>>> {
        let chunk = c.begin(ChunkHeader { id, offset, total })?;
        let mut rest = data;
        while !rest.is_empty() {
            let room = c.room(chunk, RoomFor::payload(rest.len()))?;
            let n = room.len();
            if n == 0 {
                return bad("data beyond the room");
            }
            room.copy_from_slice(&rest[..n]);
            c.arrived(chunk, n)?;
            rest = &rest[n..];
        }
        Ok(c.end(chunk)?.map(|m| m.to_vec()))
    }

    #[test]
    fn the_header_is_little_endian() {
        // From a recorded hello reply.
        let bytes = [0xf6, 0xa4, 0x0c, 0xb2, 0, 0, 0, 0, 0x5f, 0, 0, 0];
        let header = ChunkHeader::from_bytes(bytes);
        assert_eq!(header, ChunkHeader { id: 0xb20ca4f6, offset: 0, total: 0x5f });
        assert_eq!(header.to_bytes(), bytes);
    }

    #[test]
    fn any_order_and_interleaving() {
        let mut c = chunks();
        assert_eq!(put(&mut c, 1, 0, 5, b"ab").unwrap(), None);
        assert_eq!(put(&mut c, 2, 3, 6, b"xyz").unwrap(), None);
        assert_eq!(put(&mut c, 1, 4, 5, b"e").unwrap(), None);
        assert_eq!(put(&mut c, 3, 2, 2, b"").unwrap(), None);
        assert_eq!(put(&mut c, 1, 2, 5, b"cd").unwrap().unwrap(), b"abcde");
        assert_eq!(put(&mut c, 2, 0, 6, b"").unwrap(), None);
        assert_eq!(put(&mut c, 2, 0, 6, b"uvw").unwrap().unwrap(), b"uvwxyz");
        assert_eq!(put(&mut c, 1, 0, 2, b"id").unwrap().unwrap(), b"id", "an id may be used again");
        assert_eq!(put(&mut c, 3, 0, 2, b"ok").unwrap().unwrap(), b"ok");
    }

    #[test]
    fn every_byte_must_come_exactly_once() {
        for (second, data) in [(0, &b"ab"[..]), (1, b"b"), (2, b"cdefg")] {
            let mut c = chunks();
            put(&mut c, 1, 0, 6, b"ab").unwrap();
            let e = put(&mut c, 1, second, 6, data).unwrap_err();
            assert_eq!(e.code(), Code::Protocol, "{second}");
        }
        let mut c = chunks();
        put(&mut c, 1, 4, 6, b"ef").unwrap();
        assert!(put(&mut c, 1, 4, 6, b"e").is_err());
        assert!(put(&mut c, 1, 5, 6, b"f").is_err());
        assert!(put(&mut c, 1, 2, 6, b"cde").is_err(), "runs into what came before");
        let mut c = chunks();
        put(&mut c, 1, 0, 6, b"ab").unwrap();
        assert!(put(&mut c, 1, 2, 7, b"c").is_err(), "another total");
        assert!(put(&mut c, 2, 0, 0, b"").is_err(), "no total");
        assert!(put(&mut c, 2, 9, 8, b"").is_err(), "beyond the total");
    }

    #[test]
    fn bounds_name_themselves() {
        let e = put(&mut chunks(), 1, 0, u32::MAX, b"").unwrap_err();
        assert_eq!(e.code(), Code::Limit);
        assert!(e.message().contains("max_message_size"), "{e}");
        let mut c = chunks();
        put(&mut c, 1, 0, 5000, &[0; 900]).unwrap();
        let e = put(&mut c, 2, 0, 5000, &[0; 200]).unwrap_err();
        assert!(e.message().contains("max_unfinished"), "{e}");
    }

    #[test]
    fn a_message_has_all_its_room_from_its_first_bytes_on() {
        let mut c = chunks();
        let chunk = c.begin(ChunkHeader { id: 1, offset: 0, total: 50_000 }).unwrap();
        assert_eq!(c.room(chunk, RoomFor::payload(100)).unwrap().len(), 100);
        c.arrived(chunk, 100).unwrap();
        assert_eq!(c.room(chunk, RoomFor::payload(usize::MAX)).unwrap().len(), 49_900);
    }

    #[test]
    fn too_many_unfinished_messages_lose_the_oldest_only() {
        let mut c = chunks();
        for id in 1..=4 {
            put(&mut c, id, 0, 2, b"a").unwrap();
        }
        assert_eq!(c.dropped(), 1);
        assert_eq!(put(&mut c, 4, 1, 2, b"b").unwrap().unwrap(), b"ab");
        assert_eq!(put(&mut c, 2, 1, 2, b"b").unwrap().unwrap(), b"ab");
    }
}
