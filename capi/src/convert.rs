//! Reading what C pointers point to. Everything is copied; nothing here keeps a pointer.

use libc::c_char;
use std::ffi::CStr;

/// A C string, copied; bytes that are not UTF-8 are replaced. `None` for NULL.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that does not change during the call.
pub(crate) unsafe fn string(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, so terminated and unchanging by this function's contract.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// The bytes of a C string without the NUL, copied. `None` for NULL.
///
/// # Safety
/// As for [`string`].
pub(crate) unsafe fn bytes(text: *const c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, so terminated and unchanging by this function's contract.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// Copies `count` values out of a C array; `None` when the pointer is NULL and the count is not 0.
///
/// # Safety
/// `array` is NULL or points to `count` readable, initialized values (of any alignment).
pub(crate) unsafe fn array<T: Copy>(array: *const T, count: usize) -> Option<Vec<T>> {
    if count == 0 {
        return Some(Vec::new());
    }
    if array.is_null() {
        return None;
    }
    let mut values = Vec::new();
    values.try_reserve_exact(count).ok()?;
    for index in 0..count {
        // SAFETY: `index < count`, so within the array by this function's contract.
        values.push(unsafe { array.add(index).read_unaligned() });
    }
    Some(values)
}

/// A copy of what the pointer points to; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL or points to a readable, initialized value (of any alignment).
pub(crate) unsafe fn value<T: Copy>(pointer: *const T) -> Option<T> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not NULL, so readable by this function's contract.
    Some(unsafe { pointer.read_unaligned() })
}

/// The opposite of [`array`]: writes `values` and fills the rest of `count` with zeros (defaults).
///
/// # Safety
/// `array` is NULL or points to `count` writable values.
pub(crate) unsafe fn fill<T: Copy + Default>(array: *mut T, count: usize, values: &[T]) {
    if array.is_null() {
        return;
    }
    for index in 0..count {
        let value = values.get(index).copied().unwrap_or_default();
        // SAFETY: `index < count`, so within the array by this function's contract.
        unsafe { array.add(index).write_unaligned(value) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_none() {
        // SAFETY: NULL is allowed.
        unsafe {
            assert_eq!(string(std::ptr::null()), None);
            assert_eq!(bytes(std::ptr::null()), None);
            assert_eq!(array::<u32>(std::ptr::null(), 3), None);
            assert_eq!(array::<u32>(std::ptr::null(), 0), Some(Vec::new()));
            assert_eq!(value::<u32>(std::ptr::null()), None);
            fill::<u32>(std::ptr::null_mut(), 3, &[]);
        }
    }

    #[test]
    fn strings_and_arrays_are_copied() {
        // SAFETY: literals and locals outlive the calls.
        unsafe {
            assert_eq!(string(c"sp\xffice".as_ptr()).as_deref(), Some("sp\u{fffd}ice"));
            assert_eq!(bytes(c"a\xff".as_ptr()), Some(vec![b'a', 0xff]));
            assert_eq!(array([1u32, 2].as_ptr(), 2), Some(vec![1, 2]));
            let mut out = [9u32; 3];
            fill(out.as_mut_ptr(), 3, &[1]);
            assert_eq!(out, [1, 0, 0]);
        }
    }
}
