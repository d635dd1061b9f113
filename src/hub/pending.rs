//! What waits for the relay's background tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::ids::ClientId;
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
