//! What can go wrong: the developer's errors, the clients' offences, and why a connection ended.

use std::borrow::Cow;
use std::io;

use crate::ids::ClientId;
use crate::limits::LimitError;
use crate::printable::printable;

/// What a call of the developer got wrong, or what the system refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `clientId`, `clientId1`, `clientId2` or one of many is nobody's id.
    #[error("{argument} must be the id of an existing client")]
    ClientNotFound {
        /// Which argument it is, as the JavaScript documentation names it.
        argument: &'static str,
    },
    /// The two clients may talk already.
    #[error("these clients already have a channel")]
    ChannelExists,
    /// The two clients may not talk.
    #[error("these clients have no channel")]
    ChannelNotFound,
    /// A bound is unknown or out of range.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The system gave no randomness for a token, no thread or no runtime.
    #[error("the system refused: {0}")]
    System(io::Error),
    /// The relay listens already, or is closed.
    #[error("the relay was started already or is closed")]
    NotStartable,
    /// Certificate or key are not right.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What is wrong with a certificate or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate, or it cannot be read.
    #[error("cert is no usable certificate: {0}")]
    Certificate(String),
    /// There is no key, or it cannot be read.
    #[error("key is no usable private key: {0}")]
    Key(String),
    /// A key is encrypted.
    #[error("key is encrypted, and there is no passphrase")]
    PassphraseMissing,
    /// A key is encrypted with something else.
    #[error("passphrase does not decrypt key")]
    PassphraseWrong,
    /// A key is encrypted in a way that OpenSSL has given up.
    #[error("key is encrypted in an old format; `openssl pkcs8 -topk8 -in key.pem -out new.pem` converts it")]
    OldEncryption,
    /// A certificate and a key do not belong together.
    #[error("cert and key do not belong together")]
    Mismatch,
    /// The authorities that clients' certificates are checked with cannot be read, or there is none.
    #[error("ca is no usable certificate: {0}")]
    Authority(String),
    /// The relay was made without certificate and key.
    #[error("the server was made without cert and key")]
    NotSecure,
    /// The TLS library refused something else.
    #[error("TLS cannot be set up: {0}")]
    Internal(String),
}

impl TlsError {
    /// The stable code. The text may change, this may not.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Certificate(_) => "ERR_TLS_CERT",
            Self::Key(_) | Self::OldEncryption => "ERR_TLS_KEY",
            Self::PassphraseMissing | Self::PassphraseWrong => "ERR_TLS_PASSPHRASE",
            Self::Mismatch => "ERR_TLS_MISMATCH",
            Self::Authority(_) => "ERR_TLS_CA",
            Self::NotSecure => "ERR_TLS_NOT_SECURE",
            Self::Internal(_) => "ERR_TLS",
        }
    }
}

impl Error {
    /// The stable code. The text may change, this may not.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ClientNotFound { .. } => "ERR_CLIENT_NOT_FOUND",
            Self::ChannelExists => "ERR_CHANNEL_EXISTS",
            Self::ChannelNotFound => "ERR_CHANNEL_NOT_FOUND",
            Self::Limit(_) => "ERR_OUT_OF_RANGE",
            Self::System(_) => "ERR_SYSTEM",
            Self::NotStartable => "ERR_SERVER_ALREADY_LISTEN",
            Self::Tls(error) => error.code(),
        }
    }
}

/// What a client did wrong. Its text is the message that `'error'` listeners get; it never carries a token, nor what cannot
/// be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// A frame is not JSON, or nests too deeply.
    #[error("invalid JSON")]
    InvalidJson,
    /// A frame is JSON and no known frame.
    #[error("Message unrecognized: {}", printable(excerpt))]
    Unrecognized {
        /// The JSON without its white space, cut at 200 characters, tokens blotted out.
        excerpt: String,
    },
    /// Nobody has this id, or not with this token.
    #[error("incorrect token")]
    IncorrectToken,
    /// A relay frame before the authentication.
    #[error("client not authenticated")]
    NotAuthenticated,
    /// A second authentication, as somebody else.
    #[error("connection is already authenticated as another client")]
    AlreadyAuthenticated,
    /// No channel to that target is registered.
    #[error("client tried to send through a channel that was not registered")]
    ChannelNotRegistered,
    /// More messages wait for this target than may, so this one was refused.
    #[error("the queue for client {target} is full: message refused")]
    QueueFull {
        /// The recipient.
        target: ClientId,
    },
    /// An acknowledgement of what the client was not sent, or had acknowledged long before.
    #[error("client acknowledged a message that it was not sent")]
    InvalidAcknowledgement,
    /// A message above `maxPayload`.
    #[error("message is larger than maxPayload")]
    MessageTooBig,
    /// A binary frame.
    #[error("binary frames are not supported")]
    Binary,
    /// A text frame that is not UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// Bytes that are not RFC 6455.
    #[error("WebSocket protocol error: {0}")]
    Protocol(&'static str),
}

impl Offence {
    /// The stable code. The text may change, this may not.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson => "ERR_INVALID_JSON",
            Self::Unrecognized { .. } => "ERR_UNRECOGNIZED_MESSAGE",
            Self::IncorrectToken => "ERR_INCORRECT_TOKEN",
            Self::NotAuthenticated => "ERR_NOT_AUTHENTICATED",
            Self::AlreadyAuthenticated => "ERR_ALREADY_AUTHENTICATED",
            Self::ChannelNotRegistered => "ERR_CHANNEL_NOT_REGISTERED",
            Self::QueueFull { .. } => "ERR_QUEUE_FULL",
            Self::InvalidAcknowledgement => "ERR_INVALID_ACKNOWLEDGEMENT",
            Self::MessageTooBig => "ERR_MESSAGE_TOO_BIG",
            Self::Binary => "ERR_BINARY_MESSAGE",
            Self::InvalidUtf8 => "ERR_INVALID_UTF8",
            Self::Protocol(_) => "ERR_WEBSOCKET_PROTOCOL",
        }
    }

    /// What becomes of the connection.
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::IncorrectToken => Consequence::Close(CloseReason::IncorrectToken),
            Self::MessageTooBig => Consequence::Close(CloseReason::MessageTooBig),
            Self::Binary => Consequence::Close(CloseReason::Binary),
            Self::InvalidUtf8 => Consequence::Close(CloseReason::InvalidUtf8),
            Self::Protocol(text) => Consequence::Close(CloseReason::Protocol(text)),
            // Whoever writes to somebody that is away for long has done nothing wrong.
            Self::QueueFull { .. } => Consequence::None,
            _ => Consequence::Counted,
        }
    }
}

/// What has become of a message that has expired, for its sender: nobody has done anything wrong.
pub struct MessageExpired;

impl MessageExpired {
    /// The stable code. The text may change, this may not.
    pub const CODE: &str = "ERR_MESSAGE_EXPIRED";
    /// The text.
    pub const TEXT: &str = "message expired: it was not received in time";
}

/// What an offence does to the connection that committed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// One more of the `maxOffences`.
    Counted,
    /// The connection is closed.
    Close(CloseReason),
}

/// Why a connection ended. The table of close codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// 1001: the server is closing.
    GoingAway,
    /// 1012: the server is restarting; the text says when to come back.
    Restarting(String),
    /// 1002: not RFC 6455.
    Protocol(&'static str),
    /// 1003: a binary frame.
    Binary,
    /// 1007: text that is not UTF-8.
    InvalidUtf8,
    /// 1009: a message above `maxPayload`.
    MessageTooBig,
    /// 1011: a bug of ours.
    Internal,
    /// 1013: too many connections.
    TooManyConnections,
    /// 4000: not authenticated in time.
    AuthTimeout,
    /// 4001: no answer to the heartbeat.
    PingTimeout,
    /// 4002: did not read for too long.
    TooSlow,
    /// 4003: over its rate for too long.
    OverRate,
    /// 4500: incorrect token.
    IncorrectToken,
    /// 4501: a newer connection took over.
    Replaced,
    /// 4502: the client was unregistered.
    Unregistered,
    /// 4503: the client's registration has expired.
    Expired,
    /// 4504: too many offences.
    TooManyOffences,
    /// The developer closed it: with this code and text.
    ByServer(u16, String),
    /// The client closed: its own code, 1005 where it gave none, and its text, tokens blotted out.
    ByPeer(u16, String),
    /// 1006: the connection broke off.
    Lost,
}

impl CloseReason {
    /// The WebSocket close code.
    pub fn code(&self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::Restarting(_) => 1012,
            Self::Protocol(_) => 1002,
            Self::Binary => 1003,
            Self::Lost => 1006,
            Self::InvalidUtf8 => 1007,
            Self::MessageTooBig => 1009,
            Self::Internal => 1011,
            Self::TooManyConnections => 1013,
            Self::AuthTimeout => 4000,
            Self::PingTimeout => 4001,
            Self::TooSlow => 4002,
            Self::OverRate => 4003,
            Self::IncorrectToken => 4500,
            Self::Replaced => 4501,
            Self::Unregistered => 4502,
            Self::Expired => 4503,
            Self::TooManyOffences => 4504,
            Self::ByPeer(code, _) | Self::ByServer(code, _) => *code,
        }
    }

    /// The text for an event: of a client's own, what cannot be printed is escaped.
    pub fn printable_text(&self) -> Cow<'_, str> {
        match self {
            Self::ByPeer(_, text) => printable(text),
            _ => Cow::Borrowed(self.text()),
        }
    }

    /// The text that goes with the code on the wire.
    pub fn text(&self) -> &str {
        match self {
            Self::GoingAway => "the server is closing",
            Self::Protocol(text) => text,
            Self::Binary => "binary frames are not supported",
            Self::InvalidUtf8 => "text is not valid UTF-8",
            Self::MessageTooBig => "message too big",
            Self::Internal => "internal error",
            Self::TooManyConnections => "too many connections",
            Self::AuthTimeout => "not authenticated in time",
            Self::PingTimeout => "no answer to the heartbeat",
            Self::TooSlow => "too slow",
            Self::OverRate => "over the rate limit",
            Self::IncorrectToken => "incorrect token",
            Self::Replaced => "replaced by a newer connection",
            Self::Unregistered => "unregistered",
            Self::Expired => "token expired",
            Self::TooManyOffences => "too many offences",
            Self::Restarting(text) | Self::ByPeer(_, text) | Self::ByServer(_, text) => text,
            Self::Lost => "",
        }
    }
}
