//! Finds videos that are drawn in pieces. A display without commands of its own, such as a plain framebuffer, copies what has
//! changed, and that is a different set of rectangles in each frame.
//!
//! Pieces that come at the same time and lie side by side are a *cluster*. Where clusters follow each other like the frames of
//! a video, the device *composes* the area: it draws the pieces on its own surface alone, and when the pieces of a frame are
//! complete, it makes one command of the whole area. This command is a frame of a stream like any other ([`super::Streams`]).
//!
//! This module only decides. The owner draws the pieces, asks when a frame is due, and composes one before anything else that
//! touches an area whose pieces wait.

use super::frame::frame_of;
use crate::codec::graduality::{Graduality, grade};
use crate::display::settings::StreamingVideo;
use crate::draw::{Clip, DrawOp, Drawable};
use crate::geometry::Rect;
use crate::image::{Image, ImageData};
use crate::limits::MAX_PIECES;
use std::time::{Duration, Instant};

/// Pieces that come so close together belong to one frame.
const SAME_FRAME: Duration = Duration::from_millis(8);
/// A frame whose pieces keep coming is cut after so long.
const LONGEST_FRAME: Duration = Duration::from_millis(25);
/// Pieces so near to each other (pixels) are side by side.
const SIDE_BY_SIDE: i32 = 33;
/// Longest gap between frames before an area is composed, and after which it no longer is.
const MAX_GAP: Duration = Duration::from_millis(200);
/// See [`MAX_GAP`].
const END_GAP: Duration = Duration::from_secs(1);
/// Frames before an area is composed. The original takes 20 of one shape.
const START_FRAMES: u32 = 10;
/// Of these, one in so many must look like video.
const GRADUAL_SHARE: u32 = 5;
/// Least size of an area in filter mode (pixels), as of a stream.
const MIN_PIXELS: u64 = 96 * 96;
/// Frames in a row that change less than a fourth of the area before it is no longer composed.
const QUIET_FRAMES: u32 = 10;
/// How often a composed area may turn out to be larger: each time the stream begins anew.
const MAX_GROWTHS: u32 = 6;
/// Pieces of the first frame that is followed.
const LEAST_PIECES: u32 = 3;
/// Pieces of a frame that are graded at most.
const MAX_GRADED: u32 = 6;
/// Areas that are followed at a time.
const TRACES: usize = 4;
/// After the first piece of a frame the others are awaited for so long, or until the guest pauses.
const GATHER: Duration = Duration::from_millis(4);
/// A guest that has drawn so many frames in a row without a break is not awaited after the next one.
const SURE: u32 = 4;
/// Frames are composed at least so far apart.
const LEAST_INTERVAL: Duration = Duration::from_millis(15);

/// What a command is to the composed area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing: it is drawn as ever.
    None,
    /// A piece of its next frame.
    Piece,
    /// It touches the area, but is no piece: a frame of the pieces that wait comes first.
    Disturbance,
}

/// An area that is drawn in pieces again and again.
#[derive(Debug)]
struct Trace {
    area: Rect,
    last: Instant,
    interval: Duration,
    frames: u32,
    gradual: u32,
}

/// The area that is composed.
#[derive(Debug)]
struct Live {
    area: Rect,
    interval: Duration,
    /// Since when pieces wait.
    waiting: Option<Instant>,
    /// They are all of their frame.
    complete: bool,
    /// The guest's ring has been empty since the last piece came.
    emptied: bool,
    /// A piece has come after that.
    broken: bool,
    /// Frames in a row of which all pieces were there before the ring was empty.
    unbroken: u32,
    last_piece: Instant,
    composed: Option<Instant>,
    /// Pixels of the pieces that wait, some counted twice.
    changed: u64,
    quiet: u32,
    growths: u32,
}

/// The pieces of the present frame, anywhere on the surface.
#[derive(Debug)]
struct Pieces {
    since: Instant,
    last: Instant,
    rects: Vec<Rect>,
    /// One of them was graded as more than drawn contents.
    gradual: bool,
    /// How many were graded.
    graded: u32,
}

/// Finds areas where a display copies pieces of video, and composes whole frames of them.
#[derive(Debug, Default)]
pub(crate) struct Composer {
    pieces: Option<Pieces>,
    traces: Vec<Trace>,
    live: Option<Live>,
}

impl Composer {
    /// Looks at a command for any surface.
    pub(crate) fn look(&mut self, drawable: &Drawable, mode: StreamingVideo, now: Instant) -> Part {
        let (bbox, on_primary) = (drawable.bbox, drawable.surface_id == 0);
        let copy = frame_of(drawable).filter(|_| matches!(drawable.clip, Clip::None));
        let Some(live) = &mut self.live else {
            if let Some(image) = copy.filter(|_| mode != StreamingVideo::Off) {
                self.gather(bbox, image, mode, now);
            }
            if on_primary && let DrawOp::CopyBits(from) = drawable.op {
                self.scrolled(
                    &bbox,
                    &bbox.translate(from.x.saturating_sub(bbox.left), from.y.saturating_sub(bbox.top)),
                );
            }
            return Part::None;
        };
        let inside = bbox.intersect(&live.area);
        // Mostly inside: the video is larger than it seemed.
        let grows = inside.area() * 2 >= bbox.area() && live.growths < MAX_GROWTHS;
        if copy.is_some() && (inside == bbox || grows) {
            live.growths += u32::from(inside != bbox);
            live.area = around(&live.area, &bbox);
            live.waiting.get_or_insert(now);
            live.broken |= live.emptied || live.composed.is_some_and(|at| now < at + GATHER);
            (live.complete, live.emptied) = (false, false);
            live.last_piece = now;
            live.changed = live.changed.saturating_add(bbox.area());
            return Part::Piece;
        }
        let reads = drawable.op.surfaces_read(&bbox).any(|(id, _)| id == 0)
            || drawable.deps.iter().flatten().any(|dep| dep.surface_id == 0)
            || (on_primary && (drawable.self_bitmap.is_some() || matches!(drawable.op, DrawOp::CopyBits(_))));
        if reads || (on_primary && !inside.is_empty()) { Part::Disturbance } else { Part::None }
    }

    /// A copy was drawn somewhere, perhaps as a piece of a video.
    fn gather(&mut self, bbox: Rect, image: &Image, mode: StreamingVideo, now: Instant) {
        self.end_frame(mode, now);
        if self.live.is_some() {
            return;
        }
        let gradual = mode == StreamingVideo::All;
        let pieces = self.pieces.get_or_insert_with(|| Pieces {
            since: now,
            last: now,
            rects: Vec::new(),
            gradual,
            graded: 0,
        });
        pieces.last = now;
        if let ImageData::Bitmap(bitmap) = &image.data
            && !pieces.gradual
            && bitmap.width.min(bitmap.height) >= 16
            // Neither a frame in one piece nor text in many small ones costs much.
            && pieces.graded < MAX_GRADED
            && (!self.traces.is_empty() || pieces.rects.len() + 1 >= LEAST_PIECES as usize)
        {
            pieces.graded += 1;
            pieces.gradual = grade(&bitmap.view()).is_some_and(|grade| grade != Graduality::Low);
        }
        if pieces.rects.len() < MAX_PIECES {
            pieces.rects.push(bbox);
        }
    }

    /// An area was copied to another place. What is drawn beside it then is not the next frame of a video: it is what scrolling
    /// has brought into view.
    fn scrolled(&mut self, to: &Rect, from: &Rect) {
        self.traces.retain(|trace| !trace.area.intersects(to) && !trace.area.intersects(from));
    }

    /// Judges the pieces of a frame once it is over.
    fn end_frame(&mut self, mode: StreamingVideo, now: Instant) {
        let over = |p: &mut Pieces| now >= p.last + SAME_FRAME || now >= p.since + LONGEST_FRAME;
        let Some(pieces) = self.pieces.take_if(over) else { return };
        let least = if mode == StreamingVideo::All { 1 } else { MIN_PIXELS };
        for cluster in clusters(&pieces.rects).into_iter().filter(|cluster| cluster.area.area() >= least) {
            if let Some((area, interval)) = self.follow(&cluster, pieces.gradual, pieces.since) {
                self.live = Some(Live {
                    area,
                    interval,
                    waiting: None,
                    complete: false,
                    emptied: false,
                    broken: false,
                    unbroken: 0,
                    last_piece: now,
                    composed: None,
                    changed: 0,
                    quiet: 0,
                    growths: 0,
                });
                self.traces.clear();
                return;
            }
        }
    }

    /// A cluster was drawn. The area to be composed, if it is video.
    fn follow(&mut self, cluster: &Cluster, gradual: bool, now: Instant) -> Option<(Rect, Duration)> {
        let area = cluster.area;
        self.traces.retain(|trace| now < trace.last + MAX_GAP);
        // Much the same area: what changes of a video is now more and now less.
        let alike = |trace: &&mut Trace| {
            let (common, both) = (trace.area.intersect(&area).area(), around(&trace.area, &area).area());
            common * 2 >= area.area() && both * 2 <= trace.area.area().max(area.area()) * 3
        };
        let Some(trace) = self.traces.iter_mut().find(alike) else {
            // Frames of one shape are looked for elsewhere.
            if cluster.pieces < LEAST_PIECES {
                return None;
            }
            if self.traces.len() >= TRACES {
                self.traces.remove(0);
            }
            let frames = 1;
            self.traces.push(Trace { area, last: now, interval: MAX_GAP, frames, gradual: gradual.into() });
            return None;
        };
        let step = now.saturating_duration_since(trace.last);
        trace.interval = if trace.frames < 2 { step } else { (trace.interval * 7 + step) / 8 };
        trace.area = around(&trace.area, &area);
        trace.last = now;
        trace.frames += 1;
        trace.gradual += u32::from(gradual);
        let starts = trace.frames >= START_FRAMES && trace.gradual * GRADUAL_SHARE >= trace.frames;
        starts.then_some((trace.area, trace.interval))
    }

    /// The composed area, and the usual time between its frames.
    #[must_use]
    pub(crate) fn area(&self) -> Option<(Rect, Duration)> {
        self.live.as_ref().map(|live| (live.area, live.interval))
    }

    /// Whether pieces wait to be shown.
    #[must_use]
    pub(crate) fn is_waiting(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.waiting.is_some())
    }

    /// When a frame is to be composed.
    #[must_use]
    pub(crate) fn due(&self) -> Option<Instant> {
        let live = self.live.as_ref()?;
        let since = live.waiting?;
        let gathered = if live.complete { since } else { since + GATHER };
        Some(live.composed.map_or(gathered, |last| gathered.max(last + LEAST_INTERVAL)))
    }

    /// The guest has drawn its frame.
    pub(crate) fn guest_paused(&mut self) {
        if let Some(live) = &mut self.live {
            live.complete = live.waiting.is_some();
        }
    }

    /// The guest's ring is empty. A display that copies what has changed puts all of it into the ring at once; so if its frames
    /// came like that so far, the pieces that wait are all.
    pub(crate) fn ring_emptied(&mut self) {
        if let Some(live) = self.live.as_mut().filter(|live| live.waiting.is_some()) {
            live.emptied = true;
            live.complete |= !live.broken && live.unbroken >= SURE;
        }
    }

    /// A frame is being composed of all pieces that wait.
    pub(crate) fn composed(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        if let Some(last) = live.composed {
            let step = now.saturating_duration_since(last).min(END_GAP);
            live.interval = (live.interval * 7 + step) / 8;
        }
        live.unbroken = if live.broken { 0 } else { live.unbroken.saturating_add(live.emptied.into()) };
        live.quiet = if live.changed * 4 >= live.area.area() { 0 } else { live.quiet + 1 };
        (live.waiting, live.complete, live.emptied, live.broken) = (None, false, false, false);
        (live.changed, live.composed) = (0, Some(now));
        if live.quiet >= QUIET_FRAMES {
            self.live = None;
        }
    }

    /// Time passes. An area that gets no frames is no longer composed; none of its pieces may be waiting.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.live.take_if(|live| live.waiting.is_none() && now >= live.last_piece + END_GAP);
    }

    /// The surface is gone, or streams are not wanted any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Rectangles that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cluster {
    /// Their bounding box.
    area: Rect,
    pieces: u32,
    /// Pixels of all pieces.
    pixels: u64,
}

/// The clusters of rectangles that fill their bounding boxes well.
fn clusters(rects: &[Rect]) -> Vec<Cluster> {
    let mut found: Vec<Cluster> = Vec::new();
    for rect in rects {
        let mut joined = Cluster { area: *rect, pieces: 1, pixels: rect.area() };
        // What the rectangle joins may join more.
        while let Some(at) = found.iter().position(|other| near(&other.area, &joined.area)) {
            let other = found.swap_remove(at);
            joined = Cluster {
                area: around(&joined.area, &other.area),
                pieces: joined.pieces + other.pieces,
                pixels: joined.pixels.saturating_add(other.pixels),
            };
        }
        found.push(joined);
    }
    found.retain(|cluster| cluster.pixels.saturating_mul(3) >= cluster.area.area());
    found
}

fn near(a: &Rect, b: &Rect) -> bool {
    let grown = Rect::new(
        a.left.saturating_sub(SIDE_BY_SIDE),
        a.top.saturating_sub(SIDE_BY_SIDE),
        a.right.saturating_add(SIDE_BY_SIDE),
        a.bottom.saturating_add(SIDE_BY_SIDE),
    );
    grown.intersects(b)
}

fn around(a: &Rect, b: &Rect) -> Rect {
    Rect::new(a.left.min(b.left), a.top.min(b.top), a.right.max(b.right), a.bottom.max(b.bottom))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::AreaPixels;
    use crate::display::stream::composed_frame;
    use crate::image::{Bitmap, BitmapFormat};
    use std::sync::Arc;

    #[test]
    fn pieces_side_by_side_are_one_area() {
        let film: Vec<Rect> = (0..10).map(|i| Rect::new(i * 32, i % 3, i * 32 + 32, 200 - i % 5)).collect();
        let mut all = film.clone();
        all.push(Rect::new(800, 700, 816, 716));
        let found: Vec<_> = clusters(&all).iter().map(|cluster| (cluster.area, cluster.pieces)).collect();
        assert_eq!(found, [(Rect::new(0, 0, 320, 200), 10), (Rect::new(800, 700, 816, 716), 1)]);
        // Two corners do not make an area.
        let corners = [Rect::new(0, 0, 20, 20), Rect::new(40, 40, 60, 60)];
        assert_eq!(clusters(&corners).len(), 0);
    }

    fn cluster(area: Rect) -> Cluster {
        Cluster { area, pieces: LEAST_PIECES, pixels: area.area() }
    }

    #[test]
    fn what_scrolling_brings_into_view_is_no_video() {
        let mut composer = Composer::default();
        let start = Instant::now();
        for i in 0..START_FRAMES * 3 {
            let now = start + Duration::from_millis(40) * i;
            assert_eq!(composer.follow(&cluster(Rect::new(0, 160, 320, 200)), true, now), None);
            composer.scrolled(&Rect::new(0, 0, 320, 160), &Rect::new(0, 40, 320, 200));
        }
        // What is copied elsewhere says nothing about the area.
        let mut found = None;
        for i in 0..START_FRAMES {
            let now = start + Duration::from_millis(40) * (START_FRAMES * 3 + i);
            found = composer.follow(&cluster(Rect::new(0, 160, 320, 200)), true, now);
            composer.scrolled(&Rect::new(400, 0, 500, 160), &Rect::new(400, 40, 500, 200));
        }
        assert!(found.is_some());
    }

    #[test]
    fn an_area_that_changes_its_shape_a_little_is_followed() {
        let mut composer = Composer::default();
        let start = Instant::now();
        let gap = Duration::from_millis(40);
        let mut found = None;
        for i in 0..20 {
            let n = i32::try_from(i).unwrap();
            let area = Rect::new(100 + n % 3 * 8, 50, 420 - n % 5 * 6, 230);
            found = found
                .or(composer.follow(&cluster(area), i % 2 == 0, start + gap * i).map(|found| (i, found)));
        }
        let (at, (area, interval)) = found.unwrap();
        assert_eq!(at + 1, START_FRAMES);
        assert_eq!((area, interval), (Rect::new(100, 50, 420, 230), gap));
    }

    fn composes(start: Instant) -> Composer {
        let live = Some(Live {
            area: Rect::new(0, 0, 320, 200),
            interval: Duration::from_millis(40),
            waiting: None,
            complete: false,
            emptied: false,
            broken: false,
            unbroken: 0,
            last_piece: start,
            composed: None,
            changed: 0,
            quiet: 0,
            growths: 0,
        });
        Composer { live, ..Composer::default() }
    }

    /// A piece of the next frame.
    fn piece(composer: &mut Composer, now: Instant) {
        let bitmap = Bitmap {
            format: BitmapFormat::ThirtyTwoBit,
            width: 320,
            height: 100,
            stride: 320 * 4,
            top_down: true,
            unstable: false,
            palette: None,
            pixels: Arc::new(vec![0; 320 * 100 * 4]),
        };
        let pixels = AreaPixels { bitmap, high_bits_set: false };
        let drawable = composed_frame(Rect::new(0, 0, 320, 100), pixels);
        assert_eq!(composer.look(&drawable, StreamingVideo::Filter, now), Part::Piece);
    }

    #[test]
    fn a_guest_that_draws_its_frames_at_once_is_not_awaited() {
        let start = Instant::now();
        let mut composer = composes(start);
        let gap = Duration::from_millis(40);
        let mut now = start;
        // One frame; `broken`: it comes in two parts. Returns how long the first of them waited.
        let mut frame = |broken: bool| {
            now += gap;
            piece(&mut composer, now);
            piece(&mut composer, now);
            composer.ring_emptied();
            let due = composer.due().unwrap();
            if broken {
                if due == now {
                    composer.composed(due);
                }
                piece(&mut composer, now + GATHER / 2);
                composer.ring_emptied();
            }
            let last = composer.due().unwrap();
            composer.composed(last);
            due - now
        };
        let mut times = |n: u32, broken| (0..n).map(|_| frame(broken)).collect::<Vec<_>>();
        assert_eq!(times(SURE, false), [GATHER; SURE as usize]);
        assert_eq!(times(3, false), [Duration::ZERO; 3]);
        // The frame is sent in two once, and then the worker waits again.
        assert_eq!(times(3, true), [Duration::ZERO, GATHER, GATHER]);
        assert_eq!(times(SURE, false), [GATHER; SURE as usize]);
        assert_eq!(times(1, false), [Duration::ZERO]);
    }

    #[test]
    fn a_frame_is_due_when_the_guest_pauses_but_not_too_soon_after_the_last_one() {
        let start = Instant::now();
        let mut composer = composes(start);
        composer.guest_paused();
        assert_eq!(composer.due(), None);
        let mut wait_for_a_frame = |at: Instant| {
            let live = composer.live.as_mut().unwrap();
            live.waiting = Some(at);
            assert!(composer.due() >= Some(at + GATHER));
            composer.guest_paused();
            let due = composer.due().unwrap();
            composer.composed(due);
            due
        };
        assert_eq!(wait_for_a_frame(start), start);
        assert_eq!(wait_for_a_frame(start + GATHER), start + LEAST_INTERVAL);
        assert_eq!(wait_for_a_frame(start + GATHER * 20), start + GATHER * 20);
    }

    #[test]
    fn slow_redraws_texts_and_moving_areas_are_not() {
        let start = Instant::now();
        let count = |gap: Duration, gradual: bool, step: i32| {
            let mut composer = Composer::default();
            let area = |i: u32| {
                let x = i32::try_from(i).unwrap() * step;
                Rect::new(x, 0, x + 200, 200)
            };
            (0..50)
                .filter(|&i| composer.follow(&cluster(area(i)), gradual, start + gap * i).is_some())
                .count()
        };
        assert_eq!(count(MAX_GAP, true, 0), 0);
        assert_eq!(count(MAX_GAP / 4, false, 0), 0);
        assert_eq!(count(MAX_GAP / 4, true, 150), 0);
        assert!(count(MAX_GAP / 4, true, 0) > 0);
    }
}
