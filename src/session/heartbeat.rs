//! How a session finds that its client is gone, or never authenticates.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{Io, Phase, Session};
use crate::error::CloseReason;
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};
use crate::protocol::{Generation, frame};
use crate::wire::Wire;

/// What the connection's timer waits for once the client has authenticated.
#[derive(Clone, Copy)]
pub(super) enum Heartbeat {
    /// The next ping is due.
    Resting,
    /// Something must have been received since the ping was sent: the counters as they were then.
    Pinged { bytes_received: u64, bytes_written: u32, is_blocked: bool },
}

impl Session {
    pub(super) fn start_heartbeat<S>(&mut self, io: &mut Io<'_, S>) {
        self.heartbeat = Heartbeat::Resting;
        io.set_timer(self.shared.limits.ping_interval);
    }

    /// Acts on the timer.
    pub(super) fn beat<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io<'_, S>,
    ) -> Result<(), CloseReason> {
        if matches!(self.phase, Phase::Authenticating(_) | Phase::Claiming(_)) {
            return Err(CloseReason::AuthTimeout);
        }
        let Limits { ping_interval, ping_timeout, .. } = self.shared.limits;
        let now = io.wire.bytes_received;
        let heartbeat = self.heartbeat;
        let (next, wait) = match heartbeat {
            Heartbeat::Resting => (self.ping(now), ping_timeout),
            Heartbeat::Pinged { bytes_written, is_blocked: true, .. }
                if self.with_outbox(|outbox| outbox.bytes_written()) == Some(bytes_written) =>
            {
                return Err(CloseReason::TooSlow);
            }
            Heartbeat::Pinged { bytes_received, .. } if bytes_received == now && self.is_reading() => {
                return Err(CloseReason::PingTimeout);
            }
            Heartbeat::Pinged { .. } => (Heartbeat::Resting, ping_interval),
        };
        self.check_partial_message(io.wire)?;
        self.heartbeat = next;
        io.set_timer(wait);
        Ok(())
    }

    fn ping(&mut self, bytes_received: u64) -> Heartbeat {
        let generation = self.generation();
        if let Some(attachment) = self.phase.attachment() {
            self.shared.hub.heartbeat_sent(&attachment.claim);
        }
        let before = self.with_outbox(|outbox| {
            let before = (outbox.bytes_written(), !outbox.is_empty());
            outbox.write(|frames| match generation {
                // A page cannot see WebSocket pings, and has to know that the connection lives.
                Generation::Reliable => encode::notice(&Notice::Ping, frames),
                Generation::Plain => frame::ping(frames),
            });
            before
        });
        let (bytes_written, is_blocked) = before.unwrap_or_default();
        Heartbeat::Pinged { bytes_received, bytes_written, is_blocked }
    }

    /// Whether the client is read from: not while a message is held or the client sends too fast.
    pub(super) fn is_reading(&self) -> bool {
        self.held.is_none() && self.pause.is_none()
    }

    /// Reads from the client again. It could not be heard until now, so this heartbeat does not count.
    pub(super) fn resume_reading(&mut self) {
        if let Heartbeat::Pinged { bytes_received, .. } = &mut self.heartbeat {
            *bytes_received = u64::MAX;
        }
        self.partial_message = None;
    }

    /// Fails when a message that has begun to arrive has taken longer than `messageTimeout`.
    fn check_partial_message<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &Wire<S>,
    ) -> Result<(), CloseReason> {
        let now = Instant::now();
        let begun = wire.partial_message().filter(|_| self.is_reading());
        let since = |number| match self.partial_message.as_deref() {
            Some((same, since)) if *same == number => (number, *since),
            _ => (number, now),
        };
        self.partial_message = begun.map(|number| Box::new(since(number)));
        let is_late = |(_, since): &(u32, Instant)| now - *since >= self.shared.limits.message_timeout;
        if self.partial_message.as_deref().is_some_and(is_late) { Err(CloseReason::TooSlow) } else { Ok(()) }
    }
}
