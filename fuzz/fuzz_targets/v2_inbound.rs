//! Protocol 2: chunks with any header, split anywhere; see `wslink_fuzz::frames`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wslink_fuzz::frames::check(wslink::Protocol::V2, data));
