//! The flag that saves wake-ups: no thread sleeps for ever.

use loom::thread;
use std::io;
use std::sync::Arc;
use wslink_loom::model;
use wslink_loom::poll::Poll;
use wslink_loom::sync::Mutex;
use wslink_loom::wake::WakeFlag;

struct Shared {
    orders: Mutex<u32>,
    flag: WakeFlag,
    poll: Poll,
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared { orders: Mutex::new(0), flag: WakeFlag::default(), poll: Poll::new() })
}

#[test]
fn every_order_is_seen() {
    model(3, || {
        let shared = shared();
        let givers = [(); 2].map(|()| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                *shared.orders.lock() += 1;
                shared.flag.raise(|| shared.poll.wake()).unwrap();
            })
        });
        // The I/O thread. If it is not woken for unseen work it sleeps for ever, which loom reports.
        while *shared.orders.lock() < 2 {
            shared.poll.sleep();
            shared.flag.lower();
        }
        givers.into_iter().for_each(|giver| giver.join().unwrap());
    });
}

#[test]
fn a_wake_up_that_failed_does_not_stand_for_the_next_one() {
    model(3, || {
        let shared = shared();
        let giver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                *shared.orders.lock() += 1;
                shared.flag.raise(|| Err(io::ErrorKind::OutOfMemory.into())).unwrap_err();
                *shared.orders.lock() += 1;
                shared.flag.raise(|| shared.poll.wake()).unwrap();
            })
        };
        while *shared.orders.lock() < 2 {
            shared.poll.sleep();
            shared.flag.lower();
        }
        giver.join().unwrap();
    });
}
