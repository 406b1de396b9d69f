//! A hostile guest before the display and cursor channels, with clients that watch.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_qxl::oracles::fuzz_screen(data));
