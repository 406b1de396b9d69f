//! Character devices: flow control, the guest's agent stream, compressed data.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_server_core::oracles::fuzz_devices(data));
