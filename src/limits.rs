//! Every hard limit: its value, and the attack or mistake that it stops.
//!
//! A line `// # Guest: ...`, `// # Connection: ...` or `// # Client: ...` says at whose expense the limits
//! below it are: of a guest, of a connection that has not logged in, or of a client. `docs/limits.md` lists
//! them in that order; `tests/house/limits.rs` checks that it is up to date.

use std::time::Duration;

// # Guest: commands and images

/// Largest single data object that a guest may name (bytes). Sizes stay below 2^31, so that sums in 64 bits
/// cannot wrap.
pub const MAX_GUEST_OBJECT: u64 = 0x7fff_ffff;

/// Hops in a guest's chunk list. A cyclic list would keep the worker for ever; drivers use a few thousand
/// hops.
pub const MAX_CHUNK_HOPS: usize = 65_536;

/// Rectangles in one clip list. Bounds the region algebra that one command can cost.
pub const MAX_CLIP_RECTS: u32 = 65_536;

/// Rectangles in the region of one command. Clip rectangles that cross like a grid cut it into the square of
/// their number.
pub const MAX_REGION_RECTS: usize = 65_536;

/// Bytes of the snapshot that a command may take of its own target surface: 4096 x 4096 pixels. A guest may
/// ask for hundreds of snapshots; together they count against [`MAX_HELD_COPIES`].
pub const MAX_SNAPSHOT: usize = 64 << 20;

/// Estimated cost of drawing one command (about nanoseconds). The worker drops what is dearer: a synchronous
/// request may have to wait for all of it. Composites of 4096 x 4096 pixels with a transformed source stay below.
pub const MAX_COMMAND_COST: u64 = 200_000_000;

/// Estimated cost of the commands that may wait to be drawn (about nanoseconds), unless a single one costs more. The
/// worker draws the oldest before it adds another. A request that needs all of them waits for about this long.
pub const MAX_PENDING_COST: u64 = 50_000_000;

/// Estimated cost of what the worker draws of a large command at a time (about nanoseconds). Then it looks after
/// sockets and requests.
pub const RENDER_PIECE: u64 = 4_000_000;

/// Pixels of the images that one forwarded command may carry beyond four times the pixels that it draws. A
/// client receives whole images, however small the part that the command draws.
pub const MAX_IMAGE_PIXELS: u64 = 1 << 22;

/// Rectangles in the clip of a video stream. Each change of the clip is one more message to every client.
pub const MAX_STREAM_CLIP: usize = 64;

/// Rectangles kept for the host's next update_area. When there would be more, the worker keeps their bounding
/// box instead.
pub const MAX_DIRTY_RECTS: usize = 8192;

// # Client: pointer

/// Cursor shapes (4 MiB each at most) that wait for one client. Only the newest shape matters; the older ones
/// would cost memory for nothing.
pub const MAX_WAITING_SHAPES: usize = 2;

// # Guest: paths, bitmaps, surfaces

/// Points in one path. Bezier flattening and dashing multiply the processor time per point.
pub const MAX_PATH_POINTS: usize = 1_000_000;

/// Absolute value of a path coordinate (28.4 fixed point). Keeps line arithmetic inside 64 bits.
pub const MAX_PATH_COORDINATE: i32 = 1 << 27;

/// Runs of pixels drawn for one stroke. A path of a million points could otherwise cross the surface a
/// million times.
pub const MAX_STROKE_SPANS: u32 = 1 << 24;

/// Bytes of padding at the end of a bitmap row. Stops images that consist almost only of padding.
pub const MAX_STRIDE_PADDING: u64 = 64 * 1024;

/// Colours in a palette. Pixel indexes have at most 8 bits.
pub const MAX_PALETTE_ENTRIES: usize = 256;

/// Bytes of text in a QXL_CMD_MESSAGE. The parser searches guest memory for the terminating NUL.
pub const MAX_GUEST_MESSAGE: usize = 100_000;

/// Width and height of a cursor (pixels). QEMU itself accepts 512.
pub const MAX_CURSOR_SIDE: u16 = 1024;

/// Surfaces per device, even if the device announces more. Surface ids index tables in the server and in
/// clients.
pub const MAX_SURFACES: u32 = 1024;

/// Drawables that a device may hold before the worker renders the oldest. Bounds the guest memory that waits
/// for its release.
pub const MAX_DRAWABLES: usize = 1000;

/// Bytes of the guest's pictures that may wait to be drawn on small screens; on large ones as many as the screen has, twice.
/// Pictures of which a later one leaves a strip visible would otherwise keep the guest's memory until something is drawn there.
/// The worker draws the oldest before it takes another command.
pub const MIN_PENDING_PICTURES: usize = 4 << 20;

/// Bytes copied out of guest memory for the unreleased commands of one device (QUIC streams, glyphs, paths,
/// lists). Chunk lists may overlap, so the size of the guest's memory does not bound these copies.
pub const MAX_HELD_COPIES: usize = 256 << 20;

// # Client: GLZ

/// Pixels in a GLZ window (display.md 6.2). The reference decoder refuses more.
pub const MAX_GLZ_WINDOW_PIXELS: u32 = 1 << 25;

/// Pixels of a client's GLZ window that the server keeps, at four bytes each: two screens of 1920x1080. What was drawn before
/// them is seldom drawn again, and a client that wants it back has it in its pixmap cache.
pub const MAX_GLZ_KEPT_PIXELS: u32 = 1 << 22;

/// Images in a GLZ window. Each costs the server some hundred bytes besides its pixels, and a guest may draw
/// images of one pixel.
pub const MAX_GLZ_IMAGES: usize = 65_536;

// # Guest: decoded images

/// Width and height of an image that the server decodes. Canvas and pixman arithmetic end here.
pub const MAX_DECODED_SIDE: u32 = 32_767;

/// Pixels of an image that the server decodes. A few bytes can encode runs over whole rows, so the length of
/// the stream does not bound the allocation.
pub const MAX_DECODED_PIXELS: u64 = 1 << 26;

// # Client: caches

/// Images in a client's pixmap cache. A guest that draws images of one pixel could otherwise grow the
/// bookkeeping to gigabytes. Below 65,536, so that one INVAL_LIST can name every image.
pub const MAX_PIXMAP_CACHE_ENTRIES: usize = 60_000;

/// Pixels in a client's pixmap cache (1 GiB at 4 bytes). The server reduces larger announcements, so that
/// sums cannot wrap.
pub const MAX_PIXMAP_CACHE_PIXELS: u64 = 1 << 28;

/// Bytes of encoded images that the worker keeps to send to further clients of the same device.
pub const MAX_SHARED_ENCODES: usize = 32 << 20;

/// Pixmap caches, and GLZ dictionaries, per client. The client chooses their ids, one byte each, and could
/// make 256.
pub const MAX_CACHES_PER_CLIENT: usize = 4;

// # Guest: requests to the device's worker

/// How long a synchronous device request may keep its caller (a vCPU or the host's main loop). The worker's
/// own waits are much shorter, so this limit is reached only if the worker does not come back at all.
pub const MAX_SYNC_REQUEST: Duration = Duration::from_secs(60);

/// Requests in a worker's queue before their senders have to wait. A guest can delete memory slots, and a
/// client can change the mouse mode, much faster than a busy worker follows.
pub const MAX_QUEUED_REQUESTS: usize = 10_000;

/// How long one sender waits for room in that queue.
pub const QUEUE_WAIT: Duration = Duration::from_millis(100);

/// Stack of a worker (bytes). The worker draws surfaces that read each other by recursion, a thousand levels
/// deep. Set here so that the host's environment (`ulimit -s`, RUST_MIN_STACK) cannot make it smaller.
pub const WORKER_STACK: usize = 8 << 20;

/// Least time between two times that a worker makes the process give unused memory back to the system. Other
/// threads of the host that need memory wait meanwhile, some milliseconds, and clients may come and go as they like.
/// Nor does the worker do so within a second of a client's input. It does when links have ended, and when it has been idle
/// for a while after much work.
pub const TRIM_PAUSE: Duration = Duration::from_secs(10);

// # Client: reading messages

/// How long a client may move no byte while it owes reads, an ACK or a PONG. Then the server disconnects it
/// (display.md 3): it is stopped or its network is gone. Phones and roaming laptops are silent for up to a
/// minute, and clients of the original survive that, so this is longer.
pub const MAX_SILENCE: Duration = Duration::from_secs(75);

/// Bytes read from one client's channel before the thread serves others; each read counts as at least 64
/// bytes, and the last read may go beyond the limit by as much again. A fast client can fill its socket as
/// quickly as the server empties it.
pub const MAX_BYTES_PER_TURN: usize = 128 << 10;

/// How long the server goes on reading one client's channel, turn after turn, before it returns to the host's main
/// loop. A turn that begins within this time is the last. A fast client would otherwise cost a pass of that loop for every
/// [`MAX_BYTES_PER_TURN`], which is a fifth of the processor time that it takes to carry its bytes.
pub const READ_SLICE: Duration = Duration::from_millis(1);

/// Buffers that a thread keeps to use them again for what devices and sockets give. Each is as large as one read.
pub const MAX_SPARE_BUFFERS: usize = 4;

/// Capacity of a buffer that is kept (bytes). Clients choose the sizes of their messages.
pub const MAX_SPARE_BUFFER: usize = 128 << 10;

/// Messages handled from one client before the thread serves others. A flood must not keep the thread.
pub const MAX_MESSAGES_PER_READ: u32 = 64;

/// Host callbacks (scan codes, pointer movements) that the messages of one client may cause before others are
/// served. A legal message of thousands of scan codes could otherwise keep the host's loop for a tenth of a
/// second.
pub const MAX_WORK_PER_TURN: usize = 2048;

/// How long the server leaves the messages of a client alone that has caused [`MAX_WORK_PER_TURN`] in one turn.
/// The host's monitor and disks need several turns for each of their requests.
pub const WORK_REST: Duration = Duration::from_millis(10);

// # Client: migration

/// How long clients may take to link to the target of a migration (server.md 9.2). The host waits for all of
/// them before it moves the machine.
pub const MIGRATION_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long clients may take to leave when the machine has moved (server.md 9.3). The host waits for them
/// before it ends.
pub const MIGRATION_LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after the start of the machine a client from the source of a migration may take to arrive: it
/// holds the one place that a server has for clients.
pub const MIGRATION_ARRIVE_TIMEOUT: Duration = Duration::from_secs(30);

// # Connection: link stage

/// Time from accept to the end of the link stage. A silent peer would otherwise hold a descriptor for ever.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections in the link stage. One more makes the server drop the least promising of them. A flood must
/// not use up the host's descriptors, so the limit is also a quarter of what the process may have. It is
/// large enough that, at a flood of 900 connections a second, the link message of a client 150 ms away
/// arrives before that client is the oldest.
pub const MAX_PENDING_LINKS: usize = 512;

/// Descriptors for which the server makes room in the kernel's table before clients come, as far as the process
/// may have them: those of [`MAX_PENDING_LINKS`], and of the host and the clients. 8 bytes each.
pub const DESCRIPTOR_TABLE: u64 = 1024;

/// Delay between two ticket checks for an address that has sent a wrong ticket: ten guesses a second at most.
pub const GUESS_DELAY: Duration = Duration::from_millis(100);

/// How long the server remembers an address for a wrong ticket.
pub const GUESS_MEMORY: Duration = Duration::from_secs(60);

/// Addresses remembered for wrong tickets. A peer with many addresses must not cost memory.
pub const MAX_GUESSERS: usize = 256;

/// Reads from one connection in the link stage per turn. More than the bytes in any link message, so only a
/// peer that wraps each byte in its own WebSocket frame or TLS record gets here.
pub const MAX_READS_PER_TURN: usize = 4096;

/// Connections accepted per turn of the host's loop. A flood must not keep the host thread.
pub const MAX_ACCEPTS_PER_TURN: usize = 16;

/// Pause after accept fails for want of descriptors or memory. The listening socket stays readable meanwhile,
/// and the host's loop would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Bytes of an HTTP request for a WebSocket. The server buffers it up to the empty line.
pub const MAX_UPGRADE_REQUEST: usize = 8192;

// # Connection: SASL

/// Bytes in the name of a SASL mechanism. The standard allows 20.
pub const MAX_SASL_NAME: usize = 100;

/// Bytes in one client message of a SASL exchange, as in the original. Kerberos tickets have tens of
/// kilobytes. The server allocates as the bytes arrive.
pub const MAX_SASL_DATA: usize = 1 << 20;

/// Client messages in one SASL exchange. Mechanisms take three or four.
pub const MAX_SASL_STEPS: u32 = 32;

/// Bytes of consecutive packets of a SASL security layer that carry no data. One packet with data has at most
/// 8 KiB.
pub const MAX_SASL_BARREN: usize = 32 << 10;

// # Connection: TLS and WebSocket

/// Socket reads that OpenSSL may make before it returns to the caller. It would go on for as long as records
/// without data arrive. One record takes two reads.
pub const MAX_TLS_READS: u32 = 64;

/// Bytes of consecutive TLS records that carry no data: about a thousand KeyUpdate messages, each of which
/// costs a key derivation. One record with data has at most 17 KiB.
pub const MAX_TLS_BARREN: usize = 32 << 10;

/// Bytes that a client may send in its TLS handshake. A ClientHello has at most 128 KiB.
pub const MAX_TLS_HANDSHAKE: usize = 256 << 10;

/// Consecutive WebSocket frames without data on a connection that always has more to read. A client that
/// sends only pings and empty frames makes the server work for nothing.
pub const MAX_DATALESS_FRAMES: u32 = 256;

/// Buffers that one read from a WebSocket searches for data before the thread serves others.
pub const MAX_DATALESS_READS: u32 = 4;

// # Connection: jobs of other threads

/// Jobs of one kind (TLS handshakes, tickets, logins) that wait for their thread. A link has one job at a time,
/// so these are the jobs of [`MAX_PENDING_LINKS`] links and of some that are just being closed.
pub const MAX_LINK_JOBS: usize = 512 + 32;

/// Threads for logins by SASL. Several, so that logins which wait for a directory server do not hold up the
/// others.
pub const MAX_SLOW_THREADS: usize = 8;

// # Connection: ticket keys

/// Links served by one ticket key. Bounds the list of tickets that the key has seen.
pub const TICKET_KEY_LINKS: u32 = 64;

/// Age at which the server replaces a ticket key.
pub const TICKET_KEY_LIFETIME: Duration = Duration::from_secs(600);

// # Client: queues

/// Bytes queued for a client on a host-thread channel at which the server stops reading that client's
/// messages. More than the 256,000 bytes of the network test.
pub const HOST_CHANNEL_BACKLOG: usize = 320 << 10;

/// Bytes queued for a client on a host-thread channel at which the server disconnects it. The client reads
/// nothing, while guest and host go on to cause messages.
pub const MAX_HOST_CHANNEL_BACKLOG: usize = 1 << 20;

/// Bytes that the kernel may hold unsent for a client. On a slow link, newer content can replace only what
/// the worker has not encoded yet. Data of USB devices, ports and folders is never replaced, so their channels
/// fill the kernel's buffers.
pub const MAX_UNSENT: u32 = 64 << 10;

/// Messages in one client's cursor pipe before the current pointer state replaces them. A client that stops
/// reading must not cost memory.
pub const MAX_CURSOR_PIPE: usize = 50;

// # Guest: command ring

/// How long a request may take commands from the ring before it does its own work. A guest can refill its
/// ring for ever from another processor, and would keep the host's caller. On a processor of its own the worker
/// reaches `MAX_DRAIN_COST` before.
pub const MAX_DRAIN: Duration = Duration::from_millis(400);

/// Estimated cost of all that a request may have to draw when it takes commands from the ring: of those, and of
/// what waits already (about nanoseconds), unless a single one costs more. What remains is drawn afterwards.
pub const MAX_DRAIN_COST: u64 = 150_000_000;

// # Guest: video encoders

/// How long a video encoder of the plugin may take to be made, or to encode one frame. An encoder that stalls
/// costs its stream; the worker goes on meanwhile.
pub const VIDEO_FRAME_LIMIT: Duration = Duration::from_millis(1000);

/// Memory that one video encoder of the plugin may keep (bytes), besides [`VIDEO_MEMORY_PER_PIXEL`]. An
/// encoder that leaks would use up the host's memory. x265, which needs most, keeps a third of this.
pub const VIDEO_MEMORY: u64 = 256 << 20;

/// Memory that one video encoder of the plugin may keep for each pixel of its frames (bytes), besides
/// [`VIDEO_MEMORY`]. Guests choose the size of the frames.
pub const VIDEO_MEMORY_PER_PIXEL: u64 = 64;

/// Threads with video encoders of the plugin in a process, including threads that never came back from an
/// encoder that stalls. Guests start streams as they like; streams beyond these threads are MJPEG.
pub const MAX_VIDEO_ENCODERS: usize = 32;

/// Video encoders of one codec that may fail in a process before the server uses the codec no more. Each
/// encoder that stalls leaves a thread behind.
pub const MAX_VIDEO_FAILURES: u32 = 3;

/// Processors that one video encoder of the plugin may use. The guest needs the others.
pub const MAX_VIDEO_THREADS: u32 = 4;

// # Guest: threads that encode

/// Threads of a process that help with large images, however many processors it has. The guest needs them
/// too.
pub const MAX_POOL_THREADS: usize = 4;

/// Requests for help that wait for these threads. More would be of no use: the workers do meanwhile what they
/// wait for.
pub const MAX_POOL_QUEUE: usize = 64;

/// Frames of video that wait for each of these threads. A guest that plays many videos would make all of them
/// late; beyond these frames, its worker encodes them itself.
pub const MAX_POOL_JOBS: usize = 2;

// # Client: display pipe

/// Items in a display client's pipe before the pipe collapses: the worker forgets the commands and later
/// sends images of what they changed (display.md 18.3). Bounds what a slow client holds of the guest's memory
/// and of the server's: these commands, one encoded message, and a few rectangles per surface.
pub const MAX_PIPE_ITEMS: usize = 256;

/// Age of the oldest item in a display client's pipe before the pipe collapses. On a slow link the client
/// would otherwise watch the past.
pub const MAX_PIPE_AGE: Duration = Duration::from_millis(1000);

/// How long a draw of a GL scanout may wait for clients, or for a worker that is busy. The guest draws nothing meanwhile;
/// after this it goes on, which with the time that a thread needs to wake up shall be within 5 ms.
pub const GL_DRAW_TIMEOUT: Duration = Duration::from_millis(3);

/// Longest side of a GL scanout (pixels). The host takes the size from its guest; GPUs draw no larger ones.
pub const MAX_SCANOUT_SIDE: u32 = 16_384;

/// Pixels of a GL scanout. The server keeps a copy and a surface of this size for remote clients.
pub const MAX_SCANOUT_PIXELS: u64 = 1 << 26;

/// How long a display client may take to send INIT. Until then the connection serves no purpose.
pub const INIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Pixels in one image that refreshes a stale area of a client. The client must receive the whole image
/// before any newer content.
pub const MAX_UPDATE_PIXELS: u64 = 1 << 18;

/// Pixels of the first image of a surface, which shows it to a client; the rest follows in images of
/// [`MAX_UPDATE_PIXELS`]. The guest and other clients wait while the worker encodes it. Screens up to 2560 x 1600 are
/// sent whole.
pub const MAX_FULL_IMAGE: u64 = 1 << 22;

/// What the guest draws within this time of a client's input is likely to answer it, so it is sent at once and not collected.
pub const INPUT_ANSWER: Duration = Duration::from_millis(100);

/// Least time between the end of one burst of drawing to a display client and the next, if the client costs more
/// than little. A guest may redraw faster than any screen shows it, and encoding all of that would be waste.
/// A change after a pause is sent at once.
pub const DISPLAY_PACE: Duration = Duration::from_millis(16);

/// Longest delay that pacing may add. Pacing backs off with the cost of encoding, so that one client uses at
/// most half a processor.
pub const DISPLAY_PACE_MAX: Duration = Duration::from_millis(60);

/// Pieces of one frame of a video that is drawn in pieces, before the worker looks at no more of them. It compares
/// each with the others.
pub const MAX_PIECES: usize = 256;

/// Rectangles of pending commands from which the worker copies a frame of such a video without drawing the commands. If
/// there are more, it draws the commands: the time to find what they cover grows faster than their number.
pub const MAX_PEEKED: usize = 1024;

/// The same in pixels, for each pixel of the frame. Copies that do not cover each other may wait in any number, and the
/// worker would copy all of them again for each frame. Once drawn, they are gone.
pub const MAX_PEEKED_LAYERS: u64 = 2;

/// Bytes of strips of the screen that the worker saves so that scrolls of the guest may wait: a screen of 2560x1600. A guest
/// can make every scroll need another strip. Beyond that scrolls are drawn.
pub const MAX_SAVED: usize = 16 << 20;

/// Strips of one scroll. Each is a copy of its own when the scroll is drawn.
pub const MAX_SAVED_STRIPS: usize = 128;

/// Estimated cost of a command that the worker draws at once where the host has read just before: the word of a text, not a
/// picture.
pub const MAX_DRAWN_AT_ONCE: u64 = 1 << 15;

/// Marks on their way on one link, by which the server measures what the link delivers. Each costs memory until
/// the client answers it, and one message of the client's acknowledgement window.
pub const MAX_LINK_MARKS: usize = 12;

/// Pixels of a word, and of the line of words that the worker sends as one picture. It reads each pixel in one go, and a
/// guest decides how long its lines are.
pub const MAX_WORD_PIXELS: u64 = 1 << 13;
/// See [`MAX_WORD_PIXELS`].
pub const MAX_LINE_PIXELS: u64 = 1 << 15;

/// Pixels of one slice of a large image on a link that is not thin. Other messages wait while the worker encodes and sends a
/// slice; but each slice costs a message, and images that later ones refer to compress better in one piece.
pub const MAX_SLICE_PIXELS: u64 = 1 << 20;

/// Commands that one small command may overtake in a display client's pipe. The worker compares the areas of
/// each pair, and a guest could otherwise make it compare all commands of a long pipe for each message.
pub const MAX_OVERTAKEN: usize = 64;

/// Bytes sent plus pixels encoded for one display client before the worker serves other clients and the guest.
/// The worker reads the rings between two large images, because newer commands may cover what still waits.
pub const MAX_SEND_PER_TURN: u64 = 64 << 10;

// # Client: character devices

/// Buffers queued for a guest's device before the server stops reading the client's messages. The original's
/// window.
pub const MAX_DEVICE_BUFFERS: usize = 128;

/// Bytes queued for a guest's device before the server stops reading the client's messages. One more message
/// can still arrive.
pub const MAX_DEVICE_QUEUE: usize = 1 << 20;

/// Bytes queued for a device's client at which the server stops reading the device. Below
/// [`HOST_CHANNEL_BACKLOG`] by more than one message, so that the server still reads the messages of a client
/// that receives a lot.
pub const MAX_DEVICE_BACKLOG: usize = 192 << 10;

/// Bytes of the state of a device that a client brings to the target of a migration: the original's window of 128
/// buffers, full of messages of 64 KiB and their headers.
pub const MAX_DEVICE_STATE: usize = (128 << 16) + 8192;

/// Bytes for a guest's device that a client may carry to the target of a migration: what fits into
/// [`MAX_DEVICE_STATE`] beside the rest of the state. A client that has to go must be read up to the mark that ends
/// its messages, however full the device is.
pub const MAX_DEVICE_CARRIED: usize = 128 << 16;

// # Guest: character devices

/// Bytes of one read from a device. The original's largest message.
pub const DEVICE_READ: usize = (64 << 10) + 32;

/// Bytes read from a device per wakeup before others are served. A guest that never stops writing must not
/// keep the host's main loop.
pub const MAX_DEVICE_READ_PER_TURN: usize = 1 << 20;

/// Interval between two attempts to write to a full device. Some hosts do not say when the device takes bytes
/// again.
pub const DEVICE_RETRY: Duration = Duration::from_millis(100);

/// Bytes in the name of a port. The server sends the name to every client.
pub const MAX_PORT_NAME: usize = 256;

// # Guest: streaming devices

/// Bytes of one frame of a streaming device, as in the original. The server stores a frame as its bytes
/// arrive, and one frame per device at a time.
pub const MAX_STREAM_FRAME: usize = 32 << 20;

/// Width and height of the picture of a streaming device (pixels). Clients make a surface of this size.
pub const MAX_STREAM_SIDE: u32 = 16_384;

/// Least time between two requests of the server that the guest begins its stream anew for clients that fell
/// behind. Each costs all clients a key frame.
pub const STREAM_RESTART_PAUSE: Duration = Duration::from_secs(5);

// # Client: streaming devices

/// How long other clients of a streaming device wait until one client has taken a frame, where frames need
/// each other. After that this client misses frames until the stream begins anew, which happens at most once
/// per [`STREAM_RESTART_PAUSE`]: the others lose 4 % of their time.
pub const STREAM_PATIENCE: Duration = Duration::from_millis(200);

// # Client: guest agent

/// Pieces of agent messages that may wait for one client's tokens while another client still has some. One
/// more piece disconnects the client.
pub const MAX_AGENT_QUEUE: usize = 5;

/// How long a piece of an agent message may wait for a client's tokens.
pub const MAX_AGENT_STARVED: Duration = Duration::from_secs(30);

// # Guest: guest agent

/// Pointer states with different buttons that may wait for a guest agent. The agent of a stopped guest takes
/// none.
pub const MAX_MOUSE_STATES: usize = 64;

// # Client: smartcards

/// Bytes of a smartcard message after its header, in either direction. Card commands have at most 270 bytes;
/// QEMU's device buffers this much.
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
