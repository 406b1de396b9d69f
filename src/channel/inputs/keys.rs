//! What the keyboard of the guest has seen: pressed keys, lock keys, and the LED state that they should lead to
//! (server.md 7.1, 7.2). One per server: all clients type on the same keyboard.

use crate::protocol::inputs::modifiers;

const PREFIX_E0: u8 = 0xe0;
const PREFIX_E1: u8 = 0xe1;
const PREFIX_E2: u8 = 0xe2;
const RELEASE: u8 = 0x80;

/// Lock keys in the order in which differing states are repaired: scan code and LED bit.
const LOCKS: [(u8, u16); 3] =
    [(0x46, modifiers::SCROLL_LOCK), (0x45, modifiers::NUM_LOCK), (0x3a, modifiers::CAPS_LOCK)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    None,
    E0,
    /// So many bytes belong to a sequence that is not tracked (Pause: E1 1D 45).
    Skip(u8),
}

/// The pressed keys and the lock keys of the guest's keyboard.
#[derive(Debug)]
pub(crate) struct KeyState {
    prefix: Prefix,
    plain: [bool; 128],
    extended: [bool; 128],
    /// LED bits that the keys pressed so far should have led to.
    ideal: u16,
}

impl Default for KeyState {
    fn default() -> Self {
        Self { prefix: Prefix::None, plain: [false; 128], extended: [false; 128], ideal: 0 }
    }
}

impl KeyState {
    /// Follows a byte on its way to the keyboard. Whether it toggled a lock.
    pub(crate) fn track(&mut self, byte: u8) -> bool {
        let extended = match (self.prefix, byte) {
            (Prefix::Skip(n), _) => {
                self.prefix = if n > 1 { Prefix::Skip(n - 1) } else { Prefix::None };
                return false;
            }
            (_, PREFIX_E0) => {
                self.prefix = Prefix::E0;
                return false;
            }
            (_, PREFIX_E1) => {
                self.prefix = Prefix::Skip(2);
                return false;
            }
            (_, PREFIX_E2) => {
                self.prefix = Prefix::Skip(1);
                return false;
            }
            (Prefix::E0, _) => true,
            (Prefix::None, _) => false,
        };
        self.prefix = Prefix::None;
        let (code, pressed) = (byte & !RELEASE, byte & RELEASE == 0);
        let table = if extended { &mut self.extended } else { &mut self.plain };
        let Some(key) = table.get_mut(usize::from(code)) else { return false };
        let was_pressed = std::mem::replace(key, pressed);
        let lock = LOCKS.iter().find(|(lock, _)| !extended && pressed && !was_pressed && *lock == code);
        if let Some((_, bit)) = lock {
            self.ideal ^= bit;
        }
        lock.is_some()
    }

    /// A client says which locks are on: the bytes that make it so. Lock keys held down now are left alone.
    pub(crate) fn adjust(&mut self, wanted: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, bit) in LOCKS {
            let held = self.plain.get(usize::from(code)).is_some_and(|&held| held);
            if !held && (wanted ^ self.ideal) & bit != 0 {
                bytes.extend([code, code | RELEASE]);
                self.ideal ^= bit;
            }
        }
        bytes
    }

    /// The guest says which LEDs are on.
    pub(crate) fn set_leds(&mut self, leds: u16) {
        self.ideal = leds;
    }

    /// The LED state for clients.
    #[must_use]
    pub(crate) fn ideal(&self) -> u16 {
        self.ideal
    }

    /// The client is gone: the bytes that release what is held down.
    pub(crate) fn release_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.prefix = Prefix::None;
        for (code, held) in (0u8..).zip(&mut self.plain) {
            if std::mem::take(held) {
                bytes.push(code | RELEASE);
            }
        }
        for (code, held) in (0u8..).zip(&mut self.extended) {
            if std::mem::take(held) {
                bytes.extend([PREFIX_E0, code | RELEASE]);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(keys: &mut KeyState, bytes: &[u8]) -> usize {
        bytes.iter().filter(|&&b| keys.track(b)).count()
    }

    #[test]
    fn held_keys_are_released_plain_ones_first() {
        let mut keys = KeyState::default();
        track(&mut keys, &[0xe0, 0x48, 0x2a, 0x1e, 0x1e, 0x9e, 0xe0, 0x1d, 0x10]);
        assert_eq!(keys.release_all(), [0x90, 0xaa, 0xe0, 0x9d, 0xe0, 0xc8]);
        assert_eq!(keys.release_all(), []);
    }

    #[test]
    fn locks_toggle_on_fresh_presses_only() {
        let mut keys = KeyState::default();
        assert_eq!(track(&mut keys, &[0x3a, 0x3a, 0x3a, 0xba]), 1);
        assert_eq!(keys.ideal(), 4);
        assert_eq!(track(&mut keys, &[0x3a, 0xba, 0x45, 0xc5]), 2);
        assert_eq!(keys.ideal(), 2);
    }

    #[test]
    fn prefixed_codes_are_no_locks() {
        let mut keys = KeyState::default();
        // Pause, and Ctrl+Break.
        assert_eq!(track(&mut keys, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0xe0, 0x46, 0xe0, 0xc6]), 0);
        assert_eq!(keys.release_all(), []);
    }

    #[test]
    fn differing_locks_are_tapped_unless_held() {
        let mut keys = KeyState::default();
        assert_eq!(keys.adjust(7), [0x46, 0xc6, 0x45, 0xc5, 0x3a, 0xba]);
        assert_eq!(keys.adjust(7), []);
        assert_eq!(keys.adjust(5), [0x45, 0xc5]);
        keys.track(0x3a);
        assert_eq!(keys.ideal(), 1);
        assert_eq!(keys.adjust(5), [], "caps lock is held");
        keys.set_leds(0);
        assert_eq!(keys.adjust(0xfff8), []);
    }
}
