//! A SASL exchange with a hostile client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_sasl(data));
