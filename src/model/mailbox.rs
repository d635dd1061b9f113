//! What waits for one recipient: who may send to it, and a lane per sender, in turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::ages::Ages;
use super::lane::{Lane, Received, Window};
use super::queue::{Message, Place};
use crate::ids::{ClientId, Offset, Seq, SessionId};
use crate::limits::Limits;

/// Bytes that a lane gives in one turn before the next lane's turn comes.
const TURN_BYTES: usize = 16 * 1024;

/// One recipient's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Those who may send, or have sent.
    senders: FxHashMap<ClientId, Sender>,
    /// The lanes with something that may be read, each once.
    turns: VecDeque<ClientId>,
    /// The place of the message that came last.
    last: Offset,
    /// Bytes of all messages, overhead included.
    bytes: usize,
    /// How long they have waited, where that is bounded.
    ages: Option<Box<Ages>>,
}

#[derive(Debug, Default)]
struct Sender {
    /// Whether a channel is registered.
    is_authorized: bool,
    /// Boxed, for the table has room for more than it holds, and made when there is something to keep in it.
    lane: Option<Box<Lane>>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It waits in its lane.
    New,
    /// It was there before; so was everything up to this number.
    Duplicate(Seq),
    /// Its lane, the mailbox or the relay is full: nothing has changed.
    Full,
}

/// What waits in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many messages.
    pub messages: usize,
    /// Their bytes, overhead included.
    pub bytes: usize,
}

/// What became free when messages were received or dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many messages.
    pub messages: usize,
    /// Bytes, overhead included.
    pub bytes: usize,
    /// Plain senders that were held back and may try again.
    pub waiting: Vec<ClientId>,
    /// Senders whose numbered messages were received: up to which, of which session.
    pub delivered: Vec<(ClientId, SessionId, Seq)>,
}

/// Messages of one sender that have waited for too long and are dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Expired {
    /// Whose.
    pub sender: ClientId,
    /// How many.
    pub messages: usize,
    /// Those with a number of the session that sent last: from which to which.
    pub numbers: Vec<(SessionId, Seq, Seq)>,
}

/// The recipient acknowledged what it was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

impl Freed {
    /// Empties a lane.
    fn dropped(sender: ClientId, lane: &mut Lane) -> Self {
        let is_waiting = std::mem::take(&mut lane.sender_waits);
        let dropped = lane.clear();
        Self {
            messages: dropped.messages,
            bytes: dropped.cost(),
            waiting: is_waiting.then_some(sender).into_iter().collect(),
            delivered: Vec::new(),
        }
    }
}

impl Mailbox {
    /// What a message counts against the mailbox's and the total bound, when it is added to this lane.
    fn cost(json: &[u8], lane: Option<&Lane>) -> usize {
        let is_first = lane.is_none_or(Lane::is_empty);
        json.len() + Limits::MESSAGE_OVERHEAD + if is_first { Limits::LANE_OVERHEAD } else { 0 }
    }

    /// Lets `sender` send; false when it could already.
    pub fn authorize(&mut self, sender: ClientId) -> bool {
        !std::mem::replace(&mut self.senders.entry(sender).or_default().is_authorized, true)
    }

    /// Whether a channel from `sender` was registered.
    pub fn is_authorized(&self, sender: ClientId) -> bool {
        self.senders.get(&sender).is_some_and(|sender| sender.is_authorized)
    }

    /// Takes the channel from `sender` and drops what it has waiting here. What its lane knows of the past stays, so that
    /// nothing is taken or told twice when the channel is registered again.
    pub fn revoke(&mut self, sender: ClientId) -> Freed {
        let Some(found) = self.senders.get_mut(&sender) else { return Freed::default() };
        found.is_authorized = false;
        let freed =
            found.lane.as_deref_mut().map_or_else(Freed::default, |lane| Freed::dropped(sender, lane));
        if found.lane.as_ref().is_none_or(|lane| lane.is_blank()) {
            self.senders.remove(&sender);
        }
        self.left(sender, freed)
    }

    /// Forgets `sender`, who will not come back, and drops what it has waiting here.
    pub fn forget(&mut self, sender: ClientId) -> Freed {
        let lane = self.senders.remove(&sender).and_then(|sender| sender.lane);
        let freed = lane.map_or_else(Freed::default, |mut lane| Freed::dropped(sender, &mut lane));
        if self.senders.len() < self.senders.capacity() / 8 {
            self.senders.shrink_to(self.senders.len() * 2);
        }
        self.left(sender, freed)
    }

    /// `sender` has nothing here any more; `freed` is what it had.
    fn left(&mut self, sender: ClientId, freed: Freed) -> Freed {
        if freed.messages > 0 {
            // What has no unread message has no turn.
            self.turns.retain(|turn| *turn != sender);
            if let Some(lane) = self.lane(sender) {
                lane.in_turn = false;
            }
        }
        self.bytes -= freed.bytes;
        freed
    }

    /// All who have a channel or a lane here.
    pub fn senders(&self) -> impl Iterator<Item = ClientId> {
        self.senders.keys().copied()
    }

    /// What waits here.
    pub fn contents(&self) -> Contents {
        let lanes = self.senders.values().filter_map(|sender| sender.lane.as_deref());
        Contents { messages: lanes.map(Lane::count).sum(), bytes: self.bytes }
    }

    /// Those who may send.
    pub fn channels(&self) -> impl Iterator<Item = ClientId> {
        self.senders.iter().filter(|(_, sender)| sender.is_authorized).map(|(id, _)| *id)
    }

    fn lane(&mut self, sender: ClientId) -> Option<&mut Lane> {
        self.senders.get_mut(&sender)?.lane.as_deref_mut()
    }

    fn lanes(&mut self) -> impl Iterator<Item = (ClientId, &mut Lane)> {
        self.senders.iter_mut().filter_map(|(id, sender)| Some((*id, sender.lane.as_deref_mut()?)))
    }

    /// The last number that was accepted from this session of `sender`, if `seq` is not above it.
    pub fn duplicate(&self, sender: ClientId, session: SessionId, seq: Seq) -> Option<Seq> {
        self.senders.get(&sender)?.lane.as_ref()?.duplicate(session, seq)
    }

    /// Adds a message to its sender's lane, unless it is a duplicate. It is taken only if `reserve` has so many bytes of
    /// the total bound for it.
    pub fn append(
        &mut self,
        sender: ClientId,
        number: Option<(SessionId, Seq)>,
        json: &[u8],
        limits: &Limits,
        reserve: impl FnOnce(usize) -> bool,
    ) -> Appended {
        let place = &mut self.senders.entry(sender).or_default().lane;
        let duplicate = |lane: &Lane| number.and_then(|(session, seq)| lane.duplicate(session, seq));
        if let Some(last) = place.as_deref().and_then(duplicate) {
            return Appended::Duplicate(last);
        }
        let has_room = place.as_deref().is_none_or(|lane| {
            lane.has_room(json.len(), limits.max_queued_messages, limits.max_queued_bytes)
        });
        let cost = Self::cost(json, place.as_deref());
        let fits = self.bytes == 0 || self.bytes + cost <= limits.max_mailbox_bytes;
        if !has_room || !fits || !reserve(cost) {
            return Appended::Full;
        }
        // Not before: what is refused is to leave nothing behind.
        let lane = place.get_or_insert_with(Lane::boxed);
        self.last = Offset(self.last.0 + 1);
        lane.append(self.last, number, json);
        self.bytes += cost;
        if !lane.in_turn {
            lane.in_turn = true;
            if self.turns.capacity() == 0 {
                // Most have one sender at a time.
                self.turns.reserve_exact(1);
            }
            self.turns.push_back(sender);
        }
        Appended::New
    }

    /// The place of the message that came last.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// Whether something may be read.
    pub fn has_unread(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether something waits for the recipient, be it for an acknowledgement of what is on its way, or for room.
    pub fn has_waiting(&mut self) -> bool {
        self.lanes().any(|(_, lane)| lane.sender_waits || lane.is_readable(Window::UNLIMITED))
    }

    /// The place of a message that passes by, because nothing waits before it and nobody will ask for it again.
    pub fn pass(&mut self) -> Offset {
        self.last = Offset(self.last.0 + 1);
        self.last
    }

    /// Puts a message back before the others of its sender; nothing of them has been read. Returns what it counts; `None`
    /// when the sender's channel is registered no more: then it is dropped, as those that waited were.
    pub fn put_back(&mut self, sender: ClientId, message: Message<'_>) -> Option<usize> {
        let found = self.senders.get_mut(&sender).filter(|sender| sender.is_authorized)?;
        let cost = Self::cost(message.json, found.lane.as_deref());
        let lane = found.lane.get_or_insert_with(Lane::boxed);
        lane.put_back(message);
        self.bytes += cost;
        self.ages.iter_mut().for_each(|ages| ages.came_back());
        if !lane.in_turn {
            lane.in_turn = true;
            self.turns.push_back(sender);
        }
        Some(cost)
    }

    /// The session that gave `sender`'s message its number, if it has one and that session sent last.
    pub fn receipt(&self, sender: ClientId, offset: Offset, seq: Seq) -> Option<(SessionId, Seq)> {
        self.senders.get(&sender)?.lane.as_ref()?.receipt(offset, seq)
    }

    /// Remembers that the plain `sender` waits for room, to be named when there is some.
    pub fn hold(&mut self, sender: ClientId) {
        self.senders.entry(sender).or_default().lane.get_or_insert_with(Lane::boxed).sender_waits = true;
    }

    /// Hands unread messages, lanes in turn and each within `window`, to `take`, until it returns false. They are kept
    /// until they are received.
    pub fn read(&mut self, window: Window, mut take: impl FnMut(ClientId, Place, Message<'_>) -> bool) {
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
            freed.messages += received.messages;
            freed.bytes += received.cost();
            if std::mem::take(&mut lane.sender_waits) {
                freed.waiting.push(sender);
            }
            wanted
        });
        self.bytes -= freed.bytes;
        freed
    }

    /// Lets one lane after the other `read`, until that returns false.
    fn take_turns(&mut self, window: Window, mut read: impl FnMut(ClientId, &mut Lane) -> bool) {
        let mut wanted = true;
        while wanted && let Some(sender) = self.turns.pop_front() {
            // Not by `lane`, which would borrow all of the mailbox.
            let lane = self.senders.get_mut(&sender).and_then(|sender| sender.lane.as_mut());
            let Some(lane) = lane else { continue };
            wanted = read(sender, lane);
            lane.in_turn = lane.is_readable(window);
            if lane.in_turn {
                self.turns.push_back(sender);
            }
        }
        if self.turns.is_empty() {
            // An idle mailbox keeps no room for them.
            self.turns = VecDeque::new();
        }
    }

    /// The message that came last came at `now`, and may wait for `ttl`. Returns when to look for what has waited for too
    /// long, unless somebody is going to look already.
    pub fn arrived(&mut self, now: Instant, ttl: Duration) -> Option<Instant> {
        let ages = self.ages.get_or_insert_default();
        ages.arrived(self.last, now, ttl);
        if ages.visit.is_some() {
            return None;
        }
        ages.visit = ages.next();
        ages.visit
    }

    /// Drops what has waited for too long by `now` and is not on its way.
    pub fn expire(&mut self, now: Instant) -> (Freed, Vec<Expired>) {
        let (mut freed, mut expired) = (Freed::default(), Vec::new());
        let over = self.ages.as_mut().and_then(|ages| ages.over(now));
        for (sender, lane) in self.lanes().filter(|_| over.is_some()) {
            let (dropped, numbers) = lane.expire(over.unwrap_or_default());
            if dropped.messages == 0 {
                continue;
            }
            lane.in_turn &= lane.is_readable(Window::UNLIMITED);
            freed.messages += dropped.messages;
            freed.bytes += dropped.cost();
            freed.waiting.extend(std::mem::take(&mut lane.sender_waits).then_some(sender));
            expired.push(Expired { sender, messages: dropped.messages, numbers });
        }
        self.bytes -= freed.bytes;
        if freed.messages > 0 {
            let Self { senders, turns, .. } = self;
            turns.retain(|turn| {
                senders.get(turn).and_then(|sender| sender.lane.as_ref()).is_some_and(|lane| lane.in_turn)
            });
        }
        (freed, expired)
    }

    /// When to look again for what has waited for too long. When nothing waits here, and with `is_all` nothing on its way may
    /// come back, nobody has to.
    pub fn next_visit(&mut self, is_all: bool) -> Option<Instant> {
        self.ages.take_if(|_| is_all && self.bytes == 0);
        let ages = self.ages.as_mut()?;
        ages.visit = ages.next();
        ages.visit
    }

    /// When somebody is going to look.
    pub fn visit(&self) -> Option<Instant> {
        self.ages.as_ref()?.visit
    }

    /// The JSON string of the message of `sender` at this place.
    pub fn json(&self, sender: ClientId, place: Place) -> &[u8] {
        let lane = self.senders.get(&sender).and_then(|sender| sender.lane.as_ref());
        lane.map_or(&[], |lane| lane.json(place))
    }

    /// Forgets the messages of `sender` up to `upto`.
    ///
    /// # Errors
    /// [`Forged`], and nothing has changed, when the recipient was not given it or has acknowledged later ones.
    pub fn received(&mut self, sender: ClientId, upto: Offset, window: Window) -> Result<Freed, Forged> {
        let lane = self.lane(sender).ok_or(Forged)?;
        let received = lane.received(upto).ok_or(Forged)?;
        let is_freed = received.messages > 0 && std::mem::take(&mut lane.sender_waits);
        let is_next = !lane.in_turn && lane.is_readable(window);
        lane.in_turn |= is_next;
        self.turns.extend(is_next.then_some(sender));
        let freed = Freed {
            messages: received.messages,
            bytes: received.cost(),
            waiting: is_freed.then_some(sender).into_iter().collect(),
            delivered: received.last.map(|(session, seq)| (sender, session, seq)).into_iter().collect(),
        };
        self.bytes -= freed.bytes;
        Ok(freed)
    }

    /// Makes unread what was read and not received: the connection that read it is gone.
    pub fn rewind(&mut self) {
        let Self { senders, turns, ages, .. } = self;
        ages.iter_mut().for_each(|ages| ages.came_back());
        for (sender, lane) in senders.iter_mut().filter_map(|(id, sender)| Some((*id, sender.lane.as_mut()?)))
        {
            lane.rewind();
            if !lane.in_turn && lane.is_readable(Window::UNLIMITED) {
                lane.in_turn = true;
                turns.push_back(sender);
            }
        }
    }

    /// Another session reads from now on.
    pub fn forget_given(&mut self) {
        self.lanes().for_each(|(_, lane)| lane.forget_given());
    }

    /// The plain senders that are held back, who from now on are not.
    pub fn release_waiting(&mut self) -> Vec<ClientId> {
        let waiting =
            self.lanes().filter_map(|(id, lane)| std::mem::take(&mut lane.sender_waits).then_some(id));
        waiting.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ClientId {
        ClientId::new(number).expect("an id")
    }

    fn session(number: u64) -> SessionId {
        SessionId::parse(&format!("{number:016x}")).expect("16 digits")
    }

    /// Appends as a plain sender.
    fn append(mailbox: &mut Mailbox, sender: u64, message: &str, limits: &Limits) -> Appended {
        mailbox.append(id(sender), None, message.as_bytes(), limits, |_| true)
    }

    /// What a message of one byte counts behind another.
    const ONE: usize = 1 + Limits::MESSAGE_OVERHEAD;

    fn read_within(mailbox: &mut Mailbox, window: Window, count: usize) -> Vec<(u64, String)> {
        let mut taken = Vec::new();
        if count > 0 {
            mailbox.read(window, |sender, _, message| {
                let text = std::str::from_utf8(message.json).expect("text");
                taken.push((sender.get(), text.to_owned()));
                taken.len() < count
            });
        }
        taken
    }

    fn read(mailbox: &mut Mailbox, count: usize) -> Vec<(u64, String)> {
        read_within(mailbox, Window::UNLIMITED, count)
    }

    fn take(mailbox: &mut Mailbox) -> Freed {
        mailbox.take(|_, _| true)
    }

    #[test]
    fn keeps_each_senders_order_and_gives_lanes_their_turns() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        let big = "x".repeat(TURN_BYTES);
        for (sender, message) in [(1, &*big), (1, "b"), (1, "c"), (2, "d"), (2, "e")] {
            assert_eq!(append(&mut mailbox, sender, message, &limits), Appended::New);
        }
        let order: Vec<_> =
            read(&mut mailbox, 9).iter().map(|(sender, text)| (*sender, text.len())).collect();
        assert_eq!(order, [(1, TURN_BYTES), (2, 1), (2, 1), (1, 1), (1, 1)]);
    }

    #[test]
    fn what_was_read_and_not_received_comes_again() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        for message in ["a", "b", "c"] {
            append(&mut mailbox, 1, message, &limits);
        }
        assert_eq!(read(&mut mailbox, 1).len(), 1);
        assert_eq!(mailbox.received(id(1), Offset(1), Window::UNLIMITED).map(|freed| freed.bytes), Ok(ONE));
        assert_eq!(read(&mut mailbox, 9).len(), 2);
        append(&mut mailbox, 1, "d", &limits);
        mailbox.rewind();
        let again: String = read(&mut mailbox, 9).into_iter().map(|(_, text)| text).collect();
        assert_eq!(again, "bcd");
        mailbox.rewind();
        assert_eq!(take(&mut mailbox).bytes, 3 * ONE + Limits::LANE_OVERHEAD);
        assert_eq!((mailbox.bytes, mailbox.turns.len()), (0, 0));
    }

    #[test]
    fn a_full_lane_refuses_its_own_sender_only_and_names_it_when_there_is_room() {
        let limits = Limits { max_queued_messages: 2, ..Limits::default() };
        let mut mailbox = Mailbox::default();
        append(&mut mailbox, 1, "a", &limits);
        append(&mut mailbox, 1, "b", &limits);
        assert_eq!(append(&mut mailbox, 1, "c", &limits), Appended::Full);
        mailbox.hold(id(1));
        assert_eq!(append(&mut mailbox, 2, "d", &limits), Appended::New, "another lane has room");
        assert_eq!(take(&mut mailbox).waiting, [id(1)]);
        assert_eq!(append(&mut mailbox, 1, "c", &limits), Appended::New, "room again");
    }

    #[test]
    fn bytes_are_bounded_but_nothing_is_too_big_for_an_empty_mailbox() {
        let limits = Limits {
            max_queued_bytes: 10,
            max_mailbox_bytes: 2 * Limits::LANE_OVERHEAD + 190,
            ..Limits::default()
        };
        let mut mailbox = Mailbox::default();
        assert_eq!(append(&mut mailbox, 1, &"x".repeat(1000), &limits), Appended::New);
        assert_eq!(append(&mut mailbox, 2, "", &limits), Appended::Full);
        take(&mut mailbox);
        assert_eq!(append(&mut mailbox, 1, "123456", &limits), Appended::New);
        assert_eq!(append(&mut mailbox, 1, "12345", &limits), Appended::Full, "the lane's bytes");
        assert_eq!(append(&mut mailbox, 2, "", &limits), Appended::New);
        assert_eq!(append(&mut mailbox, 3, "", &limits), Appended::Full, "the mailbox's bytes");
    }

    #[test]
    fn a_lane_counts_while_it_has_messages_and_what_is_refused_makes_none() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        let mut reserved = Vec::new();
        for (sender, has_room) in [(1, true), (1, true), (2, false), (3, true)] {
            let appended = mailbox.append(id(sender), None, b"x", &limits, |bytes| {
                reserved.push(bytes);
                has_room
            });
            assert_eq!(appended, if has_room { Appended::New } else { Appended::Full });
        }
        let first = ONE + Limits::LANE_OVERHEAD;
        assert_eq!(reserved, [first, ONE, first, first]);
        assert_eq!(mailbox.bytes, 2 * first + ONE);
        assert!(mailbox.lane(id(2)).is_none());
        assert_eq!(take(&mut mailbox).bytes, 2 * first + ONE);
        mailbox.authorize(id(1));
        let message = Message { offset: Offset(1), seq: Seq::default(), json: b"x" };
        assert_eq!(mailbox.put_back(id(1), message), Some(first));
        assert_eq!(mailbox.revoke(id(1)).bytes, first);
    }

    #[test]
    fn a_window_keeps_the_rest_back_until_something_is_received() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        let window = Window { messages: 3, bytes: 10 };
        for message in ["a", "b", "c", "d", "a long message", "e"] {
            append(&mut mailbox, 1, message, &limits);
        }
        append(&mut mailbox, 2, "of another lane", &limits);
        assert_eq!(read_within(&mut mailbox, window, 9).len(), 4);
        assert_eq!(read_within(&mut mailbox, window, 9), []);
        mailbox.received(id(1), Offset(2), window).expect("given");
        assert_eq!(read_within(&mut mailbox, window, 9), [(1, "d".to_owned())]);
        mailbox.received(id(1), Offset(4), window).expect("given");
        assert_eq!(read_within(&mut mailbox, window, 9), [(1, "a long message".to_owned())]);
        mailbox.received(id(1), Offset(5), window).expect("given");
        assert_eq!(read_within(&mut mailbox, window, 9), [(1, "e".to_owned())]);
    }

    #[test]
    fn a_forged_acknowledgement_frees_nothing() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        for message in ["a", "b", "c"] {
            append(&mut mailbox, 1, message, &limits);
        }
        read(&mut mailbox, 2);
        let mut received = |sender, offset| {
            mailbox.received(id(sender), Offset(offset), Window::UNLIMITED).map(|freed| freed.bytes)
        };
        assert_eq!(received(1, 3), Err(Forged), "not given yet");
        assert_eq!(received(2, 1), Err(Forged), "no such lane");
        assert_eq!(received(1, 2), Ok(2 * ONE));
        assert_eq!(received(1, 2), Ok(0), "once more");
        assert_eq!(received(1, 1), Err(Forged), "long before");
        // What an older session was given, the next was not; what it was given itself it was, on whatever connection.
        read(&mut mailbox, 1);
        mailbox.rewind();
        assert!(mailbox.received(id(1), Offset(3), Window::UNLIMITED).is_ok());
        append(&mut mailbox, 1, "d", &limits);
        read(&mut mailbox, 1);
        mailbox.rewind();
        mailbox.forget_given();
        assert_eq!(mailbox.received(id(1), Offset(4), Window::UNLIMITED), Err(Forged));
    }

    #[test]
    fn what_comes_back_when_its_time_is_over_is_dropped() {
        let (mut mailbox, limits, start) = (Mailbox::default(), Limits::default(), Instant::now());
        let (second, mut taken) = (Duration::from_secs(1), Vec::new());
        mailbox.authorize(id(1));
        append(&mut mailbox, 1, "a", &limits);
        assert!(mailbox.arrived(start, second).is_some_and(|visit| visit > start + second));
        append(&mut mailbox, 1, "b", &limits);
        assert_eq!(mailbox.arrived(start + second / 2, second), None, "somebody will look already");
        mailbox.take(|_, message| {
            taken.push((message.offset, message.seq, message.json.to_vec()));
            true
        });
        assert_eq!(mailbox.expire(start + second * 5 / 4), (Freed::default(), vec![]));
        assert!(mailbox.next_visit(false).is_some(), "they may come back");
        mailbox.hold(id(1));
        for (offset, seq, json) in taken.iter().rev() {
            assert!(mailbox.put_back(id(1), Message { offset: *offset, seq: *seq, json }).is_some());
        }
        let (freed, expired) = mailbox.expire(start + second * 5 / 4);
        assert_eq!((freed.messages, freed.bytes, freed.waiting), (1, ONE, vec![id(1)]));
        assert_eq!(expired, [Expired { sender: id(1), messages: 1, numbers: vec![] }]);
        assert_eq!(read(&mut mailbox, 9), [(1, "b".to_owned())]);
        assert_eq!(mailbox.expire(start + second * 2).1, [], "what is on its way does not expire");
        mailbox.rewind();
        let (freed, _) = mailbox.expire(start + second * 2);
        assert_eq!((freed.messages, freed.bytes), (1, ONE + Limits::LANE_OVERHEAD), "its lane is empty");
        assert!(!mailbox.has_unread() && mailbox.next_visit(true).is_none() && mailbox.ages.is_none());
    }

    #[test]
    fn receipts_name_the_session_that_sent() {
        let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
        for (page, seq) in [(1, 1), (1, 5), (2, 1)] {
            let number = Some((session(page), Seq(seq)));
            assert_eq!(mailbox.append(id(1), number, b"x", &limits, |_| true), Appended::New);
        }
        append(&mut mailbox, 1, "of a plain connection", &limits);
        read(&mut mailbox, 9);
        let mut delivered =
            |upto| mailbox.received(id(1), Offset(upto), Window::UNLIMITED).expect("given").delivered;
        assert_eq!(delivered(2), [], "nobody is left to hear of the first session's");
        assert_eq!(delivered(3), [(id(1), session(2), Seq(1))]);
        assert_eq!(delivered(4), []);
    }

    #[test]
    fn a_number_is_taken_once_per_session() {
        let (mut mailbox, limits) =
            (Mailbox::default(), Limits { max_queued_messages: 3, ..Limits::default() });
        let mut append =
            |page, seq| mailbox.append(id(1), Some((session(page), Seq(seq))), b"x", &limits, |_| true);
        assert_eq!(append(1, 1), Appended::New);
        assert_eq!(append(1, 7), Appended::New, "what was refused leaves a gap");
        assert_eq!(append(1, 3), Appended::Duplicate(Seq(7)));
        assert_eq!(append(2, 3), Appended::New, "another session counts anew");
        assert_eq!(append(2, 4), Appended::Full);
        assert_eq!(append(2, 3), Appended::Duplicate(Seq(3)), "also when the lane is full");
        assert_eq!(
            append(1, 7),
            Appended::Duplicate(Seq(7)),
            "a session that comes back goes on where it was"
        );
    }
}
