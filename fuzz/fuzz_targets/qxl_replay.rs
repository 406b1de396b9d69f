//! A recording of a device's commands, without its header.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_qxl::oracles::fuzz_replay(data));
