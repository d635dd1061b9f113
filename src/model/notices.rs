//! What a client is to be told beside its messages: how far its own were delivered, and who came and went.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::ids::{ClientId, Seq};

/// One client's notices. Each is about a state, so a newer one takes the place of an older that was not told yet.
#[derive(Debug, Default)]
pub struct Notices {
    /// Up to which number each target has this session's messages.
    delivered: FxHashMap<ClientId, Seq>,
    /// The targets of which that is to be told.
    delivered_due: BTreeSet<ClientId>,
    /// The clients of which it is to be told whether they are there.
    presence_due: BTreeSet<ClientId>,
}

impl Notices {
    /// A target has the messages up to `seq`.
    pub fn delivered(&mut self, target: ClientId, seq: Seq) {
        let last = self.delivered.entry(target).or_default();
        // Two threads may tell it the other way round.
        *last = seq.max(*last);
        self.delivered_due.insert(target);
    }

    /// A client came or left.
    pub fn presence(&mut self, client: ClientId) {
        self.presence_due.insert(client);
    }

    /// A client is gone for good: nothing more will be delivered to it.
    pub fn forget(&mut self, client: ClientId) {
        self.delivered.remove(&client);
        self.delivered_due.remove(&client);
        self.presence_due.remove(&client);
        if self.delivered.is_empty() {
            self.delivered = FxHashMap::default();
        }
    }

    /// The same session is back: what it was told last may have been lost on the way.
    pub fn resume(&mut self) {
        self.delivered_due.extend(self.delivered.keys());
    }

    /// The next receipt.
    pub fn next_delivered(&mut self) -> Option<(ClientId, Seq)> {
        let target = pop(&mut self.delivered_due)?;
        self.delivered.get(&target).map(|seq| (target, *seq))
    }

    /// The next client of which it is to be told whether it is there.
    pub fn next_presence(&mut self) -> Option<ClientId> {
        pop(&mut self.presence_due)
    }

    /// Whether there is a receipt to be told.
    pub fn has_delivered(&self) -> bool {
        !self.delivered_due.is_empty()
    }

    /// Whether there is a client of which it is to be told whether it is there.
    pub fn has_presence(&self) -> bool {
        !self.presence_due.is_empty()
    }
}

/// The first of a set, which keeps no memory when it is empty.
fn pop(set: &mut BTreeSet<ClientId>) -> Option<ClientId> {
    let first = set.pop_first();
    if set.is_empty() {
        *set = BTreeSet::new();
    }
    first
}
