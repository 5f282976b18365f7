//! `pontoon::fuzzing::http1_response` on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pontoon::fuzzing::http1_response(bytes));
