//! `pontoon::fuzzing::dynamic_config` on any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pontoon::fuzzing::dynamic_config(bytes));
