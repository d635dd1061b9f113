//! What all sessions share, and how all of them end.

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

/// What all sessions of a relay share.
#[derive(Debug)]
pub struct Shared {
    /// The bounds.
    pub limits: Limits,
    /// Where clients, channels and messages are kept.
    pub hub: Hub,
    /// Who is told what happens.
    pub events: EventSink,
    /// Authentications that failed.
    pub failures: AuthFailures,
    /// How fast clients send.
    pub message_limiter: ClientRateLimiter,
    /// How often it is told what each client does wrong.
    pub offence_event_limiter: ClientRateLimiter,
    /// What is counted.
    pub metrics: Metrics,
    /// Ends every session, by [`Shared::stop`] or [`Shared::drain`].
    pub stop: CancellationToken,
    stopping: AtomicBool,
    /// Ends draining: what still waits for clients is not waited for.
    pub hurry: CancellationToken,
    /// Drops every connection at once, whatever it is doing.
    pub cut: CancellationToken,
    /// How long clients are asked to stay away at most, when sessions drain.
    retry_after: OnceLock<Duration>,
    /// How many clients have been asked.
    asked: AtomicU64,
}

impl Shared {
    /// What sessions share.
    pub fn new(limits: Limits, hub: Hub, events: EventSink) -> Self {
        let [stop, hurry, cut] = [(); 3].map(|()| CancellationToken::new());
        let (stopping, retry_after, asked) = (AtomicBool::new(false), OnceLock::new(), AtomicU64::new(0));
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
            asked,
        }
    }

    /// Ends every session, also those that drain.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.hurry.cancel();
    }

    /// Drops every connection. The socket of each takes what it takes at once.
    pub fn cut(&self) {
        self.hurry.cancel();
        self.cut.cancel();
    }

    /// Ends every session when its client has what waits for it. Clients are asked to come back after different times,
    /// up to `retry_after`. Does nothing to sessions that are ending already.
    pub fn drain(&self, retry_after: Duration) {
        if !self.is_stopping() {
            self.retry_after.set(retry_after).ok();
            self.stopping.store(true, Ordering::Release);
            self.stop.cancel();
        }
    }

    /// Counts and tells that a task has panicked, and is gone.
    pub fn panicked(&self) {
        self.metrics.panicked();
        self.events.emit(Event::Panicked);
    }

    /// Why a session ends because all do.
    pub(super) fn stop_reason(&self) -> CloseReason {
        let Some(retry_after) = self.retry_after.get() else { return CloseReason::GoingAway };
        let range = retry_after.as_millis() as u64;
        // Multiples of the golden ratio fill the range evenly, however many they are.
        let place = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let wait = (u128::from(place) * u128::from(range)) >> 64;
        CloseReason::Restarting(format!("{wait} ms to wait: the server is restarting"))
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
