//! The synchronisation of the library, compiled from its unchanged sources with the locks, atomics and threads of loom, which runs
//! each model in every interleaving.
//!
//! Not modelled: the socket and the writer of frames are small substitutes, and `Arc` is the standard one.

mod substitutes;
pub mod sync;

/// Where the sources look for what this crate replaces.
pub mod io {
    pub use crate::sync;
}

#[path = "../../src/io/delivery/callback.rs"]
pub mod callback;
#[path = "../../src/io/transport/send_queue.rs"]
pub mod send_queue;
#[path = "../../src/io/wake.rs"]
pub mod wake;

pub use substitutes::{poll, socket, websocket};

/// Runs a model in every interleaving with a limited number of preemptions, which are points where loom pauses a thread that could
/// go on. Two preemptions show nearly all defects.
pub fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}
