//! Protocol 1: JSON text and attachments, split anywhere; see `wslink_fuzz::frames`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| wslink_fuzz::frames::check(wslink::Protocol::V1, data));
