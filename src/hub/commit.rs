//! When a message counts as accepted: once the store has committed it, or its recipient has received it.

use std::sync::PoisonError;

use super::Hub;
use super::claim::Claim;
use super::pending::Uncommitted;
use crate::ids::{ClientId, Offset};
use crate::sync::MutexGuard;

impl Hub {
    fn uncommitted(&self) -> MutexGuard<'_, Uncommitted> {
        self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a numbered message that was just appended. Returns its offset if the store has yet to commit it. Called under the
    /// recipient's lock.
    pub(super) fn wait_for_commit(
        &self,
        recipient: ClientId,
        offset: Offset,
        sender: ClientId,
    ) -> Option<Offset> {
        if self.store.commits_at_once() {
            return None;
        }
        self.uncommitted().add(recipient, offset, sender);
        Some(offset)
    }

    /// Returns the offset of the last message to the recipient that the store has yet to commit.
    pub(super) fn last_uncommitted(&self, recipient: ClientId, sender: ClientId) -> Option<Offset> {
        if self.store.commits_at_once() { None } else { self.uncommitted().last(recipient, sender) }
    }

    /// Whether the claim's message with this offset in the target's mailbox may be accepted.
    pub fn is_committed(&self, claim: &Claim, target: ClientId, offset: Offset) -> bool {
        !self.uncommitted().contains(target, offset, claim.id)
    }

    /// Called by the store: everything in the recipient's mailbox up to `upto` is committed. Wakes the senders' sessions, which
    /// tell them.
    pub fn commit(&self, recipient: ClientId, upto: Offset) {
        let senders = self.uncommitted().commit(recipient, upto, None);
        self.ring(&senders);
    }

    /// Called when the recipient has received the messages of `sender` up to `upto`.
    pub(super) fn commit_received(&self, recipient: ClientId, upto: Offset, sender: ClientId) {
        if !self.store.commits_at_once() {
            let senders = self.uncommitted().commit(recipient, upto, Some(sender));
            self.ring(&senders);
        }
    }
}
