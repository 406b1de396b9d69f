//! `docs/limits.md` lists what `src/limits.rs` defines, and adds up what one peer can cost.
//!
//! `UPDATE_DOCS=1 cargo test --test house limits` writes the file anew.

use super::root;
use spice_server_core::limits::*;
use spice_server_core::protocol::{link, main_channel, spicevmc};
use std::fmt::Write;
use std::fs;
use std::time::Duration;

/// Whose expense the headings of `src/limits.rs` name, in the order of the document.
const PEERS: [(&str, &str); 3] = [
    ("Connection", "A connection that has not logged in"),
    ("Client", "A client"),
    ("Guest", "A guest (one display device, or one character device)"),
];

/// One constant of `src/limits.rs`.
struct Limit {
    /// The heading above it, such as "Guest: command ring".
    heading: String,
    name: String,
    value: String,
    reason: String,
}

/// The constants of `src/limits.rs` in their order.
fn limits(source: &str) -> Vec<Limit> {
    let (mut found, mut heading, mut reason) = (Vec::new(), String::new(), String::new());
    for line in source.lines() {
        if let Some(title) = line.strip_prefix("// # ") {
            heading = title.into();
        } else if let Some(text) = line.strip_prefix("///") {
            reason += text;
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let (name, rest) = rest.split_once(": ").unwrap();
            let (_, value) = rest.split_once(" = ").unwrap();
            let value = written(value.trim_end_matches(';'));
            let reason = std::mem::take(&mut reason).trim().replace("[`", "`").replace("`]", "`");
            found.push(Limit { heading: heading.clone(), name: name.into(), value, reason });
        }
    }
    found
}

/// The value of a constant for readers: `8 << 20` is "8 Mi", `Duration::from_secs(20)` is "20 s".
fn written(expression: &str) -> String {
    let call = expression.strip_prefix("Duration::from_").and_then(|call| call.strip_suffix(')'));
    match call.and_then(|call| call.split_once('(')) {
        Some(("secs", n)) => format!("{n} s"),
        Some(("millis", n)) => n.strip_suffix("000").map_or(format!("{n} ms"), |s| format!("{s} s")),
        Some((unit, _)) => panic!("unknown unit {unit}"),
        None => amount(sum_of(expression)),
    }
}

/// The value of numbers joined by `<<` (which binds least), `+` and `*`, with brackets around the first part
/// only.
fn sum_of(expression: &str) -> u64 {
    let expression = expression.trim();
    if let Some((inner, rest)) = expression.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        let rest = rest.trim();
        return sum_of(inner) + rest.strip_prefix('+').map_or(0, sum_of);
    }
    if let Some((base, shift)) = expression.split_once("<<") {
        return sum_of(base) << sum_of(shift);
    }
    if let Some((a, b)) = expression.split_once('+') {
        return sum_of(a) + sum_of(b);
    }
    if let Some((a, b)) = expression.split_once('*') {
        return sum_of(a) * sum_of(b);
    }
    let digits = expression.replace('_', "");
    let parsed = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("no number: {expression}"))
}

/// A number with its thousands apart, in Ki and Mi where that is exact.
fn amount(value: u64) -> String {
    for (unit, size) in [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if value >= size.max(8192) && value.is_multiple_of(size) {
            return format!("{} {unit}", value / size);
        }
    }
    let digits = value.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(value: usize) -> String {
    if value > 64 << 20 {
        return format!("{} MiB", value.div_ceil(1 << 20));
    }
    format!("{}B", amount(value.next_multiple_of(1 << 10) as u64))
}

fn seconds(value: Duration) -> String {
    format!("{} s", value.as_secs_f64())
}

/// Memory of one TLS connection at OpenSSL, as measured (bytes): its buffers, keys and the handshake so far.
const TLS_STATE: usize = 80 << 10;

/// Memory that an entry of a pixmap cache takes, with the tables that find it (bytes).
const CACHE_ENTRY: usize = 128;

/// Channels that a client has at a machine of four displays and a dozen devices: the displays' two each, main, inputs, two
/// of sound, and the devices'. A second link to the same channel is refused.
const DISPLAYS: usize = 4;
const HOST_CHANNELS: usize = 4 + 12;

/// Bytes of the largest pointer shape, and of a decoded pixel.
const SHAPE: usize = MAX_CURSOR_SIDE as usize * MAX_CURSOR_SIDE as usize * 4;
const PIXEL: usize = 4;
const RECT: usize = 16;

/// What one client can cost in all: caches, channels on the host's thread, and displays.
fn client_sum() -> usize {
    let caches = MAX_CACHES_PER_CLIENT
        * (MAX_GLZ_WINDOW_PIXELS as usize * PIXEL + MAX_PIXMAP_CACHE_ENTRIES * CACHE_ENTRY);
    let message = main_channel::MAX_BODY.max(spicevmc::MAX_DATA);
    let channels = HOST_CHANNELS * (MAX_HOST_CHANNEL_BACKLOG + MAX_UNSENT as usize + message);
    // One encoded image waits for the socket, besides the shapes.
    let image = MAX_IMAGE_PIXELS as usize * PIXEL;
    caches + channels + DISPLAYS * (image + MAX_WAITING_SHAPES * SHAPE + MAX_UNSENT as usize)
}

/// What one display device of a guest can cost in all, without GL and video encoders.
fn display_sum() -> usize {
    let dirty = MAX_SURFACES as usize * MAX_DIRTY_RECTS * RECT;
    // The command that goes beyond the budget, and an image that is decoded for it.
    let last = MAX_SNAPSHOT.max(2 * MAX_REGION_RECTS * RECT) + MAX_DECODED_PIXELS as usize * PIXEL;
    MAX_HELD_COPIES + last + MAX_SHARED_ENCODES + dirty + MAX_QUEUED_REQUESTS * 256 + WORKER_STACK
}

/// What the limits of one peer come to together: (peer, what, how much, how it comes about).
fn totals() -> Vec<(&'static str, &'static str, String, String)> {
    let glz = MAX_CACHES_PER_CLIENT * MAX_GLZ_WINDOW_PIXELS as usize * 4;
    let before_login = MAX_UPGRADE_REQUEST + link::MAX_MESSAGE_SIZE;
    vec![
        (
            "Connection",
            "time",
            seconds(HANDSHAKE_TIMEOUT),
            "then the server closes it, whatever it sent".into(),
        ),
        (
            "Connection",
            "memory",
            bytes(before_login),
            format!("its HTTP request and its link message; with TLS, OpenSSL's state on top: {}", bytes(TLS_STATE)),
        ),
        (
            "Connection",
            "memory with SASL",
            bytes(before_login + MAX_SASL_DATA),
            "only if the host turned SASL on: one message of the exchange".into(),
        ),
        (
            "Connection",
            "all together",
            format!("{MAX_PENDING_LINKS} connections, {}", bytes(MAX_PENDING_LINKS * (before_login + TLS_STATE))),
            "or a quarter of the descriptors that the process may have, if that is less".into(),
        ),
        (
            "Client",
            "unread messages",
            bytes(MAX_HOST_CHANNEL_BACKLOG + MAX_UNSENT as usize),
            "per main, inputs or device channel: what the server queues, then disconnects, and what the kernel holds"
                .into(),
        ),
        (
            "Client",
            "received message",
            bytes(main_channel::MAX_BODY.max(spicevmc::MAX_DATA)),
            "per channel: the longest message body, of usbredir, port and webdav; those of main have less".into(),
        ),
        (
            "Client",
            "GLZ windows",
            bytes(glz),
            format!("{MAX_CACHES_PER_CLIENT} dictionaries, 4 bytes a pixel; viewers name one"),
        ),
        (
            "Client",
            "pixmap caches",
            format!("{} entries", amount((MAX_CACHES_PER_CLIENT * MAX_PIXMAP_CACHE_ENTRIES) as u64)),
            "ids and sizes only: the pixels are at the client".into(),
        ),
        (
            "Client",
            "display pipe",
            format!("{MAX_PIPE_ITEMS} commands, {}", seconds(MAX_PIPE_AGE)),
            "per display; beyond it the pipe collapses into areas to refresh".into(),
        ),
        (
            "Client",
            "pointer shapes",
            bytes(MAX_WAITING_SHAPES * SHAPE),
            "per display".into(),
        ),
        (
            "Client",
            "all together",
            bytes(client_sum()),
            format!(
                "with {DISPLAYS} displays and {HOST_CHANNELS} other channels; nearly all of it are GLZ windows, which hold what \
                 was drawn. A server has one client, unless the host allows several"
            ),
        ),
        (
            "Client",
            "time of the host's thread",
            format!("{} callbacks", amount((MAX_WORK_PER_TURN) as u64)),
            format!("in a turn, or those of one message, and then nothing for {} ms", WORK_REST.as_millis()),
        ),
        (
            "Client",
            "silence",
            seconds(MAX_SILENCE),
            "while it owes reads, an ACK or a PONG; no other client and no guest waits for it".into(),
        ),
        (
            "Guest",
            "copies of its memory",
            bytes(MAX_HELD_COPIES),
            "per device: what its unreleased commands hold of QUIC streams, glyphs, paths, lists, regions and snapshots".into(),
        ),
        (
            "Guest",
            "the command beyond that",
            bytes(MAX_SNAPSHOT + MAX_DECODED_PIXELS as usize * PIXEL),
            "per device: the snapshot of the newest command, and the image that is just decoded".into(),
        ),
        (
            "Guest",
            "areas that the host has not read",
            bytes(MAX_SURFACES as usize * MAX_DIRTY_RECTS * RECT),
            format!("per device: {} for each of {} surfaces", bytes(MAX_DIRTY_RECTS * RECT), amount(MAX_SURFACES.into())),
        ),
        (
            "Guest",
            "encoded images",
            bytes(MAX_SHARED_ENCODES),
            "per device, kept for further clients".into(),
        ),
        (
            "Guest",
            "all together",
            bytes(display_sum()),
            "per display device, besides the memory of the guest itself; 1024 surfaces and a decoded image of the largest size are \
             most of it"
                .into(),
        ),
        (
            "Guest",
            "screens drawn by a GPU",
            bytes(2 * MAX_SCANOUT_PIXELS as usize * PIXEL),
            "per device, while a remote client watches: a copy and a surface of the scanout's size".into(),
        ),
        (
            "Guest",
            "video encoders",
            format!("{MAX_VIDEO_ENCODERS} of {}", bytes(usize::try_from(VIDEO_MEMORY).unwrap())),
            "per process, only with the plugin, and only if encoders leak: the greediest keeps a third of this".into(),
        ),
        (
            "Guest",
            "unreleased commands",
            amount(MAX_DRAWABLES as u64),
            "per device; the worker renders and releases the oldest".into(),
        ),
        (
            "Guest",
            "time of the host",
            format!("{} s", Duration::from_nanos(MAX_DRAIN_COST.max(MAX_COMMAND_COST)).as_secs_f64()),
            "per synchronous request, about, for what is drawn before it returns; twice this for a stop, which also draws the command that was held back".into(),
        ),
        (
            "Guest",
            "time of the host, worker lost",
            seconds(MAX_SYNC_REQUEST),
            "per request, if the worker should ever fail to answer".into(),
        ),
        (
            "Guest",
            "bytes from a character device",
            bytes(MAX_DEVICE_READ_PER_TURN),
            "per wakeup, before the host's loop serves others".into(),
        ),
        (
            "Guest",
            "frames of a streaming device",
            bytes(2 * MAX_STREAM_FRAME),
            "per device: the one that arrives, and the one that all its clients are sent; a client that is behind holds one more".into(),
        ),
    ]
}

/// The whole document.
fn document() -> String {
    let source = fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let limits = limits(&source);
    let mut out = String::from(
        "# What one peer can cost\n\n\
         Every byte of a guest or of a client may be hostile, so everything that one of them can make the library do or keep has\n\
         a limit. This page is made from `src/limits.rs` by `UPDATE_DOCS=1 cargo test --test house limits`; the same test fails\n\
         if the two differ.\n\n\
         1 Ki is 1024, 1 Mi is 1024 Ki. Whatever a peer can make the library log is limited too: ten lines per place in the code\n\
         in five seconds, the rest is counted.\n\n",
    );
    for (peer, title) in PEERS {
        writeln!(out, "## {title}\n\nTogether, at most:\n\n| What | How much | Why |\n|---|---|---|")
            .unwrap();
        for (_, what, much, why) in totals().iter().filter(|(of, ..)| *of == peer) {
            writeln!(out, "| {what} | {much} | {why} |").unwrap();
        }
        writeln!(
            out,
            "\nEach limit:\n\n| About | Limit | Value | What it bounds, and why |\n|---|---|---|---|"
        )
        .unwrap();
        for limit in &limits {
            let (of, about) = limit.heading.split_once(": ").unwrap_or_else(|| {
                panic!("{} stands below no heading `// # Guest: ...` or the like", limit.name)
            });
            assert!(PEERS.iter().any(|(peer, _)| *peer == of), "unknown peer in the heading {of}: {about}");
            if of == peer {
                writeln!(out, "| {about} | `{}` | {} | {} |", limit.name, limit.value, limit.reason).unwrap();
            }
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

#[test]
fn the_document_lists_the_limits() {
    let path = root().join("docs/limits.md");
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differ = made.lines().zip(kept.lines()).find(|(a, b)| a != b);
    assert!(
        made == kept,
        "docs/limits.md is not up to date (UPDATE_DOCS=1 cargo test --test house limits writes it): {differ:#?}"
    );
}

#[test]
fn every_limit_has_a_reason() {
    let source = fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let bare: Vec<_> = limits(&source).into_iter().filter(|l| l.reason.len() < 20).map(|l| l.name).collect();
    assert!(bare.is_empty(), "limits whose documentation does not say what they stop: {bare:?}");
}
