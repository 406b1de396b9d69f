//! Image streams from a hostile guest or peer, through every decoder.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_decoders(data));
