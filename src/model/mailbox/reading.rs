//! What the recipient takes from its mailbox, lanes in turn, and says to have received.

use super::{Freed, InvalidAck, Mailbox};
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::model::lane::{Lane, Received, Window};
use crate::model::queue::{ChunkPosition, Message};

/// Bytes that a lane gives in one turn before the next lane's turn comes.
pub(super) const TURN_BYTES: usize = 16 * 1024;

impl Mailbox {
    /// Hands unread messages, lanes in turn and each within `window`, to `take`, until it returns false. They are kept
    /// until they are received.
    pub fn read(
        &mut self,
        window: Window,
        mut take: impl FnMut(ClientId, ChunkPosition, Message<'_>) -> bool,
    ) {
        self.take_turns(window, |sender, lane| {
            let (mut turn, mut wanted) = (0, true);
            while wanted && turn < TURN_BYTES {
                let Some((place, message)) = lane.read(window) else { break };
                turn += message.json.len();
                wanted = take(sender, place, message);
            }
            wanted
        });
    }

    /// Hands unread messages, lanes in turn, to `take`, until it returns false. They are forgotten here.
    pub fn take(&mut self, mut take: impl FnMut(ClientId, Message<'_>) -> bool) -> Freed {
        let mut freed = Freed::default();
        self.take_turns(Window::UNLIMITED, |sender, lane| {
            let (mut received, mut wanted) = (Received::default(), true);
            while wanted && received.bytes < TURN_BYTES {
                let Some(message) = lane.first() else { break };
                wanted = take(sender, message);
                lane.drop_first(&mut received);
            }
            lane.shrink();
            freed.messages += received.messages;
            freed.bytes += received.cost();
            if std::mem::take(&mut lane.sender_is_held) {
                freed.held_senders.push(sender);
            }
            wanted
        });
        self.bytes -= freed.bytes;
        freed
    }

    /// Lets one lane after the other `read`, until that returns false.
    fn take_turns(&mut self, window: Window, mut read: impl FnMut(ClientId, &mut Lane) -> bool) {
        let mut wanted = true;
        while wanted && let Some(sender) = self.ready_lanes.pop_front() {
            // Not by `lane`, which would borrow all of the mailbox.
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            wanted = read(sender, lane);
            lane.is_ready = lane.is_readable(window);
            if lane.is_ready {
                self.ready_lanes.push_back(sender);
            }
        }
        self.shrink_ready_lanes();
    }

    /// The session that gave `sender`'s message its number, if it has one and that session sent last.
    pub fn receipt(&self, sender: ClientId, offset: Offset, seq: Seq) -> Option<(SessionId, Seq)> {
        self.lanes.get(&sender)?.receipt(offset, seq)
    }

    /// The JSON string of the message of `sender` at this place.
    pub fn json(&self, sender: ClientId, place: ChunkPosition) -> &[u8] {
        self.lanes.get(&sender).map_or(&[], |lane| lane.json(place))
    }

    /// Forgets the messages of `sender` up to `upto`.
    ///
    /// # Errors
    /// [`InvalidAck`], and nothing has changed, when the recipient was not given it or has acknowledged later ones.
    pub fn received(&mut self, sender: ClientId, upto: Offset, window: Window) -> Result<Freed, InvalidAck> {
        let lane = self.lane(sender).ok_or(InvalidAck)?;
        let received = lane.received(upto).ok_or(InvalidAck)?;
        let is_freed = received.messages > 0 && std::mem::take(&mut lane.sender_is_held);
        let is_next = !lane.is_ready && lane.is_readable(window);
        lane.is_ready |= is_next;
        self.ready_lanes.extend(is_next.then_some(sender));
        let freed = Freed {
            messages: received.messages,
            bytes: received.cost(),
            held_senders: is_freed.then_some(sender).into_iter().collect(),
            delivered: received.last.map(|(session, seq)| (sender, session, seq)).into_iter().collect(),
        };
        self.bytes -= freed.bytes;
        Ok(freed)
    }

    /// Makes unread what was read and not received: the connection that read it is gone.
    pub fn rewind(&mut self) {
        let Self { lanes, ready_lanes, ages, .. } = self;
        ages.iter_mut().for_each(|ages| ages.came_back());
        for (sender, lane) in lanes {
            lane.rewind();
            if !lane.is_ready && lane.is_readable(Window::UNLIMITED) {
                lane.is_ready = true;
                ready_lanes.push_back(*sender);
            }
        }
    }

    /// Another session reads from now on.
    pub fn begin_session(&mut self) {
        self.lanes().for_each(|(_, lane)| lane.begin_session());
    }
}
