//! JSON as Python's `json.dumps` writes it (generation 1), and JSON text for applications.

pub mod parse;
pub mod write;
