//! The estimate on a simulated link.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A link with a rate and a way of its own, and a sender that always has something to say.
struct Simulation {
    estimate: LinkEstimate,
    start: Instant,
    now: Instant,
    /// Bytes sent, and when the link has passed them on.
    position: u64,
    free_at: Instant,
    rate: f64,
    way: Duration,
    /// Answers on their way.
    answers: VecDeque<(Instant, u32)>,
    /// How long each byte waited for the link, at most since the last look.
    worst_queue: Duration,
}

impl Simulation {
    fn new(mbit: f64, round_trip: Duration, thin: bool) -> Self {
        let now = Instant::now();
        Self {
            estimate: LinkEstimate::new(thin, now),
            start: now,
            now,
            position: 0,
            free_at: now,
            rate: mbit * 125_000.0,
            way: round_trip / 2,
            answers: VecDeque::new(),
            worst_queue: Duration::ZERO,
        }
    }

    fn send(&mut self, bytes: u64) {
        self.position += bytes;
        self.free_at = self.free_at.max(self.now) + Duration::from_secs_f64(bytes as f64 / self.rate);
        self.worst_queue = self.worst_queue.max(self.free_at - self.now);
    }

    fn step(&mut self) {
        self.estimate.advance(self.position, self.now);
        while self.answers.front().is_some_and(|(at, _)| *at <= self.now) {
            let (_, id) = self.answers.pop_front().unwrap();
            self.estimate.answered(id, None, self.now);
        }
        loop {
            let room = self.estimate.has_room(self.position, 0, self.now);
            if !room {
                self.estimate.note_held_back();
            }
            if self.estimate.wants_mark(self.position, !room) {
                let id = self.estimate.next_id();
                self.send(18);
                self.estimate.marked(self.position, self.now);
                self.answers.push_back((self.free_at + self.way * 2, id));
            }
            if !room {
                break;
            }
            self.send(2000);
        }
        self.now += MS;
    }

    fn run(&mut self, time: Duration) -> f64 {
        let (end, before) = (self.now + time, self.position);
        self.worst_queue = Duration::ZERO;
        while self.now < end {
            self.step();
        }
        (self.position - before) as f64 / time.as_secs_f64()
    }

    fn is_near(&self, mbit: f64) -> bool {
        let rate = self.estimate.rate(self.now).unwrap() as f64 / 125_000.0;
        rate > mbit * 0.6 && rate < mbit * 1.5
    }
}

#[test]
fn links_are_used_well_and_queues_stay_short() {
    for (mbit, round_trip) in [(10.0, 50), (2.0, 100), (2.0, 0), (100.0, 20), (0.5, 30), (50.0, 5)] {
        let mut link = Simulation::new(mbit, MS * round_trip, mbit < 10.0);
        link.run(Duration::from_secs(3));
        let used = link.run(Duration::from_secs(3)) / (mbit * 125_000.0);
        assert!(used > 0.8, "{mbit} Mbit/s, {round_trip} ms: {used} of the link is used");
        // On the thinnest links a single small message takes longer than the slack.
        let most = Duration::from_millis(40).max(Duration::from_secs_f64(16_000.0 / (mbit * 125_000.0)));
        assert!(link.worst_queue < most, "{mbit} Mbit/s, {round_trip} ms: {:?} of queue", link.worst_queue);
        assert!(link.is_near(mbit), "{mbit} Mbit/s is taken for {:?}", link.estimate.rate(link.now));
    }
}

#[test]
fn the_rate_falls_soon_after_the_link_and_comes_back() {
    for round_trip in [10, 50, 100] {
        let mut link = Simulation::new(5.0, MS * round_trip, false);
        link.run(Duration::from_secs(4));
        assert!(link.is_near(5.0), "{:?}", link.estimate.rate(link.now));
        link.rate /= 10.0;
        link.run(MS * (250 + round_trip));
        let fallen = link.estimate.rate(link.now).unwrap() as f64 / 125_000.0;
        assert!(fallen < 1.7, "{round_trip} ms: {fallen} Mbit/s after 250 ms and a round trip");
        link.run(Duration::from_secs(3));
        assert!(link.is_near(0.5), "{round_trip} ms: {:?}", link.estimate.rate(link.now));
        link.rate *= 10.0;
        link.run(Duration::from_secs(2));
        assert!(link.is_near(5.0), "{round_trip} ms: {:?} after 2 s", link.estimate.rate(link.now));
    }
}

#[test]
fn a_client_that_stood_still_is_soon_served_as_before() {
    let mut link = Simulation::new(20.0, MS * 10, false);
    link.run(Duration::from_secs(2));
    let stop = Duration::from_secs(40);
    link.now += stop;
    for answer in &mut link.answers {
        answer.0 = link.now;
    }
    link.free_at = link.now;
    link.run(Duration::from_secs(1));
    assert!(link.is_near(20.0), "{:?}", link.estimate.rate(link.now));
    assert!(link.now > link.start + stop);
}

#[test]
fn little_to_say_does_not_make_the_link_thin() {
    let mut link = Simulation::new(400.0, MS * 20, false);
    link.run(Duration::from_secs(2));
    for (at, id) in std::mem::take(&mut link.answers) {
        link.now = link.now.max(at);
        link.estimate.answered(id, None, link.now);
    }
    let before = link.estimate.rate(link.now).unwrap();
    for _ in 0..200 {
        link.send(5000);
        let id = link.estimate.next_id();
        link.estimate.marked(link.position, link.now);
        link.now += MS * 20;
        link.estimate.answered(id, None, link.now);
        link.now += MS * 30;
    }
    assert!(link.estimate.rate(link.now).unwrap() >= before * 9 / 10);
    assert!(!link.estimate.is_thin(link.now));
}

#[test]
fn answers_to_nothing_change_nothing_and_the_kernel_has_the_last_word() {
    let start = Instant::now();
    let mut estimate = LinkEstimate::new(false, start);
    estimate.answered(estimate.next_id(), None, start);
    assert_eq!(estimate.rate(start), None);
    let id = estimate.next_id();
    estimate.marked(1_000_000, start);
    let kernel = KernelLink { unsent: 600_000, unacknowledged: 350_000, ..KernelLink::default() };
    estimate.answered(id, Some((kernel, 1_000_000)), start + MS * 100);
    assert_eq!(estimate.rate_now(start + MS * 100), Some(500_000.0));
    // What the client claims to have is on its way all the same.
    assert!(!estimate.has_room(1_000_000, 0, start + MS * 100));
    // A second answer to the same mark is one to nothing.
    estimate.answered(id, None, start + MS * 101);
    assert_eq!(estimate.rate_now(start + MS * 101), Some(500_000.0));
}

#[test]
fn a_client_without_answers_is_judged_by_the_kernel() {
    let start = Instant::now();
    let mut estimate = LinkEstimate::new(false, start);
    estimate.marked(FIRST_WINDOW, start);
    assert!(!estimate.has_room(FIRST_WINDOW, 0, start + MS));
    let later = start + PATIENCE;
    assert!(estimate.ignores_marks(later));
    assert_eq!(estimate.look_again(FIRST_WINDOW, start), Some(later));
    // Nobody knows anything.
    assert!(estimate.has_room(FIRST_WINDOW * 100, 0, later));
    let kernel =
        KernelLink { unsent: 0, unacknowledged: 10_000, delivery_rate: 1_000_000, round_trip: MS * 40 };
    estimate.set_kernel(Some(kernel));
    assert!(estimate.has_room(FIRST_WINDOW * 100, 0, later));
    estimate.set_kernel(Some(KernelLink { unacknowledged: 100_000, ..kernel }));
    assert!(!estimate.has_room(FIRST_WINDOW * 100, 0, later));
}

#[test]
fn marks_are_bounded_and_follow_what_is_held_back() {
    let start = Instant::now();
    let mut estimate = LinkEstimate::new(false, start);
    assert!(!estimate.wants_mark(100, false));
    assert!(estimate.wants_mark(100, true));
    let id = estimate.next_id();
    estimate.marked(100, start);
    estimate.answered(id, None, start + MS);
    for n in 1..=MAX_LINK_MARKS as u64 {
        assert!(estimate.wants_mark(100 + n * MARK_BYTES.1, false));
        estimate.marked(100 + n * MARK_BYTES.1, start + MS);
    }
    assert!(!estimate.wants_mark(u64::MAX, true));
}

/// A video that takes its share of the link, as the display channel plays it.
struct Film {
    link: Simulation,
    due: Instant,
    frames_from: Instant,
    /// When frames have come to the client.
    shown: Vec<Instant>,
    /// Bytes of a frame, at least and at most.
    frame: (f64, f64),
    /// When the answer to the next key is due, if keys are pressed.
    typed: Option<Instant>,
}

impl Film {
    fn new(link: Simulation) -> Self {
        let now = link.now;
        Self { link, due: now, frames_from: now, shown: Vec::new(), frame: (5000.0, 25_000.0), typed: None }
    }

    /// The user types, too: answers are small, and have some room of their own.
    fn answer_keys(&mut self) {
        let Some(due) = self.typed.filter(|&due| self.link.now >= due) else { return };
        let link = &mut self.link;
        if link.estimate.has_room(link.position, 8 << 10, link.now) {
            link.send(800);
            self.typed = Some(due.max(link.now) + MS * 71);
        }
        if !link.estimate.has_room(link.position, 0, link.now) {
            link.estimate.note_held_back();
        }
    }

    fn step(&mut self) {
        let Self { link, .. } = self;
        link.estimate.advance(link.position, link.now);
        while link.answers.front().is_some_and(|(at, _)| *at <= link.now) {
            let (_, id) = link.answers.pop_front().unwrap();
            link.estimate.answered(id, None, link.now);
        }
        let waits = link.now >= self.due;
        let room = link.estimate.has_room(link.position, 0, link.now);
        if waits && !room {
            link.estimate.note_held_back();
        }
        if waits && room && link.now >= self.frames_from {
            let rate = link.estimate.rate(link.now).map_or(5e6, |rate| rate as f64);
            let frame = (rate * 0.3 * 0.04).clamp(self.frame.0, self.frame.1);
            link.send(frame as u64);
            if link.estimate.is_thin(link.now) {
                self.frames_from = link.now + Duration::from_secs_f64((frame / rate / 0.4).min(1.0));
            }
            self.due += MS * 40;
            self.due = self.due.max(link.now);
            self.shown.push(link.free_at + link.way);
        }
        self.answer_keys();
        let link = &mut self.link;
        let wants = link.estimate.wants_mark(link.position, waits && !room);
        if wants || link.estimate.wants_lone_mark(link.position, link.now) {
            let id = link.estimate.next_id();
            link.send(18);
            link.estimate.marked(link.position, link.now);
            link.answers.push_back((link.free_at + link.way * 2, id));
        }
        link.now += MS;
    }

    fn play(&mut self, time: Duration) {
        let end = self.link.now + time;
        while self.link.now < end {
            self.step();
        }
    }
}

/// Who sends less than the link takes learns nothing from how much of it arrives, only from how long it takes.
#[test]
fn a_film_alone_shows_that_the_link_has_changed() {
    for (mbit, round_trip) in [(5.0, 40), (5.0, 100), (10.0, 40), (2.0, 40), (2.0, 100)] {
        let mut film = Film::new(Simulation::new(mbit, MS * round_trip, false));
        film.play(Duration::from_secs(4));
        let rate =
            |film: &Film| film.link.estimate.rate(film.link.now).unwrap_or(u64::MAX) as f64 / 125_000.0;
        film.link.rate /= 10.0;
        let dropped = film.link.now;
        film.play(MS * (300 + round_trip));
        assert!(rate(&film) < mbit / 2.5, "{mbit} Mbit/s, {round_trip} ms: {} soon after", rate(&film));
        film.play(Duration::from_secs(4));
        assert!(rate(&film) < mbit / 3.0, "{mbit} Mbit/s, {round_trip} ms: {} with time", rate(&film));
        film.link.rate *= 10.0;
        film.play(Duration::from_secs(2));
        assert!(rate(&film) > mbit * 0.5, "{mbit} Mbit/s, {round_trip} ms: {} later", rate(&film));
        assert!(rate(&film) < mbit * 1.5, "{mbit} Mbit/s, {round_trip} ms: {} later", rate(&film));
        let since = film.shown.iter().position(|&at| at >= dropped).unwrap();
        let gaps = film.shown[since - 1..].windows(2).map(|pair| pair[1] - pair[0]);
        // On the thinnest link the smallest frame takes 200 ms.
        assert!(gaps.max() < Some(Duration::from_secs(1)), "{mbit} Mbit/s, {round_trip} ms");
    }
}

/// Each frame has passed a link before the next one comes, so that nothing is ever held back. But keys wait for a frame.
#[test]
fn frames_that_have_room_show_that_the_link_is_thin() {
    for (mbit, round_trip, frame) in
        [(10.0, 50, 27_000.0), (10.0, 1, 27_000.0), (6.0, 100, 25_000.0), (15.0, 20, 40_000.0)]
    {
        for was_fast in [false, true] {
            let mut film = Film::new(Simulation::new(mbit, MS * round_trip, false));
            film.frame = (frame, frame);
            if was_fast {
                film.link.rate = 125e6;
                film.play(Duration::from_secs(20));
                assert!(!film.link.estimate.is_thin(film.link.now));
                film.link.rate = mbit * 125_000.0;
            }
            film.play(Duration::from_secs(3));
            let rate = film.link.estimate.rate(film.link.now);
            assert!(
                film.link.estimate.is_thin(film.link.now) && film.link.is_near(mbit),
                "{mbit} Mbit/s, {round_trip} ms, {was_fast}: {rate:?}"
            );
        }
    }
}

/// Answers that are late for other reasons than the link.
#[test]
fn a_client_that_hesitates_does_not_make_the_link_thin() {
    for round_trip in [1, 30] {
        let mut film = Film::new(Simulation::new(1000.0, MS * round_trip, false));
        film.frame = (40_000.0, 40_000.0);
        for n in 0_u32..600 {
            film.play(MS * 40);
            // Three of four answers come late.
            let late = if n.wrapping_mul(2_654_435_761) >> 30 == 0 { 0 } else { 15 };
            film.link.answers.iter_mut().for_each(|answer| answer.0 += MS * late);
            let rate = film.link.estimate.rate(film.link.now).unwrap_or(u64::MAX);
            assert!(rate > 1_250_000, "{round_trip} ms, frame {n}: {rate}");
        }
    }
}

/// All marks of one burst are late if the client stops for a moment.
#[test]
fn one_late_burst_does_not_make_the_link_thin() {
    let mut film = Film::new(Simulation::new(1000.0, MS * 30, false));
    film.frame = (40_000.0, 40_000.0);
    film.play(Duration::from_secs(2));
    let Film { link, .. } = &mut film;
    link.estimate.advance(link.position, link.now);
    for _ in 0..2 * SLOW_BURSTS {
        link.send(5000);
        let id = link.estimate.next_id();
        link.estimate.marked(link.position, link.now);
        link.answers.push_back((link.free_at + link.way * 2 + MS * 15, id));
    }
    for _ in 0..100 {
        film.step();
        assert!(!film.link.estimate.is_thin(film.link.now), "{:?}", film.link.estimate.rate(film.link.now));
    }
}

/// Frames that are no smaller than they are fill the link for a while each. What has to wait meanwhile does not make it thin.
#[test]
fn answers_between_large_frames_do_not_make_the_link_thin() {
    for (mbit, round_trip, frame) in [
        (10.0, 50, 59_000.0),
        (10.0, 50, 160_000.0),
        (10.0, 5, 59_000.0),
        (2.0, 100, 59_000.0),
        (2.0, 100, 15_000.0),
    ] {
        let mut film = Film::new(Simulation::new(mbit, MS * round_trip, false));
        (film.frame, film.typed) = ((frame, frame), Some(film.link.now));
        film.play(Duration::from_secs(4));
        let mut rates = Vec::new();
        for _ in 0..100 {
            film.play(MS * 100);
            rates.push(film.link.estimate.rate(film.link.now).unwrap_or(u64::MAX) as f64 / 125_000.0);
        }
        rates.sort_by(f64::total_cmp);
        let (least, most) = (rates[0], rates[99]);
        assert!(
            least > mbit * 0.5 && most < mbit * 1.6,
            "{mbit} Mbit/s, {round_trip} ms, {frame}: {rates:.2?}"
        );
    }
}

#[test]
fn nothing_is_sent_to_idle_clients() {
    let mut film = Film::new(Simulation::new(2.0, MS * 40, false));
    film.play(Duration::from_secs(2));
    assert!(film.link.estimate.is_thin(film.link.now));
    // All answers, and the mark behind nothing that may follow the last one.
    film.due = film.link.now + Duration::from_secs(60);
    film.play(Duration::from_secs(2));
    let sent = film.link.position;
    film.play(Duration::from_secs(30));
    assert_eq!(film.link.position, sent);
}
