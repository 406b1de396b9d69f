//! A hostile guest in front of the display and cursor channels, while clients watch.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_qxl::oracles::fuzz_screen(data));
