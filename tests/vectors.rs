//! The engine agrees with the vectors in `__test__/vectors/`, which the JavaScript tests read too.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use common::TestRelay;
use serde_json::Value;
use websocket_relay::printable::printable;
use websocket_relay::protocol::{ClientFrame, Generation, decode, encode};
use websocket_relay::{ClientId, CloseReason, Limits, Offence};

fn offences() -> Value {
    serde_json::from_str(include_str!("../__test__/vectors/offences.json")).unwrap()
}

fn frames() -> Value {
    serde_json::from_str(include_str!("../__test__/vectors/frames.json")).unwrap()
}

fn shapes() -> Value {
    serde_json::from_str(include_str!("../__test__/vectors/shapes.json")).unwrap()
}

fn printable_texts() -> Value {
    serde_json::from_str(include_str!("../__test__/vectors/printable.json")).unwrap()
}

fn text<'a>(vector: &'a Value, member: &str) -> &'a str {
    vector[member].as_str().unwrap_or_else(|| panic!("no {member} in {vector}"))
}

#[tokio::test]
async fn every_offence_has_its_text_code_and_consequence() {
    let mut server = TestRelay::start(Limits { max_offences: 2, ..Limits::default() }).await;
    let (ada, grace) = (server.relay.register_client().unwrap(), server.relay.register_client().unwrap());
    for vector in offences()["offences"].as_array().unwrap() {
        let mut client = match text(vector, "by") {
            "client" => server.client(&ada).await,
            _ => server.unauthenticated().await,
        };
        let frame = text(vector, "frame").replace("$TOKEN0", ada.token.reveal());
        client.send(frame.replace("$TOKEN1", grace.token.reveal())).await;
        let offence = server.offence().await;
        assert_eq!(offence, (text(vector, "message").to_owned(), offence.1), "{vector}");
        assert_eq!(offence.1, text(vector, "code"), "{vector}");
        if let Some(code) = vector["then"].as_u64() {
            assert_eq!(u64::from(client.closed().await.0), code, "{vector}");
        } else {
            // The next offence is the last allowed one.
            client.send("another").await;
            assert_eq!(server.offence().await.1, "ERR_INVALID_JSON");
            assert_eq!(client.closed().await.0, 4504, "{vector}");
        }
    }
}

#[tokio::test]
async fn accepts_every_spelling_of_a_frame() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    for vector in offences()["accepted"].as_array().unwrap() {
        ada_client.send(text(vector, "frame")).await;
        assert_eq!(grace_client.text().await, text(vector, "arrives"), "{vector}");
    }
}

#[test]
fn decodes_the_frames_of_the_client() {
    for vector in frames()["client"].as_array().unwrap() {
        let means = &vector["means"];
        match decode(text(vector, "frame"), Generation::Plain).unwrap() {
            ClientFrame::Authentication(frame) => {
                let expected = &means["authentication"];
                assert_eq!(Some(frame.client_id.get()), expected["clientId"].as_u64(), "{vector}");
                assert_eq!(Some(&*frame.token), expected["token"].as_str(), "{vector}");
            }
            ClientFrame::Relay(frame) => {
                let expected = &means["relay"];
                assert_eq!(Some(frame.target_id.get()), expected["targetId"].as_u64(), "{vector}");
                assert_eq!(Some(frame.message), expected["raw"].as_str(), "{vector}");
            }
            other => panic!("{other:?} in {vector}"),
        }
    }
}

#[test]
fn encodes_the_frames_that_the_client_reads() {
    for vector in frames()["server"].as_array().unwrap() {
        let sender = ClientId::new(vector["senderId"].as_u64().unwrap()).unwrap();
        let mut out = Vec::new();
        encode::relay(sender, None, text(vector, "raw").as_bytes(), &mut out);
        let frame = text(vector, "frame");
        assert!(out.ends_with(frame.as_bytes()), "{vector}");
        assert_eq!(out.len() - frame.len(), if frame.len() < 126 { 2 } else { 4 }, "{vector}");
    }
}

#[test]
fn decodes_every_shape_in_bounded_stack() {
    const ROOM: usize = 128 * 1024;
    let decode_all = || {
        for shape in shapes()["shapes"].as_array().unwrap() {
            let repeat = text(shape, "repeat");
            // A few bytes of stack per repetition would overflow it.
            let long = repeat.repeat(ROOM / 2 / repeat.len());
            let frame = [text(shape, "before"), &long, text(shape, "after")].concat();
            let means = match decode(&frame, Generation::Plain) {
                Ok(ClientFrame::Relay(frame)) if frame.target_id.get() == 1 => "relay",
                Ok(ClientFrame::Authentication(_)) => "wrong",
                Err(Offence::InvalidJson) => "invalid",
                Err(Offence::Unrecognized { .. }) => "unrecognized",
                other => panic!("{other:?} for {shape}"),
            };
            assert_eq!(means, text(shape, "means"), "{shape}");
        }
    };
    std::thread::Builder::new().stack_size(ROOM).spawn(decode_all).unwrap().join().unwrap();
}

#[tokio::test]
async fn escapes_unprintable_text_in_events() {
    let mut server = TestRelay::start(Limits { max_offences: 1000, ..Limits::default() }).await;
    for vector in printable_texts()["texts"].as_array().unwrap() {
        let (given, escaped) = (text(vector, "text"), text(vector, "shown"));
        assert_eq!(printable(given), escaped);
        // JSON text cannot contain control characters.
        if !given.contains(|character: char| character < ' ') {
            let mut client = server.unauthenticated().await;
            client.send(format!("{{\"{given}\":1}}")).await;
            let expected = format!("Message unrecognized: {{\"{escaped}\":1}}");
            assert_eq!(server.offence().await.0, expected);
        }
        let reason = CloseReason::ByPeer(4000, given.to_owned());
        assert_eq!((reason.printable_text(), reason.text()), (escaped.into(), given));
    }
    // A reason from the application is not escaped.
    assert_eq!(CloseReason::ByServer(4000, "a\nb".to_owned()).printable_text(), "a\nb");
}
