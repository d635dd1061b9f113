//! The model behind locks. Each lock is held for one method, never two at once, never across an `.await`.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::{Bell, Claimed, Refusal, Registration};
use crate::error::Error;
use crate::ids::{ClaimNumber, ClientId, Token};
use crate::limits::Limits;
use crate::model::{Mailbox, Registry};

/// Clients, channels and mailboxes in this process.
#[derive(Debug)]
pub struct Memory {
    limits: Limits,
    authorize_all_channels: bool,
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
}

/// A connection's hold on its client's mailbox.
#[derive(Debug)]
pub struct Claim {
    id: ClientId,
    client: Arc<Client>,
    number: ClaimNumber,
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
}

fn token() -> Result<Token, Error> {
    Token::random().map_err(|error| Error::System(io::Error::other(error)))
}

impl Memory {
    pub(super) fn new(limits: Limits, authorize_all_channels: bool) -> Result<Self, Error> {
        let registry = RwLock::new(Registry::new(token()?));
        Ok(Self { limits, authorize_all_channels, registry, queued_bytes: AtomicUsize::new(0) })
    }

    fn client(&self, id: ClientId) -> Option<Arc<Client>> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn register(&self) -> Result<Registration, Error> {
        let token = token()?;
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
        Ok(())
    }

    pub(super) fn claim(&self, id: ClientId, bell: Arc<Bell>) -> Option<Claimed> {
        let client = self.client(id)?;
        let mut slot = client.slot();
        // Under the lock, so that claims are numbered in the order in which they take the mailbox.
        let number = ClaimNumber(client.claim.fetch_add(1, Ordering::AcqRel) + 1);
        slot.mailbox.rewind();
        let replaced = slot.bell.replace(bell);
        drop(slot);
        Some(Claimed { claim: Claim { id, client, number }, replaced })
    }

    pub(super) fn release(&self, claim: &Claim) -> bool {
        let mut slot = claim.client.slot();
        if !claim.is_current() || slot.bell.take().is_none() {
            return false;
        }
        slot.mailbox.rewind();
        let waiting = slot.mailbox.release_waiting();
        drop(slot);
        self.ring(&waiting);
        true
    }

    pub(super) fn append(&self, sender: &Claim, target: ClientId, message: &str) -> Result<(), Refusal> {
        let target = self.client(target).ok_or(Refusal::ChannelNotRegistered)?;
        let mut slot = target.slot();
        // Under the target's lock: whoever took over has to take it too before its first message, so no message
        // of the replaced connection comes behind one of the new.
        if !sender.is_current() {
            return Err(Refusal::Replaced);
        }
        if !self.authorize_all_channels && !slot.mailbox.is_authorized(sender.id) {
            return Err(Refusal::ChannelNotRegistered);
        }
        let appended = self.reserve(Mailbox::cost(message)).and_then(|()| {
            let appended = slot.mailbox.append(sender.id, message, &self.limits);
            appended.map_err(|_| self.queued_bytes.fetch_sub(Mailbox::cost(message), Ordering::Relaxed))
        });
        match (appended, slot.bell.clone()) {
            (Ok(()), bell) => {
                drop(slot);
                // Ring after unlocking: a woken session would only wait for us.
                if let Some(bell) = bell {
                    bell.ring();
                }
                Ok(())
            }
            (Err(_), Some(_)) => {
                slot.mailbox.hold(sender.id);
                Err(Refusal::Held)
            }
            (Err(_), None) => Err(Refusal::Full),
        }
    }

    /// Takes `bytes` of the total bound; on failure says how much was in use.
    fn reserve(&self, bytes: usize) -> Result<(), usize> {
        let in_use = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if in_use + bytes <= self.limits.max_total_bytes {
            return Ok(());
        }
        Err(self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed))
    }

    pub(super) fn read(&self, claim: &Claim, take: impl FnMut(ClientId, &str) -> bool) -> bool {
        let mut slot = claim.client.slot();
        claim.is_current() && slot.mailbox.read(take)
    }

    pub(super) fn received(&self, claim: &Claim) {
        let mut slot = claim.client.slot();
        if !claim.is_current() {
            return;
        }
        let freed = slot.mailbox.received();
        drop(slot);
        self.queued_bytes.fetch_sub(freed.bytes, Ordering::Relaxed);
        self.ring(&freed.waiting);
    }

    fn ring(&self, clients: &[ClientId]) {
        for id in clients {
            let Some(client) = self.client(*id) else { continue };
            let bell = client.slot().bell.clone();
            if let Some(bell) = bell {
                bell.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_bound_holds_over_all_mailboxes_and_is_given_back() {
        let limits = Limits { max_total_bytes: 3 * Limits::MESSAGE_OVERHEAD, ..Limits::default() };
        let memory = Memory::new(limits, true).expect("randomness");
        let ids: Vec<_> = (0..3).map(|_| memory.register().expect("randomness").id).collect();
        let claim = |id| memory.claim(id, Arc::default()).expect("registered").claim;
        let sender = claim(ids[0]);
        for id in [ids[0], ids[1], ids[2]] {
            memory.append(&sender, id, "").expect("room");
        }
        assert_eq!(memory.append(&sender, ids[0], ""), Err(Refusal::Held), "the recipient is connected");
        assert_eq!(memory.append(&sender, ids[1], ""), Err(Refusal::Full), "the recipient is away");
        let reader = claim(ids[1]);
        memory.read(&reader, |_, _| true);
        memory.received(&reader);
        assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 2 * Limits::MESSAGE_OVERHEAD);
        memory.append(&sender, ids[2], "").expect("room again");
    }

    #[test]
    fn a_replaced_connection_can_do_nothing_more() {
        let memory = Memory::new(Limits::default(), true).expect("randomness");
        let id = memory.register().expect("randomness").id;
        let (old_bell, claim) =
            (Arc::new(Bell::default()), |bell| memory.claim(id, bell).expect("registered"));
        let old = claim(Arc::clone(&old_bell));
        memory.append(&old.claim, id, "kept").expect("room");
        assert!(!memory.read(&old.claim, |_, _| true), "all read");
        let new = claim(Arc::default());
        assert!(new.replaced.is_some_and(|bell| Arc::ptr_eq(&bell, &old_bell)) && old.replaced.is_none());
        assert_eq!(memory.append(&old.claim, id, "late"), Err(Refusal::Replaced));
        memory.received(&old.claim);
        assert!(!memory.read(&old.claim, |_, _| panic!("read by the replaced")));
        assert!(!memory.release(&old.claim));
        let mut messages = Vec::new();
        memory.read(&new.claim, |_, message| {
            messages.push(message.to_owned());
            true
        });
        assert_eq!(messages, ["kept"]);
        assert!(memory.release(&new.claim));
    }
}
