//! Memory that is wiped before it is freed.

use super::memory::try_reserve;
use crate::error::Result;
use std::fmt;
use std::ops::Deref;
use zeroize::{Zeroize, Zeroizing};

/// Secret text. Its memory is overwritten when it is dropped, and it is not printed for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Copies the text. The original is the caller's to wipe.
impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(Zeroizing::new(text.to_owned()))
    }
}

/// Takes the memory over, and wipes it when dropped.
impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

/// As `Vec::reserve`; if the bytes are moved, the memory where they were is wiped.
pub(super) fn try_reserve_wiping(vec: &mut Vec<u8>, additional: usize) -> Result<()> {
    if vec.capacity() - vec.len() < additional {
        let mut larger = Vec::new();
        try_reserve(&mut larger, (2 * vec.len() + additional).max(64))?;
        larger.extend_from_slice(vec);
        std::mem::replace(vec, larger).zeroize();
    }
    Ok(())
}
