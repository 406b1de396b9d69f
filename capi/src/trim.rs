//! Gives memory that nobody uses back to the system, with the C library that has a function for that.

/// Tells the core how, once per process.
pub(crate) fn install() {
    #[cfg(target_env = "gnu")]
    spice_server_core::memory::set_trim(trim);
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: the function only looks at free memory of the allocator, under the allocator's own locks. Any thread may call it.
    let _ = unsafe { libc::malloc_trim(0) };
}
