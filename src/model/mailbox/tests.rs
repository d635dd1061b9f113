//! Tests of a single mailbox.

use std::time::{Duration, Instant};

use super::reading::BYTES_PER_LANE;
use super::*;

fn id(number: u64) -> ClientId {
    ClientId::new(number).expect("an id")
}

fn session(number: u64) -> SessionId {
    SessionId::parse(&format!("{number:016x}")).expect("16 digits")
}

/// Appends as a plain sender.
fn append(mailbox: &mut Mailbox, sender: u64, message: &str, limits: &Limits) -> AppendResult {
    mailbox.append(id(sender), None, message.as_bytes(), limits, |_| true)
}

/// The bytes that a message of one byte counts, after the first of its lane.
const ONE: usize = 1 + Limits::MESSAGE_OVERHEAD;

fn read_within(mailbox: &mut Mailbox, window: Window, count: usize) -> Vec<(u64, String)> {
    let mut taken = Vec::new();
    if count > 0 {
        mailbox.read(window, |sender, _, message, _| {
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
fn keeps_order_per_sender_and_reads_lanes_in_turn() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
    let big = "x".repeat(BYTES_PER_LANE);
    for (sender, message) in [(1, &*big), (1, "b"), (1, "c"), (2, "d"), (2, "e")] {
        assert_eq!(append(&mut mailbox, sender, message, &limits), AppendResult::New);
    }
    let order: Vec<_> = read(&mut mailbox, 9).iter().map(|(sender, text)| (*sender, text.len())).collect();
    assert_eq!(order, [(1, BYTES_PER_LANE), (2, 1), (2, 1), (1, 1), (1, 1)]);
}

#[test]
fn reads_unreceived_messages_again_after_a_rewind() {
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
    assert_eq!((mailbox.bytes, mailbox.ready_lanes.len()), (0, 0));
}

#[test]
fn full_lane_refuses_only_its_sender_and_names_it_when_there_is_room() {
    let limits = Limits { max_queued_messages: 2, ..Limits::default() };
    let mut mailbox = Mailbox::default();
    append(&mut mailbox, 1, "a", &limits);
    append(&mut mailbox, 1, "b", &limits);
    assert_eq!(append(&mut mailbox, 1, "c", &limits), AppendResult::Full);
    mailbox.hold_sender(id(1));
    assert_eq!(append(&mut mailbox, 2, "d", &limits), AppendResult::New, "another lane has room");
    assert_eq!(take(&mut mailbox).held_senders[..], [id(1)]);
    assert_eq!(append(&mut mailbox, 1, "c", &limits), AppendResult::New, "room again");
}

#[test]
fn bounds_bytes_but_accepts_any_message_when_empty() {
    let limits = Limits {
        max_queued_bytes: 10,
        max_mailbox_bytes: 2 * Limits::LANE_OVERHEAD + 190,
        ..Limits::default()
    };
    let mut mailbox = Mailbox::default();
    assert_eq!(append(&mut mailbox, 1, &"x".repeat(1000), &limits), AppendResult::New);
    assert_eq!(append(&mut mailbox, 2, "x", &limits), AppendResult::Full);
    take(&mut mailbox);
    assert_eq!(append(&mut mailbox, 1, "123456", &limits), AppendResult::New);
    assert_eq!(append(&mut mailbox, 1, "12345", &limits), AppendResult::Full, "the lane's bytes");
    assert_eq!(append(&mut mailbox, 2, "x", &limits), AppendResult::New);
    assert_eq!(append(&mut mailbox, 3, "x", &limits), AppendResult::Full, "the mailbox's bytes");
}

#[test]
fn counts_a_lane_while_it_has_messages_and_creates_none_for_refused_ones() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
    let mut reserved = Vec::new();
    for (sender, has_room) in [(1, true), (1, true), (2, false), (3, true)] {
        let appended = mailbox.append(id(sender), None, b"x", &limits, |bytes| {
            reserved.push(bytes);
            has_room
        });
        assert_eq!(appended, if has_room { AppendResult::New } else { AppendResult::Full });
    }
    let first = ONE + Limits::LANE_OVERHEAD;
    assert_eq!(reserved, [first, ONE, first, first]);
    assert_eq!(mailbox.bytes, 2 * first + ONE);
    assert!(mailbox.lane(id(2)).is_none());
    assert_eq!(take(&mut mailbox).bytes, 2 * first + ONE);
    mailbox.authorize(id(1));
    let message =
        Message { offset: Offset(1), session: SessionId::default(), seq: Seq::default(), json: b"x" };
    assert_eq!(mailbox.put_back(id(1), message), Some(first));
    assert_eq!(mailbox.revoke(id(1)).bytes, first);
}

#[test]
fn window_bounds_messages_in_flight() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
    let window = Window { messages: 3, bytes: 10 };
    for message in ["a", "b", "c", "d", "a long message", "e"] {
        append(&mut mailbox, 1, message, &limits);
    }
    append(&mut mailbox, 2, "of another lane", &limits);
    assert_eq!(read_within(&mut mailbox, window, 9).len(), 4);
    assert_eq!(read_within(&mut mailbox, window, 9), []);
    mailbox.received(id(1), Offset(2), window).expect("read");
    assert_eq!(read_within(&mut mailbox, window, 9), [(1, "d".to_owned())]);
    mailbox.received(id(1), Offset(4), window).expect("read");
    assert_eq!(read_within(&mut mailbox, window, 9), [(1, "a long message".to_owned())]);
    mailbox.received(id(1), Offset(5), window).expect("read");
    assert_eq!(read_within(&mut mailbox, window, 9), [(1, "e".to_owned())]);
}

#[test]
fn rejects_invalid_acknowledgements() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
    for message in ["a", "b", "c"] {
        append(&mut mailbox, 1, message, &limits);
    }
    read(&mut mailbox, 2);
    let mut received = |sender, offset| {
        mailbox.received(id(sender), Offset(offset), Window::UNLIMITED).map(|freed| freed.bytes)
    };
    assert_eq!(received(1, 3), Err(InvalidAck), "not read yet");
    assert_eq!(received(2, 1), Err(InvalidAck), "no such lane");
    assert_eq!(received(1, 2), Ok(2 * ONE));
    assert_eq!(received(1, 2), Ok(0), "repeated");
    assert_eq!(received(1, 1), Err(InvalidAck), "acknowledged before");
    // A session may acknowledge what it read on an earlier connection, but not what another session read.
    read(&mut mailbox, 1);
    mailbox.rewind();
    assert!(mailbox.received(id(1), Offset(3), Window::UNLIMITED).is_ok());
    append(&mut mailbox, 1, "d", &limits);
    read(&mut mailbox, 1);
    mailbox.rewind();
    mailbox.begin_session();
    assert_eq!(mailbox.received(id(1), Offset(4), Window::UNLIMITED), Err(InvalidAck));
}

#[test]
fn drops_expired_messages_that_are_put_back() {
    let (mut mailbox, limits, start) = (Mailbox::default(), Limits::default(), Instant::now());
    let (second, mut taken) = (Duration::from_secs(1), Vec::new());
    mailbox.authorize(id(1));
    append(&mut mailbox, 1, "a", &limits);
    assert!(mailbox.start_ttl(start, second).is_some_and(|check| check > start + second));
    append(&mut mailbox, 1, "b", &limits);
    assert_eq!(mailbox.start_ttl(start + second / 2, second), None, "a check is scheduled");
    mailbox.take(|_, message| {
        taken.push((message.offset, message.json.to_vec()));
        true
    });
    assert_eq!(mailbox.expire(start + second * 5 / 4), (Freed::default(), vec![]));
    assert!(mailbox.schedule_check(false).is_some(), "messages may come back");
    mailbox.hold_sender(id(1));
    for (offset, json) in taken.iter().rev() {
        let (session, seq) = Default::default();
        assert!(mailbox.put_back(id(1), Message { offset: *offset, session, seq, json }).is_some());
    }
    let (freed, expired) = mailbox.expire(start + second * 5 / 4);
    assert_eq!((freed.messages, freed.bytes, &freed.held_senders[..]), (1, ONE, &[id(1)][..]));
    assert_eq!(expired, [ExpiredMessages { sender: id(1), messages: 1, ranges: vec![] }]);
    assert_eq!(read(&mut mailbox, 9), [(1, "b".to_owned())]);
    assert_eq!(mailbox.expire(start + second * 2).1, [], "messages in flight do not expire");
    mailbox.rewind();
    let (freed, _) = mailbox.expire(start + second * 2);
    assert_eq!((freed.messages, freed.bytes), (1, ONE + Limits::LANE_OVERHEAD), "the lane is empty");
    assert!(!mailbox.has_unread() && mailbox.schedule_check(true).is_none() && mailbox.ages.is_none());
}

#[test]
fn receipts_name_the_sending_session() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
    for (page, seq) in [(1, 1), (1, 5), (2, 1)] {
        let number = Some((session(page), Seq(seq)));
        assert_eq!(mailbox.append(id(1), number, b"x", &limits, |_| true), AppendResult::New);
    }
    append(&mut mailbox, 1, "of a plain connection", &limits);
    read(&mut mailbox, 9);
    let mut delivered =
        |upto| mailbox.received(id(1), Offset(upto), Window::UNLIMITED).expect("read").delivered.to_vec();
    assert_eq!(delivered(2), [(id(1), session(1), Seq(5))]);
    assert_eq!(delivered(3), [(id(1), session(2), Seq(1))]);
    assert_eq!(delivered(4), []);
}

#[test]
fn accepts_a_number_once_per_session() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits { max_queued_messages: 3, ..Limits::default() });
    let mut append =
        |page, seq| mailbox.append(id(1), Some((session(page), Seq(seq))), b"x", &limits, |_| true);
    assert_eq!(append(1, 1), AppendResult::New);
    assert_eq!(append(1, 7), AppendResult::New, "numbers may have gaps");
    assert_eq!(append(1, 3), AppendResult::Duplicate(Seq(7)));
    assert_eq!(append(2, 3), AppendResult::New, "another session has numbers of its own");
    assert_eq!(append(2, 4), AppendResult::Full);
    assert_eq!(append(2, 3), AppendResult::Duplicate(Seq(3)), "even if the lane is full");
    assert_eq!(append(1, 7), AppendResult::Duplicate(Seq(7)), "an earlier session is recognised");
}

#[test]
fn merges_adjacent_expired_numbers_into_one_range() {
    let (limits, start, second) = (Limits::default(), Instant::now(), Duration::from_secs(1));
    let (mut mailbox, mut time) = (Mailbox::default(), start);
    let send = |mailbox: &mut Mailbox, numbers: &[u64], time: Instant| {
        for seq in numbers {
            let number = Some((session(1), Seq(*seq)));
            assert_eq!(mailbox.append(id(1), number, b"x", &limits, |_| true), AppendResult::New);
            mailbox.start_ttl(time, second);
        }
    };
    let mut expire = |mailbox: &mut Mailbox| {
        time += 2 * second;
        let (_, expired) = mailbox.expire(time);
        let ranges = expired.into_iter().flat_map(|expired| expired.ranges);
        let ranges = ranges.map(|SeqRange { first, last, previous, .. }| (first.0, last.0, previous.0));
        (ranges.collect::<Vec<_>>(), time)
    };
    send(&mut mailbox, &[1, 3, 5], start);
    let (ranges, now) = expire(&mut mailbox);
    assert_eq!(ranges, [(1, 5, 0)], "a range covers numbers that were never accepted");
    send(&mut mailbox, &[7, 9], now);
    let (ranges, now) = expire(&mut mailbox);
    assert_eq!(ranges, [(7, 9, 5)], "nothing was read between them");
    // A message is in flight while later ones expire, and comes back.
    send(&mut mailbox, &[11, 13, 15], now);
    assert_eq!(read(&mut mailbox, 1).len(), 1);
    let (ranges, now) = expire(&mut mailbox);
    assert_eq!(ranges, [(13, 15, 0)], "a message in flight is not in the range");
    send(&mut mailbox, &[17], now);
    mailbox.rewind();
    assert_eq!(expire(&mut mailbox).0, [(11, 11, 0), (17, 17, 0)], "the ones between were reported before");
    // A message is in flight while later ones expire, comes back, and expires before the next one is sent.
    let (_, now) = expire(&mut mailbox);
    send(&mut mailbox, &[31, 33], now);
    assert_eq!(read(&mut mailbox, 1).len(), 1);
    let (ranges, _) = expire(&mut mailbox);
    assert_eq!(ranges, [(33, 33, 0)]);
    mailbox.rewind();
    let (ranges, now) = expire(&mut mailbox);
    assert_eq!(ranges, [(31, 31, 0)]);
    send(&mut mailbox, &[35], now);
    assert_eq!(expire(&mut mailbox).0, [(35, 35, 0)], "33 was reported before");
    // A message that is dropped with its channel has not expired.
    let (_, now) = expire(&mut mailbox);
    send(&mut mailbox, &[39], now);
    mailbox.revoke(id(1));
    send(&mut mailbox, &[41], now);
    assert_eq!(expire(&mut mailbox).0, [(41, 41, 0)]);
}

#[test]
fn does_not_merge_ranges_across_a_message_that_was_put_back() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits::default());
    let (start, second, mut taken) = (Instant::now(), Duration::from_secs(1), Vec::new());
    mailbox.authorize(id(1));
    let send = |mailbox: &mut Mailbox, seq: u64, time: Instant| {
        mailbox.append(id(1), Some((session(1), Seq(seq))), b"x", &limits, |_| true);
        mailbox.start_ttl(time, second);
    };
    let ranges = |(_, expired): (Freed, Vec<ExpiredMessages>)| {
        let numbers = expired.into_iter().flat_map(|expired| expired.ranges);
        numbers.map(|numbers| (numbers.first.0, numbers.last.0, numbers.previous.0)).collect::<Vec<_>>()
    };
    // A plain recipient's connection takes the first message, and ends after the second has expired.
    send(&mut mailbox, 1, start);
    mailbox.take(|_, message| {
        taken.push((message.offset, message.session, message.seq));
        true
    });
    send(&mut mailbox, 3, start);
    assert_eq!(ranges(mailbox.expire(start + 2 * second)), [(3, 3, 0)]);
    for (offset, session, seq) in taken {
        assert!(mailbox.put_back(id(1), Message { offset, session, seq, json: b"x" }).is_some());
    }
    send(&mut mailbox, 5, start + 2 * second);
    assert_eq!(ranges(mailbox.expire(start + 4 * second)), [(1, 1, 0), (5, 5, 0)]);
}

#[test]
fn frees_its_tables_when_emptied() {
    let (mut mailbox, limits, start) = (Mailbox::default(), Limits::default(), Instant::now());
    let fill = |mailbox: &mut Mailbox| {
        for sender in 0..1000 {
            mailbox.authorize(id(sender));
            append(mailbox, sender, "x", &limits);
        }
        mailbox.start_ttl(start, Duration::from_secs(1));
    };
    fill(&mut mailbox);
    mailbox.expire(start + Duration::from_secs(2));
    assert_eq!(mailbox.ready_lanes.capacity(), 0);
    for sender in 0..1000 {
        mailbox.revoke(id(sender));
    }
    assert!(mailbox.lanes.capacity() < 100, "{}", mailbox.lanes.capacity());
    fill(&mut mailbox);
    for sender in 0..1000 {
        mailbox.forget(id(sender));
    }
    assert_eq!((mailbox.ready_lanes.capacity(), mailbox.bytes), (0, 0));
    assert!(mailbox.lanes.capacity() < 100, "{}", mailbox.lanes.capacity());
}
