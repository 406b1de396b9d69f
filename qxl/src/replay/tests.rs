//! Recordings that end early or lie.

use super::Replay;
use crate::mock::replay::Replayer;
use crate::record::tests::recording;
use std::io::Cursor;

fn replay_all(bytes: Vec<u8>) -> usize {
    let Ok(mut replayer) = Replayer::new(Box::new(Cursor::new(bytes)), None) else { return 0 };
    while replayer.next_command().is_some() {
        replayer.free_released();
    }
    replayer.free_released();
    assert_eq!(replayer.pushed, replayer.freed);
    replayer.pushed
}

fn with_header(text: &str) -> Vec<u8> {
    [b"SPICE_REPLAY 1\n", text.as_bytes()].concat()
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b""[..], b"SPICE_REPLAY 2\n", b"SPICE_REPLAY 1", b"GIF89a............"] {
        assert!(Replay::new(Box::new(Cursor::new(bytes.to_vec())), 8).is_err());
    }
}

#[test]
fn a_recording_cut_anywhere_ends_there() {
    let (whole, count) = recording();
    assert_eq!(replay_all(whole.clone()), count);
    let mut last = 0;
    for end in (0..whole.len()).step_by(7) {
        let replayed = replay_all(whole[..end].to_vec());
        assert!(replayed >= last);
        last = replayed;
    }
}

#[test]
fn lies_about_sizes_cost_nothing() {
    for text in [
        "event 0 0 4 0\nbinary 0 message 2147483647:abc",
        "event 0 0 4 0\nbinary 0 message 99999999999999999999999:abc",
        "event 0 0 4 0\nbinary 1 message 2000000000:3:abc",
        "event 0 0 4 0\nbinary 1 message 5:3:abc",
        "event 0 0 4 0\nbinary 2 message 5:abcde",
        "event 0 0 4 0\nbinary 0 message -1:abc",
        "event 0 0 9 0\n",
        "event 0 2 1 0\n",
        "event 0 0 4294967295 0\n",
        "event x 0 4 0\n",
        "event 0 1 20 0\n4294967295 4294967295 -2147483648 32\n0 0 0 0\nbinary 0 data 0:",
        "event 0 1 20 0\n1 2 4 32\n0 0 0 0\nbinary 0 data 4:1234",
        "event 0 0 5 0\nsurface_cmd\nsurface_id 1\ntype 0\nflags 0\nu.surface_create.format 32\n\
         u.surface_create.width 1\nu.surface_create.height 4294967295\nu.surface_create.stride 4096\n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        assert_eq!(replay_all(with_header(text)), 0, "{text}");
    }
}

#[test]
fn more_surfaces_than_there_are_end_the_replay_instead_of_waiting_for_ever() {
    let mut text = String::new();
    for id in 1..2000 {
        text += &format!(
            "event 0 0 5 0\nsurface_cmd\nsurface_id {id}\ntype 0\nflags 0\nu.surface_create.format 32\n\
             u.surface_create.width 1\nu.surface_create.height 1\nu.surface_create.stride 4\n"
        );
    }
    assert_eq!(replay_all(with_header(&text)), 1023);
}

#[test]
fn a_number_is_used_again_while_its_first_surface_still_dies() {
    use super::ids::SurfaceIds;
    let ids = SurfaceIds::new(3);
    assert_eq!(ids.add(7), Some(1));
    assert_eq!(ids.add(7), Some(1));
    let (1, Some(destroyed)) = ids.destroy(7) else { panic!() };
    assert!(ids.destroy(7).1.is_none());
    assert_eq!(ids.add(7), Some(2));
    ids.remove(destroyed);
    assert_eq!((ids.get(7), ids.get(8), ids.get(0)), (2, 0, 0));
    assert_eq!(ids.add(8), Some(1));
    assert_eq!(ids.add(9), None);
}

#[test]
fn a_command_is_freed_once() {
    let (whole, _) = recording();
    let replay = Replay::new(Box::new(Cursor::new(whole)), 1024).unwrap();
    struct Nothing;
    impl super::ReplayHost for Nothing {
        fn create_primary(&mut self, _primary: &super::ReplayPrimary) {}
        fn destroy_primary(&mut self) {}
        fn destroy_surfaces(&mut self) {}
    }
    let address = replay.next_command(&mut Nothing).unwrap();
    assert!(replay.command_ext(address).is_some());
    replay.free_command(address);
    replay.free_command(address);
    assert!(replay.command_ext(address).is_none());
}

#[test]
fn compressed_payloads_are_inflated() {
    use std::io::Write;
    let text = b"a message in a file";
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    let packed = encoder.finish().unwrap();
    let mut bytes = with_header(&format!("event 0 0 4 0\nbinary 1 message {}:{}:", text.len(), packed.len()));
    bytes.extend_from_slice(&packed);
    bytes.extend_from_slice(b"\nevent 1 1 40 0\n");
    assert_eq!(replay_all(bytes), 1);
}
