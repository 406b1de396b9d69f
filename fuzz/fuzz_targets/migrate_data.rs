//! Migration data for every channel.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_migrate(data));
