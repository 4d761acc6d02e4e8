//! `src/io/sync.rs` with loom. loom has the signatures of the standard library, not those of parking_lot.

pub use loom::sync::atomic::{AtomicBool, AtomicU64};
pub use loom::thread;

pub fn this_thread() -> thread::ThreadId {
    thread::current().id()
}

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::Relaxed;

/// `parking_lot::Mutex`.
#[derive(Default)]
pub struct Mutex<T> {
    lock: loom::sync::Mutex<T>,
    /// loom switches threads where a lock is taken, not where it is released. For `try_lock` the release matters, so locking and
    /// unlocking both use this atomic, and loom runs them in both orders.
    letting_go: AtomicBool,
}

/// `parking_lot::MutexGuard`.
pub struct MutexGuard<'a, T> {
    /// `None` only during `wait`.
    held: Option<loom::sync::MutexGuard<'a, T>>,
    letting_go: &'a AtomicBool,
}

/// `parking_lot::Condvar`.
pub struct Condvar(loom::sync::Condvar);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex { lock: loom::sync::Mutex::new(value), letting_go: AtomicBool::new(false) }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { held: Some(self.lock.lock().unwrap()), letting_go: &self.letting_go }
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.letting_go.swap(false, Relaxed);
        let held = self.lock.try_lock().ok()?;
        Some(MutexGuard { held: Some(held), letting_go: &self.letting_go })
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.letting_go.swap(true, Relaxed);
        }
    }
}

impl Condvar {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Condvar {
        Condvar(loom::sync::Condvar::new())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        guard.held = guard.held.take().map(|held| self.0.wait(held).unwrap());
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("a lock that is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("a lock that is held")
    }
}
