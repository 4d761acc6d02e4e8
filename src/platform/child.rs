//! Child processes: what has to happen between `fork` and `exec`.

use std::process::Command;

/// Makes the child the leader of a process group of its own. On Linux the child also inherits no descriptors but its
/// standard ones, and gets SIGTERM when the thread that starts it ends, also if this process is killed.
#[cfg(unix)]
pub fn isolate(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getpid();
        let prepare = move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
            // The parent may have ended before.
            if rustix::process::getppid() != Some(parent) {
                return Err(rustix::io::Errno::SRCH.into());
            }
            // SAFETY: this system call only sets a flag of descriptors. Descriptors of the application that lack the flag
            // stay open on kernels before 5.11, where it fails.
            unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
            Ok(())
        };
        // SAFETY: the closure makes system calls only: it neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
    }
}
