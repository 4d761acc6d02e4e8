//! JSON as Python's `json` module reads and writes it (generation 1), and JSON text for applications.

pub mod parse;
pub mod write;
