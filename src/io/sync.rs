//! How the threads of a session meet. The files that say `super::sync` are compiled a second time by `tests/loom`, where
//! these names are those of a model checker.

pub use parking_lot::{Condvar, Mutex};
pub use std::sync::atomic::{AtomicBool, AtomicU64};
pub use std::thread;
