#![deny(unsafe_code)]
#![warn(missing_docs)]
pub mod error;
pub mod session;
pub mod wire;
pub use error::{Code, Error, Remote, Result, Stage};
