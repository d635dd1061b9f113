//! What a client's lock guards: its mailbox, the connection that reads it, and what that connection is to be told.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bell::Bell;
use super::connection::Connection;
use super::outbox::{Outbox, ReadSlices};
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;
use crate::model::{ClientSet, Freed, Mailbox, Message, Notices, Window};
use crate::protocol::encode::MessageNumber;
use crate::read_buffer::ReadSlice;
use crate::shared_writer::SharedWriter;

/// What a reliable client says of its session when it authenticates.
#[derive(Clone, Copy, Debug)]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// Counts the session's connections.
    pub connection: u64,
    /// Whether the client knows the current epoch.
    pub knows_epoch: bool,
    /// Whether the client wants receipts of its messages.
    pub receipts: bool,
    /// Whether the client wants to be told who connects and disconnects.
    pub presence: bool,
}

/// The state of a client.
#[derive(Debug, Default)]
pub(super) struct ClientState {
    pub mailbox: Mailbox,
    /// The connection that reads the mailbox.
    pub connection: Option<Connection>,
    /// The state of a reliable client. Boxed: a plain client needs none of it.
    pub reliable: Option<Box<ReliableState>>,
    /// Whether the client was unregistered. A sender may still have it at hand.
    pub is_unregistered: bool,
    /// What other clients are told of its presence.
    pub presence: Presence,
    /// Whether the store's thread is to look into the mailbox.
    pub is_visit_due: bool,
}

/// The state of a reliable client.
#[derive(Debug, Default)]
pub(super) struct ReliableState {
    /// The session that reads, or read last; `None` if that was a plain connection.
    pub session: Option<SessionInfo>,
    /// The session that came last and the number of its connection, even if it waits for the store to know it.
    pub newest: Option<(SessionId, u64)>,
    pub notices: Notices,
    /// Whether the client is queued to be told who connected and disconnected.
    pub is_presence_queued: bool,
    /// The bytes that the notices count against the total bound, and whether they are so many that the client's messages
    /// are held.
    pub counted: (usize, bool),
    /// For each target, the last number that the session was told is accepted. Only for a store that commits later; boxed,
    /// because others need none.
    pub accepted: Option<Box<FxHashMap<ClientId, Seq>>>,
    /// The sessions that were replaced, the newest last.
    pub replaced: Vec<SessionId>,
}

/// What other clients are told of a client's presence.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Whether they are told that it is connected.
    pub is_online: bool,
    /// Whether the client is among the queue's changed clients.
    is_changed: bool,
    /// Whether the client is among the announced clients of the presence task.
    pub is_announced: bool,
}

impl Presence {
    /// Called under the client's lock when it connected or disconnected. Returns whether the client has to be announced.
    pub fn mark_changed(&mut self) -> bool {
        !mem::replace(&mut self.is_changed, true)
    }

    /// Called when the presence task takes the client from the queue. Returns whether the task has to note a change with the
    /// client's peers.
    pub fn take_change(&mut self, is_online: bool) -> bool {
        self.is_changed = false;
        let has_changed = mem::replace(&mut self.is_online, is_online) != is_online;
        has_changed && !mem::replace(&mut self.is_announced, true)
    }
}

/// Adds to `freed` receipts for the messages of which `outbox` was the only copy, and which the socket has taken.
fn record_written(mailbox: &mut Mailbox, outbox: &Outbox, freed: &mut Freed) {
    let mut ranges = BTreeMap::<_, (Offset, Offset)>::new();
    for (sender, offset, session, seq) in outbox.written_copies() {
        if mailbox.is_stored() {
            ranges.entry(sender).or_insert((offset, offset)).1 = offset;
        }
        if seq == Seq::default() {
            continue;
        }
        match freed.delivered.last_mut() {
            Some(last) if last.0 == sender => *last = (sender, session, seq),
            _ => freed.delivered.push((sender, session, seq)),
        }
    }
    for (sender, (first, last)) in ranges {
        mailbox.flushed(sender, first, last, freed);
    }
}

/// A connection that no longer reads the mailbox.
pub(super) struct Detached {
    pub bell: Arc<Bell>,
    pub outbox: Outbox,
    /// Messages that went back to the mailbox.
    pub messages: usize,
    /// Their bytes, overhead included.
    pub bytes: usize,
    /// Bytes of the outbox that counted against the total bound.
    pub blocked_bytes: usize,
    /// What the messages that its socket has taken mean for their senders.
    pub freed: Freed,
}

impl ClientState {
    fn session(&self) -> Option<SessionInfo> {
        self.reliable.as_ref()?.session
    }

    /// Returns the bell of the connection.
    pub fn bell(&self) -> Option<Arc<Bell>> {
        self.connection.as_ref().map(|connection| Arc::clone(&connection.bell))
    }

    /// Whether a connection comes too late. Its session was replaced, perhaps by one that is not connected now: what one of
    /// the two acknowledged the other would never receive. Or its session has a newer connection already.
    pub fn is_outdated(&self, session: Option<SessionInfo>) -> bool {
        let (Some(new), Some(reliable)) = (session, &self.reliable) else { return false };
        let is_earlier = |(id, connection)| new.id == id && new.connection < connection;
        reliable.newest.is_some_and(is_earlier) || reliable.replaced.contains(&new.id)
    }

    /// Notes that a session came. Returns whether there was, or is now, a session to know.
    pub fn note_session(&mut self, session: Option<SessionInfo>) -> bool {
        if session.is_none() && self.reliable.is_none() {
            return false;
        }
        let reliable = self.reliable.get_or_insert_default();
        let before =
            mem::replace(&mut reliable.newest, session.map(|session| (session.id, session.connection)));
        let replaced = before.map(|(id, _)| id).filter(|id| session.is_none_or(|session| session.id != *id));
        reliable.replaced.extend(replaced);
        let excess = reliable.replaced.len().saturating_sub(Limits::MAX_REPLACED_SESSIONS);
        reliable.replaced.drain(..excess);
        true
    }

    /// Has another session read from now on. Returns true when it is the one that read before.
    pub fn attach_session(&mut self, session: Option<SessionInfo>) -> bool {
        let before = self.session().map(|known| known.id);
        let is_same = session.is_some_and(|session| Some(session.id) == before);
        if !is_same {
            self.mailbox.begin_session();
        }
        if session.is_none() && self.reliable.is_none() {
            return false;
        }
        let reliable = self.reliable.get_or_insert_default();
        reliable.session = session;
        if is_same {
            reliable.notices.resume();
            if session.is_none_or(|session| !session.receipts) {
                reliable.notices.forget_delivered();
            }
            return true;
        }
        reliable.notices = Notices::default();
        reliable.accepted = None;
        false
    }

    /// Takes the connection from the mailbox. What the client has not received waits again, except for what stays in the
    /// outbox: with `everything` all of it, else the rest of the frame of which the socket has taken a part.
    pub fn detach(&mut self, everything: bool) -> Option<Detached> {
        let Connection { bell, mut outbox, writer, blocked_bytes, .. } = self.connection.take()?;
        // Dropping the write half would close the connection.
        writer.into_iter().for_each(SharedWriter::forget);
        outbox.copy_splices();
        self.mailbox.rewind();
        let (mut messages, mut bytes, mut freed) = (0, 0, Freed::default());
        if !everything {
            record_written(&mut self.mailbox, &outbox, &mut freed);
            outbox.return_unwritten(|sender, message| {
                if let Some(cost) = self.mailbox.put_back(sender, message) {
                    messages += 1;
                    bytes += cost;
                } else {
                    // Its channel was closed, and it is dropped.
                    self.mailbox.flushed(sender, message.offset, message.offset, &mut freed);
                }
            });
            outbox.drop_unwritten_frames();
        }
        Some(Detached { bell, outbox, messages, bytes, blocked_bytes, freed })
    }

    /// Writes a plain sender's message to the outbox of a plain recipient without adding it to the lane, if there is room
    /// and nothing waits before it. `read_slice` is the message where it was read.
    pub fn bypass_lane(
        &mut self,
        sender: ClientId,
        json: &[u8],
        limits: &Limits,
        read_slice: impl FnOnce() -> Option<ReadSlice>,
    ) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.has_room(limits))
        else {
            return false;
        };
        if connection.is_reliable || self.mailbox.has_unread() {
            return false;
        }
        let offset = self.mailbox.bypass();
        let message = Message { offset, session: SessionId::default(), seq: Seq::default(), json };
        match connection.writer {
            Some(_) => connection.outbox.relay_read_slice(sender, message, read_slice),
            // Only its own session can write it, which comes later.
            None => connection.outbox.relay_sole_copy(sender, message),
        }
        true
    }

    /// Moves waiting notices and messages to the outbox while it has room. Messages of plain senders are numbered by
    /// `server_session`, with their offsets. With `splice`, long messages are not copied: they
    /// stay in their lanes, or in the buffer that they were read into, and have to be written before the lock is released.
    pub fn fill_outbox(
        &mut self,
        limits: &Limits,
        server_session: SessionId,
        splice: Option<(ClientId, Option<&mut ReadSlices>)>,
    ) -> Freed {
        let Some(Connection { outbox, is_reliable, .. }) =
            self.connection.as_mut().filter(|connection| connection.has_room(limits))
        else {
            return Freed::default();
        };
        let max = limits.max_write_ahead;
        if let Some(reliable) = &mut self.reliable {
            outbox.write_notices(&mut reliable.notices, max);
        }
        if !self.mailbox.has_unread() || outbox.len() >= max {
            return Freed::default();
        }
        if !*is_reliable {
            // Senders get their receipts when the socket has taken the messages.
            return self.mailbox.take(|sender, message| {
                outbox.relay_sole_copy(sender, message);
                outbox.len() < max
            });
        }
        let window = Window { messages: limits.max_in_flight_messages, bytes: limits.max_in_flight_bytes };
        let (is_spliced, recipient, mut slices) = match splice {
            Some((recipient, slices)) => (true, recipient, slices),
            None => (false, ClientId::default(), None),
        };
        self.mailbox.read(window, |sender, position, message, is_new_session| {
            let Message { offset, json, .. } = message;
            let (session, seq) = message.number().unwrap_or((server_session, Seq(offset.0)));
            let number = MessageNumber { offset, seq, session: is_new_session.then_some(session) };
            if is_spliced {
                let slice = slices.as_mut().and_then(|slices| slices.take(recipient, offset));
                outbox.splice(sender, number, position, json, slice);
            } else {
                outbox.relay(sender, number, json);
            }
            outbox.len() < max
        });
        Freed::default()
    }

    /// Writes to the socket what it takes without waiting. Returns whether everything was written.
    pub fn try_write(&mut self) -> bool {
        self.connection.as_mut().is_none_or(|connection| connection.try_write(&self.mailbox))
    }

    /// Clears the outbox, of which the socket has taken everything. Adds to `freed` what that means for the messages of which
    /// it was the only copy.
    pub fn clear_outbox(&mut self, freed: &mut Freed) {
        let Self { connection, mailbox, .. } = self;
        let Some(Connection { outbox, .. }) = connection else { return };
        record_written(mailbox, outbox, freed);
        outbox.clear();
    }

    /// Whether there is something to be written to the connection.
    pub fn is_writing(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| !connection.outbox.is_empty() || self.mailbox.has_unread())
    }

    /// Whether something waits to be moved to the outbox.
    pub fn has_waiting(&self) -> bool {
        let has_receipts = |reliable: &ReliableState| reliable.notices.has_message_notices();
        self.mailbox.has_unread() || self.reliable.as_deref().is_some_and(has_receipts)
    }

    /// Returns the clients whose presence the connection is to be told; `None` when it does not want to be told.
    pub fn pending_presence(&mut self) -> Option<&mut ClientSet> {
        self.connection.as_ref()?;
        let ReliableState { session, notices, .. } = self.reliable.as_deref_mut()?;
        session.is_some_and(|session| session.presence).then(|| notices.presence_due())
    }

    /// Whether the client has to be queued, because it is to be told of others and is not queued yet. It counts as queued
    /// from then on.
    pub fn queue_presence(&mut self) -> bool {
        self.pending_presence().is_some_and(|pending| !pending.is_empty())
            && self
                .reliable
                .as_deref_mut()
                .is_some_and(|reliable| !mem::replace(&mut reliable.is_presence_queued, true))
    }

    /// Notes that the client is to be told whether `other` is connected and shares a channel with it. Returns true when the
    /// client has to be queued for that.
    pub fn presence_changed(&mut self, other: ClientId) -> bool {
        self.pending_presence().is_some_and(|pending| pending.insert(other)) && self.queue_presence()
    }

    /// Lets these clients send; returns those that could not before. The client is to be told whether those are connected;
    /// see [`ClientState::queue_presence`].
    pub fn authorize_all(&mut self, senders: &ClientSet) -> ClientSet {
        let mut new = ClientSet::default();
        self.mailbox.authorize_all(senders, Some(&mut new));
        if let Some(pending) = self.pending_presence() {
            pending.extend(&new, None);
        }
        new
    }

    /// Returns the bell of the connection if messages were dropped that it may have waited for.
    pub fn bell_after(&self, dropped: &Freed) -> Option<Arc<Bell>> {
        if dropped.messages > 0 { self.bell() } else { None }
    }
}
