//! State that all sessions of a relay share, and the signals that end them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::access::{AuthFailures, ClientRateLimiter};
use crate::error::CloseReason;
use crate::events::{Event, EventSink};
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::Metrics;

/// The state that all sessions of a relay share.
#[derive(Debug)]
pub struct Shared {
    /// The relay's limits.
    pub limits: Limits,
    /// The clients, their connections and their mailboxes.
    pub hub: Hub,
    /// Events for the application.
    pub events: EventSink,
    /// Limits failed authentications per address.
    pub failures: AuthFailures,
    /// Limits the messages of each client.
    pub message_limiter: ClientRateLimiter,
    /// Limits the offence events of each client.
    pub offence_event_limiter: ClientRateLimiter,
    /// Counters of what the relay has done.
    pub metrics: Metrics,
    /// Cancelled when every session has to end: at once by [`Shared::stop`], or after draining by [`Shared::drain`].
    pub stop: CancellationToken,
    stopping: AtomicBool,
    /// Cancelled when draining sessions have to end even if messages still wait for their clients.
    pub hurry: CancellationToken,
    /// Cancelled when every connection is dropped, even one that is being closed.
    pub cut: CancellationToken,
    /// The longest time that clients are asked to wait before they reconnect. Set by [`Shared::drain`].
    retry_after: OnceLock<Duration>,
    /// Clients that have been given a time to wait.
    restart_closes: AtomicU64,
}

impl Shared {
    /// Creates the state of a relay without sessions.
    pub fn new(limits: Limits, hub: Hub, events: EventSink) -> Self {
        let [stop, hurry, cut] = [(); 3].map(|()| CancellationToken::new());
        let (stopping, retry_after, restart_closes) =
            (AtomicBool::new(false), OnceLock::new(), AtomicU64::new(0));
        let (failures, message_limiter, offence_event_limiter) = (
            AuthFailures::new(&limits),
            ClientRateLimiter::new(&limits),
            ClientRateLimiter::for_offence_events(&limits),
        );
        let metrics = Metrics::default();
        Self {
            limits,
            hub,
            events,
            failures,
            message_limiter,
            offence_event_limiter,
            metrics,
            stop,
            stopping,
            hurry,
            cut,
            retry_after,
            restart_closes,
        }
    }

    /// Ends every session, including those that drain.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.hurry.cancel();
    }

    /// Drops every connection. What its socket does not take at once is lost.
    pub fn cut(&self) {
        self.hurry.cancel();
        self.cut.cancel();
    }

    /// Ends every session as soon as nothing waits for its client. Clients are asked to reconnect after different times, up
    /// to `retry_after`. Does nothing when sessions are already ending.
    pub fn drain(&self, retry_after: Duration) {
        if !self.is_stopping() {
            self.retry_after.set(retry_after).ok();
            self.stopping.store(true, Ordering::Release);
            self.stop.cancel();
        }
    }

    /// Counts the panic of a task, and emits an event.
    pub fn panicked(&self) {
        self.metrics.panicked();
        self.events.emit(Event::Panicked);
    }

    /// Returns the reason with which a session ends when all sessions do.
    pub(super) fn stop_reason(&self) -> CloseReason {
        let Some(retry_after) = self.retry_after.get() else { return CloseReason::GoingAway };
        let range = retry_after.as_millis() as u64;
        // Multiples of the golden ratio fill the range evenly, no matter how many there are.
        let fraction =
            self.restart_closes.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let wait = (u128::from(fraction) * u128::from(range)) >> 64;
        CloseReason::Restarting(format!("{wait} ms to wait: the server is restarting"))
    }

    /// Whether every session has to end, at once or after draining.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
