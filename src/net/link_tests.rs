use super::*;
use crate::protocol::writer::Put;
use proptest::prelude::*;

fn link(common: u32) -> Vec<u8> {
    let mut v = Vec::new();
    v.put(b"REDQ");
    v.u32(2).u32(2).u32(26);
    v.u32(0).u8(1).u8(0).u32(1).u32(1).u32(18).u32(common).u32(0x0f);
    v
}

/// Feeds bytes as a driver would until an event comes.
fn feed(machine: &mut LinkMachine, bytes: &mut &[u8], step: usize) -> Option<LinkEvent> {
    loop {
        let n = machine.wanted().min(bytes.len()).min(step);
        if n == 0 {
            return None;
        }
        let (now, later) = bytes.split_at(n);
        *bytes = later;
        if let Some(event) = machine.feed(now) {
            return Some(event);
        }
    }
}

fn first_failure(bytes: &[u8]) -> Vec<u8> {
    let mut machine = LinkMachine::default();
    let event = feed(&mut machine, &mut &*bytes, usize::MAX);
    assert!(matches!(event, Some(LinkEvent::Failed(_))), "{event:?}");
    assert_eq!(machine.wanted(), 0);
    machine.output()
}

#[test]
fn good_link_asks_for_ticket_and_leaves_the_first_message() {
    let mut bytes = link(0x0b);
    bytes.u32(1).put(&[7; 128]);
    bytes.put(b"next");
    let mut rest = &bytes[..];
    let mut machine = LinkMachine::default();
    let Some(LinkEvent::Message(m)) = feed(&mut machine, &mut rest, 3) else { panic!("no message") };
    assert_eq!(m.channel_caps.words(), [0x0f]);
    machine.accept(Method::Ticket, Some(&[1; 162]), &Caps::from_words(vec![0x0b]), &Caps::default()).unwrap();
    assert_eq!(machine.output().len(), 16 + 178 + 4);
    assert_eq!(feed(&mut machine, &mut rest, 5), Some(LinkEvent::Ticket(Box::new([7; 128]))));
    machine.finish(LinkError::Ok);
    assert_eq!(machine.output(), [0; 4]);
    assert_eq!((machine.wanted(), rest), (0, &b"next"[..]));
}

#[test]
fn without_auth_selection_the_ticket_follows_at_once() {
    let mut bytes = link(0x08);
    bytes.put(&[9; 128]);
    let mut rest = &bytes[..];
    let mut machine = LinkMachine::default();
    assert!(matches!(feed(&mut machine, &mut rest, 64), Some(LinkEvent::Message(_))));
    machine.accept(Method::Ticket, Some(&[1; 162]), &Caps::default(), &Caps::default()).unwrap();
    assert!(matches!(feed(&mut machine, &mut rest, 64), Some(LinkEvent::Ticket(_))));
}

#[test]
fn bad_input_gets_the_documented_reply() {
    assert_eq!(first_failure(b"RED!"), error_reply(LinkError::InvalidMagic));
    assert_eq!(first_failure(b"REDQ\0\0\0\0\x02\0\0\0\x12\0\0\0"), []);
    assert_eq!(first_failure(b"REDQ\x01\0\0\0\x02\0\0\0\x12\0\0\0"), error_reply(LinkError::VersionMismatch));
    assert_eq!(first_failure(b"REDQ\x02\0\0\0\x02\0\0\0\x11\0\0\0"), error_reply(LinkError::InvalidData));
    assert_eq!(first_failure(b"REDQ\x02\0\0\0\x02\0\0\0\x01\x10\0\0"), error_reply(LinkError::InvalidData));
    let mut caps = link(0x0b);
    caps[16 + 6..16 + 10].copy_from_slice(&1025u32.to_le_bytes());
    assert_eq!(first_failure(&caps), error_reply(LinkError::InvalidData));
}

#[test]
fn mechanisms_other_than_the_ticket_are_refused() {
    for mechanism in [0u32, 2, 3, u32::MAX] {
        let mut machine = LinkMachine::default();
        assert!(matches!(feed(&mut machine, &mut &link(0x0b)[..], 64), Some(LinkEvent::Message(_))));
        machine.accept(Method::Ticket, Some(&[1; 162]), &Caps::default(), &Caps::default()).unwrap();
        let _ = machine.output();
        let event = feed(&mut machine, &mut &mechanism.to_le_bytes()[..], 4);
        assert!(matches!(event, Some(LinkEvent::Failed(_))));
        assert_eq!(machine.output(), error_reply(LinkError::InvalidData));
    }
}

#[test]
fn upgrade_request_may_come_in_pieces() {
    let request = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n";
    for step in 1..request.len() {
        let mut machine = LinkMachine::default();
        let mut rest = &request[..];
        assert_eq!(feed(&mut machine, &mut rest, step), Some(LinkEvent::Upgrade(request.to_vec())));
        machine.restart();
        assert!(matches!(feed(&mut machine, &mut &request[..], step), Some(LinkEvent::Failed(_))));
        assert_eq!(machine.output(), error_reply(LinkError::InvalidMagic));
    }
    let long = [&b"GET "[..], &[b'a'; 9000]].concat();
    assert_eq!(first_failure(&long), error_reply(LinkError::InvalidMagic));
}

proptest! {
    #![proptest_config(crate::testing::cases(128))]
    #[test]
    fn arbitrary_bytes_never_panic(
        data in proptest::collection::vec(any::<u8>(), 0..400),
        good in any::<bool>(),
        step in 1usize..50,
    ) {
        let bytes = if good { [link(0x0b), data].concat() } else { data };
        fuzz_machine(&bytes, step);
    }
}
