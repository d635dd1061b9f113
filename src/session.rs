//! One connection, one task: it authenticates, then relays, until either side ends it.
//!
//! A session that is told to stop **drains**: it goes on until nothing waits for its client. Meanwhile it drops relay frames,
//! which are not accepted and are sent again to the next server, and does not read at all from a client that sends no
//! acknowledgements, so that what waits can only become less.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::access::AddressKey;
use crate::error::CloseReason;
use crate::hub::{Bell, Claim, Hub, Outbox};
use crate::protocol::Generation;
use crate::shared_writer::SharedWriter;
use crate::stream::Transport;
use crate::wire::Wire;

mod attachment;
mod authentication;
mod claiming;
mod drain;
mod heartbeat;
mod offences;
mod receive;
mod replies;
mod sending;
mod shared;

use attachment::Attachment;
use claiming::Claiming;
use heartbeat::Heartbeat;
use receive::Reading;
use replies::Replies;
use sending::HeldMessage;

pub use shared::Shared;

struct Session {
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    phase: Phase,
    /// The connection's write half, which goes to the hub with the outbox.
    writer: Option<SharedWriter>,
    /// Where the connection comes from.
    address_key: Option<AddressKey>,
    /// Until when nothing is read because the client sends too fast. Boxed: few connections ever pause.
    pause: Option<Pin<Box<Sleep>>>,
    /// Offences that count towards `maxOffences`, except for those below.
    offences: u32,
    /// Messages to channels that are not registered.
    unregistered: u32,
    /// Boxed: few connections ever hold a message.
    held: Option<Box<HeldMessage>>,
    /// Whether there may be something to write.
    has_mail: bool,
    /// Replies to the frames of a reliable client. Boxed: a plain client gets none.
    replies: Option<Box<Replies>>,
    heartbeat: Heartbeat,
    /// The message that had arrived in part at the last heartbeat, and since when. Boxed: few connections have one.
    partial_message: Option<Box<(u32, Instant)>>,
}

/// How far a connection has come.
enum Phase {
    /// The client has not authenticated yet. Boxed: few connections have something to write before.
    Authenticating(Option<Box<Outbox>>),
    /// The client has proved who it is, and waits for the store to know its session. Nothing is read meanwhile.
    Claiming(Box<Claiming>),
    /// The client has its mailbox, and its outbox is kept there.
    Attached(Attachment),
    /// The server stops: only acknowledgements are taken from the client.
    Draining(Attachment),
    /// The mailbox was given back.
    Detached,
}

impl Phase {
    fn attachment(&self) -> Option<&Attachment> {
        match self {
            Self::Attached(attachment) | Self::Draining(attachment) => Some(attachment),
            Self::Authenticating(_) | Self::Claiming(_) | Self::Detached => None,
        }
    }

    /// Returns the outbox of a connection that has no mailbox yet.
    fn own_outbox(&mut self) -> Option<&mut Outbox> {
        match self {
            Self::Authenticating(outbox) => Some(outbox.get_or_insert_default()),
            Self::Claiming(claiming) => Some(claiming.outbox.get_or_insert_default()),
            Self::Attached(_) | Self::Draining(_) | Self::Detached => None,
        }
    }

    fn claim_mut(&mut self) -> Option<&mut Claim> {
        match self {
            Self::Attached(attachment) | Self::Draining(attachment) => Some(&mut attachment.claim),
            Self::Authenticating(_) | Self::Claiming(_) | Self::Detached => None,
        }
    }
}

/// The bytes and the timer of a connection.
struct Io<'a, S> {
    wire: &'a mut Wire<S>,
    timer: Pin<&'a mut Sleep>,
    /// Whether the timer was polled since it was last set.
    has_polled_timer: bool,
}

impl<S> Io<'_, S> {
    fn set_timer(&mut self, after: Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
        self.has_polled_timer = false;
    }
}

/// Runs an upgraded connection until it ends; `early` came behind the upgrade request. `permit` is held until then. Not an
/// `async fn`: its future would store the arguments twice.
pub fn run<C: Transport, A>(
    connection: C,
    early: &[u8],
    shared: Arc<Shared>,
    address_key: Option<AddressKey>,
    permit: A,
) -> impl Future<Output = ()> + use<C, A> {
    let (stream, writer) = connection.open();
    let mut wire = Wire::new(stream, early, shared.limits.max_unauthenticated_payload);
    let mut session = Session::new(Arc::clone(&shared), writer, address_key);
    async move {
        let reason = match session.serve(&mut wire).await {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        if !matches!(reason, CloseReason::ByPeer(..)) {
            session.shared.metrics.closed(reason.code());
        }
        if matches!(reason, CloseReason::Restarting(_)) && session.begin_draining() {
            // Boxed: it takes no room while nothing drains.
            Box::pin(session.drain(&mut wire, reason)).await;
        } else {
            let outbox = session.end(&reason);
            // A connection whose bytes there is no room for is dropped without a close frame.
            if let Some(_reservation) = session.shared.hub.reserve_for_close(outbox.len()) {
                Box::pin(close(&mut wire, outbox, &reason, &shared)).await;
            }
        }
        // The stream closes the socket; dropping the write half would close it too early.
        session.writer.take().into_iter().for_each(SharedWriter::forget);
        drop(permit);
    }
}

/// Tells a connection that there are too many, and ends it.
pub async fn reject<S: AsyncRead + AsyncWrite + Unpin>(stream: S, shared: &Shared) {
    let mut wire = Wire::new(stream, &[], 0);
    Box::pin(close(&mut wire, Outbox::default(), &CloseReason::TooManyConnections, shared)).await;
}

/// Ends a connection: at the latest after `closeTimeout`, and at once when all connections are cut.
async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    outbox: Outbox,
    reason: &CloseReason,
    shared: &Shared,
) {
    tokio::select! {
        // First: a connection that is cut still gets what its socket takes at once.
        biased;
        () = wire.close(outbox, reason, shared.limits.close_timeout) => {}
        () = shared.cut.cancelled() => {}
    }
}

impl Session {
    fn new(shared: Arc<Shared>, writer: Option<SharedWriter>, address_key: Option<AddressKey>) -> Self {
        shared.metrics.connected();
        Self {
            shared,
            bell: Arc::default(),
            phase: Phase::Authenticating(None),
            writer,
            address_key,
            pause: None,
            offences: 0,
            unregistered: 0,
            held: None,
            has_mail: false,
            replies: None,
            heartbeat: Heartbeat::Resting,
            partial_message: None,
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> Result<std::convert::Infallible, CloseReason> {
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        let mut stop = pin!(shared.stop.cancelled());
        let mut has_polled_stop = false;
        let timer = pin!(sleep_until(Instant::now() + shared.limits.auth_timeout));
        let io = &mut Io { wire, timer, has_polled_timer: false };
        loop {
            let Io { wire, timer, has_polled_timer } = &mut *io;
            tokio::select! {
                biased;
                () = poll_fn(|cx| poll_once(stop.as_mut(), &mut has_polled_stop, shared.is_stopping(), cx)) => {
                    return Err(shared.stop_reason());
                }
                () = poll_fn(|cx| bell.poll_rung(cx)) => self.answer_bell()?,
                () = poll_fn(|cx| {
                    let is_elapsed = timer.is_elapsed();
                    poll_once(timer.as_mut(), has_polled_timer, is_elapsed, cx)
                }) => self.beat(io)?,
                authenticated = poll_fn(|cx| self.poll(&shared.hub, wire, cx)) => {
                    authenticated?;
                    self.start_heartbeat(io);
                }
            }
        }
    }

    /// Reads, relays and writes until there is nothing left to do, retries a held message when that is due, and sends replies
    /// when they are due. Ready when the client has just authenticated.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        hub: &Hub,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        loop {
            if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_ready()) {
                self.pause = None;
                self.resume_reading();
            }
            while let Some(held) = &mut self.held
                && held.retry.as_mut().poll(cx).is_ready()
            {
                self.retry_held()?;
            }
            if self.has_mail {
                self.has_mail = self.poll_deliver(wire, cx, false)?.is_pending();
            }
            while self.replies.as_mut().is_some_and(|replies| replies.poll_due(cx).is_ready()) {
                self.release_refusals();
                self.has_mail |= self.poll_deliver(wire, cx, true)?.is_pending();
                // A connection without replies keeps nothing for them.
                self.replies.take_if(|replies| replies.is_idle());
            }
            // While it waits, the wire is polled as well: it leaves its place in line to others.
            if let Phase::Claiming(claiming) = &mut self.phase
                && claiming.poll_committed(cx).is_ready()
            {
                self.finish_claiming()?;
                return Poll::Ready(Ok(()));
            }
            let was_authenticating = matches!(self.phase, Phase::Authenticating(_));
            // Dropped before the result is looked at: other clients' messages go out whatever comes of this connection.
            ready!(wire.poll_receive(cx, &mut Reading { session: self, batch: hub.batch() }))?;
            if was_authenticating && matches!(self.phase, Phase::Attached(_)) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Writes replies and what waits for the client until there is no more or the socket takes no more.
    fn poll_deliver<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
        cx: &mut Context<'_>,
        is_due: bool,
    ) -> Poll<Result<(), CloseReason>> {
        let (replies, max) = (&mut self.replies, self.shared.limits.max_write_ahead);
        let mut write = |outbox: &mut Outbox| loop {
            let mut is_left = false;
            if let Some(replies) = replies.as_mut().filter(|replies| replies.is_pending()) {
                is_left = outbox.len() >= max && !outbox.is_written();
                if !is_left {
                    replies.move_to(outbox);
                }
            }
            if !outbox.is_empty() {
                outbox.write_accepted();
            } else if !is_due && outbox.has_accepted() {
                // Of the hub: the store commits later.
                replies.get_or_insert_default().await_more(outbox);
            }
            if is_due && let Some(replies) = replies {
                replies.write_overdue(outbox);
            }
            ready!(wire.poll_write(cx, outbox))?;
            // Replies that had no room before have it now, and nothing else would come back for them.
            if !is_left {
                return Poll::Ready(Ok(()));
            }
        };
        match &mut self.phase {
            Phase::Attached(attachment) | Phase::Draining(attachment) => {
                self.shared.hub.deliver(&attachment.claim, write)
            }
            other => {
                let Some(outbox) = other.own_outbox() else { return Poll::Ready(Ok(())) };
                let written = write(outbox);
                if written.is_pending() {
                    outbox.shrink();
                }
                written.map_ok(|()| outbox.clear())
            }
        }
    }

    /// Passes the outbox to `write`, wherever it is kept; returns `None` when another connection has taken over.
    fn with_outbox<T>(&mut self, write: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        self.has_mail = true;
        match &mut self.phase {
            Phase::Attached(attachment) | Phase::Draining(attachment) => {
                self.shared.hub.with_outbox(&attachment.claim, write)
            }
            other => other.own_outbox().map(write),
        }
    }

    /// Looks for mail, for room for a held message, and for another connection that has taken over.
    fn answer_bell(&mut self) -> Result<(), CloseReason> {
        if self.bell.ending().is_some() {
            return Err(self.ending_reason());
        }
        self.has_mail = true;
        self.release_refusals();
        self.retry_held()
    }

    /// Returns why the mailbox was taken from this connection.
    fn ending_reason(&self) -> CloseReason {
        self.bell.ending().map_or(CloseReason::Replaced, |ending| ending.reason.clone())
    }

    fn generation(&self) -> Generation {
        self.phase.attachment().map_or(Generation::Plain, |attachment| attachment.generation)
    }

    /// Returns the replies of a connection that gets some.
    fn replies(&mut self) -> &mut Replies {
        self.replies.get_or_insert_default()
    }

    /// Gives the mailbox back. Returns what is still to be written.
    fn end(&mut self, reason: &CloseReason) -> Outbox {
        let mut outbox = match mem::replace(&mut self.phase, Phase::Detached) {
            Phase::Attached(attachment) | Phase::Draining(attachment) => {
                attachment.release(reason).unwrap_or_default()
            }
            mut other => other.own_outbox().map(mem::take).unwrap_or_default(),
        };
        if let Some(ending) = self.bell.ending() {
            outbox.write(|frames| frames.extend_from_slice(&ending.rest));
        }
        // The last replies say, for one, what the client did wrong.
        if let Some(replies) = &mut self.replies {
            replies.drop_refusals();
            replies.move_to(&mut outbox);
        }
        outbox.write_accepted();
        outbox
    }
}

/// Returns the time by the clock of the timers.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Polls `future` once, so that it wakes this task, and then only when `is_due`: polling takes a lock.
fn poll_once<F: Future>(
    future: Pin<&mut F>,
    has_polled: &mut bool,
    is_due: bool,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    // Set even if `is_due`: `select!` polls nothing once the task's budget is used up, so this poll counts.
    if mem::replace(has_polled, true) && !is_due { Poll::Pending } else { future.poll(cx) }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.metrics.disconnected();
    }
}
