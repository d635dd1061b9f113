//! A reliable client gets every message once and in order, across any number of connections.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{
    Client, SESSION, TestRelay, masked_text, numbered, numbered_first, received, relay, reliable, soon,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use websocket_relay::{CloseReason, Event, Limits, Registration};

/// Connects a reliable client with this session and epoch, and returns the reply to its authentication too.
async fn resume(
    server: &TestRelay,
    registration: &Registration,
    session: &str,
    epoch: Option<&str>,
) -> (Client, Value) {
    let mut more = json!({ "receipts": true, "presence": true });
    if let Some(epoch) = epoch {
        more["epoch"] = epoch.into();
    }
    server.reliable(registration, session, &more).await
}

/// Returns the next frame that is not about presence.
async fn next_frame(client: &mut Client) -> Value {
    loop {
        let frame = client.frame().await;
        if frame["presence"].is_null() {
            return frame;
        }
    }
}

/// Returns the offset and message of the next relay frame.
async fn message(client: &mut Client) -> (u64, String) {
    let frame = next_frame(client).await;
    let relay = &frame["relay"];
    (
        relay["offset"].as_u64().unwrap_or_else(|| panic!("{frame}")),
        relay["message"].as_str().unwrap().to_owned(),
    )
}

/// Waits until the messages up to `seq` are accepted.
async fn wait_accepted(client: &mut Client, seq: u64) {
    loop {
        let frame = next_frame(client).await;
        let accepted = frame["accepted"]["seq"].as_u64().unwrap_or_else(|| panic!("{frame}"));
        assert!(accepted <= seq, "{frame}");
        if accepted == seq {
            return;
        }
    }
}

#[tokio::test]
async fn reports_whether_the_session_resumes() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, _) = server.pair();
    let (client, reply) = resume(&server, &ada, SESSION, None).await;
    let epoch = reply["epoch"].as_str().unwrap().to_owned();
    let expected = json!({ "clientId": ada.id.get(), "epoch": epoch, "resumed": false, "pingInterval": 25_000,
        "pingTimeout": 20_000, "maxPayload": 1_048_576 });
    assert_eq!(reply, expected);
    drop(client);
    for (session, known, resumed) in [
        (SESSION, Some(&*epoch), true),
        (SESSION, Some("another"), false),
        (SESSION, None, false),
        ("00000000000000bb", Some(&*epoch), false),
    ] {
        let (_, reply) = resume(&server, &ada, session, known).await;
        assert_eq!(reply["resumed"], resumed, "{session} {known:?}");
        assert_eq!(reply["epoch"], epoch);
    }
}

#[tokio::test]
async fn replays_unacknowledged_messages_in_order() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (server.reliable_client(&ada).await, server.reliable_client(&grace).await);
    for seq in 1..=6 {
        ada_client.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    wait_accepted(&mut ada_client, 6).await;
    let mut offsets = Vec::new();
    for seq in 1..=6 {
        let (offset, text) = message(&mut grace_client).await;
        assert_eq!(text, seq.to_string());
        offsets.push(offset);
    }
    grace_client.send(received(&ada, offsets[2])).await;
    assert_eq!(
        next_frame(&mut ada_client).await,
        json!({ "delivered": { "targetId": grace.id.get(), "seq": 3 } })
    );
    drop(grace_client);
    let mut grace_client = server.reliable_client(&grace).await;
    for seq in 4..=6 {
        assert_eq!(message(&mut grace_client).await, (offsets[seq - 1], seq.to_string()));
    }
    // Messages sent on an earlier connection can be acknowledged on this one.
    grace_client.send(received(&ada, offsets[5])).await;
    assert_eq!(
        next_frame(&mut ada_client).await,
        json!({ "delivered": { "targetId": grace.id.get(), "seq": 6 } })
    );
    // A receipt lost with a connection is sent again when the session resumes.
    drop(ada_client);
    let mut ada_client = server.reliable_client(&ada).await;
    assert_eq!(
        next_frame(&mut ada_client).await,
        json!({ "delivered": { "targetId": grace.id.get(), "seq": 6 } })
    );
}

#[tokio::test]
async fn names_each_message_by_the_session_and_number_of_its_sender() {
    const NEXT: &str = "00000000000000bb";
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    // While Grace is away: two pages of Ada's, and a plain connection.
    for (session, seqs) in [(SESSION, [4, 7]), (NEXT, [1, 2])] {
        let (mut client, _) = resume(&server, &ada, session, None).await;
        for seq in seqs {
            client.send(numbered(&grace, seq, "x")).await;
        }
        wait_accepted(&mut client, seqs[1]).await;
    }
    let mut plain = server.client(&ada).await;
    plain.send(relay(&grace, "x")).await;
    plain.send(relay(&grace, "x")).await;
    while server.relay.stats().totals.queued_messages < 6 {
        tokio::task::yield_now().await;
    }
    let mut of_server = None;
    for _ in 0..2 {
        let mut client = server.reliable_client(&grace).await;
        let mut named = Vec::new();
        for _ in 0..6 {
            let frame = next_frame(&mut client).await;
            named.push((frame["relay"]["session"].clone(), frame["relay"]["seq"].clone()));
        }
        let (plain, numbered) = (named.split_off(4), named);
        let expected = [
            (json!(SESSION), json!(4)),
            (Value::Null, json!(7)),
            (json!(NEXT), json!(1)),
            (Value::Null, json!(2)),
        ];
        assert_eq!(numbered, expected, "each session is named once on a connection");
        let [(session, first), (Value::Null, second)] = &plain[..] else { panic!("{plain:?}") };
        assert!(
            session.as_str().is_some_and(|session| session.len() == 16) && first.as_u64() < second.as_u64()
        );
        // A plain sender's messages have the same names however often they are sent.
        assert_eq!(*of_server.get_or_insert(plain.clone()), plain);
    }
}

#[tokio::test]
async fn accepts_resent_messages_once() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut grace_client = server.reliable_client(&grace).await;
    for round in 1..=5_u64 {
        let mut ada_client = server.reliable_client(&ada).await;
        // Everything from the start, as if no `accepted` had arrived.
        for seq in 1..=round * 10 {
            ada_client.send(numbered(&grace, seq, &seq.to_string())).await;
        }
        wait_accepted(&mut ada_client, round * 10).await;
    }
    for seq in 1..=50 {
        assert_eq!(message(&mut grace_client).await.1, seq.to_string());
    }
    // Another session numbers its messages from 1.
    let (mut ada_client, _) = resume(&server, &ada, "00000000000000bb", None).await;
    ada_client.send(numbered(&grace, 1, "of the new session")).await;
    assert_eq!(message(&mut grace_client).await.1, "of the new session");
}

#[tokio::test]
async fn holds_the_sender_of_a_full_lane() {
    let server = TestRelay::start(Limits { max_queued_messages: 3, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let alan = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, alan.id).unwrap();
    let mut ada_client = server.reliable_client(&ada).await;
    for seq in 1..=6 {
        ada_client.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    wait_accepted(&mut ada_client, 3).await;
    let hold = json!({ "hold": { "targetId": grace.id.get(), "seq": 4, "retryAfter": 250 } });
    assert_eq!(next_frame(&mut ada_client).await, hold);
    // Another lane is not affected.
    ada_client.send(numbered(&alan, 1, "x")).await;
    wait_accepted(&mut ada_client, 1).await;
    // Even with room, messages are ignored until one is marked as the first.
    let mut grace_client = server.reliable_client(&grace).await;
    for seq in 1..=3 {
        assert_eq!(message(&mut grace_client).await.1, seq.to_string());
    }
    grace_client.send(received(&ada, 3)).await;
    assert_eq!(next_frame(&mut ada_client).await["delivered"]["seq"], 3);
    ada_client.send(numbered(&grace, 5, "out of order")).await;
    ada_client.send(numbered_first(&grace, 4, "4")).await;
    ada_client.send(numbered(&grace, 5, "5")).await;
    wait_accepted(&mut ada_client, 5).await;
    for seq in 4..=5 {
        assert_eq!(message(&mut grace_client).await.1, seq.to_string());
    }
}

#[tokio::test]
async fn rejects_messages_until_the_channel_is_registered() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = (server.relay.register_client().unwrap(), server.relay.register_client().unwrap());
    let (mut ada_client, mut grace_client) =
        (server.reliable_client(&ada).await, server.reliable_client(&grace).await);
    for round in 0..12 {
        for seq in 1..=3 {
            let seq = round * 3 + seq;
            ada_client
                .send(if seq % 3 == 1 {
                    numbered_first(&grace, seq, "x")
                } else {
                    numbered(&grace, seq, "x")
                })
                .await;
        }
        let frame = next_frame(&mut ada_client).await;
        assert_eq!(frame["rejected"]["seq"], round * 3 + 1, "{frame}");
        assert_eq!(frame["rejected"]["code"], "ERR_CHANNEL_NOT_REGISTERED");
        assert_eq!(server.offence().await.1, "ERR_CHANNEL_NOT_REGISTERED");
    }
    server.relay.register_relay_channel(ada.id, grace.id).unwrap();
    ada_client.send(numbered_first(&grace, 40, "now")).await;
    wait_accepted(&mut ada_client, 40).await;
    assert_eq!(message(&mut grace_client).await.1, "now");
}

#[tokio::test]
async fn sends_at_most_one_window_per_lane() {
    let server = TestRelay::start(Limits { max_in_flight_messages: 2, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let alan = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(grace.id, alan.id).unwrap();
    let (mut ada_client, mut alan_client) = (server.reliable_client(&ada).await, server.client(&alan).await);
    for seq in 1..=5 {
        ada_client.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    wait_accepted(&mut ada_client, 5).await;
    let mut grace_client = server.reliable_client(&grace).await;
    assert_eq!(message(&mut grace_client).await, (1, "1".to_owned()));
    assert_eq!(message(&mut grace_client).await, (2, "2".to_owned()));
    // That lane is stuck without acknowledgements; another is not.
    alan_client.send(relay(&grace, "from another")).await;
    assert_eq!(message(&mut grace_client).await, (6, "from another".to_owned()));
    grace_client.send(received(&ada, 1)).await;
    assert_eq!(message(&mut grace_client).await, (3, "3".to_owned()));
    grace_client.send(received(&ada, 3)).await;
    assert_eq!(message(&mut grace_client).await, (4, "4".to_owned()));
    assert_eq!(message(&mut grace_client).await, (5, "5".to_owned()));
}

#[tokio::test]
async fn invalid_acknowledgements_are_offences() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (server.reliable_client(&ada).await, server.reliable_client(&grace).await);
    for seq in 1..=2 {
        ada_client.send(numbered(&grace, seq, &seq.to_string())).await;
        assert_eq!(message(&mut grace_client).await, (seq, seq.to_string()));
    }
    for frame in [
        received(&ada, 3),
        received(&ada, 1_u64 << 50),
        received(&grace, 1),
        r#"{"received":{"senderId":9,"offset":1}}"#.into(),
    ] {
        grace_client.send(frame).await;
        assert_eq!(next_frame(&mut grace_client).await["error"]["code"], "ERR_INVALID_ACKNOWLEDGEMENT");
    }
    grace_client.send(r#"{"received":{"senderId":0}}"#).await;
    assert_eq!(next_frame(&mut grace_client).await["error"]["code"], "ERR_UNRECOGNIZED_MESSAGE");
    grace_client.send(received(&ada, 2)).await;
    grace_client.send(received(&ada, 1)).await;
    assert_eq!(next_frame(&mut grace_client).await["error"]["code"], "ERR_INVALID_ACKNOWLEDGEMENT");
    for _ in 0..4 {
        grace_client.send(received(&ada, 1)).await;
    }
    assert_eq!(grace_client.closed().await.0, 4504);
}

#[tokio::test]
async fn a_delayed_connection_does_not_replace_a_newer_one() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let authentication =
        |session: &str, connection: u64| reliable(&grace, session, &json!({ "connection": connection }));
    let connect = async |server: &TestRelay, session: &str, connection: u64| {
        let mut client = server.unauthenticated().await;
        client.send(authentication(session, connection)).await;
        client
    };
    let (first_session, second_session) = ("00000000000000aa", "00000000000000bb");
    let mut old = connect(&server, first_session, 1).await;
    assert!(next_frame(&mut old).await["authenticated"].is_object());
    let mut new = connect(&server, first_session, 3).await;
    assert!(next_frame(&mut new).await["authenticated"].is_object());
    assert_eq!(old.closed().await.0, 4501);
    // The session's second connection arrives after its third.
    assert_eq!(connect(&server, first_session, 2).await.closed().await.0, 4501);
    // A connection of an older session arrives after that of a newer one.
    let mut newest = connect(&server, second_session, 1).await;
    assert!(next_frame(&mut newest).await["authenticated"].is_object());
    assert_eq!(new.closed().await.0, 4501);
    assert_eq!(connect(&server, first_session, 4).await.closed().await.0, 4501);
    let mut ada_client = server.reliable_client(&ada).await;
    ada_client.send(numbered(&grace, 1, "to the newest")).await;
    assert_eq!(message(&mut newest).await.1, "to the newest");
    // After the newer session lost its connection, the older one still cannot take over.
    drop(newest);
    server.wait_for(|event| matches!(event, Event::Disconnected(_, CloseReason::Lost))).await;
    assert_eq!(connect(&server, first_session, 5).await.closed().await.0, 4501);
    let mut back = connect(&server, second_session, 2).await;
    assert!(next_frame(&mut back).await["authenticated"].is_object());
    assert_eq!(message(&mut back).await.1, "to the newest");
}

#[tokio::test]
async fn relays_between_plain_and_reliable_clients() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut plain, mut grace_client) = (server.client(&ada).await, server.reliable_client(&grace).await);
    for n in 1..=500 {
        plain.send(relay(&grace, &n.to_string())).await;
        grace_client.send(numbered(&ada, n, &n.to_string())).await;
    }
    let receive = async {
        for n in 1..=500 {
            assert_eq!(plain.message(&grace).await, n.to_string());
        }
    };
    let receive_and_acknowledge = async {
        let (mut received_count, mut delivered) = (0, 0);
        while received_count < 500 || delivered < 500 {
            let frame = next_frame(&mut grace_client).await;
            if let Some(offset) = frame["relay"]["offset"].as_u64() {
                received_count += 1;
                assert_eq!(frame["relay"]["message"], received_count.to_string());
                grace_client.send(received(&ada, offset)).await;
            }
            delivered = frame["delivered"]["seq"].as_u64().unwrap_or(delivered);
        }
    };
    tokio::join!(receive, receive_and_acknowledge);
}

#[tokio::test]
async fn reports_presence() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let presence = |registration: &Registration, online| json!({ "presence": { "clientId": registration.id.get(), "online": online } });
    let (mut ada_client, _) = resume(&server, &ada, SESSION, None).await;
    assert_eq!(ada_client.frame().await, presence(&grace, false));
    let grace_client = server.client(&grace).await;
    assert_eq!(ada_client.frame().await, presence(&grace, true));
    drop(grace_client);
    assert_eq!(ada_client.frame().await, presence(&grace, false));
    let alan = server.relay.register_client().unwrap();
    let _alan_client = server.reliable_client(&alan).await;
    server.relay.register_relay_channel(ada.id, alan.id).unwrap();
    assert_eq!(ada_client.frame().await, presence(&alan, true));
}

#[tokio::test]
async fn answers_ping_frames_with_pong_frames() {
    let limits = Limits { ping_interval: Duration::from_millis(10), ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let (ada, _) = server.pair();
    let mut ada_client = server.reliable_client(&ada).await;
    assert_eq!(next_frame(&mut ada_client).await, json!({ "ping": {} }));
    ada_client.send(r#"{"ping":{}}"#).await;
    assert_eq!(next_frame(&mut ada_client).await, json!({ "pong": {} }));
}

#[tokio::test]
async fn stops_reading_from_a_client_that_does_not_read_replies() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut flood = server.upgraded().await;
    let authentication = masked_text(&reliable(&ada, SESSION, &json!({})));
    soon(flood.write_all(&authentication)).await.unwrap();
    let pings = masked_text(r#"{"ping":{}}"#).repeat(10_000);
    // Writing stops once the socket's buffers are full, since the relay has stopped reading.
    let stopped = async {
        loop {
            let write = timeout(Duration::from_millis(500), flood.write_all(&pings));
            if write.await.is_err() {
                return;
            }
        }
    };
    soon(stopped).await;
    let (mut grace_client, mut ada_client) = (server.client(&grace).await, server.client(&ada).await);
    ada_client.send(relay(&grace, "unaffected")).await;
    assert_eq!(grace_client.message(&ada).await, "unaffected");
}
