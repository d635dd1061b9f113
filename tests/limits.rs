//! Every bound holds, and reaching it affects no other client.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{
    TestRelay, authentication, close_code, masked, masked_text, read_to_end, received, relay, soon,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use websocket_relay::{CloseReason, Event, Limits};

const PING: [u8; 2] = [0x89, 0];

#[tokio::test]
async fn rejects_messages_for_a_full_queue() {
    let mut server = TestRelay::start(Limits { max_queued_messages: 5, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let alan = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, alan.id).unwrap();
    let (mut ada_client, mut alan_client) = (server.client(&ada).await, server.client(&alan).await);
    // More than the allowed offences: sending to a full queue is none.
    for n in 0..25 {
        ada_client.send(relay(&grace, &n.to_string())).await;
    }
    for _ in 0..20 {
        let rejected = server.offence().await;
        assert_eq!(
            rejected,
            (format!("the queue for client {} is full: message refused", grace.id), "ERR_QUEUE_FULL")
        );
    }
    ada_client.send(relay(&alan, "unaffected")).await;
    assert_eq!(alan_client.message(&ada).await, "unaffected");
    let mut grace_client = server.client(&grace).await;
    for n in 0..5 {
        assert_eq!(grace_client.message(&ada).await, n.to_string());
    }
    ada_client.send(relay(&grace, "room again")).await;
    assert_eq!(grace_client.message(&ada).await, "room again");
}

#[tokio::test]
async fn a_slow_reader_holds_its_sender_and_loses_nothing() {
    let limits = Limits { max_queued_messages: 3, max_write_ahead: 1000, ..Limits::default() };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    // A sender is held only for a connected recipient.
    server.wait_connected(grace.id).await;
    let text = |n: usize| format!("{n} {}", "x".repeat(50_000));
    let (ada_ref, grace_ref) = (&ada, &grace);
    let send = async move {
        for n in 0..400 {
            ada_client.send(relay(grace_ref, &text(n))).await;
        }
        ada_client
    };
    let receive = async move {
        for n in 0..400 {
            assert!(grace_client.message(ada_ref).await == text(n), "message {n}");
        }
        grace_client
    };
    let _ = tokio::join!(send, receive);
}

#[tokio::test]
async fn rejects_a_held_message_after_the_hold_timeout() {
    let limits =
        Limits { max_queued_messages: 1, hold_timeout: Duration::from_millis(1), ..Limits::default() };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let alan = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, alan.id).unwrap();
    let (mut ada_client, mut alan_client) = (server.client(&ada).await, server.client(&alan).await);
    // Reads nothing: once the socket's buffers are full, its lane stays full.
    let _grace_client = server.client(&grace).await;
    server.wait_connected(grace.id).await;
    let ada_ref = &alan;
    let flood = async {
        let big = "x".repeat(1 << 20);
        for _ in 0..20 {
            ada_client.send(relay(&grace, &big)).await;
        }
        ada_client.send(relay(ada_ref, "still served")).await;
        assert_eq!(alan_client.message(&ada).await, "still served");
    };
    soon(flood).await;
    assert_eq!(server.offence().await.1, "ERR_QUEUE_FULL");
}

#[tokio::test]
async fn holding_a_sender_does_not_use_up_its_ping_timeout() {
    let limits = Limits {
        max_queued_messages: 1,
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let (mut recipient, _) = server.reliable(&grace, "0123456789abcdef", &serde_json::json!({})).await;
    let mut sender = server.upgraded().await;
    let relays = ["first", "held"].map(|message| masked_text(&relay(&grace, message)));
    let all = [masked_text(&authentication(&ada)), relays.concat()].concat();
    soon(sender.write_all(&all)).await.unwrap();
    let mut head = [0; 2];
    // It is pinged while the relay does not read from it.
    soon(sender.read_exact(&mut head)).await.unwrap();
    assert_eq!(head, PING);
    recipient.send(received(&ada, 1)).await;
    soon(async { while !recipient.text().await.contains("held") {} }).await;
    // And pinged again before it times out.
    soon(sender.read_exact(&mut head)).await.unwrap();
    assert_eq!(head, PING);
    soon(sender.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[0], 0x88, "the close frame: it never sent a pong");
}

#[tokio::test]
async fn pings_rate_limited_clients() {
    let limits = Limits {
        rate_limit: 20,
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut sender = server.client(&ada).await;
    for _ in 0..30 {
        sender.send(relay(&grace, "one of many")).await;
    }
    assert_eq!(server.wait_disconnected(ada.id).await, CloseReason::PingTimeout);
}

#[tokio::test]
async fn clients_that_flood_each_other_do_not_deadlock() {
    let limits = Limits { max_queued_messages: 2, ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let (ada_client, grace_client) = (server.client(&ada).await, server.client(&grace).await);
    let big = "x".repeat(100_000);
    let (big, ada, grace) = (&big, &ada, &grace);
    let talk = |mut client: common::Client, peer| async move {
        use futures_util::{SinkExt, StreamExt};
        let text = relay(peer, big);
        let send = async |sink: &mut futures_util::stream::SplitSink<_, _>| {
            for _ in 0..200 {
                sink.send(tokio_tungstenite::tungstenite::Message::text(text.clone())).await.unwrap();
            }
        };
        let _ = &mut client;
        let (mut sink, mut stream) = client.socket.split();
        let receive = async {
            for _ in 0..200 {
                stream.next().await.unwrap().unwrap();
            }
        };
        tokio::join!(send(&mut sink), receive);
    };
    soon(async { tokio::join!(talk(ada_client, grace), talk(grace_client, ada)) }).await;
}

#[tokio::test]
async fn closes_on_an_oversized_message_before_buffering_it() {
    let mut server = TestRelay::start(Limits { max_payload: 5000, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    ada_client.send(relay(&grace, &"x".repeat(5000))).await;
    assert_eq!(grace_client.message(&ada).await.len(), 5000);
    ada_client.send(relay(&grace, &"x".repeat(5001))).await;
    assert_eq!(ada_client.closed().await.0, 1009);
    assert_eq!(server.offence().await.1, "ERR_MESSAGE_TOO_BIG");

    // The length alone closes it, before any payload.
    let mut client = server.upgraded_as(&ada).await;
    soon(client.write_all(&[0x81, 0xFF, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(close_code(&read_to_end(&mut client).await), Some(1009));
    // Before authentication the bound is smaller.
    let mut client = server.unauthenticated().await;
    client.send(" ".repeat(16 * 1024)).await;
    client.send(" ".repeat(16 * 1024 + 1)).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn closes_on_the_tenth_offence() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, _) = server.pair();
    let mut ada_client = server.client(&ada).await;
    for _ in 0..9 {
        ada_client.send("invalid JSON").await;
        server.offence().await;
    }
    ada_client.send(relay(&ada, "x")).await;
    assert_eq!(server.offence().await.1, "ERR_CHANNEL_NOT_REGISTERED");
    assert_eq!(ada_client.closed().await, (4504, "too many offences".to_owned()));
    assert_eq!(server.wait_disconnected(ada.id).await, CloseReason::TooManyOffences);
}

#[tokio::test]
async fn rejects_connections_above_the_limit() {
    let mut server = TestRelay::start(Limits { max_connections: 2, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let (ada_client, _grace_client) = (server.client(&ada).await, server.client(&grace).await);
    let mut rejected = server.unauthenticated().await;
    assert_eq!(rejected.closed().await, (1013, "too many connections".to_owned()));
    drop(ada_client);
    server.wait_disconnected(ada.id).await;
    // Its slot is free once its task has ended.
    loop {
        let mut again = server.client(&ada).await;
        again.send(relay(&ada, "x")).await;
        let served = tokio::select! {
            offence = server.offence() => { assert_eq!(offence.1, "ERR_CHANNEL_NOT_REGISTERED"); true }
            closed = again.closed() => { assert_eq!(closed.0, 1013); false }
        };
        if served {
            break;
        }
    }
}

#[tokio::test]
async fn closes_clients_that_do_not_answer_pings() {
    let limits = Limits {
        ping_interval: Duration::from_millis(30),
        ping_timeout: Duration::from_millis(1500),
        close_timeout: Duration::from_millis(10),
        ..Limits::default()
    };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut alive = server.client(&grace).await;
    let mut dead = server.upgraded_as(&ada).await;
    let disconnected = server.find_event(|event| match event {
        Event::Disconnected(id, reason) => Some((id, reason)),
        _ => None,
    });
    // The live client answers pings while it waits for text.
    let disconnected = tokio::select! {
        disconnected = disconnected => disconnected,
        text = alive.text() => panic!("{text}"),
    };
    assert_eq!(disconnected, (ada.id, CloseReason::PingTimeout));
    assert_eq!(close_code(&read_to_end(&mut dead).await), Some(4001));
    let mut ada_client = server.client(&ada).await;
    ada_client.send(relay(&grace, "alive")).await;
    assert_eq!(alive.message(&ada).await, "alive");
}

#[tokio::test]
async fn closes_clients_that_never_read() {
    let limits = Limits {
        ping_interval: Duration::from_millis(200),
        // Long enough for the pongs to arrive in time on a slow machine.
        ping_timeout: Duration::from_secs(1),
        close_timeout: Duration::from_millis(10),
        ..Limits::default()
    };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut stuck = server.upgraded_as(&grace).await;
    let mut ada_client = server.client(&ada).await;
    let flood = async {
        // Built once: on a slow machine it would delay the pongs.
        let big = relay(&grace, &"x".repeat(1 << 20));
        loop {
            ada_client.send(big.as_str()).await;
        }
    };
    let (mut reader, mut writer) = stuck.split();
    let send_pongs = async {
        while writer.write_all(&masked(0x8A, b"")).await.is_ok() {
            tokio::task::yield_now().await;
        }
        std::future::pending().await
    };
    let disconnected = server.wait_disconnected(grace.id);
    let reason = tokio::select! {
        reason = disconnected => reason,
        never = send_pongs => never,
        never = flood => never,
    };
    assert_eq!(reason, CloseReason::TooSlow);
    reader.read_u8().await.expect("bytes sent before it was cut off");
}

#[tokio::test]
async fn closes_on_a_message_that_takes_too_long() {
    let limits = Limits {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(500),
        message_timeout: Duration::from_millis(700),
        max_offences: 1000,
        ..Limits::default()
    };
    let server = TestRelay::start(limits).await;
    let (ada, _) = server.pair();
    let [begin, next_part, end] = [0x01, 0x00, 0x80].map(|first| masked(first, b"1"));
    let (pong, next_message) = (masked(0x8A, b""), [&end[..], &begin].concat());
    for (answer, is_closed) in [(&next_part, true), (&next_message, false)] {
        let mut client = server.upgraded().await;
        let first = [&masked_text(&authentication(&ada)), &begin[..]].concat();
        soon(client.write_all(&first)).await.unwrap();
        let mut pings = 0;
        let is_ping = loop {
            let frame = soon(client.read_u16()).await.unwrap();
            if frame != 0x8900 || pings == 5 {
                break frame == 0x8900;
            }
            pings += 1;
            soon(client.write_all(&[&pong[..], answer].concat())).await.unwrap();
        };
        assert_eq!(is_ping, !is_closed, "after {pings} pings");
        if is_closed {
            assert_eq!(soon(client.read_u16()).await.unwrap(), 4002);
        }
    }
}
