//! Accepts connections that wslink servers open themselves ("reverse connections", option `--reverse-url` of servers), for
//! servers that cannot be reached: behind a firewall, or with a port that is not known in advance.
//!
//! * `accept`: the thread of a listener;
//! * `handshake`: TLS and HTTP upgrade of one connection;
//! * `arrivals`: which session gets which connection.

mod accept;
mod arrivals;
mod handshake;

pub use arrivals::{Arrived, Lease};

use super::connect::deadline::ConnectDeadline;
use super::connect::url::Target;
use super::tls::{self, TlsIdentity};
use crate::error::{Code, Error, Result, Stage};
use accept::AcceptThread;
use arrivals::{OpenPath, Paths};
use crossbeam_channel::{Receiver, never};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// The options of a [`Listener`].
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// The address to listen at. The default is 127.0.0.1, which only this machine reaches.
    pub address: IpAddr,
    /// The port; 0 (the default): one that the system picks.
    pub port: u16,
    /// The host in the URL for servers: the name or address by which they reach this machine. `None` (the default): the
    /// address to listen at.
    pub host: Option<String>,
    /// Speaks TLS (`wss`) with this certificate. `None` (the default): no TLS (`ws`).
    pub identity: Option<TlsIdentity>,
}

impl Default for ListenerOptions {
    fn default() -> ListenerOptions {
        ListenerOptions { address: Ipv4Addr::LOCALHOST.into(), port: 0, host: None, identity: None }
    }
}

/// Listens for wslink servers that open the connection themselves. [`Config::accepting`](crate::Config::accepting) makes
/// configurations whose sessions use such connections; a listener may serve several of them.
///
/// Each configuration has a URL of its own, with a random token of 128 bits, and one connection at a time. Requests to other
/// paths, with an `Origin` header (from web pages), for a path in use, that are too slow (10 s) or too long (16 KiB) are refused
/// with an HTTP status.
///
/// A handle, cheap to clone. The socket is closed when the last handle, configuration and session that use it are dropped.
#[derive(Clone)]
pub struct Listener(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    /// `ws://host:port/` or `wss://host:port/`.
    base: String,
    paths: Arc<Paths>,
    _thread: AcceptThread,
}

impl Listener {
    /// Begins to listen. Starts a thread.
    pub fn new(options: &ListenerOptions) -> Result<Listener> {
        let wanted = SocketAddr::new(options.address, options.port);
        let system = |what: String, e: std::io::Error| Error::new(Code::System, format!("{what}: {e}"));
        let host = match (&options.host, options.address) {
            (Some(host), _) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
            (Some(host), _) => host.clone(),
            (None, address) if address.is_unspecified() => {
                let text = format!(
                    "a listener at {address} (all addresses) needs the host name or address by which servers reach this machine \
                     (option host)"
                );
                return Err(Error::new(Code::Argument, text));
            }
            (None, IpAddr::V6(address)) => format!("[{address}]"),
            (None, IpAddr::V4(address)) => address.to_string(),
        };
        let acceptor = options.identity.as_ref().map(tls::Acceptor::new).transpose()?;
        let listening = TcpListener::bind(wanted).map_err(|e| system(format!("cannot listen at {wanted}"), e))?;
        let address = listening.local_addr().map_err(|e| system("the listener has no address".into(), e))?;
        let scheme = if acceptor.is_some() { "wss" } else { "ws" };
        let base = format!("{scheme}://{host}:{}/", address.port());
        let target = Target::websocket(&base)?;
        if (target.port, &*target.path, target.credentials) != (address.port(), "/", None) {
            let text = format!("{host:?} is not a host: a name or an address is needed, without port and path");
            return Err(Error::new(Code::Argument, text));
        }
        let paths = Arc::<Paths>::default();
        let thread = AcceptThread::start(listening, acceptor, Arc::clone(&paths))
            .map_err(|e| system("the thread of the listener cannot be started".into(), e))?;
        Ok(Listener(Arc::new(Inner { address, base, paths, _thread: thread })))
    }

    /// The address at which it listens, with the port that the system picked.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// How many connections were refused so far.
    pub fn refused(&self) -> u64 {
        self.0.paths.refused().0
    }

    /// Opens a path of its own, for one configuration.
    pub(crate) fn open_path(&self) -> Arrivals {
        Arrivals { path: self.0.paths.open(), listener: self.clone() }
    }
}

/// The connections of servers to one path of a listener.
pub struct Arrivals {
    path: OpenPath,
    listener: Listener,
}

impl Arrivals {
    /// The URL of the path, with the token. Whoever knows it may connect.
    pub fn url(&self) -> String {
        format!("{}{}", self.listener.0.base, self.path.token)
    }

    /// The URL without the token, for texts.
    pub fn shown_url(&self) -> String {
        format!("{}...", self.listener.0.base)
    }

    /// Waits for the next connection.
    pub fn next(&self, deadline: &mut ConnectDeadline<'_>) -> Result<Arrived> {
        match self.next_or(&never::<Infallible>(), deadline) {
            Ok(Ok(arrived)) => Ok(arrived),
            Ok(Err(impossible)) => match impossible {},
            Err(e) if e.code() == Code::Timeout => Err(self.nobody(deadline)),
            Err(e) => Err(e),
        }
    }

    /// Waits for the next connection, or for news of another kind.
    pub fn next_or<T>(
        &self,
        news: &Receiver<T>,
        deadline: &mut ConnectDeadline<'_>,
    ) -> Result<std::result::Result<Arrived, T>> {
        loop {
            match deadline.receive_either(&self.path.arrivals, news, Stage::Connect)? {
                // It ended while it waited for a session.
                Ok(arrived) if !arrived.is_alive() => {}
                arrived => return Ok(arrived),
            }
        }
    }

    /// Ends a connection that no session has taken.
    pub fn forget(&self) {
        drop(self.path.arrivals.try_recv());
    }

    fn nobody(&self, deadline: &ConnectDeadline<'_>) -> Error {
        let mut text = format!(
            "no server has connected to {} within {:?} (option connect_timeout); was it started with --reverse-url and the whole \
             URL?",
            self.shown_url(),
            deadline.timeout()
        );
        let (refused, last) = self.path.paths.refused();
        if refused > 0 {
            text += &format!(" The listener has refused {refused} connection(s), the last one: {last}");
        }
        Error::new(Code::Timeout, text).at(Stage::Connect)
    }
}

/// Omits the token.
impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.0.address).finish_non_exhaustive()
    }
}
