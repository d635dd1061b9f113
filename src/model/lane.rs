//! What one sender has waiting for one recipient, in order.

use std::collections::VecDeque;

use crate::ids::{Offset, Seq, SessionId};
use crate::limits::Limits;

/// One sender's messages for one recipient: first those that were read and not yet received, then the unread.
#[derive(Debug, Default)]
pub struct Lane {
    messages: VecDeque<Message>,
    /// How many, from the front, have been read by the connection that reads now.
    read: usize,
    /// Bytes of those.
    read_bytes: usize,
    /// Bytes of all.
    bytes: usize,
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
    /// what it does not know to be accepted.
    former: Vec<(SessionId, Seq)>,
    /// Whether the lane stands in the mailbox's turns.
    pub in_turn: bool,
    /// Whether the lane stands among those that something was read from.
    pub in_flight: bool,
    /// Whether a plain sender is held back until there is room.
    pub sender_waits: bool,
}

/// A message that waits.
#[derive(Debug)]
struct Message {
    offset: Offset,
    /// 0 from a plain sender.
    seq: Seq,
    json: Box<str>,
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
}

impl Lane {
    /// The last number that was accepted of this session, if `seq` is not above it.
    pub fn duplicate(&self, session: SessionId, seq: Seq) -> Option<Seq> {
        let mut known = self.last.iter().chain(&self.former);
        known.find(|(of, _)| *of == session).map(|(_, last)| *last).filter(|last| seq <= *last)
    }

    /// Whether a message of `size` bytes fits. An empty lane takes one of any size.
    pub fn has_room(&self, size: usize, max_messages: usize, max_bytes: usize) -> bool {
        self.messages.is_empty() || (self.messages.len() < max_messages && self.bytes + size <= max_bytes)
    }

    /// Adds a message behind the others.
    pub fn append(&mut self, offset: Offset, number: Option<(SessionId, Seq)>, json: &str) {
        self.bytes += json.len();
        if let Some((session, _)) = number {
            if self.last.is_none_or(|(last, _)| last != session) {
                self.last_from = offset;
                self.former.retain(|(former, _)| *former != session);
                self.former.extend(self.last);
                let excess = self.former.len().saturating_sub(Limits::REPLACED_SESSIONS);
                self.former.drain(..excess);
            }
            self.last = number;
        }
        let seq = number.map_or(Seq::default(), |(_, seq)| seq);
        self.messages.push_back(Message { offset, seq, json: json.into() });
    }

    /// Whether something is unread and may be on its way.
    pub fn is_readable(&self, window: Window) -> bool {
        self.messages.get(self.read).is_some_and(|next| {
            let has_room = self.read < window.messages && self.read_bytes + next.json.len() <= window.bytes;
            self.read == 0 || has_room
        })
    }

    /// The next unread message, which from now on is read.
    pub fn read(&mut self, window: Window) -> Option<(Offset, &str)> {
        if !self.is_readable(window) {
            return None;
        }
        let message = &self.messages[self.read];
        self.read += 1;
        self.read_bytes += message.json.len();
        self.given = self.given.max(message.offset);
        Some((message.offset, &message.json))
    }

    /// Makes everything unread again.
    pub fn rewind(&mut self) {
        (self.read, self.read_bytes) = (0, 0);
    }

    /// Another session reads from now on: what its predecessor was given, it was not.
    pub fn forget_given(&mut self) {
        self.given = self.received;
    }

    /// Forgets all that was read.
    pub fn received_read(&mut self) -> Received {
        let upto = self.read.checked_sub(1).map(|last| self.messages[last].offset);
        upto.map_or_else(Received::default, |upto| self.drop_upto(upto))
    }

    /// Forgets all messages up to `upto`; `None`, and nothing, when the recipient was not given it, or has
    /// acknowledged later ones.
    pub fn received(&mut self, upto: Offset) -> Option<Received> {
        (self.received..=self.given).contains(&upto).then(|| self.drop_upto(upto))
    }

    fn drop_upto(&mut self, upto: Offset) -> Received {
        self.received = upto;
        let mut received = Received::default();
        while self.messages.front().is_some_and(|message| message.offset <= upto) {
            let Some(message) = self.messages.pop_front() else { break };
            received.messages += 1;
            received.bytes += message.json.len();
            let is_numbered = message.seq > Seq::default() && message.offset >= self.last_from;
            if let Some((session, _)) = self.last.filter(|_| is_numbered) {
                received.last = Some((session, message.seq));
            }
            if self.read > 0 {
                self.read -= 1;
                self.read_bytes -= message.json.len();
            }
        }
        self.bytes -= received.bytes;
        if self.messages.is_empty() && self.messages.capacity() > KEPT {
            self.messages = VecDeque::new();
        }
        received
    }
}

/// Places that an empty lane keeps, so that one message at a time does not allocate for each.
const KEPT: usize = 4;
