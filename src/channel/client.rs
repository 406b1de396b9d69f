//! Names of the links as the worker's channels use them.

pub use super::link::{
    ChannelError, ChannelLink as ChannelClient, ClientKey, LinkOptions, PING_PERIOD, PING_PERIOD_RARE,
    PollEntry, Received, WorkerChannel,
};
