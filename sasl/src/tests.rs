//! The server against the client of libsasl2, with users in a database of their own.

mod client;

use crate::{MIN_SSF, Reply, SaslError, SaslServer, Security, initialise};
use client::SaslClient;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TLS: Security = Security::Encrypted { bits: 256 };

/// A user database and a configuration that names it, made once. The library has one state in a process.
fn ready() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("spice-sasl-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let database = dir.join("users");
        add_user(&database, "alice", "secret");
        let conf = format!(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n\
             mech_list: SCRAM-SHA-256 DIGEST-MD5 PLAIN ANONYMOUS\n",
            database.display()
        );
        std::fs::write(dir.join("spice-test.conf"), conf).unwrap();
        // SAFETY: the tests of this program read no variable by C functions before libsasl2 is initialised below.
        unsafe { std::env::set_var("SASL_CONF_PATH", &dir) };
        initialise("spice-test").unwrap();
        client::initialise();
        std::fs::remove_file(dir.join("spice-test.conf")).unwrap();
    });
}

fn add_user(database: &Path, user: &str, password: &str) {
    let mut child = Command::new("saslpasswd2")
        .args(["-c", "-p", "-a", "spice-test", "-f"])
        .arg(database)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("saslpasswd2 of sasl2-bin");
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn server(security: Security) -> SaslServer {
    ready();
    SaslServer::new("spice", Some("127.0.0.1;5900"), Some("127.0.0.1;40000"), security).unwrap()
}

/// A whole exchange.
fn login(server: &mut SaslServer, client: &mut SaslClient, mechanism: &str) -> Result<(), SaslError> {
    let mut says = client.start(mechanism);
    let mut reply = server.start(mechanism, says.as_deref())?;
    loop {
        match reply {
            Reply::Done(data) => {
                if let Some(data) = data {
                    client.step(&data);
                }
                return Ok(());
            }
            Reply::Continue(data) => {
                says = client.step(&data.unwrap_or_default());
                reply = server.step(says.as_deref())?;
            }
        }
    }
}

#[test]
fn mechanisms_fit_the_connection() {
    let over_tls = server(TLS).mechanisms().unwrap();
    for name in [",SCRAM-SHA-256,", ",DIGEST-MD5,", ",PLAIN,"] {
        assert!(over_tls.contains(name), "{over_tls}");
    }
    // Without TLS only those with a layer of their own.
    assert_eq!(server(Security::Plain).mechanisms().unwrap(), ",DIGEST-MD5,");
    assert!(!over_tls.contains("ANONYMOUS"));
}

#[test]
fn right_passwords_are_taken() {
    for mechanism in ["SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"] {
        let mut server = server(TLS);
        let mut client = SaslClient::new("alice", "secret", true);
        login(&mut server, &mut client, mechanism).unwrap();
        let name = server.user_name().unwrap();
        assert_eq!(name.split('@').next(), Some("alice"), "{mechanism}");
        assert_eq!(server.ssf(), 0);
    }
}

#[test]
fn wrong_passwords_and_users_are_not() {
    for mechanism in ["SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"] {
        for (user, password) in [("alice", "wrong"), ("bob", "secret"), ("alice", "")] {
            let mut server = server(TLS);
            let mut client = SaslClient::new(user, password, true);
            let error = login(&mut server, &mut client, mechanism).unwrap_err();
            assert!(matches!(error, SaslError::Failed { .. }), "{mechanism}: {error}");
        }
    }
}

#[test]
fn mechanisms_that_are_not_offered_fail() {
    for (security, name) in [
        (Security::Plain, "PLAIN"),
        (Security::Plain, "SCRAM-SHA-256"),
        (TLS, "ANONYMOUS"),
        (TLS, "LOGIN"),
        (TLS, "NONSENSE"),
        (TLS, ""),
    ] {
        let mut server = server(security);
        assert!(server.start(name, Some(b"\0alice\0secret")).is_err(), "{name}");
    }
    assert_eq!(server(TLS).start("PL\0AIN", None), Err(SaslError::Nul("the mechanism's name")));
}

#[test]
fn no_data_is_not_an_empty_text() {
    // No first answer: the server asks. An empty one is judged, and wrong.
    assert!(matches!(server(TLS).start("PLAIN", None), Ok(Reply::Continue(_))));
    assert!(server(TLS).start("PLAIN", Some(b"")).is_err());
}

#[test]
fn rubbish_is_refused_at_every_step() {
    let long = vec![b'x'; 1 << 20];
    for data in [&b""[..], b"\0", b"n,,n=alice,r=", &[0xff; 100], &long] {
        for mechanism in ["SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"] {
            let mut server = server(TLS);
            let mut reply = server.start(mechanism, None);
            for _ in 0..4 {
                match reply {
                    Ok(Reply::Continue(_)) => reply = server.step(Some(data)),
                    Ok(Reply::Done(_)) => panic!("{mechanism}: let in"),
                    Err(_) => break,
                }
            }
            assert!(reply.is_err());
            // After its end, too.
            assert!(server.step(Some(data)).is_err());
        }
    }
}

#[test]
fn the_security_layer_carries_bytes_both_ways() {
    let mut server = server(Security::Plain);
    let mut client = SaslClient::new("alice", "secret", false);
    login(&mut server, &mut client, "DIGEST-MD5").unwrap();
    assert!(server.ssf() >= MIN_SSF);
    let data: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
    let (mut sent, mut wrapped) = (0, Vec::new());
    while sent < data.len() {
        let n = server.encode(&data[sent..], &mut wrapped).unwrap();
        assert!(n > 0);
        sent += n;
    }
    assert!(!wrapped.windows(50).any(|w| data.starts_with(w)));
    assert!(client.decode(&wrapped) == data);
    let wrapped = client.encode(&data);
    let mut plain = Vec::new();
    for piece in wrapped.chunks(777) {
        server.decode(piece, &mut plain).unwrap();
    }
    assert!(plain == data);
}

#[test]
fn damaged_packets_of_the_security_layer_are_refused() {
    for damage in 0..3 {
        let mut server = server(Security::Plain);
        let mut client = SaslClient::new("alice", "secret", false);
        login(&mut server, &mut client, "DIGEST-MD5").unwrap();
        let mut wrapped = client.encode(b"hello");
        match damage {
            // A byte changed on its way.
            0 => wrapped[6] ^= 1,
            // Sent a second time.
            1 => server.decode(&wrapped, &mut Vec::new()).unwrap(),
            // Longer than agreed.
            _ => wrapped = (crate::MAX_BUFFER + 1).to_be_bytes().to_vec(),
        }
        let mut plain = Vec::new();
        let result = server.decode(&wrapped, &mut plain);
        assert!(result.is_err() && plain.is_empty(), "{damage}: {result:?}");
    }
}

#[test]
fn exchanges_on_several_threads_do_not_mix() {
    ready();
    std::thread::scope(|scope| {
        for i in 0..4 {
            scope.spawn(move || {
                for _ in 0..10 {
                    for mechanism in ["SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"] {
                        let password = if i % 2 == 0 { "secret" } else { "wrong" };
                        let mut client = SaslClient::new("alice", password, true);
                        let result = login(&mut server(TLS), &mut client, mechanism);
                        assert_eq!(result.is_ok(), i % 2 == 0, "{result:?}");
                    }
                }
            });
        }
    });
}

#[test]
fn addresses_may_be_missing_or_strange() {
    ready();
    for (local, remote) in
        [(None, None), (Some("localhost;"), Some("localhost;")), (Some("::1;1"), Some("::1;2"))]
    {
        match SaslServer::new("spice", local, remote, TLS) {
            Ok(mut server) => assert!(server.mechanisms().is_ok()),
            Err(error) => assert!(matches!(error, SaslError::Failed { .. }), "{error}"),
        }
    }
    assert!(SaslServer::new("sp\0ice", None, None, TLS).is_err());
}
