//! A hostile guest: the input selects commands and how to mutate them.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_qxl::oracles::fuzz_guest(data));
