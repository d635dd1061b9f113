//! The registry of clients: their tokens, and when their registrations expire.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::ids::{ClientId, Token};

/// The registered clients, each with a value `T`.
#[derive(Debug)]
pub struct Registry<T> {
    next: ClientId,
    /// The token that an unknown id is checked against if no client is registered.
    decoy: Token,
    /// The clients by id, in shards: a table that grows or shrinks is moved as a whole, which takes long for a large one. The
    /// ids are assigned here, so they cannot be chosen to collide.
    shards: [FxHashMap<ClientId, Entry<T>>; Shard::COUNT],
    count: usize,
    /// When registrations expire.
    deadlines: BTreeSet<(Instant, ClientId)>,
}

#[derive(Debug)]
struct Entry<T> {
    token: Token,
    client: T,
    /// Boxed, because most registrations do not expire.
    lifetime: Option<Box<Lifetime>>,
}

/// The lifetime of a registration.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    length: Duration,
    end: Instant,
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
        Self(id.get() as usize % Self::COUNT)
    }
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

    /// Returns an empty registry. `decoy` is a token that no client is given.
    pub fn new(decoy: Token) -> Self {
        let shards = std::array::from_fn(|_| FxHashMap::default());
        Self { next: ClientId::default(), decoy, shards, count: 0, deadlines: BTreeSet::new() }
    }

    fn shard(&mut self, id: ClientId) -> &mut FxHashMap<ClientId, Entry<T>> {
        &mut self.shards[Shard::of(id).0]
    }

    fn entry(&self, id: ClientId) -> Option<&Entry<T>> {
        self.shards[Shard::of(id).0].get(&id)
    }

    /// Registers a client and returns its id: 0 for the first, then 1, and so on. The registration expires `lifetime` after
    /// `now`, or never.
    pub fn register(
        &mut self,
        token: Token,
        client: T,
        lifetime: Option<Duration>,
        now: Instant,
    ) -> ClientId {
        let id = self.next;
        self.next = id.next();
        let lifetime = lifetime.map(|length| Box::new(Lifetime { length, end: now + length }));
        self.deadlines.extend(lifetime.iter().map(|lifetime| (lifetime.end, id)));
        self.shard(id).insert(id, Entry { token, client, lifetime });
        self.count += 1;
        id
    }

    /// Unregisters a client and returns its value. Its id is not used again.
    pub fn unregister(&mut self, id: ClientId) -> Option<T> {
        let shard = self.shard(id);
        let Entry { client, lifetime, .. } = shard.remove(&id)?;
        // A quarter, so that the cost of moving a table is spread over many calls.
        if shard.capacity() > Self::MIN_CAPACITY / Shard::COUNT && shard.len() < shard.capacity() / 4 {
            shard.shrink_to(shard.len() * 2);
        }
        if let Some(lifetime) = lifetime {
            self.deadlines.remove(&(lifetime.end, id));
        }
        self.count -= 1;
        Some(client)
    }

    /// Gives a client a new token and restarts its lifetime, with the length `lifetime` or, if that is `None`, the length
    /// it had. Returns false if there is no such client.
    pub fn refresh(&mut self, id: ClientId, token: Token, lifetime: Option<Duration>, now: Instant) -> bool {
        let Some(entry) = self.shards[Shard::of(id).0].get_mut(&id) else { return false };
        entry.token = token;
        let before = entry.lifetime.take();
        if let Some(lifetime) = &before {
            self.deadlines.remove(&(lifetime.end, id));
        }
        if let Some(length) = lifetime.or(before.map(|lifetime| lifetime.length)) {
            let end = now + length;
            entry.lifetime = Some(Box::new(Lifetime { length, end }));
            self.deadlines.insert((end, id));
        }
        true
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

    /// Returns the number of clients that were unregistered.
    pub fn unregistered(&self) -> usize {
        usize::try_from(self.next.get()).unwrap_or(usize::MAX).saturating_sub(self.len())
    }

    /// Returns whether no client is registered.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the ids of the clients in a shard, in no order.
    pub fn ids(&self, Shard(number): Shard) -> impl Iterator<Item = ClientId> {
        self.shards[number].keys().copied()
    }

    /// Returns whether a client had this id and was unregistered.
    pub fn is_former(&self, id: ClientId) -> bool {
        id < self.next && self.entry(id).is_none()
    }

    /// Returns the value of the client with this id.
    pub fn get(&self, id: ClientId) -> Option<&T> {
        self.entry(id).map(|entry| &entry.client)
    }

    /// Checks a client's token. An unknown id and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        let known = self.entry(id);
        // The token of an unknown id is replaced with another client's, not with a constant, which would be in the cache.
        let other = ClientId::new((id.get() ^ 1) % self.next.get().max(1));
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
mod tests {
    use super::*;

    #[test]
    fn accepts_only_the_clients_own_token() {
        let token = || Token::random().expect("randomness");
        let (decoy, first, second) = (token(), token(), token());
        let mut registry = Registry::new(decoy.clone());
        let ids =
            [first.clone(), second.clone()].map(|token| registry.register(token, (), None, Instant::now()));
        assert_eq!(ids.map(ClientId::get), [0, 1]);
        assert_eq!(registry.authenticate(ids[0], first.reveal()), Identity::Proven);
        assert_eq!(registry.authenticate(ids[0], second.reveal()), Identity::Unproven);
        for unknown in [2, 3, ClientId::MAX].map(|id| ClientId::new(id).expect("an id")) {
            for token in [&decoy, &first, &second] {
                assert_eq!(registry.authenticate(unknown, token.reveal()), Identity::Unknown);
            }
        }
        assert_eq!(registry.authenticate(ids[0], ""), Identity::Unproven);
    }

    #[test]
    fn registration_expires_unless_refreshed_and_its_id_is_not_reused() {
        let token = || Token::random().expect("randomness");
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut registry = Registry::new(token());
        let permanent = registry.register(token(), 'a', None, start);
        let temporary = registry.register(token(), 'b', Some(second), start);
        assert_eq!(registry.next_deadline(), Some(start + second));
        assert_eq!(registry.overdue(start), None);
        let new = token();
        assert!(registry.refresh(temporary, new.clone(), None, start + second / 2));
        assert_eq!(registry.authenticate(temporary, new.reveal()), Identity::Proven);
        assert_eq!(registry.overdue(start + second), None, "the lifetime restarted");
        assert_eq!(registry.overdue(start + second * 2), Some(temporary));
        assert!(registry.refresh(temporary, token(), Some(second * 9), start + second));
        assert_eq!(registry.next_deadline(), Some(start + second * 10));
        assert_eq!(registry.unregister(temporary), Some('b'));
        assert_eq!((registry.next_deadline(), registry.unregister(temporary)), (None, None));
        assert!(
            registry.is_former(temporary)
                && !registry.is_former(permanent)
                && !registry.is_former(temporary.next())
        );
        assert!(!registry.refresh(temporary, token(), None, start));
        assert_eq!(registry.register(token(), 'c', None, start), temporary.next());
        assert_eq!((registry.len(), registry.unregistered()), (2, 1));
    }

    #[test]
    fn shrinks_when_clients_are_unregistered() {
        let token = Token::random().expect("randomness");
        let (mut registry, now) = (Registry::new(token.clone()), Instant::now());
        let ids: Vec<_> = (0..50_000).map(|_| registry.register(token.clone(), (), None, now)).collect();
        let capacity =
            |registry: &Registry<()>| registry.shards.iter().map(FxHashMap::capacity).sum::<usize>();
        let large = capacity(&registry);
        assert!(ids.into_iter().all(|id| registry.unregister(id).is_some()));
        assert!(registry.is_empty() && capacity(&registry) < large / 10);
    }
}
