use super::*;
use spice_server_core::host::{ChannelEvent, EventLoop, Readiness, TimerId, WatchId};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// An event loop that never runs anything. Once it is armed, watching a socket panics.
#[derive(Default)]
struct FaultyLoop {
    armed: AtomicBool,
    panicked: AtomicBool,
}

impl EventLoop for FaultyLoop {
    fn watch_add(&self, _: RawFd, _: Readiness, _: Arc<dyn Fn(Readiness) + Send + Sync>) -> Option<WatchId> {
        let panics = self.armed.load(Ordering::Relaxed);
        self.panicked.store(panics, Ordering::Relaxed);
        assert!(!panics, "injected");
        Some(WatchId(1))
    }
    fn watch_update(&self, _: WatchId, _: Readiness) {}
    fn watch_remove(&self, _: WatchId) {}
    fn timer_add(&self, _: Arc<dyn Fn() + Send + Sync>) -> Option<TimerId> {
        Some(TimerId(1))
    }
    fn timer_start(&self, _: TimerId, _: u32) {}
    fn timer_cancel(&self, _: TimerId) {}
    fn timer_remove(&self, _: TimerId) {}
    fn channel_event(&self, _: u64, _: ChannelEvent) {}
}

/// A server, a descriptor for it, and the client's end of that connection.
fn offer() -> (*mut SpiceServer, c_int, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (handle::add_server(Server::new()), ours.into_raw_fd(), theirs)
}

#[test]
fn a_socket_over_which_the_server_panics_is_closed_and_counts_as_taken() {
    let (server, socket, mut client) = offer();
    assert_eq!(add_socket("test", server, socket, |_, _taken| panic!("injected")), 0);
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "the socket is closed once, by the library");
    assert!(handle::remove_server(server).is_some());
}

#[test]
fn a_socket_that_is_refused_stays_open_and_the_hosts() {
    let (server, socket, mut client) = offer();
    let refuse = |_: &Server, socket| Err((socket, ServerError::NotInitialized));
    assert_eq!(add_socket("test", server, socket, refuse), -1);
    client.write_all(b"x").unwrap();
    // SAFETY: the descriptor is the host's, who is this test.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(socket) });
    let mut byte = [0];
    socket.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    assert!(handle::remove_server(server).is_some());
}

#[test]
fn a_number_that_is_no_socket_is_refused() {
    let (server, socket, _client) = offer();
    assert_eq!(add_socket("test", server, -1, |_, _| Ok(())), -1);
    let null = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(add_socket("test", server, std::os::fd::AsRawFd::as_raw_fd(&null), |_, _| Ok(())), -1);
    // SAFETY: the descriptor is the test's own.
    drop(unsafe { OwnedFd::from_raw_fd(socket) });
    assert!(handle::remove_server(server).is_some());
}

#[test]
fn a_panic_inside_of_the_server_leaves_the_socket_to_exactly_one_owner() {
    type Add = unsafe extern "C" fn(*mut SpiceServer, c_int, c_int) -> c_int;
    // The second one is refused before anything can panic: the server has no certificate.
    for (add, taken) in [(spice_server_add_client as Add, true), (spice_server_add_ssl_client as Add, false)]
    {
        let (pointer, socket, mut client) = offer();
        let event_loop = Arc::new(FaultyLoop::default());
        let server = handle::server("test", pointer).unwrap();
        server.init(event_loop.clone()).unwrap();
        event_loop.armed.store(true, Ordering::Relaxed);
        // SAFETY: the server and the socket are the test's own.
        let result = unsafe { add(pointer, socket, 1) };
        assert_eq!(result == 0, taken);
        assert_eq!(event_loop.panicked.load(Ordering::Relaxed), taken);
        client.set_nonblocking(true).unwrap();
        if taken {
            // The socket is open or closed, but its number is the library's: the host does not close it.
            event_loop.armed.store(false, Ordering::Relaxed);
            drop(handle::remove_server(pointer));
            server.destroy();
        } else {
            assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "it is still open");
            // SAFETY: the descriptor is the host's, who is this test.
            drop(unsafe { OwnedFd::from_raw_fd(socket) });
            drop(handle::remove_server(pointer));
        }
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let rest = client.read_to_end(&mut Vec::new());
        assert!(rest.is_ok(), "the socket is closed by its owner: {rest:?}");
    }
}
