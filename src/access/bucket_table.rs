//! A bounded table of token buckets.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::{AddressKey, Bucket, Rate};

/// A table of values by key, of buckets mostly. A value is kept for `span` after its last use. When the table exceeds
/// `bound`, it forgets the least recently used half. A forgotten value starts again at its default.
#[derive(Debug)]
pub struct BucketTable<K, V = Bucket> {
    bound: usize,
    span: Duration,
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
    /// When the first value was put into `recent`.
    since: Option<Instant>,
}

impl<K: Hash + Eq + Copy, V: Default + Copy> BucketTable<K, V> {
    /// An empty table of at most `bound` values, each kept for `span`.
    pub fn new(bound: usize, span: Duration) -> Self {
        Self { bound, span, recent: HashMap::new(), older: HashMap::new(), since: None }
    }

    /// A table without a bound, for keys that clients cannot choose. A bucket of `rate` is kept until it must be full.
    pub fn unbounded(rate: Option<&Rate>) -> Self {
        Self::new(usize::MAX, rate.map(Rate::span).unwrap_or_default())
    }

    /// Returns whether the table has a value for `key`.
    pub fn contains(&self, key: K) -> bool {
        self.recent.contains_key(&key) || self.older.contains_key(&key)
    }

    /// Returns the number of keys.
    pub fn key_count(&self) -> usize {
        self.recent.len() + self.older.len()
    }

    /// Returns the value of `key`, the default if there is none.
    pub fn get(&self, key: K) -> V {
        self.recent.get(&key).or_else(|| self.older.get(&key)).copied().unwrap_or_default()
    }

    /// Changes the value of `key`, which counts as a use of it.
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

    /// Forgets the values that were not used since the last call.
    fn forget(&mut self, now: Instant) {
        self.older = std::mem::take(&mut self.recent);
        self.since = Some(now);
    }
}

impl BucketTable<AddressKey> {
    /// Returns the key to count an address by: itself, or its network if it is new and the table is half full. Otherwise
    /// an attacker could push its own record out of the table by using many addresses of one network.
    pub fn count_key(&self, address: AddressKey) -> AddressKey {
        let is_crowded = self.key_count() >= self.bound / 2;
        if is_crowded && !self.contains(address) { address.network() } else { address }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keeps_its_bound_and_the_values_in_use() {
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
    fn an_unbounded_table_forgets_full_buckets_only() {
        let rate = Rate::new(1, SECOND, 3).expect("a rate");
        let (mut buckets, start) = (BucketTable::<_>::unbounded(Some(&rate)), Instant::now());
        let charge = |buckets: &mut BucketTable<u32>, key, now| {
            buckets.update(key, now, |bucket| (0..9).for_each(|_| _ = bucket.charge(&rate, now)));
        };
        for key in 0..200_000 {
            charge(&mut buckets, key, start);
        }
        assert!((0..200_000).all(|key| !buckets.get(key).debt(&rate, start).is_zero()));
        // Whatever other keys are used meanwhile.
        for tenths in 1..=200 {
            let now = start + SECOND * tenths / 10;
            charge(&mut buckets, 200_000 + tenths, now);
            let is_full = |key| buckets.get(key).is_full(now);
            assert!(tenths >= 60 || (0..200_000).step_by(1000).all(|key| !is_full(key)), "{tenths}");
        }
        assert!(buckets.recent.len() + buckets.older.len() <= 200);
    }
}
