//! USB, port and webdav devices: guests and clients that say and take what they like, and clients that move to other hosts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_vmc(data));
