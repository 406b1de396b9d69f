//! A host of plain C functions whose calls are recorded.

use super::*;
use std::cell::RefCell;

/// What the host was asked to do, and the callbacks that it has.
#[derive(Default)]
struct Host {
    watches: Vec<(SpiceWatchFunc, usize)>,
    timers: Vec<(SpiceTimerFunc, usize)>,
    removed: Vec<usize>,
    events: Vec<(c_int, usize, c_int, c_int)>,
    refuse: bool,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

fn host<T>(body: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(body)
}

/// Index plus one as the host's pointer.
unsafe extern "C" fn watch_add(
    _: c_int,
    _: c_int,
    func: SpiceWatchFunc,
    opaque: *mut c_void,
) -> *mut SpiceWatch {
    host(|h| {
        if h.refuse {
            return std::ptr::null_mut();
        }
        h.watches.push((func, opaque.addr()));
        std::ptr::without_provenance_mut(h.watches.len())
    })
}

unsafe extern "C" fn watch_update(_: *mut SpiceWatch, _: c_int) {}

unsafe extern "C" fn watch_remove(watch: *mut SpiceWatch) {
    host(|h| h.removed.push(watch.addr()));
}

unsafe extern "C" fn timer_add(func: SpiceTimerFunc, opaque: *mut c_void) -> *mut SpiceTimer {
    host(|h| {
        if h.refuse {
            return std::ptr::null_mut();
        }
        h.timers.push((func, opaque.addr()));
        std::ptr::without_provenance_mut(h.timers.len())
    })
}

unsafe extern "C" fn timer_start(_: *mut SpiceTimer, _: u32) {}
unsafe extern "C" fn timer_stop(_: *mut SpiceTimer) {}

unsafe extern "C" fn channel_event(event: c_int, info: *mut SpiceChannelEventInfo) {
    // SAFETY: the adapter's info lives through the call.
    let (id, flags) = unsafe { ((*info).connection_id, (*info).flags) };
    host(|h| h.events.push((event, info.addr(), id, flags)));
}

fn interface(minor: u32) -> SpiceCoreInterface {
    SpiceCoreInterface {
        base: crate::abi::SpiceBaseInterface {
            r#type: c"core".as_ptr(),
            description: c"test".as_ptr(),
            major_version: 1,
            minor_version: minor,
        },
        timer_add: Some(timer_add),
        timer_start: Some(timer_start),
        timer_cancel: Some(timer_stop),
        timer_remove: Some(timer_stop),
        watch_add: Some(watch_add),
        watch_update_mask: Some(watch_update),
        watch_remove: Some(watch_remove),
        channel_event: Some(channel_event),
    }
}

fn core_loop(minor: u32) -> CoreLoop {
    // SAFETY: a complete interface.
    unsafe { CoreLoop::new(&raw const *Box::leak(Box::new(interface(minor)))) }.ok().unwrap()
}

const READ: Readiness = Readiness { read: true, write: false };

/// The host runs the watch's callback.
fn fire_watch(index: usize) {
    let (func, opaque) = host(|h| h.watches[index]);
    // SAFETY: our own callback with our own opaque value.
    unsafe { func.unwrap()(0, SPICE_WATCH_EVENT_READ, std::ptr::without_provenance_mut(opaque)) };
}

#[test]
fn no_callback_runs_after_removal() {
    let core = core_loop(3);
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let watch = core.watch_add(
        0,
        READ,
        Arc::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }),
    );
    fire_watch(0);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    core.watch_remove(watch.unwrap());
    fire_watch(0);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    core.watch_remove(watch.unwrap());
    assert_eq!(host(|h| h.removed.clone()), [1], "removed at the host once");
    assert_eq!(Arc::strong_count(&count), 1, "the callback is freed");
}

#[test]
fn callback_may_remove_its_own_watch_and_panic() {
    let core = Arc::new(core_loop(3));
    let id = Arc::new(Mutex::new(None));
    let (core2, id2) = (Arc::clone(&core), Arc::clone(&id));
    let watch = core.watch_add(
        0,
        READ,
        Arc::new(move |_| {
            core2.watch_remove(locked(&id2).take().unwrap());
        }),
    );
    *locked(&id) = watch;
    fire_watch(0);
    assert_eq!(host(|h| h.removed.len()), 1);

    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    core.watch_add(0, READ, Arc::new(|_| panic!("inside a callback")));
    fire_watch(1);
    std::panic::set_hook(hook);
}

#[test]
fn refusals_leave_nothing_behind() {
    host(|h| h.refuse = true);
    let core = core_loop(3);
    let marker = Arc::new(());
    let (one, two) = (Arc::clone(&marker), Arc::clone(&marker));
    assert!(core.watch_add(0, READ, Arc::new(move |_| drop(Arc::clone(&one)))).is_none());
    assert!(core.timer_add(Arc::new(move || drop(Arc::clone(&two)))).is_none());
    assert_eq!(Arc::strong_count(&marker), 1);
}

#[test]
fn timers_of_a_dropped_loop_are_dead() {
    let core = core_loop(3);
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    core.timer_add(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    drop(core);
    let (func, opaque) = host(|h| h.timers[0]);
    // SAFETY: our own callback with our own opaque value.
    unsafe { func.unwrap()(std::ptr::without_provenance_mut(opaque)) };
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[test]
fn all_events_of_a_connection_have_one_address() {
    let core = core_loop(3);
    core.channel_event(
        7,
        ChannelEvent::Connected(SocketAddresses { local: vec![2; 16], peer: vec![10; 28] }),
    );
    core.channel_event(8, ChannelEvent::Connected(SocketAddresses::default()));
    core.channel_event(
        7,
        ChannelEvent::Initialized { connection_id: 0xffff_fffe, channel_type: 2, channel_id: 0, tls: true },
    );
    core.channel_event(7, ChannelEvent::Disconnected);
    core.channel_event(7, ChannelEvent::Disconnected);
    let events = host(|h| h.events.clone());
    let kinds: Vec<_> = events.iter().map(|e| (e.0, e.2, e.3)).collect();
    assert_eq!(kinds, [(1, 0, 2), (1, 0, 2), (2, -2, 3), (3, -2, 3)]);
    assert_eq!(events[0].1, events[2].1);
    assert_eq!(events[0].1, events[3].1);
    assert_ne!(events[0].1, events[1].1);
}

#[test]
fn old_hosts_get_no_events() {
    let core = core_loop(2);
    core.channel_event(7, ChannelEvent::Connected(SocketAddresses::default()));
    assert!(host(|h| h.events.is_empty()));
}

#[test]
fn addresses_are_cut_to_the_old_fields() {
    let local: Vec<u8> = (0..23).collect();
    let info = new_info(&SocketAddresses { local, peer: vec![1; 500] });
    assert_eq!(info.llen, 23);
    assert_eq!(info.llen_ext, 23);
    assert_eq!(info.plen_ext, 128);
    assert_eq!(info.laddr.sa_family, u16::from_ne_bytes([0, 1]));
}

#[test]
fn unusable_interfaces_are_refused() {
    let mut bad = interface(3);
    bad.base.major_version = 2;
    // SAFETY: NULL or complete interfaces.
    unsafe {
        assert_eq!(CoreLoop::new(std::ptr::null()).err(), Some(BadCore::Null));
        assert_eq!(CoreLoop::new(&raw const bad).err(), Some(BadCore::Version(2)));
        bad = interface(3);
        bad.timer_start = None;
        assert_eq!(CoreLoop::new(&raw const bad).err(), Some(BadCore::MissingCallback));
    }
}
