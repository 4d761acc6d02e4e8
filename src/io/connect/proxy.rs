//! Through an HTTP forward proxy: `CONNECT` (RFC 9110 section 9.3.6).

use super::deadline::ConnectDeadline;
use super::http::{self, Failure, Response};
use super::url::Target;
use crate::error::{Code, Error, Result, Stage};
use data_encoding::BASE64;
use mio::net::TcpStream;
use std::io;
use tungstenite::http::header::PROXY_AUTHENTICATE;
use zeroize::Zeroizing;

/// Asks the proxy for a tunnel to the target.
pub fn connect(stream: &TcpStream, proxy: &Target, target: &Target, deadline: &mut ConnectDeadline<'_>) -> Result<()> {
    let host = target.host_port();
    let credentials = proxy.credentials.as_deref().map(|c| Zeroizing::new(BASE64.encode(c.as_bytes())));
    // Large enough from the start: growing would leave a copy of the credentials in freed memory.
    let size = 2 * host.len() + credentials.as_ref().map_or(0, |c| c.len()) + 128;
    let mut request = Zeroizing::new(String::with_capacity(size));
    request.push_str(&format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n"));
    if let Some(credentials) = &credentials {
        ["Proxy-Authorization: Basic ", credentials, "\r\n"].iter().for_each(|part| request.push_str(part));
    }
    request.push_str("\r\n");
    let response = http::exchange(&mut &*stream, request.as_bytes(), Stage::Proxy, deadline);
    let mut response = response.map_err(|e| no_response(e, proxy))?;
    if !response.status.is_success() {
        let text = response.text(&mut &*stream, Stage::Proxy, deadline);
        return Err(refused(&response, &text, proxy, &host));
    }
    if !response.rest.is_empty() {
        return Err(failed(proxy, "sent data before the tunnel was used"));
    }
    Ok(())
}

fn failed(proxy: &Target, what: &str) -> Error {
    Error::new(Code::Proxy, format!("proxy {}: {what}", proxy.host_port())).at(Stage::Proxy)
}

/// The error for a proxy that refuses the tunnel: its status, the beginning of its text, and advice.
fn refused(response: &Response, text: &str, proxy: &Target, host: &str) -> Error {
    let status = response.status.as_u16();
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    let advice = match response.redirect() {
        Some(place) => format!("; it redirects to {place}, which is not followed"),
        None => advice(response, proxy),
    };
    failed(proxy, &format!("refused the tunnel to {host} with status {}{text}{advice}", response.status_line()))
        .with_http_status(status)
        .with_retry_after(response.retry_after())
}

/// Advice for a status.
fn advice(response: &Response, proxy: &Target) -> String {
    let advice = match response.status.as_u16() {
        400 | 404 | 405 | 501 => "does it know CONNECT? A web server is not a proxy",
        403 => "it does not allow this host or port",
        // 401 is meant for servers, but some proxies send it.
        401 | 407 => {
            let schemes = response.schemes(PROXY_AUTHENTICATE);
            if !schemes.is_empty() && !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic")) {
                let schemes = schemes.join(", ");
                return format!(
                    "; it wants credentials by {schemes}, and this library knows Basic: have it offer that"
                );
            }
            match proxy.credentials {
                None => "it asks for credentials: write http://user:password@host:port",
                Some(_) => "it does not accept the credentials",
            }
        }
        408 | 425 => "try again later",
        429 => "it got too many requests; try again later",
        500 => "it failed, or does not reach the host: is the server running?",
        502 => "it does not reach the host: is the server running?",
        503 => "it is not ready, or does not reach the host",
        504 => "the host did not answer it in time",
        511 => "this network wants you to log in first, with a browser",
        _ => return String::new(),
    };
    format!("; {advice}")
}

/// The error for a proxy that sent no response. All failures but timeouts and cancellation count as failures of the proxy.
fn no_response(failure: Failure, proxy: &Target) -> Error {
    match failure {
        Failure::Wait(error) => error,
        Failure::Ended(why) => {
            let kind = why.as_ref().map_or(io::ErrorKind::UnexpectedEof, io::Error::kind);
            let why = why.map_or(String::new(), |e| format!(" ({e})"));
            let message = format!("it ended the connection instead of answering CONNECT{why}");
            failed(proxy, &message).with_io(kind)
        }
        Failure::Tls => failed(proxy, "it speaks TLS, which is not supported for proxies: use a port of it with HTTP"),
        Failure::Other(why) => failed(proxy, &format!("this is no HTTP proxy: its answer {why}")),
    }
}
