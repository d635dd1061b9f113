//! Tests of the registry.

use super::*;
use crate::ids::Token;

fn token() -> Token {
    Token::random().expect("randomness")
}

fn hash(token: &Token) -> TokenHash {
    TokenHash::of(token.reveal())
}

fn id(number: u64) -> ClientId {
    ClientId::new(number).expect("an id")
}

/// Registers a client without expiry.
fn register(registry: &mut Registry<()>, id: Option<ClientId>) -> Result<u64, Error> {
    registry.register(id, hash(&token()), (), None, Instant::now()).map(ClientId::get)
}

#[test]
fn accepts_only_the_clients_own_token() {
    let (decoy, first, second) = (token(), token(), token());
    let mut registry = Registry::new(hash(&decoy));
    let ids = [&first, &second]
        .map(|token| registry.register(None, hash(token), (), None, Instant::now()).expect("a free id"));
    assert_eq!(ids.map(ClientId::get), [0, 1]);
    assert_eq!(registry.authenticate(ids[0], first.reveal()), Identity::Proven);
    assert_eq!(registry.authenticate(ids[0], second.reveal()), Identity::Unproven);
    for unknown in [2, 3, 64, 1 << 40, ClientId::MAX].map(id) {
        for token in [&decoy, &first, &second] {
            assert_eq!(registry.authenticate(unknown, token.reveal()), Identity::Unknown);
        }
    }
    assert_eq!(registry.authenticate(ids[0], ""), Identity::Unproven);
}

#[test]
fn an_unknown_id_is_checked_against_another_clients_token() {
    let mut registry = Registry::new(hash(&token()));
    for number in 0..10_000 {
        register(&mut registry, Some(id(number << 12))).expect("a free id");
    }
    let other = |unknown| registry.samples[Registry::<()>::sample(id(unknown))];
    let others: FxHashSet<_> = (0..10_000).map(|unknown| other((unknown << 12) + 7)).collect();
    assert!(others.len() > 400, "{}", others.len());
    assert!(others.into_iter().all(|other| registry.entry(other).is_some()));
}

#[test]
fn registration_expires_unless_refreshed() {
    let (second, start) = (Duration::from_secs(1), Instant::now());
    let mut registry = Registry::new(hash(&token()));
    let mut register =
        |value, lifetime| registry.register(None, hash(&token()), value, lifetime, start).expect("a free id");
    let (permanent, temporary) = (register('a', None), register('b', Some(second)));
    assert_eq!(registry.next_deadline(), Some(start + second));
    assert_eq!(registry.overdue(start), None);
    let new = token();
    assert!(registry.refresh(temporary, hash(&new), None, start + second / 2));
    assert_eq!(registry.authenticate(temporary, new.reveal()), Identity::Proven);
    assert_eq!(registry.overdue(start + second), None, "the lifetime restarted");
    assert_eq!(registry.overdue(start + second * 2), Some(temporary));
    let lifetime = Lifetime::starting(second, start + second / 2);
    assert_eq!(registry.kept(temporary), Some((hash(&new), Some(lifetime))));
    assert!(registry.refresh(temporary, hash(&new), Some(second * 9), start + second));
    assert_eq!(registry.next_deadline(), Some(start + second * 10));
    assert_eq!(registry.unregister(temporary), Some('b'));
    assert_eq!((registry.next_deadline(), registry.unregister(temporary)), (None, None));
    let may_be_former = |number| registry.may_be_former(id(number));
    assert_eq!([permanent.get(), temporary.get(), 2].map(may_be_former), [false, true, false]);
    assert!(!registry.refresh(temporary, hash(&new), None, start));
    assert_eq!((registry.len(), registry.unregistered(), registry.next()), (1, 1, 2));
}

#[test]
fn gives_ids_above_the_highest_that_was_named() {
    let mut registry = Registry::new(hash(&token()));
    let mut register = |id| register(&mut registry, id);
    assert_eq!(register(Some(id(7))).expect("a free id"), 7);
    assert_eq!(register(None).expect("a free id"), 8);
    assert_eq!(register(Some(id(3))).expect("a free id"), 3);
    assert_eq!(register(None).expect("a free id"), 9);
    for taken in [3, 7, 8, 9] {
        assert!(matches!(register(Some(id(taken))), Err(Error::ClientExists { id }) if id.get() == taken));
    }
    assert_eq!(register(Some(id(ClientId::MAX))).expect("a free id"), ClientId::MAX);
    assert!(matches!(register(None), Err(Error::ClientIdsExhausted)));
    assert_eq!(register(Some(id(0))).expect("a free id"), 0);
    assert_eq!((registry.len(), registry.unregistered()), (6, 0), "a gap is no client");
    assert!(!registry.may_be_former(id(5)));
}

#[test]
fn an_id_can_be_named_again_once_nothing_is_left_of_its_client() {
    let mut registry = Registry::new(hash(&token()));
    register(&mut registry, Some(id(7))).expect("a free id");
    assert!(!registry.may_be_former(id(7)));
    registry.unregister(id(7)).expect("a client");
    assert!(matches!(register(&mut registry, Some(id(7))), Err(Error::ClientExists { .. })));
    registry.release(id(7));
    register(&mut registry, Some(id(7))).expect("a free id");
    assert!(registry.may_be_former(id(7)), "there may be acknowledgements for the client before it");
    assert_eq!((registry.len(), registry.unregistered()), (1, 1));
}

#[test]
fn goes_on_where_an_earlier_life_has_ended() {
    let (first, second, start) = (token(), token(), Instant::now());
    let mut registry = Registry::new(hash(&token()));
    let lifetime = Lifetime { length: Duration::from_secs(9), end: start + Duration::from_secs(2) };
    registry.restore(id(5), hash(&first), 'a', Some(lifetime));
    registry.restore_counters(100, 3);
    registry.restore(id(1), hash(&second), 'b', None);
    assert_eq!(registry.authenticate(id(5), first.reveal()), Identity::Proven);
    assert_eq!(registry.authenticate(id(1), second.reveal()), Identity::Proven);
    assert_eq!((registry.len(), registry.unregistered(), registry.next()), (2, 3, 100));
    assert_eq!(registry.next_deadline(), Some(lifetime.end));
    assert!(registry.refresh(id(5), hash(&first), None, start));
    assert_eq!(registry.next_deadline(), Some(start + lifetime.length));
    registry.restore(id(5), hash(&second), 'c', None);
    assert_eq!((registry.next_deadline(), registry.len(), registry.get(id(5))), (None, 2, Some(&'c')));
}

#[test]
fn spreads_ids_that_have_gaps() {
    for step in [1, 2, 64, 1000, 1 << 20] {
        let mut counts = [0; Shard::COUNT];
        for number in 0..6_400 {
            counts[Shard::of(id(number * step)).0] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{step}: {counts:?}");
    }
}

#[test]
fn shrinks_when_clients_are_unregistered() {
    let mut registry = Registry::new(hash(&token()));
    let ids: Vec<_> =
        (0..50_000).map(|_| register(&mut registry, None).expect("a free id")).map(id).collect();
    let capacity = |registry: &Registry<()>| registry.shards.iter().map(FxHashMap::capacity).sum::<usize>();
    let large = capacity(&registry);
    assert!(ids.into_iter().all(|id| registry.unregister(id).is_some()));
    assert!(registry.is_empty() && capacity(&registry) < large / 10);
}
