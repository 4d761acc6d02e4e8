//! How much memory operations use at their peak, and how much they keep: the allocator counts.

mod common;

use common::PATIENCE;
use common::scripted::ScriptedServer;
use serde_json::json;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering::SeqCst};
use wslink::wire::builder::Builder;
use wslink::wire::json::write::{plain, tagged};
use wslink::wire::outgoing::{self, Format};
use wslink::{Args, Document, Policy, Protocol};

/// Allocated bytes, and their peak since it was reset.
static TAKEN: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// The number of allocations of this thread.
    static TIMES: Cell<usize> = const { Cell::new(0) };
}

/// Tests run one at a time, because they share one allocator.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

fn taken(bytes: usize) {
    let now = TAKEN.fetch_add(bytes as isize, SeqCst) + bytes as isize;
    MOST.fetch_max(now, SeqCst);
    let _ = TIMES.try_with(|times| times.set(times.get() + 1));
}

// SAFETY: the system's allocator with counters. It moves blocks that grow, as any allocator may.
#[allow(clippy::undocumented_unsafe_blocks)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size() as isize, SeqCst);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `work`, and the peak of memory that it used.
fn meanwhile<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = TAKEN.load(SeqCst);
    MOST.store(before, SeqCst);
    let result = work();
    (result, (MOST.load(SeqCst) - before) as usize)
}

/// An allowance for memory that does not grow with the value.
const SMALL: usize = 64 << 10;

fn document(add: impl FnOnce(&mut Builder)) -> Document {
    let mut builder = Builder::array();
    add(&mut builder);
    builder.finish().unwrap()
}

/// Makes a value.
type Make = fn() -> Document;

/// Large values of every shape.
fn shapes() -> Vec<(&'static str, Make)> {
    vec![
        ("integers", || document(|b| b.ints((0..500_000).map(|i: i32| i64::from(i))).unwrap())),
        ("floats together", || document(|b| b.floats((0..300_000).map(|i| f64::from(i) / 7.0)).unwrap())),
        ("floats", || document(|b| (0..300_000).for_each(|i| b.float(f64::from(i) / 7.0).unwrap()))),
        ("text", || document(|b| b.str(&"text \u{1} é".repeat(300_000)).unwrap())),
        ("texts", || document(|b| (0..200_000).for_each(|_| b.str("text").unwrap()))),
        ("records", || {
            document(|b| b.json(&format!("[{}0]", r#"{"id": 5, "name": null}, "#.repeat(100_000))).unwrap())
        }),
        ("a map", || {
            document(|b| {
                b.begin_map().unwrap();
                for i in 0..100_000 {
                    b.key(&format!("key {i}")).unwrap();
                    b.bool(true).unwrap();
                }
                b.end().unwrap();
            })
        }),
        ("nested", || document(|b| (0..1000).for_each(|_| b.json(&("[".repeat(500) + &"]".repeat(500))).unwrap()))),
    ]
}

#[test]
fn json_text_takes_little_more_memory_than_the_text() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for (what, make) in shapes() {
        let document = make();
        for (how, write) in
            [("plain", (|d| plain(d.root()).text) as fn(&Document) -> String), ("tagged", |d| tagged(d.root()))]
        {
            let (text, most) = meanwhile(|| write(&document));
            // The text twice while it grows, and the part that is moved.
            assert!(most <= 3 * text.len() + SMALL, "{what}, {how}: {most} bytes for {} of text", text.len());
            assert!(text.capacity() <= text.len() * 3 / 2 + SMALL, "{what}, {how}: {} bytes stay", text.capacity());
        }
    }
}

#[test]
fn a_call_in_json_takes_little_more_memory_than_its_text() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for (what, make) in shapes() {
        let document = make();
        let args = Args::new().with(document.root()).unwrap();
        let mut format =
            Format { protocol: Protocol::V1, chunk_size: None, upload_limit: u64::MAX, next_message: 1, next_key: 1 };
        let (message, most) = meanwhile(|| outgoing::call(&mut format, "rpc:c:1", "m", &args).unwrap());
        let size = message.total() as usize;
        assert!(most <= 3 * size + SMALL, "{what}: {most} bytes for a message of {size}");
    }
}

#[test]
fn comparing_and_printing_a_value_allocates_nothing() {
    struct Nowhere(usize);
    impl Write for Nowhere {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for (what, make) in shapes() {
        let (one, other) = (make(), make());
        let (same, most) = meanwhile(|| one.root() == other.root());
        assert!(same && most <= SMALL, "{what}: {most} bytes to compare");
        let mut nowhere = Nowhere(0);
        let ((), most) = meanwhile(|| write!(nowhere, "{:?}", one.root()).unwrap());
        assert!(most <= SMALL, "{what}: {most} bytes to show {}", nowhere.0);
        assert_eq!(nowhere.0, tagged(one.root()).len());
    }
}

/// An image stream whose application takes each image at once, or subscribes to none.
#[test]
fn an_image_stream_leaves_little_behind() {
    const IMAGES: usize = 300;
    const SIZE: usize = 2_000_000;
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    for protocol in [Protocol::V1, Protocol::V2] {
        for wanted in [true, false] {
            let server = ScriptedServer::start(move |conn, _| {
                conn.hello(protocol);
                let image = vec![7; SIZE];
                let mut number = 0;
                while let Some(call) = conn.call() {
                    number += 1;
                    if protocol == Protocol::V1 {
                        let key = format!("wslink_bin{number}");
                        conn.attach(&key, &image);
                        conn.publish("image", json!({"blob": key, "number": number}));
                    } else {
                        let mut message =
                            b"\x83\xa6wslink\xa31.0\xa2id\xafpublish:image:0\xa6result\x81\xa4blob\xc6".to_vec();
                        message.extend((SIZE as u32).to_be_bytes());
                        message.extend(&image);
                        conn.chunk(number, 0, message.len() as u32, &message);
                    }
                    conn.reply(&call.id, json!(null));
                }
            });
            let session = server.session(protocol);
            let images = std::sync::Arc::new(Mutex::new(0));
            let count = std::sync::Arc::clone(&images);
            session.subscribe(if wanted { "image" } else { "other" }, Policy::default(), move |p| {
                let blob = wslink::result(p.outcome.as_ref().unwrap()).get("blob").unwrap();
                assert_eq!(blob.as_bytes().map(<[u8]>::len), Some(SIZE));
                *count.lock().unwrap() += 1;
            });
            let next = || {
                session.call_wait("next", Args::new(), Some(PATIENCE)).unwrap();
                while session.dispatch(10, Some(std::time::Duration::ZERO)).unwrap() > 0 {}
            };
            let before = TAKEN.load(SeqCst);
            (0..IMAGES).for_each(|_| next());
            let left = TAKEN.load(SeqCst) - before;
            assert_eq!(*images.lock().unwrap(), if wanted { IMAGES } else { 0 });
            assert!(left < 48 << 20, "{protocol:?}, wanted: {wanted}: {} MiB are left", left >> 20);
        }
    }
}

#[test]
fn a_subscription_allocates_a_constant_number_of_times() {
    const MANY: usize = 1000;
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let server = ScriptedServer::start(|conn, _| {
        conn.hello(Protocol::V2);
        conn.echo();
    });
    let session = server.session(Protocol::V2);
    // A call, after which the reading thread knows the new subscription.
    let told = || drop(session.call_wait("echo", Args::new(), Some(PATIENCE)).unwrap());
    let times = |work: &mut dyn FnMut()| {
        told();
        let before = TIMES.get();
        work();
        TIMES.get() - before
    };
    let mut ids = Vec::with_capacity(MANY);
    for i in 0..MANY {
        let topic = format!("topic {}", i % (MANY / 2));
        let times = times(&mut || ids.push(session.subscribe(&topic, Policy::default(), |_| ())));
        assert!(times < 50, "subscription {i} takes memory {times} times");
    }
    for (i, id) in ids.into_iter().enumerate() {
        let times = times(&mut || session.unsubscribe(id).unwrap());
        assert!(times < 50, "the end of subscription {i} takes memory {times} times");
    }
}
