//! The verify_queue of a relay's port: those that wait to be asked, and those that were asked and have no verdict yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::entry::{Verifier, VerifyRequest};
use crate::access::{AddressKey, Bounds, FairQueue, Ticket};
use crate::limits::Limits;

/// How many verify_queue there may be.
pub const BOUNDS: Bounds = Bounds {
    waiting: Limits::MAX_QUEUED_VERIFICATIONS,
    bytes: Limits::MAX_QUEUED_VERIFICATION_BYTES,
    taken: Limits::MAX_PENDING_VERIFICATIONS,
};

/// VerifyQueue, kept as long as their clients wait for an answer.
#[derive(Debug)]
pub struct VerifyQueue {
    state: Mutex<State>,
    /// `None` when nobody is asked about anything.
    ask: Option<Verifier>,
}

#[derive(Debug)]
struct State {
    queue: FairQueue<VerifyRequest>,
    /// Whether the asker was told of an inquiry and has not yet found that there are no more.
    is_told: bool,
}

/// An inquiry's place, given up when its client does not wait any longer.
#[derive(Debug)]
pub struct Place<'i> {
    verify_queue: &'i VerifyQueue,
    source: Option<AddressKey>,
    ticket: Ticket,
}

impl VerifyQueue {
    /// None yet.
    pub fn new(ask: Option<Verifier>) -> Self {
        Self { state: Mutex::new(State { queue: FairQueue::new(BOUNDS), is_told: false }), ask }
    }

    /// Whether somebody is asked.
    pub fn are_asked(&self) -> bool {
        self.ask.is_some()
    }

    /// Adds an inquiry of a client from `source`. Where there are too many, one is dropped, which refuses it.
    pub fn add(&self, source: Option<AddressKey>, inquiry: VerifyRequest) -> Place<'_> {
        let bytes = inquiry.bytes();
        let mut state = self.state();
        let (ticket, evicted) = state.queue.push(source, bytes, inquiry);
        self.tell(state);
        drop(evicted);
        Place { verify_queue: self, source, ticket }
    }

    /// The next inquiry to ask about. When there is none the asker is told of the next one that comes.
    pub fn take(&self) -> Option<VerifyRequest> {
        let mut state = self.state();
        let taken = state.queue.take();
        state.is_told = taken.is_some();
        taken.map(|(_, inquiry)| inquiry)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the asker, with no lock held, if there is an inquiry that it does not know of.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let is_new = !state.is_told && state.queue.has_next();
        state.is_told |= is_new;
        drop(state);
        if is_new && let Some(ask) = &self.ask {
            (ask.0)(self);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.verify_queue.state();
        state.queue.remove(self.source, self.ticket);
        self.verify_queue.tell(state);
    }
}
