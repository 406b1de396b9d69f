//! How the worker executes requests (display.md 2.4 to 2.7, qxl.md A4).

use super::dispatcher::Dispatcher;
use super::display::Display;
use super::red_worker::RedWorker;
use super::request::{Answer, Request};
use crate::display::settings::DisplaySettings;
use crate::geometry::Rect;
use crate::guest::{ByteSource, SurfaceMemory};
use crate::host::{CommandExt, DisplayCommand, Fetched, SurfaceSpec};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// QXL command types that the host may submit after loading a machine.
const CMD_CURSOR: u32 = 3;
const CMD_SURFACE: u32 = 5;
/// Numbers that recordings use for changed settings (qxl.md C3).
const RECORD_IMAGE_COMPRESSION: u32 = 13;
const RECORD_STREAMING_VIDEO: u32 = 14;
const RECORD_VIDEO_CODECS: u32 = 39;
/// Numbers that recordings use for the creation of the primary surface.
const RECORD_CREATE_PRIMARY: u32 = 20;
const RECORD_CREATE_PRIMARY_ASYNC: u32 = 29;

impl<D: Display> RedWorker<D> {
    pub(super) fn dispatch(&mut self, request: Request) {
        let now = Instant::now();
        match request {
            // The worker reads the rings in every turn. It only has to clear the flag before it does.
            Request::Wakeup => {
                (self.drained, self.woken) = (false, true);
                self.dispatcher.wakeup_handled();
            }
            Request::Oom => {
                // The flag must be cleared even after a panic, or no later request would get through.
                let dispatcher = self.dispatcher.clone();
                let _handled = Defer(|| dispatcher.oom_handled());
                self.out_of_memory();
            }
            Request::Start => self.start(now),
            Request::Stop { answer } => {
                self.stop();
                self.finish(answer, ());
            }
            Request::UpdateArea { surface_id, area, max, clear, answer } => {
                self.update_area(surface_id, area, max, clear, answer);
            }
            Request::AddMemslot { slot, answer } => {
                let added = self.device.add_memslot(slot);
                if let Err(error) = &added {
                    crate::warning_limited!("memslot refused: {error}");
                }
                self.finish(answer, added.is_ok());
            }
            Request::DelMemslot { group_id, slot_id } => self.device.del_memslot(group_id, slot_id),
            Request::ResetMemslots => self.device.reset_memslots(),
            Request::CreatePrimary { surface_id, spec, answer } => {
                let created = self.create_primary(surface_id, &spec, answer.is_async(), now);
                if created && answer.is_async() {
                    self.events.primary_changed(self.display.primary_size());
                }
                self.finish(answer, created);
            }
            Request::DestroyPrimary { surface_id, answer } => {
                let destroyed = self.destroy_primary(surface_id, now);
                if destroyed && answer.is_async() {
                    self.events.primary_changed(None);
                }
                self.finish(answer, destroyed);
            }
            Request::DestroySurfaces { answer } => {
                self.drain_cursor_ring();
                self.drain_display_ring_for_good();
                let had_primary = self.display.primary_size().is_some();
                self.display.destroy_all_surfaces(now);
                self.trim.freed(now);
                self.cursor.reset();
                if had_primary {
                    self.events.primary_changed(None);
                }
                self.push();
                self.finish(answer, ());
            }
            Request::DestroySurface { surface_id, answer } => self.destroy_surface(surface_id, answer),
            Request::FlushSurfaces { cookie } => {
                self.drain_cursor_ring();
                self.drain_display_ring_for_good();
                self.display.render_all();
                self.finish::<()>(Answer::Async(cookie), ());
            }
            Request::ResetImageCache { answer } => {
                self.display.reset_image_cache();
                self.finish(answer, ());
            }
            Request::ResetCursor { answer } => {
                self.cursor.reset();
                self.push();
                self.finish(answer, ());
            }
            Request::LoadvmCommands { commands, answer } => {
                for command in commands {
                    self.loadvm_command(command, now);
                }
                self.finish(answer, ());
            }
            Request::MonitorsConfig { address, group_id, cookie } => {
                match self.device.read_monitors_config(address, group_id, self.max_monitors) {
                    Ok(config) => self.display.set_monitors_config(config, now),
                    Err(error) => {
                        crate::warning_limited!("monitors configuration ignored: {error}");
                        self.display.driver_loaded();
                    }
                }
                self.finish::<()>(Answer::Async(cookie), ());
            }
            Request::SetMaxMonitors(max) => self.max_monitors = max,
            Request::DriverUnload => self.display.driver_unload(),
            Request::GlScanout(scanout) => self.display.set_scanout(scanout, now),
            Request::GlDraw { area, number } => {
                if !self.display.gl_draw(area, number, now) {
                    self.device.release_pending();
                    self.end_draw(number);
                }
            }
            Request::Settings(settings) => {
                self.record_settings(&settings);
                self.display.set_settings(*settings, now);
            }
            Request::SetMouseMode { client } => self.cursor.set_mouse_mode(client),
            Request::ConnectDisplay(at, connection) => {
                let dispatcher: Weak<Dispatcher> = Arc::downgrade(&self.dispatcher);
                connection.shared.tell_of_input(dispatcher);
                self.display.attach(at, *connection, now);
            }
            Request::ConnectCursor(at, connection) => self.cursor.attach(at, *connection, now),
            Request::DisconnectClient(client) => {
                self.display.detach(client, now);
                self.cursor.detach(client, now);
            }
            Request::HandOver(client) => {
                self.display.hand_over(client, now);
                self.cursor.hand_over(client, now);
            }
            Request::Close => self.closed = true,
        }
    }

    /// Records which settings changed. Recordings do not have the values.
    fn record_settings(&mut self, new: &DisplaySettings) {
        let old = self.display.settings();
        let changes = [
            (RECORD_IMAGE_COMPRESSION, old.image_compression != new.image_compression),
            (RECORD_STREAMING_VIDEO, old.streaming != new.streaming),
            (RECORD_VIDEO_CODECS, old.video_codecs != new.video_codecs),
        ];
        for (number, _) in changes.into_iter().filter(|(_, changed)| *changed) {
            self.device.record_request(number, None);
        }
    }

    fn start(&mut self, now: Instant) {
        if self.running {
            return;
        }
        self.running = true;
        self.display.machine_started();
        self.display.each(now, |display, at, out| display.resume(at, out));
        self.report_caps(true);
    }

    /// Waits for no client: clients are later sent images of what they miss.
    fn stop(&mut self) {
        if !self.running {
            return;
        }
        self.draw_held_back(Instant::now());
        self.push();
        self.display.release_all();
        self.running = false;
    }

    fn out_of_memory(&mut self) {
        if !self.running {
            return;
        }
        self.drain_display_ring();
        self.push();
        self.device.release_pending();
        if self.device.flush_resources() == 0 {
            self.display.free_some();
            self.device.release_pending();
            self.device.flush_resources();
        }
    }

    fn update_area(
        &mut self,
        surface_id: u32,
        area: Rect,
        max: Option<usize>,
        clear: bool,
        answer: Answer<Vec<Rect>>,
    ) {
        if !self.running {
            crate::warning_limited!("update_area while stopped, ignored");
            self.finish(answer, Vec::new());
            return;
        }
        self.drain_display_ring();
        let dirty = self.display.update_area(surface_id, &area, max, clear);
        if answer.is_async() {
            self.device.update_area_complete(surface_id, &dirty);
        }
        self.finish(answer, dirty);
    }

    fn create_primary(&mut self, surface_id: u32, spec: &SurfaceSpec, is_async: bool, now: Instant) -> bool {
        if surface_id != 0 {
            crate::warning_limited!("the host creates the primary surface with id {surface_id}, 0 is used");
        }
        if self.display.primary_size().is_some() {
            crate::warning_limited!("the host creates a second primary surface, the first one is destroyed");
            self.draw_held_back(now);
            self.display.destroy_primary(now);
            self.cursor.reset();
        }
        let surface = match self.device.map_surface(spec) {
            Ok(surface) => surface,
            Err(error) => {
                crate::warning_limited!("primary surface refused: {error}");
                return false;
            }
        };
        if self.device.is_recording() {
            let number = if is_async { RECORD_CREATE_PRIMARY_ASYNC } else { RECORD_CREATE_PRIMARY };
            let pixels = copy_of(&*surface.memory);
            self.device.record_request(number, Some((spec, &pixels as &dyn ByteSource)));
        }
        if !self.display.create_primary(surface, spec.keep_data, now) {
            return false;
        }
        self.cursor.primary_created();
        self.push();
        true
    }

    fn destroy_primary(&mut self, surface_id: u32, now: Instant) -> bool {
        if surface_id != 0 {
            crate::warning_limited!("the host destroys the primary surface with id {surface_id}, 0 is used");
        }
        if self.display.primary_size().is_none() {
            crate::warning_limited!("the host destroys a primary surface that does not exist, ignored");
            return false;
        }
        self.drain_cursor_ring();
        self.drain_display_ring_for_good();
        self.display.destroy_primary(now);
        self.trim.freed(now);
        self.cursor.reset();
        self.push();
        true
    }

    fn destroy_surface(&mut self, surface_id: u32, answer: Answer<()>) {
        if !answer.is_async() {
            if surface_id != 0 {
                crate::warning_limited!(
                    "destroy_surface_wait is only for surface 0, ignored for surface {surface_id}"
                );
                self.finish(answer, ());
                return;
            }
            self.drain_cursor_ring();
            self.drain_display_ring();
        }
        self.draw_held_back(Instant::now());
        if !self.display.clear_surface(surface_id) {
            crate::warning_limited!("destroy_surface of surface {surface_id}, which does not exist");
        }
        self.push();
        self.finish(answer, ());
    }

    fn loadvm_command(&mut self, command: CommandExt, now: Instant) {
        match command.command_type {
            CMD_CURSOR => match self.device.parse_cursor_command(command) {
                Fetched::Command(command) => self.cursor.command(command),
                Fetched::Empty | Fetched::Dropped => {
                    crate::warning_limited!("loadvm: bad cursor command dropped")
                }
            },
            CMD_SURFACE => match self.device.parse_display_command(command) {
                Fetched::Command(DisplayCommand::Surface(command)) => {
                    self.display.loadvm_surface(command, now)
                }
                _ => crate::warning_limited!("loadvm: bad surface command dropped"),
            },
            other => crate::warning_limited!("loadvm: command of type {other} ignored"),
        }
    }
}

/// The present pixels of a surface, as bytes to copy.
fn copy_of(memory: &dyn SurfaceMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    memory.read_at(0, &mut bytes);
    bytes
}

/// Runs a closure at the end of a scope, also when a panic leaves it.
struct Defer<F: FnMut()>(F);

impl<F: FnMut()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
