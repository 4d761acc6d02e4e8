//! Secrets are wiped: a process uses secrets and frees everything, and then its memory is searched from outside.
#![cfg(target_os = "linux")]

mod common;

use common::scripted::ScriptedServer;
use rcgen::{CertificateParams, KeyPair};
use std::ffi::{CStr, c_char};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use wslink::Protocol;
use zeroize::Zeroize;

/// Another process, which blocks before each of its steps.
struct Other {
    child: Child,
    input: ChildStdin,
    steps: mpsc::Receiver<String>,
}

impl Other {
    /// Runs one of the ignored tests below.
    fn start(test: &str) -> Other {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", test])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, steps) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test harness prints the test's name on the same line.
                if let Some((_, step)) = line.split_once("step ") {
                    let _ = send.send(step.to_owned());
                }
            }
        });
        Other { input: child.stdin.take().unwrap(), child, steps }
    }

    fn tell(&mut self, what: &str) {
        self.input.write_all(what.as_bytes()).unwrap();
    }

    fn reached(&self, step: &str) {
        assert_eq!(self.steps.recv_timeout(common::PATIENCE).as_deref(), Ok(step));
    }

    /// How often each of these texts is in memory that the process can write.
    fn count(&self, wanted: &[&[u8]]) -> Vec<usize> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        let memory = File::open(format!("/proc/{}/mem", self.child.id())).unwrap();
        let mut counts = vec![0; wanted.len()];
        let mut searched = 0;
        for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw"))) {
            let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let address = |text| u64::from_str_radix(text, 16).unwrap();
            let mut bytes = vec![0; (address(end) - address(begin)) as usize];
            if memory.read_exact_at(&mut bytes, address(begin)).is_err() {
                continue; // [vvar] and similar mappings
            }
            searched += bytes.len();
            for (count, what) in counts.iter_mut().zip(wanted) {
                let first = what[0];
                let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
                *count += starts.filter(|(at, _)| bytes[*at..].starts_with(what)).count();
            }
        }
        assert!(searched > 100_000, "{searched} bytes");
        counts
    }

    fn end(mut self) {
        self.tell("\n");
        assert!(self.child.wait().unwrap().success());
    }
}

/// A line from the parent process with a NUL at its end; the caller has the only copy.
fn told(into: &mut [u8]) {
    let mut input = File::open("/dev/stdin").unwrap();
    let mut n = 0;
    while n == 0 || into[n - 1] != b'\n' {
        let got = input.read(&mut into[n..]).unwrap();
        assert!(got > 0, "the other process is gone");
        n += got;
    }
    into[n - 1] = 0;
}

/// Reports the current step, and waits for permission to continue.
fn step(name: &str) {
    println!("step {name}");
    told(&mut [0; 8]);
}

/// A word-sized marker, so that no secret occurs in the binary or in memory by chance.
fn unique(what: &str) -> String {
    format!("{what}-{:032x}", rand::random::<u128>())
}

#[test]
fn nothing_of_a_secret_stays_in_memory() {
    for (protocol, long) in [(Protocol::V1, false), (Protocol::V2, false), (Protocol::V1, true), (Protocol::V2, true)] {
        let (mut secret, mut member) = (unique("secret"), unique("member"));
        let (header, password) = (unique("header"), unique("password"));
        if long {
            // Longer than every initial buffer size of a message, and with characters that JSON escapes.
            secret += &"\"\u{fc}\\".repeat(50);
            member += &"\u{fc}".repeat(50);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["client".into()]).unwrap().self_signed(&key).unwrap();
        let files = [("crt", certificate.pem()), ("key", key.serialize_pem())].map(|(kind, pem)| {
            let name = format!("wiping.{}.{kind}", std::process::id());
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
            std::fs::write(&path, pem).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            conn.until_end();
        });

        let mut other = Other::start("uses_secrets");
        let url = format!("ws://user:{password}@127.0.0.1:{}/ws", server.port());
        let number = (protocol as i32).to_string();
        for text in [&url, &secret, &header, &format!("{member:?}"), &files[0], &files[1], &number] {
            other.reached("asks");
            other.tell(&format!("{text}\n"));
        }
        let encoded = data_encoding::BASE64.encode(format!("user:{password}").as_bytes());
        let pem = key.serialize_pem();
        let wanted = [&secret, &header, &member, &password, &encoded, pem.lines().nth(1).unwrap()];
        let wanted: Vec<_> = wanted.iter().map(|text| &text.as_bytes()[..30]).collect();
        for place in ["configured", "connected"] {
            other.reached(place);
            let counts = other.count(&wanted);
            assert!(counts[..4].iter().all(|count| *count > 0), "the search finds nothing: {counts:?}");
            other.tell("\n");
        }
        other.reached("freed");
        let counts = other.count(&wanted);
        let what = "secret, header, member of the hello, password, password as it travels, key";
        assert_eq!(counts, [0; 6], "{what}; {protocol:?}, {}", if long { "long" } else { "short" });
        other.end();
        files.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
}

#[test]
#[ignore = "runs in a process of its own"]
fn uses_secrets() {
    use wslink::ffi::config::*;
    use wslink::ffi::session::*;
    let mut memory = [0; 4000];
    // A line from the parent process, in the form of C.
    let mut ask = |use_it: &mut dyn FnMut(*const c_char) -> i32| {
        println!("step asks");
        told(&mut memory);
        assert_eq!(use_it(memory.as_ptr().cast()), 0);
        memory.zeroize();
    };
    let none = std::ptr::null_mut::<u8>();
    let (mut config, mut session) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as the header requires: texts end with NUL, objects are created before they are used and freed once.
    unsafe {
        ask(&mut |url| wslink_config_new(url, &raw mut config, none.cast()));
        ask(&mut |secret| wslink_config_set_secret(config, secret, none.cast()));
        ask(&mut |value| wslink_config_add_header(config, c"X-Token".as_ptr(), value, none.cast()));
        ask(&mut |json| wslink_config_add_hello_member(config, c"token".as_ptr(), json, none.cast()));
        let mut chain = Vec::new();
        ask(&mut |path| {
            chain = CStr::from_ptr(path).to_bytes_with_nul().to_vec();
            0
        });
        ask(&mut |path| wslink_config_set_client_certificate(config, chain.as_ptr().cast(), path, none.cast()));
        ask(&mut |protocol| {
            let protocol = CStr::from_ptr(protocol).to_str().unwrap().parse().unwrap();
            wslink_config_set_protocol(config, protocol, none.cast())
        });
        step("configured");
        assert_eq!(wslink_session_new(config, &raw mut session, none.cast()), 0);
        assert_eq!(wslink_session_connect_wait(session, none.cast()), 0);
        step("connected");
        wslink_session_free(session);
        wslink_config_free(config);
    }
    step("freed");
}
