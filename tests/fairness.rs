//! No connection delays the others, whatever it sends and however fast.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod common;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::{authentication, masked, masked_text, relay, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::runtime::Handle;
use tokio::task::{coop, yield_now};
use tokio::time::timeout;
use websocket_relay::hub::Hub;
use websocket_relay::listener::{Acceptor, Admission, RemoteClient, Rules, Site};
use websocket_relay::session::{self, Shared};
use websocket_relay::shared_writer::SharedWriter;
use websocket_relay::stream::Transport;
use websocket_relay::{CloseReason, Limits, Registration, events};

/// The server's end of a connection. Counts the bytes read and written, and the attempts to read.
struct CountedStream {
    stream: DuplexStream,
    /// Whether each read uses up the task's cooperative budget.
    is_greedy: bool,
    moved: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
}

impl Transport for CountedStream {
    type Stream = Self;

    fn open(self) -> (Self, Option<SharedWriter>) {
        (self, None)
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.moved.fetch_add(buffer.filled().len() - before, Ordering::Relaxed);
        while self.is_greedy && coop::has_budget_remaining() {
            ready!(coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.moved.fetch_add(written, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Serves a connection on which `bytes` have arrived already, and which has room for as many. Returns the client's end and the
/// number of bytes the server has moved.
async fn connect(shared: &Arc<Shared>, bytes: &[u8]) -> (DuplexStream, Arc<AtomicUsize>) {
    let (client, moved, _) = connect_counted(shared, bytes).await;
    (client, moved)
}

/// The same, with the number of attempts to read.
async fn connect_counted(
    shared: &Arc<Shared>,
    bytes: &[u8],
) -> (DuplexStream, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (mut client, stream) = duplex(bytes.len().max(FLOOD) + 64 * 1024);
    client.write_all(bytes).await.unwrap();
    let [moved, attempts] = serve(shared, stream, false);
    (client, moved, attempts)
}

/// Serves this end of a connection. Returns the number of bytes moved and of attempts to read.
fn serve(shared: &Arc<Shared>, stream: DuplexStream, is_greedy: bool) -> [Arc<AtomicUsize>; 2] {
    let [moved, attempts] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
    let counted =
        CountedStream { stream, is_greedy, moved: Arc::clone(&moved), attempts: Arc::clone(&attempts) };
    tokio::spawn(session::run(counted, &[], Arc::clone(shared), None, ()));
    [moved, attempts]
}

/// More bytes than any turn may move.
const FLOOD: usize = 16 << 20;

/// Returns the context of sessions whose clients may all send to each other.
fn context() -> Arc<Shared> {
    // Long, so that no ping wakes a connection that was forgotten.
    let ping_interval = Duration::from_secs(3600);
    let limits = Limits { max_queued_bytes: 2 * FLOOD, ping_interval, ..Limits::default() };
    let hub = Hub::new(limits.clone(), true).unwrap();
    let (sink, _) = events::channel(limits.max_queued_events);
    Arc::new(Shared::new(limits, hub, sink))
}

/// Returns the authentication of a client.
fn hello(registration: &Registration) -> Vec<u8> {
    masked_text(&authentication(registration))
}

/// Connects a client that sends a message, and waits until it arrives at `reader`, the recipient's connection.
async fn serve_another(
    shared: &Arc<Shared>,
    from: &Registration,
    to: &Registration,
    reader: &mut DuplexStream,
) {
    let message = masked_text(&relay(to, "hello"));
    let (_sender, _) = connect(shared, &[hello(from), message].concat()).await;
    let mut frame = [0; 40];
    soon(reader.read_exact(&mut frame)).await.unwrap();
    assert!(String::from_utf8_lossy(&frame).contains("senderId"));
}

/// Returns how many bytes of a flood the server moves before it relays a message that came at the same time on another
/// connection. `waiting` long messages wait for the flooding client. Everything runs on one thread, so no timing is involved.
async fn moved_before_another_is_served(
    waiting: usize,
    flood: impl FnOnce(&Registration) -> Vec<u8>,
) -> usize {
    let shared = context();
    let [mallory, friend, ada, grace] = [(); 4].map(|()| shared.hub.register(None).unwrap());
    let long = masked_text(&relay(&mallory, &"x".repeat(60_000))).repeat(waiting);
    let (_friend, _) = connect(&shared, &[hello(&friend), long].concat()).await;
    while shared.hub.totals().queued_messages < waiting {
        yield_now().await;
    }
    let (mut reader, _) = connect(&shared, &hello(&grace)).await;
    let (_mallory, moved) = connect(&shared, &[hello(&mallory), flood(&friend)].concat()).await;
    serve_another(&shared, &ada, &grace, &mut reader).await;
    moved.load(Ordering::Relaxed)
}

#[tokio::test]
async fn tiny_frames_do_not_delay_others() {
    let begin = masked(0x01, b"\"");
    let floods: [(&str, Vec<u8>); 4] = [
        ("pings", masked(0x89, b"").repeat(100_000)),
        ("pongs", masked(0x8A, b"").repeat(100_000)),
        ("empty fragments", [begin.clone(), masked(0x00, b"").repeat(100_000)].concat()),
        ("fragments of a byte", [begin, masked(0x00, b"x").repeat(100_000)].concat()),
    ];
    for (name, flood) in floods {
        let moved = moved_before_another_is_served(0, |_| flood).await;
        assert!(moved <= 64 * 1024, "{name}: {moved} bytes were read before another was served");
    }
}

#[tokio::test]
async fn bytes_after_a_close_frame_do_not_delay_others() {
    let flood = [masked(0x88, &[0x03, 0xE8]), vec![0; FLOOD]].concat();
    let moved = moved_before_another_is_served(0, |_| flood).await;
    assert!(moved <= 4 * Limits::TURN_BYTES, "{moved} bytes were read before another was served");
}

/// Returns how many bytes after an HTTP request the server reads before it relays another client's message, and before it
/// closes the connection.
async fn moved_after_a_request(request: &str, flood: &[u8]) -> (usize, usize) {
    let shared = context();
    let [ada, grace] = [(); 2].map(|()| shared.hub.register(None).unwrap());
    let (mut reader, _) = connect(&shared, &hello(&grace)).await;
    let (mut client, stream) = duplex(2 * FLOOD);
    client.write_all(&[request.as_bytes(), flood].concat()).await.unwrap();
    let (moved, attempts) = Default::default();
    let counted = CountedStream { stream, is_greedy: false, moved: Arc::clone(&moved), attempts };
    let acceptor =
        Acceptor::new(Arc::clone(&shared), vec![Handle::current()], Site::default(), None, Rules::default());
    let acceptor = Arc::new(acceptor);
    acceptor.spawn(
        std::future::ready(Some(counted)),
        Admission::Identified(RemoteClient::default()),
        &Handle::current(),
    );
    serve_another(&shared, &ada, &grace, &mut reader).await;
    let at_first = moved.load(Ordering::Relaxed);
    client.read_to_end(&mut Vec::new()).await.unwrap();
    soon(acceptor.wait_until_idle()).await;
    (at_first, moved.load(Ordering::Relaxed))
}

#[tokio::test]
async fn bytes_after_a_response_are_bounded_and_do_not_delay_others() {
    let (moved, all) = moved_after_a_request("GET / HTTP/1.1\r\n\r\n", &vec![0; FLOOD]).await;
    assert!(moved <= 4 * Limits::TURN_BYTES, "{moved} bytes were read before another was served");
    let bound = Limits::MAX_DISCARDED_BYTES + 2 * Limits::TURN_BYTES;
    assert!(all <= bound, "{all} bytes were read");
}

#[tokio::test]
async fn empty_lines_before_a_request_are_bounded_and_do_not_delay_others() {
    let (moved, all) = moved_after_a_request("", &b"\r\n".repeat(FLOOD / 2)).await;
    assert!(moved <= 4 * Limits::TURN_BYTES, "{moved} bytes were read before another was served");
    let bound = Limits::MAX_DISCARDED_BYTES + 2 * Limits::TURN_BYTES;
    assert!(all <= bound, "{all} bytes were read");
}

#[tokio::test]
async fn bytes_after_a_close_frame_are_bounded() {
    let shared = context();
    let flood = [masked(0x88, &[0x03, 0xE8]), vec![0; 2 * FLOOD]].concat();
    let (mut client, moved) = connect(&shared, &flood).await;
    client.read_to_end(&mut Vec::new()).await.unwrap();
    while shared.metrics.connections() > 0 {
        yield_now().await;
    }
    let all = moved.load(Ordering::Relaxed);
    assert!(all <= Limits::MAX_DISCARDED_BYTES + 2 * Limits::TURN_BYTES, "{all} bytes were read");
}

#[tokio::test]
async fn long_messages_do_not_delay_others() {
    let long = "x".repeat(60_000);
    let flood = |friend: &Registration| masked_text(&relay(friend, &long)).repeat(200);
    let moved = moved_before_another_is_served(0, flood).await;
    assert!(moved <= 2 * Limits::TURN_BYTES, "{moved} bytes were read before another was served");
}

#[tokio::test]
async fn delivering_a_backlog_does_not_delay_others() {
    let moved = moved_before_another_is_served(200, |_| Vec::new()).await;
    assert!(moved <= FLOOD / 4, "{moved} bytes were written before another was served");
}

const FLOODING_CLIENTS: usize = 64;

/// A client, its end of the connection, and the number of bytes the server has moved.
type FloodingClient = (Registration, DuplexStream, Arc<AtomicUsize>);

/// Connects clients that have all sent `bytes`.
async fn connect_many(shared: &Arc<Shared>, bytes: &[u8]) -> Vec<FloodingClient> {
    let mut clients = Vec::new();
    for _ in 0..FLOODING_CLIENTS {
        let client = shared.hub.register(None).unwrap();
        let (stream, moved) = connect(shared, &[&hello(&client), bytes].concat()).await;
        clients.push((client, stream, moved));
    }
    clients
}

fn long_messages(to: &Registration, count: usize) -> Vec<u8> {
    masked_text(&relay(to, &"x".repeat(10_000))).repeat(count)
}

fn moved(clients: &[FloodingClient]) -> usize {
    clients.iter().map(|(_, _, moved)| moved.load(Ordering::Relaxed)).sum()
}

#[tokio::test]
async fn many_flooding_clients_do_not_delay_others() {
    let shared = context();
    let [friend, ada, grace] = [(); 3].map(|()| shared.hub.register(None).unwrap());
    let (mut reader, _) = connect(&shared, &hello(&grace)).await;
    let clients = connect_many(&shared, &long_messages(&friend, 200)).await;
    serve_another(&shared, &ada, &grace, &mut reader).await;
    let at_first = moved(&clients);
    let bound = FLOODING_CLIENTS * Limits::SHORT_TURN_BYTES + 8 * Limits::TURN_BYTES;
    assert!(at_first <= bound, "{at_first} bytes were read before another was served");
    // Now all of them wait for their next turn, and Ada does not.
    serve_another(&shared, &ada, &grace, &mut reader).await;
    let then = moved(&clients) - at_first;
    assert!(then <= 8 * Limits::TURN_BYTES, "{then} bytes were read before another was served");
}

#[tokio::test]
async fn reads_a_waiting_connection_after_those_before_it_end() {
    let shared = context();
    let friend = shared.hub.register(None).unwrap();
    let bytes = long_messages(&friend, 60);
    let mut clients = connect_many(&shared, &bytes).await;
    while moved(&clients) < FLOODING_CLIENTS * Limits::SHORT_TURN_BYTES {
        yield_now().await;
    }
    let (_last, _stream, last) = clients.pop().unwrap();
    for (other, stream, _) in clients {
        // Dropped, so that the server has no bytes to discard, for which it would wait again.
        drop(stream);
        let reason = CloseReason::ByServer(1000, String::new());
        assert!(shared.hub.disconnect(other.id, reason, || ()).unwrap());
    }
    soon(async {
        while last.load(Ordering::Relaxed) < bytes.len() {
            yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn does_not_poll_an_idle_connection() {
    let shared = context();
    let [friend, ada] = [(); 2].map(|()| shared.hub.register(None).unwrap());
    let bytes = [hello(&ada), long_messages(&friend, 20)].concat();
    let (_stream, moved, attempts) = connect_counted(&shared, &bytes).await;
    while moved.load(Ordering::Relaxed) < bytes.len() {
        yield_now().await;
    }
    let most = attempts.load(Ordering::Relaxed) + 3;
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(attempts.load(Ordering::Relaxed) <= most, "the connection is polled again and again");
}

#[tokio::test(start_paused = true)]
async fn pings_a_connection_that_has_used_up_its_turn() {
    let shared = context();
    let ada = shared.hub.register(None).unwrap();
    let (mut client, stream) = duplex(64 * 1024);
    serve(&shared, stream, true);
    client.write_all(&hello(&ada)).await.unwrap();
    let mut ping = [0; 2];
    let pinged = timeout(2 * shared.limits.ping_interval, client.read_exact(&mut ping)).await;
    pinged.expect("a ping").unwrap();
    assert_eq!(ping, [0x89, 0]);
}
