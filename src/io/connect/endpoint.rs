//! Where to connect: the server, and the headers of the upgrade request.

use super::url::Target;
use crate::error::{Code, Error, Result};
use crate::wire::secret::Secret;
use data_encoding::BASE64;
use tungstenite::http::HeaderName;
use tungstenite::http::header::AUTHORIZATION;
use zeroize::Zeroizing;

/// A server, and how to ask it for an upgrade.
#[derive(Clone)]
pub struct Endpoint {
    /// The server.
    pub target: Target,
    /// Headers that the application adds to the upgrade request.
    pub headers: Vec<(HeaderName, Secret)>,
}

impl Endpoint {
    /// The value of the header `Authorization` for the credentials of the URL (RFC 7617), if it has some and no such header was
    /// added.
    pub fn basic_authorization(&self) -> Option<Zeroizing<String>> {
        let credentials = self.target.credentials.as_deref()?;
        if self.headers.iter().any(|(name, _)| name == AUTHORIZATION) {
            return None;
        }
        let encoded = Zeroizing::new(BASE64.encode(credentials.as_bytes()));
        // Large enough from the start: growing would leave a copy in freed memory.
        let mut value = Zeroizing::new(String::with_capacity(encoded.len() + 8));
        ["Basic ", &encoded].iter().for_each(|part| value.push_str(part));
        Some(value)
    }

    /// Adds a header to the upgrade request. Headers that RFC 6455 defines cannot be set.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<()> {
        let bad = |why: String| Error::new(Code::Argument, format!("header {name:?} {why}"));
        let header: HeaderName = name.parse().map_err(|_| bad("is not a valid name".into()))?;
        let taken = ["host", "connection", "upgrade", "content-length", "transfer-encoding"];
        if taken.contains(&header.as_str()) || header.as_str().starts_with("sec-websocket") {
            return Err(bad("is set by the WebSocket handshake itself".into()));
        }
        if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err(bad("has a value with control characters".into()));
        }
        self.headers.push((header, value.into()));
        Ok(())
    }

    /// Replaces all headers of this name; `None`: removes them. Changes nothing if it fails.
    pub fn set_header(&mut self, name: &str, value: Option<&str>) -> Result<()> {
        let before = self.headers.clone();
        self.headers.retain(|(header, _)| !header.as_str().eq_ignore_ascii_case(name));
        let set = value.map_or(Ok(()), |value| self.add_header(name, value));
        if set.is_err() {
            self.headers = before;
        }
        set
    }
}
