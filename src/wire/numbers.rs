//! Binary data as an array of numbers. VTK and vtk.js send the memory of their arrays, little-endian.

use crate::error::{Code, Error, Result};
use bytemuck::{AnyBitPattern, NoUninit};
use std::borrow::Cow;

mod sealed {
    pub trait Sealed {
        /// Converts from little-endian to native byte order.
        fn little_endian_to_native(self) -> Self;
    }
}

/// The type of the elements of an array: `i8` to `i64`, `u8` to `u64`, `f32`, `f64`.
pub trait Element: sealed::Sealed + AnyBitPattern + NoUninit {
    /// The name of the type in error messages.
    const NAME: &'static str;
}

macro_rules! elements {
    ($($type:ty: $bits:ty),*) => { $(
        impl sealed::Sealed for $type {
            fn little_endian_to_native(self) -> Self {
                Self::from_ne_bytes(<$bits>::from_le_bytes(self.to_ne_bytes()).to_ne_bytes())
            }
        }
        impl Element for $type {
            const NAME: &'static str = stringify!($type);
        }
    )* };
}
elements!(i8: u8, u8: u8, i16: u16, u16: u16, i32: u32, u32: u32, i64: u64, u64: u64, f32: u32, f64: u64);

/// Little-endian bytes as numbers: borrowed if the bytes are aligned for the type and this machine is little-endian,
/// otherwise a copy. Fails if the length is not a multiple of the size of an element.
pub fn numbers<T: Element>(bytes: &[u8]) -> Result<Cow<'_, [T]>> {
    if !bytes.len().is_multiple_of(size_of::<T>()) {
        let (len, size, name) = (bytes.len(), size_of::<T>(), T::NAME);
        let message =
            format!("binary data of {len} bytes is no array of {name}, which has {size} bytes for each element");
        return Err(Error::new(Code::Kind, message));
    }
    if cfg!(target_endian = "little")
        && let Ok(in_place) = bytemuck::try_cast_slice(bytes)
    {
        return Ok(Cow::Borrowed(in_place));
    }
    let mut copy: Vec<T> = bytemuck::pod_collect_to_vec(bytes);
    if cfg!(target_endian = "big") {
        copy.iter_mut().for_each(|number| *number = number.little_endian_to_native());
    }
    Ok(Cow::Owned(copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_says_whether_a_copy_is_made_and_the_numbers_are_the_same() {
        // The test data begins at each of eight addresses in a row, of which at least one is aligned for each type.
        let wanted = [1.5f64, -2.25, f64::NAN];
        let mut memory = [0u8; 40];
        let mut borrowed = 0;
        for at in 0..8 {
            for (i, number) in wanted.iter().enumerate() {
                memory[at + 8 * i..][..8].copy_from_slice(&number.to_le_bytes());
            }
            let found = numbers::<f64>(&memory[at..at + 24]).unwrap();
            assert!(found.iter().zip(wanted).all(|(a, b)| a.to_bits() == b.to_bits()), "at {at}");
            borrowed += usize::from(matches!(found, Cow::Borrowed(_)));
            assert!(matches!(numbers::<u8>(&memory[at..at + 24]).unwrap(), Cow::Borrowed(_)));
        }
        assert_eq!(borrowed, usize::from(cfg!(target_endian = "little")));
        assert_eq!(*numbers::<i16>(&[0xfe, 0xff, 2, 0]).unwrap(), [-2, 2]);
        assert!(numbers::<u32>(&[]).unwrap().is_empty());
    }

    #[test]
    fn half_an_element_is_an_error_that_says_so() {
        let error = numbers::<f32>(&[0; 10]).unwrap_err();
        assert_eq!(error.code(), Code::Kind);
        assert!(error.message().contains("10 bytes is no array of f32, which has 4 bytes"), "{error}");
    }

    #[test]
    fn the_order_of_bytes_is_changed_where_it_has_to_be() {
        use super::sealed::Sealed;
        let same = cfg!(target_endian = "little");
        assert_eq!(0x0102_0304u32.little_endian_to_native() == 0x0102_0304, same);
    }
}
