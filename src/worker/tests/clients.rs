//! The worker with its real display channel and clients.

use super::fake::{Events, FakeDevice, World};
use super::{WorkerHandle, spec};
use crate::channel::connection::{ClientId, ConnectionGuard, ConnectionId};
use crate::channel::testing::Peer;
use crate::display::settings::DisplaySettings;
use crate::draw::{Brush, Clip, DrawOp, Drawable, Effect, Fill, Rop};
use crate::geometry::{Point16, Rect};
use crate::host::{CursorCommand, DisplayCommand, Fetched, QxlInitInfo};
use crate::protocol::ChannelType;
use std::sync::Arc;
use std::sync::mpsc::channel;

pub(super) const INIT: [u8; 14] = [1, 0, 0, 0x40, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0];

pub(super) struct Fixture {
    pub(super) world: Arc<World>,
    pub(super) worker: WorkerHandle,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let world = Arc::new(World::default());
        let device = Box::new(FakeDevice(world.clone()));
        let events = Arc::new(Events(world.clone()));
        let info = QxlInitInfo { n_surfaces: 16, ..QxlInitInfo::default() };
        let worker = WorkerHandle::spawn(0, device, info, DisplaySettings::default(), events).unwrap();
        worker.start();
        Self { world, worker }
    }

    pub(super) fn display(&self, client: u64) -> Peer {
        let (connection, peer) = Peer::unix(ChannelType::Display, ClientId(client));
        self.worker.connect_display(ConnectionId(client), connection);
        peer
    }

    pub(super) fn cursor(&self, client: u64) -> Peer {
        let (connection, peer) = Peer::unix(ChannelType::Cursor, ClientId(client));
        self.worker.connect_cursor(ConnectionId(100 + client), connection);
        peer
    }

    /// The guest moves its pointer, by a command with this number.
    pub(super) fn move_pointer(&self, number: u64) {
        let moved =
            CursorCommand::Move { position: Point16 { x: 1, y: 2 }, release: self.world.token(number) };
        self.world.with(|s| s.cursor_ring.push_back(Fetched::Command(moved)));
        self.worker.wakeup();
    }

    pub(super) fn fill(&self, colour: u32) {
        let fill = Fill { brush: Brush::Solid(colour), rop: Rop::PUT, mask: None };
        self.world.submit(DisplayCommand::Draw(Box::new(Drawable {
            surface_id: 0,
            effect: Effect::Blend,
            bbox: Rect::of_size(4, 2),
            clip: Clip::None,
            mm_time: 0,
            self_bitmap: None,
            deps: [None; 3],
            op: DrawOp::Fill(fill),
            release: Some(self.world.token(colour.into())),
        })));
        self.worker.wakeup();
    }
}

#[test]
fn client_gets_the_screen_and_what_is_drawn() {
    let f = Fixture::new();
    assert!(f.worker.create_primary(0, spec(4)));
    let mut peer = f.display(1);
    peer.send(101, &INIT);
    assert_eq!(peer.expect_types(5), [3, 108, 314, 304, 102]);
    f.fill(0xff);
    assert_eq!(peer.expect().0, 302);
}

#[test]
fn client_that_vanishes_before_its_init_is_nobody_s_trouble() {
    let f = Fixture::new();
    let (done, gone) = channel();
    let (mut connection, peer) = Peer::unix(ChannelType::Display, ClientId(1));
    connection.guard = ConnectionGuard::new(move || done.send(()).unwrap());
    f.worker.connect_display(ConnectionId(1), connection);
    drop(peer);
    gone.recv().unwrap();
    assert!(f.worker.create_primary(0, spec(4)));
    let mut other = f.display(2);
    other.send(101, &INIT);
    assert_eq!(other.expect().0, 3);
}

#[test]
fn client_that_breaks_the_protocol_goes_alone() {
    let f = Fixture::new();
    assert!(f.worker.create_primary(0, spec(4)));
    let (mut good, mut twice, mut stray) = (f.display(1), f.display(2), f.display(3));
    for peer in [&mut good, &mut twice] {
        peer.send(101, &INIT);
        peer.expect_types(5);
    }
    twice.send(101, &INIT);
    stray.send(4, &[]);
    twice.wait_for_close();
    stray.wait_for_close();
    f.fill(1);
    assert_eq!(good.expect().0, 302);
}

#[test]
fn guest_and_others_do_not_wait_for_a_client_that_never_reads() {
    let f = Fixture::new();
    assert!(f.worker.create_primary(0, spec(4)));
    let (mut stuck, mut reader) = (f.display(1), f.display(2));
    for peer in [&mut stuck, &mut reader] {
        peer.send(101, &INIT);
        peer.expect_types(5);
        peer.send(1, &1u32.to_le_bytes());
    }
    for round in 0..40 {
        for n in 0..100 {
            f.fill(round * 100 + n);
        }
        reader.send(2, &[]);
        f.world.wait(|s| s.display_ring.is_empty());
        while !reader.is_silent() {
            reader.expect();
            reader.send(2, &[]);
        }
    }
    // The guest gets every command back although one client has seen none.
    f.worker.stop();
    let released = f.world.take_log().iter().filter(|l| l.starts_with("release ")).count();
    assert_eq!(released, 4000);
}

#[test]
fn clients_of_both_channels_go_when_their_client_goes() {
    let f = Fixture::new();
    let mut display = f.display(1);
    let mut cursor = f.cursor(1);
    let mut other = f.display(2);
    assert_eq!(cursor.expect_types(2), [3, 101]);
    f.worker.disconnect_client(ClientId(1));
    display.wait_for_close();
    cursor.wait_for_close();
    other.send(101, &INIT);
    assert_eq!(other.expect().0, 3);
}

#[test]
fn pointer_reaches_the_cursor_client() {
    let f = Fixture::new();
    let mut cursor = f.cursor(1);
    assert_eq!(cursor.expect_types(2), [3, 101]);
    f.move_pointer(1);
    assert_eq!(cursor.expect(), (104, vec![1, 0, 2, 0]));
}

#[test]
fn shutdown_closes_the_clients() {
    let f = Fixture::new();
    let mut display = f.display(1);
    f.worker.shutdown();
    display.wait_for_close();
}
