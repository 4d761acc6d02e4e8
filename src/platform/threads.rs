//! Threads of the library in the process of an application.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread that blocks signals and cannot be cancelled.
///
/// A signal to the process is delivered to any thread that does not block it. An application may block signals in all
/// its threads and wait for them by `sigwait`; a thread of the library that does not block them would receive them, and
/// they would end the process or run handlers on this thread. Signals that the thread itself causes (`SIGSEGV` and the
/// like) cannot be deferred and are not blocked, nor is `SIGPROF`, which profilers need.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // The new thread inherits the mask of the thread that starts it.
    #[cfg(unix)]
    let _blocked = signals::Blocked::new();
    Builder::new().name(name.into()).spawn(move || {
        let _uncancelled = super::cancelling::Uncancelled::new();
        body();
    })
}

#[cfg(unix)]
mod signals {
    use std::mem::MaybeUninit;
    use std::ptr;

    /// The signals that are not blocked.
    const KEPT: [libc::c_int; 8] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGABRT,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGPROF,
    ];

    /// While this exists, this thread blocks signals. Then it has its former mask again.
    pub struct Blocked {
        before: libc::sigset_t,
    }

    impl Blocked {
        pub fn new() -> Option<Blocked> {
            let mut all = MaybeUninit::<libc::sigset_t>::uninit();
            let mut before = MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: `sigfillset` initialises `all` before it is used, and `pthread_sigmask` initialises `before` if
            // it returns 0.
            unsafe {
                libc::sigfillset(all.as_mut_ptr());
                for signal in KEPT {
                    libc::sigdelset(all.as_mut_ptr(), signal);
                }
                let done = libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
                (done == 0).then(|| Blocked { before: before.assume_init() })
            }
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            // SAFETY: the first pointer is to a valid set, and the second may be null.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
        }
    }
}
