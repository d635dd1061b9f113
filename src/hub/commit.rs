//! How a store that commits later gets the messages, and how senders learn that theirs are accepted.
//!
//! It costs a message nothing on its way: its bytes stay in its lane. A mailbox with messages that are not committed is listed
//! once in the store's [`Queue`](crate::store::Queue). The store's thread looks into it when it is due, and takes the messages
//! that are still there: at once if the recipient is away, otherwise those that were not received within
//! [`Limits::COMMIT_DELAY`]. A message is accepted when it is committed or received, whichever comes first.

use std::mem::replace;
use std::task::Poll;
use std::time::Instant;

use super::Hub;
use super::claim::Claim;
use super::state::ClientState;
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;
use crate::model::{Freed, Message, StoreChange, StoredRange};
use crate::store::{Clock, MessageRecord, Visit};
use crate::sync::Ordering;

/// Above the offset of every message.
const ALL: Offset = Offset(u64::MAX);

/// What one commit takes from the mailboxes.
struct Taking {
    clock: Clock,
    server_session: SessionId,
    /// Bytes that may still be taken.
    room: usize,
    messages: Vec<MessageRecord>,
}

impl Taking {
    /// Takes a message. Returns whether there is room for more.
    fn take(
        &mut self,
        recipient: ClientId,
        sender: ClientId,
        message: Message<'_>,
        end: Option<Instant>,
    ) -> bool {
        let Message { offset, json, .. } = message;
        let (session, seq) = message.number().unwrap_or((self.server_session, Seq(offset.0)));
        let ends_at = end.map(|end| self.clock.to_unix(end));
        self.room = self.room.saturating_sub(json.len() + Limits::MESSAGE_OVERHEAD);
        self.messages.push(MessageRecord {
            recipient,
            sender,
            offset,
            session,
            seq,
            ends_at,
            json: json.into(),
        });
        self.room > 0
    }
}

impl Hub {
    /// Has the store look into a mailbox to which a message was added. Called under the recipient's lock.
    pub(super) fn request_commit(&self, recipient: ClientId, state: &mut ClientState) {
        if state.mailbox.is_stored() && !replace(&mut state.is_visit_due, true) {
            self.schedule_visit(recipient, state, Instant::now());
        }
    }

    fn schedule_visit(&self, recipient: ClientId, state: &ClientState, now: Instant) {
        let Some(queue) = self.store.queue() else { return };
        let due = state.connection.as_ref().map(|_| now + Limits::COMMIT_DELAY);
        queue.visit(Visit { recipient, upto: state.mailbox.last_offset() }, due);
    }

    /// Takes messages for the next commit: those that have waited long enough by `now`, or with `is_all` every one.
    pub fn take_uncommitted(&self, now: Instant, is_all: bool) -> Vec<MessageRecord> {
        let Some(queue) = self.store.queue() else { return Vec::new() };
        let mut taking = Taking {
            clock: Clock::now(),
            server_session: self.session,
            room: Limits::MAX_COMMIT_BYTES,
            messages: Vec::new(),
        };
        while taking.room > 0
            && let Some(visit) = queue.next_visit(now, is_all)
        {
            self.visit(visit, is_all, now, &mut taking);
        }
        taking.messages
    }

    fn visit(&self, Visit { recipient, upto }: Visit, is_all: bool, now: Instant, taking: &mut Taking) {
        let Some(client) = self.client(recipient) else { return };
        let mut state = client.lock();
        let ClientState { connection, mailbox, is_visit_due, .. } = &mut *state;
        let upto = if is_all || connection.is_none() { ALL } else { upto };
        let mut has_copies = false;
        if let Some(connection) = connection {
            // They stand before what is in the lanes.
            for (sender, message) in connection.outbox.unwritten_copies() {
                if message.offset > upto {
                    has_copies = true;
                } else if mailbox.take_copy_for_store(sender, message.offset) {
                    taking.take(recipient, sender, message, mailbox.end_of(message.offset));
                }
            }
        }
        let has_taken_all =
            mailbox.take_for_store(upto, |sender, message, end| taking.take(recipient, sender, message, end));
        *is_visit_due = has_copies || !has_taken_all || mailbox.bytes_not_taken() > 0;
        if !has_taken_all && let Some(queue) = self.store.queue() {
            queue.visit(Visit { recipient, upto }, None);
        } else if *is_visit_due {
            self.schedule_visit(recipient, &state, now);
        }
    }

    /// Called by the store when the messages that it has taken are committed. Tells their senders that they are accepted.
    pub fn committed(&self, messages: &[MessageRecord]) {
        for of_recipient in messages.chunk_by(|one, next| one.recipient == next.recipient) {
            let recipient = of_recipient[0].recipient;
            let Some(client) = self.client(recipient) else { continue };
            let mut last = Vec::new();
            for of_lane in of_recipient.chunk_by(|one, next| one.sender == next.sender) {
                last.extend(of_lane.last());
            }
            let mut state = client.lock();
            // What was received meanwhile is accepted already.
            last.retain(|message| state.mailbox.committed(message.sender, message.offset));
            drop(state);
            for MessageRecord { sender, session, seq, .. } in last {
                self.accept(recipient, *sender, *session, *seq);
            }
            self.expire_waiting(recipient, &client);
        }
    }

    /// Tells a sender that its messages to `target` up to `seq` are accepted.
    pub(super) fn accept(&self, target: ClientId, sender: ClientId, session: SessionId, seq: Seq) {
        if let Some(client) = self.client(sender) {
            client.accept(session, target, seq);
        }
    }

    /// Tells the store, and the senders, what removing messages from a mailbox means for them.
    pub(super) fn apply_store_change(&self, recipient: ClientId, freed: &mut Freed) {
        if freed.skipped > 0 {
            self.skipped.fetch_add(freed.skipped as u64, Ordering::Relaxed);
        }
        let (Some(change), Some(queue)) = (freed.store.take(), self.store.queue()) else { return };
        let StoreChange { removed, settled } = *change;
        for StoredRange { sender, from, upto } in removed {
            if from == Offset::default() {
                queue.remove(recipient, sender, upto);
            } else {
                queue.remove_between(recipient, sender, from, upto);
            }
        }
        for (sender, session, seq) in settled {
            self.accept(recipient, sender, session, seq);
        }
    }

    /// Returns the last number of the claim's session that `target` was sent, if there is one, once every message up to it is
    /// accepted; pending until then. A store that commits at once has nothing to wait for.
    pub fn poll_accepted(&self, claim: &Claim, target: ClientId) -> Poll<Option<Seq>> {
        let (Some(session), Some(client)) =
            (claim.session.filter(|_| !self.store.commits_at_once()), self.client(target))
        else {
            return Poll::Ready(None);
        };
        let state = client.lock();
        if !state.mailbox.is_settled(claim.id) {
            return Poll::Pending;
        }
        Poll::Ready(state.mailbox.last_number(claim.id, session))
    }

    /// Returns the bytes of messages that wait to be committed or received, overhead included.
    pub(super) fn uncommitted_bytes(&self) -> usize {
        let visits = self.store.queue().map(|queue| queue.visits()).unwrap_or_default();
        let bytes = |id| self.client(id).map_or(0, |client| client.lock().mailbox.bytes_not_taken());
        visits.into_iter().map(bytes).sum()
    }
}
