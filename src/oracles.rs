//! Fuzz oracles of the core: each takes arbitrary bytes of a client and checks that they are judged without a panic.
//! The fuzz targets are one call into here; the same calls run in unit tests on random input.

pub use crate::protocol::agent::fuzz_agent;
pub use crate::protocol::link::fuzz_link;
pub use crate::protocol::migrate::fuzz_migrate;

use crate::net::stream::{ChannelStream, Transport};
use crate::protocol::{cursor, display, inputs, main_channel, sound, spicevmc};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// One message of a client on every channel.
pub fn fuzz_client_message(msg_type: u16, body: &[u8]) {
    main_channel::fuzz_main(msg_type, body);
    inputs::fuzz_inputs(msg_type, body);
    display::fuzz_display(msg_type, body);
    cursor::fuzz_cursor(msg_type, body);
    sound::fuzz_record(msg_type, body);
    spicevmc::fuzz_spicevmc(msg_type, body);
}

/// First two bytes: message type; the rest: body.
pub fn fuzz_client_bytes(data: &[u8]) {
    if let Some((head, body)) = data.split_first_chunk() {
        fuzz_client_message(u16::from_le_bytes(*head), body);
    }
}

/// A client whose whole input is there, and who then closes.
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

/// A client's bytes after the link stage: framing, then every message on every channel. First bit: header style.
pub fn fuzz_stream(data: &[u8]) {
    let Some((&flags, input)) = data.split_first() else { return };
    let transport = Replay { input: io::Cursor::new(input.to_vec()), fd: io::stdin() };
    let mut stream = ChannelStream::new(Box::new(transport), flags & 1 == 0);
    while let Ok(Some(incoming)) = stream.receive(&display::max_body) {
        fuzz_client_message(incoming.msg_type, &incoming.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

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
        fn random_streams_do_not_panic(data in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..200)) {
            fuzz_stream(&data);
            fuzz_client_bytes(&data);
        }
    }
}
