//! When a call ends, the unsent part of its message is withdrawn, and memory given by reference is released.

mod common;

use common::PATIENCE;
use common::scripted::ScriptedServer;
use serde_json::json;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use wslink::{Args, Code, Protocol, Session};

/// More than all buffers between two programs can hold.
const LARGE: usize = 40 << 20;

/// Memory given by reference that reports its release.
struct Memory(Vec<u8>, mpsc::Sender<()>);

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = self.1.send(());
    }
}

fn upload(size: usize) -> (Args, mpsc::Receiver<()>) {
    let (send, released) = mpsc::channel();
    let data = bytes::Bytes::from_owner(Memory(vec![7; size], send));
    (Args::new().with(data).unwrap(), released)
}

/// Methods with the number of bytes received for each, and the bytes of unfinished messages.
type Seen = (Vec<(String, usize)>, usize);

/// A session, and a server that reads nothing until told.
struct Slow {
    session: Session,
    /// Lets the server read; dropping it does so too.
    read: mpsc::Sender<()>,
    /// Fields above are dropped first.
    _server: ScriptedServer,
    seen: Arc<Mutex<Seen>>,
    /// Progress reports: call, bytes, total.
    progress: Arc<Mutex<Vec<(u64, u64, u64)>>>,
}

fn slow(protocol: Protocol, send_queue_bytes: u64) -> Slow {
    let (read, wait) = mpsc::channel::<()>();
    let (wait, seen) = (Mutex::new(wait), Arc::new(Mutex::default()));
    let result: Arc<Mutex<Seen>> = Arc::clone(&seen);
    let server = ScriptedServer::start(move |conn, _| {
        conn.hello(protocol);
        let _ = wait.lock().unwrap().recv();
        while let Some(call) = conn.call() {
            let bytes = conn.attachments.drain(..).map(|(_, data)| data.len()).sum::<usize>()
                + std::mem::take(&mut conn.chunks).iter().map(|(_, size, _)| size).sum::<usize>();
            let unfinished = conn.partial.values().map(Vec::len).sum();
            let mut result = result.lock().unwrap();
            result.0.push((call.method.clone(), bytes));
            result.1 = unfinished;
            drop(result);
            conn.reply(&call.id, json!(null));
        }
    });
    let mut config = server.config(protocol);
    config.session.v1_upload_limit = u64::MAX;
    config.send_queue_bytes = send_queue_bytes;
    let progress = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&progress);
    config.on_progress(move |now| told.lock().unwrap().push((now.call.unwrap_or(0), now.bytes, now.total)));
    let session = common::connected(config);
    Slow { session, read, _server: server, seen, progress }
}

impl Slow {
    /// Makes a call that the server does not read, and reports its outcome.
    fn begin(
        &self,
        method: &str,
        size: usize,
        timeout: Option<Duration>,
    ) -> (u64, mpsc::Receiver<()>, mpsc::Receiver<Option<Code>>) {
        let (args, released) = upload(size);
        let (send, outcome) = mpsc::channel();
        let completion = move |outcome: wslink::Outcome| {
            let _ = send.send(outcome.err().map(|e| e.code()));
        };
        let id = self.session.call(method, args, timeout, completion).unwrap();
        (id, released, outcome)
    }

    fn dispatch_until(&self, outcome: &mpsc::Receiver<Option<Code>>) -> Option<Code> {
        loop {
            if let Ok(code) = outcome.try_recv() {
                return code;
            }
            assert_ne!(self.session.dispatch(1, Some(PATIENCE)).unwrap(), 0, "no outcome");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Cancelled,
    OutOfTime,
    /// The timeout of a blocking call.
    GivenUp,
    Closed,
}

#[test]
fn a_queued_message_is_withdrawn_when_its_call_ends() {
    for protocol in [Protocol::V1, Protocol::V2] {
        for end in [End::Cancelled, End::OutOfTime, End::GivenUp, End::Closed] {
            let slow = slow(protocol, u64::MAX);
            // The message has begun, and cannot finish while the server does not read.
            let (first, first_released, first_outcome) = slow.begin("first", LARGE, None);
            let timeout = Some(Duration::from_millis(1));
            let released = if end == End::GivenUp {
                let (args, released) = upload(LARGE);
                let error = slow.session.call_wait("second", args, timeout).unwrap_err();
                assert_eq!(error.code(), Code::Timeout);
                released
            } else {
                let (second, released, outcome) =
                    slow.begin("second", LARGE, timeout.filter(|_| end == End::OutOfTime));
                let code = match end {
                    End::Cancelled => {
                        assert!(slow.session.cancel(second));
                        Code::Cancelled
                    }
                    End::Closed => {
                        slow.session.close(PATIENCE);
                        Code::Closed
                    }
                    _ => Code::Timeout,
                };
                assert_eq!(slow.dispatch_until(&outcome), Some(code), "{end:?}");
                assert!(!slow.progress.lock().unwrap().iter().any(|(call, ..)| *call == second));
                released
            };
            // Nothing was read meanwhile.
            released.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{protocol:?}, {end:?}: it waits to be sent"));
            assert!(first_released.try_recv().is_err(), "its frame is not at its end");
            if end == End::Closed {
                slow.read.send(()).unwrap();
                first_released.recv_timeout(PATIENCE).unwrap();
                slow.session.close_wait(PATIENCE).unwrap();
                assert_eq!(slow.dispatch_until(&first_outcome), Some(Code::Closed));
                assert_eq!(*slow.seen.lock().unwrap(), (vec![], 0), "nothing is called any more");
                continue;
            }
            let (_, kept_released, kept) = slow.begin("kept", 1000, None);
            assert!(slow.session.cancel(first));
            slow.read.send(()).unwrap();
            first_released.recv_timeout(PATIENCE).unwrap();
            kept_released.recv_timeout(PATIENCE).unwrap();
            slow.session.call_wait("last", Args::new(), Some(PATIENCE)).unwrap();
            assert_eq!(slow.dispatch_until(&kept), None, "a reply");
            assert_eq!(slow.dispatch_until(&first_outcome), Some(Code::Cancelled));
            let (calls, unfinished) = slow.seen.lock().unwrap().clone();
            let methods: Vec<_> = calls.iter().map(|(method, _)| method.as_str()).collect();
            let told: Vec<_> =
                slow.progress.lock().unwrap().iter().filter(|(call, ..)| *call == first).copied().collect();
            let whole = told.iter().any(|(_, bytes, total)| bytes == total);
            if protocol == Protocol::V2 {
                assert_eq!(methods, ["kept", "last"]);
                assert!((1..LARGE / 2).contains(&unfinished), "{unfinished} bytes came of what was cancelled");
                assert!(!whole, "progress tells of an upload that was not finished");
            } else {
                // Without the call, the server would keep the attachment for ever.
                assert_eq!(methods, ["first", "kept", "last"]);
                assert_eq!((calls[0].1, unfinished, whole), (LARGE, 0, true));
            }
            drop(slow);
            assert!(released.try_recv().is_err() && first_released.try_recv().is_err(), "given back twice");
        }
    }
}

#[test]
fn withdrawn_messages_free_send_queue_bytes() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let slow = slow(protocol, LARGE as u64 * 3 / 2);
        let (_, _, first) = slow.begin("first", LARGE, None);
        let (second, released, _) = slow.begin("second", LARGE, None);
        let refused = slow.session.call("third", Args::new(), None, |_| {}).unwrap_err();
        assert_eq!(refused.code(), Code::Limit);
        assert!(slow.session.cancel(second));
        released.recv_timeout(PATIENCE).unwrap();
        let (_, _, third) = slow.begin("third", 1000, None);
        slow.read.send(()).unwrap();
        assert_eq!((slow.dispatch_until(&first), slow.dispatch_until(&third)), (None, None));
        let calls = slow.seen.lock().unwrap().0.clone();
        assert_eq!(calls.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>(), ["first", "third"]);
    }
}

#[test]
fn many_queued_messages_are_withdrawn_in_any_order() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let slow = slow(protocol, u64::MAX);
        let (_, _, first) = slow.begin("first", LARGE, None);
        let mut calls: Vec<_> = (0..300).map(|i| (i, slow.begin(&format!("{i}"), 10_000, None))).collect();
        // A third of the messages stays queued.
        calls.sort_by_key(|(i, _)| i * 7 % 11);
        for (_, (id, released, _)) in calls.iter().filter(|(i, _)| i % 3 != 0) {
            assert!(slow.session.cancel(*id));
            released.recv_timeout(PATIENCE).unwrap();
        }
        slow.read.send(()).unwrap();
        slow.session.call_wait("last", Args::new(), Some(PATIENCE)).unwrap();
        assert_eq!(slow.dispatch_until(&first), None);
        let came: Vec<usize> =
            slow.seen.lock().unwrap().0.iter().filter_map(|(method, _)| method.parse().ok()).collect();
        assert_eq!(came, (0..300).filter(|i| i % 3 == 0).collect::<Vec<_>>());
    }
}
