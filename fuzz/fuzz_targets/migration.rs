//! A server from and to which clients migrate in any order, with state that may be damaged.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_migration(data));
