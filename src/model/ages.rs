//! How long messages have waited, as exactly as it takes to tell which have waited for too long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::Offset;

/// Messages that come within such a share of the time that they may wait are over together, and none of them early.
const SHARE: u32 = 32;
/// As timers are no finer, nor are the shares.
const SHORTEST_SHARE: Duration = Duration::from_millis(1);

/// The ages of a mailbox's messages: a mark for many, so that a message costs nothing for it.
#[derive(Debug, Default)]
pub struct Ages {
    /// At this time the messages up to that place are over. The earliest first.
    marks: VecDeque<(Instant, Offset)>,
    /// Messages up to this place are over.
    over: Offset,
    /// Whether some of them may wait that did not when it was looked last.
    is_changed: bool,
    /// When somebody is going to look.
    pub next_check: Option<Instant>,
}

impl Ages {
    /// A message has come, behind all others, that may wait for so long.
    pub fn arrived(&mut self, offset: Offset, now: Instant, ttl: Duration) {
        match self.marks.back_mut() {
            Some((end, upto)) if now + ttl <= *end => *upto = offset,
            _ => self.marks.push_back((now + ttl + (ttl / SHARE).max(SHORTEST_SHARE), offset)),
        }
    }

    /// Messages wait again that were on their way.
    pub fn came_back(&mut self) {
        self.is_changed = true;
    }

    /// Up to which place messages are over by `now`, if there may be any that were not found so before.
    pub fn over(&mut self, now: Instant) -> Option<Offset> {
        while let Some((_, upto)) = self.marks.front().filter(|(end, _)| *end <= now) {
            self.over = *upto;
            self.is_changed = true;
            self.marks.pop_front();
        }
        std::mem::take(&mut self.is_changed).then_some(self.over)
    }

    /// When the next messages are over.
    pub fn next(&self) -> Option<Instant> {
        self.marks.front().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_over_early_nor_much_too_late_and_marks_are_few() {
        let (start, ttl) = (Instant::now(), Duration::from_secs(1));
        let mut ages = Ages::default();
        let arrival = |number: u64| start + Duration::from_micros(100 * number);
        for number in 1..=20_000 {
            ages.arrived(Offset(number), arrival(number), ttl);
            let Some(Offset(over)) = ages.over(arrival(number)) else { continue };
            assert!(arrival(over) + ttl <= arrival(number), "{over} is over early");
            assert!(arrival(over + 1) + ttl + 2 * ttl / SHARE >= arrival(number), "{over} is over late");
            assert!(ages.marks.len() <= SHARE as usize + 1, "{}", ages.marks.len());
        }
        let over = ages.over;
        assert_eq!(ages.over(arrival(20_000)), None, "told once");
        ages.came_back();
        assert_eq!(ages.over(arrival(20_000)), Some(over), "unless something came back");
        assert_eq!(ages.over(arrival(40_000)), Some(Offset(20_000)));
        assert_eq!(ages.next(), None);
    }
}
