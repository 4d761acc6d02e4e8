//! What TCP knows of a connection.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What TCP waits for.
#[derive(Debug, Clone, Copy)]
pub struct Unanswered {
    /// So many repetitions of data, or probes of a window that is closed, were sent since the last answer.
    pub attempts: u8,
    /// Since the last answer, whatever it was to.
    pub silence: Duration,
}

/// Asks for it.
pub fn unanswered(socket: BorrowedFd<'_>) -> Result<Unanswered> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is valid for `size` bytes, and the kernel writes no more than that.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut size)
    };
    if done != 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: plain numbers, for which zero is a value where the kernel wrote nothing.
    let info = unsafe { info.assume_init() };
    Ok(Unanswered {
        attempts: info.tcpi_retransmits.max(info.tcpi_probes),
        silence: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}
