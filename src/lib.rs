//! Client for wslink, the protocol of VTK, ParaView and trame servers.
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

pub mod error;
pub mod ffi;
pub mod io;
pub mod session;
pub mod wire;

pub use error::{Code, Error, Remote, Result, Stage};
pub use io::config::{Config, Delivery};
pub use io::delivery::{Outcome, Policy, Publication};
pub use io::session::{Handle, Session, Stats};
pub use session::core::State;
pub use wire::Protocol;
pub use wire::args::Args;
pub use wire::document::Document;
pub use wire::envelope::result;
pub use wire::value::{Kind, Value};
