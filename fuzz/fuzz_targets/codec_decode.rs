//! Image streams as a guest or a peer may hand them over.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_decoders(data));
