//! Layer 3: the I/O thread of a session, its connection, and the delivery of events to the application.
//!
//! * [`config`]: the options of a session;
//! * [`session`]: the handle that applications hold, for any thread;
//! * `shared`: the data that handle and I/O thread share, and the order of the locks;
//! * `thread`: the loop of the I/O thread; `orders`: the channel of orders to it; `wake`: its wake-up;
//! * `connection`: an open connection, for the I/O thread;
//! * [`connect`]: from a URL to an open WebSocket;
//! * [`tls`]: TLS by the platform's library;
//! * `transport`: bytes and frames of an open connection;
//! * [`listener`]: connections that servers open themselves;
//! * [`process`]: servers that are started as child processes;
//! * [`launcher`]: servers that a launcher starts;
//! * [`delivery`]: event queue, subscriptions and callbacks;
//! * [`stats`], `progress`, [`log`]: statistics, progress of large messages, log;
//! * `sync`: the locks and atomics that `tests/loom` replaces.

pub mod config;
pub mod connect;
mod connection;
pub mod delivery;
pub mod launcher;
pub mod listener;
pub mod log;
mod orders;
pub mod process;
mod progress;
pub mod session;
mod shared;
pub mod stats;
mod sync;
mod thread;
pub mod tls;
mod transport;
mod wake;
