//! Room for the descriptors of connections.
//!
//! The kernel keeps the descriptors of a process in a table, which it replaces by one of twice the size when it is full.
//! In a process with several threads the thread that needs the larger table waits until no processor uses the old one any
//! more: 8 to 32 ms on an idle machine, more on a busy one. That thread would be the host's, inside of `accept`, when the
//! 256th or the 512th descriptor comes, and all clients would wait with it.

use crate::limits::DESCRIPTOR_TABLE;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::eventfd::EventFd;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::close;

/// Makes the kernel enlarge the table now, for as many descriptors as connections may need. Waits as described for the
/// [module](self), so not for the host thread. A process that may not have so many descriptors gets what it may have; on
/// any other failure the table grows later, as it would have without this.
pub(crate) fn reserve_table() {
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(DESCRIPTOR_TABLE, |(soft, _)| soft);
    let highest = i32::try_from(allowed.min(DESCRIPTOR_TABLE)).unwrap_or(0) - 1;
    let Ok(any) = EventFd::new() else { return };
    // A descriptor with a high number needs a table of that size, which outlives it.
    if let Ok(high) = fcntl(&any, FcntlArg::F_DUPFD_CLOEXEC(highest)) {
        let _ = close(high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_room_for_the_connections() {
        reserve_table();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() >= soft.min(DESCRIPTOR_TABLE), "{size}");
    }
}
