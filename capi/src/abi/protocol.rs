//! The types of spice-protocol's headers that appear in callbacks and functions.

/// 8 bytes in guest memory: the guest's id, later overwritten by the host.
#[repr(C)]
pub struct QXLReleaseInfo {
    pub id: u64,
}

/// Names a command to be given back to the guest.
#[repr(C)]
pub struct QXLReleaseInfoExt {
    pub info: *mut QXLReleaseInfo,
    pub group_id: u32,
}

/// Address in guest terms: memslot, generation and offset (qxl.md A5).
pub type QXLPHYSICAL = u64;

#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub struct QXLCommand {
    pub data: QXLPHYSICAL,
    pub command_type: u32,
    pub padding: u32,
}

/// A command as it leaves a ring.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub struct QXLCommandExt {
    pub cmd: QXLCommand,
    pub group_id: u32,
    pub flags: u32,
}

#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
pub struct QXLRect {
    pub top: i32,
    pub left: i32,
    pub bottom: i32,
    pub right: i32,
}

/// Head of a monitors configuration; monitors of 20 bytes follow.
#[repr(C, packed)]
pub struct VDAgentMonitorsConfig {
    pub num_of_monitors: u32,
    pub flags: u32,
}
