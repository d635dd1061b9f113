//! The registry of clients: the hashes of their tokens, and when their registrations expire.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::Error;
use crate::ids::{ClientId, TokenHash};

/// The registered clients, each with a value `T`.
///
/// An id is given by the registry, one above the highest that was ever used, or named by the application, which may name the
/// id of a client that was unregistered.
#[derive(Debug)]
pub struct Registry<T> {
    /// The number above the highest id that was used.
    next: u64,
    /// The hash that an unknown id is checked against if no client stands in for it.
    decoy: TokenHash,
    /// The clients by id, in shards: a table that grows or shrinks is moved as a whole, which takes long for a large one. No
    /// stranger chooses ids, so they do not collide on purpose.
    shards: [FxHashMap<ClientId, Entry<T>>; Shard::COUNT],
    count: usize,
    /// How often a client was unregistered.
    unregistered: usize,
    /// Whether an id below the highest was named after a client had been unregistered.
    may_reuse_ids: bool,
    /// Clients that were unregistered and whose peers are still being told.
    leaving: FxHashSet<ClientId>,
    /// Clients that stand in for unknown ids, in places that their ids decide.
    samples: Box<[ClientId]>,
    /// When registrations expire.
    deadlines: BTreeSet<(Instant, ClientId)>,
}

#[derive(Debug)]
struct Entry<T> {
    token: TokenHash,
    client: T,
    /// Boxed, because most registrations do not expire.
    lifetime: Option<Box<Lifetime>>,
}

/// The lifetime of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How long it lasts from its registration or its last refresh.
    pub length: Duration,
    /// When it ends.
    pub end: Instant,
}

impl Lifetime {
    /// Returns the lifetime of this length that begins `now`.
    pub fn starting(length: Duration, now: Instant) -> Self {
        Self { length, end: now + length }
    }
}

/// One of the parts that the registry is divided into.
#[derive(Clone, Copy, Debug)]
pub struct Shard(usize);

impl Shard {
    const COUNT: usize = 64;

    /// Returns all shards.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    fn of(id: ClientId) -> Self {
        Self(spread(id) as usize % Self::COUNT)
    }
}

/// Returns a number that differs in its low bits for ids that are multiples of a power of two, too: an application may name
/// such ids. (Fibonacci hashing.)
fn spread(id: ClientId) -> u64 {
    id.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48
}

/// The outcome of checking a client's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The token is the client's.
    Proven,
    /// The token is not the client's.
    Unproven,
    /// No client with this id is registered.
    Unknown,
}

impl<T> Registry<T> {
    /// The capacity below which tables do not shrink.
    const MIN_CAPACITY: usize = 1024;
    /// The number of clients that may stand in for an unknown id.
    const SAMPLES: usize = 512;

    /// Returns an empty registry. `decoy` is the hash of a token that no client is given.
    pub fn new(decoy: TokenHash) -> Self {
        Self {
            next: 0,
            decoy,
            shards: std::array::from_fn(|_| FxHashMap::default()),
            count: 0,
            unregistered: 0,
            may_reuse_ids: false,
            leaving: FxHashSet::default(),
            samples: vec![ClientId::default(); Self::SAMPLES].into(),
            deadlines: BTreeSet::new(),
        }
    }

    fn shard(&mut self, id: ClientId) -> &mut FxHashMap<ClientId, Entry<T>> {
        &mut self.shards[Shard::of(id).0]
    }

    fn entry(&self, id: ClientId) -> Option<&Entry<T>> {
        self.shards[Shard::of(id).0].get(&id)
    }

    fn sample(id: ClientId) -> usize {
        spread(id) as usize % Self::SAMPLES
    }

    /// Registers a client and returns its id: `id`, or the one above the highest that was used, from 0 on. The registration
    /// expires `lifetime` after `now`, or never.
    ///
    /// # Errors
    /// [`Error::ClientExists`] if `id` is registered, or its removal is not complete; [`Error::ClientIdsExhausted`] if there is
    /// no id above the highest. Nothing has changed then.
    pub fn register(
        &mut self,
        id: Option<ClientId>,
        token: TokenHash,
        client: T,
        lifetime: Option<Duration>,
        now: Instant,
    ) -> Result<ClientId, Error> {
        let id = match id {
            Some(id) if self.entry(id).is_some() || self.leaving.contains(&id) => {
                return Err(Error::ClientExists { id });
            }
            Some(id) => id,
            None => ClientId::new(self.next).ok_or(Error::ClientIdsExhausted)?,
        };
        self.may_reuse_ids |= id.get() < self.next && self.unregistered > 0;
        self.restore(id, token, client, lifetime.map(|length| Lifetime::starting(length, now)));
        Ok(id)
    }

    /// Registers a client that was registered in an earlier life of the store. Replaces one with the same id.
    pub fn restore(&mut self, id: ClientId, token: TokenHash, client: T, lifetime: Option<Lifetime>) {
        let entry = Entry { token, client, lifetime: lifetime.map(Box::new) };
        match self.shard(id).insert(id, entry) {
            None => self.count += 1,
            Some(Entry { lifetime, .. }) => self.cancel(id, lifetime.as_deref()),
        }
        self.deadlines.extend(lifetime.map(|lifetime| (lifetime.end, id)));
        self.next = self.next.max(id.get() + 1);
        self.samples[Self::sample(id)] = id;
    }

    /// Goes on where an earlier life of the store has ended: the number above the highest id that was used, and how often a
    /// client was unregistered.
    pub fn restore_counters(&mut self, next: u64, unregistered: usize) {
        self.next = self.next.max(next);
        self.unregistered = unregistered;
        // Any id below the highest may be that of a client that was registered again.
        self.may_reuse_ids = unregistered > 0;
    }

    fn cancel(&mut self, id: ClientId, lifetime: Option<&Lifetime>) {
        if let Some(lifetime) = lifetime {
            self.deadlines.remove(&(lifetime.end, id));
        }
    }

    /// Unregisters a client and returns its value. Its id cannot be registered again before [`Registry::release`].
    pub fn unregister(&mut self, id: ClientId) -> Option<T> {
        let shard = self.shard(id);
        let Entry { client, lifetime, .. } = shard.remove(&id)?;
        // A quarter, so that the cost of moving a table is spread over many calls.
        if shard.capacity() > Self::MIN_CAPACITY / Shard::COUNT && shard.len() < shard.capacity() / 4 {
            shard.shrink_to(shard.len() * 2);
        }
        self.cancel(id, lifetime.as_deref());
        self.count -= 1;
        self.unregistered = self.unregistered.saturating_add(1);
        self.leaving.insert(id);
        Some(client)
    }

    /// Notes that nothing is left of a client that was unregistered: its id may be named for another one.
    pub fn release(&mut self, id: ClientId) {
        self.leaving.remove(&id);
    }

    /// Gives a client a new token and restarts its lifetime, with the length `lifetime` or, if that is `None`, the length
    /// it had. Returns false if there is no such client.
    pub fn refresh(
        &mut self,
        id: ClientId,
        token: TokenHash,
        lifetime: Option<Duration>,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.shards[Shard::of(id).0].get_mut(&id) else { return false };
        entry.token = token;
        let before = entry.lifetime.take();
        let length = lifetime.or(before.as_ref().map(|lifetime| lifetime.length));
        let after = length.map(|length| Lifetime::starting(length, now));
        entry.lifetime = after.map(Box::new);
        self.cancel(id, before.as_deref());
        self.deadlines.extend(after.map(|lifetime| (lifetime.end, id)));
        true
    }

    /// Returns what a store on disk keeps of a client: the hash of its token, and its lifetime.
    pub fn kept(&self, id: ClientId) -> Option<(TokenHash, Option<Lifetime>)> {
        self.entry(id).map(|entry| (entry.token, entry.lifetime.as_deref().copied()))
    }

    /// Returns when the next registration expires.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(end, _)| *end)
    }

    /// Returns a client whose registration has expired by `now`.
    pub fn overdue(&self, now: Instant) -> Option<ClientId> {
        self.deadlines.first().filter(|(end, _)| *end <= now).map(|(_, id)| *id)
    }

    /// Returns the number of registered clients.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns how often a client was unregistered.
    pub fn unregistered(&self) -> usize {
        self.unregistered
    }

    /// Returns the number above the highest id that was used.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Returns whether no client is registered.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the ids of the clients in a shard, in no order.
    pub fn ids(&self, Shard(number): Shard) -> impl Iterator<Item = ClientId> {
        self.shards[number].keys().copied()
    }

    /// Returns whether a client may have had this id and been unregistered. It is not remembered which: false means that none
    /// has.
    pub fn may_be_former(&self, id: ClientId) -> bool {
        let may_be = self.unregistered > 0 && id.get() < self.next;
        may_be && (self.may_reuse_ids || self.entry(id).is_none())
    }

    /// Returns the value of the client with this id.
    pub fn get(&self, id: ClientId) -> Option<&T> {
        self.entry(id).map(|entry| &entry.client)
    }

    /// Checks a client's token. An unknown id and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        let known = self.entry(id);
        // An unknown id is checked against another client's token, not a constant, which would be in the cache.
        let other = Some(self.samples[Self::sample(id)]);
        // A known id is looked up twice too, so that both cases take the same steps.
        let checked = black_box(other.filter(|_| known.is_none()).unwrap_or(id));
        let matches = self.entry(checked).map_or(&self.decoy, |entry| &entry.token).matches(token);
        match (known.is_some(), matches) {
            (true, true) => Identity::Proven,
            (true, false) => Identity::Unproven,
            (false, _) => Identity::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
