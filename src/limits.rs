//! Every hard limit: its value, and the attack or mistake that it stops.

use std::time::Duration;

/// Largest single data object that a guest may name (bytes): sizes stay below 2^31 so that sums in 64 bits
/// cannot wrap.
pub const MAX_GUEST_OBJECT: u64 = 0x7fff_ffff;

/// Hops in a guest's chunk list: a cyclic list would otherwise be walked for ever. Drivers use a few thousand.
pub const MAX_CHUNK_HOPS: usize = 65_536;

/// Rectangles of one clip list: bounds the region algebra that a single command can cost.
pub const MAX_CLIP_RECTS: u32 = 65_536;

/// Rectangles of one command's region: clip rectangles that cross like a grid make the square of their number.
pub const MAX_REGION_RECTS: usize = 65_536;

/// Bytes of one snapshot of a surface that a command takes of its own target: 4096 x 4096 pixels. A guest may ask for
/// hundreds of them; together they count in [`MAX_HELD_COPIES`].
pub const MAX_SNAPSHOT: usize = 64 << 20;

/// Expected time (nanoseconds) that drawing all commands that wait on a device takes: a request that needs them all keeps
/// the host, and with it the virtual machine, for about so long.
pub const MAX_PENDING_COST: u64 = 300_000_000;

/// Pixels of the images of one command that goes to clients as it is, beyond four times the pixels that it draws: whole
/// images travel, whatever part of them is drawn.
pub const MAX_IMAGE_PIXELS: u64 = 1 << 22;

/// Rectangles of the clip of a video stream: each change of it is a message of its own to every client.
pub const MAX_STREAM_CLIP: usize = 64;

/// Rectangles of what the host has not asked about yet; beyond it they become the box around them.
pub const MAX_DIRTY_RECTS: usize = 8192;

/// Cursor shapes that wait for one client (each up to 4 MiB); only the newest matters.
pub const MAX_WAITING_SHAPES: usize = 2;

/// Points of one path: Bezier flattening and dashing multiply CPU time per point.
pub const MAX_PATH_POINTS: usize = 1_000_000;

/// Absolute value of a path coordinate (28.4 fixed point): keeps line arithmetic inside 64 bits.
pub const MAX_PATH_COORDINATE: i32 = 1 << 27;

/// Runs of pixels of one stroke: a path of a million points would otherwise cross the surface a million times.
pub const MAX_STROKE_SPANS: u32 = 1 << 24;

/// Bytes of padding allowed at the end of a bitmap row: stops images that are nearly all padding.
pub const MAX_STRIDE_PADDING: u64 = 64 * 1024;

/// Colours of a palette: indexes have at most 8 bits.
pub const MAX_PALETTE_ENTRIES: usize = 256;

/// Text of a QXL_CMD_MESSAGE (bytes): the terminating NUL is searched for in guest memory.
pub const MAX_GUEST_MESSAGE: usize = 100_000;

/// Side of a cursor (pixels): QEMU itself accepts 512.
pub const MAX_CURSOR_SIDE: u16 = 1024;

/// Surfaces per device, whatever the device announces: ids index tables at server and client.
pub const MAX_SURFACES: u32 = 1024;

/// Drawables held per device before the oldest is rendered: bounds guest memory that waits for release.
pub const MAX_DRAWABLES: usize = 1000;

/// Bytes copied out of guest memory for commands of one device that are not released yet (QUIC streams, glyphs, paths,
/// lists): chunk lists may overlap, so the guest's memory does not bound them.
pub const MAX_HELD_COPIES: usize = 256 << 20;

/// Pixels of a GLZ window (display.md 6.2): the reference decoder's limit.
pub const MAX_GLZ_WINDOW_PIXELS: u32 = 1 << 25;

/// Width and height of images that are decoded on the server: beyond it pixman and canvas arithmetic end.
pub const MAX_DECODED_SIDE: u32 = 32_767;

/// Pixels of an image that is decoded on the server: runs let a few bytes stand for a whole row, so the
/// stream's length does not bound what is allocated.
pub const MAX_DECODED_PIXELS: u64 = 1 << 26;

/// Images in a client's pixmap cache: a guest that draws one-pixel images could otherwise make the bookkeeping for the
/// client's whole pixel budget grow to gigabytes. Below 65,536, so that one INVAL_LIST can name them all.
pub const MAX_PIXMAP_CACHE_ENTRIES: usize = 60_000;

/// Pixels of a client's pixmap cache (1 GiB at 4 bytes): larger announcements are cut, sums cannot wrap.
pub const MAX_PIXMAP_CACHE_PIXELS: u64 = 1 << 28;

/// Bytes of encoded images kept to be shared between the clients of one device.
pub const MAX_SHARED_ENCODES: usize = 32 << 20;

/// Pixmap caches and GLZ dictionaries per client: the ids are one byte at the client's choice.
pub const MAX_CACHES_PER_CLIENT: usize = 4;

/// How long a synchronous device request may keep its caller (a vCPU or the main loop of the host) waiting: the worker's
/// own waits are much shorter, so that this only fires when the worker is lost in something.
pub const MAX_SYNC_REQUEST: Duration = Duration::from_secs(60);

/// Requests that wait for a worker before those who make them wait too: a guest can delete memory slots, a client can change
/// the mouse mode, far faster than a busy worker follows.
pub const MAX_QUEUED_REQUESTS: usize = 10_000;

/// How long one request waits for room in that queue.
pub const QUEUE_WAIT: Duration = Duration::from_millis(100);

/// Stack of a worker (bytes): surfaces that read each other are drawn recursively, a thousand deep. Not left to the
/// environment of the host.
pub const WORKER_STACK: usize = 8 << 20;

/// How long a client may owe reading, an ACK or a PONG without a byte moving before it is disconnected (display.md 3):
/// a stopped or vanished peer. Phones and roaming laptops fall silent for a minute, which they survive with the original too.
pub const MAX_SILENCE: Duration = Duration::from_secs(75);

/// Bytes taken from one client's channel before others get their turn; a read counts as 64 bytes at least. Messages may be
/// long, and a fast client may fill the socket as quickly as it is read.
pub const MAX_BYTES_PER_TURN: usize = 128 << 10;

/// Messages taken from one client before others get their turn: a flood must not keep the thread.
pub const MAX_MESSAGES_PER_READ: u32 = 64;

/// Host callbacks (scan codes, pointer movements) that one client's messages may cause before others get their turn: legal
/// messages of thousands of scan codes would otherwise keep the host's loop for a tenth of a second.
pub const MAX_WORK_PER_TURN: usize = 2048;

/// Time that a connection may take from accept to the end of its link stage: a silent peer would hold a descriptor for ever.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections in the link stage at most; one more drops the least promising. A flood must not use up the host's
/// descriptors, so it is also at most a quarter of what the process may have. Large enough that at a flood of 900
/// connections a second a client 150 ms away gets its link message through before it is the oldest.
pub const MAX_PENDING_LINKS: usize = 512;

/// Time between two tickets of an address that are looked at, once one of them was wrong: a guesser gets ten tries a second.
pub const GUESS_DELAY: Duration = Duration::from_millis(100);

/// How long an address is remembered for a wrong ticket.
pub const GUESS_MEMORY: Duration = Duration::from_secs(60);

/// Addresses that are remembered for wrong tickets: a peer with many addresses must not cost memory.
pub const MAX_GUESSERS: usize = 256;

/// Reads of one connection in the link stage per turn: more than the bytes of any link message, so that only a peer that
/// wraps each byte in a frame of its own gets there.
pub const MAX_READS_PER_TURN: usize = 4096;

/// Connections accepted per turn of the host's loop: a flood must not keep the host thread.
pub const MAX_ACCEPTS_PER_TURN: usize = 16;

/// Pause after accept failed for want of descriptors or memory, instead of a busy loop.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Bytes of an HTTP request that asks for a WebSocket: it is buffered until its empty line.
pub const MAX_UPGRADE_REQUEST: usize = 8192;

/// Bytes of the name of a SASL mechanism; the standard allows 20.
pub const MAX_SASL_NAME: usize = 100;

/// Bytes that a client may send in one message of a SASL exchange: the original's limit. Kerberos tickets have some tens
/// of kilobytes. Memory grows as they come.
pub const MAX_SASL_DATA: usize = 1 << 20;

/// Messages of a client in a SASL exchange: mechanisms take three or four.
pub const MAX_SASL_STEPS: u32 = 32;

/// Threads on which SASL runs: logins that wait for a directory server while others go on.
pub const MAX_SASL_THREADS: usize = 8;

/// Bytes of packets of a SASL security layer in a row that hold no data, while one with data has 8 KiB.
pub const MAX_SASL_BARREN: usize = 32 << 10;

/// Reads that OpenSSL may make of a socket before it gives the thread back: it goes on by itself for as long as records without
/// data come. A record takes two.
pub const MAX_TLS_READS: u32 = 64;

/// Bytes of TLS records in a row that carry no data, while one record with data has at most 17 KiB: about a thousand
/// KeyUpdate messages, each of which costs a derivation of keys.
pub const MAX_TLS_BARREN: usize = 32 << 10;

/// Bytes that a client may send in its TLS handshake: a ClientHello has at most 128 KiB.
pub const MAX_TLS_HANDSHAKE: usize = 256 << 10;

/// WebSocket frames in a row that carry no data, while the connection never runs empty: a client that only sends pings and
/// empty frames makes the server work for nothing.
pub const MAX_DATALESS_FRAMES: u32 = 256;

/// Buffers that one read of a WebSocket looks through for data before others get their turn.
pub const MAX_DATALESS_READS: u32 = 4;

/// Links that one ticket key serves: bounds the memory of tickets seen.
pub const TICKET_KEY_LINKS: u32 = 64;

/// Age at which a ticket key is replaced.
pub const TICKET_KEY_LIFETIME: Duration = Duration::from_secs(600);

/// Bytes queued for a client on a host-thread channel at which its messages are no longer read; above the
/// net test's 256,000.
pub const HOST_CHANNEL_BACKLOG: usize = 320 << 10;

/// Bytes queued for a client on a host-thread channel at which it is disconnected: it reads nothing, and what the guest or
/// the host cause to be sent would pile up.
pub const MAX_HOST_CHANNEL_BACKLOG: usize = 1 << 20;

/// Bytes that the kernel holds unsent for a client: on a thin link newer content can only replace what has not been encoded yet.
pub const MAX_UNSENT: u32 = 64 << 10;

/// Messages that wait for one client of a cursor channel before they are replaced by the pointer's state: a client that
/// stops reading must not cost memory.
pub const MAX_CURSOR_PIPE: usize = 50;

/// How long a request may go on taking commands before it does its own work: a guest that refills its ring forever, with
/// another of its processors, must not keep the host's caller.
pub const MAX_DRAIN: Duration = Duration::from_secs(2);

/// Items in a display client's pipe before it collapses: its commands are forgotten and what they changed is sent as
/// images when the client can take them (display.md 18.3). Bounds what a slow client holds of the guest's memory and of
/// ours: these commands, one encoded message, and a few rectangles per surface.
pub const MAX_PIPE_ITEMS: usize = 256;

/// How long the oldest item may wait in a display client's pipe before that collapses: a client on a thin link would
/// otherwise watch the past.
pub const MAX_PIPE_AGE: Duration = Duration::from_millis(1000);

/// How long a client may take to draw a GL scanout before the guest, which draws nothing meanwhile, goes on.
pub const GL_DRAW_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a display client may take to its INIT: until then it is a connection without use.
pub const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Pixels of one image that brings a client's stale area up to date: bounds what has to be sent before newer content can.
pub const MAX_UPDATE_PIXELS: u64 = 1 << 18;

/// Least time from the end of one burst of drawing to a display client to the next: what guests redraw faster than any
/// screen shows it would be encoded for nothing. A change after a pause is sent at once.
pub const DISPLAY_PACE: Duration = Duration::from_millis(16);

/// What costs much to encode comes less often, so that one client takes half of a processor at most; but for this no
/// longer than so.
pub const DISPLAY_PACE_MAX: Duration = Duration::from_millis(60);

/// Bytes sent and pixels drawn, in any mixture, for one display client before the others and the guest get their turn.
/// Between two big images the rings are read, since newer commands may make what still waits needless.
pub const MAX_SEND_PER_TURN: u64 = 64 << 10;

/// Buffers that wait for a guest's device before its client's messages are left in their socket: the original's window.
pub const MAX_DEVICE_BUFFERS: usize = 128;

/// Bytes that wait for a guest's device before its client's messages are left in their socket; one message more can come.
pub const MAX_DEVICE_QUEUE: usize = 1 << 20;

/// Bytes queued for the client of a device at which the device is not read any more. Less than [`HOST_CHANNEL_BACKLOG`] by
/// more than one message, so that a client that is sent much is still listened to.
pub const MAX_DEVICE_BACKLOG: usize = 192 << 10;

/// Bytes of one read of a device, the original's largest message.
pub const DEVICE_READ: usize = (64 << 10) + 32;

/// Bytes that a device is read for one wakeup before others get their turn: a guest that writes for ever must not keep the
/// host's main loop.
pub const MAX_DEVICE_READ_PER_TURN: usize = 1 << 20;

/// Time from one attempt to write to a full device to the next, for hosts that do not tell when it takes bytes again.
pub const DEVICE_RETRY: Duration = Duration::from_millis(100);

/// Bytes of a port's name: it is sent to every client.
pub const MAX_PORT_NAME: usize = 256;

/// Pieces of agent messages that wait for a client's tokens while another client has some: more, and it is disconnected.
pub const MAX_AGENT_QUEUE: usize = 5;

/// How long a piece of an agent message may wait for a client's tokens.
pub const MAX_AGENT_STARVED: Duration = Duration::from_secs(30);

/// States of the pointer with different buttons that wait for a guest agent which takes nothing.
pub const MAX_MOUSE_STATES: usize = 64;

/// Bytes of a smartcard message behind its header, either way; commands have 270 at most, QEMU's device buffers so much.
pub const MAX_CARD_MESSAGE: usize = 64 << 10;

/// Playback buffers that the host may hold at a time, as the interface says.
pub const MAX_LENT_FRAMES: u8 = 3;

/// Bytes of one Opus packet to a client: what 480 samples need in the worst case is well below.
pub const MAX_OPUS_PACKET: usize = 480;

/// Body of one DATA message of a recording client (bytes): more than the ring below holds cannot be of use, and is stored
/// before it is looked at.
pub const MAX_RECORD_BODY: usize = 64 << 10;

/// Samples recorded for the host and not fetched yet (170 ms at 48 kHz): the oldest go, since a guest that falls behind
/// wants to hear what is said now.
pub const MAX_RECORDED: usize = 8192;

/// Opus packets of a recording client that are decoded at once; a flood would take the host thread's time.
pub const RECORD_BURST: u32 = 256;

/// Opus packets decoded per second beyond the burst: four times what the fastest honest client sends.
pub const RECORD_PACKETS_PER_SECOND: u32 = 400;
