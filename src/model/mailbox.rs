//! What waits for one recipient: who may send to it, and a lane per sender, in turn.

mod expiry;
mod reading;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ages::Ages;
use super::lane::{Lane, Window};
use super::queue::Message;
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;

/// One recipient's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Those who may send, or have sent.
    senders: FxHashMap<ClientId, Sender>,
    /// The lanes with something that may be read, each once.
    turns: VecDeque<ClientId>,
    /// The place of the message that came last.
    last: Offset,
    /// Bytes of all messages, overhead included.
    bytes: usize,
    /// Channels that the recipient has opened itself.
    opened: usize,
    /// How long they have waited, where that is bounded.
    ages: Option<Box<Ages>>,
}

#[derive(Debug, Default)]
struct Sender {
    /// Whether a channel is registered.
    is_authorized: bool,
    /// Whether the recipient has opened it itself.
    is_opened: bool,
    /// Boxed, for the table has room for more than it holds, and made when there is something to keep in it.
    lane: Option<Box<Lane>>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It waits in its lane.
    New,
    /// It was there before; so was everything up to this number.
    Duplicate(Seq),
    /// Its lane, the mailbox or the relay is full: nothing has changed.
    Full,
}

/// What waits in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many messages.
    pub messages: usize,
    /// Their bytes, overhead included.
    pub bytes: usize,
}

/// Senders whose numbered messages were received: up to which, of which session. Mostly it is one.
pub type Receipts = SmallVec<[(ClientId, SessionId, Seq); 1]>;

/// What became free when messages were received or dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many messages.
    pub messages: usize,
    /// Bytes, overhead included.
    pub bytes: usize,
    /// Plain senders that were held back and may try again.
    pub waiting: SmallVec<[ClientId; 1]>,
    /// Who sent of them with numbers.
    pub delivered: Receipts,
}

/// Messages of one sender that have waited for too long and are dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired {
    /// Whose.
    pub sender: ClientId,
    /// How many.
    pub messages: usize,
    /// Those with a number of the session that sent last: from which to which.
    pub numbers: Vec<(SessionId, Seq, Seq)>,
}

/// The recipient acknowledged what it was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

impl Freed {
    /// Empties a lane.
    fn dropped(sender: ClientId, lane: &mut Lane) -> Self {
        let is_waiting = std::mem::take(&mut lane.sender_waits);
        let dropped = lane.clear();
        Self {
            messages: dropped.messages,
            bytes: dropped.cost(),
            waiting: is_waiting.then_some(sender).into_iter().collect(),
            delivered: Receipts::new(),
        }
    }
}

impl Mailbox {
    /// What a message counts against the mailbox's and the total bound, when it is added to this lane.
    fn cost(json: &[u8], lane: Option<&Lane>) -> usize {
        let is_first = lane.is_none_or(Lane::is_empty);
        json.len() + Limits::MESSAGE_OVERHEAD + if is_first { Limits::LANE_OVERHEAD } else { 0 }
    }

    /// Lets `sender` send; false when it could already.
    pub fn authorize(&mut self, sender: ClientId) -> bool {
        !std::mem::replace(&mut self.senders.entry(sender).or_default().is_authorized, true)
    }

    /// Lets `sender` answer, to whom the recipient has opened a channel; false when it could send already.
    pub fn open(&mut self, sender: ClientId) -> bool {
        let found = self.senders.entry(sender).or_default();
        self.opened += usize::from(!std::mem::replace(&mut found.is_opened, true));
        !std::mem::replace(&mut found.is_authorized, true)
    }

    /// How many channels the recipient has opened, of which something is kept.
    pub fn opened(&self) -> usize {
        self.opened
    }

    /// Whether a channel from `sender` was registered.
    pub fn is_authorized(&self, sender: ClientId) -> bool {
        self.senders.get(&sender).is_some_and(|sender| sender.is_authorized)
    }

    /// Takes the channel from `sender` and drops what it has waiting here. What its lane knows of the past stays, so that
    /// nothing is taken or told twice when the channel is registered again.
    pub fn revoke(&mut self, sender: ClientId) -> Freed {
        let Some(found) = self.senders.get_mut(&sender) else { return Freed::default() };
        found.is_authorized = false;
        let freed =
            found.lane.as_deref_mut().map_or_else(Freed::default, |lane| Freed::dropped(sender, lane));
        if found.lane.as_ref().is_none_or(|lane| lane.is_blank()) {
            self.opened -= usize::from(found.is_opened);
            self.senders.remove(&sender);
        }
        self.left(sender, freed)
    }

    /// Forgets `sender`, who will not come back, and drops what it has waiting here.
    pub fn forget(&mut self, sender: ClientId) -> Freed {
        let found = self.senders.remove(&sender).unwrap_or_default();
        self.opened -= usize::from(found.is_opened);
        let freed = found.lane.map_or_else(Freed::default, |mut lane| Freed::dropped(sender, &mut lane));
        if self.senders.len() < self.senders.capacity() / 8 {
            self.senders.shrink_to(self.senders.len() * 2);
        }
        self.left(sender, freed)
    }

    /// `sender` has nothing here any more; `freed` is what it had.
    fn left(&mut self, sender: ClientId, freed: Freed) -> Freed {
        if freed.messages > 0 {
            // What has no unread message has no turn.
            self.turns.retain(|turn| *turn != sender);
            if let Some(lane) = self.lane(sender) {
                lane.in_turn = false;
            }
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// Drops all messages and what is known of earlier ones, and returns what waited. Channels stay.
    pub fn clear(&mut self) -> Contents {
        let contents = self.contents();
        self.senders.retain(|_, sender| {
            sender.lane = None;
            sender.is_authorized
        });
        self.opened = self.senders.values().filter(|sender| sender.is_opened).count();
        (self.turns, self.bytes, self.ages) = (VecDeque::new(), 0, None);
        contents
    }

    /// All who have a channel or a lane here.
    pub fn senders(&self) -> impl Iterator<Item = ClientId> {
        self.senders.keys().copied()
    }

    /// What waits here.
    pub fn contents(&self) -> Contents {
        let lanes = self.senders.values().filter_map(|sender| sender.lane.as_deref());
        Contents { messages: lanes.map(Lane::count).sum(), bytes: self.bytes }
    }

    /// Those who may send.
    pub fn channels(&self) -> impl Iterator<Item = ClientId> {
        self.senders.iter().filter(|(_, sender)| sender.is_authorized).map(|(id, _)| *id)
    }

    fn lane(&mut self, sender: ClientId) -> Option<&mut Lane> {
        self.senders.get_mut(&sender)?.lane.as_deref_mut()
    }

    fn lanes(&mut self) -> impl Iterator<Item = (ClientId, &mut Lane)> {
        self.senders.iter_mut().filter_map(|(id, sender)| Some((*id, sender.lane.as_deref_mut()?)))
    }

    /// The last number that was accepted from this session of `sender`, if `seq` is not above it.
    pub fn duplicate(&self, sender: ClientId, session: SessionId, seq: Seq) -> Option<Seq> {
        self.senders.get(&sender)?.lane.as_ref()?.duplicate(session, seq)
    }

    /// Adds a message to its sender's lane, unless it is a duplicate. It is taken only if `reserve` has so many bytes of
    /// the total bound for it.
    pub fn append(
        &mut self,
        sender: ClientId,
        number: Option<(SessionId, Seq)>,
        json: &[u8],
        limits: &Limits,
        reserve: impl FnOnce(usize) -> bool,
    ) -> Appended {
        let place = &mut self.senders.entry(sender).or_default().lane;
        let duplicate = |lane: &Lane| number.and_then(|(session, seq)| lane.duplicate(session, seq));
        if let Some(last) = place.as_deref().and_then(duplicate) {
            return Appended::Duplicate(last);
        }
        let has_room = place.as_deref().is_none_or(|lane| {
            lane.has_room(json.len(), limits.max_queued_messages, limits.max_queued_bytes)
        });
        let cost = Self::cost(json, place.as_deref());
        let fits = self.bytes == 0 || self.bytes + cost <= limits.max_mailbox_bytes;
        if !has_room || !fits || !reserve(cost) {
            return Appended::Full;
        }
        // Not before: what is refused is to leave nothing behind.
        let lane = place.get_or_insert_with(Lane::boxed);
        self.last = Offset(self.last.0 + 1);
        lane.append(self.last, number, json);
        self.bytes += cost;
        if !lane.in_turn {
            lane.in_turn = true;
            if self.turns.capacity() == 0 {
                // Most have one sender at a time.
                self.turns.reserve_exact(1);
            }
            self.turns.push_back(sender);
        }
        Appended::New
    }

    /// The place of the message that came last.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// Whether something may be read.
    pub fn has_unread(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether something waits for the recipient, be it for an acknowledgement of what is on its way, or for room.
    pub fn has_waiting(&mut self) -> bool {
        self.lanes().any(|(_, lane)| lane.sender_waits || lane.is_readable(Window::UNLIMITED))
    }

    /// The place of a message that passes by, because nothing waits before it and nobody will ask for it again.
    pub fn pass(&mut self) -> Offset {
        self.last = Offset(self.last.0 + 1);
        self.last
    }

    /// Puts a message back before the others of its sender; nothing of them has been read. Returns what it counts; `None`
    /// when the sender's channel is registered no more: then it is dropped, as those that waited were.
    pub fn put_back(&mut self, sender: ClientId, message: Message<'_>) -> Option<usize> {
        let found = self.senders.get_mut(&sender).filter(|sender| sender.is_authorized)?;
        let cost = Self::cost(message.json, found.lane.as_deref());
        let lane = found.lane.get_or_insert_with(Lane::boxed);
        lane.put_back(message);
        self.bytes += cost;
        self.ages.iter_mut().for_each(|ages| ages.came_back());
        if !lane.in_turn {
            lane.in_turn = true;
            self.turns.push_back(sender);
        }
        Some(cost)
    }

    /// Remembers that the plain `sender` waits for room, to be named when there is some.
    pub fn hold(&mut self, sender: ClientId) {
        self.senders.entry(sender).or_default().lane.get_or_insert_with(Lane::boxed).sender_waits = true;
    }

    /// The plain senders that are held back, who from now on are not.
    pub fn release_waiting(&mut self) -> Vec<ClientId> {
        let waiting =
            self.lanes().filter_map(|(id, lane)| std::mem::take(&mut lane.sender_waits).then_some(id));
        waiting.collect()
    }
}

#[cfg(test)]
mod tests;
