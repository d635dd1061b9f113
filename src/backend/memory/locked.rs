//! A lock that is held alone, or with others in order.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

use super::slot::Slot;
use super::{Client, ring};
use crate::ids::ClientId;
use crate::sync::{Mutex, MutexGuard, thread_local};

/// A slot that is locked. Threads that held one and wanted another might wait for each other for ever: in debug builds,
/// as the tests are, a thread that does so panics. Several are locked at once only here, in the order of their ids.
pub(super) struct Locked<'a>(MutexGuard<'a, Slot>);

thread_local! {
    /// How many this thread has locked.
    static LOCKED: Cell<usize> = const { Cell::new(0) };
}

impl<'a> Locked<'a> {
    pub fn new(slot: &'a Mutex<Slot>) -> Self {
        debug_assert_eq!(LOCKED.with(Cell::get), 0, "one lock at a time");
        Self::next(slot)
    }

    /// Locks the slots of several clients, in the order of their ids; of one that is there twice once.
    pub fn all(mut clients: Vec<(ClientId, &'a Client)>) -> Vec<(ClientId, Self)> {
        debug_assert_eq!(LOCKED.with(Cell::get), 0, "all locks at once");
        clients.sort_unstable_by_key(|(id, _)| *id);
        clients.dedup_by_key(|(id, _)| *id);
        clients.into_iter().map(|(id, client)| (id, Self::next(&client.slot))).collect()
    }

    /// Locks the slots of two clients, each of them another.
    pub fn pair(one: (ClientId, &'a Client), two: (ClientId, &'a Client)) -> (Self, Self) {
        if one.0 > two.0 {
            let (two, one) = Self::pair(two, one);
            return (one, two);
        }
        (Self::new(&one.1.slot), Self::next(&two.1.slot))
    }

    fn next(slot: &'a Mutex<Slot>) -> Self {
        if cfg!(debug_assertions) {
            LOCKED.with(|locked| locked.set(locked.get() + 1));
        }
        // A panic under the lock has ended its connection; the next may go on with what is there.
        Self(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            LOCKED.with(|locked| locked.set(locked.get() - 1));
        }
        // Whose mailbox it is has to go on where a panic of somebody else has left it.
        if std::thread::panicking() {
            ring(self.outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell)));
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.0
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.0
    }
}
