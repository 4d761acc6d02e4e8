//! The effect of a URL on the wire: the request line, `Host` and credentials that a server or proxy receives. Unit tests cover the
//! parsing of URLs and the refused ones.

mod common;

use common::scripted::{Frame, ScriptedServer};
use std::sync::{Arc, Mutex};
use wslink::{Code, Config, Error, Session};

/// Connects to a server that refuses, directly or through a proxy; returns the head of the request.
fn request(configure: impl FnOnce(u16) -> Config) -> (String, Error) {
    let head = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&head);
    let server = ScriptedServer::start(move |conn, _| {
        *seen.lock().unwrap() = conn.head();
        conn.raw("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(conn.frame(), Frame::End);
    });
    let config = configure(server.port());
    let error = Session::new(config).unwrap().connect_wait().unwrap_err();
    drop(server);
    let head = head.lock().unwrap().clone();
    (head, error)
}

fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let named = head.lines().filter_map(|line| line.split_once(": "));
    named.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn the_request_has_what_the_url_says() {
    #[rustfmt::skip]
    let rows = [
        ("ws://127.0.0.1:PORT/ws", "/ws", "127.0.0.1:PORT", None),
        ("WS://127.0.0.1:PORT", "/", "127.0.0.1:PORT", None),
        ("ws://127.0.0.1:PORT?a=b", "/?a=b", "127.0.0.1:PORT", None),
        ("ws://LocalHost:PORT/a/../b//./c%2e?x=/../", "/a/../b//./c%2e?x=/../", "localhost:PORT", None),
        ("ws://localhost.:PORT/ws", "/ws", "localhost.:PORT", None),
        ("ws://127.0.0.1:PORT/ws?name=J\u{fc}rgen&t=\u{20ac} \"<>", "/ws?name=J%C3%BCrgen&t=%E2%82%AC%20%22%3C%3E", "127.0.0.1:PORT", None),
        ("ws://token@127.0.0.1:PORT/", "/", "127.0.0.1:PORT", Some("token:")),
        ("ws://user:pa%3ass%20%+1@127.0.0.1:PORT/", "/", "127.0.0.1:PORT", Some("user:pa:ss %+1")),
        ("ws://@127.0.0.1:PORT/", "/", "127.0.0.1:PORT", None),
    ];
    for (url, path, host, credentials) in rows {
        let mut here = 0;
        let (head, e) = request(|port| {
            here = port;
            Config::new(&url.replace("PORT", &port.to_string())).unwrap()
        });
        assert_eq!((e.code(), e.http_status()), (Code::Upgrade, Some(404)), "{url}: {e}");
        assert_eq!(head.lines().next(), Some(format!("GET {path} HTTP/1.1").as_str()), "{url}");
        assert_eq!(lines(&head, "Host"), [host.replace("PORT", &here.to_string())], "{url}");
        let basic = credentials.map(|c| format!("Basic {}", data_encoding::BASE64.encode(c.as_bytes())));
        assert_eq!(lines(&head, "Authorization"), basic.as_deref().into_iter().collect::<Vec<_>>(), "{url}");
        assert!(head.is_ascii());
    }
}

#[test]
fn a_proxy_is_asked_for_the_host_and_port_of_the_url() {
    #[rustfmt::skip]
    let rows = [
        ("ws://server.invalid/ws", "", "server.invalid:80", None),
        ("ws://server.invalid:80/ws", "token@", "server.invalid:80", Some("token:")),
        ("wss://server.invalid/ws", "user:pass@", "server.invalid:443", Some("user:pass")),
        ("wss://b\u{fc}cher.invalid:8443/ws", ":pass@", "xn--bcher-kva.invalid:8443", Some(":pass")),
        ("ws://[::1]/ws", "", "[::1]:80", None),
    ];
    for (url, user, target, credentials) in rows {
        let (head, e) = request(|port| {
            let mut config = Config::new(url).unwrap();
            config.set_proxy(Some(&format!("http://{user}127.0.0.1:{port}/"))).unwrap();
            config
        });
        assert_eq!((e.code(), e.http_status()), (Code::Proxy, Some(404)), "{url}: {e}");
        assert_eq!(head.lines().next(), Some(format!("CONNECT {target} HTTP/1.1").as_str()), "{url}");
        assert_eq!(lines(&head, "Host"), [target], "{url}");
        let basic = credentials.map(|c| format!("Basic {}", data_encoding::BASE64.encode(c.as_bytes())));
        assert_eq!(lines(&head, "Proxy-Authorization"), basic.as_deref().into_iter().collect::<Vec<_>>(), "{url}");
    }
}

/// A server behind a proxy gets the `Host` of RFC 6455 section 4.1: without the port if it is the scheme's default.
#[test]
fn the_port_of_the_scheme_is_not_in_host() {
    for (url, host) in [
        ("ws://server.invalid/ws", "server.invalid"),
        ("ws://server.invalid:80/ws", "server.invalid"),
        ("ws://server.invalid:443/ws", "server.invalid:443"),
        ("ws://[::1]:80/ws", "[::1]"),
    ] {
        let heads = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&heads);
        let proxy = ScriptedServer::start(move |conn, _| {
            conn.respond("HTTP/1.1 200 OK\r\n\r\n");
            *seen.lock().unwrap() = conn.head();
            conn.raw("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(conn.frame(), Frame::End);
        });
        let mut config = Config::new(url).unwrap();
        config.set_proxy(Some(&format!("http://127.0.0.1:{}", proxy.port()))).unwrap();
        let e = Session::new(config).unwrap().connect_wait().unwrap_err();
        assert_eq!(e.http_status(), Some(404), "{url}: {e}");
        drop(proxy);
        assert_eq!(lines(&heads.lock().unwrap(), "Host"), [host], "{url}");
    }
}
