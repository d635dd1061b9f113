//! How a client that has proved who it is waits for the store to know its session, before it gets its mailbox.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::{Phase, Session};
use crate::error::{CloseReason, Offence};
use crate::hub::{Outbox, PreparedClaim, SessionInfo};
use crate::ids::ClientId;

/// A client that waits for its mailbox.
pub(super) struct Claiming {
    client: ClientId,
    session: Option<SessionInfo>,
    committed: oneshot::Receiver<()>,
    /// As while it authenticated.
    pub outbox: Option<Box<Outbox>>,
}

impl Claiming {
    /// Ready when the store knows the session.
    pub fn poll_committed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The store never sends: it closes the channel.
        Pin::new(&mut self.committed).poll(cx).map(drop)
    }
}

impl Session {
    /// Takes the client's mailbox once the store knows the session.
    pub(super) fn claim(
        &mut self,
        client: ClientId,
        session: Option<SessionInfo>,
    ) -> Result<(), CloseReason> {
        match self.shared.hub.prepare_claim(client, session) {
            PreparedClaim::Ready => self.take_mailbox(client, session),
            PreparedClaim::Waiting(committed) => {
                let outbox = match &mut self.phase {
                    Phase::Authenticating(outbox) => outbox.take(),
                    _ => None,
                };
                self.phase = Phase::Claiming(Box::new(Claiming { client, session, committed, outbox }));
                Ok(())
            }
            PreparedClaim::Outdated => Err(CloseReason::Replaced),
            PreparedClaim::Unknown => self.offend(Offence::IncorrectToken),
        }
    }

    /// Takes the mailbox that the client has waited for.
    pub(super) fn finish_claiming(&mut self) -> Result<(), CloseReason> {
        match mem::replace(&mut self.phase, Phase::Authenticating(None)) {
            Phase::Claiming(claiming) => {
                let Claiming { client, session, outbox, .. } = *claiming;
                self.phase = Phase::Authenticating(outbox);
                self.take_mailbox(client, session)
            }
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }
}
