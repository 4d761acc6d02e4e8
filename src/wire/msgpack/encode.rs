//! Values to msgpack, in the shortest form.

/// Appends values to a buffer.
pub trait Encode {
    /// `nil`.
    fn nil(&mut self);
    /// A boolean.
    fn boolean(&mut self, v: bool);
    /// A signed integer; one that is not negative is written as unsigned.
    fn int(&mut self, v: i64);
    /// An unsigned integer.
    fn uint(&mut self, v: u64);
    /// A float64.
    fn float(&mut self, v: f64);
    /// A string.
    fn str(&mut self, v: &str) {
        self.utf8(v.as_bytes());
    }
    /// A string whose bytes are known to be UTF-8.
    fn utf8(&mut self, v: &[u8]);
    /// The head of binary data of this length; the data follows.
    fn bin_head(&mut self, len: u32);
    /// An extension.
    fn ext(&mut self, kind: i8, data: &[u8]);
    /// The head of an array of this length; the elements follow.
    fn array_head(&mut self, len: u32);
    /// The head of a map of this many pairs; alternating keys and values follow.
    fn map_head(&mut self, len: u32);
}

#[inline(always)]
fn head(out: &mut Vec<u8>, len: u32, fixed: Option<(u8, u32)>, b8: Option<u8>, b16: u8, b32: u8) {
    match (fixed, b8, len) {
        (Some((base, below)), _, n) if n < below => out.push(base | n as u8),
        (_, Some(b8), 0..=0xff) => out.extend([b8, len as u8]),
        (_, _, 0..=0xffff) => {
            out.push(b16);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(b32);
            out.extend(len.to_be_bytes());
        }
    }
}

impl Encode for Vec<u8> {
    fn nil(&mut self) {
        self.push(0xc0);
    }

    fn boolean(&mut self, v: bool) {
        self.push(if v { 0xc3 } else { 0xc2 });
    }

    fn int(&mut self, v: i64) {
        match v {
            0.. => self.uint(v as u64),
            -32..=-1 => self.push(v as u8),
            -0x80..=-33 => self.extend([0xd0, v as u8]),
            -0x8000..=-0x81 => {
                self.push(0xd1);
                self.extend((v as i16).to_be_bytes());
            }
            -0x8000_0000..=-0x8001 => {
                self.push(0xd2);
                self.extend((v as i32).to_be_bytes());
            }
            _ => {
                self.push(0xd3);
                self.extend(v.to_be_bytes());
            }
        }
    }

    fn uint(&mut self, v: u64) {
        match v {
            0..=0x7f => self.push(v as u8),
            0x80..=0xff => self.extend([0xcc, v as u8]),
            0x100..=0xffff => {
                self.push(0xcd);
                self.extend((v as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.push(0xce);
                self.extend((v as u32).to_be_bytes());
            }
            _ => {
                self.push(0xcf);
                self.extend(v.to_be_bytes());
            }
        }
    }

    fn float(&mut self, v: f64) {
        self.push(0xcb);
        self.extend(v.to_be_bytes());
    }

    fn utf8(&mut self, v: &[u8]) {
        head(self, v.len() as u32, Some((0xa0, 32)), Some(0xd9), 0xda, 0xdb);
        self.extend_from_slice(v);
    }

    fn bin_head(&mut self, len: u32) {
        head(self, len, None, Some(0xc4), 0xc5, 0xc6);
    }

    fn ext(&mut self, kind: i8, data: &[u8]) {
        match data.len() {
            1 => self.push(0xd4),
            2 => self.push(0xd5),
            4 => self.push(0xd6),
            8 => self.push(0xd7),
            16 => self.push(0xd8),
            n => head(self, n as u32, None, Some(0xc7), 0xc8, 0xc9),
        }
        self.push(kind as u8);
        self.extend_from_slice(data);
    }

    fn array_head(&mut self, len: u32) {
        head(self, len, Some((0x90, 16)), None, 0xdc, 0xdd);
    }

    fn map_head(&mut self, len: u32) {
        head(self, len, Some((0x80, 16)), None, 0xde, 0xdf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::msgpack::decode::decode;

    #[test]
    fn what_is_written_is_read_back() {
        for v in [0, 1, 127, 128, 255, 256, 65535, 65536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut out = Vec::new();
            out.uint(v);
            assert_eq!(decode(out.into(), 9).unwrap().root().as_u64(), Some(v));
        }
        for v in [-1, -32, -33, -128, -129, -32768, -32769, i64::from(i32::MIN), i64::from(i32::MIN) - 1, i64::MIN, 5] {
            let mut out = Vec::new();
            out.int(v);
            assert_eq!(decode(out.into(), 9).unwrap().root().as_i64(), Some(v));
        }
        for len in [0usize, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 255, 256, 65535, 65536] {
            let text = "x".repeat(len);
            let mut out = Vec::new();
            out.array_head(3);
            out.str(&text);
            out.bin_head(len as u32);
            out.extend(text.as_bytes());
            out.ext(-7, text.as_bytes());
            let d = decode(out.into(), 99).unwrap();
            let v: Vec<_> = d.root().elements().collect();
            assert_eq!(v[0].as_str(), Some(text.as_str()));
            assert_eq!(v[1].as_bytes(), Some(text.as_bytes()));
            assert_eq!(v[2].as_ext(), Some((-7, text.as_bytes())));
            let mut out = Vec::new();
            out.array_head(len as u32);
            out.extend(vec![0xc0; len]);
            assert_eq!(decode(out.into(), 99_999).unwrap().root().len(), len);
            let mut out = Vec::new();
            out.map_head(len as u32);
            out.extend(vec![0xc0; 2 * len]);
            assert_eq!(decode(out.into(), 999_999).unwrap().root().len(), len);
        }
    }
}
