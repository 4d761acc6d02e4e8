//! Starts a wslink server as a child process, and tells sessions where it is.
//!
//! * `child`: a child process with those that it starts, from its start to its end; `plan`: what it needs;
//! * `output`: reads what it prints; `lines`: who gets the lines; `address`: finds the address in them;
//! * `secret_file`: a file that holds the secret for it.

mod address;
#[cfg_attr(not(windows), path = "child_unix.rs")]
#[cfg_attr(windows, path = "child_windows.rs")]
mod child;
mod lines;
#[cfg_attr(not(windows), path = "output_unix.rs")]
#[cfg_attr(windows, path = "output_windows.rs")]
mod output;
mod plan;
mod secret_file;

use super::config::Config;
use super::connect::deadline::ConnectDeadline;
use super::connect::endpoint::Endpoint;
use super::connect::establish::{self, Established};
use super::connect::url::Target;
use super::listener::{Arrivals, Listener, ListenerOptions};
use crate::error::{Code, Error, Result, Stage};
use crate::platform::threads;
use crate::wire::secret::Secret;
use address::Found;
use child::Child;
use crossbeam_channel::{Receiver, Sender, bounded};
use lines::{LastWords, LineCallback, Lines, ReadyLine, on_reader_thread};
use parking_lot::Mutex;
use plan::{OnEnd, Plan};
use secret_file::SecretFile;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The time between two attempts to connect to a server that does not listen yet.
const POLL_PERIOD: Duration = Duration::from_millis(30);

/// The longest [`ProcessOptions::end_timeout`].
const LONGEST_END: Duration = Duration::from_secs(86_400);

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
    /// How long it may take to end after SIGTERM; then it is killed. The default is 5 s, the most is a day.
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

/// Omits arguments and environment, which may have secrets.
impl std::fmt::Debug for ProcessOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessOptions")
            .field("program", &self.program)
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
/// the server gets SIGTERM on Linux (its own children do not). On Windows
/// the server and all processes that it has started are in a job, and are ended at once, also if this program is killed.
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
    state: Arc<Mutex<State>>,
    /// Threads that end former children.
    ending: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    /// The number of the start. Reports of former children are ignored.
    start: u64,
    /// Where the server listens, once known.
    address: Option<Target>,
    /// The server has connected. A server with [`Reach::Reverse`] does so once.
    has_connected: bool,
    /// The file with the secret.
    secret_file: Option<PathBuf>,
    secret: Option<Secret>,
    last_words: Option<Arc<LastWords>>,
    /// Why the child has ended.
    failure: Option<Error>,
    /// Sessions that wait for a change.
    waiting: Vec<Sender<()>>,
}

impl State {
    /// Changes the state, if this is still the start that it belongs to, and wakes the sessions that wait.
    fn change(&mut self, start: u64, change: impl FnOnce(&mut State)) {
        if self.start == start {
            change(self);
            for session in self.waiting.drain(..) {
                let _ = session.try_send(());
            }
        }
    }

    /// A channel that gets a message at the next change.
    fn next_change(&mut self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.waiting.push(sender);
        receiver
    }
}

impl Process {
    /// A server that is not started yet.
    pub fn new(mut options: ProcessOptions) -> Result<Process> {
        options.end_timeout = options.end_timeout.min(LONGEST_END);
        let arrivals = match options.reach {
            Reach::Reverse => Some(Arc::new(Listener::new(&ListenerOptions::default())?.open_path())),
            Reach::PrintedPort { .. } | Reach::ChosenPort => None,
        };
        if !options.path.starts_with('/') {
            return Err(Error::new(Code::Argument, format!("the path {:?} does not begin with a slash", options.path)));
        }
        target(&Found { secure: false, host: "127.0.0.1", port: 1 }, &options.path)?;
        Ok(Process(Arc::new(Inner {
            options,
            arrivals,
            starting: Mutex::default(),
            state: Arc::default(),
            ending: Mutex::default(),
        })))
    }

    /// The id of its process while it runs.
    pub fn id(&self) -> Option<u32> {
        // A child that is just being started counts: it may have printed a line.
        let _alone = self.0.starting.lock();
        self.0.state.lock().child.as_ref().filter(|child| child.is_running()).map(Child::id)
    }

    /// The URL at which other clients reach the server while it runs. `None` with [`Reach::Reverse`], because such a server has
    /// one connection, and before the server has told its address.
    pub fn url(&self) -> Option<String> {
        let state = self.0.state.lock();
        let address = state.address.as_ref().filter(|_| state.failure.is_none())?;
        let scheme = if address.secure { "wss" } else { "ws" };
        Some(format!("{scheme}://{}{}", address.authority, address.path))
    }

    /// The file with the secret of the server, for other clients of the same user, while it runs; `None` if no argument or variable has
    /// `{secret_file}`.
    pub fn secret_file(&self) -> Option<PathBuf> {
        let state = self.0.state.lock();
        state.secret_file.clone().filter(|_| state.failure.is_none())
    }

    /// Ends the server, if it runs, and waits for its end.
    pub fn end(&self) {
        self.0.end();
    }

    /// Where the server connects to, if it does.
    pub(crate) fn arrivals(&self) -> Option<Arc<Arrivals>> {
        self.0.arrivals.clone()
    }

    /// Starts the server if it does not run, and connects. `endpoint` has the headers of the upgrade request. Also returns the
    /// secret of this start, if there is one.
    pub(crate) fn connect(
        &self,
        config: &Config,
        endpoint: &Endpoint,
        deadline: &mut ConnectDeadline<'_>,
    ) -> Result<(Established, Option<Secret>)> {
        let mut is_new = self.0.start_if_needed()?;
        loop {
            match self.reach(config, endpoint, deadline) {
                // A server that was running has ended meanwhile, perhaps because its last client left.
                Err(_) if !is_new && self.0.state.lock().failure.is_some() => is_new = self.0.start_if_needed()?,
                Err(e) => return Err(e),
                Ok(established) => return Ok((established, self.0.state.lock().secret.clone())),
            }
        }
    }

    fn reach(&self, config: &Config, endpoint: &Endpoint, deadline: &mut ConnectDeadline<'_>) -> Result<Established> {
        let target = loop {
            let changed = {
                let mut state = self.0.state.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if let Some(address) = &state.address {
                    break address.clone();
                }
                state.next_change()
            };
            let arrived = match &self.0.arrivals {
                Some(arrivals) => arrivals.next_or(&changed, deadline),
                None => deadline.receive(&changed, Stage::Connect).map(Err),
            };
            if let Ok(arrived) = arrived.map_err(|e| self.0.not_ready(e, deadline.timeout()))? {
                self.0.state.lock().has_connected = true;
                return establish::take_over(config, arrived, deadline);
            }
        };
        let endpoint = Endpoint { target, headers: endpoint.headers.clone() };
        loop {
            match establish::connect(config, &endpoint, deadline) {
                Err(e) if e.code() == Code::Connect => {
                    if let Some(failure) = &self.0.state.lock().failure {
                        return Err(failure.clone());
                    }
                    if self.0.options.reach != Reach::ChosenPort {
                        return Err(e);
                    }
                    let paused = deadline.pause(POLL_PERIOD, Stage::Connect);
                    paused.map_err(|e| self.0.not_ready(e, deadline.timeout()))?;
                }
                other => return other,
            }
        }
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("options", &self.0.options).field("id", &self.id()).finish()
    }
}

impl Inner {
    /// Starts the server. `false`: it is running already.
    fn start_if_needed(&self) -> Result<bool> {
        let _alone = self.starting.lock();
        let former = {
            let mut state = self.state.lock();
            let is_useful = |child: &Child| child.is_running() && !(self.arrivals.is_some() && state.has_connected);
            if state.child.as_ref().is_some_and(is_useful) {
                return Ok(false);
            }
            state.child.take()
        };
        if let Some(former) = former {
            self.end_in_background(former);
        }
        self.start().map(|()| true)
    }

    /// Ends a child on a thread of its own, because that may take until its limit.
    fn end_in_background(&self, child: Child) {
        let limit = self.options.end_timeout;
        let mut ending = self.ending.lock();
        ending.retain(|thread| !thread.is_finished());
        // If there is no thread, the child is dropped here, which kills it.
        ending.extend(threads::spawn("wslink-end", move || child.end(limit)));
    }

    fn start(&self) -> Result<()> {
        let options = &self.options;
        let failed = |e: &std::io::Error| cannot_start(options, e);
        let mut arguments = options.arguments.clone();
        let mut add = |switch: &str, placeholder: &str| {
            if !arguments.iter().any(|argument| argument.contains(placeholder)) {
                arguments.extend([switch.to_owned(), placeholder.to_owned()]);
            }
        };
        let (mut port, mut address) = (None, None);
        match options.reach {
            Reach::Reverse => add("--reverse-url", "{url}"),
            Reach::ChosenPort => {
                add("--port", "{port}");
                let free =
                    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(|e| failed(&e))?;
                port = Some(free.port());
                address = Some(self.target(&Found { secure: false, host: "127.0.0.1", port: free.port() })?);
            }
            Reach::PrintedPort { .. } => {}
        }
        let values = || arguments.iter().chain(options.environment.iter().map(|(_, value)| value));
        let wants = |placeholder: &str| values().any(|value| value.contains(placeholder));
        let secret = format!("{:032x}", rand::random::<u128>());
        let file = wants("{secret_file}").then(|| SecretFile::new(&secret)).transpose().map_err(|e| failed(&e))?;
        let is_used = file.is_some() || wants("{secret}");
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
        let token = url.rsplit('/').next().filter(|token| !token.is_empty());
        let hidden = [Some(secret.as_str()), token].into_iter().flatten().map(Secret::from).collect();
        let last_words = Arc::new(LastWords::new(hidden));
        // A connection of a former child.
        if let Some(arrivals) = &self.arrivals {
            arrivals.forget();
        }
        let start = {
            let mut state = self.state.lock();
            let start = state.start + 1;
            *state = State {
                start,
                address,
                secret_file: file.as_ref().map(|file| file.path().to_owned()),
                secret: is_used.then(|| secret.as_str().into()),
                last_words: Some(Arc::clone(&last_words)),
                waiting: std::mem::take(&mut state.waiting),
                ..State::default()
            };
            start
        };
        let plan = Plan {
            secret_file: file,
            lines: Lines::new(Arc::clone(&last_words), options.on_line.clone(), self.look_for_address(start)),
            on_end: self.tell_end(start, last_words),
            end_timeout: options.end_timeout,
        };
        let child = Child::start(command, plan).map_err(|e| failed(&e))?;
        self.state.lock().child = Some(child);
        Ok(())
    }

    fn target(&self, found: &Found) -> Result<Target> {
        target(found, &self.options.path)
    }

    fn look_for_address(&self, start: u64) -> Option<ReadyLine> {
        let Reach::PrintedPort { before } = &self.options.reach else { return None };
        let (before, path, state) = (before.clone(), self.options.path.clone(), Arc::clone(&self.state));
        Some(Box::new(move |line| {
            let found = address::find(line, before.as_deref()).and_then(|found| target(&found, &path).ok());
            let is_found = found.is_some();
            if is_found {
                state.lock().change(start, |state| state.address = found);
            }
            is_found
        }))
    }

    fn tell_end(&self, start: u64, words: Arc<LastWords>) -> OnEnd {
        let state = Arc::clone(&self.state);
        Box::new(move |status: ExitStatus| {
            let text = format!("the server that was started has ended ({status}){}", words.shown());
            let failure = Error::new(Code::Connect, text).at(Stage::Connect);
            state.lock().change(start, |state| state.failure = Some(failure));
        })
    }

    /// The error for a server that is not ready in time; other errors are returned unchanged.
    fn not_ready(&self, e: Error, timeout: Duration) -> Error {
        if e.code() != Code::Timeout {
            return e;
        }
        let words = self.state.lock().last_words.as_ref().map(|words| words.shown()).unwrap_or_default();
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
        if on_reader_thread() {
            // This thread must read on, so that the child can end.
            child.into_iter().for_each(|child| self.end_in_background(child));
            return;
        }
        if let Some(child) = child {
            child.end(self.options.end_timeout);
        }
        let ending = std::mem::take(&mut *self.ending.lock());
        for thread in ending {
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

/// The WebSocket of a server at this address.
fn target(found: &Found, path: &str) -> Result<Target> {
    let scheme = if found.secure { "wss" } else { "ws" };
    Target::websocket(&format!("{scheme}://{}:{}{path}", found.host, found.port))
}

fn cannot_start(options: &ProcessOptions, e: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let program = options.program.to_string_lossy();
    let hint = match e.kind() {
        ErrorKind::NotFound if options.folder.as_ref().is_some_and(|folder| !folder.is_dir()) => {
            "; the folder in which it should run does not exist"
        }
        ErrorKind::NotFound if program.contains(' ') => "; program and arguments are separate words",
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
