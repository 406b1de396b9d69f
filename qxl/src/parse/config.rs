//! Surfaces and monitors configurations.

use super::fields::Fields;
use super::{ParseError, Result, bad};
use crate::memory::GuestMemory;
use crate::surface::GuestSurface;
use spice_server_core::host::{DeviceError, MappedSurface, MonitorHead, MonitorsConfig, SurfaceSpec};
use spice_server_core::image::SurfaceFormat;
use spice_server_core::limits;
use std::sync::Arc;

/// Checks the parameters of a surface and maps its memory, zero-filled unless its data is kept (qxl.md A6).
///
/// # Errors
/// A parameter is wrong; the text names it.
pub(crate) fn map_surface(
    memory: &Arc<GuestMemory>,
    spec: &SurfaceSpec,
) -> std::result::Result<MappedSurface, DeviceError> {
    checked_surface(memory, spec).map_err(|error| DeviceError(format!("surface: {error}")))
}

pub(super) fn checked_surface(memory: &Arc<GuestMemory>, spec: &SurfaceSpec) -> Result<MappedSurface> {
    let format = match SurfaceFormat::try_from(spec.format) {
        Ok(format) => format,
        Err(format) => return bad("surface format", format, "unknown"),
    };
    if spec.width == 0 || spec.height == 0 {
        return bad("surface size", 0, "empty");
    }
    if spec.stride == i32::MIN {
        return bad("surface stride", spec.stride, "cannot be negated");
    }
    let stride = u64::from(spec.stride.unsigned_abs());
    // The original accepts odd strides and then crashes in pixman, which wants rows of whole 32-bit words; they would
    // also split pixels. Drivers align to 4.
    if stride % 4 != 0 {
        return bad("surface stride", spec.stride, "not a multiple of 4");
    }
    if stride < format.min_stride(spec.width) {
        return bad("surface stride", spec.stride, "shorter than a row");
    }
    // Coordinates are signed 32-bit; a size beyond them cannot pass the next check either way.
    let size = u64::from(spec.height) * stride;
    if size > limits::MAX_GUEST_OBJECT {
        return bad("surface size", size, "bytes are more than allowed");
    }
    let block = memory.resolve(spec.group_id, spec.address, size);
    let block = block.map_err(|e| ParseError::Memory("surface data", e))?;
    if !spec.keep_data {
        block.fill(0, block.len(), 0);
    }
    Ok(MappedSurface {
        width: spec.width,
        height: spec.height,
        stride: spec.stride,
        format,
        memory: Box::new(GuestSurface(block)),
    })
}

/// Monitors that are read at most: the device's ROM has room for 64.
const MAX_HEADS: u16 = 64;
const HEADER: usize = 4;
const HEAD: usize = 28;

/// Copies a monitors configuration (qxl.md A10), every field read once. Both counts are clamped to `max_monitors`, which counts as
/// 1 if it is 0.
///
/// # Errors
/// The configuration is not in a memslot, has no monitors, or more than allowed.
pub(crate) fn monitors_config(
    memory: &Arc<GuestMemory>,
    address: u64,
    group_id: u32,
    max_monitors: u32,
) -> std::result::Result<MonitorsConfig, DeviceError> {
    read_monitors(memory, address, group_id, max_monitors)
        .map_err(|error| DeviceError(format!("monitors config: {error}")))
}

fn read_monitors(
    memory: &Arc<GuestMemory>,
    address: u64,
    group_id: u32,
    max_monitors: u32,
) -> Result<MonitorsConfig> {
    let unmapped = |e| ParseError::Memory("structure", e);
    let start = memory.resolve(group_id, address, 32).map_err(unmapped)?;
    let header = start.read_array::<HEADER>(0);
    let (count, max_allowed) = (Fields(&header).u16(0), Fields(&header).u16(2));
    if count == 0 {
        return bad("count", 0, "no monitors");
    }
    if count > max_allowed {
        return bad("count", count, "more monitors than max_allowed");
    }
    let whole = start.following(0, 4 + 28 * u64::from(count)).map_err(unmapped)?;
    let clamp = u16::try_from(max_monitors).unwrap_or(u16::MAX).max(1);
    let heads = (0..usize::from(count.min(MAX_HEADS).min(clamp)))
        .map(|i| {
            let bytes = whole.read_array::<HEAD>(HEADER + HEAD * i);
            let f = Fields(&bytes);
            MonitorHead {
                id: f.u32(0),
                surface_id: f.u32(4),
                width: f.u32(8),
                height: f.u32(12),
                x: f.u32(16),
                y: f.u32(20),
                flags: f.u32(24),
            }
        })
        .collect();
    Ok(MonitorsConfig { max_allowed: max_allowed.min(clamp), heads })
}
