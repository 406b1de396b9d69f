//! Rebuilds commands in the layout of guest memory (qxl.md B2 to B5, C2).

use super::ids::{Destroyed, SurfaceIds};
use super::reader::{Reader, Result, bad, block};
use crate::bytes::Bytes;
use crate::memory::Block;
use crate::parse::draw::draw_type;
use spice_server_core::geometry::Rect;
use spice_server_core::limits;

const ANY: u64 = limits::MAX_GUEST_OBJECT;
const DIRECT: u8 = 1;
const STYLED: u8 = 8;
/// Bytes before those of a chunk.
const CHUNK_HEAD: usize = 20;

/// Memory of one command as it grows.
pub(super) struct Builder<'a> {
    reader: &'a mut Reader,
    ids: &'a SurfaceIds,
    /// What becomes `release_info.id`.
    release_id: u64,
    blocks: Vec<Block>,
    /// Bytes that the file does not have.
    blank: u64,
    destroys: Option<Destroyed>,
}

/// A command that is complete.
pub(super) struct Built {
    pub blocks: Vec<Block>,
    pub blank: u64,
    pub destroys: Option<Destroyed>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(reader: &'a mut Reader, ids: &'a SurfaceIds, release_id: u64) -> Self {
        Self { reader, ids, release_id, blocks: Vec::new(), blank: 0, destroys: None }
    }

    pub(super) fn finish(self) -> Built {
        Built { blocks: self.blocks, blank: self.blank, destroys: self.destroys }
    }

    /// Memory of the command with these bytes; gives its address.
    fn put(&mut self, bytes: &[u8]) -> Result<u64> {
        let block = block(bytes)?;
        let address = block.address();
        self.blocks.push(block);
        Ok(address)
    }

    fn head(&self) -> Bytes {
        Bytes::new().u64(self.release_id)
    }

    /// CHUNKS: the first chunk with its header, for the end of another structure, and the total.
    fn chunks(&mut self, limit: u64) -> Result<(Bytes, u64)> {
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        let total = self.reader.chunks(limit, |reader, left| {
            check_hops(chunks.len())?;
            let chunk = reader.binary(left)?;
            let len = chunk.len();
            chunks.push(chunk);
            Ok(len)
        })?;
        let mut next = 0;
        while chunks.len() > 1 {
            let Some(chunk) = chunks.pop() else { break };
            next = self.put(&chunk_bytes(&chunk, next)?.0)?;
        }
        Ok((chunk_bytes(&chunks.pop().unwrap_or_default(), next)?, total))
    }

    /// CHUNKS as a structure of its own, for what may be large: the bytes go where they stay. Gives its address.
    fn chunk_list(&mut self, limit: u64) -> Result<u64> {
        let mut chunks: Vec<Block> = Vec::new();
        self.reader.chunks(limit, |reader, left| {
            check_hops(chunks.len())?;
            let chunk = reader.binary_block(CHUNK_HEAD, left)?;
            let len = chunk.len() - CHUNK_HEAD;
            chunks.push(chunk);
            Ok(len)
        })?;
        let mut next = 0;
        while let Some(chunk) = chunks.pop() {
            chunk.write(0, &chunk_head(chunk.len() - CHUNK_HEAD, next)?.0);
            next = chunk.address();
            self.blocks.push(chunk);
        }
        Ok(next)
    }

    pub(super) fn drawable(&mut self) -> Result<u64> {
        self.reader.keyword("drawable")?;
        let bbox = self.reader.rect("bbox")?;
        let clip = self.clip()?;
        let effect = self.reader.u8("effect")?;
        let mm_time = self.reader.u32("mm_time")?;
        let self_bitmap = self.reader.u8("self_bitmap")?;
        let self_bitmap_area = self.reader.rect("self_bitmap_area")?;
        let surface = self.surface_id("surface_id")?;
        let mut ids = Bytes::new();
        let mut areas = Bytes::new();
        for _ in 0..3 {
            let id = match self.reader.i32("surfaces_dest")? {
                -1 => u32::MAX,
                id => self.ids.get(id.cast_unsigned()),
            };
            ids = ids.u32(id);
            areas = areas.rect(self.reader.rect("surfaces_rects")?);
        }
        let draw_type = self.reader.u8("type")?;
        let body = self.body(draw_type)?;
        let head = self.head().u32(surface).u8(effect).u8(draw_type).u8(self_bitmap).rect(self_bitmap_area);
        let frame = head.rect(bbox).bytes(&clip.0).u32(mm_time).bytes(&ids.0).bytes(&areas.0);
        self.put(&frame.bytes(&body.0).pad_to(191).0)
    }

    fn surface_id(&mut self, field: &'static str) -> Result<u32> {
        Ok(self.ids.get(self.reader.u32(field)?))
    }

    fn clip(&mut self) -> Result<Bytes> {
        let kind = self.reader.u32("type")?;
        let mut address = 0;
        if kind == 1 {
            let count = self.reader.u32("num_rects")?;
            let (chunk, _) = self.chunks(16 * u64::from(count))?;
            address = self.put(&Bytes::new().u32(count).bytes(&chunk.0).0)?;
        }
        Ok(Bytes::new().u32(kind).u64(address))
    }

    fn body(&mut self, kind: u8) -> Result<Bytes> {
        Ok(match kind {
            draw_type::NOP => Bytes::new(),
            draw_type::FILL => {
                let bytes = self.brush()?.u16(self.reader.u16("rop_descriptor")?);
                self.then_mask(bytes)?
            }
            draw_type::OPAQUE => {
                let source = self.source()?;
                let bytes = source.bytes(&self.brush()?.0).u16(self.reader.u16("rop_descriptor")?);
                self.then_scale_and_mask(bytes)?
            }
            draw_type::COPY | draw_type::BLEND => {
                let bytes = self.source()?.u16(self.reader.u16("rop_descriptor")?);
                self.then_scale_and_mask(bytes)?
            }
            draw_type::COPY_BITS => Bytes::new().point(self.reader.point()?),
            draw_type::BLACKNESS | draw_type::WHITENESS | draw_type::INVERS => self.then_mask(Bytes::new())?,
            draw_type::ROP3 => {
                let source = self.source()?;
                let bytes = source.bytes(&self.brush()?.0).u8(self.reader.u8("rop3")?);
                self.then_scale_and_mask(bytes)?
            }
            draw_type::STROKE => self.stroke()?,
            draw_type::TEXT => self.text()?,
            draw_type::TRANSPARENT => {
                let source = self.source()?;
                source.u32(self.reader.u32("src_color")?).u32(self.reader.u32("true_color")?)
            }
            draw_type::ALPHA_BLEND => {
                let head = Bytes::new().u16(self.reader.u16("alpha_flags")?).u8(self.reader.u8("alpha")?);
                head.bytes(&self.source()?.0)
            }
            draw_type::COMPOSITE => self.composite()?,
            other => return bad("draw type", other, "unknown"),
        })
    }

    fn source(&mut self) -> Result<Bytes> {
        let image = self.image()?;
        Ok(Bytes::new().u64(image).rect(self.reader.rect("src_area")?))
    }

    fn then_scale_and_mask(&mut self, bytes: Bytes) -> Result<Bytes> {
        let bytes = bytes.u8(self.reader.u8("scale_mode")?);
        self.then_mask(bytes)
    }

    fn then_mask(&mut self, bytes: Bytes) -> Result<Bytes> {
        let (flags, origin) = (self.reader.u8("flags")?, self.reader.point()?);
        let image = self.image()?;
        Ok(bytes.u8(flags).point(origin).u64(image))
    }

    fn brush(&mut self) -> Result<Bytes> {
        let kind = self.reader.u32("type")?;
        let bytes = Bytes::new().u32(kind);
        let bytes = match kind {
            1 => bytes.u32(self.reader.u32("u.color")?),
            2 => {
                let image = self.image()?;
                bytes.u64(image).point(self.reader.point()?)
            }
            _ => bytes,
        };
        Ok(bytes.pad_to(20))
    }

    fn stroke(&mut self) -> Result<Bytes> {
        let (chunk, total) = self.chunks(ANY)?;
        let path = self.put(&Bytes::new().u32(size32(total)?).bytes(&chunk.0).0)?;
        let flags = self.reader.u8("attr.flags")?;
        let (mut count, mut style) = (0, 0);
        if flags & STYLED != 0 {
            count = self.reader.u8("attr.style_nseg")?;
            let dashes = self.reader.binary(4 * u64::from(count))?;
            if dashes.len() != 4 * usize::from(count) {
                return bad("style", count, "dashes are not there");
            }
            style = self.put(&dashes)?;
        }
        let attr = Bytes::new().u64(path).u8(flags).u8(0).u8(0).u8(count).u32(0).u32(0).u64(style);
        let bytes = attr.bytes(&self.brush()?.0);
        Ok(bytes.u16(self.reader.u16("fore_mode")?).u16(self.reader.u16("back_mode")?))
    }

    fn text(&mut self) -> Result<Bytes> {
        let size = self.reader.u32("data_size")?;
        let (length, flags) = (self.reader.u16("length")?, self.reader.u16("flags")?);
        let (chunk, _) = self.chunks(u64::from(size))?;
        let string = self.put(&Bytes::new().u32(size).u16(length).u16(flags).bytes(&chunk.0).0)?;
        let bytes = Bytes::new().u64(string).rect(self.reader.rect("back_area")?);
        let bytes = bytes.bytes(&self.brush()?.0);
        let bytes = bytes.bytes(&self.brush()?.0);
        Ok(bytes.u16(self.reader.u16("fore_mode")?).u16(self.reader.u16("back_mode")?))
    }

    fn composite(&mut self) -> Result<Bytes> {
        let flags = self.reader.u32("flags")?;
        let src = self.image()?;
        let src_transform = self.transform("src_transform")?;
        let mask = if self.reader.flag("mask")? { self.image()? } else { 0 };
        let mask_transform = self.transform("mask_transform")?;
        let bytes = Bytes::new().u32(flags).u64(src).u64(src_transform).u64(mask).u64(mask_transform);
        let bytes = bytes.point16(self.reader.point16("src_origin")?);
        Ok(bytes.point16(self.reader.point16("mask_origin")?))
    }

    fn transform(&mut self, name: &'static str) -> Result<u64> {
        if !self.reader.flag(name)? {
            return Ok(0);
        }
        let matrix = self.reader.binary(24)?;
        if matrix.len() != 24 {
            return bad(name, i128::from(size32(matrix.len())?), "bytes are no matrix");
        }
        self.put(&matrix)
    }

    /// IMAGE: its address, 0 for none.
    fn image(&mut self) -> Result<u64> {
        if !self.reader.flag("image")? {
            return Ok(0);
        }
        let bytes = Bytes::new().u64(self.reader.u64("descriptor.id")?);
        let kind = self.reader.u8("descriptor.type")?;
        let bytes = bytes.u8(kind).u8(self.reader.u8("descriptor.flags")?);
        let bytes =
            bytes.u32(self.reader.u32("descriptor.width")?).u32(self.reader.u32("descriptor.height")?);
        let bytes = match kind {
            0 => self.bitmap(bytes)?,
            1 => {
                let size = self.reader.u32("quic.data_size")?;
                let (chunk, _) = self.chunks(u64::from(size))?;
                bytes.u32(size).bytes(&chunk.0)
            }
            104 => bytes.u32(self.surface_id("surface_image.surface_id")?),
            other => return bad("descriptor.type", other, "unknown"),
        };
        self.put(&bytes.pad_to(48).0)
    }

    fn bitmap(&mut self, bytes: Bytes) -> Result<Bytes> {
        let format = self.reader.u8("bitmap.format")?;
        let flags = self.reader.u8("bitmap.flags")?;
        let (width, height) = (self.reader.u32("bitmap.x")?, self.reader.u32("bitmap.y")?);
        let stride = self.reader.u32("bitmap.stride")?;
        let palette = if self.reader.flag("has_palette")? { self.palette()? } else { 0 };
        let size = u64::from(height) * u64::from(stride);
        if size > ANY {
            return bad("bitmap", size, "bytes are too many");
        }
        let data = if flags & DIRECT != 0 {
            let pixels = self.reader.binary_block(0, size)?;
            if u64::try_from(pixels.len()).ok() != Some(size) {
                return bad("bitmap", size, "bytes are not there");
            }
            let address = pixels.address();
            self.blocks.push(pixels);
            address
        } else {
            self.chunk_list(size)?
        };
        Ok(bytes.u8(format).u8(flags).u32(width).u32(height).u32(stride).u64(palette).u64(data))
    }

    fn palette(&mut self) -> Result<u64> {
        let count = self.reader.u16("qp.num_ents")?;
        let mut bytes = Bytes::new().u64(self.reader.u64("unique")?).u16(count);
        for _ in 0..count {
            bytes = bytes.u32(self.reader.u32("ents")?);
        }
        self.put(&bytes.0)
    }

    pub(super) fn update(&mut self) -> Result<u64> {
        self.reader.keyword("update")?;
        let area: Rect = self.reader.rect("area")?;
        let update_id = self.reader.u32("update_id")?;
        let surface = self.surface_id("surface_id")?;
        self.put(&self.head().rect(area).u32(update_id).u32(surface).0)
    }

    pub(super) fn message(&mut self) -> Result<u64> {
        let text = self.reader.binary(ANY)?;
        self.put(&self.head().bytes(&text).u8(0).0)
    }

    pub(super) fn surface(&mut self) -> Result<u64> {
        self.reader.keyword("surface_cmd")?;
        let recorded = self.reader.u32("surface_id")?;
        let (kind, flags) = (self.reader.u8("type")?, self.reader.u32("flags")?);
        let bytes = match kind {
            0 => {
                let (format, width) =
                    (self.reader.u32("u.surface_create.format")?, self.reader.u32("u.surface_create.width")?);
                let height = self.reader.u32("u.surface_create.height")?;
                let stride = self.reader.i32("u.surface_create.stride")?;
                let size = u64::from(height) * u64::from(stride.unsigned_abs());
                if size > ANY {
                    return bad("surface", size, "bytes are too many");
                }
                let pixels = self.surface_pixels(size, flags & 1 != 0)?;
                let Some(id) = self.ids.add(recorded) else {
                    return bad("surface", recorded, "is one more than the host can have");
                };
                let head = self.head().u32(id).u8(kind).u32(flags);
                head.u32(format).u32(width).u32(height).i32(stride).u64(pixels)
            }
            1 => {
                let (id, destroyed) = self.ids.destroy(recorded);
                self.destroys = destroyed;
                self.head().u32(id).u8(kind).u32(flags).pad_to(41)
            }
            other => return bad("surface command type", other, "unknown"),
        };
        self.put(&bytes.0)
    }

    fn surface_pixels(&mut self, size: u64, keep_data: bool) -> Result<u64> {
        if keep_data {
            let pixels = self.reader.binary(size)?;
            if u64::try_from(pixels.len()).ok() == Some(size) {
                return self.put(&pixels);
            }
            return bad("surface", size, "bytes are not there");
        }
        let block = usize::try_from(size).ok().and_then(Block::try_zeroed);
        let Some(block) = block else { return bad("surface", size, "bytes cannot be allocated") };
        self.blank += size;
        let address = block.address();
        self.blocks.push(block);
        Ok(address)
    }

    pub(super) fn cursor(&mut self) -> Result<u64> {
        self.reader.keyword("cursor_cmd")?;
        let kind = self.reader.u8("type")?;
        let bytes = self.head().u8(kind);
        let bytes = match kind {
            0 => {
                let bytes = bytes.point16(self.reader.point16("point16")?);
                let bytes = bytes.u8(self.reader.u8("u.set.visible")?);
                bytes.u64(self.cursor_shape()?)
            }
            1 => bytes.point16(self.reader.point16("point16")?),
            2 => bytes,
            3 => bytes.u16(self.reader.u16("u.trail.length")?).u16(self.reader.u16("u.trail.frequency")?),
            other => return bad("cursor command type", other, "unknown"),
        };
        self.put(&bytes.pad_to(150).0)
    }

    fn cursor_shape(&mut self) -> Result<u64> {
        let bytes = Bytes::new().u64(self.reader.u64("header.unique")?).u16(self.reader.u16("header.type")?);
        let bytes = bytes.u16(self.reader.u16("header.width")?).u16(self.reader.u16("header.height")?);
        let bytes =
            bytes.u16(self.reader.u16("header.hot_spot_x")?).u16(self.reader.u16("header.hot_spot_y")?);
        let _claimed = self.reader.u32("data_size")?;
        let (chunk, total) = self.chunks(ANY)?;
        self.put(&bytes.u32(size32(total)?).bytes(&chunk.0).0)
    }
}

fn chunk_bytes(data: &[u8], next: u64) -> Result<Bytes> {
    Ok(chunk_head(data.len(), next)?.bytes(data))
}

/// What is before the bytes of a chunk.
fn chunk_head(len: usize, next: u64) -> Result<Bytes> {
    Ok(Bytes::new().u32(size32(len)?).u64(0).u64(next))
}

fn check_hops(chunks: usize) -> Result<()> {
    if chunks < limits::MAX_CHUNK_HOPS {
        Ok(())
    } else {
        bad("data_chunks", i128::from(ANY), "chunks are too many")
    }
}

fn size32(size: impl TryInto<u32>) -> Result<u32> {
    match size.try_into() {
        Ok(size) => Ok(size),
        Err(_) => bad("size", i128::from(u32::MAX), "is exceeded"),
    }
}
