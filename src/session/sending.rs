//! What a client sends to others: taken, held back, or refused.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::{Session, now};
use crate::access::Charge;
use crate::backend::{Refusal, Taken};
use crate::error::{CloseReason, Offence};
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::RelayFrame;
use crate::protocol::encode::Notice;

/// A message that its recipient's lane had no room for. Nothing more is read before it has found some.
pub(super) struct Held {
    target: ClientId,
    message: Box<str>,
    until: Instant,
    /// When to try again, if the bell does not ring before.
    pub retry: Pin<Box<Sleep>>,
}

impl Session {
    /// Counts a message of a plain client, which has been read already: above the rate nothing more is read for a while.
    fn charge(&mut self, client: ClientId) -> Result<(), CloseReason> {
        let Charge { pause, over_for } = self.shared.message_limiter.charge(client, now);
        if over_for > self.shared.limits.hold_timeout {
            return Err(CloseReason::OverRate);
        }
        self.pause(pause);
        Ok(())
    }

    /// Has a client that owes something for what it sent by another connection pay before it is read.
    pub(super) fn collect(&mut self, client: ClientId) {
        let owed = self.shared.message_limiter.debt(client, now);
        self.pause(owed);
    }

    /// Reads nothing for so long.
    fn pause(&mut self, wait: Duration) {
        if !wait.is_zero() {
            self.pause = Some(Box::pin(sleep(wait)));
        }
    }

    pub(super) fn relay(&mut self, frame: RelayFrame<'_>) -> Result<(), CloseReason> {
        let Some(attachment) = &mut self.attachment else { return self.offend(Offence::NotAuthenticated) };
        // The quotes are not the message's.
        if frame.message.len() - 2 > self.shared.limits.max_payload {
            return self.offend(Offence::MessageTooBig);
        }
        let target = frame.target_id;
        if let Some(answers) = &mut self.answers {
            if frame.first {
                answers.refusing.remove(&target);
            } else if answers.refusing.contains(&target) {
                // Sent before the client could know of the refusal; it will be sent again.
                return Ok(());
            }
        }
        let client = attachment.claim.id();
        match frame.seq {
            Some(seq) => {
                if let Err(wait) = self.shared.message_limiter.take(client, now) {
                    return self.hold_back(target, seq, wait);
                }
            }
            None => self.charge(client)?,
        }
        let Some(attachment) = &mut self.attachment else { return Ok(()) };
        let appended = self.shared.backend.append(&mut attachment.claim, target, frame.seq, frame.message);
        match (appended, frame.seq) {
            (Ok(Taken::New), None) => Ok(()),
            (Ok(Taken::New), Some(seq)) | (Ok(Taken::Duplicate(seq)), _) => {
                self.answers().accepted(target, seq);
                Ok(())
            }
            (Err(Refusal::Held), _) => {
                let until = Instant::now() + self.shared.limits.hold_timeout;
                let retry = Box::pin(sleep(Limits::HOLD_RETRY));
                self.held = Some(Box::new(Held { target, message: frame.message.into(), until, retry }));
                Ok(())
            }
            (Err(refusal), None) => self.refuse(target, refusal),
            (Err(refusal), Some(seq)) => self.refuse_numbered(target, seq, refusal),
        }
    }

    /// Has a client with reliable delivery wait that is over its rate. Not for what it only sends again: it is told before the
    /// refusal what was accepted, and would not know what is refused.
    fn hold_back(&mut self, target: ClientId, seq: Seq, wait: Duration) -> Result<(), CloseReason> {
        let Some(attachment) = &mut self.attachment else { return Ok(()) };
        if let Some(last) = self.shared.backend.duplicate(&mut attachment.claim, target, seq) {
            self.answers().accepted(target, last);
            return Ok(());
        }
        let retry_after = wait.max(Limits::HOLD_RETRY);
        self.pass_over(target, &Notice::Hold { target, seq, retry_after })
    }

    /// Tells a client with reliable delivery that `seq` was not taken, and passes over what it sent behind it.
    fn refuse_numbered(&mut self, target: ClientId, seq: Seq, refusal: Refusal) -> Result<(), CloseReason> {
        let offence = Offence::ChannelNotRegistered;
        let notice = match refusal {
            Refusal::Replaced => return Err(self.ousted()),
            Refusal::Held | Refusal::Full => Notice::Hold { target, seq, retry_after: Limits::HOLD_RETRY },
            Refusal::ChannelNotRegistered => {
                Notice::Rejected { target, seq, code: offence.code(), message: &offence.to_string() }
            }
        };
        self.pass_over(target, &notice)?;
        if refusal == Refusal::ChannelNotRegistered {
            self.shared.metrics.rejected(offence.code());
            // The refusal is the answer.
            self.judge(offence)?;
        }
        Ok(())
    }

    /// Tells a client with reliable delivery why a message to `target` was not taken, and takes none that it sent behind it.
    fn pass_over(&mut self, target: ClientId, notice: &Notice<'_>) -> Result<(), CloseReason> {
        let answers = self.answers();
        answers.add(notice);
        answers.refusing.insert(target);
        let enough = answers.refusing.len() > Limits::MAX_REFUSING;
        if enough { Err(CloseReason::TooManyOffences) } else { Ok(()) }
    }

    /// Tries again to find room for the message that is held back.
    pub(super) fn retry(&mut self) -> Result<(), CloseReason> {
        let (Some(attachment), Some(held)) = (&mut self.attachment, &mut self.held) else { return Ok(()) };
        let target = held.target;
        held.retry.as_mut().reset(Instant::now() + Limits::HOLD_RETRY);
        let appended = self.shared.backend.append(&mut attachment.claim, target, None, &held.message);
        self.shared.backend.flush();
        match appended {
            Err(Refusal::Held) if Instant::now() < held.until => Ok(()),
            appended => {
                self.held = None;
                self.hear_again();
                appended.map(|_| ()).or_else(|refusal| self.refuse(target, refusal))
            }
        }
    }

    fn refuse(&mut self, target: ClientId, refusal: Refusal) -> Result<(), CloseReason> {
        let offence = match refusal {
            Refusal::ChannelNotRegistered => Offence::ChannelNotRegistered,
            Refusal::Held | Refusal::Full => Offence::QueueFull { target },
            Refusal::Replaced => return Err(self.ousted()),
        };
        self.shared.metrics.rejected(offence.code());
        self.offend(offence)
    }
}
