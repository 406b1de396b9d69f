//! Conversations that go on at the target of a migration, with the original's bytes.

use super::*;
use crate::channel::main::MainChannel;
use crate::channel::out::Said;
use crate::channel::served::Served;
use crate::channel::testing::{Peer, Untouched, arrival, unhex};
use crate::channel::{Channel, ServerRequest};
use crate::device::DeviceIo;
use crate::host::DeviceId;
use crate::host::call::{HostCall, HostReply};
use crate::protocol::agent::{MessageHeader, message};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

const AT: ConnectionId = ConnectionId(5);
/// Window of 10, of which two messages of 58 and 38 bytes wait, the guest having taken three bytes; 7 messages may be sent to
/// the client, which has 53 of 120 bytes of the guest's present message.
const IN_MESSAGES: &str = "4d4e4d4401000000010000000108000000070000005d000000020000004100000001080000000100000043000000010000000000000000\
     43000000002800000000003200000001000000040000000000000000000000640000007878787878787878787878787878787878787878\
     78787878787878787878010000001e000000797979797979797979797979797979797979797979797979797979797979";
/// The same, with five bytes of the header of a chunk of 120 bytes.
const IN_CHUNK_HEADER: &str = "4d4e4d4401000000010000000108000000070000005d000000020000004100000001050000000100000078000000000000000000000000\
     00000000002800000000003200000001000000040000000000000000000000640000007878787878787878787878787878787878787878\
     78787878787878787878010000001e000000797979797979797979797979797979797979797979797979797979797979";
const IDLE: &str = "4d4e4d440100000001000000010a0000000700000000000000000000000000000001\
     00000000000000000000000000000000000000000000000000000000000000";

fn io() -> DeviceIo<Origin> {
    DeviceIo::new(DeviceId(1), Arc::new(Untouched), true)
}

/// A target to which the client links before (`first`) or after the agent's port opened.
fn target() -> (Served<MainChannel>, Peer, Said) {
    let (mut served, peer, mut said) = arrival(MainChannel::default(), AT);
    let (main, _) = served.parts(Instant::now(), &mut said);
    main.agent.hold(AT);
    (served, peer, said)
}

fn answer(main: &mut MainChannel, bytes: &[u8], out: &mut Out<'_>) {
    main.on_reply(HostReply::DeviceRead { device: DeviceId(1), bytes: bytes.to_vec() }, out);
}

fn types(served: &mut Served<MainChannel>, peer: &mut Peer, said: &mut Said, count: usize) -> Vec<u16> {
    served.flush(AT, Instant::now(), said);
    let types = peer.expect_types(count);
    assert!(peer.is_silent());
    types
}

#[test]
fn states_are_the_originals() {
    for state in [IN_MESSAGES, IN_CHUNK_HEADER, IDLE] {
        let (mut served, peer, mut said) = target();
        let (main, mut out) = served.parts(Instant::now(), &mut said);
        main.agent.attach(io(), &mut out);
        main.restore(AT, &unhex(state), &mut out).unwrap();
        main.agent.set_running(false, &mut out);
        answer(main, &[], &mut out);
        let again = main.migrate_data(AT, &mut out).unwrap();
        assert_eq!(again, unhex(state), "{again:02x?}");
        served.flush(AT, Instant::now(), &mut said);
        assert!(peer.is_silent(), "it knows the agent from the source");
        assert!(said.requests.contains(&(Some(AT), ServerRequest::AgentStarted)));
    }
}

#[test]
fn both_messages_go_on_at_the_target() {
    for first in [true, false] {
        let (mut served, mut peer, mut said) = target();
        let (main, mut out) = served.parts(Instant::now(), &mut said);
        if first {
            main.agent.attach(io(), &mut out);
            main.agent.wakeup(&mut out);
        }
        main.restore(AT, &unhex(IN_MESSAGES), &mut out).unwrap();
        if !first {
            main.agent.attach(io(), &mut out);
        }
        answer(main, &[b'z'; 67], &mut out);
        answer(main, &[], &mut out);
        served.flush(AT, Instant::now(), &mut said);
        assert_eq!(peer.expect(), (109, vec![b'z'; 67]));
        let write = said.calls.drain(..).find_map(|call| match call {
            HostCall::DeviceWrite { bytes, .. } => Some(bytes),
            _ => None,
        });
        let bytes = write.expect("a write");
        assert_eq!((bytes.len(), &bytes[..9]), (93, &unhex("003200000001000000")[..]));
        // The guest takes it: two tokens are free then, and three more messages give five back.
        let (main, mut out) = served.parts(Instant::now(), &mut said);
        main.on_reply(HostReply::DeviceWritten { device: DeviceId(1), bytes, taken: 93 }, &mut out);
        main.agent.data(AT, &[1; 40], &mut out).unwrap();
        let bytes = said.calls.drain(..).find_map(|call| match call {
            HostCall::DeviceWrite { bytes, .. } => Some(bytes),
            _ => None,
        });
        assert_eq!(bytes.as_deref(), Some(&[&[1, 0, 0, 0, 40, 0, 0, 0][..], &[1; 40]].concat()[..]));
    }
}

#[test]
fn a_client_learns_what_became_of_the_agent_meanwhile() {
    const GONE: u16 = 108;
    const HERE: u16 = 107; // The client of these tests has no capabilities.
    let cases: [(&[bool], &str, &[u16]); 6] = [
        (&[true, false], IDLE, &[GONE]),
        (&[true, false, true], IDLE, &[GONE, HERE]),
        (&[true], IDLE_WITHOUT_AGENT, &[HERE]),
        (&[], IDLE_WITHOUT_AGENT, &[]),
        (&[true], IDLE, &[]),
        (&[], IDLE, &[]),
    ];
    for (events, state, expect) in cases {
        let (mut served, mut peer, mut said) = target();
        let (main, mut out) = served.parts(Instant::now(), &mut said);
        for &attach in events {
            if attach {
                main.agent.attach(io(), &mut out);
            } else {
                main.agent.detach(&mut out);
            }
        }
        main.restore(AT, &unhex(state), &mut out).unwrap();
        assert_eq!(types(&mut served, &mut peer, &mut said, expect.len()), expect, "{events:?}");
    }
}

/// Of a source whose agent's device was closed.
const IDLE_WITHOUT_AGENT: &str = "4d4e4d44010000000100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
     00000000000000000000";

#[test]
fn a_source_without_an_agent_has_nothing_to_tell() {
    let (mut served, _peer, mut said) = target();
    let (main, mut out) = served.parts(Instant::now(), &mut said);
    assert_eq!(main.migrate_data(AT, &mut out), Some(unhex(IDLE_WITHOUT_AGENT)));
}

#[test]
fn the_client_gets_what_is_here_of_the_present_message_but_not_of_its_header() {
    let mut header = Vec::new();
    MessageHeader { protocol: 1, message_type: message::CLIPBOARD, opaque: 0, size: 100 }.put(&mut header);
    let whole = [&header[..], &[7; 100]].concat();
    for (here, sent, done) in [(13, 0, false), (20, 20, true), (53, 53, true)] {
        let (mut served, mut peer, mut said) = target();
        let now = Instant::now();
        let (main, mut out) = served.parts(now, &mut said);
        main.agent.attach(io(), &mut out);
        main.restore(AT, &unhex(IDLE), &mut out).unwrap();
        answer(main, &[1, 0, 0, 0, 120, 0, 0, 0], &mut out);
        answer(main, &whole[..here], &mut out);
        main.on_migrate(AT, &mut out);
        let data = main.migrate_data(AT, &mut out).unwrap();
        let state = MainState::decode(&data).unwrap();
        assert_eq!((state.chunk_header_size, state.chunk_port), (8, 1));
        assert_eq!((state.chunk_size as usize, state.msg_header_done), (120 - here, done));
        assert_eq!(state.msg_header, whole[..if done { 0 } else { here }]);
        served.flush(AT, now, &mut said);
        if sent > 0 {
            assert_eq!(peer.expect(), (109, whole[..sent].to_vec()));
        }
        assert_eq!(peer.expect(), (1, vec![3, 0, 0, 0]));
        assert!(peer.is_silent());
        // And at the target the rest.
        let (mut served, mut peer, mut said) = target();
        let (main, mut out) = served.parts(now, &mut said);
        main.agent.attach(io(), &mut out);
        main.restore(AT, &data, &mut out).unwrap();
        answer(main, &whole[here..], &mut out);
        served.flush(AT, now, &mut said);
        assert_eq!(peer.expect(), (109, whole[sent..].to_vec()));
    }
}

#[test]
fn states_that_lie_end_the_link_or_begin_anew() {
    let with = |change: &dyn Fn(&mut MainState)| {
        let mut state = MainState::decode(&unhex(IDLE)).unwrap();
        change(&mut state);
        let (mut served, peer, mut said) = target();
        let (main, mut out) = served.parts(Instant::now(), &mut said);
        main.agent.attach(io(), &mut out);
        let result = main.restore(AT, &state.encode(), &mut out);
        (result, served, peer, said)
    };
    assert!(with(&|state| state.device.num_client_tokens = 11).0.is_err());
    assert!(with(&|state| state.device.write_num_client_tokens = u32::MAX).0.is_err());
    let (result, mut served, mut peer, mut said) =
        with(&|state| (state.chunk_header_size, state.chunk_port) = (8, 3));
    assert!(result.is_ok());
    // Without a token or two the client may go on; without a chunk that can be it begins anew.
    assert!(types(&mut served, &mut peer, &mut said, 0).is_empty(), "an empty chunk is none");
    let (result, mut served, mut peer, mut said) =
        with(&|state| (state.chunk_header_size, state.chunk_port, state.chunk_size) = (8, 3, 5));
    assert!(result.is_ok());
    assert_eq!(types(&mut served, &mut peer, &mut said, 2), [108, 107]);
}

proptest! {
    #![proptest_config(crate::testing::cases(128))]
    /// Whatever a client brings, the agent's port goes on without a panic, and so does what a guest says then.
    #[test]
    fn no_state_harms(at in 0usize..158, byte: u8, says in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..80)) {
        let mut data = unhex(IN_MESSAGES);
        data[at] = byte;
        let (mut served, _peer, mut said) = target();
        let (main, mut out) = served.parts(Instant::now(), &mut said);
        main.agent.attach(io(), &mut out);
        if main.restore(AT, &data, &mut out).is_err() {
            return Ok(());
        }
        for part in says.chunks(7) {
            let wanted = said.calls.drain(..).find_map(|call| match call {
                HostCall::DeviceRead { max, .. } => Some(max),
                _ => None,
            });
            let Some(wanted) = wanted else { break };
            let (main, mut out) = served.parts(Instant::now(), &mut said);
            answer(main, &part[..part.len().min(wanted)], &mut out);
        }
    }
}
