//! Native client for wslink, the protocol of VTK, ParaView and trame servers: remote procedure calls,
//! publish/subscribe and binary attachments over a WebSocket. Speaks both generations of the protocol and
//! detects which one the server speaks.
//!
//! ```no_run
//! use wslink::{Args, Config, Policy, Session, result};
//!
//! let session = Session::new(Config::new("ws://localhost:8080/ws")?)?;
//! session.connect_wait()?;
//! session.subscribe("viewport.image", Policy::Last(1), |publication| {
//!     if let Ok(message) = publication.outcome {
//!         println!("{} bytes", message.wire_size());
//!     }
//! });
//! let sum = session.call_wait("myprotocol.add", Args::from_json("[[1, 2, 3]]")?, None)?;
//! println!("{:?}", result(&sum).as_i64());
//! session.dispatch(100, Some(std::time::Duration::from_secs(1)))?;
//! # Ok::<(), wslink::Error>(())
//! ```
//!
//! Threads: any thread may use a session. A session has one thread of its own, the I/O thread, which serves the
//! connection whatever the application does. Callbacks run in [`Handle::dispatch`], on the thread that calls it, or on
//! the I/O thread ([`Delivery::IoThread`]). No lock is held while a callback runs.
//!
//! `docs/architecture.md` describes the inside.
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

mod error;
#[cfg(feature = "internals")]
pub mod ffi;
#[cfg(not(feature = "internals"))]
mod ffi;
mod io;
mod platform;
mod retry;
#[cfg(feature = "internals")]
pub mod session;
#[cfg(not(feature = "internals"))]
mod session;
#[cfg(feature = "internals")]
pub mod wire;
#[cfg(not(feature = "internals"))]
mod wire;

pub use error::{Code, Error, Result, Stage};
pub use io::config::{Config, Delivery, PROGRESS_FROM, Progress};
pub use io::connect::attempt::Attempt;
pub use io::delivery::subscription::{Outcome, Policy, Publication};
pub use io::launcher::{Launched, Launcher};
pub use io::listener::{Listener, ListenerOptions};
pub use io::log::LogLevel;
pub use io::process::{Process, ProcessOptions, Reach};
pub use io::session::{Handle, Session};
pub use io::stats::Stats;
pub use io::tls::{TlsIdentity, TlsOptions};
pub use session::calls::CallId;
pub use session::core::{Peer, State, StateChange};
pub use session::options::Options;
pub use session::reconnect::Reconnect;
pub use wire::Protocol;
pub use wire::args::{Append, Args};
pub use wire::builder::Builder;
pub use wire::document::{Document, SharedDocument};
pub use wire::envelope::result;
pub use wire::limits::Limits;
pub use wire::remote::Remote;
pub use wire::secret::Secret;
pub use wire::value::{Kind, Value};
