//! What of the backend cannot be seen through a socket.

use std::task::{Context, Waker};

use super::*;
use crate::hand::Hand;

/// A backend, and so many clients that are registered there.
fn with_clients<const COUNT: usize>(limits: Limits, authorize_all: bool) -> (Memory, [ClientId; COUNT]) {
    let memory = Memory::new(limits, authorize_all).expect("randomness");
    let ids = [(); COUNT].map(|()| memory.register(None).expect("randomness").id);
    (memory, ids)
}

/// A claim, and whether another was replaced by it.
fn claim_with(memory: &Memory, id: ClientId, bell: &Arc<Bell>) -> (Claim, bool) {
    let (outbox, socket) = (&mut Outbox::default(), &mut None);
    let claimant = Claimant { bell, outbox, socket, resume: None };
    let mut has_replaced = None;
    match memory.claim(id, claimant, |_, greeting| has_replaced = Some(greeting.has_replaced)) {
        Claiming::Claimed(claim) => (claim, has_replaced.expect("a greeting")),
        other => panic!("{other:?}"),
    }
}

fn claim(memory: &Memory, id: ClientId) -> Claim {
    claim_with(memory, id, &Arc::default()).0
}

/// A claim of a client that acknowledges.
fn claim_reliably(memory: &Memory, id: ClientId) -> Claim {
    claim_with_session(memory, id, "00000000000000aa")
}

fn claim_with_session(memory: &Memory, id: ClientId, session: &str) -> Claim {
    let session = SessionId::parse(session).expect("16 digits");
    let resume = Some(Resume { session, connection: 0, knows_epoch: false, receipts: false, presence: true });
    let (bell, outbox, socket) = (&Arc::default(), &mut Outbox::default(), &mut None);
    match memory.claim(id, Claimant { bell, outbox, socket, resume }, |_, _| {}) {
        Claiming::Claimed(claim) => claim,
        other => panic!("{other:?}"),
    }
}

/// What is written to the claim's connection, of which its socket takes `take` bytes.
fn written(memory: &Memory, claim: &Claim, take: usize) -> String {
    let mut text = String::new();
    let delivered = memory.deliver(claim, |outbox| {
        let bytes = outbox.untaken();
        text.push_str(&String::from_utf8_lossy(bytes));
        outbox.take(bytes.len().min(take));
        if outbox.is_drained() { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    assert!(take < text.len() || delivered.is_ready());
    text
}

#[test]
fn the_total_bound_holds_over_all_mailboxes_and_is_given_back() {
    let limits = Limits { max_total_bytes: 600, ..Limits::default() };
    let (memory, ids) = with_clients::<3>(limits, true);
    let mut sender = claim(&memory, ids[0]);
    for _ in 0..3 {
        memory.append(&mut sender, ids[1], None, "\"\"").expect("room");
    }
    assert_eq!(memory.append(&mut sender, ids[1], None, "\"\""), Err(Refusal::Full), "the recipient is away");
    let reader = claim(&memory, ids[1]);
    assert_eq!(memory.append(&mut sender, ids[1], None, "\"\""), Err(Refusal::Held), "the recipient is here");
    assert!(!written(&memory, &reader, usize::MAX).is_empty());
    assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 0);
    memory.append(&mut sender, ids[2], None, "\"\"").expect("room again");
}

#[test]
fn who_does_not_read_cannot_fill_the_total_bound_for_who_does() {
    let limits = Limits { max_total_bytes: 8000, ..Limits::default() };
    let (memory, ids) = with_clients::<3>(limits, true);
    let mut sender = claim(&memory, ids[0]);
    let fill = |sender: &mut Claim, id| {
        while memory.append(sender, id, None, "\"text\"").is_ok() {}
        memory.queued_bytes.load(Ordering::Relaxed)
    };
    let reader = claim(&memory, ids[2]);
    assert!((6000..=7000).contains(&fill(&mut sender, ids[1])));
    for _ in 0..100 {
        memory.append(&mut sender, ids[2], None, "\"text\"").expect("room for who reads");
        assert!(!written(&memory, &reader, usize::MAX).is_empty());
    }
    // It reads no more.
    memory.append(&mut sender, ids[2], None, "\"text\"").expect("room");
    written(&memory, &reader, 1);
    assert!((6000..=7100).contains(&fill(&mut sender, ids[2])));
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let limits = Limits { max_total_bytes: 1000, ..Limits::default() };
    let (memory, ids) = with_clients::<20>(limits, true);
    let mut sender = claim(&memory, ids[0]);
    let taken = ids[1..].iter().filter(|id| memory.append(&mut sender, **id, None, "\"\"").is_ok()).count();
    assert!(taken > 0 && taken < 19, "{taken}");
    assert_eq!(memory.totals().channels, taken);
    let known = |id| memory.client(id).expect("a client").slot().mailbox.senders().len();
    assert_eq!(ids.iter().map(|id| known(*id)).sum::<usize>(), 2 * taken);
}

#[test]
fn a_client_opens_so_many_channels_and_others_when_those_are_gone() {
    let limits = Limits { max_opened_channels: 2, ..Limits::default() };
    let (memory, ids) = with_clients::<5>(limits, true);
    let (mut one, mut other) = (claim_reliably(&memory, ids[0]), claim(&memory, ids[1]));
    let numbered = |sender: &mut Claim, to: usize, seq| memory.append(sender, ids[to], Some(Seq(seq)), "1");
    let refused = Err(Refusal::ChannelNotRegistered);
    memory.append(&mut other, ids[0], None, "1").expect("room");
    numbered(&mut one, 1, 1).expect("a channel that the other has opened");
    numbered(&mut one, 2, 1).expect("the first");
    numbered(&mut one, 3, 1).expect("the second");
    assert_eq!(numbered(&mut one, 4, 1), refused);
    assert_eq!(memory.client(ids[4]).expect("a client").slot().mailbox.senders().len(), 0);
    numbered(&mut one, 3, 2).expect("a channel that is open");
    memory.revoke_pair(ids[0], ids[3]).expect("a channel");
    assert_eq!(numbered(&mut one, 4, 1), Ok(Taken::New), "nothing is kept with who opened it");
    assert_eq!(numbered(&mut one, 3, 2), Ok(Taken::Duplicate(Seq(2))), "what was taken was taken");
    assert_eq!(numbered(&mut one, 3, 3), refused);
    memory.authorize_pair(ids[0], ids[3]).expect("two clients");
    numbered(&mut one, 3, 3).expect("whoever made the relay has no bound");
    memory.unregister(ids[2], CloseReason::Unregistered).expect("a client");
    memory.unregister(ids[4], CloseReason::Unregistered).expect("a client");
    let late = memory.register(None).expect("randomness").id;
    memory.append(&mut one, late, Some(Seq(1)), "1").expect("the others are gone");
    memory.append(&mut other, ids[3], None, "1").expect("another client has its own");
}

#[test]
fn who_is_there_is_told_by_the_task_that_does_and_by_nobody_else() {
    let (memory, ids) = with_clients::<2>(Limits::default(), false);
    memory.authorize_pair(ids[0], ids[1]).expect("two clients");
    let reader = claim_reliably(&memory, ids[0]);
    let mut sender = claim(&memory, ids[1]);
    memory.append(&mut sender, ids[0], None, "\"hello\"").expect("room");
    memory.flush();
    let begun = memory.with_outbox(&reader, |outbox| String::from_utf8_lossy(outbox.untaken()).into_owned());
    let begun = begun.expect("the reader's outbox");
    assert!(begun.contains("hello") && !begun.contains("presence"), "{begun}");
    assert!(!written(&memory, &reader, usize::MAX).contains("presence"));
    assert_eq!(memory.tell_presence(), Told { is_left: false, has_rung: true });
    assert!(written(&memory, &reader, usize::MAX).contains("\"online\":true"));
}

/// A room of reliable clients that are connected and have been told who is there. The claims are by place.
fn room<const COUNT: usize>() -> (Memory, [ClientId; COUNT], Vec<Claim>) {
    let (memory, ids) = with_clients::<COUNT>(Limits::default(), false);
    assert_eq!(memory.authorize_all(&ids).expect("clients"), COUNT * (COUNT - 1) / 2);
    let claims: Vec<_> = ids.iter().map(|id| claim_reliably(&memory, *id)).collect();
    let told = all_told(&memory, &claims);
    assert!(told.matches("\"online\":true").count() >= COUNT * (COUNT - 1));
    (memory, ids, claims)
}

/// What has been written to the claims' connections of who is there: how many were told, and of what.
fn told(memory: &Memory, claims: &[Claim]) -> (usize, String) {
    let texts: Vec<_> = claims.iter().map(|claim| written(memory, claim, usize::MAX)).collect();
    (texts.iter().filter(|text| text.contains("presence")).count(), texts.concat())
}

/// All that is to be told, when everything is told.
fn all_told(memory: &Memory, claims: &[Claim]) -> String {
    let mut texts = String::new();
    loop {
        let is_left = memory.tell_presence().is_left;
        let (count, text) = told(memory, claims);
        texts += &text;
        if !is_left && count == 0 {
            return texts;
        }
    }
}

#[test]
fn a_room_hears_of_a_client_that_left_a_little_at_a_time() {
    let (memory, ids, mut claims) = room::<300>();
    let gone = claims.remove(7);
    memory.release(&gone, false, || {}).expect("its outbox");
    assert_eq!(told(&memory, &claims).0, 0, "nobody is told by who leaves");
    let (mut count, mut steps) = (0, 0);
    loop {
        let is_left = memory.tell_presence().is_left;
        let (more, text) = told(&memory, &claims);
        assert!(more <= 16 && !text.contains("true"), "{more}");
        (count, steps) = (count + more, steps + 1);
        if !is_left {
            break;
        }
    }
    assert_eq!((count, steps >= 19), (299, true));
    // To come back is told to all, and of all to who came back.
    claims.insert(7, claim_reliably(&memory, ids[7]));
    let texts = all_told(&memory, &claims);
    assert_eq!(texts.matches("\"clientId\":7,\"online\":true").count(), 299);
    assert_eq!(texts.matches("presence").count(), 2 * 299);
}

#[test]
fn who_left_and_came_back_before_it_was_told_has_not_left() {
    let (memory, ids, mut claims) = room::<100>();
    for _ in 0..23 {
        let gone = claims.remove(7);
        memory.release(&gone, false, || {}).expect("its outbox");
        claims.insert(7, claim_reliably(&memory, ids[7]));
    }
    let text = all_told(&memory, &claims);
    assert_eq!(text.matches("\"clientId\":7,").count(), 0, "the others know");
    assert_eq!(text.matches("presence").count(), 99, "it is told of the others, on its last connection");
}

#[test]
fn a_client_with_many_channels_is_forgotten_a_little_at_a_time_and_counted_at_once() {
    let memory = Memory::new(Limits::default(), false).expect("randomness");
    let start = Instant::now();
    let hub = memory.register(Some(Duration::from_secs(1))).expect("randomness").id;
    let others: Vec<_> = (0..1000).map(|_| memory.register(None).expect("randomness").id).collect();
    assert_eq!(memory.authorize_with(hub, &others).expect("clients"), 1000);
    assert!(memory.expire(start).is_none());
    let mut departure = memory.expire(start + Duration::from_secs(9)).expect("its time has come");
    assert_eq!(memory.totals().channels, 0);
    let mut steps = 1;
    while memory.part(&mut departure) {
        steps += 1;
    }
    assert!(steps >= 8, "{steps}");
    let left = others
        .iter()
        .filter(|id| memory.client(**id).is_some_and(|one| !one.slot().mailbox.senders().is_empty()));
    assert_eq!(left.count(), 0);
}

#[test]
fn who_was_revoked_before_it_is_gone_leaves_nothing_behind() {
    let (memory, ids) = with_clients::<2>(Limits::default(), false);
    memory.authorize_pair(ids[0], ids[1]).expect("two clients");
    let mut sender = claim_reliably(&memory, ids[0]);
    memory.append(&mut sender, ids[1], Some(Seq(1)), "1").expect("room");
    memory.revoke_pair(ids[0], ids[1]).expect("a channel");
    let kept = || memory.client(ids[1]).expect("a client").slot().mailbox.senders().len();
    assert_eq!(kept(), 1, "what tells a message that is sent again");
    memory.unregister(ids[0], CloseReason::Unregistered).expect("a client");
    assert_eq!(kept(), 0);
}

#[test]
fn who_waits_for_room_that_a_stuck_connection_takes_hears_of_its_replacement() {
    let long = format!("\"{}\"", "x".repeat(1000));
    // For two such messages, but not while one of them is stuck as well.
    let limits = Limits { max_total_bytes: 3000, ..Limits::default() };
    let (memory, ids) = with_clients::<2>(limits, false);
    memory.authorize_pair(ids[0], ids[1]).expect("two clients");
    let reader = claim_reliably(&memory, ids[1]);
    let bell = Arc::default();
    let mut sender = claim_with(&memory, ids[0], &bell).0;
    memory.append(&mut sender, ids[1], None, &long).expect("room");
    assert!(!written(&memory, &reader, 1).is_empty());
    assert_eq!(memory.append(&mut sender, ids[1], None, &long), Err(Refusal::Held));
    let has_rung = || bell.poll_rung(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!has_rung());
    claim_reliably(&memory, ids[1]);
    assert!(has_rung());
    memory.append(&mut sender, ids[1], None, &long).expect("room");
}

#[test]
fn a_replaced_connection_can_do_nothing_more() {
    let memory = Memory::new(Limits::default(), true).expect("randomness");
    let id = memory.register(None).expect("randomness").id;
    let old_bell = Arc::new(Bell::default());
    let mut old = claim_with(&memory, id, &old_bell).0;
    for message in ["\"gone\"", "\"begun\"", "\"kept\""] {
        memory.append(&mut old, id, None, message).expect("room");
    }
    let frame = written(&memory, &old, 45).len() / 3;
    let (new, has_replaced) = claim_with(&memory, id, &Arc::default());
    assert!(has_replaced);
    let rest = String::from_utf8_lossy(&old_bell.ending().expect("replaced").rest).into_owned();
    assert!(rest.len() < frame && rest.ends_with("un\"}}"), "{rest}");
    assert_eq!(memory.append(&mut old, id, None, "late"), Err(Refusal::Replaced));
    assert_eq!(memory.received(&old, id, Offset(1)), Ok(()));
    assert_eq!(written(&memory, &old, usize::MAX), "");
    assert!(memory.release(&old, false, || unreachable!()).is_none());
    let messages = written(&memory, &new, usize::MAX);
    assert!(!messages.contains("gone") && !messages.contains("late"), "{messages}");
    let (begun, kept) = (messages.find("begun"), messages.find("kept"));
    assert!(begun.is_some() && begun < kept, "{messages}");
    assert!(memory.release(&new, false, || {}).is_some_and(|outbox| outbox.is_empty()));
    assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 0);
}

/// A long message and a short one for a plain client whose connection others can write to, appended while the long one
/// stands where it was read, and not flushed. Its claim, and the other end of its connection.
async fn appended() -> (Memory, ClientId, Claim, tokio::net::TcpStream) {
    let (memory, ids) = with_clients::<2>(Limits::default(), false);
    memory.authorize_pair(ids[0], ids[1]).expect("both are there");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer =
        tokio::net::TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a listener");
    let (reading, writing) = listener.accept().await.expect("a connection").0.into_split();
    // It would close with what reads from it.
    std::mem::forget(reading);
    writing.writable().await.expect("room");
    let (bell, outbox, socket) = (&Arc::default(), &mut Outbox::default(), &mut Some(Hand::Tcp(writing)));
    let claimant = Claimant { bell, outbox, socket, resume: None };
    let Claiming::Claimed(reader) = memory.claim(ids[1], claimant, |_, _| {}) else { panic!("it is there") };
    let mut sender = claim(&memory, ids[0]);
    read_buffer::fill(|buffer| {
        buffer[..LONG_MESSAGE_BYTES].copy_from_slice(long().as_bytes());
        let read = std::str::from_utf8(&buffer[..LONG_MESSAGE_BYTES]).expect("text");
        for message in [read, SHORT] {
            memory.append(&mut sender, ids[1], None, message).expect("room");
        }
    });
    (memory, ids[1], reader, peer)
}

const SHORT: &str = "\"short\"";

fn long() -> String {
    format!("\"{}\"", "x".repeat(LONG_MESSAGE_BYTES - 2))
}

/// Whether the long message is there once, and the short one behind it, once.
fn are_both_in(text: &str) -> bool {
    let places = |message: &str| text.match_indices(message).map(|(place, _)| place).collect::<Vec<_>>();
    matches!((&*places(&long()), &*places(SHORT)), ([first], [second]) if first < second)
}

#[tokio::test]
#[cfg_attr(miri, ignore = "needs a socket")]
async fn what_is_written_from_where_it_was_read_arrives() {
    let (memory, _, reader, peer) = appended().await;
    memory.flush();
    let mut text = String::new();
    while !text.contains(SHORT) {
        peer.readable().await.expect("something");
        let mut bytes = [0; LONG_MESSAGE_BYTES];
        let length = peer.try_read(&mut bytes).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert!(are_both_in(&text));
    assert!(!memory.has_waiting(&reader));
}

#[tokio::test]
#[cfg_attr(miri, ignore = "needs a socket")]
async fn who_comes_before_it_is_written_from_where_it_was_read_gets_it() {
    let (memory, id, ..) = appended().await;
    let next = claim(&memory, id);
    // The buffer may be filled again meanwhile.
    read_buffer::fill(|buffer| buffer.fill(b'?'));
    memory.flush();
    assert!(are_both_in(&written(&memory, &next, usize::MAX)));
}

#[tokio::test]
#[cfg_attr(miri, ignore = "needs a socket")]
async fn its_own_connection_may_write_it_first() {
    let (memory, _, reader, peer) = appended().await;
    assert!(are_both_in(&written(&memory, &reader, usize::MAX)));
    memory.flush();
    assert_eq!(peer.try_read(&mut [0]).expect_err("nothing was written").kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn who_does_not_hear_what_expired_is_held_and_its_notices_count_until_it_has_heard() {
    const TARGETS: usize = Limits::MAX_UNSENT_NOTICES + 500;
    let ttl = Duration::from_secs(3600);
    let (memory, ids) =
        with_clients::<{ TARGETS + 1 }>(Limits { message_ttl: ttl, ..Limits::default() }, true);
    let (sender, targets) = ids.split_first().expect("a sender");
    let mut claim = claim_reliably(&memory, *sender);
    let count = || memory.queued_bytes.load(Ordering::Relaxed);
    let cost = |notices: usize| notices.saturating_sub(Limits::FREE_NOTICES) * Limits::NOTICE_OVERHEAD;
    let append = |claim: &mut Claim, to: ClientId, seq| memory.append(claim, to, Some(Seq(seq)), "\"\"");
    let expire = || while !memory.expire_messages(Instant::now() + 2 * ttl).is_empty() {};
    for target in targets {
        append(&mut claim, *target, 1).expect("room");
    }
    expire();
    assert_eq!(count(), cost(TARGETS));
    assert_eq!(append(&mut claim, targets[0], 2), Err(Refusal::Full));
    assert_eq!(append(&mut claim, targets[0], 1), Ok(Taken::Duplicate(Seq(1))), "it was taken");
    while written(&memory, &claim, usize::MAX).contains("ERR_MESSAGE_EXPIRED") {}
    assert_eq!(count(), cost(Limits::MAX_UNACKNOWLEDGED_NOTICES), "not known to be heard");
    assert_eq!(append(&mut claim, targets[0], 2), Ok(Taken::New));
    memory.ask(&claim);
    memory.answered(&claim);
    expire();
    assert_eq!(count(), 0);
    // What was not told goes with the session, and with the client.
    for (forget, seq) in [(true, 3), (false, 3)] {
        for target in targets {
            append(&mut claim, *target, seq).ok();
        }
        expire();
        assert!(count() > 0);
        match forget {
            true => claim = claim_with_session(&memory, *sender, "00000000000000bb"),
            false => drop(memory.unregister(*sender, CloseReason::Unregistered)),
        }
        assert_eq!(count(), 0);
    }
}

#[test]
fn what_is_left_to_write_counts_and_is_cut_when_there_is_no_room() {
    let max = Limits::MAX_UNCOUNTED_CLOSE_BYTES * 4;
    let (memory, _) = with_clients::<1>(Limits { max_total_bytes: max, ..Limits::default() }, true);
    let counted = memory.linger(max).expect("room");
    assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), max);
    assert!(memory.linger(Limits::MAX_UNCOUNTED_CLOSE_BYTES + 1).is_none());
    assert!(memory.linger(Limits::MAX_UNCOUNTED_CLOSE_BYTES).is_some(), "a short one");
    drop(counted);
    assert_eq!(memory.queued_bytes.load(Ordering::Relaxed), 0);
    assert!(memory.linger(Limits::MAX_UNCOUNTED_CLOSE_BYTES + 1).is_some());
}
