//! From a URL to an open WebSocket.
//!
//! * `endpoint`: where to connect;
//! * [`attempt`]: what the application may change before an attempt to connect;
//! * `establish`: the steps of an attempt, in their order; `deadline`: the deadline of every wait in them;
//! * `url`: URLs of servers and proxies;
//! * `resolve`, `tcp`, `proxy`, `upgrade`: one step each; TLS is in [`tls`](super::tls);
//! * `http`: the HTTP responses of servers and proxies.

pub mod attempt;
pub(super) mod deadline;
pub(super) mod endpoint;
pub(super) mod establish;
mod http;
mod proxy;
mod resolve;
mod tcp;
mod upgrade;
pub(super) mod url;
