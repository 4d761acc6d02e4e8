//! The handshakes of one connection that a server opens: TLS if the listener has a certificate, then the HTTP upgrade
//! (RFC 6455 section 4.2). Whoever is not welcome gets an HTTP status.

use super::arrivals::{Arrived, Lease, Paths, Unusable};
use crate::io::tls;
use crate::io::transport::socket::Socket;
use crossbeam_channel::Sender;
use mio::net::TcpStream;
use parking_lot::Mutex;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response, ServerHandshake};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::http::StatusCode;
use tungstenite::http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, ORIGIN, SEC_WEBSOCKET_VERSION, UPGRADE,
};

/// How long the handshakes may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refused connection is kept, so that the refusal is not lost with unread data.
const LINGER: Duration = Duration::from_secs(1);

/// How many reads of what a refused peer still sends are dropped.
const MAX_DROPPED_READS: usize = 16;

/// The longest request in bytes.
const MAX_REQUEST: usize = 16 << 10;

/// A connection whose handshakes are under way.
pub struct Handshake {
    step: Step,
    /// When the connection is given up.
    pub deadline: Instant,
}

enum Step {
    Tls(tls::Attempt),
    Upgrade(Arc<Socket>, Box<MidHandshake<ServerHandshake<Limited, Door>>>, Reserved),
    /// The peer was refused. What it still sends is dropped, up to this number of reads.
    Refused(Arc<Socket>, usize),
    Over,
}

/// The result of a step.
pub enum Progress {
    /// More data is needed.
    Waiting,
    /// The WebSocket connection is open. The second element is where it goes.
    Open(Arrived, Sender<Arrived>),
    /// Nothing is left to do.
    Over,
}

/// What the callback of the upgrade has reserved for the connection.
type Reserved = Arc<Mutex<Option<(Lease, Sender<Arrived>)>>>;

/// Reads at most [`MAX_REQUEST`] bytes.
struct Limited {
    socket: Arc<Socket>,
    remaining: usize,
}

impl Read for Limited {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.remaining == 0 {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let most = into.len().min(self.remaining);
        let n = self.socket.read(&mut into[..most])?;
        self.remaining -= n;
        Ok(n)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decides whether a well-formed request is welcome.
struct Door {
    paths: Arc<Paths>,
    reserved: Reserved,
}

impl Callback for Door {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        let (status, why) = if request.headers().contains_key(ORIGIN) {
            (StatusCode::FORBIDDEN, "web pages may not connect here (the request has an Origin)")
        } else {
            match self.paths.take(request.uri().path()) {
                Ok(reserved) => {
                    *self.reserved.lock() = Some(reserved);
                    return Ok(response);
                }
                Err(Unusable::Unknown) => {
                    (StatusCode::NOT_FOUND, "no session waits at this path; is the URL of --reverse-url complete?")
                }
                Err(Unusable::InUse) => (StatusCode::CONFLICT, "the session at this path has a connection already"),
            }
        };
        Err(refusal(&self.paths, status, why))
    }
}

fn refusal(paths: &Paths, status: StatusCode, why: &str) -> ErrorResponse {
    paths.refuse(&format!("{status}: {why}"));
    let body = format!("{why}\n");
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, body.len().into());
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        StatusCode::UPGRADE_REQUIRED => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        _ => {}
    }
    *response.body_mut() = Some(body);
    response
}

impl Handshake {
    /// For a connection that was just accepted.
    pub fn new(stream: TcpStream, acceptor: Option<&tls::Acceptor>, paths: &Arc<Paths>) -> Handshake {
        let step = match acceptor {
            Some(acceptor) => Step::Tls(acceptor.accept(stream)),
            None => upgrade(Socket::Plain(stream), paths),
        };
        Handshake { step, deadline: Instant::now() + HANDSHAKE_TIMEOUT }
    }

    /// Whether the peer was refused already.
    pub fn is_refused(&self) -> bool {
        matches!(self.step, Step::Refused(..))
    }

    /// Continues after an event of the socket.
    pub fn advance(&mut self, paths: &Arc<Paths>) -> Progress {
        loop {
            self.step = match std::mem::replace(&mut self.step, Step::Over) {
                Step::Tls(tls::Attempt::InProgress(middle)) => match tls::resume(middle) {
                    waiting @ tls::Attempt::InProgress(_) => {
                        self.step = Step::Tls(waiting);
                        return Progress::Waiting;
                    }
                    done => Step::Tls(done),
                },
                Step::Tls(tls::Attempt::Done(stream)) => upgrade(Socket::Tls(Box::new(stream.into())), paths),
                Step::Tls(tls::Attempt::Failed(failure)) => {
                    paths.refuse(&format!("a failed TLS handshake: {failure}"));
                    return Progress::Over;
                }
                Step::Upgrade(socket, handshake, reserved) => match handshake.handshake() {
                    Err(HandshakeError::Interrupted(handshake)) => {
                        self.step = Step::Upgrade(socket, Box::new(handshake), reserved);
                        return Progress::Waiting;
                    }
                    Ok(web_socket) => {
                        drop(web_socket);
                        let Some((lease, to)) = reserved.lock().take() else { return Progress::Over };
                        return match Arc::into_inner(socket) {
                            Some(socket) => Progress::Open(Arrived { socket, lease }, to),
                            None => Progress::Over,
                        };
                    }
                    Err(HandshakeError::Failure(error)) => self.refused(socket, paths, &error),
                },
                Step::Refused(_, 0) => return Progress::Over,
                Step::Refused(socket, reads) => match socket.read(&mut [0; 4096]) {
                    Ok(n) if n > 0 => Step::Refused(socket, reads - 1),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        self.step = Step::Refused(socket, reads);
                        return Progress::Waiting;
                    }
                    _ => return Progress::Over,
                },
                Step::Over => return Progress::Over,
            }
        }
    }

    /// The deadline has passed.
    pub fn expire(&mut self, paths: &Arc<Paths>) -> Progress {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Upgrade(socket, ..) => {
                self.step = self.answer(socket, paths, StatusCode::REQUEST_TIMEOUT, "the request came too slowly");
                Progress::Waiting
            }
            Step::Tls(_) => {
                paths.refuse("a TLS handshake that took too long");
                Progress::Over
            }
            Step::Refused(..) | Step::Over => Progress::Over,
        }
    }

    /// The step after a handshake that failed: the peer is told why, unless tungstenite has done it.
    fn refused(&mut self, socket: Arc<Socket>, paths: &Paths, error: &Error) -> Step {
        let (status, why) = match error {
            Error::Http(_) => {
                self.deadline = Instant::now() + LINGER;
                return Step::Refused(socket, MAX_DROPPED_READS);
            }
            Error::Io(e) if e.kind() == ErrorKind::FileTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long")
            }
            Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete) => {
                paths.refuse("a connection that ended before its request was complete");
                return Step::Over;
            }
            Error::AttackAttempt => (StatusCode::BAD_REQUEST, "the request comes in too small pieces"),
            Error::Protocol(ProtocolError::WrongHttpMethod) => {
                (StatusCode::METHOD_NOT_ALLOWED, "only GET is understood here, for the upgrade to a WebSocket")
            }
            Error::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => (StatusCode::UPGRADE_REQUIRED, "only WebSocket of version 13 is spoken here"),
            _ => (StatusCode::BAD_REQUEST, "the request is not the upgrade to a WebSocket (RFC 6455 section 4.1)"),
        };
        self.answer(socket, paths, status, why)
    }

    /// Sends a refusal. It fits into the buffer of a socket to which nothing was written before.
    fn answer(&mut self, socket: Arc<Socket>, paths: &Paths, status: StatusCode, why: &str) -> Step {
        let response = refusal(paths, status, why);
        let mut bytes = Vec::new();
        let written = tungstenite::handshake::server::write_response(&mut bytes, &response);
        bytes.extend(response.body().iter().flat_map(|body| body.bytes()));
        if written.is_err() || socket.write(&bytes).is_err() {
            return Step::Over;
        }
        self.deadline = Instant::now() + LINGER;
        Step::Refused(socket, MAX_DROPPED_READS)
    }
}

fn upgrade(socket: Socket, paths: &Arc<Paths>) -> Step {
    let socket = Arc::new(socket);
    let reserved = Reserved::default();
    let door = Door { paths: Arc::clone(paths), reserved: Arc::clone(&reserved) };
    let stream = Limited { socket: Arc::clone(&socket), remaining: MAX_REQUEST };
    Step::Upgrade(socket, Box::new(ServerHandshake::start(stream, door, None)), reserved)
}
