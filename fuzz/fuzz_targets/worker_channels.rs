//! Clients of the display and cursor channels, while a guest draws.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_worker_channels(data));
