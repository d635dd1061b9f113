//! What every store promises, tested against each of them: add a store to the list at the end.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use websocket_relay::ClientId;
use websocket_relay::error::Error;
use websocket_relay::hub::Identity;
use websocket_relay::store::{Registration, Store, Unregistered};

const SECOND: Duration = Duration::from_secs(1);

fn register(store: &Store<char>, value: char, lifetime: Option<Duration>) -> Registration {
    store.register(value, lifetime).expect("randomness")
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

fn knows_a_client_by_its_token_only(store: Store<char>) {
    let [one, two] = ['a', 'b'].map(|value| register(&store, value, None));
    assert_eq!(store.authenticate(one.id, one.token.reveal()), Identity::Proven);
    for wrong in [two.token.reveal(), "", "x"] {
        assert_eq!(store.authenticate(one.id, wrong), Identity::Unproven);
    }
    let unknown = ClientId::new(2).expect("an id");
    assert_eq!(store.authenticate(unknown, one.token.reveal()), Identity::Unknown);
}

fn replaces_the_token_when_it_is_refreshed(store: Store<char>) {
    let Registration { id, token } = register(&store, 'a', None);
    let new = store.refresh(id, None).expect("a client");
    assert_eq!(store.authenticate(id, token.reveal()), Identity::Unproven);
    assert_eq!(store.authenticate(id, new.reveal()), Identity::Proven);
    assert!(is_unknown(store.refresh(ClientId::new(1).expect("an id"), None)));
}

fn keeps_a_value_beside_each_client(store: Store<char>) {
    let [one, two] = ['a', 'b'].map(|value| register(&store, value, None).id);
    store.refresh(one, None).expect("a client");
    assert_eq!([one, two].map(|id| store.get(id)), [Some('a'), Some('b')]);
    let removed = store.unregister(one).expect("a client");
    assert_eq!(removed, Unregistered { id: one, value: 'a' });
    assert_eq!([one, two].map(|id| store.get(id)), [None, Some('b')]);
}

fn forgets_a_client_that_is_unregistered(store: Store<char>) {
    let Registration { id, token } = register(&store, 'a', Some(SECOND));
    assert!(!store.was_registered(id));
    store.unregister(id).expect("a client");
    assert_eq!(store.authenticate(id, token.reveal()), Identity::Unknown);
    assert!(store.was_registered(id) && !store.was_registered(ClientId::new(1).expect("an id")));
    assert!(is_unknown(store.unregister(id)) && is_unknown(store.refresh(id, None)));
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
    store.refresh(id, None).expect("a client");
    let second = store.next_deadline().expect("it ends");
    assert!(second >= first && second < first + 5 * SECOND, "as long as before");
    store.refresh(id, Some(60 * SECOND)).expect("a client");
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

macro_rules! contract {
    ($($store:ident: $new:expr => [$($promise:ident),* $(,)?];)*) => { $(mod $store {
        $(#[test] fn $promise() { super::$promise($new.expect("a store")); })*
    })* };
}

macro_rules! stores {
    ($($store:ident: $new:expr;)*) => { contract! { $($store: $new => [
        counts_ids_from_0_and_never_gives_one_again,
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

stores! {
    memory: websocket_relay::store::Store::memory();
}
