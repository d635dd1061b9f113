//! How clients come and go, and what there is to know of them.

use super::*;
use crate::backend::{Departure, Parted, Status, Totals};
use crate::model::{MailboxSize, Shard, Unregistered};
use crate::trim::trim;

/// Peers that forget a client at one time.
const PARTED: usize = 64;

impl Memory {
    pub(in crate::backend) fn register(&self, life: Option<Duration>) -> Result<Registration, Error> {
        let token = Token::random().map_err(refused)?;
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let before = registry.next_deadline();
        let id = registry.register(token.clone(), Arc::default(), life, Instant::now());
        let is_next = registry.next_deadline() != before;
        drop(registry);
        if is_next {
            self.deadline.notify_one();
        }
        Ok(Registration { id, token })
    }

    pub(in crate::backend) fn refresh(&self, id: ClientId, life: Option<Duration>) -> Result<Token, Error> {
        let token = Token::random().map_err(refused)?;
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let before = registry.next_deadline();
        if !registry.refresh(id, token.clone(), life, Instant::now()) {
            return Err(Error::ClientNotFound { argument: "clientId" });
        }
        let is_next = registry.next_deadline() != before;
        drop(registry);
        if is_next {
            self.deadline.notify_one();
        }
        Ok(token)
    }

    pub(in crate::backend) fn unregister(&self, id: ClientId, reason: CloseReason) -> Result<Parted, Error> {
        let found = self.registry.write().unwrap_or_else(PoisonError::into_inner).unregister(id);
        let found = found.ok_or(Error::ClientNotFound { argument: "clientId" })?;
        let mut departure = self.depart(id, found, reason);
        while self.part(&mut departure) {}
        Ok(departure.parted)
    }

    pub(in crate::backend) fn expire(&self, now: Instant) -> Option<Departure> {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let id = registry.overdue(now)?;
        let found = registry.unregister(id)?;
        drop(registry);
        Some(self.depart(id, found, CloseReason::Expired))
    }

    pub(in crate::backend) async fn deadline(&self) {
        loop {
            let next = self.registry.read().unwrap_or_else(PoisonError::into_inner).next_deadline();
            let Ok(visit) = self.next_visit() else { return };
            let Some(next) = next.into_iter().chain(visit).min() else {
                self.deadline.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => return,
                () = self.deadline.notified() => {}
            }
        }
    }

    pub(in crate::backend) fn drop_messages(&self) {
        for id in self.ids() {
            let Some(client) = self.client(id) else { continue };
            let mut slot = client.slot();
            // A connection that cannot end puts back what it has not written.
            if slot.outlet.is_some() {
                continue;
            }
            if let Some(reliable) = slot.reliable.take() {
                self.recount(reliable.counted.0, 0);
            }
            let visit = slot.mailbox.scheduled_check();
            let MailboxSize { messages, bytes } = slot.mailbox.clear();
            drop(slot);
            self.visit_no_more(id, visit);
            self.recount(bytes, 0);
            self.queued_messages.fetch_sub(messages, Ordering::Relaxed);
        }
    }

    /// Ends the connection of a client that is registered no more, and takes its mailbox. Its peers are yet to forget it,
    /// see [`Memory::part`].
    fn depart(
        &self,
        id: ClientId,
        Unregistered { client, is_sparse }: Unregistered<Arc<Client>>,
        reason: CloseReason,
    ) -> Departure {
        let mut slot = client.slot();
        slot.is_gone = true;
        let retired = slot.retire(false);
        let (waiting, contents) = (slot.mailbox.release_held_senders(), slot.mailbox.size());
        let mailbox = std::mem::take(&mut slot.mailbox);
        if let Some(reliable) = slot.reliable.take() {
            self.recount(reliable.counted.0, 0);
        }
        let was_connected = retired.is_some();
        let mut undelivered = contents;
        let bell = retired.map(|Retired { bell, outbox, messages, bytes, stuck }| {
            // They count among the contents, and did not before.
            undelivered.messages -= messages;
            undelivered.bytes -= bytes;
            self.recount(stuck, 0);
            bell.end(reason, outbox.untaken().into());
            bell
        });
        // After the reason is there: from here on the connection is refused everything.
        client.claim.fetch_add(1, Ordering::AcqRel);
        drop(slot);
        ring(bell);
        self.visit_no_more(id, mailbox.scheduled_check());
        self.recount(undelivered.bytes, 0);
        self.queued_messages.fetch_sub(undelivered.messages, Ordering::Relaxed);
        self.ring(&waiting);
        // All of them at once: nobody opens or revokes a channel of a client that is gone.
        self.channels.fetch_sub(mailbox.channels().len(), Ordering::Relaxed);
        let peers = mailbox.senders();
        let parted = Parted { was_connected, undelivered: contents.messages };
        Departure { client: id, parted, peers, is_sparse }
    }

    pub(in crate::backend) fn part(&self, departure: &mut Departure) -> bool {
        let Departure { client, peers, is_sparse, .. } = departure;
        let listed: Vec<_> =
            peers.take(PARTED).into_iter().filter(|peer| self.part_from(*peer, *client)).collect();
        self.list(listed);
        if peers.is_empty() && std::mem::take(is_sparse) {
            trim();
        }
        !peers.is_empty()
    }

    /// Has a peer forget a client that is gone. True when it is to be put in line to hear of that.
    fn part_from(&self, peer: ClientId, client: ClientId) -> bool {
        let Some(other) = self.client(peer) else { return false };
        let mut slot = other.slot();
        let was_authorized = slot.mailbox.is_authorized(client);
        let freed = slot.mailbox.forget(client);
        if let Some(reliable) = slot.reliable.as_deref_mut() {
            reliable.notices.forget(client);
        }
        // Who is away learns who is there when it comes back.
        let is_listed = was_authorized && introduce(&mut slot, client);
        let bell = slot.bell_after(&freed);
        drop(slot);
        ring(bell);
        self.free(peer, freed);
        is_listed
    }

    pub(in crate::backend) fn disconnect(
        &self,
        id: ClientId,
        reason: CloseReason,
        tell: impl FnOnce(),
    ) -> Result<bool, Error> {
        let client = self.client(id).ok_or(Error::ClientNotFound { argument: "clientId" })?;
        let mut slot = client.slot();
        let Some(Retired { bell, outbox, messages, bytes, stuck }) = slot.retire(false) else {
            return Ok(false);
        };
        self.requeued(messages);
        self.recount(stuck, bytes);
        bell.end(reason, outbox.untaken().into());
        // After the reason is there: from here on the connection is refused everything.
        client.claim.fetch_add(1, Ordering::AcqRel);
        let (waiting, has_changed) = (slot.mailbox.release_held_senders(), slot.presence.change());
        // Under the lock, as in `claim`.
        tell();
        drop(slot);
        bell.ring();
        self.ring(&waiting);
        if has_changed {
            self.announce(id);
        }
        self.expire_waiting(id, &client);
        Ok(true)
    }

    pub(in crate::backend) fn ids(&self) -> Vec<ClientId> {
        let mut ids = Vec::new();
        for shard in Shard::all() {
            // Of all of them at once others would have to wait.
            ids.extend(self.registry.read().unwrap_or_else(PoisonError::into_inner).ids(shard));
        }
        ids.sort_unstable();
        ids
    }

    pub(in crate::backend) fn status(&self, id: ClientId) -> Option<Status> {
        let client = self.client(id)?;
        let slot = client.slot();
        Some(Status { is_connected: slot.outlet.is_some(), waiting: slot.mailbox.size() })
    }

    pub(in crate::backend) fn totals(&self) -> Totals {
        let registered = self.registry.read().unwrap_or_else(PoisonError::into_inner).len();
        let queued = self.queued_messages.load(Ordering::Relaxed);
        Totals {
            registered,
            channels: self.channels.load(Ordering::Relaxed),
            // What was read may have been appended a moment before it was counted.
            queued_messages: isize::try_from(queued).map_or(0, isize::unsigned_abs),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed),
            relayed_messages: self.relayed_messages.load(Ordering::Relaxed),
            relayed_bytes: self.relayed_bytes.load(Ordering::Relaxed),
        }
    }

    /// So many messages wait in a mailbox now.
    pub(super) fn requeued(&self, messages: usize) {
        if messages > 0 {
            self.queued_messages.fetch_add(messages, Ordering::Relaxed);
        }
    }

    pub(super) fn is_former(&self, id: ClientId) -> bool {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).is_former(id)
    }
}
