//! Messages that wait for too long: they are dropped when somebody is about to read or to add others, and at the latest
//! when their time has come.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::backend::Undelivered;
use crate::model::{self, SeqRange};

/// Mailboxes that are looked at one after the other before somebody else has a turn.
const BATCH: usize = 64;

/// Where to look, and what was found.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// When which mailbox is to be looked at.
    visits: BTreeSet<(Instant, ClientId)>,
    /// How many messages have expired that nobody has counted yet: from whom, for whom.
    expired: BTreeMap<(ClientId, ClientId), u64>,
}

impl Memory {
    fn expiry(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message that came last has come. Returns when its mailbox is to be looked at, if it has to be told.
    pub(super) fn arrived(&self, slot: &mut Slot) -> Option<Instant> {
        let ttl = self.limits.message_ttl;
        if ttl.is_zero() { None } else { slot.mailbox.start_ttl(Instant::now(), ttl) }
    }

    /// Has a mailbox looked at then. To be called after unlocking it.
    pub(super) fn visit_at(&self, id: ClientId, visit: Option<Instant>) {
        let Some(at) = visit else { return };
        let mut expiry = self.expiry();
        let is_next = expiry.visits.first().is_none_or(|(next, _)| at < *next);
        expiry.visits.insert((at, id));
        drop(expiry);
        if is_next {
            self.deadline.notify_one();
        }
    }

    /// A mailbox is gone that was to be looked at.
    pub(super) fn visit_no_more(&self, id: ClientId, visit: Option<Instant>) {
        if let Some(at) = visit {
            self.expiry().visits.remove(&(at, id));
        }
    }

    /// When to look next; an error when there is something to be counted already.
    pub(super) fn next_visit(&self) -> Result<Option<Instant>, ()> {
        let expiry = self.expiry();
        if expiry.expired.is_empty() { Ok(expiry.visits.first().map(|(at, _)| *at)) } else { Err(()) }
    }

    /// Drops what has waited for too long for a client.
    pub(super) fn expire_waiting(&self, id: ClientId, client: &Client) {
        if !self.limits.message_ttl.is_zero() {
            let (freed, expired) = client.slot().mailbox.expire(Instant::now());
            self.tell_expired(id, freed, expired);
        }
    }

    pub(in crate::backend) fn expire_messages(&self, now: Instant) -> Vec<Undelivered> {
        for _ in 0..BATCH {
            let mut expiry = self.expiry();
            let Some((at, id)) = expiry.visits.first().copied().filter(|(at, _)| *at <= now) else { break };
            expiry.visits.remove(&(at, id));
            drop(expiry);
            let Some(client) = self.client(id) else { continue };
            let mut slot = client.slot();
            let (freed, expired) = slot.mailbox.expire(now);
            let is_all = slot.outlet.as_ref().is_none_or(|outlet| outlet.outbox.is_empty());
            let next = slot.mailbox.schedule_check(is_all);
            drop(slot);
            self.visit_at(id, next);
            self.tell_expired(id, freed, expired);
        }
        let expired = std::mem::take(&mut self.expiry().expired);
        let undelivered = |((sender, recipient), messages)| Undelivered { sender, recipient, messages };
        expired.into_iter().map(undelivered).collect()
    }

    fn tell_expired(&self, recipient: ClientId, freed: Freed, expired: Vec<model::ExpiredMessages>) {
        if expired.is_empty() {
            return;
        }
        self.free(recipient, freed);
        for model::ExpiredMessages { sender, messages, ranges } in expired {
            *self.expiry().expired.entry((sender, recipient)).or_default() += messages as u64;
            let Some(client) = self.client(sender) else { continue };
            for SeqRange { session, first, last, previous } in ranges {
                let expiry = model::ExpiredRange { target: recipient, first, last };
                client.notify(
                    |reader| reader.session == session,
                    |notices| notices.record_expired(expiry, previous),
                );
            }
            self.count_notices(&client, &mut client.slot());
        }
        self.deadline.notify_one();
    }

    pub(in crate::backend) fn ask(&self, claim: &Claim) {
        self.with_notices(claim, Notices::ping_sent);
    }

    pub(in crate::backend) fn answered(&self, claim: &Claim) {
        self.with_notices(claim, Notices::pong_received);
    }

    fn with_notices(&self, claim: &Claim, change: impl FnOnce(&mut Notices)) {
        let mut slot = claim.client.slot();
        if let Some(reliable) = slot.reliable.as_mut().filter(|_| claim.is_current()) {
            change(&mut reliable.notices);
            self.count_notices(&claim.client, &mut slot);
        }
    }

    /// Counts a client's notices against the total bound, and takes nothing more from it while it has too many. To be called
    /// under its lock when they may have changed.
    pub(super) fn count_notices(&self, client: &Client, slot: &mut Slot) {
        let Some(Reliable { notices, counted, .. }) = slot.reliable.as_deref_mut() else { return };
        let now = (notices.cost(), notices.is_full());
        if now != *counted {
            self.recount(counted.0, now.0);
            client.is_held.store(now.1, Ordering::Relaxed);
            *counted = now;
        }
    }
}

/// Appends that messages have expired. They were accepted, and that has to be known before.
pub(super) fn write_expiry(number: u64, expiry: model::ExpiredRange, frames: &mut Vec<u8>) {
    let model::ExpiredRange { target, first, last } = expiry;
    encode::notice(&Notice::Accepted { target, seq: last }, frames);
    encode::notice(&Notice::Expired { target, first, last, number }, frames);
}
