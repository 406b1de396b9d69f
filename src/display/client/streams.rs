//! The video streams of one client (display.md 11.5, 11.6).

use crate::canvas::Region;
use crate::channel::connection::ChannelConnection;
use crate::codec::video::choice::{ClientCodecs, HostCodec};
use crate::codec::video::{Codec, CodecSet};
use crate::display::pending::PendingDrawable;
use crate::display::pipe::PipeItem;
use crate::display::reads::SurfaceKey;
use crate::display::services::Services;
use crate::display::stream::{Agent, LinkShare, Output, Stream, StreamClient, StreamKey, begin};
use crate::limits::MAX_STREAM_CLIP;
use crate::protocol::Message;
use crate::protocol::caps::display as cap;
use crate::protocol::display::StreamReport;
use std::collections::BTreeMap;
use std::time::Instant;

/// The streams that a client has or is about to have.
#[derive(Debug)]
pub(in crate::display) struct ClientStreams {
    agents: BTreeMap<StreamKey, Agent>,
    services: Services,
    /// What the client decodes, and what the host wants it to be sent.
    codecs: ClientCodecs,
    host: Vec<HostCodec>,
    /// The client says how it gets on.
    reports: bool,
    low_bandwidth: bool,
    /// It scales frames that are smaller than their stream.
    scales: bool,
    last_unique: u32,
}

/// What a command means for the streams of a client.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// To be queued before the command.
    pub items: Vec<PipeItem>,
    /// Pixels of the primary surface that the client must get true.
    pub stale: Region,
}

impl ClientStreams {
    pub(super) fn new(connection: &ChannelConnection, services: Services, host: Vec<HostCodec>) -> Self {
        let caps = &connection.channel_caps;
        let decodes = [
            (cap::CODEC_MJPEG, Codec::Mjpeg),
            (cap::CODEC_VP8, Codec::Vp8),
            (cap::CODEC_H264, Codec::H264),
            (cap::CODEC_VP9, Codec::Vp9),
            (cap::CODEC_H265, Codec::H265),
        ];
        let decodes: CodecSet =
            decodes.into_iter().filter(|(bit, _)| caps.has(*bit)).map(|(_, codec)| codec).collect();
        Self {
            agents: BTreeMap::new(),
            services,
            codecs: ClientCodecs::new(caps.has(cap::MULTI_CODEC), decodes),
            host,
            reports: caps.has(cap::STREAM_REPORT),
            low_bandwidth: connection.low_bandwidth,
            scales: caps.has(cap::SIZED_STREAM),
            last_unique: 0,
        }
    }

    /// The codecs to try for a stream, best first.
    fn candidates(&self) -> Vec<Codec> {
        self.codecs.candidates(&self.host, self.services.encoders.available())
    }

    /// Has encoders looked for that the next stream may need.
    pub(super) fn prepare(&self) {
        let all = self.codecs.candidates(&self.host, Codec::ALL.into_iter().collect());
        if all.first().is_some_and(|&best| best != Codec::Mjpeg) {
            self.services.encoders.prepare();
        }
    }

    /// The host wants other codecs.
    pub(super) fn set_host_codecs(&mut self, host: Vec<HostCodec>) {
        self.host = host;
    }

    /// PREFERRED_VIDEO_CODEC_TYPE: streams go on with what the client likes better.
    pub(super) fn prefer(&mut self, numbers: &[u8], now: Instant) -> Output {
        if !self.codecs.prefer(numbers) {
            return Output::default();
        }
        let codecs = self.candidates();
        join(self.agents.values_mut().map(|agent| agent.set_codecs(codecs.clone(), now)))
    }

    /// The stream that sends this command as a frame.
    pub(super) fn of(&mut self, pending: &PendingDrawable) -> Option<&mut Agent> {
        self.agents.get_mut(&pending.stream?.key)
    }

    /// Whether a command is a frame of a stream that the client plays: what it paints is kept account of by the stream.
    pub(super) fn plays(&self, pending: &PendingDrawable) -> bool {
        pending.stream.and_then(|s| self.agents.get(&s.key)).is_some_and(Agent::is_live)
    }

    /// What the client's link has room for; `None`: for anything.
    pub(super) fn set_link(&mut self, share: Option<LinkShare>) {
        self.agents.values_mut().for_each(|agent| agent.set_link(share));
    }

    /// Whether the client would be sent frames of this stream as such.
    pub(super) fn takes(&self, key: StreamKey) -> bool {
        self.agents.get(&key).map_or_else(|| !self.candidates().is_empty(), Agent::is_live)
    }

    /// A piece of the next frame of this stream was drawn; `false`: the client does not play it.
    pub(super) fn await_frame(&mut self, key: StreamKey, region: &Region) -> bool {
        let Some(agent) = self.agents.get_mut(&key).filter(|agent| agent.is_live()) else { return false };
        agent.awaits(region);
        true
    }

    /// Keeps the streams in step with a command that is about to be queued. `shown`: the client sees pixels of the primary
    /// surface.
    pub(super) fn follow(
        &mut self,
        pending: &PendingDrawable,
        primary: SurfaceKey,
        shown: bool,
        now: Instant,
    ) -> Followed {
        let mut followed = Followed::default();
        let mut own = None;
        if let Some(stream) = pending.stream.filter(|_| shown && pending.key == primary) {
            if self.agents.contains_key(&stream.key) {
                own = Some(stream.key);
            } else if let Some(agent) = self.begin(stream, &pending.region, now) {
                own = Some(stream.key);
                self.agents.insert(stream.key, agent);
                followed.items.push(PipeItem::StreamCreate(stream.key));
            }
        }
        // A complicated clip would cost a long message each time that it changes.
        let simple = pending.region.rects().len() <= MAX_STREAM_CLIP;
        for (&key, agent) in self.agents.iter_mut().filter(|(_, agent)| agent.is_live()) {
            let clip = if own == Some(key) && simple {
                agent.frame_queued(&pending.region)
            } else {
                let draws = pending.key == primary && pending.region.intersects(&agent.area);
                let covers = || pending.opaque && simple && agent.clip_stays_simple(&pending.region);
                if reads(pending, primary, &agent.area) || (draws && !covers()) {
                    let (area, clip) = agent.detach();
                    followed.stale = followed.stale.union(&area);
                    clip
                } else if draws {
                    agent.covered(&pending.region)
                } else {
                    None
                }
            };
            followed.items.extend(clip.map(|clip| PipeItem::StreamClip(key, clip)));
        }
        followed
    }

    fn begin(&mut self, stream: Stream, region: &Region, now: Instant) -> Option<Agent> {
        let codecs = self.candidates();
        if codecs.is_empty() {
            return None;
        }
        // Odd ids, so that a stream that begins anew with another codec has the ids between.
        self.last_unique = self.last_unique.wrapping_add(0x9e37_79b9) | 1;
        let Self { reports, low_bandwidth, scales, last_unique: unique_id, .. } = *self;
        let client = StreamClient { reports, low_bandwidth, scales, unique_id };
        begin(stream, region, &self.services, codecs, client, now)
    }

    /// The picture of a stream stands still: takes the area where it painted, for true pixels, and gives the STREAM_CLIP to
    /// be queued, if any.
    pub(super) fn settle(&mut self, key: StreamKey) -> Option<(Region, Option<Region>)> {
        let agent = self.agents.get_mut(&key).filter(|agent| agent.is_live() && !agent.area.is_empty())?;
        agent.forget_waiting();
        Some(agent.detach())
    }

    /// Lets go of the frames that wait for those before them.
    pub(super) fn forget_waiting(&mut self) {
        self.agents.values_mut().for_each(Agent::forget_waiting);
    }

    /// What the encoders have done on other threads since.
    pub(super) fn collect(&mut self, now: Instant) -> Output {
        join(self.agents.values_mut().filter_map(|agent| agent.collect(now)))
    }

    /// When [`Self::collect`] is due, if an encoder does not answer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.agents.values().filter_map(Agent::deadline).min()
    }

    /// All streams.
    pub(super) fn keys(&self) -> Vec<StreamKey> {
        self.agents.keys().copied().collect()
    }

    /// A stream is over: the area where it painted, if the client has it. STREAM_DESTROY is to be queued then.
    pub(super) fn end(&mut self, key: StreamKey) -> Option<Region> {
        self.agents.get_mut(&key).map(Agent::end)
    }

    /// A stream began and ended without the client being told.
    pub(super) fn forget(&mut self, key: StreamKey) {
        self.agents.remove(&key);
    }

    /// The client's report on a stream.
    pub(super) fn report(&mut self, report: &StreamReport, now: Instant) -> Output {
        let agent = self.agents.values_mut().find(|a| a.id() == report.stream_id && a.is_live());
        agent.map(|agent| agent.report(report, now)).unwrap_or_default()
    }

    // Messages.

    pub(super) fn create(&mut self, key: StreamKey) -> Vec<Message> {
        self.agents.get_mut(&key).map(Agent::create).unwrap_or_default()
    }

    pub(super) fn clip(&mut self, key: StreamKey, clip: &Region) -> Option<Message> {
        self.agents.get_mut(&key).and_then(|agent| agent.clip(clip))
    }

    pub(super) fn destroy(&mut self, key: StreamKey) -> Option<Message> {
        self.agents.remove(&key).and_then(|agent| agent.destroy())
    }
}

fn join(outputs: impl Iterator<Item = Output>) -> Output {
    outputs.fold(Output::default(), |mut all, output| {
        all.messages.extend(output.messages);
        all.stale = all.stale.union(&output.stale);
        all
    })
}

/// Whether a command reads pixels of the primary surface in this area.
fn reads(pending: &PendingDrawable, primary: SurfaceKey, area: &Region) -> bool {
    pending.reads.iter().any(|r| r.key == primary && area.intersects_rect(&r.area))
        || (pending.key == primary && pending.self_read.touches(&pending.region, area))
}
