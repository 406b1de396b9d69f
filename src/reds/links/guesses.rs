//! Addresses that guess passwords. After a wrong ticket the server delays the next ones of the same address. So a guesser gets about
//! ten tries a second, however many connections it makes, and no other client waits.

use crate::limits::{GUESS_DELAY, GUESS_MEMORY, MAX_GUESSERS};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// Where a connection comes from, as far as that tells guessers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// A unix socket, or one whose peer has no address. The host vouches for it.
    Local,
    /// An IPv4 address.
    V4([u8; 4]),
    /// The network part of an IPv6 address, since one peer may use all addresses of its network.
    V6([u8; 8]),
}

impl Origin {
    /// The origin of a peer, which logs name `address:port`.
    pub(super) fn of(peer: &str) -> Self {
        let Ok(address) = peer.parse::<SocketAddr>() else { return Self::Local };
        match address.ip().to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The addresses whose tickets were wrong lately, and when the server tries their next ones.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    next_try: BTreeMap<Origin, Instant>,
}

impl Guesses {
    /// When the server may try a ticket of this origin; `None`: now. Each call reserves one try.
    pub(super) fn next_try(&mut self, origin: Origin, now: Instant) -> Option<Instant> {
        let next = self.next_try.get_mut(&origin)?;
        let at = (*next).max(now);
        *next = at + GUESS_DELAY;
        (at > now).then_some(at)
    }

    /// A ticket of this origin was wrong.
    pub(super) fn failed(&mut self, origin: Origin, now: Instant) {
        self.next_try.retain(|_, next| *next + GUESS_MEMORY > now);
        if self.next_try.len() < MAX_GUESSERS || self.next_try.contains_key(&origin) {
            self.next_try.entry(origin).or_insert(now + GUESS_DELAY);
        } else if let Some((&first, _)) = self.next_try.iter().min_by_key(|(_, next)| **next) {
            // The address that has been quiet for the longest time makes room.
            self.next_try.remove(&first);
            self.next_try.insert(origin, now + GUESS_DELAY);
        }
    }

    /// A ticket of this origin was right.
    pub(super) fn succeeded(&mut self, origin: Origin) {
        self.next_try.remove(&origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_guesser_gets_ten_tries_a_second_and_others_do_not_wait() {
        let mut guesses = Guesses::default();
        let (guesser, other) = (Origin::of("10.0.0.1:5"), Origin::of("10.0.0.2:5"));
        let now = Instant::now();
        assert_eq!(guesses.next_try(guesser, now), None);
        guesses.failed(guesser, now);
        let last = (0..100).filter_map(|_| guesses.next_try(guesser, now)).last().unwrap();
        assert_eq!(last, now + GUESS_DELAY * 100);
        assert_eq!(guesses.next_try(other, now), None);
        guesses.succeeded(guesser);
        assert_eq!(guesses.next_try(guesser, now), None);
    }

    #[test]
    fn the_memory_of_guessers_is_bounded_and_fades() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for i in 0..2 * u32::try_from(MAX_GUESSERS).unwrap() {
            guesses.failed(Origin::V4(i.to_le_bytes()), now);
        }
        assert_eq!(guesses.next_try.len(), MAX_GUESSERS);
        let later = now + GUESS_MEMORY + GUESS_DELAY + Duration::from_secs(1);
        guesses.failed(Origin::Local, later);
        assert_eq!(guesses.next_try.len(), 1);
    }

    #[test]
    fn an_ipv6_network_is_one_origin() {
        assert_eq!(Origin::of("[2001:db8::1]:80"), Origin::of("[2001:db8::ffff]:81"));
        assert_ne!(Origin::of("[2001:db8:0:1::1]:80"), Origin::of("[2001:db8::1]:80"));
        assert_eq!(Origin::of("[::ffff:10.0.0.1]:80"), Origin::of("10.0.0.1:80"));
        assert_eq!(Origin::of("unix"), Origin::Local);
    }
}
