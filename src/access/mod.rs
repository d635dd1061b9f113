//! Who may come, and how often: pure rules, and tables of what was counted, each of a bounded size.

mod failures;
mod fair_queue;
mod guests;
mod rate;
mod source;

pub use failures::Failures;
pub use fair_queue::{Bounds, FairQueue, Ticket};
pub use guests::{Guests, Visit};
pub use rate::{Bucket, Buckets, Rate};
pub use source::{Network, Source, Trust};

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ids::ClientId;
use crate::limits::Limits;

/// How many messages each client may send.
#[derive(Debug)]
pub struct Pace {
    rate: Option<Rate>,
    clients: Mutex<Buckets<ClientId>>,
}

impl Pace {
    /// `rateLimit` and `rateLimitBurst`.
    pub fn new(limits: &Limits) -> Self {
        let rate = Rate::new(limits.rate_limit, Duration::from_secs(1), limits.rate_limit_burst);
        Self { rate, clients: Mutex::new(Buckets::new(Limits::MAX_COUNTED)) }
    }

    /// Counts a message, if `client` may send it now. What time it is is asked only where that matters: to look at the
    /// clock takes as long as to read a message.
    ///
    /// # Errors
    /// How long it has to wait until it may.
    pub fn take(&self, client: ClientId, now: impl FnOnce() -> Instant) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let now = now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.update(client, |bucket| bucket.take(rate, now))
    }

    /// Counts a message that was read already. Returns how long the client has to pause, and whether it had half of its
    /// burst left. It asks what time it is as [`Pace::take`] does.
    pub fn charge(&self, client: ClientId, now: impl FnOnce() -> Instant) -> (Duration, bool) {
        let Some(rate) = &self.rate else { return (Duration::ZERO, true) };
        let now = now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.update(client, |bucket| {
            let is_calm = bucket.is_half_full(rate, now);
            (bucket.charge(rate, now), is_calm)
        })
    }
}
