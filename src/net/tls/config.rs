//! The host's TLS configuration.

/// Arguments of `spice_server_set_tls`, files not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    pub port: i32,
    pub ca_cert_file: String,
    pub certs_file: String,
    pub private_key_file: String,
    pub key_password: Option<String>,
    pub dh_key_file: Option<String>,
    pub cipher_suite: Option<String>,
}
