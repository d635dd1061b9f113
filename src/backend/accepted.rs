//! What a sender is still to be told of its messages: told once for many.

use smallvec::SmallVec;

use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};

/// Up to which number a client's messages were accepted, for each target, since that was last told.
#[derive(Debug, Default)]
pub struct Accepted(
    /// Most clients send to one at a time, and that one needs no memory of its own.
    SmallVec<[(ClientId, Seq); 1]>,
);

impl Accepted {
    /// Whether everything was told.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `target`'s messages are stored up to `seq`. True when there are so many targets that it is to be told at once.
    pub fn add(&mut self, target: ClientId, seq: Seq) -> bool {
        match self.0.iter_mut().find(|(of, _)| *of == target) {
            Some((_, last)) => *last = seq,
            None => self.0.push((target, seq)),
        }
        self.0.len() >= Limits::ACCEPT_BATCH
    }

    /// Moves it all to `to`.
    pub fn move_to(&mut self, mut to: impl FnMut(ClientId, Seq)) {
        // Taken, not drained, for an idle connection keeps no buffer.
        std::mem::take(&mut self.0).into_iter().for_each(|(target, seq)| to(target, seq));
    }

    /// Appends it to `frames`.
    pub fn write(&mut self, frames: &mut Vec<u8>) {
        self.move_to(|target, seq| encode::notice(&Notice::Accepted { target, seq }, frames));
    }
}
