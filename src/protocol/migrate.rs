//! Migration data (wire.md 3.4), which the source sends to the target through the client. The target trusts
//! no number in it: decoding checks magic, version, pointers and counts against the bytes received.

use super::error::ProtocolError;
use super::reader::Reader;
use super::writer::{Marshaller, Put, count32};
use crate::geometry::Rect;
use crate::limits::MAX_SURFACES;

/// Version of all migration data.
const VERSION: u32 = 1;

/// The magic words of the channels' data.
pub(crate) mod magic {
    pub(crate) const MAIN: u32 = u32::from_le_bytes(*b"MNMD");
    pub(crate) const DISPLAY: u32 = u32::from_le_bytes(*b"DCMD");
    pub(crate) const INPUTS: u32 = u32::from_le_bytes(*b"ICMD");
    pub(crate) const SPICEVMC: u32 = u32::from_le_bytes(*b"SVMD");
    pub(crate) const SMARTCARD: u32 = u32::from_le_bytes(*b"SCMD");
}

fn check_header(r: &mut Reader<'_>, magic: u32) -> Result<(), ProtocolError> {
    let found = r.u32("magic")?;
    if found != magic {
        return Err(r.bad("magic", found.into()));
    }
    let version = r.u32("version")?;
    if version != VERSION {
        return Err(r.bad("version", version.into()));
    }
    Ok(())
}

/// The `size` bytes at `offset` of the body; empty if `size` is 0.
fn pointed<'a>(
    r: &Reader<'_>,
    body: &'a [u8],
    field: &'static str,
    at: u32,
    size: u32,
) -> Result<&'a [u8], ProtocolError> {
    if size == 0 {
        return Ok(&[]);
    }
    let found = usize::try_from(at).ok().zip(usize::try_from(size).ok());
    let found = found.and_then(|(at, size)| body.get(at..)?.get(..size));
    found.ok_or_else(|| r.bad(field, at.into()))
}

/// State of a character device: its tokens, and bytes that the device has not taken yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CharDeviceState {
    pub connected: bool,
    pub num_client_tokens: u32,
    pub num_send_tokens: u32,
    /// Client tokens held by the bytes that are not written yet.
    pub write_num_client_tokens: u32,
    /// Bytes that the device has not taken yet.
    pub write_data: Vec<u8>,
}

impl CharDeviceState {
    /// State of a device whose client needs no tokens: as the original says it, both may send without end.
    #[must_use]
    pub(crate) fn without_tokens(write_data: Vec<u8>) -> Self {
        Self {
            connected: true,
            num_client_tokens: u32::MAX,
            num_send_tokens: u32::MAX,
            write_num_client_tokens: 0,
            write_data,
        }
    }

    fn decode(r: &mut Reader<'_>, body: &[u8]) -> Result<Self, ProtocolError> {
        let version = r.u32("chardev version")?;
        if version != VERSION {
            return Err(r.bad("chardev version", version.into()));
        }
        let connected = r.u8("connected")? != 0;
        let num_client_tokens = r.u32("num_client_tokens")?;
        let num_send_tokens = r.u32("num_send_tokens")?;
        let write_size = r.u32("write_size")?;
        let write_num_client_tokens = r.u32("write_num_client_tokens")?;
        let at = r.u32("write_data_ptr")?;
        let write_data = pointed(r, body, "write_data_ptr", at, write_size)?.to_vec();
        Ok(Self { connected, num_client_tokens, num_send_tokens, write_num_client_tokens, write_data })
    }

    /// Writes the fixed part. The caller fills the returned block with `write_data`.
    fn put(&self, m: &mut Marshaller) -> super::writer::BlockId {
        m.u32(VERSION).u8(self.connected.into()).u32(self.num_client_tokens).u32(self.num_send_tokens);
        m.u32(count32(self.write_data.len())).u32(self.write_num_client_tokens);
        m.pointer()
    }
}

/// State of the main channel: the agent's device and both message streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MainState {
    pub device: CharDeviceState,
    pub client_agent_started: bool,
    /// Number of bytes read so far of the guest's chunk header, and that header.
    pub chunk_header_size: u32,
    pub chunk_port: u32,
    pub chunk_size: u32,
    pub msg_header_done: bool,
    /// The bytes read so far of the guest's current message header.
    pub msg_header: Vec<u8>,
    pub msg_remaining: u32,
    pub filter_result: u8,
    pub client_msg_remaining: u32,
    pub client_filter_result: u8,
}

impl MainState {
    /// Reads MIGRATE_DATA of the main channel.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let r = &mut Reader::new("main", "MIGRATE_DATA", body);
        check_header(r, magic::MAIN)?;
        let device = CharDeviceState::decode(r, body)?;
        let client_agent_started = r.u8("client_agent_started")? != 0;
        let chunk_header_size = r.u32("chunk_header_size")?;
        let chunk_port = r.u32("chunk port")?;
        let chunk_size = r.u32("chunk size")?;
        let msg_header_done = r.u8("msg_header_done")? != 0;
        let partial_len = r.u32("msg_header_partial_len")?;
        let at = r.u32("msg_header_ptr")?;
        if chunk_header_size > 8 {
            return Err(r.bad("chunk_header_size", chunk_header_size.into()));
        }
        if partial_len > 20 {
            return Err(r.bad("msg_header_partial_len", partial_len.into()));
        }
        let msg_header = pointed(r, body, "msg_header_ptr", at, partial_len)?.to_vec();
        Ok(Self {
            device,
            client_agent_started,
            chunk_header_size,
            chunk_port,
            chunk_size,
            msg_header_done,
            msg_header,
            msg_remaining: r.u32("msg_remaining")?,
            filter_result: r.u8("msg_filter_result")?,
            client_msg_remaining: r.u32("client_msg_remaining")?,
            client_filter_result: r.u8("client_filter_result")?,
        })
    }

    /// The body of MIGRATE_DATA.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut m = Marshaller::new();
        m.u32(magic::MAIN).u32(VERSION);
        let write_data = self.device.put(&mut m);
        m.u8(self.client_agent_started.into());
        m.u32(self.chunk_header_size)
            .u32(self.chunk_port)
            .u32(self.chunk_size)
            .u8(self.msg_header_done.into());
        m.u32(count32(self.msg_header.len()));
        let header = m.pointer();
        m.u32(self.msg_remaining).u8(self.filter_result);
        m.u32(self.client_msg_remaining).u8(self.client_filter_result);
        m.select(write_data);
        m.put(&self.device.write_data);
        m.select(header);
        m.put(&self.msg_header);
        m.finish().to_vec()
    }
}

/// A surface that the client has, with the area whose pixels are lossy there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MigratedSurface {
    pub id: u32,
    /// Present if JPEG is on. The rectangle may be empty.
    pub lossy: Option<Rect>,
}

/// State of a display channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DisplayState {
    /// Serial of the last message.
    pub serial: u64,
    /// The target derives its JPEG and zlib settings from this.
    pub low_bandwidth: bool,
    pub pixmap_cache_id: u8,
    /// Pixels.
    pub pixmap_cache_size: i64,
    /// Whether this channel froze the cache and the target's channel restores it.
    pub freezer: bool,
    /// The serials of the client's displays when the cache was frozen.
    pub cache_sync: [u64; 4],
    pub glz_dictionary_id: u8,
    pub glz_window: u32,
    pub glz_max_encoders: u32,
    pub glz_last_image_id: u64,
    pub surfaces: Vec<MigratedSurface>,
}

impl DisplayState {
    /// Reads MIGRATE_DATA of a display channel. `lossy` says whether surfaces carry a lossy area, given whether
    /// the client has little bandwidth; the data do not show it.
    pub(crate) fn decode(body: &[u8], lossy: impl FnOnce(bool) -> bool) -> Result<Self, ProtocolError> {
        let r = &mut Reader::new("display", "MIGRATE_DATA", body);
        check_header(r, magic::DISPLAY)?;
        let mut state = Self {
            serial: r.u64("message_serial")?,
            low_bandwidth: r.u8("low_bandwidth_setting")? != 0,
            pixmap_cache_id: r.u8("pixmap_cache_id")?,
            pixmap_cache_size: r.i64("pixmap_cache_size")?,
            freezer: r.u8("pixmap_cache_freezer")? != 0,
            ..Self::default()
        };
        for serial in &mut state.cache_sync {
            *serial = r.u64("pixmap_cache_clients")?;
        }
        state.glz_dictionary_id = r.u8("glz_dict_id")?;
        state.glz_window = r.u32("glz_dict size")?;
        state.glz_max_encoders = r.u32("glz_dict max_encoders")?;
        state.glz_last_image_id = r.u64("glz_dict last_id")?;
        let at = r.u32("surfaces_at_client_ptr")?;
        if at != 0 {
            let rest = usize::try_from(at).ok().and_then(|at| body.get(at..));
            let rest = rest.ok_or_else(|| r.bad("surfaces_at_client_ptr", at.into()))?;
            let lossy = lossy(state.low_bandwidth);
            state.surfaces = surfaces(Reader::new("display", "MIGRATE_DATA", rest), lossy)?;
        }
        Ok(state)
    }

    /// The body of MIGRATE_DATA.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut m = Marshaller::new();
        m.u32(magic::DISPLAY).u32(VERSION).u64(self.serial).u8(self.low_bandwidth.into());
        m.u8(self.pixmap_cache_id).i64(self.pixmap_cache_size).u8(self.freezer.into());
        for serial in self.cache_sync {
            m.u64(serial);
        }
        m.u8(self.glz_dictionary_id)
            .u32(self.glz_window)
            .u32(self.glz_max_encoders)
            .u64(self.glz_last_image_id);
        let block = m.pointer();
        m.select(block);
        m.u32(count32(self.surfaces.len()));
        for s in &self.surfaces {
            m.u32(s.id);
            if let Some(r) = s.lossy {
                m.i32(r.left).i32(r.top).i32(r.right).i32(r.bottom);
            }
        }
        m.finish().to_vec()
    }
}

fn surfaces(mut r: Reader<'_>, lossy: bool) -> Result<Vec<MigratedSurface>, ProtocolError> {
    let count = r.u32("num_surfaces")?;
    if count > MAX_SURFACES {
        return Err(r.bad("num_surfaces", count.into()));
    }
    let mut surfaces = Vec::new();
    for _ in 0..count {
        let id = r.u32("surface id")?;
        if id >= MAX_SURFACES {
            return Err(r.bad("surface id", id.into()));
        }
        let mut area = Rect::default();
        if lossy {
            area.left = r.i32("lossy left")?;
            area.top = r.i32("lossy top")?;
            area.right = r.i32("lossy right")?;
            area.bottom = r.i32("lossy bottom")?;
        }
        surfaces.push(MigratedSurface { id, lossy: lossy.then_some(area) });
    }
    Ok(surfaces)
}

/// Reads MIGRATE_DATA of the inputs channel: the number of motions not acknowledged yet.
pub(crate) fn decode_inputs(body: &[u8]) -> Result<u16, ProtocolError> {
    let mut r = Reader::new("inputs", "MIGRATE_DATA", body);
    check_header(&mut r, magic::INPUTS)?;
    r.u16("motion_count")
}

/// The body of MIGRATE_DATA of the inputs channel; the inverse of [`decode_inputs`].
#[must_use]
pub(crate) fn encode_inputs(motion_count: u16) -> Vec<u8> {
    let mut v = Vec::new();
    v.u32(magic::INPUTS).u32(VERSION).u16(motion_count);
    v
}

/// Reads MIGRATE_DATA of a usbredir, port or webdav channel.
pub(crate) fn decode_spicevmc(body: &[u8]) -> Result<CharDeviceState, ProtocolError> {
    let mut r = Reader::new("spicevmc", "MIGRATE_DATA", body);
    check_header(&mut r, magic::SPICEVMC)?;
    CharDeviceState::decode(&mut r, body)
}

/// The body of MIGRATE_DATA of such a channel; the inverse of [`decode_spicevmc`].
#[must_use]
pub(crate) fn encode_spicevmc(device: &CharDeviceState) -> Vec<u8> {
    let mut m = Marshaller::new();
    m.u32(magic::SPICEVMC).u32(VERSION);
    let data = device.put(&mut m);
    m.select(data);
    m.put(&device.write_data);
    m.finish().to_vec()
}

/// State of the smartcard channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SmartcardState {
    pub device: CharDeviceState,
    pub reader_added: bool,
    /// The bytes read so far of the device's current message.
    pub read_data: Vec<u8>,
}

impl SmartcardState {
    /// Reads MIGRATE_DATA of the smartcard channel.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let r = &mut Reader::new("smartcard", "MIGRATE_DATA", body);
        check_header(r, magic::SMARTCARD)?;
        let device = CharDeviceState::decode(r, body)?;
        let reader_added = r.u8("reader_added")? != 0;
        let size = r.u32("read_size")?;
        let at = r.u32("read_data_ptr")?;
        let read_data = pointed(r, body, "read_data_ptr", at, size)?.to_vec();
        Ok(Self { device, reader_added, read_data })
    }

    /// The body of MIGRATE_DATA.
    #[must_use]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut m = Marshaller::new();
        m.u32(magic::SMARTCARD).u32(VERSION);
        let write_data = self.device.put(&mut m);
        m.u8(self.reader_added.into()).u32(count32(self.read_data.len()));
        let read_data = m.pointer();
        m.select(write_data);
        m.put(&self.device.write_data);
        m.select(read_data);
        m.put(&self.read_data);
        m.finish().to_vec()
    }
}

/// Fuzz oracle: decodes any bytes as the migration data of each channel, without a panic.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_migrate(body: &[u8]) {
    let _ =
        (MainState::decode(body), decode_inputs(body), decode_spicevmc(body), SmartcardState::decode(body));
    for lossy in [false, true] {
        if let Ok(state) = DisplayState::decode(body, |_| lossy) {
            assert!(state.surfaces.len() <= MAX_SURFACES as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device() -> CharDeviceState {
        CharDeviceState {
            connected: true,
            num_client_tokens: 3,
            num_send_tokens: 4,
            write_num_client_tokens: 1,
            write_data: vec![1, 2, 3],
        }
    }

    #[test]
    fn states_survive() {
        let main =
            MainState { device: device(), msg_header: vec![9; 7], msg_remaining: 5, ..MainState::default() };
        assert_eq!(MainState::decode(&main.encode()), Ok(main));
        let lossy = Some(Rect::new(1, 2, 3, 4));
        let display = DisplayState {
            serial: 99,
            pixmap_cache_size: -5,
            cache_sync: [1, 2, 3, 4],
            surfaces: vec![MigratedSurface { id: 0, lossy }, MigratedSurface { id: 7, lossy }],
            ..DisplayState::default()
        };
        assert_eq!(DisplayState::decode(&display.encode(), |_| true), Ok(display));
        let card = SmartcardState { device: device(), reader_added: true, read_data: vec![8] };
        assert_eq!(SmartcardState::decode(&card.encode()), Ok(card));
        assert_eq!(decode_spicevmc(&encode_spicevmc(&device())), Ok(device()));
        assert_eq!(decode_inputs(&encode_inputs(3)), Ok(3));
        assert_eq!(encode_spicevmc(&CharDeviceState::default()).len(), 8 + 25);
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    /// What the original sent for a machine with a qxl-vga, a port, and a client with a cache of 20 Mi pixels and a
    /// dictionary of 8 Mi.
    #[test]
    fn data_of_the_original_are_read_and_written() {
        let head = concat!(
            "44434d44010000000a0000000000000000010000400100000000010000000000000000000000000000000000000000000000",
            "0000000000000000000100008000040000000000000000000000"
        );
        let exact = bytes(&format!("{head}500000000100000000000000"));
        let mut display = DisplayState {
            serial: 10,
            pixmap_cache_id: 1,
            pixmap_cache_size: 20 << 20,
            freezer: true,
            glz_dictionary_id: 1,
            glz_window: 8 << 20,
            glz_max_encoders: 4,
            surfaces: vec![MigratedSurface { id: 0, lossy: None }],
            ..DisplayState::default()
        };
        assert_eq!(display.encode(), exact);
        assert_eq!(DisplayState::decode(&exact, |_| false), Ok(display.clone()));
        let lossy = bytes(&format!("{head}50000000010000000000000000000000000000000000000000000000"));
        display.surfaces[0].lossy = Some(Rect::default());
        assert_eq!(display.encode(), lossy);
        assert_eq!(DisplayState::decode(&lossy, |low| !low), Ok(display));

        let port = bytes("53564d44010000000100000001ffffffffffffffff000000000000000000000000");
        let all = u32::MAX;
        let device = CharDeviceState {
            connected: true,
            num_client_tokens: all,
            num_send_tokens: all,
            ..CharDeviceState::default()
        };
        assert_eq!(encode_spicevmc(&device), port);
        assert_eq!(decode_spicevmc(&port), Ok(device));

        let mut no_agent = bytes("4d4e4d440100000001000000");
        no_agent.resize(8 + 57, 0);
        assert_eq!(MainState::default().encode(), no_agent);
        assert_eq!(MainState::decode(&no_agent), Ok(MainState::default()));
        assert_eq!(encode_inputs(0), bytes("49434d44010000000000"));
    }

    #[test]
    fn bad_magic_pointers_and_counts_are_refused() {
        assert!(decode_inputs(b"XXXX\x01\0\0\0\0\0").is_err());
        let mut data = encode_spicevmc(&device());
        data[29] = 0xff;
        assert!(decode_spicevmc(&data).is_err());
        let mut display = DisplayState::default().encode();
        let at = display.len() - 4;
        display[at..].copy_from_slice(&2000u32.to_le_bytes());
        assert!(DisplayState::decode(&display, |_| false).is_err());
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn damaged_data_do_not_panic(at in 0usize..120, byte: u8, cut in 0usize..120) {
            let main = MainState { device: device(), msg_header: vec![9; 7], ..MainState::default() };
            let display = DisplayState { surfaces: vec![MigratedSurface { id: 1, lossy: None }; 3], ..DisplayState::default() };
            let card = SmartcardState { device: device(), reader_added: true, read_data: vec![8] };
            for mut data in [main.encode(), display.encode(), card.encode(), encode_spicevmc(&device())] {
                if let Some(b) = data.get_mut(at) {
                    *b = byte;
                }
                data.truncate(cut.max(8));
                fuzz_migrate(&data);
            }
        }
    }
}
