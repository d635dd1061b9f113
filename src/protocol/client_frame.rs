//! The frames that a client may send.

use std::borrow::Cow;
use std::fmt;

use crate::ids::{ClientId, Offset, Seq, SessionId};

/// A frame that a client may send.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// An authentication.
    Authentication(Authentication<'a>),
    /// A message for another client.
    Relay(RelayFrame<'a>),
    /// An acknowledgement of messages that the client has handed to its application.
    Received(ReceivedFrame),
    /// A heartbeat of the client.
    Ping,
    /// The answer to a heartbeat.
    Pong,
}

/// The generation of the protocol that a connection speaks: which frames it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The protocol of plain clients: authentication and relay frames.
    Plain,
    /// The protocol of reliable clients: also sequence numbers, acknowledgements and heartbeats.
    Reliable,
}

/// `{"authentication":{"clientId":0,"token":"…"}}`; a reliable client adds `"version":2` and the members of [`Reliable`].
pub struct Authentication<'a> {
    /// The client's id.
    pub client_id: ClientId,
    /// The client's token. Empty for a string that cannot be a token.
    pub token: Cow<'a, str>,
    /// The members for reliable delivery.
    pub reliable: Option<Reliable<'a>>,
}

/// The members of an authentication that ask for reliable delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reliable<'a> {
    /// The client's session.
    pub session: SessionId,
    /// The number of this connection among those of the session; 0 if the client does not count them.
    pub connection: u64,
    /// The epoch that the client was told on an earlier connection.
    pub epoch: Option<Cow<'a, str>>,
    /// Whether the client wants receipts (`delivered`).
    pub receipts: bool,
    /// Whether the client wants to be told who comes and goes (`presence`).
    pub presence: bool,
}

/// `{"received":{"senderId":0,"offset":42}}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// The sender of the messages.
    pub sender_id: ClientId,
    /// The offset up to which they were received.
    pub offset: Offset,
}

/// `{"relay":{"targetId":1,"message":"…"}}`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFrame<'a> {
    /// The recipient.
    pub target_id: ClientId,
    /// The message: the raw JSON string with its quotes. It is never unescaped, so that every JavaScript string arrives as
    /// it was sent.
    pub message: &'a str,
    /// The message's number. `None` from a plain client.
    pub seq: Option<Seq>,
    /// Whether it is the first message that was sent after a refusal.
    pub first: bool,
}

/// Without the token.
impl fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}
