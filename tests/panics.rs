//! A panic costs one connection: it ends the connection whose task panics, under whatever lock, is counted and emitted as an
//! event, and loses no message of another client.
//!
//! The feature `faults` makes the next call of `faults::point` with an armed name panic.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::{
    Client, SESSION, TestRelay, UPGRADE, numbered, options, read_head, read_to_end, received, relay, soon,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use websocket_relay::{
    Address, CloseReason, Event, EventReceiver, Limits, Options, Registration, Relay, faults,
};

/// Runs one test at a time, since an armed fault is global.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Checks that this message comes next, and acknowledges it.
async fn receives(client: &mut Client, sender: &Registration, seq: u64) {
    let frame: Value = loop {
        let frame = client.frame().await;
        if frame["relay"].is_object() {
            break frame;
        }
    };
    assert_eq!(frame["relay"]["message"], seq.to_string());
    client.send(received(sender, &frame["relay"]["offset"])).await;
}

/// Waits until the messages up to `seq` are accepted.
async fn wait_accepted(client: &mut Client, seq: u64) {
    while !client.text().await.contains(&format!(r#""seq":{seq}"#)) {}
}

/// Waits until the connection is lost.
async fn wait_lost(client: &mut Client) {
    while let Some(Ok(message)) = soon(client.socket.next()).await {
        assert!(message.is_text(), "{message:?}");
    }
}

/// Waits for the event of a panic, and checks how many were counted.
async fn wait_panicked(server: &mut TestRelay, count: u64) {
    server.wait_for(|event| matches!(event, Event::Panicked)).await;
    assert_eq!(server.relay.stats().panics, count);
}

/// Checks that a panic at `point`, in Ada's task while she sends to Grace, ends only Ada's connection.
async fn panic_ends_only_the_sender(point: &'static str, threads: usize) {
    let mut server = TestRelay::with(Options { threads, ..options() }).await;
    let ((ada, grace), (bob, eve)) = (server.pair(), server.pair());
    let [mut sender, mut recipient] =
        [server.reliable_connection(&ada, 1).await, server.reliable_connection(&grace, 1).await];
    let [mut other, mut bystander] =
        [server.reliable_connection(&bob, 1).await, server.reliable_connection(&eve, 1).await];
    sender.send(numbered(&grace, 1, "1")).await;
    receives(&mut recipient, &ada, 1).await;
    wait_accepted(&mut sender, 1).await;
    faults::arm(point);
    sender.send(numbered(&grace, 2, "2")).await;
    wait_lost(&mut sender).await;
    assert_eq!(server.wait_disconnected(ada.id).await, CloseReason::Internal);
    wait_panicked(&mut server, 1).await;
    // It arrives once, whether it was appended before the panic or is sent again.
    let mut sender = server.reliable_connection(&ada, 2).await;
    sender.send(numbered(&grace, 2, "2")).await;
    sender.send(numbered(&grace, 3, "3")).await;
    receives(&mut recipient, &ada, 2).await;
    receives(&mut recipient, &ada, 3).await;
    wait_accepted(&mut sender, 3).await;
    other.send(numbered(&eve, 1, "1")).await;
    receives(&mut bystander, &bob, 1).await;
    assert_eq!(server.relay.stats().connections, 4);
}

#[tokio::test]
async fn a_panic_in_a_session_ends_only_that_session() {
    let _alone = ALONE.lock().await;
    for threads in [1, 4] {
        panic_ends_only_the_sender("session", threads).await;
    }
}

#[tokio::test]
async fn a_panic_under_a_mailbox_lock_ends_only_the_sender() {
    let _alone = ALONE.lock().await;
    for threads in [1, 4] {
        panic_ends_only_the_sender("append", threads).await;
    }
}

#[tokio::test]
async fn a_panic_while_flushing_ends_only_the_sender() {
    let _alone = ALONE.lock().await;
    for threads in [1, 4] {
        panic_ends_only_the_sender("flush", threads).await;
    }
}

#[tokio::test]
async fn delivers_messages_appended_before_a_panic() {
    let _alone = ALONE.lock().await;
    for point in ["append", "flush"] {
        let mut server = TestRelay::with(options()).await;
        let (ada, grace) = server.pair();
        let [mut sender, mut recipient] =
            [server.reliable_connection(&ada, 1).await, server.reliable_connection(&grace, 1).await];
        faults::arm(point);
        sender.send(numbered(&grace, 1, "1")).await;
        receives(&mut recipient, &ada, 1).await;
        wait_panicked(&mut server, 1).await;
    }
}

#[tokio::test]
async fn counts_are_exact_after_a_panic() {
    let _alone = ALONE.lock().await;
    for point in ["reserve", "append", "flush", "deliver"] {
        let mut server = TestRelay::with(options()).await;
        let (ada, grace) = server.pair();
        let (mut sender, mut recipient) =
            (server.reliable_connection(&ada, 1).await, server.client(&grace).await);
        server.wait_connected(grace.id).await;
        if point == "deliver" {
            // With the recipient disconnected, its own next session delivers.
            drop(recipient);
            server.wait_for(|event| matches!(event, Event::Disconnected(..))).await;
            sender.send(numbered(&grace, 1, "1")).await;
            wait_accepted(&mut sender, 1).await;
            faults::arm(point);
            recipient = server.client(&grace).await;
        } else {
            faults::arm(point);
            sender.send(numbered(&grace, 1, "1")).await;
        }
        wait_panicked(&mut server, 1).await;
        // Sent again, it arrives once, whether it was appended before the panic or not.
        let mut sender = server.reliable_connection(&ada, 2).await;
        sender.send(numbered(&grace, 1, "1")).await;
        wait_accepted(&mut sender, 1).await;
        if point == "deliver" {
            recipient = server.client(&grace).await;
        }
        assert_eq!(recipient.message(&ada).await, "1");
        sender.send(numbered(&grace, 2, "2")).await;
        assert_eq!(recipient.message(&ada).await, "2");
        wait_accepted(&mut sender, 2).await;
        let totals = server.relay.stats().totals;
        assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0), "{point}");
    }
}

#[tokio::test]
async fn a_panic_while_delivering_ends_only_the_recipient() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    let (ada, grace) = server.pair();
    let mut sender = server.reliable_connection(&ada, 1).await;
    sender.send(numbered(&grace, 1, "1")).await;
    wait_accepted(&mut sender, 1).await;
    faults::arm("deliver");
    let mut recipient = server.unauthenticated().await;
    recipient.authenticate(&grace).await;
    wait_lost(&mut recipient).await;
    wait_panicked(&mut server, 1).await;
    let mut recipient = server.reliable_connection(&grace, 2).await;
    receives(&mut recipient, &ada, 1).await;
    sender.send(numbered(&grace, 2, "2")).await;
    receives(&mut recipient, &ada, 2).await;
}

#[tokio::test]
async fn a_panic_while_accepting_costs_one_connection() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    let (ada, grace) = server.pair();
    let [mut sender, mut recipient] =
        [server.reliable_connection(&ada, 1).await, server.reliable_connection(&grace, 1).await];
    for (count, point) in (1..).zip(["handshake", "accept"]) {
        faults::arm(point);
        let mut stream = server.tcp().await;
        assert_eq!(read_to_end(&mut stream).await, b"");
        wait_panicked(&mut server, count).await;
        sender.send(numbered(&grace, count, &count.to_string())).await;
        receives(&mut recipient, &ada, count).await;
        server.reliable_connection(&server.relay.register_client().unwrap(), 1).await;
    }
}

#[tokio::test]
async fn expiry_continues_after_a_panic() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    faults::arm("expire");
    let client_to_expire = server.relay.register_client_for(Duration::from_millis(1)).unwrap();
    wait_panicked(&mut server, 1).await;
    let expired = server.find_event(|event| match event {
        Event::Expired { client, .. } => Some(client),
        _ => None,
    });
    assert_eq!(expired.await, client_to_expire.id);
}

/// Returns the next batch of events.
async fn next_batch(events: &mut EventReceiver) -> Vec<Event> {
    let mut batch = Vec::new();
    assert!(soon(events.recv_many(&mut batch, 100)).await, "no more events");
    batch
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn presence_continues_after_a_panic() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    let (ada, grace) = server.pair();
    faults::arm("presence");
    let mut ada_client = server.reliable(&ada, SESSION, &json!({ "presence": true })).await.0;
    let _grace_client = server.client(&grace).await;
    wait_panicked(&mut server, 1).await;
    while ada_client.frame().await["presence"]["online"] != true {}
}

#[tokio::test]
async fn a_panic_while_binding_fails_to_listen() {
    let _alone = ALONE.lock().await;
    faults::arm("bind");
    let (mut relay, mut events) = Relay::new(options()).unwrap();
    relay.listen(Address { ip: Some(LOOPBACK.into()), port: 0 }).unwrap();
    let mut all = Vec::new();
    while !matches!(all.last(), Some(Event::Closed)) {
        all.append(&mut next_batch(&mut events).await);
    }
    assert!(matches!(all[..], [Event::Panicked, Event::ListenFailed(_), Event::Closed]), "{all:?}");
}

#[tokio::test]
async fn a_panic_while_closing_costs_one_connection() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::start(Limits::default()).await;
    // It sends no close frame, so that the relay keeps closing.
    let silent = server.upgraded().await;
    server.relay.close();
    for (count, point) in (1..).zip(["refuse", "handshake"]) {
        faults::arm(point);
        let mut stream = server.tcp().await;
        assert_eq!(read_to_end(&mut stream).await, b"");
        wait_panicked(&mut server, count).await;
        let mut stream = server.send(UPGRADE).await;
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    drop(silent);
    server.wait_closed().await;
}

#[tokio::test]
async fn the_drain_timeout_survives_a_panic() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut sender, _silent) = (server.client(&ada).await, server.client(&grace).await);
    for _ in 0..40 {
        sender.send(relay(&grace, &"x".repeat(100_000))).await;
    }
    // The relay has read all of them once it reports this offence.
    sender.send("{}").await;
    server.offence().await;
    faults::arm("cut");
    server.relay.drain(Duration::from_millis(1), Duration::ZERO);
    wait_panicked(&mut server, 1).await;
    server.wait_closed().await;
}

/// Starts a relay whose events are translated by `translate` and handed over by `hand_over`.
fn dispatching<T: Send + 'static>(
    translate: impl Fn(Event) -> T + Send + 'static,
    hand_over: impl Fn(Vec<T>) + Send + Sync + 'static,
) -> Relay {
    let (mut relay, events) = Relay::new(options()).unwrap();
    relay.dispatch_events(events, translate, move |batch| {
        hand_over(batch);
        std::future::ready(true)
    });
    relay.listen(Address { ip: Some(LOOPBACK.into()), port: 0 }).unwrap();
    relay
}

#[tokio::test]
async fn a_panic_while_translating_costs_one_event() {
    let _alone = ALONE.lock().await;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let translate = |event| match event {
        Event::Expired { undelivered: 0, client } if client.get() == 1 => panic!("wanted"),
        other => format!("{other:?}"),
    };
    let relay =
        dispatching(translate, move |batch| batch.into_iter().for_each(|event| sender.send(event).unwrap()));
    // They expire at the same time, in one batch or in several.
    for _ in 0..3 {
        relay.register_client_for(Duration::from_millis(1)).unwrap();
    }
    let mut all = Vec::new();
    while all.len() < 4 {
        all.push(soon(receiver.recv()).await.unwrap());
    }
    let count = |what| all.iter().filter(|event| event.starts_with(what)).count();
    assert_eq!((count("Listening"), count("Expired"), count("Panicked")), (1, 2, 1), "{all:?}");
    assert_eq!(relay.stats().panics, 1);
    relay.close();
    assert_eq!(soon(receiver.recv()).await.unwrap(), "Closed");
}

#[tokio::test]
async fn a_panic_while_handing_over_costs_one_batch() {
    let _alone = ALONE.lock().await;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let hand_over = move |batch: Vec<Event>| {
        assert!(!matches!(batch[0], Event::Listening(_)), "wanted");
        batch.into_iter().for_each(|event| sender.send(event).unwrap());
    };
    let relay = dispatching(|event| event, hand_over);
    assert!(matches!(soon(receiver.recv()).await.unwrap(), Event::Panicked));
    assert_eq!(relay.stats().panics, 1);
    relay.close();
    assert!(matches!(soon(receiver.recv()).await.unwrap(), Event::Closed));
}
