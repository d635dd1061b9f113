//! Messages expire: they are dropped when nobody has received them in time, and who sent them hears of it.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{Client, PAGE, TestRelay, first, next, numbered, received, relay};
use serde_json::{Value, json};
use websocket_relay::{ClientId, Event, Limits, Registration};

/// Messages may wait for so short a time that no test has to wait for long.
fn limits() -> Limits {
    Limits { message_ttl: Duration::from_millis(20), ..Limits::default() }
}

/// A connection with reliable delivery that has been greeted.
async fn page(server: &TestRelay, who: &Registration, session: &str) -> Client {
    server.reliable(who, session, &json!({ "receipts": true })).await.0
}

/// The next frame of this kind; it must be the next but for acceptances and heartbeats.
async fn find(client: &mut Client, kind: &str) -> Value {
    loop {
        let mut frame = next(client).await;
        if !frame[kind].is_null() {
            return frame[kind].take();
        }
        assert!(frame["accepted"].is_object() || frame["ping"].is_object(), "{frame}");
    }
}

/// Waits until so many messages from one client for another have expired.
async fn expired(server: &mut TestRelay, from: &Registration, to: &Registration, count: u64) {
    let mut left = count;
    while left > 0 {
        let expired = server.find(|event| match event {
            Event::MessagesExpired { sender, recipient, messages } => Some((sender, recipient, messages)),
            _ => None,
        });
        let (sender, recipient, messages) = expired.await;
        assert_eq!((sender, recipient), (from.id, to.id));
        left = left.checked_sub(messages).expect("no more than that");
    }
}

/// From which to which number, and the notice's own.
fn notice(rejected: &Value, target: ClientId) -> [u64; 3] {
    assert_eq!(
        (&rejected["targetId"], &rejected["code"]),
        (&json!(target.get()), &json!("ERR_MESSAGE_EXPIRED"))
    );
    ["seq", "last", "notice"].map(|member| rejected[member].as_u64().unwrap())
}

/// Nothing more comes than the answer to a question.
async fn quiet(client: &mut Client) {
    client.send(json!({ "ping": {} }).to_string()).await;
    find(client, "pong").await;
}

#[tokio::test]
async fn drops_expired_messages_and_notifies_the_sender() {
    let mut server = TestRelay::start(limits()).await;
    let (ada, grace) = server.pair();
    let mut one = page(&server, &ada, PAGE).await;
    for seq in 1..=3 {
        one.send(numbered(&grace, seq, "too late")).await;
    }
    let (mut told, mut notices, mut accepted) = (Vec::new(), 0, 0);
    while told.last() != Some(&3) {
        let frame = next(&mut one).await;
        accepted = accepted.max(frame["accepted"]["seq"].as_u64().unwrap_or_default());
        if frame["rejected"].is_object() {
            let [first, last, number] = notice(&frame["rejected"], grace.id);
            assert!(accepted >= last, "it was taken, and that is known before");
            notices += 1;
            assert_eq!((first, number), (told.len() as u64 + 1, notices));
            told.extend(first..=last);
        }
    }
    expired(&mut server, &ada, &grace, 3).await;
    let stats = server.relay.stats();
    assert_eq!((stats.totals.queued_messages, stats.totals.queued_bytes), (0, 0));
    assert_eq!(stats.rejected.into_iter().collect::<Vec<_>>(), [("ERR_MESSAGE_EXPIRED", 3)]);
    assert!(stats.offences.is_empty());
    // What was taken is known, whatever became of it, and what follows is taken and arrives.
    one.send(numbered(&grace, 3, "too late")).await;
    assert_eq!(find(&mut one, "accepted").await["seq"], 3);
    let mut two = page(&server, &grace, PAGE).await;
    one.send(numbered(&grace, 4, "in time")).await;
    let arrived = find(&mut two, "relay").await;
    assert_eq!((&arrived["message"], &arrived["offset"]), (&json!("in time"), &json!(4)));
}

#[tokio::test]
async fn keeps_messages_without_a_ttl() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut one = page(&server, &ada, PAGE).await;
    one.send(numbered(&grace, 1, "patient")).await;
    find(&mut one, "accepted").await;
    assert_eq!(find(&mut page(&server, &grace, PAGE).await, "relay").await["message"], "patient");
}

#[tokio::test]
async fn does_not_expire_messages_in_flight() {
    let mut server = TestRelay::start(Limits { max_in_flight_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let (mut one, mut two) = (page(&server, &ada, PAGE).await, page(&server, &grace, PAGE).await);
    one.send(numbered(&grace, 1, "on its way")).await;
    let arrived = find(&mut two, "relay").await;
    for seq in 2..=3 {
        one.send(numbered(&grace, seq, "behind it")).await;
    }
    expired(&mut server, &ada, &grace, 2).await;
    assert_eq!(server.relay.client(grace.id).unwrap().waiting.messages, 1);
    let mut last = notice(&find(&mut one, "rejected").await, grace.id);
    assert_eq!(last[0], 2);
    if last[1] == 2 {
        last = notice(&find(&mut one, "rejected").await, grace.id);
    }
    assert_eq!(last[1], 3);
    two.send(received(&ada, &arrived["offset"])).await;
    assert_eq!(find(&mut one, "delivered").await["seq"], 1);
    one.send(numbered(&grace, 4, "next")).await;
    assert_eq!(find(&mut two, "relay").await["message"], "next");
}

#[tokio::test]
async fn does_not_redeliver_expired_messages() {
    let mut server = TestRelay::start(Limits { max_in_flight_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let (mut one, mut two) = (page(&server, &ada, PAGE).await, page(&server, &grace, PAGE).await);
    one.send(numbered(&grace, 1, "on its way")).await;
    let arrived = find(&mut two, "relay").await;
    one.send(numbered(&grace, 2, "behind it")).await;
    // As old as this one the other is as well, and older.
    expired(&mut server, &ada, &grace, 1).await;
    assert_eq!(notice(&find(&mut one, "rejected").await, grace.id), [2, 2, 1]);
    drop(two);
    expired(&mut server, &ada, &grace, 1).await;
    assert_eq!(notice(&find(&mut one, "rejected").await, grace.id), [1, 1, 2]);
    let mut two = page(&server, &grace, PAGE).await;
    // It has it after all: that is no offence, but too late to be told.
    for _ in 0..20 {
        two.send(received(&ada, &arrived["offset"])).await;
    }
    quiet(&mut two).await;
    quiet(&mut one).await;
    assert!(server.relay.stats().offences.is_empty());
    assert_eq!(server.relay.stats().totals.queued_bytes, 0);
}

#[tokio::test]
async fn does_not_deliver_expired_messages_after_takeover() {
    let mut server = TestRelay::start(Limits { max_in_flight_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let (mut one, mut two) = (page(&server, &ada, PAGE).await, page(&server, &grace, PAGE).await);
    one.send(numbered(&grace, 1, "on its way")).await;
    find(&mut two, "relay").await;
    one.send(numbered(&grace, 2, "behind it")).await;
    expired(&mut server, &ada, &grace, 1).await;
    let mut newer = page(&server, &grace, "00000000000000bb").await;
    quiet(&mut newer).await;
    expired(&mut server, &ada, &grace, 1).await;
}

#[tokio::test]
async fn repeats_notices_until_a_heartbeat_is_answered() {
    let limits = Limits { ping_interval: Duration::from_millis(50), ..limits() };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut one = page(&server, &ada, PAGE).await;
    one.send(numbered(&grace, 1, "too late")).await;
    find(&mut one, "accepted").await;
    drop(one);
    expired(&mut server, &ada, &grace, 1).await;
    for _ in 0..2 {
        let mut one = page(&server, &ada, PAGE).await;
        assert_eq!(notice(&find(&mut one, "rejected").await, grace.id), [1, 1, 1]);
    }
    let mut one = page(&server, &ada, PAGE).await;
    assert_eq!(notice(&find(&mut one, "rejected").await, grace.id), [1, 1, 1]);
    find(&mut one, "ping").await;
    one.send(json!({ "pong": {} }).to_string()).await;
    // It is answered when the answer was read.
    one.send(json!({ "ping": {} }).to_string()).await;
    while next(&mut one).await["pong"].is_null() {}
    drop(one);
    let mut one = page(&server, &ada, PAGE).await;
    one.send(numbered(&grace, 2, "too late")).await;
    assert_eq!(notice(&find(&mut one, "rejected").await, grace.id), [2, 2, 2], "numbers go on");
    // Another page has nothing to do with it.
    let mut other = page(&server, &ada, "00000000000000bb").await;
    quiet(&mut other).await;
}

#[tokio::test]
async fn expires_messages_of_plain_clients_silently() {
    let mut server = TestRelay::start(limits()).await;
    let (ada, grace) = server.pair();
    let mut one = server.client(&ada).await;
    one.send(relay(&grace, "too late")).await;
    expired(&mut server, &ada, &grace, 1).await;
    let mut two = server.client(&grace).await;
    server.find(|event| matches!(event, Event::Connected(client) if client == grace.id).then_some(())).await;
    one.send(relay(&grace, "in time")).await;
    assert_eq!(two.message(&ada).await, "in time");
    two.send(relay(&ada, "and back")).await;
    assert_eq!(one.message(&grace).await, "and back");
    assert_eq!(server.relay.stats().rejected["ERR_MESSAGE_EXPIRED"], 1);
}

#[tokio::test]
async fn expired_messages_make_room_in_the_queue() {
    let server = TestRelay::start(Limits { max_queued_messages: 1, ..limits() }).await;
    let (ada, grace) = server.pair();
    let mut one = page(&server, &ada, PAGE).await;
    let mut seq = 0;
    // Until one finds no room, however slow this is.
    while send_to(&mut one, &grace, seq + 1).await {
        seq += 1;
    }
    assert!(seq > 0, "an empty lane takes one");
    while !send_to(&mut one, &grace, seq + 1).await {}
    assert_eq!(server.relay.stats().totals.relayed_messages, seq + 1);
}

/// Whether a message was accepted, and not held.
async fn send_to(client: &mut Client, target: &Registration, seq: u64) -> bool {
    client.send(first(target, seq, "x")).await;
    loop {
        let frame = next(client).await;
        if frame["accepted"]["seq"] == seq || frame["hold"]["seq"] == seq {
            return frame["hold"].is_null();
        }
    }
}

#[tokio::test]
async fn unregistering_a_recipient_cancels_expiry() {
    let mut server = TestRelay::start(limits()).await;
    let (ada, grace) = server.pair();
    let gone = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, gone.id).unwrap();
    let mut one = page(&server, &ada, PAGE).await;
    one.send(numbered(&gone, 1, "dropped")).await;
    one.send(numbered(&grace, 1, "too late")).await;
    find(&mut one, "accepted").await;
    server.relay.unregister_client(gone.id).unwrap();
    let recipient = |event| match event {
        Event::MessagesExpired { recipient, .. } => Some(recipient),
        _ => None,
    };
    // Under load the other one's time may be over as well by then.
    while server.find(recipient).await != grace.id {}
    let totals = server.relay.stats().totals;
    assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0));
}
