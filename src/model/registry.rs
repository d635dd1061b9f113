//! Who exists, with which token, until when.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::ids::{ClientId, Token};

/// The registered clients, each with a `T` of its own.
#[derive(Debug)]
pub struct Registry<T> {
    next: ClientId,
    /// What an unknown id is compared with when there is nobody else's token.
    decoy: Token,
    /// By the id's last digits: a table that grows, or shrinks, is moved as a whole, and a part of it takes no time. The
    /// ids are ours, so nobody can choose them to collide.
    shards: [FxHashMap<ClientId, Entry<T>>; Shard::COUNT],
    count: usize,
    /// So many there have been since most were gone, or twice as many as were left then.
    most: usize,
    /// When registrations end that do.
    deadlines: BTreeSet<(Instant, ClientId)>,
}

#[derive(Debug)]
struct Entry<T> {
    token: Token,
    client: T,
    /// Boxed, for most registrations do not end by themselves.
    life: Option<Box<Life>>,
}

/// How long a registration lasts.
#[derive(Clone, Copy, Debug)]
struct Life {
    span: Duration,
    end: Instant,
}

/// A client that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unregistered<T> {
    /// The client.
    pub client: T,
    /// Whether most that there were are gone.
    pub is_sparse: bool,
}

/// A part of the clients.
#[derive(Clone, Copy, Debug)]
pub struct Shard(usize);

impl Shard {
    const COUNT: usize = 64;

    /// All parts.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    fn of(id: ClientId) -> Self {
        Self(id.get() as usize % Self::COUNT)
    }
}

/// What a token says of who brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It is that of the client with the id.
    Proven,
    /// It is not.
    Unproven,
    /// There is no client with the id.
    Unknown,
}

impl<T> Registry<T> {
    /// A table that is emptier than this keeps its room.
    const KEPT: usize = 1024;

    /// An empty registry; `decoy` is a token that nobody is given.
    pub fn new(decoy: Token) -> Self {
        let shards = std::array::from_fn(|_| FxHashMap::default());
        Self { next: ClientId::default(), decoy, shards, count: 0, most: 0, deadlines: BTreeSet::new() }
    }

    fn shard(&mut self, id: ClientId) -> &mut FxHashMap<ClientId, Entry<T>> {
        &mut self.shards[Shard::of(id).0]
    }

    fn entry(&self, id: ClientId) -> Option<&Entry<T>> {
        self.shards[Shard::of(id).0].get(&id)
    }

    /// Adds a client and returns its id: 0 for the first, then 1, and so on. `life` is for how long from now on; `None`
    /// is for ever.
    pub fn register(&mut self, token: Token, client: T, life: Option<Duration>, now: Instant) -> ClientId {
        let id = self.next;
        self.next = id.next();
        let life = life.map(|span| Box::new(Life { span, end: now + span }));
        self.deadlines.extend(life.iter().map(|life| (life.end, id)));
        self.shard(id).insert(id, Entry { token, client, life });
        self.count += 1;
        self.most = self.most.max(self.count);
        id
    }

    /// Forgets a client. Its id is not given again.
    pub fn unregister(&mut self, id: ClientId) -> Option<Unregistered<T>> {
        let shard = self.shard(id);
        let Entry { client, life, .. } = shard.remove(&id)?;
        // Rarely enough that the cost of moving all is spread over many.
        if shard.capacity() > Self::KEPT / Shard::COUNT && shard.len() < shard.capacity() / 4 {
            shard.shrink_to(shard.len() * 2);
        }
        if let Some(life) = life {
            self.deadlines.remove(&(life.end, id));
        }
        self.count -= 1;
        let is_sparse = self.most > Self::KEPT && self.count < self.most / 4;
        if is_sparse {
            self.most = self.count * 2;
        }
        Some(Unregistered { client, is_sparse })
    }

    /// Gives a client another token, and its whole life anew: `life` if it is given, else as it was. False when there is
    /// no such client.
    pub fn refresh(&mut self, id: ClientId, token: Token, life: Option<Duration>, now: Instant) -> bool {
        let Some(entry) = self.shards[Shard::of(id).0].get_mut(&id) else { return false };
        entry.token = token;
        let before = entry.life.take();
        if let Some(life) = &before {
            self.deadlines.remove(&(life.end, id));
        }
        if let Some(span) = life.or(before.map(|life| life.span)) {
            let end = now + span;
            entry.life = Some(Box::new(Life { span, end }));
            self.deadlines.insert((end, id));
        }
        true
    }

    /// When the next registration ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(end, _)| *end)
    }

    /// A client whose registration has ended by `now`.
    pub fn overdue(&self, now: Instant) -> Option<ClientId> {
        self.deadlines.first().filter(|(end, _)| *end <= now).map(|(_, id)| *id)
    }

    /// How many clients are registered.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many clients are registered no more.
    pub fn unregistered(&self) -> usize {
        usize::try_from(self.next.get()).unwrap_or(usize::MAX).saturating_sub(self.len())
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The registered clients' ids of a part, in no order.
    pub fn ids(&self, Shard(number): Shard) -> impl Iterator<Item = ClientId> {
        self.shards[number].keys().copied()
    }

    /// Whether a client had this id and is registered no more.
    pub fn is_former(&self, id: ClientId) -> bool {
        id < self.next && self.entry(id).is_none()
    }

    /// The client with this id.
    pub fn get(&self, id: ClientId) -> Option<&T> {
        self.entry(id).map(|entry| &entry.client)
    }

    /// Whether `token` is that of the client with this id. An unknown id and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        let known = self.entry(id);
        // Somebody else's token stands in for that of an unknown id: what has not been read for long takes longer to read.
        let other = ClientId::new((id.get() ^ 1) % self.next.get().max(1));
        // One's own is looked up once more for it, so that nobody's takes a step more.
        let whose = black_box(other.filter(|_| known.is_none()).unwrap_or(id));
        let matches = self.entry(whose).map_or(&self.decoy, |entry| &entry.token).matches(token);
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
    fn only_the_own_token_opens() {
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
    fn a_registration_ends_when_it_was_not_refreshed_and_its_id_is_not_given_again() {
        let token = || Token::random().expect("randomness");
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut registry = Registry::new(token());
        let for_ever = registry.register(token(), 'a', None, start);
        let mortal = registry.register(token(), 'b', Some(second), start);
        assert_eq!(registry.next_deadline(), Some(start + second));
        assert_eq!(registry.overdue(start), None);
        let new = token();
        assert!(registry.refresh(mortal, new.clone(), None, start + second / 2));
        assert_eq!(registry.authenticate(mortal, new.reveal()), Identity::Proven);
        assert_eq!(registry.overdue(start + second), None, "its life began anew");
        assert_eq!(registry.overdue(start + second * 2), Some(mortal));
        assert!(registry.refresh(mortal, token(), Some(second * 9), start + second));
        assert_eq!(registry.next_deadline(), Some(start + second * 10));
        let gone = Unregistered { client: 'b', is_sparse: false };
        assert_eq!(registry.unregister(mortal), Some(gone));
        assert_eq!((registry.next_deadline(), registry.unregister(mortal)), (None, None));
        assert!(
            registry.is_former(mortal) && !registry.is_former(for_ever) && !registry.is_former(mortal.next())
        );
        assert!(!registry.refresh(mortal, token(), None, start));
        assert_eq!(registry.register(token(), 'c', None, start), mortal.next());
        assert_eq!((registry.len(), registry.unregistered()), (2, 1));
    }

    #[test]
    fn a_table_that_was_large_gives_its_room_back() {
        let token = Token::random().expect("randomness");
        let (mut registry, now) = (Registry::new(token.clone()), Instant::now());
        let ids: Vec<_> = (0..50_000).map(|_| registry.register(token.clone(), (), None, now)).collect();
        let capacity =
            |registry: &Registry<()>| registry.shards.iter().map(FxHashMap::capacity).sum::<usize>();
        let large = capacity(&registry);
        let gone: Vec<_> = ids.into_iter().filter_map(|id| registry.unregister(id)).collect();
        assert!((1..20).contains(&gone.iter().filter(|gone| gone.is_sparse).count()));
        assert!(registry.is_empty() && capacity(&registry) < large / 10);
    }
}
