//! The rules of reliable delivery, at random: connections break at every point between append, send, receive and
//! acknowledge, lanes are full, pages reload, channels are revoked and registered again, messages expire. What the
//! applications hear is held against what they sent.
#![allow(clippy::unwrap_used, reason = "a test may fail that way")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use websocket_relay::ids::{Offset, Seq, SessionId};
use websocket_relay::model::{Appended, Expired, Expiry, Mailbox, Notices, Numbers, Window};
use websocket_relay::{ClientId, Limits};

const SENDERS: usize = 2;
const RECIPIENT: usize = 9;
/// How long messages may wait, and how much longer at most until they are dropped by who looks then.
const TTL: Duration = Duration::from_millis(320);
const SHARE: Duration = Duration::from_millis(10);
const WINDOW: Window = Window { messages: 3, bytes: usize::MAX };

#[derive(Clone, Debug)]
enum Step {
    /// The application sends.
    Send(usize),
    /// A frame of the sender reaches the mailbox.
    Append(usize),
    /// An answer reaches the sender.
    Answer(usize),
    /// The sender's connection breaks and is made anew.
    CutSender(usize),
    /// The sender's page reloads.
    ReloadSender(usize),
    /// The mailbox is read.
    Read(usize),
    /// A message reaches the recipient's application.
    Receive,
    /// An acknowledgement reaches the mailbox.
    Acknowledge,
    /// The recipient's connection breaks and is made anew.
    CutReader,
    /// The recipient's page reloads.
    ReloadReader,
    /// The sender's channel is unregistered.
    Revoke(usize),
    /// And registered again.
    Register(usize),
    /// So many milliseconds pass, and what has waited for too long is dropped.
    Wait(u64),
    /// A sender is told which of its messages have expired.
    Tell(usize),
    /// It is asked whether it is there.
    Ask(usize),
    /// What it was told, or asked, reaches it.
    Hear(usize),
    /// Its answer reaches the mailbox.
    Heartbeat(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sender = 0..SENDERS;
    prop_oneof![
        8 => sender.clone().prop_map(Step::Send),
        12 => sender.clone().prop_map(Step::Append),
        8 => sender.clone().prop_map(Step::Answer),
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
        2 => sender.clone().prop_map(Step::Tell),
        1 => sender.clone().prop_map(Step::Ask),
        3 => sender.clone().prop_map(Step::Hear),
        1 => sender.prop_map(Step::Heartbeat),
    ]
}

/// A message says who sent it: which page, and its how-manieth.
type Message = (usize, u64, u64);

enum Answer {
    Accepted(u64),
    Hold(u64),
    Rejected(u64),
}

struct Sender {
    page: u64,
    sent: u64,
    /// What is not known to be accepted: seq.
    outstanding: VecDeque<u64>,
    /// Whether the next that is sent is the first after everything outstanding was rejected.
    is_first: bool,
    /// On their way: seq and whether it is the first after a refusal.
    frames: VecDeque<(u64, bool)>,
    answers: VecDeque<Answer>,
    /// The server's, of this connection.
    refusing: bool,
    /// The server's, of this page.
    notices: Notices,
    /// On their way, and between them the questions whether it is there.
    told: VecDeque<Option<(u64, Expiry)>>,
    heartbeats: usize,
    /// The number of the last of them that it has heard.
    last_notice: u64,
    /// What it has heard to have expired.
    expired: Vec<u64>,
}

impl Sender {
    fn new(page: u64) -> Self {
        Self {
            page,
            sent: 0,
            outstanding: VecDeque::new(),
            is_first: false,
            frames: VecDeque::new(),
            answers: VecDeque::new(),
            refusing: false,
            notices: Notices::default(),
            told: VecDeque::new(),
            heartbeats: 0,
            last_notice: 0,
            expired: Vec::new(),
        }
    }

    fn resend(&mut self, first: bool) {
        let outstanding = self.outstanding.iter().enumerate();
        self.frames.extend(outstanding.map(|(place, seq)| (*seq, first && place == 0)));
    }

    fn tell(&mut self) {
        self.told.extend(std::iter::from_fn(|| self.notices.next_expired()).map(Some));
    }

    fn hear(&mut self) {
        let Some(told) = self.told.pop_front() else { return };
        let Some((number, Expiry { target, first, last })) = told else {
            self.heartbeats += 1;
            return;
        };
        assert_eq!(target, id(RECIPIENT));
        assert!(number <= self.last_notice + 1, "notice {number} behind {}", self.last_notice);
        if number > self.last_notice {
            self.last_notice = number;
            self.expired.extend(first.0..=last.0);
        }
    }
}

struct World {
    now: Instant,
    limits: Limits,
    mailbox: Mailbox,
    senders: Vec<Sender>,
    messages: VecDeque<(usize, Offset, Message)>,
    acknowledgements: VecDeque<(usize, Offset)>,
    /// The recipient's page: the last offset of each lane.
    last: BTreeMap<usize, Offset>,
    /// What each page of the recipient heard.
    heard: Vec<Vec<Message>>,
    /// What was ever taken: of which sender and page, which number.
    taken: BTreeSet<Message>,
    /// Those of them that may have been dropped with their channel.
    excused: BTreeSet<Message>,
    /// Those of them that have expired.
    expired: BTreeSet<Message>,
    /// Those that wait, by sender and offset, and since when.
    stored: BTreeMap<(usize, Offset), (Message, Instant)>,
    /// Up to where each lane is on its way.
    given: BTreeMap<usize, Offset>,
    offset: Offset,
}

fn id(sender: usize) -> ClientId {
    ClientId::new(sender as u64).unwrap()
}

fn session(page: u64) -> SessionId {
    SessionId::parse(&format!("{page:016x}")).unwrap()
}

impl World {
    fn new() -> Self {
        let mut mailbox = Mailbox::default();
        (0..SENDERS).for_each(|who| assert!(mailbox.authorize(id(who))));
        Self {
            now: Instant::now(),
            limits: Limits { max_queued_messages: 4, ..Limits::default() },
            mailbox,
            senders: (0..SENDERS).map(|_| Sender::new(0)).collect(),
            messages: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            last: BTreeMap::new(),
            heard: vec![Vec::new()],
            taken: BTreeSet::new(),
            excused: BTreeSet::new(),
            expired: BTreeSet::new(),
            stored: BTreeMap::new(),
            given: BTreeMap::new(),
            offset: Offset::default(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Send(who) => {
                let sender = &mut self.senders[who];
                sender.sent += 1;
                sender.outstanding.push_back(sender.sent);
                // While it waits after a hold it would not send; here it never waits long.
                sender.frames.push_back((sender.sent, std::mem::take(&mut sender.is_first)));
            }
            Step::Append(who) => self.append(who),
            Step::Answer(who) => self.answer(who),
            Step::CutSender(who) => {
                let sender = &mut self.senders[who];
                sender.frames.clear();
                sender.answers.clear();
                sender.refusing = false;
                sender.notices.resume();
                sender.told.clear();
                sender.heartbeats = 0;
                sender.resend(false);
            }
            Step::ReloadSender(who) => {
                let sender = &mut self.senders[who];
                let next = Sender::new(sender.page + 1);
                *sender = next;
            }
            Step::Read(count) => {
                let Self { messages, given, expired, .. } = self;
                let mut left = count;
                self.mailbox.read(WINDOW, |sender, _, message| {
                    let (offset, text) = (message.offset, std::str::from_utf8(message.json).unwrap());
                    let numbers: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
                    let who = sender.get() as usize;
                    let message = (who, numbers[0], numbers[1]);
                    assert!(!expired.contains(&message), "{message:?} is delivered after it expired");
                    messages.push_back((who, offset, message));
                    given.insert(who, offset);
                    left -= 1;
                    left > 0
                });
            }
            Step::Receive => {
                let Some((who, offset, message)) = self.messages.pop_front() else { return };
                let last = self.last.entry(who).or_default();
                if offset > *last {
                    *last = offset;
                    self.heard.last_mut().unwrap().push(message);
                }
                self.acknowledgements.push_back((who, *last));
            }
            Step::Acknowledge => {
                let Some((who, offset)) = self.acknowledgements.pop_front() else { return };
                let freed =
                    self.mailbox.received(id(who), offset, WINDOW).expect("an honest acknowledgement");
                let stored = self.stored.len();
                self.stored.retain(|(of, place), _| *of != who || *place > offset);
                assert_eq!(freed.messages, stored - self.stored.len());
            }
            Step::CutReader => self.cut_reader(),
            Step::ReloadReader => {
                self.cut_reader();
                self.mailbox.forget_given();
                self.last.clear();
                self.heard.push(Vec::new());
            }
            Step::Revoke(who) => {
                let freed = self.mailbox.revoke(id(who));
                let (dropped, kept) =
                    std::mem::take(&mut self.stored).into_iter().partition(|((of, _), _)| *of == who);
                self.stored = kept;
                assert_eq!(freed.messages, dropped.len());
                self.excused.extend(dropped.into_values().map(|(message, _)| message));
                let waiting = self.mailbox.contents();
                assert_eq!(
                    (waiting.messages, waiting.bytes == 0),
                    (self.stored.len(), self.stored.is_empty())
                );
            }
            Step::Register(who) => drop(self.mailbox.authorize(id(who))),
            Step::Wait(milliseconds) => {
                self.now += Duration::from_millis(milliseconds);
                self.expire();
            }
            Step::Tell(who) => self.senders[who].tell(),
            Step::Ask(who) => {
                self.senders[who].notices.ask();
                self.senders[who].told.push_back(None);
            }
            Step::Hear(who) => self.senders[who].hear(),
            Step::Heartbeat(who) => {
                let sender = &mut self.senders[who];
                let is_answered = sender.heartbeats > 0;
                sender.heartbeats -= usize::from(is_answered);
                if is_answered {
                    sender.notices.answered();
                }
            }
        }
    }

    /// Drops what has waited for too long, and tells its senders.
    fn expire(&mut self) {
        let (freed, expired) = self.mailbox.expire(self.now);
        assert_eq!(freed.messages, expired.iter().map(|one| one.messages).sum::<usize>());
        for Expired { sender, messages, numbers } in expired {
            let who = sender.get() as usize;
            let given = self.given.get(&who).copied().unwrap_or_default();
            // Lanes are in order, so what has expired is what comes first behind what is on its way.
            let waiting: Vec<_> =
                self.stored.range((who, Offset(given.0 + 1))..(who + 1, Offset(0))).collect();
            let dropped: Vec<_> =
                waiting.into_iter().take(messages).map(|(place, stored)| (*place, *stored)).collect();
            assert_eq!(dropped.len(), messages, "more of sender {who} than wait");
            let page = self.senders[who].page;
            let mut named = Vec::new();
            for (place, (message, since)) in dropped {
                assert!(since + TTL <= self.now, "{message:?} expired early");
                self.stored.remove(&place);
                self.expired.insert(message);
                self.excused.insert(message);
                named.extend((message.1 == page).then_some(message.2));
            }
            let (mut told, page) = (Vec::new(), session(page));
            for Numbers { first, last, behind, .. } in numbers.into_iter().filter(|one| one.session == page) {
                told.extend(first.0..=last.0);
                let expiry = Expiry { target: id(RECIPIENT), first, last };
                self.senders[who].notices.expired(expiry, behind);
            }
            // Of a page that has sent nothing since, and of one before it, nobody asks any more.
            assert!(told == named, "{told:?} told, {named:?} expired of sender {who}");
        }
        for ((who, offset), (message, since)) in &self.stored {
            let is_given = self.given.get(who).is_some_and(|given| offset <= given);
            assert!(is_given || *since + TTL + SHARE >= self.now, "{message:?} should have expired");
        }
        let waiting = self.mailbox.contents();
        assert_eq!((waiting.messages, waiting.bytes == 0), (self.stored.len(), self.stored.is_empty()));
    }

    fn cut_reader(&mut self) {
        self.messages.clear();
        self.acknowledgements.clear();
        self.given.clear();
        self.mailbox.rewind();
        self.expire();
    }

    /// What a session does with a numbered frame.
    fn append(&mut self, who: usize) {
        let sender = &mut self.senders[who];
        let Some((seq, first)) = sender.frames.pop_front() else { return };
        sender.refusing &= !first;
        if sender.refusing {
            return;
        }
        let number = Some((session(sender.page), Seq(seq)));
        let text = format!("{} {seq}", sender.page);
        if !self.mailbox.is_authorized(id(who)) {
            let duplicate = number.and_then(|(session, seq)| self.mailbox.duplicate(id(who), session, seq));
            sender.refusing = duplicate.is_none();
            sender
                .answers
                .push_back(duplicate.map_or(Answer::Rejected(seq), |Seq(last)| Answer::Accepted(last)));
            return;
        }
        let appended = self.mailbox.append(id(who), number, text.as_bytes(), &self.limits, |_| true);
        sender.answers.push_back(match appended {
            Appended::New => {
                self.offset = Offset(self.offset.0 + 1);
                assert!(self.taken.insert((who, sender.page, seq)), "nothing is taken twice");
                self.stored.insert((who, self.offset), ((who, sender.page, seq), self.now));
                self.mailbox.arrived(self.now, TTL);
                Answer::Accepted(seq)
            }
            Appended::Duplicate(Seq(last)) => Answer::Accepted(last),
            Appended::Full => {
                sender.refusing = true;
                Answer::Hold(seq)
            }
        });
    }

    fn answer(&mut self, who: usize) {
        let sender = &mut self.senders[who];
        match sender.answers.pop_front() {
            Some(Answer::Accepted(upto)) => sender.outstanding.retain(|seq| {
                let is_taken = self.taken.contains(&(who, sender.page, *seq));
                assert!(*seq > upto || is_taken, "{seq} is told as accepted, and was not");
                *seq > upto
            }),
            Some(Answer::Rejected(seq)) => {
                assert_eq!(
                    sender.outstanding.front(),
                    Some(&seq),
                    "a rejection names the oldest that is outstanding"
                );
                sender.outstanding.clear();
                sender.is_first = true;
            }
            Some(Answer::Hold(seq)) => {
                assert_eq!(
                    sender.outstanding.front(),
                    Some(&seq),
                    "a refusal names the oldest that is outstanding"
                );
                sender.resend(true);
            }
            None => {}
        }
    }

    /// Nothing breaks any more, and everybody goes on until there is nothing to do.
    fn heal(&mut self) {
        for _ in 0..10_000 {
            for who in 0..SENDERS {
                self.append(who);
                self.answer(who);
            }
            for step in [Step::Read(1), Step::Receive, Step::Acknowledge] {
                self.take(&step);
            }
            let is_idle = |sender: &Sender| sender.outstanding.is_empty() && sender.frames.is_empty();
            if self.senders.iter().all(is_idle)
                && self.messages.is_empty()
                && self.acknowledgements.is_empty()
            {
                let mut unread = false;
                self.mailbox.read(WINDOW, |_, _, _| {
                    unread = true;
                    true
                });
                self.mailbox.rewind();
                if !unread {
                    for sender in &mut self.senders {
                        sender.tell();
                        while !sender.told.is_empty() {
                            sender.hear();
                        }
                    }
                    return;
                }
            }
        }
        panic!("it never comes to rest");
    }

    fn check(&mut self) {
        assert!(self.heard.iter().flatten().all(|message| self.taken.contains(message)));
        for (who, sender) in self.senders.iter_mut().enumerate() {
            sender.expired.sort_unstable();
            let expired = self.expired.range((who, sender.page, 0)..(who, sender.page + 1, 0));
            let expired: Vec<_> = expired.map(|message| message.2).collect();
            assert_eq!(sender.expired, expired, "told to sender {who}");
        }
        let pages: BTreeSet<_> = self.taken.iter().map(|message| (message.0, message.1)).collect();
        for (who, page) in pages {
            // Those that had to arrive, and those that did.
            let due = |range: std::ops::Range<u64>| {
                let taken = self.taken.range((who, page, range.start)..(who, page, range.end));
                taken.filter(|message| !self.excused.contains(message)).count()
            };
            let mut upto = 0;
            for heard in &self.heard {
                let of_page = heard.iter().filter(|message| (message.0, message.1) == (who, page));
                let seqs: Vec<_> = of_page.map(|message| message.2).collect();
                let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { continue };
                assert!(seqs.is_sorted_by(|one, two| one < two), "{seqs:?} of page {page} of sender {who}");
                if *first > upto {
                    assert_eq!(
                        due(upto + 1..*first),
                        0,
                        "a gap before {first} of page {page} of sender {who}"
                    );
                }
                let is_due = |seq: &&u64| !self.excused.contains(&(who, page, **seq));
                let heard = seqs.iter().filter(is_due).count();
                assert_eq!(heard, due(*first..*last + 1), "a gap in {seqs:?} of page {page} of sender {who}");
                upto = upto.max(*last);
            }
            assert_eq!(due(upto + 1..u64::MAX), 0, "the last of page {page} of sender {who}");
        }
        for heard in &self.heard {
            // A page that is replaced never comes back behind its successor.
            let pages = |who| heard.iter().filter(move |message| message.0 == who).map(|message| message.1);
            assert!((0..SENDERS).all(|who| pages(who).is_sorted()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loses_duplicates_and_reorders_nothing(steps in prop::collection::vec(step(), 0..300)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.heal();
        world.check();
    }
}
