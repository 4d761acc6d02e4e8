//! Starts a wslink server as a child process, and tells sessions where it is.
//!
//! * `child`: a child process with its process group, from its start to its end;
//! * `output`: reads what it prints; `lines`: who gets the lines; `address`: finds the address in them;
//! * `secret_file`: a file that holds the secret for it.

mod address;
#[cfg(unix)]
mod child;
#[cfg(not(unix))]
#[path = "unsupported.rs"]
mod child;
mod lines;
#[cfg(unix)]
mod output;
mod secret_file;

use super::config::Config;
use super::connect::deadline::ConnectDeadline;
use super::connect::endpoint::Endpoint;
use super::connect::establish::{self, Established};
use super::listener::{Arrivals, Listener, ListenerOptions};
use crate::error::{Code, Error, Result, Stage};
use crate::wire::secret::Secret;
use address::Found;
use child::{Child, OnEnd, Plan};
use crossbeam_channel::{Receiver, Sender, unbounded};
use lines::{LastWords, LineCallback, ReadyLine};
use parking_lot::Mutex;
use secret_file::SecretFile;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

/// The time between two attempts to connect to a server that does not listen yet.
const POLL_PERIOD: Duration = Duration::from_millis(30);

/// How a session reaches a server that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// The server connects to the session (`--reverse-url`). The default, because it needs no free port and no ready line.
    /// If no argument has `{url}`, the arguments `--reverse-url {url}` are added.
    #[default]
    Reverse,
    /// The server chooses a port and prints it: a URL, or the port after the text `before`, such as `READY `. The line may lack
    /// its end.
    PrintedPort {
        /// The text before the port; `None`: the server prints a URL, as trame does.
        before: Option<String>,
    },
    /// A free port is chosen for the server, and connecting is tried until the server listens. If no argument has `{port}`, the
    /// arguments `--port {port}` are added. Another program may take the port first; then the server ends with an error.
    ChosenPort,
}

/// A server to start, see [`Process`].
///
/// In arguments and values of the environment, `{url}`, `{port}`, `{secret}` and `{secret_file}` are replaced. The secret is
/// random for each start, and sessions use it, if `{secret}` or `{secret_file}` occurs. Anybody on the machine can read
/// arguments, so `{secret}` is for the environment.
#[derive(Clone)]
pub struct ProcessOptions {
    /// The program: a path, or a name that is searched in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that are added to the environment of this process. `PYTHONUNBUFFERED=1` is added by itself.
    pub environment: Vec<(String, String)>,
    /// The folder in which it runs. `None`: the current one.
    pub folder: Option<PathBuf>,
    /// How it is reached.
    pub reach: Reach,
    /// The path of its WebSocket. The default is `/ws`. Not used by [`Reach::Reverse`].
    pub path: String,
    /// How long it may take to end after SIGTERM; then it is killed. The default is 5 s.
    pub end_timeout: Duration,
    on_line: Option<Arc<LineCallback>>,
}

impl ProcessOptions {
    /// A program without arguments.
    pub fn new(program: impl Into<OsString>) -> ProcessOptions {
        ProcessOptions {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            reach: Reach::default(),
            path: "/ws".into(),
            end_timeout: Duration::from_secs(5),
            on_line: None,
        }
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> ProcessOptions {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the callback for each line that the server prints, without its end. The second argument: the line comes from standard
    /// error. Lines of more than 8 KiB come in parts. Runs on a thread of the process, which reads nothing meanwhile. It must not
    /// drop the last [`Process`].
    pub fn on_line(mut self, callback: impl Fn(&str, bool) + Send + Sync + 'static) -> ProcessOptions {
        self.on_line = Some(Arc::new(callback));
        self
    }
}

/// Omits the environment, which may have secrets.
impl std::fmt::Debug for ProcessOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessOptions")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// A wslink server that runs as a child process. [`Config::starting`](crate::Config::starting) makes configurations whose sessions
/// start it: each attempt to connect starts the server if it does not run. A session that reconnects
/// ([`Config::set_reconnect`](crate::Config::set_reconnect)) therefore restarts a server that has ended; its limits apply.
///
/// What the server prints is always read. The last lines are in the error if it ends before it is ready.
///
/// The server is ended when the last `Process`, configuration and session that use it are dropped: SIGTERM to its whole process
/// group, and SIGKILL after [`end_timeout`](ProcessOptions::end_timeout). The drop waits for the end. If this program is killed,
/// the server gets SIGTERM on Linux (its own children do not). On Windows, starting fails: it is not supported there yet.
///
/// A handle, cheap to clone.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    options: ProcessOptions,
    /// Where the server connects to, for [`Reach::Reverse`].
    arrivals: Option<Arc<Arrivals>>,
    /// Held while a child is started, so that there is one at a time.
    starting: Mutex<()>,
    state: Mutex<State>,
}

struct State {
    child: Option<Child>,
    /// The news of the child that was started last.
    news: Receiver<News>,
    /// The address of the server, once known.
    address: Option<Endpoint>,
    secret: Option<Secret>,
    /// Why the last child has ended.
    failure: Option<Error>,
}

impl Default for State {
    /// Nothing was started.
    fn default() -> State {
        State { child: None, news: crossbeam_channel::never(), address: None, secret: None, failure: None }
    }
}

/// What the threads of a child report.
enum News {
    /// It printed its address.
    Address(Found),
    /// It has ended.
    Ended(Error),
}

impl Process {
    /// A server that is not started yet.
    pub fn new(options: ProcessOptions) -> Result<Process> {
        let arrivals = match options.reach {
            Reach::Reverse => Some(Arc::new(Listener::new(&ListenerOptions::default())?.open_path())),
            Reach::PrintedPort { .. } | Reach::ChosenPort => None,
        };
        // A path that is not valid is reported here.
        Endpoint::new(&format!("ws://localhost{}", options.path))?;
        Ok(Process(Arc::new(Inner { options, arrivals, starting: Mutex::default(), state: Mutex::default() })))
    }

    /// The id of its process while it runs.
    pub fn id(&self) -> Option<u32> {
        self.0.state.lock().child.as_ref().filter(|child| child.is_running()).map(Child::id)
    }

    /// Ends the server, if it runs, and waits for its end.
    pub fn end(&self) {
        self.0.end();
    }

    /// Where the server connects to, if it does.
    pub(crate) fn arrivals(&self) -> Option<Arc<Arrivals>> {
        self.0.arrivals.clone()
    }

    /// Starts the server if it does not run, and connects. Also returns the secret of this start, if there is one.
    pub(crate) fn connect(
        &self,
        config: &Config,
        deadline: &mut ConnectDeadline<'_>,
    ) -> Result<(Established, Option<Secret>)> {
        let mut is_new = self.start()?;
        loop {
            match self.reach(config, deadline) {
                // A server that was running has ended meanwhile, perhaps because its last client left.
                Err(_) if !is_new && self.failure().is_some() => is_new = self.start()?,
                Err(e) if e.code() == Code::Timeout && e.stage() == Stage::Connect => {
                    return Err(self.0.not_ready(deadline.timeout()));
                }
                Err(e) => return Err(e),
                Ok(established) => return Ok((established, self.0.state.lock().secret.clone())),
            }
        }
    }

    /// Starts the server. `false`: it is running already.
    fn start(&self) -> Result<bool> {
        loop {
            let alone = self.0.starting.lock();
            if self.id().is_some() {
                return Ok(false);
            }
            let old = std::mem::take(&mut *self.0.state.lock());
            let Some(child) = old.child else {
                let started = self.0.start()?;
                *self.0.state.lock() = started;
                return Ok(true);
            };
            // Without a lock: a callback for its last lines may use this process.
            drop(alone);
            child.end(Duration::ZERO);
        }
    }

    fn reach(&self, config: &Config, deadline: &mut ConnectDeadline<'_>) -> Result<Established> {
        if let Some(arrivals) = &self.0.arrivals {
            let news = self.0.news();
            return match arrivals.next_or(&news, deadline)? {
                Ok(arrived) => establish::take_over(config, arrived, deadline),
                Err(news) => Err(self.0.hear(news).unwrap_or_else(|| unexpected().at(Stage::Connect))),
            };
        }
        let endpoint = loop {
            let news = {
                let state = self.0.state.lock();
                if let Some(address) = &state.address {
                    break address.clone();
                }
                state.news.clone()
            };
            let news = deadline.receive(&news, Stage::Connect)?;
            if let Some(failure) = self.0.hear(news) {
                return Err(failure);
            }
        };
        loop {
            match establish::connect(config, &endpoint, deadline) {
                Err(e) if e.code() == Code::Connect => {
                    if let Some(failure) = self.failure() {
                        return Err(failure);
                    }
                    if self.0.options.reach != Reach::ChosenPort {
                        return Err(e);
                    }
                    deadline.pause(POLL_PERIOD, Stage::Connect)?;
                }
                other => return other,
            }
        }
    }

    /// Why the server has ended, if it has.
    fn failure(&self) -> Option<Error> {
        let news = self.0.news();
        for news in news.try_iter() {
            self.0.hear(news);
        }
        self.0.state.lock().failure.clone()
    }
}

fn unexpected() -> Error {
    Error::new(Code::Connect, "the server that was started has ended")
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("options", &self.0.options).field("id", &self.id()).finish()
    }
}

impl Inner {
    /// The news of the child that was started last.
    fn news(&self) -> Receiver<News> {
        self.state.lock().news.clone()
    }

    /// Notes news. Returns why the server cannot be reached, if that is the news.
    fn hear(&self, news: News) -> Option<Error> {
        let failure = match news {
            News::Ended(error) => error,
            News::Address(found) => {
                let url = match found {
                    Found::Port(port) => format!("ws://127.0.0.1:{port}{}", self.options.path),
                    Found::HostPort { secure, host, port } => {
                        format!("{}://{host}:{port}{}", if secure { "wss" } else { "ws" }, self.options.path)
                    }
                };
                match Endpoint::new(&url) {
                    Ok(endpoint) => {
                        self.state.lock().address = Some(endpoint);
                        return None;
                    }
                    Err(error) => error.at(Stage::Connect),
                }
            }
        };
        self.state.lock().failure = Some(failure.clone());
        Some(failure)
    }

    fn start(&self) -> Result<State> {
        let mut state = State::default();
        let options = &self.options;
        let failed = |e: &std::io::Error| cannot_start(options, e);
        let mut arguments = options.arguments.clone();
        let mut add = |switch: &str, placeholder: &str| {
            if !arguments.iter().any(|argument| argument.contains(placeholder)) {
                arguments.extend([switch.to_owned(), placeholder.to_owned()]);
            }
        };
        let mut port = None;
        match options.reach {
            Reach::Reverse => add("--reverse-url", "{url}"),
            Reach::ChosenPort => {
                add("--port", "{port}");
                let free =
                    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(|e| failed(&e))?;
                port = Some(free.port());
                state.address = Some(Endpoint::new(&format!("ws://127.0.0.1:{}{}", free.port(), options.path))?);
            }
            Reach::PrintedPort { .. } => {}
        }
        let values = || arguments.iter().chain(options.environment.iter().map(|(_, value)| value));
        let wants = |placeholder: &str| values().any(|value| value.contains(placeholder));
        let secret = format!("{:032x}", rand::random::<u128>());
        let file = wants("{secret_file}").then(|| SecretFile::new(&secret)).transpose().map_err(|e| failed(&e))?;
        if file.is_some() || wants("{secret}") {
            state.secret = Some(secret.as_str().into());
        }
        let url = self.arrivals.as_ref().map(|arrivals| arrivals.url()).unwrap_or_default();
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        let path = file.as_ref().map(|file| file.path().to_string_lossy().into_owned()).unwrap_or_default();
        let fill = |text: &str| {
            let text = text.replace("{url}", &url).replace("{port}", &port);
            text.replace("{secret_file}", &path).replace("{secret}", &secret)
        };
        let mut command = Command::new(&options.program);
        command.args(arguments.iter().map(|argument| fill(argument)));
        command.env("PYTHONUNBUFFERED", "1").envs(options.environment.iter().map(|(name, value)| (name, fill(value))));
        if let Some(folder) = &options.folder {
            command.current_dir(folder);
        }
        let (report, news) = unbounded();
        let plan = Plan {
            secret_file: file,
            on_line: options.on_line.clone(),
            ready: look_for_address(&options.reach, report.clone()),
            on_end: tell_end(report),
        };
        state.child = Some(Child::start(command, plan).map_err(|e| failed(&e))?);
        state.news = news;
        Ok(state)
    }

    fn not_ready(&self, timeout: Duration) -> Error {
        let state = self.state.lock();
        let words = state.child.as_ref().map(|child| child.last_words().shown()).unwrap_or_default();
        let what = match self.options.reach {
            Reach::Reverse => "has not connected",
            Reach::PrintedPort { .. } => "has not printed its address",
            Reach::ChosenPort => "does not listen",
        };
        let text = format!("the server that was started {what} within {timeout:?} (option connect_timeout){words}");
        Error::new(Code::Timeout, text).at(Stage::Connect)
    }

    fn end(&self) {
        let child = {
            // A child that is just being started counts.
            let _alone = self.starting.lock();
            self.state.lock().child.take()
        };
        if let Some(child) = child {
            child.end(self.options.end_timeout);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

fn look_for_address(reach: &Reach, report: Sender<News>) -> Option<ReadyLine> {
    let Reach::PrintedPort { before } = reach else { return None };
    let before = before.clone();
    Some(Box::new(move |line| match address::find(line, before.as_deref()) {
        Some(found) => {
            let _ = report.send(News::Address(found));
            true
        }
        None => false,
    }))
}

fn tell_end(report: Sender<News>) -> OnEnd {
    Box::new(move |status: ExitStatus, words: &LastWords| {
        let text = format!("the server that was started has ended ({status}){}", words.shown());
        let _ = report.send(News::Ended(Error::new(Code::Connect, text).at(Stage::Connect)));
    })
}

fn cannot_start(options: &ProcessOptions, e: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let program = options.program.to_string_lossy();
    let hint = match e.kind() {
        ErrorKind::NotFound if options.folder.as_ref().is_some_and(|folder| !folder.is_dir()) => {
            "; the folder in which it should run does not exist"
        }
        ErrorKind::NotFound => "; is the path right, or the program in a folder of PATH?",
        ErrorKind::PermissionDenied => "; is it executable?",
        _ => "",
    };
    let code = match e.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied => Code::Argument,
        _ => Code::System,
    };
    Error::new(code, format!("the server {program:?} cannot be started: {e}{hint}")).at(Stage::Connect)
}
