//! Mouse modes (server.md 6.4): who places the pointer, the guest (SERVER) or the client (CLIENT).

use super::clients::INPUTS;
use super::effect::Effect;
use super::state::State;
use super::{ServerError, TabletId};
use crate::channel::inputs::InputsChannel;
use crate::host::Tablet;
use crate::host::call::HostCall;
use crate::protocol::main_channel::{self, mouse_mode};
use std::sync::Arc;

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
    tablet: Option<TabletId>,
    /// The guest agent places the pointer.
    agent: bool,
}

impl Default for PointerState {
    fn default() -> Self {
        Self {
            current: mouse_mode::SERVER,
            allowed: false,
            displays_allow: false,
            size: (0, 0),
            tablet: None,
            agent: false,
        }
    }
}

impl PointerState {
    /// Supported and current modes, as messages have them.
    pub(crate) fn modes(&self) -> (u16, u16) {
        let client = if self.allowed { mouse_mode::CLIENT } else { 0 };
        (mouse_mode::SERVER | client, self.current)
    }

    pub(crate) fn is_client_mode(&self) -> bool {
        self.current == mouse_mode::CLIENT
    }
}

/// Whether the displays allow CLIENT mode, and the size of the screen. The newest device comes first.
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
    pub(crate) fn refresh_displays(&mut self) {
        let screens = self.devices.screens();
        (self.pointer.displays_allow, self.pointer.size) = judge_displays(screens.into_iter());
        self.update_mouse_mode();
        self.tell_tablet_size();
    }

    /// Computes the mode anew, and tells clients and workers if it changed.
    pub(crate) fn update_mouse_mode(&mut self) {
        let before = self.pointer;
        let by_tablet = self.tablet().is_some() && self.devices.len() == 1;
        self.pointer.agent = self.config.agent_mouse && self.has_agent();
        self.pointer.allowed = self.pointer.displays_allow && (self.pointer.agent || by_tablet);
        if !self.pointer.allowed {
            self.pointer.current = mouse_mode::SERVER;
        }
        self.tell_inputs();
        if self.pointer.modes() != before.modes() {
            self.announce_mouse_mode(before.current != self.pointer.current);
        }
    }

    /// Behaves as if there were a display on which the client can place the pointer.
    #[cfg(test)]
    pub(crate) fn allow_pointer(&mut self) {
        self.pointer.displays_allow = true;
        self.update_mouse_mode();
    }

    /// MOUSE_MODE_REQUEST. The server never changes to CLIENT mode by itself: a client has to ask.
    pub(crate) fn request_mouse_mode(&mut self, mode: u16) {
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
            self.tell_inputs();
            self.announce_mouse_mode(true);
        }
    }

    fn announce_mouse_mode(&mut self, changed: bool) {
        let (supported, current) = self.pointer.modes();
        if changed {
            let client = current == mouse_mode::CLIENT;
            for worker in self.devices.workers() {
                self.effects.push_back(Effect::MouseMode { worker, client });
            }
        }
        self.send_to_mains(&main_channel::mouse_mode(supported, current));
    }

    /// The tablet scales by this size.
    pub(crate) fn tell_tablet_size(&mut self) {
        let (width, height) = self.pointer.size;
        if let Some(tablet) = self.tablet().filter(|_| self.pointer.allowed) {
            let (width, height) =
                (i32::try_from(width).unwrap_or(i32::MAX), i32::try_from(height).unwrap_or(i32::MAX));
            self.host_call(HostCall::TabletSize { tablet, width, height });
        }
    }

    /// Attaches a tablet; one at a time.
    pub(crate) fn add_tablet(&mut self, tablet: Arc<dyn Tablet>) -> Result<TabletId, ServerError> {
        self.attachable()?;
        if self.pointer.tablet.is_some() {
            return Err(ServerError::Duplicate("tablet"));
        }
        let id = TabletId(self.fresh_key());
        self.pointer.tablet = Some(id);
        self.with_channel(INPUTS, |inputs: &mut InputsChannel, _| inputs.set_tablet(Some(tablet)));
        self.update_mouse_mode();
        self.tell_tablet_size();
        Ok(id)
    }

    /// Detaches a tablet and drops its queued calls, since the host may free it next.
    pub(crate) fn remove_tablet(&mut self, id: TabletId) -> Result<(), ServerError> {
        if self.pointer.tablet.take_if(|known| *known == id).is_none() {
            return Err(ServerError::NotAttached("tablet"));
        }
        if let Some(gone) = self.tablet() {
            let concerns =
                |effect: &Effect| matches!(effect, Effect::Host { call, .. } if call.is_of_tablet(&gone));
            self.effects.retain(|effect| !concerns(effect));
        }
        self.with_channel(INPUTS, |inputs: &mut InputsChannel, _| inputs.set_tablet(None));
        self.update_mouse_mode();
        Ok(())
    }

    fn tablet(&mut self) -> Option<Arc<dyn Tablet>> {
        self.with_channel(INPUTS, |inputs: &mut InputsChannel, _| inputs.tablet())?
    }

    /// Tells the inputs channel who places the pointer.
    fn tell_inputs(&mut self) {
        let (client_mode, agent) = (self.pointer.is_client_mode(), self.pointer.agent);
        self.with_channel(INPUTS, |inputs: &mut InputsChannel, _| inputs.set_pointer(client_mode, agent));
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
