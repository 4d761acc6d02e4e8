//! Callbacks of the application: called without a lock held, dropped exactly once, after the last call.

use crate::io::sync::thread::ThreadId;
use crate::io::sync::{Condvar, Mutex, this_thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Holds a callback, which several threads may call, and any thread may remove.
pub struct Slot<F: ?Sized> {
    state: Mutex<SlotState<F>>,
    idle: Condvar,
}

struct SlotState<F: ?Sized> {
    callback: Option<Arc<F>>,
    /// The threads that are inside the callback now.
    running: Vec<ThreadId>,
}

impl<F: ?Sized> Default for Slot<F> {
    fn default() -> Self {
        Slot { state: Mutex::new(SlotState { callback: None, running: Vec::new() }), idle: Condvar::new() }
    }
}

impl<F: ?Sized> Slot<F> {
    /// A slot with this callback.
    pub fn new(callback: Arc<F>) -> Slot<F> {
        let slot = Slot::default();
        slot.state.lock().callback = Some(callback);
        slot
    }

    /// Replaces the callback. The previous one is removed as by [`clear`](Slot::clear).
    pub fn set(&self, callback: Option<Arc<F>>) {
        let old = std::mem::replace(&mut self.state.lock().callback, callback);
        self.release(old);
    }

    /// Whether there is a callback.
    pub fn is_set(&self) -> bool {
        self.state.lock().callback.is_some()
    }

    /// Calls the callback, if there is one. A panic in it is caught.
    pub fn run(&self, call: impl FnOnce(&F)) {
        let me = this_thread();
        let callback = {
            let mut state = self.state.lock();
            let Some(callback) = state.callback.clone() else { return };
            state.running.push(me);
            callback
        };
        guarded(|| call(&callback));
        // Drop it before the slot is idle again: `clear` must return after the drop.
        guarded(|| drop(callback));
        let mut state = self.state.lock();
        if let Some(at) = state.running.iter().rposition(|t| *t == me) {
            state.running.swap_remove(at);
        }
        drop(state);
        self.idle.notify_all();
    }

    /// Removes the callback, so that it is not called again. Waits for other threads that are inside it, but not for the
    /// calling thread, which may be inside it, too.
    pub fn clear(&self) {
        self.set(None);
    }

    fn release(&self, old: Option<Arc<F>>) {
        guarded(|| drop(old));
        let me = this_thread();
        let mut state = self.state.lock();
        while state.running.iter().any(|t| *t != me) {
            self.idle.wait(&mut state);
        }
    }
}

/// Runs code of the application, and catches a panic in it.
pub fn guarded(code: impl FnOnce()) {
    // The panic hook has reported the panic, and the I/O thread must continue.
    let _ = catch_unwind(AssertUnwindSafe(code));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::sync::mpsc;

    struct CountDrop(Arc<AtomicU32>);
    impl Drop for CountDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_callback_that_clears_its_own_slot_is_dropped_after_it_returned() {
        let drops = Arc::new(AtomicU32::new(0));
        let slot: Arc<Slot<dyn Fn() + Send + Sync>> = Arc::default();
        let (guard, inner, seen) = (CountDrop(drops.clone()), Arc::downgrade(&slot), drops.clone());
        slot.set(Some(Arc::new(move || {
            let _keep = &guard;
            inner.upgrade().unwrap().clear();
            assert_eq!(seen.load(SeqCst), 0);
        })));
        slot.run(|f| f());
        assert_eq!(drops.load(SeqCst), 1);
        slot.run(|_| panic!("called after it was removed"));
    }

    #[test]
    fn clearing_waits_for_another_thread_inside_the_callback() {
        let slot: Arc<Slot<dyn Fn() + Send + Sync>> = Arc::default();
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        let wait_leave = Mutex::new(wait_leave);
        let returned = Arc::new(AtomicU32::new(0));
        let l = returned.clone();
        slot.set(Some(Arc::new(move || {
            entered.send(()).unwrap();
            wait_leave.lock().recv().unwrap();
            l.store(1, SeqCst);
        })));
        std::thread::scope(|s| {
            s.spawn(|| slot.run(|f| f()));
            wait_entered.recv().unwrap();
            s.spawn(|| leave.send(()).unwrap());
            slot.clear();
            assert_eq!(returned.load(SeqCst), 1);
        });
    }

    #[test]
    fn a_panic_in_a_callback_is_contained() {
        let slot: Slot<dyn Fn() + Send + Sync> = Slot::new(Arc::new(|| panic!("on purpose")));
        slot.run(|f| f());
        slot.clear();
    }
}
