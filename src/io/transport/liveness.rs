//! Detects through TCP that a peer vanished silently, even while calls are in flight. The heartbeat of the session is
//! suspended then, because servers do not answer pings. But the server's operating system acknowledges TCP packets however
//! busy or suspended the server is, so a peer that is alive is never taken for dead.

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::{Duration, Instant};

/// The number of successive probes or retransmissions that must stay unacknowledged, because single packets get lost.
const MIN_UNANSWERED: u32 = 3;

/// Lets the system probe an idle connection (TCP keep-alive): first after one heartbeat period without data, then so often
/// that the result is certain after about one more period. Times are rounded up to seconds, the unit of the system.
pub fn keep_alive(stream: &TcpStream, heartbeat: Duration) -> io::Result<()> {
    // 32767 s is Linux's maximum.
    let seconds = |time: Duration| Duration::from_secs(time.as_millis().div_ceil(1000).clamp(1, 32_767) as u64);
    let probes = TcpKeepalive::new()
        .with_time(seconds(heartbeat))
        .with_interval(seconds(heartbeat / MIN_UNANSWERED))
        .with_retries(MIN_UNANSWERED);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Watches a connection with unacknowledged data: the system does not probe it, and retransmits the data for a quarter of an
/// hour.
///
/// TCP_USER_TIMEOUT would shorten that time. But it also ends connections to a peer that is alive and does not read, such
/// as a server during a long method.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when retransmissions have been observed without an acknowledgement.
    silent_since: Option<Instant>,
}

impl Watch {
    /// Whether the connection is dead: nothing was acknowledged for one heartbeat period since this function first
    /// observed retransmissions.
    pub fn is_dead(&mut self, stream: &TcpStream, now: Instant, heartbeat: Duration) -> bool {
        let Some((attempts, silence)) = unanswered(stream).filter(|(attempts, _)| *attempts > 0) else {
            self.silent_since = None;
            return false;
        };
        let since = *self.silent_since.get_or_insert(now);
        let observed = now.saturating_duration_since(since);
        if silence < observed {
            // An acknowledgement arrived meanwhile.
            self.silent_since = Some(now);
            return false;
        }
        attempts >= MIN_UNANSWERED && observed >= heartbeat
    }
}

/// The number of retransmissions since the last acknowledgement, and the time since that acknowledgement.
#[cfg(target_os = "linux")]
fn unanswered(stream: &TcpStream) -> Option<(u32, Duration)> {
    use std::os::fd::AsFd;
    let waits = crate::platform::tcp_info::unanswered(stream.as_fd()).ok()?;
    Some((waits.attempts.into(), waits.silence))
}

/// Not asked on other systems: Windows ends the connection by itself after some 20 s, macOS later.
#[cfg(not(target_os = "linux"))]
fn unanswered(_: &TcpStream) -> Option<(u32, Duration)> {
    None
}
