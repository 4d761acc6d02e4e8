//! The opening handshake of WebSocket, an HTTP upgrade (RFC 6455 section 4).

use super::deadline::ConnectDeadline;
use super::endpoint::Endpoint;
use super::http::{self, Failure, Response};
use super::url::Target;
use crate::error::{Code, Error, Result, Stage};
use crate::io::tls::{self, TlsOptions};
use crate::io::transport::socket::Socket;
use std::io::{self, Read, Write};
use tungstenite::handshake::{client::generate_key, derive_accept_key};
use tungstenite::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use zeroize::Zeroizing;

/// Does the handshake. Returns the bytes of frames that arrived with the response.
pub fn upgrade(
    socket: &Socket,
    endpoint: &Endpoint,
    tls_options: &TlsOptions,
    deadline: &mut ConnectDeadline<'_>,
) -> Result<Vec<u8>> {
    let target = &endpoint.target;
    let key = generate_key();
    let request = request(endpoint, &key);
    let mut stream = Stream(socket);
    let response = http::exchange(&mut stream, request.as_bytes(), Stage::Upgrade, deadline);
    let mut response = response.map_err(|e| no_response(e, target, tls_options))?;
    if response.status.as_u16() != 101 {
        let text = response.text(&mut stream, Stage::Upgrade, deadline);
        return Err(refused(&response, &text, target));
    }
    check(&response, &key)?;
    Ok(response.rest)
}

/// The request, which is wiped from memory because it may hold secrets. Its memory is large enough from the start: growing
/// would leave a copy behind.
fn request(endpoint: &Endpoint, key: &str) -> Zeroizing<String> {
    let Endpoint { target, headers } = endpoint;
    let own = endpoint.basic_authorization();
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let size = size + target.path.len() + target.authority.len() + own.as_ref().map_or(0, |o| o.len()) + 256;
    let mut request = Zeroizing::new(String::with_capacity(size));
    let mut line = |words: &[&str]| {
        words.iter().for_each(|word| request.push_str(word));
        request.push_str("\r\n");
    };
    line(&["GET ", &target.path, " HTTP/1.1"]);
    line(&["Host: ", &target.authority]);
    line(&["Connection: Upgrade"]);
    line(&["Upgrade: websocket"]);
    line(&["Sec-WebSocket-Version: 13"]);
    line(&["Sec-WebSocket-Key: ", key]);
    for (name, value) in headers {
        line(&[name.as_str(), ": ", value]);
    }
    if let Some(value) = &own {
        line(&["Authorization: ", value]);
    }
    line(&[]);
    request
}

/// Checks the response as RFC 6455 section 4.1 demands.
fn check(response: &Response, key: &str) -> Result<()> {
    let bad =
        |what: &str| Err(Error::new(Code::Upgrade, format!("the server's upgrade response {what}")).at(Stage::Upgrade));
    if !response.list_contains(UPGRADE, "websocket") || !response.list_contains(CONNECTION, "upgrade") {
        return bad("does not upgrade to websocket");
    }
    match response.header(SEC_WEBSOCKET_ACCEPT) {
        None => return bad("has no Sec-WebSocket-Accept"),
        Some(accept) if accept != derive_accept_key(key.as_bytes()) => {
            return bad("has the wrong Sec-WebSocket-Accept: it answers another request");
        }
        Some(_) => {}
    }
    if response.header(SEC_WEBSOCKET_EXTENSIONS).is_some() {
        return bad("uses an extension that was not offered");
    }
    if response.header(SEC_WEBSOCKET_PROTOCOL).is_some() {
        return bad("selects a sub-protocol that was not offered");
    }
    Ok(())
}

/// The error for another status than 101: the status, the beginning of the text, and advice.
fn refused(response: &Response, text: &str, target: &Target) -> Error {
    let status = response.status.as_u16();
    let mut message = format!("the server answered {}", response.status_line());
    if !text.is_empty() {
        message += &format!(": {text}");
    }
    message += &match response.redirect() {
        Some(place) => format!("; it redirects to {place}, which is not followed: use that address if you trust it"),
        None => advice(response, text, target),
    };
    Error::new(Code::Upgrade, message)
        .at(Stage::Upgrade)
        .with_http_status(status)
        .with_retry_after(response.retry_after())
}

/// Advice for a status.
fn advice(response: &Response, text: &str, target: &Target) -> String {
    let advice = match response.status.as_u16() {
        // The words of nginx, Go and Apache.
        400 if !target.secure && ["HTTPS", "SSL", "TLS"].iter().any(|word| text.contains(word)) => {
            "it speaks TLS: use wss:// instead of ws://"
        }
        // Some servers name their version in every refusal, even if it is 13.
        400 | 426
            if !response.list_contains(SEC_WEBSOCKET_VERSION, "13")
                && response.shown_header(SEC_WEBSOCKET_VERSION).is_some() =>
        {
            let versions = response.shown_header(SEC_WEBSOCKET_VERSION).unwrap_or_default();
            return format!("; it does not speak WebSocket version 13 (RFC 6455) but {versions}");
        }
        400 => {
            "it does not understand the request: is the path of the URL right, and does a proxy before it pass the Upgrade header on?"
        }
        401 => return unauthorised(response),
        403 => "not allowed: a token may be missing or wrong, or it is in use by another client (wslink's relay)",
        404 => "is the path of the URL right? wslink's default is /ws",
        405 | 410 => "there is no WebSocket at this path: is the path of the URL right? wslink's default is /ws",
        407 => "a proxy on the way asks for credentials: set it as the proxy of this session, with its credentials",
        408 => "the request came too slowly for it; try again later",
        425 => "it does not want to answer yet; try again later",
        426 => {
            let wanted = response.shown_header(UPGRADE).filter(|_| !response.list_contains(UPGRADE, "websocket"));
            return match wanted {
                Some(protocol) => format!("; it wants {protocol} instead of WebSocket"),
                None => "; a proxy before it may not let WebSocket through: have it pass the Upgrade header on".into(),
            };
        }
        429 => "it got too many requests; try again later",
        500 => {
            "it failed: the log of the server may say why; or does a proxy before it not pass the Upgrade header on?"
        }
        501 | 505 => "it does not know WebSocket: is this the right host and port?",
        502 => "the server behind this proxy is down or does not speak WebSocket",
        503 => "the server behind a proxy is not ready",
        504 => "the server behind this proxy does not answer",
        511 => "this network wants you to log in first, with a browser",
        520..=524 | 527 | 530 => "Cloudflare does not reach the server behind it",
        525 | 526 => "Cloudflare finds no valid TLS at the server behind it",
        200..=299 => "this is a web server, but no WebSocket at this path",
        _ => return String::new(),
    };
    format!("; {advice}")
}

/// Advice for status 401: which credentials the server asks for.
fn unauthorised(response: &Response) -> String {
    let schemes = response.schemes(WWW_AUTHENTICATE);
    let offers = |scheme: &str| schemes.iter().any(|one| one.eq_ignore_ascii_case(scheme));
    if schemes.is_empty() || offers("Basic") {
        "; credentials are missing or wrong (user and password in the URL, or an Authorization header)".into()
    } else if offers("Bearer") {
        "; a token is missing or wrong (header \"Authorization: Bearer ...\")".into()
    } else {
        format!(
            "; it wants credentials by {}, and this library knows Basic: make the Authorization header yourself",
            schemes.join(", ")
        )
    }
}

/// The error for a server that sent no response.
fn no_response(failure: Failure, target: &Target, tls_options: &TlsOptions) -> Error {
    let no_server = |why: &str| format!("this is no WebSocket server: {why}");
    let message = match failure {
        Failure::Wait(error) => return error,
        Failure::Ended(why) => {
            let of_tls = why.as_ref().and_then(|e| tls::after_handshake(e, target.server_name(), tls_options));
            return of_tls.unwrap_or_else(|| ended(why, target));
        }
        Failure::Tls if !target.secure => no_server("it speaks TLS: use wss:// instead of ws://"),
        Failure::Tls => no_server("its answer is not HTTP"),
        Failure::Other(why) => no_server(&format!("its answer {why}")),
    };
    Error::new(Code::Upgrade, message).at(Stage::Upgrade)
}

fn ended(why: Option<io::Error>, target: &Target) -> Error {
    let kind = why.as_ref().map_or(io::ErrorKind::UnexpectedEof, io::Error::kind);
    let why = why.map_or(String::new(), |e| format!(" ({e})"));
    let hint = if target.secure { "" } else { "; if it speaks TLS, use wss://" };
    let message = format!("the server ended the connection instead of answering the WebSocket upgrade{why}{hint}");
    Error::new(Code::Upgrade, message).at(Stage::Upgrade).with_io(kind)
}

/// A socket as `Read` and `Write`.
struct Stream<'a>(&'a Socket);

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
