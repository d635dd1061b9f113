//! Whole sessions: two clients that keep to the protocol and talk to each other reliably, among others that send whatever
//! the input says. Nothing panics or runs for ever, every bound holds, the two hear everything exactly once and in order,
//! and in the end nothing is left.

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

use super::honest::{Peer, frame, next_frame};
use super::json::parse;
use super::pipe::{ClientEnd, pipe};

/// Those that keep to the protocol come first.
const HONEST: usize = 2;
const CLIENTS: usize = 4;
const WILD: usize = 3;

/// Messages of one client, in a second and at once.
const RATE: u64 = 20;
const BURST: u64 = 10;

/// Longer ones show nothing more, and take their time.
const MAX_STEPS: usize = 150;

/// How it ends.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ending {
    Heal,
    Drain,
    Stop,
}

/// Numbers of clients and connections are taken modulo how many there are.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Say { who: u8, size: u8 },
    Connect { who: u8, piece: u8 },
    Cut { who: u8 },
    Hear { who: u8, size: u16 },
    Acknowledge { who: u8 },
    Resend { who: u8 },
    Open { wild: u8, piece: u8 },
    Shut { wild: u8 },
    Read { wild: u8, size: u16 },
    Authenticate { wild: u8, client: u8, is_right: bool, reliable: Option<Reliable> },
    Relay { wild: u8, target: u8, size: u16, seq: Option<u8>, first: bool },
    Received { wild: u8, sender: u8, offset: u8 },
    Text { wild: u8, text: &'a str },
    Frame { wild: u8, first: u8, payload: &'a [u8] },
    Raw { wild: u8, bytes: &'a [u8] },
    Register { one: u8, two: u8 },
    Revoke { one: u8, two: u8 },
    Disconnect { client: u8 },
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

/// The input is how it ends, and the steps before.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(ending) = Ending::arbitrary(&mut input) else { return };
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < MAX_STEPS {
        steps.extend(Step::arbitrary(&mut input));
    }
    RUNTIME.with(|runtime| runtime.block_on(play(&steps, ending)));
}

async fn play(steps: &[Step<'_>], ending: Ending) {
    let mut world = World::new();
    world.settle().await;
    for step in steps {
        world.take(step).await;
        world.settle().await;
        world.check();
    }
    world.end(ending).await;
}

/// A connection of somebody who does as the input says.
struct Wild {
    end: ClientEnd,
    /// What was read of a frame that is not whole.
    begun: Vec<u8>,
    /// Whether it ever asked for reliable delivery.
    may_be_reliable: bool,
}

struct World {
    limits: Limits,
    shared: Arc<Shared>,
    events: EventReceiver,
    clients: Vec<Registration>,
    peers: [Peer; HONEST],
    wild: [Option<Wild>; WILD],
    sessions: Vec<JoinHandle<()>>,
    /// How often a session was polled.
    polls: Arc<AtomicU64>,
    start: Instant,
}

impl World {
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
        let peers = [0, 1].map(|who| Peer::new(who, clients[who].token.reveal()));
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

    /// A new connection that is upgraded; one read of the server brings at most `piece` bytes.
    fn connect(&mut self, piece: u8) -> ClientEnd {
        let (server, client) = pipe(usize::from(piece) + 1);
        let mut session = Box::pin(session::run(server, &[], Arc::clone(&self.shared), None, ()));
        let polls = Arc::clone(&self.polls);
        self.sessions.push(tokio::spawn(std::future::poll_fn(move |cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            session.as_mut().poll(cx)
        })));
        client
    }

    /// Lets the sessions do what there is to do.
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
        panic!("the sessions never come to rest");
    }

    async fn take(&mut self, step: &Step<'_>) {
        match *step {
            Step::Say { who, size } => self.peer(who).say(size.into()),
            Step::Connect { who, piece } => {
                let end = self.connect(piece);
                self.peer(who).connect(end);
            }
            Step::Cut { who } => self.peer(who).cut(),
            Step::Hear { who, size } => self.hear(who, size.into()),
            Step::Acknowledge { who } => self.peer(who).acknowledge(),
            Step::Resend { who } => self.peer(who).resend(),
            Step::Open { wild, piece } => {
                let end = self.connect(piece);
                let new = Wild { end, begun: Vec::new(), may_be_reliable: false };
                self.wild[usize::from(wild) % WILD] = Some(new);
            }
            Step::Shut { wild } => self.wild[usize::from(wild) % WILD] = None,
            Step::Read { wild, size } => self.read(wild, size.into()),
            Step::Register { one, two } => {
                let hub = &self.shared.hub;
                hub.open_channel(self.id(one), self.id(two)).ok();
            }
            Step::Revoke { one, two } => {
                let ids = [self.id(one), self.id(two)];
                let is_honest = |id: &ClientId| id.get() < HONEST as u64;
                // The two are never removed.
                if !ids.iter().all(is_honest) {
                    self.shared.hub.close_channel(ids[0], ids[1]).ok();
                }
            }
            Step::Disconnect { client } => {
                let (id, reason) = (self.id(client), CloseReason::ByServer(4000, "away".to_owned()));
                let tell = || self.shared.events.emit(Event::Disconnected(id, reason.clone()));
                self.shared.hub.disconnect(id, reason.clone(), tell).ok();
            }
            Step::Unregister { client } => {
                let client = HONEST + usize::from(client) % (CLIENTS - HONEST);
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
                // Whoever is not honest does not know the tokens of those who are.
                let token = match self.clients.get(client).filter(|_| *is_right && client >= HONEST) {
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

    fn peer(&mut self, who: u8) -> &mut Peer {
        &mut self.peers[usize::from(who) % HONEST]
    }

    fn id(&self, client: u8) -> ClientId {
        self.clients[usize::from(client) % CLIENTS].id
    }

    fn hear(&mut self, who: u8, size: usize) {
        let who = usize::from(who) % HONEST;
        let (first, second) = self.peers.split_at_mut(1);
        let (peer, other) = if who == 0 { (&mut first[0], &second[0]) } else { (&mut second[0], &first[0]) };
        peer.hear(size, other);
    }

    /// Somebody reads what it was sent, all of which must be frames that it may be sent.
    fn read(&mut self, wild: u8, size: usize) {
        let Some(wild) = &mut self.wild[usize::from(wild) % WILD] else { return };
        wild.begun.extend(wild.end.read(size));
        while let Some((first, payload)) = next_frame(&mut wild.begun) {
            match first {
                0x81 => {
                    let text = String::from_utf8(payload).expect("UTF-8");
                    parse(&text).unwrap_or_else(|| panic!("no JSON: {text}"));
                    let is_relay = text.starts_with("{\"relay\":{\"senderId\":");
                    assert!(is_relay || wild.may_be_reliable, "{text} to a plain client");
                }
                0x88..=0x8A => {}
                other => panic!("a frame that begins with {other:#x}"),
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

    /// The bounds.
    fn check(&self) {
        let Totals { queued_messages, queued_bytes, relayed_messages, .. } = self.shared.hub.totals();
        // Whatever connections they come by. One message has been read when it is found to be too many.
        let sent = BURST + 1 + RATE * self.start.elapsed().as_millis() as u64 / 1000;
        assert!(relayed_messages <= CLIENTS as u64 * sent, "{relayed_messages} messages");
        // Besides what waits, each socket may have been given one message more than is written ahead.
        let written_ahead = self.limits.max_write_ahead + self.limits.max_payload + 200;
        let bound = self.limits.max_total_bytes + CLIENTS * written_ahead;
        assert!(queued_bytes <= bound, "{queued_bytes} bytes");
        assert!(queued_messages <= CLIENTS * CLIENTS * self.limits.max_queued_messages, "{queued_messages}");
        assert!(self.shared.metrics.connections() <= self.sessions.len());
    }

    async fn end(mut self, ending: Ending) {
        match ending {
            Ending::Heal => self.heal().await,
            Ending::Drain => self.shared.drain(Duration::from_secs(1)),
            Ending::Stop => self.shared.stop(),
        }
        self.settle().await;
        self.peers.iter_mut().for_each(Peer::cut);
        self.wild = [const { None }; WILD];
        self.settle().await;
        assert_eq!(self.shared.metrics.connections(), 0);
        for session in std::mem::take(&mut self.sessions) {
            assert!(session.is_finished(), "a connection that is over is not");
            session.await.expect("no panic");
        }
        for client in 0..CLIENTS {
            self.unregister(client);
        }
        let Totals { registered, channels, queued_messages, queued_bytes, .. } = self.shared.hub.totals();
        assert_eq!((registered, channels, queued_messages, queued_bytes), (0, 0, 0, 0));
        self.check_events();
    }

    /// The others leave; then what the two have said arrives, whatever went before.
    async fn heal(&mut self) {
        self.wild = [const { None }; WILD];
        self.settle().await;
        (HONEST..CLIENTS).for_each(|client| self.unregister(client));
        for _ in 0..200 {
            for who in 0..HONEST {
                if !self.peers[who].is_connected() {
                    let end = self.connect(255);
                    self.peers[who].connect(end);
                }
            }
            self.settle().await;
            (0..HONEST as u8).for_each(|who| self.hear(who, usize::MAX));
            self.peers.iter_mut().for_each(Peer::acknowledge);
            self.settle().await;
            if self.peers.iter().all(Peer::is_content) {
                break;
            }
            advance(Limits::HOLD_RETRY).await;
            self.peers.iter_mut().for_each(Peer::resend);
        }
        let [one, two] = &self.peers;
        for (speaker, listener) in [(one, two), (two, one)] {
            let said: Vec<_> = (1..=speaker.said()).collect();
            assert_eq!(listener.heard(), said, "exactly once and in order");
        }
    }

    /// Who came left, and nothing that is told has a token in it.
    fn check_events(&mut self) {
        let mut batch = Vec::new();
        let mut reading = Box::pin(self.events.recv_many(&mut batch, usize::MAX));
        let _ = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(reading);
        let mut connected: HashMap<ClientId, bool> = HashMap::new();
        for event in batch {
            match event {
                Event::Connected(client) => {
                    assert!(!connected.insert(client, true).unwrap_or(false), "{client} came twice");
                }
                Event::Disconnected(client, _) => {
                    assert_eq!(
                        connected.insert(client, false),
                        Some(true),
                        "{client} left and was not there"
                    );
                }
                Event::Offence { offence, .. } => {
                    let text = offence.to_string();
                    let tells = |client: &Registration| text.contains(client.token.reveal());
                    assert!(!self.clients.iter().any(tells), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(connected.values().all(|connected| !connected), "{connected:?}");
    }
}
