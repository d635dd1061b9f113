//! One connection, one task: it authenticates, then relays, until either side ends it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::access::{AddressKey, AuthAttempt};
use crate::backend::{Bell, Claimant, Claiming, Greeting, Identity, Outbox, Resume};
use crate::error::{CloseReason, Consequence, Offence};
use crate::events::Event;
use crate::hand::Hand;
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::protocol::encode::Notice;
use crate::protocol::frame;
use crate::protocol::{Authentication, ClientFrame, Generation, ReceivedFrame, decode, encode};
use crate::stream::Transport;
use crate::wire::{Receiver, Wire};

mod answers;
mod attachment;
mod drain;
mod heartbeat;
mod sending;
mod shared;

use answers::Answers;
use attachment::Attachment;
use heartbeat::Heartbeat;
use sending::Held;

pub use shared::Shared;

struct Session {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    attachment: Option<Attachment>,
    /// What is to be written before there is an attachment: from then on the outbox is the backend's. Boxed, for few
    /// connections have something to write before.
    outbox: Option<Box<Outbox>>,
    /// For others to write to, handed to the backend with the outbox.
    socket: Option<Hand>,
    /// Where the connection comes from.
    source: Option<AddressKey>,
    /// Until when nothing is read, because the client is over its rate. Boxed, as few ever are.
    pause: Option<Pin<Box<Sleep>>>,
    /// Offences that count, but for messages to channels that are not registered.
    offences: u32,
    /// Those.
    unregistered: u32,
    /// Boxed, as few connections ever need it.
    held: Option<Box<Held>>,
    /// Whether there may be something to write.
    mail: bool,
    /// Whether nothing more is taken from the client than acknowledgements.
    is_draining: bool,
    /// What a client with reliable delivery is owed: answers to its frames. Boxed, for a plain one is owed none.
    answers: Option<Box<Answers>>,
    heartbeat: Heartbeat,
    /// The message that had come in part at the last heartbeat, and since when. Boxed, for few connections have one.
    unfinished: Option<Box<(u32, Instant)>>,
}

/// Runs a connection that has been upgraded until it is over; `early` came behind the upgrade request. `admission`
/// is kept until then. No `async fn`, which would have room for its arguments beside what is made of them.
pub fn run<C: Transport, A>(
    connection: C,
    early: &[u8],
    shared: Arc<Shared>,
    source: Option<AddressKey>,
    admission: A,
) -> impl Future<Output = ()> + use<C, A> {
    let (stream, socket) = connection.open();
    let mut wire = Wire::new(stream, early, shared.limits.max_unauthenticated_payload);
    let mut session = Session::new(Arc::clone(&shared), socket, source);
    async move {
        let reason = match session.serve(&mut wire).await {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        if !matches!(reason, CloseReason::ByPeer(..)) {
            session.shared.metrics.closed(reason.code());
        }
        if matches!(reason, CloseReason::Restarting(_)) {
            // Boxed: there is no room for it as long as nothing drains.
            Box::pin(session.drain(&mut wire, reason)).await;
        } else {
            let outbox = session.end(&reason);
            // Nobody is closed politely whose bytes there is no room for.
            if let Some(_counted) = session.shared.backend.linger(outbox.len()) {
                // Boxed likewise.
                Box::pin(close(&mut wire, outbox, &reason, &shared)).await;
            }
        }
        // Dropping it would close the connection before its time: it goes with the reading half.
        session.socket.take().into_iter().for_each(Hand::forget);
        drop(admission);
    }
}

/// Tells a connection that there are too many, and ends it.
pub async fn reject<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: &Shared) {
    let mut wire = Wire::new(stream, &[], 0);
    Box::pin(close(&mut wire, Outbox::default(), &CloseReason::TooManyConnections, shared)).await;
}

/// Ends a connection: at the latest after `closeTimeout`, and at once when all are cut.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    outbox: Outbox,
    reason: &CloseReason,
    shared: &Shared,
) {
    tokio::select! {
        // First: also a connection that is cut gets what its socket takes at once.
        biased;
        () = wire.close(outbox, reason, shared.limits.close_timeout) => {}
        () = shared.cut.cancelled() => {}
    }
}

impl Session {
    fn new(shared: Arc<Shared>, socket: Option<Hand>, source: Option<AddressKey>) -> Self {
        shared.metrics.connected();
        let (bell, heartbeat) = (Arc::default(), Heartbeat::Authenticating);
        Self {
            shared,
            bell,
            attachment: None,
            outbox: None,
            socket,
            source,
            pause: None,
            offences: 0,
            unregistered: 0,
            held: None,
            mail: false,
            is_draining: false,
            answers: None,
            heartbeat,
            unfinished: None,
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> Result<std::convert::Infallible, CloseReason> {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        let mut stop = pin!(shared.stop.cancelled());
        let mut timer = pin!(sleep_until(Instant::now() + shared.limits.auth_timeout));
        let (mut has_asked_stop, mut has_asked_timer) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = poll_fn(|cx| poll_once(stop.as_mut(), &mut has_asked_stop, shared.is_stopping(), cx)) => {
                    return Err(shared.farewell());
                }
                () = poll_fn(|cx| bell.poll_rung(cx)) => self.answer_bell()?,
                () = poll_fn(|cx| {
                    let is_elapsed = timer.is_elapsed();
                    poll_once(timer.as_mut(), &mut has_asked_timer, is_elapsed, cx)
                }) => {
                    self.beat(wire, timer.as_mut())?;
                    has_asked_timer = false;
                }
                said_who = poll_fn(|cx| self.poll(wire, cx)) => {
                    said_who?;
                    self.start_heartbeat(timer.as_mut());
                    has_asked_timer = false;
                }
            }
        }
    }

    /// Moves bytes until there are no more, tries again for a message that is held back when that is due, and sees what
    /// answers are due. Ready when the client has said who it is.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        loop {
            if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_ready()) {
                self.pause = None;
                self.hear_again();
            }
            while let Some(held) = &mut self.held
                && held.retry.as_mut().poll(cx).is_ready()
            {
                self.retry()?;
            }
            if self.mail {
                self.mail = self.poll_deliver(wire, cx, false)?.is_pending();
            }
            while self.answers.as_mut().is_some_and(|answers| answers.poll_due(cx).is_ready()) {
                self.mail |= self.poll_deliver(wire, cx, true)?.is_pending();
                // A connection that has nothing to answer keeps nothing for it.
                self.answers.take_if(|answers| answers.are_idle());
            }
            let received = ready!(wire.poll_receive(cx, self));
            self.shared.backend.flush();
            received?;
            if self.attachment.is_some() && matches!(self.heartbeat, Heartbeat::Authenticating) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes what this client is owed and what waits for it, until there is no more or the socket takes no more.
    fn poll_deliver<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
        is_due: bool,
    ) -> Poll<Result<(), CloseReason>> {
        let (answers, max) = (&mut self.answers, self.shared.limits.max_write_ahead);
        let mut write = |outbox: &mut Outbox| loop {
            let mut is_left = false;
            if let Some(answers) = answers.as_mut().filter(|answers| answers.are_pending()) {
                is_left = outbox.len() >= max && !outbox.is_drained();
                if !is_left {
                    answers.move_to(outbox);
                }
            }
            if !outbox.is_empty() {
                outbox.tell_accepted();
            }
            if is_due && let Some(answers) = answers {
                answers.tell_overdue(outbox);
            }
            ready!(wire.poll_write(cx, outbox))?;
            // Those that had no room before the socket took everything have it now, and nobody would come back for them.
            if !is_left {
                return Poll::Ready(Ok(()));
            }
        };
        let Some(attachment) = &self.attachment else {
            let outbox = self.outbox.get_or_insert_default();
            let written = write(outbox);
            if written.is_pending() {
                outbox.shrink();
            }
            return written.map_ok(|()| outbox.forget());
        };
        self.shared.backend.deliver(&attachment.claim, write)
    }

    /// Lets `write` have the outbox, wherever it is; `None` when somebody has taken over.
    fn with_outbox<T>(&mut self, write: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        self.mail = true;
        match &self.attachment {
            Some(attachment) => self.shared.backend.with_outbox(&attachment.claim, write),
            None => Some(write(self.outbox.get_or_insert_default())),
        }
    }

    /// There is mail, or room for a message that is held back, or somebody has taken over.
    fn answer_bell(&mut self) -> Result<(), CloseReason> {
        if self.bell.ending().is_some() {
            return Err(self.ousted());
        }
        self.mail = true;
        self.retry()
    }

    /// Why the mailbox was taken from this connection.
    fn ousted(&self) -> CloseReason {
        self.bell.ending().map_or(CloseReason::Replaced, |ending| ending.reason.clone())
    }

    fn generation(&self) -> Generation {
        self.attachment.as_ref().map_or(Generation::Plain, |attachment| attachment.generation)
    }

    /// The answers of a connection that is owed some.
    fn answers(&mut self) -> &mut Answers {
        self.answers.get_or_insert_default()
    }

    fn authenticate(&mut self, frame: &Authentication<'_>) -> Result<(), CloseReason> {
        let client = frame.client_id;
        match &self.attachment {
            Some(attachment) if attachment.claim.id() != client => {
                return self.offend(Offence::AlreadyAuthenticated);
            }
            // The token is compared in any case: nobody is to tell by the time whether it was looked at.
            _ if !self.is_right(client, &frame.token) => return self.offend(Offence::IncorrectToken),
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
        let generation = if resume.is_some() { Generation::Reliable } else { Generation::Plain };
        let Limits { ping_interval, ping_timeout, max_payload, .. } = self.shared.limits;
        let shared = &self.shared;
        let greet = |outbox: &mut Outbox, Greeting { resumed, has_replaced }| {
            let notice =
                Notice::Authenticated { client, epoch, resumed, ping_interval, ping_timeout, max_payload };
            if generation == Generation::Reliable {
                outbox.write(|frames| encode::notice(&notice, frames));
            }
            if has_replaced {
                shared.events.emit(Event::Disconnected(client, CloseReason::Replaced));
            }
            shared.events.emit(Event::Connected(client));
        };
        let mut outbox = self.outbox.take();
        let claimant = Claimant {
            bell: &self.bell,
            outbox: outbox.get_or_insert_default(),
            socket: &mut self.socket,
            resume,
        };
        let claim = match shared.backend.claim(client, claimant, greet) {
            Claiming::Claimed(claim) => claim,
            Claiming::Outdated => {
                self.outbox = outbox;
                return Err(CloseReason::Replaced);
            }
            Claiming::Unknown => {
                self.outbox = outbox;
                return self.offend(Offence::IncorrectToken);
            }
        };
        self.attachment = Some(Attachment { shared: Arc::clone(&self.shared), claim, generation });
        self.mail = true;
        // Not before: what others sent as this client until then has been counted.
        self.collect(client);
        Ok(())
    }

    fn is_right(&self, client: ClientId, token: &str) -> bool {
        let Shared { backend, failures, metrics, .. } = &*self.shared;
        let identity = backend.authenticate(client, token);
        let (is_registered, is_right) = (identity != Identity::Unknown, identity == Identity::Proven);
        let attempt = AuthAttempt { address: self.source, client, is_registered, has_valid_token: is_right };
        let judged = failures.check(attempt, now());
        judged.unwrap_or_else(|why| {
            metrics.connection_rejected(why);
            false
        })
    }

    /// The client has handed messages to its application.
    fn received(&mut self, frame: ReceivedFrame) -> Result<(), CloseReason> {
        let Some(attachment) = &self.attachment else { return Ok(()) };
        let received = self.shared.backend.received(&attachment.claim, frame.sender_id, frame.offset);
        // The window may have moved.
        self.mail = true;
        received.or_else(|_| self.offend(Offence::InvalidAcknowledgement))
    }

    fn offend(&mut self, offence: Offence) -> Result<(), CloseReason> {
        if self.generation() == Generation::Reliable {
            self.answers().add(&Notice::Error { code: offence.code(), message: &offence.to_string() });
        }
        self.judge(offence)
    }

    /// Tells what the client did wrong, and sees what comes of it.
    fn judge(&mut self, offence: Offence) -> Result<(), CloseReason> {
        let consequence = offence.consequence();
        if consequence != Consequence::None {
            self.shared.metrics.offence(offence.code());
        }
        let is_unregistered = offence == Offence::ChannelNotRegistered;
        self.tell(offence);
        match consequence {
            Consequence::None => Ok(()),
            Consequence::Close(reason) => Err(reason),
            Consequence::Counted => {
                let count = if is_unregistered { &mut self.unregistered } else { &mut self.offences };
                *count = count.saturating_add(1);
                let counted = self.offences as usize + self.unexcused();
                if counted >= self.shared.limits.max_offences {
                    return Err(CloseReason::TooManyOffences);
                }
                Ok(())
            }
        }
    }

    /// Offences that messages to channels that are not registered come to. For each channel that was taken from the client
    /// one is excused, for it may have been on its way then. A client with reliable delivery is refused by name and passes
    /// that on to its page, which may not stop at once.
    fn unexcused(&self) -> usize {
        let Some(attachment) = self.attachment.as_ref().filter(|_| self.unregistered > 0) else { return 0 };
        // Looked up each time: a channel may be closed a moment before it counts as taken.
        let lost = self.shared.backend.channels_lost(&attachment.claim);
        let messages = (self.unregistered as usize).saturating_sub(lost);
        match attachment.generation {
            Generation::Plain => messages,
            Generation::Reliable => messages / Limits::REFUSALS_PER_OFFENCE,
        }
    }

    fn tell(&self, offence: Offence) {
        let client = self.attachment.as_ref().map(|attachment| attachment.claim.id());
        // A stranger is closed before it has said much.
        if client.is_none_or(|client| self.shared.offence_event_limiter.take(client, now).is_ok()) {
            self.shared.events.emit(Event::Offence { client, offence });
        }
    }

    /// Lets the mailbox go; what is still to be written comes back.
    fn end(&mut self, reason: &CloseReason) -> Outbox {
        let mut outbox = self.outbox.take().map_or_else(Outbox::default, |outbox| *outbox);
        if let Some(attachment) = self.attachment.take() {
            outbox = attachment.release(reason).unwrap_or_default();
        }
        if let Some(ending) = self.bell.ending() {
            outbox.write(|frames| frames.extend_from_slice(&ending.rest));
        }
        // The last answers: what was wrong, for one.
        if let Some(answers) = &mut self.answers {
            answers.forget_refusals();
            answers.move_to(&mut outbox);
        }
        outbox.tell_accepted();
        outbox
    }
}

/// What time it is, by the clock of the timers.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Asks `future` once, so that it wakes this task, and then when it is due: asking takes a lock.
fn poll_once<F: Future>(
    future: Pin<&mut F>,
    has_asked: &mut bool,
    is_due: bool,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    // `select!` asks nothing when the task has done enough for this time, so the question is not put off.
    if std::mem::replace(has_asked, true) && !is_due { Poll::Pending } else { future.poll(cx) }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.metrics.disconnected();
    }
}

impl Receiver for Session {
    fn is_ready(&self) -> bool {
        // Who does not read the answers to its frames is not asked for more.
        let unread = self.answers.as_ref().map_or(0, |answers| answers.len());
        // When nothing more is taken from it, there is nothing to read from who sends no acknowledgements.
        let may_acknowledge = !self.is_draining || self.generation() == Generation::Reliable;
        let max = Limits::MAX_ANSWERS.min(self.shared.limits.max_write_ahead);
        self.is_heard() && may_acknowledge && unread < max
    }

    fn receive(&mut self, text: &str) -> Result<usize, CloseReason> {
        crate::faults::point("session");
        match decode(text, self.generation()) {
            // Not accepted: its client sends it again, to who comes after this server.
            Ok(ClientFrame::Relay(_)) if self.is_draining => {}
            Ok(ClientFrame::Relay(frame)) => self.relay(frame)?,
            Ok(ClientFrame::Received(frame)) => self.received(frame)?,
            Ok(ClientFrame::Authentication(frame)) => self.authenticate(&frame)?,
            Ok(ClientFrame::Ping) => self.answers().add(&Notice::Pong),
            Ok(ClientFrame::Pong) => {
                if let Some(attachment) = &self.attachment {
                    self.shared.backend.answered(&attachment.claim);
                }
            }
            Err(offence) => self.offend(offence)?,
        }
        self.mail |= self.answers.as_ref().is_some_and(|answers| answers.are_pending());
        let limits = &self.shared.limits;
        Ok(match self.attachment {
            Some(_) => limits.max_payload + Limits::ENVELOPE,
            None => limits.max_unauthenticated_payload,
        })
    }

    #[cfg(feature = "conformance")]
    fn echo(&mut self, message: &frame::Incoming<'_>) -> usize {
        self.with_outbox(|outbox| outbox.write(|frames| frame::echo(message, frames)));
        self.shared.limits.max_unauthenticated_payload
    }

    fn ping(&mut self, payload: &[u8]) {
        let Limits { max_write_ahead, max_unauthenticated_payload, .. } = self.shared.limits;
        // What strangers are owed counts against no bound of all.
        let is_stranger = self.attachment.is_none();
        let max =
            if is_stranger { max_unauthenticated_payload.min(max_write_ahead) } else { max_write_ahead };
        // Who pings without reading the answers gets none.
        self.with_outbox(|outbox| {
            if outbox.len() < max {
                outbox.write(|frames| frame::pong(payload, frames));
            }
        });
    }

    fn offend(&mut self, offence: Offence) -> CloseReason {
        // What breaks the WebSocket protocol always closes.
        Self::offend(self, offence).err().unwrap_or(CloseReason::Internal)
    }
}
