//! The server object: configuration, clients, interfaces of the host (server.md).
