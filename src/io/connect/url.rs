//! Parses the URL of a server or proxy as browsers do (WHATWG URL), with two exceptions: path and query stay as they are
//! given, and credentials are not copied into strings that are not wiped.

use crate::error::{Code, Error, Result};
use crate::wire::secret::Secret;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use std::ops::Range;
use url::{Host, Url};
use zeroize::Zeroizing;

/// The characters to encode in a path or query (RFC 3986 section 3.3). Percent signs are kept: they may belong to characters
/// that are encoded already.
const NOT_IN_PATHS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// A parsed URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether the scheme is `wss` or `https`, which means TLS.
    pub secure: bool,
    /// Name in ASCII, or address; IPv6 addresses without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host[:port]` for the `Host` header, without the default port of the scheme (RFC 6455 section 4.1).
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// `user:password` of the URL, if it has one.
    pub credentials: Option<Secret>,
}

impl Target {
    /// Parses a `ws` or `wss` URL.
    pub fn websocket(url: &str) -> Result<Target> {
        Target::parse(url, &["ws", "wss"], "ws://host:port/path")
    }

    /// Parses the URL of a launcher. Its path ends with a slash; without a path it is the usual one.
    pub fn launcher(url: &str) -> Result<Target> {
        let example = "https://host/paraview/";
        let mut target = Target::parse(url, &["http", "https"], example)?;
        if target.path.contains('?') {
            return Err(invalid(url, "has a query, and that of a launcher has none", example));
        }
        if target.path == "/" {
            target.path.push_str("paraview");
        }
        if !target.path.ends_with('/') {
            target.path.push('/');
        }
        Ok(target)
    }

    /// Parses the URL of an HTTP proxy.
    pub fn proxy(url: &str) -> Result<Target> {
        let example = "http://host:port";
        let target = Target::parse(url, &["http"], example)?;
        if target.path != "/" {
            return Err(invalid(url, "has a path, and a proxy has none", example));
        }
        Ok(target)
    }

    fn parse(url: &str, schemes: &[&str], example: &str) -> Result<Target> {
        let bad = |why: &str| invalid(url, why, example);
        let url = url.trim_ascii();
        if url.contains(|c: char| c.is_control()) {
            return Err(bad("has a control character or a line break"));
        }
        let Some(scheme) =
            url.split_once("://").map(|(s, _)| s).filter(|s| s.bytes().all(|b| b.is_ascii_alphanumeric()))
        else {
            return Err(bad("has no scheme"));
        };
        if !schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(bad(&format!("has scheme {scheme:?}")));
        }
        if url.contains('#') {
            // RFC 6455 section 3.
            return Err(bad("has a fragment (#), which no server gets to see; a # in the path is written %23"));
        }
        let Parts { user_info, host } = Parts::of(url);
        if url[host.clone()].contains('\\') {
            return Err(bad("has a backslash"));
        }
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        // Only scheme, host and port go through the crate: it would normalize the path, and keep credentials in memory.
        let parsed = Url::parse(&format!("{scheme}://{}", &url[host.clone()]));
        let parsed = parsed.map_err(|e| match e {
            url::ParseError::InvalidPort => bad("has a port that is no number from 1 to 65535"),
            url::ParseError::EmptyHost => bad("has no host"),
            e => bad(&format!("has a host that is not valid ({e})")),
        })?;
        let (name, port) = match (parsed.host(), parsed.port_or_known_default()) {
            (_, Some(0)) => return Err(bad("has a port that is no number from 1 to 65535")),
            (Some(name), Some(port)) => (name, port),
            _ => return Err(bad("has no host")),
        };
        // Refuse the DNS root ("."): without its dot, no name is left to compare with the certificate.
        if matches!(name, Host::Domain(".")) {
            return Err(bad("has no host"));
        }
        let bare = match &name {
            Host::Ipv6(address) => address.to_string(),
            name => name.to_string(),
        };
        let path = utf8_percent_encode(&url[host.end..], NOT_IN_PATHS).to_string();
        let credentials = user_info.map(|range| basic_credentials(&url[range])).transpose().map_err(bad)?.flatten();
        Ok(Target {
            secure: matches!(parsed.scheme(), "wss" | "https"),
            host: bare,
            port,
            authority: parsed.port().map_or(name.to_string(), |port| format!("{name}:{port}")),
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            credentials,
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

    /// The host as certificates name it: without a trailing dot (RFC 6066 section 3).
    pub fn server_name(&self) -> &str {
        self.host.strip_suffix('.').unwrap_or(&self.host)
    }
}

/// The places of user information and host in a URL with a scheme.
struct Parts {
    user_info: Option<Range<usize>>,
    /// Host and port.
    host: Range<usize>,
}

impl Parts {
    fn of(url: &str) -> Parts {
        let begin = url.find("://").map_or(0, |at| at + 3);
        let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
        match url[begin..end].rfind('@') {
            Some(at) => Parts { user_info: Some(begin..begin + at), host: begin + at + 1..end },
            None => Parts { user_info: None, host: begin..end },
        }
    }
}

fn invalid(url: &str, why: &str, example: &str) -> Error {
    Error::new(Code::Argument, format!("URL {:?} {why}; write {example}", redacted(url)))
}

/// An invalid URL for an error text: without anything that may be credentials, and without query and fragment, which may
/// hold a token.
fn redacted(url: &str) -> String {
    // What precedes the first "://" may also be user and password, if the query holds another URL.
    let scheme = url.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
    let scheme = scheme.map_or("", |(scheme, _)| &url[..scheme.len() + 3]);
    without_query(&match url.rfind('@') {
        Some(at) => format!("{scheme}...{}", &url[at..]),
        None => url.to_owned(),
    })
}

/// A URL from a server for an error text: without credentials, query and fragment, which the server may have copied from the
/// request.
pub fn without_secrets(url: &str) -> String {
    // The URL may consist of a path only.
    let begin = url.find("//").map_or(0, |at| at + 2);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    without_query(&match url[begin..end].rfind('@') {
        Some(at) => format!("{}...{}", &url[..begin], &url[begin + at..]),
        None => url.to_owned(),
    })
}

fn without_query(url: &str) -> String {
    match url.find(['?', '#']) {
        Some(at) => format!("{}...", &url[..=at]),
        None => url.to_owned(),
    }
}

/// The credentials of Basic authentication (RFC 7617 section 2): user and password, decoded, with a colon between them.
fn basic_credentials(user_info: &str) -> Result<Option<Secret>, &'static str> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    // Large enough from the start: growing would leave a copy in freed memory.
    let mut both = Zeroizing::new(Vec::with_capacity(user_info.len() + 1));
    both.extend(percent_decode_str(user));
    if both.contains(&b':') {
        return Err("has a user name with a colon, which Basic authentication cannot send");
    }
    both.push(b':');
    both.extend(percent_decode_str(password));
    std::str::from_utf8(&both).map(|text| Some(text.into())).map_err(|_| "has credentials that are not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row: URL, host, port, `Host` header, path. `server_name` is the host without a trailing dot.
    #[test]
    fn urls_are_parsed() {
        #[rustfmt::skip]
        let rows = [
            // Path and query stay as they are, dots and escapes included.
            ("ws://h:8080/a/../proxy?sessionId=1%20&path=ws", "h", 8080, "h:8080", "/a/../proxy?sessionId=1%20&path=ws"),
            ("ws://h/%2e%2E//x%zz;y=[1]/*'(!)", "h", 80, "h", "/%2e%2E//x%zz;y=[1]/*'(!)"),
            ("ws://h?x=1/2@3", "h", 80, "h", "/?x=1/2@3"),
            ("ws://h/a?b?c://d", "h", 80, "h", "/a?b?c://d"),
            // Except for characters that must not occur in a request.
            ("ws://h/ws?name=J\u{fc}rgen", "h", 80, "h", "/ws?name=J%C3%BCrgen"),
            ("ws://h/a b\"<>\\^`{|}", "h", 80, "h", "/a%20b%22%3C%3E%5C%5E%60%7B%7C%7D"),
            // Ports.
            ("ws://h:80/ws", "h", 80, "h", "/ws"),
            ("wss://h:443/ws", "h", 443, "h", "/ws"),
            ("wss://h:80/ws", "h", 80, "h:80", "/ws"),
            ("ws://h:443/ws", "h", 443, "h:443", "/ws"),
            ("ws://h:/ws", "h", 80, "h", "/ws"),
            ("ws://h:00008080/ws", "h", 8080, "h:8080", "/ws"),
            // Hosts.
            ("WS://Example.ORG/Ws", "example.org", 80, "example.org", "/Ws"),
            ("ws://localhost.:8080/ws", "localhost.", 8080, "localhost.:8080", "/ws"),
            ("ws://b\u{fc}cher.example/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
            ("ws://\u{4f8b}\u{3048}.\u{30c6}\u{30b9}\u{30c8}/", "xn--r8jz45g.xn--zckzah", 80, "xn--r8jz45g.xn--zckzah", "/"),
            ("ws://render_node-1/", "render_node-1", 80, "render_node-1", "/"),
            ("wss://[::1]", "::1", 443, "[::1]", "/"),
            ("ws://[2001:DB8:0::1]:8080/ws", "2001:db8::1", 8080, "[2001:db8::1]:8080", "/ws"),
            ("ws://127.0.0.1:1/", "127.0.0.1", 1, "127.0.0.1:1", "/"),
            ("  ws://h/ws\n", "h", 80, "h", "/ws"),
        ];
        for (url, host, port, authority, path) in rows {
            let t = Target::websocket(url).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((t.host.as_str(), t.port), (host, port), "{url}");
            assert_eq!((t.authority.as_str(), t.path.as_str()), (authority, path), "{url}");
            assert_eq!((t.server_name(), t.credentials.as_deref()), (host.trim_end_matches('.'), None), "{url}");
            assert_eq!(t.secure, url.starts_with("wss"), "{url}");
        }
        assert_eq!(Target::websocket("ws://[::1]:8080").unwrap().host_port(), "[::1]:8080");
    }

    #[test]
    fn credentials_are_user_and_password() {
        #[rustfmt::skip]
        let rows = [
            ("http://us%40er:p%3aw@proxy:3128", Some("us@er:p:w")),
            ("http://user:pa:ss@proxy:3128", Some("user:pa:ss")),
            ("http://user:p@ss@proxy:3128", Some("user:p@ss")),
            ("http://token@proxy:3128", Some("token:")),
            ("http://token:@proxy:3128", Some("token:")),
            ("http://:password@proxy:3128", Some(":password")),
            ("http://a%+1%:%zz@proxy:3128/", Some("a%+1%:%zz")),
            ("http://J\u{fc}rgen:%C3%BC@proxy:3128", Some("J\u{fc}rgen:\u{fc}")),
            ("http://@proxy:3128", None),
            ("http://:@proxy:3128", None),
            ("http://proxy:3128", None),
        ];
        for (url, credentials) in rows {
            let t = Target::proxy(url).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(t.credentials.as_deref(), credentials, "{url}");
            assert_eq!((t.authority.as_str(), t.host_port().as_str()), ("proxy:3128", "proxy:3128"), "{url}");
        }
    }

    #[test]
    fn invalid_urls_are_refused_with_the_reason() {
        #[rustfmt::skip]
        let rows = [
            ("localhost:8080/ws", "scheme"), ("/ws", "scheme"), ("", "scheme"), ("ws:h", "scheme"), ("ws:/h", "scheme"),
            ("http://h/ws", "scheme \"http\""), (" \u{a0}ws://h", "scheme"),
            ("ws://", "no host"), ("ws:///ws", "no host"), ("ws://:80/", "no host"), ("ws://u@/", "no host"), ("ws://?x", "no host"), ("ws://./", "no host"), ("ws://%2e:80/", "no host"),
            ("ws://h:99999/", "port"), ("ws://h:x/", "port"), ("ws://h:0/", "port"), ("ws://h:+80/", "port"), ("ws://h:-1/", "port"),
            ("ws://h:80:80/", "port"), ("ws://h: 80/", "port"),
            ("ws://h/ws#top", "fragment"), ("ws://h#", "fragment"), ("ws://h?x=#1", "fragment"),
            ("ws://a b/", "not valid"), ("ws://a<b/", "not valid"), ("ws://[::1/", "not valid"), ("ws://[fe80::1%25eth0]/", "not valid"),
            ("ws://::1/", "port"), ("ws://256.1.1.1/", "not valid"), ("ws://xn--a/", "not valid"),
            ("ws://h\\x/", "backslash"), ("ws://h/a\nX: y", "line break"), ("ws://h\0/", "control"),
            ("ws://%FF:x@h/", "UTF-8"), ("ws://a%3Ab:x@h/", "colon"),
        ];
        for (url, why) in rows {
            let e = Target::websocket(url).expect_err(url);
            assert_eq!(e.code(), Code::Argument);
            assert!(e.message().contains(why), "{url}: {e}");
        }
        for (url, why) in [
            ("https://proxy:1", "scheme"),
            ("socks5://proxy:1", "scheme"),
            ("proxy:1", "scheme"),
            ("http://proxy:0", "port"),
            ("http://proxy:+80", "port"),
            ("http://proxy:1/path", "path"),
            ("http://proxy:1/?x", "path"),
            ("http://proxy:1#x", "fragment"),
        ] {
            let e = Target::proxy(url).expect_err(url);
            assert!(e.code() == Code::Argument && e.message().contains(why), "{url}: {e}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for url in [
            "ftp://u:geheim@h",
            "u:geheim@h:80",
            "http:/u:geheim@h",
            "ws://h:99999/ws?token=geheim",
            "ws://u:geheim@h:0/",
            "ws://u:geheim@h#x",
            "ws://u%3a:geheim@h/",
            "u:geheim@h/proxy?to=ws://x",
            "http:/u:geheim@h/http://x",
            "ws://h/ws#token=geheim",
        ] {
            let e = Target::websocket(url).unwrap_err();
            assert!(!e.message().contains("geheim"), "{e}");
        }
    }

    #[test]
    fn a_url_from_a_server_is_shown_without_secrets() {
        for (url, shown) in [
            ("https://h/ws", "https://h/ws"),
            ("/elsewhere", "/elsewhere"),
            ("", ""),
            ("https://u:geheim@h:1/@me?token=geheim#geheim", "https://...@h:1/@me?..."),
            ("//u:geheim@h#geheim", "//...@h#..."),
            ("/login?next=https://u:geheim@h/", "/login?..."),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }
}
