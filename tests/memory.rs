//! Failing allocations. A failing small allocation ends the process, as everywhere in Rust; a failing large one is an error. The
//! tests let the first large allocation fail, then the second, and so on.

mod common;

use common::scripted::{BINARY, Conn, FIN, ScriptedServer};
use common::{PATIENCE, Server};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use wslink::{Args, Code, Config, Outcome, Protocol, Session, Stage, State};

/// The smallest large allocation.
const LARGE: usize = 64 << 10;

/// The number of large allocations that succeed before one fails; negative: all succeed.
static LEFT: AtomicI64 = AtomicI64::new(-1);

/// Tests run one at a time, because they share one allocator.
static ALONE: Mutex<()> = Mutex::new(());

struct Failing;

fn refuses(size: usize) -> bool {
    size >= LARGE && LEFT.load(SeqCst) >= 0 && LEFT.fetch_sub(1, SeqCst) == 0
}

// SAFETY: the system's allocator, or a failure.
#[allow(clippy::undocumented_unsafe_blocks)]
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refuses(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if refuses(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if refuses(size) { std::ptr::null_mut() } else { unsafe { System.realloc(memory, layout, size) } }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

type Try = fn(&Session) -> Outcome;

/// Uses much memory in every way.
const TRIES: [(&str, Try); 6] = [
    ("bytes from the server", |session| session.call_wait("test.bytes", Args::from_json("[3000000]")?, Some(PATIENCE))),
    ("bytes to the server", |session| {
        // Created in advance, as far as the library is concerned.
        let data = bytes::Bytes::from_static(&[7; 1_000_000]);
        session.call_wait("test.echo", Args::new().with(data)?, Some(PATIENCE))
    }),
    ("floats", |session| session.call_wait("test.echo", Args::new().with(&[0.1; 20_000][..])?, Some(PATIENCE))),
    ("integers", |session| {
        let mut args = Args::new();
        args.positional.ints((0..30_000i32).map(|i| i64::from(i) << 20))?;
        session.call_wait("test.echo", args, Some(PATIENCE))
    }),
    ("text", |session| {
        static TEXT: [u8; 300_000] = [b'a'; 300_000];
        let text = std::str::from_utf8(&TEXT).unwrap();
        session.call_wait("test.echo", Args::new().with(text)?, Some(PATIENCE))
    }),
    ("JSON", |session| {
        static TEXT: [u8; 99_999] = {
            let mut text = [b'1'; 99_999];
            let mut i = 2;
            while i < text.len() {
                text[i] = b',';
                i += 2;
            }
            text[0] = b'[';
            text[text.len() - 1] = b']';
            text
        };
        session.call_wait("test.echo", Args::from_json(std::str::from_utf8(&TEXT).unwrap())?, Some(PATIENCE))
    }),
];

#[test]
fn every_large_allocation_may_fail() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let server = Server::start(version, &[]);
        let mut config = Config::new(&server.url()).unwrap();
        // The pool has no memory, so every buffer is allocated.
        config.buffer_pool_bytes = 0;
        let session = Session::new(config).unwrap();
        for (what, attempt) in TRIES {
            session.connect_wait().or_else(|e| if e.code() == Code::State { Ok(()) } else { Err(e) }).unwrap();
            attempt(&session).unwrap();
            let (mut failed, mut n) = (0, 0);
            for attempts in 0.. {
                assert!(attempts < 1000, "{what} takes memory without end, or none");
                LEFT.store(n, SeqCst);
                n += 1;
                let outcome = attempt(&session);
                // Not reached: there are fewer allocations.
                let reached = LEFT.swap(-1, SeqCst) < 0;
                match outcome {
                    Ok(_) if !reached && failed > 0 => break,
                    // The failed allocation was optional. Whether it is repeated depends on how the data arrives.
                    Ok(_) if !reached => n = 0,
                    // An optional allocation failed.
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error.code(), Code::System, "{what}, attempt {attempts}: {error}");
                        assert!(error.message().contains("no memory"), "{error}");
                        failed += 1;
                        if session.failure().is_some() {
                            session.connect_wait().unwrap();
                        }
                    }
                }
            }
            println!("{version}: {what}: {failed} allocations failed");
            // The session works as before.
            attempt(&session).unwrap();
        }
    }
}

/// Like the test above, for a session that has not sent anything large yet.
#[test]
fn the_first_upload_goes_without_a_large_buffer() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for version in ["v1", "v2"] {
        let server = Server::start(version, &[]);
        let session = Session::new(Config::new(&server.url()).unwrap()).unwrap();
        session.connect_wait().unwrap();
        let args = Args::new().with(bytes::Bytes::from_static(&[7; 1_000_000])).unwrap();
        LEFT.store(0, SeqCst);
        let outcome = session.call_wait("test.sum", args, Some(PATIENCE));
        let reached = LEFT.swap(-1, SeqCst) < 0;
        assert!(reached, "no large allocation");
        let size = outcome.map(|reply| wslink::wire::envelope::result(&reply).get("len").and_then(|len| len.as_u64()));
        assert_eq!(size.unwrap(), Some(1_000_000), "{version}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_allocation_beyond_the_memory_limit_is_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let script = "ulimit -v 300000 && exec \"$0\" --ignored --exact --nocapture little_memory";
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh").args(["-c", script]).arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "runs in a process of its own"]
fn little_memory() {
    const TOO_MUCH: usize = 250_000_000;
    for protocol in [Protocol::V1, Protocol::V2] {
        let server = ScriptedServer::start(move |conn, number| {
            conn.hello(protocol);
            let Some(call) = conn.call().filter(|_| number == 1) else { return };
            if protocol == Protocol::V1 {
                conn.text(r#"{"wslink": "1.0", "method": "wslink.binary.attachment", "args": ["wslink_bin0"]}"#);
                conn.raw(Conn::frame_head(FIN | BINARY, TOO_MUCH as u64));
            } else {
                conn.raw(Conn::frame_head(FIN | BINARY, TOO_MUCH as u64 + 12));
                conn.raw([7u32, 0, TOO_MUCH as u32].map(u32::to_le_bytes).concat());
            }
            let part = [7; 100_000];
            (0..TOO_MUCH / part.len()).for_each(|_| conn.raw(part));
            drop(call);
            conn.until_end();
        });
        let session = server.session(protocol);
        let error = session.call_wait("too.much", Args::new(), Some(PATIENCE)).unwrap_err();
        println!("{error}");
        assert_eq!((error.code(), error.stage()), (Code::System, Stage::Session), "{error}");
        assert_eq!(session.failure(), Some(error));
        session.connect_wait().unwrap();
        // Arguments that do not fit are an error of the caller, and the session stays.
        let mut args = Args::new();
        let error = args.positional.floats((0..30_000_000).map(f64::from)).unwrap_err();
        assert_eq!(error.code(), Code::System, "{error}");
        assert_eq!(session.state(), State::Ready);
        assert!(args.positional.is_empty());
    }
}
