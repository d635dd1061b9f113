//! What is kept is what is counted: a relay whose queues were full once, or whose clients do not read, takes no more memory
//! than its bounds say, and gives it back.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    PAGE, PATIENCE, TestRelay, UPGRADE, masked, next, numbered, read_head, received, reliable, soon,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::sleep;
use websocket_relay::stream::bridge::{SocketEnd, bridge};
use websocket_relay::{Limits, Registration};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Counts the bytes that are allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature")]
// SAFETY: everything is the system's allocator's; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as whoever calls promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as whoever calls promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: what another allocates is none of this one's.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What is allocated from here on.
struct Measured {
    before: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Measured {
    async fn start() -> Self {
        let alone = ALONE.lock().await;
        Self { before: LIVE.load(Ordering::Relaxed), _alone: alone }
    }

    /// What is there now is where it starts.
    fn restart(&mut self) {
        self.before = LIVE.load(Ordering::Relaxed);
    }

    fn grown(&self) -> usize {
        LIVE.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// Waits until it is so. Nothing tells when it is.
async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A connection with reliable delivery that reads only what it is told to, into a small buffer.
async fn page(server: &TestRelay, who: &Registration) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = soon(socket.connect(server.address)).await.unwrap();
    soon(stream.write_all(UPGRADE)).await.unwrap();
    read_head(&mut stream).await;
    let frame = masked(0x81, reliable(who, PAGE, &json!({})).as_bytes());
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
    let mut measured = Measured::start().await;
    let limits =
        Limits { max_in_flight_messages: 2 * MESSAGES as usize, max_queued_events: 16, ..Limits::default() };
    let server = TestRelay::start(limits).await;
    let reader = server.relay.register_client().unwrap();
    let senders: Vec<_> = (0..LANES).map(|_| server.relay.register_client().unwrap()).collect();
    let mut pages = Vec::new();
    for sender in &senders {
        server.relay.register_relay_channel(sender.id, reader.id).unwrap();
        pages.push(page(&server, sender).await);
    }
    let (mut two, _) = server.reliable(&reader, PAGE, &json!({})).await;
    let stored = |count: usize| {
        let server = &server;
        async move { until(|| server.relay.stats().totals.queued_messages == count).await }
    };
    measured.restart();
    for page in &mut pages {
        let frames: Vec<_> =
            (1..=MESSAGES).flat_map(|seq| masked(0x81, numbered(&reader, seq, "x").as_bytes())).collect();
        let (mut socket, mut rest) = (&mut two, MESSAGES);
        let read = async {
            while rest > 0 {
                rest -= u64::from(next(socket).await["relay"].is_object());
                socket = &mut *socket;
            }
        };
        let (written, ()) = tokio::join!(soon(page.write_all(&frames)), read);
        written.unwrap();
    }
    stored(LANES * MESSAGES as usize).await;
    // All but one of each.
    for (number, sender) in (1..).zip(&senders) {
        two.send(received(sender, number * MESSAGES - 1)).await;
    }
    stored(LANES).await;
    let (counted, grown) = (server.relay.stats().totals.queued_bytes, measured.grown());
    assert!(grown < 16 * counted + 256 * KIB, "{grown} bytes for {counted} that are counted");
}

#[tokio::test]
async fn bounds_unread_notices() {
    const TARGETS: usize = 20;
    const MESSAGES: usize = 3000;
    let mut measured = Measured::start().await;
    let message_ttl = Duration::from_millis(20);
    let server = TestRelay::start(Limits { message_ttl, max_queued_events: 16, ..Limits::default() }).await;
    let ada = server.relay.register_client().unwrap();
    let targets: Vec<_> = (0..TARGETS).map(|_| server.relay.register_client().unwrap()).collect();
    for target in &targets {
        server.relay.register_relay_channel(ada.id, target.id).unwrap();
    }
    let mut page = page(&server, &ada).await;
    measured.restart();
    for turn in 0..MESSAGES as u64 {
        // Every second number, so that none is next to another.
        let frames: Vec<_> = targets
            .iter()
            .flat_map(|target| masked(0x81, numbered(target, 1 + 2 * turn, "x").as_bytes()))
            .collect();
        soon(page.write_all(&frames)).await.unwrap();
    }
    let expired = || server.relay.stats().rejected.get("ERR_MESSAGE_EXPIRED").copied().unwrap_or_default();
    until(|| expired() == (TARGETS * MESSAGES) as u64).await;
    assert!(measured.grown() < MIB / 2, "{} bytes", measured.grown());
    assert!(
        server.relay.stats().totals.queued_bytes <= 2 * Limits::MAX_UNTOLD * Limits::NOTICE_OVERHEAD + MIB
    );
    server.relay.unregister_client(ada.id).unwrap();
    drop(page);
    until(|| server.relay.stats().connections == 0).await;
    assert_eq!(server.relay.stats().totals.queued_bytes, 0);
    assert!(measured.grown() < 128 * KIB, "{} bytes are left", measured.grown());
}

/// A connection whose socket is held here, without a system that takes something in between.
struct Held {
    socket: SocketEnd,
    rung: Arc<Notify>,
}

impl Held {
    fn connect(server: &TestRelay) -> Self {
        let rung = Arc::new(Notify::new());
        let ringing = Arc::clone(&rung);
        let (bridge, socket) = bridge(move || ringing.notify_one());
        let upgrade = server.relay.accept_upgrade(UPGRADE, None).ok().unwrap();
        server.relay.adopt(upgrade, bridge, Vec::new(), ());
        Self { socket, rung }
    }

    /// Sends this, and waits until all of it was read; it is more than a bridge takes at once.
    async fn send(&self, bytes: &[u8]) {
        assert!(bytes.len() >= Limits::BRIDGE_BYTES && !self.socket.push(bytes));
        soon(async {
            while !self.socket.fetch(false).resume {
                self.rung.notified().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn bounds_pongs_for_clients_that_do_not_read() {
    const STRANGERS: usize = 8;
    let mut measured = Measured::start().await;
    let server = TestRelay::start(Limits { max_queued_events: 16, ..Limits::default() }).await;
    let pings: Vec<_> = (0..600).flat_map(|_| masked(0x89, &[b'x'; 125])).collect();
    let strangers: Vec<_> = (0..STRANGERS).map(|_| Held::connect(&server)).collect();
    until(|| server.relay.stats().connections == STRANGERS).await;
    measured.restart();
    for stranger in &strangers {
        for _ in 0..10 {
            stranger.send(&pings).await;
        }
    }
    // What waits in the bridges and, of each, a frame before authentication.
    let max = STRANGERS * 2 * (Limits::BRIDGE_BYTES + Limits::default().max_unauthenticated_payload);
    assert!(measured.grown() < max, "{} bytes, not {max}", measured.grown());
}

#[tokio::test]
async fn counts_unwritten_bytes_of_replaced_connections() {
    let measured = Measured::start().await;
    let (max_payload, close_timeout) = (16 * MIB, 2 * PATIENCE);
    let server = TestRelay::start(Limits { max_payload, close_timeout, ..Limits::default() }).await;
    let (ada, grace) = server.pair();
    let queued = || server.relay.stats().totals.queued_bytes;
    let mut two = Held::connect(&server);
    two.socket.push(&masked(0x81, reliable(&grace, PAGE, &json!({})).as_bytes()));
    let (mut one, _) = server.reliable(&ada, PAGE, &json!({})).await;
    one.send(numbered(&grace, 1, &"x".repeat(8 * MIB))).await;
    let mut parted = Vec::new();
    for replaced in 0..3 {
        // The message, what the newest connection does not take of it, and what the others did not.
        until(|| queued() > (2 + replaced) * 8 * MIB - MIB).await;
        let next = Held::connect(&server);
        next.socket.push(&masked(0x81, reliable(&grace, PAGE, &json!({})).as_bytes()));
        parted.push(std::mem::replace(&mut two, next));
    }
    until(|| queued() > 5 * 8 * MIB - MIB).await;
    parted.clear();
    until(|| queued() < 3 * 8 * MIB).await;
    drop((one, two));
    until(|| queued() < 9 * MIB).await;
    server.relay.unregister_client(grace.id).unwrap();
    until(|| queued() == 0 && measured.grown() < 2 * MIB).await;
}
