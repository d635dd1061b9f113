//! The ages of a mailbox's messages, recorded coarsely: enough to know which have outlived their time to live.
//!
//! With `messageTtl` a mailbox has at most 33 marks, each an offset and the time at which the messages up to it expire, so
//! that a message itself stores nothing about its age. ExpiredMessages messages are dropped when the mailbox is next read or
//! appended to, and at the latest by the maintenance task, which is told once per mailbox when to look, not once per
//! message. They may lie behind messages in flight, which do not expire: `Queue::forget_unread` closes the gap.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::Offset;

/// Messages that arrive within one such part of the time to live share a mark. They expire together, none of them early.
const PARTS: u32 = 32;
/// The shortest part: timers are no finer.
const MIN_PART: Duration = Duration::from_millis(1);

/// The expiry marks of a mailbox.
#[derive(Debug, Default)]
pub struct Ages {
    /// When the messages up to an offset expire. The earliest first.
    marks: VecDeque<(Instant, Offset)>,
    /// The messages up to this offset have expired.
    expired: Offset,
    /// Whether expired messages may wait that did not at the last call of [`Ages::expired`].
    is_changed: bool,
    /// When the mailbox will be checked for expired messages.
    pub next_check: Option<Instant>,
}

impl Ages {
    /// Records that a message with the highest offset so far arrived at `now` and expires after `ttl`.
    pub fn record_arrival(&mut self, offset: Offset, now: Instant, ttl: Duration) {
        match self.marks.back_mut() {
            Some((end, upto)) if now + ttl <= *end => *upto = offset,
            _ => self.marks.push_back((now + ttl + (ttl / PARTS).max(MIN_PART), offset)),
        }
    }

    /// Records that a message, with the highest offset so far, expires at `end` or up to a part later.
    pub fn restore(&mut self, offset: Offset, end: Instant) {
        match self.marks.back_mut() {
            Some((last, upto)) if end <= *last => *upto = offset,
            _ => self.marks.push_back((end + MIN_PART, offset)),
        }
    }

    /// Returns when a message expires.
    pub fn end_of(&self, offset: Offset) -> Option<Instant> {
        self.marks.iter().find(|(_, upto)| offset <= *upto).map(|(end, _)| *end)
    }

    /// Records that messages in flight wait again.
    pub fn record_return(&mut self) {
        self.is_changed = true;
    }

    /// Returns the offset up to which messages have expired by `now`, or `None` if none can have expired since the last
    /// call.
    pub fn expired(&mut self, now: Instant) -> Option<Offset> {
        while let Some((_, upto)) = self.marks.front().filter(|(end, _)| *end <= now) {
            self.expired = *upto;
            self.is_changed = true;
            self.marks.pop_front();
        }
        std::mem::take(&mut self.is_changed).then_some(self.expired)
    }

    /// Returns when the next messages expire.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.marks.front().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_messages_on_time_with_few_marks() {
        let (start, ttl) = (Instant::now(), Duration::from_secs(1));
        let mut ages = Ages::default();
        let arrival = |number: u64| start + Duration::from_micros(100 * number);
        for number in 1..=20_000 {
            ages.record_arrival(Offset(number), arrival(number), ttl);
            let Some(Offset(expired)) = ages.expired(arrival(number)) else { continue };
            assert!(arrival(expired) + ttl <= arrival(number), "{expired} expired early");
            let latest = arrival(expired + 1) + ttl + 2 * ttl / PARTS;
            assert!(latest >= arrival(number), "{expired} expired late");
            assert!(ages.marks.len() <= PARTS as usize + 1, "{}", ages.marks.len());
        }
        let expired = ages.expired;
        assert_eq!(ages.expired(arrival(20_000)), None, "reported once");
        ages.record_return();
        assert_eq!(ages.expired(arrival(20_000)), Some(expired), "unless a message came back");
        assert_eq!(ages.expired(arrival(40_000)), Some(Offset(20_000)));
        assert_eq!(ages.next_expiry(), None);
    }
}
