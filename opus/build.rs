//! Looks for the system's libopus. Without it the crate builds all the same, and codecs cannot be made.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    match pkg_config::Config::new().atleast_version("1.0").probe("opus") {
        Ok(_) => println!("cargo::rustc-cfg=system_opus"),
        Err(_) => {
            println!("cargo::warning=libopus was not found by pkg-config: sound will not be compressed")
        }
    }
}
