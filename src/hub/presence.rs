//! How clients are told that others connected or disconnected.
//!
//! One background task tells them, a little at a time, so that no message waits for it: in a large room it is much work, and
//! none of it is urgent. A client that connects or disconnects only leaves its id. The task notes the change with every client
//! that shares a channel, and then tells each of those many changes at once. A client that disconnects and is back before the
//! task looks has not left. Only this task tells, so what it tells last is true.

use std::sync::PoisonError;

use super::Hub;
use super::pending::{PresencePass, PresenceQueue};
use crate::ids::{ClaimNumber, ClientId};
use crate::model::ClientSet;
use crate::protocol::encode::{self, Notice};
use crate::sync::{MutexGuard, Ordering};

/// Peers with which a change is noted in one step.
const MARKS: usize = 256;
/// Clients that are told in one step, if each is told of few. Each costs a write to its socket.
const RECIPIENTS: usize = 16;
/// Clients that one recipient is told of at a time; the rest follow in its next turn.
const BATCH: usize = 64;
/// Looking up this many clients takes about as long as a write to a socket.
const LOOKUPS: usize = 16;

/// What a step of telling presence has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceProgress {
    /// Whether there is more to tell.
    pub has_more: bool,
    /// Whether sessions were woken to write what they are told: each has to run before the next step.
    pub has_rung: bool,
}

impl Hub {
    fn presence(&self) -> MutexGuard<'_, PresenceQueue> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a client connected or disconnected. Called after unlocking it.
    pub(super) fn announce(&self, client: ClientId) {
        self.presence().changed.push(client);
        self.presence_pending.notify_one();
    }

    /// Queues clients that are to be told of others. Called after unlocking them.
    pub(super) fn queue_presence(&self, clients: impl IntoIterator<Item = ClientId>) {
        let mut clients = clients.into_iter().peekable();
        if clients.peek().is_some() {
            self.presence().recipients.extend(clients);
            self.presence_pending.notify_one();
        }
    }

    /// Waits until there is presence to tell.
    pub async fn presence_pending(&self) {
        self.presence_pending.notified().await;
    }

    /// Tells some clients which of those that they share a channel with connected or disconnected. Called by one task only.
    pub fn tell_presence(&self) -> PresenceProgress {
        crate::faults::point("presence");
        let mut pass = self.presence_pass.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = std::mem::take(&mut self.presence().changed);
        pass.announced.extend(changed.into_iter().filter(|client| self.has_changed(*client)));
        self.note_changes(&mut pass);
        let (mut left, mut has_rung) = (RECIPIENTS, false);
        while left > 0 {
            let Some(client) = self.presence().recipients.pop_front() else { break };
            let (others, is_rung) = self.tell(client);
            left = left.saturating_sub(1 + others / LOOKUPS);
            has_rung |= is_rung;
        }
        let is_idle = pass.current.is_none() && pass.announced.is_empty();
        let queue = self.presence();
        let has_more = !is_idle || !queue.changed.is_empty() || !queue.recipients.is_empty();
        PresenceProgress { has_more, has_rung }
    }

    /// Whether the presence of a client differs from what others were told, and the change was not taken up yet.
    fn has_changed(&self, client: ClientId) -> bool {
        let Some(client) = self.client(client) else { return false };
        let mut state = client.lock();
        let is_online = state.connection.is_some();
        state.presence.take_change(is_online)
    }

    /// Notes changes with the clients that share a channel with those that changed.
    fn note_changes(&self, pass: &mut PresencePass) {
        let mut left = MARKS;
        while left > 0 {
            if pass.current.is_none() {
                pass.current = self.next_announced(pass);
            }
            let Some((client, peers)) = &mut pass.current else { return };
            let peers_now = peers.take(left.min(BATCH));
            left = left.saturating_sub(peers_now.len().max(1));
            let note = |peer| self.client(peer).is_some_and(|peer| peer.lock().presence_changed(*client));
            let queued: Vec<_> = peers_now.into_iter().filter(|peer| note(*peer)).collect();
            self.queue_presence(queued);
            pass.current.take_if(|(_, peers)| peers.is_empty());
        }
    }

    fn next_announced(&self, pass: &mut PresencePass) -> Option<(ClientId, ClientSet)> {
        let id = pass.announced.pop_front()?;
        let peers = self.client(id).map(|client| {
            let mut state = client.lock();
            state.presence.is_announced = false;
            state.mailbox.channels().clone()
        });
        // The peers of an unregistered client were told when it was removed.
        Some((id, peers.unwrap_or_default()))
    }

    /// Tells a client of others. Returns of how many, and whether its session was woken to write it.
    fn tell(&self, id: ClientId) -> (usize, bool) {
        let Some(client) = self.client(id) else { return (0, false) };
        let mut state = client.lock();
        if let Some(reliable) = &mut state.reliable {
            reliable.is_presence_queued = false;
        }
        let holder = ClaimNumber(client.claim.load(Ordering::Acquire));
        let has_room = state.connection.as_ref().is_some_and(|connection| connection.has_room(&self.limits));
        // Without room it is queued again when its outbox is written.
        let Some(pending) = state.pending_presence().filter(|_| has_room) else { return (0, false) };
        let others = pending.take(BATCH);
        drop(state);
        let count = others.len();
        let others: Vec<_> = others.into_iter().map(|other| (other, self.is_online(other, id))).collect();
        let mut state = client.lock();
        // A newer connection is told of all clients anyway.
        if let Some(connection) = state.connection.as_mut().filter(|_| client.is_claimed_by(holder)) {
            for (client, online) in others {
                let notice = Notice::Presence { client, online };
                connection.outbox.write(|frames| encode::notice(&notice, frames));
            }
        }
        let is_queued = state.queue_presence();
        drop(state);
        self.queue_presence(is_queued.then_some(id));
        (count, self.write_or_ring(id, &client, None))
    }

    /// Whether `to` is to be told that a client is connected: not when they share no channel.
    fn is_online(&self, client: ClientId, to: ClientId) -> bool {
        self.client(client).is_some_and(|client| {
            let state = client.lock();
            state.presence.is_online && state.mailbox.is_authorized(to)
        })
    }
}
