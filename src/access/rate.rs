//! Token buckets, as functions of the time.

use std::time::{Duration, Instant};

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The time in which one token is added.
    period: Duration,
    /// The time in which an empty bucket fills.
    capacity: Duration,
}

impl Rate {
    /// A rate of `count` per `span`, with bursts of `burst`, or of `count` if that is 0. `None` (no limit) if `count` is 0.
    pub fn new(count: usize, span: Duration, burst: usize) -> Option<Self> {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let period = span.checked_div(number(count))?;
        let burst = if burst == 0 { count } else { burst };
        Some(Self { period, capacity: period.saturating_mul(number(burst)) })
    }

    /// Returns the time after which every bucket is full again, whatever was taken from it.
    pub fn span(&self) -> Duration {
        self.capacity.saturating_mul(2)
    }
}

/// A token bucket, full at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When it is full again, or was.
    full_at: Option<Instant>,
}

impl Bucket {
    /// The time until it is full.
    fn missing(self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }

    /// Returns the time until a token is available, zero if one is.
    pub fn wait(self, rate: &Rate, now: Instant) -> Duration {
        (self.missing(now) + rate.period).saturating_sub(rate.capacity)
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The time until one is available.
    pub fn take(&mut self, rate: &Rate, now: Instant) -> Result<(), Duration> {
        match self.wait(rate, now) {
            Duration::ZERO => {
                self.charge(rate, now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Takes a token even if none is available, and returns the time until it would be. Debt is limited to one burst, so
    /// that it ends.
    pub fn charge(&mut self, rate: &Rate, now: Instant) -> Duration {
        let missing = (self.missing(now) + rate.period).min(rate.span());
        self.full_at = now.checked_add(missing);
        missing.saturating_sub(rate.capacity)
    }

    /// Returns the time until nothing is owed.
    pub fn debt(self, rate: &Rate, now: Instant) -> Duration {
        self.missing(now).saturating_sub(rate.capacity)
    }

    /// Returns whether it is full.
    pub fn is_full(self, now: Instant) -> bool {
        self.missing(now).is_zero()
    }

    /// Returns whether at least half of its tokens are available.
    pub fn is_half_full(self, rate: &Rate, now: Instant) -> bool {
        self.missing(now) * 2 <= rate.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn allows_a_burst_and_then_one_per_period() {
        let rate = Rate::new(10, SECOND, 3).expect("a rate");
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(bucket.take(&rate, start), Ok(()));
        }
        assert_eq!(bucket.take(&rate, start), Err(SECOND / 10));
        // Asking too early costs nothing.
        assert_eq!(bucket.take(&rate, start + SECOND / 20), Err(SECOND / 20));
        assert_eq!(bucket.take(&rate, start + SECOND / 10), Ok(()));
        assert_eq!(bucket.take(&rate, start + SECOND / 10), Err(SECOND / 10));
        // Unused time adds up to one burst at most.
        let later = start + 1000 * SECOND;
        assert!(bucket.is_full(later));
        assert_eq!((0..9).filter(|_| bucket.take(&rate, later).is_ok()).count(), 3);
    }

    #[test]
    fn keeps_the_rate_over_a_long_time() {
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
    fn charge_returns_the_wait_for_tokens_taken_in_advance() {
        let rate = Rate::new(2, SECOND, 2).expect("a rate");
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        assert!(bucket.is_half_full(&rate, start));
        let waits: Vec<_> = (0..4).map(|_| bucket.charge(&rate, start)).collect();
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, SECOND / 2, SECOND]);
        assert!(!bucket.is_half_full(&rate, start + SECOND));
        assert!(bucket.is_half_full(&rate, start + 3 * SECOND / 2));
    }

    #[test]
    fn a_count_of_0_is_no_rate() {
        assert!(Rate::new(0, SECOND, 5).is_none());
    }

    #[test]
    fn debt_is_limited_to_a_burst_and_paid_with_time() {
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
}
