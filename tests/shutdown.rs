//! Closing and draining end every connection, free the port, and never hang.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::time::Duration;

use common::{TestRelay, UPGRADE, manual_verifier, masked, masked_text, options, read_head, soon};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use websocket_relay::{Address, CloseReason, Event, Limits, Options, Relay, Rules, Verdict};

#[tokio::test]
async fn closes_every_connection_with_1001_and_frees_the_port() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, _) = server.pair();
    let (mut ada_client, mut unauthenticated) = (server.client(&ada).await, server.unauthenticated().await);
    server.wait_for(|event| matches!(event, Event::Connected(_))).await;
    server.relay.close();
    assert_eq!(ada_client.closed().await.0, 1001);
    assert_eq!(unauthenticated.closed().await.0, 1001);
    drop((ada_client, unauthenticated));
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Event::Closed)) {
        events.push(server.event().await);
    }
    let [Event::Disconnected(id, CloseReason::GoingAway), Event::Closed] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*id, ada.id);
    TcpListener::bind(server.address).await.expect("the port is free");
}

#[tokio::test]
async fn cuts_off_silent_connections_after_the_close_timeout() {
    let limits = Limits { close_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut server = TestRelay::start(limits).await;
    let _half_open = server.half_open().await;
    let mut silent = server.upgraded().await;
    soon(silent.write_all(&masked_text("{}"))).await.unwrap();
    server.offence().await;
    server.relay.close();
    server.wait_closed().await;
}

#[tokio::test]
async fn reports_a_port_in_use_and_ends() {
    let server = TestRelay::start(Limits::default()).await;
    let (mut second, mut events) = Relay::new(options()).unwrap();
    second.listen(Address { ip: Some(server.address.into()), port: server.address.port() }).unwrap();
    let mut batch = Vec::new();
    while !matches!(batch.last(), Some(Event::Closed)) {
        assert!(soon(events.recv_many(&mut batch, 10)).await);
    }
    let Event::ListenFailed(error) = &batch[0] else { panic!("{batch:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn can_close_before_listening_and_drop_at_any_time() {
    let (relay, mut events) = Relay::new(options()).unwrap();
    relay.close();
    let mut batch = Vec::new();
    assert!(soon(events.recv_many(&mut batch, 10)).await);
    assert!(matches!(batch[..], [Event::Closed]), "{batch:?}");
    drop(Relay::new(options()).unwrap());
    let server = TestRelay::start(Limits::default()).await;
    let (ada, _) = server.pair();
    let _ada_client = server.client(&ada).await;
}

/// Returns a long message.
fn long(n: usize) -> String {
    format!("{n} {}", "x".repeat(100_000))
}

#[tokio::test]
async fn draining_delivers_waiting_messages_before_closing() {
    let limits = Limits { max_queued_bytes: 1 << 28, max_mailbox_bytes: 1 << 28, ..Limits::default() };
    let mut server = TestRelay::start(limits).await;
    let (ada, grace) = server.pair();
    let mut from = server.client(&ada).await;
    let mut to = server.client(&grace).await;
    for n in 0..100 {
        from.send(common::relay(&grace, &long(n))).await;
    }
    // The relay has read all of them once it reports this offence.
    from.send("{}").await;
    server.offence().await;
    server.relay.drain(common::PATIENCE, Duration::ZERO);
    let reason = "0 ms to wait: the server is restarting".to_owned();
    assert_eq!(from.closed().await, (1012, reason.clone()));
    for n in 0..100 {
        assert_eq!(to.message(&ada).await, long(n));
    }
    assert_eq!(to.closed().await, (1012, reason));
    drop((from, to));
    server.wait_closed().await;
}

#[tokio::test]
async fn draining_ends_at_its_timeout() {
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let mut from = server.client(&ada).await;
    let _unread = server.client(&grace).await;
    for n in 0..40 {
        from.send(common::relay(&grace, &long(n))).await;
    }
    from.send("{}").await;
    server.offence().await;
    server.relay.drain(Duration::from_millis(50), Duration::ZERO);
    server.wait_closed().await;
}

/// Starts a relay that waits for ever for connections to close, with a connection in every phase.
async fn with_lingering_connections() -> (TestRelay, Vec<TcpStream>) {
    let forever = Duration::from_secs(3600);
    let limits = Limits { close_timeout: forever, headers_timeout: forever, ..Limits::default() };
    let (ask, requested) = manual_verifier();
    let rules = Rules { verifier: Some(ask), ..Rules::default() };
    let mut server = TestRelay::with(Options { limits, rules, ..options() }).await;
    let mut lingering = Vec::new();
    // Two that are open; the relay closes one of them, which does not reply.
    for _ in 0..2 {
        let mut open = server.send(UPGRADE).await;
        soon(requested.notified()).await;
        server.relay.take_verify_request().unwrap().answer(Verdict::Admitted);
        assert!(server.relay.take_verify_request().is_none());
        let head = read_head(&mut open).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        lingering.push(open);
    }
    soon(lingering[0].write_all(&masked(0x82, b"binary"))).await.unwrap();
    server.offence().await;
    // One without a verdict, one with half a head, one with its response.
    let undecided = server.send(UPGRADE).await;
    soon(requested.notified()).await;
    let half_open = server.half_open().await;
    let mut answered = server.send(b"GET / HTTP/1.1\r\n\r\n").await;
    read_head(&mut answered).await;
    lingering.extend([undecided, half_open, answered]);
    (server, lingering)
}

#[tokio::test]
async fn the_drain_timeout_cuts_off_connections_in_every_phase() {
    let (mut server, _lingering) = with_lingering_connections().await;
    server.relay.drain(Duration::from_millis(50), Duration::ZERO);
    server.wait_closed().await;
}

#[tokio::test]
async fn a_shorter_drain_timeout_applies_while_closing() {
    for drains in [false, true] {
        let (mut server, _lingering) = with_lingering_connections().await;
        if drains {
            server.relay.drain(Duration::from_secs(3600), Duration::ZERO)
        } else {
            server.relay.close()
        }
        server.relay.drain(Duration::from_millis(50), Duration::ZERO);
        server.wait_closed().await;
    }
}
