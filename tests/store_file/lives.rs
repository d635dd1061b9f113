//! The epoch changes exactly when accepted messages may have been lost.

use std::fs;

use websocket_relay::store::{Durability, Environment, PreviousEnd};

use crate::support::{Directory, Opened, booted, client, message, open, open_with};

const NO_NAME: Environment = Environment { vfs: None, boot: None, log_pages: 1000 };

/// Lives once with a message, ends, and opens the store again.
fn live_and_reopen(
    durability: Durability,
    is_closed: bool,
    [before, after]: [&Environment; 2],
) -> (Opened, bool) {
    let directory = Directory::new();
    let Opened { mut database, life, .. } = open_with(&directory.store(), durability, before).unwrap();
    database.write(&[client(0), message(0, 0, 1, "kept")]).unwrap();
    if is_closed {
        database.close().unwrap();
    } else {
        drop(database);
    }
    let again = open_with(&directory.store(), Durability::Written, after).unwrap();
    assert_eq!(again.records, [client(0), message(0, 0, 1, "kept")], "what is there is not thrown away");
    let has_changed = again.life.epoch != life.epoch;
    (again, has_changed)
}

#[test]
fn epoch_changes_only_after_a_loss_of_power_that_may_have_lost_something() {
    use Durability::{Synced, Written};
    use PreviousEnd::{Clean, Lossy, Unclean};
    let [one, two] = [booted("one"), booted("two")];
    for (durability, is_closed, boots, expected) in [
        (Written, true, [&one, &one], Clean),
        (Written, true, [&one, &two], Clean),
        (Written, true, [&NO_NAME, &NO_NAME], Clean),
        (Written, false, [&one, &one], Unclean),
        (Written, false, [&one, &two], Lossy),
        (Written, false, [&NO_NAME, &NO_NAME], Lossy),
        (Written, false, [&one, &NO_NAME], Lossy),
        (Written, false, [&NO_NAME, &one], Lossy),
        (Synced, true, [&one, &one], Clean),
        (Synced, false, [&one, &one], Unclean),
        (Synced, false, [&one, &two], Unclean),
        (Synced, false, [&NO_NAME, &NO_NAME], Unclean),
    ] {
        let (again, has_changed) = live_and_reopen(durability, is_closed, boots);
        let found = (again.database.previous_end(), has_changed);
        assert_eq!(found, (expected, expected == Lossy), "{durability:?}, closed: {is_closed}, {boots:?}");
    }
}

#[test]
fn each_new_store_has_another_epoch() {
    let [one, two] = [Directory::new(), Directory::new()];
    assert_ne!(open(&one.store()).unwrap().life.epoch, open(&two.store()).unwrap().life.epoch);
}

/// An unclean life of three commits. Returns its files before the last two commits, and after them.
fn copies(directory: &Directory) -> [Vec<(String, Vec<u8>)>; 2] {
    let copy = || {
        let read = |name: String| {
            let content = fs::read(directory.path().join(&name)).unwrap();
            (name, content)
        };
        directory.files().into_iter().filter(|name| !name.ends_with("-shm")).map(read).collect()
    };
    let Opened { mut database, .. } = open(&directory.store()).unwrap();
    database.write(&[client(0)]).unwrap();
    let before = copy();
    database.write(&[message(0, 0, 1, "one")]).unwrap();
    database.write(&[message(0, 0, 2, "two")]).unwrap();
    drop(database);
    [before, copy()]
}

/// Opens a store that is made of these files.
fn open_copy(files: &[(String, Vec<u8>)]) -> (Opened, Directory) {
    let directory = Directory::new();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    (open(&directory.store()).unwrap(), directory)
}

#[test]
fn epoch_changes_when_the_log_is_gone_or_older_than_what_was_accepted() {
    let directory = Directory::new();
    let [before, after] = copies(&directory);
    let (whole, _whole) = open_copy(&after);
    assert_eq!((whole.records.len(), whole.database.previous_end()), (3, PreviousEnd::Unclean));
    let without = |files: &[(String, Vec<u8>)], end: &str| -> Vec<(String, Vec<u8>)> {
        files.iter().filter(|(name, _)| !name.ends_with(end)).cloned().collect()
    };
    // Somebody has removed the log.
    let (no_log, _no_log) = open_copy(&without(&after, "-wal"));
    assert_eq!((no_log.records.len(), no_log.database.previous_end()), (0, PreviousEnd::Lossy));
    // Somebody has moved the file and the log, and nothing tells whether the log is whole.
    let (moved, _moved) = open_copy(&without(&after, "-lock"));
    assert_eq!((moved.records.len(), moved.database.previous_end()), (3, PreviousEnd::Lossy));
    assert_ne!(moved.life.epoch, whole.life.epoch);
    // Somebody has restored a copy that was made while the server ran.
    let mut restored = without(&before, "-lock");
    restored.extend(after.iter().filter(|(name, _)| name.ends_with("-lock")).cloned());
    let (restored, _restored) = open_copy(&restored);
    assert_eq!((restored.records.len(), restored.database.previous_end()), (1, PreviousEnd::Lossy));
}

#[test]
fn epoch_changes_when_a_copy_of_an_earlier_life_is_restored() {
    let directory = Directory::new();
    let path = directory.store();
    open(&path).unwrap().database.close().unwrap();
    let copy = fs::read(&path).unwrap();
    let mut second = open(&path).unwrap();
    assert_eq!(second.database.previous_end(), PreviousEnd::Clean);
    second.database.write(&[client(0), message(0, 0, 1, "lost")]).unwrap();
    second.database.close().unwrap();
    fs::write(&path, copy).unwrap();
    let third = open(&path).unwrap();
    assert_eq!((third.records.len(), third.database.previous_end()), (0, PreviousEnd::Lossy));
    assert_ne!(third.life.epoch, second.life.epoch);
}

#[test]
fn a_file_that_was_closed_can_be_moved_alone() {
    let directory = Directory::new();
    let mut first = open(&directory.store()).unwrap();
    first.database.write(&[client(0)]).unwrap();
    first.database.close().unwrap();
    let other = Directory::new();
    fs::rename(directory.store(), other.store()).unwrap();
    let second = open(&other.store()).unwrap();
    assert_eq!((second.records.len(), second.database.previous_end()), (1, PreviousEnd::Clean));
    assert_eq!(second.life.epoch, first.life.epoch);
}

#[test]
fn a_start_that_nothing_came_of_changes_nothing() {
    let directory = Directory::new();
    let first = open(&directory.store()).unwrap();
    drop(first.database);
    for starts in 2..5 {
        let next = open(&directory.store()).unwrap();
        assert_eq!((next.life.starts, next.life.epoch), (starts, first.life.epoch));
    }
}
