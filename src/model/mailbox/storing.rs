//! What a store that commits later has of a mailbox's messages.

use std::time::Instant;

use super::{Freed, Mailbox, Receipts};
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::model::StoredRange;
use crate::model::queue::Message;

impl Mailbox {
    /// Returns an empty mailbox whose messages are committed later. Its offsets are above `era`.
    pub fn for_store(era: Offset) -> Self {
        Self { last_offset: era, is_stored: true, ..Self::default() }
    }

    /// Adds a message that was read from the store, which are passed in the order of their offsets. Returns the bytes that
    /// it counts.
    pub fn restore(&mut self, sender: ClientId, message: Message<'_>) -> usize {
        let lane = self.lanes.entry(sender).or_default();
        let cost = Self::cost(message.json, Some(lane));
        lane.restore(message);
        self.last_offset = self.last_offset.max(message.offset);
        self.bytes += cost;
        if !lane.is_ready {
            lane.is_ready = true;
            self.ready_lanes.push_back(sender);
        }
        cost
    }

    /// Gives offsets above `era` from now on.
    pub fn begin_era(&mut self, era: Offset) {
        self.last_offset = self.last_offset.max(era);
    }

    /// Records when the restored messages expire: their offsets and times, in any order. Returns when to check the mailbox.
    pub fn restore_ages(&mut self, mut ends: Vec<(Offset, Instant)>) -> Option<Instant> {
        ends.sort_unstable();
        let ages = self.ages.get_or_insert_default();
        ends.into_iter().for_each(|(offset, end)| ages.restore(offset, end));
        ages.next_check = ages.next_expiry();
        ages.next_check
    }

    /// Passes the messages up to `upto` that the store was not given to `take`, with the times at which they expire, until
    /// it returns false. Returns whether it took all of them.
    pub fn take_for_store(
        &mut self,
        upto: Offset,
        mut take: impl FnMut(ClientId, Message<'_>, Option<Instant>) -> bool,
    ) -> bool {
        let Self { lanes, ages, .. } = self;
        let end = |offset| ages.as_ref().and_then(|ages| ages.end_of(offset));
        lanes.iter_mut().all(|(sender, lane)| {
            lane.take_for_store(upto, |message| take(*sender, message, end(message.offset)))
        })
    }

    /// Whether the store was not given this message of `sender`, which is on its way to a plain recipient. It counts as
    /// given from then on.
    pub fn take_copy_for_store(&mut self, sender: ClientId, offset: Offset) -> bool {
        let Some(progress) = self.lane(sender).and_then(|lane| lane.progress.as_mut()) else { return false };
        let is_new = offset > progress.taken;
        progress.taken = progress.taken.max(offset);
        is_new
    }

    /// Returns when a message expires.
    pub fn end_of(&self, offset: Offset) -> Option<Instant> {
        self.ages.as_ref()?.end_of(offset)
    }

    /// Returns the bytes of messages that the store was not given, overhead included.
    pub fn bytes_not_taken(&self) -> usize {
        self.lanes.values().map(|lane| lane.bytes_not_taken()).sum()
    }

    /// Records that the messages of `sender` up to `upto` are committed. Returns whether they were not settled before.
    pub fn committed(&mut self, sender: ClientId, upto: Offset) -> bool {
        // What has expired meanwhile may be dropped now.
        self.ages.iter_mut().for_each(|ages| ages.record_return());
        let Some(progress) = self.lane(sender).and_then(|lane| lane.progress.as_mut()) else { return false };
        let is_news = progress.settled < upto;
        progress.settle(upto);
        is_news
    }

    /// Records that the socket of a plain recipient has taken the messages of `sender` from `first` to `last`.
    pub fn flushed(&mut self, sender: ClientId, first: Offset, last: Offset, freed: &mut Freed) {
        let Some(progress) = self.lane(sender).and_then(|lane| lane.progress.as_mut()) else { return };
        progress.settle(last);
        if first <= progress.taken {
            let upto = last.min(progress.taken);
            freed.store_change().removed.push(StoredRange { sender, from: Offset::default(), upto });
        }
    }

    /// Whether a store commits the messages later.
    pub fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Whether all messages of `sender` are committed, received or dropped.
    pub fn is_settled(&self, sender: ClientId) -> bool {
        self.lanes.get(&sender).is_none_or(|lane| lane.is_settled())
    }

    /// Returns the last number of `sender` that was accepted, if it is one of this session.
    pub fn last_number(&self, sender: ClientId, session: SessionId) -> Option<Seq> {
        let last = self.lanes.get(&sender)?.last_number();
        last.filter(|(of, _)| *of == session).map(|(_, seq)| seq)
    }

    /// Returns, for each sender of messages that are not settled, its session and its last number: nothing of them will be
    /// committed any more.
    pub fn unsettled(&self) -> Receipts {
        let lanes = self.lanes.iter().filter(|(_, lane)| !lane.is_settled());
        lanes.filter_map(|(id, lane)| lane.last_number().map(|(session, seq)| (*id, session, seq))).collect()
    }
}
