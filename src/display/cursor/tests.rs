use super::*;
use crate::channel::connection::ClientId;
use crate::channel::polled::Polled;
use crate::channel::testing::Peer;
use crate::guest::{ReleaseInfo, ReleaseQueue};
use crate::host::Readiness;
use crate::limits::{MAX_CURSOR_PIPE, MAX_WAITING_SHAPES};
use crate::protocol::ChannelType;
use crate::protocol::common::server::SET_ACK;
use crate::protocol::cursor::server::{HIDE, INIT, INVAL_ALL, INVAL_ONE, MOVE, RESET, SET, TRAIL};
use std::time::Instant;

struct Fixture {
    channel: Polled<CursorChannel>,
    releases: Arc<ReleaseQueue>,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        Self { channel: Polled::new(CursorChannel::new()), releases: Arc::default(), now: Instant::now() }
    }

    fn connect(&mut self) -> Peer {
        let (connection, peer) = Peer::unix(ChannelType::Cursor, ClientId(1));
        self.channel.attach(ConnectionId(1), connection, self.now);
        peer
    }

    fn connected() -> (Self, Peer) {
        let mut fixture = Self::new();
        let mut peer = fixture.connect();
        assert_eq!(peer.expect_types(2), [SET_ACK, INIT]);
        (fixture, peer)
    }

    fn token(&self, address: u64) -> ReleaseToken {
        ReleaseToken::new(self.releases.clone(), ReleaseInfo { address, group_id: 1 })
    }

    fn released(&self) -> Vec<u64> {
        self.releases.take().into_iter().map(|info| info.address).collect()
    }

    fn set(&mut self, unique: u64, side: u16) {
        let release = self.token(unique);
        let data = vec![0; usize::from(side) * usize::from(side) * 4].into();
        let shape =
            CursorShape { unique, cursor_type: 0, width: side, height: side, hot_x: 0, hot_y: 0, data };
        self.command(CursorCommand::Set { position: Point16 { x: 5, y: 6 }, visible: true, shape, release });
    }

    fn move_to(&mut self, x: i16) {
        let release = self.token(9000);
        self.command(CursorCommand::Move { position: Point16 { x, y: 1 }, release });
    }

    fn command(&mut self, command: CursorCommand) {
        self.channel.command(command);
        self.channel.push(self.now);
    }

    /// Everything that waits for the peer, which answers again.
    fn drain(&mut self, peer: &mut Peer) -> Vec<(u16, Vec<u8>)> {
        peer.send(1, &1u32.to_le_bytes());
        let mut messages = Vec::new();
        while !self.channel.is_drained() || !peer.is_silent() {
            peer.send(2, &[]);
            self.serve();
            while !peer.is_silent() {
                messages.push(peer.expect());
            }
        }
        messages
    }

    /// Lets the channel read what the peer sent.
    fn serve(&mut self) {
        for socket in self.channel.sockets() {
            self.channel.on_ready(socket.at, Readiness { read: true, write: true }, self.now);
        }
    }
}

#[test]
fn attaching_client_gets_the_state() {
    let mut f = Fixture::new();
    f.set(7, 2);
    f.move_to(40);
    let mut peer = f.connect();
    assert_eq!(peer.expect().0, SET_ACK);
    let (msg_type, body) = peer.expect();
    assert_eq!(msg_type, INIT);
    assert_eq!(body[..11], [40, 0, 1, 0, 0, 0, 0, 0, 1, 2, 0]);
    assert_eq!(body.len(), 9 + 2 + 17 + 16);
}

#[test]
fn shapes_are_cached_by_their_key() {
    let (mut f, mut peer) = Fixture::connected();
    f.set(7, 1);
    f.set(7, 1);
    f.set(0, 1);
    let flags = |body: &[u8]| (body[4], body[5]);
    assert_eq!(flags(&peer.expect().1), (1, 2));
    assert_eq!(flags(&peer.expect().1), (1, 4));
    assert_eq!(flags(&peer.expect().1), (1, 0));
    for key in 100..356 {
        f.set(key, 1);
        assert_eq!(peer.expect().0, SET);
        peer.send(1, &1u32.to_le_bytes());
        peer.send(2, &[]);
        f.serve();
        if key == 355 {
            assert_eq!(peer.expect(), (INVAL_ONE, 7u64.to_le_bytes().to_vec()));
        }
    }
}

#[test]
fn empty_shape_is_sent_as_none() {
    let (mut f, mut peer) = Fixture::connected();
    f.set(7, 0);
    assert_eq!(peer.expect(), (SET, vec![5, 0, 6, 0, 1, 1, 0]));
}

#[test]
fn in_client_mouse_mode_only_a_hidden_pointer_is_moved() {
    let (mut f, mut peer) = Fixture::connected();
    f.move_to(1);
    assert_eq!(peer.expect(), (MOVE, vec![1, 0, 1, 0]));
    f.channel.set_mouse_mode(true);
    f.move_to(2);
    assert!(peer.is_silent());
    let release = f.token(1);
    f.command(CursorCommand::Hide { release });
    f.move_to(3);
    f.move_to(4);
    assert_eq!(peer.expect().0, HIDE);
    assert_eq!(peer.expect(), (MOVE, vec![3, 0, 1, 0]));
    assert!(peer.is_silent());
}

#[test]
fn commands_are_released_and_the_shape_when_replaced() {
    let mut f = Fixture::new();
    f.set(7, 1);
    assert!(f.released().is_empty());
    f.move_to(1);
    let release = f.token(3);
    f.command(CursorCommand::Trail { length: 1, frequency: 2, release });
    assert_eq!(f.released(), [9000, 3]);
    f.set(8, 1);
    assert_eq!(f.released(), [7]);
    f.channel.reset();
    assert_eq!(f.released(), [8]);
}

#[test]
fn reset_invalidates_and_init_follows_the_next_primary() {
    let (mut f, mut peer) = Fixture::connected();
    f.set(7, 1);
    f.channel.reset();
    f.channel.push(f.now);
    f.channel.primary_created();
    f.channel.primary_created();
    f.channel.push(f.now);
    assert_eq!(peer.expect_types(4), [SET, INVAL_ALL, RESET, INIT]);
    assert!(peer.is_silent());
    // Nothing is cached any more.
    f.set(7, 1);
    assert_eq!(peer.expect().1[5], 2);
}

#[test]
fn pointer_set_between_reset_and_primary_is_not_lost() {
    let (mut f, mut peer) = Fixture::connected();
    f.channel.reset();
    f.set(7, 1);
    f.channel.primary_created();
    f.channel.push(f.now);
    assert_eq!(peer.expect_types(2), [INVAL_ALL, RESET]);
    let (msg_type, body) = peer.expect();
    assert_eq!((msg_type, body[9]), (INIT, 2));
    assert!(peer.is_silent());
}

#[test]
fn slow_client_gets_the_state_instead_of_history() {
    let (mut f, mut peer) = Fixture::connected();
    for key in 1..2000 {
        f.set(key, 1);
        let release = f.token(1);
        f.command(CursorCommand::Hide { release });
        f.move_to(i16::try_from(key).unwrap());
    }
    assert!(f.channel.clients[&ConnectionId(1)].queued() <= MAX_CURSOR_PIPE);
    let last = f.drain(&mut peer);
    let position = last.iter().rev().find(|m| m.0 == MOVE || m.0 == SET).unwrap();
    assert_eq!(position.1[..2], 1999i16.to_le_bytes());
    let shape = last.iter().rev().find(|m| m.0 == SET).unwrap();
    assert_eq!(shape.1[7..9], 1999u16.to_le_bytes());
    assert!(last.iter().any(|m| m.0 == TRAIL));
}

#[test]
fn few_shapes_wait_for_a_client_that_does_not_read() {
    let (mut f, mut peer) = Fixture::connected();
    for key in 1..200 {
        f.set(key, 1);
        assert!(f.channel.clients[&ConnectionId(1)].waiting_shapes() <= MAX_WAITING_SHAPES);
    }
    let last = f.drain(&mut peer);
    assert_eq!(last.iter().rev().find(|m| m.0 == SET).unwrap().1[7..9], 199u16.to_le_bytes());
}

/// Neither HIDE nor TRAIL says where the pointer is: it stays where INIT put it, sent before or after.
#[test]
fn collapsed_pipe_leaves_the_pointer_where_init_put_it() {
    for reset in [false, true] {
        let mut f = Fixture::new();
        f.move_to(40);
        let mut peer = f.connect();
        let hide_often = |f: &mut Fixture| {
            for length in 0..2 * MAX_CURSOR_PIPE as u16 {
                let release = f.token(1);
                f.command(CursorCommand::Hide { release });
                let release = f.token(1);
                f.command(CursorCommand::Trail { length, frequency: 1, release });
            }
        };
        hide_often(&mut f);
        if reset {
            f.channel.reset();
            f.channel.primary_created();
            // The client places its pointer itself, and ours is not told.
            f.channel.set_mouse_mode(true);
            f.move_to(40);
            hide_often(&mut f);
        }
        let messages = f.drain(&mut peer);
        let set = messages.iter().rev().find(|m| m.0 == SET).unwrap();
        assert_eq!(set.1[..4], [40, 0, 1, 0], "reset {reset}");
        assert_eq!(messages.iter().filter(|m| m.0 == INIT).count(), if reset { 2 } else { 1 });
    }
}

#[test]
fn channel_messages_of_a_client_disconnect_it() {
    for (msg_type, size) in [(101u16, 0usize), (4, 0), (5, 8), (2, 2000), (0, 0)] {
        let (mut f, mut peer) = Fixture::connected();
        peer.send(msg_type, &vec![0; size]);
        f.serve();
        assert_eq!(f.channel.clients.len(), 0, "type {msg_type}");
        peer.wait_for_close();
    }
}

#[test]
fn client_that_vanishes_is_forgotten() {
    let (mut f, peer) = Fixture::connected();
    drop(peer);
    f.serve();
    f.move_to(1);
    assert_eq!(f.channel.clients.len(), 0);
}
