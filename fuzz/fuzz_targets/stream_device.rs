//! A streaming device: any guest, and clients that come, read and go as they like.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_stream_device(data));
