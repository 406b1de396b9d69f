//! The certificate for the next connection. Operators renew certificates by replacing files; connections that begin after
//! that use the new files, without a restart of the virtual machine.

use super::TlsConfig;
use super::files;
use openssl::ssl::SslContext;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

/// The operator's TLS configuration and the OpenSSL context made from its files.
pub(crate) struct TlsSource {
    config: TlsConfig,
    current: Mutex<Current>,
}

struct Current {
    context: SslContext,
    /// The files when they were last read, whether or not they could be used.
    read: Vec<Option<FileState>>,
}

/// What changes when a file is replaced or written. Two writes of one moment differ in the size or in the time of the change.
#[derive(Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the configuration: it has a password.
        f.write_str("TlsSource")
    }
}

impl TlsSource {
    /// Reads the files. What may be intended and yet keeps clients away is logged; what cannot be used is an error, and
    /// of several all but the last are logged.
    pub(crate) fn load(config: &TlsConfig) -> io::Result<Self> {
        let read = look(config);
        match files::load(config) {
            Ok(loaded) => {
                for caution in &loaded.cautions {
                    crate::warning!("TLS: {caution}");
                }
                crate::info!("TLS: {}", loaded.description);
                let current = Mutex::new(Current { context: loaded.context, read });
                Ok(Self { config: config.clone(), current })
            }
            Err(mut faults) => {
                let last = faults.pop();
                for fault in faults {
                    crate::warning!("TLS: {fault}");
                }
                Err(io::Error::other(last.map(|fault| fault.to_string()).unwrap_or_default()))
            }
        }
    }

    /// The context for a connection that begins now. Looks at the files, and reads them again when they have changed, which
    /// takes milliseconds: not for the host thread. If the new files cannot be used, this logs it once and returns the old
    /// context.
    pub(crate) fn current(&self) -> SslContext {
        let found = look(&self.config);
        let current = &mut *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.read != found {
            current.read = found;
            match files::load(&self.config) {
                Ok(loaded) => {
                    for caution in &loaded.cautions {
                        crate::warning_limited!("TLS: {caution}");
                    }
                    crate::info!("TLS: the renewed files are in use: {}", loaded.description);
                    current.context = loaded.context;
                }
                Err(faults) => {
                    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                    crate::warning_limited!(
                        "TLS: the files have changed but cannot be used, what was read before stays in use: {}",
                        faults.join("; ")
                    );
                }
            }
        }
        current.context.clone()
    }
}

/// The files as they are now; `None` for those that cannot be looked at.
fn look(config: &TlsConfig) -> Vec<Option<FileState>> {
    let files = [&config.certs_file, &config.private_key_file, &config.ca_cert_file];
    files
        .into_iter()
        .chain(&config.dh_key_file)
        .map(|file| {
            let m = std::fs::metadata(file).ok()?;
            Some(FileState {
                device: m.dev(),
                inode: m.ino(),
                size: m.size(),
                modified: (m.mtime(), m.mtime_nsec()),
                changed: (m.ctime(), m.ctime_nsec()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Identity, Pki};
    use super::*;

    /// The serial number of the certificate that a new connection would get.
    fn serial(source: &TlsSource) -> String {
        let context = source.current();
        let certificate = context.certificate().unwrap();
        certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
    }

    #[test]
    fn renewed_files_are_used_and_bad_ones_are_not() {
        let pki = Pki::new("renewed");
        let first = pki.issue(Identity::default());
        pki.install(&first);
        let source = TlsSource::load(&pki.config()).unwrap();
        let before = serial(&source);
        assert_eq!(serial(&source), before);
        let second = pki.issue(Identity::default());
        // Between the two writes certificate and key do not belong together.
        std::fs::write(pki.path("cert.pem"), &second.certificate).unwrap();
        assert_eq!(serial(&source), before);
        std::fs::write(pki.path("key.pem"), &second.key).unwrap();
        let after = serial(&source);
        assert_ne!(after, before);
        for bad in [&b"rubbish"[..], b""] {
            std::fs::write(pki.path("cert.pem"), bad).unwrap();
            assert_eq!(serial(&source), after);
        }
        std::fs::remove_file(pki.path("key.pem")).unwrap();
        assert_eq!(serial(&source), after);
        // Renamed into place, as certbot and cert-manager do.
        std::fs::write(pki.path("new-cert.pem"), &first.certificate).unwrap();
        std::fs::write(pki.path("new-key.pem"), &first.key).unwrap();
        std::fs::rename(pki.path("new-cert.pem"), pki.path("cert.pem")).unwrap();
        std::fs::rename(pki.path("new-key.pem"), pki.path("key.pem")).unwrap();
        assert_eq!(serial(&source), before);
    }
}
