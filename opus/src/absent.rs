//! The codec of a build without libopus: its types exist, values of them do not.

use super::Error;
use std::convert::Infallible;

/// Makes packets of samples.
#[derive(Debug)]
pub struct Encoder(Infallible);

impl Encoder {
    /// Always `None` in this build.
    #[must_use]
    pub fn new(_rate: u32) -> Option<Self> {
        None
    }

    /// Never called: there is no encoder.
    pub fn encode(&mut self, _samples: &[i16], _packet: &mut [u8]) -> Result<usize, Error> {
        match self.0 {}
    }
}

/// Makes samples of packets.
#[derive(Debug)]
pub struct Decoder(Infallible);

impl Decoder {
    /// Always `None` in this build.
    #[must_use]
    pub fn new(_rate: u32) -> Option<Self> {
        None
    }

    /// Never called: there is no decoder.
    pub fn decode(&mut self, _packet: &[u8], _samples: &mut [i16]) -> Result<usize, Error> {
        match self.0 {}
    }
}
