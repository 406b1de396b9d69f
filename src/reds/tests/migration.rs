//! Both sides of a migration, with raw clients.

use super::devices::{DATA, Guest, PORT, add, port, waiting};
use super::harness::{Client, Host, wait};
use crate::host::MigrationHost;
use crate::limits::{MIGRATION_ARRIVE_TIMEOUT, MIGRATION_CONNECT_TIMEOUT, MIGRATION_LEAVE_TIMEOUT};
use crate::protocol::common::client::{MIGRATE_DATA, MIGRATE_FLUSH_MARK};
use crate::protocol::common::server;
use crate::protocol::main_channel::client::{
    ATTACH_CHANNELS, MIGRATE_CONNECTED, MIGRATE_CONNECTED_SEAMLESS, MIGRATE_DST_DO_SEAMLESS, MIGRATE_END,
};
use crate::protocol::main_channel::{MigrationTarget, server as main};
use crate::protocol::migrate::{CharDeviceState, MainState, decode_spicevmc, encode_inputs, encode_spicevmc};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The session that arriving clients had at the source.
const SESSION: u32 = 0x1234;
const MAIN: u8 = 1;
const INPUTS: u8 = 3;
const BAD_CONNECTION_ID: u32 = 8;
/// More than the clock needs to reach a limit.
const MARGIN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Heard {
    connects: AtomicU32,
    ends: AtomicU32,
}

impl MigrationHost for Heard {
    fn connect_complete(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    fn end_complete(&self) {
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

impl Heard {
    fn counts(&self) -> (u32, u32) {
        (self.connects.load(Ordering::Relaxed), self.ends.load(Ordering::Relaxed))
    }
}

fn host(seamless: bool) -> (Host, Arc<Heard>) {
    let host = Host::start(move |server| server.set_seamless_migration(seamless));
    let heard = Arc::new(Heard::default());
    let interface = heard.clone();
    host.run(move |server| {
        server.add_migration(interface.clone()).unwrap();
        assert!(server.add_migration(interface).is_err(), "one is enough");
    });
    (host, heard)
}

fn target(port: u16) -> Option<MigrationTarget> {
    Some(MigrationTarget { port, host: "there".into(), ..MigrationTarget::default() })
}

/// A client that names its session at the source.
fn arriving(host: &Host) -> Client {
    let mut client = host.connect();
    assert_eq!(client.link(MAIN, 0, SESSION, b""), 0);
    client.session = SESSION;
    client
}

fn arriving_inputs(host: &Host) -> Client {
    let mut inputs = host.connect();
    assert_eq!(inputs.link(INPUTS, 0, SESSION, b""), 0);
    inputs
}

fn arrive_seamless(host: &Host) -> (Client, Client) {
    let (mut client, inputs) = (arriving(host), arriving_inputs(host));
    client.send(MIGRATE_DST_DO_SEAMLESS, &1u32.to_le_bytes());
    assert_eq!(client.message(), (main::MIGRATE_DST_SEAMLESS_ACK, vec![]));
    (client, inputs)
}

#[test]
fn an_arriving_client_hears_nothing_before_its_session_begins() {
    let (host, _) = host(true);
    let (mut client, mut inputs) = (arriving(&host), arriving_inputs(&host));
    client.send(ATTACH_CHANNELS, &[]);
    host.run(|server| server.set_agent_mouse(false));
    client.send(MIGRATE_END, &[]);
    let (kind, init) = client.message();
    assert_eq!((kind, &init[..4]), (main::INIT, &SESSION.to_le_bytes()[..]));
    assert_eq!(inputs.message().0, 101, "the parked link is a channel");
    // Without name, UUID and net test.
    client.send(ATTACH_CHANNELS, &[]);
    loop {
        let (kind, body) = client.any_message();
        match kind {
            main::CHANNELS_LIST => break,
            // The plain keyboard channel.
            server::NOTIFY => {}
            server::PING => assert!(u32::from_le_bytes(body[..4].try_into().unwrap()) >= 16, "net test"),
            other => panic!("message {other}"),
        }
    }
    client.send(MIGRATE_END, &[]);
    client.round_trip();
}

#[test]
fn channels_go_on_where_they_were_at_the_source() {
    let (host, _) = host(true);
    let (mut client, mut inputs) = arrive_seamless(&host);
    // The machine may start before the data have come.
    host.run(|server| server.vm_start());
    inputs.send(MIGRATE_DATA, &encode_inputs(5));
    assert_eq!(inputs.message(), (111, vec![]), "four of the five motions");
    inputs.send(111, &[0; 10]);
    inputs.send(111, &[0; 10]);
    inputs.send(111, &[0; 10]);
    assert_eq!(inputs.message().0, 102, "the LEDs, when the first message was out");
    assert_eq!(inputs.message(), (111, vec![]), "the fifth and three more");
    client.send(MIGRATE_DATA, &MainState::default().encode());
    assert_eq!(client.message().0, main::MULTI_MEDIA_TIME);
    client.round_trip();
    host.advance(MIGRATION_ARRIVE_TIMEOUT + MARGIN);
    client.round_trip();
}

/// A client may be faster than the state of the guest's devices, which replaces what they took before.
#[test]
fn a_device_takes_what_the_client_brings_when_its_machine_is_here() {
    let (host, _) = host(true);
    let guest = Guest::new(usize::MAX);
    add(&host, port("p"), &guest);
    let (mut client, _inputs) = (arriving(&host), arriving_inputs(&host));
    let mut serial = host.connect();
    assert_eq!(serial.link(PORT, 0, SESSION, b""), 0);
    client.send(MIGRATE_DST_DO_SEAMLESS, &1u32.to_le_bytes());
    assert_eq!(client.message(), (main::MIGRATE_DST_SEAMLESS_ACK, vec![]));
    serial.send(MIGRATE_DATA, &encode_spicevmc(&CharDeviceState::without_tokens(b"abc".to_vec())));
    serial.send(DATA, b"def");
    wait("both", || waiting(&host, PORT) == 6);
    assert_eq!(guest.taken(), b"");
    host.run(|server| server.vm_start());
    wait("all of it", || guest.taken() == b"abcdef");
}

/// The client waits for its state, which comes after its last messages, and the device takes none of them.
#[test]
fn a_client_follows_its_machine_though_a_device_is_full() {
    let (host, heard) = host(true);
    add(&host, port("p"), &Guest::new(0));
    let mut client = host.main();
    let mut serial = host.connect();
    assert_eq!(serial.link(PORT, 0, client.session, b""), 0);
    for i in 0..200u8 {
        serial.send(DATA, &[i]);
    }
    wait("a full queue", || waiting(&host, PORT) == 128);
    host.run(|server| {
        server.vm_stop();
        server.migrate_connect(target(7)).unwrap();
    });
    client.until(main::MIGRATE_BEGIN_SEAMLESS);
    client.send(MIGRATE_CONNECTED_SEAMLESS, &[]);
    host.wait("the host hears", |_| heard.counts() == (1, 0));
    host.run(|server| server.migrate_end(true).unwrap());
    serial.until(server::MIGRATE);
    serial.send(DATA, &[200]);
    serial.send(MIGRATE_FLUSH_MARK, &[]);
    let (kind, state) = serial.any_message();
    assert_eq!(kind, server::MIGRATE_DATA);
    assert_eq!(decode_spicevmc(&state).unwrap().write_data, (0..=200).collect::<Vec<u8>>());
}

#[test]
fn newer_sources_are_told_to_do_with_less() {
    let (host, _) = host(true);
    let mut client = arriving(&host);
    client.send(MIGRATE_DST_DO_SEAMLESS, &2u32.to_le_bytes());
    assert_eq!(client.message(), (main::MIGRATE_DST_SEAMLESS_NACK, vec![]));
    client.send(MIGRATE_DATA, &MainState::default().encode());
    assert_eq!(client.rest(), [], "not allowed");
}

#[test]
fn state_is_taken_once_and_from_arriving_clients_only() {
    let (host, _) = host(true);
    let mut client = host.main();
    let mut inputs = host.inputs(&client);
    inputs.send(MIGRATE_DATA, &encode_inputs(0));
    assert_eq!(inputs.rest(), []);
    client.send(MIGRATE_DST_DO_SEAMLESS, &1u32.to_le_bytes());
    client.rest();
    let (_client, mut inputs) = arrive_seamless(&host);
    inputs.send(MIGRATE_DATA, &encode_inputs(0));
    assert_eq!(inputs.message().0, 102);
    inputs.send(MIGRATE_DATA, &encode_inputs(0));
    inputs.rest();
}

#[test]
fn bad_state_costs_the_channel_or_the_client() {
    let (host, _) = host(true);
    let (mut client, mut inputs) = arrive_seamless(&host);
    inputs.send(MIGRATE_DATA, b"DCMD\x01\0\0\0\0\0");
    assert_eq!(inputs.rest(), []);
    let mut data = MainState::default().encode();
    data[4] = 2;
    // A version that nobody knows.
    client.send(MIGRATE_DATA, &data);
    client.until(server::DISCONNECTING);
    assert_eq!(client.rest(), []);
    host.wait("nobody", |h| h.run(|s| s.num_clients()) == 0);
}

#[test]
fn nobody_arrives_when_the_machine_has_run_or_the_host_knows_no_migration() {
    let (host, _) = host(true);
    host.run(|server| {
        server.vm_start();
        server.vm_stop();
    });
    assert_eq!(host.connect().link(MAIN, 0, SESSION, b""), BAD_CONNECTION_ID);
    let plain = Host::start(|_| {});
    assert_eq!(plain.connect().link(MAIN, 0, SESSION, b""), BAD_CONNECTION_ID);
}

#[test]
fn clients_that_do_not_arrive_are_dropped() {
    let (host, _) = host(true);
    let (mut client, mut inputs) = arrive_seamless(&host);
    host.run(|server| server.vm_start());
    host.advance(MIGRATION_ARRIVE_TIMEOUT + MARGIN);
    client.rest();
    inputs.rest();
    let (host, _) = self::host(true);
    let (mut client, mut parked) = (arriving(&host), arriving_inputs(&host));
    host.advance(MIGRATION_ARRIVE_TIMEOUT + MARGIN);
    host.run(|server| server.vm_start());
    host.advance(MIGRATION_ARRIVE_TIMEOUT + MARGIN);
    client.rest();
    assert_eq!(parked.rest(), []);
}

#[test]
fn parked_links_go_with_their_client_and_each_channel_has_one() {
    let (host, _) = host(true);
    let (client, mut parked) = (arriving(&host), arriving_inputs(&host));
    assert_eq!(arriving_inputs(&host).rest(), [], "the second");
    drop(client);
    assert_eq!(parked.rest(), []);
    host.wait("events", |h| h.event_kinds().iter().all(|kinds| kinds == "123"));
}

#[test]
fn the_source_of_a_seamless_migration_hands_over() {
    let (host, heard) = host(true);
    let mut client = host.main();
    let mut inputs = host.inputs(&client);
    host.run(|server| {
        assert!(server.migrate_start().is_err(), "no target yet");
        server.migrate_connect(target(7)).unwrap();
        server.migrate_start().unwrap();
    });
    let begin = client.until(main::MIGRATE_BEGIN_SEAMLESS);
    assert_eq!(begin, target(7).unwrap().begin_seamless(1).body.to_vec());
    client.send(MIGRATE_CONNECTED_SEAMLESS, &[]);
    host.wait("the host hears", |_| heard.counts() == (1, 0));
    host.run(|server| server.migrate_end(true).unwrap());
    client.until(server::MIGRATE);
    assert_eq!(inputs.until(server::MIGRATE), 3u32.to_le_bytes());
    // What the client said before counts: nothing but the data may follow MIGRATE.
    for _ in 0..6 {
        inputs.send(111, &[0; 10]);
    }
    host.run(|server| server.kbd_leds(7));
    inputs.send(MIGRATE_FLUSH_MARK, &[]);
    assert_eq!(inputs.any_message(), (server::MIGRATE_DATA, encode_inputs(6)));
    client.send(MIGRATE_FLUSH_MARK, &[]);
    let (kind, state) = client.any_message();
    assert_eq!(kind, server::MIGRATE_DATA);
    MainState::decode(&state).unwrap();
    assert_eq!(heard.counts(), (1, 0));
    drop(client);
    host.wait("the client gone", |_| heard.counts() == (1, 1));
    assert_eq!(inputs.rest(), []);
}

#[test]
fn the_source_of_a_semi_seamless_migration_says_when() {
    let (host, heard) = host(false);
    let mut client = host.main();
    host.run(|server| server.migrate_connect(target(7)).unwrap());
    client.until(main::MIGRATE_BEGIN);
    client.send(MIGRATE_CONNECTED, &[]);
    host.wait("the host hears", |_| heard.counts() == (1, 0));
    host.run(|server| server.migrate_end(true).unwrap());
    client.until(main::MIGRATE_END);
    host.advance(MIGRATION_LEAVE_TIMEOUT + MARGIN);
    client.rest();
    host.wait("the host hears of the end", |_| heard.counts() == (1, 1));
}

#[test]
fn what_fails_leaves_the_client_where_it_is() {
    let (host, heard) = host(true);
    let mut client = host.main();
    host.run(|server| assert!(server.migrate_connect(None).is_err()));
    assert_eq!(heard.counts(), (1, 0));
    host.run(|server| server.migrate_connect(target(7)).unwrap());
    client.send(MIGRATE_CONNECTED_SEAMLESS, &[]);
    host.wait("the host hears", |_| heard.counts() == (2, 0));
    host.run(|server| server.migrate_end(false).unwrap());
    client.until(main::MIGRATE_CANCEL);
    client.send(MIGRATE_CONNECTED, &[]);
    client.until(main::MIGRATE_CANCEL);
    client.round_trip();
    host.run(|server| server.migrate_connect(target(7)).unwrap());
    host.advance(MIGRATION_CONNECT_TIMEOUT + MARGIN);
    client.until(main::MIGRATE_CANCEL);
    assert_eq!(heard.counts(), (3, 0));
    client.round_trip();
    host.run(|server| server.migrate_end(true).unwrap());
    let switch = client.until(main::MIGRATE_SWITCH_HOST);
    assert_eq!(switch, target(7).unwrap().switch_host().body.to_vec());
}

#[test]
fn without_a_target_everybody_is_dropped() {
    let (host, heard) = host(true);
    let mut client = host.main();
    host.run(|server| assert!(server.migrate_end(true).is_err()));
    client.rest();
    assert_eq!(heard.counts(), (0, 1));
}

#[test]
fn hosts_without_the_interface_send_their_clients_away() {
    let host = Host::start(|_| {});
    let mut client = host.main();
    host.run(|server| {
        server.migrate_switch();
        assert!(server.migrate_connect(target(7)).is_err() && server.migrate_end(true).is_err());
        server.migrate_info(target(9).unwrap()).unwrap();
        server.migrate_switch();
        server.migrate_switch();
    });
    client.until(main::MIGRATE_SWITCH_HOST);
    client.round_trip();
}

#[test]
fn a_flush_mark_that_nobody_asked_for_ends_the_channel() {
    let (host, _) = host(true);
    let mut client = host.main();
    let mut inputs = host.inputs(&client);
    inputs.send(MIGRATE_FLUSH_MARK, &[]);
    assert_eq!(inputs.rest(), []);
    client.round_trip();
}

#[test]
fn the_host_hears_of_the_end_when_the_server_is_destroyed() {
    let (host, heard) = host(true);
    let _client = host.main();
    host.run(|server| server.migrate_connect(target(7)).unwrap());
    drop(host);
    assert_eq!(heard.counts(), (1, 0));
}
