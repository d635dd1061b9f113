//! Messages that waited longer than `messageTtl`: they are dropped when their mailbox is next read or appended to, and at
//! the latest by the maintenance task. A mailbox tells the task once when to look, not for each message.

use std::sync::PoisonError;
use std::time::Instant;

use super::Hub;
use super::claim::Claim;
use super::client::Client;
use super::pending::ExpirySchedule;
use super::state::{ClientState, ReliableState};
use crate::ids::ClientId;
use crate::model::{self, Freed, Notices, SeqRange};
use crate::sync::{MutexGuard, Ordering};

/// Mailboxes that are looked at before others have their turn.
const BATCH: usize = 64;

/// Messages that were not received in time and are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredMessages {
    /// Who sent them.
    pub sender: ClientId,
    /// Who was to receive them.
    pub recipient: ClientId,
    /// How many.
    pub messages: u64,
}

impl Hub {
    fn expiry(&self) -> MutexGuard<'_, ExpirySchedule> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when the message that was appended last expires. Returns when the mailbox is to be visited, if the schedule has
    /// to be told.
    pub(super) fn schedule_expiry(&self, state: &mut ClientState) -> Option<Instant> {
        let ttl = self.limits.message_ttl;
        if ttl.is_zero() { None } else { state.mailbox.start_ttl(Instant::now(), ttl) }
    }

    /// Schedules a visit to a mailbox. Called after unlocking it.
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

    /// Cancels the visit to a mailbox that is gone.
    pub(super) fn cancel_visit(&self, id: ClientId, visit: Option<Instant>) {
        if let Some(at) = visit {
            self.expiry().visits.remove(&(at, id));
        }
    }

    /// Returns when the next visit is due; an error when expired messages wait to be reported.
    pub(super) fn next_visit(&self) -> Result<Option<Instant>, ()> {
        let expiry = self.expiry();
        if expiry.expired.is_empty() { Ok(expiry.visits.first().map(|(at, _)| *at)) } else { Err(()) }
    }

    /// Drops expired messages of a client that is about to be read or appended to.
    pub(super) fn expire_waiting(&self, id: ClientId, client: &Client) {
        if !self.limits.message_ttl.is_zero() {
            let (freed, expired) = client.lock().mailbox.expire(Instant::now());
            self.report_expired(id, freed, expired);
        }
    }

    /// Drops messages that have expired by `now`. Returns all that were dropped since the last call.
    pub fn expire_messages(&self, now: Instant) -> Vec<ExpiredMessages> {
        for _ in 0..BATCH {
            let mut expiry = self.expiry();
            let Some((at, id)) = expiry.visits.first().copied().filter(|(at, _)| *at <= now) else { break };
            expiry.visits.remove(&(at, id));
            drop(expiry);
            let Some(client) = self.client(id) else { continue };
            let mut state = client.lock();
            let (freed, expired) = state.mailbox.expire(now);
            let is_written = state.connection.as_ref().is_none_or(|connection| connection.outbox.is_empty());
            let next = state.mailbox.schedule_check(is_written);
            drop(state);
            self.visit_at(id, next);
            self.report_expired(id, freed, expired);
        }
        let expired = std::mem::take(&mut self.expiry().expired);
        let report = |((sender, recipient), messages)| ExpiredMessages { sender, recipient, messages };
        expired.into_iter().map(report).collect()
    }

    fn report_expired(&self, recipient: ClientId, freed: Freed, expired: Vec<model::ExpiredMessages>) {
        if expired.is_empty() {
            return;
        }
        self.release_freed(recipient, freed);
        for model::ExpiredMessages { sender, messages, ranges } in expired {
            *self.expiry().expired.entry((sender, recipient)).or_default() += messages as u64;
            let Some(client) = self.client(sender) else { continue };
            for SeqRange { session: id, first, last, previous } in ranges {
                let expiry = model::ExpiredRange { target: recipient, first, last };
                client.notify(|session| session.id == id, |notices| notices.record_expired(expiry, previous));
            }
            self.count_notices(&client, &mut client.lock());
        }
        self.deadline.notify_one();
    }

    /// Notes that a heartbeat is sent: its answer confirms everything that was moved to the outbox before.
    pub fn heartbeat_sent(&self, claim: &Claim) {
        self.with_notices(claim, Notices::ping_sent);
    }

    /// Notes that the heartbeat was answered.
    pub fn heartbeat_answered(&self, claim: &Claim) {
        self.with_notices(claim, Notices::pong_received);
    }

    fn with_notices(&self, claim: &Claim, change: impl FnOnce(&mut Notices)) {
        let mut state = claim.client.lock();
        if let Some(reliable) = state.reliable.as_mut().filter(|_| claim.is_current()) {
            change(&mut reliable.notices);
            self.count_notices(&claim.client, &mut state);
        }
    }

    /// Counts a client's notices against the total bound, and holds its messages while it has too many. Called under the
    /// client's lock when they may have changed.
    pub(super) fn count_notices(&self, client: &Client, state: &mut ClientState) {
        let Some(ReliableState { notices, counted, .. }) = state.reliable.as_deref_mut() else { return };
        let now = (notices.cost(), notices.is_full());
        if now != *counted {
            self.budget.adjust(counted.0, now.0);
            client.is_held.store(now.1, Ordering::Relaxed);
            *counted = now;
        }
    }
}
