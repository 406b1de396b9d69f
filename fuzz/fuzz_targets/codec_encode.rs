//! Images of any geometry through every encoder and back.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_encoders(data));
