use super::*;
use crate::channel::pings::PING_IDLE;
use crate::channel::testing::Peer;
use crate::limits::MAX_SILENCE;
use crate::protocol::ChannelType;
use crate::protocol::Message;
use crate::protocol::common::{client, server};

fn limit(msg_type: u16) -> Option<usize> {
    (msg_type <= 101).then_some(16)
}

const OPTIONS: LinkOptions = LinkOptions { max_body: limit, window: true, ping_period: PING_PERIOD };

fn make(pair: (ChannelConnection, Peer), now: Instant) -> (ChannelLink, Peer) {
    let mut client = ChannelLink::new(pair.0, OPTIONS, now);
    client.open();
    client.flush(false, now).unwrap();
    (client, pair.1)
}

fn unix(now: Instant) -> (ChannelLink, Peer) {
    make(Peer::unix(ChannelType::Display, ClientId(1)), now)
}

fn tcp(now: Instant) -> (ChannelLink, Peer) {
    make(Peer::tcp(ChannelType::Display, ClientId(1)), now)
}

/// Receives until something was read.
fn receive_until(client: &mut ChannelLink, now: Instant, done: impl Fn(&ChannelLink) -> bool) {
    while !done(client) {
        client.begin_reading();
        assert_eq!(client.receive(now).unwrap(), None);
        std::thread::yield_now();
    }
}

#[test]
fn nothing_may_be_sent_before_open() {
    let now = Instant::now();
    let (connection, peer) = Peer::unix(ChannelType::Display, ClientId(1));
    let client = ChannelLink::new(connection, OPTIONS, now);
    assert!(!client.may_send());
    assert!(peer.is_silent());
}

#[test]
fn set_ack_comes_first_and_the_window_stops_the_rest() {
    let now = Instant::now();
    let (mut client, mut peer) = unix(now);
    assert_eq!(peer.expect(), (server::SET_ACK, vec![1, 0, 0, 0, 20, 0, 0, 0]));
    let mut sent = 0;
    while client.may_send() {
        client.send(Message::bare(102));
        sent += 1;
    }
    assert_eq!(sent, 40);
    client.flush(true, now).unwrap();
    peer.send(client::ACK_SYNC, &[1, 0, 0, 0]);
    peer.send(client::ACK, &[]);
    receive_until(&mut client, now, ChannelLink::may_send);
}

#[test]
fn a_larger_window_is_told_once_and_opens_when_confirmed() {
    let now = Instant::now();
    let (mut client, mut peer) = unix(now);
    peer.expect();
    client.offer_window();
    assert!(!client.is_held_by_window());
    peer.send(client::ACK_SYNC, &[1, 0, 0, 0]);
    client.begin_reading();
    assert_eq!(client.receive(now).unwrap(), None);
    while client.may_send() {
        client.send(Message::bare(102));
    }
    assert!(client.is_held_by_window());
    for _ in 0..2 {
        client.offer_window();
    }
    client.flush(true, now).unwrap();
    for _ in 0..40 {
        assert_eq!(peer.expect().0, 102);
    }
    assert_eq!(peer.expect(), (server::SET_ACK, vec![2, 0, 0, 0, 64, 1, 0, 0]));
    assert!(peer.is_silent());
    peer.send(client::ACK_SYNC, &[2, 0, 0, 0]);
    receive_until(&mut client, now, ChannelLink::may_send);
}

#[test]
fn stray_migration_messages_end_the_channel() {
    for msg_type in [client::MIGRATE_FLUSH_MARK, client::MIGRATE_DATA] {
        let now = Instant::now();
        let (mut client, mut peer) = unix(now);
        peer.send(msg_type, &[]);
        assert!(client.receive(now).is_err());
    }
    let now = Instant::now();
    let (mut client, mut peer) = unix(now);
    client.hand_over(true);
    peer.send(client::MIGRATE_FLUSH_MARK, &[]);
    peer.send(client::MIGRATE_FLUSH_MARK, &[]);
    assert_eq!(client.receive(now).unwrap(), Some(Received::FlushMark));
    assert!(client.receive(now).is_err());
}

#[test]
fn too_long_and_unknown_messages_end_the_channel() {
    let now = Instant::now();
    for (msg_type, size) in [(101, 17), (102, 0), (200, 0)] {
        let (mut client, mut peer) = unix(now);
        peer.send(msg_type, &vec![0; size]);
        let error = client.receive(now).unwrap_err();
        assert!(!error.is_close());
    }
    let (mut client, peer) = unix(now);
    drop(peer);
    assert!(client.receive(now).unwrap_err().is_close());
}

#[test]
fn a_flood_of_messages_is_read_in_batches() {
    let now = Instant::now();
    let (mut client, mut peer) = unix(now);
    for _ in 0..=MAX_MESSAGES_PER_READ {
        peer.send(client::ACK, &[]);
    }
    client.begin_reading();
    assert_eq!(client.receive(now).unwrap(), None);
    assert!(client.wants_reading());
    assert_eq!(client.next_deadline(now), Some(now));
    client.begin_reading();
    assert_eq!(client.receive(now).unwrap(), None);
    assert!(!client.wants_reading());
}

#[test]
fn latency_is_measured_by_two_pings_when_idle() {
    let start = Instant::now();
    let (mut client, mut peer) = tcp(start);
    assert_eq!(peer.expect().0, server::SET_ACK);
    assert_eq!(client.next_deadline(start), Some(start + PING_IDLE));
    // The kernel holds what the peer has not acknowledged; then the test waits.
    while client.stream().kernel_queue().is_some_and(|n| n > 0) {
        std::thread::yield_now();
    }
    let sent = start + PING_IDLE;
    client.on_timer(sent).unwrap();
    let (first, second) = (peer.expect(), peer.expect());
    assert_eq!((first.0, first.1.len()), (server::PING, 12));
    assert_eq!(first, second);
    peer.send(client::PONG, &[9; 12]);
    let foreign = loop {
        client.begin_reading();
        if let Some(received) = client.receive(sent).unwrap() {
            break received;
        }
    };
    assert_eq!(foreign, Received::Pong { id: 0x0909_0909 });
    peer.send(client::PONG, &first.1);
    peer.send(client::PONG, &first.1);
    let answered = sent + Duration::from_millis(7);
    receive_until(&mut client, answered, |c| c.round_trip().is_some());
    assert_eq!(client.round_trip(), Some(Duration::from_millis(7)));
    assert_eq!(client.next_deadline(answered), Some(answered + PING_PERIOD));
    // A second test may only improve it; a busy pipe puts it off.
    client.flush(true, answered).unwrap();
    assert_eq!(client.next_deadline(answered), None);
    client.flush(false, answered).unwrap();
    client.on_timer(answered + PING_PERIOD).unwrap();
    let ping = peer.expect();
    peer.send(client::PONG, &ping.1);
    peer.send(client::PONG, &ping.1);
    let late = answered + PING_PERIOD + Duration::from_millis(50);
    receive_until(&mut client, late, |c| !c.ping.is_running());
    assert_eq!(client.round_trip(), Some(Duration::from_millis(7)));
}

#[test]
fn local_sockets_are_not_tested() {
    let now = Instant::now();
    let (client, _peer) = unix(now);
    assert_eq!(client.next_deadline(now), None);
}

#[test]
fn a_client_that_answers_no_ping_is_disconnected() {
    let start = Instant::now();
    let (mut client, mut peer) = tcp(start);
    peer.expect();
    while client.stream().kernel_queue().is_some_and(|n| n > 0) {
        std::thread::yield_now();
    }
    let sent = start + PING_IDLE;
    client.on_timer(sent).unwrap();
    let end = client.next_deadline(sent).unwrap();
    assert_eq!(end, sent + MAX_SILENCE);
    client.on_timer(end - Duration::from_millis(1)).unwrap();
    assert!(matches!(client.on_timer(end), Err(ChannelError::Silent(_))));
}

/// Phones and roaming laptops: with the original they live at 68 s and are gone at 84 s.
#[test]
fn a_client_may_be_silent_for_as_long_as_with_the_original() {
    let start = Instant::now();
    let (mut client, _peer) = unix(start);
    while !client.is_blocked() {
        client.send(Message::new(103, vec![7; 60_000]));
        client.flush(true, start).unwrap();
    }
    client.on_timer(start + Duration::from_secs(68)).unwrap();
    assert!(client.on_timer(start + Duration::from_secs(84)).is_err());
}

/// Each stall comes after a life of 20 s, and the client goes on afterwards.
#[test]
fn a_client_survives_the_stalls_that_it_survives_with_the_original() {
    for stall in [40, 44, 48, 56, 68] {
        let mut now = Instant::now();
        let (mut client, mut peer) = unix(now);
        assert_eq!(peer.expect().0, server::SET_ACK);
        let second = Duration::from_secs(1);
        for _ in 0..20 {
            now += second;
            client.send(Message::new(103, vec![7; 60_000]));
            client.flush(false, now).unwrap();
            assert_eq!(peer.expect().0, 103);
            client.on_timer(now).unwrap();
        }
        let mut waiting = 0;
        while !client.is_blocked() {
            client.send(Message::new(103, vec![7; 60_000]));
            client.flush(true, now).unwrap();
            waiting += 1;
        }
        for _ in 0..stall {
            now += second;
            client.flush(true, now).unwrap();
            client.on_timer(now).unwrap();
        }
        for _ in 0..waiting {
            assert_eq!(peer.expect().0, 103);
            client.flush(false, now).unwrap();
        }
        assert!(!client.is_blocked());
        client.on_timer(now + MAX_SILENCE).unwrap();
    }
}

#[test]
fn a_client_that_stops_reading_is_disconnected_and_one_that_reads_slowly_is_not() {
    let start = Instant::now();
    let (mut client, mut peer) = unix(start);
    while !client.is_blocked() {
        client.send(Message::new(103, vec![7; 60_000]));
        client.flush(true, start).unwrap();
    }
    assert!(!client.may_send());
    assert!(client.interest().write);
    // Some bytes move in time.
    let half = start + MAX_SILENCE / 2;
    while client.silence.limit() == Some(start + MAX_SILENCE) {
        peer.expect();
        client.flush(true, half).unwrap();
    }
    while !client.is_blocked() {
        client.send(Message::new(103, vec![7; 60_000]));
        client.flush(true, half).unwrap();
    }
    client.on_timer(start + MAX_SILENCE).unwrap();
    assert!(matches!(client.on_timer(half + MAX_SILENCE), Err(ChannelError::Silent(_))));
}

#[test]
fn a_client_that_owes_only_an_ack_is_disconnected() {
    let start = Instant::now();
    let (mut client, _peer) = unix(start);
    while client.may_send() {
        client.send(Message::bare(102));
    }
    client.flush(false, start).unwrap();
    assert_eq!(client.next_deadline(start), None, "nothing waits, so nothing is owed");
    client.flush(true, start).unwrap();
    assert!(client.on_timer(start + MAX_SILENCE).is_err());
}
