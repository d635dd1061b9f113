//! Every message arrives once, in order and unchanged.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use common::{Client, TestRelay, options, relay};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use websocket_relay::{Limits, Options, Registration};

/// Sends `count` messages to `peer` and receives as many from it, concurrently.
async fn chat(client: Client, peer: &Registration, count: usize) {
    let (mut sink, mut stream) = client.socket.split();
    let send = async {
        for n in 0..count {
            sink.feed(Message::text(relay(peer, &format!("{n} {}", "x".repeat(n % 300))))).await.unwrap();
        }
        sink.flush().await.unwrap();
    };
    let receive = async {
        for n in 0..count {
            let expected =
                format!(r#"{{"relay":{{"senderId":{},"message":"{n} {}"}}}}"#, peer.id, "x".repeat(n % 300));
            assert_eq!(stream.next().await.unwrap().unwrap().into_text().unwrap().as_str(), expected);
        }
    };
    common::soon(async { tokio::join!(send, receive) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivers_both_ways_between_many_pairs() {
    let server = TestRelay::start(Limits::default()).await;
    let mut chats = Vec::new();
    for _ in 0..50 {
        let (ada, grace) = server.pair();
        let (ada_client, grace_client) = (server.client(&ada).await, server.client(&grace).await);
        chats.push(tokio::spawn(async move { chat(ada_client, &grace, 2000).await }));
        chats.push(tokio::spawn(async move { chat(grace_client, &ada, 2000).await }));
    }
    for chat in join_all(chats).await {
        chat.unwrap();
    }
}

#[tokio::test]
async fn queues_messages_for_disconnected_clients() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut ada_client = server.client(&ada).await;
    for round in 0..3 {
        for n in 0..100 {
            ada_client.send(relay(&grace, &format!("{round} {n}"))).await;
        }
        let mut grace_client = server.client(&grace).await;
        for n in 0..100 {
            assert_eq!(grace_client.message(&ada).await, format!("{round} {n}"));
        }
        grace_client.socket.close(None).await.unwrap();
        drop(grace_client);
        server.wait_disconnected(grace.id).await;
    }
}

#[tokio::test]
async fn keeps_the_order_of_each_sender() {
    let server = TestRelay::with(Options { authorize_all_channels: true, ..options() }).await;
    let recipient = server.relay.register_client().unwrap();
    let mut target = server.client(&recipient).await;
    let mut senders = Vec::new();
    for _ in 0..30 {
        let registration = server.relay.register_client().unwrap();
        senders.push(server.client(&registration).await);
    }
    let send = join_all(senders.iter_mut().map(|sender| async {
        for n in 0..200 {
            sender.send(relay(&recipient, &n.to_string())).await;
        }
    }));
    let receive = async {
        let mut next = [0; 31];
        for _ in 0..30 * 200 {
            let text = target.text().await;
            let rest = text.strip_prefix(r#"{"relay":{"senderId":"#).unwrap();
            let (sender, message) = rest.split_once(r#","message":""#).unwrap();
            let (sender, message): (usize, &str) =
                (sender.parse().unwrap(), message.trim_end_matches("\"}}"));
            assert_eq!(message, next[sender].to_string());
            next[sender] += 1;
        }
        assert_eq!(next[1..], [200; 30]);
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn delivers_messages_to_their_own_sender() {
    let server = TestRelay::start(Limits::default()).await;
    let ada = server.relay.register_client().unwrap();
    server.relay.register_relay_channel(ada.id, ada.id).unwrap();
    server.relay.register_relay_channel(ada.id, ada.id).unwrap_err();
    let mut ada_client = server.client(&ada).await;
    ada_client.send(relay(&ada, "note to self")).await;
    assert_eq!(ada_client.message(&ada).await, "note to self");
}

#[tokio::test]
async fn delivers_the_largest_message_whole_or_fragmented() {
    let server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    let message = "x".repeat(1 << 20);
    for _ in 0..3 {
        ada_client.send(relay(&grace, &message)).await;
        assert!(grace_client.message(&ada).await == message);
    }
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let text = relay(&grace, &message);
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(1000).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let opcode = OpCode::Data(if n == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(piece.to_vec(), opcode, n + 1 == pieces.len());
        common::soon(ada_client.socket.send(Message::Frame(frame))).await.unwrap();
    }
    assert!(grace_client.message(&ada).await == message);
}

#[tokio::test]
async fn authorize_all_channels_admits_only_registered_clients() {
    let mut server = TestRelay::with(Options { authorize_all_channels: true, ..options() }).await;
    let (ada, grace) = (server.relay.register_client().unwrap(), server.relay.register_client().unwrap());
    let (mut ada_client, mut grace_client) = (server.client(&ada).await, server.client(&grace).await);
    ada_client.send(relay(&grace, "hello")).await;
    assert_eq!(grace_client.message(&ada).await, "hello");
    grace_client.send(relay(&ada, "hello back")).await;
    assert_eq!(ada_client.message(&grace).await, "hello back");
    ada_client.send(r#"{"relay":{"targetId":2,"message":"hello"}}"#).await;
    assert_eq!(server.offence().await.1, "ERR_CHANNEL_NOT_REGISTERED");
}
