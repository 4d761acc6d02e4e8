//! A TCP connection to the first address that answers.

use super::deadline::ConnectDeadline;
use super::url::Target;
use crate::error::{Code, Error, Result, Stage};
use mio::net::TcpStream;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The head start of each connection attempt before the next address is tried in parallel (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first address that answers. Addresses are tried in order, each in parallel to the earlier ones after a
/// short delay.
pub fn connect(addresses: &[SocketAddr], to: &Target, deadline: &mut ConnectDeadline<'_>) -> Result<TcpStream> {
    let mut attempts: Vec<(SocketAddr, TcpStream)> = Vec::new();
    let mut failures: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut untried = addresses.iter();
    let mut next_start = Instant::now();
    loop {
        if attempts.is_empty() || Instant::now() >= next_start {
            match untried.next() {
                Some(&address) => {
                    next_start = Instant::now() + ATTEMPT_DELAY;
                    match begin(address, deadline) {
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
                        deadline.deregister(&mut other);
                    }
                    return Ok(stream);
                }
                Err(e) => {
                    failures.push((*address, e));
                    let (_, mut stream) = attempts.swap_remove(at);
                    deadline.deregister(&mut stream);
                }
            }
        }
        if !attempts.is_empty() {
            let until = if untried.len() > 0 { next_start } else { deadline.at() };
            deadline.wait_until(until, Stage::Connect)?;
            if deadline.has_passed() {
                let (to, timeout) = (to.host_port(), deadline.timeout());
                let message = format!("no TCP connection to {to} within {timeout:?} (option connect_timeout)");
                return Err(Error::new(Code::Timeout, message).at(Stage::Connect));
            }
        }
    }
}

fn begin(address: SocketAddr, deadline: &ConnectDeadline<'_>) -> io::Result<(SocketAddr, TcpStream)> {
    let mut stream = TcpStream::connect(address)?;
    deadline.register(&mut stream)?;
    Ok((address, stream))
}

fn connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        // If nothing listens on a local port, the system may choose this port for the client, and TCP connects the socket
        // to itself.
        Ok(peer) if stream.local_addr().is_ok_and(|own| own == peer) => Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "Connection refused: nobody listens, and the socket met itself",
        )),
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether this computer lacks descriptors or memory. Then the error says nothing about the other end.
pub fn is_local_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    const REASONS: [i32; 3] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS];
    #[cfg(windows)]
    const REASONS: [i32; 2] = [10024, 10055]; // WSAEMFILE, WSAENOBUFS
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|e| REASONS.contains(&e))
}

fn none_answered(name: &str, failures: &[(SocketAddr, io::Error)]) -> Error {
    let refused = failures.iter().any(|(_, e)| e.kind() == io::ErrorKind::ConnectionRefused);
    let hint = if refused { "; is the server running?" } else { "" };
    let code = if failures.iter().any(|(_, e)| is_local_shortage(e)) { Code::System } else { Code::Connect };
    let failures = match failures {
        // Do not repeat the address.
        [(address, e)] if address.to_string() == name => e.to_string(),
        all => all.iter().map(|(address, e)| format!("{address}: {e}")).collect::<Vec<_>>().join("; "),
    };
    let message = format!("cannot connect to {name}: {failures}{hint}");
    Error::new(code, message).at(Stage::Connect)
}
