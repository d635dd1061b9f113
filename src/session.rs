//! One connection, one task: it authenticates, then relays, until either side ends it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Bell, Claim, Claimed, Claiming, Mail, Refusal, Resume, Taken};
use crate::error::{CloseReason, Consequence, Offence};
use crate::events::{Event, EventSink};
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::protocol::encode::Notice;
use crate::protocol::frame;
use crate::protocol::{Authentication, ClientFrame, Generation, ReceivedFrame, RelayFrame, decode, encode};
use crate::wire::{Progress, Receiver, Wire};

mod answers;

use answers::Answers;

/// What all sessions of a relay share.
#[derive(Debug)]
pub struct Shared {
    /// The bounds.
    pub limits: Limits,
    /// Where clients, channels and messages are kept.
    pub backend: Backend,
    /// Who is told what happens.
    pub events: EventSink,
    /// Ends every session, by [`Shared::stop`].
    pub stop: CancellationToken,
    stopping: AtomicBool,
}

impl Shared {
    /// What sessions share.
    pub fn new(limits: Limits, backend: Backend, events: EventSink) -> Self {
        Self { limits, backend, events, stop: CancellationToken::new(), stopping: AtomicBool::new(false) }
    }

    /// Ends every session.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

struct Session {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    attachment: Option<Attachment>,
    offences: usize,
    held: Option<Held>,
    /// Whether the mailbox may have something unread.
    mail: bool,
    /// What a client with reliable delivery is owed: answers to its frames. Boxed, for a plain one is owed none.
    answers: Option<Box<Answers>>,
    heartbeat: Heartbeat,
}

/// A client's presence: while it lives the client is connected, and when it goes, by whatever way, it is not.
struct Attachment {
    shared: Arc<Shared>,
    claim: Claim,
    generation: Generation,
    reason: Option<CloseReason>,
}

/// A message that its recipient's lane had no room for. Nothing more is read before it has found some.
struct Held {
    target: ClientId,
    message: Box<str>,
    until: Instant,
    /// When to try again, if the bell does not ring before. Boxed, for few connections ever need it.
    retry: Pin<Box<Sleep>>,
}

enum Heartbeat {
    /// The client has until the timer's end to say who it is.
    Authenticating,
    /// The next ping is due at the timer's end.
    Resting,
    /// Something must have been heard at the timer's end: what the wire's counters were when the ping went out.
    Listening { heard: u64, sent: u64, stuck: bool },
}

/// Runs a connection that has been upgraded until it is over; `early` came behind the upgrade request. `admission`
/// is kept until then. No `async fn`, which would have room for its arguments beside what is made of them.
pub fn run<S, A>(
    stream: S,
    early: &[u8],
    shared: Arc<Shared>,
    admission: A,
) -> impl Future<Output = ()> + use<S, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Limits { max_unauthenticated_payload, max_write_ahead, close_timeout, .. } = shared.limits;
    let mut wire = Wire::new(stream, early, max_unauthenticated_payload, max_write_ahead);
    let mut session = Session::new(shared);
    async move {
        let reason = match session.serve(&mut wire).await {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        session.detach(&reason);
        // The last answers: what was wrong, for one.
        session.write_answers(&mut wire);
        wire.close(&reason, close_timeout).await;
        drop(admission);
    }
}

/// Tells a connection that there are too many, and ends it.
pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: S, limits: &Limits) {
    let mut wire = Wire::new(stream, &[], 0, limits.max_write_ahead);
    wire.close(&CloseReason::TooManyConnections, limits.close_timeout).await;
}

impl Session {
    fn new(shared: Arc<Shared>) -> Self {
        let (bell, heartbeat) = (Arc::default(), Heartbeat::Authenticating);
        Self {
            shared,
            bell,
            attachment: None,
            offences: 0,
            held: None,
            mail: false,
            answers: None,
            heartbeat,
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> Result<std::convert::Infallible, CloseReason> {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        let mut stop = pin!(shared.stop.cancelled());
        // Asking it takes a lock: it is asked once, so that it wakes this task, and then when it has come.
        let mut is_asked = false;
        let mut timer = pin!(sleep_until(Instant::now() + shared.limits.auth_timeout));
        loop {
            tokio::select! {
                biased;
                () = poll_fn(|cx| match std::mem::replace(&mut is_asked, true) && !shared.is_stopping() {
                    true => Poll::Pending,
                    false => stop.as_mut().poll(cx),
                }) => return Err(CloseReason::GoingAway),
                () = poll_fn(|cx| bell.poll_rung(cx)) => self.answer_bell()?,
                () = &mut timer => self.beat(wire, timer.as_mut())?,
                progress = poll_fn(|cx| self.poll(wire, cx)) => match progress? {
                    Some(Progress::Flushed) => self.flushed(),
                    Some(Progress::Received) => self.start_heartbeat(timer.as_mut()),
                    None => {}
                },
            }
            self.deliver(wire);
        }
    }

    /// Moves bytes, tries again for a message that is held back when that is due, and sees what answers are due.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Progress>, CloseReason>> {
        while let Some(held) = &mut self.held
            && held.retry.as_mut().poll(cx).is_ready()
        {
            self.retry()?;
        }
        if self.answers.as_mut().is_some_and(|answers| answers.poll_due(cx).is_ready()) {
            return Poll::Ready(Ok(None));
        }
        wire.poll(cx, self).map_ok(Some)
    }

    /// There is mail, or room for a message that is held back, or somebody has taken over.
    fn answer_bell(&mut self) -> Result<(), CloseReason> {
        if self.bell.is_replaced() {
            return Err(CloseReason::Replaced);
        }
        self.mail = true;
        self.retry()
    }

    fn generation(&self) -> Generation {
        self.attachment.as_ref().map_or(Generation::Plain, |attachment| attachment.generation)
    }

    /// Writes what this client is owed and what waits for it, a batch at a time.
    fn deliver<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        if self.answers.as_ref().is_some_and(|answers| !answers.frames.is_empty()) {
            self.write_answers(wire);
        }
        self.deliver_mail(wire);
        // What was accepted goes with whatever is on its way.
        if !wire.is_drained() {
            self.write_answers(wire);
        }
    }

    fn write_answers<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        if let Some(answers) = &mut self.answers {
            wire.write(|output| answers.write(output));
        }
    }

    /// The answers of a connection that is owed some.
    fn answers(&mut self) -> &mut Answers {
        self.answers.get_or_insert_default()
    }

    fn deliver_mail<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>) {
        let max = self.shared.limits.max_write_ahead;
        // What a plain client was written counts as received when the output has drained, so the next batch waits
        // for that.
        let has_room = match self.generation() {
            Generation::Plain => wire.is_drained(),
            Generation::Reliable => wire.output_length() < max,
        };
        let Some(attachment) = self.attachment.as_ref().filter(|_| self.mail && has_room) else { return };
        let is_reliable = attachment.generation == Generation::Reliable;
        let read = |output: &mut Vec<u8>| {
            self.shared.backend.read(&attachment.claim, |mail| {
                match mail {
                    Mail::Message { sender, offset, json } => {
                        encode::relay(sender, is_reliable.then_some(offset), json, output);
                    }
                    Mail::Delivered { target, seq } => {
                        encode::notice(&Notice::Delivered { target, seq }, output)
                    }
                    Mail::Presence { client, online } => {
                        encode::notice(&Notice::Presence { client, online }, output);
                    }
                }
                output.len() < max
            })
        };
        self.mail = wire.write(read);
    }

    /// The socket has taken everything that was written.
    fn flushed(&mut self) {
        match (&mut self.answers, &self.attachment) {
            (Some(answers), _) => answers.unflushed = 0,
            (None, Some(attachment)) => self.shared.backend.received_read(&attachment.claim),
            (None, None) => {}
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
                let generation = self.generation();
                wire.write(|output| match generation {
                    // A page cannot see the pings of WebSocket, and wants to know that the link lives.
                    Generation::Reliable => encode::notice(&Notice::Ping, output),
                    Generation::Plain => frame::ping(output),
                });
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
        let epoch = self.shared.backend.epoch();
        let resume = frame.reliable.as_ref().map(|reliable| Resume {
            session: reliable.session,
            connection: reliable.connection,
            knows_epoch: reliable.epoch.as_ref().is_some_and(|known| **known == epoch.to_string()),
            receipts: reliable.receipts,
            presence: reliable.presence,
        });
        let Claimed { claim, replaced, resumed } =
            match self.shared.backend.claim(client, Arc::clone(&self.bell), resume) {
                Claiming::Claimed(claimed) => claimed,
                Claiming::Outdated => return Err(CloseReason::Replaced),
                Claiming::Unknown => return self.offend(Offence::IncorrectToken),
            };
        if let Some(bell) = replaced {
            bell.replace();
            self.shared.events.emit(Event::Disconnected(client, CloseReason::Replaced));
        }
        self.shared.events.emit(Event::Connected(client));
        let generation = if resume.is_some() { Generation::Reliable } else { Generation::Plain };
        self.attachment =
            Some(Attachment { shared: Arc::clone(&self.shared), claim, generation, reason: None });
        self.mail = true;
        if generation == Generation::Reliable {
            let Limits { ping_interval, ping_timeout, max_payload, .. } = self.shared.limits;
            let notice =
                Notice::Authenticated { client, epoch, resumed, ping_interval, ping_timeout, max_payload };
            self.answers().add(&notice);
        }
        Ok(())
    }

    fn relay(&mut self, frame: RelayFrame<'_>) -> Result<(), CloseReason> {
        let Some(attachment) = &self.attachment else { return self.offend(Offence::NotAuthenticated) };
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
        let appended = self.shared.backend.append(&attachment.claim, target, frame.seq, frame.message);
        match (appended, frame.seq) {
            (Ok(Taken::New), None) => Ok(()),
            (Ok(Taken::New), Some(seq)) | (Ok(Taken::Duplicate(seq)), _) => {
                self.answers().accepted(target, seq);
                Ok(())
            }
            (Err(Refusal::Held), _) => {
                let until = Instant::now() + self.shared.limits.hold_timeout;
                let retry = Box::pin(sleep(Limits::HOLD_RETRY));
                self.held = Some(Held { target, message: frame.message.into(), until, retry });
                Ok(())
            }
            (Err(refusal), None) => self.refuse(target, refusal),
            (Err(refusal), Some(seq)) => self.refuse_numbered(target, seq, refusal),
        }
    }

    /// Tells a client with reliable delivery that `seq` was not taken, and passes over what it sent behind it.
    fn refuse_numbered(&mut self, target: ClientId, seq: Seq, refusal: Refusal) -> Result<(), CloseReason> {
        let offence = Offence::ChannelNotRegistered;
        let notice = match refusal {
            Refusal::Replaced => return Err(CloseReason::Replaced),
            Refusal::Held | Refusal::Full => Notice::Hold { target, seq, retry_after: Limits::HOLD_RETRY },
            Refusal::ChannelNotRegistered => {
                Notice::Rejected { target, seq, code: offence.code(), message: &offence.to_string() }
            }
        };
        let answers = self.answers();
        answers.add(&notice);
        answers.refusing.insert(target);
        if answers.refusing.len() > Limits::MAX_REFUSING {
            return Err(CloseReason::TooManyOffences);
        }
        if refusal == Refusal::ChannelNotRegistered {
            // The refusal is the answer: it is told to who listens, but is not one of the offences that close.
            self.tell(offence);
        }
        Ok(())
    }

    /// The client has handed messages to its application.
    fn received(&mut self, frame: ReceivedFrame) -> Result<(), CloseReason> {
        let Some(attachment) = &self.attachment else { return Ok(()) };
        let received = self.shared.backend.received(&attachment.claim, frame.sender_id, frame.offset);
        // The window may have moved.
        self.mail = true;
        received.or_else(|_| self.offend(Offence::InvalidAcknowledgement))
    }

    /// Tries again to find room for the message that is held back.
    fn retry(&mut self) -> Result<(), CloseReason> {
        let (Some(attachment), Some(held)) = (&self.attachment, &mut self.held) else { return Ok(()) };
        let target = held.target;
        held.retry.as_mut().reset(Instant::now() + Limits::HOLD_RETRY);
        match self.shared.backend.append(&attachment.claim, target, None, &held.message) {
            Err(Refusal::Held) if Instant::now() < held.until => Ok(()),
            appended => {
                self.held = None;
                appended.map(|_| ()).or_else(|refusal| self.refuse(target, refusal))
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
        if self.generation() == Generation::Reliable {
            self.answers().add(&Notice::Error { code: offence.code(), message: &offence.to_string() });
        }
        self.tell(offence);
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

    fn tell(&self, offence: Offence) {
        let client = self.attachment.as_ref().map(|attachment| attachment.claim.id());
        self.shared.events.emit(Event::Offence { client, offence });
    }

    fn detach(&mut self, reason: &CloseReason) {
        if let Some(mut attachment) = self.attachment.take() {
            attachment.reason = Some(reason.clone());
        }
    }
}

impl Receiver for Session {
    fn is_ready(&self) -> bool {
        // Who does not read the answers to its frames is not asked for more.
        let unread = self.answers.as_ref().map_or(0, |answers| answers.frames.len() + answers.unflushed);
        self.held.is_none() && unread < self.shared.limits.max_write_ahead
    }

    fn receive(&mut self, text: &str) -> Result<usize, CloseReason> {
        match decode(text, self.generation()) {
            Ok(ClientFrame::Relay(frame)) => self.relay(frame)?,
            Ok(ClientFrame::Received(frame)) => self.received(frame)?,
            Ok(ClientFrame::Authentication(frame)) => self.authenticate(&frame)?,
            Ok(ClientFrame::Ping) => self.answers().add(&Notice::Pong),
            Ok(ClientFrame::Pong) => {}
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
            let stopped = self.shared.is_stopping();
            let unasked = if stopped { CloseReason::GoingAway } else { CloseReason::Internal };
            let reason = self.reason.take().unwrap_or(unasked);
            self.shared.events.emit(Event::Disconnected(self.claim.id(), reason));
        }
    }
}
