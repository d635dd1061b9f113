//! The notices that a client is due beside its messages: receipts, expired messages, presence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use super::client_set::ClientSet;
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;

/// Capacity that the queue of sent notices keeps, however few there are.
const MIN_CAPACITY: usize = 32;

/// The notices that are due to one client. A receipt or a presence is about a state, so a newer one replaces an older one
/// that was not sent yet. Notices of expired messages are numbered, and sent again on each connection of the session until
/// a heartbeat is answered.
#[derive(Debug, Default)]
pub struct Notices {
    /// For each target, the last number of this session that it has received.
    delivered: FxHashMap<ClientId, Seq>,
    /// The targets for which a receipt is due.
    delivered_due: BTreeSet<ClientId>,
    /// The clients whose presence is due.
    presence_due: ClientSet,
    /// Boxed, because most clients never have any.
    expired: Option<Box<ExpiredNotices>>,
    /// Pings of this connection that have not been answered.
    unanswered_pings: u32,
}

/// Consecutive messages of a client to one target that have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredRange {
    /// Their recipient.
    pub target: ClientId,
    /// The first number.
    pub first: Seq,
    /// The last number. All messages in between have expired too.
    pub last: Seq,
}

/// The notices of expired messages that the session is not known to have received.
#[derive(Debug, Default)]
struct ExpiredNotices {
    /// The notices that were sent on a connection of the session, in the order of their numbers. They are not changed any
    /// more, because the client acts on a number once. At most [`Limits::MAX_UNACKNOWLEDGED_NOTICES`], and capacity for
    /// four times as many as there are.
    sent: VecDeque<ExpiredRange>,
    /// The number of the last notice before `sent`.
    forgotten: u64,
    /// How many of `sent` were sent on this connection.
    sent_here: usize,
    /// How many of these the session has received if it answers the outstanding ping.
    sent_before_ping: usize,
    /// Ranges that have no number yet: the last message by target and first message. From
    /// [`Limits::MAX_UNSENT_NOTICES`] on the client's messages are held; messages that wait already may still add to it.
    unsent: BTreeMap<(ClientId, Seq), Seq>,
}

impl ExpiredNotices {
    /// Removes the first `count` of those that were sent.
    fn forget(&mut self, count: usize) {
        self.sent.drain(..count);
        self.forgotten += count as u64;
        self.sent_here -= count;
        self.sent_before_ping = self.sent_before_ping.saturating_sub(count);
        let (length, capacity) = (self.sent.len(), self.sent.capacity());
        if capacity > MIN_CAPACITY && length < capacity / 4 {
            self.sent.shrink_to(2 * length);
        }
    }
}

impl Notices {
    /// Forgets all receipts: the session does not want them.
    pub fn forget_delivered(&mut self) {
        (self.delivered, self.delivered_due) = (FxHashMap::default(), BTreeSet::new());
    }

    /// Records that `target` has received the messages up to `seq`.
    pub fn record_delivered(&mut self, target: ClientId, seq: Seq) {
        let last = self.delivered.entry(target).or_default();
        // Two threads may call this in either order.
        *last = seq.max(*last);
        self.delivered_due.insert(target);
    }

    /// Records that messages have expired. `previous` is the number that expired before them if no message between the two
    /// was or may still be received, so that one notice is enough for both; otherwise it is 0.
    pub fn record_expired(&mut self, ExpiredRange { target, first, last }: ExpiredRange, previous: Seq) {
        let ExpiredNotices { unsent, .. } = &mut **self.expired.get_or_insert_default();
        let mut before = unsent.range_mut((target, Seq::default())..(target, first));
        let is_adjacent = |end: Seq| end.0 + 1 == first.0 || end == previous;
        match before.next_back().filter(|(_, end)| is_adjacent(**end)) {
            Some((_, end)) => *end = last,
            None => {
                unsent.insert((target, first), last);
            }
        }
    }

    /// Returns the next notice of expired messages to send, with its number. The client acts on each number once.
    pub fn next_expired(&mut self) -> Option<(u64, ExpiredRange)> {
        let expired = self.expired.as_deref_mut()?;
        if expired.sent_here == expired.sent.len() {
            let ((target, first), last) = expired.unsent.pop_first()?;
            expired.sent.push_back(ExpiredRange { target, first, last });
        }
        let next = expired.sent[expired.sent_here];
        expired.sent_here += 1;
        let number = expired.forgotten + expired.sent_here as u64;
        // A client that never answers a heartbeat must not make the queue grow.
        expired.forget(expired.sent_here.saturating_sub(Limits::MAX_UNACKNOWLEDGED_NOTICES));
        Some((number, next))
    }

    /// Returns the bytes that the notices of expired messages count against the total bound.
    pub fn cost(&self) -> usize {
        let count = |expired: &ExpiredNotices| expired.sent.len() + expired.unsent.len();
        let notices = self.expired.as_deref().map_or(0, count);
        notices.saturating_sub(Limits::FREE_NOTICES) * Limits::NOTICE_OVERHEAD
    }

    /// Returns whether so many notices of expired messages are unsent that the client's messages have to be held.
    pub fn is_full(&self) -> bool {
        self.expired.as_ref().is_some_and(|expired| expired.unsent.len() >= Limits::MAX_UNSENT_NOTICES)
    }

    /// Records that a ping was sent: a client that answers it has received all notices that were sent before.
    pub fn ping_sent(&mut self) {
        // The next answer may be to an earlier ping, and says nothing about notices that were sent after that one.
        if self.unanswered_pings == 0 {
            self.expired.iter_mut().for_each(|expired| expired.sent_before_ping = expired.sent_here);
        }
        self.unanswered_pings += 1;
    }

    /// Records that a ping was answered.
    pub fn pong_received(&mut self) {
        self.unanswered_pings = self.unanswered_pings.saturating_sub(1);
        if self.unanswered_pings == 0 {
            self.expired.iter_mut().for_each(|expired| expired.forget(expired.sent_before_ping));
        }
    }

    /// The clients whose presence is due. Add a client that came or left.
    pub fn presence_due(&mut self) -> &mut ClientSet {
        &mut self.presence_due
    }

    /// Forgets a client that was unregistered.
    pub fn forget(&mut self, client: ClientId) {
        self.delivered.remove(&client);
        self.delivered_due.remove(&client);
        self.presence_due.remove(client);
        if self.delivered.is_empty() {
            self.delivered = FxHashMap::default();
        } else if self.delivered.len() < self.delivered.capacity() / 8 {
            self.delivered.shrink_to(2 * self.delivered.len());
        }
    }

    /// Begins another connection of the same session: the last notices may have been lost with the one before.
    pub fn resume(&mut self) {
        self.delivered_due.extend(self.delivered.keys());
        self.expired.iter_mut().for_each(|expired| (expired.sent_here, expired.sent_before_ping) = (0, 0));
        self.unanswered_pings = 0;
    }

    /// Returns the next receipt to send.
    pub fn next_delivered(&mut self) -> Option<(ClientId, Seq)> {
        let target = pop(&mut self.delivered_due)?;
        self.delivered.get(&target).map(|seq| (target, *seq))
    }

    /// Returns whether a receipt or a notice of expired messages is due.
    pub fn has_message_notices(&self) -> bool {
        let has_due =
            |expired: &ExpiredNotices| expired.sent_here < expired.sent.len() || !expired.unsent.is_empty();
        !self.delivered_due.is_empty() || self.expired.as_deref().is_some_and(has_due)
    }
}

/// Removes the first of a set, which frees its memory when it is empty.
fn pop(set: &mut BTreeSet<ClientId>) -> Option<ClientId> {
    let first = set.pop_first();
    if set.is_empty() {
        *set = BTreeSet::new();
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(target: u64, first: u64, last: u64) -> ExpiredRange {
        ExpiredRange { target: ClientId::new(target).expect("an id"), first: Seq(first), last: Seq(last) }
    }

    #[test]
    fn sends_expired_notices_once_per_connection_until_a_pong_arrives() {
        let mut notices = Notices::default();
        let mut sent = |change: &mut dyn FnMut(&mut Notices)| {
            change(&mut notices);
            std::iter::from_fn(|| notices.next_expired()).collect::<Vec<_>>()
        };
        for one in [range(1, 3, 4), range(1, 5, 5), range(2, 6, 6), range(1, 6, 6)] {
            assert_eq!(sent(&mut |notices| notices.record_expired(one, Seq(0))).len(), 1);
        }
        assert_eq!(sent(&mut |_| {}), []);
        let again = sent(&mut Notices::resume);
        assert_eq!(again.len(), 4, "a notice that was sent is not extended");
        assert_eq!(again[3], (4, range(1, 6, 6)));
        sent(&mut Notices::ping_sent);
        assert_eq!(
            sent(&mut |notices| notices.record_expired(range(1, 7, 7), Seq(0))),
            [(5, range(1, 7, 7))]
        );
        sent(&mut Notices::pong_received);
        assert_eq!(sent(&mut Notices::resume), [(5, range(1, 7, 7))], "it was sent after the ping");
        sent(&mut Notices::pong_received);
        assert_eq!(sent(&mut Notices::resume), [(5, range(1, 7, 7))], "no ping was sent");
        sent(&mut Notices::ping_sent);
        assert_eq!(
            sent(&mut |notices| notices.record_expired(range(1, 9, 9), Seq(0))),
            [(6, range(1, 9, 9))]
        );
        sent(&mut Notices::ping_sent);
        sent(&mut Notices::pong_received);
        assert_eq!(sent(&mut Notices::resume).len(), 2, "the pong may answer the first ping");
        sent(&mut Notices::ping_sent);
        sent(&mut Notices::pong_received);
        assert_eq!(sent(&mut Notices::resume), []);
        let number = |seq| range(1, seq, seq);
        assert_eq!(
            sent(&mut |notices| notices.record_expired(number(10), Seq(0))),
            [(7, number(10))],
            "numbers continue"
        );
        let again = sent(&mut |notices| {
            notices.resume();
            notices.record_expired(number(11), Seq(0));
        });
        assert_eq!(
            again,
            [(7, number(10)), (8, number(11))],
            "a notice that was sent on an earlier connection is not extended"
        );
    }

    #[test]
    fn forgets_the_oldest_notices_of_a_client_that_never_answers() {
        let mut notices = Notices::default();
        for seq in 1..3000 {
            notices.record_expired(range(1, 2 * seq, 2 * seq), Seq(0));
            assert_eq!(notices.next_expired(), Some((seq, range(1, 2 * seq, 2 * seq))));
        }
        notices.resume();
        let again = std::iter::from_fn(|| notices.next_expired()).count();
        assert_eq!(again, Limits::MAX_UNACKNOWLEDGED_NOTICES);
    }

    #[test]
    fn merges_unsent_notices_per_target() {
        let mut notices = Notices::default();
        for seq in (1..100_000).step_by(2) {
            for target in 1..=3 {
                notices.record_expired(range(target, seq, seq), Seq(seq.saturating_sub(2)));
            }
        }
        assert_eq!((notices.cost(), notices.expired.as_ref().map(|all| all.unsent.len())), (0, Some(3)));
        let sent: Vec<_> = std::iter::from_fn(|| notices.next_expired()).map(|(_, range)| range).collect();
        assert_eq!(sent, [1, 2, 3].map(|target| range(target, 1, 99_999)));
        // A notice that was sent stays as it is, and a range that is not adjacent is another.
        notices.record_expired(range(1, 100_001, 100_001), Seq(99_999));
        notices.record_expired(range(1, 100_005, 100_005), Seq(100_003));
        assert_eq!(notices.next_expired(), Some((4, range(1, 100_001, 100_001))));
        assert_eq!(notices.next_expired(), Some((5, range(1, 100_005, 100_005))));
    }

    #[test]
    fn is_full_until_notices_are_sent_and_frees_memory() {
        let cost = |notices: usize| notices.saturating_sub(Limits::FREE_NOTICES) * Limits::NOTICE_OVERHEAD;
        let mut notices = Notices::default();
        for number in 1..=5 * Limits::MAX_UNSENT_NOTICES as u64 {
            assert_eq!(notices.is_full(), number > Limits::MAX_UNSENT_NOTICES as u64);
            notices.record_expired(range(number, 1, 1), Seq(0));
            assert_eq!(notices.cost(), cost(number as usize));
        }
        let sent = std::iter::from_fn(|| notices.next_expired()).count();
        assert_eq!((sent, notices.is_full()), (5 * Limits::MAX_UNSENT_NOTICES, false));
        assert_eq!(notices.cost(), cost(Limits::MAX_UNACKNOWLEDGED_NOTICES));
        notices.ping_sent();
        notices.pong_received();
        assert_eq!(notices.cost(), 0);
        let expired = notices.expired.expect("numbers continue");
        assert!(expired.sent.capacity() <= MIN_CAPACITY && expired.unsent.is_empty());
    }
}
