//! Smartcard readers: guests and clients that say what they like, readers that come and go.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_smartcard(data));
