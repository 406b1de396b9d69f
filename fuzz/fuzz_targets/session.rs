//! A server whose clients connect, send and disconnect in any order.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_session(data));
