//! What a session does with the frames that its connection brings.

use super::{Phase, Session};
use crate::error::{CloseReason, Offence};
use crate::hub::Batch;
use crate::limits::Limits;
use crate::protocol::encode::Notice;
use crate::protocol::{ClientFrame, Generation, ReceivedFrame, decode, frame};
use crate::wire::Receiver;

/// A session while it reads. The messages that it appends are written when this is dropped.
pub(super) struct Reading<'a> {
    pub session: &'a mut Session,
    pub batch: Batch<'a>,
}

impl Receiver for Reading<'_> {
    fn is_ready(&self) -> bool {
        self.session.is_ready_to_read()
    }

    fn receive(&mut self, text: &str) -> Result<usize, CloseReason> {
        self.session.receive(text, &mut self.batch)
    }

    #[cfg(feature = "conformance")]
    fn echo(&mut self, message: &frame::Incoming<'_>) -> usize {
        self.session.with_outbox(|outbox| outbox.write(|frames| frame::echo(message, frames)));
        self.session.shared.limits.max_unauthenticated_payload
    }

    fn ping(&mut self, payload: &[u8]) {
        self.session.pong(payload);
    }

    fn protocol_error(&mut self, offence: Offence) -> CloseReason {
        // A breach of the WebSocket protocol always closes the connection.
        self.session.offend(offence).err().unwrap_or(CloseReason::Internal)
    }
}

impl Session {
    fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining(_))
    }

    fn is_ready_to_read(&self) -> bool {
        // Stop reading from a client that does not drain its replies.
        let unread = self.replies.as_ref().map_or(0, |replies| replies.len());
        let max = Limits::MAX_REPLY_BYTES.min(self.shared.limits.max_write_ahead);
        // While draining only acknowledgements are taken, and a plain client sends none.
        let may_acknowledge = !self.is_draining() || self.generation() == Generation::Reliable;
        let is_claiming = matches!(self.phase, Phase::Claiming(_));
        self.is_reading() && !is_claiming && may_acknowledge && unread < max
    }

    /// Acts on a text frame. Returns the largest frame that may come next.
    fn receive(&mut self, text: &str, batch: &mut Batch<'_>) -> Result<usize, CloseReason> {
        crate::faults::point("session");
        match decode(text, self.generation()) {
            // Not accepted: its client sends it again to the next server.
            Ok(ClientFrame::Relay(_)) if self.is_draining() => {}
            Ok(ClientFrame::Relay(frame)) => self.relay(frame, batch)?,
            Ok(ClientFrame::Received(frame)) => self.received(frame)?,
            Ok(ClientFrame::Authentication(frame)) => self.authenticate(&frame)?,
            Ok(ClientFrame::Ping) => self.replies().add(&Notice::Pong),
            Ok(ClientFrame::Pong) => {
                if let Some(attachment) = self.phase.attachment() {
                    self.shared.hub.heartbeat_answered(&attachment.claim);
                }
            }
            Err(offence) => self.offend(offence)?,
        }
        self.has_mail |= self.replies.as_ref().is_some_and(|replies| replies.is_pending());
        let limits = &self.shared.limits;
        Ok(match self.phase {
            Phase::Authenticating(_) | Phase::Detached => limits.max_unauthenticated_payload,
            Phase::Claiming(_) | Phase::Attached(_) | Phase::Draining(_) => {
                limits.max_payload + Limits::ENVELOPE_BYTES
            }
        })
    }

    /// Forgets messages that the client has handed to its application.
    fn received(&mut self, frame: ReceivedFrame) -> Result<(), CloseReason> {
        let Some(attachment) = self.phase.attachment() else { return Ok(()) };
        let received = self.shared.hub.received(&attachment.claim, frame.sender_id, frame.offset);
        // The window may have moved.
        self.has_mail = true;
        received.or_else(|_| self.offend(Offence::InvalidAcknowledgement))
    }

    fn pong(&mut self, payload: &[u8]) {
        let Limits { max_write_ahead, max_unauthenticated_payload, .. } = self.shared.limits;
        // The outbox of a client that has not authenticated counts against no server-wide bound.
        let max = match self.phase.attachment() {
            Some(_) => max_write_ahead,
            None => max_unauthenticated_payload.min(max_write_ahead),
        };
        // A client that sends pings and does not read the pongs gets no more.
        self.with_outbox(|outbox| {
            if outbox.len() < max {
                outbox.write(|frames| frame::pong(payload, frames));
            }
        });
    }
}
