//! Decoding of a client's text frame.
//!
//! Relay and `received` frames as `JSON.stringify` writes them are read by `scan`, in one pass. Every other text goes through
//! serde_json, which validates it; its members are then found by their raw names, so that repeated and escaped names mean
//! what `JSON.parse` makes of them.

use serde_json::value::RawValue;

use super::client_frame::{Authentication, ClientFrame, Generation, ReceivedFrame, RelayFrame, Reliable};
use super::{json, scan};
use crate::error::Offence;
use crate::ids::{Offset, Seq, SessionId};
use crate::limits::Limits;

/// Characters of an unrecognised frame that are shown in its error.
const EXCERPT_LENGTH: usize = 200;

/// Decodes a text frame of a connection of this generation.
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

/// Decodes a text frame in any of the ways to write its JSON.
fn decode_json(text: &str, generation: Generation) -> Result<ClientFrame<'_>, Offence> {
    let frame = json::parse(text, Limits::MAX_JSON_DEPTH).ok_or(Offence::InvalidJson)?;
    recognize(frame, generation)
        .ok_or_else(|| Offence::Unrecognized { excerpt: json::excerpt(text, EXCERPT_LENGTH) })
}

fn recognize(frame: &RawValue, generation: Generation) -> Option<ClientFrame<'_>> {
    let names = ["authentication", "relay", "received", "ping", "pong"];
    let [authentication, relay, received, ping, pong] = json::members(frame, names)?;
    // Of several members the first valid one counts, as in the 0.3.3 server.
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
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::ClientId;

    /// Pieces of frames, valid and invalid, so that random sequences are often nearly valid.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(r#"{"relay":{"targetId":"#.to_owned()),
            Just(r#","message":"#.to_owned()),
            Just(r#","seq":"#.to_owned()),
            Just(r#","first":true"#.to_owned()),
            Just("}}".to_owned()),
            Just(" ".to_owned()),
            "[0-9]{1,17}",
            "0|00|1e0|1\\.0|-1",
            r#""([ -~üé☃]|\\["\\/bfnrtux]|\\u[0-9a-fA-F]{3,4}|[\x00-\x20]){0,80}""#,
        ]
    }

    fn frame() -> impl Strategy<Value = String> {
        let usual = ("[0-9]{1,17}", piece(), "[0-9]{1,17}", prop::bool::ANY, prop::bool::ANY).prop_map(
            |(target, message, seq, numbered, first)| {
                let seq = if numbered { format!(",\"seq\":{seq}") } else { String::new() };
                let first = if first { ",\"first\":true" } else { "" };
                format!(r#"{{"relay":{{"targetId":{target},"message":{message}{seq}{first}}}}}"#)
            },
        );
        prop_oneof![usual, prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat())]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn fast_path_agrees_with_the_json_reader(text in frame()) {
            for generation in [Generation::Plain, Generation::Reliable] {
                let Some(fast) = scan::relay(&text, generation) else { continue };
                let Ok(ClientFrame::Relay(slow)) = decode_json(&text, generation) else { panic!("{text}") };
                prop_assert_eq!(fast, slow);
            }
        }
    }

    #[test]
    fn reliable_authentication_requires_a_session() {
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
    fn plain_generation_ignores_reliable_frames_and_members() {
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
