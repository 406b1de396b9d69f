//! Who may log in (server.md 5.2). The server checks the link of every channel, not only of main.

use super::error::ServerError;

/// Longest password (bytes).
const MAX_PASSWORD: usize = 60;
/// Both passwords are padded to this length, so that comparing them takes the same time. No ticket holds a longer one.
const PADDED: usize = 128;

/// The password, and when it ends in whole seconds of the server's monotonic clock.
#[derive(Clone)]
pub(crate) struct Ticketing {
    enabled: bool,
    password: Vec<u8>,
    /// `None`: the password never ends.
    expires: Option<u64>,
    /// Whether a password was ever set.
    was_set: bool,
}

impl std::fmt::Debug for Ticketing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticketing").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl Default for Ticketing {
    fn default() -> Self {
        Self { enabled: true, password: Vec::new(), expires: None, was_set: false }
    }
}

fn padded(bytes: &[u8]) -> [u8; PADDED] {
    let mut out = [0; PADDED];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

impl Ticketing {
    /// Lets all clients in, without a password.
    pub(crate) fn disable(&mut self) {
        *self = Self { enabled: false, ..Self::default() };
    }

    /// Whether clients need a password.
    #[must_use]
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Turns ticketing on with a password that ends `lifetime` seconds after `now`; 0: never. Without a password no client gets in.
    /// If the password is too long, this fails after it has set the end, as the original does.
    pub(crate) fn set(
        &mut self,
        password: Option<&[u8]>,
        lifetime: i32,
        now: u64,
    ) -> Result<(), ServerError> {
        self.enabled = true;
        self.expires = match lifetime {
            0 => None,
            seconds => Some(now.saturating_add_signed(seconds.into())),
        };
        match password {
            Some(text) if text.len() > MAX_PASSWORD => {
                Err(ServerError::Value { what: "length of the password", value: i64::from(u8::MAX) })
            }
            Some(text) => {
                self.password = text.to_vec();
                self.was_set = true;
                Ok(())
            }
            None => {
                self.password.clear();
                self.expires = Some(0);
                Ok(())
            }
        }
    }

    /// The reason for the log why a link was refused.
    #[must_use]
    pub(crate) fn why_not(&self) -> &'static str {
        if self.was_set {
            "wrong or expired password"
        } else {
            "no password was ever set, so nobody is let in"
        }
    }

    /// Whether a link may go on. `sent` is the password in its ticket. `None`: the ticket could not be opened, and the link is
    /// refused.
    #[must_use]
    pub(crate) fn admits(&self, sent: Option<&[u8]>, skip_auth: bool, now: u64) -> bool {
        let Some(sent) = sent else { return false };
        if skip_auth || !self.enabled {
            return true;
        }
        let alive = !self.password.is_empty() && self.expires.is_none_or(|end| now <= end);
        let equal = openssl::memcmp::eq(&padded(sent), &padded(&self.password)) && sent.len() <= MAX_PASSWORD;
        alive && equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_in_by_default() {
        let t = Ticketing::default();
        assert!(!t.admits(Some(b""), false, 0) && !t.admits(Some(b"x"), false, 0));
        assert!(t.admits(Some(b""), true, 0));
        assert!(!t.admits(None, true, 0));
        assert!(t.why_not().contains("no password was ever set"), "{}", t.why_not());
    }

    #[test]
    fn password_of_sixty_bytes_works_and_more_is_refused() {
        let mut t = Ticketing::default();
        t.set(Some(&[b'p'; 60]), 0, 5).unwrap();
        assert!(t.admits(Some(&[b'p'; 60]), false, 1 << 40));
        assert!(!t.admits(Some(&[b'p'; 59]), false, 5) && !t.admits(Some(&[b'p'; 61]), false, 5));
        assert!(t.set(Some(&[b'p'; 61]), 0, 5).is_err());
        assert!(t.admits(Some(&[b'p'; 60]), false, 5));
    }

    #[test]
    fn the_last_second_counts_and_long_lifetimes_do_not_wrap() {
        let mut t = Ticketing::default();
        t.set(Some(b"x"), 10, 100).unwrap();
        assert!(t.admits(Some(b"x"), false, 110) && !t.admits(Some(b"x"), false, 111));
        t.set(Some(b"x"), i32::MAX, u64::from(u32::MAX)).unwrap();
        assert!(t.admits(Some(b"x"), false, u64::from(u32::MAX) + 5));
        t.set(Some(b"x"), -5, 100).unwrap();
        assert!(!t.admits(Some(b"x"), false, 100));
        t.set(None, 1, 100).unwrap();
        assert!(!t.admits(Some(b"x"), false, 100) && !t.admits(Some(b""), false, 0));
        t.disable();
        assert!(t.admits(Some(b"whatever"), false, 100));
    }
}
