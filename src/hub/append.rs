//! How a message gets into its recipient's mailbox.

use std::sync::Arc;

use super::Hub;
use super::batch::Batch;
use super::claim::Claim;
use super::client::{Client, StateGuard};
use super::state::ClientState;
use crate::ids::{ClientId, Seq, SessionId};
use crate::model::{self, Freed, LONG_MESSAGE_BYTES};
use crate::read_buffer::{self, ReadSlice};
use crate::store::{ChannelRecord, Record};
use crate::sync::Ordering;

/// What became of a message that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is appended and committed.
    New,
    /// It was appended before, as was everything up to this sequence number, and all of it is committed.
    Duplicate(Seq),
    /// It is appended, now or before, but not accepted yet. The hub adds the acceptance to the sender's outbox once it is
    /// committed or received.
    Uncommitted,
}

/// Why a message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// No channel to the target is registered, or there is no such client.
    ChannelNotRegistered,
    /// There is no room for a plain sender's message, but the recipient is connected: the sender's bell rings when there
    /// is room.
    Held,
    /// There is no room.
    Full,
    /// A newer connection of the sender has taken over.
    Replaced,
}

/// A message that is being appended.
struct Message<'a> {
    sender: ClientId,
    target: ClientId,
    /// The sender's session and the message's sequence number, if it has one.
    number: Option<(SessionId, Seq)>,
    json: &'a [u8],
}

impl Message<'_> {
    /// Whether the message is written from where it stands instead of being copied to the outbox.
    fn is_long(&self) -> bool {
        self.json.len() >= LONG_MESSAGE_BYTES
    }

    /// The message in the buffer that it was read into, if it is still there.
    fn read_slice(&self) -> Option<ReadSlice> {
        #[expect(unsafe_code, reason = "the compiler does not see how far the buffer was decoded")]
        // SAFETY: a frame is cut off from the bytes that are still written, to unmask them, before its message comes here.
        unsafe {
            read_buffer::share(self.json)
        }
    }
}

/// The locked ends of a channel.
struct Ends<'a> {
    recipient: StateGuard<'a>,
    /// Locked only when the message may open the channel.
    sender: Option<StateGuard<'a>>,
    is_authorized: bool,
}

impl Hub {
    /// Returns the client with this id, and keeps it at hand for the next message.
    fn peer<'a>(
        &self,
        peer: &'a mut Option<(ClientId, Arc<Client>)>,
        id: ClientId,
    ) -> Option<&'a Arc<Client>> {
        if peer.as_ref().is_none_or(|(of, client)| *of != id || client.is_gone.load(Ordering::Relaxed)) {
            *peer = Some((id, self.client(id)?));
        }
        peer.as_ref().map(|(_, client)| client)
    }

    /// Adds a message, a JSON string, to the sender's lane in the target's mailbox. When nothing waits before it and there
    /// is room it goes to the target's outbox, too, which `batch` writes. A message with a sequence number is added once,
    /// however often it is sent.
    ///
    /// # Errors
    /// An [`AppendError`]; the message has changed nothing then.
    pub fn append(
        &self,
        batch: &mut Batch<'_>,
        Claim { id, client, number, session, peer }: &mut Claim,
        target: ClientId,
        seq: Option<Seq>,
        message: &str,
    ) -> Result<Appended, AppendError> {
        let recipient = self.peer(peer, target).ok_or(AppendError::ChannelNotRegistered)?;
        let message = Message { sender: *id, target, number: session.zip(seq), json: message.as_bytes() };
        self.expire_waiting(target, recipient);
        let mut ends = self.lock_ends(&message, client, recipient);
        // Under the recipient's lock, which a connection that took over needs for its first message: so no message of the
        // replaced connection comes behind one of the newer connection.
        if !client.is_claimed_by(*number) {
            return Err(AppendError::Replaced);
        }
        if let Some(last) = self.check_channel(&message, &ends)? {
            return Ok(duplicate_of(message.sender, last, &ends.recipient));
        }
        let (was_idle, had_unread) = (!ends.recipient.is_writing(), ends.recipient.mailbox.has_unread());
        let is_away = ends.recipient.connection.is_none();
        let is_held = message.number.is_some() && client.is_held.load(Ordering::Relaxed)
            || is_away && self.is_store_full.load(Ordering::Relaxed);
        let added = match self.add(batch, &message, &mut ends, is_held) {
            Ok(model::AppendResult::Duplicate(last)) => {
                return Ok(duplicate_of(message.sender, last, &ends.recipient));
            }
            Ok(_) if message.number.is_some() && !self.store.commits_at_once() => Ok(Appended::Uncommitted),
            Ok(_) => Ok(Appended::New),
            Err(error) => Err(error),
        };
        if added.is_ok() {
            self.request_commit(target, &mut ends.recipient);
        }
        // A long message, and what is behind unread ones, is better written from where it is kept.
        let freed = match had_unread || message.is_long() {
            true => Freed::default(),
            false => ends.recipient.fill_outbox(&self.limits, self.life(), None),
        };
        self.subtract_freed(&freed);
        let starts_writing = was_idle && ends.recipient.is_writing();
        let introduced = match added {
            // A refused message leaves nothing behind.
            Err(AppendError::Full) => [None; 2],
            _ => self.open_on_message(&message, &mut ends),
        };
        let visit = if added.is_ok() { self.schedule_expiry(&mut ends.recipient) } else { None };
        crate::faults::point("append");
        drop(ends);
        self.queue_presence(introduced.into_iter().flatten());
        self.visit_at(target, visit);
        if starts_writing {
            // Otherwise a writer is busy with the outbox, and looks for more when it is done.
            batch.wrote_to(target, recipient);
        }
        self.notify_senders(target, freed);
        added
    }

    /// Locks the recipient, and the sender too if the message may open the channel.
    fn lock_ends<'a>(&self, message: &Message<'_>, sender: &'a Client, recipient: &'a Client) -> Ends<'a> {
        let state = recipient.lock();
        let is_authorized = state.mailbox.is_authorized(message.sender);
        if is_authorized || !self.authorize_all_channels || message.target == message.sender {
            return Ends { recipient: state, sender: None, is_authorized };
        }
        drop(state);
        let (sender, recipient) = StateGuard::pair((message.sender, sender), (message.target, recipient));
        let is_authorized = recipient.mailbox.is_authorized(message.sender);
        Ends { recipient, sender: Some(sender), is_authorized }
    }

    /// Checks that the sender may send to the recipient. Returns the last accepted sequence number of a message that was
    /// stored before its channel was closed.
    fn check_channel(&self, message: &Message<'_>, ends: &Ends<'_>) -> Result<Option<Seq>, AppendError> {
        if ends.recipient.is_unregistered {
            return Err(AppendError::ChannelNotRegistered);
        }
        let opened = || ends.sender.as_ref().unwrap_or(&ends.recipient).mailbox.opened_channels();
        if ends.is_authorized || self.authorize_all_channels && opened() < self.limits.max_opened_channels {
            return Ok(None);
        }
        let Message { sender, number, .. } = *message;
        let last = number.and_then(|(session, seq)| ends.recipient.mailbox.duplicate(sender, session, seq));
        last.map(Some).ok_or(AppendError::ChannelNotRegistered)
    }

    /// Writes the message past its lane into the outbox, or adds it to the lane.
    fn add(
        &self,
        batch: &mut Batch<'_>,
        message: &Message<'_>,
        ends: &mut Ends<'_>,
        is_held: bool,
    ) -> Result<model::AppendResult, AppendError> {
        let Message { sender, target, number, json } = *message;
        let state = &mut *ends.recipient;
        let may_bypass =
            ends.is_authorized && number.is_none() && self.budget.has_room() && self.store.commits_at_once();
        if may_bypass && state.bypass_lane(sender, json, &self.limits, || message.read_slice()) {
            batch.count(json.len(), false);
            return Ok(model::AppendResult::New);
        }
        let is_reading = !state.mailbox.has_unread()
            && state.connection.as_ref().is_some_and(|connection| connection.blocked_bytes == 0);
        // Gives the bytes back if a panic keeps the message from being added.
        let mut reservation = self.budget.reservation();
        let reserve = |cost| {
            let fits = !is_held && self.budget.reserve(cost, is_reading);
            reservation.bytes = if fits { cost } else { 0 };
            crate::faults::point("reserve");
            fits
        };
        let appended = state.mailbox.append(sender, number, json, &self.limits, reserve);
        // The mailbox counts them from here on.
        std::mem::forget(reservation);
        match appended {
            model::AppendResult::New => {
                batch.count(json.len(), true);
                if message.is_long()
                    && let Some(slice) = message.read_slice()
                {
                    batch.slices.add(target, state.mailbox.last_offset(), slice);
                }
                Ok(appended)
            }
            model::AppendResult::Duplicate(_) => Ok(appended),
            model::AppendResult::Full if number.is_none() && state.connection.is_some() => {
                state.mailbox.hold_sender(sender);
                Err(AppendError::Held)
            }
            model::AppendResult::Full => Err(AppendError::Full),
        }
    }

    /// Opens the channel of a message that was let in without one, so that the recipient can answer. Returns the clients
    /// that are to be told of each other's presence.
    fn open_on_message(&self, message: &Message<'_>, ends: &mut Ends<'_>) -> [Option<ClientId>; 2] {
        if ends.is_authorized {
            return [None; 2];
        }
        let Message { sender, target, .. } = *message;
        ends.recipient.mailbox.authorize(sender);
        ends.sender.as_mut().unwrap_or(&mut ends.recipient).mailbox.open_channel(target);
        self.channels.fetch_add(1, Ordering::Relaxed);
        if let Some(queue) = self.store.queue() {
            let channel = ChannelRecord { first: sender, second: target, opened_by: Some(sender) };
            queue.push(vec![Record::Channel(channel)], false);
        }
        let recipient = ends.recipient.presence_changed(sender).then_some(target);
        let sender = ends.sender.as_mut().and_then(|own| own.presence_changed(target).then_some(sender));
        [recipient, sender]
    }

    /// Returns what [`Hub::append`] would return for a message that was appended before; `None` if it was not.
    pub fn duplicate(
        &self,
        Claim { id, session, peer, .. }: &mut Claim,
        target: ClientId,
        seq: Seq,
    ) -> Option<Appended> {
        let (sender, session) = (*id, (*session)?);
        let recipient = self.peer(peer, target)?.lock();
        let last = recipient.mailbox.duplicate(sender, session, seq)?;
        Some(duplicate_of(sender, last, &recipient))
    }
}

/// What became of a message that was appended before, as was everything up to `last`.
fn duplicate_of(sender: ClientId, last: Seq, recipient: &ClientState) -> Appended {
    if recipient.mailbox.is_settled(sender) { Appended::Duplicate(last) } else { Appended::Uncommitted }
}
