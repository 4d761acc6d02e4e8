//! From a URL to an open WebSocket, on the I/O thread. Written as it happens, one step after the other;
//! every wait is in [`Patience`], which ends it at the deadline or when the application gives up.

use super::config::{Config, LogLevel};
use super::socket::Socket;
use super::tcp::Tcp;
use super::url::Target;
use super::{liveness, proxy, resolve, tls, upgrade};
use crate::error::{Code, Error, Result, Stage};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The token of the waker.
pub const WAKER: Token = Token(0);

/// The token of the connection, and of all attempts at it.
pub const CONNECTION: Token = Token(1);

/// How long a connection attempt goes alone before the next address is tried beside it (RFC 8305
/// section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Waiting for the socket, as long as it is worth it.
pub struct Patience<'a> {
    poll: &'a mut Poll,
    events: &'a mut Events,
    waker: &'a Arc<Waker>,
    deadline: Instant,
    given_up: &'a dyn Fn() -> bool,
    started: Instant,
    timeout: Duration,
}

impl<'a> Patience<'a> {
    /// Waits on `poll` until `deadline`, or until `given_up` says so after a wake-up.
    pub fn new(
        poll: &'a mut Poll,
        events: &'a mut Events,
        waker: &'a Arc<Waker>,
        deadline: Instant,
        timeout: Duration,
        given_up: &'a dyn Fn() -> bool,
    ) -> Patience<'a> {
        Patience { poll, events, waker, deadline, given_up, started: Instant::now(), timeout }
    }

    /// What ends a wait from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(self.waker)
    }

    /// Waits until something happens.
    pub fn wait(&mut self, stage: Stage) -> Result<()> {
        self.wait_until(self.deadline, stage)?;
        if Instant::now() >= self.deadline {
            return Err(timed_out(stage, self.timeout));
        }
        Ok(())
    }

    /// Until when it is worth to wait for what is nice to have: the text of a refusal.
    pub fn soon(&self) -> Instant {
        self.deadline.min(Instant::now() + Duration::from_millis(500))
    }

    /// Waits until something happens, or `until`.
    pub fn wait_before(&mut self, until: Instant, stage: Stage) -> Result<()> {
        self.wait_until(until, stage)?;
        if Instant::now() >= until { Err(timed_out(stage, self.timeout)) } else { Ok(()) }
    }

    fn wait_until(&mut self, until: Instant, stage: Stage) -> Result<()> {
        if (self.given_up)() {
            return Err(Error::new(Code::Cancelled, "connecting was given up by the application").at(stage));
        }
        let left = until.min(self.deadline).saturating_duration_since(Instant::now());
        match self.poll.poll(self.events, Some(left)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::new(Code::System, format!("waiting for the socket failed: {e}")).at(stage));
            }
            _ => {}
        }
        if (self.given_up)() {
            return Err(Error::new(Code::Cancelled, "connecting was given up by the application").at(stage));
        }
        Ok(())
    }
}

fn timed_out(stage: Stage, timeout: Duration) -> Error {
    let what = match stage {
        Stage::Resolve => "the host name was not resolved",
        Stage::Connect => "no TCP connection",
        Stage::Proxy => "the proxy did not answer",
        Stage::Tls => "the TLS handshake did not end",
        _ => "the server did not answer the WebSocket upgrade",
    };
    Error::new(Code::Timeout, format!("{what} within {timeout:?}")).at(stage).retriable_if(true)
}

/// An open WebSocket connection.
pub struct Established {
    /// Registered with the poll as [`CONNECTION`]. What the poll has told already it does not tell again: to be read
    /// until nothing is left.
    pub socket: Socket,
    /// Bytes of frames that came with the handshake.
    pub tail: Vec<u8>,
}

/// Connects.
pub fn establish(config: &Config, patience: &mut Patience<'_>) -> Result<Established> {
    let target = &config.target;
    let first_hop = config.proxy.as_ref().unwrap_or(target);
    let log = |line: &dyn Fn() -> String| config.log.write(LogLevel::Debug, line);
    let waits = || log(&|| format!("waiting for the addresses of {}", first_hop.host));
    let addresses = resolve::resolve(&first_hop.host, first_hop.port, patience, waits)?;
    log(&|| format!("{} has {} address(es)", first_hop.host, addresses.len()));
    let stream = connect_any(&addresses, first_hop, patience)?;
    if let Err(e) = stream.set_nodelay(config.nodelay) {
        log(&|| format!("TCP_NODELAY: {e}"));
    }
    if let Some(heartbeat) = config.session.heartbeat
        && let Err(e) = liveness::keep_alive(&stream, heartbeat)
    {
        log(&|| format!("SO_KEEPALIVE: {e}"));
    }
    if let Some(proxy) = &config.proxy {
        log(&|| format!("asking proxy {} for a tunnel", proxy.host_port()));
        proxy::connect(&stream, proxy, target, patience)?;
    }
    let socket = if target.secure {
        let stream = tls::handshake(&config.tls, &target.host, stream, patience)?;
        Socket::Tls(Box::new(stream.into()))
    } else {
        Socket::Plain(Tcp::new(stream))
    };
    let tail = upgrade::upgrade(&socket, target, &config.headers, patience)?;
    log(&|| format!("WebSocket open ({} ms)", patience.started.elapsed().as_millis()));
    Ok(Established { socket, tail })
}

/// The first address that answers: tried in order, the next one beside the others after a short while.
fn connect_any(addresses: &[SocketAddr], to: &Target, patience: &mut Patience<'_>) -> Result<TcpStream> {
    let mut attempts: Vec<(SocketAddr, TcpStream)> = Vec::new();
    let mut failures: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut waiting = addresses.iter();
    let mut next_start = Instant::now();
    loop {
        if attempts.is_empty() || Instant::now() >= next_start {
            match waiting.next() {
                Some(&address) => {
                    next_start = Instant::now() + ATTEMPT_DELAY;
                    match begin(address, patience) {
                        Ok(attempt) => attempts.push(attempt),
                        Err(e) => failures.push((address, e)),
                    }
                }
                None if attempts.is_empty() => return Err(none_answered(&to.host_port(), &failures)),
                None => {}
            }
        }
        let mut at = 0;
        while at < attempts.len() {
            let (address, stream) = &mut attempts[at];
            match connected(stream) {
                Ok(false) => at += 1,
                Ok(true) => {
                    let (_, stream) = attempts.swap_remove(at);
                    for (_, mut other) in attempts {
                        let _ = patience.poll.registry().deregister(&mut other);
                    }
                    return Ok(stream);
                }
                Err(e) => {
                    failures.push((*address, e));
                    let (_, mut stream) = attempts.swap_remove(at);
                    let _ = patience.poll.registry().deregister(&mut stream);
                }
            }
        }
        if !attempts.is_empty() {
            let until = if waiting.len() > 0 { next_start } else { patience.deadline };
            patience.wait_until(until, Stage::Connect)?;
            if Instant::now() >= patience.deadline {
                let error = timed_out(Stage::Connect, patience.timeout);
                let message = format!("{} to {}", error.message(), to.host_port());
                return Err(Error::new(Code::Timeout, message).at(Stage::Connect).retriable_if(true));
            }
        }
    }
}

fn begin(address: SocketAddr, patience: &Patience<'_>) -> io::Result<(SocketAddr, TcpStream)> {
    let mut stream = TcpStream::connect(address)?;
    patience.poll.registry().register(&mut stream, CONNECTION, Interest::READABLE | Interest::WRITABLE)?;
    Ok((address, stream))
}

fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        // Where nobody listens, the system may have chosen the same port for this end, and TCP connects it to itself.
        Ok(peer) if stream.local_addr().is_ok_and(|own| own == peer) => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "Connection refused: nobody listens, and the socket met itself",
        )),
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether it was this system that refused, for want of descriptors or memory: nothing was learnt of the other end.
pub fn refused_here(error: &io::Error) -> bool {
    #[cfg(unix)]
    const REASONS: [i32; 3] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS];
    #[cfg(windows)]
    const REASONS: [i32; 2] = [10024, 10055]; // WSAEMFILE, WSAENOBUFS
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|e| REASONS.contains(&e))
}

fn none_answered(name: &str, failures: &[(SocketAddr, io::Error)]) -> Error {
    let refused = failures.iter().any(|(_, e)| e.kind() == io::ErrorKind::ConnectionRefused);
    let hint = if refused { "; is the server running?" } else { "" };
    let code = if failures.iter().any(|(_, e)| refused_here(e)) { Code::System } else { Code::Connect };
    let failures = match failures {
        // The address is named already.
        [(address, e)] if address.to_string() == name => e.to_string(),
        all => all.iter().map(|(address, e)| format!("{address}: {e}")).collect::<Vec<_>>().join("; "),
    };
    let message = format!("cannot connect to {name}: {failures}{hint}");
    Error::new(code, message).at(Stage::Connect).retriable_if(true)
}
