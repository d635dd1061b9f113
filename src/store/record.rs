//! What a store on disk keeps, as records that are written in order and read back when it is opened.

use std::time::Duration;

use crate::ids::{ClientId, Offset, Seq, SessionId, TokenHash};

/// A time of the system's clock, in milliseconds since 1970: what is kept outlives this process's clock.
pub type UnixMillis = u64;

/// A change to what is kept. Records of one batch are committed together, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A client was registered, or its token, lifetime or data replaced.
    Client(ClientRecord),
    /// A client was removed, with its channels, its sessions and the messages to it. [`Record::MessagesRemoved`] removes those
    /// that it has sent.
    ClientRemoved(ClientId),
    /// A channel between two clients, or from one to itself, was opened.
    Channel(ChannelRecord),
    /// The channel of two clients was closed. [`Record::MessagesRemoved`] removes what waits in it.
    ChannelRemoved(ClientId, ClientId),
    /// Another session, or another connection of it, reads a client's mailbox.
    Session(SessionRecord),
    /// A message waits in a mailbox. One with the same recipient, sender and offset is the same message.
    Message(MessageRecord),
    /// The messages of a sender to a recipient between two offsets, both included, need not be kept any more.
    MessagesRemoved {
        /// The recipient.
        recipient: ClientId,
        /// The sender.
        sender: ClientId,
        /// The offset of the first one, or any before it.
        from: Offset,
        /// The offset of the last one.
        upto: Offset,
    },
}

impl Record {
    /// Whether it only frees room.
    pub fn frees_room(&self) -> bool {
        matches!(self, Self::ClientRemoved(_) | Self::ChannelRemoved(..) | Self::MessagesRemoved { .. })
    }

    /// Returns the message, if it is one.
    pub fn into_message(self) -> Option<MessageRecord> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRecord {
    /// Its id.
    pub id: ClientId,
    /// The hash of its token.
    pub token: TokenHash,
    /// The length of its lifetime and when that ends, if it does.
    pub lifetime: Option<(Duration, UnixMillis)>,
    /// The application's data about it, as JSON.
    pub data: Option<Box<str>>,
}

/// A channel. The order of its ends has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// One end.
    pub first: ClientId,
    /// The other end.
    pub second: ClientId,
    /// The client whose message opened it; `None` if the application did.
    pub opened_by: Option<ClientId>,
}

/// The session that reads a client's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The client.
    pub client: ClientId,
    /// The session; `None` for a plain connection.
    pub session: Option<SessionId>,
    /// The number of its connection.
    pub connection: u64,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// The recipient.
    pub recipient: ClientId,
    /// The sender.
    pub sender: ClientId,
    /// Its offset in the recipient's mailbox.
    pub offset: Offset,
    /// The session that sent it. For a plain sender it is the server's.
    pub session: SessionId,
    /// Its number in that session.
    pub seq: Seq,
    /// When it expires, if it does.
    pub ends_at: Option<UnixMillis>,
    /// Its JSON string with the quotes.
    pub json: Box<[u8]>,
}
