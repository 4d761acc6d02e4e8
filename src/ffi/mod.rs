//! Floor 4: the C border. Every `extern "C"` function is here, one file for each public type; checks,
//! casts and the panic wall, and nothing else. `include/wslink.h` is generated from these files.
//!
//! What the functions ask of their callers stands in the header's introduction (`cbindgen.toml`) and, where
//! it differs, at the function.
#![allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc)]

pub mod args;
pub mod buffer;
mod callback;
pub mod codes;
pub mod config;
pub mod document;
pub mod error;
mod guard;
mod pointer;
pub mod session;
pub mod value;
pub mod version;
