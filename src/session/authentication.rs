//! How a client proves who it is, and gets its mailbox.

use std::mem;
use std::sync::Arc;

use super::attachment::Attachment;
use super::{Phase, Session, Shared, now};
use crate::access::AuthAttempt;
use crate::error::{CloseReason, Offence};
use crate::events::Event;
use crate::hub::{ClaimOutcome, ClaimRequest, Greeting, Identity, Outbox, SessionInfo};
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};
use crate::protocol::{Authentication, Generation};

impl Session {
    pub(super) fn authenticate(&mut self, frame: &Authentication<'_>) -> Result<(), CloseReason> {
        let client = frame.client_id;
        let known = self.phase.attachment().map(|attachment| attachment.claim.id());
        if known.is_some_and(|known| known != client) {
            return self.offend(Offence::AlreadyAuthenticated);
        }
        // Compared also when the client is known: the time of the answer must not tell whether it was.
        if !self.is_authentic(client, &frame.token) {
            return self.offend(Offence::IncorrectToken);
        }
        if known.is_some() {
            return Ok(());
        }
        let session = self.session_info(frame);
        self.claim(client, session)
    }

    fn session_info(&self, frame: &Authentication<'_>) -> Option<SessionInfo> {
        let epoch = self.shared.hub.epoch();
        frame.reliable.as_ref().map(|reliable| SessionInfo {
            id: reliable.session,
            connection: reliable.connection,
            knows_epoch: reliable.epoch.as_ref().is_some_and(|known| **known == epoch.to_string()),
            receipts: reliable.receipts,
            presence: reliable.presence,
        })
    }

    /// Takes the client's mailbox.
    pub(super) fn take_mailbox(
        &mut self,
        client: ClientId,
        session: Option<SessionInfo>,
    ) -> Result<(), CloseReason> {
        let Phase::Authenticating(mut outbox) = mem::replace(&mut self.phase, Phase::Authenticating(None))
        else {
            return Ok(());
        };
        let shared = &self.shared;
        let generation = if session.is_some() { Generation::Reliable } else { Generation::Plain };
        let greet = |outbox: &mut Outbox, Greeting { resumed, has_replaced }| {
            if generation == Generation::Reliable {
                let Limits { ping_interval, ping_timeout, max_payload, .. } = shared.limits;
                let epoch = shared.hub.epoch();
                let notice = Notice::Authenticated {
                    client,
                    epoch,
                    resumed,
                    ping_interval,
                    ping_timeout,
                    max_payload,
                };
                outbox.write(|frames| encode::notice(&notice, frames));
            }
            if has_replaced {
                shared.events.emit(Event::Disconnected(client, CloseReason::Replaced));
            }
            shared.events.emit(Event::Connected(client));
        };
        let request = ClaimRequest {
            bell: &self.bell,
            outbox: outbox.get_or_insert_default(),
            writer: &mut self.writer,
            session,
        };
        match shared.hub.claim(client, request, greet) {
            ClaimOutcome::Claimed(claim) => {
                self.phase = Phase::Attached(Attachment { shared: Arc::clone(shared), claim, generation });
                self.has_mail = true;
                // Only now: until then another connection of this client may have sent.
                self.pay_debt(client);
                Ok(())
            }
            ClaimOutcome::Outdated => {
                self.phase = Phase::Authenticating(outbox);
                Err(CloseReason::Replaced)
            }
            ClaimOutcome::Unknown => {
                self.phase = Phase::Authenticating(outbox);
                self.offend(Offence::IncorrectToken)
            }
        }
    }

    /// Whether the token is the client's, and the address or the client has not failed too often.
    fn is_authentic(&self, client: ClientId, token: &str) -> bool {
        let Shared { hub, failures, metrics, .. } = &*self.shared;
        let identity = hub.authenticate(client, token);
        let (is_registered, is_right) = (identity != Identity::Unknown, identity == Identity::Proven);
        let attempt =
            AuthAttempt { address: self.address_key, client, is_registered, has_valid_token: is_right };
        failures.check(attempt, now()).unwrap_or_else(|why| {
            metrics.connection_rejected(why);
            false
        })
    }
}
