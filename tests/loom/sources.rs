//! The synchronisation of the library, compiled from its unchanged sources over the locks, atomics and threads of loom,
//! which runs each model in every order in which the threads can come to them.
//!
//! What is not modelled: the socket and the writer of frames are small substitutes, and `Arc` is the ordinary one.

mod substitutes;
pub mod sync;

#[path = "../../src/io/callback.rs"]
pub mod callback;
#[path = "../../src/io/link.rs"]
pub mod link;
#[path = "../../src/io/wake.rs"]
pub mod wake;

pub use substitutes::{poll, socket, websocket};

/// Runs a model in every order with at most so many preemptions: points at which a thread that could go on has to wait.
/// Nearly all defects show with two.
pub fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}
