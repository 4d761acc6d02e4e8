//! Arguments are encoded without a lock. The tests end the call, or use the session, during the encoding: their allocator blocks the
//! encoding thread until a test lets it go on.

mod common;

use common::PATIENCE;
use common::scripted::ScriptedServer;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wslink::{Args, Code, Error, Handle, Protocol, Session, State};

/// Only the encoding of large arguments allocates this much at once.
const LARGE: usize = 64 << 10;

thread_local! {
    /// Whether the next large allocation of this thread blocks.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

/// The largest allocation since this was reset to 0.
static LARGEST: AtomicUsize = AtomicUsize::new(0);

/// Tests run one at a time, because they share one allocator.
static ALONE: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy, PartialEq)]
enum Gate {
    Open,
    /// A thread is blocked.
    Held,
}

static GATE: Mutex<Gate> = Mutex::new(Gate::Open);
static CHANGED: Condvar = Condvar::new();

/// Waits until a thread is blocked.
fn wait_held() {
    let (gate, wait) = CHANGED.wait_timeout_while(GATE.lock().unwrap(), PATIENCE, |gate| *gate == Gate::Open).unwrap();
    drop(gate);
    assert!(!wait.timed_out(), "nothing large was allocated for the arguments");
}

fn open_gate() {
    *GATE.lock().unwrap() = Gate::Open;
    CHANGED.notify_all();
}

/// Lets the thread go on, also if the test fails.
struct OpenAtEnd;

impl Drop for OpenAtEnd {
    fn drop(&mut self) {
        open_gate();
    }
}

fn large_allocation(size: usize) {
    LARGEST.fetch_max(size, SeqCst);
    if size >= LARGE && HOLDS.try_with(|holds| holds.replace(false)).unwrap_or(false) {
        let mut gate = GATE.lock().unwrap();
        *gate = Gate::Held;
        CHANGED.notify_all();
        while *gate == Gate::Held {
            gate = CHANGED.wait(gate).unwrap();
        }
    }
}

struct Holding;

// SAFETY: the system's allocator, after a wait.
#[allow(clippy::undocumented_unsafe_blocks)]
unsafe impl GlobalAlloc for Holding {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        large_allocation(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        large_allocation(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        large_allocation(size);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Holding = Holding;

fn floats(count: usize) -> Args {
    Args::new().with(&vec![0.1; count][..]).unwrap()
}

/// A call whose arguments are being encoded, until this is dropped or released.
struct Encoding {
    thread: Option<JoinHandle<Result<(), Error>>>,
    ids: mpsc::Receiver<u64>,
    outcomes: mpsc::Receiver<Result<(), Code>>,
}

impl Encoding {
    fn begin(session: &Handle, timeout: Option<Duration>) -> Encoding {
        let (accepted, ids) = mpsc::channel();
        let (completed, outcomes) = mpsc::channel();
        let session = session.clone();
        let thread = thread::spawn(move || {
            let args = floats(50_000);
            let completion = Box::new(move |outcome: wslink::Outcome| {
                let _ = completed.send(outcome.map(drop).map_err(|e| e.code()));
            });
            HOLDS.set(true);
            let begun = session.call_accepted("held", &args, timeout, completion, |id| accepted.send(id).unwrap());
            HOLDS.set(false);
            begun.map_err(|(error, _)| error)
        });
        wait_held();
        Encoding { thread: Some(thread), ids, outcomes }
    }

    fn go_on(&mut self) -> Result<(), Error> {
        open_gate();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.go_on();
        }
    }
}

/// A server that answers every call and reports its methods. Connections with even numbers speak the other generation.
fn server(first: Protocol) -> (ScriptedServer, Arc<Mutex<Vec<String>>>) {
    let methods = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&methods);
    let second = if first == Protocol::V1 { Protocol::V2 } else { Protocol::V1 };
    let server = ScriptedServer::start(move |conn, number| {
        conn.hello(if number % 2 == 1 { first } else { second });
        while let Some(call) = conn.call() {
            seen.lock().unwrap().push(call.method.clone());
            conn.reply(&call.id, json!(null));
            if call.method == "end" {
                return;
            }
        }
    });
    (server, methods)
}

/// The result of `work` on another thread, which must not wait for the encoding.
fn meanwhile<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(PATIENCE).expect("it waits for the end of the encoding")
}

fn dispatch_all(session: &Session) {
    while session.dispatch(100, Some(Duration::ZERO)).unwrap() > 0 {}
}

#[test]
fn other_threads_use_the_session_while_arguments_are_encoded() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for protocol in [Protocol::V1, Protocol::V2] {
        let (server, methods) = server(protocol);
        let session = server.session(protocol);
        let mut encoding = Encoding::begin(&session, None);
        let handle = session.handle();
        assert_eq!(meanwhile(move || handle.state()), State::Ready);
        let handle = session.handle();
        meanwhile(move || handle.call_wait("other", floats(100_000), Some(PATIENCE)).unwrap());
        assert_eq!(session.stats().calls_in_flight, 1);
        encoding.go_on().unwrap();
        session.call_wait("last", Args::new(), Some(PATIENCE)).unwrap();
        dispatch_all(&session);
        assert_eq!(encoding.outcomes.try_iter().collect::<Vec<_>>(), [Ok(())]);
        assert_eq!(*methods.lock().unwrap(), ["other", "held", "last"]);
    }
}

#[test]
fn a_blocking_call_completes_while_another_encodes_its_arguments() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (server, _) = server(Protocol::V1);
    let session = server.session(Protocol::V1);
    let handle = session.handle();
    let waiting = thread::spawn(move || {
        let args = floats(50_000);
        HOLDS.set(true);
        handle.call_wait("held", args, Some(PATIENCE)).map(drop)
    });
    let open = OpenAtEnd;
    wait_held();
    let handle = session.handle();
    let other = meanwhile(move || handle.call_wait("other", Args::new(), Some(PATIENCE)).map(drop));
    drop(open);
    waiting.join().unwrap().unwrap();
    other.unwrap();
}

#[test]
fn a_call_that_ends_while_its_arguments_are_encoded_is_not_sent() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    type End = fn(&Session, u64);
    let ends: [(&str, Option<Duration>, End, Code); 5] = [
        ("cancelled", None, |session, id| assert!(session.cancel(id)), Code::Cancelled),
        (
            "out of time",
            Some(Duration::from_millis(1)),
            |session, _| common::eventually(|| session.stats().calls_in_flight == 0),
            Code::Timeout,
        ),
        ("closed", None, |session, _| session.close_wait(PATIENCE).unwrap(), Code::Closed),
        ("lost", None, lose, Code::ConnectionLost),
        (
            "connected again, in the other generation",
            None,
            |session, id| {
                lose(session, id);
                session.connect_wait().unwrap();
            },
            Code::ConnectionLost,
        ),
    ];
    fn lose(session: &Session, _: u64) {
        session.call_wait("end", Args::new(), Some(PATIENCE)).unwrap();
        common::eventually(|| session.state() == State::Closed);
    }
    for protocol in [Protocol::V1, Protocol::V2] {
        for (what, timeout, end, code) in ends {
            let (server, methods) = server(protocol);
            let session = server.session(None);
            let mut encoding = Encoding::begin(&session, timeout);
            let id = encoding.ids.recv_timeout(PATIENCE).unwrap();
            end(&session, id);
            assert!(!session.cancel(id), "{what}: the call is over");
            // The call completes, so it was accepted.
            encoding.go_on().unwrap();
            dispatch_all(&session);
            assert_eq!(encoding.outcomes.try_iter().collect::<Vec<_>>(), [Err(code)], "{what}");
            if session.state() != State::Ready {
                session.connect_wait().unwrap();
            }
            session.call_wait("last", Args::new(), Some(PATIENCE)).unwrap();
            assert_eq!(session.stats().calls_in_flight, 0);
            drop(session);
            drop(server);
            assert!(!methods.lock().unwrap().iter().any(|method| method == "held"), "{what}: sent all the same");
            assert!(encoding.ids.try_recv().is_err() && encoding.outcomes.try_recv().is_err(), "{what}");
        }
    }
}

#[test]
fn a_session_can_be_dropped_while_arguments_are_encoded() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for protocol in [Protocol::V1, Protocol::V2] {
        let (server, methods) = server(protocol);
        let session = server.session(protocol);
        let mut encoding = Encoding::begin(&session, None);
        meanwhile(move || drop(session));
        assert_eq!(encoding.outcomes.try_iter().collect::<Vec<_>>(), [Err(Code::Closed)]);
        encoding.go_on().unwrap();
        drop(server);
        assert!(methods.lock().unwrap().is_empty());
    }
}

#[test]
fn a_message_beyond_the_limit_is_refused_before_all_of_it_is_encoded() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (server, methods) = server(Protocol::V1);
    let mut config = server.config(Protocol::V1);
    config.session.v1_upload_limit = 1_000_000;
    let session = common::connected(config);
    let text = "\u{1}".repeat(900_000);
    let nested = format!("[{}]", "[1, 2.5, \"three\"],".repeat(300_000) + "{}");
    let too_large = [
        ("floats", floats(2_000_000)),
        ("text that is escaped", Args::new().with(&*text).unwrap()),
        ("containers", Args::from_json(&nested).unwrap()),
        ("a keyword", Args::new().with_keyword("long", &vec![0.1; 2_000_000][..]).unwrap()),
    ];
    for (what, args) in too_large {
        let ids = Mutex::new(Vec::new());
        LARGEST.store(0, SeqCst);
        let completion = Box::new(|_| panic!("the call was not accepted"));
        let accepted = |id| ids.lock().unwrap().push(id);
        let error = session.call_accepted("large", &args, None, completion, accepted).unwrap_err().0;
        assert!(LARGEST.load(SeqCst) < 2_000_000, "{what}: {} bytes were taken", LARGEST.load(SeqCst));
        assert_eq!(error.code(), Code::Limit, "{what}");
        assert!(error.message().contains("v1_upload_limit"), "{error}");
        // The reserved id is released.
        assert_eq!(ids.lock().unwrap().last(), Some(&0));
        assert_eq!((session.stats().calls, session.stats().calls_in_flight), (0, 0));
    }
    session.call_wait("last", Args::new(), Some(PATIENCE)).unwrap();
    assert_eq!(*methods.lock().unwrap(), ["last"]);
}

#[test]
fn threads_that_encode_at_once_use_ids_and_keys_of_their_own() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for protocol in [Protocol::V1, Protocol::V2] {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        let server = ScriptedServer::start(move |conn, _| {
            conn.hello(protocol);
            while let Some(call) = conn.call() {
                let attachments = std::mem::take(&mut conn.attachments);
                for (at, (key, data)) in attachments.iter().enumerate() {
                    assert_eq!((call.args[2 * at + 1].as_str(), &call.args[2 * at]), (Some(&**key), &json!(data[0])));
                }
                seen.lock().unwrap().push((call.id.clone(), call.args[0].clone(), attachments));
                conn.reply(&call.id, json!(null));
            }
        });
        let session = server.session(protocol);
        let together = std::sync::Barrier::new(4);
        thread::scope(|scope| {
            for thread in 0..4u8 {
                let (session, together) = (&session, &together);
                scope.spawn(move || {
                    together.wait();
                    for i in 0..20u8 {
                        let mut args = Args::new();
                        for _ in 0..=thread {
                            let data = vec![thread * 20 + i; 9000];
                            args = args.with(i64::from(thread * 20 + i)).unwrap().with(data).unwrap();
                        }
                        session.call("m", args, None, |_| {}).unwrap();
                    }
                });
            }
        });
        session.call_wait("last", Args::new(), Some(PATIENCE)).unwrap();
        let calls = calls.lock().unwrap();
        let unique = |all: Vec<&String>| {
            let count = all.len();
            assert_eq!(all.into_iter().collect::<std::collections::BTreeSet<_>>().len(), count);
        };
        unique(calls.iter().map(|(id, ..)| id).collect());
        unique(calls.iter().flat_map(|(_, _, attachments)| attachments.iter().map(|(key, _)| key)).collect());
        for thread in 0..4 {
            let own = calls.iter().filter_map(|(_, n, _)| n.as_i64()).filter(|n| n / 20 == thread);
            assert!(own.is_sorted(), "the calls of one thread stay in their order");
        }
    }
}
