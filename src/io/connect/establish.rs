//! From a URL to an open WebSocket, step by step, on the I/O thread. Every wait ends at the deadline of the attempt.

use super::deadline::ConnectDeadline;
use super::endpoint::Endpoint;
use super::{proxy, resolve, tcp, upgrade};
use crate::error::{Result, Stage};
use crate::io::config::Config;
use crate::io::log::LogLevel;
use crate::io::tls;
use crate::io::transport::liveness;
use crate::io::transport::socket::Socket;

/// An open WebSocket connection.
pub struct Established {
    /// Registered with the poll as [`CONNECTION`](crate::io::orders::CONNECTION), edge-triggered. Its events may have been
    /// consumed already: read until it would block.
    pub socket: Socket,
    /// Bytes of frames that arrived with the response to the upgrade.
    pub tail: Vec<u8>,
}

/// Connects to `endpoint`, with the options of `config`.
pub fn establish(config: &Config, endpoint: &Endpoint, deadline: &mut ConnectDeadline<'_>) -> Result<Established> {
    let target = &endpoint.target;
    let first_hop = config.proxy.as_ref().unwrap_or(target);
    let log = |line: &dyn Fn() -> String| config.log.write(LogLevel::Debug, line);
    let waits = || log(&|| format!("waiting for the addresses of {}", first_hop.host));
    let addresses = resolve::resolve(&first_hop.host, first_hop.port, deadline, waits)?;
    log(&|| format!("{} has {} address(es)", first_hop.host, addresses.len()));
    let stream = tcp::connect(&addresses, first_hop, deadline)?;
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
        proxy::connect(&stream, proxy, target, deadline)?;
    }
    let socket = if target.secure {
        let stream = tls::handshake(&config.tls, target.server_name(), stream, || deadline.wait(Stage::Tls))?;
        Socket::Tls(Box::new(stream.into()))
    } else {
        Socket::Plain(stream)
    };
    let tail = upgrade::upgrade(&socket, endpoint, &config.tls, deadline)?;
    log(&|| format!("WebSocket open ({} ms)", deadline.elapsed().as_millis()));
    Ok(Established { socket, tail })
}
