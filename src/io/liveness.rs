//! What TCP itself notices of a peer that vanished without a word. The heartbeat of the session rests while calls
//! are in flight, because servers do not answer pings then; the system that a server runs on answers TCP
//! nevertheless, however busy or suspended the server is. So nothing that lives is taken for dead here.

use mio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::{Duration, Instant};

/// So many probes or repetitions in a row must stay without an answer: single packets get lost.
const ATTEMPTS: u32 = 3;

/// Lets the system probe a connection on which nothing is under way: after the time of a heartbeat without data, and
/// then as often as it takes to be sure within about a second one. The system counts in seconds.
pub fn keep_alive(stream: &TcpStream, heartbeat: Duration) -> io::Result<()> {
    // Linux takes 32767 s at most.
    let seconds = |time: Duration| Duration::from_secs(time.as_millis().div_ceil(1000).clamp(1, 32_767) as u64);
    let probes = TcpKeepalive::new()
        .with_time(seconds(heartbeat))
        .with_interval(seconds(heartbeat / ATTEMPTS))
        .with_retries(ATTEMPTS);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// Watches a connection on which data is under way: the system does not probe it, and repeats the data for a quarter
/// of an hour.
///
/// TCP_USER_TIMEOUT would shorten that, but it also ends connections to a peer that lives and does not read, as a
/// server does while a long method runs.
#[derive(Debug, Default)]
pub struct Watch {
    /// Since when data was repeated without an answer.
    silent_since: Option<Instant>,
}

impl Watch {
    /// Looks at the connection. `true`: it is dead, because nothing was answered for the time of a heartbeat since
    /// this was noticed first.
    pub fn is_dead(&mut self, stream: &TcpStream, now: Instant, heartbeat: Duration) -> bool {
        let Some((attempts, silence)) = unanswered(stream).filter(|(attempts, _)| *attempts > 0) else {
            self.silent_since = None;
            return false;
        };
        let since = *self.silent_since.get_or_insert(now);
        let noticed = now.saturating_duration_since(since);
        if silence < noticed {
            // An answer came meanwhile.
            self.silent_since = Some(now);
            return false;
        }
        attempts >= ATTEMPTS && noticed >= heartbeat
    }
}

/// How often data was repeated since the last answer, and how long ago that was.
#[cfg(target_os = "linux")]
fn unanswered(stream: &TcpStream) -> Option<(u32, Duration)> {
    use std::os::fd::AsFd;
    let waits = crate::platform::tcp_info::unanswered(stream.as_fd()).ok()?;
    Some((waits.attempts.into(), waits.silence))
}

/// Other systems are not asked: Windows gives up after some 20 s by itself, macOS later.
#[cfg(not(target_os = "linux"))]
fn unanswered(_: &TcpStream) -> Option<(u32, Duration)> {
    None
}
