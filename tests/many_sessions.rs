//! Very many sessions: one after the other, at once, and more than the system allows. The tests measure the whole process, so
//! each runs in its own process.
#![cfg(target_os = "linux")]

mod common;

use common::{PATIENCE, Server};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use wslink::{Args, Code, Config, Policy, Session, Stage, State};

fn entries(directory: &str) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs one of the ignored tests below in a process with these limits of the shell.
fn in_a_process(test: &str, limits: &str) {
    let script = format!("{limits} exec \"$0\" --ignored --exact --nocapture {test}");
    let output = Command::new("sh").args(["-c", &script]).arg(std::env::current_exe().unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{}", text.lines().filter(|line| line.contains(": ")).collect::<Vec<_>>().join("\n"));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A session without a server, in every state that it can be left in.
fn unconnected(i: usize) {
    let mut config = Config::new("ws://127.0.0.1:9/ws").unwrap();
    config.on_wakeup(|| ());
    let session = Session::new(config).unwrap();
    session.subscribe("t", Policy::default(), |_| ());
    match i % 3 {
        0 => {}
        1 => session.connect().unwrap(),
        _ => assert!(session.connect_wait().is_err()),
    }
}

#[test]
fn thousands_of_sessions_one_after_the_other_leave_nothing() {
    in_a_process("one_after_the_other", "");
}

#[test]
#[ignore = "runs in a process of its own"]
fn one_after_the_other() {
    let server = Server::start("v2", &[]);
    let drops = Arc::new(AtomicU64::new(0));
    let connected = || {
        let session = server.session();
        let guard = CountDrop(Arc::clone(&drops));
        session.subscribe("t", Policy::default(), move |_| {
            let _ = &guard;
        });
        let guard = CountDrop(Arc::clone(&drops));
        session.call("test.sleep", Args::from_json("[0]").unwrap(), None, move |_| drop(guard)).unwrap();
    };
    let round = |n: usize| {
        (0..n).for_each(unconnected);
        (0..n / 10).for_each(|_| connected());
    };
    let counts = || (status("VmRSS:"), entries("/proc/self/task"), entries("/proc/self/fd"));
    round(500);
    let before = counts();
    round(4500);
    let after = counts();
    assert_eq!(drops.load(SeqCst), 2 * (50 + 450), "every callback is dropped once");
    println!("4950 sessions: KiB, threads, descriptors before {before:?}, after {after:?}");
    assert_eq!((after.1, after.2), (before.1, before.2), "threads or descriptors stay behind");
    assert!(after.0 < before.0 + 8192, "memory grows: {before:?} {after:?}");
}

struct CountDrop(Arc<AtomicU64>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_thousand_sessions_at_once() {
    in_a_process("at_once", "ulimit -n $(ulimit -H -n) &&");
}

#[test]
#[ignore = "runs in a process of its own"]
fn at_once() {
    const MANY: u64 = 1000;
    let server = Server::start("v2", &[]);
    let descriptors = entries("/proc/self/fd");
    let first = server.session();
    let counts = || [status("VmRSS:"), entries("/proc/self/task") as u64, entries("/proc/self/fd") as u64];
    let before = counts();
    let sessions: Vec<_> = (0..MANY).map(|_| server.session()).collect();
    let after = counts();
    let each = |i: usize| (after[i] - before[i]) as f64 / MANY as f64;
    println!("{MANY} sessions: {:.1} KiB, {:.2} threads, {:.2} descriptors each", each(0), each(1), each(2));
    for session in &sessions {
        session.call_wait("test.echo", Args::new(), Some(PATIENCE)).unwrap();
    }
    // One publication to all sessions.
    let seen = Arc::new(AtomicU64::new(0));
    for session in &sessions {
        let seen = Arc::clone(&seen);
        session.subscribe("t", Policy::default(), move |_| {
            seen.fetch_add(1, SeqCst);
        });
    }
    first.call_wait("test.publish", Args::from_json(r#"["t"]"#).unwrap(), Some(PATIENCE)).unwrap();
    for session in &sessions {
        let events = session.dispatch(1, Some(Duration::ZERO)).unwrap();
        assert!(events <= 1);
    }
    for (i, session) in sessions.iter().enumerate() {
        for _ in 0..PATIENCE.as_millis() {
            if seen.load(SeqCst) > i as u64 {
                break;
            }
            session.dispatch(10, Some(Duration::from_millis(1))).unwrap();
        }
    }
    assert_eq!(seen.load(SeqCst), MANY);
    // The memory of an idle session is mostly its read buffer.
    assert!(each(0) < 512.0, "{} KiB for each session", each(0));
    assert!(each(1) <= 1.0 && each(2) <= 6.0, "{:.2} threads, {:.2} descriptors", each(1), each(2));
    drop(sessions);
    drop(first);
    assert_eq!(entries("/proc/self/fd"), descriptors);
}

#[test]
fn too_few_descriptors_are_an_error_and_not_the_end() {
    in_a_process("descriptors", "ulimit -n 64 &&");
}

#[test]
#[ignore = "runs in a process of its own"]
fn descriptors() {
    let server = Server::start("v2", &[]);
    // Take descriptors one by one, until no session can be created.
    let mut sessions = Vec::new();
    let error = loop {
        match Session::new(Config::new(&server.url()).unwrap()) {
            Ok(session) => sessions.push(session),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::System, "{error}");
    assert!(error.message().contains("os error 24"), "{error}");
    // A session needs several descriptors, so some may be left; a connection needs one.
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    let error = sessions[0].connect_wait().unwrap_err();
    assert!(error.code() == Code::System && error.message().contains("os error 24"), "{error}");
    assert_eq!((error.stage(), error.is_retriable()), (Stage::Connect, true), "{error}");
    println!("{} sessions with 64 descriptors: {error}", sessions.len());
    let first = sessions.remove(0);
    drop((sessions, files));
    first.connect_wait().unwrap();
    assert_eq!(first.state(), State::Ready);
}

#[test]
fn too_few_threads_are_an_error_and_not_the_end() {
    // The superuser has no limit of threads, so the test limits the address space, which each thread's stack needs. Nothing else may
    // need it: malloc would map far more for each thread, and return a part of it at some later time.
    in_a_process("threads", "export MALLOC_ARENA_MAX=1; ulimit -v 700000 &&");
}

#[test]
#[ignore = "runs in a process of its own"]
fn threads() {
    let mut sessions = Vec::new();
    let error = loop {
        assert!(sessions.len() < 5000, "there is no limit");
        match Session::new(Config::new("ws://localhost:9/ws").unwrap()) {
            Ok(session) => sessions.push(session),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::System, "{error}");
    println!("{} sessions: {error}", sessions.len());
    assert!(error.message().contains("no thread for the session"), "{error}");
    // There is no thread for the resolver either.
    let error = sessions[0].connect_wait().unwrap_err();
    assert_eq!((error.code(), error.stage(), error.is_retriable()), (Code::System, Stage::Resolve, true), "{error}");
    // Existing sessions go on, and new ones can be created again.
    sessions.truncate(1);
    assert_eq!(sessions[0].connect_wait().unwrap_err().code(), Code::Connect);
    Session::new(Config::new("ws://localhost:9/ws").unwrap()).unwrap();
}
