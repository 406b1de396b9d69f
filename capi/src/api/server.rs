//! Functions of `spice-server.h` (server.md 1.2).

use crate::abi::*;
use crate::adapter::event_loop::CoreLoop;
use crate::boundary::{guard, guard_or};
use crate::convert;
use crate::handle;
use crate::lookup::{server_status, status, with_server, with_server_or};
use crate::{interfaces, log_sink, trim};
use libc::{c_char, c_int, sockaddr, socklen_t};
use spice_server_core::reds::{Server, ServerError, TlsConfig};
use spice_server_core::warning;
use std::ffi::CString;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

#[cfg(not(test))]
include!(concat!(env!("OUT_DIR"), "/symver_server.rs"));

/// The only compatibility version that exists.
const CURRENT_COMPAT: spice_compat_version_t = 1;

/// The version of spice_server_set_compat_version() that this library implements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_get_current_compat_version() -> spice_compat_version_t {
    guard("spice_get_current_compat_version", || CURRENT_COMPAT)
}

/// Makes a server that listens nowhere and lets nobody in. Never NULL but out of memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_new() -> *mut SpiceServer {
    guard("spice_server_new", || {
        log_sink::install();
        trim::install();
        let server = Server::new();
        #[cfg(have_sasl)]
        server.set_sasl_backend(Arc::new(crate::adapter::sasl::CyrusSasl));
        handle::add_server(server)
    })
}

/// Starts the server on the main loop of the host: opens the sockets that were asked for. The calling thread counts as the
/// main loop's. Returns 0, or -1 and no socket is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_init(s: *mut SpiceServer, core: *mut SpiceCoreInterface) -> c_int {
    with_server("spice_server_init", s, |server| {
        // SAFETY: the caller passes NULL or an interface as long as its version says.
        let core = match unsafe { CoreLoop::new(core) } {
            Ok(core) => core,
            Err(error) => {
                warning!("spice_server_init: {error}");
                return -1;
            }
        };
        server.start_recording();
        status("spice_server_init", server.init(Arc::new(core)))
    })
}

/// Disconnects all clients, removes what is still attached and frees the server; also if it was never started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_destroy(s: *mut SpiceServer) {
    guard("spice_server_destroy", || {
        let Some((server, instances)) = handle::remove_server(s) else {
            warning!("spice_server_destroy: NULL or no server");
            return;
        };
        server.destroy();
        for instance in instances {
            // SAFETY: attached instances stay valid until their server is destroyed, which is now.
            unsafe { handle::detach(&instance) };
        }
    });
}

/// Restricts the server to features of an old version. Returns 0 for the current version, else -1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_compat_version(
    s: *mut SpiceServer,
    version: spice_compat_version_t,
) -> c_int {
    with_server("spice_server_set_compat_version", s, |_| if version == CURRENT_COMPAT { 0 } else { -1 })
}

/// TCP port to listen on, 0 to 65535. Returns 0, -1 on a bad port. Before spice_server_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_port(s: *mut SpiceServer, port: c_int) -> c_int {
    server_status("spice_server_set_port", s, |server| server.set_port(port))
}

/// Address to listen on, "" for any; flags is one of SPICE_ADDR_FLAG_* or 0. Before spice_server_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_addr(s: *mut SpiceServer, addr: *const c_char, flags: c_int) {
    with_server("spice_server_set_addr", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let address = unsafe { convert::bytes(addr) }.unwrap_or_default();
        server.set_addr(&address, flags);
    });
}

/// A listening socket to use instead of opening one; it stays the host's. Returns 0.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_listen_socket_fd(s: *mut SpiceServer, listen_fd: c_int) -> c_int {
    with_server("spice_server_set_listen_socket_fd", s, |server| {
        if listen_fd < 0 {
            server.set_listen_socket(None);
            return 0;
        }
        // SAFETY: the call touches no memory; for a number that is no open descriptor it fails.
        let copy = unsafe { libc::fcntl(listen_fd, libc::F_DUPFD_CLOEXEC, 0) };
        if copy < 0 {
            let error = std::io::Error::last_os_error();
            warning!("spice_server_set_listen_socket_fd: descriptor {listen_fd}: {error}");
        } else {
            // SAFETY: a descriptor that was just made, and that nobody else knows.
            server.set_listen_socket(Some(unsafe { OwnedFd::from_raw_fd(copy) }));
        }
        0
    })
}

/// Whether the process exits when a client has gone. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_exit_on_disconnect(s: *mut SpiceServer, flag: c_int) -> c_int {
    with_server("spice_server_set_exit_on_disconnect", s, |server| {
        server.set_exit_on_disconnect(flag != 0);
        0
    })
}

/// Lets clients in without a password. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_noauth(s: *mut SpiceServer) -> c_int {
    with_server("spice_server_set_noauth", s, |server| {
        server.set_noauth();
        0
    })
}

/// Whether clients authenticate by SASL instead of a password. Returns 0, -1 if this build cannot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_sasl(s: *mut SpiceServer, enabled: c_int) -> c_int {
    server_status("spice_server_set_sasl", s, |server| server.set_sasl(enabled != 0))
}

/// Name of the SASL configuration to use, NULL for "spice". Returns 0, -1 if this build cannot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_sasl_appname(s: *mut SpiceServer, appname: *const c_char) -> c_int {
    with_server("spice_server_set_sasl_appname", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let name = unsafe { convert::string(appname) };
        // Hosts call it whether they use SASL or not: no warning.
        match server.set_sasl_appname(name.as_deref()) {
            Ok(()) => 0,
            Err(_) => -1,
        }
    })
}

/// Sets the password, at most 60 bytes, and how long it is valid in seconds (0: for ever). NULL lets nobody in.
/// fail_if_connected: change nothing while a client is connected. disconnect_if_connected: disconnect clients first.
/// Returns 0, -1 if refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_ticket(
    s: *mut SpiceServer,
    passwd: *const c_char,
    lifetime: c_int,
    fail_if_connected: c_int,
    disconnect_if_connected: c_int,
) -> c_int {
    with_server("spice_server_set_ticket", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let password = unsafe { convert::bytes(passwd) };
        let result = server.set_ticket(
            password.as_deref(),
            lifetime,
            fail_if_connected != 0,
            disconnect_if_connected != 0,
        );
        status("spice_server_set_ticket", result)
    })
}

/// Port and files (PEM) of the TLS listener; key_passwd, dh_key_file and ciphersuite may be NULL. The files are read by
/// spice_server_init(). Returns 0, -1 on a bad port or a missing file name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_tls(
    s: *mut SpiceServer,
    port: c_int,
    ca_cert_file: *const c_char,
    certs_file: *const c_char,
    private_key_file: *const c_char,
    key_passwd: *const c_char,
    dh_key_file: *const c_char,
    ciphersuite: *const c_char,
) -> c_int {
    with_server("spice_server_set_tls", s, |server| {
        // SAFETY: the caller passes NULL or strings.
        let [ca, certs, key, password, dh, ciphers] = unsafe {
            [
                convert::string(ca_cert_file),
                convert::string(certs_file),
                convert::string(private_key_file),
                convert::string(key_passwd),
                convert::string(dh_key_file),
                convert::string(ciphersuite),
            ]
        };
        let (Some(ca_cert_file), Some(certs_file), Some(private_key_file)) = (ca, certs, key) else {
            warning!("spice_server_set_tls: a mandatory file name is NULL");
            return -1;
        };
        let tls = TlsConfig {
            port,
            ca_cert_file,
            certs_file,
            private_key_file,
            key_password: password,
            dh_key_file: dh,
            cipher_suite: ciphers,
        };
        status("spice_server_set_tls", server.set_tls(tls))
    })
}

/// Serves a client on a connected socket, without checking its password if skip_auth is not 0. Returns 0 and the socket
/// belongs to the library, or -1 and it stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_client(
    s: *mut SpiceServer,
    socket: c_int,
    skip_auth: c_int,
) -> c_int {
    add_socket("spice_server_add_client", s, socket, |server, owned| server.add_client(owned, skip_auth != 0))
}

/// Gives a connected socket of the host to the server. -1: it stays the host's.
fn add_socket(
    name: &'static str,
    s: *mut SpiceServer,
    socket: c_int,
    add: impl FnOnce(&Server, OwnedFd) -> Result<(), (OwnedFd, ServerError)>,
) -> c_int {
    let Some(server) = guard_or(name, None, || handle::server(name, s)) else { return -1 };
    // After a panic the socket is closed, so the host must not close its number again: it counts as taken.
    guard_or(name, 0, || {
        if !is_socket(socket) {
            warning!("{name}: descriptor {socket} is no open socket");
            return -1;
        }
        // SAFETY: the descriptor is open, as was just seen, and the caller gives it away; on failure that is undone below.
        let owned = unsafe { OwnedFd::from_raw_fd(socket) };
        match add(&server, owned) {
            Ok(()) => 0,
            Err((owned, error)) => {
                let _ = owned.into_raw_fd();
                warning!("{name}: {error}");
                -1
            }
        }
    })
}

/// Whether a number is an open stream socket of this process.
fn is_socket(descriptor: c_int) -> bool {
    let mut kind: c_int = 0;
    let mut size = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(0);
    // SAFETY: the two pointers are to live locals of the sizes that the call is told; a bad descriptor is an error of the call.
    let result = unsafe {
        libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut size)
    };
    result == 0 && kind == libc::SOCK_STREAM
}

/// Like spice_server_add_client(), with a TLS handshake first; needs spice_server_set_tls().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_ssl_client(
    s: *mut SpiceServer,
    socket: c_int,
    skip_auth: c_int,
) -> c_int {
    add_socket("spice_server_add_ssl_client", s, socket, |server, owned| {
        server.add_ssl_client(owned, skip_auth != 0)
    })
}

/// Attaches an instance whose interface is one of SPICE_INTERFACE_*. Returns 0, -1 if it was refused. The instance stays
/// the host's and must live until it is removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_interface(
    s: *mut SpiceServer,
    sin: *mut SpiceBaseInstance,
) -> c_int {
    with_server("spice_server_add_interface", s, |server| {
        // SAFETY: the caller passes NULL or an instance of the type that its interface names.
        unsafe { interfaces::add(server, sin) }
    })
}

/// Detaches a tablet, QXL, playback, record or character device instance; the library does not use it any more.
/// Returns 0, -1 if it is not attached or cannot be removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_remove_interface(sin: *mut SpiceBaseInstance) -> c_int {
    guard("spice_server_remove_interface", || {
        // SAFETY: the caller passes NULL or an instance.
        unsafe { interfaces::remove(sin) }
    })
}

/// Default compression of images. A bad value changes nothing. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_image_compression(
    s: *mut SpiceServer,
    comp: SpiceImageCompression,
) -> c_int {
    with_server("spice_server_set_image_compression", s, |server| {
        server.set_image_compression(comp);
        0
    })
}

/// The value of spice_server_set_image_compression().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_image_compression(s: *mut SpiceServer) -> SpiceImageCompression {
    with_server_or("spice_server_get_image_compression", s, 0, |server| server.image_compression())
}

/// When images may be compressed with loss. Returns 0, -1 on a bad value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_jpeg_compression(
    s: *mut SpiceServer,
    comp: spice_wan_compression_t,
) -> c_int {
    server_status("spice_server_set_jpeg_compression", s, |server| server.set_jpeg_compression(comp))
}

/// When GLZ images are compressed once more. Returns 0, -1 on a bad value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_zlib_glz_compression(
    s: *mut SpiceServer,
    comp: spice_wan_compression_t,
) -> c_int {
    server_status("spice_server_set_zlib_glz_compression", s, |server| server.set_zlib_glz_compression(comp))
}

/// SPICE_CHANNEL_SECURITY_* bits of a channel type by name ("main", "display", ...), or of all others if channel is NULL.
/// Returns 0, -1 on an unknown name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_channel_security(
    s: *mut SpiceServer,
    channel: *const c_char,
    security: c_int,
) -> c_int {
    with_server("spice_server_set_channel_security", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let channel = unsafe { convert::string(channel) };
        let result = server.set_channel_security(channel.as_deref(), security.cast_unsigned());
        status("spice_server_set_channel_security", result)
    })
}

/// Without effect; "sw" is accepted. Returns 0 or -1.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_add_renderer(s: *mut SpiceServer, name: *const c_char) -> c_int {
    with_server("spice_server_add_renderer", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let Some(name) = (unsafe { convert::string(name) }) else { return -1 };
        status("spice_server_add_renderer", server.add_renderer(&name))
    })
}

/// Which moving areas are sent as video (SPICE_STREAM_VIDEO_*). Returns 0, -1 on a bad value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_streaming_video(s: *mut SpiceServer, value: c_int) -> c_int {
    server_status("spice_server_set_streaming_video", s, |server| {
        server.set_streaming_video(value.cast_unsigned())
    })
}

/// Video encoders and codecs in order of preference, "encoder:codec;encoder:codec", or "auto". Returns 0, -1 if none
/// of them is known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_video_codecs(
    s: *mut SpiceServer,
    video_codecs: *const c_char,
) -> c_int {
    with_server("spice_server_set_video_codecs", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let Some(codecs) = (unsafe { convert::string(video_codecs) }) else { return -1 };
        status("spice_server_set_video_codecs", server.set_video_codecs(&codecs))
    })
}

/// The list of spice_server_set_video_codecs(); to be freed by spice_server_free_video_codecs().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_video_codecs(s: *mut SpiceServer) -> *const c_char {
    with_server("spice_server_get_video_codecs", s, |server| match CString::new(server.video_codecs()) {
        Ok(string) => server.lend(string),
        Err(_) => std::ptr::null(),
    })
}

/// Frees a string of spice_server_get_video_codecs().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_free_video_codecs(s: *mut SpiceServer, video_codecs: *const c_char) {
    with_server("spice_server_free_video_codecs", s, |server| server.take_back(video_codecs));
}

/// Whether sound output is compressed. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_compression(s: *mut SpiceServer, enable: c_int) -> c_int {
    with_server("spice_server_set_playback_compression", s, |server| {
        server.set_playback_compression(enable != 0);
        0
    })
}

/// Whether pointer positions may go through the guest agent. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_mouse(s: *mut SpiceServer, enable: c_int) -> c_int {
    with_server("spice_server_set_agent_mouse", s, |server| {
        server.set_agent_mouse(enable != 0);
        0
    })
}

/// Whether clipboards are shared with the guest. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_copypaste(s: *mut SpiceServer, enable: c_int) -> c_int {
    with_server("spice_server_set_agent_copypaste", s, |server| {
        server.set_agent_copypaste(enable != 0);
        0
    })
}

/// Whether files may be transferred to the guest. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_agent_file_xfer(s: *mut SpiceServer, enable: c_int) -> c_int {
    with_server("spice_server_set_agent_file_xfer", s, |server| {
        server.set_agent_file_xfer(enable != 0);
        0
    })
}

/// Always -1.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_sock_info(
    s: *mut SpiceServer,
    sa: *mut sockaddr,
    salen: *mut socklen_t,
) -> c_int {
    let _ = (sa, salen);
    with_server("spice_server_get_sock_info", s, |_| -1)
}

/// Always -1.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_peer_info(
    s: *mut SpiceServer,
    sa: *mut sockaddr,
    salen: *mut socklen_t,
) -> c_int {
    let _ = (sa, salen);
    with_server("spice_server_get_peer_info", s, |_| -1)
}

/// 1 if clients send relative pointer motion, 0 if they send positions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_is_server_mouse(s: *mut SpiceServer) -> c_int {
    with_server_or("spice_server_is_server_mouse", s, 0, |server| c_int::from(server.is_server_mouse()))
}

/// Name of the virtual machine for clients, NULL for none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_name(s: *mut SpiceServer, name: *const c_char) {
    with_server("spice_server_set_name", s, |server| {
        // SAFETY: the caller passes NULL or a string.
        let name = unsafe { convert::string(name) };
        server.set_name(name.as_deref());
    });
}

/// UUID of the virtual machine for clients (16 bytes).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_uuid(s: *mut SpiceServer, uuid: *const u8) {
    with_server("spice_server_set_uuid", s, |server| {
        // SAFETY: the caller passes NULL or 16 bytes.
        match unsafe { convert::value(uuid.cast::<[u8; 16]>()) } {
            Some(uuid) => server.set_uuid(uuid),
            None => warning!("spice_server_set_uuid: NULL"),
        }
    });
}

/// The virtual machine runs. May be called repeatedly.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_vm_start(s: *mut SpiceServer) {
    with_server("spice_server_vm_start", s, |server| server.vm_start());
}

/// The virtual machine stopped; on return the library leaves its memory alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_vm_stop(s: *mut SpiceServer) {
    with_server("spice_server_vm_stop", s, |server| server.vm_stop());
}

/// Number of clients; 0 for NULL.
#[deprecated]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_num_clients(s: *mut SpiceServer) -> c_int {
    if s.is_null() {
        return 0;
    }
    with_server_or("spice_server_get_num_clients", s, 0, |server| {
        c_int::try_from(server.num_clients()).unwrap_or(c_int::MAX)
    })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
