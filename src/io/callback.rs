//! Callbacks of the application: called without a lock held, dropped exactly once after the last call.

use super::sync::thread::ThreadId;
use super::sync::{AtomicU64, Condvar, Mutex, this_thread};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{Ordering::AcqRel, Ordering::Acquire};

/// A place for a callback that may be called from several threads and taken back by any.
pub struct Slot<F: ?Sized> {
    state: Mutex<SlotState<F>>,
    idle: Condvar,
    /// Changes when the callback does.
    version: AtomicU64,
}

/// A callback that a thread is inside of.
pub struct Entered<F: ?Sized> {
    /// The callback.
    pub callback: Arc<F>,
    me: ThreadId,
    version: u64,
}

struct SlotState<F: ?Sized> {
    callback: Option<Arc<F>>,
    /// The threads that are inside the callback now.
    running: Vec<ThreadId>,
}

impl<F: ?Sized> Default for Slot<F> {
    fn default() -> Self {
        Slot {
            state: Mutex::new(SlotState { callback: None, running: Vec::new() }),
            idle: Condvar::new(),
            version: AtomicU64::new(0),
        }
    }
}

impl<F: ?Sized> Slot<F> {
    /// A place that holds this callback.
    pub fn new(callback: Arc<F>) -> Slot<F> {
        let slot = Slot::default();
        slot.state.lock().callback = Some(callback);
        slot
    }

    /// Puts a callback here, in the place of the one before, which is taken back as by
    /// [`clear`](Slot::clear).
    pub fn set(&self, callback: Option<Arc<F>>) {
        let old = {
            let mut state = self.state.lock();
            // Under the lock, where `enter` looks at both.
            self.version.fetch_add(1, AcqRel);
            std::mem::replace(&mut state.callback, callback)
        };
        self.finish(old);
    }

    /// Whether there is a callback.
    pub fn is_set(&self) -> bool {
        self.state.lock().callback.is_some()
    }

    /// Calls the callback, if there is one. A panic in it goes no further.
    pub fn run(&self, call: impl FnOnce(&F)) {
        if let Some(entered) = self.enter() {
            guarded(|| call(&entered.callback));
            self.leave(entered);
        }
    }

    /// Enters the callback, for calling it several times in a row; to be followed by [`leave`](Slot::leave).
    pub fn enter(&self) -> Option<Entered<F>> {
        let me = this_thread();
        let mut state = self.state.lock();
        let callback = state.callback.clone()?;
        state.running.push(me);
        Some(Entered { callback, me, version: self.version.load(Acquire) })
    }

    /// Whether the callback that was entered is still the one of this slot.
    pub fn is_current(&self, entered: &Entered<F>) -> bool {
        self.version.load(Acquire) == entered.version
    }

    /// Leaves the callback.
    pub fn leave(&self, entered: Entered<F>) {
        let Entered { callback, me, .. } = entered;
        // Before the slot is idle again: whoever waits for that relies on the drop having happened.
        guarded(|| drop(callback));
        let mut state = self.state.lock();
        if let Some(at) = state.running.iter().rposition(|t| *t == me) {
            state.running.swap_remove(at);
        }
        drop(state);
        self.idle.notify_all();
    }

    /// Takes the callback back: it is not called again. Waits while another thread is inside it; not
    /// for this thread, which may be calling from within.
    pub fn clear(&self) {
        self.set(None);
    }

    fn finish(&self, old: Option<Arc<F>>) {
        guarded(|| drop(old));
        let me = this_thread();
        let mut state = self.state.lock();
        while state.running.iter().any(|t| *t != me) {
            self.idle.wait(&mut state);
        }
    }
}

/// Runs code of the application; a panic in it is reported and goes no further.
pub fn guarded(code: impl FnOnce()) {
    // The panic hook has printed it already; the I/O thread must live on.
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
        slot.run(|_| panic!("called after it was taken back"));
    }

    #[test]
    fn clearing_waits_for_another_thread_inside_the_callback() {
        let slot: Arc<Slot<dyn Fn() + Send + Sync>> = Arc::default();
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        let wait_leave = Mutex::new(wait_leave);
        let left = Arc::new(AtomicU32::new(0));
        let l = left.clone();
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
            assert_eq!(left.load(SeqCst), 1);
        });
    }

    #[test]
    fn a_panic_in_a_callback_is_contained() {
        let slot: Slot<dyn Fn() + Send + Sync> = Slot::new(Arc::new(|| panic!("on purpose")));
        slot.run(|f| f());
        slot.clear();
    }
}
