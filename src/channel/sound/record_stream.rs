//! The samples on their way from a client's microphone to the guest: decoding, and the ring that holds the newest.

use super::{FRAME, is_opus_rate, joined};
use crate::channel::link::ChannelError;
use crate::limits::{MAX_RECORDED, RECORD_BURST, RECORD_PACKETS_PER_SECOND};
use crate::protocol::sound::AudioMode;
use spice_opus::Decoder;
use std::collections::VecDeque;
use std::time::Instant;

/// Samples that must have come since the start before the guest gets any (85 ms at 48 kHz): what evens out the network.
const PREBUFFER: usize = 4096;

/// The newest pairs of samples.
#[derive(Debug, Default)]
pub(super) struct Ring {
    samples: VecDeque<u32>,
    /// Samples that came since the start, as far as it matters.
    arrived: usize,
}

impl Ring {
    /// The guest starts to record: nothing of before is of interest.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds samples; beyond the limit the oldest go.
    pub(super) fn push(&mut self, samples: impl ExactSizeIterator<Item = u32>) {
        self.arrived = self.arrived.saturating_add(samples.len()).min(PREBUFFER);
        let excess = samples.len().saturating_sub(MAX_RECORDED);
        for sample in samples.skip(excess) {
            if self.samples.len() == MAX_RECORDED {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
    }

    /// Takes up to `max` samples, oldest first; none before enough have come.
    pub(super) fn take(&mut self, max: usize) -> Vec<u32> {
        if self.arrived < PREBUFFER {
            return Vec::new();
        }
        self.samples.drain(..max.min(self.samples.len())).collect()
    }
}

/// How many packets may be decoded now: a flood is dropped, so that it does not take the host thread's time.
#[derive(Debug)]
struct Allowance {
    packets: u32,
    since: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.since).as_millis()
            * u128::from(RECORD_PACKETS_PER_SECOND)
            / 1000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.packets = self.packets.saturating_add(earned).min(RECORD_BURST);
            self.since = now;
        }
        let allowed = self.packets > 0;
        self.packets = self.packets.saturating_sub(1);
        allowed
    }
}

/// How one client's sound is coded.
#[derive(Debug)]
pub(super) struct RecordStream {
    rate: u32,
    decoder: Option<Decoder>,
    allowance: Allowance,
}

impl RecordStream {
    /// A client that has not said its mode: raw.
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        Self { rate, decoder: None, allowance: Allowance { packets: RECORD_BURST, since: now } }
    }

    /// The client says how what follows is coded.
    pub(super) fn set_mode(&mut self, mode: u16) -> Result<(), ChannelError> {
        self.decoder = match AudioMode::try_from(mode) {
            Ok(AudioMode::Raw) => None,
            Ok(AudioMode::Opus) => Some(
                Some(self.rate)
                    .filter(|&rate| is_opus_rate(rate))
                    .and_then(Decoder::new)
                    .ok_or_else(|| ChannelError::Refused(format!("no Opus decoder for {} Hz", self.rate)))?,
            ),
            Err(mode) => return Err(ChannelError::Refused(format!("audio mode {mode} is not known"))),
        };
        Ok(())
    }

    /// Whether sound comes compressed.
    #[must_use]
    pub(super) fn is_compressed(&self) -> bool {
        self.decoder.is_some()
    }

    /// The rate changed: what is compressed has to be decoded for it.
    pub(super) fn set_rate(&mut self, rate: u32) -> Result<(), ChannelError> {
        self.rate = rate;
        if self.is_compressed() { self.set_mode(AudioMode::Opus as u16) } else { Ok(()) }
    }

    /// A DATA message. Bytes behind the last whole pair of samples are ignored.
    pub(super) fn receive(&mut self, data: &[u8], ring: &mut Ring, now: Instant) -> Result<(), ChannelError> {
        let Some(decoder) = &mut self.decoder else {
            let (pairs, _) = data.as_chunks::<4>();
            ring.push(pairs.iter().map(|&bytes| u32::from_le_bytes(bytes)));
            return Ok(());
        };
        if !self.allowance.take(now) {
            return Ok(());
        }
        let mut samples = [0; 2 * FRAME];
        let count = decoder
            .decode(data, &mut samples)
            .map_err(|error| ChannelError::Refused(format!("its sound cannot be decoded: {error}")))?;
        let (pairs, _) = samples.as_chunks::<2>();
        ring.push(pairs.iter().take(count).map(|&[left, right]| joined(left, right)));
        Ok(())
    }
}
