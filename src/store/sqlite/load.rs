//! Reads everything back.

use rusqlite::{Connection, Row};

use super::checksum::Contents;
use super::failure::Named;
use super::rows::{self, Read};
use crate::error::StoreError;
use crate::store::Record;

/// Reads the tables one after the other and passes what they hold to `load`: clients, channels, sessions with each client's
/// current one last, then messages in the order of recipient, sender and offset. Returns what the rows add up to.
pub(super) fn load(
    connection: &Connection,
    named: &Named,
    mut load: impl FnMut(Record) -> Result<(), StoreError>,
) -> Result<Contents, StoreError> {
    let mut table = Table { connection, named, contents: Contents::default() };
    table.read("clients", rows::CLIENTS, rows::client, |client| load(Record::Client(client)))?;
    table.read("channels", rows::CHANNELS, rows::channel, |channel| {
        match channel.first <= channel.second {
            true => load(Record::Channel(channel)),
            // The row of its other end.
            false => Ok(()),
        }
    })?;
    table.read("sessions", rows::SESSIONS, rows::session_of_client, |session| {
        load(Record::Session(session))
    })?;
    table.read("messages", rows::MESSAGES, rows::message, |message| load(Record::Message(message)))?;
    Ok(table.contents)
}

struct Table<'a> {
    connection: &'a Connection,
    named: &'a Named,
    contents: Contents,
}

impl Table<'_> {
    fn read<R>(
        &mut self,
        table: &str,
        sql: &str,
        parse: impl Fn(&Row<'_>) -> rusqlite::Result<Option<Read<R>>>,
        mut load: impl FnMut(R) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failure = |error| self.named.at_open(&error);
        let mut statement = self.connection.prepare(sql).map_err(failure)?;
        let mut rows = statement.query([]).map_err(failure)?;
        while let Some(row) = rows.next().map_err(failure)? {
            match parse(row).map_err(failure)? {
                Some(Read { record, kept, computed }) if kept == computed => {
                    self.contents.add(kept);
                    load(record)?;
                }
                _ => {
                    return Err(self
                        .named
                        .damaged(format_args!("a row of the table {table} is not as it was written")));
                }
            }
        }
        Ok(())
    }
}
