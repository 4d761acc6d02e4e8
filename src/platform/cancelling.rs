//! Deferring `pthread_cancel`, which unwinds a thread in the middle of a system call.

#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
const DISABLE: libc::c_int = 1;
#[cfg(target_vendor = "apple")]
const DISABLE: libc::c_int = 0;

/// While this exists, requests to cancel this thread are deferred. Unwinding through the library would abort the
/// process, because Rust does not allow foreign exceptions.
pub struct Uncancelled {
    #[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
    before: libc::c_int,
}

impl Uncancelled {
    /// Begins to defer requests.
    #[inline]
    pub fn new() -> Uncancelled {
        #[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
        {
            let mut before = 0;
            // SAFETY: `before` is valid for one integer.
            unsafe { pthread_setcancelstate(DISABLE, &raw mut before) };
            Uncancelled { before }
        }
        #[cfg(not(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple")))]
        Uncancelled {}
    }
}

#[cfg(any(target_os = "linux", target_os = "freebsd", target_vendor = "apple"))]
impl Drop for Uncancelled {
    #[inline]
    fn drop(&mut self) {
        let mut disabled = 0;
        // SAFETY: `before` is a state that `pthread_setcancelstate` has returned, and `disabled` is valid for one
        // integer.
        unsafe { pthread_setcancelstate(self.before, &raw mut disabled) };
    }
}
