//! `pontoon::fuzzing::http3_head` on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pontoon::fuzzing::http3_head(bytes));
