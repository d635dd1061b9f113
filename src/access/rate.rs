//! Token buckets, as a function of the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In which one token comes.
    period: Duration,
    /// In which a bucket fills.
    capacity: Duration,
}

impl Rate {
    /// `count` times in each `span`; `burst` at once, or as many as in one span where that is 0. `None` is without end.
    pub fn new(count: usize, span: Duration, burst: usize) -> Option<Self> {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let period = span.checked_div(number(count))?;
        let burst = if burst == 0 { count } else { burst };
        Some(Self { period, capacity: period.saturating_mul(number(burst)) })
    }
}

/// How much is left. A new one is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When it is full again, or was.
    full_at: Option<Instant>,
}

impl Bucket {
    fn missing(self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }

    /// How long it takes until there is a token; nothing if there is one.
    pub fn wait(self, rate: &Rate, now: Instant) -> Duration {
        (self.missing(now) + rate.period).saturating_sub(rate.capacity)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(&mut self, rate: &Rate, now: Instant) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Duration::ZERO => {
                self.charge(rate, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes a token that may not be there yet; returns how long it takes until it is.
    pub fn charge(&mut self, rate: &Rate, now: Instant) -> Duration {
        let missing = self.missing(now) + rate.period;
        self.full_at = now.checked_add(missing);
        missing.saturating_sub(rate.capacity)
    }

    /// Whether nothing was taken, or all of it has come back.
    pub fn is_full(self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    /// Whether at least half of it is there.
    pub fn is_half_full(self, rate: &Rate, now: Instant) -> bool {
        self.missing(now) * 2 <= rate.capacity
    }
}

/// Buckets by key, a bounded number of them: of those that were not used for longest it forgets half at a time, and they
/// are full again.
#[derive(Debug)]
pub struct Buckets<K> {
    bound: usize,
    recent: HashMap<K, Bucket>,
    older: HashMap<K, Bucket>,
}

impl<K: Hash + Eq + Copy> Buckets<K> {
    /// At most `bound` of them.
    pub fn new(bound: usize) -> Self {
        Self { bound, recent: HashMap::new(), older: HashMap::new() }
    }

    /// Whether it remembers a bucket.
    pub fn contains(&self, key: K) -> bool {
        self.recent.contains_key(&key) || self.older.contains_key(&key)
    }

    /// Remembers a bucket.
    pub fn insert(&mut self, key: K) {
        self.update(key, |_| ());
    }

    /// A bucket as it is.
    pub fn get(&self, key: K) -> Bucket {
        self.recent.get(&key).or_else(|| self.older.get(&key)).copied().unwrap_or_default()
    }

    /// Uses a bucket.
    pub fn update<T>(&mut self, key: K, change: impl FnOnce(&mut Bucket) -> T) -> T {
        if let Some(bucket) = self.recent.get_mut(&key) {
            return change(bucket);
        }
        let mut bucket = self.get(key);
        let changed = change(&mut bucket);
        if self.recent.len() >= self.bound / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, bucket);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_may_come_at_once_and_then_one_each_period() {
        let rate = Rate::new(10, SECOND, 3).expect("a rate");
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(&rate, start), Ok(()));
        }
        assert_eq!(bucket.take(&rate, start), Err(SECOND / 10));
        // Who asks too early has lost nothing by it.
        assert_eq!(bucket.take(&rate, start + SECOND / 20), Err(SECOND / 20));
        assert_eq!(bucket.take(&rate, start + SECOND / 10), Ok(()));
        assert_eq!(bucket.take(&rate, start + SECOND / 10), Err(SECOND / 10));
        // Time does not add up to more than the burst.
        let later = start + 1000 * SECOND;
        assert!(bucket.is_full(later));
        assert_eq!((0..9).filter(|_| bucket.take(&rate, later).is_ok()).count(), 3);
    }

    #[test]
    fn over_a_long_time_it_is_the_rate_however_it_is_asked() {
        for (count, burst, step) in [(1, 0, 7), (10, 1, 3), (1000, 50, 1), (333, 0, 13)] {
            let rate = Rate::new(count, SECOND, burst).expect("a rate");
            let (mut bucket, start) = (Bucket::default(), Instant::now());
            let times = (0..10_000).step_by(step).map(|ms| start + Duration::from_millis(ms));
            let taken: usize =
                times.map(|now| (0..count).take_while(|_| bucket.take(&rate, now).is_ok()).count()).sum();
            let most = 10 * count + if burst == 0 { count } else { burst };
            assert!(
                taken <= most && taken + count / 50 + 2 >= 10 * count.min(10_000),
                "{count} {burst}: {taken}"
            );
        }
    }

    #[test]
    fn what_is_charged_in_advance_has_to_be_waited_for() {
        let rate = Rate::new(2, SECOND, 2).expect("a rate");
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        assert!(bucket.is_half_full(&rate, start));
        let waits: Vec<_> = (0..4).map(|_| bucket.charge(&rate, start)).collect();
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, SECOND / 2, SECOND]);
        assert!(!bucket.is_half_full(&rate, start + SECOND));
        assert!(bucket.is_half_full(&rate, start + 3 * SECOND / 2));
    }

    #[test]
    fn nothing_is_no_rate() {
        assert!(Rate::new(0, SECOND, 5).is_none());
    }

    #[test]
    fn a_table_keeps_its_bound_and_those_that_are_used() {
        let rate = Rate::new(1, SECOND, 1).expect("a rate");
        let (mut buckets, now) = (Buckets::new(100), Instant::now());
        buckets.update(0, |bucket| bucket.charge(&rate, now));
        for key in 1..10_000 {
            assert_eq!(buckets.update(key, |bucket| bucket.take(&rate, now)), Ok(()), "{key}");
            assert!(!buckets.get(0).is_full(now), "{key}");
            buckets.update(0, |_| ());
            assert!(buckets.recent.len() + buckets.older.len() <= 100);
        }
        assert!(buckets.get(1).is_full(now));
    }
}
