use super::super::testing::{Identity, Pki};
use super::*;

fn faults(config: &TlsConfig) -> Vec<String> {
    match load(config) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// The one thing that is wrong after a change.
fn fault(pki: &Pki, change: impl FnOnce(&mut TlsConfig)) -> String {
    let mut config = pki.config();
    change(&mut config);
    let mut all = faults(&config);
    assert_eq!(all.len(), 1, "{all:?}");
    all.pop().unwrap()
}

#[test]
fn good_files_need_no_comment() {
    let pki = Pki::with("good", Identity::default());
    let loaded = load(&pki.config()).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert!(loaded.cautions.is_empty(), "{:?}", loaded.cautions);
    assert!(
        loaded.description.starts_with("subject O=Test,CN=server, valid until "),
        "{}",
        loaded.description
    );
}

#[test]
fn each_fault_names_its_file_and_cause() {
    let pki = Pki::with("faults", Identity::default());
    let missing = fault(&pki, |c| c.certs_file = "/nonexistent/cert.pem".into());
    assert!(missing.starts_with("certificate chain /nonexistent/cert.pem: No such file"), "{missing}");
    let empty = fault(&pki, |c| c.ca_cert_file = "/dev/null".into());
    assert_eq!(empty, "CA certificate /dev/null: it holds none");
    std::fs::write(pki.path("bad.pem"), "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
        .unwrap();
    let malformed = fault(&pki, |c| c.certs_file = pki.path("bad.pem"));
    assert!(malformed.contains("bad.pem: not a PEM file of that kind"), "{malformed}");
    let no_key = fault(&pki, |c| c.private_key_file = pki.path("cert.pem"));
    assert!(no_key.starts_with("private key ") && no_key.contains("not a PEM file"), "{no_key}");
    std::fs::write(pki.path("other.pem"), pki.issue(Identity::default()).key).unwrap();
    let mismatch = fault(&pki, |c| c.private_key_file = pki.path("other.pem"));
    assert!(mismatch.contains("does not belong to the certificate in"), "{mismatch}");
    assert!(mismatch.contains("(subject O=Test,CN=server)"), "{mismatch}");
    let ciphers = fault(&pki, |c| c.cipher_suite = Some("nonsense".into()));
    assert!(ciphers.starts_with("cipher list \"nonsense\": no cipher match"), "{ciphers}");
    let dh = fault(&pki, |c| c.dh_key_file = Some("/nonexistent/dh.pem".into()));
    assert!(dh.starts_with("DH parameters /nonexistent/dh.pem: No such file"), "{dh}");
}

#[test]
fn all_faults_are_told_at_once() {
    let pki = Pki::with("all", Identity::default());
    let config = TlsConfig {
        ca_cert_file: "/nonexistent/1".into(),
        private_key_file: "/nonexistent/2".into(),
        dh_key_file: Some("/nonexistent/3".into()),
        cipher_suite: Some("nonsense".into()),
        ..pki.config()
    };
    assert_eq!(faults(&config).len(), 4);
}

/// OpenSSL would ask the terminal; a test that hangs here found out.
#[test]
fn nothing_asks_for_a_password() {
    let pki = Pki::with("password", Identity { password: Some("pw"), ..Identity::default() });
    assert!(fault(&pki, |_| {}).contains("it is encrypted, and no key password is configured"));
    assert!(fault(&pki, |c| c.key_password = Some("wrong".into())).contains("password is wrong"));
    assert!(fault(&pki, |c| c.key_password = Some(String::new())).contains("password is wrong"));
    let good = TlsConfig { key_password: Some("pw".into()), ..pki.config() };
    assert!(faults(&good).is_empty());
    let body = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n";
    for label in ["CERTIFICATE", "X509 CERTIFICATE", "DH PARAMETERS"] {
        let pem = format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n");
        std::fs::write(pki.path("encrypted.pem"), pem).unwrap();
        let fault = fault(&pki, |c| {
            c.key_password = Some("pw".into());
            match label {
                "DH PARAMETERS" => c.dh_key_file = Some(pki.path("encrypted.pem")),
                "CERTIFICATE" => c.certs_file = pki.path("encrypted.pem"),
                _ => c.ca_cert_file = pki.path("encrypted.pem"),
            }
        });
        assert!(fault.contains("only a private key may be"), "{label}: {fault}");
    }
}

#[test]
fn what_clients_will_refuse_is_told_and_does_not_stop_the_server() {
    let cautions = |identity: Identity<'_>, other_ca: bool| {
        let pki = Pki::with("cautions", identity);
        if other_ca {
            std::fs::write(pki.path("ca.pem"), Pki::new("other-ca").ca_pem()).unwrap();
        }
        let loaded = load(&pki.config()).unwrap_or_else(|faults| panic!("{faults:?}"));
        loaded.cautions.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let old = cautions(Identity { from: -9, until: -2, ..Identity::default() }, false);
    assert_eq!(old.len(), 1);
    assert!(old[0].contains("cert.pem (subject O=Test,CN=server) expired on "), "{old:?}");
    let young = cautions(Identity { from: 2, ..Identity::default() }, false);
    assert!(young.len() == 1 && young[0].contains("is not valid before "), "{young:?}");
    let foreign = cautions(Identity::default(), true);
    assert!(
        foreign.len() == 1 && foreign[0].contains("does not lead to a CA certificate in "),
        "{foreign:?}"
    );
}
