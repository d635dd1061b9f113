//! How the messages in a mailbox expire.

use std::time::{Duration, Instant};

use super::{ExpiredMessages, Freed, Mailbox};
use crate::model::lane::Window;

impl Mailbox {
    /// Records that the last message arrived at `now` and expires after `ttl`. Returns when to check the mailbox for expired
    /// messages, unless a check is scheduled already.
    pub fn start_ttl(&mut self, now: Instant, ttl: Duration) -> Option<Instant> {
        let ages = self.ages.get_or_insert_default();
        ages.record_arrival(self.last_offset, now, ttl);
        if ages.next_check.is_some() {
            return None;
        }
        ages.next_check = ages.next_expiry();
        ages.next_check
    }

    /// Drops the messages that have expired by `now` and are not in flight.
    pub fn expire(&mut self, now: Instant) -> (Freed, Vec<ExpiredMessages>) {
        let (mut freed, mut expired) = (Freed::default(), Vec::new());
        let Some(upto) = self.ages.as_mut().and_then(|ages| ages.expired(now)) else {
            return (freed, expired);
        };
        for (sender, lane) in self.lanes() {
            let (removed, ranges) = lane.expire(upto);
            if removed.messages == 0 {
                continue;
            }
            lane.is_ready &= lane.is_readable(Window::UNLIMITED);
            freed.messages += removed.messages;
            freed.bytes += removed.cost();
            freed.held_senders.extend(std::mem::take(&mut lane.sender_is_held).then_some(sender));
            freed.remove_stored(sender, &removed);
            expired.push(ExpiredMessages { sender, messages: removed.messages, ranges });
        }
        self.bytes -= freed.bytes;
        if freed.messages > 0 {
            let Self { lanes, ready_lanes, .. } = self;
            ready_lanes.retain(|sender| lanes.get(sender).is_some_and(|lane| lane.is_ready));
            self.shrink_ready_lanes();
        }
        (freed, expired)
    }

    /// Schedules the next check for expired messages and returns its time. Nothing is scheduled for an empty mailbox if
    /// `is_all`: then no message in flight can come back.
    pub fn schedule_check(&mut self, is_all: bool) -> Option<Instant> {
        self.ages.take_if(|_| is_all && self.bytes == 0);
        let ages = self.ages.as_mut()?;
        ages.next_check = ages.next_expiry();
        ages.next_check
    }

    /// Returns the time of the scheduled check.
    pub fn scheduled_check(&self) -> Option<Instant> {
        self.ages.as_ref()?.next_check
    }
}
