//! One connection, one task: it authenticates, then relays, until either side ends it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::access::{Failures, Pace, Source};
use crate::backend::{Backend, Bell, Claim, Claimant, Claiming, Greeting, Outbox, Refusal, Resume, Taken};
use crate::error::{CloseReason, Consequence, Offence};
use crate::events::{Event, EventSink};
use crate::hand::Hand;
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::protocol::encode::Notice;
use crate::protocol::frame;
use crate::protocol::{Authentication, ClientFrame, Generation, ReceivedFrame, RelayFrame, decode, encode};
use crate::stream::Connection;
use crate::wire::{Receiver, Wire};

mod answers;
mod throttle;

use answers::Answers;
use throttle::Throttle;

/// What all sessions of a relay share.
#[derive(Debug)]
pub struct Shared {
    /// The bounds.
    pub limits: Limits,
    /// Where clients, channels and messages are kept.
    pub backend: Backend,
    /// Who is told what happens.
    pub events: EventSink,
    /// Authentications that failed.
    pub failures: Failures,
    /// How fast clients send.
    pub pace: Pace,
    /// What is counted.
    pub metrics: Metrics,
    /// Ends every session, by [`Shared::stop`] or [`Shared::drain`].
    pub stop: CancellationToken,
    stopping: AtomicBool,
    /// Ends those at once that drain.
    pub cut: CancellationToken,
    /// How long clients are asked to stay away at most, when sessions drain.
    retry_after: OnceLock<Duration>,
    /// How many clients have been asked.
    asked: AtomicU64,
}

impl Shared {
    /// What sessions share.
    pub fn new(limits: Limits, backend: Backend, events: EventSink) -> Self {
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let (stopping, retry_after, asked) = (AtomicBool::new(false), OnceLock::new(), AtomicU64::new(0));
        let (failures, pace) = (Failures::new(&limits), Pace::new(&limits));
        let metrics = Metrics::default();
        Self { limits, backend, events, failures, pace, metrics, stop, stopping, cut, retry_after, asked }
    }

    /// Ends every session, also those that drain.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.cut.cancel();
    }

    /// Ends every session when its client has what waits for it. Clients are asked to come back after different times,
    /// up to `retry_after`. Does nothing to sessions that are ending already.
    pub fn drain(&self, retry_after: Duration) {
        if !self.is_stopping() {
            self.retry_after.set(retry_after).ok();
            self.stopping.store(true, Ordering::Release);
            self.stop.cancel();
        }
    }

    /// A task of ours has panicked, and is gone. What it had appended and not written goes out.
    pub fn panicked(&self) {
        self.backend.flush();
        self.metrics.panicked();
        self.events.emit(Event::Panicked);
    }

    /// Why a session ends because all do.
    fn farewell(&self) -> CloseReason {
        let Some(retry_after) = self.retry_after.get() else { return CloseReason::GoingAway };
        let range = retry_after.as_millis() as u64;
        // Multiples of the golden ratio fill the range evenly, however many they are.
        let place = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let wait = (u128::from(place) * u128::from(range)) >> 64;
        CloseReason::Restarting(format!("{wait} ms to wait: the server is restarting"))
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

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
    source: Option<Source>,
    /// Boxed, as few clients are ever over their rate.
    throttle: Option<Box<Throttle>>,
    offences: usize,
    /// Boxed, as few connections ever need it.
    held: Option<Box<Held>>,
    /// Whether there may be something to write.
    mail: bool,
    /// Whether nothing more is taken from the client than acknowledgements.
    is_draining: bool,
    /// What a client with reliable delivery is owed: answers to its frames. Boxed, for a plain one is owed none.
    answers: Option<Box<Answers>>,
    heartbeat: Heartbeat,
}

/// A client's presence: while it lives the client is connected, and when it goes, by whatever way, it is not.
struct Attachment {
    shared: Arc<Shared>,
    claim: Claim,
    generation: Generation,
}

/// A message that its recipient's lane had no room for. Nothing more is read before it has found some.
struct Held {
    target: ClientId,
    message: Box<str>,
    until: Instant,
    /// When to try again, if the bell does not ring before.
    retry: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy)]
enum Heartbeat {
    /// The client has until the timer's end to say who it is.
    Authenticating,
    /// The next ping is due at the timer's end.
    Resting,
    /// Something must have been heard at the timer's end: what the counters were when the ping went out.
    Listening { heard: u64, sent: u64, stuck: bool },
}

/// Runs a connection that has been upgraded until it is over; `early` came behind the upgrade request. `admission`
/// is kept until then. No `async fn`, which would have room for its arguments beside what is made of them.
pub fn run<C: Connection, A>(
    connection: C,
    early: &[u8],
    shared: Arc<Shared>,
    source: Option<Source>,
    admission: A,
) -> impl Future<Output = ()> + use<C, A> {
    let (stream, socket) = connection.open();
    let Limits { max_unauthenticated_payload, close_timeout, .. } = shared.limits;
    let mut wire = Wire::new(stream, early, max_unauthenticated_payload);
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
            wire.close(outbox, &reason, close_timeout).await;
        }
        // Dropping it would close the connection before its time: it goes with the reading half.
        session.socket.take().into_iter().for_each(Hand::forget);
        drop(admission);
    }
}

/// Tells a connection that there are too many, and ends it.
pub async fn turn_away<S: AsyncRead + AsyncWrite + Unpin>(stream: S, limits: &Limits) {
    let mut wire = Wire::new(stream, &[], 0);
    wire.close(Outbox::default(), &CloseReason::TooManyConnections, limits.close_timeout).await;
}

impl Session {
    fn new(shared: Arc<Shared>, socket: Option<Hand>, source: Option<Source>) -> Self {
        shared.metrics.connected();
        let (bell, heartbeat) = (Arc::default(), Heartbeat::Authenticating);
        Self {
            shared,
            bell,
            attachment: None,
            outbox: None,
            socket,
            source,
            throttle: None,
            offences: 0,
            held: None,
            mail: false,
            is_draining: false,
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
                }) => return Err(shared.farewell()),
                () = poll_fn(|cx| bell.poll_rung(cx)) => self.answer_bell()?,
                () = &mut timer => self.beat(wire, timer.as_mut())?,
                received = poll_fn(|cx| self.poll(wire, cx)) => {
                    received?;
                    self.start_heartbeat(timer.as_mut());
                }
            }
        }
    }

    /// Writes what waits for the client, and takes no more from it than acknowledgements, until nothing waits; then ends
    /// the connection. When that takes too long for whoever waits for it, it is cut.
    async fn drain<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<S>, farewell: CloseReason) {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        self.is_draining = true;
        let mut cut = pin!(shared.cut.cancelled());
        let drained = poll_fn(|cx| {
            while !self.is_drained() {
                ready!(self.poll_drain(&bell, wire, cx))?;
            }
            Poll::Ready(Ok::<_, CloseReason>(()))
        });
        let reason = tokio::select! {
            biased;
            () = &mut cut => farewell,
            drained = drained => drained.err().unwrap_or(farewell),
        };
        let outbox = self.end(&reason);
        tokio::select! {
            // First: also a connection that is cut gets what its socket takes at once.
            biased;
            () = wire.close(outbox, &reason, shared.limits.close_timeout) => {}
            () = shared.cut.cancelled() => {}
        }
    }

    /// Ready when there may be something else to do.
    fn poll_drain<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        bell: &Bell,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        while bell.poll_rung(cx).is_ready() {
            self.answer_bell()?;
        }
        self.mail = true;
        let received = self.poll(wire, cx);
        if self.is_drained() { Poll::Ready(Ok(())) } else { received }
    }

    /// Whether nothing waits for the client any more, and nothing of it for others.
    fn is_drained(&self) -> bool {
        let waits = self.attachment.as_ref().is_some_and(|Attachment { claim, .. }| {
            self.held.is_some() || self.shared.backend.has_waiting(claim)
        });
        !waits && self.outbox.as_ref().is_none_or(|outbox| outbox.is_empty())
    }

    /// Moves bytes, tries again for a message that is held back when that is due, and sees what answers are due. Ready
    /// when something was received.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        if let Some(throttle) = &mut self.throttle {
            throttle.poll(cx);
        }
        while let Some(held) = &mut self.held
            && held.retry.as_mut().poll(cx).is_ready()
        {
            self.retry()?;
        }
        if self.mail {
            self.mail = self.poll_deliver(wire, cx, false)?.is_pending();
        }
        if self.answers.as_mut().is_some_and(|answers| answers.poll_due(cx).is_ready()) {
            self.mail |= self.poll_deliver(wire, cx, true)?.is_pending();
            // A connection that has nothing to answer keeps nothing for it.
            self.answers.take_if(|answers| answers.are_idle());
        }
        let received = wire.poll_receive(cx, self);
        self.shared.backend.flush();
        received
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
            let mut pending = answers.as_mut().filter(|answers| answers.are_pending());
            if let Some(answers) = pending.take_if(|_| outbox.len() < max || outbox.is_drained()) {
                answers.move_to(outbox);
            }
            if is_due || !outbox.is_empty() {
                outbox.tell_accepted();
            }
            ready!(wire.poll_write(cx, outbox))?;
            // Those that had no room before the socket took everything have it now, and nobody would come back for them.
            if pending.is_none() {
                return Poll::Ready(Ok(()));
            }
        };
        let Some(attachment) = &self.attachment else {
            let outbox = self.outbox.get_or_insert_default();
            return write(outbox).map_ok(|()| outbox.forget());
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
                (Heartbeat::Listening { heard: wire.heard, sent, stuck }, ping_timeout)
            }
            Heartbeat::Listening { sent, stuck: true, .. }
                if self.with_outbox(|outbox| outbox.sent) == Some(sent) =>
            {
                return Err(CloseReason::TooSlow);
            }
            // While a message is held back or the client has to pause nothing is read, so nothing can be heard.
            Heartbeat::Listening { heard, .. }
                if wire.heard == heard && self.held.is_none() && self.throttle.is_none() =>
            {
                return Err(CloseReason::PingTimeout);
            }
            Heartbeat::Listening { .. } => (Heartbeat::Resting, ping_interval),
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
        Ok(())
    }

    fn is_right(&self, client: ClientId, token: &str) -> bool {
        let Shared { backend, failures, metrics, .. } = &*self.shared;
        let is_right = backend.authenticate(client, token);
        let judged = failures.judge(self.source, client, is_right, std::time::Instant::now());
        judged.unwrap_or_else(|why| {
            metrics.turned_away(why);
            false
        })
    }

    /// Counts a message of a plain client, which has been read already: above the rate nothing more is read for a while.
    fn charge(&mut self, client: ClientId) -> Result<(), CloseReason> {
        let (wait, is_calm) = self.shared.pace.charge(client, std::time::Instant::now());
        if is_calm {
            self.throttle = None;
        }
        if !wait.is_zero() {
            let throttle = self.throttle.get_or_insert_with(|| Box::new(Throttle::new()));
            if throttle.lasts() > self.shared.limits.hold_timeout {
                return Err(CloseReason::OverRate);
            }
            throttle.pause(wait);
        }
        Ok(())
    }

    fn relay(&mut self, frame: RelayFrame<'_>) -> Result<(), CloseReason> {
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
                if let Err(wait) = self.shared.pace.take(client, std::time::Instant::now()) {
                    let retry_after = wait.max(Limits::HOLD_RETRY);
                    return self.pass_over(target, &Notice::Hold { target, seq, retry_after });
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
            // The refusal is the answer: it is told to who listens, but is not one of the offences that close.
            self.tell(offence);
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
        let (Some(attachment), Some(held)) = (&mut self.attachment, &mut self.held) else { return Ok(()) };
        let target = held.target;
        held.retry.as_mut().reset(Instant::now() + Limits::HOLD_RETRY);
        let appended = self.shared.backend.append(&mut attachment.claim, target, None, &held.message);
        self.shared.backend.flush();
        match appended {
            Err(Refusal::Held) if Instant::now() < held.until => Ok(()),
            appended => {
                self.held = None;
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

    fn offend(&mut self, offence: Offence) -> Result<(), CloseReason> {
        let consequence = offence.consequence();
        if consequence != Consequence::None {
            self.shared.metrics.offence(offence.code());
        }
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
        let is_pausing = self.throttle.as_ref().is_some_and(|throttle| throttle.is_pausing());
        self.held.is_none() && !is_pausing && may_acknowledge && unread < self.shared.limits.max_write_ahead
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
        let max = self.shared.limits.max_write_ahead;
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

impl Attachment {
    /// Lets the mailbox go, unless somebody has taken over, who has told so already.
    fn release(&self, reason: &CloseReason) -> Option<Outbox> {
        // What waits in this process will wait no longer.
        let everything = matches!(reason, CloseReason::GoingAway | CloseReason::Restarting(_));
        self.shared.backend.release(&self.claim, everything, || {
            self.shared.events.emit(Event::Disconnected(self.claim.id(), reason.clone()));
        })
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let stopped = self.shared.is_stopping();
        // Nothing happens when it was released already.
        self.release(if stopped { &CloseReason::GoingAway } else { &CloseReason::Internal });
    }
}
