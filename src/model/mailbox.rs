//! A mailbox: the messages that wait for one recipient, in a lane per sender, and the channels through which it may be
//! sent to.
//!
//! For a reliable client a lane keeps a message until it is acknowledged: [`Mailbox::read`], then
//! [`Mailbox::received`]. For a plain client a message leaves the lane when it is moved to the outbox
//! ([`Mailbox::take`]); if the connection ends before its socket has taken the whole message, the outbox puts it back
//! ([`Mailbox::put_back`]). A message between plain clients for which nothing waits bypasses the lane.
//!
//! Lanes are served in turn, some bytes of each, so that a sender with many messages does not delay the others.

mod expiry;
mod reading;
mod storing;

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ages::Ages;
use super::client_set::ClientSet;
use super::lane::{Lane, Removed, Window};
use super::progress::{StoreChange, StoredRange};
use super::queue::Message;
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;

/// One recipient's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// The clients that may send to the recipient.
    channels: ClientSet,
    /// The lanes by sender. A lane is created when there is something to keep in it, and stays when its sender's channel
    /// is revoked. Boxed, because the table has free entries.
    lanes: FxHashMap<ClientId, Box<Lane>>,
    /// The senders whose lanes have a message that may be read, each once, in the order of their turns.
    ready_lanes: VecDeque<ClientId>,
    /// The offset of the last message.
    last_offset: Offset,
    /// Bytes of all messages, overhead included.
    bytes: usize,
    /// The clients to which the recipient itself opened a channel, while something of them is kept. Boxed, because most
    /// recipients open none.
    opened: Option<Box<ClientSet>>,
    /// The clients whose channel was revoked. They may still keep something of the recipient, to be forgotten with it.
    revoked: Option<Box<ClientSet>>,
    /// The number of channels that were ever removed.
    removed_channels: u32,
    /// The ages of the messages, if they can expire.
    ages: Option<Box<Ages>>,
    /// Whether a store commits the messages later.
    is_stored: bool,
}

/// The outcome of appending a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// It was added to its lane.
    New,
    /// It had been accepted before, as had everything up to this number.
    Duplicate(Seq),
    /// Its lane, the mailbox or the relay is full; nothing has changed.
    Full,
}

/// The size of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxSize {
    /// The number of messages.
    pub messages: usize,
    /// Their bytes, overhead included.
    pub bytes: usize,
}

/// For each sender whose numbered messages were received, its session and the last number. Usually one.
pub type Receipts = SmallVec<[(ClientId, SessionId, Seq); 1]>;

/// The room that was freed by removing messages, and the senders that have to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// The number of messages.
    pub messages: usize,
    /// Their bytes, overhead included.
    pub bytes: usize,
    /// Plain senders that were held and may try again.
    pub held_senders: SmallVec<[ClientId; 1]>,
    /// Receipts for numbered messages that were received.
    pub delivered: Receipts,
    /// How many of the messages were received before the store was given them.
    pub skipped: usize,
    /// What a store that commits later has to be told. Boxed: there rarely is something.
    pub store: Option<Box<StoreChange>>,
}

/// Messages of one sender that have expired and were dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct ExpiredMessages {
    /// Their sender.
    pub sender: ClientId,
    /// The number of messages.
    pub messages: usize,
    /// The numbers of the messages that the sender's last session sent.
    pub ranges: Vec<SeqRange>,
}

/// A range of numbers whose messages have expired. It may also cover numbers that were never accepted, but none of a
/// message that has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// The session that gave the numbers.
    pub session: SessionId,
    /// The first number.
    pub first: Seq,
    /// The last number.
    pub last: Seq,
    /// The number that expired before `first`, if no message between the two was or may still be received; otherwise 0.
    pub previous: Seq,
}

/// The recipient acknowledged a message that its session was not sent, or had acknowledged before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAck;

impl Freed {
    /// Empties a lane and returns what that frees.
    fn by_clearing(sender: ClientId, lane: &mut Lane) -> Self {
        let is_held = std::mem::take(&mut lane.sender_is_held);
        let removed = lane.clear();
        let mut freed = Self {
            messages: removed.messages,
            bytes: removed.cost(),
            held_senders: is_held.then_some(sender).into_iter().collect(),
            ..Self::default()
        };
        if let Some((session, seq)) = removed.last {
            freed.store_change().settled.push((sender, session, seq));
        }
        freed.remove_stored(sender, &removed);
        freed
    }

    /// What a store that commits later has to be told.
    fn store_change(&mut self) -> &mut StoreChange {
        self.store.get_or_insert_default()
    }

    /// Notes the messages that a store has been given and that were removed from the lane.
    fn remove_stored(&mut self, sender: ClientId, removed: &Removed) {
        if let Some((from, upto)) = removed.taken {
            self.store_change().removed.push(StoredRange { sender, from, upto });
        }
    }
}

impl Mailbox {
    /// Returns the bytes that a message counts against the mailbox's and the total bound when it is added to `lane`.
    fn cost(json: &[u8], lane: Option<&Lane>) -> usize {
        let is_first = lane.is_none_or(Lane::is_empty);
        json.len() + Limits::MESSAGE_OVERHEAD + if is_first { Limits::LANE_OVERHEAD } else { 0 }
    }

    /// Adds a channel from `sender`. Returns false if there was one.
    pub fn authorize(&mut self, sender: ClientId) -> bool {
        self.channels.insert(sender)
    }

    /// Adds channels from all of `senders`. Returns how many are new, and adds their senders to `new`, if given.
    pub fn authorize_all(&mut self, senders: &ClientSet, new: Option<&mut ClientSet>) -> usize {
        self.channels.extend(senders, new)
    }

    /// Adds a channel from `sender`, because the recipient has opened one to it.
    pub fn open_channel(&mut self, sender: ClientId) {
        self.opened.get_or_insert_default().insert(sender);
        self.channels.insert(sender);
    }

    /// Returns the number of channels that the recipient has opened itself and that are still kept.
    pub fn opened_channels(&self) -> usize {
        self.opened.as_ref().map_or(0, |opened| opened.len())
    }

    /// Returns the number of channels that were ever removed.
    pub fn removed_channels(&self) -> usize {
        self.removed_channels as usize
    }

    /// Removes the channel from `sender`. Returns false if there was none.
    fn remove_channel(&mut self, sender: ClientId) -> bool {
        let is_removed = self.channels.remove(sender);
        self.removed_channels = self.removed_channels.saturating_add(u32::from(is_removed));
        is_removed
    }

    /// Forgets that the recipient has opened a channel to `sender`.
    fn forget_opened(&mut self, sender: ClientId) {
        if let Some(opened) = &mut self.opened {
            opened.remove(sender);
        }
    }

    /// Returns whether there is a channel from `sender`.
    pub fn is_authorized(&self, sender: ClientId) -> bool {
        self.channels.contains(sender)
    }

    /// Removes the channel from `sender` and drops its messages. Its lane still recognises duplicates, so that nothing is
    /// accepted or delivered twice if the channel is registered again.
    pub fn revoke(&mut self, sender: ClientId) -> Freed {
        if self.remove_channel(sender) {
            self.revoked.get_or_insert_default().insert(sender);
        }
        let mut freed = Freed::default();
        let is_blank = self.lanes.get_mut(&sender).is_none_or(|lane| {
            freed = Freed::by_clearing(sender, lane);
            lane.is_blank()
        });
        if is_blank {
            self.forget_opened(sender);
            self.remove_lane(sender);
        }
        self.lane_cleared(sender, freed)
    }

    /// Forgets `sender`, which was unregistered, and drops its messages.
    pub fn forget(&mut self, sender: ClientId) -> Freed {
        self.remove_channel(sender);
        self.forget_opened(sender);
        if let Some(revoked) = &mut self.revoked {
            revoked.remove(sender);
        }
        let lane = self.remove_lane(sender);
        let freed = lane.map_or_else(Freed::default, |mut lane| Freed::by_clearing(sender, &mut lane));
        self.lane_cleared(sender, freed)
    }

    fn remove_lane(&mut self, sender: ClientId) -> Option<Box<Lane>> {
        let lane = self.lanes.remove(&sender);
        if self.lanes.len() < self.lanes.capacity() / 8 {
            self.lanes.shrink_to(self.lanes.len() * 2);
        }
        lane
    }

    /// Records that the lane of `sender` was cleared or removed, which freed `freed`.
    fn lane_cleared(&mut self, sender: ClientId, freed: Freed) -> Freed {
        if freed.messages > 0 {
            self.ready_lanes.retain(|ready| *ready != sender);
            self.shrink_ready_lanes();
            if let Some(lane) = self.lane(sender) {
                lane.is_ready = false;
            }
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// Frees the queue of ready lanes if it is empty, so that an idle mailbox has none.
    fn shrink_ready_lanes(&mut self) {
        if self.ready_lanes.is_empty() {
            self.ready_lanes = VecDeque::new();
        }
    }

    /// Drops all messages and the lanes, and returns what there was. Channels stay.
    pub fn clear(&mut self) -> MailboxSize {
        let size = self.size();
        let Self { channels, opened, .. } = self;
        *opened = opened
            .take()
            .map(|opened| Box::new(opened.iter().filter(|id| channels.contains(*id)).collect::<ClientSet>()));
        (self.lanes, self.ready_lanes, self.bytes, self.ages) =
            (FxHashMap::default(), VecDeque::new(), 0, None);
        size
    }

    /// Returns all clients that have a channel or a lane, or had a channel.
    pub fn senders(&self) -> ClientSet {
        let mut senders: ClientSet = self.lanes.keys().copied().collect();
        for more in [Some(&self.channels), self.revoked.as_deref()].into_iter().flatten() {
            senders.extend(more, None);
        }
        senders
    }

    /// Returns the size of all messages.
    pub fn size(&self) -> MailboxSize {
        MailboxSize { messages: self.lanes.values().map(|lane| lane.count()).sum(), bytes: self.bytes }
    }

    /// Returns the clients that may send.
    pub fn channels(&self) -> &ClientSet {
        &self.channels
    }

    fn lane(&mut self, sender: ClientId) -> Option<&mut Lane> {
        self.lanes.get_mut(&sender).map(|lane| &mut **lane)
    }

    fn lanes(&mut self) -> impl Iterator<Item = (ClientId, &mut Lane)> {
        self.lanes.iter_mut().map(|(id, lane)| (*id, &mut **lane))
    }

    /// If the message `seq` of this session of `sender` is a duplicate, returns the last number that was accepted from it.
    pub fn duplicate(&self, sender: ClientId, session: SessionId, seq: Seq) -> Option<Seq> {
        self.lanes.get(&sender)?.duplicate(session, seq)
    }

    /// Appends a message to its sender's lane, unless it is a duplicate or does not fit. `reserve` is asked for the bytes
    /// that the message counts against the total bound.
    pub fn append(
        &mut self,
        sender: ClientId,
        number: Option<(SessionId, Seq)>,
        json: &[u8],
        limits: &Limits,
        reserve: impl FnOnce(usize) -> bool,
    ) -> AppendResult {
        let entry = self.lanes.entry(sender);
        let lane = match &entry {
            Entry::Occupied(lane) => Some(&**lane.get()),
            Entry::Vacant(_) => None,
        };
        let duplicate = |lane: &Lane| number.and_then(|(session, seq)| lane.duplicate(session, seq));
        if let Some(last) = lane.and_then(duplicate) {
            return AppendResult::Duplicate(last);
        }
        let has_room = lane.is_none_or(|lane| {
            lane.has_room(json.len(), limits.max_queued_messages, limits.max_queued_bytes)
        });
        let cost = Self::cost(json, lane);
        let fits = self.bytes == 0 || self.bytes + cost <= limits.max_mailbox_bytes;
        if !has_room || !fits || !reserve(cost) {
            return AppendResult::Full;
        }
        // Only now: a message that is refused must not create a lane.
        let lane = entry.or_default();
        if self.is_stored {
            lane.progress.get_or_insert_default();
        }
        self.last_offset = Offset(self.last_offset.0 + 1);
        lane.append(self.last_offset, number, json);
        self.bytes += cost;
        if !lane.is_ready {
            lane.is_ready = true;
            if self.ready_lanes.capacity() == 0 {
                // Most mailboxes have one sender at a time.
                self.ready_lanes.reserve_exact(1);
            }
            self.ready_lanes.push_back(sender);
        }
        AppendResult::New
    }

    /// Returns the offset of the last message.
    pub fn last_offset(&self) -> Offset {
        self.last_offset
    }

    /// Returns whether a message may be read.
    pub fn has_unread(&self) -> bool {
        !self.ready_lanes.is_empty()
    }

    /// Returns whether a message is unread, even if the window has no room for it, or a sender is held.
    pub fn has_waiting(&mut self) -> bool {
        self.lanes().any(|(_, lane)| lane.sender_is_held || lane.is_readable(Window::UNLIMITED))
    }

    /// Returns the offset for a message that goes straight to the outbox, past its lane.
    pub fn bypass(&mut self) -> Offset {
        self.last_offset = Offset(self.last_offset.0 + 1);
        self.last_offset
    }

    /// Puts a message back before the others of its sender, none of which may have been read. Returns the bytes that it
    /// counts. If the sender's channel was revoked, drops it, as the waiting messages were, and returns `None`.
    pub fn put_back(&mut self, sender: ClientId, message: Message<'_>) -> Option<usize> {
        if !self.is_authorized(sender) {
            return None;
        }
        let lane = self.lanes.entry(sender).or_default();
        if self.is_stored {
            lane.progress.get_or_insert_default();
        }
        let cost = Self::cost(message.json, Some(lane));
        lane.put_back(message);
        self.bytes += cost;
        self.ages.iter_mut().for_each(|ages| ages.record_return());
        if !lane.is_ready {
            lane.is_ready = true;
            self.ready_lanes.push_back(sender);
        }
        Some(cost)
    }

    /// Records that a message of the plain client `sender` is held, so that [`Freed::held_senders`] names it when there is
    /// room.
    pub fn hold_sender(&mut self, sender: ClientId) {
        self.lanes.entry(sender).or_default().sender_is_held = true;
    }

    /// Releases all held senders and returns them.
    pub fn release_held_senders(&mut self) -> Vec<ClientId> {
        let held =
            self.lanes().filter_map(|(id, lane)| std::mem::take(&mut lane.sender_is_held).then_some(id));
        held.collect()
    }
}

#[cfg(test)]
mod tests;
