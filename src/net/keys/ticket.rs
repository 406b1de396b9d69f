//! RSA keys that clients encrypt their password with (server.md 5.1, 5.2).

use crate::protocol::link::{PUBLIC_KEY_SIZE, TICKET_SIZE};
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::{fmt, io};

/// Bits of a key: the field of the link reply has room for exactly this size.
const KEY_BITS: u32 = 1024;

/// A key that serves several links, so that a flood of connections does not cost one key each. It remembers every ticket
/// that it has opened, so that a recorded ticket cannot be sent again.
pub(crate) struct TicketKey {
    rsa: Rsa<Private>,
    public: [u8; PUBLIC_KEY_SIZE],
    opened: Mutex<HashSet<[u8; TICKET_SIZE]>>,
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey")
    }
}

impl TicketKey {
    /// Makes a key, which takes 10 to 100 ms of CPU time.
    ///
    /// # Errors
    /// OpenSSL failed, for example for want of random numbers.
    pub(crate) fn generate() -> io::Result<Self> {
        let rsa = Rsa::generate(KEY_BITS)?;
        let der = rsa.public_key_to_der()?;
        let public = <[u8; PUBLIC_KEY_SIZE]>::try_from(der)
            .map_err(|der| io::Error::other(format!("public key of {} bytes", der.len())))?;
        Ok(Self { rsa, public, opened: Mutex::default() })
    }

    /// The public half for the link reply, as a DER SubjectPublicKeyInfo.
    #[must_use]
    pub(crate) fn public(&self) -> &[u8; PUBLIC_KEY_SIZE] {
        &self.public
    }

    /// Decrypts a ticket (RSA-OAEP with SHA-1) and returns the password: the bytes before the first NUL. Returns `None`,
    /// without saying why, if the ticket does not decrypt or was opened before.
    #[must_use]
    pub(crate) fn open(&self, ticket: &[u8; TICKET_SIZE]) -> Option<Vec<u8>> {
        let mut plain = vec![0; TICKET_SIZE];
        let size = self.rsa.private_decrypt(ticket, &mut plain, Padding::PKCS1_OAEP);
        let fresh = self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(*ticket);
        plain.truncate(size.ok().filter(|_| fresh)?);
        let end = plain.iter().position(|&b| b == 0).unwrap_or(plain.len());
        plain.truncate(end);
        Some(plain)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::net::keys) fn seal(key: &TicketKey, text: &[u8]) -> Box<[u8; TICKET_SIZE]> {
        let public = Rsa::public_key_from_der(key.public()).unwrap();
        let mut out = [0; TICKET_SIZE];
        assert_eq!(public.public_encrypt(text, &mut out, Padding::PKCS1_OAEP).unwrap(), TICKET_SIZE);
        Box::new(out)
    }

    #[test]
    fn ticket_opens_once_and_ends_at_the_nul() {
        let key = TicketKey::generate().unwrap();
        assert_eq!(key.public()[..9], [0x30, 0x81, 0x9f, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86]);
        let ticket = seal(&key, b"secret\0");
        assert_eq!(key.open(&ticket).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.open(&ticket), None);
        assert_eq!(key.open(&seal(&key, b"secret")).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key.open(&seal(&key, b"\0")).as_deref(), Some(&b""[..]));
        assert_eq!(key.open(&[0; TICKET_SIZE]), None);
    }
}
