//! The model behind locks. Each lock is held for one method, never two at once, never across an `.await`.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Bell, Claimed, Claiming, Mail, Refusal, Registration, Resume, Taken};
use crate::error::Error;
use crate::ids::{ClaimNumber, ClientId, Epoch, Offset, Seq, SessionId, Token};
use crate::limits::Limits;
use crate::model::{Appended, Forged, Freed, Mailbox, Notices, Registry, Window};

/// Clients of which one read tells whether they are there. Each is looked up after the reader's lock is let go.
const PRESENCE_BATCH: usize = 64;

/// Clients, channels and mailboxes in this process.
#[derive(Debug)]
pub struct Memory {
    limits: Limits,
    authorize_all_channels: bool,
    epoch: Epoch,
    registry: RwLock<Registry<Arc<Client>>>,
    /// Bytes in all mailboxes, overhead included.
    queued_bytes: AtomicUsize,
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
    /// The bell of the connection that reads this mailbox.
    bell: Option<Arc<Bell>>,
    /// What there is to know of a client with reliable delivery. Boxed, for a plain one needs none of it.
    reliable: Option<Box<Reliable>>,
}

#[derive(Debug, Default)]
struct Reliable {
    /// What the connection that reads, or read last, said of itself; none of a plain one.
    reader: Option<Resume>,
    notices: Notices,
    /// The sessions that the reader's session has replaced, the newest last.
    replaced: Vec<SessionId>,
}

impl Slot {
    fn reader(&self) -> Option<Resume> {
        self.reliable.as_ref()?.reader
    }

    /// Whether a connection is older than the one that reads: an earlier one of the same session, or one of a session
    /// that was replaced. Such a one was long on its way, and its client has given it up or was told to stay away.
    fn is_outdated(&self, resume: Option<Resume>) -> bool {
        let (Some(new), Some(reliable)) = (resume, &self.reliable) else { return false };
        let is_earlier = |reader: Resume| new.session == reader.session && new.connection < reader.connection;
        reliable.reader.is_some_and(is_earlier)
            || (self.bell.is_some() && reliable.replaced.contains(&new.session))
    }

    /// Another connection reads from now on. True when it is of the same session.
    fn begin(&mut self, resume: Option<Resume>) -> bool {
        self.mailbox.rewind();
        let session = resume.map(|resume| resume.session);
        let before = self.reader().map(|reader| reader.session);
        let is_same = session.is_some() && session == before;
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
        reliable.replaced.retain(|replaced| Some(*replaced) != session);
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
}

impl Claim {
    /// Whose mailbox it is.
    pub fn id(&self) -> ClientId {
        self.id
    }

    fn is_current(&self) -> bool {
        self.client.claim.load(Ordering::Acquire) == self.number.0
    }
}

impl Client {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        // A panic under the lock has ended its connection; the next may go on with what is there.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the notices and wakes the connection that tells them.
    fn notify(&self, wanted: impl FnOnce(&Resume) -> bool, change: impl FnOnce(&mut Notices)) {
        let mut slot = self.slot();
        match slot.reliable.as_deref_mut() {
            Some(Reliable { reader: Some(reader), notices, .. }) if wanted(reader) => change(notices),
            _ => return,
        }
        let bell = slot.bell.clone();
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
        Ok(Self { limits, authorize_all_channels, epoch, registry, queued_bytes: AtomicUsize::new(0) })
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn client(&self, id: ClientId) -> Option<Arc<Client>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn register(&self) -> Result<Registration, Error> {
        let token = Token::random().map_err(refused)?;
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let id = registry.register(token.clone(), Arc::default());
        Ok(Registration { id, token })
    }

    pub(super) fn authenticate(&self, id: ClientId, token: &str) -> bool {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        registry.authenticate(id, token).is_some()
    }

    pub(super) fn authorize_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let find = |id, argument| self.client(id).ok_or(Error::ClientNotFound { argument });
        let (one, two) = (find(first, "clientId1")?, find(second, "clientId2")?);
        if !one.slot().mailbox.authorize(second) {
            return Err(Error::ChannelExists);
        }
        two.slot().mailbox.authorize(first);
        introduce(&one, first, &two, second);
        Ok(())
    }

    pub(super) fn claim(&self, id: ClientId, bell: Arc<Bell>, resume: Option<Resume>) -> Claiming {
        let Some(client) = self.client(id) else { return Claiming::Unknown };
        let mut slot = client.slot();
        if slot.is_outdated(resume) {
            return Claiming::Outdated;
        }
        // Under the lock, so that claims are numbered in the order in which they take the mailbox.
        let number = ClaimNumber(client.claim.fetch_add(1, Ordering::AcqRel) + 1);
        let is_same = slot.begin(resume);
        let replaced = slot.bell.replace(bell);
        let channels: Vec<_> = slot.mailbox.channels().collect();
        if let Some(reliable) =
            slot.reliable.as_mut().filter(|_| resume.is_some_and(|resume| resume.presence))
        {
            channels.iter().for_each(|peer| reliable.notices.presence(*peer));
        }
        drop(slot);
        if replaced.is_none() {
            self.announce(id, &channels);
        }
        let resumed = is_same && resume.is_some_and(|resume| resume.knows_epoch);
        let session = resume.map(|resume| resume.session);
        Claiming::Claimed(Claimed { claim: Claim { id, client, number, session }, replaced, resumed })
    }

    pub(super) fn release(&self, claim: &Claim) -> bool {
        let mut slot = claim.client.slot();
        if !claim.is_current() || slot.bell.take().is_none() {
            return false;
        }
        slot.mailbox.rewind();
        let waiting = slot.mailbox.release_waiting();
        let channels: Vec<_> = slot.mailbox.channels().collect();
        drop(slot);
        self.ring(&waiting);
        self.announce(claim.id, &channels);
        true
    }

    /// Tells those who share a channel that `client` came or left.
    fn announce(&self, client: ClientId, channels: &[ClientId]) {
        for peer in channels.iter().filter_map(|peer| self.client(*peer)) {
            peer.notify(|reader| reader.presence, |notices| notices.presence(client));
        }
    }

    pub(super) fn append(
        &self,
        sender: &Claim,
        target: ClientId,
        seq: Option<Seq>,
        message: &str,
    ) -> Result<Taken, Refusal> {
        let recipient = self.client(target).ok_or(Refusal::ChannelNotRegistered)?;
        let number = sender.session.zip(seq);
        let mut slot = recipient.slot();
        // Under the target's lock: whoever took over has to take it too before its first message, so no message
        // of the replaced connection comes behind one of the new.
        if !sender.is_current() {
            return Err(Refusal::Replaced);
        }
        let is_authorized = slot.mailbox.is_authorized(sender.id);
        if !is_authorized && !self.authorize_all_channels {
            // What was taken before the channel was revoked was taken.
            let duplicate = number.and_then(|(session, seq)| slot.mailbox.duplicate(sender.id, session, seq));
            return duplicate.map(Taken::Duplicate).ok_or(Refusal::ChannelNotRegistered);
        }
        let cost = Mailbox::cost(message);
        let appended = match self.reserve(cost) {
            true => slot.mailbox.append(sender.id, number, message, &self.limits),
            false => Appended::Full,
        };
        if appended != Appended::New {
            self.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
        }
        let refusal = match appended {
            Appended::Duplicate(last) => return Ok(Taken::Duplicate(last)),
            Appended::New => None,
            Appended::Full if number.is_none() && slot.bell.is_some() => {
                slot.mailbox.hold(sender.id);
                Some(Refusal::Held)
            }
            Appended::Full => Some(Refusal::Full),
        };
        let is_first = !is_authorized && slot.mailbox.authorize(sender.id);
        let bell = slot.bell.clone();
        drop(slot);
        if is_first {
            sender.client.slot().mailbox.authorize(target);
            introduce(&sender.client, sender.id, &recipient, target);
        }
        match refusal {
            None => ring(bell),
            Some(refusal) => return Err(refusal),
        }
        Ok(Taken::New)
    }

    /// Takes `bytes` of the total bound, to be given back when they are not needed; false when they are not there.
    fn reserve(&self, bytes: usize) -> bool {
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limits.max_total_bytes
    }

    pub(super) fn read(&self, claim: &Claim, mut take: impl FnMut(Mail<'_>) -> bool) -> bool {
        let mut slot = claim.client.slot();
        if !claim.is_current() {
            return false;
        }
        let (mut wanted, mut presence) = (true, Vec::new());
        if let Some(Reliable { notices, .. }) = slot.reliable.as_deref_mut() {
            while wanted && let Some((target, seq)) = notices.next_delivered() {
                wanted = take(Mail::Delivered { target, seq });
            }
            while wanted
                && presence.len() < PRESENCE_BATCH
                && let Some(client) = notices.next_presence()
            {
                presence.push(client);
            }
        }
        let window = self.window(claim);
        let has_more = wanted
            && slot.mailbox.read(window, |sender, offset, json| {
                wanted = take(Mail::Message { sender, offset, json });
                wanted
            });
        let has_notices = slot.reliable.as_ref().is_some_and(|reliable| !reliable.notices.is_empty());
        let has_more = has_more || !wanted || has_notices;
        drop(slot);
        for client in presence {
            let online = self.client(client).is_some_and(|client| client.slot().bell.is_some());
            take(Mail::Presence { client, online });
        }
        has_more
    }

    fn window(&self, claim: &Claim) -> Window {
        let Limits { max_in_flight_messages: messages, max_in_flight_bytes: bytes, .. } = self.limits;
        claim.session.map_or(Window::UNLIMITED, |_| Window { messages, bytes })
    }

    pub(super) fn received_read(&self, claim: &Claim) {
        let mut slot = claim.client.slot();
        if claim.is_current() {
            let freed = slot.mailbox.received_read();
            drop(slot);
            self.free(claim, freed);
        }
    }

    pub(super) fn received(&self, claim: &Claim, sender: ClientId, upto: Offset) -> Result<(), Forged> {
        let mut slot = claim.client.slot();
        if !claim.is_current() {
            return Ok(());
        }
        let freed = slot.mailbox.received(sender, upto, self.window(claim))?;
        drop(slot);
        self.free(claim, freed);
        Ok(())
    }

    fn free(&self, claim: &Claim, freed: Freed) {
        self.queued_bytes.fetch_sub(freed.bytes, Ordering::Relaxed);
        self.ring(&freed.waiting);
        for (sender, session, seq) in freed.delivered {
            let Some(sender) = self.client(sender) else { continue };
            sender.notify(
                |reader| reader.receipts && reader.session == session,
                |notices| notices.delivered(claim.id, seq),
            );
        }
    }

    fn ring(&self, clients: &[ClientId]) {
        for client in clients.iter().filter_map(|id| self.client(*id)) {
            let bell = client.slot().bell.clone();
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
    use super::*;

    fn claim_with(memory: &Memory, id: ClientId, bell: &Arc<Bell>) -> Claimed {
        match memory.claim(id, Arc::clone(bell), None) {
            Claiming::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    fn claim(memory: &Memory, id: ClientId) -> Claimed {
        claim_with(memory, id, &Arc::default())
    }

    fn messages(memory: &Memory, claim: &Claim) -> Vec<String> {
        let mut messages = Vec::new();
        memory.read(claim, |mail| {
            messages.push(format!("{mail:?}"));
            true
        });
        messages
    }

    #[test]
    fn the_total_bound_holds_over_all_mailboxes_and_is_given_back() {
        let limits = Limits { max_total_bytes: 3 * Limits::MESSAGE_OVERHEAD, ..Limits::default() };
        let memory = Memory::new(limits, true).expect("randomness");
        let ids: Vec<_> = (0..3).map(|_| memory.register().expect("randomness").id).collect();
        let sender = claim(&memory, ids[0]).claim;
        for id in [ids[0], ids[1], ids[2]] {
            memory.append(&sender, id, None, "").expect("room");
        }
        assert_eq!(
            memory.append(&sender, ids[0], None, ""),
            Err(Refusal::Held),
            "the recipient is connected"
        );
        assert_eq!(memory.append(&sender, ids[1], None, ""), Err(Refusal::Full), "the recipient is away");
        let reader = claim(&memory, ids[1]).claim;
        assert_eq!(messages(&memory, &reader).len(), 1);
        memory.received_read(&reader);
        assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 2 * Limits::MESSAGE_OVERHEAD);
        memory.append(&sender, ids[2], None, "").expect("room again");
    }

    #[test]
    fn a_replaced_connection_can_do_nothing_more() {
        let memory = Memory::new(Limits::default(), true).expect("randomness");
        let id = memory.register().expect("randomness").id;
        let old_bell = Arc::new(Bell::default());
        let old = claim_with(&memory, id, &old_bell);
        memory.append(&old.claim, id, None, "kept").expect("room");
        assert_eq!(messages(&memory, &old.claim).len(), 1);
        let new = claim(&memory, id);
        assert!(new.replaced.is_some_and(|bell| Arc::ptr_eq(&bell, &old_bell)) && old.replaced.is_none());
        assert_eq!(memory.append(&old.claim, id, None, "late"), Err(Refusal::Replaced));
        memory.received_read(&old.claim);
        assert_eq!(memory.received(&old.claim, id, Offset(1)), Ok(()));
        assert_eq!(messages(&memory, &old.claim), Vec::<String>::new());
        assert!(!memory.release(&old.claim));
        let [message] = &messages(&memory, &new.claim)[..] else { panic!("not one message") };
        assert!(message.contains("kept"));
        assert!(memory.release(&new.claim));
    }
}
