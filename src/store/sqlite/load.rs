//! Reads everything back.

use rusqlite::{Connection, Row};

use super::checksum::Contents;
use super::failure::Named;
use super::rows::{self, Read};
use crate::error::StoreError;
use crate::store::{MessageRecord, Record};

/// Checks the pages of the file: that each is in use once, and that all are in order. It does not look at what is in the rows.
///
/// What it finds would not harm the reading, which checks what it reads, but what is written later.
pub(super) fn check_pages(connection: &Connection, named: &Named) -> Result<(), StoreError> {
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match found.map_err(|error| named.at_open(&error))?.as_str() {
        "ok" => Ok(()),
        found => Err(named.damaged(found)),
    }
}

/// Reads the tables one after the other and passes what they hold to `load`: clients, channels, sessions with each client's
/// current one last, then messages as they were committed, which is each lane's in the order of their offsets. Returns what the
/// rows add up to.
pub(super) fn load(
    connection: &Connection,
    named: &Named,
    mut load: impl FnMut(Record) -> Result<(), StoreError>,
) -> Result<Contents, StoreError> {
    let mut reader = Reader { connection, named, contents: Contents::default() };
    reader.read("clients", rows::CLIENTS, rows::client, |client, _| load(Record::Client(client)))?;
    reader.read("channels", rows::CHANNELS, rows::channel, |channel, _| {
        match channel.first <= channel.second {
            true => load(Record::Channel(channel)),
            // The row of its other end.
            false => Ok(()),
        }
    })?;
    reader.read("sessions", rows::SESSIONS, rows::session_of_client, |session, _| {
        load(Record::Session(session))
    })?;
    let index = Index::read(connection, named)?;
    let sql = if index.is_in_order { rows::MESSAGES } else { rows::MESSAGES_BY_LANE };
    let mut entries = Contents::default();
    reader.read("messages", sql, rows::message, |message: MessageRecord, row| {
        entries.add(rows::entry_checksum(entry(row, [0, 1, 2, 9]).map_err(|error| named.at_open(&error))?));
        load(Record::Message(message))
    })?;
    if entries != index.entries {
        return Err(named.damaged("the index of the messages does not agree with them"));
    }
    Ok(reader.contents)
}

fn entry(row: &Row<'_>, [recipient, sender, offset, number]: [usize; 4]) -> rusqlite::Result<[i64; 4]> {
    Ok([row.get(recipient)?, row.get(sender)?, row.get(offset)?, row.get(number)?])
}

/// What the index of the messages says of them.
struct Index {
    entries: Contents,
    /// Whether each lane's messages have ascending numbers. It is ten times as fast to read the table in its own order.
    is_in_order: bool,
}

impl Index {
    fn read(connection: &Connection, named: &Named) -> Result<Self, StoreError> {
        let failure = |error| named.at_open(&error);
        let mut statement = connection.prepare(rows::LANES).map_err(failure)?;
        let mut rows = statement.query([]).map_err(failure)?;
        let mut index = Self { entries: Contents::default(), is_in_order: true };
        let mut last = [-1; 4];
        while let Some(row) = rows.next().map_err(failure)? {
            let next = entry(row, [0, 1, 2, 3]).map_err(failure)?;
            index.entries.add(rows::entry_checksum(next));
            index.is_in_order &= next[..2] != last[..2] || next[3] > last[3];
            last = next;
        }
        Ok(index)
    }
}

struct Reader<'a> {
    connection: &'a Connection,
    named: &'a Named,
    contents: Contents,
}

impl Reader<'_> {
    fn read<R>(
        &mut self,
        table: &str,
        sql: &str,
        parse: impl Fn(&Row<'_>) -> rusqlite::Result<Option<Read<R>>>,
        mut load: impl FnMut(R, &Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failure = |error| self.named.at_open(&error);
        let mut statement = self.connection.prepare(sql).map_err(failure)?;
        let mut rows = statement.query([]).map_err(failure)?;
        while let Some(row) = rows.next().map_err(failure)? {
            match parse(row).map_err(failure)? {
                Some(Read { record, kept, computed }) if kept == computed => {
                    self.contents.add(kept);
                    load(record, row)?;
                }
                _ => {
                    return Err(self
                        .named
                        .damaged(format_args!("a row of {table} is not as it was written")));
                }
            }
        }
        Ok(())
    }
}
