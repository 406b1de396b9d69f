use super::super::testing::FakeBackend;
use super::super::{SaslPeer, SaslSession, perform};
use super::*;
use proptest::prelude::*;

fn message(data: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    match data {
        None => drop(out.u32(0)),
        Some(data) => {
            out.u32(data.len() as u32 + 1);
            out.put(data);
            out.put(&[0]);
        }
    }
    out
}

fn name(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.u32(name.len() as u32);
    out.put(name);
    out
}

/// An exchange with the implementation for tests.
struct Server {
    exchange: SaslExchange,
    session: Option<Box<dyn SaslSession>>,
    output: Vec<u8>,
    event: Option<SaslEvent>,
}

impl Server {
    fn new(cipher_bits: u32) -> Self {
        let mut server = Self {
            exchange: SaslExchange::new(cipher_bits == 0),
            session: None,
            output: Vec::new(),
            event: None,
        };
        server.work(SaslJob::Open(SaslPeer { cipher_bits, ..SaslPeer::default() }));
        server
    }

    fn work(&mut self, job: SaslJob) {
        let answer = perform(&FakeBackend::default(), &mut self.session, job);
        self.event = self.exchange.answer(answer, &mut self.output);
    }

    /// Feeds bytes in pieces until something happens; what the client is told then.
    fn say(&mut self, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut rest = bytes;
        while !rest.is_empty() && self.event.is_none() {
            let n = self.exchange.wanted().min(rest.len()).min(piece);
            assert!(n > 0, "it does not listen");
            let (now, later) = rest.split_at(n);
            rest = later;
            self.event = self.exchange.feed(now);
            if let Some(SaslEvent::Job(_)) = self.event
                && let Some(SaslEvent::Job(job)) = self.event.take()
            {
                assert_eq!(self.exchange.wanted(), 0);
                self.work(job);
            }
        }
        std::mem::take(&mut self.output)
    }

    fn failure(&self) -> (Option<LinkError>, &str) {
        assert_eq!(self.exchange.wanted(), 0);
        match &self.event {
            Some(SaslEvent::Failed { reply, why }) => (*reply, why),
            other => panic!("no failure: {other:?}"),
        }
    }
}

#[test]
fn an_exchange_reads_as_the_specification_says() {
    for piece in [1, 3, 1000] {
        let mut server = Server::new(256);
        assert_eq!(std::mem::take(&mut server.output), b"\x18\0\0\0,PLAIN,LAYER,SLOW,PANIC,");
        let first = [name(b"PLAIN"), message(Some(b"\0alice\0secret"))].concat();
        assert_eq!(server.say(&first, piece), b"\0\0\0\0\x01\0\0\0\0");
        assert_eq!(server.event, Some(SaslEvent::Authenticated { user: "alice".into(), layer: false }));
        assert_eq!(server.exchange.wanted(), 0);
    }
    let mut server = Server::new(0);
    assert_eq!(std::mem::take(&mut server.output), b"\x07\0\0\0,LAYER,");
    assert_eq!(server.say(&[name(b"LAYER"), message(None)].concat(), 7), b"\x0a\0\0\0challenge\0\0");
    assert_eq!(server.say(&message(Some(b"secret")), 7), b"\x08\0\0\0welcome\0\x01\0\0\0\0");
    assert_eq!(server.event, Some(SaslEvent::Authenticated { user: "alice".into(), layer: true }));
}

#[test]
fn no_data_is_not_an_empty_text() {
    let mut server = Server::new(256);
    server.output.clear();
    assert_eq!(server.say(&[name(b"PLAIN"), message(None)].concat(), 9), b"\0\0\0\0\0");
    assert_eq!(server.event, None);
    server.say(&message(Some(b"")), 9);
    assert_eq!(server.failure().0, None);
}

#[test]
fn wrong_passwords_are_answered_by_nothing() {
    let mut server = Server::new(256);
    server.output.clear();
    assert!(server.say(&[name(b"PLAIN"), message(Some(b"\0alice\0wrong"))].concat(), 100).is_empty());
    assert_eq!(server.failure(), (None, "SASL: user alice: wrong password"));
    // Nothing of what may still come is looked at.
    assert_eq!(server.exchange.feed(b"x"), None);
    assert_eq!(server.exchange.answer(Ok(SaslAnswer::Continue(None)), &mut Vec::new()), None);
}

#[test]
fn mechanisms_must_be_offered_by_name() {
    for (cipher_bits, chosen) in [
        (256, &b"LOGIN"[..]),
        (256, b"PLAIN,LAYER"),
        (256, b"PLAI"),
        (256, b"PLAIN\0"),
        (256, b","),
        (256, b"\xff\xfe"),
        (0, b"PLAIN"),
    ] {
        let mut server = Server::new(cipher_bits);
        server.output.clear();
        assert!(server.say(&name(chosen), 100).is_empty());
        let (reply, why) = server.failure();
        assert!(reply == Some(LinkError::InvalidData) && why.contains("is not offered"), "{why}");
    }
}

#[test]
fn sizes_are_bounded_before_their_bytes_come() {
    for size in [0u32, 101, u32::MAX] {
        let mut server = Server::new(256);
        server.say(&size.to_le_bytes(), 4);
        assert_eq!(server.failure().0, None, "{size}");
    }
    let mut server = Server::new(256);
    server.say(&[name(b"PLAIN"), (MAX_SASL_DATA as u32 + 1).to_le_bytes().to_vec()].concat(), 100);
    assert_eq!(server.failure().0, Some(LinkError::InvalidData));
    let mut server = Server::new(256);
    server.say(&[name(b"PLAIN"), message(None), u32::MAX.to_le_bytes().to_vec()].concat(), 100);
    assert_eq!(server.failure().0, None);
    // The longest that is allowed, of which nothing is reserved ahead.
    let mut server = Server::new(256);
    server.say(&[name(b"PLAIN"), (MAX_SASL_DATA as u32).to_le_bytes().to_vec()].concat(), 100);
    assert!(server.exchange.input.capacity() < 1000);
    server.say(&vec![0; MAX_SASL_DATA], 4096);
    assert!(server.failure().1.contains("wrong password"));
}

#[test]
fn layers_must_be_strong_enough_without_tls() {
    for (needs_layer, ssf, good) in [(true, 0, false), (true, 55, false), (true, 56, true), (false, 0, true)]
    {
        let mut exchange = SaslExchange::new(needs_layer);
        let mut output = Vec::new();
        exchange.answer(Ok(SaslAnswer::Opened(",A,".into())), &mut output);
        let chosen = [name(b"A"), message(None)].concat();
        exchange.feed(&chosen[..4]);
        exchange.feed(&chosen[4..5]);
        assert!(matches!(exchange.feed(&chosen[5..]), Some(SaslEvent::Job(SaslJob::Start { .. }))));
        output.clear();
        let done = SaslAnswer::Done { data: None, user: "u".into(), ssf };
        let event = exchange.answer(Ok(done), &mut output);
        if good {
            assert_eq!(event, Some(SaslEvent::Authenticated { user: "u".into(), layer: ssf > 0 }));
            assert_eq!(output, b"\0\0\0\0\x01\0\0\0\0");
        } else {
            assert!(matches!(event, Some(SaslEvent::Failed { reply: None, .. })));
            assert_eq!(output, b"\0\0\0\0\x01\x01\0\0\0\x16\0\0\0Authentication failed\0");
        }
    }
}

#[test]
fn an_exchange_without_end_is_ended() {
    let mut exchange = SaslExchange::new(false);
    let mut output = Vec::new();
    exchange.answer(Ok(SaslAnswer::Opened(",A,".into())), &mut output);
    exchange.feed(&1u32.to_le_bytes());
    exchange.feed(b"A");
    for step in 0.. {
        match exchange.feed(&0u32.to_le_bytes()) {
            Some(SaslEvent::Job(_)) => drop(exchange.answer(Ok(SaslAnswer::Continue(None)), &mut output)),
            Some(SaslEvent::Failed { .. }) => {
                assert_eq!(step, MAX_SASL_STEPS);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nothing_secret_is_printed() {
    let mut server = Server::new(256);
    server.say(&[name(b"PLAIN"), message(Some(b"\0alice\0secret"))[..12].to_vec()].concat(), 100);
    let job = SaslJob::Start { mechanism: "PLAIN".into(), data: Some(b"secret".to_vec()) };
    let text = format!("{:?} {job:?}", server.exchange);
    assert!(!text.contains("115") && !text.contains("secret") && !text.contains("alice"), "{text}");
}

proptest! {
    #![proptest_config(crate::testing::cases(128))]
    #[test]
    fn arbitrary_clients_end(
        flags: u8,
        mechanism in prop_oneof![Just(b"\x05\0\0\0PLAIN".to_vec()), proptest::collection::vec(any::<u8>(), 0..9)],
        data in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..300),
    ) {
        fuzz_exchange(&[&[flags], &mechanism[..], &data].concat());
    }
}
