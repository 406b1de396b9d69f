//! The video streams of one client (display.md 11.5, 11.6).

use crate::canvas::Region;
use crate::channel::connection::ChannelConnection;
use crate::display::pipe::PipeItem;
use crate::display::queued::{Queued, SurfaceKey};
use crate::display::stream::{Agent, StreamKey, reads_own};
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
    /// The client decodes MJPEG.
    mjpeg: bool,
    /// The client says how it gets on.
    reports: bool,
    low_bandwidth: bool,
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
    pub(super) fn new(connection: &ChannelConnection) -> Self {
        let caps = &connection.channel_caps;
        Self {
            agents: BTreeMap::new(),
            mjpeg: !caps.has(cap::MULTI_CODEC) || caps.has(cap::CODEC_MJPEG),
            reports: caps.has(cap::STREAM_REPORT),
            low_bandwidth: connection.low_bandwidth,
            last_unique: 0,
        }
    }

    /// The stream that sends this command as a frame.
    pub(super) fn of(&mut self, queued: &Queued) -> Option<&mut Agent> {
        self.agents.get_mut(&queued.stream?.key)
    }

    /// Whether a command is a frame of a stream that the client plays: what it paints is kept account of by the stream.
    pub(super) fn plays(&self, queued: &Queued) -> bool {
        queued.stream.and_then(|s| self.agents.get(&s.key)).is_some_and(Agent::is_live)
    }

    /// Keeps the streams in step with a command that is about to be queued. `shown`: the client sees pixels of the primary
    /// surface.
    pub(super) fn follow(
        &mut self,
        queued: &Queued,
        primary: SurfaceKey,
        shown: bool,
        now: Instant,
    ) -> Followed {
        let mut followed = Followed::default();
        let mut own = None;
        if let Some(stream) = queued.stream.filter(|_| self.mjpeg && shown && queued.key == primary) {
            own = Some(stream.key);
            if !self.agents.contains_key(&stream.key) {
                self.last_unique = self.last_unique.wrapping_add(0x9e37_79b9) | 1;
                let agent = Agent::new(stream, &queued.region, self.last_unique, self.low_bandwidth, now);
                self.agents.insert(stream.key, agent);
                followed.items.push(PipeItem::StreamCreate(stream.key));
            }
        }
        // A complicated clip would cost a long message each time that it changes.
        let simple = queued.region.rects().len() <= MAX_STREAM_CLIP;
        for (&key, agent) in self.agents.iter_mut().filter(|(_, agent)| agent.is_live()) {
            let clip = if own == Some(key) && simple {
                agent.frame_queued(&queued.region)
            } else {
                let draws = queued.key == primary && queued.region.intersects(&agent.area);
                let covers = || queued.opaque && simple && agent.clip_stays_simple(&queued.region);
                if reads(queued, primary, &agent.area) || (draws && !covers()) {
                    let (area, clip) = agent.detach();
                    followed.stale = followed.stale.union(&area);
                    clip
                } else if draws {
                    agent.covered(&queued.region)
                } else {
                    None
                }
            };
            followed.items.extend(clip.map(|clip| PipeItem::StreamClip(key, clip)));
        }
        followed
    }

    /// A stream is over: the area where it painted, if the client has it. STREAM_DESTROY is to be queued then.
    pub(super) fn end(&mut self, key: StreamKey) -> Option<Region> {
        self.agents.get_mut(&key).map(Agent::end)
    }

    /// A stream began and ended without the client being told.
    pub(super) fn forget(&mut self, key: StreamKey) {
        self.agents.remove(&key);
    }

    /// The client's report on a stream. The area where it painted, if the client cannot decode it: frames go as images
    /// from then on.
    pub(super) fn report(&mut self, report: &StreamReport, now: Instant) -> Option<Region> {
        let agent = self.agents.values_mut().find(|a| a.id() == report.stream_id && a.is_live())?;
        (!agent.report(report, now)).then(|| agent.end())
    }

    // Messages.

    pub(super) fn create(&mut self, key: StreamKey) -> Vec<Message> {
        self.agents.get_mut(&key).map(|agent| agent.create(self.reports)).unwrap_or_default()
    }

    pub(super) fn clip(&self, key: StreamKey, clip: &Region) -> Option<Message> {
        self.agents.get(&key).and_then(|agent| agent.clip(clip))
    }

    pub(super) fn destroy(&mut self, key: StreamKey) -> Option<Message> {
        self.agents.remove(&key).and_then(|agent| agent.destroy())
    }
}

/// Whether a command reads pixels of the primary surface in this area.
fn reads(queued: &Queued, primary: SurfaceKey, area: &Region) -> bool {
    queued.reads.iter().any(|r| r.key == primary && area.intersects_rect(&r.area))
        || (queued.key == primary && reads_own(queued.self_read, &queued.region, area))
}
