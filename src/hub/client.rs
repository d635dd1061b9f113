//! A client, and the lock that guards its state.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

use super::bell::Bell;
use super::state::{ClientState, ReliableState, SessionInfo};
use crate::ids::{ClaimNumber, ClientId, Offset, Seq, SessionId};
use crate::model::{Mailbox, Notices};
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, thread_local};

/// A registered client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// The number of the newest claim. Compared under the lock of whatever the claim's holder is about to change.
    pub claim: AtomicU64,
    /// Whether its messages are refused because it has too many notices of expired messages.
    pub is_held: AtomicBool,
    /// Whether it was unregistered: another client may have its id.
    pub is_gone: AtomicBool,
    state: Mutex<ClientState>,
}

impl Client {
    /// Returns a client whose messages a store commits later, with offsets above `era`.
    pub fn for_store(era: Offset) -> Self {
        let state = ClientState { mailbox: Mailbox::for_store(era), ..ClientState::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub fn lock(&self) -> StateGuard<'_> {
        StateGuard::new(&self.state)
    }

    pub fn is_claimed_by(&self, number: ClaimNumber) -> bool {
        self.claim.load(Ordering::Acquire) == number.0
    }

    /// Rings the bell of the client's connection, if it has one.
    pub fn ring(&self) {
        let bell = self.lock().bell();
        ring(bell);
    }

    /// Changes the notices of a session that is `wanted`, and wakes the connection that writes them.
    pub fn notify(&self, wanted: impl FnOnce(&SessionInfo) -> bool, change: impl FnOnce(&mut Notices)) {
        let mut state = self.lock();
        match state.reliable.as_deref_mut() {
            Some(ReliableState { session: Some(session), notices, .. }) if wanted(session) => change(notices),
            _ => return,
        }
        let bell = state.bell();
        drop(state);
        ring(bell);
    }
}

impl Client {
    /// Tells a session that its messages to `target` up to `seq` are accepted, if the client's connection is one of its.
    pub fn accept(&self, session: SessionId, target: ClientId, seq: Seq) {
        let mut guard = self.lock();
        let ClientState { reliable: Some(reliable), connection: Some(connection), .. } = &mut *guard else {
            return;
        };
        if reliable.session.is_none_or(|known| known.id != session) {
            return;
        }
        let last = reliable.accepted.get_or_insert_default().entry(target).or_default();
        // A commit may be told after what was received meanwhile.
        if seq <= std::mem::replace(last, seq.max(*last)) {
            return;
        }
        let had_some = connection.outbox.has_accepted();
        connection.outbox.accept(target, seq);
        // Otherwise the session knows, and writes it with what is there already.
        let is_news = !had_some || !connection.outbox.has_accepted();
        let bell = is_news.then(|| Arc::clone(&connection.bell));
        drop(guard);
        ring(bell);
    }
}

/// Rings after unlocking: a woken session would only wait for the lock.
pub(super) fn ring(bell: Option<Arc<Bell>>) {
    if let Some(bell) = bell {
        bell.ring();
    }
}

/// The locked state of a client. Two threads that each hold one and want the other's would wait for ever, so in debug builds
/// a thread that locks a second one panics. Only this type locks several, in the order of their ids.
pub(super) struct StateGuard<'a>(MutexGuard<'a, ClientState>);

thread_local! {
    /// How many states this thread has locked.
    static LOCKED: Cell<usize> = const { Cell::new(0) };
}

impl<'a> StateGuard<'a> {
    fn new(state: &'a Mutex<ClientState>) -> Self {
        debug_assert_eq!(LOCKED.with(Cell::get), 0, "one lock at a time");
        Self::another(state)
    }

    /// Locks several clients in the order of their ids, each once.
    pub fn all(mut clients: Vec<(ClientId, &'a Client)>) -> Vec<(ClientId, Self)> {
        debug_assert_eq!(LOCKED.with(Cell::get), 0, "all locks at once");
        clients.sort_unstable_by_key(|(id, _)| *id);
        clients.dedup_by_key(|(id, _)| *id);
        clients.into_iter().map(|(id, client)| (id, Self::another(&client.state))).collect()
    }

    /// Locks two different clients in the order of their ids.
    pub fn pair(one: (ClientId, &'a Client), two: (ClientId, &'a Client)) -> (Self, Self) {
        if one.0 > two.0 {
            let (two, one) = Self::pair(two, one);
            return (one, two);
        }
        (Self::new(&one.1.state), Self::another(&two.1.state))
    }

    fn another(state: &'a Mutex<ClientState>) -> Self {
        if cfg!(debug_assertions) {
            LOCKED.with(|locked| locked.set(locked.get() + 1));
        }
        // A panic under the lock has ended its connection; the next one goes on with the state as it is.
        Self(state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            LOCKED.with(|locked| locked.set(locked.get() - 1));
        }
        // The owner of the mailbox has to go on where another connection's panic has left it.
        if std::thread::panicking() {
            ring(self.bell());
        }
    }
}

impl Deref for StateGuard<'_> {
    type Target = ClientState;

    fn deref(&self) -> &ClientState {
        &self.0
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut ClientState {
        &mut self.0
    }
}
