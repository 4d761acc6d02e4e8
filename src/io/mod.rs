//! Floor 3: the session's own thread, the connection under it, and where callbacks run.
//!
//! * [`config`]: everything that can be set before connecting;
//! * [`session`]: the handle that applications hold; any thread may use it;
//! * `shared`: what the handle and the thread share, and the order of its locks;
//! * `thread`: the loop of the I/O thread;
//! * `receiving`, `batch`: the receiving half of a connection, and what one read brings;
//! * `caller`: a thread that waits for its reply and reads the socket itself;
//! * `establish`, `resolve`, `proxy`, `tls`, `upgrade`: from a URL to an open WebSocket;
//! * `socket`, `tcp`: bytes in and out, with or without TLS;
//! * `liveness`: what TCP notices of a peer that vanished;
//! * `websocket`: frames (RFC 6455);
//! * [`delivery`]: the queue of events; `room`: where publications wait, and overload policies; `taking`: how they leave it;
//!   `spares`: their memory on its way back;
//! * `callback`: when callbacks run and when they are dropped;
//! * `link`, `wake`: what is on its way out, and how the thread is woken for it;
//! * `sync`: the locks and atomics of all this, for `tests/loom` to replace.

pub(crate) mod batch;
mod callback;
mod caller;
pub mod config;
pub mod delivery;
mod establish;
mod link;
mod liveness;
mod proxy;
mod receiving;
mod resolve;
mod room;
pub mod session;
mod shared;
mod socket;
mod spares;
mod sync;
mod taking;
mod tcp;
mod thread;
mod tls;
mod upgrade;
mod url;
mod wake;
mod websocket;
