//! Seamless migration of devices without flow control, with the original's bytes.

use super::*;
use crate::channel::out::Said;
use crate::channel::testing::{Untouched, arrival, unhex};
use crate::host::call::HostCall;

const AT: ConnectionId = ConnectionId(5);
/// Of a port whose guest took three bytes of "abcdefg", "hij".
const PORT_STATE: &str = "53564d44010000000100000001ffffffffffffffff0700000000000000210000006465666768696a";
const IDLE_STATE: &str = "53564d44010000000100000001ffffffffffffffff000000000000000000000000";

fn port() -> VmcChannel {
    VmcChannel::new(VmcKind::Port("org.x".into()), DeviceId(1), Arc::new(Untouched), true)
}

fn writes(said: &mut Said) -> Vec<Vec<u8>> {
    let written = said.calls.drain(..).filter_map(|call| match call {
        HostCall::DeviceWrite { bytes, offset, .. } => Some(bytes[offset..].to_vec()),
        _ => None,
    });
    written.collect()
}

#[test]
fn bytes_that_the_guest_does_not_have_come_to_the_target_before_all_others() {
    let (mut served, mut peer, mut said) = arrival(port(), AT);
    let now = Instant::now();
    let states: Vec<_> = said.calls.drain(..).collect();
    assert!(matches!(states[..], [HostCall::DeviceState { connected: true, .. }]), "{states:?}");
    served.flush(AT, now, &mut said);
    assert_eq!(peer.expect().0, spicevmc::PORT_INIT);
    let (channel, mut out) = served.parts(now, &mut said);
    // The guest may say something already, which is left with it.
    channel.wakeup(&mut out);
    assert_eq!(channel.migrate_data(AT, &mut out), Some(unhex(IDLE_STATE)));
    channel.restore(AT, &unhex(PORT_STATE), &mut out).unwrap();
    channel.on_reply(HostReply::DeviceRead { device: DeviceId(1), bytes: Vec::new() }, &mut out);
    assert_eq!(writes(&mut said), [b"defghij"]);
}

#[test]
fn the_state_is_the_originals() {
    let (mut served, _peer, mut said) = arrival(port(), AT);
    let now = Instant::now();
    let (channel, mut out) = served.parts(now, &mut said);
    channel.restore(AT, &unhex(PORT_STATE), &mut out).unwrap();
    channel.set_running(false, &mut out);
    channel.on_reply(HostReply::DeviceRead { device: DeviceId(1), bytes: Vec::new() }, &mut out);
    assert_eq!(channel.migrate_data(AT, &mut out), Some(unhex(PORT_STATE)));
    assert_eq!(channel.waiting(), 0, "the bytes are the target's");
    let stranger = channel.migrate_data(ConnectionId(6), &mut out);
    assert_eq!(stranger, Some(encode_spicevmc(&CharDeviceState::default())));
}

#[test]
fn a_client_that_leaves_before_it_brings_its_state_takes_the_wait_with_it() {
    let (mut served, _peer, mut said) = arrival(port(), AT);
    let now = Instant::now();
    served.take(AT);
    served.on_closed(AT, now, &mut said);
    said.calls.clear();
    let (connection, _peer) =
        crate::channel::testing::Peer::unix(ChannelType::Port, super::super::connection::ClientId(2));
    served.attach(ConnectionId(6), connection, now, &mut said);
    assert!(said.calls.iter().any(|call| matches!(call, HostCall::DeviceRead { .. })), "{said:?}");
}

#[test]
fn states_that_lie_end_the_link() {
    let (mut served, _peer, mut said) = arrival(port(), AT);
    let (channel, mut out) = served.parts(Instant::now(), &mut said);
    let mut bad = unhex(PORT_STATE);
    bad[29] = 0x22;
    assert!(channel.restore(AT, &bad, &mut out).is_err());
    assert!(channel.restore(AT, b"SVMD", &mut out).is_err());
    assert!(channel.restore(AT, &[b"SCMD", &bad[4..]].concat(), &mut out).is_err());
}
