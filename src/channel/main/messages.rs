//! What one client's messages on the main channel ask of the server (server.md 6). Pure: messages go in, a
//! [`MainRequest`] or the reason to disconnect comes out.

use crate::channel::out::MigrationNews;
use crate::channel::pings::{LinkQuality, NetTest};
use crate::protocol::Message;
use crate::protocol::error::ProtocolError;
use crate::protocol::main_channel::{MAX_AGENT_DATA, MainMessage};
use std::time::Instant;
use thiserror::Error;

/// Why the main channel, and with it the client, is disconnected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MainError {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("{0} has no meaning here")]
    Unexpected(&'static str),
    #[error("agent data of {0} bytes")]
    AgentDataSize(usize),
}

/// What the server must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MainRequest {
    /// CHANNELS_LIST.
    AttachChannels,
    /// Switch to this mouse mode if that is allowed.
    MouseMode(u16),
    AgentStart {
        tokens: u32,
    },
    AgentData(Vec<u8>),
    AgentToken {
        tokens: u32,
    },
    Migration(MigrationNews),
}

/// What the server keeps of one client of the main channel.
#[derive(Debug, Default)]
pub(crate) struct MainClient {
    net_test: Option<NetTest>,
    /// It comes from the source of a migration, and its session has not begun here.
    arriving: bool,
}

impl MainClient {
    /// Begins the net test: the pings to be sent.
    pub(crate) fn begin_net_test(&mut self, epoch: Instant, now: Instant) -> [Message; 3] {
        let (test, pings) = NetTest::begin(epoch, now);
        self.net_test = Some(test);
        pings
    }

    /// A PONG that no latency test of the link awaits. `Some`: the net test is over with it.
    pub(crate) fn on_pong(&mut self, id: u32, now: Instant) -> Option<LinkQuality> {
        let quality = self.net_test.as_mut()?.pong(id, now)??;
        self.net_test = None;
        Some(quality)
    }

    /// It comes from the source of a migration, or has arrived.
    pub(crate) fn set_arriving(&mut self, arriving: bool) {
        self.arriving = arriving;
    }

    /// Judges a message.
    pub(crate) fn on_message(
        &mut self,
        msg_type: u16,
        body: &[u8],
    ) -> Result<Option<MainRequest>, MainError> {
        let message = MainMessage::decode(msg_type, body)?;
        if self.arriving {
            return Ok(news_of_arrival(&message));
        }
        Ok(match message {
            // The link handles these.
            MainMessage::Common(_) => None,
            MainMessage::AttachChannels => Some(MainRequest::AttachChannels),
            MainMessage::MouseModeRequest { mode } => Some(MainRequest::MouseMode(mode)),
            MainMessage::AgentStart { num_tokens } => Some(MainRequest::AgentStart { tokens: num_tokens }),
            MainMessage::AgentData(data) if data.len() > MAX_AGENT_DATA => {
                return Err(MainError::AgentDataSize(data.len()));
            }
            MainMessage::AgentData(data) => Some(MainRequest::AgentData(data)),
            MainMessage::AgentToken { num_tokens } => Some(MainRequest::AgentToken { tokens: num_tokens }),
            MainMessage::MigrateConnected => Some(MainRequest::Migration(MigrationNews::Connected)),
            MainMessage::MigrateConnectedSeamless => {
                Some(MainRequest::Migration(MigrationNews::ConnectedSeamless))
            }
            MainMessage::MigrateConnectError => Some(MainRequest::Migration(MigrationNews::ConnectError)),
            MainMessage::MigrateEnd => None,
            MainMessage::MigrateDstDoSeamless { .. } => {
                return Err(MainError::Unexpected("MIGRATE_DST_DO_SEAMLESS"));
            }
            MainMessage::ClientInfo { .. } => return Err(MainError::Unexpected("CLIENT_INFO")),
            MainMessage::QualityIndicator => return Err(MainError::Unexpected("QUALITY_INDICATOR")),
        })
    }
}

/// A client that comes from another host says nothing else before its session has begun here.
fn news_of_arrival(message: &MainMessage) -> Option<MainRequest> {
    let news = match *message {
        MainMessage::MigrateEnd => MigrationNews::End,
        MainMessage::MigrateDstDoSeamless { src_version: version } => MigrationNews::DoSeamless { version },
        _ => return None,
    };
    Some(MainRequest::Migration(news))
}

/// Fuzz oracle: first byte the type, second the length of each message.
#[cfg(any(test, feature = "oracles"))]
pub fn fuzz_main_channel(data: &[u8]) {
    let now = Instant::now();
    let mut channel = MainClient::default();
    let _ = channel.begin_net_test(now, now);
    let mut rest = data;
    while let Some(([kind, size], tail)) = rest.split_first_chunk() {
        let (body, tail) = tail.split_at(usize::from(*size).min(tail.len()));
        rest = tail;
        let _ = channel.on_message(u16::from(*kind), body);
        let _ = channel.on_pong(u32::from(*kind), now);
        channel.set_arriving(*size % 2 == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::main_channel::client;
    use proptest::prelude::*;

    fn send(channel: &mut MainClient, msg_type: u16, body: &[u8]) -> Result<Option<MainRequest>, MainError> {
        channel.on_message(msg_type, body)
    }

    #[test]
    fn messages_without_a_handler_disconnect() {
        let mut c = MainClient::default();
        assert!(send(&mut c, client::CLIENT_INFO, &[0; 8]).is_err());
        assert!(send(&mut c, client::QUALITY_INDICATOR, &[]).is_err());
        assert!(send(&mut c, client::MIGRATE_DST_DO_SEAMLESS, &[1, 0, 0, 0]).is_err());
        assert!(send(&mut c, 200, &[]).is_err());
        assert!(send(&mut c, client::AGENT_DATA, &[0; 2049]).is_err());
        assert!(send(&mut c, client::MOUSE_MODE_REQUEST, &[1]).is_err());
    }

    #[test]
    fn harmless_messages_are_taken() {
        let mut c = MainClient::default();
        for (msg_type, body) in [(6, &[0; 12][..]), (1, &[0; 4]), (2, &[]), (client::MIGRATE_END, &[])] {
            assert_eq!(send(&mut c, msg_type, body), Ok(None));
        }
        assert_eq!(
            send(&mut c, client::AGENT_DATA, &[0; 2048]),
            Ok(Some(MainRequest::AgentData(vec![0; 2048])))
        );
    }

    #[test]
    fn before_its_session_begins_a_migrating_client_says_little() {
        let mut c = MainClient::default();
        c.set_arriving(true);
        let news = |news| Ok(Some(MainRequest::Migration(news)));
        assert_eq!(send(&mut c, client::MIGRATE_END, &[]), news(MigrationNews::End));
        let version = MigrationNews::DoSeamless { version: 1 };
        assert_eq!(send(&mut c, client::MIGRATE_DST_DO_SEAMLESS, &[1, 0, 0, 0]), news(version));
        for (msg_type, body) in [
            (client::ATTACH_CHANNELS, &[][..]),
            (client::AGENT_START, &[1; 4]),
            (client::MIGRATE_CONNECTED, &[]),
        ] {
            assert_eq!(send(&mut c, msg_type, body), Ok(None));
        }
        assert!(send(&mut c, client::MIGRATE_DST_DO_SEAMLESS, &[1]).is_err());
        c.set_arriving(false);
        assert_eq!(send(&mut c, client::MIGRATE_CONNECTED, &[]), news(MigrationNews::Connected));
    }

    #[test]
    fn three_pongs_end_the_net_test() {
        let mut c = MainClient::default();
        let now = Instant::now();
        let _ = c.begin_net_test(now, now);
        assert_eq!(c.on_pong(99, now), None);
        assert_eq!(c.on_pong(1, now), None);
        assert_eq!(c.on_pong(2, now), None);
        assert!(c.on_pong(3, now).is_some());
        assert_eq!(c.on_pong(3, now), None, "it is over");
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn arbitrary_messages_do_not_panic(data in proptest::collection::vec(prop_oneof![0u8..16, 99u8..114, any::<u8>()], 0..200)) {
            fuzz_main_channel(&data);
        }
    }
}
