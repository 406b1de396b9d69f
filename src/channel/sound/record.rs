//! The record channel: what the microphone of one client hears goes to the guest. The newest client is heard.

use super::record_stream::{RecordStream, Ring};
use super::{BEST_RATE, CHANNELS, Mixer, is_opus_rate};
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, LinkOptions, PING_PERIOD_RARE};
use crate::channel::{Channel, Out, Profile};
use crate::net::stream::Incoming;
use crate::protocol::caps::record::{OPUS, VOLUME};
use crate::protocol::sound::{self, RecordMessage, record};
use crate::protocol::{ChannelType, Message};
use std::time::Instant;

static RAW_ONLY: Profile = Profile {
    channel_type: ChannelType::Record,
    caps: &[VOLUME],
    shared: false,
    options: LinkOptions { max_body: sound::max_record_body, window: false, ping_period: PING_PERIOD_RARE },
};

static WITH_OPUS: Profile = Profile { caps: &[VOLUME, OPUS], ..RAW_ONLY };

/// The client that is heard.
#[derive(Debug)]
struct Client {
    at: ConnectionId,
    stream: RecordStream,
    volume_ability: bool,
    /// START was sent and STOP was not.
    active: bool,
    volume_due: bool,
    mute_due: bool,
}

/// The record channel of one host interface.
#[derive(Debug)]
pub struct RecordChannel {
    rate: u32,
    /// The host told the rate: from then on Opus is announced.
    rate_known: bool,
    recording: bool,
    mixer: Mixer,
    ring: Ring,
    client: Option<Client>,
}

impl Default for RecordChannel {
    fn default() -> Self {
        Self {
            rate: BEST_RATE,
            rate_known: false,
            recording: false,
            mixer: Mixer::default(),
            ring: Ring::default(),
            client: None,
        }
    }
}

impl RecordChannel {
    /// The guest starts to record. Nothing if it does already.
    pub fn start(&mut self, out: &mut Out<'_>) {
        if !std::mem::replace(&mut self.recording, true) {
            self.ring.clear();
            self.pump(out);
        }
    }

    /// The guest stops recording. Nothing if it does not record.
    pub fn stop(&mut self, out: &mut Out<'_>) {
        if std::mem::replace(&mut self.recording, false) {
            self.pump(out);
        }
    }

    /// Up to `max` pairs of samples for the guest; none without a client, while it does not record, and until enough
    /// have come.
    pub fn samples(&mut self, max: usize) -> Vec<u32> {
        if self.recording && self.client.is_some() { self.ring.take(max) } else { Vec::new() }
    }

    /// The guest's recording volume, one value per audio channel.
    pub fn set_volume(&mut self, volumes: Vec<u16>, out: &mut Out<'_>) {
        self.mixer.volumes = volumes;
        if let Some(client) = &mut self.client {
            client.volume_due = client.volume_ability;
        }
        self.pump(out);
    }

    /// Whether the guest's microphone is muted.
    pub fn set_mute(&mut self, mute: bool, out: &mut Out<'_>) {
        self.mixer.mute = mute;
        if let Some(client) = &mut self.client {
            client.mute_due = client.volume_ability;
        }
        self.pump(out);
    }

    /// Samples a second from now on. A client that records is started again with it.
    pub fn set_rate(&mut self, rate: u32, out: &mut Out<'_>) {
        self.rate_known = true;
        if std::mem::replace(&mut self.rate, rate) == rate {
            return;
        }
        let Some(client) = &mut self.client else { return };
        if let Err(error) = client.stream.set_rate(rate) {
            out.disconnect(client.at, error);
        } else if std::mem::take(&mut client.active) && self.recording {
            self.pump(out);
        }
    }

    /// Sends the client what is due, unless something is still on its way.
    fn pump(&mut self, out: &mut Out<'_>) {
        let Some(client) = &mut self.client else { return };
        let Some(link) = out.link(client.at).filter(|link| link.is_drained()) else { return };
        let mut send = |message: Message| {
            link.send(message);
        };
        if client.active != self.recording {
            client.active = self.recording;
            send(if self.recording {
                sound::record_start(CHANNELS, self.rate)
            } else {
                sound::record_stop()
            });
        }
        if std::mem::take(&mut client.volume_due) && !self.mixer.volumes.is_empty() {
            send(sound::volume(record::VOLUME, &self.mixer.volumes));
        }
        if std::mem::take(&mut client.mute_due) {
            send(sound::mute(record::MUTE, self.mixer.mute));
        }
    }

    fn hear(&mut self, at: ConnectionId, message: &Incoming, now: Instant) -> Result<(), ChannelError> {
        let Some(client) = self.client.as_mut().filter(|client| client.at == at) else { return Ok(()) };
        match RecordMessage::decode(message.msg_type, &message.body)? {
            RecordMessage::Data { .. } => {
                client.stream.receive(sound::record_samples(&message.body), &mut self.ring, now)
            }
            RecordMessage::Mode { mode, .. } => client.stream.set_mode(mode),
            // When the client began: nothing here depends on it.
            RecordMessage::StartMark { .. } | RecordMessage::Common(_) => Ok(()),
        }
    }
}

impl Channel for RecordChannel {
    fn profile(&self) -> &'static Profile {
        if self.rate_known && is_opus_rate(self.rate) { &WITH_OPUS } else { &RAW_ONLY }
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        let Some(link) = out.link(at) else { return Ok(()) };
        link.stream().set_low_delay();
        link.start_pings();
        let volume_ability = link.connection().channel_caps.has(VOLUME);
        let volume_due = volume_ability && !self.mixer.volumes.is_empty();
        let client = Client {
            at,
            stream: RecordStream::new(self.rate, out.now),
            volume_ability,
            active: false,
            volume_due,
            mute_due: volume_due,
        };
        if let Some(old) = self.client.replace(client) {
            out.disconnect(old.at, ChannelError::Refused("another client records now".into()));
        }
        self.pump(out);
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        self.hear(at, &message, out.now)
    }

    fn on_drained(&mut self, _at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        self.pump(out);
        Ok(())
    }

    fn on_closed(&mut self, at: ConnectionId, _out: &mut Out<'_>) {
        self.client.take_if(|client| client.at == at);
    }
}

/// Fuzz oracle: a recording client's messages, first byte: rate, then per message type, length and bytes, and fetches between
/// them. What must hold: no panic, and the guest never gets more samples than it asked for or than are kept.
///
/// # Panics
/// When that does not hold.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_record_channel(data: &[u8]) {
    use crate::limits::MAX_RECORDED;
    let Some((&first, mut rest)) = data.split_first() else { return };
    let rates = [48_000, 44_100, 16_000, 8_000, 0, u32::MAX];
    let now = Instant::now();
    let rate = rates.get(usize::from(first) % rates.len()).copied().unwrap_or(BEST_RATE);
    let (mut stream, mut ring) = (RecordStream::new(rate, now), Ring::default());
    while let Some((&[kind, size], tail)) = rest.split_first_chunk() {
        // Lengths up to 4 KiB, short ones more often.
        let size = usize::from(size) << (kind >> 6).saturating_sub(1);
        let (body, tail) = tail.split_at(size.min(tail.len()));
        rest = tail;
        let result = match kind % 8 {
            0 => stream.set_mode(u16::from(size == 0) * 3),
            1 => stream.set_mode(body.first().copied().unwrap_or(1).into()),
            2 => {
                ring.clear();
                assert!(ring.take(usize::MAX).is_empty(), "samples from before the start");
                Ok(())
            }
            3 => {
                let taken = ring.take(size);
                assert!(taken.len() <= size.min(MAX_RECORDED), "more than asked for");
                Ok(())
            }
            4 => {
                assert!(ring.take(usize::MAX).len() <= MAX_RECORDED, "more than are kept");
                Ok(())
            }
            _ => stream.receive(body, &mut ring, now),
        };
        if result.is_err() {
            return;
        }
    }
}
