//! A relay allocates no more memory than it counts against its bounds, and frees it: after its queues were full, and with
//! clients that do not read.
// The addon brings an allocator of its own.
#![cfg(not(feature = "node"))]
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    PATIENCE, SESSION, TestRelay, UPGRADE, masked, masked_text, numbered, read_head, received, reliable, soon,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::sleep;
use websocket_relay::stream::bridge::{self, SocketEnd};
use websocket_relay::{Limits, Registration};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// An allocator that counts the allocated bytes.
struct CountingAllocator;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: it forwards to the system's allocator, and only counts sizes.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Runs one test at a time, so that none measures another's allocations.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Measures the bytes allocated since it was started.
struct Measurement {
    before: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Measurement {
    async fn start() -> Self {
        let alone = ALONE.lock().await;
        Self { before: LIVE.load(Ordering::Relaxed), _alone: alone }
    }

    /// Starts again from the bytes allocated now.
    fn restart(&mut self) {
        self.before = LIVE.load(Ordering::Relaxed);
    }

    fn grown(&self) -> usize {
        LIVE.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// Polls a condition until it holds.
async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Connects a reliable client with a small receive buffer, which reads only what the test reads.
async fn slow_client(server: &TestRelay, registration: &Registration) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = soon(socket.connect(server.address)).await.unwrap();
    soon(stream.write_all(UPGRADE)).await.unwrap();
    read_head(&mut stream).await;
    let frame = masked_text(&reliable(registration, SESSION, &json!({})));
    soon(stream.write_all(&frame)).await.unwrap();
    let mut head = [0; 16];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert!(head.ends_with(br#"{"authentica"#), "{head:?}");
    stream
}

#[tokio::test]
async fn shrinks_a_lane_that_was_full() {
    const LANES: usize = 4;
    const MESSAGES: u64 = 10_000;
    let mut memory = Measurement::start().await;
    let limits =
        Limits { max_in_flight_messages: 2 * MESSAGES as usize, max_queued_events: 16, ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let reader = server.relay.register_client().unwrap();
    let senders: Vec<_> = (0..LANES).map(|_| server.relay.register_client().unwrap()).collect();
    let mut clients = Vec::new();
    for sender in &senders {
        server.relay.register_relay_channel(sender.id, reader.id).unwrap();
        clients.push(slow_client(&server, sender).await);
    }
    let (mut recipient, _) = server.reliable(&reader, SESSION, &json!({})).await;
    let stored = |count: usize| {
        let server = &server;
        async move { until(|| server.relay.stats().totals.queued_messages == count).await }
    };
    memory.restart();
    for client in &mut clients {
        let frames: Vec<_> =
            (1..=MESSAGES).flat_map(|seq| masked_text(&numbered(&reader, seq, "x"))).collect();
        let (mut socket, mut rest) = (&mut recipient, MESSAGES);
        let read = async {
            while rest > 0 {
                rest -= u64::from(socket.frame().await["relay"].is_object());
                socket = &mut *socket;
            }
        };
        let (written, ()) = tokio::join!(soon(client.write_all(&frames)), read);
        written.unwrap();
    }
    stored(LANES * MESSAGES as usize).await;
    // All but the last of each lane.
    for (number, sender) in (1..).zip(&senders) {
        recipient.send(received(sender, number * MESSAGES - 1)).await;
    }
    stored(LANES).await;
    let (counted, grown) = (server.relay.stats().totals.queued_bytes, memory.grown());
    assert!(grown < 16 * counted + 256 * KIB, "{grown} bytes allocated, {counted} counted");
}

#[tokio::test]
async fn bounds_unread_notices() {
    const TARGETS: usize = 20;
    const MESSAGES: usize = 3000;
    let mut memory = Measurement::start().await;
    let message_ttl = Duration::from_millis(20);
    let server = TestRelay::start(Limits { message_ttl, max_queued_events: 16, ..Limits::default() }).await;
    let ada = server.relay.register_client().unwrap();
    let targets: Vec<_> = (0..TARGETS).map(|_| server.relay.register_client().unwrap()).collect();
    for target in &targets {
        server.relay.register_relay_channel(ada.id, target.id).unwrap();
    }
    let mut client = slow_client(&server, &ada).await;
    memory.restart();
    for round in 0..MESSAGES as u64 {
        // Odd numbers only, so that no two can be merged into one range.
        let frames: Vec<_> =
            targets.iter().flat_map(|target| masked_text(&numbered(target, 1 + 2 * round, "x"))).collect();
        soon(client.write_all(&frames)).await.unwrap();
    }
    let expired = || server.relay.stats().rejected.get("ERR_MESSAGE_EXPIRED").copied().unwrap_or_default();
    until(|| expired() == (TARGETS * MESSAGES) as u64).await;
    assert!(memory.grown() < MIB / 2, "{} bytes", memory.grown());
    assert!(
        server.relay.stats().totals.queued_bytes
            <= 2 * Limits::MAX_UNSENT_NOTICES * Limits::NOTICE_OVERHEAD + MIB
    );
    server.relay.unregister_client(ada.id).unwrap();
    drop(client);
    until(|| server.relay.stats().connections == 0).await;
    assert_eq!(server.relay.stats().totals.queued_bytes, 0);
    assert!(memory.grown() < 128 * KIB, "{} bytes are left", memory.grown());
}

#[tokio::test]
async fn frees_what_a_closing_connection_has_sent() {
    let mut memory = Measurement::start().await;
    let (max_payload, close_timeout) = (MIB, 2 * PATIENCE);
    let server = TestRelay::start(Limits { max_payload, close_timeout, ..Limits::default() }).await;
    let mut client = slow_client(&server, &server.relay.register_client().unwrap()).await;
    memory.restart();
    // Two fragments of a message that may have little more than the bytes of one.
    let fragments = [0x01, 0x00].map(|first| masked(first, &vec![b'x'; MIB])).concat();
    soon(client.write_all(&fragments)).await.unwrap();
    drop(fragments);
    until(|| server.relay.stats().offences.get("ERR_MESSAGE_TOO_BIG") == Some(&1)).await;
    // The client leaves its side open.
    until(|| memory.grown() < 128 * KIB).await;
    assert_eq!(server.relay.stats().connections, 1);
}

/// A connection over a bridge, so that no system buffers lie between the test and the relay.
struct BridgedClient {
    socket: SocketEnd,
    has_command: Arc<Notify>,
}

impl BridgedClient {
    fn connect(server: &TestRelay) -> Self {
        let has_command = Arc::new(Notify::new());
        let notify = Arc::clone(&has_command);
        let (bridge, socket) = bridge::pair(move || notify.notify_one());
        let upgrade = server.relay.accept_upgrade(UPGRADE, None).ok().unwrap();
        server.relay.adopt(upgrade, bridge, Vec::new(), ());
        Self { socket, has_command }
    }

    /// Sends more bytes than a bridge takes at once, and waits until the relay has read them.
    async fn send(&self, bytes: &[u8]) {
        assert!(bytes.len() >= Limits::BRIDGE_BYTES && !self.socket.push(bytes));
        soon(async {
            while !self.socket.fetch(false).resume {
                self.has_command.notified().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn bounds_pongs_for_clients_that_do_not_read() {
    const CLIENTS: usize = 8;
    let mut memory = Measurement::start().await;
    let server = TestRelay::start(Limits { max_queued_events: 16, ..Limits::default() }).await;
    let pings: Vec<_> = (0..600).flat_map(|_| masked(0x89, &[b'x'; 125])).collect();
    let clients: Vec<_> = (0..CLIENTS).map(|_| BridgedClient::connect(&server)).collect();
    until(|| server.relay.stats().connections == CLIENTS).await;
    memory.restart();
    for client in &clients {
        for _ in 0..10 {
            client.send(&pings).await;
        }
    }
    // The buffers of the bridges, and a frame before authentication for each.
    let max = CLIENTS * 2 * (Limits::BRIDGE_BYTES + Limits::default().max_unauthenticated_payload);
    assert!(memory.grown() < max, "{} bytes, not {max}", memory.grown());
}

#[tokio::test]
async fn counts_unwritten_bytes_of_replaced_connections() {
    let memory = Measurement::start().await;
    let (max_payload, close_timeout) = (16 * MIB, 2 * PATIENCE);
    let server = TestRelay::start(Limits { max_payload, close_timeout, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let queued = || server.relay.stats().totals.queued_bytes;
    let mut grace_client = BridgedClient::connect(&server);
    grace_client.socket.push(&masked_text(&reliable(&grace, SESSION, &json!({}))));
    let (mut ada_client, _) = server.reliable(&ada, SESSION, &json!({})).await;
    ada_client.send(numbered(&grace, 1, &"x".repeat(8 * MIB))).await;
    let mut replaced_clients = Vec::new();
    for replaced in 0..3 {
        // The queued message, and the unwritten rest of it on each connection.
        until(|| queued() > (2 + replaced) * 8 * MIB - MIB).await;
        let next = BridgedClient::connect(&server);
        next.socket.push(&masked_text(&reliable(&grace, SESSION, &json!({}))));
        replaced_clients.push(std::mem::replace(&mut grace_client, next));
    }
    until(|| queued() > 5 * 8 * MIB - MIB).await;
    replaced_clients.clear();
    until(|| queued() < 3 * 8 * MIB).await;
    drop((ada_client, grace_client));
    until(|| queued() < 9 * MIB).await;
    server.relay.unregister_client(grace.id).unwrap();
    until(|| queued() == 0 && memory.grown() < 2 * MIB).await;
}
