//! Acceptances that a sender is to be told: once for many messages.

use smallvec::SmallVec;

use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};

/// For each target the last accepted sequence number that the sender has not been told.
#[derive(Debug, Default)]
pub struct Accepted(
    /// Most clients send to one target at a time, which takes no memory of its own.
    SmallVec<[(ClientId, Seq); 1]>,
);

impl Accepted {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an acceptance of everything up to `seq`. Returns true when there are so many targets that they have to be told
    /// at once.
    pub fn add(&mut self, target: ClientId, seq: Seq) -> bool {
        match self.0.iter_mut().find(|(of, _)| *of == target) {
            Some((_, last)) => *last = seq.max(*last),
            None => self.0.push((target, seq)),
        }
        self.0.len() >= Limits::ACCEPT_BATCH
    }

    /// Moves all acceptances to `to`.
    pub fn move_to(&mut self, mut to: impl FnMut(ClientId, Seq)) {
        // Taken, not drained: an idle connection keeps no buffer.
        std::mem::take(&mut self.0).into_iter().for_each(|(target, seq)| to(target, seq));
    }

    /// Encodes all acceptances into `frames`.
    pub fn write(&mut self, frames: &mut Vec<u8>) {
        self.move_to(|target, seq| encode::notice(&Notice::Accepted { target, seq }, frames));
    }
}
