//! Text of a client → the frame it means.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{json, scan};
use crate::error::Offence;
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;

/// Characters of an unrecognised frame that its error shows.
const EXCERPT: usize = 200;

/// A frame that a client may send.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// Who it says it is.
    Authentication(Authentication<'a>),
    /// A message for another client.
    Relay(RelayFrame<'a>),
    /// What it has handed to its application.
    Received(ReceivedFrame),
    /// It asks whether the server is there.
    Ping,
    /// It is there.
    Pong,
}

/// Which frames a connection may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Authentication and relay.
    Plain,
    /// Those with sequence numbers, acknowledgements and heartbeats.
    Reliable,
}

/// `{"authentication":{"clientId":0,"token":"…"}}`, with `"version":2` and what belongs to it for reliable delivery.
pub struct Authentication<'a> {
    /// Who it says it is.
    pub client_id: ClientId,
    /// How it proves it. Empty for what no token can be.
    pub token: Cow<'a, str>,
    /// What a client that wants reliable delivery says of itself.
    pub reliable: Option<Reliable<'a>>,
}

/// What a client that wants reliable delivery says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reliable<'a> {
    /// Its session.
    pub session: SessionId,
    /// Which of the session's connections this is, if it counts them.
    pub connection: u64,
    /// The epoch it was told when it was connected before.
    pub epoch: Option<Cow<'a, str>>,
    /// Whether it wants to hear what was delivered.
    pub receipts: bool,
    /// Whether it wants to hear who comes and goes.
    pub presence: bool,
}

/// `{"received":{"senderId":0,"offset":42}}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Whose messages.
    pub sender_id: ClientId,
    /// All of them up to this one.
    pub offset: Offset,
}

impl std::fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// `{"relay":{"targetId":1,"message":"…"}}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFrame<'a> {
    /// The recipient.
    pub target_id: ClientId,
    /// The message as the JSON string that it came in, quotes included. Never unescaped, so that every string of
    /// JavaScript arrives as it was sent.
    pub message: &'a str,
    /// Its number. None from a plain client.
    pub seq: Option<Seq>,
    /// Whether it is the first one sent after a refusal.
    pub first: bool,
}

/// Reads a text frame of a connection of this generation.
///
/// # Errors
/// [`Offence::InvalidJson`] or [`Offence::Unrecognized`].
pub fn decode(text: &str, generation: Generation) -> Result<ClientFrame<'_>, Offence> {
    if let Some(frame) = scan::relay(text, generation) {
        return Ok(ClientFrame::Relay(frame));
    }
    match scan::received(text).filter(|_| generation == Generation::Reliable) {
        Some(frame) => Ok(ClientFrame::Received(frame)),
        None => decode_json(text, generation),
    }
}

/// Reads a text frame in whatever way it is written.
pub(super) fn decode_json(text: &str, generation: Generation) -> Result<ClientFrame<'_>, Offence> {
    let frame = json::parse(text, Limits::MAX_JSON_DEPTH).ok_or(Offence::InvalidJson)?;
    recognize(frame, generation)
        .ok_or_else(|| Offence::Unrecognized { excerpt: json::excerpt(text, EXCERPT) })
}

fn recognize(frame: &RawValue, generation: Generation) -> Option<ClientFrame<'_>> {
    let names = ["authentication", "relay", "received", "ping", "pong"];
    let [authentication, relay, received, ping, pong] = json::members(frame, names)?;
    // A frame with several is the first of them that is as it should be, as for the 0.3.3 server.
    let plain = authentication
        .and_then(authenticate)
        .map(ClientFrame::Authentication)
        .or_else(|| relay.and_then(|value| relay_frame(value, generation)).map(ClientFrame::Relay));
    if generation == Generation::Plain {
        return plain;
    }
    let is_object = |value: &RawValue| value.get().starts_with('{');
    plain
        .or_else(|| received.and_then(received_frame).map(ClientFrame::Received))
        .or_else(|| ping.is_some_and(is_object).then_some(ClientFrame::Ping))
        .or_else(|| pong.is_some_and(is_object).then_some(ClientFrame::Pong))
}

fn authenticate(value: &RawValue) -> Option<Authentication<'_>> {
    let names = ["clientId", "token", "version", "session", "connection", "epoch", "receipts", "presence"];
    let [client_id, token, version, session, connection, epoch, receipts, presence] =
        json::members(value, names)?;
    let (client_id, token) = (json::client_id(client_id?)?, token?);
    if !token.get().starts_with('"') {
        return None;
    }
    let is_true = |value: Option<&RawValue>| value.is_some_and(|value| value.get() == "true");
    let reliable = match version.and_then(json::integer) {
        Some(2) => Some(Reliable {
            session: SessionId::parse(&json::string(session?)?)?,
            connection: connection.and_then(json::integer).unwrap_or_default(),
            epoch: epoch.and_then(json::string),
            receipts: is_true(receipts),
            presence: is_true(presence),
        }),
        _ => None,
    };
    Some(Authentication { client_id, token: json::string(token).unwrap_or_default(), reliable })
}

fn relay_frame(value: &RawValue, generation: Generation) -> Option<RelayFrame<'_>> {
    let [target_id, message, seq, first] = json::members(value, ["targetId", "message", "seq", "first"])?;
    let (target_id, message) = (json::client_id(target_id?)?, message?.get());
    let seq = match generation {
        Generation::Plain => None,
        Generation::Reliable => Some(Seq(json::integer(seq?).filter(|seq| *seq > 0)?)),
    };
    let first = first.is_some_and(|first| first.get() == "true");
    message.starts_with('"').then_some(RelayFrame { target_id, message, seq, first })
}

fn received_frame(value: &RawValue) -> Option<ReceivedFrame> {
    let [sender_id, offset] = json::members(value, ["senderId", "offset"])?;
    let (sender_id, offset) = (json::client_id(sender_id?)?, Offset(json::integer(offset?)?));
    Some(ReceivedFrame { sender_id, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_reliable_delivery_says_which_session_it_is() {
        let decode = |members: &str| {
            let text = format!(r#"{{"authentication":{{"clientId":0,"token":"t"{members}}}}}"#);
            match decode(&text, Generation::Plain) {
                Ok(ClientFrame::Authentication(frame)) => Ok(frame.reliable.map(|reliable| {
                    let epoch = reliable.epoch.map(Cow::into_owned);
                    (reliable.session, epoch, reliable.receipts, reliable.presence)
                })),
                other => Err(other.map(|_| ())),
            }
        };
        let session = SessionId::parse("9f86d081884c7d65").expect("16 digits");
        let asked = |epoch: Option<&str>, receipts, presence| {
            Ok(Some((session, epoch.map(str::to_owned), receipts, presence)))
        };
        assert_eq!(decode(""), Ok(None));
        assert_eq!(decode(r#","version":1,"session":1"#), Ok(None));
        assert_eq!(decode(r#","version":2.0,"session":"9f86d081884c7d65""#), asked(None, false, false));
        assert_eq!(
            decode(
                r#","version":2,"session":"9f86d081884c7d65","epoch":"x","receipts":true,"presence":true"#
            ),
            asked(Some("x"), true, true)
        );
        for session in
            ["", r#","session":1"#, r#","session":"9f86d081884c7d6""#, r#","session":"+f86d081884c7d65""#]
        {
            assert!(decode(&format!(r#","version":2{session}"#)).is_err(), "{session}");
        }
    }

    #[test]
    fn what_belongs_to_reliable_delivery_means_nothing_without_it() {
        for frame in [r#"{"received":{"senderId":0,"offset":1}}"#, r#"{"ping":{}}"#, r#"{"pong":{}}"#] {
            assert!(decode(frame, Generation::Plain).is_err());
            assert!(decode(frame, Generation::Reliable).is_ok());
        }
        let with = |members: &str| format!(r#"{{"relay":{{"targetId":1,"message":"x"{members}}}}}"#);
        for (members, plain, reliable) in [
            ("", Some(None), None),
            (r#","seq":7"#, Some(None), Some(Some(Seq(7)))),
            (r#","seq":0"#, Some(None), None),
            (r#","seq":"7""#, Some(None), None),
            (r#","seq":9007199254740991,"first":true"#, Some(None), Some(Some(Seq(ClientId::MAX)))),
        ] {
            for (generation, expected) in [(Generation::Plain, plain), (Generation::Reliable, reliable)] {
                let text = with(members);
                let found = match decode(&text, generation) {
                    Ok(ClientFrame::Relay(frame)) => Some(frame.seq),
                    _ => None,
                };
                assert_eq!(found, expected, "{members} {generation:?}");
            }
        }
    }
}
