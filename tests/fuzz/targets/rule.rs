//! `pontoon::fuzzing::rule` on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pontoon::fuzzing::rule(bytes));
