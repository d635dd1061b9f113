//! How far the messages of a lane are kept by a store that commits them later.

use smallvec::SmallVec;

use super::mailbox::Receipts;
use crate::ids::{ClientId, Offset};

/// How far a lane's messages are kept. Only for a store that commits later. A message that is on its way to a plain recipient
/// counts as one of the lane's, and stands before those that are still in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last message that was appended.
    pub appended: Offset,
    /// Up to here the store has been given every message that was still there.
    pub taken: Offset,
    /// Up to here every message is committed, received or dropped: its sender may be told that it is accepted.
    pub settled: Offset,
}

impl Progress {
    /// Settles the messages up to an offset.
    pub fn settle(&mut self, upto: Offset) {
        self.settled = self.settled.max(upto);
    }

    /// Returns whether all messages are settled.
    pub fn is_settled(&self) -> bool {
        self.settled >= self.appended
    }
}

/// Messages in the store that need not be kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRange {
    /// Who sent them.
    pub sender: ClientId,
    /// The first one, or 0 for all before `upto`.
    pub from: Offset,
    /// The last one.
    pub upto: Offset,
}

/// What a change to a mailbox means for a store that commits later.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StoreChange {
    /// Messages that it need not keep any more.
    pub removed: SmallVec<[StoredRange; 1]>,
    /// Messages that were dropped before they were committed: they count as accepted.
    pub settled: Receipts,
}
