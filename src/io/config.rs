//! The options of a session.

use super::connect::attempt::{Attempt, AttemptCallback};
use super::connect::endpoint::Endpoint;
use super::connect::url::Target;
use super::listener::{Arrivals, Listener};
use super::log::{Log, LogLevel};
use super::process::Process;
use super::tls::TlsOptions;
use crate::error::{Code, Error, Result};
use crate::session::core::StateChange;
use crate::session::options::Options;
use crate::session::reconnect::Reconnect;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread on which callbacks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum Delivery {
    /// On the thread that calls `dispatch`. The default.
    #[default]
    Queued = 0,
    /// On the I/O thread, at once: lowest latency. Callbacks must be short, because nothing is read or written meanwhile.
    IoThread = 1,
}

/// The progress of a large message. Reports about an outgoing message stop when it is withdrawn because its call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Whether the message comes from the server.
    pub incoming: bool,
    /// The number of the transfer, different for each message.
    pub transfer: u64,
    /// The call of an outgoing message; `None` for incoming ones.
    pub call: Option<u64>,
    /// Bytes transferred so far.
    pub bytes: u64,
    /// Bytes in total.
    pub total: u64,
}

/// Receives changes of state.
pub type StateCallback = dyn Fn(&StateChange) + Send + Sync;

/// Receives the progress of large messages.
pub type ProgressCallback = dyn Fn(&Progress) + Send + Sync;

/// Decides whether a failure is worth another attempt to connect, which would have this number.
pub type ReconnectFilter = dyn Fn(&Error, u32) -> bool + Send + Sync;

/// Called when there is something to dispatch.
pub type WakeupCallback = dyn Fn() + Send + Sync;

/// The options of a session.
#[derive(Clone)]
pub struct Config {
    pub(crate) endpoint: Endpoint,
    /// Where the server connects to, if the server opens the connection.
    pub(crate) arrivals: Option<Arc<Arrivals>>,
    /// The server that the session starts.
    pub(crate) process: Option<Process>,
    /// The URL is that of a launcher: no session can be made of it.
    pub(crate) is_launcher: bool,
    /// The server may still be starting: until then, connecting is tried again.
    pub(crate) starting_until: Option<Instant>,
    /// The options of the wslink protocol.
    pub session: Options,
    /// Whether TCP sends small messages at once (TCP_NODELAY).
    pub nodelay: bool,
    pub(crate) proxy: Option<Target>,
    /// The options of TLS.
    pub tls: TlsOptions,
    /// The thread on which callbacks run.
    pub delivery: Delivery,
    /// The timeout of calls without one of their own. `None`: they end with their connection at the latest.
    pub call_timeout: Option<Duration>,
    /// Limit on the memory of publications in the event queue, in bytes, over all subscriptions.
    pub queue_bytes: u64,
    /// Limit on the bytes in the send queue. Beyond it, calls are refused.
    pub send_queue_bytes: u64,
    /// How many bytes of receive buffers the pool keeps for reuse.
    pub buffer_pool_bytes: usize,
    pub(crate) log: Log,
    pub(crate) on_state: Option<Arc<StateCallback>>,
    pub(crate) on_progress: Option<Arc<ProgressCallback>>,
    pub(crate) on_wakeup: Option<Arc<WakeupCallback>>,
    pub(crate) reconnect_filter: Option<Arc<ReconnectFilter>>,
    pub(crate) before_attempt: Option<Arc<AttemptCallback>>,
}

/// The size in bytes from which the progress of a message is reported.
pub const PROGRESS_FROM: u64 = 256 << 10;

impl Config {
    /// The default options, for a server at a `ws` or `wss` URL.
    pub fn new(url: &str) -> Result<Config> {
        Ok(Config::to(Target::websocket(url)?))
    }

    fn to(target: Target) -> Config {
        Config {
            endpoint: Endpoint { target, headers: Vec::new() },
            arrivals: None,
            process: None,
            is_launcher: false,
            starting_until: None,
            session: Options::default(),
            nodelay: true,
            proxy: None,
            tls: TlsOptions::default(),
            delivery: Delivery::default(),
            call_timeout: None,
            queue_bytes: 1 << 30,
            send_queue_bytes: 1 << 30,
            buffer_pool_bytes: 160 << 20,
            log: Log::default(),
            on_state: None,
            on_progress: None,
            on_wakeup: None,
            reconnect_filter: None,
            before_attempt: None,
        }
    }

    /// The default options, for a server that opens the connection itself: start it with `--reverse-url` and the
    /// [`reverse_url`](Config::reverse_url) of this configuration. Connecting then means to wait for the server's next connection,
    /// at most for the connect timeout. Options that concern the way to a server (proxy, TLS, headers) do nothing.
    ///
    /// Reconnecting waits for the server to connect again. While one connection exists, others to the same URL are refused, so use
    /// one configuration for one session.
    pub fn accepting(listener: &Listener) -> Result<Config> {
        let arrivals = listener.open_path();
        let mut config = Config::new(&arrivals.url())?;
        config.arrivals = Some(Arc::new(arrivals));
        Ok(config)
    }

    /// The default options, for a server that the session starts. Options that concern the way to a server (proxy, headers) do
    /// nothing with [`Reach::Reverse`](crate::Reach::Reverse).
    pub fn starting(process: &Process) -> Result<Config> {
        let mut config = Config::new("ws://127.0.0.1/")?;
        config.arrivals = process.arrivals();
        config.process = Some(process.clone());
        Ok(config)
    }

    /// The default options, for a launcher at an `http` or `https` URL ([`Launcher`](crate::Launcher)) and for sessions with the
    /// servers that it starts. Without a path, the URL gets the usual one, `/paraview/`.
    pub fn launcher(url: &str) -> Result<Config> {
        let mut config = Config::to(Target::launcher(url)?);
        config.is_launcher = true;
        Ok(config)
    }

    /// The URL for the option `--reverse-url` of a server. It has a secret token: who knows it may connect in the place of the
    /// server. `None` if the session connects to the server, and not the server to the session.
    pub fn reverse_url(&self) -> Option<String> {
        self.arrivals.as_ref().map(|arrivals| arrivals.url())
    }

    /// Sets the time limit of an attempt to connect, see [`Options::connect_timeout`].
    pub fn set_connect_timeout(&mut self, timeout: Duration) -> Result<()> {
        if timeout.is_zero() {
            return Err(Error::new(Code::Argument, "a connect timeout of 0 can never be met"));
        }
        self.session.connect_timeout = timeout;
        Ok(())
    }

    /// Adds a header to the upgrade request, such as `Authorization` or `Cookie` for a reverse proxy. Headers that RFC 6455
    /// defines cannot be set.
    pub fn add_header(&mut self, name: &str, value: &str) -> Result<()> {
        self.endpoint.add_header(name, value)
    }

    /// Connects through an HTTP proxy, with `CONNECT`: `http://user:password@host:port`.
    pub fn set_proxy(&mut self, url: Option<&str>) -> Result<()> {
        self.proxy = url.map(Target::proxy).transpose()?;
        Ok(())
    }

    /// Sets the callback for lines of the log of this severity and above. It runs on any thread, and must not use the session.
    pub fn set_log(&mut self, level: LogLevel, callback: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
        self.log = Log::new(level, Arc::new(callback));
    }

    /// Sets the callback for changes of state.
    pub fn on_state(&mut self, callback: impl Fn(&crate::session::core::StateChange) + Send + Sync + 'static) {
        self.on_state = Some(Arc::new(callback));
    }

    /// Sets the callback for the progress of messages of [`PROGRESS_FROM`] bytes or more.
    pub fn on_progress(&mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) {
        self.on_progress = Some(Arc::new(callback));
    }

    /// Sets when the session reconnects automatically; `None` (default): never.
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

    /// Sets a filter that decides whether a failure is worth another attempt to connect. Without a filter,
    /// [`Error::is_retriable`] decides. A refused secret ends the session without a call of the filter, unless the secret may
    /// be renewed ([`before_attempt`](Config::before_attempt)). The filter runs on the I/O thread, must return at once, and
    /// must not use the session.
    pub fn set_reconnect_filter(&mut self, filter: impl Fn(&Error, u32) -> bool + Send + Sync + 'static) {
        self.reconnect_filter = Some(Arc::new(filter));
    }

    /// Sets a callback before each attempt to connect, including the first one, for a secret, header or URL that expires. What
    /// it sets also applies to later attempts. If it returns `false`, the session is closed; it may be connected again.
    ///
    /// With this callback, a refused secret and the HTTP statuses 401 and 403 do not end the session. Another attempt follows
    /// as after other failures (see [`set_reconnect`](Config::set_reconnect)), if the callback then changes anything. Otherwise
    /// the session ends with the refusal.
    ///
    /// The callback runs on the I/O thread, which is idle then. It may take a while; its time counts towards the connect
    /// timeout. Dropping the session waits for the callback, which must therefore not wait for the thread that drops it.
    pub fn before_attempt(&mut self, callback: impl Fn(&mut Attempt) -> bool + Send + Sync + 'static) {
        self.before_attempt = Some(Arc::new(callback));
    }

    /// Sets a callback that runs whenever the empty event queue gets events to dispatch. It runs on any thread.
    pub fn on_wakeup(&mut self, callback: impl Fn() + Send + Sync + 'static) {
        self.on_wakeup = Some(Arc::new(callback));
    }
}

/// Omits secret, headers and credentials.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.endpoint.target.host)
            .field("port", &self.endpoint.target.port)
            .field("session", &self.session)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}
