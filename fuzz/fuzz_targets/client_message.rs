//! One message on every channel: its type, then its body.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_client_bytes(data));
