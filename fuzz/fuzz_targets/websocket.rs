//! Frames and requests of a WebSocket client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_websocket(data));
