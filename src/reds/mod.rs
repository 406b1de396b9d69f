//! The server object ("reds"): configuration, clients, channel registry, interfaces (server.md).
//!
//! [`Server`] has one method per C function. One mutex guards the state, and no thread holds it during a callback of the host. A
//! call changes the state and queues *effects*, which run in order after the lock is released. If the host calls the library from
//! inside of an effect, that call first runs the effects that are queued already, so that the order is kept.

mod channels;
mod char_devices;
mod clients;
pub(crate) mod config;
mod core;
mod devices;
mod effect;
pub(crate) mod error;
mod goodbye;
mod lifecycle;
mod links;
mod listeners;
mod migration;
#[cfg(any(test, feature = "oracles"))]
mod oracle;
mod pointer;
pub(crate) mod qxl;
mod sound;
mod state;
mod streaming;
mod ticketing;

pub use char_devices::CharKind;
pub use config::TlsConfig;
pub use error::ServerError;
#[cfg(any(test, feature = "oracles"))]
pub use oracle::{fuzz_migration, fuzz_session};
pub use qxl::QxlInstance;

use self::clients::INPUTS;
use self::core::Core;
use self::state::Phase;
use crate::channel::inputs::InputsChannel;
use crate::host::{
    CharDevice, DeviceError, DeviceId, EventLoop, Keyboard, Mouse, QxlControl, QxlDevice, QxlInitInfo, Tablet,
};
use crate::net::sasl::SaslBackend;
use config::Config;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An attached tablet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TabletId(pub u64);

/// Result of the calls that can be refused.
pub type Result<T = ()> = std::result::Result<T, ServerError>;

/// Makes the device of [`Server::add_qxl`] from the host's answers at creation.
pub type MakeDevice = Box<dyn FnOnce(&QxlInitInfo) -> std::result::Result<Box<dyn QxlDevice>, DeviceError>>;

/// Tells the host that the worker exists. The argument is for calls of `spice_qxl_*` that the host makes from inside of it, such as
/// adding memslots.
pub type Attached<'a> = &'a dyn Fn(&Arc<QxlInstance>);

/// A SPICE server. Calls come from host threads under the host's own lock, and from inside callbacks of the library.
#[derive(Debug)]
pub struct Server {
    core: Arc<Core>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.core.destroy();
    }
}

impl Server {
    /// A server that listens nowhere and lets nobody in (ticketing on, no password).
    #[must_use]
    pub fn new() -> Self {
        Self { core: Core::new() }
    }

    fn config<R>(&self, change: impl FnOnce(&mut Config) -> R) -> R {
        self.core.with(|s| change(&mut s.config))
    }

    /// Changes settings of the displays and tells the workers all of them.
    fn set_display<R>(&self, change: impl FnOnce(&mut Config) -> R) -> R {
        let (result, display) = self.config(|c| (change(c), c.display.clone()));
        for worker in self.core.workers() {
            worker.set_settings(display.clone());
        }
        result
    }

    /// Opens the sockets and creates the main and inputs channels. The calling thread counts as the main loop's.
    pub fn init(&self, event_loop: Arc<dyn EventLoop>) -> Result {
        self.core.init(event_loop)
    }

    /// Disconnects all clients, joins the workers, and removes watches and timers (server.md 3.6). Works without `init`, too.
    pub fn destroy(&self) {
        self.core.destroy();
    }

    /// Sets the TCP port of the plain listener, 0 to 65535. Has no effect after `init`.
    pub fn set_port(&self, port: i32) -> Result {
        self.config(|c| c.set_port(port))
    }

    /// Sets the address to listen on. `flags` give its family: 1 IPv4, 2 IPv6, 4 unix, 0 as before.
    pub fn set_addr(&self, address: &[u8], flags: i32) {
        self.config(|c| c.set_addr(address, flags));
    }

    /// Uses a listening socket of the host instead of the plain listener. The server takes a duplicate; the host's own stays open.
    pub fn set_listen_socket(&self, socket: Option<OwnedFd>) {
        self.config(|c| c.listen_socket = socket);
    }

    /// Sets whether the process ends when a main channel is lost.
    pub fn set_exit_on_disconnect(&self, exit: bool) {
        self.config(|c| c.exit_on_disconnect = exit);
    }

    /// Lets clients in without a password.
    pub fn set_noauth(&self) {
        self.core.with(|s| s.ticketing.disable());
    }

    /// Sets the implementation of SASL, before `init`. Without one, [`Self::set_sasl`] is refused.
    pub fn set_sasl_backend(&self, backend: Arc<dyn SaslBackend>) {
        self.core.with(|s| s.sasl = Some(links::Sasl::new(backend)));
    }

    fn with_sasl(&self, change: impl FnOnce(&mut Config)) -> Result {
        self.core.with(|s| {
            if s.sasl.is_none() {
                return Err(ServerError::NotBuilt("SASL"));
            }
            change(&mut s.config);
            Ok(())
        })
    }

    /// Sets whether clients log in by SASL instead of a ticket, for links that begin from now on. Sockets that the host vouches for
    /// need neither.
    pub fn set_sasl(&self, on: bool) -> Result {
        self.with_sasl(|c| c.sasl = on)
    }

    /// Application name, which names SASL's configuration; `None`: "spice". Without effect once SASL is in use, in any
    /// server of the process.
    pub fn set_sasl_appname(&self, name: Option<&str>) -> Result {
        self.with_sasl(|c| c.sasl_appname = name.unwrap_or("spice").to_owned())
    }

    /// Sets the password (server.md 5.2). `lifetime` in seconds, 0: for ever. `None` lets nobody in.
    pub fn set_ticket(
        &self,
        password: Option<&[u8]>,
        lifetime: i32,
        fail_if_connected: bool,
        disconnect_if_connected: bool,
    ) -> Result {
        let seconds = self.core.clock.seconds();
        self.core.with(|s| {
            let connected = !s.clients.is_empty();
            if connected && fail_if_connected {
                return Err(ServerError::ClientConnected);
            }
            if connected && (disconnect_if_connected || !s.ticketing.is_enabled()) {
                s.drop_all_clients(goodbye::PASSWORD_CHANGED);
            }
            s.ticketing.set(password, lifetime, seconds)
        })
    }

    /// Configures the TLS listener. `init` reads the files.
    pub fn set_tls(&self, tls: TlsConfig) -> Result {
        self.config(|c| c.set_tls(tls))
    }

    /// Starts a link on a connected socket. On failure the socket goes back to the caller.
    pub fn add_client(
        &self,
        socket: OwnedFd,
        skip_auth: bool,
    ) -> std::result::Result<(), (OwnedFd, ServerError)> {
        self.core.with(|s| s.add_link(socket, skip_auth, false))
    }

    /// Like [`Self::add_client`], with a TLS handshake first. Needs [`Self::set_tls`].
    pub fn add_ssl_client(
        &self,
        socket: OwnedFd,
        skip_auth: bool,
    ) -> std::result::Result<(), (OwnedFd, ServerError)> {
        self.core.with(|s| s.add_link(socket, skip_auth, true))
    }

    /// Sets the default image compression, a SpiceImageCompression. Logs and ignores a bad value.
    pub fn set_image_compression(&self, compression: u32) {
        self.set_display(|c| c.set_image_compression(compression));
        self.core.tell_compression_level();
    }

    /// The value of [`Self::set_image_compression`].
    #[must_use]
    pub fn image_compression(&self) -> u32 {
        self.core.read(|s| s.config.display.image_compression as u32)
    }

    /// Sets when images are sent as JPEG: 1 auto, 2 always, 3 never.
    pub fn set_jpeg_compression(&self, compression: u32) -> Result {
        self.set_display(|c| c.set_jpeg(compression))
    }

    /// Sets when GLZ images are compressed by zlib, too: 1 auto, 2 always, 3 never.
    pub fn set_zlib_glz_compression(&self, compression: u32) -> Result {
        self.set_display(|c| c.set_zlib_glz(compression))
    }

    /// Sets the security bits (1 plain, 2 TLS) of a channel type by its name, or of all others.
    pub fn set_channel_security(&self, channel: Option<&str>, security: u32) -> Result {
        self.config(|c| c.set_channel_security(channel, security))
    }

    /// Accepts "sw", at most twice. It has no effect.
    pub fn add_renderer(&self, name: &str) -> Result {
        self.config(|c| c.add_renderer(name))
    }

    /// Sets which areas become video streams: 1 none, 2 all that qualify, 3 those that look like video.
    pub fn set_streaming_video(&self, mode: u32) -> Result {
        self.set_display(|c| c.set_streaming_video(mode))?;
        self.core.tell_compression_level();
        Ok(())
    }

    /// Sets the preferred video codecs: `encoder:codec;...` or `auto`.
    pub fn set_video_codecs(&self, codecs: &str) -> Result {
        self.set_display(|c| c.set_video_codecs(codecs))
    }

    /// The preferred video codecs in the syntax of [`Self::set_video_codecs`]. Empty before `init` if they were not set.
    #[must_use]
    pub fn video_codecs(&self) -> String {
        self.core.read(|s| s.config.video_codecs())
    }

    /// Sets whether playback is compressed.
    pub fn set_playback_compression(&self, on: bool) {
        self.core.with(|s| s.set_playback_compression(on));
    }

    /// Sets whether the guest agent may place the pointer.
    pub fn set_agent_mouse(&self, on: bool) {
        self.core.with(|s| {
            s.config.agent_mouse = on;
            s.update_mouse_mode();
        });
    }

    /// Sets whether clipboard messages pass between client and guest agent.
    pub fn set_agent_copypaste(&self, on: bool) {
        self.core.with(|s| {
            s.config.agent_copypaste = on;
            s.tell_agent_rules();
        });
    }

    /// Sets whether file transfers pass between client and guest agent.
    pub fn set_agent_file_xfer(&self, on: bool) {
        self.core.with(|s| {
            s.config.agent_file_xfer = on;
            s.tell_agent_rules();
        });
    }

    /// Whether the mouse mode is SERVER. `false` before `init`.
    #[must_use]
    pub fn is_server_mouse(&self) -> bool {
        self.core.read(|s| s.phase != Phase::New && !s.pointer.is_client_mode())
    }

    /// Sets the name of the virtual machine, for clients that connect later.
    pub fn set_name(&self, name: Option<&str>) {
        self.config(|c| c.name = name.map(Into::into));
    }

    /// Sets the UUID of the virtual machine, for clients that connect later.
    pub fn set_uuid(&self, uuid: [u8; 16]) {
        self.config(|c| c.uuid = Some(uuid));
    }

    /// Number of main channels.
    #[must_use]
    pub fn num_clients(&self) -> u32 {
        self.core.read(|s| u32::try_from(s.clients.len()).unwrap_or(u32::MAX))
    }

    /// The virtual machine runs. Hosts may call this repeatedly.
    pub fn vm_start(&self) {
        self.core.with(|s| {
            s.vm_running = true;
            s.on_machine_started();
            s.run_char_devices(true);
        });
        for worker in self.core.workers() {
            worker.start();
        }
    }

    /// The virtual machine stopped. When this returns, no worker touches the guest's memory.
    pub fn vm_stop(&self) {
        self.core.with(|s| {
            s.vm_running = false;
            s.run_char_devices(false);
        });
        for worker in self.core.workers() {
            worker.stop();
        }
        self.core.take_posts_if_on_loop();
        self.core.run_effects();
    }

    /// Sets whether the server offers seamless migration.
    pub fn set_seamless_migration(&self, on: bool) {
        self.config(|c| c.seamless_migration = on && !c.multi_client);
    }

    /// Attaches the one keyboard.
    pub fn add_keyboard(&self, keyboard: Arc<dyn Keyboard>) -> Result {
        self.add_input("keyboard", |inputs| inputs.set_keyboard(keyboard))
    }

    /// The guest's LEDs changed: bits 1 scroll, 2 num, 4 caps.
    pub fn kbd_leds(&self, leds: u8) {
        self.core.with(|s| {
            s.with_channel(INPUTS, |inputs: &mut InputsChannel, out| inputs.set_leds(leds, out));
        });
    }

    /// Attaches the one relative pointer.
    pub fn add_mouse(&self, mouse: Arc<dyn Mouse>) -> Result {
        self.add_input("mouse", |inputs| inputs.set_mouse(mouse))
    }

    fn add_input(&self, what: &'static str, attach: impl FnOnce(&mut InputsChannel) -> bool) -> Result {
        self.core.with(|s| {
            s.attachable()?;
            match s.with_channel(INPUTS, |inputs: &mut InputsChannel, _| attach(inputs)) {
                Some(true) => Ok(()),
                _ => Err(ServerError::Duplicate(what)),
            }
        })
    }

    /// Attaches an absolute pointer. There is one at a time.
    pub fn add_tablet(&self, tablet: Arc<dyn Tablet>) -> Result<TabletId> {
        self.core.with(|s| s.add_tablet(tablet))
    }

    /// Detaches a tablet. The mouse mode may become SERVER. None of its callbacks runs after this returns.
    pub fn remove_tablet(&self, tablet: TabletId) -> Result {
        self.core.with(|s| s.remove_tablet(tablet))
    }

    /// Attaches a character device. The server may call the device before this returns, but only after `attached` was told the
    /// device's number.
    pub fn add_char_device(
        &self,
        kind: CharKind,
        device: Arc<dyn CharDevice>,
        attached: impl FnOnce(DeviceId),
    ) -> Result<DeviceId> {
        let id = self.core.within(|s| s.add_char_device(kind, device))?;
        attached(id);
        self.core.run_effects();
        Ok(id)
    }

    /// Detaches a character device and disconnects the client that uses it. None of its callbacks runs after this returns.
    pub fn remove_char_device(&self, device: DeviceId) -> Result {
        self.core.remove_char_device(device)
    }

    /// A character device has something to read, or can take bytes again.
    pub fn wake_char_device(&self, device: DeviceId) {
        self.core.with(|s| s.wake_char_device(device));
    }

    /// The guest opened (0) or closed (1) its side of a port, or something else happened to it.
    pub fn port_event(&self, device: DeviceId, event: u8) {
        self.core.with(|s| s.port_event(device, event));
    }

    /// Attaches a QXL device and starts its worker. `id` must be free and not negative. Before this returns, it asks `control` for
    /// `init_info`, makes the device, and calls `attached` and `set_compression_level`.
    pub fn add_qxl(
        &self,
        id: i32,
        control: Arc<dyn QxlControl>,
        make_device: MakeDevice,
        attached: Attached<'_>,
    ) -> Result<Arc<QxlInstance>> {
        self.core.add_qxl(id, control, make_device, attached)
    }

    /// Detaches a QXL device and joins its worker. No callback of the device runs after this returns.
    pub fn remove_qxl(&self, instance: &Arc<QxlInstance>) -> Result {
        self.core.remove_qxl(instance)
    }
}

#[cfg(test)]
mod tests;
