//! How the threads of a session meet. The files that say `super::sync` are compiled a second time by `tests/loom`, where
//! these names are those of a model checker.

pub use parking_lot::{Condvar, Mutex};
pub use std::sync::atomic::{AtomicBool, AtomicU64};
pub use std::thread;

/// The id of this thread. Kept, because to ask for it costs as much as a small lock.
pub fn this_thread() -> thread::ThreadId {
    thread_local!(static ID: thread::ThreadId = thread::current().id());
    // A thread that ends may have none any more.
    ID.try_with(|id| *id).unwrap_or_else(|_| thread::current().id())
}
