//! Authentications that failed, and who is not listened to for a while because of them.
//!
//! Nobody can shut the owner of an id out from elsewhere: an address that has not failed itself is always listened to, and so
//! is one for the ids that it has been let in with.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AddressKey, BucketTable, Rate};
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::metrics::Rejection;

const MINUTE: Duration = Duration::from_secs(60);
/// Places that are remembered of each client.
const KNOWN: usize = 8;

/// What failed of late. Nothing is kept when there is no bound.
#[derive(Debug)]
pub struct AuthFailures {
    per_source: Option<Rate>,
    per_client: Option<Rate>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    sources: BucketTable<AddressKey>,
    /// Ids of clients that are registered.
    clients: BucketTable<ClientId>,
    /// Other ids, which whoever fails may choose: so that nothing is forgotten of a client because of them, and nobody can
    /// tell by the time which is which.
    strangers: BucketTable<ClientId>,
    /// From where each client was let in last. Never by time: whoever has been here is known.
    known: BucketTable<ClientId, [Option<AddressKey>; KNOWN]>,
}

/// An attempt to authenticate.
#[derive(Clone, Copy, Debug)]
pub struct AuthAttempt {
    /// Where it comes from.
    pub source: Option<AddressKey>,
    /// As whom.
    pub client: ClientId,
    /// Whether there is such a client.
    pub is_registered: bool,
    /// Whether the token is its.
    pub is_right: bool,
}

impl AuthFailures {
    /// `maxAuthFailuresPerAddress` and `maxAuthFailuresPerClient`.
    pub fn new(limits: &Limits) -> Self {
        let per_source = Rate::new(limits.max_auth_failures_per_address, MINUTE, 0);
        let per_client = Rate::new(limits.max_auth_failures_per_client, MINUTE, 0);
        let (bound, for_ever) = (Limits::MAX_TRACKED_ADDRESSES, Duration::MAX);
        let counted = Counted {
            sources: BucketTable::new(bound, MINUTE * 2),
            clients: BucketTable::unbounded(per_client.as_ref()),
            strangers: BucketTable::new(bound, MINUTE * 2),
            known: BucketTable::new(bound, for_ever),
        };
        Self { per_source, per_client, counted: Mutex::new(counted) }
    }

    /// What comes of an attempt: whether its client is let in.
    ///
    /// # Errors
    /// [`Rejection`] when it does not count. It is not held against anybody either, so that the wait has an end.
    pub fn check(&self, attempt: AuthAttempt, now: Instant) -> Result<bool, Rejection> {
        let AuthAttempt { client, is_registered, is_right, .. } = attempt;
        // Without a rate of its own a place has that of the ids, to know whether it has failed.
        let (Some(source), Some(rate)) = (attempt.source, self.per_source.or(self.per_client)) else {
            return Ok(is_right);
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let place = counted.sources.place(source);
        counted.admit(self, attempt, source, place, now)?;
        if is_right {
            counted.known.update(client, now, |known| remember(known, source));
        } else {
            counted.sources.update(place, now, |bucket| bucket.charge(&rate, now));
            if let Some(rate) = &self.per_client {
                // Not beyond empty: addresses that have not failed before add to it, and the wait is to have an end.
                counted.ids(is_registered).update(client, now, |bucket| bucket.take(rate, now).ok());
            }
        }
        Ok(is_right)
    }
}

/// Puts a place first of those that are known.
fn remember(known: &mut [Option<AddressKey>; KNOWN], source: AddressKey) {
    let place = known.iter().position(|known| *known == Some(source)).unwrap_or(KNOWN - 1);
    known[..=place].rotate_right(1);
    known[0] = Some(source);
}

impl Counted {
    fn ids(&mut self, are_registered: bool) -> &mut BucketTable<ClientId> {
        if are_registered { &mut self.clients } else { &mut self.strangers }
    }

    fn admit(
        &mut self,
        failures: &AuthFailures,
        AuthAttempt { client, is_registered, .. }: AuthAttempt,
        source: AddressKey,
        place: AddressKey,
        now: Instant,
    ) -> Result<(), Rejection> {
        if self.known.get(client).contains(&Some(source)) {
            return Ok(());
        }
        let has_run_out = |bucket: super::Bucket, rate: Option<Rate>| {
            rate.is_some_and(|rate| !bucket.wait(&rate, now).is_zero())
        };
        let of_source = self.sources.get(place);
        let is_suspect = !of_source.is_full(now);
        let client_has_run_out = has_run_out(self.ids(is_registered).get(client), failures.per_client);
        if has_run_out(of_source, failures.per_source) {
            return Err(Rejection::MaxAuthFailuresPerAddress);
        }
        if is_suspect && client_has_run_out {
            return Err(Rejection::MaxAuthFailuresPerClient);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn failures(per_address: usize, per_client: usize) -> AuthFailures {
        AuthFailures::new(&Limits {
            max_auth_failures_per_address: per_address,
            max_auth_failures_per_client: per_client,
            ..Limits::default()
        })
    }

    const REGISTERED: u64 = 1000;

    /// Whether somebody is let in.
    fn judge(
        failures: &AuthFailures,
        from: Option<AddressKey>,
        id: ClientId,
        is_right: bool,
        now: Instant,
    ) -> bool {
        let attempt =
            AuthAttempt { source: from, client: id, is_registered: id.get() < REGISTERED, is_right };
        failures.check(attempt, now) == Ok(true)
    }

    fn source(number: u8) -> Option<AddressKey> {
        Some(AddressKey::of(IpAddr::from([10, 0, 0, number]).into()))
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
    fn what_an_id_has_failed_is_not_forgotten_for_that_others_fail() {
        let (failures, now) = (failures(0, 2), Instant::now());
        let fail = |client| assert!(!judge(&failures, source(1), id(client), false, now));
        (0..3).for_each(|_| fail(0));
        (REGISTERED..REGISTERED + 2 * Limits::MAX_TRACKED_ADDRESSES as u64).for_each(fail);
        assert!(!judge(&failures, source(1), id(0), true, now));
        assert!(judge(&failures, source(1), id(0), true, now + MINUTE / 2));
        let counted = failures.counted.lock().expect("not poisoned");
        assert!(counted.strangers.remembered() <= Limits::MAX_TRACKED_ADDRESSES);
    }

    #[test]
    fn a_client_is_known_in_the_places_that_it_came_from_last_whoever_else_comes() {
        let (failures, now) = (failures(0, 2), Instant::now());
        for place in 0..=KNOWN as u8 {
            assert!(judge(&failures, source(place), id(0), true, now));
        }
        for many in 0..2 * Limits::MAX_TRACKED_ADDRESSES as u128 {
            let place = AddressKey::of(IpAddr::from(Ipv6Addr::from_bits(many << 64)).into());
            assert!(judge(&failures, Some(place), id(1), true, now));
        }
        for place in 0..=KNOWN as u8 {
            (0..3).for_each(|_| _ = judge(&failures, source(place), id(0), false, now));
            assert_eq!(judge(&failures, source(place), id(0), true, now), place > 0, "{place}");
        }
    }

    #[test]
    fn a_network_that_comes_with_many_addresses_is_one_and_others_are_not() {
        let (failures, now) = (failures(2, 0), Instant::now());
        let place = |network: u128, many: u128| {
            Some(AddressKey::of(IpAddr::from(Ipv6Addr::from_bits(network << 80 | many << 64)).into()))
        };
        let fail = |from| {
            let attempt = AuthAttempt { source: from, client: id(0), is_registered: true, is_right: false };
            failures.check(attempt, now).is_ok()
        };
        assert!(fail(place(1, 0)) && fail(place(1, 0)) && !fail(place(1, 0)));
        let taken = (1..65_536).filter(|many| fail(place(1, *many))).count();
        assert!((30_000..33_000).contains(&taken), "{taken}");
        assert!(!fail(place(1, 0)), "what it failed before is not forgotten");
        assert!(fail(place(2, 0)) && fail(source(1)), "others are not concerned");
        assert!(judge(&failures, place(1, 65_535), id(0), true, now + MINUTE));
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
