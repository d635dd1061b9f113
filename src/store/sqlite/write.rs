//! Writes records within a transaction.

use rusqlite::{Connection, OptionalExtension, Params, Result, params};

use super::meta::State;
use super::rows::{self, Digits, TEXT, Text};
use crate::ids::ClientId;
use crate::limits::Limits;
use crate::store::{ChannelRecord, ClientRecord, MessageRecord, Record, SessionRecord};

const PUT_CLIENT: &str =
    "INSERT OR REPLACE INTO clients (id, token, lifetime, ends_at, data, checksum) VALUES (?, ?, ?, ?, ?, ?)";
const GET_CLIENT: &str = "SELECT data, checksum FROM clients WHERE id = ?";
const HAS_CLIENT: &str = "SELECT EXISTS (SELECT 1 FROM clients WHERE id = ?)";
const REMOVE_CLIENT: &str = "DELETE FROM clients WHERE id = ? RETURNING checksum";
const PUT_CHANNEL: &str = "INSERT INTO channels (client, peer, opened_by, checksum) VALUES (?, ?, ?, ?)";
const REMOVE_CHANNEL: &str = "DELETE FROM channels WHERE client = ? AND peer = ? RETURNING checksum";
const PEERS: &str = "SELECT peer FROM channels WHERE client = ?";
const PUT_SESSION: &str =
    "INSERT INTO sessions (client, position, session, connection, checksum) VALUES (?, ?, ?, ?, ?)";
const LAST_POSITION: &str = "SELECT max(position) FROM sessions WHERE client = ?";
/// A plain connection has no session to remember once there is a newer one.
const REMOVE_SESSION: &str =
    "DELETE FROM sessions WHERE client = ?1 AND (session = ?2 OR session IS NULL) RETURNING checksum";
const REMOVE_OLD_SESSIONS: &str = "DELETE FROM sessions WHERE client = ?1 AND position <= \
    (SELECT position FROM sessions WHERE client = ?1 ORDER BY position DESC LIMIT 1 OFFSET ?2) RETURNING checksum";
const REMOVE_SESSIONS: &str = "DELETE FROM sessions WHERE client = ? RETURNING checksum";
const PUT_MESSAGE: &str = "INSERT OR IGNORE INTO messages \
    (recipient, sender, \"offset\", session, seq, kind, body, ends_at, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const REMOVE_MESSAGES: &str = "DELETE FROM messages WHERE recipient = ? AND sender = ? AND \"offset\" BETWEEN ? AND ? \
    RETURNING checksum";
const REMOVE_MAILBOX: &str = "DELETE FROM messages WHERE recipient = ? RETURNING checksum";

/// Statements that are kept prepared: those above, and the one that commits.
pub(super) const STATEMENTS: usize = 21;

/// Records on their way into the tables.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    /// What the tables add up to, with what was written so far.
    pub(super) state: State,
}

impl Writer<'_> {
    /// Writes a record.
    pub(super) fn write(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::Client(client) => self.client(client),
            Record::ClientRemoved(id) => self.client_removed(*id),
            Record::Channel(channel) => self.channel(channel),
            Record::ChannelRemoved(first, second) => self.channel_removed(*first, *second),
            Record::Session(session) => self.session(session),
            Record::Message(message) => self.message(message),
            Record::MessagesRemoved { recipient, sender, from, upto } => {
                let upto = i64::try_from(upto.0).unwrap_or(i64::MAX);
                self.remove(REMOVE_MESSAGES, params![recipient.get(), sender.get(), from.0, upto]).map(drop)
            }
        }
    }

    /// Removes rows with a statement that returns their checksums. Returns how many there were.
    fn remove(&mut self, sql: &str, params: impl Params) -> Result<usize> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            self.state.contents.subtract(row.get(0)?);
            count += 1;
        }
        Ok(count)
    }

    /// Inserts a row, unless there is one with its key already.
    fn insert(&mut self, sql: &str, params: impl Params, checksum: i64) -> Result<()> {
        if self.connection.prepare_cached(sql)?.execute(params)? > 0 {
            self.state.contents.add(checksum);
        }
        Ok(())
    }

    fn client(&mut self, record: &ClientRecord) -> Result<()> {
        let ClientRecord { id, token, lifetime, data } = record;
        let before = self.connection.prepare_cached(GET_CLIENT)?.query_row([id.get()], |row| {
            self.state.contents.subtract(row.get(1)?);
            row.get::<_, Option<Box<str>>>(0)
        });
        let before = before.optional()?.flatten();
        let data = data.as_ref().or(before.as_ref());
        let lifetime = lifetime.map(|(length, end)| (rows::duration_millis(length), rows::millis(end)));
        let (length, end) = lifetime.unzip();
        let checksum = rows::client_checksum(*id, token.as_bytes(), lifetime, data.map(AsRef::as_ref));
        let values = params![id.get(), token.as_bytes(), length, end, data, checksum];
        self.insert(PUT_CLIENT, values, checksum)?;
        self.state.next_id = self.state.next_id.max(id.get() + 1);
        Ok(())
    }

    fn client_removed(&mut self, id: ClientId) -> Result<()> {
        self.state.unregistered += self.remove(REMOVE_CLIENT, [id.get()])? as u64;
        let peers: Result<Vec<u64>> =
            self.connection.prepare_cached(PEERS)?.query_map([id.get()], |row| row.get(0))?.collect();
        for peer in peers? {
            self.remove(REMOVE_CHANNEL, [id.get(), peer])?;
            self.remove(REMOVE_CHANNEL, [peer, id.get()])?;
        }
        self.remove(REMOVE_SESSIONS, [id.get()])?;
        self.remove(REMOVE_MAILBOX, [id.get()])?;
        Ok(())
    }

    /// Whether there is such a client. What another thread had to say of one that was just removed comes too late.
    fn has_client(&self, id: ClientId) -> Result<bool> {
        self.connection.prepare_cached(HAS_CLIENT)?.query_row([id.get()], |row| row.get(0))
    }

    fn channel(&mut self, record: &ChannelRecord) -> Result<()> {
        let ChannelRecord { first, second, opened_by } = *record;
        if !(self.has_client(first)? && self.has_client(second)?) {
            return Ok(());
        }
        self.channel_removed(first, second)?;
        let ends = [(first, second), (second, first)];
        for (client, peer) in &ends[..if first == second { 1 } else { 2 }] {
            let checksum = rows::channel_checksum(*client, *peer, opened_by);
            let values = params![client.get(), peer.get(), opened_by.map(ClientId::get), checksum];
            self.insert(PUT_CHANNEL, values, checksum)?;
        }
        Ok(())
    }

    fn channel_removed(&mut self, first: ClientId, second: ClientId) -> Result<()> {
        self.remove(REMOVE_CHANNEL, [first.get(), second.get()])?;
        self.remove(REMOVE_CHANNEL, [second.get(), first.get()])?;
        Ok(())
    }

    fn session(&mut self, record: &SessionRecord) -> Result<()> {
        let SessionRecord { client, session, connection } = record;
        if !self.has_client(*client)? {
            return Ok(());
        }
        let client = client.get();
        let session = session.map(Digits::of);
        let session = session.as_ref().map(Digits::text);
        let last: Option<i64> =
            self.connection.prepare_cached(LAST_POSITION)?.query_row([client], |row| row.get(0))?;
        let position = last.unwrap_or(0) + 1;
        self.remove(REMOVE_SESSION, params![client, session])?;
        let checksum = rows::session_checksum(position, record);
        self.insert(PUT_SESSION, params![client, position, session, connection, checksum], checksum)?;
        // Those that were replaced, and the current one.
        self.remove(REMOVE_OLD_SESSIONS, params![client, Limits::MAX_REPLACED_SESSIONS as i64 + 1]).map(drop)
    }

    fn message(&mut self, record: &MessageRecord) -> Result<()> {
        let MessageRecord { recipient, sender, offset, session, seq, ends_at, json } = record;
        let session = Digits::of(*session);
        let (session, body, checksum) = (session.text(), Text(json), rows::message_checksum(record));
        let ends_at = ends_at.map(rows::millis);
        let (recipient, sender) = (recipient.get(), sender.get());
        let values = params![recipient, sender, offset.0, session, seq.0, TEXT, body, ends_at, checksum];
        self.insert(PUT_MESSAGE, values, checksum)
    }
}
