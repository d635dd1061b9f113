//! How clients and channels come and go, and what there is to know of them.

use super::*;
use crate::backend::{Parted, Status, Totals};
use crate::model::{Contents, Unregistered};
use crate::trim::trim;

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
        if !registry.refresh(id, token.clone(), life, Instant::now()) {
            return Err(Error::ClientNotFound { argument: "clientId" });
        }
        drop(registry);
        self.deadline.notify_one();
        Ok(token)
    }

    pub(in crate::backend) fn unregister(&self, id: ClientId, reason: CloseReason) -> Result<Parted, Error> {
        let mut channels = self.channels();
        let found = self.registry.write().unwrap_or_else(PoisonError::into_inner).unregister(id);
        let found = found.ok_or(Error::ClientNotFound { argument: "clientId" })?;
        Ok(self.forget(&mut channels, id, found, reason))
    }

    pub(in crate::backend) fn expire(&self, now: Instant) -> Option<(ClientId, Parted)> {
        let mut channels = self.channels();
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let id = registry.overdue(now)?;
        let found = registry.unregister(id)?;
        drop(registry);
        Some((id, self.forget(&mut channels, id, found, CloseReason::Expired)))
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
            slot.reliable = None;
            let visit = slot.mailbox.visit();
            let Contents { messages, bytes } = slot.mailbox.clear();
            client.count_opened(&slot);
            drop(slot);
            self.visit_no_more(id, visit);
            self.recount(bytes, 0);
            self.queued_messages.fetch_sub(messages, Ordering::Relaxed);
        }
    }

    /// Ends the connection of a client that is registered no more, and takes from everybody what is of it.
    fn forget(
        &self,
        channels: &mut usize,
        id: ClientId,
        Unregistered { client, many_left }: Unregistered<Arc<Client>>,
        reason: CloseReason,
    ) -> Parted {
        let mut slot = client.slot();
        slot.is_gone = true;
        let retired = slot.retire(false);
        let (waiting, contents) = (slot.mailbox.release_waiting(), slot.mailbox.contents());
        let mailbox = std::mem::take(&mut slot.mailbox);
        slot.reliable = None;
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
        self.visit_no_more(id, mailbox.visit());
        self.recount(undelivered.bytes, 0);
        self.queued_messages.fetch_sub(undelivered.messages, Ordering::Relaxed);
        self.ring(&waiting);
        for sender in mailbox.senders() {
            *channels -= usize::from(self.part(id, sender) && mailbox.is_authorized(sender));
        }
        // A channel to itself is gone with the mailbox.
        *channels -= usize::from(mailbox.is_authorized(id));
        drop((mailbox, client));
        if many_left {
            trim();
        }
        Parted { was_connected, undelivered: contents.messages }
    }

    /// Has `peer` forget `client`, who is gone. True when they had a channel.
    fn part(&self, client: ClientId, peer: ClientId) -> bool {
        let Some(other) = self.client(peer) else { return false };
        let mut slot = other.slot();
        let was_authorized = slot.mailbox.is_authorized(client);
        let freed = slot.mailbox.forget(client);
        other.count_opened(&slot);
        let is_connected = slot.outlet.is_some();
        if let Some(Reliable { reader, notices, .. }) = slot.reliable.as_deref_mut() {
            notices.forget(client);
            // Who is away learns who is there when it comes back.
            if was_authorized && is_connected && reader.is_some_and(|reader| reader.presence) {
                notices.presence(client);
            }
        }
        let bell = slot.outlet.as_ref().map(|outlet| Arc::clone(&outlet.bell));
        drop(slot);
        ring(bell);
        self.free(peer, freed);
        was_authorized
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
        let waiting = slot.mailbox.release_waiting();
        let channels: Vec<_> = slot.mailbox.channels().collect();
        // Under the lock, as in `claim`.
        tell();
        drop(slot);
        bell.ring();
        self.ring(&waiting);
        self.announce(id, &channels);
        self.expire_waiting(id, &client);
        Ok(true)
    }

    pub(in crate::backend) fn authorize_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let mut channels = self.channels();
        let find = |id, argument| self.client(id).ok_or(Error::ClientNotFound { argument });
        let (one, two) = (find(first, "clientId1")?, find(second, "clientId2")?);
        let is_new = open(&mut channels, &one, first, &two, second);
        if is_new { Ok(()) } else { Err(Error::ChannelExists) }
    }

    pub(in crate::backend) fn authorize_all(&self, ids: &[ClientId]) -> Result<usize, Error> {
        let mut channels = self.channels();
        let find = |id: &ClientId| Some((*id, self.client(*id)?));
        let argument = "each of clientIds";
        let clients: Option<Vec<_>> = ids.iter().map(find).collect();
        let clients = clients.ok_or(Error::ClientNotFound { argument })?;
        let mut opened = 0;
        for (place, (first, one)) in clients.iter().enumerate() {
            for (second, two) in clients[..place].iter().filter(|(second, _)| second != first) {
                opened += usize::from(open(&mut channels, one, *first, two, *second));
            }
        }
        Ok(opened)
    }

    pub(in crate::backend) fn revoke_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        let mut channels = self.channels();
        let find = |id, argument| self.client(id).ok_or(Error::ClientNotFound { argument });
        let (one, two) = (find(first, "clientId1")?, find(second, "clientId2")?);
        let may_send = |to: &Client, from| to.slot().mailbox.is_authorized(from);
        let may_both = [(&one, second), (&two, first)].into_iter().all(|(to, from)| may_send(to, from));
        if !may_both {
            return Err(Error::ChannelNotFound);
        }
        for (client, id, sender) in [(&one, first, second), (&two, second, first)] {
            let mut slot = client.slot();
            let freed = slot.mailbox.revoke(sender);
            client.count_opened(&slot);
            drop(slot);
            self.free(id, freed);
        }
        *channels -= 1;
        drop(channels);
        introduce(&one, first, &two, second);
        Ok(())
    }

    /// The recipient of a first message has let its sender send; it may answer.
    pub(super) fn answer_opening(&self, one: &Client, first: ClientId, two: &Client, second: ClientId) {
        let mut channels = self.channels();
        // Revoked since, or unregistered.
        if !two.slot().mailbox.is_authorized(first) {
            return;
        }
        let mut slot = one.slot();
        if slot.is_gone {
            drop(slot);
            let mut slot = two.slot();
            let freed = slot.mailbox.forget(first);
            two.count_opened(&slot);
            drop(slot);
            return self.free(second, freed);
        }
        // A channel to itself is answered already.
        let is_new = slot.mailbox.open(second) || first == second;
        one.count_opened(&slot);
        drop(slot);
        *channels += usize::from(is_new);
        drop(channels);
        introduce(one, first, two, second);
    }

    pub(in crate::backend) fn ids(&self) -> Vec<ClientId> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<_> = registry.ids().collect();
        drop(registry);
        ids.sort_unstable();
        ids
    }

    pub(in crate::backend) fn status(&self, id: ClientId) -> Option<Status> {
        let client = self.client(id)?;
        let slot = client.slot();
        Some(Status { is_connected: slot.outlet.is_some(), waiting: slot.mailbox.contents() })
    }

    pub(in crate::backend) fn totals(&self) -> Totals {
        let registered = self.registry.read().unwrap_or_else(PoisonError::into_inner).len();
        let queued = self.queued_messages.load(Ordering::Relaxed);
        Totals {
            registered,
            channels: *self.channels(),
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

    fn channels(&self) -> MutexGuard<'_, usize> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets two clients talk; false when they could already.
fn open(channels: &mut usize, one: &Client, first: ClientId, two: &Client, second: ClientId) -> bool {
    let is_new = one.slot().mailbox.authorize(second);
    if is_new {
        two.slot().mailbox.authorize(first);
        *channels += 1;
        introduce(one, first, two, second);
    }
    is_new
}
