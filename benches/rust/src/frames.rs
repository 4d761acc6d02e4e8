//! WebSocket frames, to the extent that a load server needs them.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The header of a received frame.
pub struct Head {
    pub opcode: u8,
    pub mask: [u8; 4],
    /// Size of the header, and of the payload.
    pub size: usize,
    pub payload: usize,
}

/// The header at the beginning of `bytes`, if it is complete.
pub fn parse(bytes: &[u8]) -> Option<Head> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (payload, mut size) = match second & 127 {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize, 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        short => (short as usize, 2),
    };
    let mut mask = [0; 4];
    if second & 128 != 0 {
        mask = bytes.get(size..size + 4)?.try_into().ok()?;
        size += 4;
    }
    Some(Head { opcode: first & 15, mask, size, payload })
}

/// Appends the header of a whole message, unmasked like those of servers.
pub fn put(out: &mut Vec<u8>, opcode: u8, payload: usize) {
    out.push(128 | opcode);
    match payload {
        0..126 => out.push(payload as u8),
        126..65536 => {
            out.push(126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// Unmasks the beginning of a payload.
pub fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = bytes.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// The header of a chunk of protocol 2.
pub fn chunk(id: u32, offset: usize, total: usize) -> [u8; 12] {
    let mut head = [0; 12];
    head[..4].copy_from_slice(&id.to_le_bytes());
    head[4..8].copy_from_slice(&(offset as u32).to_le_bytes());
    head[8..].copy_from_slice(&(total as u32).to_le_bytes());
    head
}

/// Id, offset and total of a chunk.
pub fn parse_chunk(bytes: &[u8]) -> Option<(u32, usize, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((word(0)?, word(4)? as usize, word(8)? as usize))
}
