//! What waits for one recipient: who may send to it, and a lane per sender, in turn.

mod expiry;
mod reading;

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ages::Ages;
use super::client_set::ClientSet;
use super::lane::{Lane, Window};
use super::queue::Message;
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;

/// One recipient's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// The clients that may send.
    channels: ClientSet,
    /// By sender. A lane is made when there is something to keep in it, and stays when its sender may send no more.
    /// Boxed, for the table has room for more than it holds.
    lanes: FxHashMap<ClientId, Box<Lane>>,
    /// The lanes with something that may be read, each once.
    ready_lanes: VecDeque<ClientId>,
    /// The place of the message that came last.
    last: Offset,
    /// Bytes of all messages, overhead included.
    bytes: usize,
    /// The clients to which the recipient has opened a channel itself, and of which something is kept. Boxed, for most
    /// open none.
    opened: Option<Box<ClientSet>>,
    /// The clients whose channel was revoked: they may still keep something of the recipient, to be forgotten with it.
    revoked: Option<Box<ClientSet>>,
    /// Channels that were ever taken from it.
    removed_channels: u32,
    /// How long they have waited, where that is bounded.
    ages: Option<Box<Ages>>,
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
pub struct MailboxSize {
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
    pub held_senders: SmallVec<[ClientId; 1]>,
    /// Who sent of them with numbers.
    pub delivered: Receipts,
}

/// Messages of one sender that have waited for too long and are dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpiredMessages {
    /// Whose.
    pub sender: ClientId,
    /// How many.
    pub messages: usize,
    /// The numbers of those that the session sent that sent last.
    pub ranges: Vec<SeqRange>,
}

/// The numbers of messages that have expired. What was never taken may lie between them, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The session that gave them.
    pub session: SessionId,
    /// The first.
    pub first: Seq,
    /// And the last.
    pub last: Seq,
    /// The number that expired before the first, if nothing between the two was received or may be; else 0.
    pub previous: Seq,
}

/// The recipient acknowledged what it was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAck;

impl Freed {
    /// Empties a lane.
    fn dropped(sender: ClientId, lane: &mut Lane) -> Self {
        let is_waiting = std::mem::take(&mut lane.sender_is_held);
        let dropped = lane.clear();
        Self {
            messages: dropped.messages,
            bytes: dropped.cost(),
            held_senders: is_waiting.then_some(sender).into_iter().collect(),
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
        self.channels.insert(sender)
    }

    /// Lets all of these send; returns how many of them could not before. Those are added to `new`, if it is given.
    pub fn authorize_all(&mut self, senders: &ClientSet, new: Option<&mut ClientSet>) -> usize {
        self.channels.extend(senders, new)
    }

    /// Lets `sender` answer, to whom the recipient has opened a channel.
    pub fn open_channel(&mut self, sender: ClientId) {
        self.opened.get_or_insert_default().insert(sender);
        self.channels.insert(sender);
    }

    /// How many channels the recipient has opened, of which something is kept.
    pub fn opened_channels(&self) -> usize {
        self.opened.as_ref().map_or(0, |opened| opened.len())
    }

    /// How many channels were ever taken from the recipient.
    pub fn removed_channels(&self) -> usize {
        self.removed_channels as usize
    }

    /// Takes the channel from `sender`; false when there was none.
    fn lose(&mut self, sender: ClientId) -> bool {
        let is_lost = self.channels.remove(sender);
        self.removed_channels = self.removed_channels.saturating_add(u32::from(is_lost));
        is_lost
    }

    /// Forgets that the recipient has opened a channel to `sender`.
    fn close(&mut self, sender: ClientId) {
        if let Some(opened) = &mut self.opened {
            opened.remove(sender);
        }
    }

    /// Whether a channel from `sender` was registered.
    pub fn is_authorized(&self, sender: ClientId) -> bool {
        self.channels.contains(sender)
    }

    /// Takes the channel from `sender` and drops what it has waiting here. What its lane knows of the past stays, so that
    /// nothing is taken or told twice when the channel is registered again.
    pub fn revoke(&mut self, sender: ClientId) -> Freed {
        if self.lose(sender) {
            self.revoked.get_or_insert_default().insert(sender);
        }
        let mut freed = Freed::default();
        let is_blank = self.lanes.get_mut(&sender).is_none_or(|lane| {
            freed = Freed::dropped(sender, lane);
            lane.is_blank()
        });
        if is_blank {
            self.close(sender);
            self.remove_lane(sender);
        }
        self.left(sender, freed)
    }

    /// Forgets `sender`, who will not come back, and drops what it has waiting here.
    pub fn forget(&mut self, sender: ClientId) -> Freed {
        self.lose(sender);
        self.close(sender);
        if let Some(revoked) = &mut self.revoked {
            revoked.remove(sender);
        }
        let lane = self.remove_lane(sender);
        let freed = lane.map_or_else(Freed::default, |mut lane| Freed::dropped(sender, &mut lane));
        self.left(sender, freed)
    }

    fn remove_lane(&mut self, sender: ClientId) -> Option<Box<Lane>> {
        let lane = self.lanes.remove(&sender);
        if self.lanes.len() < self.lanes.capacity() / 8 {
            self.lanes.shrink_to(self.lanes.len() * 2);
        }
        lane
    }

    /// `sender` has nothing here any more; `freed` is what it had.
    fn left(&mut self, sender: ClientId, freed: Freed) -> Freed {
        if freed.messages > 0 {
            // What has no unread message has no turn.
            self.ready_lanes.retain(|turn| *turn != sender);
            self.shrink_ready_lanes();
            if let Some(lane) = self.lane(sender) {
                lane.is_ready = false;
            }
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// An idle mailbox keeps no room for turns.
    fn shrink_ready_lanes(&mut self) {
        if self.ready_lanes.is_empty() {
            self.ready_lanes = VecDeque::new();
        }
    }

    /// Drops all messages and what is known of earlier ones, and returns what waited. Channels stay.
    pub fn clear(&mut self) -> MailboxSize {
        let contents = self.size();
        let Self { channels, opened, .. } = self;
        *opened = opened
            .take()
            .map(|opened| Box::new(opened.iter().filter(|id| channels.contains(*id)).collect::<ClientSet>()));
        (self.lanes, self.ready_lanes, self.bytes, self.ages) =
            (FxHashMap::default(), VecDeque::new(), 0, None);
        contents
    }

    /// All who have a channel or a lane here, or had a channel.
    pub fn senders(&self) -> ClientSet {
        let mut senders: ClientSet = self.lanes.keys().copied().collect();
        for more in [Some(&self.channels), self.revoked.as_deref()].into_iter().flatten() {
            senders.extend(more, None);
        }
        senders
    }

    /// What waits here.
    pub fn size(&self) -> MailboxSize {
        MailboxSize { messages: self.lanes.values().map(|lane| lane.count()).sum(), bytes: self.bytes }
    }

    /// Those who may send.
    pub fn channels(&self) -> &ClientSet {
        &self.channels
    }

    fn lane(&mut self, sender: ClientId) -> Option<&mut Lane> {
        self.lanes.get_mut(&sender).map(|lane| &mut **lane)
    }

    fn lanes(&mut self) -> impl Iterator<Item = (ClientId, &mut Lane)> {
        self.lanes.iter_mut().map(|(id, lane)| (*id, &mut **lane))
    }

    /// The last number that was accepted from this session of `sender`, if `seq` is not above it.
    pub fn duplicate(&self, sender: ClientId, session: SessionId, seq: Seq) -> Option<Seq> {
        self.lanes.get(&sender)?.duplicate(session, seq)
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
        let place = self.lanes.entry(sender);
        let lane = match &place {
            Entry::Occupied(lane) => Some(&**lane.get()),
            Entry::Vacant(_) => None,
        };
        let duplicate = |lane: &Lane| number.and_then(|(session, seq)| lane.duplicate(session, seq));
        if let Some(last) = lane.and_then(duplicate) {
            return Appended::Duplicate(last);
        }
        let has_room = lane.is_none_or(|lane| {
            lane.has_room(json.len(), limits.max_queued_messages, limits.max_queued_bytes)
        });
        let cost = Self::cost(json, lane);
        let fits = self.bytes == 0 || self.bytes + cost <= limits.max_mailbox_bytes;
        if !has_room || !fits || !reserve(cost) {
            return Appended::Full;
        }
        // Not before: what is refused is to leave nothing behind.
        let lane = place.or_insert_with(Lane::boxed);
        self.last = Offset(self.last.0 + 1);
        lane.append(self.last, number, json);
        self.bytes += cost;
        if !lane.is_ready {
            lane.is_ready = true;
            if self.ready_lanes.capacity() == 0 {
                // Most have one sender at a time.
                self.ready_lanes.reserve_exact(1);
            }
            self.ready_lanes.push_back(sender);
        }
        Appended::New
    }

    /// The place of the message that came last.
    pub fn last_offset(&self) -> Offset {
        self.last
    }

    /// Whether something may be read.
    pub fn has_unread(&self) -> bool {
        !self.ready_lanes.is_empty()
    }

    /// Whether something waits for the recipient, be it for an acknowledgement of what is on its way, or for room.
    pub fn has_waiting(&mut self) -> bool {
        self.lanes().any(|(_, lane)| lane.sender_is_held || lane.is_readable(Window::UNLIMITED))
    }

    /// The place of a message that passes by, because nothing waits before it and nobody will ask for it again.
    pub fn bypass(&mut self) -> Offset {
        self.last = Offset(self.last.0 + 1);
        self.last
    }

    /// Puts a message back before the others of its sender; nothing of them has been read. Returns what it counts; `None`
    /// when the sender's channel is registered no more: then it is dropped, as those that waited were.
    pub fn put_back(&mut self, sender: ClientId, message: Message<'_>) -> Option<usize> {
        if !self.is_authorized(sender) {
            return None;
        }
        let lane = self.lanes.entry(sender).or_insert_with(Lane::boxed);
        let cost = Self::cost(message.json, Some(lane));
        lane.put_back(message);
        self.bytes += cost;
        self.ages.iter_mut().for_each(|ages| ages.came_back());
        if !lane.is_ready {
            lane.is_ready = true;
            self.ready_lanes.push_back(sender);
        }
        Some(cost)
    }

    /// Remembers that the plain `sender` waits for room, to be named when there is some.
    pub fn hold_sender(&mut self, sender: ClientId) {
        self.lanes.entry(sender).or_insert_with(Lane::boxed).sender_is_held = true;
    }

    /// The plain senders that are held back, who from now on are not.
    pub fn release_held_senders(&mut self) -> Vec<ClientId> {
        let waiting =
            self.lanes().filter_map(|(id, lane)| std::mem::take(&mut lane.sender_is_held).then_some(id));
        waiting.collect()
    }
}

#[cfg(test)]
mod tests;
