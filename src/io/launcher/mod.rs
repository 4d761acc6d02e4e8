//! Asks a launcher, an HTTP service of an institute, to start a server (`wslink.launcher`).
//!
//! * `http`: one request and its answer; `answer`: what answers mean;
//! * `session_url`: where the server is that was started.

mod answer;
mod http;
mod session_url;

use super::config::Config;
use super::connect::url::Target;
use crate::error::{Code, Error, Result, Stage};
use crate::wire::args::Args;
use crate::wire::document::{Document, SharedDocument};
use crate::wire::json;
use answer::Request;
use http::{Cancel, Waits};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::http::Method;

/// How long a server that was launched may take until it listens. The launcher answers as soon as the server has printed its ready
/// line, and a proxy between may take a moment to know it.
const STARTING_TIME: Duration = Duration::from_secs(10);

/// The longest timeout and delay.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Told about each attempt to open a session.
type ProgressCallback = dyn Fn(u32, Option<&Error>) + Send + Sync;

#[derive(Clone)]
struct Options {
    timeout: Duration,
    retry_delays: Vec<Duration>,
    on_progress: Option<Arc<ProgressCallback>>,
}

/// A launcher: an HTTP service that starts servers (`python -m wslink.launcher`).
///
/// ```no_run
/// use wslink::{Args, Config, Launcher, Session};
///
/// let launcher = Launcher::new(&Config::launcher("https://host/paraview/")?)?;
/// let launched = launcher.open(&Args::new().with_keyword("application", "visualizer")?)?;
/// let session = Session::new(launched.config().clone())?;
/// session.connect_wait()?;
/// # Ok::<(), wslink::Error>(())
/// ```
///
/// Its functions wait for the launcher, which may take half a minute; use a thread for which that is no harm. Any thread may use
/// it. Headers, credentials, proxy, TLS, log and connect timeout are those of the configuration.
pub struct Launcher {
    config: Config,
    options: Mutex<Options>,
    /// The operations that are running.
    running: Mutex<Vec<Arc<Cancel>>>,
}

/// A session that a launcher has opened, or told about.
pub struct Launched {
    id: String,
    url: String,
    config: Config,
    document: SharedDocument,
}

impl Launcher {
    /// A launcher. The configuration is made by [`Config::launcher`]. Nothing is sent yet.
    pub fn new(config: &Config) -> Result<Launcher> {
        if !config.is_launcher {
            return Err(Error::new(Code::Argument, "this configuration is not one of a launcher (Config::launcher)"));
        }
        let options = Options { timeout: Duration::from_secs(120), retry_delays: Vec::new(), on_progress: None };
        Ok(Launcher { config: config.clone(), options: Mutex::new(options), running: Mutex::default() })
    }

    /// Sets how long the launcher may take for an answer after it is connected. It answers when the server is ready, or has not
    /// become ready within the launcher's own limit. The default is 2 minutes, the most is a day.
    pub fn set_timeout(&self, timeout: Duration) -> Result<()> {
        if timeout.is_zero() {
            return Err(Error::new(Code::Argument, "a timeout of 0 can never be met"));
        }
        self.options.lock().timeout = timeout.min(LONGEST);
        Ok(())
    }

    /// Sets the delays before further attempts of [`open`](Launcher::open), one for each; the most is a day. An attempt follows if the
    /// launcher could not be reached, or refused with a status that may not last, such as 503 because all resources are taken. A
    /// request that may have started a server is not repeated. The default is none: one attempt.
    pub fn set_retry_delays(&self, delays: impl IntoIterator<Item = Duration>) {
        self.options.lock().retry_delays = delays.into_iter().map(|delay| delay.min(LONGEST)).collect();
    }

    /// Sets a callback that is called before each attempt of [`open`](Launcher::open): its number, beginning with 1, and why the
    /// one before failed. Called on the thread that opens, before the delay.
    pub fn on_progress(&self, callback: impl Fn(u32, Option<&Error>) + Send + Sync + 'static) {
        self.options.lock().on_progress = Some(Arc::new(callback));
    }

    /// Has the launcher start a server, and waits until it is ready. The keyword arguments are the members of the request;
    /// `application` is the name of what to start.
    ///
    /// Errors: [`Code::Launcher`] with the launcher's own words, [`Code::Timeout`], [`Code::Cancelled`], and those of connecting.
    pub fn open(&self, request: &Args) -> Result<Launched> {
        let json = request_text(request)?;
        let options = self.options.lock().clone();
        self.run(|waits| {
            let tell =
                |number, failure: Option<&Error>| options.on_progress.iter().for_each(|tell| tell(number, failure));
            let attempt = || self.launched(self.ask(waits, Request::Open, "", Some(json.clone()))?);
            tell(1, None);
            let mut opened = attempt();
            for (number, delay) in (2..).zip(&options.retry_delays) {
                match &opened {
                    Err(e) if may_repeat(e) => tell(number, Some(e)),
                    _ => break,
                }
                waits.lock().pause(*delay)?;
                opened = attempt();
            }
            opened
        })
    }

    /// Asks for a session that is open. Most launchers do not allow that (`WSLINK_LAUNCHER_GET=1` in their environment does).
    pub fn status(&self, id: &str) -> Result<Launched> {
        self.run(|waits| self.launched(self.ask(waits, Request::Status, id, None)?))
    }

    /// Has the launcher end the server of a session. Most launchers do not allow that (`WSLINK_LAUNCHER_DELETE=1` in their
    /// environment does); their servers end some time after their last client has left.
    pub fn close(&self, id: &str) -> Result<()> {
        self.run(|waits| self.ask(waits, Request::Close, id, None).map(|_| ()))
    }

    /// Ends the operations that are running, with [`Code::Cancelled`]. A server whose start was requested may still be started.
    pub fn cancel(&self) {
        self.running.lock().iter().for_each(|running| running.cancel());
    }

    fn run<T>(&self, operation: impl FnOnce(&Arc<Mutex<Waits>>) -> Result<T>) -> Result<T> {
        let (waits, cancel) = Waits::new()?;
        let cancel = Arc::new(cancel);
        self.running.lock().push(Arc::clone(&cancel));
        let done = operation(&Arc::new(Mutex::new(waits)));
        self.running.lock().retain(|running| !Arc::ptr_eq(running, &cancel));
        done
    }

    /// Sends a request, and returns the members of the answer. The one to [`Request::Close`] may have none.
    fn ask(&self, waits: &Arc<Mutex<Waits>>, request: Request, id: &str, json: Option<String>) -> Result<Document> {
        let method = match request {
            Request::Open => Method::POST,
            Request::Status => Method::GET,
            Request::Close => Method::DELETE,
        };
        let launcher = &self.config.endpoint.target;
        let path = format!("{}{}", launcher.path, utf8_percent_encode(id, NON_ALPHANUMERIC));
        let answer = http::send(&self.config, waits, method, &path, json, self.options.lock().timeout)?;
        answer::document(&answer, request, launcher)
    }

    /// The session of an answer.
    fn launched(&self, document: Document) -> Result<Launched> {
        let id = answer::text(&document, "id").unwrap_or_default().to_owned();
        let given = answer::text(&document, "sessionURL").ok_or_else(|| {
            Error::new(Code::Launcher, "the launcher answered without sessionURL").at(Stage::Launcher)
        })?;
        let launcher = &self.config.endpoint.target;
        let url = session_url::resolve(given, launcher)?;
        let mut config = self.config.clone();
        config.is_launcher = false;
        config.starting_until = Some(Instant::now() + STARTING_TIME);
        let target = Target::websocket(&url)?;
        let credentials = launcher.credentials.clone();
        config.endpoint.target = target;
        let is_less_secure = launcher.secure && !config.endpoint.target.secure;
        if config.endpoint.target.host == launcher.host && !is_less_secure {
            let own = &mut config.endpoint.target.credentials;
            *own = own.take().or(credentials);
        } else {
            // They are for the launcher.
            config.endpoint.headers.clear();
        }
        if let Some(secret) = answer::text(&document, "secret") {
            config.session.secret = secret.into();
        }
        Ok(Launched { id, url, config, document: SharedDocument::new(document) })
    }
}

impl std::fmt::Debug for Launcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launcher").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Launched {
    /// The id of the session at the launcher; empty if the launcher has told none.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the server is: a `ws` or `wss` URL. It may hold a token.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The configuration for a session with the server: that of the launcher, with URL and secret of the server. Headers and
    /// credentials are only kept for a server on the launcher's host, and not for one without TLS if the launcher has TLS. For ten seconds after the launcher's answer, a session
    /// that finds nobody listening tries again.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The whole answer of the launcher, a map. It has the secret of the server, if the launcher tells one.
    pub fn document(&self) -> &SharedDocument {
        &self.document
    }
}

/// Omits what may be secret.
impl std::fmt::Debug for Launched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launched").field("id", &self.id).field("config", &self.config).finish_non_exhaustive()
    }
}

/// The JSON text of a request.
fn request_text(request: &Args) -> Result<String> {
    let bad = |why: &str| Err(Error::new(Code::Argument, format!("the request to a launcher {why}")));
    if !request.positional.is_empty() {
        return bad("is made of keyword arguments, such as application");
    }
    let plain = json::write::plain(request.keywords.complete()?.root());
    if !plain.attachments.is_empty() {
        return bad("cannot have binary data");
    }
    Ok(plain.text)
}

/// Whether a request can be repeated: it has certainly started no server, and may be accepted later.
fn may_repeat(e: &Error) -> bool {
    e.is_retriable() && (e.stage() != Stage::Launcher || e.http_status().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The session of an answer with this `sessionURL`, from a launcher with credentials and a header.
    fn launched(launcher: &str, url: &str) -> Launched {
        let mut config = Config::launcher(launcher).unwrap();
        config.add_header("X-Token", "geheim").unwrap();
        let answer = format!("{{\"sessionURL\": \"{url}\"}}");
        let document = crate::wire::decoder::decode_copy(crate::wire::Protocol::V1, answer.as_bytes()).unwrap();
        Launcher::new(&config).unwrap().launched(document).unwrap()
    }

    #[test]
    fn credentials_go_to_the_same_host_with_the_same_security() {
        for (launcher, url, kept) in [
            ("http://u:p@host", "ws://host:9001/ws", true),
            ("http://u:p@host", "wss://host/ws", true),
            ("https://u:p@host", "/ws", true),
            ("https://u:p@host", "ws://host/ws", false),
            ("http://u:p@host", "ws://other/ws", false),
        ] {
            let launched = launched(launcher, url);
            let endpoint = &launched.config().endpoint;
            assert_eq!(endpoint.target.credentials.is_some(), kept, "{launcher} {url}");
            assert_eq!(!endpoint.headers.is_empty(), kept, "{launcher} {url}");
            assert_eq!(launched.id(), "");
        }
    }
}
