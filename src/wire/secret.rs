//! Text that is wiped from memory when it is not needed any more.

use std::fmt;
use std::ops::Deref;
use zeroize::Zeroizing;

/// A secret. Its memory is overwritten when it is dropped, and it is not printed for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Copies. What it was copied from stays with the caller.
impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(Zeroizing::new(text.to_owned()))
    }
}

/// Takes the memory over, and wipes it too.
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
