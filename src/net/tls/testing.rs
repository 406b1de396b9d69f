//! Throw-away certificates for tests.

use super::TlsConfig;
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::BasicConstraints;
use openssl::x509::{X509, X509Name};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// A CA and a directory for what it issues, which goes with it.
pub(crate) struct Pki {
    dir: PathBuf,
    key: PKey<Private>,
    certificate: X509,
}

/// What a certificate says.
pub(crate) struct Identity<'a> {
    pub name: &'a str,
    /// Days from now.
    pub from: i64,
    /// Days from now.
    pub until: i64,
    /// Password of the key's file.
    pub password: Option<&'a str>,
}

impl Default for Identity<'_> {
    fn default() -> Self {
        Self { name: "server", from: -1, until: 9, password: None }
    }
}

/// PEM files.
pub(crate) struct Issued {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn days_from_now(days: i64) -> Asn1Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    Asn1Time::from_unix(now + days * 24 * 3600).unwrap()
}

/// `issuer` signs; `None`: the certificate is that of a CA and signs itself.
fn certificate(
    identity: &Identity<'_>,
    key: &PKey<Private>,
    issuer: Option<(&X509, &PKey<Private>)>,
) -> X509 {
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("O", "Test").unwrap();
    subject.append_entry_by_text("CN", identity.name).unwrap();
    let subject = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut x509 = X509::builder().unwrap();
    x509.set_version(2).unwrap();
    x509.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    x509.set_subject_name(&subject).unwrap();
    x509.set_issuer_name(issuer.map_or(&*subject, |(ca, _)| ca.subject_name())).unwrap();
    x509.set_pubkey(key).unwrap();
    x509.set_not_before(&days_from_now(identity.from)).unwrap();
    x509.set_not_after(&days_from_now(identity.until)).unwrap();
    if issuer.is_none() {
        x509.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    x509.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    x509.build()
}

impl Pki {
    pub(crate) fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("spice-tls-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let key = new_key();
        let certificate = certificate(&Identity { name: "CA", ..Identity::default() }, &key, None);
        Self { dir, key, certificate }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn ca_pem(&self) -> Vec<u8> {
        self.certificate.to_pem().unwrap()
    }

    pub(crate) fn issue(&self, identity: Identity<'_>) -> Issued {
        let key = new_key();
        let certificate = certificate(&identity, &key, Some((&self.certificate, &self.key)));
        let key = match identity.password {
            None => key.private_key_to_pem_pkcs8(),
            Some(p) => key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), p.as_bytes()),
        };
        Issued { certificate: certificate.to_pem().unwrap(), key: key.unwrap() }
    }

    /// Writes the files that [`Self::config`] names.
    pub(crate) fn install(&self, issued: &Issued) {
        std::fs::write(self.path("ca.pem"), self.ca_pem()).unwrap();
        std::fs::write(self.path("cert.pem"), &issued.certificate).unwrap();
        std::fs::write(self.path("key.pem"), &issued.key).unwrap();
    }

    /// A CA with the files of a certificate of this identity.
    pub(crate) fn with(test: &str, identity: Identity<'_>) -> Self {
        let pki = Self::new(test);
        pki.install(&pki.issue(identity));
        pki
    }

    /// Names the files; the port is for the caller to set.
    pub(crate) fn config(&self) -> TlsConfig {
        TlsConfig {
            ca_cert_file: self.path("ca.pem"),
            certs_file: self.path("cert.pem"),
            private_key_file: self.path("key.pem"),
            ..TlsConfig::default()
        }
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
