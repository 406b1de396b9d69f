use super::super::testing::{Identity, Pki};
use super::super::{Handshake, Step, TlsSource};
use super::*;
use openssl::ssl::{SslConnector, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server's end, and what a client that echoes everything until the end returns: how many sessions it could resume.
fn connect(test: &str, version: SslVersion) -> (TlsTransport, std::thread::JoinHandle<usize>) {
    let pki = Pki::with(test, Identity::default());
    let source = Arc::new(TlsSource::load(&pki.config()).unwrap());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = std::thread::spawn(move || {
        let sessions = Arc::new(AtomicUsize::new(0));
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_min_proto_version(Some(version)).unwrap();
        connector.set_max_proto_version(Some(version)).unwrap();
        connector.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        let counter = sessions.clone();
        connector.set_new_session_callback(move |_, session| {
            // TLS 1.2 always has a session; only a ticket or an id makes it one to come back with.
            counter.fetch_add(
                usize::from(version == SslVersion::TLS1_3 || !session.id().is_empty()),
                Ordering::Relaxed,
            );
        });
        let config = connector.build().configure().unwrap().verify_hostname(false);
        let mut stream = config.connect("server", theirs).unwrap();
        let mut buffer = [0; 1000];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..n]).unwrap();
        }
        sessions.load(Ordering::Relaxed)
    });
    let mut handshake = Handshake::new(source, SocketTransport::new(ours.into()).unwrap());
    while handshake.step().unwrap() != Step::Done {
        std::thread::yield_now();
    }
    (handshake.finish().unwrap(), client)
}

#[test]
fn bytes_pass_and_no_session_can_be_resumed() {
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let (mut server, client) = connect("bytes", version);
        assert!(server.cipher_bits() >= 128);
        server.write_all(b"hello").unwrap();
        let mut got = Vec::new();
        while got.len() < 5 {
            let mut byte = [0];
            match server.read(&mut byte) {
                Ok(n) => {
                    got.extend_from_slice(&byte[..n]);
                    // The rest of the record is where no poll sees it.
                    assert_eq!(server.has_more(), got.len() < 5);
                }
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(got, b"hello");
        drop(server);
        assert_eq!(client.join().unwrap(), 0, "{version:?}");
    }
}

#[test]
fn an_incomplete_handshake_has_no_stream() {
    let pki = Pki::with("incomplete", Identity::default());
    let source = Arc::new(TlsSource::load(&pki.config()).unwrap());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut handshake = Handshake::new(source, SocketTransport::new(ours.into()).unwrap());
    assert_eq!(handshake.step().unwrap(), Step::Read);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let error = handshake.step().unwrap_err().to_string();
    assert_eq!(error, "TLS handshake: http request");
    let late = Handshake::new(
        Arc::new(TlsSource::load(&pki.config()).unwrap()),
        SocketTransport::new(UnixStream::pair().unwrap().0.into()).unwrap(),
    );
    assert!(late.finish().is_err());
}

#[test]
fn what_openssl_may_read_for_nothing_is_bounded() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut metered = Metered::new(SocketTransport::new(ours.into()).unwrap(), 1000);
    theirs.write_all(&[7; 3000]).unwrap();
    let mut buffer = [0; 10];
    metered.allow(3);
    for _ in 0..3 {
        assert_eq!(metered.read(&mut buffer).unwrap(), 10);
    }
    // The call is over; the next one goes on.
    assert_eq!(metered.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(metered.paused);
    metered.allow(u32::MAX);
    assert!(!metered.paused);
    let mut total = 30;
    let error = loop {
        match metered.read(&mut buffer) {
            Ok(n) => total += n,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(total, 1010);
}
