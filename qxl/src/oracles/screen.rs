//! What a hostile guest's commands do further on: the tree, the clients' pipes, the encoders.

use spice_server_core::channel::connection::{ClientId, ConnectionId};
use spice_server_core::channel::polled::Polled;
use spice_server_core::display::DisplayChannel;
use spice_server_core::display::cursor::CursorChannel;
use spice_server_core::geometry::Rect;
use spice_server_core::host::{CursorCommand, DisplayCommand, MappedSurface, Readiness};
use spice_server_core::oracles::Script;
use spice_server_core::oracles::memory::MemoryPeer;
use spice_server_core::protocol::ChannelType;
use std::time::{Duration, Instant};

/// Messages of a client.
const ACK_SYNC: u16 = 1;
const ACK: u16 = 2;
const INIT: u16 = 101;

/// The channels of a worker with clients that watch.
pub(super) struct Screen {
    display: Polled<DisplayChannel>,
    cursor: Polled<CursorChannel>,
    peers: Vec<MemoryPeer>,
    now: Instant,
    turns: u64,
}

impl Screen {
    /// With this primary surface; the bytes of `choice` pick the settings.
    pub(super) fn new(primary: MappedSurface, choice: u32) -> Self {
        let bytes = choice.to_le_bytes();
        let settings = Script(&bytes).settings();
        let mut screen = Self {
            display: Polled::new(DisplayChannel::new(0, 1024, settings)),
            cursor: Polled::new(CursorChannel::new()),
            peers: Vec::new(),
            now: Instant::now(),
            turns: 0,
        };
        assert!(screen.display.create_primary(primary, false, screen.now));
        screen.cursor.primary_created();
        // Everything is offered on a fast link; nothing on a slow one.
        for (id, caps) in [(1, u32::MAX), (2, 0)] {
            let (id, at) = (ClientId(id), ConnectionId(id));
            let low = caps == 0;
            let (connection, peer) = MemoryPeer::connect(ChannelType::Display, id, caps, low);
            screen.display.attach(at, connection, screen.now);
            let mut init = vec![1];
            init.extend((1i64 << 16).to_le_bytes());
            init.push(1);
            init.extend((1u32 << 16).to_le_bytes());
            peer.send(INIT, &init);
            screen.peers.push(peer);
            let (connection, peer) = MemoryPeer::connect(ChannelType::Cursor, id, caps, low);
            screen.cursor.attach(at, connection, screen.now);
            screen.peers.push(peer);
        }
        screen.turn();
        screen
    }

    pub(super) fn pointer(&mut self, command: CursorCommand) {
        self.cursor.command(command);
    }

    /// Takes a command; the bits of `choice` say what happens besides.
    pub(super) fn command(&mut self, command: DisplayCommand, choice: u32) {
        match command {
            DisplayCommand::Draw(drawable) => {
                let (id, bbox) = (drawable.surface_id, drawable.bbox);
                self.display.draw(drawable, self.now);
                match choice % 16 {
                    0 => self.display.update(id, &bbox),
                    1 => drop(self.display.update_area(id, &Rect::of_size(64, 64), Some(4), true)),
                    2 => drop(self.display.free_some()),
                    3 => self.display.render_all(),
                    _ => {}
                }
            }
            DisplayCommand::Update(update) => self.display.update(update.surface_id, &update.area),
            DisplayCommand::Message { .. } => {}
            DisplayCommand::Surface(command) => self.display.surface_command(command, self.now),
        }
        if choice & 0x30 == 0 {
            self.turn();
        }
    }

    /// A turn of the worker, some time later. The clients acknowledge everything.
    pub(super) fn turn(&mut self) {
        self.now += Duration::from_millis(if self.turns % 8 == 7 { 400 } else { 11 });
        self.turns += 1;
        let ready = Readiness { read: true, write: true };
        for socket in self.display.sockets() {
            self.display.on_ready(socket.at, ready, self.now);
        }
        for socket in self.cursor.sockets() {
            self.cursor.on_ready(socket.at, ready, self.now);
        }
        self.display.on_timer(self.now);
        self.display.push(self.now);
        self.cursor.push(self.now);
        for peer in &self.peers {
            assert!(!peer.is_gone(), "a client that did nothing wrong is disconnected");
            peer.take_messages(|msg_type, body| {
                if let (3, Some((generation, _))) = (msg_type, body.split_first_chunk::<4>()) {
                    peer.send(ACK_SYNC, generation);
                }
                peer.send(ACK, &[]);
            });
        }
    }

    /// Lets go of the guest's commands, but not of its surfaces.
    pub(super) fn release_all(&mut self) {
        self.display.release_all();
    }
}
