//! The rounding mode of this thread, which the application can change (`fesetround` of C).

#[cfg(unix)]
use std::ffi::c_int;

#[cfg(unix)]
#[link(name = "m")]
unsafe extern "C" {
    safe fn fegetround() -> c_int;
    safe fn fesetround(mode: c_int) -> c_int;
}

/// `FE_TONEAREST`, which is 0 on every system.
#[cfg(unix)]
const TO_NEAREST: c_int = 0;

/// While this exists, this thread rounds to nearest, as Rust code assumes. Then it has its former mode again.
pub struct ToNearest {
    #[cfg(unix)]
    before: c_int,
}

impl ToNearest {
    /// Sets the mode.
    #[inline]
    pub fn new() -> ToNearest {
        #[cfg(unix)]
        {
            let before = fegetround();
            if before != TO_NEAREST {
                fesetround(TO_NEAREST);
            }
            ToNearest { before }
        }
        #[cfg(not(unix))]
        ToNearest {}
    }
}

#[cfg(unix)]
impl Drop for ToNearest {
    #[inline]
    fn drop(&mut self) {
        // Negative if the former mode could not be determined; then the mode stays.
        if self.before > TO_NEAREST {
            fesetround(self.before);
        }
    }
}
