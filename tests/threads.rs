//! Clients cannot tell on which thread a connection runs.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use common::{Client, TestRelay, authentication, message_of, numbered, options, received, relay, soon};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use websocket_relay::{CloseReason, Error, Event, Limits, Options, Registration, Relay};

const THREADS: usize = 4;

async fn start() -> TestRelay {
    TestRelay::with(Options { threads: THREADS, ..options() }).await
}

/// Returns the authentication of a reliable client that asks for receipts.
fn reliable(registration: &Registration, session: u64, connection: u64) -> String {
    let more = json!({ "connection": connection, "receipts": true });
    common::reliable(registration, &format!("{session:016x}"), &more)
}

/// Sends `count` messages to `peer` and receives as many, concurrently. A reliable client acknowledges each, and waits until
/// its own are accepted and delivered.
async fn chat(server: &TestRelay, me: Registration, peer: Registration, is_reliable: bool, count: u64) {
    let mut client = server.unauthenticated().await;
    client.send(if is_reliable { reliable(&me, 1, 1) } else { authentication(&me) }).await;
    let (mut sink, mut stream) = client.socket.split();
    for n in 1..=count {
        let text =
            if is_reliable { numbered(&peer, n, &n.to_string()) } else { relay(&peer, &n.to_string()) };
        soon(sink.feed(Message::text(text))).await.unwrap();
    }
    soon(sink.flush()).await.unwrap();
    let (mut received_count, mut accepted, mut delivered) = (0, 0, 0);
    while received_count < count || is_reliable && accepted.min(delivered) < count {
        let text = soon(stream.next()).await.unwrap().unwrap().into_text().unwrap();
        let frame: Value = serde_json::from_str(&text).unwrap();
        let newer = |frame: &Value, last: u64| {
            let seq = frame["seq"].as_u64().unwrap_or(last);
            assert!(seq >= last, "{text}");
            seq
        };
        accepted = newer(&frame["accepted"], accepted);
        delivered = newer(&frame["delivered"], delivered);
        let relayed = &frame["relay"];
        if relayed.is_object() {
            received_count += 1;
            assert_eq!(relayed["message"], received_count.to_string(), "{text}");
            if is_reliable {
                soon(sink.send(Message::text(received(&peer, &relayed["offset"])))).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_between_a_thousand_pairs_of_both_generations() {
    let server = start().await;
    // A hundred pairs at a time, to stay below common limits of open files.
    for wave in 0..10 {
        let pairs = (0..100).map(async |pair| {
            let (ada, grace) = server.pair();
            let kind = wave + pair;
            tokio::join!(
                chat(&server, ada.clone(), grace.clone(), kind % 2 == 0, 100),
                chat(&server, grace, ada, kind % 3 == 0, 100)
            )
        });
        join_all(pairs).await;
    }
}

/// Receives messages on a replaced connection up to its close frame, which must have code 4501.
async fn receive_to_end(mut old: Client, sender: &Registration, messages: &mut Vec<String>) {
    loop {
        match soon(old.socket.next()).await.expect("a close frame").unwrap() {
            Message::Text(text) => messages.push(message_of(&text, sender)),
            Message::Close(frame) => return assert_eq!(u16::from(frame.unwrap().code), 4501),
            other => panic!("neither text nor close: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn takeover_by_another_thread_loses_no_plain_messages() {
    let limits = Limits { max_queued_bytes: 1 << 30, ..Limits::default() };
    let mut server = TestRelay::with(Options { threads: THREADS, limits, ..options() }).await;
    let (ada, grace) = server.pair();
    let (count, mut sender) = (4000, server.client(&ada).await);
    let to = grace.clone();
    // More than the sockets take, so that frames are cut off in the middle.
    let text = |n: usize| format!("{n} {}", "x".repeat(n * 7919 % 20_000));
    let send = tokio::spawn(async move {
        for n in 0..count {
            sender.send(relay(&to, &text(n))).await;
        }
        sender
    });
    let mut messages = Vec::new();
    let mut reader = server.client(&grace).await;
    server.wait_connected(grace.id).await;
    while messages.len() < count {
        messages.push(reader.message(&ada).await);
        if messages.len() % 40 == 0 {
            // Read the rest of the older connection only once the newer one has replaced it.
            let newer = server.client(&grace).await;
            server.wait_connected(grace.id).await;
            receive_to_end(std::mem::replace(&mut reader, newer), &ada, &mut messages).await;
            if messages.len() == count {
                break;
            }
            let next = reader.message(&ada).await;
            // A message whose frame was cut off arrives whole on both.
            messages.extend((messages.last() != Some(&next)).then_some(next));
        }
    }
    for (n, message) in messages.iter().enumerate() {
        assert!(*message == text(n), "message {n}: {message:.20}");
    }
    send.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_and_disconnect_events_of_rivals_alternate() {
    let mut server = start().await;
    let clients: Vec<_> = (0..4).map(|_| server.relay.register_client().unwrap()).collect();
    let server_ref = &server;
    let rivals = clients.iter().flat_map(|client| [client; 8]).enumerate().map(async |(n, client)| {
        for round in 0..25 {
            let mut connection = server_ref.unauthenticated().await;
            let session = n as u64;
            let is_reliable = n % 2 == 0;
            let text = if is_reliable { reliable(client, session, round) } else { authentication(client) };
            soon(connection.socket.send(Message::text(text))).await.ok();
            // The others are dropped before their reply.
            if is_reliable && round % 2 == 0 {
                soon(connection.socket.next()).await.map(Result::ok);
            }
        }
    });
    join_all(rivals).await;
    server.relay.close();
    let mut is_connected = [false; 4];
    loop {
        match server.event().await {
            Event::Connected(id) => {
                assert!(!std::mem::replace(&mut is_connected[id.get() as usize], true), "{id} twice");
            }
            Event::Disconnected(id, reason) => {
                assert!(std::mem::replace(&mut is_connected[id.get() as usize], false), "{id} {reason:?}");
            }
            Event::Closed => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(is_connected, [false; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_takeover_delivers_everything_once_in_order() {
    let server = start().await;
    let (ada, grace) = server.pair();
    let count = 3000;
    let mut sender = server.unauthenticated().await;
    sender.send(reliable(&ada, 1, 1)).await;
    let send = async {
        let mut accepted = 0;
        for n in 1..=count {
            sender.send(numbered(&grace, n, &n.to_string())).await;
        }
        while accepted < count {
            let frame = sender.frame().await;
            accepted = frame["accepted"]["seq"].as_u64().unwrap_or(accepted);
        }
    };
    let receive = async {
        let (mut received_count, mut last, mut connection) = (0, 0, 0);
        let mut older = None;
        while received_count < count {
            connection += 1;
            let mut client = server.unauthenticated().await;
            client.send(reliable(&grace, 2, connection)).await;
            for _ in 0..40 {
                let frame = client.frame().await;
                let relayed = &frame["relay"];
                let Some(offset) = relayed["offset"].as_u64() else { continue };
                if offset > last {
                    (received_count, last) = (received_count + 1, offset);
                    assert_eq!(relayed["message"], received_count.to_string());
                }
                if offset % 3 == 0 {
                    client.send(received(&ada, &relayed["offset"])).await;
                }
                if received_count == count {
                    break;
                }
            }
            // Dropped only once the next one has taken over.
            older = Some(client);
        }
        drop(older);
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn closing_ends_connections_on_all_threads() {
    let mut server = start().await;
    let mut clients = Vec::new();
    for n in 0..10 * THREADS {
        let registration = server.relay.register_client().unwrap();
        clients.push(if n % 3 == 0 {
            server.unauthenticated().await
        } else {
            server.client(&registration).await
        });
    }
    let authenticated = (0..10 * THREADS).filter(|n| n % 3 != 0).count();
    for _ in 0..authenticated {
        server.wait_for(|event| matches!(event, Event::Connected(_))).await;
    }
    server.relay.close();
    for client in &mut clients {
        assert_eq!(client.closed().await.0, 1001);
    }
    drop(clients);
    for _ in 0..authenticated {
        let event = server.event().await;
        assert!(matches!(event, Event::Disconnected(_, CloseReason::GoingAway)), "{event:?}");
    }
    assert!(matches!(server.event().await, Event::Closed));
    TcpListener::bind(server.address).await.expect("the port is free");
}

#[tokio::test]
async fn dropping_ends_connections_on_all_threads() {
    let server = start().await;
    let mut connections = Vec::new();
    for _ in 0..10 * THREADS {
        connections.push(server.upgraded().await);
    }
    let half_open = server.half_open().await;
    drop(server);
    for mut connection in connections.into_iter().chain([half_open]) {
        // Closed or reset.
        soon(connection.read_to_end(&mut Vec::new())).await.ok();
    }
}

#[tokio::test]
async fn accepts_thread_counts_within_the_limit() {
    let limit = Options::THREADS;
    for threads in [limit.min, limit.max] {
        let options = Options { threads: threads as usize, limits: Limits::default(), ..Options::default() };
        let server = TestRelay::with(options).await;
        let (ada, grace) = server.pair();
        let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
        ada_client.send(relay(&grace, "hello")).await;
        assert_eq!(grace_client.message(&ada).await, "hello");
    }
    for threads in [limit.min - 1, limit.max + 1] {
        let result = Relay::new(Options { threads: threads as usize, ..Options::default() });
        assert!(matches!(result, Err(Error::Limit(_))), "{threads} threads");
    }
}
