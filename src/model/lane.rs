//! A lane: the messages of one sender for one recipient, in order.

use super::mailbox::SeqRange;
use super::progress::Progress;
use super::queue::{ChunkPosition, Message, Queue};
use crate::ids::{Offset, Seq, SessionId};
use crate::limits::Limits;

/// The messages of one sender for one recipient: first those that are in flight, which were read and not yet received, then
/// the unread ones.
#[derive(Debug, Default)]
pub struct Lane {
    messages: Queue,
    /// The offset of the last message that was ever read by the recipient's session. It may acknowledge nothing above it.
    last_read: Offset,
    /// The offset up to which the recipient has received the messages.
    received: Offset,
    /// The sender's session that sent last, and its last number. Kept while the lane is empty: it tells a repeated message
    /// from a new one.
    last: Option<(SessionId, Seq)>,
    /// The session of the message that was read last.
    read_session: SessionId,
    /// Whether a message was read for the recipient's present connection.
    has_read: bool,
    /// The sender's sessions before that, each with its last number, the newest last. One of them may come back and repeat
    /// messages that it does not know to be accepted. At most [`Limits::MAX_REPLACED_SESSIONS`], in a slice that is no
    /// longer than it has to be.
    earlier_sessions: Box<[(SessionId, Seq)]>,
    /// The number that expired last, or 0 if a message was read, put back or otherwise dropped since, or later ones had
    /// expired before it.
    last_expired: Seq,
    /// Whether the lane is among the mailbox's ready lanes.
    pub is_ready: bool,
    /// Whether a plain sender's message is held until the lane has room.
    pub sender_is_held: bool,
    /// How far the messages are kept by a store that commits later. Boxed: a store in memory needs none.
    pub progress: Option<Box<Progress>>,
}

/// How much of a lane may be in flight.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The number of messages.
    pub messages: usize,
    /// Their bytes; one message may exceed it.
    pub bytes: usize,
}

impl Window {
    /// No bound. For plain clients: what is written ahead to them is bounded already.
    pub const UNLIMITED: Self = Self { messages: usize::MAX, bytes: usize::MAX };
}

/// Messages that were removed from a lane.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The number of messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The newest of their numbers, with the session that gave it.
    pub last: Option<(SessionId, Seq)>,
    /// Whether the lane had messages and is now empty.
    pub is_emptied: bool,
    /// How many of them the store was not given. Only counted for a store that commits later.
    pub never_taken: usize,
    /// The first and the last of them that the store was given.
    pub taken: Option<(Offset, Offset)>,
}

impl Removed {
    fn count_taken(&mut self, progress: Option<&Progress>, offset: Offset) {
        let Some(progress) = progress else { return };
        if offset > progress.taken {
            self.never_taken += 1;
        } else {
            let first = self.taken.map_or(offset, |(first, _)| first);
            self.taken = Some((first, offset));
        }
    }

    /// Returns the bytes that no longer count against the mailbox's and the total bound.
    pub fn cost(&self) -> usize {
        let lane = if self.is_emptied { Limits::LANE_OVERHEAD } else { 0 };
        self.bytes + self.messages * Limits::MESSAGE_OVERHEAD + lane
    }
}

impl Lane {
    /// If the message `seq` of `session` is a duplicate, returns the last number that was accepted from that session.
    pub fn duplicate(&self, session: SessionId, seq: Seq) -> Option<Seq> {
        let mut known = self.last.iter().chain(&self.earlier_sessions);
        known.find(|(of, _)| *of == session).map(|(_, last)| *last).filter(|last| seq <= *last)
    }

    /// Returns whether there is room for a message of `size` bytes. An empty lane has room for any one message.
    pub fn has_room(&self, size: usize, max_messages: usize, max_bytes: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < max_messages && self.messages.bytes() + size <= max_bytes)
    }

    /// Adds a message at the end.
    pub fn append(&mut self, offset: Offset, number: Option<(SessionId, Seq)>, json: &[u8]) {
        if let Some((session, _)) = number {
            if self.last.is_none_or(|(last, _)| last != session) {
                self.replace_session(session);
            }
            self.last = number;
        }
        if let Some(progress) = &mut self.progress {
            progress.appended = offset;
        }
        let (session, seq) = number.unwrap_or_default();
        self.messages.push_back(Message { offset, session, seq, json });
    }

    /// Moves the session that sent last to the earlier ones, to make place for `session`.
    fn replace_session(&mut self, session: SessionId) {
        let mut earlier = std::mem::take(&mut self.earlier_sessions).into_vec();
        earlier.retain(|(earlier, _)| *earlier != session);
        earlier.extend(self.last);
        let excess = earlier.len().saturating_sub(Limits::MAX_REPLACED_SESSIONS);
        earlier.drain(..excess);
        self.earlier_sessions = earlier.into();
        self.last_expired = Seq::default();
    }

    /// Puts a message back at the front. No message of the lane may have been read.
    pub fn put_back(&mut self, message: Message<'_>) {
        self.received = self.received.min(Offset(message.offset.0 - 1));
        self.last_expired = Seq::default();
        self.messages.push_front(message);
    }

    /// Returns whether there is an unread message, and room for it in `window`.
    pub fn is_readable(&self, window: Window) -> bool {
        self.messages.unread().is_some_and(|next| {
            let (messages, bytes) = (self.messages.read_len(), self.messages.read_bytes());
            messages == 0 || (messages < window.messages && bytes + next.json.len() <= window.bytes)
        })
    }

    /// Reads the next message, if there is room for it in `window`. Also returns whether the connection has yet to be told
    /// its session.
    pub fn read(&mut self, window: Window) -> Option<(ChunkPosition, Message<'_>, bool)> {
        if !self.is_readable(window) {
            return None;
        }
        self.last_expired = Seq::default();
        let (position, message) = self.messages.read()?;
        self.last_read = self.last_read.max(message.offset);
        let has_read = std::mem::replace(&mut self.has_read, true);
        let is_new =
            std::mem::replace(&mut self.read_session, message.session) != message.session || !has_read;
        Some((position, message, is_new))
    }

    /// Returns the JSON string of the message at this position.
    pub fn json(&self, position: ChunkPosition) -> &[u8] {
        self.messages.json(position)
    }

    /// Makes all messages unread, for another connection.
    pub fn rewind(&mut self) {
        self.has_read = false;
        self.last_expired = Seq::default();
        self.messages.rewind();
    }

    /// Begins another session of the recipient, which has not read what the one before it had.
    pub fn begin_session(&mut self) {
        self.last_read = self.received;
    }

    /// Removes the messages up to `upto`, which the recipient has received. Returns `None`, and removes nothing, if the
    /// recipient's session never read that message, or has acknowledged later ones.
    pub fn received(&mut self, upto: Offset) -> Option<Removed> {
        if !(self.received..=self.last_read).contains(&upto) {
            return None;
        }
        self.received = upto;
        let mut removed = Removed::default();
        while self.messages.front().is_some_and(|first| first.offset <= upto) {
            self.drop_first(&mut removed);
        }
        if let Some(progress) = &mut self.progress {
            progress.settle(upto);
        }
        self.messages.shrink();
        Some(removed)
    }

    /// Returns the first message.
    pub fn first(&self) -> Option<Message<'_>> {
        self.messages.front()
    }

    /// Removes the first message and adds it to `removed`.
    pub fn drop_first(&mut self, removed: &mut Removed) {
        let Some(message) = self.messages.front() else { return };
        removed.messages += 1;
        removed.bytes += message.json.len();
        removed.last = message.number().or(removed.last);
        removed.count_taken(self.progress.as_deref(), message.offset);
        self.received = self.received.max(message.offset);
        self.last_expired = Seq::default();
        self.messages.pop_front();
        removed.is_emptied = self.messages.is_empty();
    }

    /// Removes the unread messages up to `upto`. Returns what was removed, and the ranges of the numbers that the sender's
    /// last session gave the messages.
    pub fn expire(&mut self, upto: Offset) -> (Removed, Vec<SeqRange>) {
        let Self { messages, last, last_expired, progress, .. } = self;
        let progress = progress.as_deref();
        // What is not committed yet expires when it is: its sender has to be told first that it is accepted.
        let upto = progress.map_or(upto, |progress| upto.min(progress.settled));
        let (mut removed, mut ranges) = (Removed::default(), Vec::<SeqRange>::new());
        let mut is_adjacent = true;
        let precedes_gap = messages.forget_unread(upto, |message, follows_gap| {
            removed.messages += 1;
            removed.bytes += message.json.len();
            removed.count_taken(progress, message.offset);
            is_adjacent &= !follows_gap;
            let of_last = |(session, _): &_| last.is_some_and(|(last, _)| last == *session);
            let Some((session, seq)) = message.number().filter(of_last) else { return };
            match ranges.last_mut().filter(|_| is_adjacent) {
                Some(range) => range.last = seq,
                None => {
                    let previous = if ranges.is_empty() { *last_expired } else { Seq::default() };
                    ranges.push(SeqRange { session, first: seq, last: seq, previous });
                }
            }
            is_adjacent = true;
        });
        if let Some(range) = ranges.last() {
            *last_expired = if precedes_gap { Seq::default() } else { range.last };
        }
        removed.is_emptied = removed.messages > 0 && messages.is_empty();
        messages.shrink();
        (removed, ranges)
    }

    /// Removes all messages, read or not. The lane still recognises duplicates.
    pub fn clear(&mut self) -> Removed {
        let (messages, bytes) = (self.messages.len(), self.messages.bytes());
        let mut removed = Removed { messages, bytes, is_emptied: messages > 0, ..Removed::default() };
        if let Some(progress) = &mut self.progress {
            removed.taken =
                (progress.taken > Offset::default()).then_some((Offset::default(), progress.taken));
            removed.last = self.last.filter(|_| !progress.is_settled());
            progress.settle(progress.appended);
        }
        self.messages.clear();
        self.last_expired = Seq::default();
        removed
    }

    /// Passes the messages up to `upto` that the store was not given to `take`, until it returns false. Returns
    /// whether it took all of them.
    pub fn take_for_store(&mut self, upto: Offset, mut take: impl FnMut(Message<'_>) -> bool) -> bool {
        let Some(progress) = &mut self.progress else { return true };
        for message in self.messages.after(progress.taken) {
            if message.offset > upto {
                break;
            }
            progress.taken = message.offset;
            if !take(message) {
                return self.messages.size_after(progress.taken).0 == 0;
            }
        }
        true
    }

    /// Adds a message that was read from the store.
    pub fn restore(&mut self, message: Message<'_>) {
        let progress = self.progress.get_or_insert_default();
        (progress.taken, progress.settled) = (message.offset, message.offset);
        self.append(message.offset, Some((message.session, message.seq)), message.json);
    }

    /// Returns the session that sent last, and its last number.
    pub fn last_number(&self) -> Option<(SessionId, Seq)> {
        self.last
    }

    /// Returns the bytes of messages that the store was not given, overhead included.
    pub fn bytes_not_taken(&self) -> usize {
        let Some(progress) = &self.progress else { return 0 };
        let (messages, bytes) = self.messages.size_after(progress.taken);
        bytes + messages * Limits::MESSAGE_OVERHEAD
    }

    /// Returns whether the messages up to here are all settled.
    pub fn is_settled(&self) -> bool {
        self.progress.as_ref().is_none_or(|progress| progress.is_settled())
    }

    /// Frees memory that the remaining messages do not need.
    pub fn shrink(&mut self) {
        self.messages.shrink();
    }

    /// Returns the number of messages.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Returns whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns whether the lane holds nothing that a new one would not: no messages, and none that could be repeated or
    /// acknowledged.
    pub fn is_blank(&self) -> bool {
        self.messages.is_empty()
            && self.is_settled()
            && self.last.is_none()
            && self.last_read == Offset::default()
    }
}
