//! Listening sockets: TCP, unix (also abstract), or one that the host hands in (server.md 4.1).

use crate::host::SocketAddresses;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, getpeername,
    getsockname, listen, setsockopt, socket, sockopt,
};
use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

/// Address family of the listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 or IPv6, as the address says.
    #[default]
    Unspecified,
    /// IPv4 alone.
    Ipv4,
    /// IPv6, and IPv4 through it where the address is the wildcard.
    Ipv6,
    /// A unix socket.
    Unix,
}

/// Longest path of a unix socket (bytes).
const MAX_UNIX_PATH: usize = 107;

/// Seconds without traffic before the kernel probes a connection.
const KEEPALIVE_IDLE: u32 = 600;

/// A non-blocking listening socket.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(l) => l.as_fd(),
            Self::Unix(l) => l.as_fd(),
        }
    }
}

impl Listener {
    /// Binds to `address` as `family` says. An empty address is the wildcard.
    pub(crate) fn bind(address: &[u8], family: Family, port: u16) -> io::Result<Self> {
        if family == Family::Unix {
            return Self::bind_unix(address);
        }
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for candidate in candidates(address, family, port)? {
            match bind_tcp(candidate) {
                Ok(listener) => return Ok(Self::Tcp(listener)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind_unix(path: &[u8]) -> io::Result<Self> {
        let path = &path[..path.len().min(MAX_UNIX_PATH)];
        let fd = socket(AddressFamily::Unix, SockType::Stream, flags(), None)?;
        let address = match path.split_first() {
            Some((b'@', name)) => UnixAddr::new_abstract(name)?,
            Some(_) => {
                // A process that died left its socket behind, and bind would fail.
                let _ = std::fs::remove_file(OsStr::from_bytes(path));
                UnixAddr::new(path)?
            }
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        bind(fd.as_raw_fd(), &address)?;
        listen(&fd, Backlog::MAXCONN)?;
        Ok(Self::Unix(fd.into()))
    }

    /// A socket of the host that listens already.
    pub(crate) fn from_host(fd: OwnedFd) -> io::Result<Self> {
        let unix = getsockname::<SockaddrStorage>(fd.as_raw_fd())?.family() == Some(AddressFamily::Unix);
        if unix {
            let listener = UnixListener::from(fd);
            listener.set_nonblocking(true)?;
            return Ok(Self::Unix(listener));
        }
        let listener = TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(listener))
    }

    /// The next connection, `None` when there is none now. A connection that vanished before it was accepted counts as
    /// an `Interrupted` error: try again.
    pub(crate) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        let accepted = match self {
            Self::Tcp(l) => l.accept().map(|(s, _)| s.into()),
            Self::Unix(l) => l.accept().map(|(s, _)| s.into()),
        };
        match accepted {
            Ok(fd) => Ok(Some(fd)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => Err(io::ErrorKind::Interrupted.into()),
            Err(e) => Err(e),
        }
    }

    /// The TCP port that was bound.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(l) => l.local_addr().ok().map(|a| a.port()),
            Self::Unix(_) => None,
        }
    }
}

fn flags() -> SockFlag {
    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK
}

fn candidates(address: &[u8], family: Family, port: u16) -> io::Result<Vec<SocketAddr>> {
    let text = std::str::from_utf8(address).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let (v4, v6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let mut all: Vec<SocketAddr> = if text.is_empty() {
        [v4, v6].map(|ip| SocketAddr::new(ip, port)).to_vec()
    } else {
        (text, port).to_socket_addrs()?.collect()
    };
    all.retain(|a| match family {
        Family::Ipv4 => a.is_ipv4(),
        Family::Ipv6 => a.is_ipv6(),
        Family::Unspecified | Family::Unix => true,
    });
    Ok(all)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, flags(), None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd.into())
}

/// Sets the options of a client's connection. Unix sockets have none of them.
pub(crate) fn set_connection_options(fd: &OwnedFd) {
    if getsockname::<SockaddrStorage>(fd.as_raw_fd()).is_ok_and(|a| a.family() == Some(AddressFamily::Unix)) {
        return;
    }
    let set = setsockopt(fd, sockopt::TcpNoDelay, &true)
        .and_then(|()| setsockopt(fd, sockopt::KeepAlive, &true))
        .and_then(|()| setsockopt(fd, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE))
        .and_then(|()| super::socket::set_unsent_limit(fd));
    if let Err(error) = set {
        crate::debug!("socket options: {error}");
    }
}

/// Both addresses of a connection as the kernel's structures, and the peer as text for logs.
#[must_use]
pub(crate) fn addresses(fd: RawFd) -> (SocketAddresses, String) {
    let local = getsockname::<SockaddrStorage>(fd).ok();
    let peer = getpeername::<SockaddrStorage>(fd).ok();
    let text = match &peer {
        Some(address) if address.family() == Some(AddressFamily::Unix) => "unix".to_owned(),
        Some(address) => address.to_string(),
        None => "unknown".to_owned(),
    };
    let bytes = |address: Option<SockaddrStorage>| address.as_ref().map(sockaddr_bytes).unwrap_or_default();
    (SocketAddresses { local: bytes(local), peer: bytes(peer) }, text)
}

/// Our end and the client's as SASL wants them: `host;port`, if they are internet addresses.
#[must_use]
pub(crate) fn sasl_addresses(fd: RawFd) -> (Option<String>, Option<String>) {
    let text = |address: nix::Result<SockaddrStorage>| {
        let address = address.ok()?;
        let v4 = address.as_sockaddr_in().map(|a| format!("{};{}", a.ip(), a.port()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| format!("{};{}", a.ip(), a.port())))
    };
    (text(getsockname(fd)), text(getpeername(fd)))
}

/// The bytes of a socket address structure, in the kernel's length.
fn sockaddr_bytes(address: &SockaddrStorage) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(v4) = address.as_sockaddr_in() {
        out.extend(u16::try_from(AddressFamily::Inet as i32).unwrap_or(0).to_ne_bytes());
        out.extend(v4.port().to_be_bytes());
        out.extend(v4.ip().octets());
        out.extend([0; 8]);
    } else if let Some(v6) = address.as_sockaddr_in6() {
        out.extend(u16::try_from(AddressFamily::Inet6 as i32).unwrap_or(0).to_ne_bytes());
        out.extend(v6.port().to_be_bytes());
        out.extend(v6.flowinfo().to_ne_bytes());
        out.extend(v6.ip().octets());
        out.extend(v6.scope_id().to_ne_bytes());
    } else if let Some(unix) = address.as_unix_addr() {
        out.extend(u16::try_from(AddressFamily::Unix as i32).unwrap_or(0).to_ne_bytes());
        if let Some(path) = unix.path() {
            out.extend(path.as_os_str().as_bytes());
            out.push(0);
        } else if let Some(name) = unix.as_abstract() {
            out.push(0);
            out.extend(name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn accept(listener: &Listener) -> OwnedFd {
        loop {
            if let Some(fd) = listener.accept().unwrap() {
                return fd;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn tcp_addresses_are_kernel_structures() {
        let listener = Listener::bind(b"127.0.0.1", Family::Unspecified, 0).unwrap();
        let port = listener.port().unwrap();
        assert!(listener.accept().unwrap().is_none());
        let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let fd = accept(&listener);
        set_connection_options(&fd);
        let (local, remote) = sasl_addresses(fd.as_raw_fd());
        assert_eq!(local, Some(format!("127.0.0.1;{port}")));
        assert!(remote.unwrap().starts_with("127.0.0.1;"));
        let (all, text) = addresses(fd.as_raw_fd());
        assert_eq!((all.local.len(), all.peer.len()), (16, 16));
        assert_eq!(all.local[..8], [2, 0, port.to_be_bytes()[0], port.to_be_bytes()[1], 127, 0, 0, 1]);
        assert!(text.starts_with("127.0.0.1:"));
    }

    #[test]
    fn ipv6_family_leaves_out_ipv4() {
        assert!(Listener::bind(b"127.0.0.1", Family::Ipv6, 0).is_err());
        if let Ok(listener) = Listener::bind(b"", Family::Ipv6, 0) {
            // The wildcard takes both, as IPV6_V6ONLY is off.
            let _client = TcpStream::connect(("127.0.0.1", listener.port().unwrap())).unwrap();
            let (all, _) = addresses(accept(&listener).as_raw_fd());
            assert_eq!(all.peer.len(), 28);
        }
    }

    #[test]
    fn unix_socket_replaces_a_dead_one() {
        let path = std::env::temp_dir().join(format!("spice-listener-{}", std::process::id()));
        let bytes = path.as_os_str().as_bytes();
        drop(Listener::bind(bytes, Family::Unix, 0).unwrap());
        let listener = Listener::bind(bytes, Family::Unix, 0).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (all, text) = addresses(accept(&listener).as_raw_fd());
        assert_eq!(all.local.len(), 2 + bytes.len() + 1);
        assert_eq!((all.peer, text.as_str()), (vec![1, 0], "unix"));
        std::fs::remove_file(path).unwrap();
        assert!(Listener::bind(b"", Family::Unix, 0).is_err());
    }

    #[test]
    fn abstract_name_is_exactly_as_long_as_given() {
        let name = format!("spice-abstract-{}", std::process::id());
        let listener = Listener::bind(format!("@{name}").as_bytes(), Family::Unix, 0).unwrap();
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let _client = UnixStream::connect_addr(&address).unwrap();
        let (all, _) = addresses(accept(&listener).as_raw_fd());
        assert_eq!(all.local.len(), 2 + 1 + name.len());
    }

    #[test]
    fn host_socket_is_recognized() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(Listener::from_host(listener.into()).unwrap(), Listener::Tcp(_)));
    }
}
