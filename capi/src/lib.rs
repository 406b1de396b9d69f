//! libspice-server.so.1: the C ABI over the core.
//!
//! [`abi`] has the C types, [`api`] the exported functions (one module per header), [`boundary`] what happens to
//! panics, [`handle`] the way from C pointers to our objects, [`lookup`] both as one helper for exported functions,
//! [`adapter`] the host's callbacks as the traits of the core. No behaviour of its own.
#![allow(clippy::missing_safety_doc, reason = "what a C caller must keep to is the text of the headers")]

pub mod abi;
mod adapter;
pub mod api;
mod boundary;
mod convert;
mod handle;
mod interfaces;
mod log_sink;
mod lookup;
mod trim;
