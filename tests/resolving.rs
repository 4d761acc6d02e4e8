//! A resolver that hangs. The system's resolver cannot be interrupted, so no thread may wait for it without a limit. The tests
//! replace it with one that answers when a test says so.
#![cfg(target_os = "linux")]

mod common;

use common::scripted::ScriptedServer;
use common::{PATIENCE, eventually};
use std::ffi::{CStr, c_char, c_int};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};
use wslink::LogLevel;
use wslink::Reconnect;
use wslink::{Code, Config, Protocol, Session, Stage, State};

/// Names that are answered; other names block. And the number of lookups of each name.
static ANSWERED: Mutex<(Vec<String>, Vec<String>)> = Mutex::new((Vec::new(), Vec::new()));
static CHANGED: Condvar = Condvar::new();

/// The function that the standard library calls; the linker finds it before that of libc. All names resolve to this machine.
#[unsafe(no_mangle)]
extern "C" fn getaddrinfo(
    host: *const c_char,
    _service: *const c_char,
    _hints: *const libc::addrinfo,
    found: *mut *mut libc::addrinfo,
) -> c_int {
    // SAFETY: POSIX requires these arguments of the caller.
    let name = unsafe { CStr::from_ptr(host) }.to_str().unwrap().to_owned();
    let mut answered = ANSWERED.lock().unwrap();
    answered.1.push(name.clone());
    SIGTERM_BLOCKED.fetch_and(blocks_sigterm(), SeqCst);
    let _answered = CHANGED.wait_while(answered, |answered| !answered.0.contains(&name)).unwrap();
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let entry = libc::addrinfo {
        ai_flags: 0,
        ai_family: libc::AF_INET,
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: size_of::<libc::sockaddr_in>() as u32,
        ai_addr: Box::into_raw(Box::new(address)).cast(),
        ai_canonname: std::ptr::null_mut(),
        ai_next: std::ptr::null_mut(),
    };
    // SAFETY: as above.
    unsafe { *found = Box::into_raw(Box::new(entry)) };
    0
}

#[unsafe(no_mangle)]
extern "C" fn freeaddrinfo(entry: *mut libc::addrinfo) {
    // SAFETY: both come from the function above.
    unsafe {
        let entry = Box::from_raw(entry);
        drop(Box::from_raw(entry.ai_addr.cast::<libc::sockaddr_in>()));
    }
}

/// Whether every thread that called the resolver blocks a signal of the application.
static SIGTERM_BLOCKED: AtomicBool = AtomicBool::new(true);

fn blocks_sigterm() -> bool {
    let mut mask = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `set` has room for a signal set, which the first function fills and the second one reads.
    unsafe {
        assert_eq!(libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), mask.as_mut_ptr()), 0);
        libc::sigismember(mask.as_ptr(), libc::SIGTERM) == 1
    }
}

fn answer(name: &str) {
    ANSWERED.lock().unwrap().0.push(name.to_owned());
    CHANGED.notify_all();
}

fn asked(name: &str) -> usize {
    ANSWERED.lock().unwrap().1.iter().filter(|other| *other == name).count()
}

fn config(name: &str, port: u16) -> Config {
    let mut config = Config::new(&format!("ws://{name}:{port}/ws")).unwrap();
    config.session.connect_timeout = Duration::from_millis(100);
    config
}

#[test]
fn a_hanging_resolver_ends_with_the_connect_timeout() {
    let session = Session::new(config("hangs.test", 1)).unwrap();
    let error = session.connect_wait().unwrap_err();
    assert_eq!((error.code(), error.stage(), error.is_retriable()), (Code::Timeout, Stage::Resolve, true), "{error}");
    assert!(error.message().contains("the host name was not resolved within 100ms"), "{error}");
    assert!(SIGTERM_BLOCKED.load(SeqCst), "the thread that resolves takes the application's signals");
    assert!(!blocks_sigterm(), "the application's own thread is as it was");
}

#[test]
fn closing_and_freeing_do_not_wait_for_a_hanging_resolver() {
    let mut config = config("hangs-long.test", 1);
    config.session.connect_timeout = Duration::from_secs(3600);
    let began = Instant::now();
    for freed in [false, true] {
        let session = Session::new(config.clone()).unwrap();
        session.connect().unwrap();
        eventually(|| asked("hangs-long.test") > 0);
        if !freed {
            session.close_wait(Duration::from_secs(3600)).unwrap();
            assert_eq!(session.state(), State::Closed);
        }
    }
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn many_attempts_share_one_lookup() {
    let policy = Reconnect {
        attempts: Some(5),
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(1),
        total: None,
        at_first: true,
    };
    let sessions: Vec<_> = (0..10)
        .map(|_| {
            let mut config = config("often.test", 1);
            config.set_reconnect(Some(policy)).unwrap();
            Session::new(config).unwrap()
        })
        .collect();
    sessions.iter().for_each(|session| session.connect().unwrap());
    for session in &sessions {
        eventually(|| session.state() == State::Closed);
        assert_eq!(session.failure().unwrap().stage(), Stage::Resolve);
    }
    assert_eq!(asked("often.test"), 1, "60 attempts");
}

#[test]
fn a_late_answer_serves_every_attempt_that_still_waits() {
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        conn.until_end();
    });
    let (waiting, waits) = mpsc::channel();
    let make = |timeout| {
        let mut config = config("late.test", server.port());
        config.session.protocol = Some(Protocol::V2);
        config.session.connect_timeout = timeout;
        let waiting = waiting.clone();
        config.set_log(LogLevel::Debug, move |_, line| {
            if line.starts_with("waiting for the addresses") {
                waiting.send(()).unwrap();
            }
        });
        Session::new(config).unwrap()
    };
    let gave_up = make(Duration::from_millis(50));
    assert_eq!(gave_up.connect_wait().unwrap_err().stage(), Stage::Resolve);
    let sessions = [make(PATIENCE), make(PATIENCE), gave_up];
    sessions[..2].iter().for_each(|session| session.connect().unwrap());
    (0..3).for_each(|_| waits.recv_timeout(PATIENCE).unwrap());
    answer("late.test");
    for session in &sessions[..2] {
        eventually(|| session.state() == State::Ready);
    }
    assert_eq!(sessions[2].state(), State::Closed);
    assert_eq!(asked("late.test"), 1);
    // The next attempt starts a new lookup.
    common::connected({
        let mut config = config("late.test", server.port());
        config.session.protocol = Some(Protocol::V2);
        config.session.connect_timeout = PATIENCE;
        config
    });
    assert_eq!(asked("late.test"), 2);
}

#[test]
fn the_process_ends_while_the_resolver_hangs() {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--ignored", "--exact", "exit_while_it_hangs"]).output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{output:?}");
}

#[test]
#[ignore = "ends the process"]
fn exit_while_it_hangs() {
    let session = Session::new(config("hangs.test", 1)).unwrap();
    session.connect().unwrap();
    eventually(|| asked("hangs.test") > 0);
    std::process::exit(42);
}
