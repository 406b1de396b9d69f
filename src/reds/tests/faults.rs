//! Panics where the host thread promises a boundary: each costs its own link or client, and nothing stays behind.

use super::harness::Host;
use crate::channel::connection::ConnectionId;
use crate::net::socket::SocketTransport;
use crate::net::transport::Transport;
use crate::protocol::link::LinkMessage;
use crate::reds::links::PendingLink;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A socket whose reading is a fault of ours.
struct Panics(SocketTransport);

impl Read for Panics {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        panic!("injected")
    }
}

impl Write for Panics {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsFd for Panics {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Transport for Panics {}

/// A pending link whose transport panics, watched by the host; the client's end.
fn add_panicking_link(host: &Host, message: Option<LinkMessage>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    host.run(move |server| {
        let transport = Box::new(Panics(SocketTransport::try_new(ours.into()).unwrap()));
        let fd = transport.raw_fd();
        server.core.with(|state| {
            let at = ConnectionId(state.fresh_key());
            let deadline = state.now + state.handshake_timeout;
            let linked = message.is_some();
            let link = PendingLink::linked(transport, message.unwrap_or_default(), state.guard(at), deadline);
            let call = crate::host::call::HostCall::AddWatch {
                connection: at,
                fd,
                interest: crate::host::Readiness { read: true, write: false },
            };
            if linked {
                state.attach_link(at, link);
            } else {
                state.links.insert(at, link);
                state.host_call(call);
            }
        });
    });
    theirs
}

fn wait_for_close(mut theirs: UnixStream) {
    theirs.set_read_timeout(Some(super::harness::PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    // Unread bytes make a reset of the close.
    loop {
        match theirs.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("not closed: {error}"),
        }
    }
}

#[test]
fn a_panic_in_the_link_stage_costs_that_link_and_its_watch() {
    let host = Host::start(|_| {});
    let watches = host.event_loop.watches();
    let mut theirs = add_panicking_link(&host, None);
    theirs.write_all(b"R").unwrap();
    wait_for_close(theirs);
    host.wait("the watch to go", |h| h.event_loop.watches() == watches);
    // The next client connects.
    let main = host.main();
    drop(main);
    host.wait("the client to go", |h| h.event_loop.watches() == watches);
}

#[test]
fn a_panic_in_a_message_costs_that_client_alone() {
    let host = Host::start(|_| {});
    host.run(|server| server.core.with(|state| state.config.multi_client = true));
    let mut bystander = host.main();
    let before = host.event_loop.watches();
    let message = LinkMessage { channel_type: 1, ..LinkMessage::default() };
    let theirs = add_panicking_link(&host, Some(message));
    // Its greeting is sent, and then its first bytes are looked for.
    wait_for_close(theirs);
    host.wait("the client to go", |h| h.run(|server| server.num_clients()) == 1);
    assert_eq!(host.event_loop.watches(), before);
    // The other client is still served.
    bystander.send(104, &[]);
    bystander.until(104);
}
