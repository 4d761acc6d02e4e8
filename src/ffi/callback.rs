//! Callbacks of C: a function, the data it is called with, and a function that frees the data.

use std::ffi::c_void;

/// Frees user data. Called exactly once for every callback that was handed to the library, after its last
/// call, and also when the function it was handed to failed.
pub type wslink_drop_fn = Option<extern "C" fn(user: *mut c_void)>;

/// The data of a callback, with its release. Made first in every function that takes a callback, so that
/// every way out of the function releases it.
pub struct UserData {
    pointer: *mut c_void,
    drop: wslink_drop_fn,
}

// SAFETY: the header says that callbacks and their release may run on any thread (which one is said at
// each), so the application has agreed to the data being there.
unsafe impl Send for UserData {}
// SAFETY: as above; the library only hands the pointer back.
unsafe impl Sync for UserData {}

impl UserData {
    /// Takes charge of the data.
    pub fn new(pointer: *mut c_void, drop: wslink_drop_fn) -> UserData {
        UserData { pointer, drop }
    }

    /// The data. A method, so that closures hold all of this and not a copy of the pointer.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            drop(self.pointer);
        }
    }
}

/// Memory of the application that the library reads from where it is.
pub struct ForeignBytes {
    pointer: *const u8,
    len: usize,
    _user: UserData,
}

// SAFETY: the memory is only read, and the header says that it stays valid and unchanged until released.
unsafe impl Send for ForeignBytes {}
// SAFETY: as above.
unsafe impl Sync for ForeignBytes {}

impl ForeignBytes {
    /// Takes charge of memory that `user` releases.
    pub fn new(data: &[u8], user: UserData) -> ForeignBytes {
        ForeignBytes { pointer: data.as_ptr(), len: data.len(), _user: user }
    }
}

impl AsRef<[u8]> for ForeignBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: made from a slice, and valid until released, which is when this is dropped.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }
}
