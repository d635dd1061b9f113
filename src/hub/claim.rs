//! How a connection takes its client's mailbox, and gives it back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Hub;
use super::bell::Bell;
use super::client::Client;
use super::connection::Connection;
use super::outbox::Outbox;
use super::state::{Detached, SessionInfo};
use crate::error::{CloseReason, Error};
use crate::ids::{ClaimNumber, ClientId, SessionId};
use crate::shared_writer::SharedWriter;
use crate::store::{Record, SessionRecord};
use crate::sync::Ordering;

/// What a connection brings when it claims a mailbox.
#[derive(Debug)]
pub struct ClaimRequest<'a> {
    /// Rung when the connection's session has something to do.
    pub bell: &'a Arc<Bell>,
    /// What the connection has not written yet. Taken when the claim succeeds: from then on the outbox is kept with the
    /// mailbox, because every sender writes into it.
    pub outbox: &'a mut Outbox,
    /// The connection's write half, taken when the claim succeeds. `None` if only the session itself can write.
    pub writer: &'a mut Option<SharedWriter>,
    /// What a reliable client says of its session.
    pub session: Option<SessionInfo>,
}

/// What a successful claim found.
#[derive(Clone, Copy, Debug)]
pub struct Greeting {
    /// Whether the same session goes on where it was.
    pub resumed: bool,
    /// Whether another connection had the mailbox until now.
    pub has_replaced: bool,
}

/// The outcome of claiming a mailbox.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// The connection has the mailbox.
    Claimed(Claim),
    /// The connection is older than the one that has the mailbox: its authentication was delayed.
    Outdated,
    /// There is no such client.
    Unknown,
}

/// A connection's hold on its client's mailbox.
#[derive(Debug)]
pub struct Claim {
    pub(super) id: ClientId,
    pub(super) client: Arc<Client>,
    pub(super) number: ClaimNumber,
    /// The session of a reliable client.
    pub(super) session: Option<SessionId>,
    /// The recipient of the last message: most clients send to one recipient at a time.
    pub(super) peer: Option<(ClientId, Arc<Client>)>,
}

impl Claim {
    /// Returns the client whose mailbox this is.
    pub fn id(&self) -> ClientId {
        self.id
    }

    pub(super) fn is_current(&self) -> bool {
        self.client.is_claimed_by(self.number)
    }
}

/// Whether a connection may claim a mailbox.
#[derive(Debug)]
pub enum PreparedClaim {
    /// It may.
    Ready,
    /// It may once the store knows its session: when this channel is closed.
    Waiting(oneshot::Receiver<()>),
    /// See [`ClaimOutcome::Outdated`].
    Outdated,
    /// See [`ClaimOutcome::Unknown`].
    Unknown,
}

impl Hub {
    /// Has a store that commits later keep the session of a connection that is about to claim a mailbox, so that a session
    /// that it replaces stays replaced when the server starts again.
    pub fn prepare_claim(&self, id: ClientId, session: Option<SessionInfo>) -> PreparedClaim {
        let Some(queue) = self.store.queue() else { return PreparedClaim::Ready };
        let Some(client) = self.client(id) else { return PreparedClaim::Unknown };
        let mut state = client.lock();
        if state.is_unregistered {
            return PreparedClaim::Unknown;
        }
        if state.is_outdated(session) {
            return PreparedClaim::Outdated;
        }
        if !state.note_session(session) {
            return PreparedClaim::Ready;
        }
        let connection = session.map_or(0, |session| session.connection);
        let record = SessionRecord { client: id, session: session.map(|session| session.id), connection };
        // Under the lock, so that the store learns of sessions in the order in which they came.
        let ticket = queue.push(vec![Record::Session(record)], false);
        PreparedClaim::Waiting(queue.when_done(ticket))
    }

    /// Gives the client's mailbox to a connection and takes it from the one that had it: from then on that one can neither
    /// append, nor write, nor acknowledge. `greet` writes what the client reads first, and emits events in the order in which
    /// connections take the mailbox; it must not call the hub.
    pub fn claim(
        &self,
        id: ClientId,
        ClaimRequest { bell, outbox, writer, session }: ClaimRequest<'_>,
        greet: impl FnOnce(&mut Outbox, Greeting),
    ) -> ClaimOutcome {
        let Some(client) = self.client(id) else { return ClaimOutcome::Unknown };
        let mut state = client.lock();
        if state.is_unregistered {
            return ClaimOutcome::Unknown;
        }
        if state.is_outdated(session) {
            return ClaimOutcome::Outdated;
        }
        // Under the lock, so that claims are numbered in the order in which they take the mailbox.
        let number = ClaimNumber(client.claim.fetch_add(1, Ordering::AcqRel) + 1);
        let replaced = state.detach(false);
        if let Some(replaced) = &replaced {
            // Before unlocking: the replaced connection may look, on another thread, before its bell rings, and messages
            // must be counted before another thread can take them.
            self.end_detached(replaced, CloseReason::Replaced);
        }
        if self.store.commits_at_once() {
            state.note_session(session);
        }
        let is_same = state.attach_session(session);
        self.count_notices(&client, &mut state);
        let mut outbox = std::mem::take(outbox);
        let resumed = is_same && session.is_some_and(|session| session.knows_epoch);
        greet(&mut outbox, Greeting { resumed, has_replaced: replaced.is_some() });
        let is_reliable = session.is_some();
        let connection = Connection {
            bell: Arc::clone(bell),
            outbox,
            writer: writer.take(),
            is_reliable,
            blocked_bytes: 0,
        };
        state.connection = Some(connection);
        let channels = state.mailbox.channels().clone();
        if let Some(pending) = state.pending_presence() {
            *pending = channels;
        }
        let (is_queued, has_changed) =
            (state.queue_presence(), replaced.is_none() && state.presence.mark_changed());
        // The bytes that the replaced connection was blocked with are free: senders may have room now.
        let waiting = replaced.as_ref().map(|_| state.mailbox.release_held_senders()).unwrap_or_default();
        drop(state);
        self.queue_presence(is_queued.then_some(id));
        if has_changed {
            self.announce(id);
        }
        if let Some(Detached { bell, freed, .. }) = replaced {
            bell.ring();
            self.ring(&waiting);
            self.notify_senders(id, freed);
        }
        let session = session.map(|session| session.id);
        ClaimOutcome::Claimed(Claim { id, client, number, session, peer: None })
    }

    /// Gives the mailbox back. What the client has not received waits for its next connection. Returns the outbox: with
    /// `everything` all that was to be written, else the rest of the frame of which the socket has taken a part. Returns
    /// `None` when a newer connection has the mailbox. Otherwise calls `emit` before any event of a newer connection; it must
    /// not call the hub.
    pub fn release(&self, claim: &Claim, everything: bool, emit: impl FnOnce()) -> Option<Outbox> {
        let mut state = claim.client.lock();
        if !claim.is_current() {
            return None;
        }
        // What a store keeps is written by the next life of the server.
        let everything = everything && self.store.commits_at_once();
        let Detached { outbox, messages, bytes, blocked_bytes, freed, .. } = state.detach(everything)?;
        self.add_queued(messages);
        self.budget.adjust(blocked_bytes, bytes);
        let (waiting, has_changed) = (state.mailbox.release_held_senders(), state.presence.mark_changed());
        emit();
        drop(state);
        self.notify_senders(claim.id, freed);
        self.after_detaching(claim.id, &claim.client, &waiting, has_changed);
        Some(outbox)
    }

    /// Ends a client's connection. Returns false when it has none. What the client has not received waits for its next
    /// connection. Calls `emit` before any event of that one; it must not call the hub.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn disconnect(&self, id: ClientId, reason: CloseReason, emit: impl FnOnce()) -> Result<bool, Error> {
        let client = self.client(id).ok_or(Error::ClientNotFound { argument: "clientId" })?;
        let mut state = client.lock();
        let Some(detached) = state.detach(false) else { return Ok(false) };
        self.end_detached(&detached, reason);
        // After the reason is set: from here on everything is refused to the connection.
        client.claim.fetch_add(1, Ordering::AcqRel);
        let (waiting, has_changed) = (state.mailbox.release_held_senders(), state.presence.mark_changed());
        emit();
        drop(state);
        detached.bell.ring();
        self.notify_senders(id, detached.freed);
        self.after_detaching(id, &client, &waiting, has_changed);
        Ok(true)
    }

    /// Does what follows a detached connection once the client is unlocked.
    fn after_detaching(&self, id: ClientId, client: &Client, waiting: &[ClientId], has_changed: bool) {
        self.ring(waiting);
        if has_changed {
            self.announce(id);
        }
        self.expire_waiting(id, client);
    }

    /// Counts what went back to the mailbox, and tells the detached connection why it ends. Its bell is rung after unlocking.
    fn end_detached(&self, detached: &Detached, reason: CloseReason) {
        let Detached { bell, outbox, messages, bytes, blocked_bytes, freed: _ } = detached;
        self.add_queued(*messages);
        self.budget.adjust(*blocked_bytes, *bytes);
        bell.end(reason, outbox.unwritten().into());
    }

    /// Returns how many channels were taken from the client so far. A message to each may have been on its way: its sender
    /// could not know, and has done nothing wrong.
    pub fn channels_lost(&self, claim: &Claim) -> usize {
        let lost = claim.client.lock().mailbox.removed_channels();
        // Where channels open by themselves, every client that was unregistered may have been a recipient.
        let gone = if self.authorize_all_channels { self.store.unregistered() } else { 0 };
        lost + gone
    }
}
