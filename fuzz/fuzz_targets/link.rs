//! The bytes of a link stage.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_link_stage(data));
