//! Layer 2: the state machine of one session, without sockets, threads or a clock. Payloads, events and the
//! time go in; messages and effects come out. The same code therefore runs under the I/O thread, a simulator and a fuzzer.
//!
//! * [`inbound`]: turns payloads of WebSocket messages into replies and publications. Owned by the thread that reads.
//! * [`core`]: connection states, calls in flight, heartbeat. Shared between threads under one lock.
//! * [`hello`]: detects the server's generation of the protocol, and opens the session.
//! * [`calls`]: calls in flight and their deadlines.
//! * [`options`]: what the application has set.
//! * [`reconnect`]: number of attempts to reconnect, backoff, time limit.
//! * [`topics`]: the subscriptions of each topic.

pub mod calls;
pub mod core;
pub mod hello;
pub mod inbound;
pub mod options;
pub mod reconnect;
pub mod topics;
