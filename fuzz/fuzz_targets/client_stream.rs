//! A client after the link stage: header style, then framed messages.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_stream(data));
