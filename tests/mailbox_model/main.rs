//! Reliable delivery as a property test of the mailbox: random steps lose connections at every point between append, send,
//! receive and acknowledge, fill lanes, reload pages, revoke and register channels, and expire messages. The messages that
//! applications receive are compared with those they sent.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

mod sender;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use websocket_relay::ids::{Offset, Seq, SessionId};
use websocket_relay::model::{AppendResult, ExpiredMessages, ExpiredRange, Mailbox, SeqRange, Window};
use websocket_relay::{ClientId, Limits};

use sender::{Reply, Sender};

const SENDERS: usize = 2;
const RECIPIENT: usize = 9;
/// The time after which messages may be dropped.
const TTL: Duration = Duration::from_millis(320);
/// The time after [`TTL`] by which they must be dropped.
const TTL_SLACK: Duration = Duration::from_millis(10);
const WINDOW: Window = Window { messages: 3, bytes: usize::MAX };

#[derive(Clone, Debug)]
enum Step {
    /// The application sends.
    Send(usize),
    /// A frame of the sender reaches the mailbox.
    Append(usize),
    /// A reply reaches the sender.
    Reply(usize),
    /// The sender loses its connection and reconnects.
    CutSender(usize),
    /// The sender's page reloads.
    ReloadSender(usize),
    /// The mailbox is read.
    Read(usize),
    /// A message reaches the recipient's application.
    Receive,
    /// An acknowledgement reaches the mailbox.
    Acknowledge,
    /// The recipient loses its connection and reconnects.
    CutReader,
    /// The recipient's page reloads.
    ReloadReader,
    /// The sender's channel is unregistered.
    Revoke(usize),
    /// The sender's channel is registered again.
    Register(usize),
    /// Milliseconds pass, and expired messages are dropped.
    Wait(u64),
    /// The notices of expired messages are sent to a sender.
    Notify(usize),
    /// A ping is sent to a sender.
    Ping(usize),
    /// A notice or a ping reaches the sender.
    ReceiveNotice(usize),
    /// A pong reaches the mailbox.
    Pong(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sender = 0..SENDERS;
    prop_oneof![
        8 => sender.clone().prop_map(Step::Send),
        12 => sender.clone().prop_map(Step::Append),
        8 => sender.clone().prop_map(Step::Reply),
        2 => sender.clone().prop_map(Step::CutSender),
        1 => sender.clone().prop_map(Step::ReloadSender),
        6 => (1..4_usize).prop_map(Step::Read),
        10 => Just(Step::Receive),
        8 => Just(Step::Acknowledge),
        2 => Just(Step::CutReader),
        1 => Just(Step::ReloadReader),
        1 => sender.clone().prop_map(Step::Revoke),
        3 => sender.clone().prop_map(Step::Register),
        4 => prop_oneof![0..10_u64, 0..400_u64].prop_map(Step::Wait),
        2 => sender.clone().prop_map(Step::Notify),
        1 => sender.clone().prop_map(Step::Ping),
        3 => sender.clone().prop_map(Step::ReceiveNotice),
        1 => sender.prop_map(Step::Pong),
    ]
}

/// A message as sender, page and sequence number.
type Message = (usize, u64, u64);

struct Model {
    now: Instant,
    limits: Limits,
    mailbox: Mailbox,
    senders: Vec<Sender>,
    messages: VecDeque<(usize, Offset, Message)>,
    acknowledgements: VecDeque<(usize, Offset)>,
    /// The last offset of each lane that the recipient's page received.
    last: BTreeMap<usize, Offset>,
    /// The messages that each page of the recipient received.
    received: Vec<Vec<Message>>,
    /// All messages ever accepted.
    accepted: BTreeSet<Message>,
    /// Accepted messages that were dropped with their channel or expired.
    excused: BTreeSet<Message>,
    /// Accepted messages that have expired.
    expired: BTreeSet<Message>,
    /// Messages in the mailbox, by sender and offset, and when they came.
    stored: BTreeMap<(usize, Offset), (Message, Instant)>,
    /// The last offset of each lane in flight.
    in_flight: BTreeMap<usize, Offset>,
    offset: Offset,
}

fn id(sender: usize) -> ClientId {
    ClientId::new(sender as u64).unwrap()
}

fn session(page: u64) -> SessionId {
    SessionId::parse(&format!("{page:016x}")).unwrap()
}

impl Model {
    fn new() -> Self {
        let mut mailbox = Mailbox::default();
        (0..SENDERS).for_each(|index| assert!(mailbox.authorize(id(index))));
        Self {
            now: Instant::now(),
            limits: Limits { max_queued_messages: 4, ..Limits::default() },
            mailbox,
            senders: (0..SENDERS).map(|_| Sender::new(0)).collect(),
            messages: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            last: BTreeMap::new(),
            received: vec![Vec::new()],
            accepted: BTreeSet::new(),
            excused: BTreeSet::new(),
            expired: BTreeSet::new(),
            stored: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            offset: Offset::default(),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    fn run(&mut self, step: &Step) {
        match *step {
            Step::Send(index) => {
                let sender = &mut self.senders[index];
                sender.sent += 1;
                sender.outstanding.push_back(sender.sent);
                // A real client sends nothing until it retries after a hold; here the retry follows at once.
                sender.frames.push_back((sender.sent, std::mem::take(&mut sender.is_first)));
            }
            Step::Append(index) => self.append(index),
            Step::Reply(index) => self.reply(index),
            Step::CutSender(index) => {
                let sender = &mut self.senders[index];
                sender.frames.clear();
                sender.replies.clear();
                sender.refusing = false;
                sender.notices.resume();
                sender.sent_notices.clear();
                sender.pings = 0;
                sender.resend(false);
            }
            Step::ReloadSender(index) => {
                let sender = &mut self.senders[index];
                let next = Sender::new(sender.page + 1);
                *sender = next;
            }
            Step::Read(count) => {
                let Self { messages, in_flight, expired, .. } = self;
                let mut left = count;
                self.mailbox.read(WINDOW, |sender, _, message, _| {
                    let (offset, text) = (message.offset, std::str::from_utf8(message.json).unwrap());
                    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
                    let index = sender.get() as usize;
                    let message = (index, numbers[0], numbers[1]);
                    assert!(!expired.contains(&message), "{message:?} is delivered after it expired");
                    messages.push_back((index, offset, message));
                    in_flight.insert(index, offset);
                    left -= 1;
                    left > 0
                });
            }
            Step::Receive => {
                let Some((index, offset, message)) = self.messages.pop_front() else { return };
                let last = self.last.entry(index).or_default();
                if offset > *last {
                    *last = offset;
                    self.received.last_mut().unwrap().push(message);
                }
                self.acknowledgements.push_back((index, *last));
            }
            Step::Acknowledge => {
                let Some((index, offset)) = self.acknowledgements.pop_front() else { return };
                let freed =
                    self.mailbox.received(id(index), offset, WINDOW).expect("an honest acknowledgement");
                let stored = self.stored.len();
                self.stored.retain(|(of, place), _| *of != index || *place > offset);
                assert_eq!(freed.messages, stored - self.stored.len());
            }
            Step::CutReader => self.cut_reader(),
            Step::ReloadReader => {
                self.cut_reader();
                self.mailbox.begin_session();
                self.last.clear();
                self.received.push(Vec::new());
            }
            Step::Revoke(index) => {
                let freed = self.mailbox.revoke(id(index));
                let (dropped, kept) =
                    std::mem::take(&mut self.stored).into_iter().partition(|((of, _), _)| *of == index);
                self.stored = kept;
                assert_eq!(freed.messages, dropped.len());
                self.excused.extend(dropped.into_values().map(|(message, _)| message));
                let waiting = self.mailbox.size();
                assert_eq!(
                    (waiting.messages, waiting.bytes == 0),
                    (self.stored.len(), self.stored.is_empty())
                );
            }
            Step::Register(index) => drop(self.mailbox.authorize(id(index))),
            Step::Wait(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                self.expire();
            }
            Step::Notify(index) => self.senders[index].send_notices(),
            Step::Ping(index) => {
                self.senders[index].notices.ping_sent();
                self.senders[index].sent_notices.push_back(None);
            }
            Step::ReceiveNotice(index) => self.senders[index].receive_notice(),
            Step::Pong(index) => {
                let sender = &mut self.senders[index];
                let is_answered = sender.pings > 0;
                sender.pings -= usize::from(is_answered);
                if is_answered {
                    sender.notices.pong_received();
                }
            }
        }
    }

    /// Drops expired messages, and checks which ones.
    fn expire(&mut self) {
        let (freed, expired) = self.mailbox.expire(self.now);
        assert_eq!(freed.messages, expired.iter().map(|one| one.messages).sum::<usize>());
        for ExpiredMessages { sender, messages, ranges } in expired {
            let index = sender.get() as usize;
            let last_in_flight = self.in_flight.get(&index).copied().unwrap_or_default();
            // Lanes are in order, so the first messages after those in flight expire.
            let waiting: Vec<_> =
                self.stored.range((index, Offset(last_in_flight.0 + 1))..(index + 1, Offset(0))).collect();
            let dropped: Vec<_> =
                waiting.into_iter().take(messages).map(|(place, stored)| (*place, *stored)).collect();
            assert_eq!(dropped.len(), messages, "more of sender {index} than are stored");
            let page = self.senders[index].page;
            let mut named = Vec::new();
            for (place, (message, since)) in dropped {
                assert!(since + TTL <= self.now, "{message:?} expired early");
                self.stored.remove(&place);
                self.expired.insert(message);
                self.excused.insert(message);
                named.extend((message.1 == page).then_some(message.2));
            }
            let (mut notified, page) = (Vec::new(), session(page));
            for SeqRange { first, last, previous, .. } in ranges.into_iter().filter(|one| one.session == page)
            {
                notified.extend(first.0..=last.0);
                let expiry = ExpiredRange { target: id(RECIPIENT), first, last };
                self.senders[index].notices.record_expired(expiry, previous);
            }
            assert!(notified == named, "{notified:?} notified, {named:?} expired of sender {index}");
        }
        for ((index, offset), (message, since)) in &self.stored {
            let is_in_flight = self.in_flight.get(index).is_some_and(|last| offset <= last);
            assert!(is_in_flight || *since + TTL + TTL_SLACK >= self.now, "{message:?} should have expired");
        }
        let waiting = self.mailbox.size();
        assert_eq!((waiting.messages, waiting.bytes == 0), (self.stored.len(), self.stored.is_empty()));
    }

    fn cut_reader(&mut self) {
        self.messages.clear();
        self.acknowledgements.clear();
        self.in_flight.clear();
        self.mailbox.rewind();
        self.expire();
    }

    /// Handles a numbered frame as a session does.
    fn append(&mut self, index: usize) {
        let sender = &mut self.senders[index];
        let Some((seq, first)) = sender.frames.pop_front() else { return };
        sender.refusing &= !first;
        if sender.refusing {
            return;
        }
        let number = Some((session(sender.page), Seq(seq)));
        let text = format!("{} {seq}", sender.page);
        if !self.mailbox.is_authorized(id(index)) {
            let duplicate = number.and_then(|(session, seq)| self.mailbox.duplicate(id(index), session, seq));
            sender.refusing = duplicate.is_none();
            sender
                .replies
                .push_back(duplicate.map_or(Reply::Rejected(seq), |Seq(last)| Reply::Accepted(last)));
            return;
        }
        let appended = self.mailbox.append(id(index), number, text.as_bytes(), &self.limits, |_| true);
        sender.replies.push_back(match appended {
            AppendResult::New => {
                self.offset = Offset(self.offset.0 + 1);
                assert!(self.accepted.insert((index, sender.page, seq)), "no message is accepted twice");
                self.stored.insert((index, self.offset), ((index, sender.page, seq), self.now));
                self.mailbox.start_ttl(self.now, TTL);
                Reply::Accepted(seq)
            }
            AppendResult::Duplicate(Seq(last)) => Reply::Accepted(last),
            AppendResult::Full => {
                sender.refusing = true;
                Reply::Hold(seq)
            }
        });
    }

    fn reply(&mut self, index: usize) {
        let sender = &mut self.senders[index];
        match sender.replies.pop_front() {
            Some(Reply::Accepted(upto)) => sender.outstanding.retain(|seq| {
                let is_accepted = self.accepted.contains(&(index, sender.page, *seq));
                assert!(*seq > upto || is_accepted, "{seq} is reported as accepted, and was not");
                *seq > upto
            }),
            Some(Reply::Rejected(seq)) => {
                assert_eq!(
                    sender.outstanding.front(),
                    Some(&seq),
                    "a rejection names the oldest outstanding message"
                );
                sender.outstanding.clear();
                sender.is_first = true;
            }
            Some(Reply::Hold(seq)) => {
                assert_eq!(
                    sender.outstanding.front(),
                    Some(&seq),
                    "a hold names the oldest outstanding message"
                );
                sender.resend(true);
            }
            None => {}
        }
    }

    /// Runs without failures until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            for index in 0..SENDERS {
                self.append(index);
                self.reply(index);
            }
            for step in [Step::Read(1), Step::Receive, Step::Acknowledge] {
                self.run(&step);
            }
            let is_idle = |sender: &Sender| sender.outstanding.is_empty() && sender.frames.is_empty();
            if self.senders.iter().all(is_idle)
                && self.messages.is_empty()
                && self.acknowledgements.is_empty()
            {
                let mut unread = false;
                self.mailbox.read(WINDOW, |_, _, _, _| {
                    unread = true;
                    true
                });
                self.mailbox.rewind();
                if !unread {
                    for sender in &mut self.senders {
                        sender.send_notices();
                        while !sender.sent_notices.is_empty() {
                            sender.receive_notice();
                        }
                    }
                    return;
                }
            }
        }
        panic!("the model never settles");
    }

    fn check(&mut self) {
        assert!(self.received.iter().flatten().all(|message| self.accepted.contains(message)));
        for (index, sender) in self.senders.iter_mut().enumerate() {
            sender.expired.sort_unstable();
            let expired = self.expired.range((index, sender.page, 0)..(index, sender.page + 1, 0));
            let expired: Vec<_> = expired.map(|message| message.2).collect();
            assert_eq!(sender.expired, expired, "notices of sender {index}");
        }
        let pages: BTreeSet<_> = self.accepted.iter().map(|message| (message.0, message.1)).collect();
        for (index, page) in pages {
            // The number of messages that had to arrive.
            let due = |range: std::ops::Range<u64>| {
                let accepted = self.accepted.range((index, page, range.start)..(index, page, range.end));
                accepted.filter(|message| !self.excused.contains(message)).count()
            };
            let mut upto = 0;
            for received in &self.received {
                let of_page = received.iter().filter(|message| (message.0, message.1) == (index, page));
                let seqs: Vec<_> = of_page.map(|message| message.2).collect();
                let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { continue };
                assert!(seqs.is_sorted_by(|one, two| one < two), "{seqs:?} of page {page} of sender {index}");
                if *first > upto {
                    assert_eq!(
                        due(upto + 1..*first),
                        0,
                        "a gap before {first} of page {page} of sender {index}"
                    );
                }
                let is_due = |seq: &&u64| !self.excused.contains(&(index, page, **seq));
                let received = seqs.iter().filter(is_due).count();
                assert_eq!(
                    received,
                    due(*first..*last + 1),
                    "a gap in {seqs:?} of page {page} of sender {index}"
                );
                upto = upto.max(*last);
            }
            assert_eq!(due(upto + 1..u64::MAX), 0, "the last of page {page} of sender {index}");
        }
        for received in &self.received {
            // No message of a replaced page arrives after one of its successor.
            let pages =
                |index| received.iter().filter(move |message| message.0 == index).map(|message| message.1);
            assert!((0..SENDERS).all(|index| pages(index).is_sorted()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loses_duplicates_and_reorders_nothing(steps in prop::collection::vec(step(), 0..300)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        model.settle();
        model.check();
    }
}
