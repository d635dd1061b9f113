//! Limits on failed authentications.
//!
//! Nobody can lock a client out from another address: an address without failures of its own is never blocked, nor is one
//! that has authenticated as the same client before.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{AddressKey, BucketTable, Rate};
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::metrics::Rejection;

const MINUTE: Duration = Duration::from_secs(60);
/// Addresses remembered for each client.
const KNOWN: usize = 8;

/// Counts recent failures by address and by client, and blocks both above their limits.
#[derive(Debug)]
pub struct AuthFailures {
    per_address: Option<Rate>,
    per_client: Option<Rate>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    addresses: BucketTable<AddressKey>,
    /// Ids of registered clients.
    clients: BucketTable<ClientId>,
    /// All other ids. An attacker chooses them, so they must not push registered ids out; they are counted at all so that
    /// timing does not tell which ids are registered.
    unregistered: BucketTable<ClientId>,
    /// The last addresses that each client authenticated from; they do not expire.
    known: BucketTable<ClientId, [Option<AddressKey>; KNOWN]>,
}

/// An attempt to authenticate.
#[derive(Clone, Copy, Debug)]
pub struct AuthAttempt {
    /// The address it comes from, `None` if unknown.
    pub address: Option<AddressKey>,
    /// The id it names.
    pub client: ClientId,
    /// Whether a client with this id is registered.
    pub is_registered: bool,
    /// Whether the token is that client's.
    pub has_valid_token: bool,
}

impl AuthFailures {
    /// A counter with the limits `maxAuthFailuresPerAddress` and `maxAuthFailuresPerClient`.
    pub fn new(limits: &Limits) -> Self {
        let per_address = Rate::new(limits.max_auth_failures_per_address, MINUTE, 0);
        let per_client = Rate::new(limits.max_auth_failures_per_client, MINUTE, 0);
        let bound = Limits::MAX_TRACKED_ADDRESSES;
        let counted = Counted {
            addresses: BucketTable::new(bound, MINUTE * 2),
            clients: BucketTable::unbounded(per_client.as_ref()),
            unregistered: BucketTable::new(bound, MINUTE * 2),
            known: BucketTable::new(bound, Duration::MAX),
        };
        Self { per_address, per_client, counted: Mutex::new(counted) }
    }

    /// Returns whether an attempt succeeds, and counts it if it fails.
    ///
    /// # Errors
    /// [`Rejection`] if the address or client is blocked, whatever the token. Such an attempt is not counted, so that the
    /// block ends even if attempts go on.
    pub fn check(&self, attempt: AuthAttempt, now: Instant) -> Result<bool, Rejection> {
        let AuthAttempt { client, is_registered, has_valid_token, .. } = attempt;
        // Without a limit of its own, an address's failures are counted at the clients' rate: `admit` asks for them.
        let (Some(address), Some(rate)) = (attempt.address, self.per_address.or(self.per_client)) else {
            return Ok(has_valid_token);
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let count_key = counted.addresses.count_key(address);
        counted.admit(self, attempt, address, count_key, now)?;
        if has_valid_token {
            counted.known.update(client, now, |known| remember(known, address));
        } else {
            counted.addresses.update(count_key, now, |bucket| bucket.charge(&rate, now));
            if let Some(rate) = &self.per_client {
                // `take` and not `charge`: attempts from new addresses always count, and would else extend the block forever.
                counted.ids(is_registered).update(client, now, |bucket| bucket.take(rate, now).ok());
            }
        }
        Ok(has_valid_token)
    }
}

/// Moves an address to the front of the known addresses.
fn remember(known: &mut [Option<AddressKey>; KNOWN], address: AddressKey) {
    let position = known.iter().position(|known| *known == Some(address)).unwrap_or(KNOWN - 1);
    known[..=position].rotate_right(1);
    known[0] = Some(address);
}

impl Counted {
    fn ids(&mut self, are_registered: bool) -> &mut BucketTable<ClientId> {
        if are_registered { &mut self.clients } else { &mut self.unregistered }
    }

    /// Checks that neither the address nor the client is blocked.
    fn admit(
        &mut self,
        failures: &AuthFailures,
        AuthAttempt { client, is_registered, .. }: AuthAttempt,
        address: AddressKey,
        count_key: AddressKey,
        now: Instant,
    ) -> Result<(), Rejection> {
        if self.known.get(client).contains(&Some(address)) {
            return Ok(());
        }
        let is_empty = |bucket: super::Bucket, rate: Option<Rate>| {
            rate.is_some_and(|rate| !bucket.wait(&rate, now).is_zero())
        };
        let bucket = self.addresses.get(count_key);
        let has_failed = !bucket.is_full(now);
        let is_client_blocked = is_empty(self.ids(is_registered).get(client), failures.per_client);
        if is_empty(bucket, failures.per_address) {
            return Err(Rejection::MaxAuthFailuresPerAddress);
        }
        if has_failed && is_client_blocked {
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

    /// Returns whether an attempt succeeds.
    fn authenticates(
        failures: &AuthFailures,
        from: Option<AddressKey>,
        id: ClientId,
        has_valid_token: bool,
        now: Instant,
    ) -> bool {
        let attempt =
            AuthAttempt { address: from, client: id, is_registered: id.get() < REGISTERED, has_valid_token };
        failures.check(attempt, now) == Ok(true)
    }

    fn key(number: u8) -> Option<AddressKey> {
        Some(AddressKey::of(IpAddr::from([10, 0, 0, number]).into()))
    }

    fn id(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    #[test]
    fn blocks_an_address_with_too_many_failures_for_a_while() {
        let (failures, now) = (failures(3, 0), Instant::now());
        for n in 0..3 {
            assert!(!authenticates(&failures, key(1), id(n), false, now));
        }
        assert!(!authenticates(&failures, key(1), id(9), true, now), "the right token does not help");
        assert!(authenticates(&failures, key(2), id(9), true, now), "other addresses are not blocked");
        // Attempts while it is blocked do not extend the block.
        assert!(authenticates(&failures, key(1), id(9), true, now + MINUTE / 3));
    }

    #[test]
    fn admits_the_owner_of_an_id_whatever_others_do_to_it() {
        let (failures, now) = (failures(0, 2), Instant::now());
        assert!(authenticates(&failures, key(1), id(0), true, now));
        for n in 2..100 {
            for _ in 0..3 {
                assert!(!authenticates(&failures, key(n), id(0), false, now));
            }
            assert!(
                !authenticates(&failures, key(n), id(0), true, now),
                "an address with failures is blocked"
            );
            assert!(authenticates(&failures, key(n), id(1), true, now), "but not for other ids");
        }
        assert!(authenticates(&failures, key(101), id(0), true, now), "an address without failures is not");
        // Even after failures from the owner's own address.
        for _ in 0..10 {
            assert!(!authenticates(&failures, key(1), id(0), false, now));
        }
        assert!(authenticates(&failures, key(1), id(0), true, now));
    }

    #[test]
    fn unblocks_an_id_after_an_attack() {
        let (failures, now) = (failures(0, 2), Instant::now());
        for n in 0..100 {
            assert!(!authenticates(&failures, key(n), id(0), false, now));
        }
        assert!(!authenticates(&failures, key(0), id(0), true, now));
        assert!(authenticates(&failures, key(0), id(0), true, now + MINUTE / 2));
    }

    #[test]
    fn failures_of_other_ids_do_not_unblock_an_id() {
        let (failures, now) = (failures(0, 2), Instant::now());
        let fail = |client| assert!(!authenticates(&failures, key(1), id(client), false, now));
        (0..3).for_each(|_| fail(0));
        (REGISTERED..REGISTERED + 2 * Limits::MAX_TRACKED_ADDRESSES as u64).for_each(fail);
        assert!(!authenticates(&failures, key(1), id(0), true, now));
        assert!(authenticates(&failures, key(1), id(0), true, now + MINUTE / 2));
        let counted = failures.counted.lock().expect("not poisoned");
        assert!(counted.unregistered.key_count() <= Limits::MAX_TRACKED_ADDRESSES);
    }

    #[test]
    fn remembers_the_last_addresses_of_a_client_whoever_else_authenticates() {
        let (failures, now) = (failures(0, 2), Instant::now());
        for place in 0..=KNOWN as u8 {
            assert!(authenticates(&failures, key(place), id(0), true, now));
        }
        for many in 0..2 * Limits::MAX_TRACKED_ADDRESSES as u128 {
            let place = AddressKey::of(IpAddr::from(Ipv6Addr::from_bits(many << 64)).into());
            assert!(authenticates(&failures, Some(place), id(1), true, now));
        }
        for place in 0..=KNOWN as u8 {
            (0..3).for_each(|_| _ = authenticates(&failures, key(place), id(0), false, now));
            assert_eq!(authenticates(&failures, key(place), id(0), true, now), place > 0, "{place}");
        }
    }

    #[test]
    fn counts_a_network_that_uses_many_addresses_as_one() {
        let (failures, now) = (failures(2, 0), Instant::now());
        let place = |network: u128, many: u128| {
            Some(AddressKey::of(IpAddr::from(Ipv6Addr::from_bits(network << 80 | many << 64)).into()))
        };
        let fail = |from| {
            let attempt =
                AuthAttempt { address: from, client: id(0), is_registered: true, has_valid_token: false };
            failures.check(attempt, now).is_ok()
        };
        assert!(fail(place(1, 0)) && fail(place(1, 0)) && !fail(place(1, 0)));
        let taken = (1..65_536).filter(|many| fail(place(1, *many))).count();
        assert!((30_000..33_000).contains(&taken), "{taken}");
        assert!(!fail(place(1, 0)), "what it failed before is not forgotten");
        assert!(fail(place(2, 0)) && fail(key(1)), "other addresses are not blocked");
        assert!(authenticates(&failures, place(1, 65_535), id(0), true, now + MINUTE));
    }

    #[test]
    fn without_a_limit_or_an_address_only_the_token_counts() {
        let now = Instant::now();
        for (failures, address) in [(failures(0, 0), key(1)), (failures(1, 1), None)] {
            for _ in 0..100 {
                assert!(!authenticates(&failures, address, id(0), false, now));
            }
            assert!(authenticates(&failures, address, id(0), true, now));
        }
    }
}
