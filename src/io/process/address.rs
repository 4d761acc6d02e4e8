//! Finds the port of a server in what it prints.

use std::net::IpAddr;

/// Where a server of this machine listens.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The scheme of the URL means TLS.
    pub secure: bool,
    /// The address at which it is reached; IPv6 in brackets.
    pub host: &'static str,
    /// TCP port.
    pub port: u16,
}

/// What a line says: the port after the text `before_port`, or without such a text a URL of this machine with a port.
pub fn find(line: &str, before_port: Option<&str>) -> Option<Found> {
    let Some(before) = before_port else { return url(line) };
    let (_, after) = line.split_once(before)?;
    let after = after.trim_start_matches([' ', '\t', '"', '\'']);
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let port = after[..digits].parse().ok().filter(|port| *port != 0)?;
    Some(Found { secure: false, host: "127.0.0.1", port })
}

/// The first URL with a port whose host is this machine. Others are links to documentation and the like.
fn url(line: &str) -> Option<Found> {
    line.match_indices("://").find_map(|(at, _)| {
        let scheme = &line[line[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len()..at];
        let secure = match scheme {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return None,
        };
        let rest = &line[at + 3..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-._:[]".contains(c))).unwrap_or(rest.len());
        let (host, port) = rest[..end].trim_end_matches(['.', ':']).rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let host = match address {
            Ok(IpAddr::V4(v4)) if v4.is_loopback() || v4.is_unspecified() => "127.0.0.1",
            Ok(IpAddr::V6(v6)) if v6.is_loopback() || v6.is_unspecified() => "[::1]",
            Err(_) if host.eq_ignore_ascii_case("localhost") => "localhost",
            _ => return None,
        };
        Some(Found { secure, host, port })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secure: bool, host: &'static str, port: u16) -> Option<Found> {
        Some(Found { secure, host, port })
    }

    #[test]
    fn urls() {
        for (line, expected) in [
            ("  - Local:   http://127.0.0.1:41234/", at(false, "127.0.0.1", 41234)),
            ("http://127.0.0.1:412", at(false, "127.0.0.1", 412)),
            ("open https://localhost:8443/index.html.", at(true, "localhost", 8443)),
            ("at ws://0.0.0.0:9000/ws", at(false, "127.0.0.1", 9000)),
            ("at wss://[::]:9000", at(true, "[::1]", 9000)),
            ("(http://[::1]:9000).", at(false, "[::1]", 9000)),
            ("\u{279c}http://127.0.0.1:9 \u{201c}http://127.0.0.1:8\u{201d}", at(false, "127.0.0.1", 9)),
            ("see file:///tmp/x, then http://localhost:1/", at(false, "localhost", 1)),
            ("see https://127.0.0.1/docs and http://example.com:80/", None),
            ("http://localhost:99999/ http://localhost:2/", at(false, "localhost", 2)),
            ("http://localhost:0/ http://:5/ ://", None),
            ("nothing here: // no", None),
        ] {
            assert_eq!(find(line, None), expected, "{line}");
        }
    }

    #[test]
    fn ports() {
        for (line, expected) in [
            ("READY 1234", Some(1234)),
            ("READY 1234 and more", Some(1234)),
            ("was READY \"1234\"", Some(1234)),
            ("READY soon", None),
            ("READY 0", None),
            ("READY 99999", None),
            ("ready 1234", None),
        ] {
            assert_eq!(find(line, Some("READY")), expected.and_then(|port| at(false, "127.0.0.1", port)), "{line}");
        }
    }
}
