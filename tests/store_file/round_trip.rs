//! What is written is read back.

use websocket_relay::store::{PreviousEnd, Record};

use crate::support::{Directory, channel, client, client_with, id, message, open, removed, session};

#[test]
fn is_created_empty() {
    let directory = Directory::new();
    let opened = open(&directory.store()).unwrap();
    assert_eq!((opened.records.len(), opened.life.starts, opened.life.next_id), (0, 1, 0));
    assert_eq!(opened.database.previous_end(), PreviousEnd::New);
    opened.database.close().unwrap();
    assert_eq!(directory.files(), ["relay.db", "relay.db-lock"]);
}

#[test]
fn gives_back_every_kind_of_record() {
    let directory = Directory::new();
    let mut first = open(&directory.store()).unwrap();
    let batch = [
        client(0),
        client_with(1, "a", Some((5000, 1_700_000_000_000)), Some(r#"{"name":"Ä"}"#)),
        client(2),
        channel(1, 0, None),
        channel(2, 2, Some(2)),
        session(1, Some(7), 1),
        session(1, Some(8), 2),
        message(0, 1, 1 << 32, "first"),
        message(0, 1, (1 << 32) + 1, "\\\"second\\u0000 ü"),
        message(2, 1, 1 << 32, ""),
    ];
    first.database.write(&batch).unwrap();
    let life = first.life;
    drop(first);
    let mut second = open(&directory.store()).unwrap();
    let expected =
        batch.map(|record| if record == channel(1, 0, None) { channel(0, 1, None) } else { record });
    assert_eq!(second.records, expected);
    assert_eq!((second.life.epoch, second.life.starts, second.life.next_id), (life.epoch, 2, 3));
    assert_eq!(second.database.previous_end(), PreviousEnd::Unclean);
    let batch = [
        client_with(1, "b", None, None),
        removed(0, 1, 0, 1 << 32),
        Record::ChannelRemoved(id(0), id(1)),
        Record::ClientRemoved(id(2)),
    ];
    second.database.write(&batch).unwrap();
    second.database.close().unwrap();
    assert_eq!(directory.files(), ["relay.db", "relay.db-lock"]);
    let third = open(&directory.store()).unwrap();
    let expected = [
        client(0),
        client_with(1, "b", None, Some(r#"{"name":"Ä"}"#)),
        session(1, Some(7), 1),
        session(1, Some(8), 2),
        message(0, 1, (1 << 32) + 1, "\\\"second\\u0000 ü"),
    ];
    assert_eq!(third.records, expected);
    assert_eq!((third.life.epoch, third.life.starts, third.life.next_id), (life.epoch, 3, 3));
    assert_eq!((third.life.unregistered, third.database.previous_end()), (1, PreviousEnd::Clean));
}
