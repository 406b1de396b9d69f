//! What one client's messages mean for the host's keyboard and pointers (server.md 7). Pure: messages go in,
//! [`InputsAction`]s come out, in order.

use super::keys::KeyState;

use crate::protocol::error::ProtocolError;
use crate::protocol::inputs::{InputsMessage, MOTION_ACK_BUNCH, button, button_mask, client};

/// Who takes the pointer now (server.md 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// SERVER mode: the host's relative mouse.
    Mouse,
    /// CLIENT mode, to the guest agent.
    Agent,
    /// CLIENT mode, to the host's tablet.
    Tablet,
    /// CLIENT mode after agent and tablet are gone.
    Nobody,
}

/// State of the pointer as the guest agent is told it (VDAgentMouseState).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentMouse {
    pub x: u32,
    pub y: u32,
    pub buttons: u32,
    pub display_id: u8,
}

/// What is to be done about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InputsAction {
    /// To `Keyboard::push_scan_code`, in order.
    Scan(Vec<u8>),
    /// (Re)start the wait of [`super::MODIFIERS_DELAY`].
    StartModifiersTimer,
    /// MOUSE_MOTION_ACK to this client.
    MotionAck,
    /// To `Mouse::motion`.
    Motion { dx: i32, dy: i32, dz: i32, buttons: u32 },
    /// To `Mouse::buttons`.
    MouseButtons(u32),
    /// To `Tablet::position`.
    Position { x: i32, y: i32, buttons: u32 },
    /// To `Tablet::wheel`.
    Wheel { dz: i32, buttons: u32 },
    /// To `Tablet::buttons`.
    TabletButtons(u32),
    /// To the guest agent.
    Agent(AgentMouse),
}

/// A client's button mask as the host's devices have it: middle and right change places, the wheel bits are left out.
#[must_use]
pub(crate) fn host_buttons(mask: u16) -> u32 {
    let b = u32::from(mask);
    (b & 1) | (b & 2) << 1 | (b & 4) >> 1 | (b & 0xffe0) << 1
}

fn wheel(pressed: u8) -> i32 {
    match pressed {
        button::UP => -1,
        button::DOWN => 1,
        _ => 0,
    }
}

/// Coordinates pass through unscaled; what does not fit the host's type is at its end.
fn coordinate(v: u32) -> i32 {
    i32::try_from(v).unwrap_or(i32::MAX)
}

/// What the server keeps of one client of the inputs channel.
#[derive(Debug, Default)]
pub(crate) struct InputsClient {
    motions: u32,
}

impl InputsClient {
    /// Judges a message. `keys` and `agent_mouse` are the server's; without `keyboard` key messages are dropped.
    pub(crate) fn on_message(
        &mut self,
        msg_type: u16,
        body: &[u8],
        keyboard: bool,
        keys: &mut KeyState,
        pointer: Pointer,
        agent_mouse: &mut AgentMouse,
    ) -> Result<Vec<InputsAction>, ProtocolError> {
        let mut actions = Vec::new();
        match InputsMessage::decode(msg_type, body)? {
            // The link handles these.
            InputsMessage::Common(_) => {}
            InputsMessage::KeyDown { code } | InputsMessage::KeyUp { code } => {
                let bytes = code.to_le_bytes();
                let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
                scan(keyboard, keys, bytes.get(..end).unwrap_or_default(), &mut actions);
            }
            InputsMessage::KeyScancode(bytes) => scan(keyboard, keys, &bytes, &mut actions),
            InputsMessage::KeyModifiers { modifiers } if keyboard => {
                let taps = keys.adjust(modifiers);
                if !taps.is_empty() {
                    actions.push(InputsAction::Scan(taps));
                }
                actions.push(InputsAction::StartModifiersTimer);
            }
            InputsMessage::KeyModifiers { .. } => {}
            InputsMessage::MouseMotion { dx, dy, buttons } => {
                if pointer == Pointer::Mouse {
                    actions.push(InputsAction::Motion { dx, dy, dz: 0, buttons: host_buttons(buttons) });
                }
                self.count_motion(&mut actions);
            }
            InputsMessage::MousePosition { x, y, buttons, display_id } => {
                match pointer {
                    Pointer::Agent => {
                        *agent_mouse = AgentMouse { x, y, buttons: u32::from(buttons) << 1, display_id };
                        actions.push(InputsAction::Agent(*agent_mouse));
                    }
                    Pointer::Tablet => actions.push(InputsAction::Position {
                        x: coordinate(x),
                        y: coordinate(y),
                        buttons: host_buttons(buttons),
                    }),
                    Pointer::Mouse | Pointer::Nobody => {}
                }
                self.count_motion(&mut actions);
            }
            InputsMessage::MousePress { button, buttons } => {
                let (dz, host) = (wheel(button), host_buttons(buttons));
                match pointer {
                    Pointer::Mouse => actions.push(InputsAction::Motion { dx: 0, dy: 0, dz, buttons: host }),
                    Pointer::Tablet => actions.push(InputsAction::Wheel { dz, buttons: host }),
                    Pointer::Agent => {
                        let wheel = match button {
                            button::UP => u32::from(button_mask::UP) << 1,
                            button::DOWN => u32::from(button_mask::DOWN) << 1,
                            _ => 0,
                        };
                        agent_mouse.buttons = u32::from(buttons) << 1 | wheel;
                        actions.push(InputsAction::Agent(*agent_mouse));
                    }
                    Pointer::Nobody => {}
                }
            }
            InputsMessage::MouseRelease { buttons, .. } => match pointer {
                Pointer::Mouse => actions.push(InputsAction::MouseButtons(host_buttons(buttons))),
                Pointer::Tablet => actions.push(InputsAction::TabletButtons(host_buttons(buttons))),
                Pointer::Agent => {
                    agent_mouse.buttons = u32::from(buttons) << 1;
                    actions.push(InputsAction::Agent(*agent_mouse));
                }
                Pointer::Nobody => {}
            },
        }
        Ok(actions)
    }

    /// MOTION and POSITION count alike, whatever became of them.
    fn count_motion(&mut self, actions: &mut Vec<InputsAction>) {
        self.motions = self.motions.saturating_add(1);
        if self.motions >= MOTION_ACK_BUNCH {
            self.motions -= MOTION_ACK_BUNCH;
            actions.push(InputsAction::MotionAck);
        }
    }

    /// An acknowledgement could not be sent, since the client goes to another host: that one will send it.
    pub(crate) fn withhold_ack(&mut self) {
        self.motions = self.motions.saturating_add(MOTION_ACK_BUNCH);
    }

    /// Motions that are not acknowledged, as the target of a migration needs them.
    #[must_use]
    pub(crate) fn motions(&self) -> u16 {
        u16::try_from(self.motions).unwrap_or(u16::MAX)
    }

    /// Takes over the motions that the source of a migration left; returns the number of acknowledgements that are due.
    pub(crate) fn restore(&mut self, motions: u16) -> u32 {
        self.motions = u32::from(motions) % MOTION_ACK_BUNCH;
        u32::from(motions) / MOTION_ACK_BUNCH
    }
}

fn scan(keyboard: bool, keys: &mut KeyState, bytes: &[u8], actions: &mut Vec<InputsAction>) {
    if !keyboard {
        return;
    }
    let mut toggled = false;
    for &byte in bytes {
        toggled |= keys.track(byte);
    }
    if toggled {
        actions.push(InputsAction::StartModifiersTimer);
    }
    if !bytes.is_empty() {
        actions.push(InputsAction::Scan(bytes.to_vec()));
    }
}

/// Whether the client pressed or released a key or a button.
#[must_use]
pub(crate) fn is_press(msg_type: u16) -> bool {
    matches!(
        msg_type,
        client::KEY_DOWN
            | client::KEY_UP
            | client::KEY_SCANCODE
            | client::MOUSE_PRESS
            | client::MOUSE_RELEASE
    )
}

/// Fuzz oracle: whatever one message does, with every kind of pointer.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_inputs_channel(data: &[u8]) {
    let mut channel = InputsClient::default();
    let (mut keys, mut agent) = (KeyState::default(), AgentMouse::default());
    let pointers = [Pointer::Mouse, Pointer::Agent, Pointer::Tablet, Pointer::Nobody];
    for (i, message) in data.chunks(12).enumerate() {
        let Some((&kind, body)) = message.split_first() else { continue };
        let pointer = pointers.get(i % 4).copied().unwrap_or(Pointer::Nobody);
        let _ = channel.on_message(u16::from(kind), body, kind & 1 == 0, &mut keys, pointer, &mut agent);
    }
    let _ = keys.release_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use InputsAction::*;
    use proptest::prelude::*;

    struct Bench {
        channel: InputsClient,
        keys: KeyState,
        agent: AgentMouse,
        pointer: Pointer,
    }

    fn bench(pointer: Pointer) -> Bench {
        Bench {
            channel: InputsClient::default(),
            keys: KeyState::default(),
            agent: AgentMouse::default(),
            pointer,
        }
    }

    impl Bench {
        fn send(&mut self, msg_type: u16, body: &[u8]) -> Vec<InputsAction> {
            self.channel
                .on_message(msg_type, body, true, &mut self.keys, self.pointer, &mut self.agent)
                .unwrap()
        }
    }

    const POSITION: [u8; 11] = [1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 1];

    #[test]
    fn key_codes_end_at_a_zero_byte() {
        let mut b = bench(Pointer::Mouse);
        assert_eq!(b.send(101, &[0xe0, 0x48, 0, 0x10]), [Scan(vec![0xe0, 0x48])]);
        assert_eq!(b.send(102, &[0x9e, 0, 0, 0]), [Scan(vec![0x9e])]);
        assert_eq!(b.send(104, &[1, 0, 2]), [Scan(vec![1, 0, 2])]);
        assert_eq!(b.send(101, &[0x3a, 0, 0, 0]), [StartModifiersTimer, Scan(vec![0x3a])]);
    }

    #[test]
    fn modifiers_tap_and_start_the_timer() {
        let mut b = bench(Pointer::Mouse);
        assert_eq!(b.send(103, &[2, 0]), [Scan(vec![0x45, 0xc5]), StartModifiersTimer]);
        assert_eq!(b.send(103, &[2, 0]), [StartModifiersTimer]);
        let none = b.channel.on_message(103, &[0, 0], false, &mut b.keys, Pointer::Mouse, &mut b.agent);
        assert_eq!(none, Ok(vec![]));
    }

    #[test]
    fn button_bits_change_places() {
        assert_eq!(host_buttons(1), 1);
        assert_eq!(host_buttons(2), 4);
        assert_eq!(host_buttons(4), 2);
        assert_eq!(host_buttons(8 | 16), 0);
        assert_eq!(host_buttons(0x20), 0x40);
        assert_eq!(host_buttons(0x8000), 0x10000);
    }

    #[test]
    fn server_mode_moves_the_mouse_and_ignores_positions() {
        let mut b = bench(Pointer::Mouse);
        let motion = [5, 0, 0, 0, 255, 255, 255, 255, 2, 0];
        assert_eq!(b.send(111, &motion), [Motion { dx: 5, dy: -1, dz: 0, buttons: 4 }]);
        assert_eq!(b.send(112, &POSITION), []);
        assert_eq!(b.send(113, &[4, 8, 0]), [Motion { dx: 0, dy: 0, dz: -1, buttons: 0 }]);
        assert_eq!(b.send(113, &[5, 16, 0]), [Motion { dx: 0, dy: 0, dz: 1, buttons: 0 }]);
        assert_eq!(b.send(114, &[1, 0, 0]), [MouseButtons(0)]);
        b.send(111, &motion);
        assert_eq!(b.send(112, &POSITION), [MotionAck], "the fourth of either kind");
    }

    #[test]
    fn tablet_gets_positions_and_the_wheel() {
        let mut b = bench(Pointer::Tablet);
        assert_eq!(b.send(112, &POSITION), [Position { x: 1, y: 2, buttons: 3 }]);
        assert_eq!(b.send(111, &[0; 10]), []);
        assert_eq!(b.send(113, &[4, 9, 0]), [Wheel { dz: -1, buttons: 1 }]);
        assert_eq!(b.send(114, &[4, 1, 0]), [TabletButtons(1)]);
        let far = b.send(112, &[255, 255, 255, 255, 0, 0, 0, 0x80, 0, 0, 0]);
        assert_eq!(far, [Position { x: i32::MAX, y: i32::MAX, buttons: 0 }]);
    }

    #[test]
    fn agent_gets_one_mouse_state() {
        let mut b = bench(Pointer::Agent);
        let at = AgentMouse { x: 1, y: 2, buttons: 10, display_id: 1 };
        assert_eq!(b.send(112, &POSITION), [Agent(at)]);
        assert_eq!(b.send(113, &[4, 0, 0]), [Agent(AgentMouse { buttons: 0x10, ..at })]);
        assert_eq!(b.send(113, &[5, 1, 0]), [Agent(AgentMouse { buttons: 0x22, ..at })]);
        assert_eq!(b.send(114, &[5, 1, 0]), [Agent(AgentMouse { buttons: 2, ..at })]);
    }

    #[test]
    fn client_mode_without_agent_and_tablet_ignores_the_pointer() {
        let mut b = bench(Pointer::Nobody);
        assert_eq!(b.send(112, &POSITION), []);
        assert_eq!(b.send(113, &[1, 1, 0]), []);
        assert_eq!(b.send(114, &[1, 0, 0]), []);
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn arbitrary_messages_do_not_panic(data in proptest::collection::vec(prop_oneof![99u8..116, any::<u8>()], 0..200)) {
            fuzz_inputs_channel(&data);
        }
    }
}
