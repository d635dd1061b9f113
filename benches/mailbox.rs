//! Cases of the mailbox, for `npm run bench:instructions`: appending, reading and acknowledging messages.

mod support;

use std::hint::black_box;

use support::{Case, case};
use websocket_relay::ids::{Offset, Seq, SessionId};
use websocket_relay::model::{AppendResult, Mailbox, Window};
use websocket_relay::{ClientId, Limits};

/// The number of messages that are appended before they are read.
const BATCH: u64 = 32;

fn main() {
    let mut cases = Vec::new();
    for (size, title) in [(512, "512 B"), (16_384, "16 KiB")] {
        for senders in [1, 100] {
            cases.push(taken(format!("{BATCH} x {title} from {senders}, taken"), size, senders));
            cases.push(received(
                format!("{BATCH} x {title} from {senders}, read and received"),
                size,
                senders,
            ));
        }
    }
    support::run(cases);
}

fn client(number: u64) -> ClientId {
    ClientId::new(number).expect("a small number")
}

/// The mailbox of a plain client.
fn taken(name: String, size: usize, senders: u64) -> Case {
    let (mut mailbox, limits, json) = (Mailbox::default(), Limits::default(), vec![b'x'; size]);
    case(name, move || {
        for number in 0..BATCH {
            let sender = client(number % senders);
            let appended = mailbox.append(sender, None, black_box(&json), &limits, |_| true);
            assert_eq!(appended, AppendResult::New);
        }
        let mut bytes = 0;
        mailbox.take(|_, message| {
            bytes += black_box(message.json).len();
            true
        });
        assert_eq!(bytes, size * BATCH as usize);
    })
}

/// The mailbox of a reliable client, with numbered messages.
fn received(name: String, size: usize, senders: u64) -> Case {
    let (mut mailbox, limits, json) = (Mailbox::default(), Limits::default(), vec![b'x'; size]);
    let session = SessionId::parse("9f86d081884c7d65").expect("16 digits");
    let window = Window { messages: limits.max_in_flight_messages, bytes: limits.max_in_flight_bytes };
    let (mut seq, mut last) = (0, vec![Offset::default(); senders as usize]);
    case(name, move || {
        for number in 0..BATCH {
            seq += 1;
            let (sender, numbered) = (client(number % senders), Some((session, Seq(seq))));
            let appended = mailbox.append(sender, numbered, black_box(&json), &limits, |_| true);
            assert_eq!(appended, AppendResult::New);
        }
        mailbox.read(window, |sender, _, message, _| {
            last[sender.get() as usize] = black_box(message).offset;
            true
        });
        for (sender, offset) in (0..).map(client).zip(&last).take(BATCH as usize) {
            black_box(mailbox.received(sender, *offset, window).expect("read messages"));
        }
    })
}
