//! Locks, condition variables and atomics. `tests/loom` compiles the files that use this module a second time, with the types
//! of a model checker in its place.

pub use parking_lot::{Condvar, Mutex};
pub use std::sync::atomic::{AtomicBool, AtomicU64};
pub use std::thread;

/// The id of this thread. Cached, because `thread::current` costs as much as a lock.
pub fn this_thread() -> thread::ThreadId {
    thread_local!(static ID: thread::ThreadId = thread::current().id());
    // A thread that is ending may have destroyed its cache.
    ID.try_with(|id| *id).unwrap_or_else(|_| thread::current().id())
}
