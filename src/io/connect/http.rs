//! A response of an HTTP server or proxy: its head, and the beginning of its text (RFC 9110, RFC 9112).

use super::deadline::ConnectDeadline;
use super::url::without_secrets;
use crate::error::{Error, Stage};
use http_auth::ChallengeParser;
use httparse::{EMPTY_HEADER, ParserConfig, Status, parse_chunk_size};
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime};
use tungstenite::http::StatusCode;
use tungstenite::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    TRANSFER_ENCODING,
};

/// Limit on the bytes of headers, including those of interim responses.
const MAX_HEAD: usize = 64 << 10;

/// How many bytes of content are read.
const MAX_BODY: usize = 2 << 10;

/// How many bytes of content are read before chunked encoding is removed.
const MAX_ENCODED: usize = 16 << 10;

/// How many characters of content or of a header are shown.
const MAX_SHOWN: usize = 300;

/// The longest `Retry-After` that the application is told.
const MAX_REPORTED_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A final response, as opposed to interim ones.
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    reason: String,
    headers: HeaderMap,
    /// The bytes after the head.
    pub rest: Vec<u8>,
}

/// Why there is no response.
pub enum Failure {
    /// The deadline passed, or the application cancelled the attempt.
    Wait(Error),
    /// The connection ended, with this error or, without one, in an orderly way.
    Ended(Option<io::Error>),
    /// The peer speaks TLS.
    Tls,
    /// Something else was received. The text completes the sentence "its answer ...".
    Other(String),
}

/// Writes everything, and waits while the stream would block.
fn write_all(
    stream: &mut impl Write,
    mut bytes: &[u8],
    stage: Stage,
    deadline: &mut ConnectDeadline<'_>,
) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(Failure::Ended(Some(io::ErrorKind::WriteZero.into()))),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => deadline.wait(stage).map_err(Failure::Wait)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Failure::Ended(Some(e))),
        }
    }
    Ok(())
}

/// Sends a request and reads the response, also one that arrived before the request was written completely.
pub fn exchange(
    stream: &mut (impl Read + Write),
    request: &[u8],
    stage: Stage,
    deadline: &mut ConnectDeadline<'_>,
) -> Result<Response, Failure> {
    let lost = match write_all(stream, request, stage, deadline) {
        Ok(()) => None,
        Err(Failure::Ended(why)) => why,
        Err(e) => return Err(e),
    };
    read(stream, stage, deadline).map_err(|e| if matches!(e, Failure::Ended(None)) { Failure::Ended(lost) } else { e })
}

/// Reads the next response, skipping interim ones (RFC 9110 section 15.2).
fn read(stream: &mut impl Read, stage: Stage, deadline: &mut ConnectDeadline<'_>) -> Result<Response, Failure> {
    let mut received = Vec::new();
    let mut skipped = 0;
    let mut buffer = [0; 4096];
    loop {
        let got = match stream.read(&mut buffer) {
            Ok(0) => return Err(Failure::Ended(None)),
            Ok(n) => &buffer[..n],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                deadline.wait(stage).map_err(Failure::Wait)?;
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Failure::Ended(Some(e))),
        };
        received.extend_from_slice(got);
        // The first bytes show whether this is HTTP. After them, parse again only at the end of a head: parsing after every
        // read would keep this thread busy for seconds if lines arrive one at a time.
        let fresh = &received[(received.len() - got.len()).saturating_sub(2)..];
        if received.len() > 64 && !has_empty_line(fresh) && skipped + received.len() <= MAX_HEAD {
            continue;
        }
        while let Some((size, mut response)) = head(&received).map_err(|e| not_http(&received, e))? {
            let rest = received.split_off(size);
            skipped += size;
            if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
                received = rest;
                continue;
            }
            response.rest = rest;
            return Ok(response);
        }
        if skipped + received.len() > MAX_HEAD {
            return Err(Failure::Other(format!("has more than {} KiB of headers", MAX_HEAD >> 10)));
        }
    }
}

/// Whether there is an empty line, which ends a head.
fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|end| end == b"\n\n") || bytes.windows(3).any(|end| end == b"\n\r\n")
}

fn not_http(received: &[u8], why: httparse::Error) -> Failure {
    match received {
        // A TLS record: alert or handshake.
        [0x15 | 0x16, 3, ..] => Failure::Tls,
        // An HTTP/2 SETTINGS frame.
        [_, _, _, 4, _, 0, 0, 0, 0, ..] => Failure::Other("is HTTP/2 and not HTTP/1.1".into()),
        _ => Failure::Other(format!("is not HTTP ({why})")),
    }
}

/// Parses the head of a response and returns its length, too; `None` if the head is not complete. Accepts the deviations that
/// RFC 9112 asks recipients to tolerate.
fn head(bytes: &[u8]) -> Result<Option<(usize, Response)>, httparse::Error> {
    let mut config = ParserConfig::default();
    config
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_space_before_first_header_name(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let mut fields = vec![EMPTY_HEADER; 64];
    let (size, status, reason) = loop {
        let mut response = httparse::Response::new(&mut fields);
        match config.parse_response(&mut response, bytes) {
            Ok(Status::Complete(size)) => break (size, response.code, response.reason),
            Ok(Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                let more = fields.len() * 2;
                fields = vec![EMPTY_HEADER; more];
            }
            Err(e) => return Err(e),
        }
    };
    let status = StatusCode::from_u16(status.unwrap_or(0)).map_err(|_| httparse::Error::Status)?;
    let mut headers = HeaderMap::new();
    for field in fields.iter().take_while(|field| !field.name.is_empty()) {
        // Lines may be folded (RFC 9112 section 5.2).
        let value: Vec<u8> = field.value.iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }).collect();
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(field.name), HeaderValue::from_bytes(value.trim_ascii())) {
            // An error means a full map, and MAX_HEAD bytes cannot fill it.
            let _ = headers.try_append(name, value);
        }
    }
    let reason = reason.unwrap_or("").trim().to_owned();
    Ok(Some((size, Response { status, reason, headers, rest: Vec::new() })))
}

impl Response {
    /// Status code and reason, such as "404 Not Found".
    pub fn status_line(&self) -> String {
        let words = if self.reason.is_empty() { self.status.canonical_reason().unwrap_or("") } else { &self.reason };
        let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
        format!("{} {words}", self.status.as_u16()).trim_end().to_owned()
    }

    /// The non-empty values of a header, as text.
    fn values(&self, name: HeaderName) -> impl Iterator<Item = Cow<'_, str>> {
        let values = self.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        values.filter(|value| !value.is_empty()).map(String::from_utf8_lossy)
    }

    /// A header as text; several lines of it are joined by commas. `None` if it is missing or empty.
    pub fn header(&self, name: HeaderName) -> Option<String> {
        let values: Vec<_> = self.values(name).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// A header for an error text.
    pub fn shown_header(&self, name: HeaderName) -> Option<String> {
        self.header(name).map(|value| truncated(&value))
    }

    /// Whether a header is a list with this member, ignoring case.
    pub fn list_contains(&self, name: HeaderName, member: &str) -> bool {
        self.values(name).any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(member)))
    }

    /// The target of a redirect for an error text. `Location` has other meanings in other responses (RFC 9110 section 10.2.2).
    pub fn redirect(&self) -> Option<String> {
        let place = self.status.is_redirection().then(|| self.header(LOCATION)).flatten();
        place.map(|place| truncated(&without_secrets(&place)))
    }

    /// The authentication schemes that this header offers (RFC 9110 section 11.3), for an error text.
    pub fn schemes(&self, name: HeaderName) -> Vec<String> {
        let mut schemes = Vec::new();
        for value in self.values(name) {
            let before = schemes.len();
            schemes.extend(ChallengeParser::new(&value).map_while(Result::ok).map(|one| one.scheme.to_owned()));
            if schemes.len() == before {
                // The parser does not know schemes with base64 data.
                schemes.extend(value.split_whitespace().next().map(str::to_owned));
            }
        }
        schemes.truncate(8);
        schemes.iter().map(|scheme| truncated(scheme)).collect()
    }

    /// The delay that the server asks for before the next request (RFC 9110 section 10.2.3).
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header(RETRY_AFTER)?;
        let time = if value.bytes().all(|b| b.is_ascii_digit()) {
            Duration::from_secs(value.parse().unwrap_or(u64::MAX))
        } else {
            let until = httpdate::parse_http_date(&value).ok()?;
            // Compare with the server's own clock, if it sent its time.
            let now = self.header(DATE).and_then(|date| httpdate::parse_http_date(&date).ok());
            until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default()
        };
        Some(time.min(MAX_REPORTED_RETRY_AFTER))
    }

    /// The beginning of the content on one line, as far as it arrives soon; empty if it is no text.
    pub fn text(&mut self, stream: &mut impl Read, stage: Stage, deadline: &mut ConnectDeadline<'_>) -> String {
        let until = deadline.for_optional_data();
        let mut buffer = [0; MAX_BODY];
        loop {
            let (body, complete) = self.body();
            if complete || body.len() >= MAX_BODY || self.rest.len() >= MAX_ENCODED {
                break;
            }
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => self.rest.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && deadline.wait_before(until, stage).is_ok() => {}
                Err(_) => break,
            }
        }
        let (body, _) = self.body();
        self.shown(&body[..body.len().min(MAX_BODY)])
    }

    /// The content received so far, and whether it is complete (RFC 9112 section 6.3).
    fn body(&self) -> (Cow<'_, [u8]>, bool) {
        if self.status.is_informational() || matches!(self.status.as_u16(), 204 | 304) {
            return (Cow::default(), true);
        }
        match self.header(TRANSFER_ENCODING) {
            Some(coding) if coding.eq_ignore_ascii_case("chunked") => return chunks(&self.rest),
            // Codings that the request did not allow.
            Some(_) => return (Cow::default(), true),
            None => {}
        }
        match self.content_length() {
            Some(length) if length <= self.rest.len() => (self.rest[..length].into(), true),
            _ => (self.rest.as_slice().into(), false),
        }
    }

    /// `Content-Length`, if all its values agree.
    fn content_length(&self) -> Option<usize> {
        let shown_header = self.header(CONTENT_LENGTH)?;
        let mut lengths = shown_header.split(',').map(|one| one.trim().parse::<usize>().ok());
        let first = lengths.next()??;
        lengths.all(|length| length == Some(first)).then_some(first)
    }

    /// The content as readable text: decoded, without HTML tags, truncated.
    fn shown(&self, body: &[u8]) -> String {
        let kind = self.header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        let is_text = kind.is_empty() || ["text/", "json", "xml"].iter().any(|word| kind.contains(word));
        let charset = kind.split_once("charset=").map_or("", |(_, name)| name);
        let charset = charset.trim_start_matches(['"', '\'']).split(['"', '\'', ';', ' ']).next().unwrap_or("");
        if !is_text || self.headers.contains_key(CONTENT_ENCODING) || charset.starts_with("utf-16") {
            return String::new();
        }
        let text = match charset {
            "iso-8859-1" | "latin1" | "us-ascii" | "windows-1252" => body.iter().map(|b| char::from(*b)).collect(),
            _ => String::from_utf8_lossy(body),
        };
        let is_html = kind.contains("html") || text.trim_start().to_ascii_lowercase().starts_with("<!doctype html");
        let text = if is_html { without_tags(&text) } else { text.into_owned() };
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // The text of many pages begins with the status.
        let text =
            if is_html { text.strip_prefix(&self.status_line()).unwrap_or(&text).trim_start() } else { text.as_str() };
        // The text becomes part of a sentence.
        let text = text.strip_suffix('.').unwrap_or(text);
        truncated(text)
    }
}

/// A text from a server, truncated to what is shown.
fn truncated(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The content of chunks (RFC 9112 section 7.1), and whether it is complete or cannot be decoded further.
fn chunks(mut bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let mut content = Vec::new();
    let complete = loop {
        let (begin, size) = match parse_chunk_size(bytes) {
            Ok(Status::Complete((begin, size))) => (begin, usize::try_from(size).unwrap_or(usize::MAX)),
            Ok(Status::Partial) => break false,
            Err(_) => break true,
        };
        if size == 0 {
            break true;
        }
        let data = &bytes[begin..];
        content.extend_from_slice(&data[..size.min(data.len())]);
        // CR and LF end each chunk.
        match data.get(size.saturating_add(2)..) {
            Some(rest) => bytes = rest,
            None => break false,
        }
    };
    (content.into(), complete)
}

/// The visible text of a page. The title is left out, because it mostly repeats the text.
fn without_tags(html: &str) -> String {
    let mut words = String::new();
    let mut rest = html;
    while let Some(begin) = rest.find('<') {
        words += &rest[..begin];
        words.push(' ');
        let tag = &rest[begin..];
        let is = |name: &&&str| {
            let after = tag.get(1..).and_then(|tag| tag.get(name.len()..)).and_then(|rest| rest.chars().next());
            tag.get(1..=name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name))
                && after.is_none_or(|c| !c.is_alphanumeric())
        };
        let end = if tag.starts_with("<!--") {
            tag.find("-->").map(|at| at + 3)
        } else if let Some(name) = ["head", "style", "script", "noscript"].iter().find(is) {
            let close = format!("</{name}");
            let at = tag.to_ascii_lowercase().find(&close);
            at.and_then(|from| tag[from..].find('>').map(|at| from + at + 1))
        } else {
            tag.find('>').map(|at| at + 1)
        };
        rest = end.map_or("", |end| &tag[end..]);
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::orders;
    use mio::{Events, Poll};
    use std::time::Instant;

    /// Returns at most this many bytes from each read.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(into.len());
            (&mut self.0).take(n as u64).read(into)
        }
    }

    fn read_from(bytes: &[u8], step: usize) -> Result<Response, Failure> {
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1));
        let (_sender, mut orders) = orders::channel();
        let time = Duration::from_secs(60);
        let mut deadline =
            ConnectDeadline::new(&mut poll, &mut events, &mut orders, &|| (), Instant::now() + time, time);
        read(&mut Dribble(bytes, step), Stage::Upgrade, &mut deadline)
    }

    #[test]
    fn a_head_in_small_pieces_is_parsed_only_a_few_times() {
        let lines = "a:\n".repeat(21_000);
        for end in ["\n", "\r\n"] {
            let response = format!("HTTP/1.1 100 X\r\n\r\nHTTP/1.1 404 X\n{lines}{end}rest");
            for step in [1, 2, 3, 4096] {
                let begun = Instant::now();
                let Ok(response) = read_from(response.as_bytes(), step) else { panic!("no answer in steps of {step}") };
                assert_eq!(response.status, 404);
                assert!("rest".as_bytes().starts_with(&response.rest), "{:?}", response.rest);
                assert!(begun.elapsed() < Duration::from_secs(2), "{:?} in steps of {step}", begun.elapsed());
            }
        }
    }
}
