//! Finds the address of a server in what it prints.

/// The address that a server prints: its URL, or its port after this text.
pub fn find(text: &str, before_port: Option<&str>) -> Option<Found> {
    match before_port {
        None => url(text),
        Some(before) => {
            let (_, after) = text.split_once(before)?;
            port(after.trim_start_matches([' ', '\t', '"', '\''])).map(Found::Port)
        }
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A port of this machine.
    Port(u16),
    /// A port of this host.
    HostPort {
        /// The scheme means TLS.
        secure: bool,
        /// Name or address, IPv6 in brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
}

/// The number at the beginning.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().ok().filter(|port| *port != 0)
}

/// The first URL with a host.
fn url(text: &str) -> Option<Found> {
    for (at, _) in text.match_indices("://") {
        let scheme_begins = text[..at].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |i| i + 1);
        let (secure, default) = match &text[scheme_begins..at] {
            "http" | "ws" => (false, 80),
            "https" | "wss" => (true, 443),
            _ => continue,
        };
        let rest = &text[at + 3..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-._:[]".contains(c)));
        let authority = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', ':']);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => match digits.parse() {
                Ok(port) => (host, port),
                Err(_) => continue,
            },
            _ => (authority, default),
        };
        // Addresses that mean "every address" of the server's machine.
        let host = match host {
            "" => continue,
            "0.0.0.0" => "127.0.0.1",
            "[::]" => "[::1]",
            host => host,
        };
        return Some(Found::HostPort { secure, host: host.to_owned(), port });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secure: bool, host: &str, port: u16) -> Option<Found> {
        Some(Found::HostPort { secure, host: host.into(), port })
    }

    #[test]
    fn urls() {
        for (text, expected) in [
            ("  - Local:   http://127.0.0.1:41234/", at(false, "127.0.0.1", 41234)),
            ("http://127.0.0.1:412", at(false, "127.0.0.1", 412)),
            ("open https://node7.cluster:8443/index.html.", at(true, "node7.cluster", 8443)),
            ("at ws://0.0.0.0:9000/ws", at(false, "127.0.0.1", 9000)),
            ("at wss://[::]:9000", at(true, "[::1]", 9000)),
            ("(http://[::1]:9000).", at(false, "[::1]", 9000)),
            ("http://localhost", at(false, "localhost", 80)),
            ("see file:///tmp/x, then http://a:1/", at(false, "a", 1)),
            ("http://a:99999/ http://b:2/", at(false, "b", 2)),
            ("nothing here: // no", None),
        ] {
            assert_eq!(find(text, None), expected, "{text}");
        }
    }

    #[test]
    fn ports() {
        for (text, expected) in [
            ("READY 1234", Some(1234)),
            ("was READY \"1234\"", Some(1234)),
            ("READY soon", None),
            ("READY 0", None),
            ("READY 99999", None),
            ("ready 1234", None),
        ] {
            assert_eq!(find(text, Some("READY")), expected.map(Found::Port), "{text}");
        }
    }
}
