//! What every store promises, tested against each of them: add a store to the list at the end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use websocket_relay::error::Error;
use websocket_relay::hub::Identity;
use websocket_relay::ids::{Epoch, Offset};
use websocket_relay::store::{NewClient, Registration, Store, Unregistered};
use websocket_relay::{ClientId, Token};

const SECOND: Duration = Duration::from_secs(1);

fn register(store: &Store<char>, value: char, lifetime: Option<Duration>) -> Registration {
    store.register(value, NewClient { lifetime, ..NewClient::default() }).expect("randomness")
}

fn id_of(number: u64) -> ClientId {
    ClientId::new(number).expect("an id")
}

/// Registers a client with this id. Returns its id.
fn register_as(store: &Store<char>, number: u64) -> Result<u64, Error> {
    let new = NewClient { id: Some(id_of(number)), ..NewClient::default() };
    store.register('n', new).map(|registration| registration.id.get())
}

fn is_unknown<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::ClientNotFound { argument: "clientId" }))
}

fn counts_ids_from_0_and_never_gives_one_again(store: Store<char>) {
    let ids = ['a', 'b', 'c'].map(|value| register(&store, value, None).id);
    assert_eq!(ids.map(ClientId::get), [0, 1, 2]);
    store.unregister(ids[2]).expect("a client");
    assert_eq!(register(&store, 'd', None).id.get(), 3);
    assert_eq!(store.ids().iter().map(|id| id.get()).collect::<Vec<_>>(), [0, 1, 3]);
    assert_eq!((store.registered(), store.unregistered()), (3, 1));
}

fn gives_ids_above_the_highest_that_was_named(store: Store<char>) {
    assert_eq!(register_as(&store, 1_000_000_000_000_000).expect("a free id"), 1_000_000_000_000_000);
    assert_eq!(register(&store, 'a', None).id.get(), 1_000_000_000_000_001);
    for number in [3, 64, 0] {
        assert_eq!(register_as(&store, number).expect("a free id"), number);
    }
    assert_eq!(register(&store, 'b', None).id.get(), 1_000_000_000_000_002);
    for taken in [64, 1_000_000_000_000_001] {
        assert!(matches!(register_as(&store, taken), Err(Error::ClientExists { id }) if id.get() == taken));
    }
    let ids: Vec<_> = store.ids().iter().map(|id| id.get()).collect();
    assert_eq!(ids[..3], [0, 3, 64]);
    assert_eq!((store.registered(), store.unregistered()), (6, 0), "a gap is no client");
}

fn has_no_id_above_the_highest(store: Store<char>) {
    register_as(&store, ClientId::MAX - 2).expect("a free id");
    let many = store.register_many(vec!['a'; 3], None);
    assert!(matches!(many, Err(Error::ClientIdsExhausted)));
    assert_eq!(store.ids(), [id_of(ClientId::MAX - 2)], "all of them, or none");
    register_as(&store, ClientId::MAX).expect("a free id");
    assert!(matches!(store.register('a', NewClient::default()), Err(Error::ClientIdsExhausted)));
    assert_eq!(register_as(&store, 5).expect("a free id"), 5);
}

fn gives_an_id_again_only_if_it_is_named(store: Store<char>) {
    let first = register(&store, 'a', None);
    store.unregister(first.id).expect("a client");
    assert!(matches!(register_as(&store, 0), Err(Error::ClientExists { .. })), "peers are being told");
    store.release(first.id);
    assert_eq!(register(&store, 'b', None).id.get(), 1);
    let new = NewClient { id: Some(first.id), ..NewClient::default() };
    let second = store.register('c', new).expect("a free id");
    assert_eq!(store.get(first.id), Some('c'));
    assert_eq!(store.authenticate(first.id, first.token.reveal()), Identity::Unproven);
    assert_eq!(store.authenticate(first.id, second.token.reveal()), Identity::Proven);
    assert_eq!((store.registered(), store.unregistered()), (2, 1));
    assert!(store.may_be_former(first.id), "something of the client before it may be on its way");
}

fn takes_the_applications_token(store: Store<char>) {
    let token = Token::parse("00112233445566778899aabbccddeeff").expect("a token");
    let new = NewClient { id: Some(id_of(9)), token: Some(token.clone()), ..NewClient::default() };
    let registration = store.register('a', new.clone()).expect("a free id");
    assert_eq!((registration.id, registration.token.reveal()), (id_of(9), token.reveal()));
    assert_eq!(store.authenticate(id_of(9), token.reveal()), Identity::Proven);
    assert_eq!(store.authenticate(id_of(9), &token.reveal().to_uppercase()), Identity::Unproven);
    let same = store.register('b', NewClient { id: None, ..new.clone() }).expect("a free id");
    assert_eq!((same.id, same.token.reveal()), (id_of(10), token.reveal()));
    assert!(matches!(store.register('c', new), Err(Error::ClientExists { .. })));
    assert_eq!(store.get(id_of(9)), Some('a'), "nothing has changed");
    let new = Token::parse("ffeeddccbbaa99887766554433221100").expect("a token");
    let refreshed = store.refresh(id_of(9), Some(new.clone()), None).expect("a client");
    assert_eq!(refreshed.reveal(), new.reveal());
    assert_eq!(store.authenticate(id_of(9), new.reveal()), Identity::Proven);
    assert_eq!(store.authenticate(id_of(9), token.reveal()), Identity::Unproven);
}

fn registers_many_at_once(store: Store<char>) {
    register_as(&store, 7).expect("a free id");
    let values: Vec<_> = ('a'..='z').cycle().take(1000).collect();
    let many = store.register_many(values.clone(), Some(SECOND)).expect("randomness");
    let ids: Vec<_> = many.iter().map(|registration| registration.id.get()).collect();
    assert_eq!(ids, (8..1008).collect::<Vec<_>>());
    for (Registration { id, token }, value) in many.iter().zip(values) {
        assert_eq!(store.authenticate(*id, token.reveal()), Identity::Proven);
        assert_eq!(store.get(*id), Some(value));
    }
    let tokens: BTreeSet<_> = many.iter().map(|registration| registration.token.reveal()).collect();
    assert_eq!((tokens.len(), store.registered()), (1000, 1001));
    let expired = std::iter::from_fn(|| store.take_expired(Instant::now() + 2 * SECOND));
    assert_eq!(expired.count(), 1000);
    assert!(store.register_many(Vec::new(), None).expect("nothing to do").is_empty());
}

fn knows_a_client_by_its_token_only(store: Store<char>) {
    let [one, two] = ['a', 'b'].map(|value| register(&store, value, None));
    assert_eq!(store.authenticate(one.id, one.token.reveal()), Identity::Proven);
    for wrong in [two.token.reveal(), "", "x"] {
        assert_eq!(store.authenticate(one.id, wrong), Identity::Unproven);
    }
    let unknown = id_of(2);
    assert_eq!(store.authenticate(unknown, one.token.reveal()), Identity::Unknown);
}

fn replaces_the_token_when_it_is_refreshed(store: Store<char>) {
    let Registration { id, token } = register(&store, 'a', None);
    let new = store.refresh(id, None, None).expect("a client");
    assert_eq!(store.authenticate(id, token.reveal()), Identity::Unproven);
    assert_eq!(store.authenticate(id, new.reveal()), Identity::Proven);
    assert!(is_unknown(store.refresh(id_of(1), None, None)));
}

fn keeps_a_value_beside_each_client(store: Store<char>) {
    let [one, two] = ['a', 'b'].map(|value| register(&store, value, None).id);
    store.refresh(one, None, None).expect("a client");
    assert_eq!([one, two].map(|id| store.get(id)), [Some('a'), Some('b')]);
    let removed = store.unregister(one).expect("a client");
    assert_eq!(removed, Unregistered { id: one, value: 'a' });
    assert_eq!([one, two].map(|id| store.get(id)), [None, Some('b')]);
}

fn forgets_a_client_that_is_unregistered(store: Store<char>) {
    let Registration { id, token } = register(&store, 'a', Some(SECOND));
    assert!(!store.may_be_former(id));
    store.unregister(id).expect("a client");
    assert_eq!(store.authenticate(id, token.reveal()), Identity::Unknown);
    assert!(store.may_be_former(id) && !store.may_be_former(id_of(1)));
    assert!(is_unknown(store.unregister(id)) && is_unknown(store.refresh(id, None, None)));
    assert_eq!(store.next_deadline(), None);
}

fn ends_lifetimes_in_order(store: Store<char>) {
    let start = Instant::now();
    register(&store, 'a', None);
    let [late, early] = [9, 5].map(|seconds| register(&store, 'b', Some(seconds * SECOND)).id);
    assert!(store.next_deadline().is_some_and(|deadline| deadline >= start + 5 * SECOND));
    assert_eq!(store.take_expired(start), None);
    let expired = || store.take_expired(Instant::now() + 10 * SECOND).map(|expired| expired.id);
    assert_eq!([expired(), expired(), expired()], [Some(early), Some(late), None]);
    assert_eq!((store.registered(), store.next_deadline()), (1, None));
}

fn begins_a_lifetime_anew_when_it_is_refreshed(store: Store<char>) {
    let id = register(&store, 'a', Some(5 * SECOND)).id;
    let first = store.next_deadline().expect("it ends");
    store.refresh(id, None, None).expect("a client");
    let second = store.next_deadline().expect("it ends");
    assert!(second >= first && second < first + 5 * SECOND, "as long as before");
    store.refresh(id, None, Some(60 * SECOND)).expect("a client");
    assert_eq!(store.take_expired(Instant::now() + 59 * SECOND), None);
    assert!(store.take_expired(Instant::now() + 61 * SECOND).is_some());
}

fn says_when_the_next_deadline_changes(store: Store<char>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(store);
        let waiting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.deadline_changed().await }
        });
        tokio::task::yield_now().await;
        register(&store, 'a', None);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "a client that stays ends nothing");
        register(&store, 'b', Some(SECOND));
        timeout(60 * SECOND, waiting).await.expect("woken").expect("no panic");
    });
}

fn gives_each_thread_other_ids(store: Store<char>) {
    let store = Arc::new(store);
    let threads = [(); 4].map(|()| {
        let store = Arc::clone(&store);
        thread::spawn(move || (0..500).map(|_| register(&store, 'a', None).id).collect::<Vec<_>>())
    });
    let mut ids: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
    ids.sort_unstable();
    assert_eq!(ids.iter().map(|id| id.get()).collect::<Vec<_>>(), (0..2000).collect::<Vec<_>>());
    assert_eq!(store.ids(), ids);
}

/// A store on disk, for whose thread nobody waits.
fn disk() -> Result<Store<char>, Error> {
    let store = Store::disk(Path::new("relay.db"), Epoch::from_u32(1), Offset(1 << 32))?;
    store.queue().expect("a thread").leave_unattended();
    Ok(store)
}

macro_rules! contract {
    ($($store:ident: $new:expr => [$($promise:ident),* $(,)?];)*) => { $(mod $store {
        use super::*;
        $(#[test] fn $promise() { super::$promise($new.expect("a store")); })*
    })* };
}

macro_rules! stores {
    ($($store:ident: $new:expr;)*) => { contract! { $($store: $new => [
        counts_ids_from_0_and_never_gives_one_again,
        gives_ids_above_the_highest_that_was_named,
        has_no_id_above_the_highest,
        gives_an_id_again_only_if_it_is_named,
        takes_the_applications_token,
        registers_many_at_once,
        knows_a_client_by_its_token_only,
        replaces_the_token_when_it_is_refreshed,
        keeps_a_value_beside_each_client,
        forgets_a_client_that_is_unregistered,
        ends_lifetimes_in_order,
        begins_a_lifetime_anew_when_it_is_refreshed,
        says_when_the_next_deadline_changes,
        gives_each_thread_other_ids,
    ];)* } };
}

/// A store on disk that nobody commits: what it answers has to be in memory.
#[cfg(feature = "faults")]
fn disk() -> Result<Store<char>, Error> {
    use std::path::Path;

    use websocket_relay::ids::{Epoch, Offset};

    let store = Store::disk(Path::new("disk"), Epoch::from_u32(1), Offset(1 << 32))?;
    store.queue().expect("it commits later").leave_unattended();
    Ok(store)
}

stores! {
    memory: Store::memory();
    disk: disk();
}

#[cfg(feature = "faults")]
stores! {
    disk: super::disk();
}
