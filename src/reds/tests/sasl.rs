use super::harness::{Client, Host, PATIENCE, link_bytes};
use crate::net::sasl::testing::{FakeBackend, Gate, wrap};
use crate::net::tls::testing::{Identity, Pki};
use crate::protocol::link::{LinkError, PUBLIC_KEY_SIZE, error_reply};
use crate::protocol::writer::Put;
use crate::reds::{Server, TlsConfig};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// AUTH_SELECTION, AUTH_SASL and MINI_HEADER.
const WITH_SASL: u32 = 0x0d;
const OFFER: &[u8] = b"\x18\0\0\0,PLAIN,LAYER,SLOW,PANIC,";

/// A server with the implementation for tests, and the port of its TLS listener.
fn sasl_host(test: &str, configure: impl FnOnce(&Server) + Send + 'static) -> (Host, Gate, u16, Pki) {
    let pki = Pki::with(test, Identity::default());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = TlsConfig { port: port.into(), ..pki.config() };
    let backend = Arc::new(FakeBackend::default());
    let gate = backend.gate();
    let host = Host::start(move |s| {
        s.set_sasl_backend(backend);
        s.set_sasl(true).unwrap();
        s.set_tls(config).unwrap();
        configure(s);
    });
    (host, gate, port, pki)
}

fn over_tls(port: u16) -> Client {
    let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let connector = connector.build().configure().unwrap().verify_hostname(false);
    Client::over(connector.connect("server", socket).unwrap())
}

fn message(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u32(data.len() as u32 + 1);
    out.put(data);
    out.put(b"\0");
    out
}

fn name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u32(name.len() as u32);
    out.put(name);
    out
}

/// Up to the choice of SASL; the key field of the reply.
fn choose_sasl(client: &mut Client, channel_type: u8, session: u32) -> [u8; PUBLIC_KEY_SIZE] {
    client.send_raw(&link_bytes(channel_type, 0, session, WITH_SASL));
    let key = client.link_reply();
    client.send_raw(&2u32.to_le_bytes());
    key
}

/// A whole login over TLS; the link result.
fn log_in(client: &mut Client, channel_type: u8, session: u32) -> u32 {
    choose_sasl(client, channel_type, session);
    assert_eq!(client.receive(OFFER.len()), OFFER);
    client.send_raw(&[name(b"PLAIN"), message(b"\0alice\0secret")].concat());
    assert_eq!(client.receive(9), b"\0\0\0\0\x01\0\0\0\0");
    u32::from_le_bytes(client.receive(4).try_into().unwrap())
}

/// The client's side of the security layer.
struct Layer(TcpStream, Vec<u8>);

impl Read for Layer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.1.is_empty() {
            let mut head = [0; 4];
            self.0.read_exact(&mut head)?;
            self.1 = vec![0; u32::from_be_bytes(head) as usize];
            self.0.read_exact(&mut self.1)?;
            self.1.iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
        let n = buf.len().min(self.1.len());
        buf[..n].copy_from_slice(&self.1[..n]);
        self.1.drain(..n);
        Ok(n)
    }
}

impl Write for Layer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_all(&wrap(buf))?;
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A login without TLS; what follows goes through the layer. The socket is that below it.
fn log_in_plainly(host: &Host, channel_type: u8, session: u32) -> (Client, TcpStream) {
    let socket = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
    let mut client = Client::new(socket.try_clone().unwrap());
    choose_sasl(&mut client, channel_type, session);
    assert_eq!(client.receive(11), b"\x07\0\0\0,LAYER,");
    client.send_raw(&[name(b"LAYER"), message(b"")].concat());
    assert_eq!(client.receive(15), b"\x0a\0\0\0challenge\0\0");
    client.send_raw(&message(b"secret"));
    assert_eq!(client.receive(17), b"\x08\0\0\0welcome\0\x01\0\0\0\0");
    let mut client = Client::over(Layer(socket.try_clone().unwrap(), Vec::new()));
    assert_eq!(client.receive(4), [0; 4]);
    (client, socket)
}

#[test]
fn sessions_run_over_tls_after_a_plain_login() {
    let (host, _, port, _pki) = sasl_host("sasl-tls", |_| {});
    let mut main = over_tls(port);
    assert_eq!(choose_sasl(&mut main, 1, 0), [0; PUBLIC_KEY_SIZE]);
    let mut main = over_tls(port);
    assert_eq!(log_in(&mut main, 1, 0), 0);
    let init = main.until(103);
    let session = u32::from_le_bytes(init[..4].try_into().unwrap());
    let mut inputs = over_tls(port);
    assert_eq!(log_in(&mut inputs, 3, session), 0);
    assert_eq!(inputs.message().0, 101);
    assert_eq!(log_in(&mut over_tls(port), 3, session ^ 1), LinkError::BadConnectionId as u32);
    main.round_trip();
    drop(host);
}

#[test]
fn sessions_run_in_the_security_layer_without_tls() {
    let (host, ..) = sasl_host("sasl-layer", |_| {});
    let (mut main, _) = log_in_plainly(&host, 1, 0);
    let init = main.until(103);
    main.round_trip();
    let session = u32::from_le_bytes(init[..4].try_into().unwrap());
    let (mut inputs, mut below) = log_in_plainly(&host, 3, session);
    assert_eq!(inputs.message().0, 101);
    main.round_trip();
    // What comes without the layer ends that connection alone.
    below.write_all(&[0xff; 100]).unwrap();
    inputs.rest();
    main.round_trip();
}

#[test]
fn failed_logins_are_told_nothing() {
    let (_host, _, port, _pki) = sasl_host("sasl-wrong", |_| {});
    for data in [&b"\0alice\0wrong"[..], b"\0bob\0secret", b"", b"\0", &[0xff; 5000]] {
        let mut client = over_tls(port);
        choose_sasl(&mut client, 1, 0);
        client.receive(OFFER.len());
        client.send_raw(&[name(b"PLAIN"), message(data)].concat());
        assert_eq!(client.rest(), b"");
    }
    let mut client = over_tls(port);
    choose_sasl(&mut client, 1, 0);
    client.receive(OFFER.len());
    client.send_raw(&name(b"LOGIN"));
    assert_eq!(client.rest(), error_reply(LinkError::InvalidData));
    assert_eq!(log_in(&mut over_tls(port), 1, 0), 0);
}

#[test]
fn tickets_are_refused_while_sasl_is_on_and_the_other_way_round() {
    let (host, ..) = sasl_host("sasl-ticket", |_| {});
    // A client that knows no SASL gets a key, and yet its ticket is refused.
    let mut client = host.connect();
    client.send_raw(&link_bytes(1, 0, 0, 0x0b));
    assert_ne!(client.link_reply(), [0; PUBLIC_KEY_SIZE]);
    client.send_raw(&1u32.to_le_bytes());
    assert_eq!(client.rest(), error_reply(LinkError::InvalidData));
    let mut old = host.connect();
    old.send_raw(&link_bytes(1, 0, 0, 0x08));
    old.link_reply();
    assert_eq!(old.rest(), error_reply(LinkError::VersionMismatch));
    // The host vouches for this one.
    let (ours, theirs) = UnixStream::pair().unwrap();
    host.run(move |s| s.add_client(theirs.into(), true).unwrap());
    assert_eq!(Client::unix(ours).link(1, 0, 0, b""), 0);
    host.run(|s| s.set_sasl(false).unwrap());
    let mut client = host.connect();
    choose_sasl(&mut client, 1, 0);
    assert_eq!(client.rest(), error_reply(LinkError::InvalidData));
    assert_eq!(host.connect().link(1, 0, 0, b""), 0);
}

#[test]
fn the_reply_names_sasl_in_place_of_the_ticket() {
    let (host, ..) = sasl_host("sasl-caps", |_| {});
    let mut client = host.connect();
    client.send_raw(&link_bytes(1, 0, 0, WITH_SASL));
    let reply = client.receive(16 + 182);
    assert_eq!(reply[16 + 178..], 0x0du32.to_le_bytes());
}

#[test]
fn clients_that_stall_are_dropped_and_harm_nobody() {
    let (host, _, port, _pki) = sasl_host("sasl-stall", |_| {});
    let mut main = over_tls(port);
    assert_eq!(log_in(&mut main, 1, 0), 0);
    main.until(103);
    let whole = [name(b"PLAIN"), message(b"\0alice\0secret")].concat();
    let mut stalled: Vec<Client> = (0..whole.len())
        .map(|end| {
            let mut client = over_tls(port);
            choose_sasl(&mut client, 1, 0);
            client.receive(OFFER.len());
            client.send_raw(&whole[..end]);
            client
        })
        .collect();
    main.round_trip();
    host.advance(Duration::from_secs(21));
    for client in &mut stalled {
        assert_eq!(client.rest(), b"");
    }
    main.round_trip();
}

#[test]
fn a_slow_user_database_holds_up_only_who_waits_for_it() {
    let (host, gate, port, _pki) = sasl_host("sasl-slow", |_| {});
    gate.close();
    let mut slow = over_tls(port);
    choose_sasl(&mut slow, 1, 0);
    slow.receive(OFFER.len());
    slow.send_raw(&[name(b"SLOW"), message(b"")].concat());
    gate.wait_for_one();
    let mut main = over_tls(port);
    assert_eq!(log_in(&mut main, 1, 0), 0);
    main.until(103);
    main.round_trip();
    // Its time is over before the answer comes, which then is for nobody.
    host.advance(Duration::from_secs(21));
    assert_eq!(slow.rest(), b"");
    gate.open();
    main.round_trip();
    // The server's end waits for none.
    gate.close();
    let mut slow = over_tls(port);
    choose_sasl(&mut slow, 1, 0);
    slow.receive(OFFER.len());
    slow.send_raw(&[name(b"SLOW"), message(b"")].concat());
    gate.wait_for_one();
    drop(host);
    gate.open();
}

#[test]
fn init_fails_when_sasl_cannot_start() {
    let server = Server::new();
    assert!(server.set_sasl(true).is_err());
    server.set_sasl_backend(Arc::new(FakeBackend::default()));
    server.set_sasl(true).unwrap();
    server.set_sasl_appname(Some("missing")).unwrap();
    let error = server.init(Arc::new(super::harness::TestLoop::default())).unwrap_err();
    assert_eq!(error.to_string(), "SASL: no configuration of that name");
    server.set_sasl_appname(None).unwrap();
    server.init(Arc::new(super::harness::TestLoop::default())).unwrap();
}
