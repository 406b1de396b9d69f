//! The host's TLS configuration.

/// Arguments of `spice_server_set_tls`, files not read yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// TCP port of the TLS listener.
    pub port: i32,
    /// File with the certificates of the CA.
    pub ca_cert_file: String,
    /// File with the server's certificate and its chain.
    pub certs_file: String,
    /// File with the server's private key.
    pub private_key_file: String,
    /// Password of an encrypted private key.
    pub key_password: Option<String>,
    /// File with Diffie-Hellman parameters.
    pub dh_key_file: Option<String>,
    /// Ciphers in OpenSSL's notation.
    pub cipher_suite: Option<String>,
}
