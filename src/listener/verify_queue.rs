//! The port's requests that wait for a verdict.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::verify_request::VerifyRequest;
use crate::access::{AddressKey, Bounds, FairQueue, Ticket};
use crate::limits::Limits;

/// The bounds of a queue of requests to verify.
pub const BOUNDS: Bounds = Bounds {
    waiting: Limits::MAX_QUEUED_VERIFICATIONS,
    bytes: Limits::MAX_QUEUED_VERIFICATION_BYTES,
    taken: Limits::MAX_PENDING_VERIFICATIONS,
};

/// A callback that decides about requests. It is called when there are requests to [take](VerifyQueue::take), and not again
/// before it has taken all of them.
#[derive(Clone)]
pub struct Verifier(pub Arc<dyn Fn(&VerifyQueue) + Send + Sync>);

impl Verifier {
    /// A verifier that calls `answer` with each request as it arrives.
    pub fn each(answer: impl Fn(VerifyRequest) + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |queue| {
            while let Some(request) = queue.take() {
                answer(request);
            }
        }))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier")
    }
}

/// Requests without a verdict, each kept while its client waits.
#[derive(Debug)]
pub struct VerifyQueue {
    state: Mutex<State>,
    verifier: Option<Verifier>,
}

#[derive(Debug)]
struct State {
    queue: FairQueue<VerifyRequest>,
    /// The verifier was called and has not found the queue empty since.
    is_notified: bool,
}

/// A request's place in the queue, removed when its client stops waiting.
#[derive(Debug)]
pub struct QueuedRequest<'q> {
    queue: &'q VerifyQueue,
    address: Option<AddressKey>,
    ticket: Ticket,
}

impl VerifyQueue {
    /// An empty queue.
    pub fn new(verifier: Option<Verifier>) -> Self {
        let state = State { queue: FairQueue::new(BOUNDS), is_notified: false };
        Self { state: Mutex::new(state), verifier }
    }

    /// Returns whether requests are verified at all.
    pub fn has_verifier(&self) -> bool {
        self.verifier.is_some()
    }

    /// Adds a request of a client at `address`. If the queue is full, this evicts one request, which rejects it.
    pub fn add(&self, address: Option<AddressKey>, request: VerifyRequest) -> QueuedRequest<'_> {
        let bytes = request.bytes();
        let mut state = self.state();
        let (ticket, evicted) = state.queue.push(address, bytes, request);
        self.notify(state);
        drop(evicted);
        QueuedRequest { queue: self, address, ticket }
    }

    /// Takes the next request. If there is none, the verifier is called when the next one arrives.
    pub fn take(&self) -> Option<VerifyRequest> {
        let mut state = self.state();
        let taken = state.queue.take();
        state.is_notified = taken.is_some();
        taken.map(|(_, request)| request)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the verifier, without the lock, if there is a request that it does not know of.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let is_new = !state.is_notified && state.queue.has_next();
        state.is_notified |= is_new;
        drop(state);
        if is_new && let Some(verifier) = &self.verifier {
            (verifier.0)(self);
        }
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.queue.remove(self.address, self.ticket);
        self.queue.notify(state);
    }
}
