//! An implementation of SASL for tests: one user, and mechanisms for each thing that may happen.

use super::{SaslBackend, SaslFault, SaslPeer, SaslReply, SaslSession};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Holds up whoever passes while it is closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0.0.lock().unwrap().closed = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().closed = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.waiting += 1;
        self.0.1.notify_all();
        while state.closed {
            state = self.0.1.wait(state).unwrap();
        }
        state.waiting -= 1;
    }

    /// Until somebody stands before it.
    pub(crate) fn wait_for_one(&self) {
        let limit = Duration::from_secs(20);
        let state = self.0.0.lock().unwrap();
        let (_state, result) = self.0.1.wait_timeout_while(state, limit, |s| s.waiting == 0).unwrap();
        assert!(!result.timed_out(), "nobody came to the gate");
    }
}

/// The user is `alice`, the password `secret`. Mechanisms:
/// - `PLAIN`: `\0alice\0secret`, at once or when asked.
/// - `LAYER`: `secret` in answer to `challenge`, with a security layer.
/// - `SLOW`: passes the gate, then lets everybody in. A configuration named `slow` passes it, too.
/// - `PANIC`: panics.
///
/// Without TLS only `LAYER` is on offer.
#[derive(Debug, Default)]
pub(crate) struct FakeBackend {
    gate: Gate,
}

impl FakeBackend {
    pub(crate) fn gate(&self) -> Gate {
        self.gate.clone()
    }
}

fn fault(what: &str) -> SaslFault {
    SaslFault(what.into())
}

impl SaslBackend for FakeBackend {
    fn prepare(&self, app_name: &str) -> Result<(), SaslFault> {
        match app_name {
            "missing" => return Err(fault("no configuration of that name")),
            "slow" => self.gate.pass(),
            _ => {}
        }
        Ok(())
    }

    fn open(&self, peer: &SaslPeer) -> Result<Box<dyn SaslSession>, SaslFault> {
        Ok(Box::new(FakeSession {
            gate: self.gate(),
            encrypted: peer.cipher_bits > 0,
            layer: false,
            input: Vec::new(),
        }))
    }
}

struct FakeSession {
    gate: Gate,
    encrypted: bool,
    layer: bool,
    input: Vec<u8>,
}

impl SaslSession for FakeSession {
    fn mechanisms(&mut self) -> Result<String, SaslFault> {
        Ok(if self.encrypted { ",PLAIN,LAYER,SLOW,PANIC," } else { ",LAYER," }.into())
    }

    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslReply, SaslFault> {
        match mechanism {
            "PLAIN" if data.is_some() => self.step(data),
            "PLAIN" => Ok(SaslReply::Continue(None)),
            "LAYER" => {
                self.layer = true;
                Ok(SaslReply::Continue(Some(b"challenge".to_vec())))
            }
            "SLOW" => {
                self.gate.pass();
                Ok(SaslReply::Done(None))
            }
            "PANIC" => panic!("as asked"),
            _ => Err(fault("no such mechanism")),
        }
    }

    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslReply, SaslFault> {
        match (self.layer, data) {
            (true, Some(b"secret")) => Ok(SaslReply::Done(Some(b"welcome".to_vec()))),
            (false, Some(b"\0alice\0secret")) => Ok(SaslReply::Done(None)),
            _ => Err(fault("user alice: wrong password")),
        }
    }

    fn user_name(&mut self) -> Option<String> {
        Some("alice".into())
    }

    fn ssf(&mut self) -> u32 {
        if self.layer && !self.encrypted { 128 } else { 0 }
    }

    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, SaslFault> {
        out.extend(wrap(plain.get(..1000.min(plain.len())).unwrap_or_default()));
        Ok(plain.len().min(1000))
    }

    fn decode(&mut self, wrapped: &[u8], out: &mut Vec<u8>) -> Result<(), SaslFault> {
        self.input.extend_from_slice(wrapped);
        while let Some((head, rest)) = self.input.split_first_chunk::<4>() {
            let size = u32::from_be_bytes(*head) as usize;
            if size > 8192 {
                return Err(fault("packet too long"));
            }
            let Some(body) = rest.get(..size) else { break };
            out.extend(body.iter().map(|byte| byte ^ 0x5a));
            self.input.drain(..4 + size);
        }
        Ok(())
    }
}

/// A packet of the security layer.
pub(crate) fn wrap(plain: &[u8]) -> Vec<u8> {
    let mut packet = (plain.len() as u32).to_be_bytes().to_vec();
    packet.extend(plain.iter().map(|byte| byte ^ 0x5a));
    packet
}

/// What the packets of the security layer hold.
pub(crate) fn unwrap(mut wrapped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((head, rest)) = wrapped.split_first_chunk::<4>() {
        let (body, rest) = rest.split_at(u32::from_be_bytes(*head) as usize);
        plain.extend(body.iter().map(|byte| byte ^ 0x5a));
        wrapped = rest;
    }
    plain
}

/// A session whose layer is in use.
pub(crate) fn layered() -> Box<dyn SaslSession> {
    Box::new(FakeSession { gate: Gate::default(), encrypted: false, layer: true, input: Vec::new() })
}
