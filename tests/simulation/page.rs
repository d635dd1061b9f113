//! A page: a reliable client that behaves like one `WebSocketRelay` object of `client/`, or a plain client.

mod incoming;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use crate::ledger::{Ledger, PageId};
use crate::link::{self, SharedLink};
use crate::world::{self, Trace};

/// Milliseconds until received messages are acknowledged.
const ACKNOWLEDGE_AFTER: u64 = 50;
/// Messages that are acknowledged at once.
const ACKNOWLEDGE_COUNT: usize = 32;
/// Outstanding messages at most per channel.
const MAX_OUTSTANDING: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Disconnected. Reconnects at this time.
    Waiting(u64),
    /// The connection is not open yet.
    Connecting,
    /// Outstanding messages were sent together with the authentication.
    Authenticating,
    Open,
    /// Does not reconnect.
    Closed,
}

/// Another client, as the page sees it.
#[derive(Default)]
struct Peer {
    /// The sequence number of the oldest outstanding message. `last_seq + 1` when none is outstanding.
    oldest: u64,
    last_seq: u64,
    /// The last message that was sent on this connection.
    sent_seq: u64,
    /// Whether a message was refused: the next frame is marked as the first after that.
    is_refused: bool,
    /// Whether the last message was rejected because the channel is not registered.
    is_rejected: bool,
    /// When messages that were put on hold are sent again.
    retry_at: Option<u64>,
    /// The highest receipt.
    delivered_seq: u64,
    /// Messages that the application has not received because it is not listening.
    buffered: VecDeque<Arrived>,
    /// The session of the last message on this connection.
    session: String,
    /// The highest number of each session that has arrived on this connection.
    arrived: BTreeMap<String, u64>,
    /// The highest number of each session that the application has received.
    handled: BTreeMap<String, u64>,
    is_online: bool,
}

/// A message that has arrived.
struct Arrived {
    message: String,
    offset: u64,
    session: String,
    seq: u64,
}

pub struct Page {
    pub id: PageId,
    token: String,
    is_reliable: bool,
    pub state: State,
    pub link: Option<SharedLink>,
    epoch: Option<String>,
    /// The number of the connection.
    connection: u64,
    peers: BTreeMap<u64, Peer>,
    /// Offsets to be acknowledged, by sender.
    acknowledgements: BTreeMap<u64, u64>,
    acknowledge_at: Option<u64>,
    /// Messages since the last acknowledgement.
    unacknowledged: usize,
    /// When the last frame arrived.
    last_frame_at: u64,
    /// How long the server may be silent before the connection counts as dead.
    timeout: u64,
    /// Whether the application listens for messages.
    pub is_listening: bool,
    /// Whether the page stops sending to a client after a rejection until the channel is registered again.
    pub is_polite: bool,
    /// Rejections on this connection.
    pub rejections: usize,
    /// The trace of the run, if it has one.
    pub trace: Option<Trace>,
}

/// Returns the text of a message: its page, its sequence number, and padding whose length depends on both.
fn text(from: PageId, seq: u64) -> String {
    let length = match (from.page * 31 + seq * 7) % 40 {
        0 => 6000,
        1..=4 => 400,
        length => length as usize,
    };
    format!("{}.{}.{seq}.{}", from.client, from.page, "x".repeat(length))
}

/// Parses a message's text. Returns its page and its sequence number.
pub fn parse(text: &str) -> (PageId, u64) {
    let mut numbers = text.split('.').map(|number| number.parse().expect("a number"));
    let mut number = || numbers.next().expect("three numbers");
    let (from, seq) = (PageId { client: number(), page: number() }, number());
    assert_eq!(text, self::text(from, seq), "the message has changed on its way");
    (from, seq)
}

impl Page {
    /// Creates a page that connects at once.
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
            last_frame_at: now,
            timeout: u64::MAX / 2,
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

    /// Starts a connection over this link.
    pub fn connect(&mut self, link: SharedLink, now: u64) {
        (self.link, self.state, self.last_frame_at) = (Some(link), State::Connecting, now);
        self.connection += 1;
        self.rejections = 0;
        self.timeout = 20_000;
    }

    /// Authenticates: the connection is open.
    pub fn opened(&mut self) {
        let Self { id, token, epoch, connection, .. } = self;
        let PageId { client, page } = *id;
        let mut frame = format!(r#"{{"authentication":{{"clientId":{client},"token":"{token}""#);
        if self.is_reliable {
            let session = client << 32 | page;
            write!(frame, r#","version":2,"session":"{session:016x}","connection":{connection}"#)
                .expect("writing to a string succeeds");
            if let Some(epoch) = epoch {
                write!(frame, r#","epoch":"{epoch}""#).expect("writing to a string succeeds");
            }
            frame.push_str(r#","receipts":true,"presence":true"#);
        }
        frame.push_str("}}");
        self.write(&frame);
        self.state = if self.is_reliable { State::Authenticating } else { State::Open };
        let targets: Vec<_> = self.peers.keys().copied().collect();
        targets.into_iter().for_each(|target| self.flush(target));
    }

    /// Sends a message of the application, unless too many are outstanding.
    pub fn send(&mut self, target: u64, ledger: &mut Ledger) {
        let is_open = self.state == State::Open;
        let (id, is_reliable, is_polite) = (self.id, self.is_reliable, self.is_polite);
        let peer = self.peer(target);
        let may_send = (is_reliable || is_open) && !(is_polite && peer.is_rejected);
        if peer.last_seq + 1 - peer.oldest >= MAX_OUTSTANDING || !may_send {
            return;
        }
        peer.last_seq += 1;
        ledger.sent(id, target, peer.last_seq);
        if is_reliable {
            return self.flush(target);
        }
        // A plain client's messages are not accepted.
        peer.oldest = peer.last_seq + 1;
        let message = text(id, peer.last_seq);
        self.write(&format!(r#"{{"relay":{{"targetId":{target},"message":"{message}"}}}}"#));
    }

    /// Sends the outstanding messages to a client that were not sent on this connection.
    fn flush(&mut self, target: u64) {
        if !matches!(self.state, State::Authenticating | State::Open) {
            return;
        }
        let id = self.id;
        let peer = self.peer(target);
        if peer.retry_at.is_some() {
            return;
        }
        let unsent = (peer.sent_seq + 1).max(peer.oldest)..=peer.last_seq;
        peer.sent_seq = peer.last_seq;
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

    /// Lets the page send to a client again: the channel is registered.
    pub fn allow(&mut self, target: u64) {
        self.peer(target).is_rejected = false;
    }

    /// Starts or stops listening for messages.
    pub fn set_listening(&mut self, is_listening: bool, now: u64, ledger: &mut Ledger) {
        self.is_listening = is_listening;
        if is_listening {
            let senders: Vec<_> = self.peers.keys().copied().collect();
            senders.into_iter().for_each(|sender| self.hand_over(sender, now, ledger));
        }
    }

    /// Passes buffered messages to the application.
    fn hand_over(&mut self, sender: u64, now: u64, ledger: &mut Ledger) {
        while let Some(arrived) = self.peer(sender).buffered.pop_front() {
            let (from, seq) = parse(&arrived.message);
            assert_eq!(from.client, sender);
            ledger.received(self.id, from, seq);
            self.peer(sender).handled.insert(arrived.session, arrived.seq);
            self.note_received(sender, arrived.offset, now);
        }
    }

    /// Notes an offset to be acknowledged.
    fn note_received(&mut self, sender: u64, offset: u64, now: u64) {
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

    /// Sends the pending acknowledgements.
    fn acknowledge(&mut self) {
        for (sender, offset) in std::mem::take(&mut self.acknowledgements) {
            self.write(&format!(r#"{{"received":{{"senderId":{sender},"offset":{offset}}}}}"#));
        }
        (self.acknowledge_at, self.unacknowledged) = (None, 0);
    }

    /// Runs the timers that are due.
    pub fn tick(&mut self, now: u64) {
        if self.acknowledge_at.is_some_and(|at| at <= now) {
            self.acknowledge();
        }
        let due: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.retry_at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for target in due {
            let peer = self.peer(target);
            (peer.retry_at, peer.sent_seq) = (None, 0);
            self.flush(target);
        }
        if self.is_reliable && self.link.is_some() && now - self.last_frame_at > self.timeout {
            self.abandon(now);
        }
    }

    /// Gives the connection up without closing it.
    pub fn abandon(&mut self, now: u64) {
        if let Some(link) = &self.link {
            link::lock(link).abandon();
            self.disconnected(1006, now);
        }
    }

    fn disconnected(&mut self, code: u16, now: u64) {
        world::note(self.trace.as_ref(), || format!("{:?} is disconnected: {code}", self.id));
        assert!(!self.is_reliable || code != 4504, "{:?} could not avoid its offences", self.id);
        self.link = None;
        self.acknowledgements.clear();
        (self.acknowledge_at, self.unacknowledged) = (None, 0);
        for peer in self.peers.values_mut() {
            (peer.retry_at, peer.sent_seq, peer.is_refused, peer.is_online) = (None, 0, false, false);
        }
        self.state = if self.is_reliable && code < 4500 { State::Waiting(now + 1) } else { State::Closed };
    }

    /// Whether the page has no outstanding, buffered or unacknowledged messages.
    pub fn is_idle(&self) -> bool {
        self.state == State::Open
            && self.acknowledgements.is_empty()
            && self.peers.values().all(|peer| peer.oldest > peer.last_seq && peer.buffered.is_empty())
    }

    /// Whether the page was told that `target` has received the message `seq`.
    pub fn knows_delivered(&self, target: u64, seq: u64) -> bool {
        self.peers.get(&target).is_some_and(|peer| peer.delivered_seq >= seq)
    }

    /// Whether the page was told that a client is online.
    pub fn knows_online(&self, other: u64) -> bool {
        self.peers.get(&other).is_some_and(|peer| peer.is_online)
    }
}
