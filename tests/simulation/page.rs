//! A client of generation 2, as `client/` has it: what one `WebSocketRelay` object does. And one of generation 1.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use crate::ledger::{Ledger, PageId};
use crate::link::{self, Frame, Shared};
use crate::world::{self, Trace};

/// When what was handed to the application is acknowledged, in milliseconds or messages.
const ACKNOWLEDGE_AFTER: u64 = 50;
const ACKNOWLEDGE_COUNT: usize = 32;
/// Messages that may be outstanding on a channel.
const MAX_OUTSTANDING: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Until then, for the next connection.
    Waiting(u64),
    /// The connection is not open yet.
    Connecting,
    /// What is outstanding was sent behind the authentication.
    Authenticating,
    Open,
    /// For good.
    Closed,
}

#[derive(Default)]
struct Peer {
    /// The oldest that is outstanding; it is not when it is above the last.
    oldest: u64,
    last: u64,
    /// The last that went out on this connection.
    sent: u64,
    is_refused: bool,
    /// The channel was not registered when it last sent.
    is_rejected: bool,
    retry: Option<u64>,
    delivered: u64,
    waiting: VecDeque<(String, u64)>,
    /// The highest offset that came, and that the application has.
    arrived: u64,
    handed: u64,
    is_online: bool,
}

pub struct Page {
    pub id: PageId,
    token: String,
    is_reliable: bool,
    pub state: State,
    pub link: Option<Shared>,
    epoch: Option<String>,
    connection: u64,
    peers: BTreeMap<u64, Peer>,
    acknowledgements: BTreeMap<u64, u64>,
    acknowledge_at: Option<u64>,
    unacknowledged: usize,
    /// When something was heard last, and how long that may take.
    heard: u64,
    patience: u64,
    pub is_listening: bool,
    /// Whether it sends nothing more where it was rejected, until it is told that it may.
    pub is_polite: bool,
    /// How often it was rejected on this connection.
    pub rejections: usize,
    /// What was said, when it is wanted.
    pub trace: Option<Trace>,
}

/// The message is its page and number, and as long as they want it.
fn text(from: PageId, seq: u64) -> String {
    let length = match (from.page * 31 + seq * 7) % 40 {
        0 => 6000,
        1..=4 => 400,
        length => length as usize,
    };
    format!("{}.{}.{seq}.{}", from.client, from.page, "x".repeat(length))
}

/// Who sent a message, and its number.
fn parse(text: &str) -> (PageId, u64) {
    let mut numbers = text.split('.').map(|number| number.parse().expect("a number"));
    let mut number = || numbers.next().expect("three numbers");
    let (from, seq) = (PageId { client: number(), page: number() }, number());
    assert_eq!(text, self::text(from, seq), "a message is what was sent");
    (from, seq)
}

/// The number that a frame has under this name.
fn number(frame: &str, name: &str) -> u64 {
    let at = frame.find(name).unwrap_or_else(|| panic!("no {name} in {frame}")) + name.len();
    let digits = frame[at..].split(|letter: char| !letter.is_ascii_digit()).next().expect("a part");
    digits.parse().unwrap_or_else(|_| panic!("no number {name} in {frame}"))
}

/// The string that a frame has under this name.
fn string<'a>(frame: &'a str, name: &str) -> &'a str {
    let at = frame.find(name).unwrap_or_else(|| panic!("no {name} in {frame}")) + name.len();
    frame[at..].split('"').next().expect("a part")
}

impl Page {
    pub fn new(id: PageId, token: String, is_reliable: bool, now: u64) -> Self {
        Self {
            id,
            token,
            is_reliable,
            state: State::Waiting(now),
            link: None,
            epoch: None,
            connection: 0,
            peers: BTreeMap::new(),
            acknowledgements: BTreeMap::new(),
            acknowledge_at: None,
            unacknowledged: 0,
            heard: now,
            patience: u64::MAX / 2,
            is_listening: true,
            is_polite: false,
            rejections: 0,
            trace: None,
        }
    }

    fn peer(&mut self, id: u64) -> &mut Peer {
        self.peers.entry(id).or_insert_with(|| Peer { oldest: 1, ..Peer::default() })
    }

    fn write(&mut self, frame: &str) {
        if let Some(link) = &self.link {
            world::note(self.trace.as_ref(), || format!("{:?} sends {frame:.120}", self.id));
            link::write_text(frame, &mut link::lock(link).up.sent);
        }
    }

    pub fn connect(&mut self, link: Shared, now: u64) {
        (self.link, self.state, self.heard) = (Some(link), State::Connecting, now);
        self.connection += 1;
        self.rejections = 0;
        self.patience = 20_000;
    }

    /// The connection is open.
    pub fn opened(&mut self) {
        let Self { id, token, epoch, connection, .. } = self;
        let PageId { client, page } = *id;
        let mut frame = format!(r#"{{"authentication":{{"clientId":{client},"token":"{token}""#);
        if self.is_reliable {
            let session = client << 32 | page;
            write!(frame, r#","version":2,"session":"{session:016x}","connection":{connection}"#)
                .expect("a string");
            if let Some(epoch) = epoch {
                write!(frame, r#","epoch":"{epoch}""#).expect("a string");
            }
            frame.push_str(r#","receipts":true,"presence":true"#);
        }
        frame.push_str("}}");
        self.write(&frame);
        self.state = if self.is_reliable { State::Authenticating } else { State::Open };
        let targets: Vec<_> = self.peers.keys().copied().collect();
        targets.into_iter().for_each(|target| self.flush(target));
    }

    /// The application sends a message, if there is room.
    pub fn send(&mut self, target: u64, ledger: &mut Ledger) {
        let is_open = self.state == State::Open;
        let (id, is_reliable, is_polite) = (self.id, self.is_reliable, self.is_polite);
        let peer = self.peer(target);
        let may_not = !is_reliable && !is_open || is_polite && peer.is_rejected;
        if peer.last + 1 - peer.oldest >= MAX_OUTSTANDING || may_not {
            return;
        }
        peer.last += 1;
        ledger.sent(id, target, peer.last);
        if is_reliable {
            return self.flush(target);
        }
        // Nobody will say more of it.
        peer.oldest = peer.last + 1;
        let message = text(id, peer.last);
        self.write(&format!(r#"{{"relay":{{"targetId":{target},"message":"{message}"}}}}"#));
    }

    fn flush(&mut self, target: u64) {
        if !matches!(self.state, State::Authenticating | State::Open) {
            return;
        }
        let id = self.id;
        let peer = self.peer(target);
        if peer.retry.is_some() {
            return;
        }
        let unsent = (peer.sent + 1).max(peer.oldest)..=peer.last;
        peer.sent = peer.last;
        for seq in unsent {
            let first = match std::mem::take(&mut self.peer(target).is_refused) {
                true => r#","first":true"#,
                false => "",
            };
            self.acknowledge();
            let message = text(id, seq);
            self.write(&format!(
                r#"{{"relay":{{"targetId":{target},"message":"{message}","seq":{seq}{first}}}}}"#
            ));
        }
    }

    /// Reads what has come: all of it, or a frame.
    pub fn read(&mut self, everything: bool, now: u64, ledger: &mut Ledger) {
        while let Some(link) = self.link.clone() {
            let frame = link::read_frame(&mut link::lock(&link).down.arrived);
            match frame {
                Some(Frame::Text(text)) => {
                    world::note(self.trace.as_ref(), || format!("{:?} hears {text:.120}", self.id));
                    self.hear(&text, now, ledger);
                    self.heard = now;
                }
                Some(Frame::Ping) => {
                    link::write_frame(0x8A, &[], &mut link::lock(&link).up.sent);
                    self.heard = now;
                }
                Some(Frame::Close(code)) => {
                    let mut link = link::lock(&link);
                    link::write_frame(0x88, &code.to_be_bytes(), &mut link.up.sent);
                    link.end_up();
                    link.abandon();
                    drop(link);
                    return self.ended(code, now);
                }
                None if link::lock(&link).down.is_over() => {
                    // A part of a frame may be left.
                    link::lock(&link).abandon();
                    link::lock(&link).end_up();
                    return self.ended(1006, now);
                }
                None => return,
            }
            if !everything {
                return;
            }
        }
    }

    fn hear(&mut self, frame: &str, now: u64, ledger: &mut Ledger) {
        let kind = string(frame, "{\"");
        assert!(self.is_reliable || kind == "relay", "{:?} did not ask for {frame}", self.id);
        if kind == "authenticated" && self.state == State::Authenticating {
            return self.authenticated(frame);
        }
        assert!(kind != "error", "{:?} did nothing wrong: {frame}", self.id);
        assert_eq!(self.state, State::Open, "nothing else is said to who is not authenticated: {frame}");
        let id = self.id;
        match kind {
            "ping" => self.write(r#"{"pong":{}}"#),
            "relay" if !self.is_reliable => {
                let message = string(frame, "\"message\":\"");
                let (from, seq) = parse(message);
                assert_eq!(number(frame, "\"senderId\":"), from.client);
                ledger.heard(id, from, seq);
            }
            "relay" => {
                let (sender, offset) = (number(frame, "\"senderId\":"), number(frame, "\"offset\":"));
                let message = string(frame, "\"message\":\"").to_owned();
                let peer = self.peer(sender);
                if offset > peer.arrived {
                    peer.waiting.push_back((message, offset));
                    peer.arrived = offset;
                } else if offset <= peer.handed {
                    self.has_received(sender, offset, now);
                }
                if self.is_listening {
                    self.hand_over(sender, now, ledger);
                }
            }
            "accepted" => {
                let (target, seq) = (number(frame, "\"targetId\":"), number(frame, "\"seq\":"));
                let peer = self.peer(target);
                if seq <= peer.sent && seq >= peer.oldest {
                    ledger.accepted(id, target, peer.oldest..=seq);
                    peer.oldest = seq + 1;
                }
            }
            "hold" | "rejected" => {
                let (target, seq) = (number(frame, "\"targetId\":"), number(frame, "\"seq\":"));
                let peer = self.peer(target);
                assert_eq!(seq, peer.oldest, "a refusal names the oldest that is outstanding");
                assert!(seq <= peer.sent, "a refusal names what was sent");
                peer.is_refused = true;
                if kind == "hold" {
                    peer.retry = Some(now + number(frame, "\"retryAfter\":"));
                } else {
                    ledger.rejected(id, target, seq..=peer.last);
                    (peer.oldest, peer.retry, peer.is_rejected) = (peer.last + 1, None, true);
                    self.rejections += 1;
                }
            }
            "delivered" => {
                let (target, seq) = (number(frame, "\"targetId\":"), number(frame, "\"seq\":"));
                let peer = self.peer(target);
                assert!(seq <= peer.last, "{target} cannot have what was not sent");
                if seq > peer.delivered {
                    peer.delivered = seq;
                    ledger.delivered(id, target, seq);
                }
            }
            "presence" => {
                let online = frame.contains("\"online\":true");
                self.peer(number(frame, "\"clientId\":")).is_online = online;
            }
            "pong" => {}
            _ => panic!("what is {frame}?"),
        }
    }

    fn authenticated(&mut self, frame: &str) {
        let epoch = string(frame, "\"epoch\":\"").to_owned();
        if let Some(known) = self.epoch.replace(epoch.clone()) {
            assert_eq!(known, epoch, "the store was not lost");
        }
        self.state = State::Open;
        self.patience = number(frame, "\"pingInterval\":") + number(frame, "\"pingTimeout\":");
        for peer in self.peers.values_mut() {
            // The server sends again what waits.
            peer.waiting.clear();
            peer.arrived = peer.handed;
        }
    }

    /// The channel is registered.
    pub fn allow(&mut self, target: u64) {
        self.peer(target).is_rejected = false;
    }

    /// The application listens from now on, or does not.
    pub fn listen(&mut self, is_listening: bool, now: u64, ledger: &mut Ledger) {
        self.is_listening = is_listening;
        if is_listening {
            let senders: Vec<_> = self.peers.keys().copied().collect();
            senders.into_iter().for_each(|sender| self.hand_over(sender, now, ledger));
        }
    }

    fn hand_over(&mut self, sender: u64, now: u64, ledger: &mut Ledger) {
        while let Some((message, offset)) = self.peer(sender).waiting.pop_front() {
            let (from, seq) = parse(&message);
            assert_eq!(from.client, sender);
            ledger.heard(self.id, from, seq);
            self.peer(sender).handed = offset;
            self.has_received(sender, offset, now);
        }
    }

    fn has_received(&mut self, sender: u64, offset: u64, now: u64) {
        if self.state != State::Open {
            return;
        }
        let last = self.acknowledgements.entry(sender).or_default();
        *last = offset.max(*last);
        self.unacknowledged += 1;
        self.acknowledge_at.get_or_insert(now + ACKNOWLEDGE_AFTER);
        if self.unacknowledged >= ACKNOWLEDGE_COUNT {
            self.acknowledge();
        }
    }

    fn acknowledge(&mut self) {
        for (sender, offset) in std::mem::take(&mut self.acknowledgements) {
            self.write(&format!(r#"{{"received":{{"senderId":{sender},"offset":{offset}}}}}"#));
        }
        (self.acknowledge_at, self.unacknowledged) = (None, 0);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: u64) {
        if self.acknowledge_at.is_some_and(|at| at <= now) {
            self.acknowledge();
        }
        let due: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.retry.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for target in due {
            let peer = self.peer(target);
            (peer.retry, peer.sent) = (None, 0);
            self.flush(target);
        }
        if self.is_reliable && self.link.is_some() && now - self.heard > self.patience {
            self.abandon(now);
        }
    }

    /// Takes its connection for dead.
    pub fn abandon(&mut self, now: u64) {
        if let Some(link) = &self.link {
            link::lock(link).abandon();
            self.ended(1006, now);
        }
    }

    pub fn ended(&mut self, code: u16, now: u64) {
        world::note(self.trace.as_ref(), || format!("{:?} has lost its connection: {code}", self.id));
        assert!(!self.is_reliable || code != 4504, "{:?} could not know that it did wrong", self.id);
        self.link = None;
        self.acknowledgements.clear();
        (self.acknowledge_at, self.unacknowledged) = (None, 0);
        for peer in self.peers.values_mut() {
            (peer.retry, peer.sent, peer.is_refused, peer.is_online) = (None, 0, false, false);
        }
        self.state = if self.is_reliable && code < 4500 { State::Waiting(now + 1) } else { State::Closed };
    }

    /// Whether nothing is owed to anybody.
    pub fn is_idle(&self) -> bool {
        self.state == State::Open
            && self.acknowledgements.is_empty()
            && self.peers.values().all(|peer| peer.oldest > peer.last && peer.waiting.is_empty())
    }

    pub fn is_told_delivered(&self, target: u64, seq: u64) -> bool {
        self.peers.get(&target).is_some_and(|peer| peer.delivered >= seq)
    }

    pub fn sees(&self, other: u64) -> bool {
        self.peers.get(&other).is_some_and(|peer| peer.is_online)
    }
}
