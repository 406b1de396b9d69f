//! QXL_CMD_CURSOR (qxl.md B2, display.md 13.4).

use super::chunks::{CHUNK_HEADER, Excess};
use super::fields::Fields;
use super::{Context, ParseError, Result, bad};
use crate::memory::GuestRange;
use spice_server_core::guest::ReleaseToken;
use spice_server_core::host::{CursorCommand, CursorShape};
use spice_server_core::limits;

/// Bytes that a shape of this type and size has; `None` for an unknown type.
pub(crate) fn shape_bytes(cursor_type: u16, width: u16, height: u16) -> Option<u64> {
    let (w, h) = (u64::from(width), u64::from(height));
    let mask = (w * h).div_ceil(8);
    Some(match cursor_type {
        0 => 4 * w * h,
        1 => 2 * w.div_ceil(8) * h,
        2 => w.div_ceil(2) * h + 16 * 4 + mask,
        3 => w * h + 256 * 4 + mask,
        4 => 2 * w * h + mask,
        5 => 3 * w * h + mask,
        6 => 4 * w * h + mask,
        _ => return None,
    })
}

impl Context<'_> {
    pub(super) fn cursor(&self, header: &GuestRange, release: ReleaseToken) -> Result<CursorCommand> {
        let bytes = header.read_array::<150>(0);
        let f = Fields(&bytes);
        Ok(match f.u8(8) {
            0 => CursorCommand::Set {
                position: f.point16(9),
                visible: f.u8(13) != 0,
                shape: self.shape(f.u64(14))?,
                release: self.charged(release),
            },
            1 => CursorCommand::Move { position: f.point16(9), release },
            2 => CursorCommand::Hide { release },
            3 => CursorCommand::Trail { length: f.u16(9), frequency: f.u16(11), release },
            other => return bad("cursor command type", other, "unknown"),
        })
    }

    fn shape(&self, address: u64) -> Result<CursorShape> {
        const HEADER: u64 = 22;
        let header = self.range("cursor shape", address, HEADER + CHUNK_HEADER)?;
        let bytes = header.read_array::<22>(0);
        let f = Fields(&bytes);
        let (cursor_type, width, height) = (f.u16(8), f.u16(10), f.u16(12));
        if width > limits::MAX_CURSOR_SIDE || height > limits::MAX_CURSOR_SIDE {
            return bad("cursor size", width.max(height), "pixels are more than allowed");
        }
        let (Some(needed), Ok(wire_type)) =
            (shape_bytes(cursor_type, width, height), u8::try_from(cursor_type))
        else {
            return bad("cursor type", cursor_type, "unknown");
        };
        let claimed = u64::from(f.u32(18));
        if claimed < needed {
            return bad("cursor data_size", claimed, "bytes are too few for the cursor's size");
        }
        let chunk =
            header.following(HEADER, CHUNK_HEADER).map_err(|e| ParseError::Memory("cursor data", e))?;
        let data = self.chunk_bytes("cursor data", chunk, needed, Excess::Cut)?;
        if u64::try_from(data.len()).ok() != Some(needed) {
            return bad("cursor data", data.len(), "bytes are too few for the cursor's size");
        }
        Ok(CursorShape {
            unique: f.u64(0),
            cursor_type: wire_type,
            width,
            height,
            hot_x: f.u16(14).min(width.saturating_sub(1)),
            hot_y: f.u16(16).min(height.saturating_sub(1)),
            data: data.into(),
        })
    }
}
