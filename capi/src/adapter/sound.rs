//! Buffers that the host fills with sound. A buffer belongs to the host from get_buffer to put_samples, whatever becomes of
//! client, interface and server in between: hosts go on writing into it.

use super::{HostPointer, locked};
use crate::handle::Instance;
use spice_server_core::channel::sound::{FRAME, Frame, Loan};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};

/// Buffers kept for the next time.
const MAX_FREE: usize = 8;

struct Lent {
    buffer: HostPointer<Frame>,
    loan: Loan,
    /// For whom it was lent. A buffer of an instance that was removed is only taken back.
    instance: Weak<Instance>,
}

#[derive(Default)]
struct Buffers {
    /// The one that came back last goes out first.
    #[expect(clippy::vec_box, reason = "a buffer must not move when the host gets it")]
    free: Vec<Box<Frame>>,
    lent: HashMap<usize, Lent>,
}

static BUFFERS: LazyLock<Mutex<Buffers>> = LazyLock::new(Mutex::default);

/// A buffer for the host, which gives it back to [`take_back`].
pub(crate) fn lend(instance: &Arc<Instance>, loan: Loan) -> *mut u32 {
    let buffers = &mut *locked(&BUFFERS);
    let buffer = Box::into_raw(buffers.free.pop().unwrap_or_else(|| Box::new([0; FRAME])));
    let instance = Arc::downgrade(instance);
    buffers.lent.insert(buffer.addr(), Lent { buffer: HostPointer(buffer), loan, instance });
    buffer.cast()
}

/// A buffer comes back: what is in it, and the loan if it was of this instance. `None`: it is not a buffer of ours that the
/// host holds.
pub(crate) fn take_back(
    pointer: *mut u32,
    instance: Option<&Arc<Instance>>,
) -> Option<(Arc<Frame>, Option<Loan>)> {
    let buffers = &mut *locked(&BUFFERS);
    let lent = buffers.lent.remove(&pointer.addr())?;
    // SAFETY: made by `Box::into_raw` in `lend`, and on the list until now. The host no longer touches it.
    let buffer = unsafe { Box::from_raw(lent.buffer.0) };
    let samples = Arc::new(*buffer);
    if buffers.free.len() < MAX_FREE {
        buffers.free.push(buffer);
    }
    let is_its = |instance: &&Arc<Instance>| Weak::as_ptr(&lent.instance) == Arc::as_ptr(instance);
    Some((samples, instance.filter(is_its).map(|_| lent.loan)))
}
