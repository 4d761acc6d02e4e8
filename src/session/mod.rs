//! Floor 2: the state machine of one session, without sockets, threads or a clock of its own. Frames
//! and the time go in, frames and events come out; so the same code runs under the I/O thread, under
//! a simulator and under a fuzzer.
//!
//! * [`inbound`]: payloads of WebSocket messages to replies and publications. Owned by whoever reads.
//! * [`core`]: connection states, calls in flight, heartbeat. Shared between threads under one lock.
//! * [`hello`]: which generation the server speaks, and opening the session.
//! * [`calls`]: calls in flight and their deadlines.
//! * [`reconnect`]: how often, how soon and how long a lost connection is made again.
//! * [`topics`]: who wants which publications.

pub mod calls;
pub mod core;
pub mod hello;
pub mod inbound;
pub mod options;
mod recognition;
pub mod reconnect;
pub mod topics;
