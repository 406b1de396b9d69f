//! The worker with a device of the tests: requests and rings here, clients in `clients`, panics over them in
//! `faults`.

mod clients;
mod fake;
mod faults;
mod naps;

use super::*;
use crate::channel::connection::{ClientId, ConnectionId};
use crate::channel::testing::Peer;
use crate::codec::video::choice::parse_list;
use crate::display::settings::{ImageCompression, StreamingVideo, WanCompression};
use crate::geometry::Point16;
use crate::host::{CursorCommand, DisplayCommand, Fetched, UpdateCommand};
use crate::protocol::ChannelType;
use fake::{Events, FakeDevice, FakeDisplay, FakeSlot, HARD, World};
use std::time::{Duration, Instant};

struct Fixture {
    world: Arc<World>,
    worker: WorkerHandle,
}

impl Fixture {
    fn new() -> Self {
        Self::of(World::default())
    }

    fn of(world: World) -> Self {
        let world = Arc::new(world);
        let device = Box::new(FakeDevice(world.clone()));
        let events = Arc::new(Events(world.clone()));
        let display = world.clone();
        let worker = WorkerHandle::spawn_with(move |_| FakeDisplay::new(display), device, events).unwrap();
        Self { world, worker }
    }

    /// Started, and asleep until it is woken.
    fn running() -> Self {
        let fixture = Self::new();
        fixture.worker.start();
        fixture.world.wait_for("notify display");
        fixture.world.wait_for("notify cursor");
        fixture.world.take_log();
        fixture
    }

    /// A running worker whose synchronous requests expire at once.
    fn impatient() -> Self {
        let world = Arc::new(World::default());
        let device = Box::new(FakeDevice(world.clone()));
        let events = Arc::new(Events(world.clone()));
        let display = world.clone();
        let (dispatcher, wake) = Dispatcher::new(device.access(), device.completer()).unwrap();
        let dispatcher = dispatcher.with_patience(Duration::from_millis(1));
        let make = move |_: &Arc<Dispatcher>| FakeDisplay::new(display);
        let worker = WorkerHandle::spawn_on(dispatcher, wake, make, device, events).unwrap();
        worker.start();
        world.wait_for("caps false");
        Self { world, worker }
    }

    /// What was logged before all requests so far were done.
    fn log(&self) -> Vec<String> {
        self.worker.reset_image_cache();
        let log = self.world.take_log();
        log.into_iter().filter(|l| l != "reset image cache" && l != "record 23").collect()
    }

    /// The same without what comes when it likes.
    fn log_of_requests(&self) -> Vec<String> {
        let log = self.log();
        log.into_iter().filter(|l| !l.starts_with("notify ") && !l.starts_with("record")).collect()
    }
}

fn spec(width: u32) -> SurfaceSpec {
    SurfaceSpec { width, height: 2, stride: 16, format: 32, keep_data: false, address: 0, group_id: 1 }
}

fn slot(slot_id: u32) -> Box<FakeSlot> {
    Box::new(FakeSlot(slot_id))
}

fn command(command_type: u32, address: u64) -> CommandExt {
    CommandExt { address, command_type, group_id: 1, flags: 0 }
}

const AREA: Rect = Rect { left: 0, top: 0, right: 1, bottom: 1 };

#[test]
fn requests_are_executed_in_order_and_cookies_completed_in_order() {
    let f = Fixture::new();
    let w = &f.worker;
    w.add_memslot_async(slot(1), 100);
    w.create_primary_async(0, spec(4), 101);
    w.monitors_config_async(1, 1, 102);
    w.set_max_monitors(0);
    w.monitors_config_async(0, 1, 103);
    w.del_memslot(0, 1);
    w.reset_memslots();
    w.driver_unload();
    w.destroy_surface_async(5, 104);
    w.flush_surfaces_async(105);
    w.gl_scanout(GlScanout::default());
    w.gl_draw_async(AREA, 106);
    w.destroy_primary_async(0, 107);
    w.destroy_primary_async(0, 108);
    w.create_primary_async(0, spec(0), 109);
    w.destroy_surfaces_async(110);
    w.set_settings(DisplaySettings { streaming: StreamingVideo::Off, ..DisplaySettings::default() });
    w.set_mouse_mode(true);
    w.update_area_async(0, AREA, true, 111);
    assert_eq!(
        f.log_of_requests(),
        [
            "add_memslot 1",
            "complete 100",
            "create primary, keep false",
            "primary Some((4, 2))",
            "complete 101",
            "monitors config, at most 4294967295",
            "set monitors config",
            "complete 102",
            "monitors config, at most 1",
            "complete 103",
            "del_memslot 0 1",
            "reset_memslots",
            "driver unload",
            "clear surface 5",
            "complete 104",
            "render all",
            "complete 105",
            "scanout of 0 planes",
            "gl draw",
            "complete 106",
            "destroy primary",
            "primary None",
            "complete 107",
            "complete 108",
            "complete 109",
            "destroy all surfaces",
            "complete 110",
            "settings AutoGlz Off",
            // Stopped: nothing is drawn.
            "complete 111",
        ]
    );
}

#[test]
fn a_draw_of_the_scanout_is_complete_though_the_worker_is_busy() {
    let world = World::default();
    world.with(|s| s.completes_late = true);
    let f = Fixture::of(world);
    f.worker.start();
    f.world.with(|s| s.busy = true);
    f.world.submit(f.world.drawable(HARD));
    f.worker.wakeup();
    f.world.wait_for(&format!("draw {HARD}"));
    for cookie in 1..4 {
        f.worker.gl_draw_async(AREA, cookie);
        f.world.wait_for(&format!("complete {cookie} late"));
    }
    f.world.with(|s| {
        assert!(!s.log.iter().any(|l| l == "gl draw"), "the worker has not come to them");
        s.log.clear();
        s.busy = false;
    });
    let log = f.log();
    assert_eq!(log.iter().filter(|l| *l == "gl draw").count(), 3, "it learns of them nevertheless");
    assert!(!log.iter().any(|l| l.starts_with("complete")), "each is completed once: {log:?}");
}

#[test]
fn a_draw_of_the_scanout_is_complete_after_a_fault_and_after_the_end() {
    let f = Fixture::new();
    f.worker.gl_draw_async(Rect { left: 666, ..AREA }, 5);
    assert!(f.log().contains(&"complete 5".into()));
    f.worker.shutdown();
    f.world.take_log();
    f.worker.gl_draw_async(AREA, 6);
    assert_eq!(f.world.take_log(), Vec::<String>::new(), "nothing is called any more");
}

#[test]
fn synchronous_requests_return_when_done() {
    let f = Fixture::running();
    let w = &f.worker;
    assert!(w.add_memslot(slot(1)));
    assert!(!w.add_memslot(slot(8)));
    assert!(!w.create_primary(0, spec(0)));
    assert!(w.create_primary(0, spec(4)));
    assert_eq!(f.log_of_requests(), ["add_memslot 1", "add_memslot 8", "create primary, keep false"]);
    assert_eq!(w.update_area(0, AREA, Some(1), true), [AREA]);
    w.destroy_surface_wait(0);
    w.destroy_surface_wait(3);
    w.reset_cursor();
    assert!(w.destroy_primary(0));
    assert!(!w.destroy_primary(0));
    w.destroy_surfaces();
    assert_eq!(
        f.log_of_requests(),
        ["update_area 0", "clear surface 0", "destroy primary", "destroy all surfaces"]
    );
}

#[test]
fn requests_are_recorded_with_the_primary_s_pixels() {
    let f = Fixture::new();
    f.worker.create_primary(0, spec(4));
    f.worker.create_primary_async(0, spec(0), 1);
    f.worker.destroy_primary_async(0, 2);
    let log = f.log();
    let recorded: Vec<_> = log.iter().filter(|l| l.starts_with("record")).collect();
    assert_eq!(recorded, ["record 20 32 bytes", "record 30"]);
}

#[test]
fn settings_are_told_as_a_whole_and_those_that_changed_are_recorded() {
    let f = Fixture::new();
    let mut settings = DisplaySettings { image_compression: ImageCompression::Quic, ..Default::default() };
    f.worker.set_settings(settings.clone());
    settings.jpeg = WanCompression::Never;
    f.worker.set_settings(settings.clone());
    settings.streaming = StreamingVideo::All;
    settings.video_codecs = parse_list("spice:mjpeg").0;
    f.worker.set_settings(settings.clone());
    f.worker.set_settings(settings);
    let log = f.log();
    let of = |start: &str| log.iter().filter(|l| l.starts_with(start)).collect::<Vec<_>>();
    let told = ["settings Quic Filter", "settings Quic Filter", "settings Quic All", "settings Quic All"];
    assert_eq!(of("settings"), told);
    assert_eq!(of("record"), ["record 13", "record 14", "record 39"]);
}

#[test]
fn ring_is_drained_before_an_area_is_updated() {
    let f = Fixture::running();
    for n in 1..=3 {
        f.world.submit(f.world.drawable(n));
    }
    f.worker.update_area_async(0, AREA, false, 9);
    assert_eq!(
        f.log_of_requests(),
        [
            "draw 1",
            "draw 2",
            "draw 3",
            "update_area 0",
            "update_area_complete 0 1",
            "release 1",
            "release 2",
            "release 3",
            "complete 9"
        ]
    );
}

#[test]
fn endless_ring_does_not_hold_up_its_requests() {
    let f = Fixture::running();
    f.world.with(|s| s.endless = true);
    let start = Instant::now();
    assert_eq!(f.worker.update_area(0, AREA, None, false), [AREA]);
    assert!(start.elapsed() < crate::limits::MAX_DRAIN * 3);
    f.world.with(|s| s.endless = false);
}

#[test]
fn update_command_is_notified_then_released() {
    let f = Fixture::running();
    let release = f.world.token(5);
    f.world.submit(DisplayCommand::Update(UpdateCommand {
        surface_id: 0,
        area: AREA,
        update_id: 77,
        release,
    }));
    f.worker.wakeup();
    f.world.wait_for("release 5");
    let log = f.log_of_requests();
    assert_eq!(log, ["update 0", "notify_update 77", "release 5"]);
}

#[test]
fn what_is_covered_is_released_before_the_clients_are_sent_anything() {
    let f = Fixture::running();
    let (connection, _peer) = Peer::unix(ChannelType::Display, ClientId(1));
    f.worker.connect_display(ConnectionId(1), connection);
    f.world.wait_for("attach 1");
    f.log_of_requests();
    f.world.submit(f.world.drawable(1));
    f.world.submit(DisplayCommand::Update(UpdateCommand {
        surface_id: 0,
        area: AREA,
        update_id: 77,
        release: f.world.token(5),
    }));
    f.worker.wakeup();
    f.world.wait_for("push");
    let log = f.log_of_requests();
    assert_eq!(log, ["draw 1", "update 0", "notify_update 77", "release 1", "release 5", "push"]);
}

#[test]
fn a_request_does_not_wait_for_a_ring_of_dear_commands() {
    let f = Fixture::running();
    f.world.with(|s| s.cost = crate::limits::MAX_DRAIN_COST / 2);
    for n in 1..=4 {
        f.world.submit(f.world.drawable(n));
    }
    f.worker.update_area(0, AREA, None, false);
    f.world.wait_for("draw 4");
    let log = f.world.take_log();
    let order: Vec<_> = log.iter().filter(|l| l.starts_with("draw") || l.starts_with("update")).collect();
    assert_eq!(order, ["draw 1", "draw 2", "update_area 0", "draw 3", "draw 4"]);
}

/// What is drawn in which order by a worker whose display draws late, and whose commands cost so much each.
fn order_of_dear(cost: u64, commands: u32, ask: impl FnOnce(&Fixture)) -> Vec<String> {
    let f = Fixture::running();
    f.world.with(|s| (s.cost, s.lazy) = (cost, true));
    for n in 1..=commands {
        f.world.submit(f.world.drawable(n));
    }
    ask(&f);
    let last = format!("draw {commands}");
    f.world.wait_for(&last);
    let mut log = f.world.take_log();
    log.retain(|l| ["draw", "render", "update_area"].iter().any(|w| l.starts_with(w)));
    log.truncate(log.iter().position(|l| *l == last).unwrap_or(0) + 1);
    log
}

#[test]
fn a_dear_command_waits_until_others_are_drawn() {
    let order = order_of_dear(crate::limits::MAX_PENDING_COST, 3, |f| f.worker.wakeup());
    assert_eq!(order, ["draw 1", "render", "draw 2", "render", "draw 3"]);
}

#[test]
fn a_request_waits_for_as_many_dear_commands_as_the_limit_allows() {
    use crate::limits::{MAX_COMMAND_COST, MAX_DRAIN_COST, MAX_PENDING_COST};
    let order =
        |cost, commands| order_of_dear(cost, commands, |f| drop(f.worker.update_area(0, AREA, None, false)));
    assert_eq!(order(MAX_COMMAND_COST, 2), ["draw 1", "render", "update_area 0", "draw 2"]);
    assert_eq!(MAX_DRAIN_COST, 3 * MAX_PENDING_COST);
    let three =
        ["draw 1", "render", "draw 2", "render", "draw 3", "update_area 0", "draw 4", "render", "draw 5"];
    assert_eq!(order(MAX_PENDING_COST, 5), three);
}

#[test]
fn what_was_held_back_is_drawn_before_a_stop() {
    let f = Fixture::running();
    f.world.with(|s| (s.cost, s.lazy) = (crate::limits::MAX_PENDING_COST, true));
    for n in 1..=4 {
        f.world.submit(f.world.drawable(n));
    }
    f.worker.update_area_async(0, AREA, false, 1);
    f.worker.stop();
    let log = f.world.take_log();
    assert!(log.contains(&"draw 4".into()) && log.contains(&"release 4".into()), "{log:?}");
}

#[test]
fn idle_worker_asks_once_and_then_sleeps() {
    let f = Fixture::running();
    let looks = f.world.with(|s| s.looks);
    // Longer than any poll interval; a worker that woke up by itself would look at its rings.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(f.world.with(|s| s.looks), looks);
    // Each wakeup looks, without asking again.
    f.worker.wakeup();
    f.world.wait(|s| s.looks > looks);
    assert_eq!(f.log_of_requests(), Vec::<String>::new());
    // A command begins another idle period.
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.world.wait_for("notify display");
    assert_eq!(f.log(), ["draw 1", "notify display"]);
}

#[test]
fn refused_notification_means_look_again() {
    let f = Fixture::running();
    f.world.with(|s| s.refusals = 2);
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.world.wait(|s| s.log.iter().filter(|l| *l == "notify display").count() == 3);
}

#[test]
fn a_device_that_always_refuses_a_notification_does_not_keep_requests_waiting() {
    let f = Fixture::running();
    f.world.with(|s| s.refusals = usize::MAX);
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.world.wait(|s| s.log.iter().filter(|l| *l == "notify display").count() >= 3);
    f.worker.stop();
    assert!(f.log().iter().any(|line| line == "release all"), "the worker stopped");
}

#[test]
fn stopped_worker_leaves_the_rings_alone() {
    let f = Fixture::running();
    f.worker.stop();
    f.worker.stop();
    assert_eq!(f.log_of_requests(), ["release all"]);
    let looks = f.world.with(|s| s.looks);
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.worker.oom();
    assert_eq!(f.worker.update_area(0, AREA, None, false), []);
    assert!(f.log_of_requests().is_empty());
    assert_eq!(f.world.with(|s| s.looks), looks);
    f.worker.start();
    f.worker.start();
    f.world.wait_for("draw 1");
    assert_eq!(f.log_of_requests(), ["caps false", "draw 1"]);
}

#[test]
fn stop_releases_what_is_pending_before_it_returns() {
    let f = Fixture::running();
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.world.wait_for("draw 1");
    f.worker.stop();
    assert!(f.world.take_log().contains(&"release 1".to_string()));
}

#[test]
fn an_expired_stop_leaves_the_guest_alone_until_the_worker_has_stopped() {
    let f = Fixture::impatient();
    f.world.with(|s| s.busy = true);
    f.worker.stop();
    // The caller goes on, and the worker still draws.
    assert!(f.world.with(|s| s.busy));
    assert_eq!(f.world.with(|s| s.cut_off), 1);
    f.world.with(|s| s.busy = false);
    f.world.wait(|s| s.cut_off == 0);
    assert!(f.world.take_log().contains(&"release all".into()));
    f.worker.start();
    f.world.wait_for("caps false");
}

#[test]
fn oom_frees_only_when_the_flush_gave_nothing() {
    let f = Fixture::running();
    f.world.submit(f.world.drawable(1));
    f.worker.oom();
    f.world.wait(|s| s.log.iter().filter(|l| *l == "flush_resources").count() == 2);
    assert_eq!(
        f.log_of_requests(),
        ["draw 1", "flush_resources", "free some", "release 1", "flush_resources"]
    );
    f.world.with(|s| s.flushed = 3);
    f.worker.oom();
    assert_eq!(f.log_of_requests(), ["flush_resources"]);
}

#[test]
fn loadvm_takes_surfaces_and_cursors_while_stopped() {
    let f = Fixture::new();
    f.worker.loadvm_commands(vec![command(5, 1), command(3, 2), command(1, 3), command(5, 0)]);
    assert_eq!(f.log_of_requests(), ["loadvm surface 7", "release 1", "release 2"]);
}

#[test]
fn faulty_command_is_dropped_and_released_and_the_worker_lives() {
    let f = Fixture::running();
    f.world.submit(f.world.drawable(666));
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.world.wait_for("draw 1");
    f.world.wait_for("release 666");
    f.world.with(|s| s.panic_in_device = true);
    f.world.submit(f.world.drawable(2));
    f.worker.wakeup();
    f.world.wait(|s| !s.panic_in_device);
    f.worker.wakeup();
    f.world.wait_for("draw 2");
}

#[test]
fn faulty_request_is_answered_and_the_worker_lives() {
    let f = Fixture::running();
    assert_eq!(f.worker.update_area(666, AREA, None, false), []);
    f.worker.update_area_async(666, AREA, false, 1);
    let bad = SurfaceSpec { address: 0xdead, ..spec(1) };
    assert!(!f.worker.create_primary(0, bad));
    f.worker.create_primary_async(0, bad, 2);
    f.worker.flush_surfaces_async(3);
    let log = f.log_of_requests();
    let completed: Vec<_> = log.iter().filter(|l| l.starts_with("complete")).collect();
    assert_eq!(completed, ["complete 1", "complete 2", "complete 3"]);
}

#[test]
fn cursor_commands_are_taken_and_released() {
    let f = Fixture::running();
    let release = f.world.token(3);
    let moved = CursorCommand::Move { position: Point16 { x: 1, y: 2 }, release };
    f.world.with(|s| s.cursor_ring.push_back(Fetched::Command(moved)));
    f.worker.wakeup();
    f.world.wait_for("release 3");
}

#[test]
fn shutdown_joins_gives_everything_back_and_later_requests_are_refused() {
    let f = Fixture::running();
    f.world.submit(f.world.drawable(1));
    f.worker.wakeup();
    f.world.wait_for("draw 1");
    f.worker.flush_surfaces_async(1);
    f.world.submit(f.world.drawable(2));
    f.worker.shutdown();
    let log = f.world.take_log();
    assert!(log.contains(&"complete 1".to_string()));
    assert_eq!(f.world.releases.take(), []);
    f.worker.shutdown();
    f.worker.wakeup();
    f.worker.stop();
    assert_eq!(f.worker.update_area(0, AREA, None, false), []);
    assert!(!f.worker.create_primary(0, spec(4)));
    f.worker.flush_surfaces_async(2);
    assert!(f.world.take_log().is_empty());
}

#[test]
fn many_threads_may_ask_at_once() {
    let f = Fixture::running();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let f = &f;
            scope.spawn(move || {
                for n in 0..200 {
                    f.worker.wakeup();
                    f.worker.flush_surfaces_async(thread * 1000 + n);
                    if n % 10 == 0 {
                        assert!(f.worker.add_memslot(slot(1)));
                    }
                }
            });
        }
    });
    let log = f.log_of_requests();
    for thread in 0..4u64 {
        let cookies: Vec<u64> = log
            .iter()
            .filter_map(|l| l.strip_prefix("complete ")?.parse().ok())
            .filter(|c| c / 1000 == thread)
            .collect();
        assert_eq!(cookies, (thread * 1000..thread * 1000 + 200).collect::<Vec<_>>());
    }
}

#[test]
fn clients_are_attached_and_detached_in_order() {
    let f = Fixture::running();
    let connect = || crate::channel::testing::Peer::unix(crate::protocol::ChannelType::Display, ClientId(4));
    let (connection, _peer) = connect();
    f.worker.connect_display(ConnectionId(4), connection);
    f.worker.disconnect_client(ClientId(4));
    assert_eq!(f.log_of_requests(), ["attach 4", "detach 4"]);
    f.worker.shutdown();
    let (connection, mut peer) = connect();
    f.worker.connect_display(ConnectionId(4), connection);
    peer.wait_for_close();
}
