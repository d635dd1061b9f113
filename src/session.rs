//! One connection, one task: it authenticates, then relays, until either side ends it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Bell, Claim, Claimed, Refusal};
use crate::error::{CloseReason, Consequence, Offence};
use crate::events::{Event, EventSink};
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::protocol::{Authentication, ClientFrame, RelayFrame, decode, encode};
use crate::wire::{Progress, Receiver, Wire};

/// What all sessions of a relay share.
#[derive(Debug)]
pub struct Shared {
    /// The bounds.
    pub limits: Limits,
    /// Where clients, channels and messages are kept.
    pub backend: Backend,
    /// Who is told what happens.
    pub events: EventSink,
    /// Ends every session.
    pub stop: CancellationToken,
}

struct Session {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    attachment: Option<Attachment>,
    offences: usize,
    held: Option<Held>,
    /// Whether the mailbox may have something unread.
    mail: bool,
    heartbeat: Heartbeat,
}

/// A client's presence: while it lives the client is connected, and when it goes, by whatever way, it is not.
struct Attachment {
    shared: Arc<Shared>,
    claim: Claim,
    reason: Option<CloseReason>,
}

/// A message that its recipient's lane had no room for. Nothing more is read before it has found some.
struct Held {
    target: ClientId,
    message: Box<str>,
    until: Instant,
}

enum Heartbeat {
    /// The client has until the timer's end to say who it is.
    Authenticating,
    /// The next ping is due at the timer's end.
    Resting,
    /// Something must have been heard at the timer's end: what the wire's counters were when the ping went out.
    Listening { heard: u64, sent: u64, stuck: bool },
}

/// Runs a connection that has been upgraded until it is over; `early` came behind the upgrade request.
pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(stream: S, early: &[u8], shared: Arc<Shared>) {
    let limits = &shared.limits;
    let mut wire = Wire::new(stream, early, limits.max_unauthenticated_payload, limits.max_write_ahead);
    let mut session = Session::new(Arc::clone(&shared));
    let reason = match session.serve(&mut wire).await {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    session.detach(&reason);
    drop(session);
    wire.close(&reason, limits.close_timeout).await;
}

/// Tells a connection that there are too many, and ends it.
pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: S, limits: &Limits) {
    let wire = Wire::new(stream, &[], 0, limits.max_write_ahead);
    wire.close(&CloseReason::TooManyConnections, limits.close_timeout).await;
}

impl Session {
    fn new(shared: Arc<Shared>) -> Self {
        let (bell, heartbeat) = (Arc::default(), Heartbeat::Authenticating);
        Self { shared, bell, attachment: None, offences: 0, held: None, mail: false, heartbeat }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> Result<std::convert::Infallible, CloseReason> {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        let mut stop = pin!(shared.stop.cancelled());
        let mut timer = pin!(sleep_until(Instant::now() + shared.limits.auth_timeout));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Err(CloseReason::GoingAway),
                () = bell.rung() => self.answer_bell()?,
                () = &mut timer => self.beat(wire, timer.as_mut())?,
                () = sleep(Limits::HOLD_RETRY), if self.held.is_some() => self.retry()?,
                progress = poll_fn(|cx| wire.poll(cx, self)) => match progress? {
                    Progress::Flushed => self.flushed(),
                    Progress::Received => self.start_heartbeat(timer.as_mut()),
                },
            }
            self.deliver(wire);
        }
    }

    /// There is mail, or room for a message that is held back, or somebody has taken over.
    fn answer_bell(&mut self) -> Result<(), CloseReason> {
        if self.bell.is_replaced() {
            return Err(CloseReason::Replaced);
        }
        self.mail = true;
        self.retry()
    }

    /// Writes what waits for this client, a batch at a time.
    fn deliver<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        // What was read counts as received when the output has drained, so the next batch waits for that.
        if !self.mail || !wire.is_drained() {
            return;
        }
        let Some(attachment) = &self.attachment else { return };
        let (output, max) = (wire.output(), self.shared.limits.max_write_ahead);
        self.mail = self.shared.backend.read(&attachment.claim, |sender, message| {
            encode::relay(sender, message, output);
            output.len() < max
        });
    }

    /// The socket has taken everything that was read from the mailbox.
    fn flushed(&mut self) {
        if let Some(attachment) = &self.attachment {
            self.shared.backend.received(&attachment.claim);
        }
    }

    fn start_heartbeat(&mut self, timer: Pin<&mut Sleep>) {
        if self.attachment.is_some() && matches!(self.heartbeat, Heartbeat::Authenticating) {
            self.heartbeat = Heartbeat::Resting;
            timer.reset(Instant::now() + self.shared.limits.ping_interval);
        }
    }

    fn beat<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        timer: Pin<&mut Sleep>,
    ) -> Result<(), CloseReason> {
        let limits = &self.shared.limits;
        let (next, wait) = match self.heartbeat {
            Heartbeat::Authenticating => return Err(CloseReason::AuthTimeout),
            Heartbeat::Resting => {
                let stuck = !wire.is_drained();
                wire.ping();
                (Heartbeat::Listening { heard: wire.heard, sent: wire.sent, stuck }, limits.ping_timeout)
            }
            Heartbeat::Listening { sent, stuck: true, .. } if wire.sent == sent => {
                return Err(CloseReason::TooSlow);
            }
            // While a message is held back nothing is read, so nothing can be heard.
            Heartbeat::Listening { heard, .. } if wire.heard == heard && self.held.is_none() => {
                return Err(CloseReason::PingTimeout);
            }
            Heartbeat::Listening { .. } => (Heartbeat::Resting, limits.ping_interval),
        };
        self.heartbeat = next;
        timer.reset(Instant::now() + wait);
        Ok(())
    }

    fn authenticate(&mut self, frame: &Authentication<'_>) -> Result<(), CloseReason> {
        let client = frame.client_id;
        match &self.attachment {
            Some(attachment) if attachment.claim.id() != client => {
                return self.offend(Offence::AlreadyAuthenticated);
            }
            _ if !self.shared.backend.authenticate(client, &frame.token) => {
                return self.offend(Offence::IncorrectToken);
            }
            Some(_) => return Ok(()),
            None => {}
        }
        let Some(Claimed { claim, replaced }) = self.shared.backend.claim(client, Arc::clone(&self.bell))
        else {
            return self.offend(Offence::IncorrectToken);
        };
        if let Some(bell) = replaced {
            bell.replace();
            self.shared.events.emit(Event::Disconnected(client, CloseReason::Replaced));
        }
        self.shared.events.emit(Event::Connected(client));
        self.attachment = Some(Attachment { shared: Arc::clone(&self.shared), claim, reason: None });
        self.mail = true;
        Ok(())
    }

    fn relay(&mut self, frame: RelayFrame<'_>) -> Result<(), CloseReason> {
        let Some(attachment) = &self.attachment else { return self.offend(Offence::NotAuthenticated) };
        // The quotes are not the message's.
        if frame.message.len() - 2 > self.shared.limits.max_payload {
            return self.offend(Offence::MessageTooBig);
        }
        match self.shared.backend.append(&attachment.claim, frame.target_id, frame.message) {
            Ok(()) => Ok(()),
            Err(Refusal::Held) => {
                let until = Instant::now() + self.shared.limits.hold_timeout;
                self.held = Some(Held { target: frame.target_id, message: frame.message.into(), until });
                Ok(())
            }
            Err(refusal) => self.refuse(frame.target_id, refusal),
        }
    }

    /// Tries again to find room for the message that is held back.
    fn retry(&mut self) -> Result<(), CloseReason> {
        let (Some(attachment), Some(held)) = (&self.attachment, &self.held) else { return Ok(()) };
        let target = held.target;
        match self.shared.backend.append(&attachment.claim, target, &held.message) {
            Err(Refusal::Held) if Instant::now() < held.until => Ok(()),
            appended => {
                self.held = None;
                appended.or_else(|refusal| self.refuse(target, refusal))
            }
        }
    }

    fn refuse(&mut self, target: ClientId, refusal: Refusal) -> Result<(), CloseReason> {
        match refusal {
            Refusal::ChannelNotRegistered => self.offend(Offence::ChannelNotRegistered),
            Refusal::Held | Refusal::Full => self.offend(Offence::QueueFull { target }),
            Refusal::Replaced => Err(CloseReason::Replaced),
        }
    }

    fn offend(&mut self, offence: Offence) -> Result<(), CloseReason> {
        let consequence = offence.consequence();
        let client = self.attachment.as_ref().map(|attachment| attachment.claim.id());
        self.shared.events.emit(Event::Offence { client, offence });
        match consequence {
            Consequence::None => Ok(()),
            Consequence::Close(reason) => Err(reason),
            Consequence::Counted => {
                self.offences += 1;
                let enough = self.offences >= self.shared.limits.max_offences;
                if enough { Err(CloseReason::TooManyOffences) } else { Ok(()) }
            }
        }
    }

    fn detach(&mut self, reason: &CloseReason) {
        if let Some(mut attachment) = self.attachment.take() {
            attachment.reason = Some(reason.clone());
        }
    }
}

impl Receiver for Session {
    fn is_ready(&self) -> bool {
        self.held.is_none()
    }

    fn receive(&mut self, text: &str) -> Result<usize, CloseReason> {
        match decode(text) {
            Ok(ClientFrame::Relay(frame)) => self.relay(frame)?,
            Ok(ClientFrame::Authentication(frame)) => self.authenticate(&frame)?,
            Err(offence) => self.offend(offence)?,
        }
        let limits = &self.shared.limits;
        Ok(match self.attachment {
            Some(_) => limits.max_payload + Limits::ENVELOPE,
            None => limits.max_unauthenticated_payload,
        })
    }

    fn offend(&mut self, offence: Offence) -> CloseReason {
        // What breaks the WebSocket protocol always closes.
        Self::offend(self, offence).err().unwrap_or(CloseReason::Internal)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // Whoever took over has told so already.
        if self.shared.backend.release(&self.claim) {
            let stopped = self.shared.stop.is_cancelled();
            let unasked = if stopped { CloseReason::GoingAway } else { CloseReason::Internal };
            let reason = self.reason.take().unwrap_or(unasked);
            self.shared.events.emit(Event::Disconnected(self.claim.id(), reason));
        }
    }
}
