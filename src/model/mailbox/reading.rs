//! Reading the messages in a mailbox, lane by lane, and acknowledging them.

use super::{Freed, InvalidAck, Mailbox};
use crate::ids::{ClientId, Offset};
use crate::model::lane::{Lane, Removed, Window};
use crate::model::queue::{ChunkPosition, Message};

/// Bytes that are read from a lane before the next one is read.
pub(super) const BYTES_PER_LANE: usize = 16 * 1024;

impl Mailbox {
    /// Passes unread messages, lane by lane and each within `window`, to `take`, until it returns false; each with whether the
    /// connection has yet to be told its session. They stay in their lanes until they are received.
    pub fn read(
        &mut self,
        window: Window,
        mut take: impl FnMut(ClientId, ChunkPosition, Message<'_>, bool) -> bool,
    ) {
        self.for_each_ready_lane(window, |sender, lane| {
            let (mut bytes, mut wants_more) = (0, true);
            while wants_more && bytes < BYTES_PER_LANE {
                let Some((position, message, is_new)) = lane.read(window) else { break };
                bytes += message.json.len();
                wants_more = take(sender, position, message, is_new);
            }
            wants_more
        });
    }

    /// Removes unread messages, lane by lane, and passes them to `take`, until it returns false.
    pub fn take(&mut self, mut take: impl FnMut(ClientId, Message<'_>) -> bool) -> Freed {
        let mut freed = Freed::default();
        self.for_each_ready_lane(Window::UNLIMITED, |sender, lane| {
            let (mut removed, mut wants_more) = (Removed::default(), true);
            while wants_more && removed.bytes < BYTES_PER_LANE {
                let Some(message) = lane.first() else { break };
                wants_more = take(sender, message);
                lane.drop_first(&mut removed);
            }
            lane.shrink();
            freed.messages += removed.messages;
            freed.bytes += removed.cost();
            if std::mem::take(&mut lane.sender_is_held) {
                freed.held_senders.push(sender);
            }
            wants_more
        });
        self.bytes -= freed.bytes;
        freed
    }

    /// Calls `read` with one ready lane after the other, until it returns false. A lane with more to read goes to the end.
    fn for_each_ready_lane(&mut self, window: Window, mut read: impl FnMut(ClientId, &mut Lane) -> bool) {
        let mut wants_more = true;
        while wants_more && let Some(sender) = self.ready_lanes.pop_front() {
            // `self.lane` would borrow the whole mailbox.
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            wants_more = read(sender, lane);
            lane.is_ready = lane.is_readable(window);
            if lane.is_ready {
                self.ready_lanes.push_back(sender);
            }
        }
        self.shrink_ready_lanes();
    }

    /// Returns the JSON string of the message of `sender` at this position.
    pub fn json(&self, sender: ClientId, position: ChunkPosition) -> &[u8] {
        self.lanes.get(&sender).map_or(&[], |lane| lane.json(position))
    }

    /// Removes the messages of `sender` up to `upto`, which the recipient has received.
    ///
    /// # Errors
    /// [`InvalidAck`], and nothing has changed, if the recipient's session was not sent that message or has acknowledged
    /// later ones.
    pub fn received(&mut self, sender: ClientId, upto: Offset, window: Window) -> Result<Freed, InvalidAck> {
        let lane = self.lane(sender).ok_or(InvalidAck)?;
        let removed = lane.received(upto).ok_or(InvalidAck)?;
        let is_released = removed.messages > 0 && std::mem::take(&mut lane.sender_is_held);
        let becomes_ready = !lane.is_ready && lane.is_readable(window);
        lane.is_ready |= becomes_ready;
        self.ready_lanes.extend(becomes_ready.then_some(sender));
        let mut freed = Freed {
            messages: removed.messages,
            bytes: removed.cost(),
            held_senders: is_released.then_some(sender).into_iter().collect(),
            delivered: removed.last.map(|(session, seq)| (sender, session, seq)).into_iter().collect(),
            skipped: removed.never_taken,
            store: None,
        };
        freed.remove_stored(sender, &removed);
        self.bytes -= freed.bytes;
        Ok(freed)
    }

    /// Makes the messages in flight unread, because the connection that read them has ended.
    pub fn rewind(&mut self) {
        let Self { lanes, ready_lanes, ages, .. } = self;
        ages.iter_mut().for_each(|ages| ages.record_return());
        for (sender, lane) in lanes {
            lane.rewind();
            if !lane.is_ready && lane.is_readable(Window::UNLIMITED) {
                lane.is_ready = true;
                ready_lanes.push_back(*sender);
            }
        }
    }

    /// Begins another session of the recipient, which cannot acknowledge messages that only the one before it was sent.
    pub fn begin_session(&mut self) {
        self.lanes().for_each(|(_, lane)| lane.begin_session());
    }
}
