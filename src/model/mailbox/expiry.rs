//! How what waits for too long leaves a mailbox.

use std::time::{Duration, Instant};

use super::{ExpiredMessages, Freed, Mailbox};
use crate::model::lane::Window;

impl Mailbox {
    /// The message that came last came at `now`, and may wait for `ttl`. Returns when to look for what has waited for too
    /// long, unless somebody is going to look already.
    pub fn start_ttl(&mut self, now: Instant, ttl: Duration) -> Option<Instant> {
        let ages = self.ages.get_or_insert_default();
        ages.arrived(self.last, now, ttl);
        if ages.next_check.is_some() {
            return None;
        }
        ages.next_check = ages.next();
        ages.next_check
    }

    /// Drops what has waited for too long by `now` and is not on its way.
    pub fn expire(&mut self, now: Instant) -> (Freed, Vec<ExpiredMessages>) {
        let (mut freed, mut expired) = (Freed::default(), Vec::new());
        let over = self.ages.as_mut().and_then(|ages| ages.over(now));
        for (sender, lane) in self.lanes().filter(|_| over.is_some()) {
            let (dropped, ranges) = lane.expire(over.unwrap_or_default());
            if dropped.messages == 0 {
                continue;
            }
            lane.is_ready &= lane.is_readable(Window::UNLIMITED);
            freed.messages += dropped.messages;
            freed.bytes += dropped.cost();
            freed.held_senders.extend(std::mem::take(&mut lane.sender_is_held).then_some(sender));
            expired.push(ExpiredMessages { sender, messages: dropped.messages, ranges });
        }
        self.bytes -= freed.bytes;
        if freed.messages > 0 {
            let Self { lanes, ready_lanes, .. } = self;
            ready_lanes.retain(|turn| lanes.get(turn).is_some_and(|lane| lane.is_ready));
            self.shrink_ready_lanes();
        }
        (freed, expired)
    }

    /// When to look again for what has waited for too long. When nothing waits here, and with `is_all` nothing on its way may
    /// come back, nobody has to.
    pub fn schedule_check(&mut self, is_all: bool) -> Option<Instant> {
        self.ages.take_if(|_| is_all && self.bytes == 0);
        let ages = self.ages.as_mut()?;
        ages.next_check = ages.next();
        ages.next_check
    }

    /// When somebody is going to look.
    pub fn scheduled_check(&self) -> Option<Instant> {
        self.ages.as_ref()?.next_check
    }
}
