//! Authentications that failed, and who is not listened to for a while because of them.
//!
//! Nobody can shut the owner of an id out from elsewhere: an address that has not failed itself is always listened to, and so
//! is one for the ids that it has been let in with.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Buckets, Rate, Source};
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::metrics::TurnedAway;

const MINUTE: Duration = Duration::from_secs(60);

/// What failed of late. Nothing is kept when there is no bound.
#[derive(Debug)]
pub struct Failures {
    per_source: Option<Rate>,
    per_client: Option<Rate>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    sources: Buckets<Source>,
    clients: Buckets<ClientId>,
    /// Who was let in from where. The buckets are of no use; the table's bound is.
    known: Buckets<(Source, ClientId)>,
}

impl Failures {
    /// `maxAuthFailuresPerAddress` and `maxAuthFailuresPerClient`.
    pub fn new(limits: &Limits) -> Self {
        let per_source = Rate::new(limits.max_auth_failures_per_address, MINUTE, 0);
        let per_client = Rate::new(limits.max_auth_failures_per_client, MINUTE, 0);
        let bound = Limits::MAX_COUNTED;
        let (sources, clients, known) = (Buckets::new(bound), Buckets::new(bound), Buckets::new(bound));
        Self { per_source, per_client, counted: Mutex::new(Counted { sources, clients, known }) }
    }

    /// What comes of an attempt to authenticate, which `is_right` or is not.
    ///
    /// # Errors
    /// [`TurnedAway`] when it does not count. It is not held against anybody either, so that the wait has an end.
    pub fn judge(
        &self,
        source: Option<Source>,
        client: ClientId,
        is_right: bool,
        now: Instant,
    ) -> Result<bool, TurnedAway> {
        // Without a rate of its own a place has that of the ids, to know whether it has failed.
        let (Some(source), Some(rate)) = (source, self.per_source.or(self.per_client)) else {
            return Ok(is_right);
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.admit(self, source, client, now)?;
        if is_right {
            counted.known.insert((source, client));
        } else {
            counted.sources.update(source, |bucket| bucket.charge(&rate, now));
            if let Some(rate) = &self.per_client {
                // Not beyond empty: addresses that have not failed before add to it, and the wait is to have an end.
                counted.clients.update(client, |bucket| bucket.take(rate, now).ok());
            }
        }
        Ok(is_right)
    }
}

impl Counted {
    fn admit(
        &self,
        failures: &Failures,
        source: Source,
        client: ClientId,
        now: Instant,
    ) -> Result<(), TurnedAway> {
        if self.known.contains((source, client)) {
            return Ok(());
        }
        let has_run_out = |bucket: super::Bucket, rate: Option<Rate>| {
            rate.is_some_and(|rate| !bucket.wait(&rate, now).is_zero())
        };
        let of_source = self.sources.get(source);
        let is_suspect = !of_source.is_full(now);
        let client_has_run_out = has_run_out(self.clients.get(client), failures.per_client);
        if has_run_out(of_source, failures.per_source) {
            return Err(TurnedAway::MaxAuthFailuresPerAddress);
        }
        if is_suspect && client_has_run_out {
            return Err(TurnedAway::MaxAuthFailuresPerClient);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn failures(per_address: usize, per_client: usize) -> Failures {
        Failures::new(&Limits {
            max_auth_failures_per_address: per_address,
            max_auth_failures_per_client: per_client,
            ..Limits::default()
        })
    }

    /// Whether somebody is let in.
    fn judge(failures: &Failures, from: Option<Source>, id: ClientId, is_right: bool, now: Instant) -> bool {
        failures.judge(from, id, is_right, now) == Ok(true)
    }

    fn source(number: u8) -> Option<Source> {
        Some(Source::of(IpAddr::from([10, 0, 0, number]).into()))
    }

    fn id(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    #[test]
    fn an_address_that_fails_too_often_is_not_listened_to_until_its_time_has_passed() {
        let (failures, now) = (failures(3, 0), Instant::now());
        for n in 0..3 {
            assert!(!judge(&failures, source(1), id(n), false, now));
        }
        assert!(!judge(&failures, source(1), id(9), true, now), "the right token does not help");
        assert!(judge(&failures, source(2), id(9), true, now), "others are not concerned");
        // What was refused meanwhile has not made it longer.
        assert!(judge(&failures, source(1), id(9), true, now + MINUTE / 3));
    }

    #[test]
    fn the_owner_of_an_id_is_let_in_whatever_others_do_to_it() {
        let (failures, now) = (failures(0, 2), Instant::now());
        assert!(judge(&failures, source(1), id(0), true, now));
        for n in 2..100 {
            for _ in 0..3 {
                assert!(!judge(&failures, source(n), id(0), false, now));
            }
            assert!(!judge(&failures, source(n), id(0), true, now), "who has failed is not listened to");
            assert!(judge(&failures, source(n), id(1), true, now), "but for other ids");
        }
        assert!(judge(&failures, source(101), id(0), true, now), "who has not failed is");
        // Even if the owner fails as well, after it was let in, or somebody does at its address.
        for _ in 0..10 {
            assert!(!judge(&failures, source(1), id(0), false, now));
        }
        assert!(judge(&failures, source(1), id(0), true, now));
    }

    #[test]
    fn an_id_that_was_under_attack_is_as_ever_afterwards() {
        let (failures, now) = (failures(0, 2), Instant::now());
        for n in 0..100 {
            assert!(!judge(&failures, source(n), id(0), false, now));
        }
        assert!(!judge(&failures, source(0), id(0), true, now));
        assert!(judge(&failures, source(0), id(0), true, now + MINUTE / 2));
    }

    #[test]
    fn without_a_bound_or_an_address_the_token_alone_counts() {
        let now = Instant::now();
        for (failures, source) in [(failures(0, 0), source(1)), (failures(1, 1), None)] {
            for _ in 0..100 {
                assert!(!judge(&failures, source, id(0), false, now));
            }
            assert!(judge(&failures, source, id(0), true, now));
        }
    }
}
