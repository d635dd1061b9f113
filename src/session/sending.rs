//! What becomes of a message that a client sends: it is appended, held or refused.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::{Session, now};
use crate::access::Charge;
use crate::error::{CloseReason, Offence};
use crate::hub::{AppendError, Appended, Batch};
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::RelayFrame;
use crate::protocol::encode::Notice;

/// A plain client's message that its lane has no room for. Nothing more is read until there is room.
pub(super) struct HeldMessage {
    target: ClientId,
    message: Box<str>,
    until: Instant,
    /// When to try again if the bell does not ring before.
    pub retry: Pin<Box<Sleep>>,
}

impl Session {
    /// Counts a plain client's message, which has been read already: if it exceeds the rate, nothing more is read for a while.
    fn charge(&mut self, client: ClientId) -> Result<(), CloseReason> {
        let Charge { pause, over_for } = self.shared.message_limiter.charge(client, now);
        if over_for > self.shared.limits.hold_timeout {
            return Err(CloseReason::OverRate);
        }
        self.pause(pause);
        Ok(())
    }

    /// Reads nothing until the client is below its rate again, which it may have exceeded on another connection.
    pub(super) fn pay_debt(&mut self, client: ClientId) {
        let debt = self.shared.message_limiter.debt(client, now);
        self.pause(debt);
    }

    fn pause(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.pause = Some(Box::pin(sleep(wait)));
        }
    }

    /// Appends the message of a frame.
    pub(super) fn relay(&mut self, frame: RelayFrame<'_>, batch: &mut Batch<'_>) -> Result<(), CloseReason> {
        let Some(attachment) = self.phase.attachment() else { return self.offend(Offence::NotAuthenticated) };
        let (client, target) = (attachment.claim.id(), frame.target_id);
        // Without the quotes.
        if frame.message.len() - 2 > self.shared.limits.max_payload {
            return self.offend(Offence::MessageTooBig);
        }
        if self.is_passed_over(&frame) {
            return Ok(());
        }
        match frame.seq {
            Some(seq) => {
                if let Err(wait) = self.shared.message_limiter.take(client, now) {
                    return self.hold_over_rate(target, seq, wait);
                }
            }
            None => self.charge(client)?,
        }
        let Some(claim) = self.phase.claim_mut() else { return Ok(()) };
        let appended = self.shared.hub.append(batch, claim, target, frame.seq, frame.message);
        match (appended, frame.seq) {
            (Ok(Appended::New), None) | (Ok(Appended::Uncommitted), _) => Ok(()),
            (Ok(Appended::New), Some(seq)) | (Ok(Appended::Duplicate(seq)), _) => {
                self.replies().accept(target, seq);
                Ok(())
            }
            (Err(AppendError::Held), _) => {
                let until = Instant::now() + self.shared.limits.hold_timeout;
                let retry = Box::pin(sleep(Limits::HOLD_RETRY));
                self.held =
                    Some(Box::new(HeldMessage { target, message: frame.message.into(), until, retry }));
                Ok(())
            }
            (Err(error), None) => self.refuse(target, error),
            (Err(error), Some(seq)) => self.refuse_numbered(target, seq, error),
        }
    }

    /// Whether the frame was sent before the client could know that an earlier message was refused. It will be sent again.
    fn is_passed_over(&mut self, frame: &RelayFrame<'_>) -> bool {
        let Some(replies) = &mut self.replies else { return false };
        if frame.first {
            replies.refused.remove(&frame.target_id);
            return false;
        }
        replies.refused.contains(&frame.target_id)
    }

    /// Has a reliable client that exceeds its rate wait. A message that it only sends again is accepted instead: the client is
    /// told first what was accepted, and would not know what is refused.
    fn hold_over_rate(&mut self, target: ClientId, seq: Seq, wait: Duration) -> Result<(), CloseReason> {
        let Some(claim) = self.phase.claim_mut() else { return Ok(()) };
        match self.shared.hub.duplicate(claim, target, seq) {
            Some(Appended::Uncommitted) => return Ok(()),
            Some(Appended::Duplicate(last)) => {
                self.replies().accept(target, last);
                return Ok(());
            }
            Some(Appended::New) | None => {}
        }
        let retry_after = wait.max(Limits::HOLD_RETRY);
        self.pass_over(target, &Notice::Hold { target, seq, retry_after })
    }

    /// Sends the refusals that waited for messages before them, if those are accepted by now.
    pub(super) fn release_refusals(&mut self) {
        let (Some(attachment), Some(replies)) = (self.phase.attachment(), &mut self.replies) else { return };
        let (hub, claim) = (&self.shared.hub, &attachment.claim);
        replies.release_refusals(|target| hub.poll_accepted(claim, target));
    }

    /// Tells a reliable client that message `seq` was not appended.
    fn refuse_numbered(&mut self, target: ClientId, seq: Seq, error: AppendError) -> Result<(), CloseReason> {
        let offence = Offence::ChannelNotRegistered;
        let notice = match error {
            AppendError::Replaced => return Err(self.ending_reason()),
            AppendError::Held | AppendError::Full => {
                Notice::Hold { target, seq, retry_after: Limits::HOLD_RETRY }
            }
            AppendError::ChannelNotRegistered => {
                Notice::Rejected { target, seq, code: offence.code(), message: &offence.to_string() }
            }
        };
        self.pass_over(target, &notice)?;
        if error == AppendError::ChannelNotRegistered {
            self.shared.metrics.rejected(offence.code());
            // Without an error frame: the rejection is the reply.
            self.count_offence(offence)?;
        }
        Ok(())
    }

    /// Sends a refusal, and passes over what the client sent to `target` behind the refused message.
    fn pass_over(&mut self, target: ClientId, refusal: &Notice<'_>) -> Result<(), CloseReason> {
        let replies = self.replies();
        replies.refuse(target, refusal);
        let is_enough = replies.refused.len() > Limits::MAX_REFUSED_CHANNELS;
        self.release_refusals();
        if is_enough { Err(CloseReason::TooManyOffences) } else { Ok(()) }
    }

    /// Tries again to append the held message.
    pub(super) fn retry_held(&mut self) -> Result<(), CloseReason> {
        let (Some(claim), Some(held)) = (self.phase.claim_mut(), &mut self.held) else { return Ok(()) };
        let target = held.target;
        held.retry.as_mut().reset(Instant::now() + Limits::HOLD_RETRY);
        let appended = {
            let hub = &self.shared.hub;
            hub.append(&mut hub.batch(), claim, target, None, &held.message)
        };
        match appended {
            Err(AppendError::Held) if Instant::now() < held.until => Ok(()),
            appended => {
                self.held = None;
                self.resume_reading();
                appended.map(|_| ()).or_else(|error| self.refuse(target, error))
            }
        }
    }

    /// Counts the refusal of a plain client's message as an offence.
    fn refuse(&mut self, target: ClientId, error: AppendError) -> Result<(), CloseReason> {
        let offence = match error {
            AppendError::ChannelNotRegistered => Offence::ChannelNotRegistered,
            AppendError::Held | AppendError::Full => Offence::QueueFull { target },
            AppendError::Replaced => return Err(self.ending_reason()),
        };
        self.shared.metrics.rejected(offence.code());
        self.offend(offence)
    }
}
