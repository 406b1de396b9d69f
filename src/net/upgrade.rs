//! The HTTP request with which a browser asks for a WebSocket, and its answer (server.md 4.2).

use openssl::base64::encode_block;
use openssl::hash::{MessageDigest, hash};

/// Appended to the client's key before it is hashed (RFC 6455, 1.3).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only subprotocol that SPICE clients speak.
const SUBPROTOCOL: &str = "binary";

/// The environment variable with the web origins that may open a WebSocket.
pub(crate) const ORIGINS_VARIABLE: &str = "SPICE_WEBSOCKET_ORIGINS";

/// Which web pages may open a WebSocket. A browser names in `Origin` the site whose script connects. Without this check any
/// page that an administrator happens to visit could reach a server on the administrator's own machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origins(Option<Vec<String>>);

impl Origins {
    /// Allows exactly the origins of a list, written as browsers send them (`https://console.example.org:8443`) and separated
    /// by commas or blanks. An empty list allows no page at all.
    #[must_use]
    pub(crate) fn only(list: &str) -> Self {
        let words = list.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        Self(Some(words.map(str::to_owned).collect()))
    }

    /// What the environment asks for; every origin is allowed if it says nothing.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        std::env::var_os(ORIGINS_VARIABLE).map(|list| Self::only(&list.to_string_lossy())).unwrap_or_default()
    }

    /// Whether a request with this `Origin` is allowed. Other programs than browsers send no origin and are always allowed,
    /// since they could claim any.
    fn allow(&self, origin: Option<&str>) -> bool {
        match (&self.0, origin) {
            (None, _) | (_, None) => true,
            (Some(list), Some(origin)) => list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The upgrade is accepted: after these bytes both sides send frames.
    Accept(Vec<u8>),
    /// The request is refused: the connection ends after these bytes. The reason is for the log.
    Refuse { reply: Vec<u8>, why: &'static str },
}

/// Answers a request, which ends in an empty line.
#[must_use]
pub(crate) fn answer(request: &[u8], origins: &Origins) -> Answer {
    let text = String::from_utf8_lossy(request);
    let Some(key) = header(&text, "Sec-WebSocket-Key").next() else {
        return refuse(
            "426 Upgrade Required",
            "This port speaks SPICE: open it with a SPICE client, directly or through a WebSocket.",
            "an HTTP request that does not ask for a WebSocket",
        );
    };
    if !origins.allow(header(&text, "Origin").next()) {
        return refuse(
            "403 Forbidden",
            "Web pages of this origin may not connect here.",
            "a WebSocket of a web page whose origin is not allowed",
        );
    }
    let mut offered = header(&text, "Sec-WebSocket-Protocol").flat_map(|list| list.split(',')).peekable();
    let named = offered.peek().is_some();
    if named && !offered.any(|name| name.trim() == SUBPROTOCOL) {
        return refuse(
            "400 Bad Request",
            "SPICE needs the WebSocket subprotocol \"binary\".",
            "a WebSocket without the subprotocol \"binary\"",
        );
    }
    let Ok(digest) = hash(MessageDigest::sha1(), &[key.as_bytes(), ACCEPT_GUID].concat()) else {
        return refuse("500 Internal Server Error", "SHA-1 is not available.", "SHA-1 is not available");
    };
    let mut reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        encode_block(&digest)
    );
    // The answer may name a subprotocol only if the client offered some.
    if named {
        reply.push_str("Sec-WebSocket-Protocol: binary\r\n");
    }
    reply.push_str("\r\n");
    Answer::Accept(reply.into_bytes())
}

/// The values of a header, trimmed, in their order.
fn header<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    text.split("\r\n").filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn refuse(status: &str, sentence: &str, why: &'static str) -> Answer {
    // RFC 9110, 15.5.22: only the answer 426 must name the protocol to upgrade to.
    let upgrade =
        if status.starts_with("426") { "Upgrade: websocket\r\nConnection: Upgrade\r\n" } else { "" };
    let reply = format!(
        "HTTP/1.1 {status}\r\n{upgrade}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{sentence}\n",
        sentence.len() + 1
    );
    Answer::Refuse { reply: reply.into_bytes(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(answer: &Answer) -> String {
        let (Answer::Accept(reply) | Answer::Refuse { reply, .. }) = answer;
        let reply = String::from_utf8(reply.clone()).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        if let Some(length) = header(head, "Content-Length").next() {
            assert_eq!(length.parse(), Ok(body.len()));
            assert_eq!(body.lines().count(), 1, "{body:?}");
        }
        head.split(' ').nth(1).unwrap().to_owned()
    }

    fn with(headers: &str, origins: &Origins) -> Answer {
        answer(format!("GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n{headers}\r\n").as_bytes(), origins)
    }

    #[test]
    fn upgrade_is_answered_as_the_rfc_says() {
        let request = b"GET /x HTTP/1.1\r\nHost: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ== \r\n\r\n";
        let Answer::Accept(reply) = answer(request, &Origins::default()) else { panic!("refused") };
        let reply = String::from_utf8(reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 101 "));
        assert!(reply.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!reply.contains("Protocol:") && reply.ends_with("\r\n\r\n"));
    }

    #[test]
    fn binary_may_stand_anywhere_among_the_subprotocols() {
        let any = Origins::default();
        for list in ["binary", "binary, base64", "base64, binary", "base64,chat , binary"] {
            let Answer::Accept(reply) = with(&format!("Sec-WebSocket-Protocol: {list}\r\n"), &any) else {
                panic!("{list} refused")
            };
            assert!(String::from_utf8(reply).unwrap().contains("Sec-WebSocket-Protocol: binary\r\n"));
        }
        let two = "Sec-WebSocket-Protocol: base64\r\nSec-WebSocket-Protocol: binary\r\n";
        assert_eq!(status(&with(two, &any)), "101");
        for list in ["base64", "", "binaryx"] {
            assert_eq!(status(&with(&format!("Sec-WebSocket-Protocol: {list}\r\n"), &any)), "400", "{list}");
        }
    }

    #[test]
    fn plain_http_is_told_to_upgrade() {
        let reply = answer(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &Origins::default());
        assert_eq!(status(&reply), "426");
        let Answer::Refuse { reply, .. } = reply else { panic!("accepted") };
        assert!(String::from_utf8(reply).unwrap().contains("\r\nUpgrade: websocket\r\n"));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let origins = Origins::only("https://a.example, http://b.example:8000");
        let from = |origin: &str| status(&with(&format!("Origin: {origin}\r\n"), &origins));
        assert_eq!((from("https://a.example"), from("HTTP://B.example:8000")), ("101".into(), "101".into()));
        for other in ["http://a.example", "https://a.example:444", "https://a.example.evil", "null", ""] {
            assert_eq!(from(other), "403", "{other}");
        }
        // No browser, or no list.
        assert_eq!(status(&with("", &origins)), "101");
        assert_eq!(status(&with("Origin: http://x\r\n", &Origins::default())), "101");
        assert_eq!(status(&with("Origin: http://x\r\n", &Origins::only(""))), "403");
    }

    proptest! {
        #![proptest_config(crate::testing::cases(64))]
        #[test]
        fn arbitrary_requests_are_answered(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            status(&answer(&data, &Origins::only("a")));
        }
    }
}
