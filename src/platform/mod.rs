//! Floor 0: what the system tells and no crate asks it for. Unsafe code that has nothing to do with the C interface.
//!
//! * `tcp_info`: what TCP knows of a connection (Linux).
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod tcp_info;
