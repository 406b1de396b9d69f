//! A hostile guest: choices of commands and of how they are mutated.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| spice_qxl::oracles::fuzz_guest(data));
