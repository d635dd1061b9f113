//! What of the hub cannot be seen through a socket.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::*;
use crate::error::CloseReason;
use crate::ids::{Offset, Seq, SessionId};
use crate::model::LONG_MESSAGE_BYTES;
use crate::read_buffer;
use crate::shared_writer::SharedWriter;

/// Returns a hub with registered clients.
fn with_clients<const COUNT: usize>(limits: Limits, authorize_all: bool) -> (Hub, [ClientId; COUNT]) {
    let hub = Hub::new(limits, authorize_all).expect("randomness");
    let ids = [(); COUNT].map(|()| hub.register(None).expect("randomness").id);
    (hub, ids)
}

/// Claims a mailbox. Returns also whether another connection was replaced.
fn claim_with(hub: &Hub, id: ClientId, bell: &Arc<Bell>) -> (Claim, bool) {
    let (outbox, writer) = (&mut Outbox::default(), &mut None);
    let request = ClaimRequest { bell, outbox, writer, session: None };
    let mut has_replaced = None;
    match hub.claim(id, request, |_, greeting| has_replaced = Some(greeting.has_replaced)) {
        ClaimOutcome::Claimed(claim) => (claim, has_replaced.expect("a greeting")),
        other => panic!("{other:?}"),
    }
}

fn claim(hub: &Hub, id: ClientId) -> Claim {
    claim_with(hub, id, &Arc::default()).0
}

/// Claims the mailbox of a reliable client.
fn claim_reliably(hub: &Hub, id: ClientId) -> Claim {
    claim_with_session(hub, id, "00000000000000aa")
}

fn claim_with_session(hub: &Hub, client: ClientId, session: &str) -> Claim {
    let id = SessionId::parse(session).expect("16 digits");
    let session =
        Some(SessionInfo { id, connection: 0, knows_epoch: false, receipts: false, presence: true });
    let (bell, outbox, writer) = (&Arc::default(), &mut Outbox::default(), &mut None);
    match hub.claim(client, ClaimRequest { bell, outbox, writer, session }, |_, _| {}) {
        ClaimOutcome::Claimed(claim) => claim,
        other => panic!("{other:?}"),
    }
}

/// What is written to the claim's connection, of which its writer takes `take` bytes.
fn written(hub: &Hub, claim: &Claim, take: usize) -> String {
    let mut text = String::new();
    let delivered = hub.deliver(claim, |outbox| {
        let bytes = outbox.unwritten();
        text.push_str(&String::from_utf8_lossy(bytes));
        outbox.advance(bytes.len().min(take));
        if outbox.is_written() { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    assert!(take < text.len() || delivered.is_ready());
    text
}

#[test]
fn bounds_the_bytes_of_all_mailboxes_and_gives_them_back() {
    let limits = Limits { max_total_bytes: 600, ..Limits::default() };
    let (hub, ids) = with_clients::<3>(limits, true);
    let batch = &mut hub.batch();
    let mut sender = claim(&hub, ids[0]);
    for _ in 0..3 {
        hub.append(batch, &mut sender, ids[1], None, "\"\"").expect("room");
    }
    assert_eq!(
        hub.append(batch, &mut sender, ids[1], None, "\"\""),
        Err(AppendError::Full),
        "the recipient is away"
    );
    let reader = claim(&hub, ids[1]);
    assert_eq!(
        hub.append(batch, &mut sender, ids[1], None, "\"\""),
        Err(AppendError::Held),
        "the recipient is here"
    );
    assert!(!written(&hub, &reader, usize::MAX).is_empty());
    assert_eq!(hub.budget.used(), 0);
    hub.append(batch, &mut sender, ids[2], None, "\"\"").expect("room again");
}

#[test]
fn keeps_room_for_recipients_that_read() {
    let limits = Limits { max_total_bytes: 8000, ..Limits::default() };
    let (hub, ids) = with_clients::<3>(limits, true);
    let batch = &mut hub.batch();
    let mut sender = claim(&hub, ids[0]);
    let fill = |batch: &mut Batch<'_>, sender: &mut Claim, id| {
        while hub.append(batch, sender, id, None, "\"text\"").is_ok() {}
        hub.budget.used()
    };
    let reader = claim(&hub, ids[2]);
    assert!((6000..=7000).contains(&fill(batch, &mut sender, ids[1])));
    for _ in 0..100 {
        hub.append(batch, &mut sender, ids[2], None, "\"text\"").expect("room for a recipient that reads");
        assert!(!written(&hub, &reader, usize::MAX).is_empty());
    }
    // It stops reading.
    hub.append(batch, &mut sender, ids[2], None, "\"text\"").expect("room");
    written(&hub, &reader, 1);
    assert!((6000..=7100).contains(&fill(batch, &mut sender, ids[2])));
}

#[test]
fn a_refused_message_leaves_nothing_behind() {
    let limits = Limits { max_total_bytes: 1000, ..Limits::default() };
    let (hub, ids) = with_clients::<20>(limits, true);
    let batch = &mut hub.batch();
    let mut sender = claim(&hub, ids[0]);
    let taken =
        ids[1..].iter().filter(|id| hub.append(batch, &mut sender, **id, None, "\"\"").is_ok()).count();
    assert!(taken > 0 && taken < 19, "{taken}");
    assert_eq!(hub.totals().channels, taken);
    let known = |id| hub.client(id).expect("a client").lock().mailbox.senders().len();
    assert_eq!(ids.iter().map(|id| known(*id)).sum::<usize>(), 2 * taken);
}

#[test]
fn bounds_the_channels_that_a_client_opens() {
    let limits = Limits { max_opened_channels: 2, ..Limits::default() };
    let (hub, ids) = with_clients::<5>(limits, true);
    let batch = &mut hub.batch();
    let (mut one, mut other) = (claim_reliably(&hub, ids[0]), claim(&hub, ids[1]));
    let mut numbered =
        |sender: &mut Claim, to: usize, seq| hub.append(batch, sender, ids[to], Some(Seq(seq)), "1");
    let refused = Err(AppendError::ChannelNotRegistered);
    hub.append(&mut hub.batch(), &mut other, ids[0], None, "1").expect("room");
    numbered(&mut one, 1, 1).expect("a channel that the other has opened");
    numbered(&mut one, 2, 1).expect("the first");
    numbered(&mut one, 3, 1).expect("the second");
    assert_eq!(numbered(&mut one, 4, 1), refused);
    assert_eq!(hub.client(ids[4]).expect("a client").lock().mailbox.senders().len(), 0);
    numbered(&mut one, 3, 2).expect("a channel that is open");
    hub.close_channel(ids[0], ids[3]).expect("a channel");
    assert_eq!(numbered(&mut one, 4, 1), Ok(super::Appended::New), "the closed channel does not count");
    assert_eq!(numbered(&mut one, 3, 2), Ok(super::Appended::Duplicate(Seq(2))), "it was accepted before");
    assert_eq!(numbered(&mut one, 3, 3), refused);
    hub.open_channel(ids[0], ids[3]).expect("two clients");
    numbered(&mut one, 3, 3).expect("the application is not bounded");
    hub.unregister(ids[2], CloseReason::Unregistered).expect("a client");
    hub.unregister(ids[4], CloseReason::Unregistered).expect("a client");
    let late = hub.register(None).expect("randomness").id;
    hub.append(batch, &mut one, late, Some(Seq(1)), "1").expect("the others are gone");
    hub.append(batch, &mut other, ids[3], None, "1").expect("another client has its own");
}

#[test]
fn only_the_presence_task_tells_presence() {
    let (hub, ids) = with_clients::<2>(Limits::default(), false);
    hub.open_channel(ids[0], ids[1]).expect("two clients");
    let reader = claim_reliably(&hub, ids[0]);
    let mut sender = claim(&hub, ids[1]);
    hub.append(&mut hub.batch(), &mut sender, ids[0], None, "\"hello\"").expect("room");
    let begun = hub.with_outbox(&reader, |outbox| String::from_utf8_lossy(outbox.unwritten()).into_owned());
    let begun = begun.expect("the reader's outbox");
    assert!(begun.contains("hello") && !begun.contains("presence"), "{begun}");
    assert!(!written(&hub, &reader, usize::MAX).contains("presence"));
    assert_eq!(hub.tell_presence(), PresenceProgress { has_more: false, has_rung: true });
    assert!(written(&hub, &reader, usize::MAX).contains("\"online\":true"));
}

/// Returns a room of connected reliable clients that were told of each other.
fn room<const COUNT: usize>() -> (Hub, [ClientId; COUNT], Vec<Claim>) {
    let (hub, ids) = with_clients::<COUNT>(Limits::default(), false);
    assert_eq!(hub.open_channels_among(&ids).expect("clients"), COUNT * (COUNT - 1) / 2);
    let claims: Vec<_> = ids.iter().map(|id| claim_reliably(&hub, *id)).collect();
    let told = all_told(&hub, &claims);
    assert!(told.matches("\"online\":true").count() >= COUNT * (COUNT - 1));
    (hub, ids, claims)
}

/// Returns how many connections were told of presence, and everything that was written to them.
fn told(hub: &Hub, claims: &[Claim]) -> (usize, String) {
    let texts: Vec<_> = claims.iter().map(|claim| written(hub, claim, usize::MAX)).collect();
    (texts.iter().filter(|text| text.contains("presence")).count(), texts.concat())
}

/// Tells presence until there is nothing more to tell. Returns everything that was written.
fn all_told(hub: &Hub, claims: &[Claim]) -> String {
    let mut texts = String::new();
    loop {
        let has_more = hub.tell_presence().has_more;
        let (count, text) = told(hub, claims);
        texts += &text;
        if !has_more && count == 0 {
            return texts;
        }
    }
}

#[test]
fn tells_a_room_in_small_steps_that_a_client_left() {
    let (hub, ids, mut claims) = room::<300>();
    let gone = claims.remove(7);
    hub.release(&gone, false, || {}).expect("its outbox");
    assert_eq!(told(&hub, &claims).0, 0, "leaving tells nobody");
    let (mut count, mut steps) = (0, 0);
    loop {
        let has_more = hub.tell_presence().has_more;
        let (more, text) = told(&hub, &claims);
        assert!(more <= 16 && !text.contains("true"), "{more}");
        (count, steps) = (count + more, steps + 1);
        if !has_more {
            break;
        }
    }
    assert_eq!((count, steps >= 19), (299, true));
    // When it comes back all are told of it, and it is told of all.
    claims.insert(7, claim_reliably(&hub, ids[7]));
    let texts = all_told(&hub, &claims);
    assert_eq!(texts.matches("\"clientId\":7,\"online\":true").count(), 299);
    assert_eq!(texts.matches("presence").count(), 2 * 299);
}

#[test]
fn does_not_tell_of_a_client_that_left_and_came_back_at_once() {
    let (hub, ids, mut claims) = room::<100>();
    for _ in 0..23 {
        let gone = claims.remove(7);
        hub.release(&gone, false, || {}).expect("its outbox");
        claims.insert(7, claim_reliably(&hub, ids[7]));
    }
    let text = all_told(&hub, &claims);
    assert_eq!(text.matches("\"clientId\":7,").count(), 0, "nothing has changed for the others");
    assert_eq!(text.matches("presence").count(), 99, "it is told of the others, on its last connection");
}

#[test]
fn removes_a_client_with_many_channels_in_small_steps() {
    let hub = Hub::new(Limits::default(), false).expect("randomness");
    let start = Instant::now();
    let center = hub.register(Some(Duration::from_secs(1))).expect("randomness").id;
    let others: Vec<_> = (0..1000).map(|_| hub.register(None).expect("randomness").id).collect();
    assert_eq!(hub.open_channels_with(center, &others).expect("clients"), 1000);
    assert!(hub.expire(start).is_none());
    let mut removal = hub.expire(start + Duration::from_secs(9)).expect("it is due");
    assert_eq!(hub.totals().channels, 0);
    let mut steps = 1;
    while hub.remove_from_peers(&mut removal) {
        steps += 1;
    }
    assert!(steps >= 8, "{steps}");
    let left = others
        .iter()
        .filter(|id| hub.client(**id).is_some_and(|one| !one.lock().mailbox.senders().is_empty()));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_client_without_channels_leaves_nothing_behind_when_it_is_removed() {
    let (hub, ids) = with_clients::<2>(Limits::default(), false);
    let batch = &mut hub.batch();
    hub.open_channel(ids[0], ids[1]).expect("two clients");
    let mut sender = claim_reliably(&hub, ids[0]);
    hub.append(batch, &mut sender, ids[1], Some(Seq(1)), "1").expect("room");
    hub.close_channel(ids[0], ids[1]).expect("a channel");
    let kept = || hub.client(ids[1]).expect("a client").lock().mailbox.senders().len();
    assert_eq!(kept(), 1, "what recognises a message that is sent again");
    hub.unregister(ids[0], CloseReason::Unregistered).expect("a client");
    assert_eq!(kept(), 0);
}

#[test]
fn wakes_held_senders_when_a_blocked_connection_is_replaced() {
    let long = format!("\"{}\"", "x".repeat(1000));
    // Room for two of these messages, but not while one of them is blocked in an outbox too.
    let limits = Limits { max_total_bytes: 3000, ..Limits::default() };
    let (hub, ids) = with_clients::<2>(limits, false);
    let batch = &mut hub.batch();
    hub.open_channel(ids[0], ids[1]).expect("two clients");
    let reader = claim_reliably(&hub, ids[1]);
    let bell = Arc::default();
    let mut sender = claim_with(&hub, ids[0], &bell).0;
    hub.append(batch, &mut sender, ids[1], None, &long).expect("room");
    assert!(!written(&hub, &reader, 1).is_empty());
    assert_eq!(hub.append(batch, &mut sender, ids[1], None, &long), Err(AppendError::Held));
    let has_rung = || bell.poll_rung(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!has_rung());
    claim_reliably(&hub, ids[1]);
    assert!(has_rung());
    hub.append(batch, &mut sender, ids[1], None, &long).expect("room");
}

#[test]
fn a_replaced_connection_can_change_nothing() {
    let hub = Hub::new(Limits::default(), true).expect("randomness");
    let batch = &mut hub.batch();
    let id = hub.register(None).expect("randomness").id;
    let old_bell = Arc::new(Bell::default());
    let mut old = claim_with(&hub, id, &old_bell).0;
    for message in ["\"gone\"", "\"begun\"", "\"kept\""] {
        hub.append(batch, &mut old, id, None, message).expect("room");
    }
    let frame = written(&hub, &old, 45).len() / 3;
    let (new, has_replaced) = claim_with(&hub, id, &Arc::default());
    assert!(has_replaced);
    let rest = String::from_utf8_lossy(&old_bell.ending().expect("replaced").rest).into_owned();
    assert!(rest.len() < frame && rest.ends_with("un\"}}"), "{rest}");
    assert_eq!(hub.append(batch, &mut old, id, None, "late"), Err(AppendError::Replaced));
    assert_eq!(hub.received(&old, id, Offset(1)), Ok(()));
    assert_eq!(written(&hub, &old, usize::MAX), "");
    assert!(hub.release(&old, false, || unreachable!()).is_none());
    let messages = written(&hub, &new, usize::MAX);
    assert!(!messages.contains("gone") && !messages.contains("late"), "{messages}");
    let (begun, kept) = (messages.find("begun"), messages.find("kept"));
    assert!(begun.is_some() && begun < kept, "{messages}");
    assert!(hub.release(&new, false, || {}).is_some_and(|outbox| outbox.is_empty()));
    assert_eq!(hub.budget.used(), 0);
}

/// A hub with a long and a short message for a plain client whose connection has a write half. They were appended in a
/// batch, the long one from the read buffer, and are not written yet.
struct Appended {
    hub: &'static Hub,
    batch: Batch<'static>,
    recipient: ClientId,
    claim: Claim,
    /// The other end of the recipient's connection.
    peer: tokio::net::TcpStream,
}

async fn append_two() -> Appended {
    let (hub, ids) = with_clients::<2>(Limits::default(), false);
    let hub: &'static Hub = Box::leak(Box::new(hub));
    hub.open_channel(ids[0], ids[1]).expect("both exist");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer =
        tokio::net::TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a listener");
    let (reading, writing) = listener.accept().await.expect("a connection").0.into_split();
    // Dropping the read half would close the connection.
    std::mem::forget(reading);
    writing.writable().await.expect("room");
    let (bell, outbox, writer) =
        (&Arc::default(), &mut Outbox::default(), &mut Some(SharedWriter::Tcp(writing)));
    let request = ClaimRequest { bell, outbox, writer, session: None };
    let ClaimOutcome::Claimed(claim) = hub.claim(ids[1], request, |_, _| {}) else { panic!("it exists") };
    let (mut batch, mut sender) = (hub.batch(), self::claim(hub, ids[0]));
    read_buffer::fill(|buffer| {
        buffer[..LONG_MESSAGE_BYTES].copy_from_slice(long().as_bytes());
        let read = std::str::from_utf8(&buffer[..LONG_MESSAGE_BYTES]).expect("text");
        for message in [read, SHORT] {
            hub.append(&mut batch, &mut sender, ids[1], None, message).expect("room");
        }
    });
    Appended { hub, batch, recipient: ids[1], claim, peer }
}

const SHORT: &str = "\"short\"";

fn long() -> String {
    format!("\"{}\"", "x".repeat(LONG_MESSAGE_BYTES - 2))
}

/// Whether the long message is in the text once, and the short one once behind it.
fn are_both_in(text: &str) -> bool {
    let places = |message: &str| text.match_indices(message).map(|(place, _)| place).collect::<Vec<_>>();
    matches!((&*places(&long()), &*places(SHORT)), ([first], [second]) if first < second)
}

#[tokio::test]
#[cfg_attr(miri, ignore = "needs a writer")]
async fn a_message_written_from_the_read_buffer_arrives() {
    let Appended { hub, batch, claim, peer, .. } = append_two().await;
    drop(batch);
    let mut text = String::new();
    while !text.contains(SHORT) {
        peer.readable().await.expect("something");
        let mut bytes = [0; LONG_MESSAGE_BYTES];
        let length = peer.try_read(&mut bytes).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    assert!(are_both_in(&text));
    assert!(!hub.has_waiting(&claim));
}

#[tokio::test]
#[cfg_attr(miri, ignore = "needs a writer")]
async fn a_connection_that_takes_over_gets_a_message_from_the_read_buffer() {
    let Appended { hub, batch, recipient, .. } = append_two().await;
    let next = claim(hub, recipient);
    // The buffer may be filled again.
    read_buffer::fill(|buffer| buffer.fill(b'?'));
    drop(batch);
    assert!(are_both_in(&written(hub, &next, usize::MAX)));
}

#[tokio::test]
#[cfg_attr(miri, ignore = "needs a writer")]
async fn the_recipients_session_may_write_before_the_batch_ends() {
    let Appended { hub, batch, claim, peer, .. } = append_two().await;
    assert!(are_both_in(&written(hub, &claim, usize::MAX)));
    drop(batch);
    assert_eq!(peer.try_read(&mut [0]).expect_err("nothing was written").kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn holds_a_client_that_does_not_confirm_notices_of_expired_messages() {
    const TARGETS: usize = Limits::MAX_UNSENT_NOTICES + 500;
    let ttl = Duration::from_secs(3600);
    let (hub, ids) = with_clients::<{ TARGETS + 1 }>(Limits { message_ttl: ttl, ..Limits::default() }, true);
    let batch = &mut hub.batch();
    let (sender, targets) = ids.split_first().expect("a sender");
    let mut claim = claim_reliably(&hub, *sender);
    let count = || hub.budget.used();
    let cost = |notices: usize| notices.saturating_sub(Limits::FREE_NOTICES) * Limits::NOTICE_OVERHEAD;
    let mut append =
        |claim: &mut Claim, to: ClientId, seq| hub.append(batch, claim, to, Some(Seq(seq)), "\"\"");
    let expire = || while !hub.expire_messages(Instant::now() + 2 * ttl).is_empty() {};
    for target in targets {
        append(&mut claim, *target, 1).expect("room");
    }
    expire();
    assert_eq!(count(), cost(TARGETS));
    assert_eq!(append(&mut claim, targets[0], 2), Err(AppendError::Full));
    assert_eq!(append(&mut claim, targets[0], 1), Ok(super::Appended::Duplicate(Seq(1))), "it was accepted");
    while written(&hub, &claim, usize::MAX).contains("ERR_MESSAGE_EXPIRED") {}
    assert_eq!(count(), cost(Limits::MAX_UNACKNOWLEDGED_NOTICES), "not confirmed");
    assert_eq!(append(&mut claim, targets[0], 2), Ok(super::Appended::New));
    hub.heartbeat_sent(&claim);
    hub.heartbeat_answered(&claim);
    expire();
    assert_eq!(count(), 0);
    // Unsent notices go with the session, and with the client.
    for (forget, seq) in [(true, 3), (false, 3)] {
        for target in targets {
            append(&mut claim, *target, seq).ok();
        }
        expire();
        assert!(count() > 0);
        match forget {
            true => claim = claim_with_session(&hub, *sender, "00000000000000bb"),
            false => drop(hub.unregister(*sender, CloseReason::Unregistered)),
        }
        assert_eq!(count(), 0);
    }
}

#[test]
fn counts_what_closing_connections_have_left_to_write() {
    let max = Limits::MAX_UNCOUNTED_CLOSE_BYTES * 4;
    let (hub, _) = with_clients::<1>(Limits { max_total_bytes: max, ..Limits::default() }, true);
    let counted = hub.reserve_for_close(max).expect("room");
    assert_eq!(hub.budget.used(), max);
    assert!(hub.reserve_for_close(Limits::MAX_UNCOUNTED_CLOSE_BYTES + 1).is_none());
    assert!(hub.reserve_for_close(Limits::MAX_UNCOUNTED_CLOSE_BYTES).is_some(), "a short one");
    drop(counted);
    assert_eq!(hub.budget.used(), 0);
    assert!(hub.reserve_for_close(Limits::MAX_UNCOUNTED_CLOSE_BYTES + 1).is_some());
}
