//! msgpack as Python's `msgpack` package writes and reads it (generation 2).
//! Specification: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

pub mod decode;
pub mod encode;
