//! Fuzz oracles of the core. Each gives arbitrary bytes of a peer to the code that reads them, and checks
//! that nothing panics. A fuzz target is one call of an oracle; unit tests make the same calls with random
//! input.

mod cards;
mod guests;
pub mod memory;
mod vmc;
mod worker;

pub use crate::channel::inputs::fuzz_inputs_channel;
pub use crate::channel::main::agent::fuzz_agent_stream;
pub use crate::channel::main::fuzz_main_channel;
pub use crate::channel::sound::fuzz_record_channel;
pub use crate::channel::stream::fuzz_stream_device;
pub use crate::codec::lz4::block::fuzz_block;
pub use crate::device::fuzz_device;
pub use crate::net::link::fuzz_machine;
pub use crate::net::sasl::fuzz_exchange as fuzz_sasl;
pub use crate::net::tls::fuzz_tls_link;
pub use crate::protocol::agent::fuzz_agent;
pub use crate::protocol::link::fuzz_link;
pub use crate::protocol::migrate::fuzz_migrate;
pub use crate::reds::{fuzz_migration, fuzz_session};
pub use cards::fuzz_smartcard;
pub use vmc::fuzz_vmc;
pub use worker::{Script, fuzz_worker_channels};

use crate::codec::{glz, graduality, jpeg, lz, lz4, quic};
use crate::guest::SliceSource;
use crate::image::{BitmapFormat, ImageView};
use crate::net::stream::ChannelStream;
use crate::net::transport::Transport;
use crate::protocol::{cursor, display, inputs, main_channel, sound, spicevmc};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// Decodes one client message on every channel.
pub fn fuzz_client_message(msg_type: u16, body: &[u8]) {
    main_channel::fuzz_main(msg_type, body);
    inputs::fuzz_inputs(msg_type, body);
    display::fuzz_display(msg_type, body);
    cursor::fuzz_cursor(msg_type, body);
    sound::fuzz_record(msg_type, body);
    spicevmc::fuzz_spicevmc(msg_type, body);
}

/// The first two bytes are the message type, the rest is the body. The agent then gets all bytes as client
/// data.
pub fn fuzz_client_bytes(data: &[u8]) {
    fuzz_agent(data);
    if let Some((head, body)) = data.split_first_chunk() {
        fuzz_client_message(u16::from_le_bytes(*head), body);
    }
}

/// The link stage. The first byte gives the size of the pieces in which the rest arrives.
pub fn fuzz_link_stage(data: &[u8]) {
    if let Some((&step, rest)) = data.split_first() {
        fuzz_machine(rest, usize::from(step));
    }
    fuzz_link(data);
}

/// The state machines of the host thread's channels.
pub fn fuzz_host_channels(data: &[u8]) {
    fuzz_main_channel(data);
    fuzz_inputs_channel(data);
    fuzz_record_channel(data);
}

/// Flow control of character devices, the guest's agent stream, blocks of compressed data.
pub fn fuzz_devices(data: &[u8]) {
    fuzz_device(data);
    fuzz_agent_stream(data);
    fuzz_block(data);
}

/// The frames of a WebSocket client, and then its upgrade request.
pub fn fuzz_websocket(data: &[u8]) {
    let replay = Replay { input: io::Cursor::new(data.to_vec()), fd: io::stdin() };
    let mut socket = crate::net::websocket::WebSocketTransport::new(Box::new(replay));
    let mut buffer = [0; 64];
    loop {
        match socket.read(&mut buffer) {
            Ok(n) if n > 0 => {}
            Err(_) if socket.has_more() => {}
            _ => break,
        }
    }
    let _ = crate::net::upgrade::answer(data, &crate::net::upgrade::Origins::only("a"));
}

/// A client that has sent all its bytes and then closes.
struct Replay {
    input: io::Cursor<Vec<u8>>,
    fd: io::Stdin,
}

impl Read for Replay {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }
}

impl Write for Replay {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Replay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Transport for Replay {}

/// A client's bytes after the link stage: framing, and then every message on every channel. The first bit
/// selects the header style.
pub fn fuzz_stream(data: &[u8]) {
    let Some((&flags, input)) = data.split_first() else { return };
    let transport = Replay { input: io::Cursor::new(input.to_vec()), fd: io::stdin() };
    let mut stream = ChannelStream::new(Box::new(transport), flags & 1 == 0);
    while let Ok(Some(incoming)) = stream.receive(&display::max_body) {
        fuzz_client_message(incoming.msg_type, &incoming.body);
    }
}

/// Image streams. The descriptor gets the size in the stream's header, so that decoding reaches the pixels.
/// The first byte selects the codec if the header does not.
pub fn fuzz_decoders(data: &[u8]) {
    let Some((&pick, stream)) = data.split_first() else { return };
    let mut out = Vec::new();
    if let Ok(header) = quic::parse_header(stream) {
        // Runs encode many pixels in few bytes. Larger images would only take more time.
        if u64::from(header.width) * u64::from(header.height) <= 1 << 18 {
            for layout in [quic::PixelLayout::Bgra32, quic::PixelLayout::Rgb555, quic::PixelLayout::Gray8] {
                let _ = quic::decode(stream, header.width, header.height, layout, &mut out);
            }
        }
    }
    if let Ok(header) = lz::parse_header(stream) {
        let _ = lz::decode(stream, header.width, header.height, &mut out);
    }
    let _ = lz4::decode(stream, u32::from(pick), 16, &mut out);
    let _ = glz::Decoder::default().decode(stream);
    let _ = glz::inflate(stream, usize::from(pick) * 16);
}

/// An image with the geometry in the first bytes, through every encoder. Streams of lossless encoders must
/// decode to the pixels that a client sees.
pub fn fuzz_encoders(data: &[u8]) {
    let Some((&[format, width, padding, flags, limit], pixels)) = data.split_first_chunk() else { return };
    let Ok(format) = BitmapFormat::try_from(format % 10 + 1) else { return };
    let width = u32::from(width);
    let Ok(row) = u32::try_from(format.min_stride(width)) else { return };
    let stride = row + u32::from(padding % 8);
    let times = usize::from(flags >> 4) + 1;
    let pixels = pixels.repeat(times);
    let Ok(height) = u32::try_from(pixels.len() / (stride as usize).max(1)) else { return };
    if height > crate::limits::MAX_DECODED_SIDE {
        return;
    }
    let source = SliceSource(&pixels);
    let image = ImageView { format, width, height, stride, top_down: flags & 1 != 0, source: &source };
    let limit = if flags & 2 == 0 { usize::MAX } else { usize::from(limit) * 64 };
    let (mut out, mut back) = (Vec::new(), Vec::new());
    // Packed rows, as clients see them.
    let seen = |alpha: bool| {
        let mut rows = Vec::new();
        for y in 0..height {
            let start = rows.len();
            rows.resize(start + row as usize, 0);
            image.read_memory_row(y, rows.get_mut(start..).unwrap_or_default());
        }
        match format {
            BitmapFormat::SixteenBit => rows.as_chunks_mut::<2>().0.iter_mut().for_each(|p| p[1] &= 0x7f),
            BitmapFormat::ThirtyTwoBit if !alpha => {
                rows.as_chunks_mut::<4>().0.iter_mut().for_each(|p| p[3] = 0);
            }
            _ => {}
        }
        rows
    };
    let masked = |rows: &mut Vec<u8>| {
        if format == BitmapFormat::SixteenBit {
            rows.as_chunks_mut::<2>().0.iter_mut().for_each(|p| p[1] &= 0x7f);
        }
    };
    let _ = graduality::grade(&image);
    let _ = jpeg::Encoder::default().encode(&image, limit, &mut out);
    out.clear();
    if quic::Encoder::default().encode(&image, limit, &mut out).is_ok() {
        let layout = match format {
            BitmapFormat::SixteenBit => quic::PixelLayout::Rgb555,
            _ => quic::PixelLayout::Bgra32,
        };
        assert!(out.len() <= limit && quic::decode(&out, width, height, layout, &mut back).is_ok());
    }
    out.clear();
    if lz::Encoder::default().encode(&image, limit, &mut out).is_ok() {
        assert!(out.len() <= limit && lz::decode(&out, width, height, &mut back).is_ok());
        masked(&mut back);
        assert!(back == seen(false));
    }
    out.clear();
    if lz4::Encoder::default().encode(&image, limit, &mut out).is_ok() {
        assert!(out.len() <= limit && lz4::decode(&out, width, height, &mut back).is_ok());
        masked(&mut back);
        assert!(back == seen(true));
    }
    let dictionary = glz::Dictionary::new(1 << 16);
    let mut decoder = glz::Decoder::default();
    for channel in 0..2 {
        out.clear();
        if dictionary.encode(channel, &image, &mut out).is_ok() {
            let decoded = decoder.decode(&out);
            assert!(decoded.is_ok());
            if let Ok(mut decoded) = decoded {
                masked(&mut decoded.pixels);
                assert!(decoded.pixels == seen(false));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The inputs of a fuzz target that are kept in the repository.
    fn seeds(target: &str) -> impl Iterator<Item = Vec<u8>> {
        let directory = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_dir(directory).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap())
    }

    #[test]
    fn what_fuzzers_kept_does_no_harm() {
        seeds("client_message").for_each(|s| fuzz_client_bytes(&s));
        seeds("client_stream").for_each(|s| fuzz_stream(&s));
        seeds("codec_decode").for_each(|s| fuzz_decoders(&s));
        seeds("codec_encode").for_each(|s| fuzz_encoders(&s));
        seeds("host_channels").for_each(|s| fuzz_host_channels(&s));
        seeds("link").for_each(|s| fuzz_link_stage(&s));
        seeds("migrate_data").for_each(|s| fuzz_migrate(&s));
        seeds("sasl").for_each(|s| fuzz_sasl(&s));
        seeds("session").for_each(|s| fuzz_session(&s));
        seeds("smartcard").for_each(|s| fuzz_smartcard(&s));
        seeds("tls_link").for_each(|s| fuzz_tls_link(&s));
        seeds("vmc").for_each(|s| fuzz_vmc(&s));
        seeds("websocket").for_each(|s| fuzz_websocket(&s));
        seeds("worker_channels").for_each(|s| fuzz_worker_channels(&s));
    }

    proptest! {
        #![proptest_config(crate::testing::cases(128))]

        #[test]
        fn channels_of_a_worker_bear_any_script(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            fuzz_worker_channels(&data);
        }

        #[test]
        fn random_messages_do_not_panic(
            msg_type in prop_oneof![0u16..10, 98u16..120, 200u16..204],
            body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            fuzz_client_message(msg_type, &body);
            fuzz_link(&body);
            fuzz_agent(&body);
        }

        #[test]
        fn images_of_any_geometry_come_back(
            head: [u8; 5],
            pixels in proptest::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..600),
        ) {
            fuzz_encoders(&[&head[..], &pixels].concat());
        }

        #[test]
        fn devices_lose_nothing(data in proptest::collection::vec(prop_oneof![0u8..16, any::<u8>()], 0..600)) {
            fuzz_vmc(&data);
        }

        #[test]
        fn readers_hear_their_clients(data in proptest::collection::vec(prop_oneof![0u8..20, any::<u8>()], 0..600)) {
            fuzz_smartcard(&data);
        }

        #[test]
        fn servers_bear_any_script(data in proptest::collection::vec(any::<u8>(), 0..1000)) {
            fuzz_session(&data);
        }

        #[test]
        fn migrations_bear_any_script(data in proptest::collection::vec(prop_oneof![0u8..16, any::<u8>()], 0..1000)) {
            fuzz_migration(&data);
        }

        #[test]
        fn random_image_streams_do_not_panic(
            pick: u8, kind in 1u8..12, side in 1u8..40, body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let side = u32::from(side);
            let quic = [0x4349_5551, 0, u32::from(kind % 5) + 1, side, side].map(u32::to_le_bytes);
            fuzz_decoders(&[&[pick], quic.as_flattened(), &body].concat());
            if let Ok(kind) = lz::LzType::try_from(u32::from(kind)) {
                let stride = kind.format().min_stride(side) as u32;
                let lz = [0x2020_5a4c, 0x10001, kind as u32, side, side, stride, 1].map(u32::to_be_bytes);
                fuzz_decoders(&[&[pick], lz.as_flattened(), &body].concat());
                let glz = [&[kind as u8][..], [side, side, stride, 0, 0, 0].map(u32::to_be_bytes).as_flattened()].concat();
                fuzz_decoders(&[&[pick], &lz.as_flattened()[..8], &glz, &body].concat());
            }
            fuzz_decoders(&[&[pick, 1, 8, 0, 0, 0, body.len() as u8], &body[..]].concat());
        }

        #[test]
        fn random_streams_do_not_panic(data in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..200)) {
            fuzz_stream(&data);
            fuzz_link_stage(&data);
            fuzz_host_channels(&data);
            fuzz_devices(&data);
            fuzz_websocket(&data);
            fuzz_client_bytes(&data);
        }
    }
}
