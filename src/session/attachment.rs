//! What ties a session to its client's mailbox.

use std::sync::Arc;

use super::Shared;
use crate::error::CloseReason;
use crate::events::Event;
use crate::hub::{Claim, Outbox};
use crate::protocol::Generation;

/// A client's connection: while it lives the client is connected, and when it is dropped, for whatever reason, it is not.
pub(super) struct Attachment {
    pub shared: Arc<Shared>,
    pub claim: Claim,
    pub generation: Generation,
}

impl Attachment {
    /// Gives the mailbox back. Returns what is still to be written, or `None` when another connection has taken over and has
    /// already told so.
    pub fn release(&self, reason: &CloseReason) -> Option<Outbox> {
        // When the server stops, nothing that goes back to a mailbox will be read again.
        let everything = matches!(reason, CloseReason::GoingAway | CloseReason::Restarting(_));
        self.shared.hub.release(&self.claim, everything, || {
            self.shared.events.emit(Event::Disconnected(self.claim.id(), reason.clone()));
        })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let is_stopping = self.shared.is_stopping();
        // Does nothing if it was released already.
        self.release(if is_stopping { &CloseReason::GoingAway } else { &CloseReason::Internal });
    }
}
