//! What is drawn on guest memory equals what is drawn on memory of ours, and nothing else changes.

use super::{Block, GuestMemory, MemSlot, MemoryError};
use crate::mock::MockGuest;
use crate::surface::GuestSurface;
use proptest::prelude::*;
use spice_server_core::guest::{ByteSource, PrivateSurface, Rows, SurfaceMemory};
use spice_server_core::host::{Fetched, QxlDevice, QxlInitInfo, SurfaceSpec};
use std::sync::Arc;

/// A device with so many groups of 8 slots.
fn geometry(groups: u32) -> QxlInitInfo {
    QxlInitInfo {
        num_memslot_groups: groups,
        num_memslots: 8,
        memslot_gen_bits: 8,
        memslot_id_bits: 8,
        n_surfaces: 1,
        ..QxlInitInfo::default()
    }
}

/// Draws on both; gives what both hold then.
fn both(content: &[u8], draw: impl Fn(&mut dyn SurfaceMemory)) -> (Vec<u8>, Vec<u8>) {
    let block = Arc::new(Block::try_copy(content).unwrap());
    let memory = GuestMemory::new(&geometry(1)).unwrap();
    memory.add_slot(MemSlot::of_block(0, 0, 0, block.clone(), block.address())).unwrap();
    let len = u64::try_from(content.len()).unwrap();
    draw(&mut GuestSurface(memory.resolve(0, 0, len).unwrap()));
    drop(memory);
    let mut guest = vec![0; content.len()];
    block.read(0, &mut guest);
    let mut private = PrivateSurface(content.to_vec());
    draw(&mut private);
    (guest, private.0)
}

#[test]
fn the_table_keeps_the_blocks_of_its_slots() {
    let block = Arc::new(Block::try_copy(b"abcd").unwrap());
    let memory = GuestMemory::new(&geometry(1)).unwrap();
    memory.add_slot(MemSlot::of_block(0, 0, 0, block.clone(), block.address())).unwrap();
    let range = memory.resolve(0, 0, 4).unwrap();
    let gone = Arc::downgrade(&block);
    drop(block);
    assert_eq!(range.read_array(0), *b"abcd");
    assert!(memory.del_slot(0, 0));
    assert_eq!((gone.upgrade().is_some(), range.read_array(0)), (false, [0; 4]));
}

#[test]
fn pointers_of_the_host_keep_their_tags() {
    let memory = GuestMemory::new(&geometry(2)).unwrap();
    // SAFETY: nothing is accessed, addresses are only translated.
    let slot = |group, slot, generation, range, delta| unsafe {
        MemSlot::promised(group, slot, generation, range, delta)
    };
    memory.add_slot(slot(0, 0, 0, 0..u64::MAX, 0)).unwrap();
    memory.add_slot(slot(1, 1, 5, 0x7000_0000..0x7000_2000, 0x7000_0000)).unwrap();
    let host = |group, address, len| memory.resolve(group, address, len).map(|range| range.host);
    for bit in 47..64 {
        let tagged = 0x7f00_1234_5678 | 1 << bit;
        assert_eq!(host(0, tagged, 32), Ok(tagged));
    }
    assert_eq!(host(0, u64::MAX - 8, 32), Err(MemoryError::Range(u64::MAX - 8, 32)));
    // Addresses of other groups name slot and generation as ever.
    assert_eq!(host(1, 0x0105_0000_0000_0010, 32), Ok(0x7000_0010));
    assert_eq!(host(1, 0x0106_0000_0000_0010, 32), Err(MemoryError::Generation(0x0106_0000_0000_0010)));
    assert_eq!(host(1, 0x0905_0000_0000_0010, 32), Err(MemoryError::Slot(0x0905_0000_0000_0010)));
    assert_eq!(host(2, 0, 0), Err(MemoryError::Group(2)));
    // So do those of the first group once it is not all memory in place.
    memory.add_slot(slot(0, 0, 0, 0..u64::MAX, 0x1000)).unwrap();
    assert_eq!(host(0, 0x10, 32), Ok(0x1010));
    assert_eq!(host(0, 1 << 48 | 0x10, 32), Err(MemoryError::Generation(1 << 48 | 0x10)));
}

proptest! {
    #[test]
    fn rows_are_read_alike(
        size in 1usize..400,
        first in 0usize..450,
        pitch in -60isize..60,
        len in 0usize..70,
        room in 0usize..500,
        to_pitch in 0usize..80,
    ) {
        let content: Vec<u8> = (0..size).map(|at| (at * 7 + 1) as u8).collect();
        let block = Arc::new(Block::try_copy(&content).unwrap());
        let memory = GuestMemory::new(&geometry(1)).unwrap();
        memory.add_slot(MemSlot::of_block(0, 0, 0, block.clone(), block.address())).unwrap();
        let range = memory.resolve(0, 0, u64::try_from(size).unwrap()).unwrap();
        let rows = Rows { first, pitch };
        let (mut of_guest, mut ours) = (vec![0xee; room], vec![0xee; room]);
        range.read_rows(rows, len, &mut of_guest, to_pitch);
        ByteSource::read_rows(&content, rows, len, &mut ours, to_pitch);
        prop_assert_eq!(&of_guest, &ours);
        // Without its slot the guest's memory reads as zero.
        memory.del_slot(0, 0);
        range.read_rows(rows, len, &mut of_guest, to_pitch);
        ByteSource::read_rows(&vec![0; size], rows, len, &mut ours, to_pitch);
        prop_assert_eq!(&of_guest, &ours);
    }

    #[test]
    fn fills_are_alike(
        pattern: u64,
        // Long rows take another way.
        len in prop_oneof![0usize..70, 4000usize..9000],
        count in 0usize..5,
        gap in 0usize..9,
        up: bool,
    ) {
        let pitch = len + gap;
        let first = 3 + if up { pitch * count.saturating_sub(1) } else { 0 };
        let pitch = isize::try_from(pitch).unwrap();
        let rows = Rows { first, pitch: if up { -pitch } else { pitch } };
        let content = vec![0x5a; 50_000];
        let (guest, private) = both(&content, |memory| memory.fill_rows(rows, pattern, len, count));
        prop_assert_eq!(&guest, &private);
        let bytes = pattern.to_le_bytes();
        let mut want = content;
        for n in 0..count {
            for at in 0..len {
                want[rows.at(n) + at] = bytes[at % 8];
            }
        }
        prop_assert_eq!(guest, want);
    }

    #[test]
    fn moves_are_alike(
        from in 0usize..20_000,
        // What overlaps most, too.
        by in prop_oneof![-40isize..40, -20_000isize..20_000],
        len in prop_oneof![0usize..70, 0usize..20_000],
        seed: u32,
    ) {
        let to = from.saturating_add_signed(by);
        let content: Vec<u8> = (0..60_000u32).map(|i| (i ^ seed).wrapping_mul(0x9e37_79b9).to_le_bytes()[3]).collect();
        let (guest, private) = both(&content, |memory| memory.copy_within(from, to, len));
        prop_assert!(guest == private);
        let mut want = content;
        want.copy_within(from..from + len, to);
        prop_assert!(guest == want);
    }

    #[test]
    fn blends_are_alike(
        under in proptest::collection::vec(any::<u32>(), 400..401),
        over in proptest::collection::vec(any::<u32>(), 0..390),
        cover in 0u32..4,
        offset in 0usize..9,
        alpha in prop_oneof![Just(255u8), any::<u8>()],
    ) {
        let bytes = |v: &[u32]| v.iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<u8>>();
        let over: Vec<u32> = over.iter().map(|p| match cover {
            0 => p | 0xff00_0000,
            1 => 0,
            _ => *p,
        }).collect();
        let over = bytes(&over);
        let (guest, private) = both(&bytes(&under), |memory| memory.blend(offset, &over, alpha));
        prop_assert_eq!(guest, private);
    }
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let (guest, private) = both(&[7; 64], |memory| {
        memory.fill_rows(Rows { first: 60, pitch: 8 }, 0, 8, 1);
        memory.fill_rows(Rows { first: 0, pitch: -8 }, 0, 8, 2);
        memory.fill_rows(Rows { first: 0, pitch: 8 }, 0, usize::MAX, 2);
        memory.blend(61, &[255; 4], 255);
    });
    assert_eq!(guest, [7; 64]);
    // Of several rows those that fit are drawn there; nobody asks for others.
    assert_eq!(private[8..], [7; 56]);
}

#[test]
fn a_device_that_is_cut_off_touches_nothing_until_it_is_restored() {
    let (guest, _) = both(&[7; 64], |surface| surface.write_at(0, &[1]));
    assert_eq!(guest[..2], [1, 7]);
    let mut mock = MockGuest::new(4096);
    let mut device = mock.device();
    device.add_memslot(mock.memslot()).unwrap();
    let spec = SurfaceSpec { keep_data: true, ..mock.surface_spec(4, 4) };
    let mut surface = device.map_surface(&spec).unwrap().memory;
    surface.write_at(0, &[1, 2, 3, 4]);
    let access = device.access().unwrap();
    access.cut_off();
    access.cut_off();
    access.restore();
    surface.write_at(0, &[9; 4]);
    surface.fill_rows(Rows { first: 0, pitch: 16 }, u64::MAX, 16, 4);
    let mut seen = [8; 4];
    surface.read_at(0, &mut seen);
    assert_eq!(seen, [0; 4]);
    let message = mock.put(&[0; 16]);
    mock.host().push(MockGuest::command(crate::parse::command_type::MESSAGE, message));
    assert!(matches!(device.next_display_command(), Fetched::Empty));
    access.restore();
    surface.read_at(0, &mut seen);
    assert_eq!(seen, [1, 2, 3, 4]);
    let Fetched::Command(command) = device.next_display_command() else { panic!("the command is there") };
    access.cut_off();
    drop(command);
    device.release_pending();
    assert!(mock.host().take_released().is_empty());
    access.restore();
    device.release_pending();
    assert_eq!(mock.host().take_released().len(), 1);
}
