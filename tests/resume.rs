//! A client that asks for it gets every message once and in order, across any number of connections.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use common::{Client, PAGE, TestRelay, first, numbered, received, relay};
use serde_json::{Value, json};
use websocket_relay::{Limits, Registration};

/// A connection that is told who is there and what arrives, and what it was told when it authenticated.
async fn reliable(
    server: &TestRelay,
    who: &Registration,
    session: &str,
    epoch: Option<&str>,
) -> (Client, Value) {
    let mut more = json!({ "receipts": true, "presence": true });
    if let Some(epoch) = epoch {
        more["epoch"] = epoch.into();
    }
    server.reliable(who, session, &more).await
}

/// A page of its own for each test that does not reload it.
async fn page(server: &TestRelay, who: &Registration) -> Client {
    reliable(server, who, PAGE, None).await.0
}

/// The next frame, presence passed over.
async fn next(client: &mut Client) -> Value {
    loop {
        let frame = common::next(client).await;
        if frame["presence"].is_null() {
            return frame;
        }
    }
}

/// The offset and message of the next relay frame.
async fn message(client: &mut Client) -> (u64, String) {
    let frame = next(client).await;
    let relay = &frame["relay"];
    (
        relay["offset"].as_u64().unwrap_or_else(|| panic!("{frame}")),
        relay["message"].as_str().unwrap().to_owned(),
    )
}

/// Waits until the server has told that it accepted `seq`.
async fn accepted(client: &mut Client, seq: u64) {
    loop {
        let frame = next(client).await;
        let told = frame["accepted"]["seq"].as_u64().unwrap_or_else(|| panic!("{frame}"));
        assert!(told <= seq, "{frame}");
        if told == seq {
            return;
        }
    }
}

#[tokio::test]
async fn reports_whether_the_session_resumes() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, _) = server.pair();
    let (client, told) = reliable(&server, &ada, PAGE, None).await;
    let epoch = told["epoch"].as_str().unwrap().to_owned();
    let expected = json!({ "clientId": ada.id.get(), "epoch": epoch, "resumed": false, "pingInterval": 25_000,
        "pingTimeout": 20_000, "maxPayload": 1_048_576 });
    assert_eq!(told, expected);
    drop(client);
    for (session, known, resumed) in [
        (PAGE, Some(&*epoch), true),
        (PAGE, Some("another"), false),
        (PAGE, None, false),
        ("00000000000000bb", Some(&*epoch), false),
    ] {
        let (_, told) = reliable(&server, &ada, session, known).await;
        assert_eq!(told["resumed"], resumed, "{session} {known:?}");
        assert_eq!(told["epoch"], epoch);
    }
}

#[tokio::test]
async fn replays_unacknowledged_messages_in_order() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut one, mut two) = (page(&server, &ada).await, page(&server, &grace).await);
    for seq in 1..=6 {
        one.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    accepted(&mut one, 6).await;
    let mut offsets = Vec::new();
    for seq in 1..=6 {
        let (offset, text) = message(&mut two).await;
        assert_eq!(text, seq.to_string());
        offsets.push(offset);
    }
    two.send(received(&ada, offsets[2])).await;
    assert_eq!(next(&mut one).await, json!({ "delivered": { "targetId": grace.id.get(), "seq": 3 } }));
    drop(two);
    let mut two = page(&server, &grace).await;
    for seq in 4..=6 {
        assert_eq!(message(&mut two).await, (offsets[seq - 1], seq.to_string()));
    }
    // What it was given on the connection before it may acknowledge on this one.
    two.send(received(&ada, offsets[5])).await;
    assert_eq!(next(&mut one).await, json!({ "delivered": { "targetId": grace.id.get(), "seq": 6 } }));
    // A receipt that was lost with a connection is told again to who resumes.
    drop(one);
    let mut one = page(&server, &ada).await;
    assert_eq!(next(&mut one).await, json!({ "delivered": { "targetId": grace.id.get(), "seq": 6 } }));
}

#[tokio::test]
async fn accepts_resent_messages_once() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut two = page(&server, &grace).await;
    for round in 1..=5_u64 {
        let mut one = page(&server, &ada).await;
        // Everything from the beginning, as if no answer had ever come.
        for seq in 1..=round * 10 {
            one.send(numbered(&grace, seq, &seq.to_string())).await;
        }
        accepted(&mut one, round * 10).await;
    }
    for seq in 1..=50 {
        assert_eq!(message(&mut two).await.1, seq.to_string());
    }
    // Another page counts anew.
    let (mut one, _) = reliable(&server, &ada, "00000000000000bb", None).await;
    one.send(numbered(&grace, 1, "of the new page")).await;
    assert_eq!(message(&mut two).await.1, "of the new page");
}

#[tokio::test]
async fn holds_the_sender_of_a_full_lane() {
    let server = TestRelay::start(Limits { max_queued_messages: 3, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let alan = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, alan.id).unwrap();
    let mut one = page(&server, &ada).await;
    for seq in 1..=6 {
        one.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    accepted(&mut one, 3).await;
    let hold = json!({ "hold": { "targetId": grace.id.get(), "seq": 4, "retryAfter": 250 } });
    assert_eq!(next(&mut one).await, hold);
    // Another lane is not concerned.
    one.send(numbered(&alan, 1, "x")).await;
    accepted(&mut one, 1).await;
    // Once there is room: what does not say that it is the first is still passed over.
    let mut two = page(&server, &grace).await;
    for seq in 1..=3 {
        assert_eq!(message(&mut two).await.1, seq.to_string());
    }
    two.send(received(&ada, 3)).await;
    assert_eq!(next(&mut one).await["delivered"]["seq"], 3);
    one.send(numbered(&grace, 5, "out of order")).await;
    one.send(first(&grace, 4, "4")).await;
    one.send(numbered(&grace, 5, "5")).await;
    accepted(&mut one, 5).await;
    for seq in 4..=5 {
        assert_eq!(message(&mut two).await.1, seq.to_string());
    }
}

#[tokio::test]
async fn rejects_messages_until_the_channel_is_registered() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = (server.relay.register_client().unwrap(), server.relay.register_client().unwrap());
    let (mut one, mut two) = (page(&server, &ada).await, page(&server, &grace).await);
    for round in 0..12 {
        for seq in 1..=3 {
            let seq = round * 3 + seq;
            one.send(if seq % 3 == 1 { first(&grace, seq, "x") } else { numbered(&grace, seq, "x") }).await;
        }
        let frame = next(&mut one).await;
        assert_eq!(frame["rejected"]["seq"], round * 3 + 1, "{frame}");
        assert_eq!(frame["rejected"]["code"], "ERR_CHANNEL_NOT_REGISTERED");
        assert_eq!(server.offence().await.1, "ERR_CHANNEL_NOT_REGISTERED");
    }
    server.relay.register_relay_channel(ada.id, grace.id).unwrap();
    one.send(first(&grace, 40, "now")).await;
    accepted(&mut one, 40).await;
    assert_eq!(message(&mut two).await.1, "now");
}

#[tokio::test]
async fn sends_at_most_one_window_per_lane() {
    let server = TestRelay::start(Limits { max_in_flight_messages: 2, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let alan = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(grace.id, alan.id).unwrap();
    let (mut one, mut three) = (page(&server, &ada).await, server.client(&alan).await);
    for seq in 1..=5 {
        one.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    accepted(&mut one, 5).await;
    let mut two = page(&server, &grace).await;
    assert_eq!(message(&mut two).await, (1, "1".to_owned()));
    assert_eq!(message(&mut two).await, (2, "2".to_owned()));
    // Nobody listens to that channel; another flows.
    three.send(relay(&grace, "from another")).await;
    assert_eq!(message(&mut two).await, (6, "from another".to_owned()));
    two.send(received(&ada, 1)).await;
    assert_eq!(message(&mut two).await, (3, "3".to_owned()));
    two.send(received(&ada, 3)).await;
    assert_eq!(message(&mut two).await, (4, "4".to_owned()));
    assert_eq!(message(&mut two).await, (5, "5".to_owned()));
}

#[tokio::test]
async fn invalid_acknowledgements_are_offences() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut one, mut two) = (page(&server, &ada).await, page(&server, &grace).await);
    for seq in 1..=2 {
        one.send(numbered(&grace, seq, &seq.to_string())).await;
        assert_eq!(message(&mut two).await, (seq, seq.to_string()));
    }
    for forged in [
        received(&ada, 3),
        received(&ada, 1_u64 << 50),
        received(&grace, 1),
        r#"{"received":{"senderId":9,"offset":1}}"#.into(),
    ] {
        two.send(forged).await;
        assert_eq!(next(&mut two).await["error"]["code"], "ERR_INVALID_ACKNOWLEDGEMENT");
    }
    two.send(r#"{"received":{"senderId":0}}"#).await;
    assert_eq!(next(&mut two).await["error"]["code"], "ERR_UNRECOGNIZED_MESSAGE");
    two.send(received(&ada, 2)).await;
    two.send(received(&ada, 1)).await;
    assert_eq!(next(&mut two).await["error"]["code"], "ERR_INVALID_ACKNOWLEDGEMENT");
    for _ in 0..4 {
        two.send(received(&ada, 1)).await;
    }
    assert_eq!(two.closed().await.0, 4504);
}

#[tokio::test]
async fn a_delayed_connection_does_not_replace_a_newer_one() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let authentication = |session: &str, connection: u64| {
        common::reliable(&grace, session, &json!({ "connection": connection }))
    };
    let connect = async |server: &TestRelay, session: &str, connection: u64| {
        let mut client = server.stranger().await;
        client.send(authentication(session, connection)).await;
        client
    };
    let (first_page, second_page) = ("00000000000000aa", "00000000000000bb");
    let mut old = connect(&server, first_page, 1).await;
    assert!(next(&mut old).await["authenticated"].is_object());
    let mut new = connect(&server, first_page, 3).await;
    assert!(next(&mut new).await["authenticated"].is_object());
    assert_eq!(old.closed().await.0, 4501);
    // The second connection of this page comes behind the third.
    assert_eq!(connect(&server, first_page, 2).await.closed().await.0, 4501);
    // And that of a page behind its successor's.
    let mut newest = connect(&server, second_page, 1).await;
    assert!(next(&mut newest).await["authenticated"].is_object());
    assert_eq!(new.closed().await.0, 4501);
    assert_eq!(connect(&server, first_page, 4).await.closed().await.0, 4501);
    let mut one = page(&server, &ada).await;
    one.send(numbered(&grace, 1, "to the newest")).await;
    assert_eq!(message(&mut newest).await.1, "to the newest");
    // When the successor has lost its connection, it is still the one that comes back.
    drop(newest);
    let is_lost =
        |event| matches!(event, websocket_relay::Event::Disconnected(_, websocket_relay::CloseReason::Lost));
    server.find(|event| is_lost(event).then_some(())).await;
    assert_eq!(connect(&server, first_page, 5).await.closed().await.0, 4501);
    let mut back = connect(&server, second_page, 2).await;
    assert!(next(&mut back).await["authenticated"].is_object());
    assert_eq!(message(&mut back).await.1, "to the newest");
}

#[tokio::test]
async fn relays_between_plain_and_reliable_clients() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut plain, mut two) = (server.client(&ada).await, page(&server, &grace).await);
    for n in 1..=500 {
        plain.send(relay(&grace, &n.to_string())).await;
        two.send(numbered(&ada, n, &n.to_string())).await;
    }
    let hear = async {
        for n in 1..=500 {
            assert_eq!(plain.message(&grace).await, n.to_string());
        }
    };
    let hear_and_acknowledge = async {
        let (mut heard, mut delivered) = (0, 0);
        while heard < 500 || delivered < 500 {
            let frame = next(&mut two).await;
            if let Some(offset) = frame["relay"]["offset"].as_u64() {
                heard += 1;
                assert_eq!(frame["relay"]["message"], heard.to_string());
                two.send(received(&ada, offset)).await;
            }
            delivered = frame["delivered"]["seq"].as_u64().unwrap_or(delivered);
        }
    };
    tokio::join!(hear, hear_and_acknowledge);
}

#[tokio::test]
async fn reports_presence() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let presence =
        |who: &Registration, online| json!({ "presence": { "clientId": who.id.get(), "online": online } });
    let (mut one, _) = reliable(&server, &ada, PAGE, None).await;
    assert_eq!(common::next(&mut one).await, presence(&grace, false));
    let two = server.client(&grace).await;
    assert_eq!(common::next(&mut one).await, presence(&grace, true));
    drop(two);
    assert_eq!(common::next(&mut one).await, presence(&grace, false));
    let alan = server.relay.register_client().unwrap();
    let _three = page(&server, &alan).await;
    server.relay.register_relay_channel(ada.id, alan.id).unwrap();
    assert_eq!(common::next(&mut one).await, presence(&alan, true));
}

#[tokio::test]
async fn answers_ping_frames_with_pong_frames() {
    let limits = Limits { ping_interval: std::time::Duration::from_millis(10), ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let (ada, _) = server.pair();
    let mut one = page(&server, &ada).await;
    assert_eq!(next(&mut one).await, json!({ "ping": {} }));
    one.send(r#"{"ping":{}}"#).await;
    assert_eq!(next(&mut one).await, json!({ "pong": {} }));
}

#[tokio::test]
async fn stops_reading_from_a_client_that_does_not_read_replies() {
    use tokio::io::AsyncWriteExt;
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut flood = server.upgraded().await;
    let text = format!(
        r#"{{"authentication":{{"clientId":{},"token":"{}","version":2,"session":"{PAGE}"}}}}"#,
        ada.id,
        ada.token.reveal()
    );
    common::soon(flood.write_all(&common::masked(0x81, text.as_bytes()))).await.unwrap();
    let pings = common::masked(0x81, br#"{"ping":{}}"#).repeat(10_000);
    // Once the socket's buffers are full, writing stops: the server has stopped reading.
    let stopped = async {
        loop {
            let write = tokio::time::timeout(std::time::Duration::from_millis(500), flood.write_all(&pings));
            if write.await.is_err() {
                return;
            }
        }
    };
    common::soon(stopped).await;
    let (mut two, mut three) = (server.client(&grace).await, server.client(&ada).await);
    three.send(relay(&grace, "unhurt")).await;
    assert_eq!(two.message(&ada).await, "unhurt");
}
