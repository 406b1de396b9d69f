//! Seamless migration of a smartcard reader, with the original's bytes.

use super::*;
use crate::channel::testing::{Untouched, arrival, unhex};
use crate::host::call::HostCall;

const AT: ConnectionId = ConnectionId(5);
/// Of a reader that the client added, with the guest having taken three bytes of that, and 15 bytes of a message of 22.
const STATE: &str = "53434d44010000000100000001ffffffffffffffff09000000000000002a000000010f00000033000000\
                     03000000000000000000000007000000000000000a616263";
const IDLE_STATE: &str =
    "53434d44010000000100000001ffffffffffffffff000000000000000000000000000000000000000000";

#[test]
fn a_reader_goes_on_at_the_target() {
    let (mut served, mut peer, mut said) = arrival(SmartcardChannel::default(), AT);
    let now = Instant::now();
    let (channel, mut out) = served.parts(now, &mut said);
    channel.add(DeviceId(1), Arc::new(Untouched), true, &mut out);
    out.call(HostCall::DeviceState {
        device: crate::host::call::DeviceHandle { id: DeviceId(9), device: Arc::new(Untouched) },
        connected: false,
    });
    let nothing = |bytes: &[u8]| HostReply::DeviceRead { device: DeviceId(1), bytes: bytes.to_vec() };
    channel.on_reply(nothing(&[]), &mut out);
    channel.set_running(false, &mut out);
    assert_eq!(channel.migrate_data(AT, &mut out), Some(unhex(IDLE_STATE)));
    channel.restore(AT, &unhex(STATE), &mut out).unwrap();
    assert_eq!(channel.migrate_data(AT, &mut out), Some(unhex(STATE)));
    channel.restore(AT, &unhex(STATE), &mut out).unwrap();
    channel.set_running(true, &mut out);
    // The rest of the guest's message.
    channel.on_reply(nothing(b"defghij"), &mut out);
    channel.on_reply(nothing(&[]), &mut out);
    served.flush(AT, now, &mut said);
    let apdu = [7u32, 0, 10].map(u32::to_le_bytes).concat();
    assert_eq!(peer.expect(), (SMARTCARD, [&apdu[..], b"abcdefghij"].concat()));
    let is_rest = |call: &HostCall| matches!(call, HostCall::DeviceWrite { bytes, offset: 0, .. } if *bytes == unhex("030000000000000000"));
    assert!(said.calls.iter().any(is_rest), "{said:?}");
    // The client may take its reader away again.
    let (channel, mut out) = served.parts(now, &mut said);
    channel.remove_reader(AT, 0, &mut out);
    assert!(!channel.readers[0].added);
}

#[test]
fn states_that_lie_end_the_link() {
    let (mut served, _peer, mut said) = arrival(SmartcardChannel::default(), AT);
    let (channel, mut out) = served.parts(Instant::now(), &mut said);
    channel.restore(AT, &unhex(STATE), &mut out).unwrap();
    let mut far = unhex(STATE);
    far[34] = 0xff;
    assert!(channel.restore(AT, &far, &mut out).is_err());
    let long = SmartcardState { read_data: vec![0; HEADER + MAX_CARD_MESSAGE], ..SmartcardState::default() };
    assert!(channel.restore(AT, &long.encode(), &mut out).is_err());
}

#[test]
fn the_host_hears_of_a_broken_reader_though_its_client_left() {
    let (mut served, _peer, mut said) = arrival(SmartcardChannel::default(), AT);
    let now = Instant::now();
    let (channel, mut out) = served.parts(now, &mut said);
    channel.add(DeviceId(1), Arc::new(Untouched), true, &mut out);
    let long = [7u32, 0, u32::MAX].map(u32::to_be_bytes);
    channel.restore(AT, &SmartcardState::default().encode(), &mut out).unwrap();
    channel.on_reply(HostReply::DeviceRead { device: DeviceId(1), bytes: long.concat() }, &mut out);
    served.take(AT);
    said.calls.clear();
    served.on_closed(AT, now, &mut said);
    assert!(said.calls.is_empty(), "not inside of the call in which the guest broke the protocol: {said:?}");
    served.on_channel_timer(now, &mut said);
    assert!(matches!(said.calls[..], [HostCall::DeviceState { connected: false, .. }]), "{said:?}");
    let (channel, _) = served.parts(now, &mut said);
    assert!(!channel.remove(DeviceId(1)), "the host knows");
}
