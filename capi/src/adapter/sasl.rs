//! SASL of the core over the system's libsasl2.

use spice_sasl::{Reply, SaslError, SaslServer, Security};
use spice_server_core::net::sasl::{SaslBackend, SaslFault, SaslPeer, SaslReply, SaslSession};

/// The service's name, as in `/etc/krb5.keytab` and in the configuration of mechanisms.
const SERVICE: &str = "spice";

/// libsasl2.
#[derive(Debug)]
pub(crate) struct CyrusSasl;

#[derive(Debug)]
struct CyrusSession(SaslServer);

fn fault(error: SaslError) -> SaslFault {
    SaslFault(error.to_string())
}

fn reply(reply: Reply) -> SaslReply {
    match reply {
        Reply::Continue(data) => SaslReply::Continue(data),
        Reply::Done(data) => SaslReply::Done(data),
    }
}

impl SaslBackend for CyrusSasl {
    fn prepare(&self, app_name: &str) -> Result<(), SaslFault> {
        spice_sasl::initialise(app_name).map_err(fault)
    }

    fn open(&self, peer: &SaslPeer) -> Result<Box<dyn SaslSession>, SaslFault> {
        let security = match peer.cipher_bits {
            0 => Security::Plain,
            bits => Security::Encrypted { bits },
        };
        let server = SaslServer::new(SERVICE, peer.local.as_deref(), peer.remote.as_deref(), security);
        Ok(Box::new(CyrusSession(server.map_err(fault)?)))
    }
}

impl SaslSession for CyrusSession {
    fn mechanisms(&mut self) -> Result<String, SaslFault> {
        self.0.mechanisms().map_err(fault)
    }

    fn start(&mut self, mechanism: &str, data: Option<&[u8]>) -> Result<SaslReply, SaslFault> {
        self.0.start(mechanism, data).map(reply).map_err(fault)
    }

    fn step(&mut self, data: Option<&[u8]>) -> Result<SaslReply, SaslFault> {
        self.0.step(data).map(reply).map_err(fault)
    }

    fn user_name(&mut self) -> Option<String> {
        self.0.user_name()
    }

    fn ssf(&mut self) -> u32 {
        self.0.ssf()
    }

    fn encode(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<usize, SaslFault> {
        self.0.encode(plain, out).map_err(fault)
    }

    fn decode(&mut self, wrapped: &[u8], out: &mut Vec<u8>) -> Result<(), SaslFault> {
        self.0.decode(wrapped, out).map_err(fault)
    }
}
