//! The display channel of one QXL device: pending commands, surfaces, and what each client still has to be sent.
//!
//! [`DisplayChannel`] is a state machine without a thread or clock of its own; the worker drives it:
//!
//! ```text
//! guest commands and requests -> draw(), surface_command(), update_area(), ...
//! clients                     -> the `Channel` trait, which `channel::polled` calls in the worker's poll loop
//! end of each turn            -> push() for each client, then take_client_caps() and take_async_completions()
//! ```
//!
//! How the parts play together:
//! - `surfaces` draws lazily: commands wait in the `tree` of their surface until somebody needs the pixels. Commands that
//!   later ones cover leave the tree without being rendered (display.md 4).
//! - Each client has a pipe, the queue of what it has to be sent, and a *dirty region* per surface. Invariant: once the pipe
//!   is sent, the client's surfaces equal the channel's everywhere outside the dirty region. When no command waits in the
//!   pipe, dirty areas are sent as images of the present content. Everything that cannot or should not be sent as a command
//!   goes to the dirty region: commands that read dirty pixels, operations that the client does not know, commands that read
//!   lossy pixels, areas that showed video, and all commands if the client is slow (the pipe *collapses*, display.md 18.3).
//! - So the memory of a client is bounded however slow it is, nobody waits for it, and the guest gets its commands back
//!   whenever it needs them.

mod channel;
mod client;
mod clients;
mod cost;
pub mod cursor;
mod edges;
pub(crate) mod encode;
mod gl;
mod guest_view;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_wire;
mod pending;
mod pipe;
mod reads;
mod scroll;
mod services;
pub(crate) mod settings;
mod stream;
mod surfaces;
mod tree;

pub use channel::DisplayChannel;
pub use services::{Services, Wake};

use crate::channel::Profile;
use crate::channel::link::{LinkOptions, PING_PERIOD};
use crate::protocol::ChannelType;
use crate::protocol::caps::display::{
    MONITORS_CONFIG, PREF_COMPRESSION, PREF_VIDEO_CODEC_TYPE, STREAM_REPORT,
};

/// The display channel's line in the registry.
pub(crate) static PROFILE: Profile = Profile {
    channel_type: ChannelType::Display,
    caps: &[MONITORS_CONFIG, STREAM_REPORT, PREF_COMPRESSION, PREF_VIDEO_CODEC_TYPE],
    shared: true,
    options: LinkOptions {
        max_body: crate::protocol::display::max_body,
        window: true,
        ping_period: PING_PERIOD,
    },
};
