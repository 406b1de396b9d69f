//! Functions of `spice-qxl.h` (qxl.md A4).

use crate::abi::*;
use crate::adapter::qxl::{command_ext, qxl_rect};
use crate::boundary::guard;
use crate::convert;
use crate::lookup::{with_qxl, with_worker};
use libc::{c_char, c_int, c_uint};
use spice_qxl::memory::MemSlot;
use spice_server_core::geometry::Rect;
use spice_server_core::host::SurfaceSpec;
use spice_server_core::warning;
use spice_server_core::worker::{GlPlane, GlScanout};
use std::os::fd::{FromRawFd, OwnedFd};

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_qxl.rs"));

/// Bytes of a device address, without its NUL (qxl.md A10).
const MAX_DEVICE_ADDRESS: usize = 255;
/// Displays that one interface can stand for.
const MAX_DEVICE_DISPLAYS: u32 = 16;
/// Planes of a scanout.
const MAX_PLANES: u32 = 4;
/// "No modifier" of DRM.
const DRM_FORMAT_MOD_INVALID: u64 = 0x00ff_ffff_ffff_ffff;

fn rect(area: &QXLRect) -> Rect {
    Rect { left: area.left, top: area.top, right: area.right, bottom: area.bottom }
}

/// The slot that the host adds. Without one it is a slot that no device has, so that the device refuses it and an
/// asynchronous request completes.
///
/// # Safety
/// `slot` is NULL or points to a slot, for which the host promises what [`MemSlot::promised`] demands (qxl.md A5).
unsafe fn memslot(slot: *const QXLDevMemSlot) -> Box<MemSlot> {
    // SAFETY: by contract.
    let slot = unsafe { convert::value(slot) }
        .unwrap_or(QXLDevMemSlot { slot_group_id: u32::MAX, ..QXLDevMemSlot::default() });
    let address = |address| u64::try_from(address).unwrap_or(u64::MAX);
    let range = address(slot.virt_start)..address(slot.virt_end);
    // SAFETY: by contract.
    Box::new(unsafe {
        MemSlot::promised(slot.slot_group_id, slot.slot_id, slot.generation, range, slot.addr_delta)
    })
}

fn surface_spec(surface: &QXLDevSurfaceCreate) -> SurfaceSpec {
    SurfaceSpec {
        width: surface.width,
        height: surface.height,
        stride: surface.stride,
        format: surface.format,
        keep_data: surface.flags & 1 != 0,
        address: surface.mem,
        group_id: surface.group_id,
    }
}

/// The rings have commands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_wakeup(instance: *mut QXLInstance) {
    with_worker("spice_qxl_wakeup", instance, |worker| worker.wakeup());
}

/// The guest is out of memory: commands are released as soon as possible, then flush_resources is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_oom(instance: *mut QXLInstance) {
    with_worker("spice_qxl_oom", instance, |worker| worker.oom());
}

/// Starts one device; spice_server_vm_start() starts all.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_start(instance: *mut QXLInstance) {
    with_worker("spice_qxl_start", instance, |worker| worker.start());
}

/// Stops one device; spice_server_vm_stop() stops all.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_stop(instance: *mut QXLInstance) {
    with_worker("spice_qxl_stop", instance, |worker| worker.stop());
}

/// Renders everything drawn in area into the surface's memory and waits for it. dirty_rects gets all changed areas of the
/// surface (the last one covers what does not fit, unused ones are zeros); clear_dirty_region forgets them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_update_area(
    instance: *mut QXLInstance,
    surface_id: u32,
    area: *mut QXLRect,
    dirty_rects: *mut QXLRect,
    num_dirty_rects: u32,
    clear_dirty_region: u32,
) {
    with_worker("spice_qxl_update_area", instance, |worker| {
        // SAFETY: the caller passes NULL or a rectangle.
        let Some(area) = (unsafe { convert::value(area) }) else {
            warning!("spice_qxl_update_area: NULL area");
            return;
        };
        let room = if dirty_rects.is_null() { 0 } else { usize::try_from(num_dirty_rects).unwrap_or(0) };
        let dirty = worker.update_area(surface_id, rect(&area), Some(room), clear_dirty_region != 0);
        let dirty: Vec<QXLRect> = dirty.iter().map(qxl_rect).collect();
        // SAFETY: the caller's array has `num_dirty_rects` places, or is NULL.
        unsafe { convert::fill(dirty_rects, room, &dirty) };
    });
}

/// Lets addresses of the guest point into a range of memory, and waits until that is so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_add_memslot(instance: *mut QXLInstance, slot: *mut QXLDevMemSlot) {
    with_worker("spice_qxl_add_memslot", instance, |worker| {
        if slot.is_null() {
            warning!("spice_qxl_add_memslot: NULL slot");
            return;
        }
        // SAFETY: the caller passes a slot, and answers for its memory until it removes the slot.
        worker.add_memslot(unsafe { memslot(slot) });
    });
}

/// Takes back what spice_qxl_add_memslot() did.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_del_memslot(instance: *mut QXLInstance, slot_group_id: u32, slot_id: u32) {
    with_worker("spice_qxl_del_memslot", instance, |worker| worker.del_memslot(slot_group_id, slot_id));
}

/// Takes back all memslots.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_memslots(instance: *mut QXLInstance) {
    with_worker("spice_qxl_reset_memslots", instance, |worker| worker.reset_memslots());
}

/// Destroys all surfaces and waits for it; no command is held afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces(instance: *mut QXLInstance) {
    with_worker("spice_qxl_destroy_surfaces", instance, |worker| worker.destroy_surfaces());
}

/// Destroys the primary surface and waits for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_primary_surface(instance: *mut QXLInstance, surface_id: u32) {
    with_qxl("spice_qxl_destroy_primary_surface", instance, |device| device.destroy_primary(surface_id));
}

/// Makes the primary surface, the screen, and waits for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_create_primary_surface(
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
) {
    with_qxl("spice_qxl_create_primary_surface", instance, |device| {
        // SAFETY: the caller passes NULL or a surface.
        match unsafe { convert::value(surface) } {
            Some(surface) => device.create_primary(surface_id, &surface_spec(&surface), surface.mouse_mode),
            None => warning!("spice_qxl_create_primary_surface: NULL surface"),
        }
    });
}

/// Forgets images that were decoded for rendering.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_image_cache(instance: *mut QXLInstance) {
    with_worker("spice_qxl_reset_image_cache", instance, |worker| worker.reset_image_cache());
}

/// Forgets the pointer and releases its command.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_reset_cursor(instance: *mut QXLInstance) {
    with_worker("spice_qxl_reset_cursor", instance, |worker| worker.reset_cursor());
}

/// Renders what depends on the surface and drops what is drawn on it; the surface itself stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surface_wait(instance: *mut QXLInstance, surface_id: u32) {
    with_worker("spice_qxl_destroy_surface_wait", instance, |worker| worker.destroy_surface_wait(surface_id));
}

/// Processes surface and cursor commands that were alive when the machine's state was saved.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_loadvm_commands(
    instance: *mut QXLInstance,
    ext: *mut QXLCommandExt,
    count: u32,
) {
    with_worker("spice_qxl_loadvm_commands", instance, |worker| {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        // SAFETY: the caller's array has `count` commands.
        match unsafe { convert::array(ext, count) } {
            Some(commands) => worker.loadvm_commands(commands.iter().map(command_ext).collect()),
            None => warning!("spice_qxl_loadvm_commands: NULL commands"),
        }
    });
}

/// Like spice_qxl_update_area(); the changed areas go to update_area_complete, then comes async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_update_area_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    qxl_area: *mut QXLRect,
    clear_dirty_region: u32,
    cookie: u64,
) {
    with_worker("spice_qxl_update_area_async", instance, |worker| {
        // SAFETY: the caller passes NULL or a rectangle. An empty one changes nothing and completes.
        let area = unsafe { convert::value(qxl_area) }.unwrap_or_default();
        worker.update_area_async(surface_id, rect(&area), clear_dirty_region != 0, cookie);
    });
}

/// Like spice_qxl_add_memslot(), reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_add_memslot_async(
    instance: *mut QXLInstance,
    slot: *mut QXLDevMemSlot,
    cookie: u64,
) {
    with_worker("spice_qxl_add_memslot_async", instance, |worker| {
        // SAFETY: the caller passes NULL or a slot, and answers for its memory until it removes the slot.
        worker.add_memslot_async(unsafe { memslot(slot) }, cookie);
    });
}

/// Like spice_qxl_destroy_surfaces(), reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surfaces_async(instance: *mut QXLInstance, cookie: u64) {
    with_worker("spice_qxl_destroy_surfaces_async", instance, |worker| worker.destroy_surfaces_async(cookie));
}

/// Like spice_qxl_destroy_primary_surface(), reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_primary_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    cookie: u64,
) {
    with_qxl("spice_qxl_destroy_primary_surface_async", instance, |device| {
        device.destroy_primary_async(surface_id, cookie)
    });
}

/// Like spice_qxl_create_primary_surface(), reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_create_primary_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    surface: *mut QXLDevSurfaceCreate,
    cookie: u64,
) {
    with_qxl("spice_qxl_create_primary_surface_async", instance, |device| {
        // SAFETY: the caller passes NULL or a surface. One of no size is refused and completes.
        let surface = unsafe { convert::value(surface) }.unwrap_or_default();
        device.create_primary_async(surface_id, &surface_spec(&surface), surface.mouse_mode, cookie);
    });
}

/// Like spice_qxl_destroy_surface_wait() for any surface, reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_destroy_surface_async(
    instance: *mut QXLInstance,
    surface_id: u32,
    cookie: u64,
) {
    with_worker("spice_qxl_destroy_surface_async", instance, |worker| {
        worker.destroy_surface_async(surface_id, cookie)
    });
}

/// Renders everything into the memory of all surfaces, reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_flush_surfaces_async(instance: *mut QXLInstance, cookie: u64) {
    with_worker("spice_qxl_flush_surfaces_async", instance, |worker| worker.flush_surfaces_async(cookie));
}

/// The guest's monitors, at an address of the guest; reported by async_complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_monitors_config_async(
    instance: *mut QXLInstance,
    monitors_config: QXLPHYSICAL,
    group_id: c_int,
    cookie: u64,
) {
    with_worker("spice_qxl_monitors_config_async", instance, |worker| {
        worker.monitors_config_async(monitors_config, group_id.cast_unsigned(), cookie)
    });
}

/// The guest's driver is gone: the library describes the monitors again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_driver_unload(instance: *mut QXLInstance) {
    with_worker("spice_qxl_driver_unload", instance, |worker| worker.driver_unload());
}

/// Limits the number of monitors; spice_qxl_set_device_info() replaces it.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_set_max_monitors(instance: *mut QXLInstance, max_monitors: c_uint) {
    with_worker("spice_qxl_set_max_monitors", instance, |worker| worker.set_max_monitors(max_monitors));
}

/// The screen is in a dmabuf, which then belongs to the library; fd -1: it is not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout(
    qxl: *mut QXLInstance,
    fd: c_int,
    width: u32,
    height: u32,
    stride: u32,
    format: u32,
    y_0_top: c_int,
) {
    let plane = owned(fd).map(|fd| GlPlane { fd, offset: 0, stride });
    let scanout = GlScanout {
        planes: plane.into_iter().collect(),
        width,
        height,
        drm_fourcc: format,
        modifier: DRM_FORMAT_MOD_INVALID,
        y0_top: y_0_top != 0,
    };
    // The device, not its worker alone: mouse mode and tablet follow the screen's size.
    with_qxl("spice_qxl_gl_scanout", qxl, |device| device.gl_scanout(scanout));
}

/// An area of the scanout changed; async_complete comes when all clients have shown it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_draw_async(
    qxl: *mut QXLInstance,
    x: u32,
    y: u32,
    w: u32,
    h: u32,
    cookie: u64,
) {
    with_worker("spice_qxl_gl_draw_async", qxl, |worker| {
        let edge = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let area = Rect {
            left: edge(x),
            top: edge(y),
            right: edge(x.saturating_add(w)),
            bottom: edge(y.saturating_add(h)),
        };
        worker.gl_draw_async(area, cookie);
    });
}

/// Where the device is: "pci/DOMAIN/SLOT.FUNCTION/..." with the bridges before it, in hexadecimal digits (4, 2 and 1 of
/// them); and which displays of the device the monitors of this interface are: monitor i is display
/// device_display_id_start + i, of device_display_id_count. Since 0.14.2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_set_device_info(
    instance: *mut QXLInstance,
    device_address: *const c_char,
    device_display_id_start: u32,
    device_display_id_count: u32,
) {
    with_qxl("spice_qxl_set_device_info", instance, |device| {
        // SAFETY: the caller passes NULL or a string.
        let Some(address) = (unsafe { convert::string(device_address) }) else {
            warning!("spice_qxl_set_device_info: NULL address");
            return;
        };
        if address.len() > MAX_DEVICE_ADDRESS {
            warning!("spice_qxl_set_device_info: address of {} bytes", address.len());
            return;
        }
        if device_display_id_count > MAX_DEVICE_DISPLAYS {
            warning!(
                "spice_qxl_set_device_info: {device_display_id_count} displays, at most {MAX_DEVICE_DISPLAYS}"
            );
            return;
        }
        device.set_device_info(&address, device_display_id_start, device_display_id_count);
    });
}

/// The screen is in num_planes dmabufs, which then belong to the library: fd, offset and stride have num_planes values
/// each. num_planes 0: the screen is in no dmabuf, the arrays may be NULL. Since 0.16.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_qxl_gl_scanout2(
    qxl: *mut QXLInstance,
    fd: *const c_int,
    width: u32,
    height: u32,
    offset: *const u32,
    stride: *const u32,
    num_planes: u32,
    format: u32,
    modifier: u64,
    y_0_top: c_int,
) {
    guard("spice_qxl_gl_scanout2", || {
        if num_planes > MAX_PLANES {
            warning!("spice_qxl_gl_scanout2: {num_planes} planes, at most {MAX_PLANES}");
            return;
        }
        let count = usize::try_from(num_planes).unwrap_or(0);
        // SAFETY: the caller's arrays have `num_planes` values.
        let arrays = unsafe {
            (convert::array(fd, count), convert::array(offset, count), convert::array(stride, count))
        };
        let (Some(fds), Some(offsets), Some(strides)) = arrays else {
            warning!("spice_qxl_gl_scanout2: NULL array");
            return;
        };
        // All of them are ours from here, also if the first says that there is no buffer.
        let fds: Vec<Option<OwnedFd>> = fds.into_iter().map(owned).collect();
        let mut planes: Vec<GlPlane> = Vec::new();
        if fds.first().is_some_and(Option::is_some) {
            for ((fd, offset), stride) in fds.into_iter().zip(offsets).zip(strides) {
                planes.extend(fd.map(|fd| GlPlane { fd, offset, stride }));
            }
        }
        let scanout = GlScanout { planes, width, height, drm_fourcc: format, modifier, y0_top: y_0_top != 0 };
        with_qxl("spice_qxl_gl_scanout2", qxl, |device| device.gl_scanout(scanout));
    });
}

/// A descriptor that the host gave away; `None` for -1.
fn owned(fd: c_int) -> Option<OwnedFd> {
    // SAFETY: by the contract of the scanout functions the descriptor belongs to the library.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
