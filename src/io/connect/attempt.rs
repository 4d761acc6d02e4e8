//! What the application may change before an attempt to connect, because it may expire: secret, URL, headers.

use super::endpoint::Endpoint;
use super::url::Target;
use crate::error::{Code, Error, Result};
use crate::wire::secret::Secret;

/// An attempt to connect that is about to begin. What is set here also applies to later attempts of this session.
pub struct Attempt {
    number: u32,
    reason: Option<Error>,
    endpoint: Endpoint,
    secret: Secret,
    /// The server opens the connection, so that headers mean nothing.
    by_server: bool,
    /// The session starts the server, and so knows its URL.
    is_started: bool,
    changed: bool,
}

/// Called before each attempt to connect. `false` ends the session.
pub type AttemptCallback = dyn Fn(&mut Attempt) -> bool + Send + Sync;

impl Attempt {
    pub(crate) fn new(
        number: u32,
        reason: Option<Error>,
        endpoint: Endpoint,
        secret: Secret,
        by_server: bool,
        is_started: bool,
    ) -> Attempt {
        Attempt { number, reason, endpoint, secret, by_server, is_started, changed: false }
    }

    /// Endpoint and secret of the attempt, and whether the application changed any of them.
    pub(crate) fn into_parts(self) -> (Endpoint, Secret, bool) {
        (self.endpoint, self.secret, self.changed)
    }

    /// The number of the attempt to reconnect; 0 if the application called `connect`.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Why another attempt is needed; `None` if the application called `connect`.
    pub fn reason(&self) -> Option<&Error> {
        self.reason.as_ref()
    }

    /// Sets the secret of the hello. The library wipes its copy from memory after the last use.
    pub fn set_secret(&mut self, secret: &str) {
        if *self.secret != *secret {
            self.secret = secret.into();
            self.changed = true;
        }
    }

    /// Sets the URL: another server, or another token in the query. A URL that is not valid is an error and changes nothing.
    pub fn set_url(&mut self, url: &str) -> Result<()> {
        if self.by_server || self.is_started {
            let text = "the session starts the server, or the server opens the connection: there is no URL to set";
            return Err(Error::new(Code::Argument, text));
        }
        let target = Target::websocket(url)?;
        self.changed |= target != self.endpoint.target;
        self.endpoint.target = target;
        Ok(())
    }

    /// Sets a header of the upgrade request and replaces all headers of this name. `None`: removes them.
    pub fn set_header(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        if self.by_server {
            let text = "the server opens the connection: there is no upgrade request whose headers could be set";
            return Err(Error::new(Code::Argument, text));
        }
        let before = self.endpoint.headers.clone();
        self.endpoint.set_header(name, value)?;
        self.changed |= self.endpoint.headers != before;
        Ok(())
    }
}

/// Omits secret, URL and headers.
impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("number", &self.number).field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Whether the server refused the credentials, so that others may help.
pub(crate) fn is_refusal(error: &Error) -> bool {
    error.code() == Code::Auth || matches!(error.http_status(), Some(401 | 403))
}

/// The error of a session whose application refused the attempt.
pub(crate) fn not_wanted() -> Error {
    Error::new(Code::Cancelled, "the callback before the attempt to connect has refused it")
}
