//! What a session is told before it connects.

use super::reconnect::Reconnect;
use crate::wire::Protocol;
use crate::wire::builder::Builder;
use crate::wire::document::SharedDocument;
use crate::wire::limits::Limits;
use crate::wire::secret::Secret;
use std::time::Duration;

/// The secret of servers that were started without one of their own.
pub const DEFAULT_SECRET: &str = "wslink-secret";

/// Options of the wslink session; those of the connection below it are in [`crate::io::config`].
#[derive(Clone)]
pub struct Options {
    /// The generation to speak; `None` finds out.
    pub protocol: Option<Protocol>,
    /// The secret of the hello.
    pub secret: Secret,
    /// Further members of the hello's map, for servers with a validation of their own.
    pub hello_members: SharedDocument,
    /// Time for everything from the host name to the reply to the hello.
    pub connect_timeout: Duration,
    /// Bounds on what the server may send.
    pub limits: Limits,
    /// Ping when nothing was heard for this long, and give the connection up when nothing is heard for
    /// as long again. Suspended while calls are in flight, because servers do not answer then; TCP is asked instead,
    /// which finds a server that cannot be reached, not one that stands still.
    pub heartbeat: Option<Duration>,
    /// Whether and when to connect again by itself; `None`: never.
    pub reconnect: Option<Reconnect>,
    /// Largest message that a generation 1 server takes.
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

/// Without the secret.
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
