//! What waits for the relay's background tasks, or for the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::ids::{ClientId, Offset};
use crate::model::ClientSet;

/// Presence changes that are to be told.
#[derive(Debug, Default)]
pub(super) struct PresenceQueue {
    /// Clients that connected or disconnected, each once.
    pub changed: Vec<ClientId>,
    /// Clients that are to be told of others, each once.
    pub recipients: VecDeque<ClientId>,
}

/// How far the presence task has come with the changes that it took from the queue.
#[derive(Debug, Default)]
pub(super) struct PresencePass {
    /// Clients whose channels the change has not been noted for yet, each once.
    pub announced: VecDeque<ClientId>,
    /// The client for whose channels the change is being noted, and the peers that are left.
    pub current: Option<(ClientId, ClientSet)>,
}

/// When messages expire, and which have.
#[derive(Debug, Default)]
pub(super) struct ExpirySchedule {
    /// When which mailbox is to be looked at.
    pub visits: BTreeSet<(Instant, ClientId)>,
    /// How many messages have expired and were not reported yet, by sender and recipient.
    pub expired: BTreeMap<(ClientId, ClientId), u64>,
}

/// Numbered messages that the store has not committed, and their recipients not received. Empty if the store commits at once.
/// One entry a message in a mailbox.
#[derive(Debug, Default)]
pub(super) struct Uncommitted(BTreeSet<(ClientId, Offset, ClientId)>);

impl Uncommitted {
    fn up_to(&self, recipient: ClientId, upto: Offset) -> impl Iterator<Item = (ClientId, Offset, ClientId)> {
        let last = (recipient, Offset(upto.0 + 1), ClientId::default());
        self.0.range((recipient, Offset(0), ClientId::default())..last).copied()
    }

    pub fn add(&mut self, recipient: ClientId, offset: Offset, sender: ClientId) {
        self.0.insert((recipient, offset, sender));
    }

    /// Returns the offset of the sender's last message to the recipient.
    pub fn last(&self, recipient: ClientId, sender: ClientId) -> Option<Offset> {
        let all = self.up_to(recipient, Offset(u64::MAX - 1));
        all.filter(|(_, _, of)| *of == sender).map(|(_, offset, _)| offset).max()
    }

    pub fn contains(&self, recipient: ClientId, offset: Offset, sender: ClientId) -> bool {
        self.0.contains(&(recipient, offset, sender))
    }

    /// Removes the messages to the recipient up to `upto`, of one sender or of all. Returns their senders.
    pub fn commit(&mut self, recipient: ClientId, upto: Offset, sender: Option<ClientId>) -> Vec<ClientId> {
        let committed =
            self.up_to(recipient, upto).filter(|(_, _, of)| sender.is_none_or(|sender| sender == *of));
        let committed: Vec<_> = committed.collect();
        for message in &committed {
            self.0.remove(message);
        }
        let mut senders: Vec<_> = committed.into_iter().map(|(_, _, sender)| sender).collect();
        senders.sort_unstable();
        senders.dedup();
        senders
    }
}
