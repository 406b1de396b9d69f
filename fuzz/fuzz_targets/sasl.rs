//! A SASL exchange with a client that says what it likes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_sasl(data));
