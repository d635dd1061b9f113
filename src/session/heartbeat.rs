//! How a session finds that its client is gone, or never says who it is.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::Session;
use crate::error::CloseReason;
use crate::limits::Limits;
use crate::protocol::encode::{self, Notice};
use crate::protocol::{Generation, frame};
use crate::wire::Wire;

#[derive(Clone, Copy)]
pub(super) enum Heartbeat {
    /// The client has until the timer's end to say who it is.
    Authenticating,
    /// The next ping is due at the timer's end.
    Resting,
    /// Something must have been heard at the timer's end: what the counters were when the ping went out.
    Listening { heard: u64, sent: u32, stuck: bool },
}

impl Session {
    pub(super) fn start_heartbeat(&mut self, timer: Pin<&mut Sleep>) {
        self.heartbeat = Heartbeat::Resting;
        timer.reset(Instant::now() + self.shared.limits.ping_interval);
    }

    pub(super) fn beat<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        timer: Pin<&mut Sleep>,
    ) -> Result<(), CloseReason> {
        let Limits { ping_interval, ping_timeout, .. } = self.shared.limits;
        let heartbeat = self.heartbeat;
        let (next, wait) = match heartbeat {
            Heartbeat::Authenticating => return Err(CloseReason::AuthTimeout),
            Heartbeat::Resting => {
                let generation = self.generation();
                if let Some(attachment) = &self.attachment {
                    self.shared.backend.ask(&attachment.claim);
                }
                let before = self.with_outbox(|outbox| {
                    let before = (outbox.sent, !outbox.is_empty());
                    outbox.write(|frames| match generation {
                        // A page cannot see the pings of WebSocket, and wants to know that the link lives.
                        Generation::Reliable => encode::notice(&Notice::Ping, frames),
                        Generation::Plain => frame::ping(frames),
                    });
                    before
                });
                let (sent, stuck) = before.unwrap_or_default();
                (Heartbeat::Listening { heard: wire.bytes_received, sent, stuck }, ping_timeout)
            }
            Heartbeat::Listening { sent, stuck: true, .. }
                if self.with_outbox(|outbox| outbox.sent) == Some(sent) =>
            {
                return Err(CloseReason::TooSlow);
            }
            Heartbeat::Listening { heard, .. } if wire.bytes_received == heard && self.is_heard() => {
                return Err(CloseReason::PingTimeout);
            }
            Heartbeat::Listening { .. } => (Heartbeat::Resting, ping_interval),
        };
        self.judge_message(wire)?;
        self.heartbeat = next;
        timer.reset(Instant::now() + wait);
        Ok(())
    }

    /// Whether the client is read from: it is not while a message is held back or it has to pause, and nothing is its fault.
    pub(super) fn is_heard(&self) -> bool {
        self.held.is_none() && self.pause.is_none()
    }

    /// It is read from again. What the client had no chance to say until now is not held against it.
    pub(super) fn hear_again(&mut self) {
        if let Heartbeat::Listening { heard, .. } = &mut self.heartbeat {
            *heard = u64::MAX;
        }
        self.unfinished = None;
    }

    /// Whether a message that has begun has been on its way for too long.
    fn judge_message<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &Wire<S>,
    ) -> Result<(), CloseReason> {
        let now = Instant::now();
        let begun = wire.partial_message().filter(|_| self.is_heard());
        let since = |number| match self.unfinished.as_deref() {
            Some((same, since)) if *same == number => (number, *since),
            _ => (number, now),
        };
        self.unfinished = begun.map(|number| Box::new(since(number)));
        let is_late = |(_, since): &(u32, Instant)| now - *since >= self.shared.limits.message_timeout;
        if self.unfinished.as_deref().is_some_and(is_late) { Err(CloseReason::TooSlow) } else { Ok(()) }
    }
}
