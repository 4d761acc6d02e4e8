//! Child processes: what has to happen between `fork` and `exec`.

use std::process::Command;

/// Makes the child the leader of a process group of its own, without blocked or ignored signals: threads of this
/// library block all, and children inherit that. On Linux the child also inherits no descriptors but its standard ones, and gets SIGTERM when
/// the thread that starts it ends, also if this process is killed.
#[cfg(unix)]
pub fn isolate(command: &mut Command) {
    use std::mem::MaybeUninit;
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    let parent = rustix::process::getpid();
    let prepare = move || {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set before it is used; the last pointer may be null. No handler is set.
        unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            // Also those that the application ignores, which would stay ignored. SIGKILL and SIGSTOP cannot be set.
            for signal in 1..32 {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        #[cfg(target_os = "linux")]
        {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            // SAFETY: this system call only sets a flag of descriptors. Where it does not exist (before Linux 5.11),
            // descriptors of the application that lack the flag stay open.
            unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        }
        // The parent may have ended before its death was asked for.
        match rustix::process::getppid() == Some(parent) {
            true => Ok(()),
            false => Err(rustix::io::Errno::SRCH.into()),
        }
    };
    // SAFETY: the closure makes system calls only: it neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
}
