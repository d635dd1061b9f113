//! Limits on the connections of one address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AddressKey, BucketTable, Rate};
use crate::limits::Limits;
use crate::metrics::Rejection;

/// Limits how many connections one address has open, and how many it opens per second.
#[derive(Debug)]
pub struct ConnectionLimiter {
    max: usize,
    rate: Option<Rate>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    /// Open connections by address; no address with none.
    open: HashMap<AddressKey, usize>,
    arrivals: BucketTable<AddressKey>,
}

/// Permission for one connection, released when dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    address: AddressKey,
}

impl ConnectionLimiter {
    /// A limiter with the limits `maxConnectionsPerAddress`, `connectionRate` and `connectionBurst`.
    pub fn new(limits: &Limits) -> Self {
        let rate = Rate::new(limits.connection_rate, Duration::from_secs(1), limits.connection_burst);
        let span = rate.as_ref().map(Rate::span).unwrap_or_default();
        let counted =
            Counted { open: HashMap::new(), arrivals: BucketTable::new(Limits::MAX_TRACKED_ADDRESSES, span) };
        Self { max: limits.max_connections_per_address, rate, counted: Mutex::new(counted) }
    }

    /// Acquires a permit for one more connection of an address.
    ///
    /// # Errors
    /// [`Rejection`] if the address has too many connections, or opens them too fast. A rejected connection does not count.
    pub fn acquire(
        self: &Arc<Self>,
        address: AddressKey,
        now: Instant,
    ) -> Result<ConnectionPermit, Rejection> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if self.max > 0 && counted.open.get(&address).is_some_and(|open| *open >= self.max) {
            return Err(Rejection::MaxConnectionsPerAddress);
        }
        if let Some(rate) = &self.rate {
            let key = counted.arrivals.count_key(address);
            let taken = counted.arrivals.update(key, now, |bucket| bucket.take(rate, now));
            taken.map_err(|_| Rejection::ConnectionRate)?;
        }
        *counted.open.entry(address).or_default() += 1;
        Ok(ConnectionPermit { limiter: Arc::clone(self), address })
    }

    /// Returns whether there is a limit to enforce.
    pub fn is_enabled(&self) -> bool {
        self.max > 0 || self.rate.is_some()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counted = self.limiter.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = counted.open.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                counted.open.remove(&self.address);
                if counted.open.len() < counted.open.capacity() / 8 {
                    let twice = 2 * counted.open.len();
                    counted.open.shrink_to(twice);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AddressKey {
        AddressKey::of(text.parse().expect("an address"))
    }

    #[test]
    fn limits_the_open_connections_of_each_address() {
        let limits = Limits { max_connections_per_address: 2, ..Limits::default() };
        let (limiter, now) = (Arc::new(ConnectionLimiter::new(&limits)), Instant::now());
        let (one, two) = (key("2001:db8::1"), key("2001:db8::2"));
        let permits = [limiter.acquire(one, now), limiter.acquire(two, now)];
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(limiter.acquire(one, now).err(), Some(Rejection::MaxConnectionsPerAddress));
        assert!(limiter.acquire(key("2001:db8:1::"), now).is_ok());
        drop(permits);
        assert!(limiter.acquire(two, now).is_ok());
        assert!(limiter.counted.lock().expect("not poisoned").open.is_empty());
    }

    #[test]
    fn limits_the_rate_of_each_address_and_counts_no_rejected_connection() {
        let limits = Limits { connection_rate: 1, connection_burst: 3, ..Limits::default() };
        let (limiter, now) = (Arc::new(ConnectionLimiter::new(&limits)), Instant::now());
        let one = key("1.2.3.4");
        assert_eq!((0..10).filter(|_| limiter.acquire(one, now).is_ok()).count(), 3);
        assert_eq!(limiter.acquire(one, now).err(), Some(Rejection::ConnectionRate));
        assert!(limiter.acquire(key("1.2.3.5"), now).is_ok());
        let later = now + Duration::from_secs(2);
        assert_eq!((0..10).filter(|_| limiter.acquire(one, later).is_ok()).count(), 2);
    }
}
