//! Allocation that fails with an error: the size comes from the server or the application, and running out of memory
//! must not end the process.

use crate::error::{Code, Error, Result};

/// The error for an allocation that failed.
pub(crate) fn out_of_memory(bytes: usize) -> Error {
    Error::new(Code::System, format!("no memory for {bytes} bytes"))
}

/// As `Vec::reserve`.
pub(crate) fn try_reserve<T>(vec: &mut Vec<T>, additional: usize) -> Result<()> {
    let bytes = vec.len().saturating_add(additional).saturating_mul(size_of::<T>());
    vec.try_reserve(additional).map_err(|_| out_of_memory(bytes))
}

/// Reserves `additional` bytes, or half of the length if that is more: text that grows step by step is moved only a few
/// times, and less memory is left over than by doubling.
#[inline]
pub(crate) fn try_reserve_half(vec: &mut Vec<u8>, additional: usize) -> Result<()> {
    if additional <= vec.capacity() - vec.len() {
        return Ok(());
    }
    let additional = additional.max(vec.len() / 2);
    vec.try_reserve_exact(additional).map_err(|_| out_of_memory(vec.len().saturating_add(additional)))
}

/// As `to_vec`.
pub(crate) fn try_to_vec(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| out_of_memory(bytes.len()))?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}
