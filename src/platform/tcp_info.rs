//! The state of a TCP connection.

use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// What the peer has not acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Unanswered {
    /// How many retransmissions or zero-window probes were sent since the last acknowledgement.
    pub attempts: u8,
    /// The time since the last acknowledgement of any kind.
    pub silence: Duration,
}

/// Asks the system for the state of a connection.
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
    // SAFETY: `tcp_info` consists of numbers, and those that the kernel did not write are zero.
    let info = unsafe { info.assume_init() };
    Ok(Unanswered {
        attempts: info.tcpi_retransmits.max(info.tcpi_probes),
        silence: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}
