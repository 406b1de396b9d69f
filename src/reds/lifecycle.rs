//! How a server begins and ends (server.md 3.1, 3.6), and how QXL devices are attached and detached.

use super::channels::Home;
use super::clients::{INPUTS, MAIN};
use super::config::Family;
use super::core::{Core, Post, WorkerPosts};
use super::effect::ChannelKey;
use super::error::ServerError;
use super::goodbye::SERVER_ENDS;
use super::qxl::QxlInstance;
use super::state::{Phase, State};
use super::{Attached, MakeDevice, Result};
use crate::channel::inputs::InputsChannel;
use crate::channel::main::MainChannel;
use crate::display::{self, cursor};
use crate::host::{EventLoop, QxlControl, Readiness};
use crate::net::keys::Keys;
use crate::net::listener::Listener;
use crate::net::tls::TlsSource;
use crate::net::upgrade::Origins;
use crate::protocol::ChannelType;
use crate::worker::WorkerHandle;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

const READ: Readiness = Readiness { read: true, write: false };

impl Core {
    pub(crate) fn init(self: &Arc<Self>, event_loop: Arc<dyn EventLoop>) -> Result {
        if self.read(|s| s.phase != Phase::New) {
            return Err(ServerError::AlreadyInitialized);
        }
        self.adopt_loop_thread();
        self.with(|s| s.prepare_sasl())?;
        let listeners = self.with(State::open_listeners)?;
        let mailbox = self.open_mailbox().map_err(ServerError::io("eventfd"))?;
        let weak = Arc::downgrade(self);
        let keys = Keys::start(!listeners.is_empty(), move |event| {
            if let Some(core) = weak.upgrade() {
                core.post(Post::Key(event));
            }
        })
        .map_err(ServerError::io("thread for cryptography"))?;
        self.with(|s| {
            s.event_loop = Some(event_loop.clone());
            s.keys = Some(Arc::new(keys));
            if s.config.display.video_codecs.is_empty() {
                let _ = s.config.set_video_codecs("auto");
            }
            s.config.multi_client = std::env::var_os("SPICE_DEBUG_ALLOW_MC").is_some();
            s.config.seamless_migration &= !s.config.multi_client;
            s.config.origins = Origins::from_environment();
        });
        let watched = self.add_watches(&*event_loop, mailbox, listeners);
        if let Err(error) = watched {
            self.remove_watches(&*event_loop);
            self.with(|s| {
                s.event_loop = None;
                s.keys = None;
            });
            return Err(error);
        }
        self.with(|s| {
            s.phase = Phase::Ready;
            s.open_channels();
        });
        Ok(())
    }

    /// The order is the original's.
    fn add_watches(
        self: &Arc<Self>,
        event_loop: &dyn EventLoop,
        mailbox: i32,
        listeners: Vec<(Listener, bool)>,
    ) -> Result {
        let weak = Arc::downgrade(self);
        let on_mailbox = Arc::new(move |_| {
            if let Some(core) = weak.upgrade() {
                core.on_mailbox();
            }
        });
        let watch = event_loop.watch_add(mailbox, READ, on_mailbox);
        self.with(|s| s.waiting.mailbox = watch);
        watch.ok_or(ServerError::HostRefused("watch"))?;
        // The original makes a timer for migrations here, and hosts may expect it. The limits of migrations use the service timer.
        let timer = event_loop.timer_add(Arc::new(|| {}));
        self.with(|s| s.waiting.migration = timer);
        timer.ok_or(ServerError::HostRefused("timer"))?;
        for (listener, tls) in listeners {
            let fd = listener.as_fd().as_raw_fd();
            let index = self.with(|s| s.listeners.add(listener, tls));
            let weak = Arc::downgrade(self);
            let on_connect = Arc::new(move |_| {
                if let Some(core) = weak.upgrade() {
                    core.adopt_loop_thread();
                    core.with(|s| s.accept_links(index));
                }
            });
            let watch =
                event_loop.watch_add(fd, READ, on_connect).ok_or(ServerError::HostRefused("watch"))?;
            self.with(|s| s.listeners.set_watch(index, watch));
        }
        let weak = Arc::downgrade(self);
        let on_timer = Arc::new(move || {
            if let Some(core) = weak.upgrade() {
                core.on_timer();
            }
        });
        let timer = event_loop.timer_add(on_timer);
        self.with(|s| s.waiting.service = timer);
        timer.ok_or(ServerError::HostRefused("timer"))?;
        Ok(())
    }

    fn remove_watches(&self, event_loop: &dyn EventLoop) {
        let (listeners, waiting) = self.within(|s| (s.listeners.take(), std::mem::take(&mut s.waiting)));
        for (watch, _listener) in &listeners {
            watch.iter().for_each(|&watch| event_loop.watch_remove(watch));
        }
        waiting.migration.iter().for_each(|&timer| event_loop.timer_remove(timer));
        waiting.mailbox.iter().for_each(|&watch| event_loop.watch_remove(watch));
        waiting.service.iter().for_each(|&timer| event_loop.timer_remove(timer));
    }

    /// Starts the service timer anew.
    pub(crate) fn start_service_timer(self: &Arc<Self>, ms: u32) {
        let (event_loop, timer) = self.read(|s| (s.event_loop.clone(), s.waiting.service));
        if let (Some(event_loop), Some(timer)) = (event_loop, timer) {
            event_loop.timer_start(timer, ms);
        }
    }

    pub(crate) fn destroy(self: &Arc<Self>) {
        if self.read(|s| s.phase.is_over()) {
            return;
        }
        let Some(event_loop) = self.event_loop() else {
            self.with(|s| s.phase = Phase::Over);
            return;
        };
        // Listeners are closed first, so that no client comes in any more.
        let listeners = self.with(|s| {
            s.phase = Phase::Over;
            s.listeners.take()
        });
        for (watch, listener) in listeners {
            watch.iter().for_each(|&watch| event_loop.watch_remove(watch));
            drop(listener);
        }
        let was_loop = self.on_loop_thread();
        // The thread that destroys the server is the last one to use it, so it handles all posts now.
        self.adopt_loop_thread();
        self.with(|s| {
            s.config.exit_on_disconnect = false;
            s.end_migration();
            s.drop_all_clients(SERVER_ENDS);
            for link in s.links.take() {
                s.close_quietly(link);
            }
        });
        for instance in self.with(|s| s.devices.take()) {
            if let Some(worker) = instance.retire() {
                worker.shutdown();
            }
        }
        let keys = self.with(|s| s.keys.take());
        drop(keys);
        self.take_posts();
        self.run_effects();
        self.remove_watches(&*event_loop);
        self.with(|s| {
            s.event_loop = None;
            // The host's input devices are dropped with their channel.
            s.channels.clear();
        });
        if !was_loop {
            crate::debug!("destroyed from another thread than the main loop's");
        }
    }

    pub(crate) fn add_qxl(
        self: &Arc<Self>,
        id: i32,
        control: Arc<dyn QxlControl>,
        make_device: MakeDevice,
        attached: Attached<'_>,
    ) -> Result<Arc<QxlInstance>> {
        if !self.read(|s| s.phase.is_ready()) {
            return Err(ServerError::NotInitialized);
        }
        let channel_id =
            u8::try_from(id).map_err(|_| ServerError::Value { what: "QXL id", value: id.into() })?;
        if self.read(|s| s.channels.is_registered(ChannelType::Display.number(), channel_id)) {
            return Err(ServerError::Duplicate("QXL device with this id"));
        }
        let info = control.init_info();
        let device = make_device(&info)
            .map_err(|error| ServerError::Unknown { what: "QXL device", text: error.to_string() })?;
        let settings = self.read(|s| s.config.display.clone());
        let events = Arc::new(WorkerPosts { core: Arc::downgrade(self), qxl: channel_id });
        let worker = WorkerHandle::spawn(channel_id, device, info, settings, events)
            .map_err(ServerError::io("worker thread"))?;
        let instance = Arc::new(QxlInstance::new(
            channel_id,
            info.qxl_ram_size,
            control.clone(),
            worker,
            Arc::downgrade(self),
        ));
        self.with(|s| {
            s.devices.add(instance.clone());
            s.register(channel_id, Home::Worker(&cursor::PROFILE, Some(instance.clone())));
            s.register(channel_id, Home::Worker(&display::PROFILE, Some(instance.clone())));
            s.refresh_displays();
        });
        attached(&instance);
        control.set_compression_level(self.read(|s| s.config.compression_level()));
        // The worker is not started, even if the machine runs: the next vm_start does it, as with the original. QEMU's device
        // is not ready for events before that.
        Ok(instance)
    }

    pub(crate) fn remove_qxl(self: &Arc<Self>, instance: &Arc<QxlInstance>) -> Result {
        let known = self.with(|s| {
            let known = s.devices.remove(instance);
            for channel_type in [ChannelType::Display, ChannelType::Cursor].into_iter().filter(|_| known) {
                s.channels.unregister(ChannelKey { channel_type, id: instance.id() });
            }
            known
        });
        if !known {
            return Err(ServerError::NotAttached("QXL device"));
        }
        if let Some(worker) = instance.retire() {
            worker.shutdown();
        }
        self.take_posts_if_on_loop();
        self.with(State::refresh_displays);
        Ok(())
    }

    /// Calls `set_compression_level` of every device, after settings changed.
    pub(crate) fn tell_compression_level(self: &Arc<Self>) {
        let (level, controls) = self.read(|s| (s.config.compression_level(), s.devices.controls()));
        for control in controls {
            control.set_compression_level(level);
        }
    }

    pub(crate) fn workers(&self) -> Vec<Arc<WorkerHandle>> {
        self.read(|s| s.devices.workers())
    }
}

impl State {
    /// Registers the channels that every server has.
    pub(crate) fn open_channels(&mut self) {
        self.register(MAIN.id, Home::host(MainChannel::default()));
        self.register(INPUTS.id, Home::host(InputsChannel::default()));
        self.tell_agent_rules();
    }

    /// Reads SASL's configuration now, since hosts may give up their access to files later.
    fn prepare_sasl(&mut self) -> Result {
        match &self.sasl {
            Some(sasl) if self.config.sasl => {
                sasl.prepare(&self.config.sasl_appname).map_err(ServerError::Sasl)
            }
            _ => Ok(()),
        }
    }

    fn open_listeners(&mut self) -> Result<Vec<(Listener, bool)>> {
        let config = &mut self.config;
        let mut listeners = Vec::new();
        let source = match &config.tls {
            None => None,
            Some(tls) => Some(Arc::new(TlsSource::load(tls).map_err(ServerError::io("TLS"))?)),
        };
        if let Some(socket) = config.listen_socket.take() {
            listeners.push((Listener::from_host(socket).map_err(ServerError::io("host's socket"))?, false));
        } else if config.family == Family::Unix && config.address.is_empty() {
            // As with the original, a host that names no path gets no socket. It passes its clients in itself.
            crate::info!("no unix socket: the host gave no path");
        } else if config.port >= 0 || config.family == Family::Unix {
            let port = u16::try_from(config.port).unwrap_or(0);
            let listener = Listener::bind(&config.address, config.family, port).map_err(|error| {
                let address = String::from_utf8_lossy(&config.address);
                let error = io::Error::new(error.kind(), format!("{address:?} port {port}: {error}"));
                ServerError::Io { what: "listening socket", error }
            })?;
            listeners.push((listener, false));
        }
        if let Some(tls) = &config.tls {
            // There is one path and so one socket. As with the original it speaks TLS if TLS is configured.
            if config.family == Family::Unix {
                listeners.iter_mut().for_each(|(_, tls)| *tls = true);
                self.tls = source;
                return Ok(listeners);
            }
            let port = u16::try_from(tls.port).unwrap_or(0);
            let listener = Listener::bind(&config.address, config.family, port).map_err(|error| {
                let error = io::Error::new(error.kind(), format!("port {port}: {error}"));
                ServerError::Io { what: "TLS listening socket", error }
            })?;
            listeners.push((listener, true));
        }
        self.tls = source;
        Ok(listeners)
    }
}
