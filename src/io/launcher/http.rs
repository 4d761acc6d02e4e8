//! HTTP requests to a launcher. `ureq` speaks HTTP; the connection below it is made as for a session, so that proxies, TLS and
//! cancelling work as they do there.

use crate::error::{Code, Error, Result, Stage};
use crate::io::config::Config;
use crate::io::connect::deadline::ConnectDeadline;
use crate::io::connect::establish;
use crate::io::orders::{self, Order, Orders, WAKER};
use crate::io::tls;
use crate::io::transport::socket::Socket;
use crossbeam_channel::Sender;
use mio::{Events, Poll, Waker};
use parking_lot::Mutex;
use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use ureq::http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};
use ureq::{Agent, Body};

/// Limit on the content of an answer, in bytes.
const MAX_CONTENT: u64 = 1 << 20;

/// The size of the buffers for one connection, in bytes. A head must fit into it.
const BUFFER: usize = 64 << 10;

/// The answer to a request.
pub struct Answer {
    pub status: StatusCode,
    pub content: Vec<u8>,
    /// Whether the content is an HTML page.
    pub is_page: bool,
    /// The target of a redirect.
    pub location: Option<String>,
}

/// The waits of one operation, which another thread can cancel.
pub struct Waits {
    poll: Poll,
    events: Events,
    orders: Orders,
    /// Why connecting or waiting has failed, for the caller above `ureq`.
    failure: Option<Error>,
}

/// Cancels an operation.
pub struct Cancel {
    orders: Sender<Order>,
    waker: Waker,
}

impl Cancel {
    pub fn cancel(&self) {
        // The receiver is gone if the operation has just ended.
        let _ = self.orders.send(Order::Disconnect);
        let _ = self.waker.wake();
    }
}

impl Waits {
    pub fn new() -> Result<(Waits, Cancel)> {
        let failed = |e: io::Error| Error::new(Code::System, format!("waiting for sockets cannot be set up: {e}"));
        let poll = Poll::new().map_err(failed)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed)?;
        let (sender, orders) = orders::channel();
        let waits = Waits { poll, events: Events::with_capacity(8), orders, failure: None };
        Ok((waits, Cancel { orders: sender, waker }))
    }

    /// Waits for some time.
    pub fn pause(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.deadline(end, time).wait_until(end, Stage::Launcher)?;
        }
        Ok(())
    }

    fn deadline(&mut self, at: Instant, timeout: Duration) -> ConnectDeadline<'_> {
        ConnectDeadline::new(&mut self.poll, &mut self.events, &mut self.orders, &|| (), at, timeout)
    }

    /// Keeps a failure for the caller, and makes one for `ureq` of it.
    fn fail(&mut self, e: Error) -> ureq::Error {
        self.failure = Some(e.clone());
        ureq::Error::Other(Box::new(e))
    }
}

/// Sends a request to `path` of the launcher that is the target of `config`, and waits for the whole answer. The launcher may take
/// `timeout` after the connection is open.
pub fn send(
    config: &Config,
    waits: &Arc<Mutex<Waits>>,
    method: Method,
    path: &str,
    json: Option<String>,
    timeout: Duration,
) -> Result<Answer> {
    let target = &config.endpoint.target;
    let scheme = if target.secure { "https" } else { "http" };
    let mut request = Request::builder().method(method).uri(format!("{scheme}://{}{path}", target.authority));
    let own = config.endpoint.basic_authorization();
    let own = own.as_ref().map(|value| (AUTHORIZATION, value.as_str()));
    let headers = config.endpoint.headers.iter().map(|(name, value)| (name.clone(), &**value));
    for (name, value) in headers.chain(own) {
        let mut value = HeaderValue::from_str(value).map_err(|_| unsendable(&name))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    let settings = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .user_agent("wslink")
        .accept("application/json")
        .build();
    let way = Way { config: config.clone(), waits: Arc::clone(waits), timeout };
    let agent = Agent::with_parts(settings, way, NoResolver);
    let response = match json {
        Some(json) => request.header(CONTENT_TYPE, "application/json").body(json).map(|request| agent.run(request)),
        None => request.body(()).map(|request| agent.run(request)),
    };
    let response = response.map_err(|e| Error::new(Code::Argument, format!("the request is not valid HTTP: {e}")))?;
    response.and_then(read).map_err(|e| waits.lock().failure.take().unwrap_or_else(|| failed(e, config)))
}

fn unsendable(name: &ureq::http::HeaderName) -> Error {
    Error::new(Code::Argument, format!("header {name:?} has a value with characters that HTTP does not allow"))
}

fn read(mut response: Response<Body>) -> Result<Answer, ureq::Error> {
    let text = |name| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let kind = text(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let location = text(LOCATION);
    let content = response.body_mut().with_config().limit(MAX_CONTENT).read_to_vec()?;
    let begin = String::from_utf8_lossy(&content[..content.len().min(64)]).trim_start().to_ascii_lowercase();
    let is_page = kind.contains("html") || begin.starts_with("<!doctype html") || begin.starts_with("<html");
    Ok(Answer { status: response.status(), content, is_page, location })
}

/// The error for an answer that `ureq` does not accept.
fn failed(e: ureq::Error, config: &Config) -> Error {
    let target = &config.endpoint.target;
    let hint = if target.secure { "" } else { "; if it speaks TLS, use https://" };
    let failure = |what: String| Error::new(Code::Launcher, what).at(Stage::Launcher);
    match e {
        ureq::Error::Io(e) => tls::after_handshake(&e, target.server_name(), &config.tls).unwrap_or_else(|| {
            failure(format!("the launcher ended the connection without a complete answer ({e}){hint}"))
                .with_io(e.kind())
        }),
        ureq::Error::BodyExceedsLimit(limit) => {
            failure(format!("this is no launcher: its answer has more than {limit} bytes"))
        }
        e => failure(format!("this is no launcher: its answer is not HTTP ({e}){hint}")),
    }
}

/// Why the first bytes of an answer are not HTTP. They may be few.
fn not_http(first: &[u8]) -> Option<&'static str> {
    match first {
        [0x15 | 0x16, 3, ..] => Some("it speaks TLS; use https://"),
        _ if b"HTTP/".iter().zip(first).any(|(wanted, byte)| wanted != byte) => Some("its answer is not HTTP"),
        _ => None,
    }
}

/// The way to a launcher: a connection as sessions make them.
struct Way {
    config: Config,
    waits: Arc<Mutex<Waits>>,
    timeout: Duration,
}

impl Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl Connector<()> for Way {
    type Out = Pipe;

    fn connect(&self, _: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Pipe>, ureq::Error> {
        let mut waits = self.waits.lock();
        let limit = self.config.session.connect_timeout;
        let mut deadline = waits.deadline(Instant::now() + limit, limit);
        let opened = establish::open_socket(&self.config, &self.config.endpoint.target, &mut deadline);
        let socket = opened.map_err(|e| waits.fail(e))?;
        Ok(Some(Pipe {
            socket,
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            was_read: false,
            waits: Arc::clone(&self.waits),
            until: Instant::now() + self.timeout,
            timeout: self.timeout,
        }))
    }
}

/// A connection to a launcher.
struct Pipe {
    socket: Socket,
    buffers: LazyBuffers,
    was_read: bool,
    waits: Arc<Mutex<Waits>>,
    until: Instant,
    timeout: Duration,
}

impl Pipe {
    /// Repeats what the socket cannot do yet.
    fn when_ready(
        &mut self,
        mut action: impl FnMut(&Socket, &mut LazyBuffers) -> io::Result<usize>,
    ) -> Result<usize, ureq::Error> {
        loop {
            match action(&self.socket, &mut self.buffers) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let mut waits = self.waits.lock();
                    let waited = waits.deadline(self.until, self.timeout).wait(Stage::Launcher);
                    waited.map_err(|e| waits.fail(e))?;
                }
                done => return done.map_err(ureq::Error::Io),
            }
        }
    }

    fn fail(&self, why: &str) -> ureq::Error {
        let text = format!("this is no launcher: {why}");
        self.waits.lock().fail(Error::new(Code::Launcher, text).at(Stage::Launcher))
    }
}

impl Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipe")
    }
}

impl Transport for Pipe {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let mut sent = 0;
        while sent < amount {
            sent += match self.when_ready(|socket, buffers| socket.write(&buffers.output()[sent..amount]))? {
                0 => return Err(ureq::Error::Io(io::ErrorKind::WriteZero.into())),
                n => n,
            };
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        if self.buffers.input_append_buf().is_empty() {
            return Err(self.fail("it sends too many headers"));
        }
        let got = self.when_ready(|socket, buffers| socket.read(buffers.input_append_buf()))?;
        self.buffers.input_appended(got);
        // `ureq` waits for a complete head, which other protocols never send.
        let first = !std::mem::replace(&mut self.was_read, true);
        if let Some(why) = first.then(|| not_http(self.buffers.input())).flatten() {
            return Err(self.fail(why));
        }
        Ok(got > 0)
    }

    fn is_open(&mut self) -> bool {
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }
}

/// [`Way`] looks names up by itself.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}
