//! C callbacks: a function, its user data, and a function that frees the user data.

use crate::platform::cancelling::Uncancelled;
use std::ffi::c_void;

/// Frees user data. Called exactly once for every callback that was passed to the library: after the last call of the
/// callback, or when the function to which it was passed fails.
///
/// Runs on any thread: on that of the last call of the callback, or inside the function that ends or replaces the
/// callback. No lock is held. It may use the library, but not the session or configuration that is being freed or
/// changed.
pub type wslink_drop_fn = Option<extern "C" fn(user: *mut c_void)>;

/// The user data of a callback, freed on drop. Created first in every function that takes a callback, so that the data
/// is also freed if the function fails.
pub struct UserData {
    pointer: *mut c_void,
    drop: wslink_drop_fn,
}

// SAFETY: the header says on which threads a callback and its drop function run, so the application provides data that
// may be used there.
unsafe impl Send for UserData {}
// SAFETY: as above; the library only passes the pointer to the callback.
unsafe impl Sync for UserData {}

impl UserData {
    /// Takes ownership of the data.
    pub fn new(pointer: *mut c_void, drop: wslink_drop_fn) -> UserData {
        UserData { pointer, drop }
    }

    /// The data. A method, so that a closure that uses it captures the whole `UserData` and not only the pointer.
    pub fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            let _uncancelled = Uncancelled::new();
            drop(self.pointer);
        }
    }
}

/// Memory of the application that the library reads without a copy.
pub struct ForeignBytes {
    pointer: *const u8,
    len: usize,
    _user: UserData,
}

// SAFETY: the memory is only read, and the header requires that it stays valid and unchanged until it is released.
unsafe impl Send for ForeignBytes {}
// SAFETY: as above.
unsafe impl Sync for ForeignBytes {}

impl ForeignBytes {
    /// Takes ownership of memory that dropping `user` releases.
    pub fn new(data: &[u8], user: UserData) -> ForeignBytes {
        ForeignBytes { pointer: data.as_ptr(), len: data.len(), _user: user }
    }
}

impl AsRef<[u8]> for ForeignBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: pointer and length are those of a slice, which is valid until `_user` is dropped.
        unsafe { std::slice::from_raw_parts(self.pointer, self.len) }
    }
}
