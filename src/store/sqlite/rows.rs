//! Records as rows, and rows as records.

use std::time::Duration;

use rusqlite::types::ToSqlOutput;
use rusqlite::types::ValueRef;
use rusqlite::{Row, ToSql};

use super::checksum::Checksum;
use crate::ids::{ClientId, Offset, Seq, SessionId, TokenHash};
use crate::store::{ChannelRecord, ClientRecord, MessageRecord, SessionRecord};

/// The columns of a row, and its checksum.
pub(super) const CLIENTS: &str =
    "SELECT id, token, lifetime, ends_at, data, checksum FROM clients ORDER BY id";
pub(super) const CHANNELS: &str =
    "SELECT client, peer, opened_by, checksum FROM channels ORDER BY client, peer";
pub(super) const SESSIONS: &str =
    "SELECT client, position, session, connection, checksum FROM sessions ORDER BY client, position";
pub(super) const MESSAGES: &str = "SELECT recipient, sender, \"offset\", session, seq, kind, body, ends_at, checksum, number \
    FROM messages NOT INDEXED ORDER BY number";
/// Likewise, in the order of the index.
pub(super) const MESSAGES_BY_LANE: &str = "SELECT recipient, sender, \"offset\", session, seq, kind, body, ends_at, checksum, \
    number FROM messages INDEXED BY lanes ORDER BY recipient, sender, \"offset\"";
/// The index alone.
pub(super) const LANES: &str = "SELECT recipient, sender, \"offset\", number FROM messages INDEXED BY lanes \
    ORDER BY recipient, sender, \"offset\"";

/// A message whose body is text.
pub(super) const TEXT: i64 = 0;

/// Bytes that are text, written without being looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// A session's 16 hex digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits([u8; 16]);

impl Digits {
    pub(super) fn of(session: SessionId) -> Self {
        let mut digits = [0; 16];
        hex::encode_to_slice(session.get().to_be_bytes(), &mut digits).expect("two digits per byte");
        Self(digits)
    }

    pub(super) fn text(&self) -> Text<'_> {
        Text(&self.0)
    }
}

/// Returns a time or a length of time as it is kept. One that is too long is as good as the longest.
pub(super) fn millis(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a duration as it is kept.
pub(super) fn duration_millis(duration: Duration) -> i64 {
    millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn client_checksum(
    id: ClientId,
    token: &[u8],
    lifetime: Option<(i64, i64)>,
    data: Option<&str>,
) -> i64 {
    Checksum::of_table(2)
        .number(id.get() as i64)
        .bytes(token)
        .optional(lifetime.map(|(length, _)| length))
        .optional(lifetime.map(|(_, end)| end))
        .optional_bytes(data.map(str::as_bytes))
        .get()
}

pub(super) fn channel_checksum(client: ClientId, peer: ClientId, opened_by: Option<ClientId>) -> i64 {
    Checksum::of_table(3)
        .number(client.get() as i64)
        .number(peer.get() as i64)
        .optional(opened_by.map(|id| id.get() as i64))
        .get()
}

pub(super) fn session_checksum(position: i64, record: &SessionRecord) -> i64 {
    Checksum::of_table(4)
        .number(record.client.get() as i64)
        .number(position)
        .optional(record.session.map(|session| session.get() as i64))
        .number(record.connection as i64)
        .get()
}

pub(super) fn message_checksum(record: &MessageRecord) -> i64 {
    Checksum::of_table(5)
        .number(record.recipient.get() as i64)
        .number(record.sender.get() as i64)
        .number(record.offset.0 as i64)
        .number(record.session.get() as i64)
        .number(record.seq.0 as i64)
        .number(TEXT)
        .bytes(&record.json)
        .optional(record.ends_at.map(millis))
        .get()
}

/// A row, as a record with the checksum that it has and the one that it should have. `None` is no such row.
pub(super) struct Read<R> {
    pub(super) record: R,
    pub(super) kept: i64,
    pub(super) computed: i64,
}

type Maybe<R> = rusqlite::Result<Option<Read<R>>>;

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ClientId>> {
    Ok(ClientId::new(row.get(column)?))
}

fn session(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<SessionId>> {
    let session = SessionId::parse(row.get_ref(column)?.as_str()?);
    // Upper case would be read as the same session, with another text.
    Ok(session.filter(|session| {
        row.get_ref(column).is_ok_and(|text| text == ValueRef::Text(&Digits::of(*session).0))
    }))
}

pub(super) fn client(row: &Row<'_>) -> Maybe<ClientRecord> {
    let (Some(id), token) = (id(row, 0)?, row.get_ref(1)?.as_blob()?) else { return Ok(None) };
    let Ok(bytes) = <[u8; TokenHash::BYTES]>::try_from(token) else { return Ok(None) };
    let (length, end): (Option<u64>, Option<u64>) = (row.get(2)?, row.get(3)?);
    if length.is_some() != end.is_some() {
        return Ok(None);
    }
    let data: Option<Box<str>> = row.get(4)?;
    let numbers = length.zip(end).map(|(length, end)| (millis(length), millis(end)));
    let computed = client_checksum(id, token, numbers, data.as_deref());
    let lifetime = length.zip(end).map(|(length, end)| (Duration::from_millis(length), end));
    let record = ClientRecord { id, token: TokenHash::from_bytes(bytes), lifetime, data };
    Ok(Some(Read { record, kept: row.get(5)?, computed }))
}

/// A channel, as it is seen from its first end.
pub(super) fn channel(row: &Row<'_>) -> Maybe<ChannelRecord> {
    let (Some(first), Some(second)) = (id(row, 0)?, id(row, 1)?) else { return Ok(None) };
    let opened_by: Option<u64> = row.get(2)?;
    let opened_by = match opened_by.map(ClientId::new) {
        Some(None) => return Ok(None),
        opened_by => opened_by.flatten(),
    };
    let record = ChannelRecord { first, second, opened_by };
    Ok(Some(Read { record, kept: row.get(3)?, computed: channel_checksum(first, second, opened_by) }))
}

pub(super) fn session_of_client(row: &Row<'_>) -> Maybe<SessionRecord> {
    let (Some(client), position, connection) = (id(row, 0)?, row.get(1)?, row.get(3)?) else {
        return Ok(None);
    };
    let session = match row.get_ref(2)? {
        ValueRef::Null => None,
        _ => match session(row, 2)? {
            None => return Ok(None),
            session => session,
        },
    };
    let record = SessionRecord { client, session, connection };
    let computed = session_checksum(position, &record);
    Ok(Some(Read { record, kept: row.get(4)?, computed }))
}

/// Returns the checksum of a message's entry in the index, which is not kept.
pub(super) fn entry_checksum([recipient, sender, offset, number]: [i64; 4]) -> i64 {
    Checksum::of_table(6).number(recipient).number(sender).number(offset).number(number).get()
}

pub(super) fn message(row: &Row<'_>) -> Maybe<MessageRecord> {
    let (Some(recipient), Some(sender), Some(session)) = (id(row, 0)?, id(row, 1)?, session(row, 3)?) else {
        return Ok(None);
    };
    let (kind, json): (i64, _) = (row.get(5)?, row.get_ref(6)?.as_str()?);
    let is_string = json.len() >= 2 && json.starts_with('"') && json.ends_with('"');
    if kind != TEXT || !is_string {
        return Ok(None);
    }
    let (offset, seq) = (Offset(row.get(2)?), Seq(row.get(4)?));
    let json = json.as_bytes().into();
    let record = MessageRecord { recipient, sender, offset, session, seq, ends_at: row.get(7)?, json };
    let computed = message_checksum(&record);
    Ok(Some(Read { record, kept: row.get(8)?, computed }))
}
