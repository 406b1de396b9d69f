//! `spice-server.h`: constants of the configuration functions.

use libc::c_int;

/// Listen on IPv4 only.
pub const SPICE_ADDR_FLAG_IPV4_ONLY: c_int = 1;
/// Listen on IPv6 only.
pub const SPICE_ADDR_FLAG_IPV6_ONLY: c_int = 2;
/// The address is the path of a unix socket; a leading @ names an abstract one.
pub const SPICE_ADDR_FLAG_UNIX_ONLY: c_int = 4;

/// The channel may be used without TLS.
pub const SPICE_CHANNEL_SECURITY_NONE: c_int = 1;
/// The channel may be used with TLS.
pub const SPICE_CHANNEL_SECURITY_SSL: c_int = 2;
