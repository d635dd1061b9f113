//! What waits for one recipient: who may send to it, and a lane per sender, in turn.

use std::collections::{HashMap, HashSet, VecDeque};

use super::lane::Lane;
use crate::ids::ClientId;
use crate::limits::Limits;

/// Bytes that a lane gives in one turn before the next lane's turn comes.
const TURN_BYTES: usize = 16 * 1024;

/// One recipient's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    channels: HashSet<ClientId>,
    lanes: HashMap<ClientId, Lane>,
    /// The lanes with something unread, each once.
    turns: VecDeque<ClientId>,
    /// The lanes of which something was read and not received.
    in_flight: Vec<ClientId>,
    /// Bytes of all messages, overhead included.
    bytes: usize,
}

/// The message was not taken: its lane, or the mailbox, is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What became free when messages were received.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes, overhead included.
    pub bytes: usize,
    /// Senders that were held back and may try again.
    pub waiting: Vec<ClientId>,
}

impl Mailbox {
    /// What a message counts against the mailbox's and the total bound.
    pub fn cost(message: &str) -> usize {
        message.len() + Limits::MESSAGE_OVERHEAD
    }

    /// Lets `sender` send; false when it could already.
    pub fn authorize(&mut self, sender: ClientId) -> bool {
        self.channels.insert(sender)
    }

    /// Whether a channel from `sender` was registered.
    pub fn is_authorized(&self, sender: ClientId) -> bool {
        self.channels.contains(&sender)
    }

    /// Adds a message to its sender's lane.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn append(&mut self, sender: ClientId, message: &str, limits: &Limits) -> Result<(), Full> {
        let lane = self.lanes.entry(sender).or_default();
        let cost = Self::cost(message);
        let fits = self.bytes == 0 || self.bytes + cost <= limits.max_mailbox_bytes;
        if !fits || !lane.has_room(message.len(), limits.max_queued_messages, limits.max_queued_bytes) {
            return Err(Full);
        }
        lane.append(message);
        self.bytes += cost;
        if !lane.in_turn {
            lane.in_turn = true;
            self.turns.push_back(sender);
        }
        Ok(())
    }

    /// Remembers that `sender` waits for room, to be named when there is some.
    pub fn hold(&mut self, sender: ClientId) {
        self.lanes.entry(sender).or_default().sender_waits = true;
    }

    /// Hands unread messages, lanes in turn, to `take`, until it returns false. True when something is still
    /// unread.
    pub fn read(&mut self, mut take: impl FnMut(ClientId, &str) -> bool) -> bool {
        let mut wanted = true;
        while wanted && let Some(sender) = self.turns.pop_front() {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            self.in_flight.push(sender);
            let mut turn = 0;
            while wanted && turn < TURN_BYTES {
                let Some(message) = lane.read() else { break };
                turn += message.len();
                wanted = take(sender, message);
            }
            lane.in_turn = lane.has_unread();
            if lane.in_turn {
                self.turns.push_back(sender);
            }
        }
        !self.turns.is_empty()
    }

    /// Forgets every message that was read: the recipient has it.
    pub fn received(&mut self) -> Freed {
        let mut freed = Freed::default();
        for sender in self.in_flight.drain(..) {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            let (messages, bytes) = lane.received();
            freed.bytes += bytes + messages * Limits::MESSAGE_OVERHEAD;
            if std::mem::take(&mut lane.sender_waits) {
                freed.waiting.push(sender);
            }
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// Makes unread what was read and not received: the connection that read it is gone.
    pub fn rewind(&mut self) {
        for sender in self.in_flight.drain(..) {
            let Some(lane) = self.lanes.get_mut(&sender) else { continue };
            lane.rewind();
            if lane.has_unread() && !lane.in_turn {
                lane.in_turn = true;
                self.turns.push_back(sender);
            }
        }
    }

    /// The senders that are held back, who from now on are not.
    pub fn release_waiting(&mut self) -> Vec<ClientId> {
        let released = |(sender, lane): (&ClientId, &mut Lane)| {
            std::mem::take(&mut lane.sender_waits).then_some(*sender)
        };
        self.lanes.iter_mut().filter_map(released).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    fn read(mailbox: &mut Mailbox, count: usize) -> Vec<(u64, String)> {
        let mut taken = Vec::new();
        if count > 0 {
            mailbox.read(|sender, message| {
                taken.push((sender.get(), message.to_owned()));
                taken.len() < count
            });
        }
        taken
    }

    #[test]
    fn keeps_each_senders_order_and_gives_lanes_their_turns() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        let big = "x".repeat(TURN_BYTES);
        for (sender, message) in [(1, &*big), (1, "b"), (1, "c"), (2, "d"), (2, "e")] {
            mailbox.append(id(sender), message, &limits).expect("room");
        }
        let order: Vec<_> =
            read(&mut mailbox, 9).iter().map(|(sender, text)| (*sender, text.len())).collect();
        assert_eq!(order, [(1, TURN_BYTES), (2, 1), (2, 1), (1, 1), (1, 1)]);
    }

    #[test]
    fn what_was_read_and_not_received_comes_again() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        for message in ["a", "b", "c"] {
            mailbox.append(id(1), message, &limits).expect("room");
        }
        assert_eq!(read(&mut mailbox, 1).len(), 1);
        assert_eq!(mailbox.received().bytes, Mailbox::cost("a"));
        assert_eq!(read(&mut mailbox, 9).len(), 2);
        mailbox.append(id(1), "d", &limits).expect("room");
        mailbox.rewind();
        let again: String = read(&mut mailbox, 9).into_iter().map(|(_, text)| text).collect();
        assert_eq!(again, "bcd");
        mailbox.received();
        assert_eq!((mailbox.bytes, mailbox.turns.len(), mailbox.in_flight.len()), (0, 0, 0));
    }

    #[test]
    fn a_full_lane_refuses_its_own_sender_only_and_names_it_when_there_is_room() {
        let limits = Limits { max_queued_messages: 2, ..Limits::default() };
        let mut mailbox = Mailbox::default();
        mailbox.append(id(1), "a", &limits).expect("room");
        mailbox.append(id(1), "b", &limits).expect("room");
        assert_eq!(mailbox.append(id(1), "c", &limits), Err(Full));
        mailbox.hold(id(1));
        mailbox.append(id(2), "d", &limits).expect("another lane has room");
        assert_eq!(read(&mut mailbox, 9).len(), 3);
        assert_eq!(mailbox.received().waiting, [id(1)]);
        mailbox.append(id(1), "c", &limits).expect("room again");
    }

    #[test]
    fn bytes_are_bounded_but_nothing_is_too_big_for_an_empty_mailbox() {
        let limits = Limits { max_queued_bytes: 10, max_mailbox_bytes: 190, ..Limits::default() };
        let mut mailbox = Mailbox::default();
        mailbox.append(id(1), &"x".repeat(1000), &limits).expect("an empty mailbox takes it");
        assert_eq!(mailbox.append(id(2), "", &limits), Err(Full));
        read(&mut mailbox, 9);
        mailbox.received();
        mailbox.append(id(1), "123456", &limits).expect("room");
        assert_eq!(mailbox.append(id(1), "12345", &limits), Err(Full), "the lane's bytes");
        mailbox.append(id(2), "", &limits).expect("room");
        assert_eq!(mailbox.append(id(3), "", &limits), Err(Full), "the mailbox's bytes");
    }
}
