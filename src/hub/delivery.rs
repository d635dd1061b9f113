//! How waiting messages reach the socket, and how their senders learn of it.

use std::task::Poll;

use super::Hub;
use super::claim::Claim;
use super::client::Client;
use super::outbox::{Outbox, ReadSlices};
use super::state::ClientState;
use crate::error::CloseReason;
use crate::ids::{ClaimNumber, ClientId, Offset};
use crate::limits::Limits;
use crate::model::{Freed, InvalidAck, Window};
use crate::sync::Ordering;

impl Hub {
    /// Moves waiting messages to the client's outbox, of each lane no more than its window, and passes it to `write`, again
    /// and again until nothing waits or `write` is pending. `write` is called at least once, even with an empty outbox, and
    /// must not call the hub.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn deliver(
        &self,
        claim: &Claim,
        mut write: impl FnMut(&mut Outbox) -> Poll<Result<(), CloseReason>>,
    ) -> Poll<Result<(), CloseReason>> {
        let mut result = Poll::Ready(Ok(()));
        self.write_with(claim.id, &claim.client, Some(claim.number), None, |state| {
            let Some(connection) = &mut state.connection else { return true };
            connection.outbox.copy_splices();
            result = write(&mut connection.outbox);
            matches!(result, Poll::Ready(Ok(())))
        });
        result
    }

    /// Writes what waits for a client to its socket. Rings its bell, and returns true, when the socket does not take all of
    /// it.
    pub(super) fn write_or_ring(
        &self,
        id: ClientId,
        client: &Client,
        slices: Option<&mut ReadSlices>,
    ) -> bool {
        let is_written = self.write_with(id, client, None, Some(slices), ClientState::try_write);
        if !is_written {
            client.ring();
        }
        !is_written
    }

    /// Has `write` write what waits for a client, unless its connection is not the one with this claim. Returns whether
    /// `write` has, each time, written everything.
    fn write_with(
        &self,
        id: ClientId,
        client: &Client,
        number: Option<ClaimNumber>,
        mut splice: Option<Option<&mut ReadSlices>>,
        mut write: impl FnMut(&mut ClientState) -> bool,
    ) -> bool {
        self.expire_waiting(id, client);
        loop {
            let mut state = client.lock();
            let holder = ClaimNumber(client.claim.load(Ordering::Acquire));
            if number.is_some_and(|number| number != holder) {
                return true;
            }
            let splice = splice.as_mut().map(|slices| (id, slices.as_deref_mut()));
            let mut freed = state.fill_outbox(&self.limits, self.life(), splice);
            self.count_notices(client, &mut state);
            self.subtract_freed(&freed);
            crate::faults::point(if number.is_some() { "deliver" } else { "flush" });
            let is_written = write(&mut state);
            let Some(connection) = &mut state.connection else { return true };
            if !is_written {
                connection.outbox.shrink();
            }
            let blocked = if is_written { 0 } else { connection.outbox.len() };
            self.budget.adjust(std::mem::replace(&mut connection.blocked_bytes, blocked), blocked);
            if is_written {
                state.clear_outbox(&mut freed);
            }
            let is_done = !is_written || !state.has_waiting();
            let is_queued = is_written && state.queue_presence();
            drop(state);
            self.queue_presence(is_queued.then_some(id));
            self.notify_senders(id, freed);
            if is_done {
                return is_written;
            }
        }
    }

    /// Whether a message waits that is not in the outbox yet, or the outbox is not written yet.
    pub fn has_waiting(&self, claim: &Claim) -> bool {
        let mut state = claim.client.lock();
        claim.is_current() && (state.is_writing() || state.mailbox.has_waiting())
    }

    /// Passes the outbox to `write`; returns `None` when another connection has taken over.
    pub fn with_outbox<T>(&self, claim: &Claim, write: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        let mut state = claim.client.lock();
        let connection = state.connection.as_mut().filter(|_| claim.is_current());
        connection.map(|connection| write(&mut connection.outbox))
    }

    /// Counts the bytes that a connection without a mailbox has left to write against the total bound, for as long as the
    /// returned guard lives; `None` when there is no room for them.
    pub fn reserve_for_close(&self, bytes: usize) -> Option<impl Sized> {
        self.budget.reserve_for_close(bytes)
    }

    /// Forgets the messages of `sender` up to `upto`, which the client has acknowledged.
    ///
    /// # Errors
    /// [`InvalidAck`] when the client has not been given them or has acknowledged later ones; nothing has changed then.
    pub fn received(&self, claim: &Claim, sender: ClientId, upto: Offset) -> Result<(), InvalidAck> {
        let mut state = claim.client.lock();
        if !claim.is_current() {
            return Ok(());
        }
        let Limits { max_in_flight_messages: messages, max_in_flight_bytes: bytes, .. } = self.limits;
        let received = state.mailbox.received(sender, upto, Window { messages, bytes });
        drop(state);
        match received {
            Ok(freed) => self.release_freed(claim.id, freed),
            // The client received the message before its sender was unregistered.
            Err(InvalidAck) if self.store.may_be_former(sender) => {}
            // It received the message in an earlier life of the server, which will send it again if it kept it.
            Err(InvalidAck) if upto < self.store.era() => {}
            Err(InvalidAck) => return Err(InvalidAck),
        }
        Ok(())
    }

    /// Makes room of what became free in `recipient`'s mailbox, and notifies the senders.
    pub(super) fn release_freed(&self, recipient: ClientId, freed: Freed) {
        self.subtract_freed(&freed);
        self.notify_senders(recipient, freed);
    }

    /// Makes room of what became free. Called at once, where something may panic before the senders are notified.
    pub(super) fn subtract_freed(&self, freed: &Freed) {
        self.budget.adjust(freed.bytes, 0);
        if freed.messages > 0 {
            self.queued_messages.fetch_sub(freed.messages, Ordering::Relaxed);
        }
    }

    /// Wakes senders that wait for room, and notes receipts for those that want them.
    pub(super) fn notify_senders(&self, recipient: ClientId, mut freed: Freed) {
        self.apply_store_change(recipient, &mut freed);
        self.ring(&freed.held_senders);
        for (sender, id, seq) in freed.delivered {
            let Some(sender) = self.client(sender) else { continue };
            if !self.store.commits_at_once() {
                sender.accept(id, recipient, seq);
            }
            sender.notify(
                |session| session.receipts && session.id == id,
                |notices| notices.record_delivered(recipient, seq),
            );
        }
    }

    /// Rings the bells of these clients.
    pub(super) fn ring(&self, clients: &[ClientId]) {
        clients.iter().filter_map(|id| self.client(*id)).for_each(|client| client.ring());
    }
}
