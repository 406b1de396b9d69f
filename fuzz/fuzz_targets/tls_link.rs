//! A link inside of TLS, whose client may change any byte on the way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_tls_link(data));
