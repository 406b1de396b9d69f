//! What is recorded and replayed is the same once more.

use super::Recorder;
use crate::mock::MockGuest;
use crate::mock::replay::{Next, Replayer};
use crate::mock::samples::all_commands;
use crate::parse::command_type;
use spice_server_core::host::{Fetched, QxlDevice};
use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

/// A file in memory.
#[derive(Clone, Default)]
pub(crate) struct Shared(pub Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A recording of everything.
pub(crate) fn recording() -> (Vec<u8>, usize) {
    let file = Shared::default();
    let mut guest = MockGuest::new(1 << 20);
    let commands = all_commands(&mut guest);
    {
        let recorder = Recorder::new(Box::new(file.clone())).unwrap();
        let mut device = guest.device().with_recorder(Some(recorder));
        let spec = guest.surface_spec(16, 8);
        device.record_request(9, None);
        device.record_request(20, Some((&spec, &vec![7u8; 16 * 8 * 4])));
        device.record_request(20, None);
        for &(kind, address) in &commands {
            let command = MockGuest::command(kind, address);
            if kind == command_type::CURSOR {
                guest.host().push_cursor(command);
                assert!(matches!(device.next_cursor_command(), Fetched::Command(_)));
            } else {
                guest.host().push(command);
                assert!(matches!(device.next_display_command(), Fetched::Command(_)), "{kind}");
            }
        }
        device.record_request(21, None);
    }
    (file.take(), commands.len())
}

/// Replays a recording and records it again.
fn again(recording: Box<dyn Read + Send>) -> (Vec<u8>, Replayer) {
    let file = Shared::default();
    let recorder = Recorder::new(Box::new(file.clone())).unwrap();
    let mut replayer = Replayer::new(recording, Some(recorder)).unwrap();
    while let Some(next) = replayer.next_command() {
        match next {
            Next::Display(Fetched::Command(_)) | Next::Cursor(Fetched::Command(_)) => {}
            other => panic!("not replayed: {other:?}"),
        }
        replayer.free_released();
    }
    replayer.free_released();
    let replayer_device_flushes = replayer.device.next_display_command();
    assert!(matches!(replayer_device_flushes, Fetched::Empty));
    (file.take(), replayer)
}

/// The recording without counters and times, payloads as they are.
fn bodies(recording: &[u8]) -> Vec<Vec<u8>> {
    let lines = recording.split(|&byte| byte == b'\n');
    lines
        .map(|line| match line.strip_prefix(b"event ") {
            Some(event) => event.split(|&b| b == b' ').skip(1).take(2).collect::<Vec<_>>().concat(),
            None => line.to_vec(),
        })
        .collect()
}

#[test]
fn every_command_survives_recording_and_replay() {
    let (first, count) = recording();
    let (second, replayer) = again(Box::new(Cursor::new(first.clone())));
    assert_eq!((replayer.pushed, replayer.freed), (count, count));
    let (second, replayer) = {
        // Surface ids of the first replay are its own.
        drop(replayer);
        let (third, replayer) = again(Box::new(Cursor::new(second.clone())));
        assert_eq!(bodies(&third).len(), bodies(&second).len());
        for (a, b) in bodies(&third).iter().zip(bodies(&second)) {
            assert_eq!(String::from_utf8_lossy(a), String::from_utf8_lossy(&b));
        }
        (second, replayer)
    };
    assert!(replayer.primary.is_none());
    let renumbered: Vec<_> = bodies(&first)
        .into_iter()
        .skip(2) // "event 0 1 9", which a replay does not repeat
        .map(|line| match line.as_slice() {
            b"surface_id 5" => b"surface_id 1".to_vec(),
            b"surface_id 6" => b"surface_id 2".to_vec(),
            b"surfaces_dest 6" => b"surfaces_dest 2".to_vec(),
            b"surface_image.surface_id 5" => b"surface_image.surface_id 1".to_vec(),
            line => line.to_vec(),
        })
        .collect();
    for (a, b) in renumbered.iter().zip(bodies(&second).iter().skip(1)) {
        assert_eq!(String::from_utf8_lossy(a), String::from_utf8_lossy(b));
    }
}

/// A recording of the original library, named by `SPICE_TEST_RECORDING`, gives the same events.
#[test]
fn a_recording_of_the_original_survives() {
    let Some(path) = std::env::var_os("SPICE_TEST_RECORDING") else { return };
    let (second, replayer) = again(Box::new(std::fs::File::open(&path).unwrap()));
    println!("{} commands, {} freed, {} bytes", replayer.pushed, replayer.freed, second.len());
    assert_eq!(replayer.pushed, replayer.freed);
    if let Some(out) = std::env::var_os("SPICE_TEST_RECORDING_OUT") {
        std::fs::write(out, second).unwrap();
    }
}
