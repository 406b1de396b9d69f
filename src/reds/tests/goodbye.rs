//! What clients are told when they are thrown out, and when they ask for what does not exist.

use super::harness::{Client, Host, link_bytes};
use crate::limits::MAX_SILENCE;
use crate::protocol::common::server::{DISCONNECTING, NOTIFY};
use crate::protocol::link::LinkError;
use std::time::Duration;

const MAIN: u8 = 1;
/// Severity ERROR, visibility HIGH.
const LOUD: [u8; 8] = [2, 0, 0, 0, 2, 0, 0, 0];

/// A client that has read its net test.
fn main_client(host: &Host) -> Client {
    let mut client = host.main();
    client.round_trip();
    client
}

/// Reads to the end of the connection; the text and the reason of the goodbye, which must be the last that was said.
fn goodbye(client: &mut Client) -> (String, u32) {
    let mut notice = None;
    loop {
        let (kind, body) = client.any_message();
        match kind {
            NOTIFY if body[8..16] == LOUD => notice = Some(body),
            DISCONNECTING => {
                let reason = u32::from_le_bytes(body[8..].try_into().unwrap());
                let notice = notice.expect("a notice before");
                assert_eq!(notice[16..20], reason.to_le_bytes());
                let text = notice[24..notice.len() - 1].to_vec();
                assert_eq!(client.rest(), [], "nothing follows");
                return (String::from_utf8(text).unwrap(), reason);
            }
            _ => {}
        }
    }
}

fn said(text: &str, reason: LinkError) -> (String, u32) {
    (format!("disconnected: {text}"), reason.number())
}

#[test]
fn a_client_hears_that_another_took_over() {
    let host = Host::start(|_| {});
    let mut first = main_client(&host);
    let mut inputs = host.inputs(&first);
    let mut second = main_client(&host);
    assert_eq!(goodbye(&mut first), said("another client took over", LinkError::BadConnectionId));
    assert_eq!(inputs.rest(), []);
    second.round_trip();
}

#[test]
fn a_client_hears_that_its_ticket_is_void() {
    let host = Host::start(|_| {});
    let mut client = main_client(&host);
    host.run(|server| server.set_ticket(Some(b"new"), 0, false, true).unwrap());
    assert_eq!(goodbye(&mut client), said("the password changed", LinkError::PermissionDenied));
    let mut client = host.connect();
    assert_eq!(client.link(MAIN, 0, 0, b"new"), 0);
    client.round_trip();
    // QEMU's way to let a password expire, with and without those that are in.
    host.run(|server| server.set_ticket(None, 1, false, false).unwrap());
    client.round_trip();
    host.run(|server| server.set_ticket(None, 1, false, true).unwrap());
    assert_eq!(goodbye(&mut client), said("the password changed", LinkError::PermissionDenied));
}

#[test]
fn a_silent_client_hears_that_it_was_too_silent() {
    let host = Host::start(|_| {});
    let mut client = main_client(&host);
    // It owes the PONGs of the net test.
    host.advance(MAX_SILENCE + Duration::from_secs(1));
    host.advance(MAX_SILENCE + Duration::from_secs(1));
    let text = format!("no byte moved for {} s", MAX_SILENCE.as_secs() + 1);
    assert_eq!(goodbye(&mut client), said(&text, LinkError::Error));
}

#[test]
fn a_client_that_breaks_the_protocol_hears_what_it_did() {
    let host = Host::start(|_| {});
    let mut client = main_client(&host);
    // More than the server reads of it: the goodbye must get through all the same.
    client.send(101, &[0; 8]);
    client.send(104, &[0; 10_000]);
    let (text, reason) = goodbye(&mut client);
    assert!(text.contains("CLIENT_INFO"), "{text}");
    assert_eq!(reason, LinkError::InvalidData.number());
}

#[test]
fn clients_hear_that_the_server_ends() {
    let host = Host::start(|_| {});
    let mut client = main_client(&host);
    drop(host);
    assert_eq!(goodbye(&mut client), said("the server ends", LinkError::ChannelNotAvailable));
}

#[test]
fn a_channel_that_does_not_exist_is_not_available() {
    let host = Host::start(|_| {});
    let main = host.main();
    for (channel_type, id) in [(2, 0), (3, 1), (7, 0), (200, 0)] {
        let mut client = host.connect();
        client.send_raw(&link_bytes(channel_type, id, main.session, 0x0b));
        let reply = client.rest();
        assert_eq!(reply.len(), 194);
        assert_eq!(reply[16..20], LinkError::ChannelNotAvailable.number().to_le_bytes());
    }
}
