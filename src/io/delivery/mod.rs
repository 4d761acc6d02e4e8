//! Delivers events to the application: the event queue, subscriptions and callbacks.
//!
//! * [`queue`]: one queue for all events, in the order in which they happened; `numbered_queue`: its data structure;
//! * [`subscription`]: one subscription, its overflow policy and its backlog in the queue;
//! * `callback`: when callbacks run, and when they are dropped;
//! * `session_callbacks`: the callbacks of a session that belong to no call and no subscription;
//! * `descriptor`: a file descriptor that is readable while events are queued.

pub(crate) mod callback;
mod descriptor;
mod numbered_queue;
pub mod queue;
pub(crate) mod session_callbacks;
pub mod subscription;
