//! The tables of the file, and how an older file gets them.

use rusqlite::{Connection, OptionalExtension};

use super::failure::Named;
use crate::error::StoreError;

/// Tells `file`, and us, whose database it is: "wsrl".
pub(super) const APPLICATION_ID: i32 = 0x7773_726c;

/// The statements that lead from each format to the next one; the first one creates the tables. A released entry never
/// changes: a new format is a new entry.
pub(super) const FORMATS: &[&str] = &[FORMAT_1];

/// `sessions.position` counts up: a client's session with the highest one is current. A channel has a row for each of its ends.
/// Ids of sessions and lives and the epoch are hex digits as on the wire, times are milliseconds since 1970, lifetimes
/// milliseconds. `messages.kind` is 0 for text.
///
/// Messages are in the order in which they were committed, and an index finds them: with 512 bytes each, scattered over 10,000
/// recipients, that takes 11 µs of CPU to write one, and 38 µs if they are in the order of the index; 0.5 s and 1 s to read
/// back a million. The index is the only one, and it is compared with the table when that is read.
const FORMAT_1: &str = "
    CREATE TABLE meta (
        epoch TEXT NOT NULL, starts INTEGER NOT NULL, life TEXT NOT NULL, durability TEXT NOT NULL, boot TEXT,
        clean INTEGER NOT NULL, commits INTEGER NOT NULL, next_id INTEGER NOT NULL, unregistered INTEGER NOT NULL,
        row_count INTEGER NOT NULL, row_sum INTEGER NOT NULL, checksum INTEGER NOT NULL
    );
    CREATE TABLE clients (
        id INTEGER PRIMARY KEY, token BLOB NOT NULL, lifetime INTEGER, ends_at INTEGER, data TEXT, checksum INTEGER NOT NULL
    );
    CREATE TABLE channels (
        client INTEGER NOT NULL, peer INTEGER NOT NULL, opened_by INTEGER, checksum INTEGER NOT NULL,
        PRIMARY KEY (client, peer)
    ) WITHOUT ROWID;
    CREATE TABLE sessions (
        client INTEGER NOT NULL, position INTEGER NOT NULL, session TEXT, connection INTEGER NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (client, position)
    ) WITHOUT ROWID;
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY, recipient INTEGER NOT NULL, sender INTEGER NOT NULL, \"offset\" INTEGER NOT NULL,
        session TEXT NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL, body TEXT NOT NULL, ends_at INTEGER,
        checksum INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX lanes ON messages (recipient, sender, \"offset\");
";

/// The newest format that is known.
pub(super) const fn newest(formats: &[&str]) -> i64 {
    formats.len() as i64
}

/// Returns an error for a file that belongs to another application, or to a newer version of this one.
pub(super) fn check_owner(
    named: &Named,
    application_id: i32,
    format: i64,
    known: i64,
) -> Result<(), StoreError> {
    if application_id != APPLICATION_ID {
        return Err(named.format("it is the database of another application"));
    }
    if format > known {
        return Err(StoreError::Version { path: named.path(), found: format, known });
    }
    if format < 1 {
        return Err(named.damaged(format_args!("its format is {format}")));
    }
    Ok(())
}

/// Creates the tables in an empty database, or brings an older one to the newest format. Needs a transaction. Returns whether
/// the database was empty.
pub(super) fn prepare(connection: &Connection, named: &Named, formats: &[&str]) -> Result<bool, StoreError> {
    let failure = |error| named.at_open(&error);
    let number =
        |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(failure);
    let (application_id, mut format) = (number("application_id")?, number("user_version")?);
    let mut tables = connection.prepare("SELECT 1 FROM sqlite_schema").map_err(failure)?;
    let has_tables = tables.exists([]).map_err(failure)?;
    let is_new = application_id == 0 && format == 0 && !has_tables;
    if is_new {
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failure)?;
    } else {
        let application_id = i32::try_from(application_id).unwrap_or_default();
        check_owner(named, application_id, format, newest(formats))?;
        check_tables(connection, named, &formats[..format as usize])?;
    }
    for migration in &formats[format as usize..] {
        connection.execute_batch(migration).map_err(failure)?;
        format += 1;
        connection.pragma_update(None, "user_version", format).map_err(failure)?;
    }
    Ok(is_new)
}

/// Returns an error if the tables are not those of the file's format, to the letter.
fn check_tables(connection: &Connection, named: &Named, formats: &[&str]) -> Result<(), StoreError> {
    const EXPECTED: &str = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL";
    const FOUND: &str = "SELECT sql FROM sqlite_schema WHERE name = ?";
    let failure = |error| named.at_open(&error);
    let expected = Connection::open_in_memory().map_err(failure)?;
    formats.iter().try_for_each(|format| expected.execute_batch(format)).map_err(failure)?;
    let mut found = connection.prepare(FOUND).map_err(failure)?;
    let mut tables = expected.prepare(EXPECTED).map_err(failure)?;
    let mut tables = tables.query([]).map_err(failure)?;
    while let Some(table) = tables.next().map_err(failure)? {
        let (name, sql): (String, String) = (table.get(0).map_err(failure)?, table.get(1).map_err(failure)?);
        let found: Option<String> = found.query_row([&name], |row| row.get(0)).optional().map_err(failure)?;
        if found.as_ref() != Some(&sql) {
            return Err(named.damaged(format_args!("{name} is not as it was created")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NEXT: &[&str] = &[FORMAT_1, "ALTER TABLE clients ADD COLUMN name TEXT NOT NULL DEFAULT 'nobody'"];

    #[test]
    fn an_older_format_becomes_the_newest_and_keeps_its_rows() {
        let named = Named::new(Path::new("relay.db"));
        let connection = Connection::open_in_memory().expect("memory");
        assert!(prepare(&connection, &named, FORMATS).expect("a new file"));
        connection.execute("INSERT INTO clients VALUES (3, x'00', NULL, NULL, NULL, 0)", []).expect("a row");
        assert!(!prepare(&connection, &named, FORMATS).expect("nothing to do"));
        for _ in 0..2 {
            assert!(!prepare(&connection, &named, NEXT).expect("a migration, once"));
            let format: i64 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a number");
            let name: String = connection
                .query_row("SELECT name FROM clients WHERE id = 3", [], |row| row.get(0))
                .expect("the row");
            assert_eq!((format, name.as_str()), (2, "nobody"));
        }
        let refused = prepare(&connection, &named, FORMATS);
        assert!(matches!(refused, Err(StoreError::Version { found: 2, known: 1, .. })), "{refused:?}");
    }
}
