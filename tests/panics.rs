//! A bug of ours costs one connection: a panic, wherever it happens, and whatever lock is held, ends the connection that it
//! happens in, is told and counted, and nobody else loses a message.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use common::{
    Client, PAGE, TestRelay, UPGRADE, next, numbered, options, read_head, read_rest, received, soon,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, mpsc};
use websocket_relay::{
    Address, CloseReason, Event, EventReceiver, Limits, Options, Registration, Relay, faults,
};

/// What is armed is armed for all tests of the process.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn reliable(server: &TestRelay, who: &Registration, connection: u64) -> Client {
    server.reliable(who, PAGE, &json!({ "connection": connection })).await.0
}

/// The next message that comes must be this one. It is acknowledged.
async fn hears(client: &mut Client, sender: &Registration, seq: u64) {
    let frame: Value = loop {
        let frame = next(client).await;
        if frame["relay"].is_object() {
            break frame;
        }
    };
    assert_eq!(frame["relay"]["message"], seq.to_string());
    client.send(received(sender, &frame["relay"]["offset"])).await;
}

/// Waits until it is told that so many messages were taken.
async fn is_accepted(client: &mut Client, seq: u64) {
    while !client.text().await.contains(&format!(r#""seq":{seq}"#)) {}
}

/// The connection breaks off.
async fn is_lost(client: &mut Client) {
    while let Some(Ok(message)) = soon(client.socket.next()).await {
        assert!(message.is_text(), "{message:?}");
    }
}

async fn panicked(server: &mut TestRelay, count: u64) {
    server.find(|event| matches!(event, Event::Panicked).then_some(())).await;
    assert_eq!(server.relay.stats().panics, count);
}

/// Ada sends to Grace; the panic at `point` happens in `ada`'s task.
async fn ends_the_sender_only(point: &'static str, threads: usize) {
    let mut server = TestRelay::with(Options { threads, ..options() }).await;
    let ((ada, grace), (bob, eve)) = (server.pair(), server.pair());
    let [mut sender, mut recipient] = [reliable(&server, &ada, 1).await, reliable(&server, &grace, 1).await];
    let [mut other, mut bystander] = [reliable(&server, &bob, 1).await, reliable(&server, &eve, 1).await];
    sender.send(numbered(&grace, 1, "1")).await;
    hears(&mut recipient, &ada, 1).await;
    is_accepted(&mut sender, 1).await;
    faults::arm(point);
    sender.send(numbered(&grace, 2, "2")).await;
    is_lost(&mut sender).await;
    let gone = server.find(|event| match event {
        Event::Disconnected(id, reason) => Some((id, reason)),
        _ => None,
    });
    assert_eq!(gone.await, (ada.id, CloseReason::Internal));
    panicked(&mut server, 1).await;
    // Whether it was taken before or is sent again: it arrives once.
    let mut sender = reliable(&server, &ada, 2).await;
    sender.send(numbered(&grace, 2, "2")).await;
    sender.send(numbered(&grace, 3, "3")).await;
    hears(&mut recipient, &ada, 2).await;
    hears(&mut recipient, &ada, 3).await;
    is_accepted(&mut sender, 3).await;
    other.send(numbered(&eve, 1, "1")).await;
    hears(&mut bystander, &bob, 1).await;
    assert_eq!(server.relay.stats().connections, 4);
}

#[tokio::test]
async fn a_panic_in_a_session_ends_only_that_session() {
    let _alone = ALONE.lock().await;
    for threads in [1, 4] {
        ends_the_sender_only("session", threads).await;
    }
}

#[tokio::test]
async fn a_panic_under_a_mailbox_lock_ends_only_the_sender() {
    let _alone = ALONE.lock().await;
    for threads in [1, 4] {
        ends_the_sender_only("append", threads).await;
    }
}

#[tokio::test]
async fn a_panic_while_flushing_ends_only_the_sender() {
    let _alone = ALONE.lock().await;
    for threads in [1, 4] {
        ends_the_sender_only("flush", threads).await;
    }
}

#[tokio::test]
async fn delivers_messages_appended_before_a_panic() {
    let _alone = ALONE.lock().await;
    for point in ["append", "flush"] {
        let mut server = TestRelay::with(options()).await;
        let (ada, grace) = server.pair();
        let [mut sender, mut recipient] =
            [reliable(&server, &ada, 1).await, reliable(&server, &grace, 1).await];
        faults::arm(point);
        sender.send(numbered(&grace, 1, "1")).await;
        hears(&mut recipient, &ada, 1).await;
        panicked(&mut server, 1).await;
    }
}

#[tokio::test]
async fn counts_are_exact_after_a_panic() {
    let _alone = ALONE.lock().await;
    for point in ["reserve", "append", "flush", "deliver"] {
        let mut server = TestRelay::with(options()).await;
        let (ada, grace) = server.pair();
        let (mut sender, mut recipient) = (reliable(&server, &ada, 1).await, server.client(&grace).await);
        server.find(|event| matches!(event, Event::Connected(id) if id == grace.id).then_some(())).await;
        if point == "deliver" {
            // Somebody else's session is to write: with the recipient away, its next one does.
            drop(recipient);
            server.find(|event| matches!(event, Event::Disconnected(..)).then_some(())).await;
            sender.send(numbered(&grace, 1, "1")).await;
            is_accepted(&mut sender, 1).await;
            faults::arm(point);
            recipient = server.client(&grace).await;
        } else {
            faults::arm(point);
            sender.send(numbered(&grace, 1, "1")).await;
        }
        panicked(&mut server, 1).await;
        // Whether it was taken or not: it is sent again, and arrives once.
        let mut sender = reliable(&server, &ada, 2).await;
        sender.send(numbered(&grace, 1, "1")).await;
        is_accepted(&mut sender, 1).await;
        if point == "deliver" {
            recipient = server.client(&grace).await;
        }
        assert_eq!(recipient.message(&ada).await, "1");
        sender.send(numbered(&grace, 2, "2")).await;
        assert_eq!(recipient.message(&ada).await, "2");
        is_accepted(&mut sender, 2).await;
        let totals = server.relay.stats().totals;
        assert_eq!((totals.queued_messages, totals.queued_bytes), (0, 0), "{point}");
    }
}

#[tokio::test]
async fn a_panic_while_delivering_ends_only_the_recipient() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    let (ada, grace) = server.pair();
    let mut sender = reliable(&server, &ada, 1).await;
    sender.send(numbered(&grace, 1, "1")).await;
    is_accepted(&mut sender, 1).await;
    faults::arm("deliver");
    let mut recipient = server.stranger().await;
    recipient.authenticate(&grace).await;
    is_lost(&mut recipient).await;
    panicked(&mut server, 1).await;
    let mut recipient = reliable(&server, &grace, 2).await;
    hears(&mut recipient, &ada, 1).await;
    sender.send(numbered(&grace, 2, "2")).await;
    hears(&mut recipient, &ada, 2).await;
}

#[tokio::test]
async fn a_panic_while_accepting_costs_one_connection() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    let (ada, grace) = server.pair();
    let [mut sender, mut recipient] = [reliable(&server, &ada, 1).await, reliable(&server, &grace, 1).await];
    for (count, point) in (1..).zip(["handshake", "accept"]) {
        faults::arm(point);
        let mut stream = server.tcp().await;
        assert_eq!(read_rest(&mut stream).await, b"");
        panicked(&mut server, count).await;
        sender.send(numbered(&grace, count, &count.to_string())).await;
        hears(&mut recipient, &ada, count).await;
        reliable(&server, &server.relay.register_client().unwrap(), 1).await;
    }
}

#[tokio::test]
async fn expiry_continues_after_a_panic() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::with(options()).await;
    faults::arm("expire");
    let mortal = server.relay.register_client_for(Duration::from_millis(1)).unwrap();
    panicked(&mut server, 1).await;
    let expired = server.find(|event| match event {
        Event::Expired { client, .. } => Some(client),
        _ => None,
    });
    assert_eq!(expired.await, mortal.id);
}

/// What a relay tells that does not listen, or not yet.
async fn told(events: &mut EventReceiver) -> Vec<Event> {
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
    let mut one = server.reliable(&ada, common::PAGE, &serde_json::json!({ "presence": true })).await.0;
    let _two = server.client(&grace).await;
    panicked(&mut server, 1).await;
    while common::next(&mut one).await["presence"]["online"] != true {}
}

#[tokio::test]
async fn maintenance_continues_after_a_panic() {
    let _alone = ALONE.lock().await;
    faults::arm("trim_memory");
    let (relay, mut events) = Relay::new(options()).unwrap();
    assert!(matches!(told(&mut events).await[..], [Event::Panicked]));
    let mortal = relay.register_client_for(Duration::from_millis(1)).unwrap();
    let [Event::Expired { client, .. }] = told(&mut events).await[..] else { panic!("it has not expired") };
    assert_eq!(client, mortal.id);
    assert_eq!(relay.stats().panics, 1);
}

#[tokio::test]
async fn a_panic_while_binding_fails_to_listen() {
    let _alone = ALONE.lock().await;
    faults::arm("bind");
    let (mut relay, mut events) = Relay::new(options()).unwrap();
    relay.listen(Address { ip: Some(LOOPBACK.into()), port: 0 }).unwrap();
    let mut all = Vec::new();
    while !matches!(all.last(), Some(Event::Closed)) {
        all.append(&mut told(&mut events).await);
    }
    assert!(matches!(all[..], [Event::Panicked, Event::ListenFailed(_), Event::Closed]), "{all:?}");
}

#[tokio::test]
async fn a_panic_while_closing_costs_one_connection() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::start(Limits::default()).await;
    // It answers nothing, so that closing takes its time.
    let deaf = server.upgraded().await;
    server.relay.close();
    for (count, point) in (1..).zip(["refuse", "handshake"]) {
        faults::arm(point);
        let mut stream = server.tcp().await;
        assert_eq!(read_rest(&mut stream).await, b"");
        panicked(&mut server, count).await;
        let mut stream = server.tcp().await;
        soon(stream.write_all(UPGRADE)).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    }
    drop(deaf);
    server.find(|event| matches!(event, Event::Closed).then_some(())).await;
}

#[tokio::test]
async fn the_drain_timeout_survives_a_panic() {
    let _alone = ALONE.lock().await;
    let mut server = TestRelay::start(Limits::default()).await;
    let (ada, grace) = server.pair();
    let (mut sender, _deaf) = (server.client(&ada).await, server.client(&grace).await);
    for _ in 0..40 {
        sender.send(common::relay(&grace, &"x".repeat(100_000))).await;
    }
    // The last of them has been read when the answer to this comes.
    sender.send("{}").await;
    server.offence().await;
    faults::arm("cut");
    server.relay.drain(Duration::from_millis(1), Duration::ZERO);
    panicked(&mut server, 1).await;
    server.find(|event| matches!(event, Event::Closed).then_some(())).await;
}

/// A relay of which everything that is told is translated by `translate`, and handed over by `hand_over`.
fn courier<T: Send + 'static>(
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
    let (told, mut hears) = mpsc::unbounded_channel();
    let translate = |event| match event {
        Event::Expired { undelivered: 0, client } if client.get() == 1 => panic!("wanted"),
        other => format!("{other:?}"),
    };
    let relay =
        courier(translate, move |batch| batch.into_iter().for_each(|event| told.send(event).unwrap()));
    // All in one batch, or not: they end at one time.
    for _ in 0..3 {
        relay.register_client_for(Duration::from_millis(1)).unwrap();
    }
    let mut all = Vec::new();
    while all.len() < 4 {
        all.push(soon(hears.recv()).await.unwrap());
    }
    let count = |what| all.iter().filter(|event| event.starts_with(what)).count();
    assert_eq!((count("Listening"), count("Expired"), count("Panicked")), (1, 2, 1), "{all:?}");
    assert_eq!(relay.stats().panics, 1);
    relay.close();
    assert_eq!(soon(hears.recv()).await.unwrap(), "Closed");
}

#[tokio::test]
async fn a_panic_while_handing_over_costs_one_batch() {
    let _alone = ALONE.lock().await;
    let (told, mut hears) = mpsc::unbounded_channel();
    let hand_over = move |batch: Vec<Event>| {
        assert!(!matches!(batch[0], Event::Listening(_)), "wanted");
        batch.into_iter().for_each(|event| told.send(event).unwrap());
    };
    let relay = courier(|event| event, hand_over);
    assert!(matches!(soon(hears.recv()).await.unwrap(), Event::Panicked));
    assert_eq!(relay.stats().panics, 1);
    relay.close();
    assert!(matches!(soon(hears.recv()).await.unwrap(), Event::Closed));
}
