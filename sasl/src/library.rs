//! What is done once in a process.
//!
//! libsasl2 does not lock what its connections share unless it is given locks before its first use. Logins run on several
//! threads here, since one that waits for a directory server must not hold up the others. If the host used libsasl2 before
//! us (QEMU does for VNC) it is too late for locks: then our own calls come one after the other.

use crate::SaslError;
use crate::ffi::{self, SASL_FAIL, SASL_OK};
use libc::{c_int, c_void, pthread_mutex_t};
use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The result of the one initialisation.
static READY: OnceLock<Result<(), SaslError>> = OnceLock::new();
/// libsasl2 uses our locks.
static LOCKS: AtomicBool = AtomicBool::new(false);
/// Held during calls while it does not.
static TURN: Mutex<()> = Mutex::new(());

/// Loads plugins and the configuration `APP_NAME.conf`. Takes milliseconds, and sees the file system as it is now: a host
/// that will lock itself up calls it before. Only the first call of the process counts, since libsasl2 has one state.
pub fn initialise(app_name: &str) -> Result<(), SaslError> {
    READY.get_or_init(|| start(app_name)).clone()
}

fn start(app_name: &str) -> Result<(), SaslError> {
    // It stays in use by libsasl2 for the life of the process.
    let name = CString::new(app_name).map_err(|_| SaslError::Nul("the application's name"))?;
    let name: &'static CStr = Box::leak(name.into_boxed_c_str());
    // SAFETY: the functions are what the declaration asks for and live as long as the process, since this library is never
    // unloaded. A libsasl2 that is in use ignores the call.
    unsafe { ffi::sasl_set_mutex(new_lock, lock, unlock, free_lock) };
    // SAFETY: no callbacks, and a string that lives for ever.
    let code = unsafe { ffi::sasl_server_init(ptr::null(), name.as_ptr()) };
    if code == SASL_OK {
        return Ok(());
    }
    // SAFETY: the text is a constant of libsasl2; NULL asks for the default language.
    let detail = unsafe { text(ffi::sasl_errstring(code, ptr::null(), ptr::null_mut())) };
    Err(SaslError::Failed { call: "sasl_server_init", detail })
}

/// To be held during the calls that use what connections share: plugins and user databases.
pub(crate) fn turn() -> Option<MutexGuard<'static, ()>> {
    let alone = !LOCKS.load(Ordering::Relaxed);
    alone.then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A C string as one line of text.
///
/// # Safety
/// `string` is NULL or a string.
pub(crate) unsafe fn text(string: *const libc::c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: a string by contract.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().escape_debug().to_string()
}

unsafe extern "C" fn new_lock() -> *mut c_void {
    // SAFETY: size of a complete type.
    let lock = unsafe { libc::malloc(size_of::<pthread_mutex_t>()) };
    // SAFETY: memory of our own, of the right size and malloc's alignment.
    if lock.is_null() || unsafe { libc::pthread_mutex_init(lock.cast(), ptr::null()) } != 0 {
        // SAFETY: NULL or from malloc; nobody else has it.
        unsafe { libc::free(lock) };
        return ptr::null_mut();
    }
    LOCKS.store(true, Ordering::Relaxed);
    lock
}

unsafe extern "C" fn lock(lock: *mut c_void) -> c_int {
    // SAFETY: libsasl2 passes what `new_lock` made.
    if unsafe { libc::pthread_mutex_lock(lock.cast()) } == 0 { SASL_OK } else { SASL_FAIL }
}

unsafe extern "C" fn unlock(lock: *mut c_void) -> c_int {
    // SAFETY: libsasl2 passes what `new_lock` made, locked by this thread.
    if unsafe { libc::pthread_mutex_unlock(lock.cast()) } == 0 { SASL_OK } else { SASL_FAIL }
}

unsafe extern "C" fn free_lock(lock: *mut c_void) {
    if !lock.is_null() {
        // SAFETY: libsasl2 passes what `new_lock` made, once, when it needs it no more.
        unsafe {
            libc::pthread_mutex_destroy(lock.cast());
            libc::free(lock);
        }
    }
}
