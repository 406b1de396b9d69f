//! Clients of the display and cursor channels, and a guest that draws meanwhile.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_worker_channels(data));
