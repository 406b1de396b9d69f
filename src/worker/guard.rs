//! The panic boundary of the worker: a fault costs one command, one request or one client, never the thread.

pub(super) use crate::panic::guarded;
