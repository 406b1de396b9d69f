//! Display channel messages other than draws (wire.md 5). Draws are in [`super::draw`].

use super::body::{Message, Segment};
use super::common::{self, CommonMessage, WaitFor};
use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Marshaller, Put, count32};
use crate::draw::Clip;
use crate::geometry::Rect;
use crate::image::SurfaceFormat;
use crate::qxl_command::MonitorHead;

/// Server message types.
#[allow(dead_code, reason = "the table is as whole as that of the specification")]
pub(crate) mod server {
    pub(crate) const MODE: u16 = 101;
    pub(crate) const MARK: u16 = 102;
    pub(crate) const RESET: u16 = 103;
    pub(crate) const COPY_BITS: u16 = 104;
    pub(crate) const INVAL_LIST: u16 = 105;
    pub(crate) const INVAL_ALL_PIXMAPS: u16 = 106;
    pub(crate) const INVAL_PALETTE: u16 = 107;
    pub(crate) const INVAL_ALL_PALETTES: u16 = 108;
    pub(crate) const STREAM_CREATE: u16 = 122;
    pub(crate) const STREAM_DATA: u16 = 123;
    pub(crate) const STREAM_CLIP: u16 = 124;
    pub(crate) const STREAM_DESTROY: u16 = 125;
    pub(crate) const STREAM_DESTROY_ALL: u16 = 126;
    pub(crate) const DRAW_FILL: u16 = 302;
    pub(crate) const DRAW_OPAQUE: u16 = 303;
    pub(crate) const DRAW_COPY: u16 = 304;
    pub(crate) const DRAW_BLEND: u16 = 305;
    pub(crate) const DRAW_BLACKNESS: u16 = 306;
    pub(crate) const DRAW_WHITENESS: u16 = 307;
    pub(crate) const DRAW_INVERS: u16 = 308;
    pub(crate) const DRAW_ROP3: u16 = 309;
    pub(crate) const DRAW_STROKE: u16 = 310;
    pub(crate) const DRAW_TEXT: u16 = 311;
    pub(crate) const DRAW_TRANSPARENT: u16 = 312;
    pub(crate) const DRAW_ALPHA_BLEND: u16 = 313;
    pub(crate) const SURFACE_CREATE: u16 = 314;
    pub(crate) const SURFACE_DESTROY: u16 = 315;
    pub(crate) const STREAM_DATA_SIZED: u16 = 316;
    pub(crate) const MONITORS_CONFIG: u16 = 317;
    pub(crate) const DRAW_COMPOSITE: u16 = 318;
    pub(crate) const STREAM_ACTIVATE_REPORT: u16 = 319;
    pub(crate) const GL_SCANOUT_UNIX: u16 = 320;
    pub(crate) const GL_SCANOUT2_UNIX: u16 = 323;
    pub(crate) const GL_DRAW: u16 = 321;
    pub(crate) const QUALITY_INDICATOR: u16 = 322;
}

/// Client message types.
pub(crate) mod client {
    pub(crate) const INIT: u16 = 101;
    pub(crate) const STREAM_REPORT: u16 = 102;
    pub(crate) const PREFERRED_COMPRESSION: u16 = 103;
    pub(crate) const GL_DRAW_DONE: u16 = 104;
    pub(crate) const PREFERRED_VIDEO_CODEC_TYPE: u16 = 105;
}

/// SURFACE_CREATE flag: the primary surface.
pub(crate) const SURFACE_PRIMARY: u32 = 1;
/// SURFACE_CREATE flag: a stream device's surface; needs client capability MULTI_CODEC.
pub(crate) const SURFACE_STREAMING_MODE: u32 = 2;
/// STREAM_CREATE flag.
pub(crate) const STREAM_TOP_DOWN: u8 = 1;

/// Largest body of an ordinary client message (wire.md 2.3).
pub(crate) const MAX_BODY: usize = 1024;
/// Largest MIGRATE_DATA body. The original sets no limit, but caches and surface lists are bounded.
pub(crate) const MAX_MIGRATE_DATA: usize = 1 << 20;

/// The body limit for [`crate::net::stream::ChannelStream::receive`], for display and cursor channels.
#[must_use]
pub(crate) fn max_body(msg_type: u16) -> Option<usize> {
    Some(if msg_type == common::client::MIGRATE_DATA { MAX_MIGRATE_DATA } else { MAX_BODY })
}

/// MARK: the client may show the primary surface.
#[must_use]
pub(crate) fn mark() -> Message {
    Message::bare(server::MARK)
}

/// INVAL_LIST: images that the client removes from its pixmap cache.
#[must_use]
pub(crate) fn inval_list(ids: &[u64]) -> Message {
    let ids = &ids[..ids.len().min(usize::from(u16::MAX))];
    let mut v = Vec::with_capacity(2 + 9 * ids.len());
    v.u16(u16::try_from(ids.len()).unwrap_or(u16::MAX));
    for &id in ids {
        v.u8(1).u64(id);
    }
    Message::new(server::INVAL_LIST, v)
}

/// INVAL_ALL_PIXMAPS: the client waits for the listed serials, then empties its pixmap cache.
#[must_use]
pub(crate) fn inval_all_pixmaps(wait: &[WaitFor]) -> Message {
    Message::new(server::INVAL_ALL_PIXMAPS, common::wait_list(wait))
}

/// INVAL_PALETTE.
#[must_use]
pub(crate) fn inval_palette(id: u64) -> Message {
    Message::new(server::INVAL_PALETTE, id.to_le_bytes().to_vec())
}

/// INVAL_ALL_PALETTES.
#[must_use]
pub(crate) fn inval_all_palettes() -> Message {
    Message::bare(server::INVAL_ALL_PALETTES)
}

/// SURFACE_CREATE; `flags` from SURFACE_PRIMARY and SURFACE_STREAMING_MODE.
#[must_use]
pub(crate) fn surface_create(
    surface_id: u32,
    width: u32,
    height: u32,
    format: SurfaceFormat,
    flags: u32,
) -> Message {
    let mut v = Vec::new();
    v.u32(surface_id).u32(width).u32(height).u32(format as u32).u32(flags);
    Message::new(server::SURFACE_CREATE, v)
}

/// SURFACE_DESTROY.
#[must_use]
pub(crate) fn surface_destroy(surface_id: u32) -> Message {
    Message::new(server::SURFACE_DESTROY, surface_id.to_le_bytes().to_vec())
}

/// MONITORS_CONFIG. Heads without area are left out.
#[must_use]
pub(crate) fn monitors_config(max_allowed: u16, heads: &[MonitorHead]) -> Message {
    let heads: Vec<_> =
        heads.iter().filter(|h| h.width > 0 && h.height > 0).take(usize::from(u16::MAX)).collect();
    let mut v = Vec::with_capacity(4 + 28 * heads.len());
    v.u16(u16::try_from(heads.len()).unwrap_or(u16::MAX)).u16(max_allowed);
    for h in heads {
        v.u32(h.id).u32(h.surface_id).u32(h.width).u32(h.height).u32(h.x).u32(h.y).u32(h.flags);
    }
    Message::new(server::MONITORS_CONFIG, v)
}

/// Writes a clip inline, without a pointer.
pub(crate) fn put_clip(out: &mut impl Put, clip: &Clip) {
    match clip {
        Clip::None => {
            out.u8(0);
        }
        Clip::Rects(rects) => {
            out.u8(1).u32(count32(rects.len()));
            for rect in rects.iter() {
                out.rect(rect);
            }
        }
    }
}

/// STREAM_CREATE.
#[derive(Clone, Debug)]
pub(crate) struct StreamCreate {
    pub surface_id: u32,
    pub id: u32,
    pub top_down: bool,
    /// 1 MJPEG, 2 VP8, 3 H264, 4 VP9, 5 H265.
    pub codec: u8,
    pub stream_width: u32,
    pub stream_height: u32,
    pub src_width: u32,
    pub src_height: u32,
    pub dest: Rect,
    pub clip: Clip,
}

impl StreamCreate {
    /// The message.
    #[must_use]
    pub(crate) fn encode(&self) -> Message {
        let mut v = Vec::new();
        v.u32(self.surface_id).u32(self.id);
        v.u8(if self.top_down { STREAM_TOP_DOWN } else { 0 }).u8(self.codec).u64(0);
        v.u32(self.stream_width).u32(self.stream_height).u32(self.src_width).u32(self.src_height);
        v.rect(&self.dest);
        put_clip(&mut v, &self.clip);
        Message::new(server::STREAM_CREATE, v)
    }
}

/// STREAM_DATA: one frame.
#[must_use]
pub(crate) fn stream_data(id: u32, multi_media_time: u32, frame: impl Into<Segment>) -> Message {
    let frame = frame.into();
    let mut m = Marshaller::new();
    m.u32(id).u32(multi_media_time).u32(count32(frame.len()));
    m.segment(frame);
    Message::new(server::STREAM_DATA, m.finish())
}

/// STREAM_DATA_SIZED: one frame whose size (width, height) is not the stream's. The client scales it to `dest`.
#[must_use]
pub(crate) fn stream_data_sized(
    id: u32,
    multi_media_time: u32,
    size: (u32, u32),
    dest: &Rect,
    frame: impl Into<Segment>,
) -> Message {
    let frame = frame.into();
    let mut m = Marshaller::new();
    m.u32(id).u32(multi_media_time).u32(size.0).u32(size.1);
    m.rect(dest);
    m.u32(count32(frame.len()));
    m.segment(frame);
    Message::new(server::STREAM_DATA_SIZED, m.finish())
}

/// STREAM_CLIP.
#[must_use]
pub(crate) fn stream_clip(id: u32, clip: &Clip) -> Message {
    let mut v = Vec::new();
    v.u32(id);
    put_clip(&mut v, clip);
    Message::new(server::STREAM_CLIP, v)
}

/// STREAM_DESTROY.
#[must_use]
pub(crate) fn stream_destroy(id: u32) -> Message {
    Message::new(server::STREAM_DESTROY, id.to_le_bytes().to_vec())
}

/// STREAM_DESTROY_ALL.
#[must_use]
pub(crate) fn stream_destroy_all() -> Message {
    Message::bare(server::STREAM_DESTROY_ALL)
}

/// STREAM_ACTIVATE_REPORT. Needs the client capability STREAM_REPORT.
#[must_use]
pub(crate) fn stream_activate_report(
    id: u32,
    unique_id: u32,
    max_window_size: u32,
    timeout_ms: u32,
) -> Message {
    let mut v = Vec::new();
    v.u32(id).u32(unique_id).u32(max_window_size).u32(timeout_ms);
    Message::new(server::STREAM_ACTIVATE_REPORT, v)
}

/// GL_SCANOUT_UNIX. `ChannelStream::send_fds` sends the byte with the descriptor after it.
#[must_use]
pub(crate) fn gl_scanout_unix(
    width: u32,
    height: u32,
    stride: u32,
    drm_fourcc: u32,
    y0_top: bool,
) -> Message {
    let mut v = Vec::new();
    v.u32(width).u32(height).u32(stride).u32(drm_fourcc).u32(y0_top.into());
    Message::new(server::GL_SCANOUT_UNIX, v)
}

/// GL_SCANOUT2_UNIX: planes as offset and bytes per row. Needs the client capability GL_SCANOUT2. `ChannelStream::send_fds`
/// sends the byte with the descriptors after it.
#[must_use]
pub(crate) fn gl_scanout2_unix(
    (width, height): (u32, u32),
    drm_fourcc: u32,
    y0_top: bool,
    modifier: u64,
    planes: &[(u32, u32)],
) -> Message {
    let mut v = Vec::new();
    v.u32(width).u32(height).u32(drm_fourcc).u32(y0_top.into());
    v.u8(u8::try_from(planes.len()).unwrap_or(u8::MAX)).u64(modifier);
    for (offset, stride) in planes {
        v.u32(*offset).u32(*stride);
    }
    Message::new(server::GL_SCANOUT2_UNIX, v)
}

/// GL_DRAW.
#[must_use]
pub(crate) fn gl_draw(x: u32, y: u32, width: u32, height: u32) -> Message {
    let mut v = Vec::new();
    v.u32(x).u32(y).u32(width).u32(height);
    Message::new(server::GL_DRAW, v)
}

/// A client's report on a stream (wire.md 5.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamReport {
    pub stream_id: u32,
    pub unique_id: u32,
    pub start_mm_time: u32,
    pub end_mm_time: u32,
    pub num_frames: u32,
    pub num_drops: u32,
    pub last_frame_delay: i32,
    /// `u32::MAX`: the client plays no audio.
    pub audio_delay: u32,
}

/// DISPLAY_INIT. The sizes are untrusted: the server bounds them before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DisplayInit {
    pub pixmap_cache_id: u8,
    /// Pixels.
    pub pixmap_cache_size: i64,
    pub glz_dictionary_id: u8,
    /// Pixels.
    pub glz_window_size: i32,
}

/// A message of a display client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DisplayMessage {
    Common(CommonMessage),
    Init(DisplayInit),
    StreamReport(StreamReport),
    PreferredCompression(u8),
    GlDrawDone,
    PreferredVideoCodecType(Vec<u8>),
}

impl DisplayMessage {
    /// Reads a message of the client.
    pub(crate) fn decode(msg_type: u16, body: &[u8]) -> Result<Self, ProtocolError> {
        let reader = |message| Reader::new("display", message, body);
        Ok(match msg_type {
            ..=100 => Self::Common(CommonMessage::decode("display", msg_type, body)?),
            client::INIT => {
                let mut r = reader("INIT");
                Self::Init(DisplayInit {
                    pixmap_cache_id: r.u8("pixmap_cache_id")?,
                    pixmap_cache_size: r.i64("pixmap_cache_size")?,
                    glz_dictionary_id: r.u8("glz_dictionary_id")?,
                    glz_window_size: r.i32("glz_dictionary_window_size")?,
                })
            }
            client::STREAM_REPORT => {
                let mut r = reader("STREAM_REPORT");
                Self::StreamReport(StreamReport {
                    stream_id: r.u32("stream_id")?,
                    unique_id: r.u32("unique_id")?,
                    start_mm_time: r.u32("start_frame_mm_time")?,
                    end_mm_time: r.u32("end_frame_mm_time")?,
                    num_frames: r.u32("num_frames")?,
                    num_drops: r.u32("num_drops")?,
                    last_frame_delay: r.i32("last_frame_delay")?,
                    audio_delay: r.u32("audio_delay")?,
                })
            }
            client::PREFERRED_COMPRESSION => {
                Self::PreferredCompression(reader("PREFERRED_COMPRESSION").u8("image_compression")?)
            }
            client::GL_DRAW_DONE => Self::GlDrawDone,
            client::PREFERRED_VIDEO_CODEC_TYPE => {
                let mut r = reader("PREFERRED_VIDEO_CODEC_TYPE");
                let count = r.u8("num_of_codecs")?;
                Self::PreferredVideoCodecType(r.bytes("codecs", count.into())?.to_vec())
            }
            other => return Err(common::unknown("display", other)),
        })
    }
}

/// Fuzz oracle: decodes any body of any type without a panic.
#[cfg(any(test, feature = "oracles"))]
pub(crate) fn fuzz_display(msg_type: u16, body: &[u8]) {
    let _ = DisplayMessage::decode(msg_type, body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surface_create_matches_the_capture() {
        let m = surface_create(0, 720, 400, SurfaceFormat::Xrgb32, SURFACE_PRIMARY);
        assert_eq!(m.msg_type, 0x13a);
        assert_eq!(m.body.to_vec(), b"\0\0\0\0\xd0\x02\0\0\x90\x01\0\0\x20\0\0\0\x01\0\0\0");
    }

    #[test]
    fn monitors_config_matches_the_capture_and_leaves_out_empty_heads() {
        let head = MonitorHead { width: 720, height: 400, ..MonitorHead::default() };
        let m = monitors_config(1, &[head, MonitorHead { width: 0, ..head }]);
        let expect = b"\x01\0\x01\0\0\0\0\0\0\0\0\0\xd0\x02\0\0\x90\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(m.body.to_vec(), expect);
    }

    #[test]
    fn inval_list_matches_the_capture() {
        assert_eq!(inval_list(&[7 << 32]).body.to_vec(), b"\x01\0\x01\0\0\0\0\x07\0\0\0");
    }

    #[test]
    fn stream_messages_have_their_sizes() {
        let create = StreamCreate {
            surface_id: 0,
            id: 1,
            top_down: true,
            codec: 1,
            stream_width: 2,
            stream_height: 3,
            src_width: 2,
            src_height: 3,
            dest: Rect::new(0, 0, 2, 3),
            clip: Clip::Rects([].into()),
        };
        assert_eq!(create.encode().body.len(), 4 + 4 + 2 + 8 + 16 + 16 + 5);
        assert_eq!(
            stream_data(1, 2, vec![3; 4]).body.to_vec(),
            b"\x01\0\0\0\x02\0\0\0\x04\0\0\0\x03\x03\x03\x03"
        );
        assert_eq!(stream_activate_report(1, 2, 5, 1000).body.len(), 16);
        assert_eq!(gl_scanout_unix(1, 2, 3, 4, true).body.len(), 20);
        // As 0.16.0 sends it.
        let message =
            gl_scanout2_unix((800, 600), 0x3432_5258, true, 0x1122_3344_5566_7788, &[(16, 3200), (17, 3200)]);
        let hex: String = message.body.to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "200300005802000058523234010000000288776655443322111000000080\
             0c000011000000800c0000"
        );
    }

    #[test]
    fn client_messages_have_the_wire_sizes() {
        for (msg_type, size) in [(101, 14), (102, 32), (103, 1), (104, 0), (105, 1)] {
            assert!(DisplayMessage::decode(msg_type, &vec![0; size]).is_ok(), "{msg_type}");
            assert!(DisplayMessage::decode(msg_type, &vec![0; size + 9]).is_ok(), "{msg_type}");
            if size > 0 {
                assert!(DisplayMessage::decode(msg_type, &vec![0; size - 1]).is_err(), "{msg_type}");
            }
        }
        assert!(DisplayMessage::decode(105, &[3, 1, 2]).is_err());
        assert_eq!(
            DisplayMessage::decode(105, &[2, 1, 2, 9]),
            Ok(DisplayMessage::PreferredVideoCodecType(vec![1, 2]))
        );
        assert_eq!(max_body(103), Some(1024));
    }
}
