//! What a client is to be told beside its messages: how far its own were delivered, which of them have expired, and who
//! came and went.

use std::collections::{BTreeSet, VecDeque};

use rustc_hash::FxHashMap;

use super::client_set::ClientSet;
use crate::ids::{ClientId, Seq};
use crate::limits::Limits;

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
pub struct Expiry {
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
    /// Of which it is not known to have heard, in the order of their numbers.
    open: VecDeque<Expiry>,
    /// The number of the last before them.
    before: u64,
    /// How many of them were told on this connection.
    told: usize,
    /// How many of them were told on any: those stay as they are, for the session heeds a number once.
    fixed: usize,
    /// How many of those it has heard of when it has answered.
    asked: usize,
}

impl Expiries {
    /// Forgets the first.
    fn forget(&mut self, count: usize) {
        self.open.drain(..count);
        self.before += count as u64;
        self.told -= count;
        self.fixed -= count;
        self.asked = self.asked.saturating_sub(count);
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
    }
}

impl Notices {
    /// A target has the messages up to `seq`.
    pub fn delivered(&mut self, target: ClientId, seq: Seq) {
        let last = self.delivered.entry(target).or_default();
        // Two threads may tell it the other way round.
        *last = seq.max(*last);
        self.delivered_due.insert(target);
    }

    /// Messages have expired.
    pub fn expired(&mut self, expiry: Expiry) {
        let Expiries { open, fixed, .. } = &mut **self.expired.get_or_insert_default();
        let is_behind = |one: &&mut Expiry| one.target == expiry.target && one.last.0 + 1 == expiry.first.0;
        let may_grow = open.len() > *fixed;
        match open.back_mut().filter(is_behind).filter(|_| may_grow) {
            Some(before) => before.last = expiry.last,
            None => open.push_back(expiry),
        }
    }

    /// The next messages that have expired, with the number of the notice: the session heeds each number once.
    pub fn next_expired(&mut self) -> Option<(u64, Expiry)> {
        let expired = self.expired.as_deref_mut()?;
        let next = *expired.open.get(expired.told)?;
        expired.told += 1;
        expired.fixed = expired.fixed.max(expired.told);
        let number = expired.before + expired.told as u64;
        // Who never answers is not told for ever.
        expired.forget(expired.told.saturating_sub(Limits::MAX_UNANSWERED));
        Some((number, next))
    }

    /// The session is asked to answer: when it does, it has heard of all that it was told until now.
    pub fn ask(&mut self) {
        // An answer to an earlier question may be on its way, and says nothing of what was told behind that.
        if self.unanswered == 0 {
            self.expired.iter_mut().for_each(|expired| expired.asked = expired.told);
        }
        self.unanswered += 1;
    }

    /// It has answered.
    pub fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 {
            self.expired.iter_mut().for_each(|expired| expired.forget(expired.asked));
        }
    }

    /// The clients of which it is to be told whether they are there: to be added to when one came or left.
    pub fn presence(&mut self) -> &mut ClientSet {
        &mut self.presence_due
    }

    /// A client is gone for good: nothing more will be delivered to it.
    pub fn forget(&mut self, client: ClientId) {
        self.delivered.remove(&client);
        self.delivered_due.remove(&client);
        self.presence_due.remove(client);
        if self.delivered.is_empty() {
            self.delivered = FxHashMap::default();
        }
    }

    /// The same session is back: what it was told last may have been lost on the way.
    pub fn resume(&mut self) {
        self.delivered_due.extend(self.delivered.keys());
        self.expired.iter_mut().for_each(|expired| (expired.told, expired.asked) = (0, 0));
        self.unanswered = 0;
    }

    /// The next receipt.
    pub fn next_delivered(&mut self) -> Option<(ClientId, Seq)> {
        let target = pop(&mut self.delivered_due)?;
        self.delivered.get(&target).map(|seq| (target, *seq))
    }

    /// Whether there is something to be told of the client's own messages.
    pub fn has_receipts(&self) -> bool {
        !self.delivered_due.is_empty()
            || self.expired.as_ref().is_some_and(|expired| expired.told < expired.open.len())
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

    fn expiry(target: u64, first: u64, last: u64) -> Expiry {
        Expiry { target: ClientId::new(target).expect("an id"), first: Seq(first), last: Seq(last) }
    }

    #[test]
    fn what_expired_is_told_once_on_each_connection_until_an_answer_comes() {
        let mut notices = Notices::default();
        let mut told = |change: &mut dyn FnMut(&mut Notices)| {
            change(&mut notices);
            std::iter::from_fn(|| notices.next_expired()).collect::<Vec<_>>()
        };
        for one in [expiry(1, 3, 4), expiry(1, 5, 5), expiry(2, 6, 6), expiry(1, 6, 6)] {
            assert_eq!(told(&mut |notices| notices.expired(one)).len(), 1);
        }
        assert_eq!(told(&mut |_| {}), []);
        let again = told(&mut Notices::resume);
        assert_eq!(again.len(), 4, "what was told is not added to");
        assert_eq!(again[3], (4, expiry(1, 6, 6)));
        told(&mut Notices::ask);
        assert_eq!(told(&mut |notices| notices.expired(expiry(1, 7, 7))), [(5, expiry(1, 7, 7))]);
        told(&mut Notices::answered);
        assert_eq!(told(&mut Notices::resume), [(5, expiry(1, 7, 7))], "it was told after the question");
        told(&mut Notices::answered);
        assert_eq!(told(&mut Notices::resume), [(5, expiry(1, 7, 7))], "nobody asked");
        told(&mut Notices::ask);
        assert_eq!(told(&mut |notices| notices.expired(expiry(1, 9, 9))), [(6, expiry(1, 9, 9))]);
        told(&mut Notices::ask);
        told(&mut Notices::answered);
        assert_eq!(told(&mut Notices::resume).len(), 2, "which question was answered?");
        told(&mut Notices::ask);
        told(&mut Notices::answered);
        assert_eq!(told(&mut Notices::resume), []);
        let number = |seq| expiry(1, seq, seq);
        assert_eq!(told(&mut |notices| notices.expired(number(10))), [(7, number(10))], "numbers go on");
        let again = told(&mut |notices| {
            notices.resume();
            notices.expired(number(11));
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
            notices.expired(expiry(1, 2 * seq, 2 * seq));
            assert_eq!(notices.next_expired(), Some((seq, expiry(1, 2 * seq, 2 * seq))));
        }
        notices.resume();
        let again = std::iter::from_fn(|| notices.next_expired()).count();
        assert_eq!(again, Limits::MAX_UNANSWERED);
    }
}
