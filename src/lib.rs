//! Native client for wslink, the protocol of VTK, ParaView and trame servers: remote procedure calls,
//! publish/subscribe and binary attachments over a WebSocket. Speaks both generations of the protocol and
//! finds out which one the server speaks.
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
//! Threads: any thread may use a session. It has one thread of its own, which reads and answers the server
//! whatever the application does. Callbacks run in [`Handle::dispatch`] on the thread that calls it, or on the
//! session's thread ([`Delivery::IoThread`]); no lock is held meanwhile.
//!
//! The house is described in `docs/architecture.md`: [`wire`], [`session`], [`io`] and [`ffi`] are its floors,
//! and `platform` is what they stand on.
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod error;
pub mod ffi;
pub mod io;
mod platform;
pub mod session;
pub mod wire;

pub use error::{Code, Error, Remote, Result, Stage};
pub use io::config::{Config, Delivery};
pub use io::delivery::{Outcome, Policy, Publication};
pub use io::session::{Handle, Session, Stats};
pub use session::core::State;
pub use wire::Protocol;
pub use wire::args::Args;
pub use wire::document::{Document, SharedDocument};
pub use wire::envelope::result;
pub use wire::value::{Kind, Value};
