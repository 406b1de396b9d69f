//! Mouse modes (server.md 6.4): who places the pointer, the guest (SERVER) or the client (CLIENT).

use super::state::State;
use crate::protocol::main_channel::{self, mouse_mode};

/// What a QXL device says about its screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScreenInfo {
    /// Size of the GL scanout, if one is set.
    pub gl: Option<(u32, u32)>,
    /// Size of the primary surface, and whether the guest can place the pointer where the client says.
    pub primary: Option<(u32, u32, bool)>,
}

/// The mode and what decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PointerState {
    current: u16,
    allowed: bool,
    /// Whether the displays allow CLIENT mode.
    displays_allow: bool,
    size: (u32, u32),
}

impl Default for PointerState {
    fn default() -> Self {
        Self { current: mouse_mode::SERVER, allowed: false, displays_allow: false, size: (0, 0) }
    }
}

impl PointerState {
    /// Supported and current modes, as messages have them.
    pub fn modes(&self) -> (u16, u16) {
        let client = if self.allowed { mouse_mode::CLIENT } else { 0 };
        (mouse_mode::SERVER | client, self.current)
    }

    pub fn is_client_mode(&self) -> bool {
        self.current == mouse_mode::CLIENT
    }
}

/// Whether the displays allow CLIENT mode, and the screen's size; newest device first.
fn judge_displays(newest_first: impl Iterator<Item = ScreenInfo>) -> (bool, (u32, u32)) {
    let mut any = false;
    for screen in newest_first {
        any = true;
        if let Some(size) = screen.gl {
            return (true, size);
        }
        if let Some((width, height, allows)) = screen.primary {
            return (allows, (width, height));
        }
    }
    (any, (0, 0))
}

impl State {
    /// A device's screen changed, or a device came or went.
    pub fn refresh_displays(&mut self) {
        let screens: Vec<ScreenInfo> = self.qxls.iter().rev().map(|q| q.screen()).collect();
        (self.pointer.displays_allow, self.pointer.size) = judge_displays(screens.into_iter());
        self.update_mouse_mode();
        self.tell_tablet_size();
    }

    /// Recomputes what is allowed; tells clients and workers of changes.
    pub fn update_mouse_mode(&mut self) {
        let before = self.pointer;
        let by_tablet = self.tablet.is_some() && self.qxls.len() == 1;
        self.pointer.allowed = self.pointer.displays_allow && by_tablet;
        if !self.pointer.allowed {
            self.pointer.current = mouse_mode::SERVER;
        }
        if self.pointer.modes() != before.modes() {
            self.announce_mouse_mode(before.current != self.pointer.current);
        }
    }

    /// MOUSE_MODE_REQUEST: announcing is left to the client, who must ask for CLIENT mode itself.
    pub fn request_mouse_mode(&mut self, mode: u16) {
        match mode {
            mouse_mode::CLIENT if !self.pointer.allowed => return,
            mouse_mode::CLIENT | mouse_mode::SERVER => {}
            other => {
                crate::warning_limited!("main: a client asks for mouse mode {other}");
                return;
            }
        }
        if self.pointer.current != mode {
            self.pointer.current = mode;
            self.announce_mouse_mode(true);
        }
    }

    fn announce_mouse_mode(&mut self, changed: bool) {
        let (supported, current) = self.pointer.modes();
        if changed {
            let client = current == mouse_mode::CLIENT;
            for worker in self.qxls.iter().filter_map(|q| q.worker()).collect::<Vec<_>>() {
                self.effect(move |_| worker.set_mouse_mode(client));
            }
        }
        self.send_to_mains(&main_channel::mouse_mode(supported, current));
    }

    /// The tablet scales by this size.
    pub fn tell_tablet_size(&mut self) {
        let (width, height) = self.pointer.size;
        if let Some((_, tablet)) = self.tablet.clone().filter(|_| self.pointer.allowed) {
            let (w, h) =
                (i32::try_from(width).unwrap_or(i32::MAX), i32::try_from(height).unwrap_or(i32::MAX));
            self.effect(move |_| tablet.set_logical_size(w, h));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_active_screen_decides() {
        let none = ScreenInfo::default();
        let primary = |allows| ScreenInfo { primary: Some((640, 480, allows)), ..none };
        let gl = ScreenInfo { gl: Some((8, 9)), ..primary(false) };
        assert_eq!(judge_displays([].into_iter()), (false, (0, 0)));
        assert_eq!(judge_displays([none].into_iter()), (true, (0, 0)));
        assert_eq!(judge_displays([none, primary(false)].into_iter()), (false, (640, 480)));
        assert_eq!(judge_displays([primary(true), primary(false)].into_iter()), (true, (640, 480)));
        assert_eq!(judge_displays([gl].into_iter()), (true, (8, 9)));
    }
}
