//! The options of the wslink protocol.

use super::reconnect::Reconnect;
use crate::wire::Protocol;
use crate::wire::builder::Builder;
use crate::wire::document::SharedDocument;
use crate::wire::limits::Limits;
use crate::wire::secret::Secret;
use std::time::Duration;

/// The secret of servers that were started without the option for it.
pub const DEFAULT_SECRET: &str = "wslink-secret";

/// Options of the wslink protocol. [`Config`](crate::io::config::Config) has those of the connection.
#[derive(Clone)]
pub struct Options {
    /// The generation of the protocol to speak. `None`: detect the server's.
    pub protocol: Option<Protocol>,
    /// The secret of the hello.
    pub secret: Secret,
    /// Additional members of the hello's map, for servers that validate more than the secret.
    pub hello_members: SharedDocument,
    /// Time limit for connecting, from resolving the host name to the reply to the hello.
    pub connect_timeout: Duration,
    /// Limits on what the server may send.
    pub limits: Limits,
    /// Send a ping after this time without received data, and end the connection after the same time again. Suspended
    /// while calls are in flight, because servers do not answer pings then. Meanwhile TCP detects a server that cannot
    /// be reached, but not one that hangs. `None`: no heartbeat.
    pub heartbeat: Option<Duration>,
    /// When to reconnect automatically. `None`: never.
    pub reconnect: Option<Reconnect>,
    /// Size in bytes of the largest message that a generation 1 server accepts.
    pub v1_upload_limit: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            protocol: None,
            secret: DEFAULT_SECRET.into(),
            hello_members: SharedDocument::new(Builder::map().finish().expect("an empty map is complete")),
            connect_timeout: Duration::from_secs(20),
            limits: Limits::default(),
            heartbeat: None,
            reconnect: None,
            v1_upload_limit: 4_194_303,
        }
    }
}

/// Omits the secret.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("protocol", &self.protocol)
            .field("connect_timeout", &self.connect_timeout)
            .field("limits", &self.limits)
            .field("heartbeat", &self.heartbeat)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}
