//! From a URL to an open WebSocket, step by step, on the I/O thread. Every wait ends at the deadline of the attempt.

use super::deadline::ConnectDeadline;
use super::endpoint::Endpoint;
use super::url::Target;
use super::{proxy, resolve, tcp, upgrade};
use crate::error::{Code, Error, Result, Stage};
use crate::io::config::Config;
use crate::io::listener::{Arrived, Lease};
use crate::io::log::LogLevel;
use crate::io::tls;
use crate::io::transport::liveness;
use crate::io::transport::socket::Socket;
use mio::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::protocol::Role;

/// The time between two attempts to connect to a server that may still be starting.
const STARTING_PERIOD: Duration = Duration::from_millis(100);

/// An open WebSocket connection.
pub struct Established {
    /// Registered with the poll as [`CONNECTION`](crate::io::orders::CONNECTION), edge-triggered. Its events may have been
    /// consumed already: read until it would block.
    pub socket: Socket,
    /// Bytes of frames that arrived with the response to the upgrade.
    pub tail: Vec<u8>,
    /// The use of a path of a listener, if the server has opened the connection.
    pub lease: Option<Lease>,
}

impl Established {
    /// This end of the connection in the sense of RFC 6455.
    pub fn role(&self) -> Role {
        if self.lease.is_some() { Role::Server } else { Role::Client }
    }
}

/// Waits for a connection that the server opens if `config` says so, otherwise connects to `endpoint`.
pub fn establish(config: &Config, endpoint: &Endpoint, deadline: &mut ConnectDeadline<'_>) -> Result<Established> {
    match &config.arrivals {
        Some(arrivals) => {
            config
                .log
                .write(LogLevel::Debug, || format!("waiting for a server to connect to {}", arrivals.shown_url()));
            take_over(config, arrivals.next(deadline)?, deadline)
        }
        None => loop {
            match connect(config, endpoint, deadline) {
                Err(e) if config.starting_until.is_some_and(|end| Instant::now() < end) && e.is_retriable() => {
                    config.log.write(LogLevel::Debug, || format!("the server may still be starting ({e})"));
                    // At the deadline, the reason says more than that it has passed.
                    let paused = deadline.pause(STARTING_PERIOD, Stage::Connect);
                    paused.map_err(|end| if end.code() == Code::Timeout { e } else { end })?;
                }
                done => return done,
            }
        },
    }
}

/// Connects to `endpoint`, with the options of `config`.
pub fn connect(config: &Config, endpoint: &Endpoint, deadline: &mut ConnectDeadline<'_>) -> Result<Established> {
    let socket = open_socket(config, &endpoint.target, deadline)?;
    let tail = upgrade::upgrade(&socket, endpoint, &config.tls, deadline)?;
    config.log.write(LogLevel::Debug, || format!("WebSocket open ({} ms)", deadline.elapsed().as_millis()));
    Ok(Established { socket, tail, lease: None })
}

/// Opens a connection for HTTP to a server or launcher, with the options of `config`: TCP, proxy and TLS.
pub fn open_socket(config: &Config, target: &Target, deadline: &mut ConnectDeadline<'_>) -> Result<Socket> {
    let first_hop = config.proxy.as_ref().unwrap_or(target);
    let log = |line: &dyn Fn() -> String| config.log.write(LogLevel::Debug, line);
    let waits = || log(&|| format!("waiting for the addresses of {}", first_hop.host));
    let addresses = resolve::resolve(&first_hop.host, first_hop.port, deadline, waits)?;
    log(&|| format!("{} has {} address(es)", first_hop.host, addresses.len()));
    let stream = tcp::connect(&addresses, first_hop, deadline)?;
    set_options(config, &stream);
    if let Some(proxy) = &config.proxy {
        log(&|| format!("asking proxy {} for a tunnel", proxy.host_port()));
        proxy::connect(&stream, proxy, target, deadline)?;
    }
    if !target.secure {
        return Ok(Socket::Plain(stream));
    }
    let stream = tls::handshake(&config.tls, target.server_name(), stream, || deadline.wait(Stage::Tls))?;
    Ok(Socket::Tls(Box::new(stream.into())))
}

/// Takes a connection that the server has opened.
pub fn take_over(config: &Config, arrived: Arrived, deadline: &ConnectDeadline<'_>) -> Result<Established> {
    let Arrived { mut socket, lease } = arrived;
    let registered = deadline.register(socket.tcp_mut());
    registered.map_err(|e| Error::new(Code::System, format!("the socket cannot be polled: {e}")).at(Stage::Connect))?;
    socket.with_tcp(|stream| set_options(config, stream));
    config.log.write(LogLevel::Debug, || "a server has connected".into());
    Ok(Established { socket, tail: Vec::new(), lease: Some(lease) })
}

/// Sets the options of a TCP socket. A failure costs speed or detection, but no data.
fn set_options(config: &Config, stream: &TcpStream) {
    if let Err(e) = stream.set_nodelay(config.nodelay) {
        config.log.write(LogLevel::Debug, || format!("TCP_NODELAY: {e}"));
    }
    if let Some(heartbeat) = config.session.heartbeat
        && let Err(e) = liveness::keep_alive(stream, heartbeat)
    {
        config.log.write(LogLevel::Debug, || format!("SO_KEEPALIVE: {e}"));
    }
}
