//! How clients hear that others came or left. It is told by one task, a little at a time, so that it holds up no messages:
//! in a large room it is much, and none of it is urgent. A client that comes or leaves only leaves its id; the task marks it
//! with those that share a channel, and tells each of them, many changes at once. A client that left and came back before
//! the task has looked has not left. As only the task tells, what it tells last is true.

use std::collections::VecDeque;

use super::*;
use crate::model::ClientSet;

/// Clients with which one that came or left is marked, at one time.
const MARKS: usize = 256;
/// Clients that are told at one time, when each hears of few. Each costs a write to its socket.
const TOLD: usize = 16;
/// Of so many clients one hears at one time, and of the rest in its next turn.
const BATCH: usize = 64;
/// To look up so many clients takes about as long as a write to a socket.
const LOOKUPS: usize = 16;

/// What of a client's coming and going is under way.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Whether others are told that it is connected.
    is_online: bool,
    /// Whether it stands in [`Queue::changed`].
    has_changed: bool,
    /// Whether it stands in [`Teller::announced`].
    is_announced: bool,
}

/// What the task has to look at.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Clients that came or left, each once.
    changed: Vec<ClientId>,
    /// Clients that are to hear of others, each once.
    listed: VecDeque<ClientId>,
}

/// What the task has begun.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// Clients that came or left and are yet to be marked with others, each once.
    announced: VecDeque<ClientId>,
    /// The one that is being marked, and with whom it still is to be.
    marking: Option<(ClientId, ClientSet)>,
}

impl Presence {
    /// To be called under the client's lock when it came or left: whether it is to be passed to [`Memory::announce`].
    pub fn change(&mut self) -> bool {
        !std::mem::replace(&mut self.has_changed, true)
    }
}

impl Memory {
    fn presence(&self) -> MutexGuard<'_, Queue> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client came or left. To be called after unlocking it.
    pub(super) fn announce(&self, client: ClientId) {
        self.presence().changed.push(client);
        self.presence_due.notify_one();
    }

    /// Clients have to hear of others; see [`Slot::list`]. To be called after unlocking them.
    pub(super) fn list(&self, clients: impl IntoIterator<Item = ClientId>) {
        let mut clients = clients.into_iter().peekable();
        if clients.peek().is_some() {
            self.presence().listed.extend(clients);
            self.presence_due.notify_one();
        }
    }

    pub(in crate::backend) async fn presence_due(&self) {
        self.presence_due.notified().await;
    }

    pub(in crate::backend) fn tell_presence(&self) -> Told {
        crate::faults::point("presence");
        let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = std::mem::take(&mut self.presence().changed);
        teller.announced.extend(changed.into_iter().filter(|client| self.has_changed(*client)));
        self.mark(&mut teller);
        let (mut left, mut has_rung) = (TOLD, false);
        while left > 0 {
            let Some(client) = self.presence().listed.pop_front() else { break };
            let (others, is_rung) = self.tell(client);
            left = left.saturating_sub(1 + others / LOOKUPS);
            has_rung |= is_rung;
        }
        let is_idle = teller.marking.is_none() && teller.announced.is_empty();
        let queue = self.presence();
        let is_left = !is_idle || !queue.changed.is_empty() || !queue.listed.is_empty();
        Told { is_left, has_rung }
    }

    /// Whether a client is to be announced: it has come, or left, and nobody knows.
    fn has_changed(&self, client: ClientId) -> bool {
        let Some(client) = self.client(client) else { return false };
        let mut slot = client.slot();
        let is_online = slot.outlet.is_some();
        let presence = &mut slot.presence;
        presence.has_changed = false;
        let has_changed = std::mem::replace(&mut presence.is_online, is_online) != is_online;
        has_changed && !std::mem::replace(&mut presence.is_announced, true)
    }

    /// Marks clients that came or left with those that share a channel.
    fn mark(&self, teller: &mut Teller) {
        let mut left = MARKS;
        while left > 0 {
            if teller.marking.is_none() {
                teller.marking = self.next_to_mark(teller);
            }
            let Some((client, peers)) = &mut teller.marking else { return };
            let marked = peers.take(left.min(BATCH));
            left = left.saturating_sub(marked.len().max(1));
            let listed = marked
                .into_iter()
                .filter(|peer| self.client(*peer).is_some_and(|peer| introduce(&mut peer.slot(), *client)));
            let listed: Vec<_> = listed.collect();
            self.list(listed);
            teller.marking.take_if(|(_, peers)| peers.is_empty());
        }
    }

    fn next_to_mark(&self, teller: &mut Teller) -> Option<(ClientId, ClientSet)> {
        let id = teller.announced.pop_front()?;
        let peers = self.client(id).map(|client| {
            let mut slot = client.slot();
            slot.presence.is_announced = false;
            slot.mailbox.channels().clone()
        });
        // Those who shared a channel with a client that is gone have been marked by who took it away.
        Some((id, peers.unwrap_or_default()))
    }

    /// Tells a client of others; of how many, and whether its connection was rung for, to write it.
    fn tell(&self, id: ClientId) -> (usize, bool) {
        let Some(client) = self.client(id) else { return (0, false) };
        let mut slot = client.slot();
        if let Some(reliable) = &mut slot.reliable {
            reliable.is_listed = false;
        }
        let holder = ClaimNumber(client.claim.load(Ordering::Acquire));
        let has_room = slot.outlet.as_ref().is_some_and(|outlet| outlet.has_room(&self.limits));
        // It is listed again when its outbox is drained.
        let Some(due) = slot.presence_due().filter(|_| has_room) else { return (0, false) };
        let others = due.take(BATCH);
        drop(slot);
        let count = others.len();
        let others: Vec<_> = others.into_iter().map(|other| (other, self.is_online(other, id))).collect();
        let mut slot = client.slot();
        // Another connection hears of all anew.
        if let Some(outlet) = slot.outlet.as_mut().filter(|_| client.is_held_by(holder)) {
            for (client, online) in others {
                let notice = Notice::Presence { client, online };
                outlet.outbox.write(|frames| encode::notice(&notice, frames));
            }
        }
        let is_listed = slot.list();
        drop(slot);
        self.list(is_listed.then_some(id));
        (count, self.write_now(id, &client))
    }

    /// Whether `to` is to hear that a client is connected: not any more when they share no channel.
    fn is_online(&self, client: ClientId, to: ClientId) -> bool {
        self.client(client).is_some_and(|client| {
            let slot = client.slot();
            slot.presence.is_online && slot.mailbox.is_authorized(to)
        })
    }
}
