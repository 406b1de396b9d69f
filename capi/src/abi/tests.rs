//! Layout of the structs on 64-bit machines (server.md 1.5, qxl.md A1).

use super::*;
use std::mem::{offset_of, size_of};

#[test]
#[cfg(target_pointer_width = "64")]
fn structs_have_the_layout_of_the_contract() {
    assert_eq!(size_of::<SpiceBaseInterface>(), 24);
    assert_eq!(size_of::<SpiceCoreInterface>(), 88);
    assert_eq!(offset_of!(SpiceCoreInterface, watch_add), 56);
    assert_eq!(offset_of!(SpiceCoreInterface, channel_event), 80);
    assert_eq!(size_of::<SpiceChannelEventInfo>(), 320);
    assert_eq!(offset_of!(SpiceChannelEventInfo, llen), 48);
    assert_eq!(offset_of!(SpiceChannelEventInfo, paddr_ext), 184);
    assert_eq!(offset_of!(SpiceChannelEventInfo, plen_ext), 316);
    assert_eq!(size_of::<SpiceKbdInterface>(), 40);
    assert_eq!(size_of::<SpiceMouseInterface>(), 40);
    assert_eq!(size_of::<SpiceTabletInterface>(), 56);
    assert_eq!(size_of::<SpiceMigrateInterface>(), 40);
    assert_eq!(size_of::<SpiceCharDeviceInterface>(), 64);
    assert_eq!(offset_of!(SpiceCharDeviceInterface, flags), 56);
    assert_eq!(size_of::<SpiceCharDeviceInstance>(), 32);
    assert_eq!(size_of::<SpiceKbdInstance>(), 16);
    assert_eq!(size_of::<QXLInterface>(), 144);
    assert_eq!(offset_of!(QXLInterface, release_resource), 72);
    assert_eq!(offset_of!(QXLInterface, client_monitors_config), 136);
    assert_eq!(size_of::<QXLInstance>(), 24);
    assert_eq!(size_of::<QXLDevInitInfo>(), 24);
    assert_eq!(size_of::<QXLDevMemSlot>(), 48);
    assert_eq!(size_of::<QXLDevSurfaceCreate>(), 48);
    assert_eq!(size_of::<QXLReleaseInfoExt>(), 16);
    assert_eq!(size_of::<QXLCommandExt>(), 24);
    assert_eq!(size_of::<QXLRect>(), 16);
}
