//! Who may come, and how often: pure rules, and tables of what was counted, each of a bounded size.

mod address;
mod auth_failures;
mod connection_limiter;
mod fair_queue;
mod list;
mod rate;
mod source;

pub use address::{HostAddress, InvalidAddress};
pub use auth_failures::{AuthAttempt, AuthFailures};
pub use connection_limiter::{ConnectionLimiter, ConnectionPermit};
pub use fair_queue::{Bounds, FairQueue, Ticket};
pub use list::{members, trim};
pub use rate::{Bucket, BucketTable, Rate};
pub use source::{AddressKey, Network, TrustedProxies};

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ids::ClientId;
use crate::limits::Limits;

/// How much each client may send, by all of its connections together.
#[derive(Debug)]
pub struct ClientRateLimiter {
    rate: Option<Rate>,
    /// The keys are clients that have authenticated.
    clients: Mutex<BucketTable<ClientId, Spent>>,
}

/// What a client has sent of late.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    bucket: Bucket,
    /// Since when it has been over its rate, until it calms down.
    over_since: Option<Instant>,
}

/// What a message costs that was read already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// How long nothing more is to be read of its client.
    pub pause: Duration,
    /// For how long the client has been over its rate; nothing when it is not now.
    pub over_for: Duration,
}

impl ClientRateLimiter {
    /// `rateLimit` and `rateLimitBurst`.
    pub fn new(limits: &Limits) -> Self {
        Self::at(Rate::new(limits.rate_limit, Duration::from_secs(1), limits.rate_limit_burst))
    }

    /// [`Limits::OFFENCE_EVENT_BURST`], and then one in [`Limits::OFFENCE_EVENT_INTERVAL`].
    pub fn for_offence_events(limits: &Limits) -> Self {
        let burst = Limits::OFFENCE_EVENT_BURST.max(limits.max_offences);
        Self::at(Rate::new(1, Limits::OFFENCE_EVENT_INTERVAL, burst))
    }

    fn at(rate: Option<Rate>) -> Self {
        let clients = Mutex::new(BucketTable::unbounded(rate.as_ref()));
        Self { rate, clients }
    }

    /// Uses what is known of a client. What time it is is asked only where that matters: to look at the clock takes as long
    /// as to read a message.
    fn update<T>(
        &self,
        client: ClientId,
        now: impl FnOnce() -> Instant,
        change: impl FnOnce(&mut Spent, &Rate, Instant) -> T,
    ) -> Option<T> {
        let rate = self.rate.as_ref()?;
        let now = now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        Some(clients.update(client, now, |spent| change(spent, rate, now)))
    }

    /// Counts a message, if `client` may send it now.
    ///
    /// # Errors
    /// How long it has to wait until it may.
    pub fn take(&self, client: ClientId, now: impl FnOnce() -> Instant) -> Result<(), Duration> {
        self.update(client, now, |spent, rate, now| spent.bucket.take(rate, now)).unwrap_or(Ok(()))
    }

    /// Counts a message that was read already. A client is over its rate until it has half of its burst left.
    pub fn charge(&self, client: ClientId, now: impl FnOnce() -> Instant) -> Charge {
        let charge = |Spent { bucket, over_since }: &mut Spent, rate: &Rate, now: Instant| {
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

    /// How long nothing is to be read of a client that has just connected, for what it sent before.
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
    fn what_a_client_was_charged_it_owes_until_it_has_waited() {
        let limiter =
            ClientRateLimiter::new(&Limits { rate_limit: 10, rate_limit_burst: 2, ..Limits::default() });
        let (client, start) = (ClientId::default(), Instant::now());
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
        assert_eq!((charge(100), charge(1000)), ((100, 100), (0, 0)), "it has calmed down");
        assert_eq!(ClientId::new(1).map(|other| limiter.debt(other, at(0))), Some(Duration::ZERO));
    }

    #[test]
    fn a_client_without_a_rate_owes_nothing() {
        let limiter = ClientRateLimiter::new(&Limits::default());
        let (client, never) = (ClientId::default(), || unreachable!("nobody asks what time it is"));
        assert_eq!((limiter.take(client, never), limiter.charge(client, never)), (Ok(()), Charge::default()));
        assert!(limiter.debt(client, never).is_zero());
    }
}
