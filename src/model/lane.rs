//! What one sender has waiting for one recipient, in order.

use std::cell::RefCell;

use super::mailbox::SeqRange;
use super::queue::{ChunkPosition, Message, Queue};
use crate::ids::{Offset, Seq, SessionId};
use crate::limits::Limits;

/// One sender's messages for one recipient: first those that were read and not yet received, then the unread.
#[derive(Debug, Default)]
pub struct Lane {
    messages: Queue,
    /// The newest that the recipient's session was ever given, and so may acknowledge.
    given: Offset,
    /// The newest that the recipient has.
    received: Offset,
    /// The sender's session whose messages came last, and the last it sent. Kept when the lane is empty: it is what
    /// tells a message that is sent again from a new one.
    last: Option<(SessionId, Seq)>,
    /// The first message of that session: those before it carry numbers of another.
    last_from: Offset,
    /// The sessions before that, each with the last it sent, the newest last: one of them may come back and send again
    /// what it does not know to be accepted. At most [`Limits::MAX_REPLACED_SESSIONS`], and no room for more.
    former: Box<[(SessionId, Seq)]>,
    /// The number that expired last; 0 when something was read since, came back, or was dropped otherwise.
    expired: Seq,
    /// Whether the lane stands in the mailbox's turns.
    pub is_ready: bool,
    /// Whether a plain sender is held back until there is room.
    pub sender_is_held: bool,
}

/// Lanes that a thread makes at once. They live long: each with the messages of its moment beside it would leave holes
/// between them, and none of whole pages that the system could have back.
const BATCH: usize = 64;

thread_local! {
    #[expect(clippy::vec_box, reason = "each goes its own way as it is")]
    static NEW: RefCell<Vec<Box<Lane>>> = const { RefCell::new(Vec::new()) };
}

/// How much of a lane may be on its way.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Messages.
    pub messages: usize,
    /// Bytes; one message may exceed it.
    pub bytes: usize,
}

impl Window {
    /// For who acknowledges by taking bytes: what is written ahead is bounded already.
    pub const UNLIMITED: Self = Self { messages: usize::MAX, bytes: usize::MAX };
}

/// What was received of a lane.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many messages.
    pub messages: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The newest of them with a number, and the session that gave it.
    pub last: Option<(SessionId, Seq)>,
    /// Whether the lane had messages, and has none any more.
    pub is_emptied: bool,
}

impl Received {
    /// What counts no longer against the mailbox's and the total bound.
    pub fn cost(&self) -> usize {
        let lane = if self.is_emptied { Limits::LANE_OVERHEAD } else { 0 };
        self.bytes + self.messages * Limits::MESSAGE_OVERHEAD + lane
    }
}

impl Lane {
    /// An empty one.
    pub fn boxed() -> Box<Self> {
        NEW.with_borrow_mut(|lanes| {
            if lanes.is_empty() {
                lanes.resize_with(BATCH, Box::default);
            }
            lanes.pop().unwrap_or_default()
        })
    }

    /// The last number that was accepted of this session, if `seq` is not above it.
    pub fn duplicate(&self, session: SessionId, seq: Seq) -> Option<Seq> {
        let mut known = self.last.iter().chain(&self.former);
        known.find(|(of, _)| *of == session).map(|(_, last)| *last).filter(|last| seq <= *last)
    }

    /// Whether a message of `size` bytes fits. An empty lane takes one of any size.
    pub fn has_room(&self, size: usize, max_messages: usize, max_bytes: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < max_messages && self.messages.bytes() + size <= max_bytes)
    }

    /// Adds a message behind the others.
    pub fn append(&mut self, offset: Offset, number: Option<(SessionId, Seq)>, json: &[u8]) {
        if let Some((session, _)) = number {
            if self.last.is_none_or(|(last, _)| last != session) {
                self.last_from = offset;
                self.replace_session(session);
            }
            self.last = number;
        }
        let seq = number.map_or(Seq::default(), |(_, seq)| seq);
        self.messages.push_back(Message { offset, seq, json });
    }

    /// Messages of another session come from now on.
    fn replace_session(&mut self, session: SessionId) {
        let mut former = std::mem::take(&mut self.former).into_vec();
        former.retain(|(former, _)| *former != session);
        former.extend(self.last);
        let excess = former.len().saturating_sub(Limits::MAX_REPLACED_SESSIONS);
        former.drain(..excess);
        self.former = former.into();
        self.expired = Seq::default();
    }

    /// Puts a message back before the others, none of which has been read.
    pub fn put_back(&mut self, message: Message<'_>) {
        self.received = self.received.min(Offset(message.offset.0 - 1));
        self.expired = Seq::default();
        self.messages.push_front(message);
    }

    /// Whether something is unread and may be on its way.
    pub fn is_readable(&self, window: Window) -> bool {
        self.messages.unread().is_some_and(|next| {
            let (messages, bytes) = (self.messages.read_len(), self.messages.read_bytes());
            messages == 0 || (messages < window.messages && bytes + next.json.len() <= window.bytes)
        })
    }

    /// The next unread message, which from now on is read.
    pub fn read(&mut self, window: Window) -> Option<(ChunkPosition, Message<'_>)> {
        if !self.is_readable(window) {
            return None;
        }
        self.expired = Seq::default();
        let (place, message) = self.messages.read()?;
        self.given = self.given.max(message.offset);
        Some((place, message))
    }

    /// The JSON string of the message at this place.
    pub fn json(&self, place: ChunkPosition) -> &[u8] {
        self.messages.json(place)
    }

    /// Makes everything unread again.
    pub fn rewind(&mut self) {
        self.expired = Seq::default();
        self.messages.rewind();
    }

    /// Another session reads from now on: what its predecessor was given, it was not.
    pub fn begin_session(&mut self) {
        self.given = self.received;
    }

    /// Forgets all messages up to `upto`; `None`, and nothing, when the recipient was not given it, or has
    /// acknowledged later ones.
    pub fn received(&mut self, upto: Offset) -> Option<Received> {
        if !(self.received..=self.given).contains(&upto) {
            return None;
        }
        self.received = upto;
        let mut received = Received::default();
        while self.messages.front().is_some_and(|first| first.offset <= upto) {
            self.drop_first(&mut received);
        }
        self.messages.shrink();
        Some(received)
    }

    /// The first message.
    pub fn first(&self) -> Option<Message<'_>> {
        self.messages.front()
    }

    /// Forgets the first message, and adds it to what was `received`.
    pub fn drop_first(&mut self, received: &mut Received) {
        let Some(Message { offset, seq, json }) = self.messages.front() else { return };
        received.messages += 1;
        received.bytes += json.len();
        received.last = self.receipt(offset, seq).or(received.last);
        self.received = self.received.max(offset);
        self.expired = Seq::default();
        self.messages.pop_front();
        received.is_emptied = self.messages.is_empty();
    }

    /// Forgets the messages up to `upto` that are not on their way; returns what they counted, and the numbers of those
    /// that the session sent that sent last. What was never taken may lie in a range, and nothing else.
    pub fn expire(&mut self, upto: Offset) -> (Received, Vec<SeqRange>) {
        let Self { messages, last, last_from, expired, .. } = self;
        let (mut dropped, mut ranges) = (Received::default(), Vec::<SeqRange>::new());
        let mut is_whole = true;
        messages.forget_unread(upto, |Message { offset, seq, json }, is_cut| {
            dropped.messages += 1;
            dropped.bytes += json.len();
            is_whole &= !is_cut;
            let is_numbered = seq > Seq::default() && offset >= *last_from;
            let Some((session, _)) = last.filter(|_| is_numbered) else { return };
            match ranges.last_mut().filter(|_| is_whole) {
                Some(range) => range.last = seq,
                None => {
                    let previous = if ranges.is_empty() { *expired } else { Seq::default() };
                    ranges.push(SeqRange { session, first: seq, last: seq, previous });
                }
            }
            is_whole = true;
        });
        *expired = ranges.last().map_or(*expired, |range| range.last);
        dropped.is_emptied = dropped.messages > 0 && messages.is_empty();
        messages.shrink();
        (dropped, ranges)
    }

    /// Forgets all messages, read or not, and returns what they counted. What tells repetitions from new messages stays.
    pub fn clear(&mut self) -> Received {
        let (messages, bytes) = (self.messages.len(), self.messages.bytes());
        let dropped = Received { messages, bytes, last: None, is_emptied: messages > 0 };
        self.messages.clear();
        self.expired = Seq::default();
        dropped
    }

    /// Gives back what its messages need no more.
    pub fn shrink(&mut self) {
        self.messages.shrink();
    }

    /// How many messages there are.
    pub fn count(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether it is as a new one is: nothing was ever appended that could be sent again or acknowledged.
    pub fn is_blank(&self) -> bool {
        self.messages.is_empty() && self.last.is_none() && self.given == Offset::default()
    }

    /// The session that gave this message its number, if it has one and that session sent last.
    pub fn receipt(&self, offset: Offset, seq: Seq) -> Option<(SessionId, Seq)> {
        let is_numbered = seq > Seq::default() && offset >= self.last_from;
        self.last.filter(|_| is_numbered).map(|(session, _)| (session, seq))
    }
}
