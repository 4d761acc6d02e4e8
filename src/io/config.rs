//! Everything that can be set before connecting.

use super::callback::Slot;
use super::delivery::StateCallback;
use super::tls::TlsOptions;
use super::url::Target;
use crate::error::{Code, Error, Result};
use crate::session::options::Options;
use crate::session::reconnect::Reconnect;
use crate::wire::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::http::HeaderName;

/// Where callbacks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum Delivery {
    /// On the thread that calls `dispatch`. The default.
    #[default]
    Queued = 0,
    /// On the I/O thread, at once: lowest latency. They must be short, because the server is not
    /// answered meanwhile.
    IoThread = 1,
}

/// How important a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed.
    Error = 1,
    /// Something is odd.
    Warning = 2,
    /// Connections come and go.
    Info = 3,
    /// Every step.
    Debug = 4,
}

/// Receives the log.
pub type LogCallback = dyn Fn(LogLevel, &str) + Send + Sync;

/// How far a large message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// From the server.
    pub incoming: bool,
    /// Tells transfers apart.
    pub transfer: u64,
    /// The call that an outgoing message belongs to.
    pub call: Option<u64>,
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes in total.
    pub total: u64,
}

/// Told about the progress of large messages.
pub type ProgressCallback = dyn Fn(&Progress) + Send + Sync;

/// Asked whether a failure is worth another attempt to connect, which would have this number.
pub type ReconnectFilter = dyn Fn(&Error, u32) -> bool + Send + Sync;

/// Called when there is something to dispatch.
pub type WakeupCallback = dyn Fn() + Send + Sync;

/// The log of one session. Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct Log {
    level: LogLevel,
    callback: Option<Arc<LogCallback>>,
    sink: Arc<Slot<LogCallback>>,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: LogLevel::Warning, callback: None, sink: Arc::default() }
    }
}

impl Log {
    /// Writes a line, which is only composed if somebody wants it.
    pub fn write(&self, level: LogLevel, line: impl FnOnce() -> String) {
        if level <= self.level && self.sink.is_set() {
            let line = line();
            self.sink.run(|log| log(level, &line));
        }
    }

    /// A log of its own for a session, which can be cleared without silencing others.
    pub(crate) fn opened(&self) -> Log {
        let sink = Arc::<Slot<LogCallback>>::default();
        sink.set(self.callback.clone());
        Log { level: self.level, callback: None, sink }
    }

    pub(crate) fn clear(&self) {
        self.sink.clear();
    }
}

/// The options of a session.
#[derive(Clone)]
pub struct Config {
    pub(crate) target: Target,
    /// The options of the wslink protocol.
    pub session: Options,
    pub(crate) headers: Vec<(HeaderName, Secret)>,
    /// Whether small messages leave at once (TCP_NODELAY).
    pub nodelay: bool,
    pub(crate) proxy: Option<Target>,
    /// How the server proves who it is.
    pub tls: TlsOptions,
    /// Where callbacks run.
    pub delivery: Delivery,
    /// How many bytes of publications may wait for `dispatch`, over all subscriptions.
    pub queue_bytes: u64,
    /// How many bytes of calls may wait to be sent.
    pub send_queue_bytes: u64,
    /// How many bytes of receive buffers are kept for the next messages.
    pub buffer_pool_bytes: usize,
    pub(crate) log: Log,
    pub(crate) on_state: Option<Arc<StateCallback>>,
    pub(crate) on_progress: Option<Arc<ProgressCallback>>,
    pub(crate) on_wakeup: Option<Arc<WakeupCallback>>,
    pub(crate) reconnect_filter: Option<Arc<ReconnectFilter>>,
}

/// The smallest message of which progress is told.
pub const PROGRESS_FROM: u64 = 256 << 10;

impl Config {
    /// The defaults, for a server at a `ws` or `wss` URL.
    pub fn new(url: &str) -> Result<Config> {
        Ok(Config {
            target: Target::websocket(url)?,
            session: Options::default(),
            headers: Vec::new(),
            nodelay: true,
            proxy: None,
            tls: TlsOptions::default(),
            delivery: Delivery::default(),
            queue_bytes: 1 << 30,
            send_queue_bytes: 1 << 30,
            buffer_pool_bytes: 160 << 20,
            log: Log::default(),
            on_state: None,
            on_progress: None,
            on_wakeup: None,
            reconnect_filter: None,
        })
    }

    /// Time for the whole connect.
    pub fn set_connect_timeout(&mut self, timeout: Duration) -> Result<()> {
        if timeout.is_zero() {
            return Err(Error::new(Code::Argument, "a connect timeout of 0 can never be met"));
        }
        self.session.connect_timeout = timeout;
        Ok(())
    }

    /// Adds a header to the upgrade request (`Authorization`, `Cookie`, ... for proxies before the
    /// server). Those that RFC 6455 gives a meaning cannot be set.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<()> {
        let bad = |why: String| Error::new(Code::Argument, format!("header {name:?} {why}"));
        let header: HeaderName = name.parse().map_err(|_| bad("is not a valid name".into()))?;
        let taken = ["host", "connection", "upgrade", "content-length", "transfer-encoding"];
        if taken.contains(&header.as_str()) || header.as_str().starts_with("sec-websocket") {
            return Err(bad("is set by the WebSocket handshake itself".into()));
        }
        if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err(bad("has a value with control characters".into()));
        }
        self.headers.push((header, value.into()));
        Ok(())
    }

    /// Connects through an HTTP proxy, with `CONNECT`: `http://user:password@host:port`.
    pub fn set_proxy(&mut self, url: Option<&str>) -> Result<()> {
        self.proxy = url.map(Target::proxy).transpose()?;
        Ok(())
    }

    /// Where the log goes. Called on any thread, and must not use the session.
    pub fn set_log(&mut self, level: LogLevel, callback: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
        self.log = Log { level, callback: Some(Arc::new(callback)), sink: Arc::default() };
    }

    /// Told about every change of state.
    pub fn on_state(&mut self, callback: impl Fn(&crate::session::core::StateChange) + Send + Sync + 'static) {
        self.on_state = Some(Arc::new(callback));
    }

    /// Told about the progress of messages of [`PROGRESS_FROM`] bytes or more.
    pub fn on_progress(&mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) {
        self.on_progress = Some(Arc::new(callback));
    }

    /// Connect again by itself when the connection is lost; `None` (default): not.
    pub fn set_reconnect(&mut self, reconnect: Option<Reconnect>) -> Result<()> {
        if let Some(policy) = reconnect {
            if policy.first_delay.is_zero() {
                let message =
                    "reconnecting without a delay would keep the processor and the server busy; use 1 ms or more";
                return Err(Error::new(Code::Argument, message));
            }
            if policy.longest_delay < policy.first_delay {
                let (first, longest) = (policy.first_delay, policy.longest_delay);
                let message = format!("the first delay ({first:?}) is longer than the longest ({longest:?})");
                return Err(Error::new(Code::Argument, message));
            }
        }
        self.session.reconnect = reconnect;
        Ok(())
    }

    /// Asked before every attempt to reconnect whether the failure is worth it; without this, an attempt is made if
    /// [`Error::is_retriable`]. A refused secret ends the session without asking. Called on the I/O thread, and must
    /// answer at once; it must not use the session.
    pub fn set_reconnect_filter(&mut self, filter: impl Fn(&Error, u32) -> bool + Send + Sync + 'static) {
        self.reconnect_filter = Some(Arc::new(filter));
    }

    /// Called, on any thread, whenever `dispatch` has something to do after it had nothing.
    pub fn on_wakeup(&mut self, callback: impl Fn() + Send + Sync + 'static) {
        self.on_wakeup = Some(Arc::new(callback));
    }
}

/// Without the secret, headers and credentials.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.target.host)
            .field("port", &self.target.port)
            .field("session", &self.session)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
