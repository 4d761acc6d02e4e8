//! Secrets are wiped before their memory is freed, whatever their length, and also if the message made from them is not used: the
//! allocator searches all freed memory for them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use wslink::Reconnect;
use wslink::ffi::config::{wslink_config_add_hello_member, wslink_config_free, wslink_config_new};
use wslink::wire::builder::Builder;
use wslink::wire::document::Document;
use wslink::wire::outgoing::{Format, hello};
use wslink::{Code, Config, Protocol, Session};

/// Every secret here begins with this text, and nothing else contains it.
const BEGINS: &[u8] = b"ZQZQZQZQZQZQ";

static SEARCHING: AtomicBool = AtomicBool::new(false);
static FOUND: AtomicUsize = AtomicUsize::new(0);

/// Tests run one at a time, because they share one allocator.
static ALONE: Mutex<()> = Mutex::new(());

struct Searching;

// SAFETY: the system's allocator. It clears new memory, so that all of a block may be read before it is freed. It moves blocks that
// grow, as any allocator may.
#[allow(clippy::undocumented_unsafe_blocks)]
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if SEARCHING.load(SeqCst) {
            let freed = unsafe { std::slice::from_raw_parts(memory, layout.size()) };
            if freed.windows(BEGINS.len()).any(|bytes| bytes == BEGINS) {
                FOUND.fetch_add(1, SeqCst);
            }
        }
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Searching = Searching;

/// The number of blocks with a secret that `work` frees.
fn left_behind(work: impl FnOnce()) -> usize {
    FOUND.store(0, SeqCst);
    SEARCHING.store(true, SeqCst);
    work();
    SEARCHING.store(false, SeqCst);
    FOUND.load(SeqCst)
}

fn secret(len: usize) -> String {
    "ZQ".repeat(len)[..len].to_owned()
}

fn members(json: &str) -> Document {
    let mut members = Builder::map();
    members.key("user").unwrap();
    members.json(json).unwrap();
    members.finish().unwrap()
}

fn format(protocol: Protocol, upload_limit: u64) -> Format {
    Format { protocol, chunk_size: None, upload_limit, next_message: 1, next_key: 1 }
}

#[test]
fn the_allocator_searches_freed_memory() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    assert_eq!(left_behind(|| drop(secret(100))), 2, "the repeated text, and its part");
}

#[test]
fn a_hello_leaves_no_secret_behind_whatever_its_length() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for protocol in [Protocol::V1, Protocol::V2] {
        let (members, mut format) = (members(r#""me""#), format(protocol, 1 << 20));
        for len in BEGINS.len()..300 {
            let secret = secret(len);
            let found = left_behind(|| drop(hello(&mut format, &secret, &members).unwrap()));
            assert_eq!(found, 0, "{protocol:?}, {len} bytes");
        }
    }
}

#[test]
fn a_hello_that_cannot_be_sent_leaves_no_secret_behind() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let secret = secret(20);
    let cases = [
        ("an integer that msgpack does not have", Protocol::V2, members("123456789012345678901234567890"), 1 << 20),
        ("larger than the limit", Protocol::V1, members("1"), 60),
    ];
    for (what, protocol, members, limit) in cases {
        let found = left_behind(|| drop(hello(&mut format(protocol, limit), &secret, &members).unwrap_err()));
        assert_eq!(found, 0, "{what}");
    }
}

#[test]
fn renewed_secrets_are_wiped() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    // These strings belong to the application.
    let secrets: Vec<&'static str> = (20..23).map(|len| &*secret(len).leak()).collect();
    let (given, port) = (secrets.clone(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("ws://{}/", port.local_addr().unwrap());
    drop(port);
    let found = left_behind(|| {
        let mut config = Config::new(&url).unwrap();
        let millisecond = std::time::Duration::from_millis(1);
        let policy = Reconnect { attempts: Some(2), first_delay: millisecond, at_first: true, ..Reconnect::default() };
        config.set_reconnect(Some(policy)).unwrap();
        config.before_attempt(move |attempt| {
            let secret = given[attempt.number() as usize];
            attempt.set_secret(secret);
            attempt.set_header("Authorization", Some(secret)).unwrap();
            attempt.set_header("Cookie", Some(secret)).unwrap();
            attempt.set_header("Cookie", None).unwrap();
            true
        });
        let session = Session::new(config).unwrap();
        assert_eq!(session.connect_wait().unwrap_err().code(), Code::Connect);
    });
    assert_eq!(found, 0);
}

#[test]
fn members_of_the_hello_are_wiped_with_the_configuration() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for len in BEGINS.len()..300 {
        for (end, accepted) in [("\"", true), ("", false)] {
            let json = std::ffi::CString::new(format!("\"{}{end}", secret(len))).unwrap();
            let mut config = null_mut();
            let found = left_behind(|| {
                // SAFETY: the texts end with NUL, and the configuration is freed once.
                unsafe {
                    assert_eq!(wslink_config_new(c"ws://localhost/".as_ptr(), &raw mut config, null_mut()), 0);
                    let added = |key: &std::ffi::CStr, json: &std::ffi::CStr| {
                        wslink_config_add_hello_member(config, key.as_ptr(), json.as_ptr(), null_mut()) == 0
                    };
                    assert_eq!(added(c"token", &json), accepted);
                    assert!(added(c"user", c"\"me\""));
                    wslink_config_free(config);
                }
            });
            assert_eq!(found, 0, "{len} bytes, {}", if accepted { "valid" } else { "not valid" });
        }
    }
}
