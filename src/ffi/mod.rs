//! Layer 4: the C interface. Every `extern "C"` function is here, in one file for each public type. The functions check
//! and convert pointers and catch panics, and do nothing else. `include/wslink.h` is generated from these files.
//!
//! The introduction of the header (`cbindgen.toml`) says what the functions require of their callers. Exceptions are
//! documented at the function.
#![allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc)]

pub mod args;
pub mod buffer;
mod callback;
pub mod codes;
pub mod config;
pub mod document;
pub mod error;
mod guard;
pub mod launcher;
pub mod listener;
mod pointer;
pub mod process;
pub mod session;
pub mod value;
pub mod version;
