//! Sessions that start their server, with real servers of both generations and with programs that are none.

mod common;

use common::{PATIENCE, VERSIONS, eventually, python};
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use wslink::{
    Args, Code, Config, Policy, Process, ProcessOptions, Protocol, Reach, Reconnect, Session, Stage, State, result,
};

const APP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/app.py");

/// The test application with the wslink of this version. It ends at the end of its standard input, unless it is told otherwise.
fn app(version: &str, reach: Reach) -> ProcessOptions {
    let mut options = ProcessOptions::new(python(version)).args(["-B", APP, "--ignore-stdin", "--secret", "{secret}"]);
    options.reach = reach;
    options
}

fn ways() -> [Reach; 3] {
    [Reach::Reverse, Reach::PrintedPort { before: Some("READY".into()) }, Reach::ChosenPort]
}

fn config(process: &Process) -> Config {
    let mut config = Config::starting(process).unwrap();
    config.set_connect_timeout(PATIENCE).unwrap();
    config
}

/// A program of the shell.
fn shell(script: &str) -> ProcessOptions {
    let mut options = ProcessOptions::new("sh").args(["-c", script, "sh", "{url}"]);
    options.reach = Reach::Reverse;
    options
}

fn failure(options: ProcessOptions, timeout: Duration) -> wslink::Error {
    let mut config = Config::starting(&Process::new(options).unwrap()).unwrap();
    config.set_connect_timeout(timeout).unwrap();
    Session::new(config).unwrap().connect_wait().unwrap_err()
}

fn is_alive(process: u32) -> bool {
    // Who has ended is a zombie until its parent, or the system, asks for its status.
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn add(session: &Session) -> Option<i64> {
    let sum = session.call_wait("myprotocol.add", Args::from_json("[[1, 2, 3]]").unwrap(), Some(PATIENCE)).unwrap();
    result(&sum).as_i64()
}

#[test]
fn a_session_starts_its_server_in_every_way() {
    for version in VERSIONS {
        for reach in ways() {
            let process = Process::new(app(version, reach.clone())).unwrap();
            assert_eq!(process.id(), None);
            let session = Session::new(config(&process)).unwrap();
            session.connect_wait().unwrap_or_else(|e| panic!("{version}, {reach:?}: {e}"));
            assert_eq!(session.peer().protocol == Some(Protocol::V1), version == "v1");
            assert_eq!(add(&session), Some(6));
            let id = process.id().expect("it runs");
            // The last of them ends the server.
            drop(process);
            assert!(is_alive(id));
            drop(session);
            assert!(!is_alive(id), "{version}, {reach:?}");
        }
    }
}

#[test]
fn a_server_that_dies_is_started_again_by_a_session_that_reconnects() {
    for reach in ways() {
        let process = Process::new(app("v2", reach.clone())).unwrap();
        let mut config = config(&process);
        let quick = Duration::from_millis(1);
        config
            .set_reconnect(Some(Reconnect { first_delay: quick, longest_delay: quick, ..Reconnect::default() }))
            .unwrap();
        let session = Session::new(config).unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let see = Arc::clone(&seen);
        session.subscribe("topic", Policy::default(), move |_| {
            see.fetch_add(1, SeqCst);
        });
        session.connect_wait().unwrap();
        let first = process.id().unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(first as i32).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        eventually(|| session.state() == State::Ready && process.id().is_some_and(|id| id != first));
        session
            .call_wait("test.publish", Args::new().with("topic").unwrap().with(3i64).unwrap(), Some(PATIENCE))
            .unwrap();
        eventually(|| session.dispatch(100, Some(Duration::ZERO)).is_ok() && seen.load(SeqCst) == 3);
    }
}

#[test]
fn a_session_that_is_connected_again_starts_the_server_again() {
    let process = Process::new(app("v1", Reach::Reverse)).unwrap();
    let session = Session::new(config(&process)).unwrap();
    for _ in 0..3 {
        session.connect_wait().unwrap();
        assert_eq!(add(&session), Some(6));
        // A server that connects by itself ends with its connection.
        session.close_wait(PATIENCE).unwrap();
    }
}

#[test]
fn the_secret_goes_by_file_or_environment_and_is_removed() {
    let script = r#"echo "$SECRET"; cat "$FILE"; ls -l "$FILE"; echo "$FILE"; echo done; exit 3"#;
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&lines);
    let mut options = shell(script).on_line(move |line, on_error| {
        assert!(!on_error);
        seen.lock().unwrap().push(line.to_owned());
    });
    options.environment = vec![("SECRET".into(), "{secret}".into()), ("FILE".into(), "{secret_file}".into())];
    let error = failure(options, PATIENCE);
    assert!(error.message().contains("(exit status: 3)"), "{error}");
    let lines = lines.lock().unwrap();
    let secret = &lines[0];
    assert_eq!(secret.len(), 32);
    // The file has no line break after the secret.
    let (in_file, list) = lines[1].split_at(32);
    assert_eq!(in_file, secret);
    assert!(list.starts_with("-rw-------"), "{list}");
    assert!(!std::path::Path::new(&lines[2]).exists());
}

#[test]
fn a_server_that_ends_early_is_told_with_its_last_words() {
    for (script, texts) in [
        (
            "echo starting; echo 'OSError: [Errno 98] address already in use' >&2; exit 1",
            &["exit status: 1", "[Errno 98]"][..],
        ),
        ("printf 'no newline'; exit 0", &["exit status: 0", "its last words: no newline"]),
        ("exit 5", &["exit status: 5", "it has printed nothing"]),
        ("kill -9 $$", &["signal: 9"]),
        ("yes | head -c 3000000; echo the end", &["the end"]),
        ("head -c 100000 /dev/zero; echo; echo the end", &["the end"]),
    ] {
        let error = failure(shell(script), PATIENCE);
        assert_eq!((error.code(), error.stage()), (Code::Connect, Stage::Connect), "{error}");
        assert!(error.message().contains("the server that was started has ended"), "{error}");
        for text in texts {
            assert!(error.message().contains(text), "{text}: {error}");
        }
        assert!(error.message().len() < 1000);
    }
}

#[test]
fn a_program_that_cannot_be_started_is_told() {
    let mut folder = shell("exit");
    folder.folder = Some("/no/such/folder".into());
    for (options, text) in [
        (ProcessOptions::new("no-such-program"), "is the path right"),
        (ProcessOptions::new(APP), "is it executable"),
        (folder, "the folder in which it should run does not exist"),
    ] {
        let error = failure(options, PATIENCE);
        assert_eq!((error.code(), error.is_retriable()), (Code::Argument, false), "{error}");
        assert!(error.message().contains("cannot be started") && error.message().contains(text), "{error}");
    }
}

#[test]
fn a_server_that_never_gets_ready_is_told_and_ended() {
    let soon = Duration::from_millis(300);
    for (reach, text) in [
        (Reach::Reverse, "has not connected within"),
        (Reach::PrintedPort { before: None }, "has not printed its address within"),
        (Reach::ChosenPort, "does not listen within"),
    ] {
        let mut options = shell("echo waiting; exec sleep 1000");
        options.reach = reach;
        let process = Process::new(options).unwrap();
        let mut config = Config::starting(&process).unwrap();
        config.set_connect_timeout(soon).unwrap();
        let session = Session::new(config).unwrap();
        let error = session.connect_wait().unwrap_err();
        assert_eq!(error.code(), Code::Timeout, "{error}");
        assert!(error.message().contains(text) && error.message().contains("waiting"), "{error}");
        let id = process.id().unwrap();
        drop((process, session));
        assert!(!is_alive(id));
    }
}

#[test]
fn nothing_of_a_group_is_left() {
    for (script, ignores) in [
        // As `xvfb-run` does.
        ("sleep 1000 & echo $!; wait", false),
        ("trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.01; done", true),
    ] {
        let (send, children) = std::sync::mpsc::channel();
        let mut options = shell(script).on_line(move |line, _| {
            let _ = send.send(line.parse::<u32>().unwrap());
        });
        options.end_timeout = if ignores { Duration::from_millis(50) } else { PATIENCE };
        let process = Process::new(options).unwrap();
        let session = Session::new(config(&process)).unwrap();
        session.connect().unwrap();
        let child = children.recv_timeout(PATIENCE).unwrap();
        let id = process.id().unwrap();
        assert!(is_alive(child));
        process.end();
        assert!(!is_alive(id));
        assert!(!is_alive(child));
        drop(session);
    }
    // The program forks and ends.
    let (send, children) = std::sync::mpsc::channel();
    let options = shell("sleep 1000 & echo $!").on_line(move |line, _| {
        let _ = send.send(line.parse::<u32>().unwrap());
    });
    assert!(failure(options, PATIENCE).message().contains("has ended (exit status: 0)"));
    let child = children.recv_timeout(PATIENCE).unwrap();
    assert!(!is_alive(child));
}

#[test]
fn a_callback_for_lines_may_end_its_server() {
    // The first line may come while the session still starts the process, and this server ignores SIGTERM.
    let (send, ids) = std::sync::mpsc::channel();
    let server = Arc::<OnceLock<Process>>::default();
    let same = Arc::clone(&server);
    let mut options = shell("trap '' TERM; echo begun; while :; do sleep 0.01; done").on_line(move |_, _| {
        let process = same.wait();
        let _ = send.send(process.id());
        process.end();
    });
    options.end_timeout = Duration::from_millis(50);
    let process = server.get_or_init(|| Process::new(options).unwrap());
    let session = Session::new(config(process)).unwrap();
    session.connect_wait().unwrap_err();
    let id = ids.recv_timeout(PATIENCE).unwrap().unwrap();
    process.end();
    assert!(!is_alive(id));
}

#[test]
fn the_longest_time_to_end_is_accepted() {
    let mut options = shell("exec sleep 1000");
    options.end_timeout = Duration::MAX;
    let process = Process::new(options).unwrap();
    let session = Session::new(config(&process)).unwrap();
    session.connect().unwrap();
    eventually(|| process.id().is_some());
    process.end();
}

#[test]
fn a_server_is_asked_to_end_before_it_is_killed() {
    for script in [
        "trap 'echo saving; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
        // The leader of the group ends at once; its child takes longer, and is asked once.
        "(trap 'echo saving; sleep 1.5; echo saved; exit 0' TERM; echo ready; while :; do sleep 0.01; done) & wait",
    ] {
        let (send, lines) = std::sync::mpsc::channel();
        let mut options = shell(script).on_line(move |line, on_error| {
            if !on_error {
                let _ = send.send(line.to_owned());
            }
        });
        options.end_timeout = PATIENCE;
        let process = Process::new(options).unwrap();
        let session = Session::new(config(&process)).unwrap();
        session.connect().unwrap();
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "ready");
        process.end();
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["saving", "saved"]);
    }
}

#[test]
fn several_sessions_use_one_server() {
    let process = Process::new(app("v2", ways()[1].clone())).unwrap();
    let sessions: Vec<_> = (0..4).map(|_| Session::new(config(&process)).unwrap()).collect();
    sessions.iter().for_each(|session| session.connect().unwrap());
    for session in &sessions {
        eventually(|| session.state() == State::Ready);
        assert_eq!(add(session), Some(6));
    }
    // All are told why it ended.
    let mut options = shell("sleep 0.3; echo the reason; exit 1");
    options.reach = Reach::PrintedPort { before: None };
    let process = Process::new(options).unwrap();
    let sessions: Vec<_> = (0..4).map(|_| Session::new(config(&process)).unwrap()).collect();
    sessions.iter().for_each(|session| session.connect().unwrap());
    for session in &sessions {
        eventually(|| session.state() == State::Closed);
        let failure = session.failure().unwrap();
        assert!(failure.message().contains("the reason"), "{failure}");
    }
}

#[test]
fn secrets_are_not_in_errors_and_logs() {
    let log = Arc::<Mutex<String>>::default();
    let mut options = shell("echo \"unknown option $1, secret $S\"; exit 2");
    options.environment = vec![("S".into(), "{secret}".into())];
    let process = Process::new(options).unwrap();
    let mut config = config(&process);
    let url = config.reverse_url().unwrap();
    let lines = Arc::clone(&log);
    config.set_log(wslink::LogLevel::Debug, move |_, line| lines.lock().unwrap().push_str(line));
    let error = Session::new(config).unwrap().connect_wait().unwrap_err();
    assert!(error.message().contains("/..., secret ..."), "{error}");
    let token = &url[url.rfind('/').unwrap() + 1..];
    assert!(!format!("{error:?} {process:?} {}", log.lock().unwrap()).contains(token));
}

#[test]
fn a_server_that_hangs_is_started_again() {
    let mut options = app("v2", Reach::Reverse);
    options.end_timeout = Duration::from_millis(100);
    let process = Process::new(options).unwrap();
    let session = Session::new(config(&process)).unwrap();
    session.connect_wait().unwrap();
    let first = process.id().unwrap();
    let stop = rustix::process::Signal::STOP;
    rustix::process::kill_process(rustix::process::Pid::from_raw(first as i32).unwrap(), stop).unwrap();
    session.close_wait(Duration::from_millis(10)).unwrap();
    session.connect_wait().unwrap();
    assert_ne!(process.id(), Some(first));
    assert_eq!(add(&session), Some(6));
    drop((session, process));
    assert!(!is_alive(first));
}

#[test]
fn long_lines_come_in_parts() {
    let lines = Arc::<Mutex<Vec<usize>>>::default();
    let seen = Arc::clone(&lines);
    let options = shell("for n in 8191 8192 8193; do head -c $n /dev/zero | tr '\\0' x; echo; done")
        .on_line(move |line, _| seen.lock().unwrap().push(line.len()));
    failure(options, PATIENCE);
    assert_eq!(*lines.lock().unwrap(), [8191, 8192, 8192, 1]);
}

#[test]
fn the_url_of_a_started_server_cannot_be_renewed() {
    let process = Process::new(app("v2", Reach::ChosenPort)).unwrap();
    let mut config = config(&process);
    config.before_attempt(|attempt| {
        assert_eq!(attempt.set_url("ws://localhost/ws").unwrap_err().code(), Code::Argument);
        attempt.set_header("Cookie", Some("a=b")).unwrap();
        true
    });
    Session::new(config).unwrap().connect_wait().unwrap();
    let mut options = shell("exit");
    options.path = "no slash".into();
    assert_eq!(Process::new(options).unwrap_err().code(), Code::Argument);
}

#[test]
fn a_url_that_is_printed_without_a_line_break_is_found() {
    let script = "import sys, os; os.write(1, b'App running at:\\n - Local:   http://127.0.0.1:9/'); sys.stdin.read(); import time; time.sleep(1000)";
    let mut options = ProcessOptions::new(python("v2")).args(["-c", script]);
    options.reach = Reach::PrintedPort { before: None };
    // Nothing listens at that port: the address was found.
    let error = failure(options, PATIENCE);
    assert!(error.message().contains("127.0.0.1:9"), "{error}");
}

#[test]
fn a_session_can_be_freed_while_its_server_starts() {
    for reach in ways() {
        let mut options = shell("exec sleep 1000");
        options.reach = reach;
        let process = Process::new(options).unwrap();
        let session = Session::new(config(&process)).unwrap();
        session.connect().unwrap();
        eventually(|| process.id().is_some());
        let id = process.id().unwrap();
        drop((session, process));
        assert!(!is_alive(id));
    }
}

#[test]
fn placeholders_are_filled() {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&lines);
    let mut options =
        ProcessOptions::new("sh").args(["-c", "echo \"$@\" $V $PYTHONUNBUFFERED", "sh", "a{port}b", "{other}"]);
    options = options.on_line(move |line, _| seen.lock().unwrap().push(line.to_owned()));
    options.environment = vec![("V".into(), "{port}".into())];
    options.reach = Reach::ChosenPort;
    failure(options, PATIENCE);
    let lines = lines.lock().unwrap();
    let words: Vec<_> = lines[0].split(' ').collect();
    let port: u16 = words[2].parse().unwrap();
    assert_eq!(words, [&format!("a{port}b"), "{other}", &port.to_string(), "1"]);
}

/// Runs a test of this file that is ignored, in a process of its own.
fn in_its_own_process(test: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads", "1"]);
    command
}

#[test]
fn a_server_ends_with_a_program_that_is_killed() {
    let mut program = in_its_own_process("a_program_that_waits_to_be_killed");
    let mut program = program.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(program.stdout.take().unwrap());
    let server = output.lines().find_map(|line| line.unwrap().strip_prefix("SERVER ")?.parse::<u32>().ok());
    let server = server.expect("the program starts a server");
    assert!(is_alive(server));
    program.kill().unwrap();
    program.wait().unwrap();
    eventually(|| !is_alive(server));
}

#[test]
#[ignore = "run by a_server_ends_with_a_program_that_is_killed"]
fn a_program_that_waits_to_be_killed() {
    let process = Process::new(app("v2", Reach::Reverse)).unwrap();
    let session = Session::new(config(&process)).unwrap();
    session.connect_wait().unwrap();
    println!("\nSERVER {}", process.id().unwrap());
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_thousand_servers_leave_nothing() {
    let status = in_its_own_process("a_thousand_servers_are_started_and_ended").status().unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "run by a_thousand_servers_leave_nothing"]
fn a_thousand_servers_are_started_and_ended() {
    let folder = std::env::temp_dir().join(format!("wslink-process-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // The files with secrets go there.
    // SAFETY: no other thread reads or writes the environment: the test harness waits for this one, and no server runs yet.
    unsafe { std::env::set_var("TMPDIR", &folder) };
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let mut options = shell("exit 1");
    options.environment = vec![("FILE".into(), "{secret_file}".into())];
    let start = || {
        let process = Process::new(options.clone()).unwrap();
        let session = Session::new(config(&process)).unwrap();
        session.connect_wait().unwrap_err();
    };
    start();
    let before = (count("fd"), count("task"));
    (0..1000).for_each(|_| start());
    assert_eq!((count("fd"), count("task")), before);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
    // No child is left, not even a zombie.
    let none = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(none.unwrap_err(), rustix::io::Errno::CHILD);
}
