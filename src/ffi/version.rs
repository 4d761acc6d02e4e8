//! Versions, capabilities, and names of codes.

use super::codes;
use super::guard::infallible;
use super::pointer;
use crate::error::{Code, Stage};
use std::ffi::{CStr, c_char};

/// Version of the header: the first number.
pub const WSLINK_VERSION_MAJOR: u32 = 0;
/// Version of the header: the second number.
pub const WSLINK_VERSION_MINOR: u32 = 1;
/// Version of the header: the third number.
pub const WSLINK_VERSION_PATCH: u32 = 0;
/// Version of the header as one number: major * 1000000 + minor * 1000 + patch.
pub const WSLINK_VERSION_NUMBER: u32 = 1000;

const _: () = assert!(
    WSLINK_VERSION_NUMBER == WSLINK_VERSION_MAJOR * 1_000_000 + WSLINK_VERSION_MINOR * 1000 + WSLINK_VERSION_PATCH
);

/// The version of the loaded library, as `WSLINK_VERSION_NUMBER`.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_version() -> u32 {
    WSLINK_VERSION_NUMBER
}

/// The version of the loaded library as text, such as "0.1.0". Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_version_text() -> *const c_char {
    const TEXT: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("the version has no NUL in it"),
    };
    TEXT.as_ptr()
}

/// Checks whether a program that was compiled with this header can use the loaded library. Pass
/// `WSLINK_VERSION_NUMBER`. Returns `WSLINK_OK`, or `WSLINK_ERR_VERSION` if the library is older than
/// the header or has another ABI (before 1.0 every minor version has its own).
#[unsafe(no_mangle)]
pub extern "C" fn wslink_check_version(header_version: u32) -> i32 {
    let same_abi = header_version / 1000 == WSLINK_VERSION_NUMBER / 1000;
    if same_abi && header_version <= WSLINK_VERSION_NUMBER { codes::WSLINK_OK } else { codes::WSLINK_ERR_VERSION }
}

/// Whether the library has a capability: "v1", "v2", "tls", "proxy", "client-certificate", "listener", "descriptor" (not
/// on Windows), "process" (not on Windows). False for an unknown name and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_has(capability: *const c_char) -> bool {
    infallible(false, || {
        let everywhere = ["v1", "v2", "tls", "proxy", "client-certificate", "listener"];
        let on_unix = ["descriptor", "process"];
        pointer::text(capability, "capability")
            .is_ok_and(|c| everywhere.contains(&c) || cfg!(unix) && on_unix.contains(&c))
    })
}

/// A short English name of a code, such as "connection lost" for `WSLINK_ERR_CONNECTION_LOST`; "unknown
/// code" for any other number. Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_code_text(code: i32) -> *const c_char {
    match code {
        codes::WSLINK_OK => c"ok".as_ptr(),
        _ => static_text(Code::ALL.iter().find(|c| **c as i32 == code).map(|c| c.text()), "unknown code"),
    }
}

/// A short English name of a stage (`WSLINK_STAGE_...`). Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_stage_text(stage: i32) -> *const c_char {
    let stages = [
        Stage::Local,
        Stage::Resolve,
        Stage::Connect,
        Stage::Proxy,
        Stage::Tls,
        Stage::Upgrade,
        Stage::Hello,
        Stage::Session,
        Stage::Call,
        Stage::Launcher,
    ];
    static_text(stages.iter().find(|s| **s as i32 == stage).map(|s| s.text()), "unknown stage")
}

/// A short English name of a state (`WSLINK_STATE_...`). Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_state_text(state: i32) -> *const c_char {
    let text = match state {
        codes::WSLINK_STATE_IDLE => "idle",
        codes::WSLINK_STATE_CONNECTING => "connecting",
        codes::WSLINK_STATE_READY => "ready",
        codes::WSLINK_STATE_LOST => "lost",
        codes::WSLINK_STATE_RECONNECTING => "reconnecting",
        codes::WSLINK_STATE_CLOSING => "closing",
        codes::WSLINK_STATE_CLOSED => "closed",
        _ => "unknown state",
    };
    static_text(Some(text), "")
}

/// A short English name of a kind of value (`WSLINK_KIND_...`). Never NULL, never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wslink_kind_text(kind: i32) -> *const c_char {
    let texts = ["null", "bool", "int", "uint", "float", "string", "bytes", "array", "map", "ext", "bigint"];
    static_text(usize::try_from(kind).ok().and_then(|k| texts.get(k)).copied(), "unknown kind")
}

/// The text as a C string, which is created once and never freed.
fn static_text(text: Option<&'static str>, otherwise: &'static str) -> *const c_char {
    use std::collections::HashMap;
    use std::ffi::CString;
    use std::sync::{LazyLock, Mutex};
    static TEXTS: LazyLock<Mutex<HashMap<&'static str, CString>>> = LazyLock::new(Mutex::default);
    let text = text.unwrap_or(otherwise);
    infallible(c"".as_ptr(), || {
        let mut texts = TEXTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        texts.entry(text).or_insert_with(|| CString::new(text).unwrap_or_default()).as_ptr()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_header_are_those_of_the_package() {
        let text = format!("{WSLINK_VERSION_MAJOR}.{WSLINK_VERSION_MINOR}.{WSLINK_VERSION_PATCH}");
        assert_eq!(text, env!("CARGO_PKG_VERSION"));
        let number = WSLINK_VERSION_MAJOR * 1_000_000 + WSLINK_VERSION_MINOR * 1000 + WSLINK_VERSION_PATCH;
        assert_eq!(number, WSLINK_VERSION_NUMBER);
        assert_eq!(wslink_check_version(number), codes::WSLINK_OK);
        assert_eq!(wslink_check_version(number + 1), codes::WSLINK_ERR_VERSION);
        assert_eq!(wslink_check_version(number + 1000), codes::WSLINK_ERR_VERSION);
    }
}
