//! Token buckets, as a function of the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::AddressKey;

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

    /// The time after which any bucket is full again, whatever was taken from it.
    pub fn span(&self) -> Duration {
        self.capacity.saturating_mul(2)
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

    /// Takes a token that may not be there yet; returns how long it takes until it is. A bucket debt at most as much as it
    /// holds, so that there is an end to it.
    pub fn charge(&mut self, rate: &Rate, now: Instant) -> Duration {
        let missing = (self.missing(now) + rate.period).min(rate.span());
        self.full_at = now.checked_add(missing);
        missing.saturating_sub(rate.capacity)
    }

    /// How long it takes until nothing is owed.
    pub fn debt(self, rate: &Rate, now: Instant) -> Duration {
        self.missing(now).saturating_sub(rate.capacity)
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

/// Values by key, buckets mostly. Each is kept for a span of time after it was used last. At most `bound` are: when there are
/// more, half of them are forgotten, those that were not used for longest. Whatever is forgotten begins anew.
#[derive(Debug)]
pub struct BucketTable<K, V = Bucket> {
    bound: usize,
    span: Duration,
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
    /// When the first of the recent ones was used.
    since: Option<Instant>,
}

impl<K: Hash + Eq + Copy, V: Default + Copy> BucketTable<K, V> {
    /// At most `bound` of them, each for `span`.
    pub fn new(bound: usize, span: Duration) -> Self {
        Self { bound, span, recent: HashMap::new(), older: HashMap::new(), since: None }
    }

    /// As many as there are keys, which are not the clients' to choose; each as long as a bucket of this rate needs to fill.
    pub fn unbounded(rate: Option<&Rate>) -> Self {
        Self::new(usize::MAX, rate.map(Rate::span).unwrap_or_default())
    }

    /// Whether it remembers a key.
    pub fn contains(&self, key: K) -> bool {
        self.recent.contains_key(&key) || self.older.contains_key(&key)
    }

    /// How many are remembered.
    pub fn remembered(&self) -> usize {
        self.recent.len() + self.older.len()
    }

    /// A value as it is.
    pub fn get(&self, key: K) -> V {
        self.recent.get(&key).or_else(|| self.older.get(&key)).copied().unwrap_or_default()
    }

    /// Uses a value.
    pub fn update<T>(&mut self, key: K, now: Instant, change: impl FnOnce(&mut V) -> T) -> T {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.span {
            self.forget(now);
        }
        if let Some(value) = self.recent.get_mut(&key) {
            return change(value);
        }
        let mut value = self.get(key);
        let changed = change(&mut value);
        if self.recent.len() >= self.bound / 2 {
            self.forget(now);
        }
        self.recent.insert(key, value);
        changed
    }

    /// Forgets those that were not used since it last forgot some.
    fn forget(&mut self, now: Instant) {
        self.older = std::mem::take(&mut self.recent);
        self.since = Some(now);
    }
}

impl BucketTable<AddressKey> {
    /// By what a place is counted: itself. When there are so many that some would soon be forgotten, a new one is counted by
    /// its network: whoever has many addresses is not to be forgotten for bringing them all.
    pub fn place(&self, source: AddressKey) -> AddressKey {
        let is_crowded = self.remembered() >= self.bound / 2;
        if is_crowded && !self.contains(source) { source.network() } else { source }
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
    fn what_is_owed_is_bounded_and_paid_with_time() {
        let rate = Rate::new(10, SECOND, 5).expect("a rate");
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..5 {
            bucket.charge(&rate, start);
            assert!(bucket.debt(&rate, start).is_zero());
        }
        assert_eq!((bucket.charge(&rate, start), bucket.debt(&rate, start)), (SECOND / 10, SECOND / 10));
        (0..1000).for_each(|_| _ = bucket.charge(&rate, start));
        assert_eq!(bucket.debt(&rate, start), SECOND / 2, "no more than a burst");
        assert!(bucket.debt(&rate, start + SECOND / 2).is_zero());
        assert!(!bucket.is_full(start + SECOND * 9 / 10) && bucket.is_full(start + rate.span()));
    }

    #[test]
    fn a_table_keeps_its_bound_and_those_that_are_used() {
        let rate = Rate::new(1, SECOND, 1).expect("a rate");
        let (mut buckets, now) = (BucketTable::<_>::new(100, SECOND), Instant::now());
        buckets.update(0, now, |bucket| bucket.charge(&rate, now));
        for key in 1..10_000 {
            assert_eq!(buckets.update(key, now, |bucket| bucket.take(&rate, now)), Ok(()), "{key}");
            assert!(!buckets.get(0).is_full(now), "{key}");
            buckets.update(0, now, |_: &mut Bucket| ());
            assert!(buckets.recent.len() + buckets.older.len() <= 100);
        }
        assert!(buckets.get(1).is_full(now));
    }

    #[test]
    fn an_unbounded_table_forgets_nothing_that_is_owed_and_everything_that_is_not() {
        let rate = Rate::new(1, SECOND, 3).expect("a rate");
        let (mut buckets, start) = (BucketTable::<_>::unbounded(Some(&rate)), Instant::now());
        let charge = |buckets: &mut BucketTable<u32>, key, now| {
            buckets.update(key, now, |bucket| (0..9).for_each(|_| _ = bucket.charge(&rate, now)));
        };
        for key in 0..200_000 {
            charge(&mut buckets, key, start);
        }
        assert!((0..200_000).all(|key| !buckets.get(key).debt(&rate, start).is_zero()));
        // Whenever others are used meanwhile.
        for tenths in 1..=200 {
            let now = start + SECOND * tenths / 10;
            charge(&mut buckets, 200_000 + tenths, now);
            let is_full = |key| buckets.get(key).is_full(now);
            assert!(tenths >= 60 || (0..200_000).step_by(1000).all(|key| !is_full(key)), "{tenths}");
        }
        assert!(buckets.recent.len() + buckets.older.len() <= 200);
    }
}
