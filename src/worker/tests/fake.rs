//! A device and a display that write down what the worker does with them.

use crate::channel::connection::{ClientId, ConnectionId};
use crate::channel::link::ChannelError;
use crate::channel::{Channel, Out, Profile};
use crate::display::settings::DisplaySettings;
use crate::draw::{Clip, DrawOp, Drawable, Effect};
use crate::geometry::Rect;
use crate::guest::{ByteSource, PrivateSurface, ReleaseInfo, ReleaseQueue, ReleaseToken};
use crate::host::{
    CommandExt, Completer, CursorCommand, DeviceError, DisplayCommand, Fetched, GuestAccess, MappedSurface,
    MemSlot, MonitorsConfig, QxlDevice, SurfaceCommand, SurfaceSpec,
};
use crate::image::SurfaceFormat;
use crate::limits::MAX_PENDING_COST;
use crate::net::stream::Incoming;
use crate::worker::display::Display;
use crate::worker::{GlScanout, WorkerEvents};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The guest and the host as a test sees them.
#[derive(Default)]
pub(super) struct World {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) releases: Arc<ReleaseQueue>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) log: Vec<String>,
    pub(super) display_ring: VecDeque<Fetched<DisplayCommand>>,
    pub(super) cursor_ring: VecDeque<Fetched<CursorCommand>>,
    /// Looks at the display ring.
    pub(super) looks: usize,
    /// What each drawing command costs.
    pub(super) cost: u64,
    /// The display draws them when it must, and not at once.
    pub(super) lazy: bool,
    /// Times that a notification is refused although the ring is empty.
    pub(super) refusals: usize,
    pub(super) flushed: i32,
    pub(super) panic_in_device: bool,
    /// The ring never ends.
    pub(super) endless: bool,
    /// The display does not come to an end with releasing everything, and with the command [`HARD`].
    pub(super) busy: bool,
    /// Another thread than the worker completes draws that are late.
    pub(super) completes_late: bool,
    /// How often the device was cut off from the guest.
    pub(super) cut_off: i32,
}

impl World {
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let result = f(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }

    pub(super) fn log(&self, line: impl Into<String>) {
        self.with(|s| s.log.push(line.into()));
    }

    /// Waits until `done`.
    pub(super) fn wait(&self, mut done: impl FnMut(&mut State) -> bool) {
        let state = self.state.lock().unwrap();
        let (_state, timeout) =
            self.changed.wait_timeout_while(state, Duration::from_secs(20), |s| !done(s)).unwrap();
        assert!(!timeout.timed_out());
    }

    pub(super) fn wait_for(&self, line: &str) {
        self.wait(|s| s.log.iter().any(|l| l == line));
    }

    /// Everything logged so far, which is forgotten.
    pub(super) fn take_log(&self) -> Vec<String> {
        self.with(|s| std::mem::take(&mut s.log))
    }

    pub(super) fn token(&self, address: u64) -> ReleaseToken {
        ReleaseToken::new(self.releases.clone(), ReleaseInfo { address, group_id: 1 })
    }

    /// A drawing command that the fake display names by its number.
    pub(super) fn drawable(&self, number: u32) -> DisplayCommand {
        DisplayCommand::Draw(Box::new(Drawable {
            surface_id: 0,
            effect: Effect::Opaque,
            bbox: Rect::of_size(1, 1),
            clip: Clip::None,
            mm_time: number,
            self_bitmap: None,
            deps: [None; 3],
            op: DrawOp::Nop,
            release: Some(self.token(number.into())),
        }))
    }

    pub(super) fn submit(&self, command: DisplayCommand) {
        self.with(|s| s.display_ring.push_back(Fetched::Command(command)));
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl GuestAccess for World {
    fn cut_off(&self) {
        self.with(|s| s.cut_off += 1);
    }

    fn restore(&self) {
        self.with(|s| s.cut_off -= 1);
    }
}

impl Completer for World {
    fn async_complete(&self, cookie: u64) {
        self.log(format!("complete {cookie} late"));
    }
}

pub(super) struct FakeDevice(pub(super) Arc<World>);

/// A memslot of the device below, by its number.
#[derive(Debug)]
pub(super) struct FakeSlot(pub u32);

impl MemSlot for FakeSlot {}

impl QxlDevice for FakeDevice {
    fn next_display_command(&mut self) -> Fetched<DisplayCommand> {
        let (fault, endless) = self.0.with(|s| {
            s.looks += 1;
            (std::mem::take(&mut s.panic_in_device), s.endless)
        });
        assert!(!fault, "device fault");
        if endless {
            return Fetched::Dropped;
        }
        self.0.with(|s| s.display_ring.pop_front()).unwrap_or(Fetched::Empty)
    }

    fn next_cursor_command(&mut self) -> Fetched<CursorCommand> {
        self.0.with(|s| s.cursor_ring.pop_front()).unwrap_or(Fetched::Empty)
    }

    fn parse_display_command(&mut self, command: CommandExt) -> Fetched<DisplayCommand> {
        if command.address == 0 {
            return Fetched::Dropped;
        }
        Fetched::Command(DisplayCommand::Surface(SurfaceCommand::Destroy {
            surface_id: 7,
            release: self.0.token(command.address),
        }))
    }

    fn parse_cursor_command(&mut self, command: CommandExt) -> Fetched<CursorCommand> {
        Fetched::Command(CursorCommand::Hide { release: self.0.token(command.address) })
    }

    fn request_display_notification(&mut self) -> bool {
        self.0.with(|s| {
            s.log.push("notify display".into());
            let refused = s.refusals > 0;
            s.refusals = s.refusals.saturating_sub(1);
            !refused
        })
    }

    fn request_cursor_notification(&mut self) -> bool {
        self.0.log("notify cursor");
        true
    }

    fn release_pending(&mut self) {
        for info in self.0.releases.take() {
            self.0.log(format!("release {}", info.address));
        }
    }

    fn flush_resources(&mut self) -> i32 {
        self.0.with(|s| {
            s.log.push("flush_resources".into());
            s.flushed
        })
    }

    fn notify_update(&mut self, update_id: u32) {
        self.0.log(format!("notify_update {update_id}"));
    }

    fn async_complete(&mut self, cookie: u64) {
        self.0.log(format!("complete {cookie}"));
    }

    fn update_area_complete(&mut self, surface_id: u32, dirty: &[Rect]) {
        self.0.log(format!("update_area_complete {surface_id} {}", dirty.len()));
    }

    fn set_client_capabilities(&mut self, present: bool, _caps: &[u8; 58]) {
        self.0.log(format!("caps {present}"));
    }

    fn add_memslot(&mut self, slot: Box<dyn MemSlot>) -> Result<(), DeviceError> {
        let slot: Box<dyn std::any::Any> = slot;
        let FakeSlot(slot_id) = *slot.downcast().unwrap();
        self.0.log(format!("add_memslot {slot_id}"));
        if slot_id < 8 { Ok(()) } else { Err(DeviceError("no such slot".into())) }
    }

    fn del_memslot(&mut self, group_id: u32, slot_id: u32) {
        self.0.log(format!("del_memslot {group_id} {slot_id}"));
    }

    fn reset_memslots(&mut self) {
        self.0.log("reset_memslots");
    }

    fn map_surface(&mut self, spec: &SurfaceSpec) -> Result<MappedSurface, DeviceError> {
        assert_ne!(spec.address, 0xdead, "device fault");
        if spec.width == 0 {
            return Err(DeviceError("no width".into()));
        }
        let size = spec.width as usize * spec.height as usize * 4;
        Ok(MappedSurface {
            width: spec.width,
            height: spec.height,
            stride: spec.stride,
            format: SurfaceFormat::Xrgb32,
            memory: Box::new(PrivateSurface(vec![0; size])),
        })
    }

    fn read_monitors_config(
        &mut self,
        address: u64,
        _group_id: u32,
        max_monitors: u32,
    ) -> Result<MonitorsConfig, DeviceError> {
        self.0.log(format!("monitors config, at most {max_monitors}"));
        if address == 0 { Err(DeviceError("bad".into())) } else { Ok(MonitorsConfig::default()) }
    }

    fn access(&self) -> Option<Arc<dyn GuestAccess>> {
        Some(self.0.clone())
    }

    fn completer(&self) -> Option<Arc<dyn Completer>> {
        self.0.with(|s| s.completes_late).then(|| self.0.clone() as Arc<dyn Completer>)
    }

    fn is_recording(&self) -> bool {
        true
    }

    fn record_request(&mut self, request: u32, primary: Option<(&SurfaceSpec, &dyn ByteSource)>) {
        // Wakeups come when they like.
        if request != 2 {
            let size = primary.map(|(_, pixels)| pixels.len());
            self.0
                .log(format!("record {request}{}", size.map(|s| format!(" {s} bytes")).unwrap_or_default()));
        }
    }
}

/// Number of the drawing command that keeps the display busy.
pub(super) const HARD: u32 = 777;

/// Logs; holds what it is given to draw until rendered.
pub(super) struct FakeDisplay {
    pub(super) world: Arc<World>,
    pub(super) pending: Vec<Drawable>,
    /// A command was drawn since the last push.
    pub(super) drawn: bool,
    pub(super) primary: Option<(u32, u32)>,
    pub(super) client: bool,
    settings: DisplaySettings,
    work: u64,
    pending_cost: u64,
}

impl FakeDisplay {
    pub(super) fn new(world: Arc<World>) -> Self {
        let (pending, settings) = (Vec::new(), DisplaySettings::default());
        Self {
            world,
            pending,
            drawn: false,
            primary: None,
            client: false,
            settings,
            work: 0,
            pending_cost: 0,
        }
    }

    fn log(&self, line: impl Into<String>) {
        self.world.log(line);
    }

    fn render(&mut self) {
        self.work += std::mem::take(&mut self.pending_cost);
        self.pending.clear();
    }
}

impl std::fmt::Debug for FakeDisplay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeDisplay")
    }
}

impl Channel for FakeDisplay {
    fn profile(&self) -> &'static Profile {
        &crate::display::PROFILE
    }

    fn on_open(&mut self, at: ConnectionId, _out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.log(format!("attach {}", at.0));
        self.client = true;
        Ok(())
    }

    fn on_message(&mut self, _: ConnectionId, _: Incoming, _: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }

    fn push(&mut self, _: ConnectionId, _: &mut Out<'_>) -> Result<(), ChannelError> {
        if std::mem::take(&mut self.drawn) {
            self.log("push");
        }
        Ok(())
    }

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        self.log(format!("detach {}", at.0));
        self.client = false;
    }
}

impl Display for FakeDisplay {
    fn draw(&mut self, drawable: Box<Drawable>, _now: Instant) {
        self.log(format!("draw {}", drawable.mm_time));
        assert_ne!(drawable.mm_time, 666, "display fault");
        if drawable.mm_time == HARD {
            self.world.wait(|s| !s.busy);
        }
        let (cost, lazy) = self.world.with(|s| (s.cost, s.lazy));
        *(if lazy { &mut self.pending_cost } else { &mut self.work }) += cost;
        self.pending.push(*drawable);
        self.drawn = true;
    }

    fn ring_emptied(&mut self) {}
    fn guest_paused(&mut self, _for_good: bool, _now: Instant) {}

    fn update(&mut self, surface_id: u32, _area: &Rect) {
        self.log(format!("update {surface_id}"));
        self.pending.clear();
    }

    fn surface_command(&mut self, command: SurfaceCommand, _now: Instant) {
        self.log(format!("surface {command:?}"));
    }

    fn loadvm_surface(&mut self, command: SurfaceCommand, _now: Instant) {
        let SurfaceCommand::Destroy { surface_id, .. } = command else { return };
        self.log(format!("loadvm surface {surface_id}"));
    }

    fn create_primary(&mut self, surface: MappedSurface, keep_data: bool, _now: Instant) -> bool {
        self.log(format!("create primary, keep {keep_data}"));
        self.primary = Some((surface.width, surface.height));
        true
    }

    fn destroy_primary(&mut self, _now: Instant) {
        self.log("destroy primary");
        self.primary = None;
        self.pending.clear();
    }

    fn primary_size(&self) -> Option<(u32, u32)> {
        self.primary
    }

    fn clear_surface(&mut self, surface_id: u32) -> bool {
        self.log(format!("clear surface {surface_id}"));
        true
    }

    fn destroy_all_surfaces(&mut self, _now: Instant) {
        self.log("destroy all surfaces");
        self.primary = None;
        self.pending.clear();
    }

    fn update_area(&mut self, surface_id: u32, area: &Rect, _max: Option<usize>, _clear: bool) -> Vec<Rect> {
        self.log(format!("update_area {surface_id}"));
        assert_ne!(surface_id, 666, "display fault");
        self.render();
        vec![*area]
    }

    fn render_all(&mut self) {
        self.log("render all");
        self.pending.clear();
    }

    fn release_all(&mut self) {
        self.log("release all");
        self.world.wait(|s| !s.busy);
        self.render();
    }

    fn free_some(&mut self) -> usize {
        self.log("free some");
        let n = self.pending.len();
        self.pending.clear();
        n
    }

    fn render_excess(&mut self, next: u64) -> bool {
        let excess = self.pending_cost > 0 && self.pending_cost + next > MAX_PENDING_COST;
        if excess {
            self.log("render");
            self.render();
        }
        excess
    }

    fn pending_cost(&self) -> u64 {
        self.pending_cost
    }

    fn expected_cost(&self, _drawable: &Drawable) -> u64 {
        self.world.with(|s| s.cost)
    }

    fn work(&self) -> u64 {
        self.work
    }

    fn set_monitors_config(&mut self, _config: MonitorsConfig, _now: Instant) {
        self.log("set monitors config");
    }

    fn driver_loaded(&mut self) {}

    fn driver_unload(&mut self) {
        self.log("driver unload");
    }

    fn reset_image_cache(&mut self) {
        self.log("reset image cache");
    }

    fn settings(&self) -> &DisplaySettings {
        &self.settings
    }

    fn set_settings(&mut self, settings: DisplaySettings, _now: Instant) {
        self.log(format!("settings {:?} {:?}", settings.image_compression, settings.streaming));
        self.settings = settings;
    }

    fn set_scanout(&mut self, scanout: GlScanout, _now: Instant) {
        self.log(format!("scanout of {} planes", scanout.planes.len()));
    }

    fn gl_draw(&mut self, area: Rect, _number: u64, _now: Instant) -> bool {
        self.log("gl draw");
        assert_ne!(area.left, 666, "display fault");
        false
    }

    fn take_async_completions(&mut self, _now: Instant) -> Vec<u64> {
        Vec::new()
    }

    fn take_client_caps(&mut self, force: bool) -> Option<(bool, [u8; 58])> {
        force.then_some((self.client, [0; 58]))
    }

    fn machine_started(&mut self) {}

    fn resume(&mut self, _: ConnectionId, _: &mut Out<'_>) -> Result<(), ChannelError> {
        Ok(())
    }
}

pub(super) struct Events(pub(super) Arc<World>);

impl WorkerEvents for Events {
    fn disconnect_client(&self, _client: ClientId) {}

    fn restored(&self, _client: ClientId) {}

    fn primary_changed(&self, primary: Option<(u32, u32)>) {
        self.0.log(format!("primary {primary:?}"));
    }
}
