//! The model behind locks. Each lock is held for one method, never across an `.await`, and never two at once, but for
//! that of the channels, which comes first.

mod expiry;
mod life;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Bell, Claimant, Claiming, Greeting, Outbox, Refusal, Registration, Resume, Taken};
use crate::error::{CloseReason, Error};
use crate::hand::Hand;
use crate::ids::{ClaimNumber, ClientId, Epoch, Offset, Seq, SessionId, Token};
use crate::limits::Limits;
use crate::model::{Appended, Forged, Freed, LONG, Mailbox, Message, Notices, Registry, Window};
use crate::protocol::encode::{self, Notice};
use crate::read_buffer;

use expiry::{Expiry, write_expiry};

/// Clients of which one read tells whether they are there. Each is looked up after the reader's lock is let go.
const PRESENCE_BATCH: usize = 64;

/// Clients, channels and mailboxes in this process.
#[derive(Debug)]
pub struct Memory {
    limits: Limits,
    authorize_all_channels: bool,
    epoch: Epoch,
    registry: RwLock<Registry<Arc<Client>>>,
    /// How many channels are registered. Held while channels or clients come or go, so that both ends of a channel
    /// always agree.
    channels: Mutex<usize>,
    /// Messages that wait for too long.
    expiry: Mutex<Expiry>,
    /// The next registration to end, or the next message to expire, is another.
    deadline: Notify,
    /// Bytes in all mailboxes, overhead included, and in outboxes that are stuck.
    queued_bytes: AtomicUsize,
    /// Messages in all mailboxes; a moment's count may be below 0, see [`TALLY`].
    queued_messages: AtomicUsize,
    relayed_messages: AtomicU64,
    relayed_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Client {
    /// The number of the newest claim. Compared under the lock of whatever the claim's holder is about to change.
    claim: AtomicU64,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    mailbox: Mailbox,
    /// The connection that reads this mailbox.
    outlet: Option<Outlet>,
    /// What there is to know of a client with reliable delivery. Boxed, for a plain one needs none of it.
    reliable: Option<Box<Reliable>>,
    /// Whether the client was unregistered. Somebody may still have it at hand.
    is_gone: bool,
}

/// A connection, as far as those who write to it see it.
#[derive(Debug)]
struct Outlet {
    bell: Arc<Bell>,
    outbox: Outbox,
    /// Its socket, for those who write to it at once.
    socket: Option<Hand>,
    /// Whether its client acknowledges.
    is_reliable: bool,
    /// Bytes that the socket did not take at once. They count against the total bound, and until they are out whatever
    /// else comes waits in its lane.
    stuck: usize,
}

impl Outlet {
    /// Whether more may be written into the outbox.
    fn has_room(&self, limits: &Limits) -> bool {
        self.stuck == 0 && self.outbox.len() < limits.max_write_ahead
    }
}

thread_local! {
    /// Those of whose outboxes this thread has written the first frame, and who have to be told.
    static WRITTEN_TO: RefCell<Vec<(ClientId, Arc<Client>)>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    /// The long messages that this thread has appended from what it read last: for whom, with which offset, and where they
    /// stand. They are better written from there than from memory that no cache has.
    static JUST_READ: RefCell<Vec<(ClientId, Offset, read_buffer::Place)>> = const { RefCell::new(Vec::new()) };
}

/// Where a message of this recipient stands in what was read last, if it does.
fn just_read(recipient: ClientId, offset: Offset) -> Option<read_buffer::Place> {
    JUST_READ.with_borrow(|all| {
        let found = all.iter().find(|(of, at, _)| (*of, *at) == (recipient, offset));
        found.map(|(_, _, place)| *place)
    })
}

/// A slot that is locked. Threads that held one and wanted another might wait for each other for ever: in debug builds,
/// as the tests are, a thread that does so panics.
struct Locked<'a>(MutexGuard<'a, Slot>);

thread_local! {
    static HAS_LOCKED: Cell<bool> = const { Cell::new(false) };
}

impl<'a> Locked<'a> {
    fn new(slot: &'a Mutex<Slot>) -> Self {
        debug_assert!(!HAS_LOCKED.replace(true), "one lock at a time");
        // A panic under the lock has ended its connection; the next may go on with what is there.
        Self(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        debug_assert!(HAS_LOCKED.replace(false));
        // Whose mailbox it is has to go on where a panic of somebody else has left it.
        if std::thread::panicking() {
            ring(self.outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell)));
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.0
    }
}

/// What this thread has appended and not yet counted: counting is dear where all threads do it.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    messages: u64,
    bytes: u64,
    /// How many of the messages were queued.
    queued: usize,
}

thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { messages: 0, bytes: 0, queued: 0 }) };
}

/// What is left of a connection that reads no more.
struct Retired {
    bell: Arc<Bell>,
    outbox: Outbox,
    /// Messages that went back to the mailbox.
    messages: usize,
    /// Bytes of them, overhead included.
    bytes: usize,
    /// Bytes of the outbox that counted against the total bound.
    stuck: usize,
}

#[derive(Debug, Default)]
struct Reliable {
    /// What the connection that reads, or read last, said of itself; none of a plain one.
    reader: Option<Resume>,
    notices: Notices,
    /// The sessions that the reader's session has replaced, each with its last connection, the newest last.
    replaced: Vec<(SessionId, u64)>,
}

impl Slot {
    fn reader(&self) -> Option<Resume> {
        self.reliable.as_ref()?.reader
    }

    /// Whether a connection is older than the one that reads: one of a session that was replaced. Or it is older than
    /// another of its own session. Such a one was long on its way, and its client has given it up or was told to stay away.
    fn is_outdated(&self, resume: Option<Resume>) -> bool {
        let (Some(new), Some(reliable)) = (resume, &self.reliable) else { return false };
        let is_earlier = |reader: Resume| new.session == reader.session && new.connection < reader.connection;
        let is_connected = self.outlet.is_some();
        let is_replaced = |(session, connection): &(SessionId, u64)| {
            new.session == *session && (is_connected || new.connection < *connection)
        };
        reliable.reader.is_some_and(is_earlier) || reliable.replaced.iter().any(is_replaced)
    }

    /// The connection that reads, if any, reads no more. What its client does not have waits again, but for what stays
    /// in the outbox: with `everything` all of it, else the rest of a frame that was begun.
    fn retire(&mut self, everything: bool) -> Option<Retired> {
        let Outlet { bell, mut outbox, socket, stuck, .. } = self.outlet.take()?;
        // Dropping it would close the connection.
        socket.into_iter().for_each(Hand::forget);
        self.mailbox.rewind();
        let (mut messages, mut bytes) = (0, 0);
        if !everything {
            outbox.give_back(|sender, message| {
                if let Some(cost) = self.mailbox.put_back(sender, message) {
                    messages += 1;
                    bytes += cost;
                }
            });
            outbox.drop_untaken_frames();
        }
        Some(Retired { bell, outbox, messages, bytes, stuck })
    }

    /// Lets a message of a plain sender pass straight to the outbox of a recipient that acknowledges nothing, when it
    /// has room and nothing waits before it.
    fn pass(&mut self, sender: ClientId, json: &[u8], limits: &Limits) -> bool {
        let Some(outlet) = self.outlet.as_mut().filter(|outlet| outlet.has_room(limits)) else {
            return false;
        };
        if outlet.is_reliable || self.mailbox.has_unread() {
            return false;
        }
        let offset = self.mailbox.pass();
        outlet.outbox.relay_only_copy(sender, Message { offset, seq: Seq::default(), json });
        true
    }

    /// Moves what waits to the outbox while it has room. With `splice`, whose mailbox it is, long messages stay where they
    /// are, and are written from there before anything else happens.
    fn fill(&mut self, limits: &Limits, splice: Option<ClientId>) -> Freed {
        let Some(Outlet { outbox, is_reliable, .. }) =
            self.outlet.as_mut().filter(|outlet| outlet.has_room(limits))
        else {
            return Freed::default();
        };
        let max = limits.max_write_ahead;
        if let Some(reliable) = &mut self.reliable {
            while outbox.len() < max
                && let Some((number, expiry)) = reliable.notices.next_expired()
            {
                outbox.write(|frames| write_expiry(number, expiry, frames));
            }
            while outbox.len() < max
                && let Some((target, seq)) = reliable.notices.next_delivered()
            {
                outbox.write(|frames| encode::notice(&Notice::Delivered { target, seq }, frames));
            }
        }
        if !self.mailbox.has_unread() || outbox.len() >= max {
            return Freed::default();
        }
        if *is_reliable {
            let window =
                Window { messages: limits.max_in_flight_messages, bytes: limits.max_in_flight_bytes };
            self.mailbox.read(window, |sender, place, message| {
                match splice {
                    Some(id) => outbox.splice(sender, place, message, just_read(id, message.offset)),
                    None => outbox.relay(sender, message),
                }
                outbox.len() < max
            });
            return Freed::default();
        }
        // Its senders hear of it when the socket has taken it.
        self.mailbox.take(|sender, message| {
            outbox.relay_only_copy(sender, message);
            outbox.len() < max
        })
    }

    /// Writes to the socket what it takes without waiting. An error is left to the connection itself to find.
    fn write_now(&mut self) -> Poll<Result<(), CloseReason>> {
        let Some(Outlet { outbox, socket, .. }) = &mut self.outlet else { return Poll::Ready(Ok(())) };
        outbox.tell_accepted();
        if outbox.is_spliced() {
            let json = |sender, place| self.mailbox.json(sender, place);
            let write = |pieces: &[IoSlice<'_>]| {
                socket.as_ref().and_then(|socket| socket.try_write_vectored(pieces).ok()).unwrap_or(0)
            };
            read_buffer::look(|read| outbox.write_spliced(json, read, write));
        }
        while let Some(socket) = &socket
            && !outbox.is_drained()
            && let Ok(bytes) = socket.try_write(outbox.untaken())
        {
            outbox.take(bytes);
        }
        // A stream of which only its own connection has a hand may have taken everything and not yet passed it on.
        let is_done = outbox.is_empty() || (socket.is_some() && outbox.is_drained());
        if is_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The socket has taken the whole outbox: whose messages a client has that acknowledges nothing.
    fn drained(&mut self) -> Vec<(ClientId, SessionId, Seq)> {
        let Some(Outlet { outbox, .. }) = &mut self.outlet else { return Vec::new() };
        let mut delivered: Vec<(ClientId, SessionId, Seq)> = Vec::new();
        for (sender, offset, seq) in outbox.numbered() {
            let Some((session, seq)) = self.mailbox.receipt(sender, offset, seq) else { continue };
            match delivered.last_mut() {
                Some(last) if last.0 == sender => *last = (sender, session, seq),
                _ => delivered.push((sender, session, seq)),
            }
        }
        outbox.forget();
        delivered
    }

    /// Whether somebody is to write to the connection.
    fn is_writing(&self) -> bool {
        self.outlet.as_ref().is_some_and(|outlet| !outlet.outbox.is_empty() || self.mailbox.has_unread())
    }

    /// Whether there is something that could be moved to the outbox, by the reader itself or by others.
    fn has_waiting(&self, is_reader: bool) -> bool {
        let has = |notices: &Notices| notices.has_receipts() || is_reader && notices.has_presence();
        self.mailbox.has_unread() || self.reliable.as_ref().is_some_and(|reliable| has(&reliable.notices))
    }

    /// Clients of which the reader is to be told whether they are there, while the outbox has room.
    fn presence_due(&mut self, limits: &Limits) -> Vec<ClientId> {
        let has_room = self.outlet.as_ref().is_some_and(|outlet| outlet.has_room(limits));
        let Some(reliable) = self.reliable.as_mut().filter(|_| has_room) else { return Vec::new() };
        std::iter::from_fn(|| reliable.notices.next_presence()).take(PRESENCE_BATCH).collect()
    }

    /// Another connection reads from now on. True when it is of the same session.
    fn begin(&mut self, resume: Option<Resume>) -> bool {
        let session = resume.map(|resume| resume.session);
        let before = self.reader().map(|reader| (reader.session, reader.connection));
        let is_same = session.is_some() && session == before.map(|(session, _)| session);
        if !is_same {
            self.mailbox.forget_given();
        }
        if resume.is_none() && self.reliable.is_none() {
            return false;
        }
        let reliable = self.reliable.get_or_insert_default();
        reliable.reader = resume;
        if is_same {
            reliable.notices.resume();
            return true;
        }
        reliable.notices = Notices::default();
        reliable.replaced.retain(|(replaced, _)| Some(*replaced) != session);
        reliable.replaced.extend(before);
        let excess = reliable.replaced.len().saturating_sub(Limits::REPLACED_SESSIONS);
        reliable.replaced.drain(..excess);
        false
    }
}

/// A connection's hold on its client's mailbox.
#[derive(Debug)]
pub struct Claim {
    id: ClientId,
    client: Arc<Client>,
    number: ClaimNumber,
    /// The session of a connection that wants reliable delivery.
    session: Option<SessionId>,
    /// The client that it had to do with last: most send to one at a time.
    peer: Option<(ClientId, Arc<Client>)>,
}

impl Claim {
    /// Whose mailbox it is.
    pub fn id(&self) -> ClientId {
        self.id
    }

    fn is_current(&self) -> bool {
        self.client.is_held_by(self.number)
    }
}

impl Client {
    fn slot(&self) -> Locked<'_> {
        Locked::new(&self.slot)
    }

    fn is_held_by(&self, number: ClaimNumber) -> bool {
        self.claim.load(Ordering::Acquire) == number.0
    }

    /// Changes the notices and wakes the connection that tells them.
    fn notify(&self, wanted: impl FnOnce(&Resume) -> bool, change: impl FnOnce(&mut Notices)) {
        let mut slot = self.slot();
        match slot.reliable.as_deref_mut() {
            Some(Reliable { reader: Some(reader), notices, .. }) if wanted(reader) => change(notices),
            _ => return,
        }
        let bell = slot.outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell));
        drop(slot);
        ring(bell);
    }
}

/// To be called after unlocking: a woken session would only wait for us.
fn ring(bell: Option<Arc<Bell>>) {
    if let Some(bell) = bell {
        bell.ring();
    }
}

fn refused(error: rand::rngs::SysError) -> Error {
    Error::System(io::Error::other(error))
}

impl Memory {
    pub(super) fn new(limits: Limits, authorize_all_channels: bool) -> Result<Self, Error> {
        let registry = RwLock::new(Registry::new(Token::random().map_err(refused)?));
        let epoch = Epoch::random().map_err(refused)?;
        Ok(Self {
            limits,
            authorize_all_channels,
            epoch,
            registry,
            channels: Mutex::default(),
            expiry: Mutex::default(),
            deadline: Notify::new(),
            queued_bytes: AtomicUsize::new(0),
            queued_messages: AtomicUsize::new(0),
            relayed_messages: AtomicU64::new(0),
            relayed_bytes: AtomicU64::new(0),
        })
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn client(&self, id: ClientId) -> Option<Arc<Client>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn authenticate(&self, id: ClientId, token: &str) -> bool {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        registry.authenticate(id, token).is_some()
    }

    pub(super) fn claim(
        &self,
        id: ClientId,
        Claimant { bell, outbox, socket, resume }: Claimant<'_>,
        greet: impl FnOnce(&mut Outbox, Greeting),
    ) -> Claiming {
        let Some(client) = self.client(id) else { return Claiming::Unknown };
        let mut slot = client.slot();
        if slot.is_gone {
            return Claiming::Unknown;
        }
        if slot.is_outdated(resume) {
            return Claiming::Outdated;
        }
        // Under the lock, so that claims are numbered in the order in which they take the mailbox.
        let number = ClaimNumber(client.claim.fetch_add(1, Ordering::AcqRel) + 1);
        let retired = slot.retire(false);
        if let Some(Retired { bell, outbox, .. }) = &retired {
            // Before unlocking: the replaced connection may find that it is before its bell rings, on another thread.
            bell.end(CloseReason::Replaced, outbox.untaken().into());
        }
        let is_same = slot.begin(resume);
        let mut outbox = std::mem::take(outbox);
        let resumed = is_same && resume.is_some_and(|resume| resume.knows_epoch);
        // Under the lock too, so that connections are told of in the order in which they take the mailbox.
        greet(&mut outbox, Greeting { resumed, has_replaced: retired.is_some() });
        let (bell, socket, is_reliable) = (Arc::clone(bell), socket.take(), resume.is_some());
        slot.outlet = Some(Outlet { bell, outbox, socket, is_reliable, stuck: 0 });
        let wants_presence = resume.is_some_and(|resume| resume.presence);
        if let Slot { mailbox, reliable: Some(reliable), .. } = &mut *slot
            && wants_presence
        {
            mailbox.channels().for_each(|peer| reliable.notices.presence(peer));
        }
        let (channels, waiting): (Vec<_>, _) = match retired {
            None => (slot.mailbox.channels().collect(), Vec::new()),
            // Who knew that the client is there need not be told again. Who waits for room may have it now: what was
            // stuck counts no more.
            Some(_) => (Vec::new(), slot.mailbox.release_waiting()),
        };
        drop(slot);
        self.announce(id, &channels);
        if let Some(Retired { bell, messages, bytes, stuck, .. }) = retired {
            self.requeued(messages);
            self.recount(stuck, bytes);
            bell.ring();
            self.ring(&waiting);
        }
        let session = resume.map(|resume| resume.session);
        Claiming::Claimed(Claim { id, client, number, session, peer: None })
    }

    pub(super) fn release(&self, claim: &Claim, everything: bool, tell: impl FnOnce()) -> Option<Outbox> {
        let mut slot = claim.client.slot();
        if !claim.is_current() {
            return None;
        }
        let Retired { outbox, messages, bytes, stuck, .. } = slot.retire(everything)?;
        self.requeued(messages);
        self.recount(stuck, bytes);
        let waiting = slot.mailbox.release_waiting();
        let channels: Vec<_> = slot.mailbox.channels().collect();
        // Under the lock, as in `claim`.
        tell();
        drop(slot);
        self.ring(&waiting);
        self.announce(claim.id, &channels);
        self.expire_waiting(claim.id, &claim.client);
        Some(outbox)
    }

    /// Tells those who share a channel that `client` came or left.
    fn announce(&self, client: ClientId, channels: &[ClientId]) {
        for peer in channels.iter().filter_map(|peer| self.client(*peer)) {
            peer.notify(|reader| reader.presence, |notices| notices.presence(client));
        }
    }

    /// The client with this id, kept at hand for the next time.
    fn peer<'a>(
        &self,
        peer: &'a mut Option<(ClientId, Arc<Client>)>,
        id: ClientId,
    ) -> Option<&'a Arc<Client>> {
        if peer.as_ref().is_none_or(|(of, _)| *of != id) {
            *peer = Some((id, self.client(id)?));
        }
        peer.as_ref().map(|(_, client)| client)
    }

    pub(super) fn append(
        &self,
        Claim { id, client, number, session, peer }: &mut Claim,
        target: ClientId,
        seq: Option<Seq>,
        message: &str,
    ) -> Result<Taken, Refusal> {
        let (sender, json) = (*id, message.as_bytes());
        let recipient = self.peer(peer, target).ok_or(Refusal::ChannelNotRegistered)?;
        let numbered = session.zip(seq);
        self.expire_waiting(target, recipient);
        let mut slot = recipient.slot();
        // Under the target's lock: whoever took over has to take it too before its first message, so no message
        // of the replaced connection comes behind one of the new.
        if !client.is_held_by(*number) {
            return Err(Refusal::Replaced);
        }
        if slot.is_gone {
            return Err(Refusal::ChannelNotRegistered);
        }
        let is_authorized = slot.mailbox.is_authorized(sender);
        if !is_authorized && !self.authorize_all_channels {
            // What was taken before the channel was revoked was taken.
            let duplicate = numbered.and_then(|(session, seq)| slot.mailbox.duplicate(sender, session, seq));
            return duplicate.map(Taken::Duplicate).ok_or(Refusal::ChannelNotRegistered);
        }
        let (was_idle, had_unread) = (!slot.is_writing(), slot.mailbox.has_unread());
        let is_reading = !had_unread && slot.outlet.as_ref().is_some_and(|outlet| outlet.stuck == 0);
        let may_pass = is_authorized && numbered.is_none() && self.has_room();
        let passed = may_pass && slot.pass(sender, json, &self.limits);
        let appended = match passed {
            true => Appended::New,
            false => {
                let reserve = |cost| self.reserve(cost, is_reading);
                slot.mailbox.append(sender, numbered, json, &self.limits, reserve)
            }
        };
        let refusal = match appended {
            Appended::Duplicate(last) => return Ok(Taken::Duplicate(last)),
            Appended::New => {
                let Tally { messages, bytes, queued } = TALLY.get();
                let (messages, bytes) = (messages + 1, bytes + json.len() as u64);
                TALLY.set(Tally { messages, bytes, queued: queued + usize::from(!passed) });
                if json.len() >= LONG
                    && !passed
                    && let Some(place) = read_buffer::Place::of(json)
                {
                    JUST_READ.with_borrow_mut(|all| all.push((target, slot.mailbox.last(), place)));
                }
                None
            }
            Appended::Full if numbered.is_none() && slot.outlet.is_some() => {
                slot.mailbox.hold(sender);
                Some(Refusal::Held)
            }
            Appended::Full => Some(Refusal::Full),
        };
        // What is long, and what is behind it, is better written from where it is kept.
        let freed = match had_unread || json.len() >= LONG {
            true => Freed::default(),
            false => slot.fill(&self.limits, None),
        };
        let has_begun = was_idle && slot.is_writing();
        let is_refused = refusal == Some(Refusal::Full);
        let is_first = !is_authorized && !is_refused && slot.mailbox.authorize(sender);
        if !is_authorized && is_refused {
            // What is refused leaves nothing behind.
            slot.mailbox.revoke(sender);
        }
        let visit = if refusal.is_none() { self.arrived(&mut slot) } else { None };
        crate::faults::point("append");
        drop(slot);
        self.visit_at(target, visit);
        if has_begun {
            // Who has something to write looks for more when that is written.
            WRITTEN_TO.with_borrow_mut(|all| all.push((target, Arc::clone(recipient))));
        }
        self.free(target, freed);
        if is_first {
            self.answer_opening(client, sender, recipient, target);
        }
        refusal.map_or(Ok(Taken::New), Err)
    }

    /// Whether the total bound has not been reached.
    fn has_room(&self) -> bool {
        self.queued_bytes.load(Ordering::Relaxed) < self.limits.max_total_bytes
    }

    /// What counted as `before` counts as `now`.
    fn recount(&self, before: usize, now: usize) {
        if before != now {
            self.queued_bytes.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
    }

    /// Takes `bytes` of the total bound, if they are there. The last of it is kept for who is reading: those who are not
    /// must not fill it for all.
    fn reserve(&self, bytes: usize, is_reading: bool) -> bool {
        let max = self.limits.max_total_bytes;
        let bound = if is_reading { max } else { max - max / Limits::READERS_SHARE };
        let fits = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= bound;
        if !fits {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    pub(super) fn flush(&self) {
        self.count();
        while let Some((id, client)) = WRITTEN_TO.with_borrow_mut(Vec::pop) {
            if self.write(id, &client, None, true, Slot::write_now).is_pending() {
                let bell = client.slot().outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell));
                ring(bell);
            }
        }
        JUST_READ.with_borrow_mut(Vec::clear);
    }

    pub(super) fn deliver(
        &self,
        claim: &Claim,
        mut write: impl FnMut(&mut Outbox) -> Poll<Result<(), CloseReason>>,
    ) -> Poll<Result<(), CloseReason>> {
        self.write(claim.id, &claim.client, Some(claim.number), false, |slot| {
            slot.outlet.as_mut().map_or(Poll::Ready(Ok(())), |outlet| write(&mut outlet.outbox))
        })
    }

    /// Has `write` write what waits for a client, unless its connection is not the one with this number.
    fn write(
        &self,
        id: ClientId,
        client: &Client,
        number: Option<ClaimNumber>,
        splice: bool,
        mut write: impl FnMut(&mut Slot) -> Poll<Result<(), CloseReason>>,
    ) -> Poll<Result<(), CloseReason>> {
        self.expire_waiting(id, client);
        loop {
            let mut slot = client.slot();
            let holder = ClaimNumber(client.claim.load(Ordering::Acquire));
            if number.is_some_and(|number| number != holder) {
                return Poll::Ready(Ok(()));
            }
            // Left to the reader, whom it has woken: who is there is looked up without the lock, and of two threads that
            // do so the one that looked first might write last.
            let presence = if number.is_some() { slot.presence_due(&self.limits) } else { Vec::new() };
            if !presence.is_empty() {
                drop(slot);
                self.write_presence(id, client, holder, &presence);
                continue;
            }
            let mut freed = slot.fill(&self.limits, splice.then_some(id));
            crate::faults::point(if number.is_some() { "deliver" } else { "flush" });
            let written = write(&mut slot);
            let Some(outlet) = &mut slot.outlet else { return Poll::Ready(Ok(())) };
            let is_drained = matches!(written, Poll::Ready(Ok(())));
            let stuck = if is_drained { 0 } else { outlet.outbox.len() };
            self.recount(std::mem::replace(&mut outlet.stuck, stuck), stuck);
            if is_drained {
                freed.delivered = slot.drained();
            }
            let is_done = !is_drained || !slot.has_waiting(number.is_some());
            drop(slot);
            self.free(id, freed);
            if is_done {
                return written;
            }
        }
    }

    fn write_presence(&self, id: ClientId, client: &Client, holder: ClaimNumber, others: &[ClientId]) {
        for other in others {
            let online = self.client(*other).is_some_and(|other| {
                let slot = other.slot();
                // Whoever shares no channel any more is told no more.
                slot.outlet.is_some() && slot.mailbox.is_authorized(id)
            });
            let notice = Notice::Presence { client: *other, online };
            let mut slot = client.slot();
            if let Some(outlet) = slot.outlet.as_mut().filter(|_| client.is_held_by(holder)) {
                outlet.outbox.write(|frames| encode::notice(&notice, frames));
            }
        }
    }

    pub(super) fn has_waiting(&self, claim: &Claim) -> bool {
        let mut slot = claim.client.slot();
        claim.is_current() && (slot.is_writing() || slot.mailbox.has_waiting())
    }

    pub(super) fn with_outbox<T>(&self, claim: &Claim, write: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        let mut slot = claim.client.slot();
        let outlet = slot.outlet.as_mut().filter(|_| claim.is_current());
        outlet.map(|outlet| write(&mut outlet.outbox))
    }

    pub(super) fn received(&self, claim: &Claim, sender: ClientId, upto: Offset) -> Result<(), Forged> {
        let mut slot = claim.client.slot();
        if !claim.is_current() {
            return Ok(());
        }
        let Limits { max_in_flight_messages: messages, max_in_flight_bytes: bytes, .. } = self.limits;
        let received = slot.mailbox.received(sender, upto, Window { messages, bytes });
        drop(slot);
        match received {
            Ok(freed) => self.free(claim.id, freed),
            // It had the message before the sender was unregistered.
            Err(Forged) if self.is_former(sender) => {}
            Err(Forged) => return Err(Forged),
        }
        Ok(())
    }

    /// What became free in `recipient`'s mailbox can be taken, and its senders hear of it.
    fn free(&self, recipient: ClientId, freed: Freed) {
        self.recount(freed.bytes, 0);
        if freed.messages > 0 {
            self.queued_messages.fetch_sub(freed.messages, Ordering::Relaxed);
        }
        self.ring(&freed.waiting);
        for (sender, session, seq) in freed.delivered {
            let Some(sender) = self.client(sender) else { continue };
            sender.notify(
                |reader| reader.receipts && reader.session == session,
                |notices| notices.delivered(recipient, seq),
            );
        }
    }

    fn ring(&self, clients: &[ClientId]) {
        for client in clients.iter().filter_map(|id| self.client(*id)) {
            let bell = client.slot().outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell));
            ring(bell);
        }
    }
}

/// Has each of two clients that share a channel told whether the other is there.
fn introduce(one: &Client, first: ClientId, two: &Client, second: ClientId) {
    one.notify(|reader| reader.presence, |notices| notices.presence(second));
    two.notify(|reader| reader.presence, |notices| notices.presence(first));
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// A claim, and whether another was replaced by it.
    fn claim_with(memory: &Memory, id: ClientId, bell: &Arc<Bell>) -> (Claim, bool) {
        let (outbox, socket) = (&mut Outbox::default(), &mut None);
        let claimant = Claimant { bell, outbox, socket, resume: None };
        let mut has_replaced = None;
        match memory.claim(id, claimant, |_, greeting| has_replaced = Some(greeting.has_replaced)) {
            Claiming::Claimed(claim) => (claim, has_replaced.expect("a greeting")),
            other => panic!("{other:?}"),
        }
    }

    fn claim(memory: &Memory, id: ClientId) -> Claim {
        claim_with(memory, id, &Arc::default()).0
    }

    /// A claim of a client that acknowledges.
    fn claim_reliably(memory: &Memory, id: ClientId) -> Claim {
        let session = SessionId::parse("00000000000000aa").expect("16 digits");
        let resume =
            Some(Resume { session, connection: 0, knows_epoch: false, receipts: false, presence: true });
        let (bell, outbox, socket) = (&Arc::default(), &mut Outbox::default(), &mut None);
        match memory.claim(id, Claimant { bell, outbox, socket, resume }, |_, _| {}) {
            Claiming::Claimed(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    /// What is written to the claim's connection, of which its socket takes `take` bytes.
    fn written(memory: &Memory, claim: &Claim, take: usize) -> String {
        let mut text = String::new();
        let delivered = memory.deliver(claim, |outbox| {
            let bytes = outbox.untaken();
            text.push_str(&String::from_utf8_lossy(bytes));
            outbox.take(bytes.len().min(take));
            if outbox.is_drained() { Poll::Ready(Ok(())) } else { Poll::Pending }
        });
        assert!(take < text.len() || delivered.is_ready());
        text
    }

    #[test]
    fn the_total_bound_holds_over_all_mailboxes_and_is_given_back() {
        let limits = Limits { max_total_bytes: 600, ..Limits::default() };
        let memory = Memory::new(limits, true).expect("randomness");
        let ids: Vec<_> = (0..3).map(|_| memory.register(None).expect("randomness").id).collect();
        let mut sender = claim(&memory, ids[0]);
        for _ in 0..3 {
            memory.append(&mut sender, ids[1], None, "").expect("room");
        }
        assert_eq!(memory.append(&mut sender, ids[1], None, ""), Err(Refusal::Full), "the recipient is away");
        let reader = claim(&memory, ids[1]);
        assert_eq!(memory.append(&mut sender, ids[1], None, ""), Err(Refusal::Held), "the recipient is here");
        assert!(!written(&memory, &reader, usize::MAX).is_empty());
        assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 0);
        memory.append(&mut sender, ids[2], None, "").expect("room again");
    }

    #[test]
    fn who_does_not_read_cannot_fill_the_total_bound_for_who_does() {
        let limits = Limits { max_total_bytes: 8000, ..Limits::default() };
        let memory = Memory::new(limits, true).expect("randomness");
        let ids = [(); 3].map(|()| memory.register(None).expect("randomness").id);
        let mut sender = claim(&memory, ids[0]);
        let fill = |sender: &mut Claim, id| {
            while memory.append(sender, id, None, "\"text\"").is_ok() {}
            memory.queued_bytes.load(Ordering::Relaxed)
        };
        let reader = claim(&memory, ids[2]);
        assert!((6000..=7000).contains(&fill(&mut sender, ids[1])));
        for _ in 0..100 {
            memory.append(&mut sender, ids[2], None, "\"text\"").expect("room for who reads");
            assert!(!written(&memory, &reader, usize::MAX).is_empty());
        }
        // It reads no more.
        memory.append(&mut sender, ids[2], None, "\"text\"").expect("room");
        written(&memory, &reader, 1);
        assert!((6000..=7100).contains(&fill(&mut sender, ids[2])));
    }

    #[test]
    fn what_is_refused_leaves_nothing_behind() {
        let limits = Limits { max_total_bytes: 1000, ..Limits::default() };
        let memory = Memory::new(limits, true).expect("randomness");
        let ids: Vec<_> = (0..20).map(|_| memory.register(None).expect("randomness").id).collect();
        let mut sender = claim(&memory, ids[0]);
        let taken = ids[1..].iter().filter(|id| memory.append(&mut sender, **id, None, "").is_ok()).count();
        assert!(taken > 0 && taken < 19, "{taken}");
        assert_eq!(memory.totals().channels, taken);
        let known = |id| memory.client(id).expect("a client").slot().mailbox.senders().count();
        assert_eq!(ids.iter().map(|id| known(*id)).sum::<usize>(), 2 * taken);
    }

    #[test]
    fn who_writes_for_another_leaves_it_to_that_one_who_is_there() {
        let memory = Memory::new(Limits::default(), false).expect("randomness");
        let ids = [(); 2].map(|()| memory.register(None).expect("randomness").id);
        memory.authorize_pair(ids[0], ids[1]).expect("two clients");
        let reader = claim_reliably(&memory, ids[0]);
        let mut sender = claim(&memory, ids[1]);
        memory.append(&mut sender, ids[0], None, "\"hello\"").expect("room");
        memory.flush();
        let begun =
            memory.with_outbox(&reader, |outbox| String::from_utf8_lossy(outbox.untaken()).into_owned());
        let begun = begun.expect("the reader's outbox");
        assert!(begun.contains("hello") && !begun.contains("presence"), "{begun}");
        assert!(written(&memory, &reader, usize::MAX).contains("presence"));
    }

    #[test]
    fn who_waits_for_room_that_a_stuck_connection_takes_hears_of_its_replacement() {
        let long = format!("\"{}\"", "x".repeat(1000));
        // For two such messages, but not while one of them is stuck as well.
        let limits = Limits { max_total_bytes: 3000, ..Limits::default() };
        let memory = Memory::new(limits, false).expect("randomness");
        let ids = [(); 2].map(|()| memory.register(None).expect("randomness").id);
        memory.authorize_pair(ids[0], ids[1]).expect("two clients");
        let reader = claim_reliably(&memory, ids[1]);
        let bell = Arc::default();
        let mut sender = claim_with(&memory, ids[0], &bell).0;
        memory.append(&mut sender, ids[1], None, &long).expect("room");
        assert!(!written(&memory, &reader, 1).is_empty());
        assert_eq!(memory.append(&mut sender, ids[1], None, &long), Err(Refusal::Held));
        let has_rung = || bell.poll_rung(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!has_rung());
        claim_reliably(&memory, ids[1]);
        assert!(has_rung());
        memory.append(&mut sender, ids[1], None, &long).expect("room");
    }

    #[test]
    fn a_replaced_connection_can_do_nothing_more() {
        let memory = Memory::new(Limits::default(), true).expect("randomness");
        let id = memory.register(None).expect("randomness").id;
        let old_bell = Arc::new(Bell::default());
        let mut old = claim_with(&memory, id, &old_bell).0;
        for message in ["\"gone\"", "\"begun\"", "\"kept\""] {
            memory.append(&mut old, id, None, message).expect("room");
        }
        let frame = written(&memory, &old, 45).len() / 3;
        let (new, has_replaced) = claim_with(&memory, id, &Arc::default());
        assert!(has_replaced);
        let rest = String::from_utf8_lossy(&old_bell.ending().expect("replaced").rest).into_owned();
        assert!(rest.len() < frame && rest.ends_with("un\"}}"), "{rest}");
        assert_eq!(memory.append(&mut old, id, None, "late"), Err(Refusal::Replaced));
        assert_eq!(memory.received(&old, id, Offset(1)), Ok(()));
        assert_eq!(written(&memory, &old, usize::MAX), "");
        assert!(memory.release(&old, false, || unreachable!()).is_none());
        let messages = written(&memory, &new, usize::MAX);
        assert!(!messages.contains("gone") && !messages.contains("late"), "{messages}");
        let (begun, kept) = (messages.find("begun"), messages.find("kept"));
        assert!(begun.is_some() && begun < kept, "{messages}");
        assert!(memory.release(&new, false, || {}).is_some_and(|outbox| outbox.is_empty()));
        assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 0);
    }
}
