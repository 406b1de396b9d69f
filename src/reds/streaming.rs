//! Streaming devices: when their channels come and go (devices.md 9.1), and what the server knows of them.

use super::channels::Home;
use super::effect::ChannelKey;
use super::state::State;
use crate::channel::stream::{DisplayPart, PointerChange, PointerPart};
use crate::device::DeviceIo;
use crate::host::call::{DeviceHandle, HostCall};
use crate::host::{CharDevice, DeviceId};
use crate::protocol::ChannelType;
use crate::protocol::agent::GraphicsDevice;
use crate::protocol::stream_device::DisplayInfo;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of the port.
pub(super) const STREAM_PORT: &str = "org.spice-space.stream.0";
/// The guest's side of the port is open.
const OPENED: u8 = 0;

/// One device.
#[derive(Debug)]
struct StreamingDevice {
    device: DeviceHandle,
    /// Id of its display and cursor channels, once it has them. It gets them late, because QXL devices that the host
    /// attaches meanwhile may need the id.
    channels: Option<u8>,
    /// Which display of the guest it shows.
    place: Option<DisplayInfo>,
}

/// The attached devices, oldest first.
#[derive(Debug, Default)]
pub(crate) struct StreamingDevices(BTreeMap<DeviceId, StreamingDevice>);

impl StreamingDevices {
    /// The displays that the guest said the place of, for the guest agent.
    pub(crate) fn graphics(&self) -> Vec<GraphicsDevice> {
        let of = |device: &StreamingDevice| {
            let (channel, place) = (device.channels?, device.place.as_ref()?);
            Some(GraphicsDevice {
                channel_id: channel.into(),
                monitor_id: place.stream_id,
                device_display_id: place.device_display_id,
                address: place.address.clone(),
            })
        };
        self.0.values().filter_map(of).collect()
    }

    fn display_of(&self, id: DeviceId) -> Option<ChannelKey> {
        self.0.get(&id)?.channels.map(display)
    }
}

fn display(id: u8) -> ChannelKey {
    ChannelKey { channel_type: ChannelType::Display, id }
}

fn cursor(id: u8) -> ChannelKey {
    ChannelKey { channel_type: ChannelType::Cursor, id }
}

impl State {
    /// Attaches a device: the guest may open the port.
    pub(crate) fn add_streaming_device(&mut self, id: DeviceId, device: Arc<dyn CharDevice>) {
        let device = DeviceHandle { id, device };
        self.host_call(HostCall::DeviceState { device: device.clone(), connected: true });
        self.streaming.0.insert(id, StreamingDevice { device, channels: None, place: None });
    }

    /// Detaches a device; its clients lose its channels.
    pub(crate) fn remove_streaming_device(&mut self, id: DeviceId) {
        let Some(device) = self.streaming.0.remove(&id) else { return };
        if let Some(channel) = device.channels {
            self.close_channel(display(channel));
            self.close_channel(cursor(channel));
        }
        if device.place.is_some() {
            self.tell_agent_displays();
        }
    }

    /// A client connects: all devices get their channels.
    pub(crate) fn open_streaming_devices(&mut self) {
        let ids: Vec<DeviceId> = self.streaming.0.keys().copied().collect();
        for id in ids {
            self.open_streaming_device(id);
        }
    }

    fn open_streaming_device(&mut self, id: DeviceId) {
        let Some(device) = self.streaming.0.get(&id).filter(|device| device.channels.is_none()) else {
            return;
        };
        let is_free = |&id: &u8| {
            [display(id), cursor(id)]
                .iter()
                .all(|key| !self.channels.is_registered(key.channel_type.number(), key.id))
        };
        let Some(channel) = (0..=u8::MAX).find(is_free) else {
            crate::warning_limited!("no channel id is free for a streaming device");
            return;
        };
        let io = DeviceIo::new(id, device.device.device.clone(), self.char_devices.is_running());
        if let Some(device) = self.streaming.0.get_mut(&id) {
            device.channels = Some(channel);
        }
        self.register(channel, Home::host(DisplayPart::new(channel, io)));
        self.register(channel, Home::host(PointerPart::default()));
        self.with_channel(display(channel), DisplayPart::begin_reading);
    }

    /// A device has something to read, or room for more. Nothing is read before it has its channels.
    pub(crate) fn wake_streaming_device(&mut self, id: DeviceId) {
        if let Some(key) = self.streaming.display_of(id) {
            self.with_channel(key, DisplayPart::wakeup);
        }
    }

    /// The guest's side of the port changed.
    pub(crate) fn streaming_port_event(&mut self, id: DeviceId, event: u8) {
        if event == OPENED {
            self.open_streaming_device(id);
        }
        if let Some(key) = self.streaming.display_of(id) {
            self.with_channel(key, |part: &mut DisplayPart, out| part.port_event(event, out));
        }
    }

    /// The machine runs, or it stopped.
    pub(crate) fn run_streaming_device(&mut self, id: DeviceId, running: bool) {
        if let Some(key) = self.streaming.display_of(id) {
            self.with_channel(key, |part: &mut DisplayPart, out| part.set_running(running, out));
        }
    }

    /// The guest changed the pointer of a device's display.
    pub(crate) fn change_stream_pointer(&mut self, channel: u8, change: PointerChange) {
        self.with_channel(cursor(channel), |part: &mut PointerPart, out| part.change(change, out));
    }

    /// The guest says which display a device shows.
    pub(crate) fn place_stream(&mut self, channel: u8, info: DisplayInfo) {
        if let Some(device) = self.streaming.0.values_mut().find(|device| device.channels == Some(channel)) {
            device.place = Some(info);
            self.tell_agent_displays();
        }
    }
}
