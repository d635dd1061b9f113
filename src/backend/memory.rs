//! The model behind locks. Each lock is held for one method, never across an `.await`. Two clients are never locked at
//! once, except to open or revoke their channels: both ends are changed under the locks of both, so that they always agree.
//! These locks are taken in the order of the clients' ids. Work that grows with the number of clients is done in batches,
//! and no lock is held from one batch to the next.

mod channels;
mod delivery;
mod expiry;
mod flush;
mod life;
mod locked;
mod presence;
mod slot;

use std::cell::Cell;
use std::io;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Bell, Claimant, Claiming, Greeting, Outbox, Refusal, Registration, Resume, Taken, Told};
use crate::error::{CloseReason, Error};
use crate::ids::{ClaimNumber, ClientId, Epoch, Offset, Seq, SessionId, Token};
use crate::limits::Limits;
use crate::model::{Appended, Freed, Identity, InvalidAck, LONG_MESSAGE_BYTES, Notices, Registry, Window};
use crate::protocol::encode::{self, Notice};
use crate::read_buffer::{self, ReadSlice};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard};

use expiry::Expiry;
use flush::{JUST_READ, TALLY, Tally, WRITTEN_TO};
use locked::Locked;
use slot::{Outlet, Reliable, Retired, Slot};

/// Clients, channels and mailboxes in this process.
#[derive(Debug)]
pub struct Memory {
    limits: Limits,
    authorize_all_channels: bool,
    epoch: Epoch,
    registry: RwLock<Registry<Arc<Client>>>,
    /// How many channels are registered. Changed under the locks of both ends, or of a client that is gone.
    channels: AtomicUsize,
    /// Who is to hear of whom, see [`presence`].
    presence: Mutex<presence::Queue>,
    teller: Mutex<presence::Teller>,
    presence_due: Notify,
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
    /// Whether nothing is taken from it because it has too many notices of expired messages.
    is_held: AtomicBool,
    slot: Mutex<Slot>,
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

/// Bytes of the total bound that are given back with it.
struct Reserved<'a> {
    total: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// To be called after unlocking: a woken session would only wait for us.
fn ring(bell: Option<Arc<Bell>>) {
    if let Some(bell) = bell {
        bell.ring();
    }
}

/// A message as it was read, to be written from there.
fn share(message: &[u8]) -> Option<ReadSlice> {
    #[expect(unsafe_code, reason = "the compiler does not see how far it was decoded")]
    // SAFETY: a frame is cut off from the bytes that are still written, to unmask them, before its message comes here.
    unsafe {
        read_buffer::share(message)
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
            channels: AtomicUsize::new(0),
            presence: Mutex::default(),
            teller: Mutex::default(),
            presence_due: Notify::new(),
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

    fn registry(&self) -> RwLockReadGuard<'_, Registry<Arc<Client>>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, id: ClientId) -> Option<Arc<Client>> {
        self.registry().get(id).cloned()
    }

    pub(super) fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        self.registry().authenticate(id, token)
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
        if let Some(Retired { bell, outbox, messages, bytes, stuck }) = &retired {
            // Before unlocking: the replaced connection may find that it is before its bell rings, on another thread.
            bell.end(CloseReason::Replaced, outbox.untaken().into());
            // Too: whoever took them before they were counted would make the count less than nothing.
            self.requeued(*messages);
            self.recount(*stuck, *bytes);
        }
        let is_same = slot.begin(resume);
        self.count_notices(&client, &mut slot);
        let mut outbox = std::mem::take(outbox);
        let resumed = is_same && resume.is_some_and(|resume| resume.knows_epoch);
        // Under the lock too, so that connections are told of in the order in which they take the mailbox.
        greet(&mut outbox, Greeting { resumed, has_replaced: retired.is_some() });
        let (bell, socket, is_reliable) = (Arc::clone(bell), socket.take(), resume.is_some());
        slot.outlet = Some(Outlet { bell, outbox, socket, is_reliable, stuck: 0 });
        let channels = slot.mailbox.channels().clone();
        if let Some(due) = slot.presence_due() {
            *due = channels;
        }
        let (is_listed, has_changed) = (slot.list(), retired.is_none() && slot.presence.change());
        // Who waits for room may have it now: what was stuck counts no more.
        let waiting = retired.as_ref().map(|_| slot.mailbox.release_held_senders()).unwrap_or_default();
        drop(slot);
        self.list(is_listed.then_some(id));
        if has_changed {
            self.announce(id);
        }
        if let Some(Retired { bell, .. }) = retired {
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
        let (waiting, has_changed) = (slot.mailbox.release_held_senders(), slot.presence.change());
        // Under the lock, as in `claim`.
        tell();
        drop(slot);
        self.ring(&waiting);
        if has_changed {
            self.announce(claim.id);
        }
        self.expire_waiting(claim.id, &claim.client);
        Some(outbox)
    }

    pub(super) fn channels_lost(&self, claim: &Claim) -> usize {
        let lost = claim.client.slot().mailbox.removed_channels();
        // Where all may talk without registration, whoever is gone was somebody that the client may have sent to.
        let gone = if self.authorize_all_channels { self.registry().unregistered() } else { 0 };
        lost + gone
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
        let mut is_authorized = slot.mailbox.is_authorized(sender);
        // The sender's, where the message may open a channel.
        let mut own = None;
        if !is_authorized && self.authorize_all_channels && target != sender {
            drop(slot);
            let locked = Locked::pair((sender, client), (target, recipient));
            (own, slot) = (Some(locked.0), locked.1);
            is_authorized = slot.mailbox.is_authorized(sender);
        }
        // Under the target's lock: whoever took over has to take it too before its first message, so no message
        // of the replaced connection comes behind one of the new.
        if !client.is_held_by(*number) {
            return Err(Refusal::Replaced);
        }
        if slot.is_gone {
            return Err(Refusal::ChannelNotRegistered);
        }
        let opened = || own.as_ref().unwrap_or(&slot).mailbox.opened_channels();
        let may_send =
            is_authorized || self.authorize_all_channels && opened() < self.limits.max_opened_channels;
        if !may_send {
            // What was taken before the channel was revoked was taken.
            let duplicate = numbered.and_then(|(session, seq)| slot.mailbox.duplicate(sender, session, seq));
            return duplicate.map(Taken::Duplicate).ok_or(Refusal::ChannelNotRegistered);
        }
        let (was_idle, had_unread) = (!slot.is_writing(), slot.mailbox.has_unread());
        let is_reading = !had_unread && slot.outlet.as_ref().is_some_and(|outlet| outlet.stuck == 0);
        let may_pass = is_authorized && numbered.is_none() && self.has_room();
        let passed = may_pass && slot.pass(sender, json, &self.limits, || share(json));
        let appended = match passed {
            true => Appended::New,
            false => {
                // Given back, should a panic keep the message from being added.
                let mut reserved = Reserved { total: &self.queued_bytes, bytes: 0 };
                let is_held = numbered.is_some() && client.is_held.load(Ordering::Relaxed);
                let reserve = |cost| {
                    let fits = !is_held && self.reserve(cost, is_reading);
                    reserved.bytes = if fits { cost } else { 0 };
                    crate::faults::point("reserve");
                    fits
                };
                let appended = slot.mailbox.append(sender, numbered, json, &self.limits, reserve);
                // They are the message's.
                std::mem::forget(reserved);
                appended
            }
        };
        let refusal = match appended {
            Appended::Duplicate(last) => return Ok(Taken::Duplicate(last)),
            Appended::New => {
                let Tally { messages, bytes, queued } = TALLY.with(Cell::get);
                let (messages, bytes) = (messages + 1, bytes + json.len() as u64);
                TALLY.with(|tally| {
                    tally.set(Tally { messages, bytes, queued: queued + usize::from(!passed) })
                });
                if json.len() >= LONG_MESSAGE_BYTES
                    && !passed
                    && let Some(lent) = share(json)
                {
                    JUST_READ.with(|all| all.borrow_mut().push((target, slot.mailbox.last_offset(), lent)));
                }
                None
            }
            Appended::Full if numbered.is_none() && slot.outlet.is_some() => {
                slot.mailbox.hold_sender(sender);
                Some(Refusal::Held)
            }
            Appended::Full => Some(Refusal::Full),
        };
        // What is long, and what is behind it, is better written from where it is kept.
        let freed = match had_unread || json.len() >= LONG_MESSAGE_BYTES {
            true => Freed::default(),
            false => slot.fill(&self.limits, None),
        };
        self.uncount(&freed);
        let has_begun = was_idle && slot.is_writing();
        let mut listed = [None; 2];
        // What is refused leaves nothing behind.
        if !is_authorized && refusal != Some(Refusal::Full) {
            // Whoever lets a message in lets its recipient answer.
            slot.mailbox.authorize(sender);
            own.as_mut().unwrap_or(&mut slot).mailbox.open_channel(target);
            self.channels.fetch_add(1, Ordering::Relaxed);
            listed = [
                introduce(&mut slot, sender).then_some(target),
                own.as_mut().and_then(|own| introduce(own, target).then_some(sender)),
            ];
        }
        let visit = if refusal.is_none() { self.arrived(&mut slot) } else { None };
        crate::faults::point("append");
        drop((slot, own));
        self.list(listed.into_iter().flatten());
        self.visit_at(target, visit);
        if has_begun {
            // Who has something to write looks for more when that is written.
            WRITTEN_TO.with(|all| all.borrow_mut().push((target, Arc::clone(recipient))));
        }
        self.tell_freed(target, freed);
        refusal.map_or(Ok(Taken::New), Err)
    }

    pub(super) fn duplicate(
        &self,
        Claim { id, session, peer, .. }: &mut Claim,
        target: ClientId,
        seq: Seq,
    ) -> Option<Seq> {
        let (sender, session) = (*id, (*session)?);
        self.peer(peer, target)?.slot().mailbox.duplicate(sender, session, seq)
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

    pub(super) fn linger(&self, bytes: usize) -> Option<impl Sized> {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let counted = Reserved { total: &self.queued_bytes, bytes };
        let fits =
            bytes <= Limits::MAX_UNCOUNTED_CLOSE_BYTES || before + bytes <= self.limits.max_total_bytes;
        fits.then_some(counted)
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
}

/// Has a client told whether another is there with which it has a channel now, or has none any more. True when it is to be
/// put in line for that, see [`Slot::list`].
fn introduce(slot: &mut Slot, other: ClientId) -> bool {
    slot.presence_due().is_some_and(|due| due.insert(other)) && slot.list()
}

#[cfg(test)]
mod tests;
