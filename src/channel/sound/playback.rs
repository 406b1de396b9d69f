//! The playback channel: what the guest plays goes to every client that is linked.

use super::playback_client::{Abilities, PlaybackClient, Played, Settings};
use super::{BEST_RATE, Frame, Mixer, is_opus_rate};
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, LinkOptions, PING_PERIOD_RARE};
use crate::channel::{Channel, Out, Profile};
use crate::clock::mm_time;
use crate::limits::MAX_LENT_FRAMES;
use crate::net::stream::Incoming;
use crate::protocol::caps::playback::{OPUS, VOLUME};
use crate::protocol::{ChannelType, sound};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

static RAW_ONLY: Profile = Profile {
    channel_type: ChannelType::Playback,
    caps: &[VOLUME],
    shared: true,
    options: LinkOptions { max_body: sound::max_playback_body, window: false, ping_period: PING_PERIOD_RARE },
};

static WITH_OPUS: Profile = Profile { caps: &[VOLUME, OPUS], ..RAW_ONLY };

/// The right to hand in one frame. It ends with the last client that was there when it was given: what the guest played
/// for one client is not played to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    audience: u64,
}

/// The playback channel of one host interface.
#[derive(Debug)]
pub struct PlaybackChannel {
    compress: bool,
    rate: u32,
    /// The host told the rate: from then on Opus is announced.
    rate_known: bool,
    playing: bool,
    mixer: Mixer,
    clients: BTreeMap<ConnectionId, PlaybackClient>,
    /// Counts the times that the last client went.
    audience: u64,
    /// Frames that the host holds for the present audience.
    lent: u8,
    /// Counts the times that [`Self::is_heard`] ended.
    clock_releases: u64,
}

impl PlaybackChannel {
    /// A channel that is silent. `compress`: Opus for clients that know it.
    #[must_use]
    pub fn new(compress: bool) -> Self {
        Self {
            compress,
            rate: BEST_RATE,
            rate_known: false,
            playing: false,
            mixer: Mixer::default(),
            clients: BTreeMap::new(),
            audience: 0,
            lent: 0,
            clock_releases: 0,
        }
    }

    fn settings(&self, now: Instant) -> Settings<'_> {
        Settings { compress: self.compress, rate: self.rate, mixer: &self.mixer, time: mm_time(now) }
    }

    /// Sends each client what it can take.
    fn pump_all(&mut self, out: &mut Out<'_>) {
        let time = mm_time(out.now);
        let settings = Settings { compress: self.compress, rate: self.rate, mixer: &self.mixer, time };
        for (&at, client) in &mut self.clients {
            if let Err(error) = pump(at, client, settings, out) {
                out.disconnect(at, error);
            }
        }
    }

    /// Sends a client what it can take.
    fn pump(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let time = mm_time(out.now);
        let settings = Settings { compress: self.compress, rate: self.rate, mixer: &self.mixer, time };
        self.clients.get_mut(&at).map_or(Ok(()), |client| pump(at, client, settings, out))
    }

    /// The guest starts to play. Nothing if it does already.
    pub fn start(&mut self, out: &mut Out<'_>) {
        if !std::mem::replace(&mut self.playing, true) {
            self.clients.values_mut().for_each(PlaybackClient::start);
            self.pump_all(out);
        }
    }

    /// The guest stops playing. Nothing if it does not play.
    pub fn stop(&mut self, out: &mut Out<'_>) {
        if std::mem::replace(&mut self.playing, false) {
            self.clock_releases += u64::from(!self.clients.is_empty());
            self.clients.values_mut().for_each(PlaybackClient::stop);
            self.pump_all(out);
        }
    }

    /// A frame for the host to fill: `None` while nobody listens, nothing plays, or the host holds all there are.
    pub fn lend(&mut self) -> Option<Loan> {
        if !self.is_heard() || self.lent >= MAX_LENT_FRAMES {
            return None;
        }
        self.lent += 1;
        Some(Loan { audience: self.audience })
    }

    /// The host hands in a frame that it filled. Nothing is played of a loan that has ended, or when nothing plays.
    pub fn play(&mut self, loan: Loan, samples: Arc<Frame>, out: &mut Out<'_>) {
        if loan.audience != self.audience {
            return;
        }
        self.lent = self.lent.saturating_sub(1);
        if self.playing {
            let played = Played { time: mm_time(out.now), samples };
            self.clients.values_mut().for_each(|client| client.play(played.clone()));
            self.pump_all(out);
        }
    }

    /// The guest's volume, one value per audio channel.
    pub fn set_volume(&mut self, volumes: Vec<u16>, out: &mut Out<'_>) {
        self.mixer.volumes = volumes;
        self.clients.values_mut().for_each(PlaybackClient::tell_volume);
        self.pump_all(out);
    }

    /// Whether the guest is muted.
    pub fn set_mute(&mut self, mute: bool, out: &mut Out<'_>) {
        self.mixer.mute = mute;
        self.clients.values_mut().for_each(PlaybackClient::tell_mute);
        self.pump_all(out);
    }

    /// Samples a second from now on.
    pub fn set_rate(&mut self, rate: u32, out: &mut Out<'_>) {
        self.rate_known = true;
        if std::mem::replace(&mut self.rate, rate) != rate {
            self.clients.values_mut().for_each(PlaybackClient::restart);
            self.refresh_modes(out);
        }
    }

    /// Whether clients that know Opus get it.
    pub fn set_compression(&mut self, compress: bool, out: &mut Out<'_>) {
        self.compress = compress;
        self.refresh_modes(out);
    }

    fn refresh_modes(&mut self, out: &mut Out<'_>) {
        let (compress, rate, time) = (self.compress, self.rate, mm_time(out.now));
        let settings = Settings { compress, rate, mixer: &self.mixer, time };
        self.clients.values_mut().for_each(|client| client.refresh_mode(settings));
        self.pump_all(out);
    }

    /// Whether something plays and somebody listens: clients then take the time from the sound.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.playing && !self.clients.is_empty()
    }

    /// How often that has ended: the clients' clock went back to the server, even if it is the sound's again.
    #[must_use]
    pub fn clock_releases(&self) -> u64 {
        self.clock_releases
    }
}

/// Sends a client all that is due, unless something is still on its way.
fn pump(
    at: ConnectionId,
    client: &mut PlaybackClient,
    settings: Settings<'_>,
    out: &mut Out<'_>,
) -> Result<(), ChannelError> {
    let Some(link) = out.link(at).filter(|link| link.is_drained()) else { return Ok(()) };
    while let Some(message) = client.next_message(settings)? {
        link.send(message);
    }
    Ok(())
}

impl Channel for PlaybackChannel {
    fn profile(&self) -> &'static Profile {
        if self.rate_known && is_opus_rate(self.rate) { &WITH_OPUS } else { &RAW_ONLY }
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let Some(link) = out.link(at) else { return Ok(()) };
        link.stream().set_low_delay();
        link.start_pings();
        let caps = &link.connection().channel_caps;
        let abilities = Abilities { volume: caps.has(VOLUME), opus: caps.has(OPUS) };
        let client = PlaybackClient::new(abilities, self.playing, self.settings(out.now));
        self.clients.insert(at, client);
        self.pump(at, out)
    }

    /// Clients of this channel have nothing to say.
    fn on_message(
        &mut self,
        _at: ConnectionId,
        message: Incoming,
        _out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        Ok(sound::decode_playback(message.msg_type, &message.body).map(drop)?)
    }

    fn on_drained(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.pump(at, out)
    }

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        let was_heard = self.is_heard();
        self.clients.remove(&at);
        if self.clients.is_empty() {
            self.clock_releases += u64::from(was_heard);
            self.audience += 1;
            self.lent = 0;
        }
    }
}
