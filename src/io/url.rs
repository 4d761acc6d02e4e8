//! The URL of a server or proxy, taken apart. Path and query are kept exactly as given.

use crate::error::{Code, Error, Result};
use crate::wire::secret::Secret;
use std::borrow::Cow;
use tungstenite::http::Uri;
use zeroize::Zeroizing;

/// Where to connect, and what to ask for there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `wss`: TLS.
    pub secure: bool,
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host[:port]` for the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// `user:password` of the URL, if it has one.
    pub credentials: Option<Secret>,
}

impl Target {
    /// A `ws` or `wss` URL.
    pub fn websocket(url: &str) -> Result<Target> {
        Target::parse(url, &[("ws", false, 80), ("wss", true, 443)])
    }

    /// The URL of an HTTP proxy.
    pub fn proxy(url: &str) -> Result<Target> {
        Target::parse(url, &[("http", false, 80)])
    }

    fn parse(url: &str, schemes: &[(&str, bool, u16)]) -> Result<Target> {
        let example = format!("{}://host:port/path", schemes[0].0);
        let bad =
            |why: &str| Error::new(Code::Argument, format!("URL {:?} {why}; write {example}", without_password(url)));
        let (bare, credentials) = without_credentials(url);
        let uri: Uri = bare.parse().map_err(|e| bad(&format!("is not valid ({e})")))?;
        let Some(scheme) = uri.scheme_str() else {
            return Err(bad("has no scheme"));
        };
        let Some(&(_, secure, default_port)) = schemes.iter().find(|(name, ..)| name.eq_ignore_ascii_case(scheme))
        else {
            return Err(bad(&format!("has scheme {scheme:?}")));
        };
        let (Some(host), Some(authority)) = (uri.host().filter(|h| !h.is_empty()), uri.authority()) else {
            return Err(bad("has no host"));
        };
        let authority = authority.as_str();
        if authority
            .rsplit_once(':')
            .is_some_and(|(h, p)| !h.is_empty() && !p.ends_with(']') && uri.port_u16().is_none())
        {
            return Err(bad("has a port that is no number from 1 to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(Target {
            secure,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            authority: authority.to_owned(),
            path: if path.starts_with('?') { format!("/{path}") } else { path.to_owned() },
            credentials: credentials.map(percent_decoded),
        })
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn host_port(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A URL as it may be shown: without credentials, and without a query, which may hold a token.
fn without_password(url: &str) -> String {
    let scheme = url.find("://").map_or("", |end| &url[..end + 3]);
    let shown = match url.rfind('@') {
        Some(at) => format!("{scheme}...{}", &url[at..]),
        None => url.to_owned(),
    };
    shown.split_once('?').map_or(shown.clone(), |(before, _)| format!("{before}?..."))
}

/// A URL and its credentials, which go into no other string on the way.
fn without_credentials(url: &str) -> (Cow<'_, str>, Option<&str>) {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    match url[begin..end].rfind('@') {
        Some(at) => {
            let (credentials, rest) = (&url[begin..begin + at], &url[begin + at + 1..]);
            (Cow::Owned(format!("{}{rest}", &url[..begin])), Some(credentials))
        }
        None => (Cow::Borrowed(url), None),
    }
}

fn percent_decoded(text: &str) -> Secret {
    let bytes = text.as_bytes();
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    match std::str::from_utf8(&out) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(&out).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_stay_as_they_are() {
        let t = Target::websocket("ws://Example.org:8080/a/../proxy?sessionId=1%20&path=ws").unwrap();
        assert_eq!((t.host.as_str(), t.port, t.secure), ("Example.org", 8080, false));
        assert_eq!(t.path, "/a/../proxy?sessionId=1%20&path=ws");
        assert_eq!(t.authority, "Example.org:8080");
        let t = Target::websocket("wss://[::1]").unwrap();
        assert_eq!((t.host.as_str(), t.port, t.path.as_str(), t.secure), ("::1", 443, "/", true));
        assert_eq!(t.host_port(), "[::1]:443");
        assert_eq!(Target::websocket("ws://h?x=1").unwrap().path, "/?x=1");
    }

    #[test]
    fn credentials_are_taken_out_and_never_shown() {
        let t = Target::proxy("http://us%40er:p%3aw@proxy:3128").unwrap();
        assert_eq!(t.credentials.as_deref(), Some("us@er:p:w"));
        assert_eq!((t.authority.as_str(), t.host_port().as_str()), ("proxy:3128", "proxy:3128"));
        for url in ["ftp://u:geheim@h", "u:geheim@h:80", "http:/u:geheim@h", "ws://h:99999/ws?token=geheim"] {
            let e = Target::websocket(url).unwrap_err();
            assert!(!e.message().contains("geheim"), "{e}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, why) in [
            ("localhost:8080/ws", "valid"),
            ("/ws", "scheme"),
            ("http://h/ws", "scheme \"http\""),
            ("ws://", "valid"),
            ("ws://:80/", "host"),
            ("ws://h:99999/", "port"),
            ("ws://h:x/", "port"),
            ("ws://h/a b", "valid"),
            ("", "valid"),
        ] {
            let e = Target::websocket(url).unwrap_err();
            assert_eq!(e.code(), Code::Argument);
            assert!(e.message().contains(why), "{url}: {e}");
        }
    }
}
