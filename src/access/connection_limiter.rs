//! How many connections come from one place, and how often.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AddressKey, BucketTable, Rate};
use crate::limits::Limits;
use crate::metrics::Rejection;

/// Who is here. Nothing is kept when there is no bound.
#[derive(Debug)]
pub struct ConnectionLimiter {
    max: usize,
    rate: Option<Rate>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    /// Only those that have one: no more than there are connections.
    open: HashMap<AddressKey, usize>,
    arrivals: BucketTable<AddressKey>,
}

/// A connection, as long as it is here.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    source: AddressKey,
}

impl ConnectionLimiter {
    /// `maxConnectionsPerAddress`, `connectionRate` and `connectionBurst`.
    pub fn new(limits: &Limits) -> Self {
        let rate = Rate::new(limits.connection_rate, Duration::from_secs(1), limits.connection_burst);
        let span = rate.as_ref().map(Rate::span).unwrap_or_default();
        let counted =
            Counted { open: HashMap::new(), arrivals: BucketTable::new(Limits::MAX_TRACKED_ADDRESSES, span) };
        Self { max: limits.max_connections_per_address, rate, counted: Mutex::new(counted) }
    }

    /// Lets one more connection of a place in.
    ///
    /// # Errors
    /// [`Rejection`] when there are too many, or they come too fast. One that is not let in does not count.
    pub fn admit(self: &Arc<Self>, source: AddressKey, now: Instant) -> Result<ConnectionPermit, Rejection> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if self.max > 0 && counted.open.get(&source).is_some_and(|open| *open >= self.max) {
            return Err(Rejection::MaxConnectionsPerAddress);
        }
        if let Some(rate) = &self.rate {
            let place = counted.arrivals.place(source);
            let taken = counted.arrivals.update(place, now, |bucket| bucket.take(rate, now));
            taken.map_err(|_| Rejection::ConnectionRate)?;
        }
        *counted.open.entry(source).or_default() += 1;
        Ok(ConnectionPermit { limiter: Arc::clone(self), source })
    }

    /// Whether anything is bounded here.
    pub fn are_counted(&self) -> bool {
        self.max > 0 || self.rate.is_some()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counted = self.limiter.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = counted.open.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                counted.open.remove(&self.source);
                if counted.open.len() < counted.open.capacity() / 8 {
                    let few = 2 * counted.open.len();
                    counted.open.shrink_to(few);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> AddressKey {
        AddressKey::of(text.parse().expect("an address"))
    }

    #[test]
    fn a_place_has_its_number_of_connections_and_others_have_theirs() {
        let limits = Limits { max_connections_per_address: 2, ..Limits::default() };
        let (limiter, now) = (Arc::new(ConnectionLimiter::new(&limits)), Instant::now());
        let (one, two) = (source("2001:db8::1"), source("2001:db8::2"));
        let permits = [limiter.admit(one, now), limiter.admit(two, now)];
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(limiter.admit(one, now).err(), Some(Rejection::MaxConnectionsPerAddress));
        assert!(limiter.admit(source("2001:db8:1::"), now).is_ok());
        drop(permits);
        assert!(limiter.admit(two, now).is_ok());
        assert!(limiter.counted.lock().expect("not poisoned").open.is_empty());
    }

    #[test]
    fn a_place_has_its_rate_and_those_that_are_refused_do_not_count() {
        let limits = Limits { connection_rate: 1, connection_burst: 3, ..Limits::default() };
        let (limiter, now) = (Arc::new(ConnectionLimiter::new(&limits)), Instant::now());
        let one = source("1.2.3.4");
        assert_eq!((0..10).filter(|_| limiter.admit(one, now).is_ok()).count(), 3);
        assert_eq!(limiter.admit(one, now).err(), Some(Rejection::ConnectionRate));
        assert!(limiter.admit(source("1.2.3.5"), now).is_ok());
        let later = now + Duration::from_secs(2);
        assert_eq!((0..10).filter(|_| limiter.admit(one, later).is_ok()).count(), 2);
    }
}
