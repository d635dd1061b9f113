//! A relay with a store goes on where it was when it is started again.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Client, SESSION, TestRelay, numbered, options, received, relay, reliable};
use serde_json::{Value, json};
use websocket_relay::error::{Error, StoreError};
use websocket_relay::store::{Durability, StoreOptions};
use websocket_relay::{CloseReason, Limits, Options, Registration, Relay};

/// A store in a directory of its own, which is removed in the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("websocket-relay-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn options(&self, limits: Limits) -> Options {
        // The clients of these tests do not answer close frames.
        let limits = Limits { close_timeout: Duration::from_millis(50), ..limits };
        let store = StoreOptions { path: self.0.join("relay.db"), durability: Durability::Written };
        Options { store: Some(store), limits, ..options() }
    }

    async fn start(&self) -> TestRelay {
        TestRelay::with(self.options(Limits::default())).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Closes a relay, and waits until its store is closed.
async fn close(mut server: TestRelay) {
    server.relay.close();
    server.wait_closed().await;
}

/// Returns the next frame with this member.
async fn next(client: &mut Client, member: &str) -> Value {
    loop {
        let mut frame = client.frame().await;
        if !frame[member].is_null() {
            return frame[member].take();
        }
    }
}

/// Returns the numbers and texts of the next messages.
async fn messages(client: &mut Client, count: usize) -> Vec<(Value, Value)> {
    let mut all = Vec::new();
    while all.len() < count {
        let relay = next(client, "relay").await;
        all.push((relay["seq"].clone(), relay["message"].clone()));
    }
    all
}

async fn resume(
    server: &TestRelay,
    client: &Registration,
    epoch: &Value,
    connection: u64,
) -> (Client, Value) {
    server.reliable(client, SESSION, &json!({ "epoch": epoch, "connection": connection })).await
}

/// Has a client that is away get a message, which is stored. Returns the sender.
async fn store_message(server: &TestRelay, sender: &Registration, recipient: &Registration) -> Client {
    let mut client = server.reliable_client(sender).await;
    client.send(numbered(recipient, 1, "stored")).await;
    while next(&mut client, "accepted").await["seq"] != 1 {}
    client
}

#[tokio::test]
async fn clients_channels_and_waiting_messages_outlive_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    let (mut client, reply) = server.reliable(&ada, SESSION, &json!({ "connection": 1 })).await;
    for seq in [1, 2] {
        client.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    while next(&mut client, "accepted").await["seq"] != 2 {}
    close(server).await;
    let server = place.start().await;
    let (mut client, again) = resume(&server, &ada, &reply["epoch"], 2).await;
    assert_eq!((&again["resumed"], &again["epoch"]), (&json!(true), &reply["epoch"]));
    // As if the acceptances had not arrived.
    for seq in [1, 2, 3] {
        client.send(numbered(&grace, seq, &seq.to_string())).await;
    }
    let mut recipient = server.reliable_client(&grace).await;
    let expected = [1, 2, 3].map(|seq| (json!(seq), json!(seq.to_string())));
    assert_eq!(messages(&mut recipient, 3).await, expected);
    assert_eq!(server.relay.stats().totals.channels, 1);
    assert_eq!(server.relay.register_client().unwrap().id.get(), 2, "ids go on");
}

#[tokio::test]
async fn what_was_received_is_gone_after_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    let mut client = store_message(&server, &ada, &grace).await;
    let mut recipient = server.reliable_client(&grace).await;
    let offset = next(&mut recipient, "relay").await["offset"].clone();
    recipient.send(received(&ada, &offset)).await;
    while next(&mut client, "delivered").await["seq"] != 1 {}
    close(server).await;
    let server = place.start().await;
    assert_eq!(server.relay.stats().totals.queued_messages, 0);
    // An acknowledgement of an earlier life frees nothing and is no offence.
    let mut recipient = server.reliable_client(&grace).await;
    recipient.send(received(&ada, &offset)).await;
    server.reliable_client(&ada).await.send(numbered(&grace, 2, "new")).await;
    assert_eq!(messages(&mut recipient, 1).await, [(json!(2), json!("new"))]);
    assert!(server.relay.stats().offences.is_empty());
}

#[tokio::test]
async fn a_sender_gets_the_receipts_of_messages_that_outlived_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    store_message(&server, &ada, &grace).await;
    close(server).await;
    let server = place.start().await;
    let mut recipient = server.reliable_client(&grace).await;
    let offset = next(&mut recipient, "relay").await["offset"].clone();
    recipient.send(received(&ada, &offset)).await;
    while server.relay.stats().totals.queued_messages > 0 {
        tokio::task::yield_now().await;
    }
    let mut client = server.reliable_client(&ada).await;
    assert_eq!(next(&mut client, "delivered").await, json!({ "targetId": grace.id.get(), "seq": 1 }));
}

#[tokio::test]
async fn what_was_removed_stays_removed() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    let other = server.relay.register_client().unwrap();
    server.relay.register_relay_channels(&[ada.id, grace.id, other.id]).unwrap();
    let mut client = server.reliable_client(&ada).await;
    for target in [&grace, &other] {
        client.send(numbered(target, 1, "x")).await;
        while next(&mut client, "accepted").await["targetId"] != target.id.get() {}
    }
    server.relay.unregister_client(other.id).unwrap();
    server.relay.unregister_relay_channel(ada.id, grace.id).unwrap();
    let token = server.relay.refresh_token(grace.id, None, None).unwrap();
    close(server).await;
    let mut server = place.start().await;
    let totals = server.relay.stats().totals;
    assert_eq!((totals.registered, totals.channels, totals.queued_messages), (2, 0, 0));
    let mut old = server.unauthenticated().await;
    old.send(reliable(&grace, SESSION, &json!({}))).await;
    assert_eq!(server.offence().await.1, "ERR_INCORRECT_TOKEN");
    server.reliable_client(&Registration { id: grace.id, token }).await;
}

#[tokio::test]
async fn a_long_message_may_follow_an_authentication_that_waits_for_the_store() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    let mut client = server.unauthenticated().await;
    client.send(reliable(&ada, SESSION, &json!({}))).await;
    client.send(numbered(&grace, 1, &"x".repeat(100_000))).await;
    while next(&mut client, "accepted").await["seq"] != 1 {}
}

#[tokio::test]
async fn a_replaced_session_stays_replaced() {
    const NEWER: &str = "00000000000000bb";
    let place = Place::new();
    let server = place.start().await;
    let (ada, _) = server.pair();
    let mut old = server.reliable_client(&ada).await;
    let (_new, reply) = server.reliable(&ada, NEWER, &json!({ "connection": 7 })).await;
    assert_eq!(old.closed().await.0, CloseReason::Replaced.code());
    close(server).await;
    let server = place.start().await;
    for (session, connection) in [(SESSION, 99), (NEWER, 6)] {
        let mut client = server.unauthenticated().await;
        client.send(reliable(&ada, session, &json!({ "connection": connection }))).await;
        assert_eq!(client.closed().await.0, CloseReason::Replaced.code(), "{session}");
    }
    let (_, again) = server.reliable(&ada, NEWER, &json!({ "connection": 8, "epoch": reply["epoch"] })).await;
    assert_eq!(again["resumed"], true);
}

#[tokio::test]
async fn plain_clients_messages_outlive_a_restart() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    let mut client = server.client(&ada).await;
    for text in ["a", "b"] {
        client.send(relay(&grace, text)).await;
    }
    while server.relay.stats().totals.queued_messages < 2 {
        tokio::task::yield_now().await;
    }
    close(server).await;
    let server = place.start().await;
    let mut recipient = server.client(&grace).await;
    for text in ["a", "b"] {
        assert_eq!(recipient.frame().await["relay"]["message"], text);
    }
    close(server).await;
    assert_eq!(place.start().await.relay.stats().totals.queued_messages, 0);
}

#[tokio::test]
async fn a_file_has_one_server_and_a_place_to_be() {
    let place = Place::new();
    let server = place.start().await;
    let error = |options| match Relay::new(options) {
        Err(Error::Store(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(error(place.options(Limits::default())), StoreError::Locked { .. }));
    close(server).await;
    let mut elsewhere = place.options(Limits::default());
    elsewhere.store.as_mut().unwrap().path = place.0.join("missing/relay.db");
    assert!(matches!(error(elsewhere), StoreError::NotFound { .. }));
}

#[tokio::test]
async fn more_than_fits_into_memory_is_refused_and_kept() {
    let place = Place::new();
    let server = place.start().await;
    let (ada, grace) = server.pair();
    let mut client = server.reliable_client(&ada).await;
    for seq in 1..=20 {
        client.send(numbered(&grace, seq, &"x".repeat(1000))).await;
    }
    while next(&mut client, "accepted").await["seq"] != 20 {}
    close(server).await;
    let small = Limits { max_total_bytes: 10_000, ..Limits::default() };
    let error = Relay::new(place.options(small)).unwrap_err();
    assert_eq!(error.code(), "ERR_STORE_TOO_LARGE");
    assert_eq!(place.start().await.relay.stats().totals.queued_messages, 20);
}

#[tokio::test]
async fn notices_of_expired_messages_have_other_numbers_after_a_restart() {
    let place = Place::new();
    let limits = Limits { message_ttl: Duration::from_millis(20), ..Limits::default() };
    let mut numbers = Vec::new();
    let mut clients = None;
    for seq in [1, 2] {
        let server = TestRelay::with(place.options(limits.clone())).await;
        let (ada, grace) = clients.get_or_insert_with(|| server.pair());
        let mut client = server.reliable_client(ada).await;
        client.send(numbered(grace, seq, "x")).await;
        let expired = next(&mut client, "rejected").await;
        assert_eq!(expired["last"], seq);
        numbers.push(expired["notice"].as_u64().unwrap());
        drop(client);
        close(server).await;
    }
    assert!(numbers[0] < numbers[1], "{numbers:?}");
}
