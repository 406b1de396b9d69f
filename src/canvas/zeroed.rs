//! Buffers whose size a guest chooses.

use super::DrawError;

/// So many zeros. A host that is short of memory loses the command and not the process, which an ordinary allocation would
/// end.
pub(super) fn zeroed<T: Clone + Default>(len: usize) -> Result<Vec<T>, DrawError> {
    let mut buffer = reserved(len)?;
    buffer.resize(len, T::default());
    Ok(buffer)
}

/// An empty buffer with room for so many values.
pub(super) fn reserved<T>(len: usize) -> Result<Vec<T>, DrawError> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(len).map_err(|_| DrawError::NoMemory)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_in_memory_is_an_error() {
        assert_eq!(zeroed::<u32>(3).unwrap(), [0, 0, 0]);
        assert!(matches!(zeroed::<u64>(usize::MAX / 32), Err(DrawError::NoMemory)));
        assert!(matches!(reserved::<u64>(usize::MAX / 32), Err(DrawError::NoMemory)));
    }
}
