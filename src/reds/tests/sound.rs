//! Playback and record through the whole server.

use super::harness::{Client, Host};
use crate::channel::sound::FRAME;
use std::sync::Arc;

const PLAYBACK: u8 = 5;
const RECORD: u8 = 6;
const MULTI_MEDIA_TIME: u16 = 106;
const DATA: u16 = 101;
const MODE: u16 = 102;
const START: u16 = 103;
const STOP: u16 = 104;

fn host() -> Host {
    let host = Host::start(|server| server.set_playback_compression(false));
    host.run(|server| {
        server.add_playback().unwrap();
        server.add_record().unwrap();
    });
    host
}

/// A sound channel of a client. It is there when its first message is.
fn link(host: &Host, main: &Client, channel_type: u8) -> Client {
    let mut client = host.connect();
    assert_eq!(client.link(channel_type, 0, main.session, b""), 0);
    client
}

fn playback(host: &Host, main: &Client) -> Client {
    let mut client = link(host, main, PLAYBACK);
    assert_eq!(client.message().0, MODE);
    client
}

/// Plays a frame of this sample; whether one was wanted.
fn play(host: &Host, sample: u32) -> bool {
    host.run(move |server| {
        server.playback_lend().map(|loan| server.playback_put(loan, Arc::new([sample; FRAME]))).is_some()
    })
}

fn data(client: &mut Client) -> u32 {
    let (kind, body) = client.message();
    assert_eq!((kind, body.len()), (DATA, 1924));
    assert!(body[4..].chunks(4).all(|sample| sample == &body[4..8]));
    u32::from_le_bytes(body[4..8].try_into().unwrap())
}

#[test]
fn one_of_each() {
    let host = host();
    host.run(|server| {
        assert!(server.add_playback().is_err() && server.add_record().is_err());
        server.remove_playback().unwrap();
        server.remove_record().unwrap();
        assert!(server.remove_playback().is_err() && server.remove_record().is_err());
        // Calls for what is not there do nothing.
        server.playback_start();
        server.set_record_rate(8_000);
        assert!(server.playback_lend().is_none() && server.record_samples(10).is_empty());
        server.add_playback().unwrap();
        server.add_record().unwrap();
    });
}

#[test]
fn what_the_guest_plays_reaches_the_client() {
    let host = host();
    let main = host.main();
    host.run(|server| server.playback_start());
    assert!(!play(&host, 1));
    let mut client = playback(&host, &main);
    assert_eq!(client.message().0, START);
    for sample in 1..=300 {
        assert!(play(&host, sample));
        assert_eq!(data(&mut client), sample);
    }
}

#[test]
fn start_and_stop_in_quick_succession_are_all_seen() {
    let host = host();
    let main = host.main();
    let mut client = playback(&host, &main);
    for sample in 1..=50 {
        host.run(|server| server.playback_start());
        assert!(play(&host, sample));
        host.run(|server| server.playback_stop());
        assert!(!play(&host, 9));
    }
    for sample in 1..=50 {
        assert_eq!(client.message().0, START);
        assert_eq!(data(&mut client), sample);
        assert_eq!(client.message().0, STOP);
    }
}

#[test]
fn a_second_link_takes_the_place_of_the_first() {
    let host = host();
    let main = host.main();
    host.run(|server| {
        server.playback_start();
        server.record_start();
    });
    for reconnect in 0..20 {
        let mut first = playback(&host, &main);
        assert_eq!(first.message().0, START);
        let mut second = playback(&host, &main);
        assert_eq!(second.message().0, START);
        assert!(first.rest().is_empty(), "reconnect {reconnect}");
        assert!(play(&host, reconnect));
        assert_eq!(data(&mut second), reconnect);
        let mut first = link(&host, &main, RECORD);
        assert_eq!(first.message().0, 101);
        let mut second = link(&host, &main, RECORD);
        assert_eq!(second.message().0, 101);
        assert!(first.rest().is_empty(), "reconnect {reconnect}");
    }
    assert_eq!(host.run(|server| server.num_clients()), 1);
}

#[test]
fn clients_are_told_the_time_when_sound_no_longer_tells_it() {
    let host = host();
    let mut main = host.main();
    // Nobody hears it: nothing to tell.
    host.run(|server| {
        server.playback_start();
        server.playback_stop();
        server.playback_start();
    });
    let client = playback(&host, &main);
    host.run(|server| server.playback_stop());
    main.until(MULTI_MEDIA_TIME);
    host.run(|server| server.playback_start());
    drop(client);
    main.until(MULTI_MEDIA_TIME);
    let client = playback(&host, &main);
    let other = playback(&host, &main);
    main.until(MULTI_MEDIA_TIME);
    host.run(|server| server.remove_playback().unwrap());
    main.until(MULTI_MEDIA_TIME);
    drop((client, other));
}

#[test]
fn the_channels_go_with_their_interface() {
    let host = host();
    let main = host.main();
    let (mut playback, mut record) = (playback(&host, &main), link(&host, &main, RECORD));
    host.run(|server| {
        server.record_start();
        server.remove_playback().unwrap();
        server.remove_record().unwrap();
    });
    assert!(playback.rest().is_empty());
    // START may have come before.
    record.rest();
    host.wait("the end of both connections", |host| {
        host.event_kinds().iter().filter(|kinds| *kinds == "123").count() == 2
    });
}

#[test]
fn each_of_several_clients_hears() {
    let host = host();
    host.run(|server| server.core.with(|state| state.config.multi_client = true));
    let (one, two) = (host.main(), host.main());
    let (mut first, mut second) = (playback(&host, &one), playback(&host, &two));
    host.run(|server| server.playback_start());
    assert!(play(&host, 7));
    for client in [&mut first, &mut second] {
        assert_eq!(client.message().0, START);
        assert_eq!(data(client), 7);
    }
    drop(first);
    host.wait("the first link's end", |host| host.event_kinds().iter().any(|kinds| kinds == "123"));
    assert!(play(&host, 8));
    assert_eq!(data(&mut second), 8);
}

#[test]
fn what_the_client_records_reaches_the_guest() {
    let host = host();
    let main = host.main();
    let mut client = link(&host, &main, RECORD);
    host.run(|server| server.record_start());
    assert_eq!(client.message().0, 101);
    let mut next = 0u32;
    for _ in 0..10 {
        let mut body = vec![0; 4];
        (next..next + 480).for_each(|sample| body.extend(sample.to_le_bytes()));
        next += 480;
        client.send(DATA, &body);
    }
    let mut got: Vec<u32> = Vec::new();
    let got = std::cell::RefCell::new(&mut got);
    host.wait("the samples", |host| {
        got.borrow_mut().extend(host.run(|server| server.record_samples(1000)));
        got.borrow().len() == 4800
    });
    assert!(got.borrow().iter().copied().eq(0..4800));
}

#[test]
fn hostile_record_data_ends_its_link_only() {
    let host = host();
    let main = host.main();
    host.run(|server| server.record_start());
    for (kind, body) in [(MODE, vec![0, 0, 0, 0, 9, 0]), (DATA, vec![1]), (150, vec![]), (STOP, vec![0; 4])] {
        let mut client = link(&host, &main, RECORD);
        assert_eq!(client.message().0, 101);
        client.send(kind, &body);
        assert!(client.rest().is_empty(), "type {kind}");
    }
    assert_eq!(host.run(|server| server.num_clients()), 1);
}
