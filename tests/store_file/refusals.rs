//! A store that cannot be used says why, and is not changed.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use websocket_relay::error::StoreError;
use websocket_relay::store::{Database, Durability, Record, StoreOptions};

use crate::support::{Directory, client, message, open};

/// Opens a store and returns the code of its error.
fn code(path: &Path) -> &'static str {
    match open(path) {
        Ok(_) => "opened",
        Err(error) => {
            println!("{error}");
            error.code()
        }
    }
}

/// Creates a store with something in it, which was closed.
fn create(path: &Path) {
    let mut opened = open(path).unwrap();
    opened.database.write(&[client(0), client(1), message(0, 1, 1, "kept")]).unwrap();
    opened.database.close().unwrap();
}

/// Asserts that opening fails with this code, and leaves the directory as it is.
fn assert_refused(directory: &Directory, expected: &str) {
    let content = || -> Vec<_> {
        let read = |name: String| (fs::read(directory.path().join(&name)).ok(), name);
        directory.files().into_iter().map(read).collect()
    };
    let before = content();
    assert_eq!(code(&directory.store()), expected);
    assert!(content() == before, "changed: {:?}", directory.files());
}

#[test]
fn a_second_server_is_kept_out() {
    let directory = Directory::new();
    let first = open(&directory.store()).unwrap();
    assert_eq!(code(&directory.store()), "ERR_STORE_LOCKED");
    let link = directory.path().join("link.db");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(directory.store(), &link).unwrap();
        assert_eq!(code(&link), "ERR_STORE_LOCKED");
    }
    drop(first);
    assert_eq!(code(&directory.store()), "opened");
}

#[cfg(unix)]
#[test]
fn a_server_whose_lock_was_removed_writes_nothing_more() {
    let directory = Directory::new();
    let mut first = open(&directory.store()).unwrap();
    first.database.write(&[client(0)]).unwrap();
    fs::remove_file(directory.path().join("relay.db-lock")).unwrap();
    let mut second = open(&directory.store()).unwrap();
    second.database.write(&[client(1)]).unwrap();
    let error = first.database.write(&[client(2)]).unwrap_err();
    assert_eq!(error.code(), "ERR_STORE_LOCKED");
    first.database.close().unwrap_err();
    second.database.close().unwrap();
    assert_eq!(open(&directory.store()).unwrap().records, [client(0), client(1)]);
}

#[cfg(unix)]
#[test]
fn a_server_in_another_process_is_kept_out() {
    let directory = Directory::new();
    create(&directory.store());
    let lock = directory.path().join("relay.db-lock");
    let mut flock = Command::new("flock");
    flock.arg(&lock).args(["-c", "echo locked; read line"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut other) = flock.spawn() else {
        println!("skipped: there is no flock here");
        return;
    };
    let mut line = String::new();
    BufReader::new(other.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(code(&directory.store()), "ERR_STORE_LOCKED");
    other.wait().unwrap();
    assert_eq!(code(&directory.store()), "opened");
}

#[test]
fn others_may_read_it_while_it_is_used() {
    let directory = Directory::new();
    let mut opened = open(&directory.store()).unwrap();
    opened.database.write(&[client(0), message(0, 0, 1, "hello")]).unwrap();
    let reader = Connection::open(directory.store()).unwrap();
    let body = || reader.query_row("SELECT body FROM messages", [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(body(), r#""hello""#);
    opened.database.write(&[message(0, 0, 2, "there")]).unwrap();
    let mut statement = reader.prepare("SELECT body FROM messages").unwrap();
    let mut rows = statement.query([]).unwrap();
    rows.next().unwrap().unwrap();
    // It reads while the store is closed.
    opened.database.close().unwrap();
    assert_eq!(rows.next().unwrap().unwrap().get::<_, String>(0).unwrap(), r#""there""#);
    drop(rows);
    drop(statement);
    assert_eq!(open(&directory.store()).unwrap().records.len(), 3);
}

#[test]
fn names_a_directory_that_is_missing() {
    let directory = Directory::new();
    assert_eq!(code(&directory.path().join("none").join("relay.db")), "ERR_STORE_NOT_FOUND");
    File::create(directory.path().join("file")).unwrap();
    assert_eq!(code(&directory.path().join("file").join("relay.db")), "ERR_STORE_NOT_FOUND");
    assert_eq!(directory.files(), ["file"]);
}

#[test]
fn refuses_what_is_no_store() {
    let directory = Directory::new();
    fs::create_dir(directory.store()).unwrap();
    assert_eq!(code(&directory.store()), "ERR_STORE_FORMAT");
    assert_eq!(code(Path::new("/")), "ERR_STORE_FORMAT");
    fs::remove_dir(directory.store()).unwrap();
    for content in ["a text", &"a longer text ".repeat(1000)] {
        fs::write(directory.store(), content).unwrap();
        assert_refused(&directory, "ERR_STORE_FORMAT");
    }
    fs::remove_file(directory.store()).unwrap();
    let other = Connection::open(directory.store()).unwrap();
    other.execute_batch("CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('bread')").unwrap();
    drop(other);
    assert_refused(&directory, "ERR_STORE_FORMAT");
    let other = Connection::open(directory.store()).unwrap();
    other
        .execute_batch("PRAGMA application_id = 7; PRAGMA user_version = 1; PRAGMA journal_mode = WAL")
        .unwrap();
    drop(other);
    assert_refused(&directory, "ERR_STORE_FORMAT");
}

#[test]
fn takes_an_empty_file_or_database_for_a_new_store() {
    let directory = Directory::new();
    File::create(directory.store()).unwrap();
    assert_eq!(code(&directory.store()), "opened");
    let directory = Directory::new();
    Connection::open(directory.store()).unwrap().execute_batch("PRAGMA journal_mode = WAL; VACUUM").unwrap();
    assert_eq!(code(&directory.store()), "opened");
}

#[test]
fn refuses_a_newer_format() {
    let directory = Directory::new();
    create(&directory.store());
    let newer = Connection::open(directory.store()).unwrap();
    newer.execute_batch("PRAGMA user_version = 2; DROP TABLE clients").unwrap();
    newer.close().unwrap();
    assert_refused(&directory, "ERR_STORE_VERSION");
    match open(&directory.store()) {
        Err(StoreError::Version { found, known, .. }) => assert_eq!((found, known), (2, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn refuses_tables_that_are_not_as_they_were_created() {
    for change in [
        "DROP TABLE sessions",
        "ALTER TABLE clients ADD COLUMN name TEXT",
        "DROP INDEX lanes",
        "DELETE FROM meta",
        "DELETE FROM messages",
        "UPDATE clients SET data = 'x' WHERE id = 0",
        "UPDATE clients SET token = x'00', checksum = 0",
        "UPDATE clients SET id = -1 WHERE id = 0",
        "UPDATE messages SET body = x'2200ff22'",
        "UPDATE messages SET recipient = 'x'",
        "UPDATE messages SET kind = 1",
        // The index says what the table does not.
        "PRAGMA writable_schema = ON; CREATE TEMP TABLE hidden AS SELECT * FROM sqlite_schema WHERE name = 'lanes'; \
         DELETE FROM sqlite_schema WHERE name = 'lanes'; PRAGMA writable_schema = RESET; \
         UPDATE messages SET number = number + 100; \
         PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT * FROM hidden; PRAGMA writable_schema = RESET",
        "UPDATE meta SET next_id = 0",
        "UPDATE meta SET epoch = 'z'",
        "INSERT INTO meta SELECT * FROM meta",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = -5",
    ] {
        let directory = Directory::new();
        create(&directory.store());
        let other = Connection::open(directory.store()).unwrap();
        other.execute_batch(change).unwrap();
        other.close().unwrap();
        let error = open(&directory.store()).expect_err(change);
        println!("{change}: {error}");
        assert_eq!(error.code(), "ERR_STORE_DAMAGED", "{change}");
    }
}

#[test]
fn goes_on_with_a_copy_that_another_program_has_made() {
    let directory = Directory::new();
    create(&directory.store());
    let copy = Directory::new();
    let other = Connection::open(directory.store()).unwrap();
    other.execute("VACUUM INTO ?", [copy.store().to_str().unwrap()]).unwrap();
    let opened = open(&copy.store()).unwrap();
    assert_eq!(opened.records, [client(0), client(1), message(0, 1, 1, "kept")]);
}

#[test]
fn what_cannot_be_loaded_is_not_changed() {
    let directory = Directory::new();
    create(&directory.store());
    let content = || fs::read(directory.store()).unwrap();
    let before = content();
    let too_large = StoreError::TooLarge { path: "relay.db".to_owned(), limit: 1 };
    let options = StoreOptions { path: directory.store(), durability: Durability::Written };
    let result = Database::open(&options, |record| match record {
        Record::Message(_) => Err(too_large.clone()),
        _ => Ok(()),
    });
    assert_eq!(result.unwrap_err(), too_large);
    assert!(content() == before);
    assert_eq!(open(&directory.store()).unwrap().life.starts, 2);
}

/// Runs `chattr`, which is the one way to keep root from writing. Returns whether it worked.
fn set_immutable(path: &Path, is_immutable: bool) -> bool {
    let flag = if is_immutable { "+i" } else { "-i" };
    Command::new("chattr").arg(flag).arg(path).output().is_ok_and(|output| output.status.success())
}

#[test]
fn names_a_file_or_directory_that_cannot_be_written() {
    // Not in memory: files there cannot be made immutable.
    let directory = Directory::within(&std::env::temp_dir());
    create(&directory.store());
    let lock = directory.path().join("relay.db-lock");
    let mut tried = 0;
    for path in [&directory.store(), &lock, &directory.path().to_owned()] {
        // Without the file beside the store, it has to be created.
        let creates = path == directory.path() && fs::remove_file(&lock).is_ok();
        if !set_immutable(path, true) {
            println!("skipped: chattr does not work for {}", path.display());
            continue;
        }
        let found = code(&directory.store());
        assert!(set_immutable(path, false));
        assert_eq!(found, "ERR_STORE_ACCESS", "{}, {creates}", path.display());
        tried += 1;
    }
    println!("{tried} tried");
    assert_eq!(code(&directory.store()), "opened");
}
