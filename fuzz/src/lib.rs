//! Shared by the fuzz targets.

#[rustfmt::skip]
pub mod c;
pub mod frames;
pub mod input;
pub mod server;

use wslink::Value;
use wslink::wire::buffer::BufferPool;
use wslink::wire::value::Kind;

/// Limits the index of a decoded document, because inputs are small.
pub const MAX_NODES: usize = 1 << 20;

/// A pool that keeps little memory, so that memory comes from the pool and from the system.
pub fn pool() -> BufferPool {
    BufferPool::new(64 << 10)
}

/// The depth of a value, and whether the value or a member satisfies a condition. Without recursion.
pub fn survey(root: Value<'_>, mut fits: impl FnMut(Value<'_>) -> bool) -> (usize, bool) {
    let (mut depth, mut found) = (0, false);
    let mut todo = vec![(root, 1)];
    while let Some((value, level)) = todo.pop() {
        depth = depth.max(level);
        found |= fits(value);
        match value.kind() {
            Kind::Array => todo.extend(value.elements().map(|v| (v, level + 1))),
            Kind::Map => todo.extend(value.pairs().flat_map(|(k, v)| [(k, level + 1), (v, level + 1)])),
            _ => {}
        }
    }
    (depth, found)
}
