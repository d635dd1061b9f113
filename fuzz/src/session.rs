//! Runs whole sessions: two reliable peers that follow the protocol, among wild clients that send whatever the input says.
//! Nothing panics or runs for ever, every bound holds, the peers receive everything exactly once and in order, and nothing is
//! left at the end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};
use websocket_relay::events::{self, EventReceiver};
use websocket_relay::hub::{Hub, Totals};
use websocket_relay::session::{self, Shared};
use websocket_relay::{ClientId, CloseReason, Event, Limits, Registration};

use super::connection::{ClientEnd, connection};
use super::json::parse;
use super::peer::{Peer, frame, next_frame};

/// The number of peers that follow the protocol. They are the first clients.
const PEERS: usize = 2;
/// The number of registered clients.
const CLIENTS: usize = 4;
/// The number of wild connections.
const WILD: usize = 3;

/// The messages of one client per second.
const RATE: u64 = 20;
/// The messages of one client at once.
const BURST: u64 = 10;

/// The steps of one run: longer runs find nothing more, and are slow.
const MAX_STEPS: usize = 150;

/// The end of a run.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ending {
    Settle,
    Drain,
    Stop,
}

/// One step. Numbers of clients and connections are taken modulo their number. Do not reorder: the corpora depend on it.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Send { peer: u8, size: u8 },
    Connect { peer: u8, piece: u8 },
    Disconnect { peer: u8 },
    Receive { peer: u8, size: u16 },
    Acknowledge { peer: u8 },
    Resend { peer: u8 },
    Open { wild: u8, piece: u8 },
    Close { wild: u8 },
    Read { wild: u8, size: u16 },
    Authenticate { wild: u8, client: u8, is_right: bool, reliable: Option<Reliable> },
    Relay { wild: u8, target: u8, size: u16, seq: Option<u8>, first: bool },
    Received { wild: u8, sender: u8, offset: u8 },
    Text { wild: u8, text: &'a str },
    Frame { wild: u8, first: u8, payload: &'a [u8] },
    Raw { wild: u8, bytes: &'a [u8] },
    Register { one: u8, two: u8 },
    Revoke { one: u8, two: u8 },
    DisconnectByServer { client: u8 },
    Unregister { client: u8 },
    Wait { milliseconds: u16 },
}

#[derive(Arbitrary, Debug)]
struct Reliable {
    session: bool,
    connection: u8,
    knows_epoch: bool,
    receipts: bool,
    presence: bool,
}

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
}

/// Runs the target. The input is the end of the run, and the steps before it.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(ending) = Ending::arbitrary(&mut input) else { return };
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < MAX_STEPS {
        steps.extend(Step::arbitrary(&mut input));
    }
    RUNTIME.with(|runtime| runtime.block_on(simulate(&steps, ending)));
}

async fn simulate(steps: &[Step<'_>], ending: Ending) {
    let mut model = Model::new();
    model.settle().await;
    for step in steps {
        model.run(step).await;
        model.settle().await;
        model.check();
    }
    model.end(ending).await;
}

/// A connection whose client does what the input says.
struct Wild {
    end: ClientEnd,
    /// The bytes read of an incomplete frame.
    partial: Vec<u8>,
    /// Whether it may have authenticated as a reliable client.
    may_be_reliable: bool,
}

struct Model {
    limits: Limits,
    shared: Arc<Shared>,
    events: EventReceiver,
    clients: Vec<Registration>,
    peers: [Peer; PEERS],
    wild: [Option<Wild>; WILD],
    sessions: Vec<JoinHandle<()>>,
    /// The number of polls of all sessions.
    polls: Arc<AtomicU64>,
    start: Instant,
}

impl Model {
    fn new() -> Self {
        let limits = Limits {
            max_payload: 1000,
            max_unauthenticated_payload: 300,
            max_queued_messages: 8,
            max_queued_bytes: 3000,
            max_mailbox_bytes: 6000,
            max_total_bytes: 9000,
            max_in_flight_messages: 3,
            max_in_flight_bytes: 1500,
            max_write_ahead: 500,
            max_offences: 5,
            rate_limit: RATE as usize,
            rate_limit_burst: BURST as usize,
            ..Limits::default()
        };
        let (sink, events) = events::channel(limits.max_queued_events);
        let hub = Hub::new(limits.clone(), false).expect("randomness");
        let clients: Vec<_> = (0..CLIENTS).map(|_| hub.register(None).expect("randomness")).collect();
        hub.open_channels_among(&clients.iter().map(|client| client.id).collect::<Vec<_>>())
            .expect("clients");
        let shared = Arc::new(Shared::new(limits.clone(), hub, sink));
        let peers = [0, 1].map(|peer| Peer::new(peer, clients[peer].token.reveal()));
        let (wild, sessions) = ([const { None }; WILD], Vec::new());
        Self {
            limits,
            shared,
            events,
            clients,
            peers,
            wild,
            sessions,
            polls: Arc::default(),
            start: Instant::now(),
        }
    }

    /// Opens a WebSocket. Every second read of the server brings at most `piece` bytes and one.
    fn connect(&mut self, piece: u8) -> ClientEnd {
        let (server, client) = connection(usize::from(piece) + 1);
        let mut session = Box::pin(session::run(server, &[], Arc::clone(&self.shared), None, ()));
        let polls = Arc::clone(&self.polls);
        self.sessions.push(tokio::spawn(std::future::poll_fn(move |cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            session.as_mut().poll(cx)
        })));
        client
    }

    /// Runs the sessions until all of them wait.
    async fn settle(&mut self) {
        for _ in 0..100_000 {
            let before = self.polls.load(Ordering::Relaxed);
            while self.shared.hub.tell_presence().has_more {}
            yield_now().await;
            yield_now().await;
            if self.polls.load(Ordering::Relaxed) == before {
                return;
            }
        }
        panic!("the sessions never settle");
    }

    async fn run(&mut self, step: &Step<'_>) {
        match *step {
            Step::Send { peer, size } => self.peer(peer).send_message(size.into()),
            Step::Connect { peer, piece } => {
                let end = self.connect(piece);
                self.peer(peer).connect(end);
            }
            Step::Disconnect { peer } => self.peer(peer).disconnect(),
            Step::Receive { peer, size } => self.receive(peer, size.into()),
            Step::Acknowledge { peer } => self.peer(peer).acknowledge(),
            Step::Resend { peer } => self.peer(peer).resend(),
            Step::Open { wild, piece } => {
                let end = self.connect(piece);
                let new = Wild { end, partial: Vec::new(), may_be_reliable: false };
                self.wild[usize::from(wild) % WILD] = Some(new);
            }
            Step::Close { wild } => self.wild[usize::from(wild) % WILD] = None,
            Step::Read { wild, size } => self.read(wild, size.into()),
            Step::Register { one, two } => {
                let hub = &self.shared.hub;
                hub.open_channel(self.id(one), self.id(two)).ok();
            }
            Step::Revoke { one, two } => {
                let ids = [self.id(one), self.id(two)];
                let is_peer = |id: &ClientId| id.get() < PEERS as u64;
                // The peers keep their channel.
                if !ids.iter().all(is_peer) {
                    self.shared.hub.close_channel(ids[0], ids[1]).ok();
                }
            }
            Step::DisconnectByServer { client } => {
                let (id, reason) = (self.id(client), CloseReason::ByServer(4000, "away".to_owned()));
                let emit = || self.shared.events.emit(Event::Disconnected(id, reason.clone()));
                self.shared.hub.disconnect(id, reason.clone(), emit).ok();
            }
            Step::Unregister { client } => {
                let client = PEERS + usize::from(client) % (CLIENTS - PEERS);
                self.unregister(client);
            }
            Step::Wait { milliseconds } => advance(Duration::from_millis(milliseconds.into())).await,
            _ => self.send_wild(step),
        }
    }

    fn send_wild(&mut self, step: &Step<'_>) {
        let (wild, bytes) = match step {
            Step::Authenticate { wild, client, is_right, reliable } => {
                let client = usize::from(*client) % (CLIENTS + 1);
                // Wild clients do not know the tokens of the peers.
                let token = match self.clients.get(client).filter(|_| *is_right && client >= PEERS) {
                    Some(client) => client.token.reveal().to_owned(),
                    None => "0".repeat(32),
                };
                let mut text = format!("\"clientId\":{client},\"token\":\"{token}\"");
                if let Some(Reliable { session, connection, knows_epoch, receipts, presence }) = reliable {
                    let session = u8::from(*session);
                    text +=
                        &format!(",\"version\":2,\"session\":\"{session:016x}\",\"connection\":{connection}");
                    text += &format!(",\"receipts\":{receipts},\"presence\":{presence}");
                    if *knows_epoch {
                        text += &format!(",\"epoch\":\"{}\"", self.shared.hub.epoch());
                    }
                }
                (wild, frame(0x81, format!("{{\"authentication\":{{{text}}}}}").as_bytes()))
            }
            Step::Relay { wild, target, size, seq, first } => {
                let (target, message) = (target % CLIENTS as u8, "x".repeat(usize::from(*size) % 1100));
                let mut text = format!("\"targetId\":{target},\"message\":\"{message}\"");
                if let Some(seq) = seq {
                    text += &format!(",\"seq\":{seq}");
                }
                if *first {
                    text += ",\"first\":true";
                }
                (wild, frame(0x81, format!("{{\"relay\":{{{text}}}}}").as_bytes()))
            }
            Step::Received { wild, sender, offset } => {
                let sender = sender % CLIENTS as u8;
                let text = format!("{{\"received\":{{\"senderId\":{sender},\"offset\":{offset}}}}}");
                (wild, frame(0x81, text.as_bytes()))
            }
            Step::Text { wild, text } => (wild, frame(0x81, text.as_bytes())),
            Step::Frame { wild, first, payload } => (wild, frame(*first, payload)),
            Step::Raw { wild, bytes } => (wild, bytes.to_vec()),
            _ => return,
        };
        if let Some(wild) = &mut self.wild[usize::from(*wild) % WILD] {
            wild.may_be_reliable |= bytes.windows(9).any(|bytes| bytes == b"\"version\"");
            wild.end.write(&bytes);
        }
    }

    fn peer(&mut self, peer: u8) -> &mut Peer {
        &mut self.peers[usize::from(peer) % PEERS]
    }

    fn id(&self, client: u8) -> ClientId {
        self.clients[usize::from(client) % CLIENTS].id
    }

    fn receive(&mut self, peer: u8, size: usize) {
        let peer = usize::from(peer) % PEERS;
        let (first, second) = self.peers.split_at_mut(1);
        let (recipient, sender) =
            if peer == 0 { (&mut first[0], &second[0]) } else { (&mut second[0], &first[0]) };
        recipient.receive(size, sender);
    }

    /// Reads on a wild connection, and checks that its client may be sent these frames.
    fn read(&mut self, wild: u8, size: usize) {
        let Some(wild) = &mut self.wild[usize::from(wild) % WILD] else { return };
        wild.partial.extend(wild.end.read(size));
        while let Some((first, payload)) = next_frame(&mut wild.partial) {
            match first {
                0x81 => {
                    let text = String::from_utf8(payload).expect("UTF-8");
                    parse(&text).unwrap_or_else(|| panic!("invalid JSON: {text}"));
                    let is_relay = text.starts_with("{\"relay\":{\"senderId\":");
                    assert!(is_relay || wild.may_be_reliable, "{text} to a plain client");
                }
                0x88..=0x8A => {}
                other => panic!("a frame with first byte {other:#x}"),
            }
        }
    }

    fn unregister(&mut self, client: usize) {
        let (id, reason) = (self.clients[client].id, CloseReason::Unregistered);
        if let Ok(removed) = self.shared.hub.unregister(id, reason)
            && removed.was_connected
        {
            self.shared.events.emit(Event::Disconnected(id, CloseReason::Unregistered));
        }
    }

    /// Checks the bounds.
    fn check(&self) {
        let Totals { queued_messages, queued_bytes, relayed_messages, .. } = self.shared.hub.totals();
        // On all connections of a client together. One message more is read before it is found to be too many.
        let sent = BURST + 1 + RATE * self.start.elapsed().as_millis() as u64 / 1000;
        assert!(relayed_messages <= CLIENTS as u64 * sent, "{relayed_messages} messages");
        // Besides the queues, each outbox may exceed the write-ahead limit by one message.
        let written_ahead = self.limits.max_write_ahead + self.limits.max_payload + 200;
        let bound = self.limits.max_total_bytes + CLIENTS * written_ahead;
        assert!(queued_bytes <= bound, "{queued_bytes} bytes");
        assert!(queued_messages <= CLIENTS * CLIENTS * self.limits.max_queued_messages, "{queued_messages}");
        assert!(self.shared.metrics.connections() <= self.sessions.len());
    }

    async fn end(mut self, ending: Ending) {
        match ending {
            Ending::Settle => self.settle_peers().await,
            Ending::Drain => self.shared.drain(Duration::from_secs(1)),
            Ending::Stop => self.shared.stop(),
        }
        self.settle().await;
        self.peers.iter_mut().for_each(Peer::disconnect);
        self.wild = [const { None }; WILD];
        self.settle().await;
        assert_eq!(self.shared.metrics.connections(), 0);
        for session in std::mem::take(&mut self.sessions) {
            assert!(session.is_finished(), "a session of a closed connection still runs");
            session.await.expect("no panic");
        }
        for client in 0..CLIENTS {
            self.unregister(client);
        }
        let Totals { registered, channels, queued_messages, queued_bytes, .. } = self.shared.hub.totals();
        assert_eq!((registered, channels, queued_messages, queued_bytes), (0, 0, 0, 0));
        self.check_events();
    }

    /// Removes the wild clients, and checks that all messages of the peers arrive.
    async fn settle_peers(&mut self) {
        self.wild = [const { None }; WILD];
        self.settle().await;
        (PEERS..CLIENTS).for_each(|client| self.unregister(client));
        for _ in 0..200 {
            for peer in 0..PEERS {
                if !self.peers[peer].is_connected() {
                    let end = self.connect(255);
                    self.peers[peer].connect(end);
                }
            }
            self.settle().await;
            (0..PEERS as u8).for_each(|peer| self.receive(peer, usize::MAX));
            self.peers.iter_mut().for_each(Peer::acknowledge);
            self.settle().await;
            if self.peers.iter().all(Peer::is_settled) {
                break;
            }
            advance(Limits::HOLD_RETRY).await;
            self.peers.iter_mut().for_each(Peer::resend);
        }
        let [one, two] = &self.peers;
        for (sender, recipient) in [(one, two), (two, one)] {
            let sent: Vec<_> = (1..=sender.sent()).collect();
            assert_eq!(recipient.received(), sent, "exactly once and in order");
        }
    }

    /// Checks that connect and disconnect events alternate, and that no event contains a token.
    fn check_events(&mut self) {
        let mut batch = Vec::new();
        let mut receive = Box::pin(self.events.recv_many(&mut batch, usize::MAX));
        let _ = receive.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(receive);
        let mut connected: HashMap<ClientId, bool> = HashMap::new();
        for event in batch {
            match event {
                Event::Connected(client) => {
                    assert!(!connected.insert(client, true).unwrap_or(false), "{client} connected twice");
                }
                Event::Disconnected(client, _) => {
                    assert_eq!(connected.insert(client, false), Some(true), "{client} disconnected twice");
                }
                Event::Offence { offence, .. } => {
                    let text = offence.to_string();
                    let has_token = |client: &Registration| text.contains(client.token.reveal());
                    assert!(!self.clients.iter().any(has_token), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(connected.values().all(|connected| !connected), "{connected:?}");
    }
}
