//! The inputs channel of the server: one keyboard, one relative pointer and one tablet for all clients.

use super::messages::{AgentMouse, InputsAction, InputsClient, Pointer, is_press};
use super::{KeyState, MODIFIERS_DELAY};
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, ChannelLink, LinkOptions, PING_PERIOD_RARE};
use crate::channel::{Channel, Out, Profile, ServerRequest};
use crate::host::call::{HostCall, HostReply};
use crate::host::{Keyboard, Mouse, Tablet};
use crate::net::stream::Incoming;
use crate::protocol::caps::inputs::KEY_SCANCODE;
use crate::protocol::migrate::{decode_inputs, encode_inputs};
use crate::protocol::{ChannelType, inputs};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

static PROFILE: Profile = Profile {
    channel_type: ChannelType::Inputs,
    caps: &[KEY_SCANCODE],
    shared: true,
    options: LinkOptions { max_body: inputs::max_body, window: false, ping_period: PING_PERIOD_RARE },
};

/// Acknowledgements that a client from the source of a migration can be owed: clients wait for one after 8 motions, and may
/// send that many more while they come over.
const MAX_RESTORED_ACKS: u32 = 8;

#[derive(Debug, Default)]
struct Client {
    messages: InputsClient,
    /// INIT was sent: nothing may precede it.
    greeted: bool,
    /// KEY_MODIFIERS is to be sent when the link has nothing pending: the latest state is enough for a slow client.
    leds_due: bool,
}

/// The host's input devices and the clients that use them.
#[derive(Debug, Default)]
pub(crate) struct InputsChannel {
    keyboard: Option<Arc<dyn Keyboard>>,
    mouse: Option<Arc<dyn Mouse>>,
    tablet: Option<Arc<dyn Tablet>>,
    keys: KeyState,
    agent_mouse: AgentMouse,
    /// Buttons that the relative pointer and the tablet hold down.
    mouse_buttons: u32,
    tablet_buttons: u32,
    /// CLIENT mouse mode: clients place the pointer.
    client_mode: bool,
    /// The guest agent takes the pointer's place instead of the tablet.
    agent_takes_mouse: bool,
    clients: BTreeMap<ConnectionId, Client>,
    /// When clients are told the LEDs that their lock keys should have led to.
    leds_at: Option<Instant>,
}

impl InputsChannel {
    /// Attaches the keyboard; false if there is one already.
    pub(crate) fn set_keyboard(&mut self, keyboard: Arc<dyn Keyboard>) -> bool {
        let free = self.keyboard.is_none();
        self.keyboard.get_or_insert(keyboard);
        free
    }

    /// Attaches the relative pointer; false if there is one already.
    pub(crate) fn set_mouse(&mut self, mouse: Arc<dyn Mouse>) -> bool {
        let free = self.mouse.is_none();
        self.mouse.get_or_insert(mouse);
        free
    }

    /// Attaches or detaches the tablet.
    pub(crate) fn set_tablet(&mut self, tablet: Option<Arc<dyn Tablet>>) {
        self.tablet = tablet;
        self.tablet_buttons = 0;
    }

    /// The tablet, if one is attached.
    #[must_use]
    pub(crate) fn tablet(&self) -> Option<Arc<dyn Tablet>> {
        self.tablet.clone()
    }

    /// Who places the pointer from now on.
    pub(crate) fn set_pointer(&mut self, client_mode: bool, agent_takes_mouse: bool) {
        (self.client_mode, self.agent_takes_mouse) = (client_mode, agent_takes_mouse);
    }

    /// The guest's LEDs changed: bits 1 scroll, 2 num, 4 caps.
    pub(crate) fn set_leds(&mut self, leds: u8, out: &mut Out<'_>) {
        self.keys.set_leds(leds.into());
        self.tell_leds(out);
    }

    /// Where pointer messages go.
    fn pointer(&self) -> Pointer {
        if !self.client_mode {
            Pointer::Mouse
        } else if self.agent_takes_mouse {
            Pointer::Agent
        } else if self.tablet.is_some() {
            Pointer::Tablet
        } else {
            Pointer::Nobody
        }
    }

    /// KEY_MODIFIERS to all clients.
    fn tell_leds(&mut self, out: &mut Out<'_>) {
        for at in out.connections() {
            if let Some(client) = self.clients.get_mut(&at) {
                client.leds_due = true;
            }
            self.send_due_leds(at, out);
        }
    }

    fn send_due_leds(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&at) else { return };
        let Some(link) = out.link(at).filter(|link| client.greeted && !link.stream().has_pending()) else {
            return;
        };
        if std::mem::take(&mut client.leds_due) {
            link.send(inputs::key_modifiers(self.keys.ideal()));
        }
    }

    fn greet(&mut self, at: ConnectionId, leds: u8, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&at) else { return };
        client.greeted = true;
        if let Some(link) = out.link(at) {
            link.send(inputs::init(leds.into()));
            link.resume_reading();
        }
        self.send_due_leds(at, out);
    }

    fn scan(&self, bytes: Vec<u8>, out: &mut Out<'_>) {
        if let Some(keyboard) = self.keyboard.clone().filter(|_| !bytes.is_empty()) {
            out.call(HostCall::ScanCodes(keyboard, bytes));
        }
    }

    /// Lets go of the buttons that devices other than `used` hold down: none stays down with a device that clients have left.
    fn release_buttons(&mut self, used: Pointer, at: ConnectionId, out: &mut Out<'_>) {
        if used != Pointer::Mouse
            && std::mem::take(&mut self.mouse_buttons) != 0
            && let Some(mouse) = self.mouse.clone()
        {
            out.call(HostCall::MouseButtons { mouse, buttons: 0 });
        }
        if used != Pointer::Tablet
            && std::mem::take(&mut self.tablet_buttons) != 0
            && let Some(tablet) = self.tablet.clone()
        {
            out.call(HostCall::TabletButtons { tablet, buttons: 0 });
        }
        if used != Pointer::Agent
            && std::mem::take(&mut self.agent_mouse.buttons) != 0
            && self.agent_takes_mouse
        {
            out.ask(at, ServerRequest::AgentMouse(self.agent_mouse));
        }
    }

    fn acknowledge(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&at) else { return };
        match out.look(at) {
            Some(link) if !link.is_told() => client.messages.withhold_ack(),
            _ => out.send(at, inputs::mouse_motion_ack()),
        }
    }

    fn on_action(&mut self, at: ConnectionId, action: InputsAction, out: &mut Out<'_>) {
        let mut used = None;
        match action {
            InputsAction::Motion { buttons, .. } | InputsAction::MouseButtons(buttons) => {
                self.mouse_buttons = buttons;
                used = Some(Pointer::Mouse);
            }
            InputsAction::Position { buttons, .. }
            | InputsAction::Wheel { buttons, .. }
            | InputsAction::TabletButtons(buttons) => {
                self.tablet_buttons = buttons;
                used = Some(Pointer::Tablet);
            }
            InputsAction::Agent(_) => used = Some(Pointer::Agent),
            _ => {}
        }
        self.act(at, action, out);
        // The device that took the pointer's place knows by now what is held down, so a drag goes on.
        if let Some(used) = used {
            self.release_buttons(used, at, out);
        }
    }

    /// Tells the host or the agent.
    fn act(&mut self, at: ConnectionId, action: InputsAction, out: &mut Out<'_>) {
        let (mouse, tablet) = (self.mouse.clone(), self.tablet.clone());
        let call = match action {
            InputsAction::Scan(bytes) => return self.scan(bytes, out),
            InputsAction::StartModifiersTimer => {
                self.leds_at = Some(out.now + MODIFIERS_DELAY);
                return;
            }
            InputsAction::MotionAck => return self.acknowledge(at, out),
            InputsAction::Agent(mouse) => return out.ask(at, ServerRequest::AgentMouse(mouse)),
            InputsAction::Motion { dx, dy, dz, buttons } => {
                mouse.map(|mouse| HostCall::MouseMotion { mouse, dx, dy, dz, buttons })
            }
            InputsAction::MouseButtons(buttons) => {
                mouse.map(|mouse| HostCall::MouseButtons { mouse, buttons })
            }
            InputsAction::Position { x, y, buttons } => {
                tablet.map(|tablet| HostCall::TabletPosition { tablet, x, y, buttons })
            }
            InputsAction::Wheel { dz, buttons } => {
                tablet.map(|tablet| HostCall::TabletWheel { tablet, dz, buttons })
            }
            InputsAction::TabletButtons(buttons) => {
                tablet.map(|tablet| HostCall::TabletButtons { tablet, buttons })
            }
        };
        if let Some(call) = call {
            out.call(call);
        }
    }
}

impl Channel for InputsChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    /// INIT tells the LEDs, which only the host knows; the client's messages wait for it.
    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let migrated = out.look(at).is_some_and(ChannelLink::awaits_migrate_data);
        self.clients.insert(at, Client { greeted: migrated, ..Client::default() });
        let Some(link) = out.link(at) else { return Ok(()) };
        link.start_pings();
        if migrated {
            return Ok(());
        }
        link.pause_reading();
        match self.keyboard.clone() {
            Some(keyboard) => out.call(HostCall::AskLeds { keyboard, connection: Some(at) }),
            None => self.greet(at, 0, out),
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        if is_press(message.msg_type)
            && let Some(link) = out.look(at)
        {
            // The client's displays send at once what answers it.
            link.connection().shared.note_input(out.now);
        }
        let (keyboard, pointer) = (self.keyboard.is_some(), self.pointer());
        let Some(client) = self.clients.get_mut(&at) else { return Ok(()) };
        let actions = client.messages.on_message(
            message.msg_type,
            &message.body,
            keyboard,
            &mut self.keys,
            pointer,
            &mut self.agent_mouse,
        )?;
        for action in actions {
            self.on_action(at, action, out);
        }
        Ok(())
    }

    fn on_drained(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.send_due_leds(at, out);
        Ok(())
    }

    /// No key and no button stays down.
    fn on_closed(&mut self, at: ConnectionId, out: &mut Out<'_>) {
        self.clients.remove(&at);
        let bytes = self.keys.release_all();
        self.scan(bytes, out);
        self.release_buttons(Pointer::Nobody, at, out);
    }

    fn migrate_data(&mut self, at: ConnectionId, _out: &mut Out<'_>) -> Option<Vec<u8>> {
        Some(encode_inputs(self.clients.get(&at)?.messages.motions()))
    }

    fn restore(&mut self, at: ConnectionId, data: &[u8], out: &mut Out<'_>) -> Result<(), ChannelError> {
        let motions = decode_inputs(data)?;
        let Some(client) = self.clients.get_mut(&at) else { return Ok(()) };
        // As many as a client may have under way before it waits for acknowledgements.
        let due = client.messages.restore(motions).min(MAX_RESTORED_ACKS);
        client.leds_due = true;
        for _ in 0..due {
            out.send(at, inputs::mouse_motion_ack());
        }
        self.send_due_leds(at, out);
        Ok(())
    }

    fn on_reply(&mut self, reply: HostReply, out: &mut Out<'_>) {
        match reply {
            HostReply::Leds { connection: Some(at), leds } => self.greet(at, leds, out),
            HostReply::Leds { connection: None, leds } => self.set_leds(leds, out),
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.leds_at
    }

    fn on_timer(&mut self, out: &mut Out<'_>) {
        // The host knows what became of the lock keys: a guest may have left its LEDs as they were.
        if self.leds_at.take_if(|at| *at <= out.now).is_some()
            && let Some(keyboard) = self.keyboard.clone()
        {
            out.call(HostCall::AskLeds { keyboard, connection: None });
        }
    }
}
