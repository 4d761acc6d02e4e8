//! From HTTP to WebSocket (RFC 6455 section 4).

use super::establish::Patience;
use super::socket::Socket;
use super::url::Target;
use crate::error::{Code, Error, Result, Stage};
use crate::wire::secret::Secret;
use data_encoding::BASE64;
use std::io::{self, Read, Write};
use tungstenite::handshake::client::Response;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::{client::generate_key, derive_accept_key};
use tungstenite::http::{HeaderName, header::AUTHORIZATION};
use zeroize::Zeroizing;

/// The largest head of an HTTP response that is read.
const MAX_HEAD: usize = 64 << 10;

/// How much of the body of a refusal is read and shown.
const MAX_BODY: usize = 2 << 10;

/// Does the handshake. Returns bytes of frames that came along with the response.
pub fn upgrade(
    socket: &Socket,
    target: &Target,
    headers: &[(HeaderName, Secret)],
    patience: &mut Patience<'_>,
) -> Result<Vec<u8>> {
    let key = generate_key();
    let request = request(target, headers, &key);
    write_all(&mut Stream(socket), request.as_bytes(), Stage::Upgrade, patience)?;
    let (response, tail) = read_head(&mut Stream(socket), Stage::Upgrade, patience)?;
    if response.status().as_u16() != 101 {
        return Err(refused(socket, &response, tail, patience));
    }
    check(&response, &key)?;
    Ok(tail)
}

/// The request. It is composed in memory that it does not outgrow, and wiped, because secrets may be in it.
fn request(target: &Target, headers: &[(HeaderName, Secret)], key: &str) -> Zeroizing<String> {
    let own = target.credentials.as_deref().filter(|_| !headers.iter().any(|(name, _)| name == AUTHORIZATION));
    let own = own.map(|credentials| Zeroizing::new(BASE64.encode(credentials.as_bytes())));
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
    if let Some(credentials) = &own {
        line(&["Authorization: Basic ", credentials]);
    }
    line(&[]);
    request
}

/// RFC 6455 section 4.1, what a client must check of the response.
fn check(response: &Response, key: &str) -> Result<()> {
    let bad =
        |what: &str| Err(Error::new(Code::Upgrade, format!("the server's upgrade response {what}")).at(Stage::Upgrade));
    let has_token = |name: &str, token: &str| {
        response
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .any(|v| v.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    if !has_token("upgrade", "websocket") || !has_token("connection", "upgrade") {
        return bad("does not upgrade to websocket");
    }
    if response
        .headers()
        .get("sec-websocket-accept")
        .is_none_or(|v| v.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
    {
        return bad("has the wrong Sec-WebSocket-Accept");
    }
    if response.headers().contains_key("sec-websocket-extensions") {
        return bad("uses an extension that was not offered");
    }
    if response.headers().contains_key("sec-websocket-protocol") {
        return bad("selects a sub-protocol that was not offered");
    }
    Ok(())
}

/// The server answered with something else: its status and the beginning of its text.
fn refused(socket: &Socket, response: &Response, mut body: Vec<u8>, patience: &mut Patience<'_>) -> Error {
    let status = response.status();
    let length = response.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let wanted = length.unwrap_or(if body.is_empty() { 1 } else { body.len() }).min(MAX_BODY);
    let mut stream = Stream(socket);
    let mut buffer = [0; MAX_BODY];
    let until = patience.soon();
    while body.len() < wanted {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => body.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && patience.wait_before(until, Stage::Upgrade).is_ok() => {}
            Err(_) => break,
        }
    }
    body.truncate(MAX_BODY);
    let text: String =
        String::from_utf8_lossy(&body).chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    let mut message = format!("the server answered {status}");
    if !text.trim().is_empty() {
        message += &format!(": {}", text.trim());
    }
    message += match status.as_u16() {
        404 => "; is the path of the URL right? wslink's default is /ws",
        401 => "; credentials are missing or wrong (Authorization header)",
        403 => "; not allowed, or in use by another client (wslink's relay)",
        503 => "; the server behind a proxy is not ready",
        200..=299 => "; this is a web server, but no WebSocket at this path",
        _ => "",
    };
    if let Some(place) = response.headers().get("location").and_then(|v| v.to_str().ok()) {
        message += &format!("; redirects to {place}, which is not followed: use that address if you trust it");
    }
    Error::new(Code::Upgrade, message)
        .at(Stage::Upgrade)
        .with_http_status(status.as_u16())
        .retriable_if(matches!(status.as_u16(), 429 | 502..=504))
}

/// A socket as a stream.
struct Stream<'a>(&'a Socket);

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into, false)
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

/// Writes everything, waiting where the stream does not take more.
pub fn write_all(stream: &mut impl Write, mut bytes: &[u8], stage: Stage, patience: &mut Patience<'_>) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => patience.wait(stage)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ended(&e.to_string(), stage)),
        }
    }
    Ok(())
}

/// Reads the head of an HTTP response, and what came behind it.
pub fn read_head(stream: &mut impl Read, stage: Stage, patience: &mut Patience<'_>) -> Result<(Response, Vec<u8>)> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ended("", stage)),
            Ok(n) => head.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                patience.wait(stage)?;
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ended(&e.to_string(), stage)),
        }
        match Response::try_parse(&head) {
            Ok(Some((size, response))) => return Ok((response, head.split_off(size))),
            Ok(None) if head.len() > MAX_HEAD => return Err(not_http("its answer has no end", stage)),
            Ok(None) => {}
            // A TLS record: alert or handshake.
            Err(_) if matches!(head[..], [0x15 | 0x16, 3, ..]) => {
                return Err(not_http("it speaks TLS: use wss:// instead of ws://", stage));
            }
            Err(e) => return Err(not_http(&format!("its answer is not HTTP ({e})"), stage)),
        }
    }
}

fn not_http(why: &str, stage: Stage) -> Error {
    Error::new(Code::Upgrade, format!("this is no WebSocket server: {why}")).at(stage)
}

fn ended(why: &str, stage: Stage) -> Error {
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let message = format!(
        "the server ended the connection instead of answering the WebSocket upgrade{why}; if it speaks TLS, use wss://"
    );
    Error::new(Code::Upgrade, message).at(stage).retriable_if(true)
}
