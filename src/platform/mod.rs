//! Layer 0: calls of the operating system and the C library for which there is no safe crate. All unsafe code outside
//! of the C interface is here.
//!
//! * `tcp_info`: the state of a TCP connection (Linux).
//! * `child`: what a child process does before it runs its program.
//! * `threads`: threads that receive no signals of the application.
//! * `cancelling`: deferring `pthread_cancel`.
//! * `rounding`: the rounding mode of floating-point arithmetic.
#![allow(unsafe_code)]

pub mod cancelling;
#[cfg(unix)]
pub mod child;
pub mod rounding;
#[cfg(target_os = "linux")]
pub mod tcp_info;
pub mod threads;
