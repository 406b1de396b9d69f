//! The attached QXL devices, oldest first.

use super::pointer::ScreenInfo;
use super::qxl::QxlInstance;
use crate::host::QxlControl;
use crate::protocol::agent::GraphicsDevice;
use crate::worker::WorkerHandle;
use std::sync::Arc;

/// The attached QXL devices.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    qxls: Vec<Arc<QxlInstance>>,
}

impl Devices {
    /// Number of devices.
    pub(crate) fn len(&self) -> usize {
        self.qxls.len()
    }

    /// The device attached last.
    pub(crate) fn newest(&self) -> Option<&Arc<QxlInstance>> {
        self.qxls.last()
    }

    /// The device with this id.
    pub(crate) fn by_id(&self, id: u8) -> Option<&Arc<QxlInstance>> {
        self.qxls.iter().find(|q| q.id() == id)
    }

    /// Attaches a device.
    pub(crate) fn add(&mut self, qxl: Arc<QxlInstance>) {
        self.qxls.push(qxl);
    }

    /// Detaches a device; false if it was not attached.
    pub(crate) fn remove(&mut self, qxl: &Arc<QxlInstance>) -> bool {
        let before = self.qxls.len();
        self.qxls.retain(|q| !Arc::ptr_eq(q, qxl));
        before != self.qxls.len()
    }

    /// Detaches all devices.
    pub(crate) fn take(&mut self) -> Vec<Arc<QxlInstance>> {
        std::mem::take(&mut self.qxls)
    }

    /// The workers of all devices.
    pub(crate) fn workers(&self) -> Vec<Arc<WorkerHandle>> {
        self.qxls.iter().filter_map(|q| q.worker()).collect()
    }

    /// The host's sides of all devices.
    pub(crate) fn controls(&self) -> Vec<Arc<dyn QxlControl>> {
        self.qxls.iter().map(|q| q.control()).collect()
    }

    /// The monitors of the devices that the host told the place of, for the guest agent.
    pub(crate) fn graphics(&self) -> Vec<GraphicsDevice> {
        let of = |qxl: &Arc<QxlInstance>| {
            let (channel_id, info) = (u32::from(qxl.id()), qxl.device_info());
            let count = if info.address.is_empty() { 0 } else { info.displays };
            (0..count).map(move |monitor_id| GraphicsDevice {
                channel_id,
                monitor_id,
                device_display_id: info.first_display_id.wrapping_add(monitor_id),
                address: info.address.clone(),
            })
        };
        self.qxls.iter().flat_map(of).collect()
    }

    /// What the devices say about their screens, newest first.
    pub(crate) fn screens(&self) -> Vec<ScreenInfo> {
        self.qxls.iter().rev().map(|q| q.screen()).collect()
    }
}
