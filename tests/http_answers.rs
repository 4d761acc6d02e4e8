//! Answers of servers and proxies other than a plain 101, or before it: RFC 9110, RFC 9112, RFC 6455 section 4.

mod common;

use common::scripted::{Conn, Frame, ScriptedServer};
use common::{PATIENCE, connected};
use std::time::{Duration, SystemTime};
use wslink::{Args, Code, Config, Error, Protocol, Session, Stage};

/// How a connection ends after the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Ends,
    /// The connection stays open: the client must find the end of the answer itself.
    Stays,
}
use Then::*;

/// The server's answer, and the client's error.
fn refusal(answer: impl AsRef<[u8]>, then: Then) -> Error {
    let answer = answer.as_ref().to_vec();
    let server = ScriptedServer::start(move |conn, _| play(conn, &answer, then));
    Session::new(server.config(Protocol::V2)).unwrap().connect_wait().unwrap_err()
}

/// The proxy's answer, and the client's error.
fn proxy_refusal(answer: impl AsRef<[u8]>, credentials: &str, then: Then) -> Error {
    let answer = answer.as_ref().to_vec();
    let proxy = ScriptedServer::start(move |conn, _| play(conn, &answer, then));
    let mut config = Config::new("ws://server.invalid/ws").unwrap();
    config.set_proxy(Some(&format!("http://{credentials}127.0.0.1:{}", proxy.port()))).unwrap();
    Session::new(config).unwrap().connect_wait().unwrap_err()
}

fn play(conn: &mut Conn, answer: &[u8], then: Then) {
    conn.head();
    conn.raw(answer);
    if then == Ends {
        conn.cut();
    }
    assert_eq!(conn.frame(), Frame::End);
}

/// Status, texts that the message contains, and texts that it does not.
type Row = (&'static str, Then, u16, &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const REFUSALS: &[Row] = &[
    // Versions and status lines.
    ("HTTP/1.0 503 Backend down\r\n\r\nplease wait", Ends, 503, &["503 Backend down", "please wait"], &[]),
    ("HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", Stays, 404, &["404 Not Found", "nope"], &[]),
    ("HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", Stays, 503, &["503 Service Unavailable"], &[]),
    ("HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", Stays, 503, &["503 Service Unavailable"], &[]),
    ("\r\nHTTP/1.1 404 Not Found\nContent-Length: 2\n\nno", Stays, 404, &["404 Not Found: no"], &[]),
    ("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n", Stays, 418, &["418 I'm a teapot"], &[]),
    ("HTTP/1.1 999 Request denied\r\nContent-Length: 0\r\n\r\n", Stays, 999, &["999 Request denied"], &[]),
    // The end of the text.
    ("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n13\r\n{\"detail\": \"no such\r\n8;x=y\r\n token\"}\r\n0\r\nX: y\r\n\r\n",
        Stays, 403, &["403 Forbidden: {\"detail\": \"no such token\"}"], &["13", "8;", "X: y"]),
    ("HTTP/1.1 403 Forbidden\r\ntransfer-encoding: Chunked\r\nContent-Length: 5\r\n\r\n3\r\nyes\r\n0\r\n\r\n", Stays, 403, &["403 Forbidden: yes"], &["3 yes"]),
    ("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n5\r\nga", Ends, 403, &["begunga"], &[]),
    ("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\nno chunks at all", Ends, 403, &["403 Forbidden"], &["chunks at all"]),
    ("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nyesHTTP/1.1 200 OK\r\n", Stays, 403, &["403 Forbidden: yes"], &["200"]),
    ("HTTP/1.1 403 Forbidden\r\nContent-Length: 3, 3\r\n\r\nyes", Stays, 403, &["403 Forbidden: yes"], &[]),
    ("HTTP/1.1 403 Forbidden\r\nContent-Length: many\r\n\r\nuntil the end", Ends, 403, &["until the end"], &[]),
    ("HTTP/1.1 403 Forbidden\r\n\r\nuntil nothing comes", Stays, 403, &["until nothing comes"], &[]),
    ("HTTP/1.1 204 No Content\r\n\r\n", Stays, 204, &["204 No Content", "no WebSocket at this path"], &[]),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", Stays, 304, &["304 Not Modified"], &[]),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stays, 200, &["200 OK", "no WebSocket at this path"], &[]),
    // The content of the text.
    ("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 102\r\n\r\n<html><head><title>Oh</title><style>h1{}</style></head>\r\n<body><h1>Backend</h1>\n<p>is  down</p></body></html>",
        Ends, 502, &["502 Bad Gateway: Backend is down"], &["<", "h1", "Oh"]),
    ("HTTP/1.1 502 Bad Gateway\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x08zz", Stays, 502, &["502 Bad Gateway"], &["zz"]),
    ("HTTP/1.1 502 Bad Gateway\r\nContent-Type: TEXT/HTML\r\n\r\n<HTML><HEAD><TITLE>502 Bad Gateway</TITLE></HEAD><BODY><header>502 Bad Gateway</header><!-- > --><NoScript>no</NoScript>nginx",
        Ends, 502, &["502 Bad Gateway: nginx; "], &["no<", ">"]),
    ("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<p>a < b <head", Ends, 502, &["502 Bad Gateway: a"], &[]),
    // Redirects.
    ("HTTP/1.1 301 X\r\nLocation: https://h.invalid/ws\r\nContent-Length: 0\r\n\r\n", Stays, 301, &["redirects to https://h.invalid/ws"], &[]),
    ("HTTP/1.1 308 X\r\nLOCATION:/elsewhere\r\nContent-Length: 0\r\n\r\n", Stays, 308, &["redirects to /elsewhere"], &[]),
    ("HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n", Stays, 302, &["302"], &["redirects to"]),
    ("HTTP/1.1 404 X\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", Stays, 404, &[], &["redirect", "/login"]),
    ("HTTP/1.1 503 X\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", Stays, 503, &[], &["redirect", "/login"]),
    ("HTTP/1.1 201 X\r\nLocation: /made\r\nContent-Length: 0\r\n\r\n", Stays, 201, &[], &["redirect", "/made"]),
    // Redirects to TLS that repeat credentials and query of the URL.
    ("HTTP/1.1 301 X\r\nLocation: https://u:geheim@h.invalid/ws?token=geheim\r\nContent-Length: 0\r\n\r\n", Stays, 301, &["redirects to https://...@h.invalid/ws?...,"], &["geheim"]),
    // Credentials.
    ("HTTP/1.1 401 X\r\nWWW-Authenticate: Negotiate\r\nwww-authenticate: NTLM\r\nContent-Length: 0\r\n\r\n", Stays, 401, &["Negotiate, NTLM", "Basic"], &["wrong"]),
    ("HTTP/1.1 401 X\r\nWWW-Authenticate: Digest realm=\"a, Basic b\", nonce=\"x\", qop=\"auth\"\r\nContent-Length: 0\r\n\r\n", Stays, 401, &["Digest"], &["wrong"]),
    ("HTTP/1.1 401 X\r\nWWW-Authenticate: Negotiate, Basic realm=\"r\"\r\nContent-Length: 0\r\n\r\n", Stays, 401, &["missing or wrong"], &["Negotiate"]),
    ("HTTP/1.1 401 X\r\nWWW-Authenticate: Bearer realm=\"r\", error=\"invalid_token\"\r\nContent-Length: 0\r\n\r\n", Stays, 401, &["Bearer", "Authorization"], &[]),
    ("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n", Stays, 401, &["missing or wrong", "Authorization"], &[]),
    // Interim answers.
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Stays, 503, &["503 Busy"], &["100"]),
    ("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 404 Gone\r\nContent-Length: 2\r\n\r\nno", Ends, 404, &["404 Gone: no"], &["103", "Link"]),
    // Statuses that do not fit the request.
    ("HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n", Stays, 426, &["TLS/1.2"], &[]),
    ("HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 7, 8\r\nContent-Length: 0\r\n\r\n", Stays, 400, &["WebSocket version 13", "7, 8"], &[]),
    // gorilla/websocket, whatever is wrong with the request.
    ("HTTP/1.1 400 Bad Request\r\nSec-Websocket-Version: 13\r\nContent-Length: 0\r\n\r\n", Stays, 400, &["pass the Upgrade header on"], &["version 13"]),
    ("HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 8, 13\r\nUpgrade: h2c, websocket\r\nContent-Length: 0\r\n\r\n", Stays, 426, &["have it pass the Upgrade header on"], &["version 13", "h2c"]),
    ("HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 67\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center></html>", Ends, 400, &["HTTPS port", "use wss://"], &[]),
    // Odd headers.
    ("HTTP/1.1 404 Not Found\r\nX-Odd : space\r\nX-Folded: one\r\n two\r\nno colon\r\nContent-Length: 2\r\n\r\nno", Stays, 404, &["404 Not Found: no"], &[]),
];

#[test]
fn a_refusal_is_reported_with_status_and_text() {
    for (answer, then, status, with, without) in REFUSALS {
        let e = refusal(answer, *then);
        assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade), "{answer}: {e}");
        assert_eq!(e.http_status(), Some(*status), "{answer}: {e}");
        for text in *with {
            assert!(e.message().contains(text), "{answer}: {e} lacks {text:?}");
        }
        for text in *without {
            assert!(!e.message().contains(text), "{answer}: {e} has {text:?}");
        }
        assert!(!e.message().contains(char::is_control), "{e}");
    }
}

/// Each status comes with advice, even if the server sends no text.
#[test]
fn statuses_come_with_advice() {
    #[rustfmt::skip]
    let rows = [
        (400, "Upgrade header"), (401, "credentials"), (403, "not allowed"), (404, "path"), (405, "path"), (407, "proxy"), (408, "later"),
        (410, "path"), (425, "later"), (426, "WebSocket"), (429, "too many"), (500, "log of the server"), (501, "WebSocket"),
        (502, "behind"), (503, "not ready"), (504, "behind"), (511, "log in"), (520, "Cloudflare"), (521, "Cloudflare"),
        (522, "Cloudflare"), (523, "Cloudflare"), (524, "Cloudflare"), (525, "Cloudflare"), (526, "Cloudflare"), (530, "Cloudflare"),
    ];
    for (status, advice) in rows {
        let e = refusal(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"), Stays);
        assert_eq!(e.http_status(), Some(status), "{e}");
        assert!(e.message().starts_with(&format!("the server answered {status} X; ")), "{e}");
        assert!(e.message().contains(advice), "{status}: {e} lacks {advice:?}");
    }
}

#[test]
fn the_text_of_a_refusal_may_be_in_another_charset() {
    let rows: [(&str, &[u8], &str); 6] = [
        ("text/plain; charset=ISO-8859-1", b"J\xfcrgen", "J\u{fc}rgen"),
        ("text/plain; charset=\"windows-1252\"", b"J\xfcrgen", "J\u{fc}rgen"),
        ("text/plain;charset=utf-8", "J\u{fc}rgen".as_bytes(), "J\u{fc}rgen"),
        ("text/plain", "J\u{fc}rgen".as_bytes(), "J\u{fc}rgen"),
        ("text/plain", b"J\xfcrgen", "J\u{fffd}rgen"),
        ("text/plain; charset=utf-16", b"\xff\xfeJ\0\xfc\0", "404 Nope"),
    ];
    for (kind, body, text) in rows {
        let head = format!("HTTP/1.1 404 Nope\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let e = refusal([head.as_bytes(), body].concat(), Stays);
        assert!(e.message().contains(text), "{kind}: {e}");
    }
}

#[test]
fn a_long_text_is_cut() {
    let body = "x".repeat(100_000);
    for answer in [
        format!("HTTP/1.1 404 N\r\nContent-Length: 100000\r\n\r\n{body}"),
        format!("HTTP/1.1 404 N\r\n\r\n{body}"),
        format!("HTTP/1.1 404 N\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n{body}\r\n0\r\n\r\n"),
        format!("HTTP/1.1 404 N\r\nTransfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(16_000)),
    ] {
        let e = refusal(answer, Ends);
        assert_eq!(e.http_status(), Some(404));
        assert!(e.message().contains("xxxx") && e.message().len() < 600, "{e}");
    }
}

#[test]
fn a_long_header_is_cut() {
    let long = "x".repeat(60_000);
    for answer in [
        format!("301 X\r\nLocation: https://h.invalid/{long}"),
        format!("400 X\r\nSec-WebSocket-Version: {long}"),
        format!("401 X\r\nWWW-Authenticate: {long}"),
        format!("407 X\r\nProxy-Authenticate: {long}"),
        format!("426 X\r\nUpgrade: {long}"),
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        for e in [refusal(&answer, Stays), proxy_refusal(&answer, "", Stays)] {
            assert!(e.http_status().is_some() && e.message().len() < 600, "{} bytes: {e}", e.message().len());
        }
    }
}

/// Answers that upgrade; `{accept}` stands for the correct value. The session must work.
#[rustfmt::skip]
const UPGRADES: &[&str] = &[
    "HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 101 \r\nUPGRADE: WebSocket\r\nCONNECTION: UPGRADE\r\nSEC-WEBSOCKET-ACCEPT:{accept}\r\n\r\n",
    "HTTP/1.1 101 Any words\r\nupgrade:\twebsocket \r\nconnection: keep-alive, Upgrade\r\nsec-websocket-accept:  {accept}\t\r\n\r\n",
    "HTTP/1.1 101 X\r\nConnection: keep-alive\r\nConnection: upgrade\r\nUpgrade: h2c, websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 101 X\r\nConnection: ,upgrade,\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept:\r\n {accept}\r\nX: a\r\n\tb\r\n\r\n",
    "HTTP/1.1 101 X\r\nConnection : upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nServer: J\u{fc}rgen's\r\n\r\n",
    "HTTP/1.1 101 X\nConnection: upgrade\nUpgrade: websocket\nSec-WebSocket-Accept: {accept}\n\n",
    "\r\nHTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.0 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
    "HTTP/1.1 101 X\r\nSec-WebSocket-Extensions:\r\nSec-WebSocket-Protocol:\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
];

#[test]
fn unusual_but_legal_upgrades_are_accepted() {
    let many = format!(
        "HTTP/1.1 101 X\r\n{}Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {{accept}}\r\n\r\n",
        "Set-Cookie: a=b\r\n".repeat(300)
    );
    for head in UPGRADES.iter().map(|head| (*head).to_owned()).chain([many]) {
        for in_pieces in [false, true] {
            let head = head.clone();
            let server = ScriptedServer::start(move |conn, _| {
                conn.head();
                let accept = tungstenite::handshake::derive_accept_key(
                    conn.header("Sec-WebSocket-Key").expect("a key").as_bytes(),
                );
                let answer = head.replace("{accept}", &accept);
                match in_pieces {
                    false => conn.raw(answer),
                    true => answer.as_bytes().chunks(7).for_each(|piece| conn.raw(piece)),
                }
                conn.answer_hello(Protocol::V2);
                conn.echo();
            });
            let session = Session::new(server.config(Protocol::V2)).unwrap();
            session.connect_wait().unwrap_or_else(|e| panic!("{e}"));
            session.call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
        }
    }
}

#[test]
fn an_invalid_101_is_refused_with_its_fault() {
    let good = "Upgrade: websocket\r\nConnection: upgrade\r\n";
    let rows = [
        (String::new(), "does not upgrade to websocket"),
        ("Upgrade: h2c\r\nConnection: upgrade\r\n".to_owned(), "does not upgrade to websocket"),
        ("Upgrade: websocket\r\nConnection: keep-alive\r\n".to_owned(), "does not upgrade to websocket"),
        (good.to_owned(), "has no Sec-WebSocket-Accept"),
        (format!("{good}Sec-WebSocket-Accept:\r\n"), "has no Sec-WebSocket-Accept"),
        (format!("{good}Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n"), "has the wrong Sec-WebSocket-Accept"),
    ];
    for (headers, text) in rows {
        let e = refusal(format!("HTTP/1.1 101 X\r\n{headers}\r\n"), Ends);
        assert_eq!((e.code(), e.stage()), (Code::Upgrade, Stage::Upgrade), "{e}");
        assert!(e.message().contains(text), "{headers}: {e} lacks {text:?}");
    }
}

#[test]
fn an_answer_without_end_names_the_limit() {
    for answer in [
        format!("HTTP/1.1 101 X\r\nX: {}", "x".repeat(70_000)),
        format!("HTTP/1.1 404 X\r\n{}", "X: y\r\n".repeat(12_000)),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(3000),
    ] {
        for e in [refusal(&answer, Stays), proxy_refusal(&answer, "", Stays)] {
            assert!(e.message().contains("64 KiB of headers"), "{e}");
        }
    }
}

#[test]
fn answers_that_are_not_http_are_reported_for_server_and_proxy() {
    for (answer, text) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        ("RFB 003.008\n", "not HTTP"),
        ("\x15\x03\x01\x00\x02\x02\x46", "TLS"),
        ("\0\0\x12\x04\0\0\0\0\0", "HTTP/2"),
        ("HTTP/1.1 banana\r\n\r\n", "not HTTP"),
        ("HTTP/2.0 200 OK\r\n\r\n", "not HTTP"),
        ("", "ended the connection"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "ended the connection"),
        ("HTTP/1.1 503 Bus", "ended the connection"),
    ] {
        let (e, p) = (refusal(answer, Ends), proxy_refusal(answer, "", Ends));
        assert_eq!((e.code(), e.stage(), e.http_status()), (Code::Upgrade, Stage::Upgrade, None), "{answer}: {e}");
        assert_eq!((p.code(), p.stage(), p.http_status()), (Code::Proxy, Stage::Proxy, None), "{answer}: {p}");
        for e in [&e, &p] {
            assert!(e.message().contains(text), "{answer}: {e} lacks {text:?}");
        }
        // A restarting server may close the connection like this.
        assert_eq!((e.is_retriable(), p.is_retriable()), (text.contains("ended"), text.contains("ended")), "{e}, {p}");
        assert!(!p.message().contains("WebSocket") && !p.message().contains("wss://"), "{p}");
    }
}

#[rustfmt::skip]
const PROXY_REFUSALS: &[(&str, Row)] = &[
    ("", ("HTTP/1.0 503 No Backend\r\n\r\nsorry", Ends, 503, &["503 No Backend", "sorry"], &[])),
    ("", ("HTTP/1.0 500 Unable to connect\r\nContent-Type: text/html\r\n\r\n<p>no route</p>", Ends, 500, &["500 Unable to connect: no route"], &["<"])),
    ("", ("HTTP/1.1 403 Filtered\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nport\r\n5\r\n 8080\r\n0\r\n\r\n", Stays, 403, &["403 Filtered: port 8080", "does not allow"], &[])),
    ("u:geheim@", ("HTTP/1.0 401 Unauthorized\r\n\r\n", Ends, 401, &["does not accept the credentials"], &["geheim"])),
    ("", ("HTTP/1.1 405 X\r\nContent-Length: 0\r\n\r\n", Stays, 405, &["CONNECT"], &[])),
    ("", ("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", Stays, 404, &["CONNECT"], &[])),
    ("", ("HTTP/1.1 302 X\r\nLocation: http://login.invalid/\r\nContent-Length: 0\r\n\r\n", Stays, 302, &["login.invalid"], &[])),
    ("", ("HTTP/1.1 504 X\r\nLocation: http://login.invalid/\r\nContent-Length: 0\r\n\r\n", Stays, 504, &["did not answer"], &["login"])),
    ("", ("HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", Stays, 502, &["not reach"], &[])),
    ("", ("HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", Stays, 429, &["too many"], &[])),
    ("", ("HTTP/1.1 101 X\r\n\r\n", Ends, 101, &["101"], &[])),
    ("", ("HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n", Stays, 407, &["write http://user:password@"], &[])),
    ("", ("HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n", Stays, 407, &["Negotiate, NTLM", "Basic"], &["write", "not accept"])),
    ("u:geheim@", ("HTTP/1.1 407 X\r\nProxy-Authenticate: Digest realm=\"p\", nonce=\"n\"\r\nContent-Length: 0\r\n\r\n", Stays, 407, &["Digest", "Basic"], &["write", "not accept", "geheim"])),
    ("u:geheim@", ("HTTP/1.1 407 X\r\nProxy-Authenticate: Negotiate, Basic realm=\"p\"\r\nContent-Length: 0\r\n\r\n", Stays, 407, &["does not accept the credentials"], &["Negotiate", "geheim"])),
    ("", ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 403 No\r\n\r\n", Ends, 403, &["403 No"], &["100"])),
];

#[test]
fn a_refusal_of_a_proxy_is_reported_with_status_and_text() {
    for (credentials, (answer, then, status, with, without)) in PROXY_REFUSALS {
        let e = proxy_refusal(answer, credentials, *then);
        assert_eq!((e.code(), e.stage(), e.http_status()), (Code::Proxy, Stage::Proxy, Some(*status)), "{answer}: {e}");
        for text in *with {
            assert!(e.message().contains(text), "{answer}: {e} lacks {text:?}");
        }
        for text in *without {
            assert!(!e.message().contains(text), "{answer}: {e} has {text:?}");
        }
    }
}

#[test]
fn unusual_but_legal_tunnel_answers_are_accepted() {
    for answer in [
        "HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 204 X\r\n\r\n",
        // Neither header has a meaning here (RFC 9110 section 9.3.6).
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
    ] {
        let proxy = ScriptedServer::start(move |conn, _| {
            conn.respond(answer);
            conn.hello(Protocol::V2);
            conn.echo();
        });
        let mut config = Config::new("ws://server.invalid/ws").unwrap();
        config.session.protocol = Some(Protocol::V2);
        config.set_proxy(Some(&format!("http://127.0.0.1:{}", proxy.port()))).unwrap();
        connected(config).call_wait("m", Args::new(), Some(PATIENCE)).unwrap();
    }
}

#[test]
fn an_answer_before_the_request_was_read_is_received() {
    let server = ScriptedServer::start(|conn, _| {
        conn.raw("HTTP/1.1 503 Too many clients\r\nConnection: close\r\n\r\nfull");
        conn.reset_at_end();
    });
    // The reset may overtake the answer. The answer is then lost, but the failure is still retriable.
    let e = Session::new(server.config(Protocol::V2)).unwrap().connect_wait().unwrap_err();
    assert!(e.is_retriable(), "{e}");
    assert!(matches!(e.http_status(), None | Some(503)), "{e}");
}

#[test]
fn retry_after_is_kept_with_the_error() {
    let in_a_minute = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    let rows = [
        ("Retry-After: 7".to_owned(), Some(7..=7)),
        ("retry-after:  120 ".to_owned(), Some(120..=120)),
        ("Retry-After: 0".to_owned(), Some(0..=0)),
        (format!("Retry-After: {in_a_minute}"), Some(1..=60)),
        // By the server's clock.
        ("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT".into(), Some(30..=30)),
        // In the past.
        ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT".to_owned(), Some(0..=0)),
        // Absurdly long.
        ("Retry-After: 99999999999999".to_owned(), Some(86_400..=86_400)),
        ("Retry-After: soon".to_owned(), None),
        ("Retry-After: -1".to_owned(), None),
        ("Retry-After: 1.5".to_owned(), None),
        ("Retry-After:".to_owned(), None),
        ("X: y".to_owned(), None),
    ];
    for (header, wanted) in rows {
        for status in [429, 503] {
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{header}\r\n\r\n");
            for e in [refusal(&answer, Stays), proxy_refusal(&answer, "", Stays)] {
                match (e.retry_after(), &wanted) {
                    (None, None) => {}
                    (Some(got), Some(wanted)) => assert!(wanted.contains(&got.as_secs()), "{header}: {got:?}"),
                    (got, _) => panic!("{header}: {got:?}"),
                }
            }
        }
    }
}
