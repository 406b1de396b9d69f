//! Looks for libsasl2. Where it is missing the crate is empty, and the crates above learn it from `DEP_SASL2_FOUND`:
//! SASL is part of the library by default, but nobody has to install it to build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(have_sasl2)");
    // 2.1.26 is the first release whose sasl_set_mutex leaves a library in use alone.
    match pkg_config::Config::new().atleast_version("2.1.26").probe("libsasl2") {
        Ok(_) => {
            println!("cargo::rustc-cfg=have_sasl2");
            println!("cargo::metadata=found=1");
        }
        Err(_) => {
            println!("cargo::warning=libsasl2 was not found by pkg-config: clients cannot log in by SASL")
        }
    }
}
