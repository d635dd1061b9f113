//! Messages not received in time are dropped, and their sender is notified.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{Client, SESSION, TestRelay, numbered, numbered_first, received, relay};
use serde_json::{Value, json};
use websocket_relay::{ClientId, Event, Limits, Registration};

/// Limits with a message TTL short enough for tests.
fn limits() -> Limits {
    Limits { message_ttl: Duration::from_millis(20), ..Limits::default() }
}

/// Connects a reliable client that asks for receipts.
async fn connect(server: &TestRelay, registration: &Registration, session: &str) -> Client {
    server.reliable(registration, session, &json!({ "receipts": true })).await.0
}

/// Returns the next frame of this kind. Only `accepted` and `ping` frames may come before it.
async fn expect(client: &mut Client, kind: &str) -> Value {
    loop {
        let mut frame = client.frame().await;
        if !frame[kind].is_null() {
            return frame[kind].take();
        }
        assert!(frame["accepted"].is_object() || frame["ping"].is_object(), "{frame}");
    }
}

/// Waits until `count` messages from one client to another have expired.
async fn wait_expired(server: &mut TestRelay, from: &Registration, to: &Registration, count: u64) {
    let mut left = count;
    while left > 0 {
        let expired = server.find_event(|event| match event {
            Event::MessagesExpired { sender, recipient, messages } => Some((sender, recipient, messages)),
            _ => None,
        });
        let (sender, recipient, messages) = expired.await;
        assert_eq!((sender, recipient), (from.id, to.id));
        left = left.checked_sub(messages).expect("no more than that");
    }
}

/// Returns the first and last sequence number of an expiry notice, and the notice's own number.
fn notice(rejected: &Value, target: ClientId) -> [u64; 3] {
    assert_eq!(
        (&rejected["targetId"], &rejected["code"]),
        (&json!(target.get()), &json!("ERR_MESSAGE_EXPIRED"))
    );
    ["seq", "last", "notice"].map(|member| rejected[member].as_u64().unwrap())
}

/// Checks that no other frame is on its way.
async fn expect_nothing(client: &mut Client) {
    client.send(json!({ "ping": {} }).to_string()).await;
    expect(client, "pong").await;
}

#[tokio::test]
async fn drops_expired_messages_and_notifies_the_sender() {
    let mut server = TestRelay::start(limits()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = connect(&server, &ada, SESSION).await;
    for seq in 1..=3 {
        ada_client.send(numbered(&grace, seq, "too late")).await;
    }
    let (mut expired, mut notices, mut accepted) = (Vec::new(), 0, 0);
    while expired.last() != Some(&3) {
        let frame = ada_client.frame().await;
        accepted = accepted.max(frame["accepted"]["seq"].as_u64().unwrap_or_default());
        if frame["rejected"].is_object() {
            let [first, last, number] = notice(&frame["rejected"], grace.id);
            assert!(accepted >= last, "accepted before it is rejected");
            notices += 1;
            assert_eq!((first, number), (expired.len() as u64 + 1, notices));
            expired.extend(first..=last);
        }
    }
    wait_expired(&mut server, &ada, &grace, 3).await;
    let stats = server.relay.stats();
    assert_eq!((stats.totals.queued_messages, stats.totals.queued_bytes), (0, 0));
    assert_eq!(stats.rejected.into_iter().collect::<Vec<_>>(), [("ERR_MESSAGE_EXPIRED", 3)]);
    assert!(stats.offences.is_empty());
    // A duplicate of an expired message is accepted, and the next message is delivered.
    ada_client.send(numbered(&grace, 3, "too late")).await;
    assert_eq!(expect(&mut ada_client, "accepted").await["seq"], 3);
    let mut grace_client = connect(&server, &grace, SESSION).await;
    ada_client.send(numbered(&grace, 4, "in time")).await;
    let arrived = expect(&mut grace_client, "relay").await;
    assert_eq!((&arrived["message"], &arrived["offset"]), (&json!("in time"), &json!(4)));
}

#[tokio::test]
async fn keeps_messages_without_a_ttl() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = connect(&server, &ada, SESSION).await;
    ada_client.send(numbered(&grace, 1, "patient")).await;
    expect(&mut ada_client, "accepted").await;
    assert_eq!(expect(&mut connect(&server, &grace, SESSION).await, "relay").await["message"], "patient");
}

#[tokio::test]
async fn does_not_expire_messages_in_flight() {
    let mut server = TestRelay::start(Limits { max_in_flight_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (connect(&server, &ada, SESSION).await, connect(&server, &grace, SESSION).await);
    ada_client.send(numbered(&grace, 1, "in flight")).await;
    let arrived = expect(&mut grace_client, "relay").await;
    for seq in 2..=3 {
        ada_client.send(numbered(&grace, seq, "queued")).await;
    }
    wait_expired(&mut server, &ada, &grace, 2).await;
    assert_eq!(server.relay.client(grace.id).unwrap().waiting.messages, 1);
    let mut last = notice(&expect(&mut ada_client, "rejected").await, grace.id);
    assert_eq!(last[0], 2);
    if last[1] == 2 {
        last = notice(&expect(&mut ada_client, "rejected").await, grace.id);
    }
    assert_eq!(last[1], 3);
    grace_client.send(received(&ada, &arrived["offset"])).await;
    assert_eq!(expect(&mut ada_client, "delivered").await["seq"], 1);
    ada_client.send(numbered(&grace, 4, "next")).await;
    assert_eq!(expect(&mut grace_client, "relay").await["message"], "next");
}

#[tokio::test]
async fn does_not_redeliver_expired_messages() {
    let mut server = TestRelay::start(Limits { max_in_flight_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (connect(&server, &ada, SESSION).await, connect(&server, &grace, SESSION).await);
    ada_client.send(numbered(&grace, 1, "in flight")).await;
    let arrived = expect(&mut grace_client, "relay").await;
    ada_client.send(numbered(&grace, 2, "queued")).await;
    // The message in flight is older and past its TTL too.
    wait_expired(&mut server, &ada, &grace, 1).await;
    assert_eq!(notice(&expect(&mut ada_client, "rejected").await, grace.id), [2, 2, 1]);
    drop(grace_client);
    wait_expired(&mut server, &ada, &grace, 1).await;
    assert_eq!(notice(&expect(&mut ada_client, "rejected").await, grace.id), [1, 1, 2]);
    let mut grace_client = connect(&server, &grace, SESSION).await;
    // A late acknowledgement is not an offence, and causes no receipt.
    for _ in 0..20 {
        grace_client.send(received(&ada, &arrived["offset"])).await;
    }
    expect_nothing(&mut grace_client).await;
    expect_nothing(&mut ada_client).await;
    assert!(server.relay.stats().offences.is_empty());
    assert_eq!(server.relay.stats().totals.queued_bytes, 0);
}

#[tokio::test]
async fn does_not_deliver_expired_messages_after_takeover() {
    let mut server = TestRelay::start(Limits { max_in_flight_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (connect(&server, &ada, SESSION).await, connect(&server, &grace, SESSION).await);
    ada_client.send(numbered(&grace, 1, "in flight")).await;
    expect(&mut grace_client, "relay").await;
    ada_client.send(numbered(&grace, 2, "queued")).await;
    wait_expired(&mut server, &ada, &grace, 1).await;
    let mut newer = connect(&server, &grace, "00000000000000bb").await;
    expect_nothing(&mut newer).await;
    wait_expired(&mut server, &ada, &grace, 1).await;
}

#[tokio::test]
async fn repeats_notices_until_a_heartbeat_is_answered() {
    let limits = Limits { ping_interval: Duration::from_millis(50), ..limits() };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut ada_client = connect(&server, &ada, SESSION).await;
    ada_client.send(numbered(&grace, 1, "too late")).await;
    expect(&mut ada_client, "accepted").await;
    drop(ada_client);
    wait_expired(&mut server, &ada, &grace, 1).await;
    for _ in 0..2 {
        let mut ada_client = connect(&server, &ada, SESSION).await;
        assert_eq!(notice(&expect(&mut ada_client, "rejected").await, grace.id), [1, 1, 1]);
    }
    let mut ada_client = connect(&server, &ada, SESSION).await;
    assert_eq!(notice(&expect(&mut ada_client, "rejected").await, grace.id), [1, 1, 1]);
    expect(&mut ada_client, "ping").await;
    ada_client.send(json!({ "pong": {} }).to_string()).await;
    // The reply to this ping comes after the relay has read the pong.
    ada_client.send(json!({ "ping": {} }).to_string()).await;
    while ada_client.frame().await["pong"].is_null() {}
    drop(ada_client);
    let mut ada_client = connect(&server, &ada, SESSION).await;
    ada_client.send(numbered(&grace, 2, "too late")).await;
    assert_eq!(
        notice(&expect(&mut ada_client, "rejected").await, grace.id),
        [2, 2, 2],
        "numbering continues"
    );
    // Another session gets no notice.
    let mut other = connect(&server, &ada, "00000000000000bb").await;
    expect_nothing(&mut other).await;
}

#[tokio::test]
async fn expires_messages_of_plain_clients_silently() {
    let mut server = TestRelay::start(limits()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = server.client(&ada).await;
    ada_client.send(relay(&grace, "too late")).await;
    wait_expired(&mut server, &ada, &grace, 1).await;
    let mut grace_client = server.client(&grace).await;
    server.wait_connected(grace.id).await;
    ada_client.send(relay(&grace, "in time")).await;
    assert_eq!(grace_client.message(&ada).await, "in time");
    grace_client.send(relay(&ada, "and back")).await;
    assert_eq!(ada_client.message(&grace).await, "and back");
    assert_eq!(server.relay.stats().rejected["ERR_MESSAGE_EXPIRED"], 1);
}

#[tokio::test]
async fn expired_messages_make_room_in_the_queue() {
    let server = TestRelay::start(Limits { max_queued_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let mut ada_client = connect(&server, &ada, SESSION).await;
    let mut seq = 0;
    // Until one is held: on a slow machine some expire first.
    while is_accepted(&mut ada_client, &grace, seq + 1).await {
        seq += 1;
    }
    assert!(seq > 0, "an empty lane accepts a message");
    while !is_accepted(&mut ada_client, &grace, seq + 1).await {}
    assert_eq!(server.relay.stats().totals.relayed_messages, seq + 1);
}

/// Sends a message, and returns whether it was accepted rather than held.
async fn is_accepted(client: &mut Client, target: &Registration, seq: u64) -> bool {
    client.send(numbered_first(target, seq, "x")).await;
    loop {
        let frame = client.frame().await;
        if frame["accepted"]["seq"] == seq || frame["hold"]["seq"] == seq {
            return frame["hold"].is_null();
        }
    }
}

#[tokio::test]
async fn unregistering_a_recipient_cancels_expiry() {
    let mut server = TestRelay::start(limits()).await;
    let (ada, grace) = server.pair();
    let unregistered = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, unregistered.id).unwrap();
    let mut ada_client = connect(&server, &ada, SESSION).await;
    ada_client.send(numbered(&unregistered, 1, "dropped")).await;
    ada_client.send(numbered(&grace, 1, "too late")).await;
    expect(&mut ada_client, "accepted").await;
    server.relay.unregister_client(unregistered.id).unwrap();
    let recipient = |event| match event {
        Event::MessagesExpired { recipient, .. } => Some(recipient),
        _ => None,
    };
    // Under load the other message may have expired before.
    while server.find_event(recipient).await != grace.id {}
    let totals = server.relay.stats().totals;
    assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0));
}
