//! Offences close a client of either generation, across reconnects. A message over a channel that was removed meanwhile is
//! excused.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::{Duration, Instant};

use common::{Client, TestRelay, numbered, numbered_first, relay, soon};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use websocket_relay::{Event, Limits, Registration};

const NOT_REGISTERED: &str = "ERR_CHANNEL_NOT_REGISTERED";

/// Sends up to `most` frames until the connection ends, and returns the close code.
async fn send_until_closed(client: Client, most: u64, text: impl Fn(u64) -> String) -> Option<u16> {
    let (mut sink, mut stream) = client.socket.split();
    let send = async {
        for number in 1..=most {
            if sink.send(Message::text(text(number))).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    };
    let receive = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    };
    soon(async {
        tokio::select! {
            never = send => never,
            code = receive => code,
        }
    })
    .await
}

/// Counts the offence events of a client until it has disconnected `times` times.
async fn count_offence_events(server: &mut TestRelay, client: &Registration, mut times: usize) -> usize {
    let mut offences = 0;
    while times > 0 {
        match server.event().await {
            Event::Offence { client: id, .. } => offences += usize::from(id == Some(client.id)),
            Event::Disconnected(id, _) => times -= usize::from(id == client.id),
            _ => {}
        }
    }
    offences
}

/// Returns the maximum number of offence events of one client since `start`.
fn max_offence_events(start: Instant) -> usize {
    Limits::OFFENCE_EVENT_BURST + start.elapsed().as_secs() as usize + 1
}

#[tokio::test]
async fn closes_reliable_clients_that_keep_sending_without_a_channel() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = (server.relay.register_client().unwrap(), server.relay.register_client().unwrap());
    let limit = (10 * Limits::REFUSALS_PER_OFFENCE) as u64;
    let mut ada_client = server.reliable_connection(&ada, 1).await;
    for seq in 1..limit {
        ada_client.send(numbered_first(&grace, seq, "x")).await;
        assert_eq!(ada_client.frame().await["rejected"]["seq"], seq);
    }
    ada_client.send(numbered_first(&grace, limit, "x")).await;
    assert_eq!(ada_client.closed().await.0, 4504);
    // To one target or to many, on every connection.
    let start = Instant::now();
    let code = send_until_closed(server.reliable_connection(&ada, 2).await, 20_000, |seq| {
        numbered_first(&grace, seq, "x")
    })
    .await;
    assert_eq!(code, Some(4504));
    let unknown = |seq| json!({ "relay": { "targetId": 1000 + seq, "message": "x", "seq": 1 } }).to_string();
    assert_eq!(
        send_until_closed(server.reliable_connection(&ada, 3).await, 20_000, unknown).await,
        Some(4504)
    );
    let events = count_offence_events(&mut server, &ada, 3).await;
    assert!(events >= limit as usize && events <= max_offence_events(start), "{events} events");
    let stats = server.relay.stats();
    assert_eq!((stats.offences[NOT_REGISTERED], stats.rejected[NOT_REGISTERED]), (3 * limit, 3 * limit));
}

#[tokio::test]
async fn excuses_messages_over_channels_removed_meanwhile() {
    let server = TestRelay::start(Limits { max_offences: 1, ..Limits::default() }).await;
    let ada = server.relay.register_client().unwrap();
    let room: Vec<_> = (0..1000).map(|_| server.relay.register_client().unwrap()).collect();
    for (place, member) in room.iter().enumerate() {
        server.relay.register_relay_channel(ada.id, member.id).unwrap();
        if place % 2 == 0 {
            server.relay.unregister_relay_channel(ada.id, member.id).unwrap();
        } else {
            server.relay.unregister_client(member.id).unwrap();
        }
    }
    let friend = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, friend.id).unwrap();
    // A connection may be lost before the client learns which channels were removed.
    for connection in 1..=3 {
        let mut ada_client = server.reliable_connection(&ada, connection).await;
        for member in &room {
            ada_client.send(numbered(member, 1, "x")).await;
            ada_client.send(numbered(member, 2, "next")).await;
        }
        for member in &room {
            assert_eq!(ada_client.frame().await["rejected"]["targetId"], member.id.get());
        }
        ada_client.send(numbered(&friend, connection, "x")).await;
        assert_eq!(ada_client.frame().await["accepted"]["seq"], connection);
        if connection == 3 {
            // It has learned of the removal by now.
            assert_eq!(
                send_until_closed(ada_client, 20_000, |seq| numbered_first(&room[0], seq, "x")).await,
                Some(4504)
            );
        }
    }
    assert_eq!(server.relay.stats().closed[&4504], 1);
}

#[tokio::test]
async fn excuses_a_plain_client_once_per_removed_channel() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, friend) = server.pair();
    let (mut ada_client, mut friend_client) = (server.client(&ada).await, server.client(&friend).await);
    let room: Vec<_> = (0..20).map(|_| server.relay.register_client().unwrap()).collect();
    for member in &room {
        server.relay.register_relay_channel(ada.id, member.id).unwrap();
        server.relay.unregister_relay_channel(ada.id, member.id).unwrap();
        ada_client.send(relay(member, "x")).await;
        assert_eq!(server.offence().await.1, NOT_REGISTERED);
    }
    ada_client.send(relay(&friend, "here")).await;
    assert_eq!(friend_client.message(&ada).await, "here");
    for _ in 0..9 {
        ada_client.send(relay(&room[0], "x")).await;
        assert_eq!(server.offence().await.1, NOT_REGISTERED);
    }
    ada_client.send(relay(&room[0], "x")).await;
    assert_eq!(ada_client.closed().await.0, 4504);
}

#[tokio::test]
async fn excuses_one_message_to_an_unregistered_client() {
    let limits = Limits { max_offences: 1, ..Limits::default() };
    let options = websocket_relay::Options { authorize_all_channels: true, limits, ..common::options() };
    let server = TestRelay::with(options).await;
    let ada = server.relay.register_client().unwrap();
    let mut ada_client = server.reliable_connection(&ada, 1).await;
    for _ in 0..30 {
        let unregistered = server.relay.register_client().unwrap();
        server.relay.unregister_client(unregistered.id).unwrap();
        ada_client.send(numbered(&unregistered, 1, "x")).await;
        assert_eq!(ada_client.frame().await["rejected"]["code"], NOT_REGISTERED);
    }
    let unknown = |seq| json!({ "relay": { "targetId": 999, "message": "x", "seq": seq, "first": true } });
    assert_eq!(send_until_closed(ada_client, 20_000, |seq| unknown(seq).to_string()).await, Some(4504));
}

#[tokio::test]
async fn limits_events_about_full_queues() {
    let mut server = TestRelay::start(Limits { max_queued_messages: 1, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let start = Instant::now();
    let mut ada_client = server.client(&ada).await;
    for _ in 0..1001 {
        ada_client.send(relay(&grace, "x")).await;
    }
    ada_client.close(1000, "").await;
    let events = count_offence_events(&mut server, &ada, 1).await;
    assert!((100..=max_offence_events(start)).contains(&events), "{events} events");
    assert_eq!(server.relay.stats().rejected["ERR_QUEUE_FULL"], 1000);
}

#[tokio::test]
async fn limits_offence_events_across_reconnects() {
    let mut server =
        TestRelay::start(Limits { close_timeout: Duration::from_millis(100), ..Limits::default() }).await;
    let (ada, start) = (server.relay.register_client().unwrap(), Instant::now());
    for _ in 0..30 {
        let client = server.client(&ada).await;
        assert_eq!(send_until_closed(client, 100, |_| "invalid JSON".to_owned()).await, Some(4504));
    }
    let events = count_offence_events(&mut server, &ada, 30).await;
    assert!((100..=max_offence_events(start)).contains(&events), "{events} events");
    assert_eq!(server.relay.stats().offences["ERR_INVALID_JSON"], 300);
}
