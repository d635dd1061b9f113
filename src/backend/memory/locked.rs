//! A lock that is held alone.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

use super::ring;
use super::slot::Slot;
use crate::sync::{Mutex, MutexGuard, thread_local};

/// A slot that is locked. Threads that held one and wanted another might wait for each other for ever: in debug builds,
/// as the tests are, a thread that does so panics.
pub(super) struct Locked<'a>(MutexGuard<'a, Slot>);

thread_local! {
    static HAS_LOCKED: Cell<bool> = const { Cell::new(false) };
}

impl<'a> Locked<'a> {
    pub fn new(slot: &'a Mutex<Slot>) -> Self {
        debug_assert!(!HAS_LOCKED.with(|has| has.replace(true)), "one lock at a time");
        // A panic under the lock has ended its connection; the next may go on with what is there.
        Self(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        debug_assert!(HAS_LOCKED.with(|has| has.replace(false)));
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
