//! Clients and channels are registered, removed and expire: others are notified, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{
    Client, TestRelay, UPGRADE, authentication, masked_text, numbered, numbered_first, received, relay,
};
use serde_json::{Value, json};
use websocket_relay::{ClientId, CloseReason, Error, Event, Limits, NewClient, Options, Registration, Token};

/// Skips frames up to one of this kind.
async fn find(client: &mut Client, kind: &str) -> Value {
    loop {
        let mut frame = client.frame().await;
        if !frame[kind].is_null() {
            return frame[kind].take();
        }
    }
}

async fn presence(client: &mut Client) -> (u64, bool) {
    let presence = find(client, "presence").await;
    (presence["clientId"].as_u64().unwrap(), presence["online"].as_bool().unwrap())
}

#[tokio::test]
async fn unregistering_closes_and_forgets_a_client() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (server.reliable_client(&ada).await, server.client(&grace).await);
    while presence(&mut ada_client).await != (grace.id.get(), true) {}
    grace_client.send(relay(&ada, "before")).await;
    let offset = find(&mut ada_client, "relay").await["offset"].as_u64().unwrap();
    ada_client.send(numbered_first(&grace, 1, "taken")).await;
    assert_eq!(grace_client.message(&ada).await, "taken");
    server.relay.unregister_client(grace.id).unwrap();
    assert_eq!(grace_client.closed().await, (4502, "unregistered".to_owned()));
    assert_eq!(server.wait_disconnected(grace.id).await, CloseReason::Unregistered);
    assert_eq!(presence(&mut ada_client).await, (grace.id.get(), false));
    // The sender has used this channel before, and is rejected all the same.
    ada_client.send(numbered(&grace, 2, "late")).await;
    let rejected = find(&mut ada_client, "rejected").await;
    assert_eq!((&rejected["seq"], &rejected["code"]), (&json!(2), &json!("ERR_CHANNEL_NOT_REGISTERED")));
    // Acknowledging its earlier message is no offence, however often.
    for _ in 0..20 {
        ada_client.send(received(&grace, offset)).await;
    }
    ada_client.send(json!({ "ping": {} }).to_string()).await;
    assert!(ada_client.frame().await["pong"].is_object());
    let mut again = server.client(&grace).await;
    assert_eq!(again.closed().await.0, 4500);
    let not_found = server.relay.unregister_client(grace.id).unwrap_err();
    assert_eq!(not_found.to_string(), "clientId must be the id of an existing client");
    assert_eq!(server.relay.register_client().unwrap().id.get(), 2, "ids are not reused");
    let totals = server.relay.stats().totals;
    assert_eq!(
        (totals.registered, totals.channels, totals.queued_messages, totals.queued_bytes),
        (2, 0, 0, 0)
    );
}

#[tokio::test]
async fn unregistering_closes_a_sending_client_with_the_right_code() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = server.client(&ada).await;
    server.wait_for(|event| matches!(event, Event::Connected(_))).await;
    for n in 0..500 {
        ada_client.send(relay(&grace, &n.to_string())).await;
        if n == 250 {
            server.relay.unregister_client(ada.id).unwrap();
            break;
        }
    }
    assert_eq!(ada_client.closed().await.0, 4502);
    assert_eq!(server.relay.stats().totals.queued_messages, 0, "its messages are removed with it");
}

#[tokio::test]
async fn revoking_a_channel_drops_its_messages_and_keeps_its_numbering() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = server.reliable_client(&ada).await;
    for seq in 1..=3 {
        ada_client.send(numbered(&grace, seq, "dropped")).await;
    }
    while find(&mut ada_client, "accepted").await["seq"] != 3 {}
    assert_eq!(server.relay.client(grace.id).unwrap().waiting.messages, 3);
    server.relay.unregister_relay_channel(grace.id, ada.id).unwrap();
    let stats = server.relay.stats();
    assert_eq!((stats.totals.channels, stats.totals.queued_messages, stats.totals.queued_bytes), (0, 0, 0));
    ada_client.send(numbered(&grace, 3, "known")).await;
    assert_eq!(
        find(&mut ada_client, "accepted").await["seq"],
        3,
        "a duplicate of a dropped message is accepted"
    );
    ada_client.send(numbered(&grace, 4, "refused")).await;
    assert_eq!(find(&mut ada_client, "rejected").await["seq"], 4);
    server.relay.register_relay_channel(ada.id, grace.id).unwrap();
    ada_client.send(numbered_first(&grace, 3, "again")).await;
    ada_client.send(numbered(&grace, 5, "new")).await;
    while find(&mut ada_client, "accepted").await["seq"] != 5 {}
    let mut grace_client = server.reliable_client(&grace).await;
    let arrived = find(&mut grace_client, "relay").await;
    assert_eq!((&arrived["message"], &arrived["offset"]), (&json!("new"), &json!(4)), "no duplicate");
    assert!(matches!(server.relay.unregister_relay_channel(ada.id, ada.id), Err(Error::ChannelNotFound)));
    assert_eq!(
        server.relay.stats().rejected.into_iter().collect::<Vec<_>>(),
        [("ERR_CHANNEL_NOT_REGISTERED", 1)]
    );
}

#[tokio::test]
async fn sending_over_a_revoked_channel_is_an_offence() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    ada_client.send(relay(&grace, "taken")).await;
    assert_eq!(grace_client.message(&ada).await, "taken");
    server.relay.unregister_relay_channel(ada.id, grace.id).unwrap();
    ada_client.send(relay(&grace, "refused")).await;
    assert_eq!(server.offence().await.1, "ERR_CHANNEL_NOT_REGISTERED");
    let stats = server.relay.stats();
    for counts in [stats.offences, stats.rejected] {
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("ERR_CHANNEL_NOT_REGISTERED", 1)]);
    }
    assert_eq!((stats.connections, stats.totals.relayed_messages, stats.totals.relayed_bytes), (2, 1, 7));
}

#[tokio::test]
async fn authorize_all_channels_reopens_a_revoked_channel() {
    let options = Options { authorize_all_channels: true, ..Options::default() };
    let server = TestRelay::with(options).await;
    let register = || server.relay.register_client().unwrap();
    let (ada, grace) = (register(), register());
    let mut ada_client = server.client(&ada).await;
    let waiting = async |count| {
        while server.relay.client(grace.id).unwrap().waiting.messages != count {
            tokio::task::yield_now().await;
        }
    };
    ada_client.send(relay(&grace, "dropped")).await;
    waiting(1).await;
    while server.relay.stats().totals.channels != 1 {
        tokio::task::yield_now().await;
    }
    server.relay.unregister_relay_channel(ada.id, grace.id).unwrap();
    waiting(0).await;
    ada_client.send(relay(&grace, "arrives")).await;
    let mut grace_client = server.client(&grace).await;
    assert_eq!(grace_client.message(&ada).await, "arrives");
    assert_eq!(server.relay.stats().totals.channels, 1);
}

#[tokio::test]
async fn refreshing_a_token_invalidates_the_old_one() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    ada_client.send(relay(&grace, "before")).await;
    assert_eq!(grace_client.message(&ada).await, "before");
    let token = server.relay.refresh_token(ada.id, None, None).unwrap();
    assert_ne!(token.reveal(), ada.token.reveal());
    ada_client.send(relay(&grace, "after")).await;
    assert_eq!(grace_client.message(&ada).await, "after");
    assert_eq!(server.client(&ada).await.closed().await.0, 4500);
    let ada = Registration { token, ..ada };
    let mut new = server.client(&ada).await;
    assert_eq!(ada_client.closed().await.0, 4501);
    new.send(relay(&grace, "with the new one")).await;
    assert_eq!(grace_client.message(&ada).await, "with the new one");
}

#[tokio::test]
async fn a_disconnected_client_keeps_its_messages() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) =
        (server.reliable_client(&ada).await, server.client(&grace).await);
    grace_client.send(relay(&ada, "not acknowledged")).await;
    find(&mut ada_client, "relay").await;
    assert!(server.relay.disconnect_client(ada.id, 4321, "out".to_owned()).unwrap());
    assert!(!server.relay.client(ada.id).unwrap().is_connected);
    assert_eq!(ada_client.closed().await, (4321, "out".to_owned()));
    let reason = CloseReason::ByServer(4321, "out".to_owned());
    assert_eq!(server.wait_disconnected(ada.id).await, reason);
    assert!(!server.relay.disconnect_client(ada.id, 4321, "out".to_owned()).unwrap());
    let mut ada_client = server.reliable_client(&ada).await;
    assert_eq!(find(&mut ada_client, "relay").await["message"], "not acknowledged");
}

#[tokio::test]
async fn registrations_expire() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (long, short) = (Duration::from_secs(3600), Duration::from_millis(1));
    let ada = server.relay.register_client_for(long).unwrap();
    let grace = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, grace.id).unwrap();
    let (mut ada_client, mut grace_client) =
        (server.reliable_client(&ada).await, server.client(&grace).await);
    grace_client.send(relay(&ada, "never acknowledged")).await;
    find(&mut ada_client, "relay").await;
    server.relay.refresh_token(ada.id, None, Some(short)).unwrap();
    assert_eq!(ada_client.closed().await, (4503, "token expired".to_owned()));
    assert_eq!(server.wait_disconnected(ada.id).await, CloseReason::Expired);
    let expired = server.find_event(|event| match event {
        Event::Expired { client, undelivered } => Some((client, undelivered)),
        _ => None,
    });
    assert_eq!(expired.await, (ada.id, 1));
    assert_eq!(server.relay.clients(), [grace.id]);
    assert_eq!(server.relay.stats().totals.queued_bytes, 0);
}

#[tokio::test]
async fn registers_the_missing_channels_of_a_room() {
    let server = TestRelay::start(Limits::default()).await;
    let clients: Vec<_> = (0..5).map(|_| server.relay.register_client().unwrap()).collect();
    let ids: Vec<_> = clients.iter().map(|client| client.id).collect();
    assert_eq!(server.relay.register_relay_channels(&ids[..4]).unwrap(), 6);
    assert_eq!(server.relay.register_relay_channels(&ids).unwrap(), 4);
    assert_eq!(server.relay.register_relay_channels(&[ids[0], ids[0]]).unwrap(), 0, "no channel to itself");
    let (mut first_client, mut last_client) =
        (server.client(&clients[0]).await, server.client(&clients[4]).await);
    first_client.send(relay(&clients[4], "hello")).await;
    assert_eq!(last_client.message(&clients[0]).await, "hello");
    server.relay.unregister_client(ids[2]).unwrap();
    assert_eq!(server.relay.stats().totals.channels, 6);
    let unknown = server.relay.register_relay_channels(&ids).unwrap_err();
    assert_eq!(unknown.to_string(), "each of clientIds must be the id of an existing client");
}

#[tokio::test]
async fn counts_stay_exact_while_clients_come_and_go() {
    let server = TestRelay::with(Options { authorize_all_channels: true, ..Options::default() }).await;
    let recipient = server.relay.register_client().unwrap();
    let mut reader = server.client(&recipient).await;
    for _ in 0..200 {
        let sender = server.relay.register_client().unwrap();
        let mut bytes = UPGRADE.to_vec();
        bytes.extend(masked_text(&authentication(&sender)));
        for _ in 0..20 {
            bytes.extend(masked_text(&relay(&recipient, "x")));
        }
        let _socket = server.send(&bytes).await;
        assert!(reader.text().await.contains("\"x\""));
        server.relay.unregister_client(sender.id).unwrap();
    }
    reader.send(relay(&recipient, "last")).await;
    while !reader.text().await.contains("last") {}
    let totals = server.relay.stats().totals;
    assert_eq!((totals.registered, totals.channels), (1, 1), "the channel to itself");
    assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0));
}

/// The `number`th of the clients that an application knows, with a token of its own.
fn own_client(number: u64) -> NewClient {
    let token = Token::parse(&format!("{number:032x}"));
    NewClient { id: ClientId::new(number), token, ..NewClient::default() }
}

#[tokio::test]
async fn an_application_registers_its_own_ids_and_tokens_again_after_a_restart() {
    let users = [4_711, 3, 1_000_000_000_000_000];
    let first = TestRelay::start(Limits::default()).await;
    let registered: Vec<_> =
        users.iter().map(|user| first.relay.register(own_client(*user)).unwrap()).collect();
    drop(first);
    let server = TestRelay::start(Limits::default()).await;
    for user in users.iter().rev() {
        server.relay.register(own_client(*user)).unwrap();
    }
    let taken = server.relay.register(own_client(3)).unwrap_err();
    assert_eq!(taken.to_string(), "client 3 is registered already");
    let [ada, grace, alan] = &registered[..] else { panic!("three clients") };
    server.relay.register_relay_channels(&[ada.id, grace.id, alan.id]).unwrap();
    let (mut ada_client, mut alan_client) = (server.client(ada).await, server.client(alan).await);
    ada_client.send(relay(alan, "to the highest")).await;
    assert_eq!(alan_client.message(ada).await, "to the highest");
    alan_client.send(relay(ada, "to another")).await;
    assert_eq!(ada_client.message(alan).await, "to another");
    assert_eq!(server.relay.register_client().unwrap().id.get(), 1_000_000_000_000_001);
}

#[tokio::test]
async fn an_id_that_is_named_again_is_another_client() {
    let mut server = TestRelay::start(Limits::default()).await;
    let [ada, grace] = [7, 8].map(|user| server.relay.register(own_client(user)).unwrap());
    server.relay.register_relay_channel(ada.id, grace.id).unwrap();
    let mut ada_client = server.reliable_client(&ada).await;
    let mut grace_client = server.client(&grace).await;
    grace_client.send(relay(&ada, "before")).await;
    let offset = find(&mut ada_client, "relay").await["offset"].as_u64().unwrap();
    ada_client.send(numbered_first(&grace, 1, "for the first")).await;
    assert_eq!(grace_client.message(&ada).await, "for the first");
    server.relay.unregister_client(grace.id).unwrap();
    assert_eq!(grace_client.closed().await.0, 4502);
    server.relay.register(own_client(8)).unwrap();
    // It has no channel yet.
    ada_client.send(numbered(&grace, 2, "refused")).await;
    assert_eq!(find(&mut ada_client, "rejected").await["seq"], 2);
    server.relay.register_relay_channel(ada.id, grace.id).unwrap();
    // Acknowledging a message of the client before it is no offence, however often.
    for _ in 0..20 {
        ada_client.send(received(&grace, offset)).await;
    }
    ada_client.send(numbered_first(&grace, 3, "for the second")).await;
    let mut grace_client = server.client(&grace).await;
    assert_eq!(grace_client.message(&ada).await, "for the second");
    grace_client.send(relay(&ada, "after")).await;
    assert_eq!(find(&mut ada_client, "relay").await["message"], "after");
    let totals = server.relay.stats().totals;
    assert_eq!((totals.registered, totals.channels, totals.queued_messages), (2, 1, 1));
    assert_eq!(server.wait_disconnected(grace.id).await, CloseReason::Unregistered);
}

#[tokio::test]
async fn gaps_between_ids_excuse_no_offence() {
    let options = Options { authorize_all_channels: true, ..Options::default() };
    let server = TestRelay::with(options).await;
    let ada = server.relay.register(own_client(1_000_000_000_000_000)).unwrap();
    let mut ada_client = server.client(&ada).await;
    let nobody = Registration { id: ClientId::new(5).unwrap(), ..ada };
    for _ in 0..10 {
        ada_client.send(relay(&nobody, "to nobody")).await;
    }
    assert_eq!(ada_client.closed().await.0, 4504);
}

#[tokio::test]
async fn registers_many_clients() {
    let server = TestRelay::start(Limits::default()).await;
    let clients = server.relay.register_clients(1_000, Some(Duration::from_secs(3600))).unwrap();
    assert_eq!(clients.len(), 1_000);
    let (first, last) = (&clients[0], &clients[999]);
    assert_eq!((first.id.get(), last.id.get()), (0, 999));
    server.relay.register_relay_channel(first.id, last.id).unwrap();
    let (mut first_client, mut last_client) = (server.client(first).await, server.client(last).await);
    first_client.send(relay(last, "hello")).await;
    assert_eq!(last_client.message(first).await, "hello");
    for count in [0, 100_001] {
        let error = server.relay.register_clients(count, None).unwrap_err();
        assert_eq!(error.code(), "ERR_OUT_OF_RANGE", "{error}");
    }
    assert_eq!(server.relay.stats().totals.registered, 1_000);
}

#[tokio::test]
async fn a_token_can_be_replaced_with_the_applications_own() {
    let server = TestRelay::start(Limits::default()).await;
    let ada = server.relay.register_client().unwrap();
    let own = own_client(0xfeed).token.unwrap();
    let token = server.relay.refresh_token(ada.id, Some(own.clone()), None).unwrap();
    assert_eq!(token.reveal(), own.reveal());
    assert_eq!(server.client(&ada).await.closed().await.0, 4500);
    server.relay.register_relay_channel(ada.id, ada.id).unwrap();
    let ada = Registration { token, ..ada };
    let mut client = server.client(&ada).await;
    client.send(relay(&ada, "to itself")).await;
    assert_eq!(client.message(&ada).await, "to itself");
}
