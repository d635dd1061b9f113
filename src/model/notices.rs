//! What a client is to be told beside its messages: how far its own were delivered, which of them have expired, and who
//! came and went.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use super::client_set::ClientSet;
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;

/// Room for so many notices that were told is kept while there are few.
const ROOM: usize = 32;

/// One client's notices. But for those of expired messages each is about a state, so a newer one takes the place of an
/// older that was not told yet.
#[derive(Debug, Default)]
pub struct Notices {
    /// Up to which number each target has this session's messages.
    delivered: FxHashMap<ClientId, Seq>,
    /// The targets of which that is to be told.
    delivered_due: BTreeSet<ClientId>,
    /// The clients of which it is to be told whether they are there.
    presence_due: ClientSet,
    /// Boxed, for most never have any.
    expired: Option<Box<Expiries>>,
    /// Answers that the session owes on this connection.
    unanswered: u32,
}

/// That messages have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredRange {
    /// For whom they were.
    pub target: ClientId,
    /// The first of them.
    pub first: Seq,
    /// And the last; all between them have expired too.
    pub last: Seq,
}

/// What has expired, until the session has heard of it.
#[derive(Debug, Default)]
struct Expiries {
    /// Told on some connection of the session and not known to be heard, in the order of their numbers. They stay as they
    /// are, because the session heeds a number once. At most [`Limits::MAX_UNACKNOWLEDGED_NOTICES`], and room for four times as many
    /// as there are.
    told: VecDeque<ExpiredRange>,
    /// The number of the last notice before them.
    before: u64,
    /// How many of them were told on this connection.
    again: usize,
    /// How many of those the session has heard of when it has answered.
    asked: usize,
    /// The others, which have no number yet: the last message of each, by target and first message. At
    /// [`Limits::MAX_UNSENT_NOTICES`] nothing more is taken from the client; what waits already may still add to them.
    untold: BTreeMap<(ClientId, Seq), Seq>,
}

impl Expiries {
    /// Forgets the first of those that were told.
    fn forget(&mut self, count: usize) {
        self.told.drain(..count);
        self.before += count as u64;
        self.again -= count;
        self.asked = self.asked.saturating_sub(count);
        let (length, capacity) = (self.told.len(), self.told.capacity());
        if capacity > ROOM && length < capacity / 4 {
            self.told.shrink_to(2 * length);
        }
    }
}

impl Notices {
    /// A target has the messages up to `seq`.
    pub fn record_delivered(&mut self, target: ClientId, seq: Seq) {
        let last = self.delivered.entry(target).or_default();
        // Two threads may tell it the other way round.
        *last = seq.max(*last);
        self.delivered_due.insert(target);
    }

    /// Messages have expired. `previous` is the number that expired before them if no message between the two was received
    /// or may be, else 0: one notice is then enough for both.
    pub fn record_expired(&mut self, ExpiredRange { target, first, last }: ExpiredRange, previous: Seq) {
        let Expiries { untold, .. } = &mut **self.expired.get_or_insert_default();
        let mut before = untold.range_mut((target, Seq::default())..(target, first));
        let joined = |end: Seq| end.0 + 1 == first.0 || end == previous;
        match before.next_back().filter(|(_, end)| joined(**end)) {
            Some((_, end)) => *end = last,
            None => {
                untold.insert((target, first), last);
            }
        }
    }

    /// The next messages that have expired, with the number of the notice: the session heeds each number once.
    pub fn next_expired(&mut self) -> Option<(u64, ExpiredRange)> {
        let expired = self.expired.as_deref_mut()?;
        if expired.again == expired.told.len() {
            let ((target, first), last) = expired.untold.pop_first()?;
            expired.told.push_back(ExpiredRange { target, first, last });
        }
        let next = expired.told[expired.again];
        expired.again += 1;
        let number = expired.before + expired.again as u64;
        // Who never answers is not told for ever.
        expired.forget(expired.again.saturating_sub(Limits::MAX_UNACKNOWLEDGED_NOTICES));
        Some((number, next))
    }

    /// What the notices of expired messages count against the total bound.
    pub fn cost(&self) -> usize {
        let count = |expired: &Expiries| expired.told.len() + expired.untold.len();
        let notices = self.expired.as_deref().map_or(0, count);
        notices.saturating_sub(Limits::FREE_NOTICES) * Limits::NOTICE_OVERHEAD
    }

    /// Whether so many messages have expired that the session has not been told of that nothing more is taken from it.
    pub fn is_full(&self) -> bool {
        self.expired.as_ref().is_some_and(|expired| expired.untold.len() >= Limits::MAX_UNSENT_NOTICES)
    }

    /// The session is asked to answer: when it does, it has heard of all that it was told until now.
    pub fn ping_sent(&mut self) {
        // An answer to an earlier question may be on its way, and says nothing of what was told behind that.
        if self.unanswered == 0 {
            self.expired.iter_mut().for_each(|expired| expired.asked = expired.again);
        }
        self.unanswered += 1;
    }

    /// It has answered.
    pub fn pong_received(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 {
            self.expired.iter_mut().for_each(|expired| expired.forget(expired.asked));
        }
    }

    /// The clients of which it is to be told whether they are there: to be added to when one came or left.
    pub fn presence_due(&mut self) -> &mut ClientSet {
        &mut self.presence_due
    }

    /// A client is gone for good: nothing more will be delivered to it.
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

    /// The same session is back: what it was told last may have been lost on the way.
    pub fn resume(&mut self) {
        self.delivered_due.extend(self.delivered.keys());
        self.expired.iter_mut().for_each(|expired| (expired.again, expired.asked) = (0, 0));
        self.unanswered = 0;
    }

    /// The next receipt.
    pub fn next_delivered(&mut self) -> Option<(ClientId, Seq)> {
        let target = pop(&mut self.delivered_due)?;
        self.delivered.get(&target).map(|seq| (target, *seq))
    }

    /// Whether there is something to be told of the client's own messages.
    pub fn has_message_notices(&self) -> bool {
        !self.delivered_due.is_empty()
            || self
                .expired
                .as_ref()
                .is_some_and(|expired| expired.again < expired.told.len() || !expired.untold.is_empty())
    }
}

/// The first of a set, which keeps no memory when it is empty.
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

    fn expiry(target: u64, first: u64, last: u64) -> ExpiredRange {
        ExpiredRange { target: ClientId::new(target).expect("an id"), first: Seq(first), last: Seq(last) }
    }

    #[test]
    fn what_expired_is_told_once_on_each_connection_until_an_answer_comes() {
        let mut notices = Notices::default();
        let mut told = |change: &mut dyn FnMut(&mut Notices)| {
            change(&mut notices);
            std::iter::from_fn(|| notices.next_expired()).collect::<Vec<_>>()
        };
        for one in [expiry(1, 3, 4), expiry(1, 5, 5), expiry(2, 6, 6), expiry(1, 6, 6)] {
            assert_eq!(told(&mut |notices| notices.record_expired(one, Seq(0))).len(), 1);
        }
        assert_eq!(told(&mut |_| {}), []);
        let again = told(&mut Notices::resume);
        assert_eq!(again.len(), 4, "what was told is not added to");
        assert_eq!(again[3], (4, expiry(1, 6, 6)));
        told(&mut Notices::ping_sent);
        assert_eq!(
            told(&mut |notices| notices.record_expired(expiry(1, 7, 7), Seq(0))),
            [(5, expiry(1, 7, 7))]
        );
        told(&mut Notices::pong_received);
        assert_eq!(told(&mut Notices::resume), [(5, expiry(1, 7, 7))], "it was told after the question");
        told(&mut Notices::pong_received);
        assert_eq!(told(&mut Notices::resume), [(5, expiry(1, 7, 7))], "nobody asked");
        told(&mut Notices::ping_sent);
        assert_eq!(
            told(&mut |notices| notices.record_expired(expiry(1, 9, 9), Seq(0))),
            [(6, expiry(1, 9, 9))]
        );
        told(&mut Notices::ping_sent);
        told(&mut Notices::pong_received);
        assert_eq!(told(&mut Notices::resume).len(), 2, "which question was answered?");
        told(&mut Notices::ping_sent);
        told(&mut Notices::pong_received);
        assert_eq!(told(&mut Notices::resume), []);
        let number = |seq| expiry(1, seq, seq);
        assert_eq!(
            told(&mut |notices| notices.record_expired(number(10), Seq(0))),
            [(7, number(10))],
            "numbers go on"
        );
        let again = told(&mut |notices| {
            notices.resume();
            notices.record_expired(number(11), Seq(0));
        });
        assert_eq!(
            again,
            [(7, number(10)), (8, number(11))],
            "what was told on any connection is not added to"
        );
    }

    #[test]
    fn who_never_answers_is_not_told_for_ever() {
        let mut notices = Notices::default();
        for seq in 1..3000 {
            notices.record_expired(expiry(1, 2 * seq, 2 * seq), Seq(0));
            assert_eq!(notices.next_expired(), Some((seq, expiry(1, 2 * seq, 2 * seq))));
        }
        notices.resume();
        let again = std::iter::from_fn(|| notices.next_expired()).count();
        assert_eq!(again, Limits::MAX_UNACKNOWLEDGED_NOTICES);
    }

    #[test]
    fn what_expires_while_nobody_is_told_is_one_notice_for_each_target() {
        let mut notices = Notices::default();
        for seq in (1..100_000).step_by(2) {
            for target in 1..=3 {
                notices.record_expired(expiry(target, seq, seq), Seq(seq.saturating_sub(2)));
            }
        }
        assert_eq!((notices.cost(), notices.expired.as_ref().map(|all| all.untold.len())), (0, Some(3)));
        let told: Vec<_> = std::iter::from_fn(|| notices.next_expired()).map(|(_, expiry)| expiry).collect();
        assert_eq!(told, [1, 2, 3].map(|target| expiry(target, 1, 99_999)));
        // What was told stays as it is, and what is not behind it is another.
        notices.record_expired(expiry(1, 100_001, 100_001), Seq(99_999));
        notices.record_expired(expiry(1, 100_005, 100_005), Seq(100_003));
        assert_eq!(notices.next_expired(), Some((4, expiry(1, 100_001, 100_001))));
        assert_eq!(notices.next_expired(), Some((5, expiry(1, 100_005, 100_005))));
    }

    #[test]
    fn who_is_not_told_is_full_and_has_room_again_when_it_is_and_keeps_nothing_in_the_end() {
        let cost = |notices: usize| notices.saturating_sub(Limits::FREE_NOTICES) * Limits::NOTICE_OVERHEAD;
        let mut notices = Notices::default();
        for number in 1..=5 * Limits::MAX_UNSENT_NOTICES as u64 {
            assert_eq!(notices.is_full(), number > Limits::MAX_UNSENT_NOTICES as u64);
            notices.record_expired(expiry(number, 1, 1), Seq(0));
            assert_eq!(notices.cost(), cost(number as usize));
        }
        let told = std::iter::from_fn(|| notices.next_expired()).count();
        assert_eq!((told, notices.is_full()), (5 * Limits::MAX_UNSENT_NOTICES, false));
        assert_eq!(notices.cost(), cost(Limits::MAX_UNACKNOWLEDGED_NOTICES));
        notices.ping_sent();
        notices.pong_received();
        assert_eq!(notices.cost(), 0);
        let expired = notices.expired.expect("numbers go on");
        assert!(expired.told.capacity() <= ROOM && expired.untold.is_empty());
    }
}
