//! Delivers events to the application: the event queue, subscriptions and callbacks.
//!
//! * [`queue`]: one queue for all events, in the order in which they happened;
//! * [`subscription`]: one subscription, its overflow policy and its backlog in the queue;
//! * `callback`: when callbacks run, and when they are dropped;
//! * `callbacks`: the callbacks of a session that belong to no call and no subscription;
//! * `descriptor`: a file descriptor that is readable while events are queued.

pub(crate) mod callback;
pub(crate) mod callbacks;
mod descriptor;
mod numbered_queue;
pub mod queue;
pub mod subscription;
