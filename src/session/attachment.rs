//! What ties a session to the backend once its client has authenticated.

use std::sync::Arc;

use super::Shared;
use crate::backend::{Claim, Outbox};
use crate::error::CloseReason;
use crate::events::Event;
use crate::protocol::Generation;

/// A client's presence: while it lives the client is connected, and when it goes, by whatever way, it is not.
pub(super) struct Attachment {
    pub shared: Arc<Shared>,
    pub claim: Claim,
    pub generation: Generation,
}

impl Attachment {
    /// Lets the mailbox go, unless somebody has taken over, who has told so already.
    pub fn release(&self, reason: &CloseReason) -> Option<Outbox> {
        // What waits in this process will wait no longer.
        let everything = matches!(reason, CloseReason::GoingAway | CloseReason::Restarting(_));
        self.shared.backend.release(&self.claim, everything, || {
            self.shared.events.emit(Event::Disconnected(self.claim.id(), reason.clone()));
        })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let stopped = self.shared.is_stopping();
        // Nothing happens when it was released already.
        self.release(if stopped { &CloseReason::GoingAway } else { &CloseReason::Internal });
    }
}
