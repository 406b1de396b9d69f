use super::harness::*;
use crate::host::Keyboard;
use crate::host::call::HostCall;
use crate::limits::{MAX_WORK_PER_TURN, WORK_REST};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn host() -> (Host, Arc<Devices>) {
    let host = Host::start(|_| {});
    let devices = Arc::new(Devices::default());
    let (keyboard, mouse) = (devices.clone(), devices.clone());
    host.run(move |s| {
        s.add_keyboard(keyboard.clone()).unwrap();
        assert!(s.add_keyboard(keyboard).is_err());
        s.add_mouse(mouse.clone()).unwrap();
        assert!(s.add_mouse(mouse).is_err());
    });
    (host, devices)
}

#[test]
fn init_carries_the_leds_and_main_is_warned() {
    let (host, devices) = host();
    devices.leds.store(5, Ordering::Relaxed);
    let mut main = host.main();
    let mut inputs = host.connect();
    assert_eq!(inputs.link(3, 0, main.session, b""), 0);
    assert_eq!(inputs.message(), (101, vec![5, 0]));
    let notify = main.until(7);
    assert!(notify.ends_with(b"keyboard channel is insecure\0"));
}

#[test]
fn keys_reach_the_keyboard_and_are_released_at_the_end() {
    let (host, devices) = host();
    let main = host.main();
    let mut inputs = host.inputs(&main);
    inputs.send(101, &[0x1e, 0, 0, 0]);
    inputs.send(101, &[0xe0, 0x48, 0, 0]);
    inputs.send(104, &[0x10, 0x90]);
    drop(inputs);
    let expect = ["key 1e", "key e0", "key 48", "key 10", "key 90", "key 9e", "key e0", "key c8"];
    host.wait("the releases", |_| devices.log.lock().unwrap().len() >= expect.len());
    assert_eq!(devices.take(), expect);
}

#[test]
fn every_fourth_motion_is_acknowledged() {
    let (host, devices) = host();
    let main = host.main();
    let mut inputs = host.inputs(&main);
    for _ in 0..2 {
        inputs.send(111, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0]);
        inputs.send(112, &[0; 11]);
    }
    assert_eq!(inputs.message(), (111, vec![]));
    host.wait("both", |_| devices.log.lock().unwrap().len() == 2);
    assert_eq!(devices.take(), ["motion 1 2 0 1", "motion 1 2 0 1"]);
}

#[test]
fn led_changes_go_to_clients_at_once() {
    let (host, _) = host();
    let main = host.main();
    let mut inputs = host.inputs(&main);
    host.run(|s| s.kbd_leds(6));
    assert_eq!(inputs.message(), (102, vec![6, 0]));
}

#[test]
fn lock_keys_push_modifiers_after_their_delay() {
    let (host, devices) = host();
    let main = host.main();
    let mut inputs = host.inputs(&main);
    let start = std::time::Instant::now();
    inputs.send(103, &[4, 0]);
    devices.leds.store(4, Ordering::Relaxed);
    assert_eq!(inputs.message(), (102, vec![4, 0]));
    assert!(start.elapsed() >= Duration::from_millis(1990));
    assert_eq!(devices.take(), ["key 3a", "key ba"]);
}

#[test]
fn a_lock_key_that_the_guest_ignores_is_not_told_to_clients() {
    let (host, devices) = host();
    let main = host.main();
    let mut inputs = host.inputs(&main);
    inputs.send(101, &[0x3a, 0, 0, 0]);
    inputs.send(102, &[0xba, 0, 0, 0]);
    host.wait("the key", |_| devices.log.lock().unwrap().len() == 2);
    devices.take();
    // The LED stayed off, and that is what clients are told; their agreeing answer types nothing.
    assert_eq!(inputs.message(), (102, vec![0, 0]));
    inputs.send(103, &[0, 0]);
    inputs.send(101, &[0x1e, 0, 0, 0]);
    host.wait("the next key", |_| !devices.log.lock().unwrap().is_empty());
    assert_eq!(devices.take(), ["key 1e"]);
}

#[test]
fn buttons_that_a_client_held_are_released_when_it_goes() {
    let (host, devices) = host();
    let main = host.main();
    let mut inputs = host.inputs(&main);
    inputs.send(111, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    host.wait("the press", |_| !devices.log.lock().unwrap().is_empty());
    assert_eq!(devices.take(), ["motion 1 0 0 1"]);
    drop(inputs);
    host.wait("the release", |_| !devices.log.lock().unwrap().is_empty());
    assert_eq!(devices.take(), ["buttons 0"]);
}

#[test]
fn no_button_stays_down_when_the_pointer_changes_its_device() {
    let (host, devices) = host();
    let mut main = host.main();
    host.run(|server| server.core.with(|s| s.allow_pointer()));
    let (agent, id) = super::agent::agent(&host);
    assert_eq!(main.until(105), [3, 0, 1, 0]);
    let mut inputs = host.inputs(&main);
    let logged = |count: usize| {
        host.wait("the mouse", |_| devices.log.lock().unwrap().len() >= count);
        devices.take()
    };
    // Held with the mouse, dragged through the agent: the agent has the button before the mouse lets it go.
    inputs.send(113, &[1, 1, 0]);
    assert_eq!(logged(1), ["motion 0 0 0 1"]);
    main.send(105, &[2, 0]);
    assert_eq!(main.until(105), [3, 0, 2, 0]);
    assert!(devices.take().is_empty(), "the user has not let go");
    inputs.send(112, &[9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0]);
    assert_eq!(logged(1), ["buttons 0"]);
    let buttons =
        || -> Vec<u8> { agent.taken().chunks(41).filter_map(|state| state.get(36).copied()).collect() };
    wait("the button at the agent", || buttons() == [2]);
    // And back, with the button still down.
    main.send(105, &[1, 0]);
    assert_eq!(main.until(105), [3, 0, 1, 0]);
    inputs.send(111, &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(logged(1), ["motion 3 0 0 1"]);
    wait("the release at the agent", || buttons() == [2, 0]);
    inputs.send(114, &[1, 0, 0]);
    assert_eq!(logged(1), ["buttons 0"]);
    host.run(move |server| server.remove_char_device(id)).unwrap();
}

#[test]
fn keys_do_not_wait_behind_motion() {
    let (host, devices) = host();
    let mut main = host.main();
    host.run(|server| server.core.with(|s| s.allow_pointer()));
    let (agent, _) = super::agent::agent(&host);
    main.until(105);
    main.send(105, &[2, 0]);
    main.until(105);
    // The agent takes nothing, and the client reads none of its acknowledgements.
    agent.room.store(0, Ordering::SeqCst);
    let mut inputs = host.inputs(&main);
    for x in 0..5_000u32 {
        inputs.send(112, &[&x.to_le_bytes()[..], &[2, 0, 0, 0, 0, 0, 0]].concat());
    }
    inputs.send(101, &[0x1e, 0, 0, 0]);
    inputs.send(102, &[0x9e, 0, 0, 0]);
    host.wait("the key", |_| devices.log.lock().unwrap().len() == 2);
    assert_eq!(devices.take(), ["key 1e", "key 9e"]);
}

#[test]
fn bad_messages_end_the_channel_but_not_the_client() {
    let (host, _) = host();
    let mut main = host.main();
    for bytes in [
        &[200, 0, 0, 0, 0, 0][..],
        &[101, 0, 3, 0, 0, 0, 1, 2, 3],
        &[104, 0, 1, 8, 0, 0],
        &[4, 0, 0, 0, 0, 0],
    ] {
        let mut inputs = host.inputs(&main);
        inputs.send_raw(bytes);
        assert_eq!(inputs.rest(), []);
    }
    main.round_trip();
}

#[test]
fn tablet_alone_does_not_allow_client_mode() {
    let (host, devices) = host();
    let mut main = host.main();
    let tablet = devices.clone();
    let id = host.run(move |s| s.add_tablet(tablet).unwrap());
    let second = devices.clone();
    assert!(host.run(move |s| s.add_tablet(second).is_err()));
    main.send(105, &[2, 0]);
    main.round_trip();
    assert!(host.run(|s| s.is_server_mouse()));
    host.run(move |s| {
        s.remove_tablet(id).unwrap();
        assert!(s.remove_tablet(id).is_err());
    });
}

/// A keyboard that counts its scan codes by the turns of the host's loop.
struct Counting {
    event_loop: Arc<TestLoop>,
    by_turn: Mutex<BTreeMap<u64, usize>>,
}

impl Keyboard for Counting {
    fn push_scan_code(&self, _: u8) {
        *self.by_turn.lock().unwrap().entry(self.event_loop.turns()).or_default() += 1;
    }
    fn leds(&self) -> u8 {
        0
    }
}

#[test]
fn floods_of_scan_codes_leave_the_hosts_loop_its_turns() {
    const MESSAGES: usize = 60;
    let host = Host::start(|_| {});
    let keyboard = Arc::new(Counting { event_loop: host.event_loop.clone(), by_turn: Mutex::default() });
    let attached = keyboard.clone();
    host.run(move |s| s.add_keyboard(attached).unwrap());
    let main = host.main();
    let mut inputs = host.inputs(&main);
    // All of them are there when the server looks, in as few turns as it can.
    let mut flood = Vec::new();
    for _ in 0..MESSAGES {
        flood.extend(104u16.to_le_bytes());
        flood.extend(2000u32.to_le_bytes());
        flood.extend([0x9e; 2000]);
    }
    let start = std::time::Instant::now();
    inputs.send_raw(&flood);
    let arrived = || keyboard.by_turn.lock().unwrap().values().sum::<usize>();
    host.wait("all keys", |_| arrived() >= MESSAGES * 2000);
    // The message in which the budget ends is read whole.
    let most = keyboard.by_turn.lock().unwrap().values().copied().max().unwrap();
    assert!(most <= MAX_WORK_PER_TURN + 2000, "{most}");
    // Two messages use a budget up, so most turns are followed by a rest.
    assert!(start.elapsed() >= WORK_REST * 10, "{:?}", start.elapsed());
}

/// Calls that wait for their turn while the host, deep inside of callbacks, removes the tablet.
#[test]
fn a_tablet_is_not_called_after_its_removal() {
    let (host, _) = host();
    let tablet = Arc::new(Devices::default());
    let attached = tablet.clone();
    let id = host.run(move |s| s.add_tablet(attached).unwrap());
    tablet.take();
    let called = tablet.clone();
    host.run(move |s| {
        s.core.within(|state| state.host_call(HostCall::TabletWheel { tablet: called, dz: 1, buttons: 0 }));
        s.remove_tablet(id).unwrap();
    });
    assert_eq!(tablet.take(), Vec::<String>::new());
}
