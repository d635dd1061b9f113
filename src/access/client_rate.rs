//! Rate limits per client, over all of its connections.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Bucket, BucketTable, Rate};
use crate::ids::ClientId;
use crate::limits::Limits;

/// Limits how often each client may do something, over all of its connections.
///
/// Methods take the current time as a closure: reading the clock costs as much as reading a message, and is skipped when
/// no rate is set.
#[derive(Debug)]
pub struct ClientRateLimiter {
    rate: Option<Rate>,
    /// Keyed by authenticated clients only.
    clients: Mutex<BucketTable<ClientId, Usage>>,
}

/// What a client has used of its rate.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    bucket: Bucket,
    /// When it exceeded its rate; cleared once half of its burst is available again.
    over_since: Option<Instant>,
}

/// The cost of a message that was already read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// How long to stop reading from the client.
    pub pause: Duration,
    /// How long the client has been over its rate; zero while it is within it.
    pub over_for: Duration,
}

impl ClientRateLimiter {
    /// Limits messages to `rateLimit` per second, with bursts of `rateLimitBurst`.
    pub fn new(limits: &Limits) -> Self {
        Self::with_rate(Rate::new(limits.rate_limit, Duration::from_secs(1), limits.rate_limit_burst))
    }

    /// Limits events about a client's offences to one per [`Limits::OFFENCE_EVENT_INTERVAL`], with bursts of
    /// [`Limits::OFFENCE_EVENT_BURST`], or `maxOffences` if that is more.
    pub fn for_offence_events(limits: &Limits) -> Self {
        let burst = Limits::OFFENCE_EVENT_BURST.max(limits.max_offences);
        Self::with_rate(Rate::new(1, Limits::OFFENCE_EVENT_INTERVAL, burst))
    }

    fn with_rate(rate: Option<Rate>) -> Self {
        let clients = Mutex::new(BucketTable::unbounded(rate.as_ref()));
        Self { rate, clients }
    }

    fn update<T>(
        &self,
        client: ClientId,
        now: impl FnOnce() -> Instant,
        change: impl FnOnce(&mut Usage, &Rate, Instant) -> T,
    ) -> Option<T> {
        let rate = self.rate.as_ref()?;
        let now = now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Some(clients.update(client, now, |usage| change(usage, rate, now)))
    }

    /// Takes a token of `client`.
    ///
    /// # Errors
    /// The time until a token is available.
    pub fn take(&self, client: ClientId, now: impl FnOnce() -> Instant) -> Result<(), Duration> {
        self.update(client, now, |usage, rate, now| usage.bucket.take(rate, now)).unwrap_or(Ok(()))
    }

    /// Charges `client` for a message that was already read.
    pub fn charge(&self, client: ClientId, now: impl FnOnce() -> Instant) -> Charge {
        let charge = |Usage { bucket, over_since }: &mut Usage, rate: &Rate, now: Instant| {
            if bucket.is_half_full(rate, now) {
                *over_since = None;
            }
            match bucket.charge(rate, now) {
                Duration::ZERO => Charge::default(),
                pause => Charge { pause, over_for: now - *over_since.get_or_insert(now) },
            }
        };
        self.update(client, now, charge).unwrap_or_default()
    }

    /// Returns how long a client that has just connected must wait to pay for what its earlier connections sent.
    pub fn debt(&self, client: ClientId, now: impl FnOnce() -> Instant) -> Duration {
        let Some(rate) = &self.rate else { return Duration::ZERO };
        let now = now();
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(client).bucket.debt(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_stay_owed_until_their_time_has_passed() {
        let limits = Limits { rate_limit: 10, rate_limit_burst: 2, ..Limits::default() };
        let (limiter, client, start) = (ClientRateLimiter::new(&limits), ClientId::default(), Instant::now());
        let at = |ms| move || start + Duration::from_millis(ms);
        let charge = |ms| {
            let Charge { pause, over_for } = limiter.charge(client, at(ms));
            (pause.as_millis(), over_for.as_millis())
        };
        let debt = |ms| limiter.debt(client, at(ms)).as_millis();
        assert_eq!([charge(0), charge(0)], [(0, 0); 2], "the burst");
        assert_eq!((debt(0), charge(0), debt(0)), (0, (100, 0), 100));
        assert_eq!((debt(99), debt(100)), (1, 0));
        assert_eq!(limiter.take(client, at(100)), Err(Duration::from_millis(100)));
        assert_eq!((charge(100), charge(1000)), ((100, 100), (0, 0)), "it is within its rate again");
        assert_eq!(ClientId::new(1).map(|other| limiter.debt(other, at(0))), Some(Duration::ZERO));
    }

    #[test]
    fn reads_no_clock_without_a_rate() {
        let limiter = ClientRateLimiter::new(&Limits::default());
        let (client, never) = (ClientId::default(), || unreachable!("the clock is not read"));
        assert_eq!((limiter.take(client, never), limiter.charge(client, never)), (Ok(()), Charge::default()));
        assert!(limiter.debt(client, never).is_zero());
    }
}
