//! The attached character devices and the channels that use them (devices.md 1, 2).

use super::channels::Home;
use super::clients::MAIN;
use super::core::Core;
use super::effect::{ChannelKey, Effect};
use super::state::State;
use super::streaming::STREAM_PORT;
use super::{Result, ServerError};
use crate::channel::Out;
use crate::channel::main::MainChannel;
use crate::channel::main::agent::AgentPort;
use crate::channel::smartcard::SmartcardChannel;
use crate::channel::vmc::{VmcChannel, VmcKind};
use crate::device::DeviceIo;
use crate::host::call::{DeviceHandle, HostCall};
use crate::host::{CharDevice, DeviceId};
use crate::limits::MAX_PORT_NAME;
use crate::protocol::ChannelType;
use crate::protocol::agent::graphics_device_info;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The port that shares the client's folder.
const WEBDAV_PORT: &str = "org.spice-space.webdav.0";
/// The channel of all smartcard readers.
const SMARTCARD: ChannelKey = ChannelKey { channel_type: ChannelType::Smartcard, id: 0 };

/// What a character device is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CharKind {
    /// The guest agent. A server has one at a time.
    Agent,
    /// A smartcard reader.
    Smartcard,
    /// A USB device of the client.
    Usbredir,
    /// A port with this name. Webdav is a port.
    Port(String),
}

/// What uses a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Agent,
    Smartcard,
    Vmc(ChannelKey),
    Streaming,
}

/// The attached devices.
#[derive(Debug)]
pub(crate) struct CharDevices {
    devices: BTreeMap<DeviceId, (DeviceHandle, User)>,
    /// Whether devices take and give bytes. As with the original, they do so before the first vm_start.
    running: bool,
}

impl Default for CharDevices {
    fn default() -> Self {
        Self { devices: BTreeMap::new(), running: true }
    }
}

impl CharDevices {
    /// Whether devices take and give bytes.
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    fn user(&self, id: DeviceId) -> Option<User> {
        self.devices.get(&id).map(|(_, user)| *user)
    }
}

impl State {
    /// Attaches a device.
    pub(crate) fn add_char_device(
        &mut self,
        kind: CharKind,
        device: Arc<dyn CharDevice>,
    ) -> Result<DeviceId> {
        self.attachable()?;
        let id = DeviceId(self.fresh_key());
        let handle = DeviceHandle { id, device: device.clone() };
        let user = match kind {
            CharKind::Agent => self.add_agent(id, device)?,
            CharKind::Smartcard => self.add_smartcard(id, device),
            CharKind::Usbredir => self.add_vmc(VmcKind::Usbredir, id, device)?,
            CharKind::Port(name) if name == STREAM_PORT => {
                self.add_streaming_device(id, device);
                User::Streaming
            }
            CharKind::Port(name) if name.len() > MAX_PORT_NAME => {
                let value = i64::try_from(name.len()).unwrap_or(i64::MAX);
                return Err(ServerError::Value { what: "bytes of a port's name", value });
            }
            CharKind::Port(name) if name == WEBDAV_PORT => self.add_vmc(VmcKind::Webdav(name), id, device)?,
            CharKind::Port(name) => self.add_vmc(VmcKind::Port(name), id, device)?,
        };
        self.char_devices.devices.insert(id, (handle, user));
        Ok(id)
    }

    fn add_vmc(&mut self, kind: VmcKind, id: DeviceId, device: Arc<dyn CharDevice>) -> Result<User> {
        let channel_type = kind.channel_type();
        let free = self.channels.free_id(channel_type);
        let channel_id = free.ok_or(ServerError::Duplicate("channel with each id of this type"))?;
        let channel = VmcChannel::new(kind, id, device, self.char_devices.running);
        Ok(User::Vmc(self.register(channel_id, Home::host(channel))))
    }

    fn with_agent<R>(&mut self, change: impl FnOnce(&mut AgentPort, &mut Out<'_>) -> R) -> Option<R> {
        self.with_channel(MAIN, |main: &mut MainChannel, out| change(&mut main.agent, out))
    }

    fn add_agent(&mut self, id: DeviceId, device: Arc<dyn CharDevice>) -> Result<User> {
        let io = DeviceIo::new(id, device, self.char_devices.running);
        let attached = self.with_agent(|agent, out| {
            let free = !agent.has_device();
            if free {
                agent.attach(io, out);
            }
            free
        });
        if attached != Some(true) {
            return Err(ServerError::Duplicate("vdagent"));
        }
        self.ask_monitors();
        self.update_mouse_mode();
        Ok(User::Agent)
    }

    /// Whether a guest agent is attached.
    pub(crate) fn has_agent(&mut self) -> bool {
        self.with_agent(|agent, _| agent.is_attached()).unwrap_or(false)
    }

    /// Sets what the host allows to pass between clients and the guest agent.
    pub(crate) fn tell_agent_rules(&mut self) {
        let (copy_paste, file_xfer) = (self.config.agent_copypaste, self.config.agent_file_xfer);
        self.with_agent(|agent, _| agent.allow(copy_paste, file_xfer));
    }

    /// Asks the QXL devices whether they pass clients' monitors configurations to their guest.
    pub(crate) fn ask_monitors(&mut self) {
        let call = HostCall::AskMonitors { controls: self.devices.controls() };
        self.effects.push_back(Effect::Host { call, from: Some(MAIN) });
    }

    /// Gives a client's monitors configuration to every QXL device.
    pub(crate) fn set_client_monitors(&mut self, config: &Arc<[u8]>) {
        for control in self.devices.controls() {
            self.host_call(HostCall::Monitors { control, config: config.clone() });
        }
    }

    /// Tells the guest agent which display is which.
    pub(crate) fn tell_agent_displays(&mut self) {
        let displays = [self.devices.graphics(), self.streaming.graphics()].concat();
        let displays = graphics_device_info(&displays);
        self.with_agent(|agent, out| agent.set_displays(displays, out));
    }

    fn with_smartcard<R>(
        &mut self,
        change: impl FnOnce(&mut SmartcardChannel, &mut Out<'_>) -> R,
    ) -> Option<R> {
        self.with_channel(SMARTCARD, change)
    }

    fn add_smartcard(&mut self, id: DeviceId, device: Arc<dyn CharDevice>) -> User {
        if !self.channels.is_registered(SMARTCARD.channel_type.number(), SMARTCARD.id) {
            self.register(SMARTCARD.id, Home::host(SmartcardChannel::default()));
        }
        let running = self.char_devices.running;
        self.with_smartcard(|card, out| card.add(id, device, running, out));
        User::Smartcard
    }

    /// Detaches a reader. The channel is removed with the last one.
    fn remove_smartcard(&mut self, id: DeviceId) -> bool {
        let removed = self.with_smartcard(|card, _| (card.remove(id), card.is_empty()));
        let (was_used, is_last) = removed.unwrap_or_default();
        if is_last {
            self.close_channel(SMARTCARD);
        }
        was_used
    }

    fn with_vmc<R>(
        &mut self,
        key: ChannelKey,
        change: impl FnOnce(&mut VmcChannel, &mut Out<'_>) -> R,
    ) -> Option<R> {
        self.with_channel(key, change)
    }

    /// Detaches a device and drops its queued calls. Returns the device if the caller has to tell it that no client uses it any
    /// more.
    fn detach_char_device(&mut self, id: DeviceId) -> Result<Option<DeviceHandle>> {
        let gone = self.char_devices.devices.remove(&id);
        let (handle, user) = gone.ok_or(ServerError::NotAttached("character device"))?;
        let was_used = match user {
            User::Agent => self.with_agent(AgentPort::detach).unwrap_or(false),
            User::Smartcard => self.remove_smartcard(id),
            User::Vmc(key) => {
                let used = self.with_vmc(key, |vmc, _| vmc.is_used()).unwrap_or(false);
                self.close_channel(key);
                used
            }
            // As with the original, the host is not told the state of this device.
            User::Streaming => {
                self.remove_streaming_device(id);
                false
            }
        };
        let concerns = |effect: &Effect| matches!(effect, Effect::Host { call, .. } if call.is_of_device(id));
        self.effects.retain(|effect| !concerns(effect));
        if user == User::Agent {
            self.update_mouse_mode();
        }
        Ok(was_used.then_some(handle))
    }

    /// A device has something to read, or room for more.
    pub(crate) fn wake_char_device(&mut self, id: DeviceId) {
        match self.char_devices.user(id) {
            Some(User::Agent) => drop(self.with_agent(AgentPort::wakeup)),
            Some(User::Smartcard) => drop(self.with_smartcard(|card, out| card.wakeup(id, out))),
            Some(User::Vmc(key)) => drop(self.with_vmc(key, VmcChannel::wakeup)),
            Some(User::Streaming) => self.wake_streaming_device(id),
            None => {}
        }
    }

    /// The guest's side of a port changed.
    pub(crate) fn port_event(&mut self, id: DeviceId, event: u8) {
        match self.char_devices.user(id) {
            Some(User::Vmc(key)) => drop(self.with_vmc(key, |vmc, out| vmc.port_event(event, out))),
            Some(User::Streaming) => self.streaming_port_event(id, event),
            Some(User::Agent | User::Smartcard) | None => {}
        }
    }

    /// Notes that the machine runs or stopped.
    pub(crate) fn run_char_devices(&mut self, running: bool) {
        self.char_devices.running = running;
        let users: Vec<(DeviceId, User)> =
            self.char_devices.devices.iter().map(|(id, (_, user))| (*id, *user)).collect();
        let mut cards_told = false;
        for (id, user) in users {
            match user {
                User::Agent => drop(self.with_agent(|agent, out| agent.set_running(running, out))),
                // All readers share one channel, so this is done once.
                User::Smartcard if std::mem::replace(&mut cards_told, true) => {}
                User::Smartcard => drop(self.with_smartcard(|card, out| card.set_running(running, out))),
                User::Vmc(key) => drop(self.with_vmc(key, |vmc, out| vmc.set_running(running, out))),
                User::Streaming => self.run_streaming_device(id, running),
            }
        }
    }
}

impl Core {
    /// Detaches a device. The last call of it is made here and not queued, since the host may free it next.
    pub(crate) fn remove_char_device(self: &Arc<Self>, id: DeviceId) -> Result {
        if let Some(gone) = self.within(|s| s.detach_char_device(id))? {
            gone.device.state(false);
        }
        self.run_effects();
        Ok(())
    }
}
