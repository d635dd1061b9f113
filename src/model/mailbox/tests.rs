//! One mailbox by itself.

use std::time::{Duration, Instant};

use super::reading::TURN_BYTES;
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
    let order: Vec<_> = read(&mut mailbox, 9).iter().map(|(sender, text)| (*sender, text.len())).collect();
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
    assert_eq!((mailbox.bytes, mailbox.ready_lanes.len()), (0, 0));
}

#[test]
fn a_full_lane_refuses_its_own_sender_only_and_names_it_when_there_is_room() {
    let limits = Limits { max_queued_messages: 2, ..Limits::default() };
    let mut mailbox = Mailbox::default();
    append(&mut mailbox, 1, "a", &limits);
    append(&mut mailbox, 1, "b", &limits);
    assert_eq!(append(&mut mailbox, 1, "c", &limits), Appended::Full);
    mailbox.hold_sender(id(1));
    assert_eq!(append(&mut mailbox, 2, "d", &limits), Appended::New, "another lane has room");
    assert_eq!(take(&mut mailbox).held_senders[..], [id(1)]);
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
    assert_eq!(append(&mut mailbox, 2, "x", &limits), Appended::Full);
    take(&mut mailbox);
    assert_eq!(append(&mut mailbox, 1, "123456", &limits), Appended::New);
    assert_eq!(append(&mut mailbox, 1, "12345", &limits), Appended::Full, "the lane's bytes");
    assert_eq!(append(&mut mailbox, 2, "x", &limits), Appended::New);
    assert_eq!(append(&mut mailbox, 3, "x", &limits), Appended::Full, "the mailbox's bytes");
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
    assert_eq!(received(1, 3), Err(InvalidAck), "not given yet");
    assert_eq!(received(2, 1), Err(InvalidAck), "no such lane");
    assert_eq!(received(1, 2), Ok(2 * ONE));
    assert_eq!(received(1, 2), Ok(0), "once more");
    assert_eq!(received(1, 1), Err(InvalidAck), "long before");
    // What an older session was given, the next was not; what it was given itself it was, on whatever connection.
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
fn what_comes_back_when_its_time_is_over_is_dropped() {
    let (mut mailbox, limits, start) = (Mailbox::default(), Limits::default(), Instant::now());
    let (second, mut taken) = (Duration::from_secs(1), Vec::new());
    mailbox.authorize(id(1));
    append(&mut mailbox, 1, "a", &limits);
    assert!(mailbox.start_ttl(start, second).is_some_and(|visit| visit > start + second));
    append(&mut mailbox, 1, "b", &limits);
    assert_eq!(mailbox.start_ttl(start + second / 2, second), None, "somebody will look already");
    mailbox.take(|_, message| {
        taken.push((message.offset, message.seq, message.json.to_vec()));
        true
    });
    assert_eq!(mailbox.expire(start + second * 5 / 4), (Freed::default(), vec![]));
    assert!(mailbox.schedule_check(false).is_some(), "they may come back");
    mailbox.hold_sender(id(1));
    for (offset, seq, json) in taken.iter().rev() {
        assert!(mailbox.put_back(id(1), Message { offset: *offset, seq: *seq, json }).is_some());
    }
    let (freed, expired) = mailbox.expire(start + second * 5 / 4);
    assert_eq!((freed.messages, freed.bytes, &freed.held_senders[..]), (1, ONE, &[id(1)][..]));
    assert_eq!(expired, [ExpiredMessages { sender: id(1), messages: 1, ranges: vec![] }]);
    assert_eq!(read(&mut mailbox, 9), [(1, "b".to_owned())]);
    assert_eq!(mailbox.expire(start + second * 2).1, [], "what is on its way does not expire");
    mailbox.rewind();
    let (freed, _) = mailbox.expire(start + second * 2);
    assert_eq!((freed.messages, freed.bytes), (1, ONE + Limits::LANE_OVERHEAD), "its lane is empty");
    assert!(!mailbox.has_unread() && mailbox.schedule_check(true).is_none() && mailbox.ages.is_none());
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
        |upto| mailbox.received(id(1), Offset(upto), Window::UNLIMITED).expect("given").delivered.to_vec();
    assert_eq!(delivered(2), [], "nobody is left to hear of the first session's");
    assert_eq!(delivered(3), [(id(1), session(2), Seq(1))]);
    assert_eq!(delivered(4), []);
}

#[test]
fn a_number_is_taken_once_per_session() {
    let (mut mailbox, limits) = (Mailbox::default(), Limits { max_queued_messages: 3, ..Limits::default() });
    let mut append =
        |page, seq| mailbox.append(id(1), Some((session(page), Seq(seq))), b"x", &limits, |_| true);
    assert_eq!(append(1, 1), Appended::New);
    assert_eq!(append(1, 7), Appended::New, "what was refused leaves a gap");
    assert_eq!(append(1, 3), Appended::Duplicate(Seq(7)));
    assert_eq!(append(2, 3), Appended::New, "another session counts anew");
    assert_eq!(append(2, 4), Appended::Full);
    assert_eq!(append(2, 3), Appended::Duplicate(Seq(3)), "also when the lane is full");
    assert_eq!(append(1, 7), Appended::Duplicate(Seq(7)), "a session that comes back goes on where it was");
}

#[test]
fn what_expires_one_behind_the_other_is_one_range_and_nothing_else_lies_in_it() {
    let (limits, start, second) = (Limits::default(), Instant::now(), Duration::from_secs(1));
    let (mut mailbox, mut time) = (Mailbox::default(), start);
    let send = |mailbox: &mut Mailbox, numbers: &[u64], time: Instant| {
        for seq in numbers {
            let number = Some((session(1), Seq(*seq)));
            assert_eq!(mailbox.append(id(1), number, b"x", &limits, |_| true), Appended::New);
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
    assert_eq!(ranges, [(1, 5, 0)], "what was never taken is named with them");
    send(&mut mailbox, &[7, 9], now);
    let (ranges, now) = expire(&mut mailbox);
    assert_eq!(ranges, [(7, 9, 5)], "nothing was read in between");
    // One is on its way when others expire behind it, and comes back.
    send(&mut mailbox, &[11, 13, 15], now);
    assert_eq!(read(&mut mailbox, 1).len(), 1);
    let (ranges, now) = expire(&mut mailbox);
    assert_eq!(ranges, [(13, 15, 0)], "what is read is none of them");
    send(&mut mailbox, &[17], now);
    mailbox.rewind();
    assert_eq!(expire(&mut mailbox).0, [(11, 11, 0), (17, 17, 0)], "those between them were told");
    // What is dropped with its channel has not expired.
    let (_, now) = expire(&mut mailbox);
    send(&mut mailbox, &[19], now);
    mailbox.revoke(id(1));
    send(&mut mailbox, &[21], now);
    assert_eq!(expire(&mut mailbox).0, [(21, 21, 0)]);
}

#[test]
fn what_comes_back_and_expires_is_not_named_with_what_did_before() {
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
    // A plain recipient's connection takes the first, and ends when the second has expired.
    send(&mut mailbox, 1, start);
    mailbox.take(|_, message| {
        taken.push((message.offset, message.seq));
        true
    });
    send(&mut mailbox, 3, start);
    assert_eq!(ranges(mailbox.expire(start + 2 * second)), [(3, 3, 0)]);
    for (offset, seq) in taken {
        assert!(mailbox.put_back(id(1), Message { offset, seq, json: b"x" }).is_some());
    }
    send(&mut mailbox, 5, start + 2 * second);
    assert_eq!(ranges(mailbox.expire(start + 4 * second)), [(1, 1, 0), (5, 5, 0)]);
}

#[test]
fn a_mailbox_that_was_full_keeps_no_tables() {
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
