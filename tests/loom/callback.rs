//! Callback slots: several threads call them, take them back and replace them.

use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use wslink_loom::callback::Slot;
use wslink_loom::model;

type Callback = dyn Fn() + Send + Sync;

/// The data of a callback. Loom detects unsynchronised access to it.
#[derive(Default)]
struct Used {
    data: UnsafeCell<()>,
    calls: AtomicUsize,
    drops: AtomicUsize,
}

// SAFETY: loom ends a model in which two threads use the data without synchronisation.
unsafe impl Sync for Used {}
// SAFETY: as above.
unsafe impl Send for Used {}

impl Used {
    /// What the application does with the data after it has the callback back.
    fn take_apart(&self) {
        self.data.with_mut(|_| ());
        assert_eq!(self.drops.load(SeqCst), 1, "dropped before the callback is back, and once");
    }
}

struct Guard(Arc<Used>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, SeqCst);
    }
}

/// A callback and its data.
fn callback() -> (Arc<Callback>, Arc<Used>) {
    let used = Arc::new(Used::default());
    let guard = Guard(Arc::clone(&used));
    let callback = move || {
        guard.0.data.with(|_| ());
        // Other threads run while this one is in the callback.
        thread::yield_now();
        guard.0.data.with(|_| ());
        guard.0.calls.fetch_add(1, SeqCst);
    };
    (Arc::new(callback), used)
}

#[test]
fn what_was_taken_back_is_neither_called_nor_kept() {
    model(3, || {
        let (callback, used) = callback();
        let slot = Arc::new(Slot::<Callback>::new(callback));
        let callers = [(); 2].map(|()| {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.run(|f| f()))
        });
        slot.clear();
        used.take_apart();
        let calls = used.calls.load(SeqCst);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(used.calls.load(SeqCst), calls, "called after it was taken back");
    });
}

#[test]
fn several_publications_in_a_row_end_where_the_callback_is_taken_back() {
    model(3, || {
        let (callback, used) = callback();
        let slot = Arc::new(Slot::<Callback>::new(callback));
        let caller = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || (0..2).for_each(|_| slot.run(|f| f())))
        };
        slot.clear();
        used.take_apart();
        caller.join().unwrap();
    });
}

#[test]
fn of_several_publications_none_comes_after_the_callback_took_itself_back() {
    model(2, || {
        let slot = Arc::new(Slot::<Callback>::default());
        let (calls, inner) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&slot));
        let count = Arc::clone(&calls);
        slot.set(Some(Arc::new(move || {
            count.fetch_add(1, SeqCst);
            inner.clear();
        })));
        (0..2).for_each(|_| slot.run(|f| f()));
        assert_eq!(calls.load(SeqCst), 1);
    });
}

#[test]
fn a_callback_that_was_replaced_is_back_and_the_new_one_is_called() {
    model(3, || {
        let ((old, used), (new, _)) = (callback(), callback());
        let slot = Arc::new(Slot::<Callback>::new(old));
        let caller = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let mut called = false;
                slot.run(|f| {
                    f();
                    called = true;
                });
                assert!(called, "there is always one");
            })
        };
        slot.set(Some(new));
        used.take_apart();
        caller.join().unwrap();
    });
}

#[test]
fn a_callback_takes_itself_back_while_another_thread_calls_it() {
    model(3, || {
        let used = Arc::new(Used::default());
        let slot = Arc::new(Slot::<Callback>::default());
        let (guard, inner) = (Guard(Arc::clone(&used)), Arc::clone(&slot));
        let first = AtomicUsize::new(0);
        slot.set(Some(Arc::new(move || {
            guard.0.calls.fetch_add(1, SeqCst);
            // Two callbacks that wait for each other would wait for ever.
            if first.fetch_add(1, SeqCst) == 0 {
                inner.clear();
                assert_eq!(guard.0.drops.load(SeqCst), 0);
            }
        })));
        let caller = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.run(|f| f()))
        };
        slot.run(|f| f());
        caller.join().unwrap();
        assert_eq!(used.drops.load(SeqCst), 1);
        assert!(!slot.is_set() && (1..=2).contains(&used.calls.load(SeqCst)));
    });
}
