//! The worked example of `docs/adding-a-channel.md`: a whole channel in one file.

use super::harness::Host;
use crate::channel::connection::ConnectionId;
use crate::channel::link::{ChannelError, LinkOptions, PING_PERIOD_RARE};
use crate::channel::{Channel, Out, Profile};
use crate::net::stream::Incoming;
use crate::protocol::{ChannelType, Message};
use crate::reds::channels::Home;

/// The one message of the client, and the answer.
const ECHO: u16 = 101;
/// Bytes that a client may have echoed at a time.
const MAX_ECHO: usize = 4096;

/// The channel's line in the registry. Tests borrow the type number of webdav.
static PROFILE: Profile = Profile {
    channel_type: ChannelType::Webdav,
    caps: &[],
    shared: true,
    options: LinkOptions { max_body, window: false, ping_period: PING_PERIOD_RARE },
};

fn max_body(msg_type: u16) -> Option<usize> {
    (msg_type == ECHO).then_some(MAX_ECHO)
}

/// Sends back what its clients send, until the word "end".
#[derive(Debug, Default)]
struct EchoChannel {
    echoed: usize,
}

impl Channel for EchoChannel {
    fn profile(&self) -> &'static Profile {
        &PROFILE
    }

    fn on_open(&mut self, at: ConnectionId, out: &mut Out<'_>) -> Result<(), ChannelError> {
        out.send(at, Message::new(ECHO, b"hello".to_vec()));
        Ok(())
    }

    fn on_message(
        &mut self,
        at: ConnectionId,
        message: Incoming,
        out: &mut Out<'_>,
    ) -> Result<(), ChannelError> {
        if message.body == b"end" {
            return Err(ChannelError::Refused("the client said end".into()));
        }
        self.echoed += message.body.len();
        out.send(at, Message::new(ECHO, message.body));
        Ok(())
    }
}

#[test]
fn an_echo_channel_is_one_file_and_one_registration() {
    let host = Host::start(|_| {});
    let key =
        host.run(|server| server.core.with(|state| state.register(0, Home::host(EchoChannel::default()))));
    let main = host.main();
    let mut echo = host.connect();
    assert_eq!(echo.link(ChannelType::Webdav.number(), 0, main.session, b""), 0);
    assert_eq!(echo.message(), (ECHO, b"hello".to_vec()));
    echo.send(ECHO, b"one");
    assert_eq!(echo.message(), (ECHO, b"one".to_vec()));
    let echoed = host.run(move |server| {
        server.core.with(|state| state.with_channel(key, |channel: &mut EchoChannel, _| channel.echoed))
    });
    assert_eq!(echoed, Some(3));
    // An error ends the link, and the client keeps its other channels.
    echo.send(ECHO, b"end");
    assert!(echo.rest().is_empty());
    assert_eq!(host.run(|server| server.num_clients()), 1);
}
