use super::harness::*;
use crate::host::ChannelEvent;
use crate::net::tls::testing::{Identity, Pki};
use crate::protocol::link::{LinkError, error_reply};
use crate::reds::{Server, TlsConfig};
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Masks what it sends, cuts it into frames of 3 bytes; understands what the server makes.
struct WebSocket {
    socket: TcpStream,
    left: u64,
}

impl WebSocket {
    fn open(port: u16, pieces: usize) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Protocol: binary\r\n\r\n";
        for piece in request.chunks(request.len().div_ceil(pieces)) {
            socket.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            reply.push(byte[0]);
        }
        assert!(reply.starts_with(b"HTTP/1.1 101 "));
        Self { socket, left: 0 }
    }
}

impl Read for WebSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let mut head = [0; 2];
            self.socket.read_exact(&mut head)?;
            assert_eq!(head[0], 0x82);
            self.left = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.socket.read_exact(&mut length)?;
                    u16::from_be_bytes(length).into()
                }
                127 => {
                    let mut length = [0; 8];
                    self.socket.read_exact(&mut length)?;
                    u64::from_be_bytes(length)
                }
                n => n.into(),
            };
        }
        let size = buf.len().min(self.left as usize);
        let n = self.socket.read(&mut buf[..size])?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Write for WebSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut out = Vec::new();
        for part in buf.chunks(3) {
            let mask = [0x11, 0x22, 0x33, 0x44];
            out.extend([0x82, 0x80 | part.len() as u8]);
            out.extend(mask);
            out.extend(part.iter().zip(mask).map(|(b, m)| b ^ m));
        }
        self.socket.write_all(&out)?;
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn websocket_carries_whole_sessions() {
    let host = Host::start(|_| {});
    for pieces in [1, 2, 20] {
        let mut main = Client::over(WebSocket::open(host.port, pieces));
        assert_eq!(main.link(1, 0, 0, b""), 0);
        assert_eq!(main.message().0, 103);
        main.round_trip();
    }
}

#[test]
fn requests_that_are_no_upgrade_are_refused() {
    let host = Host::start(|_| {});
    let mut client = host.connect();
    client.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let reply = String::from_utf8(client.rest()).unwrap();
    assert!(reply.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{reply}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn tls(socket: TcpStream, version: SslVersion) -> Result<SslStream<TcpStream>, String> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_min_proto_version(Some(version)).unwrap();
    connector.set_max_proto_version(Some(version)).unwrap();
    connector.set_security_level(0);
    connector
        .build()
        .configure()
        .unwrap()
        .use_server_name_indication(false)
        .verify_hostname(false)
        .connect("test", socket)
        .map_err(|e| e.to_string())
}

#[test]
fn tls_carries_sessions_and_is_told_to_the_host() {
    let pki = Pki::with("session", Identity { password: Some("pw"), ..Identity::default() });
    let port = free_port();
    let config = TlsConfig { key_password: Some("pw".into()), port: port.into(), ..pki.config() };
    let host = Host::start(move |s| {
        s.set_tls(config).unwrap();
        s.set_channel_security(Some("main"), 2).unwrap();
        s.set_channel_security(Some("inputs"), 1).unwrap();
    });
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut plain = host.connect();
    plain.send_raw(&link_bytes(1, 0, 0, 0x0b));
    assert_eq!(plain.rest(), error_reply(LinkError::NeedSecured));
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mut main = Client::over(tls(connect(), version).unwrap());
        assert_eq!(main.link(1, 0, 0, b""), 0);
        assert_eq!(main.message().0, 103);
        main.round_trip();
        let mut inputs = Client::over(tls(connect(), version).unwrap());
        inputs.send_raw(&link_bytes(3, 0, 0, 0x0b));
        assert_eq!(inputs.rest(), error_reply(LinkError::NeedUnsecured));
    }
    assert!(tls(connect(), SslVersion::TLS1_1).is_err());
    assert!(host.events().iter().any(|(_, e)| matches!(e, ChannelEvent::Initialized { tls: true, .. })));
    // Plain bytes on the TLS port, and a handshake that stops half-way.
    let mut garbage = Client::new(connect());
    garbage.send_raw(&link_bytes(1, 0, 0, 0x0b));
    garbage.rest();
    let mut half = Client::new(connect());
    half.send_raw(&[0x16, 3, 1]);
    host.wait("the connection", |h| h.event_kinds().iter().any(|k| k == "1"));
    host.advance(Duration::from_secs(21));
    half.rest();
    // A socket of the host.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    host.run(move |s| s.add_ssl_client(theirs.into(), false).unwrap());
    let mut main = Client::over(tls(socket, SslVersion::TLS1_3).unwrap());
    assert_eq!(main.link(1, 0, 0, b""), 0);
}

#[test]
fn init_fails_when_tls_files_do_not_serve() {
    let pki = Pki::with("bad", Identity { password: Some("pw"), ..Identity::default() });
    let good = TlsConfig { key_password: Some("pw".into()), port: free_port().into(), ..pki.config() };
    let bad = |change: fn(&mut TlsConfig)| {
        let mut config = good.clone();
        change(&mut config);
        let server = Server::new();
        server.set_tls(config).unwrap();
        server.init(Arc::new(TestLoop::default())).is_err()
    };
    assert!(!bad(|_| {}));
    assert!(bad(|c| c.key_password = Some("wrong".into())));
    assert!(bad(|c| c.certs_file = "/nonexistent".into()));
    assert!(bad(|c| c.ca_cert_file = "/nonexistent".into()));
    assert!(bad(|c| c.cipher_suite = Some("nonsense".into())));
    assert!(bad(|c| c.dh_key_file = Some("/nonexistent".into())));
}

/// The certificate that the server shows a new client, and the connection.
fn certificate(port: u16) -> (Vec<u8>, Client) {
    let stream = tls(TcpStream::connect(("127.0.0.1", port)).unwrap(), SslVersion::TLS1_3).unwrap();
    let der = stream.ssl().peer_certificate().unwrap().to_der().unwrap();
    (der, Client::over(stream))
}

#[test]
fn a_renewed_certificate_is_for_the_next_client() {
    let pki = Pki::with("renewal", Identity::default());
    let port = free_port();
    let config = TlsConfig { port: port.into(), ..pki.config() };
    let _host = Host::start(move |s| s.set_tls(config).unwrap());
    let (old, mut connected) = certificate(port);
    assert_eq!(connected.link(1, 0, 0, b""), 0);
    connected.until(103);
    pki.install(&pki.issue(Identity { name: "renewed", ..Identity::default() }));
    let (new, _) = certificate(port);
    assert_ne!(new, old);
    connected.round_trip();
    std::fs::write(pki.path("cert.pem"), "half a file").unwrap();
    assert_eq!(certificate(port).0, new);
    connected.round_trip();
}
