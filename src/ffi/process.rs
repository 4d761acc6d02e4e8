//! Servers that are started as child processes.

use super::callback::{UserData, wslink_drop_fn};
use super::codes::{WSLINK_OK, WSLINK_REACH_CHOSEN_PORT, WSLINK_REACH_PRINTED_PORT, WSLINK_REACH_REVERSE};
use super::config::wslink_config;
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer;
use crate::error::{Code, Error, Result};
use crate::io::config::Config;
use crate::io::process::{Process, ProcessOptions, Reach};
use crate::platform::cancelling::Uncancelled;
use parking_lot::Mutex;
use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

/// A wslink server that sessions start as a child process. Each attempt to connect of a session whose configuration
/// comes from `wslink_config_new_starting` starts the server if it does not run. So a session that reconnects
/// (`wslink_config_set_reconnect`) also restarts a server that has ended, within its limits.
///
/// What the server prints is always read; its last lines are in the error if it ends before a session has reached it.
///
/// The server is ended when the last handle, configuration and session that use it are freed: SIGTERM to its whole
/// process group, and SIGKILL after `wslink_process_set_end_timeout`. That function waits for the end. If the
/// application is killed, the server gets SIGTERM on Linux (children of the server do not). On Windows the server and all
/// processes that it has started are in a job, and are ended at once, also if the application is killed.
///
/// One thread at a time may use a handle, except for `wslink_process_id` and `wslink_process_end`.
pub struct wslink_process {
    options: Mutex<ProcessOptions>,
    /// Made of the options with the first configuration.
    process: std::sync::OnceLock<Process>,
}

/// Receives each line that the server prints, NUL-terminated, without its line break, borrowed. `on_error`: the line is
/// from standard error. A line of more than 8 KiB comes in parts; text that is not UTF-8 is replaced. Runs on a thread
/// of the library, which reads nothing meanwhile; it must not free the process or a session that uses it.
pub type wslink_line_fn = Option<extern "C" fn(user: *mut c_void, line: *const c_char, on_error: bool)>;

fn change(
    process: *mut wslink_process,
    err: *mut *mut wslink_error,
    change: impl FnOnce(&mut ProcessOptions) -> Result<()>,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        let process = pointer::borrow(process, "process")?;
        if process.process.get().is_some() {
            let text = "the process has a configuration already (wslink_config_new_starting); set its options before";
            return Err(Error::new(Code::State, text));
        }
        change(&mut process.options.lock()).map(|()| WSLINK_OK)
    })
}

/// Describes a server: `words` are the program (a path, or a name that is searched in PATH) and its arguments, `count`
/// in all. Nothing is started yet. On success `*process` belongs to the caller, who frees it.
///
/// In arguments, and in values set by `wslink_process_set_environment`, these placeholders are replaced: `{url}` (the
/// URL for `--reverse-url`), `{port}` (see `wslink_process_set_reach`), `{secret}`, and `{secret_file}`, the path of a
/// file with the secret that only the user can read, removed when the server ends. The secret is random for each start,
/// and sessions use it, if one of these two placeholders occurs. Anybody on the machine can read arguments, so
/// `{secret}` is for the environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_new(
    words: *const *const c_char,
    count: usize,
    process: *mut *mut wslink_process,
    err: *mut *mut wslink_error,
) -> i32 {
    fallible(err, || {
        pointer::required(process, "process")?;
        let words = pointer::slice(words, count, "words")?;
        let words: Vec<&str> = words.iter().map(|word| pointer::text(*word, "a word")).collect::<Result<_>>()?;
        let (program, arguments) =
            words.split_first().ok_or_else(|| Error::new(Code::Argument, "there is no program in the command"))?;
        let options = ProcessOptions::new(*program).args(arguments.iter().copied());
        let made = wslink_process { options: Mutex::new(options), process: std::sync::OnceLock::new() };
        pointer::store(process, pointer::give(made), "process")?;
        Ok(WSLINK_OK)
    })
}

/// Frees a handle. NULL is ignored. The server is ended if nothing else uses it, see `wslink_process`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_free(process: *mut wslink_process) {
    let _uncancelled = Uncancelled::new();
    infallible((), || pointer::release(process));
}

/// Adds a variable to the environment that the server inherits from the application. `PYTHONUNBUFFERED=1` is added by
/// itself, so that lines of Python come at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_set_environment(
    process: *mut wslink_process,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(process, err, |options| {
        let (name, value) = (pointer::text(name, "name")?, pointer::text(value, "value")?);
        if name.is_empty() || name.contains('=') {
            return Err(Error::new(Code::Argument, format!("{name:?} is not the name of an environment variable")));
        }
        options.environment.retain(|(other, _)| other != name);
        options.environment.push((name.to_owned(), value.to_owned()));
        Ok(())
    })
}

/// Sets the folder in which the server runs. Default: the current folder of the application when it starts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_set_folder(
    process: *mut wslink_process,
    path: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(process, err, |options| {
        options.folder = Some(pointer::text(path, "path")?.into());
        Ok(())
    })
}

/// Sets how sessions reach the server: one of `WSLINK_REACH_...`. `before_port`: for `WSLINK_REACH_PRINTED_PORT` the
/// text before the port in what the server prints, such as "READY "; NULL: it prints a URL, as trame does. Otherwise
/// ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_set_reach(
    process: *mut wslink_process,
    reach: i32,
    before_port: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(process, err, |options| {
        options.reach = match reach {
            WSLINK_REACH_REVERSE => Reach::Reverse,
            WSLINK_REACH_PRINTED_PORT => {
                Reach::PrintedPort { before: pointer::optional_text(before_port, "before_port")?.map(str::to_owned) }
            }
            WSLINK_REACH_CHOSEN_PORT => Reach::ChosenPort,
            _ => return Err(Error::new(Code::Argument, format!("{reach} is not one of WSLINK_REACH_..."))),
        };
        Ok(())
    })
}

/// Sets the path of the server's WebSocket. Default: "/ws". Not used with `WSLINK_REACH_REVERSE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_set_path(
    process: *mut wslink_process,
    path: *const c_char,
    err: *mut *mut wslink_error,
) -> i32 {
    change(process, err, |options| {
        let path = pointer::text(path, "path")?;
        if !path.starts_with('/') {
            return Err(Error::new(Code::Argument, format!("the path {path:?} does not begin with a slash")));
        }
        options.path = path.to_owned();
        Ok(())
    })
}

/// Sets how long the server may take to end after SIGTERM, in milliseconds; then it is killed. Default: 5000. At most a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_set_end_timeout(
    process: *mut wslink_process,
    milliseconds: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    change(process, err, |options| {
        options.end_timeout = Duration::from_millis(milliseconds.into());
        Ok(())
    })
}

/// Sets the callback for each line that the server prints, see `wslink_line_fn`. `drop` is called as for all callbacks,
/// see `wslink_drop_fn`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_on_line(
    process: *mut wslink_process,
    callback: wslink_line_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    err: *mut *mut wslink_error,
) -> i32 {
    let user = UserData::new(user, drop);
    change(process, err, |options| {
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        *options = options.clone().on_line(move |line, on_error| {
            let line = CString::new(line.replace('\0', "\u{fffd}")).unwrap_or_default();
            callback(user.pointer(), line.as_ptr(), on_error);
        });
        Ok(())
    })
}

/// Creates a configuration with the defaults, whose sessions start the server. It keeps the server alive like the
/// handle does. After the first one, the options of the process cannot be changed. With `WSLINK_REACH_REVERSE` use one
/// configuration for one session, because the server has one connection. On success `*config` belongs to the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_config_new_starting(
    process: *mut wslink_process,
    config: *mut *mut wslink_config,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(config, "config")?;
        let process = pointer::borrow(process, "process")?;
        let started = match process.process.get() {
            Some(started) => started,
            None => {
                let made = Process::new(process.options.lock().clone())?;
                process.process.get_or_init(|| made)
            }
        };
        pointer::store(config, pointer::give(wslink_config::new(Config::starting(started)?)), "config")?;
        Ok(WSLINK_OK)
    })
}

/// The id of the server's process while it runs; otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_id(process: *const wslink_process) -> u32 {
    infallible(0, || {
        let process = pointer::borrow(process, "process").ok();
        process.and_then(|process| process.process.get()?.id()).unwrap_or(0)
    })
}

/// Copies the URL at which other clients reach the server to `buffer`, as `snprintf` does: truncated to `size` and
/// NUL-terminated. Returns the length of the whole URL. Empty while the server does not run or has not told its
/// address, and with `WSLINK_REACH_REVERSE`, because such a server has one connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_url(process: *const wslink_process, buffer: *mut c_char, size: usize) -> usize {
    infallible(0, || {
        let url = pointer::borrow(process, "process").ok().and_then(|process| process.process.get()?.url());
        pointer::copy_text(&url.unwrap_or_default(), buffer, size)
    })
}

/// Copies the path of the file with the secret of the server, for other clients of the same user, as
/// `wslink_process_url` does. Empty while the server does not run, and if no argument or variable has `{secret_file}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_secret_file(
    process: *const wslink_process,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    infallible(0, || {
        let file = pointer::borrow(process, "process").ok().and_then(|process| process.process.get()?.secret_file());
        pointer::copy_text(&file.unwrap_or_default().to_string_lossy(), buffer, size)
    })
}

/// Ends the server, if it runs, and waits for its end, at most for the time of `wslink_process_set_end_timeout` and a
/// second. A session that reconnects starts it again. Any thread may call this. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_process_end(process: *const wslink_process) {
    let _uncancelled = Uncancelled::new();
    infallible((), || {
        if let Ok(process) = pointer::borrow(process, "process")
            && let Some(started) = process.process.get()
        {
            started.end();
        }
    });
}
