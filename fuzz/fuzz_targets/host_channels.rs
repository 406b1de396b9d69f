//! A client's messages to the main and inputs channels.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_host_channels(data));
