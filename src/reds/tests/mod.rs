//! The whole server in one process: a host with a poll loop on a thread of its own, and raw clients.

mod agent;
mod devices;
mod echo;
mod faults;
mod goodbye;
mod harness;
mod inputs;
mod link;
mod migration;
mod robustness;
mod sasl;
mod session;
mod smartcard;
mod sound;
mod transports;
