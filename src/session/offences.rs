//! What a client does wrong, and what comes of it.

use super::{Session, now};
use crate::error::{CloseReason, Consequence, Offence};
use crate::events::Event;
use crate::limits::Limits;
use crate::protocol::Generation;
use crate::protocol::encode::Notice;

impl Session {
    /// Tells a reliable client of its offence, and counts it.
    pub(super) fn offend(&mut self, offence: Offence) -> Result<(), CloseReason> {
        if self.generation() == Generation::Reliable {
            self.replies().add(&Notice::Error { code: offence.code(), message: &offence.to_string() });
        }
        self.count_offence(offence)
    }

    /// Emits and counts an offence.
    pub(super) fn count_offence(&mut self, offence: Offence) -> Result<(), CloseReason> {
        let consequence = offence.consequence();
        if consequence != Consequence::None {
            self.shared.metrics.offence(offence.code());
        }
        let is_unregistered = offence == Offence::ChannelNotRegistered;
        self.emit_offence(offence);
        match consequence {
            Consequence::None => Ok(()),
            Consequence::Close(reason) => Err(reason),
            Consequence::Counted => {
                let count = if is_unregistered { &mut self.unregistered } else { &mut self.offences };
                *count = count.saturating_add(1);
                let counted = self.offences as usize + self.counted_unregistered();
                if counted >= self.shared.limits.max_offences {
                    return Err(CloseReason::TooManyOffences);
                }
                Ok(())
            }
        }
    }

    /// Returns how many offences the messages to channels that are not registered count as. Each channel that was taken from
    /// the client excuses one, which may have been on its way. A reliable client passes refusals on to its page, which may
    /// not stop at once.
    fn counted_unregistered(&self) -> usize {
        let Some(attachment) = self.phase.attachment().filter(|_| self.unregistered > 0) else { return 0 };
        // Looked up each time: a channel may be closed a moment before it counts as taken.
        let lost = self.shared.hub.channels_lost(&attachment.claim);
        let messages = (self.unregistered as usize).saturating_sub(lost);
        match attachment.generation {
            Generation::Plain => messages,
            Generation::Reliable => messages / Limits::REFUSALS_PER_OFFENCE,
        }
    }

    fn emit_offence(&self, offence: Offence) {
        let client = self.phase.attachment().map(|attachment| attachment.claim.id());
        // A client that has not authenticated is closed before it can cause many events.
        if client.is_none_or(|client| self.shared.offence_event_limiter.take(client, now).is_ok()) {
            self.shared.events.emit(Event::Offence { client, offence });
        }
    }
}
