//! Errors of API calls, offences of clients, and the table of close reasons.
//!
//! A new close code is a variant of [`CloseReason`] with its code and text here, and an entry in `client/codes.ts`.

use std::borrow::Cow;
use std::io;

use crate::ids::ClientId;
use crate::limits::LimitError;
use crate::printable::printable;

/// An error of an API call: a wrong argument, a wrong state, or a failure of the system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument is not the id of a registered client.
    #[error("{argument} must be the id of an existing client")]
    ClientNotFound {
        /// The argument's name in the JavaScript documentation.
        argument: &'static str,
    },
    /// The id that was named for a client is registered.
    #[error("client {id} is registered already")]
    ClientExists {
        /// The id.
        id: ClientId,
    },
    /// The highest id was used, and there is none above it that the server could give.
    #[error("the id {} was used, and there is none above it: name a free id", ClientId::MAX)]
    ClientIdsExhausted,
    /// The two clients already have a channel.
    #[error("these clients already have a channel")]
    ChannelExists,
    /// The two clients have no channel.
    #[error("these clients have no channel")]
    ChannelNotFound,
    /// A limit is unknown or its value out of range.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The system provided no randomness, thread or runtime.
    #[error("the system refused: {0}")]
    System(io::Error),
    /// The relay is listening already, or is closed.
    #[error("the relay was started already or is closed")]
    NotStartable,
    /// The certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be opened, or cannot keep a change.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a store on disk cannot be used. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The directory of the file does not exist.
    #[error(
        "the store {path} cannot be opened: its directory does not exist. Create it, or name another path"
    )]
    NotFound {
        /// The path.
        path: String,
    },
    /// The file or its directory may not be read or written.
    #[error(
        "the store {path} cannot be opened: {detail}. The process needs to read and write the file, and to create files in its directory"
    )]
    Access {
        /// The path.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// The file is something else.
    #[error("{path} is not a store of websocket-relay: {detail}. It was not changed. Name another path")]
    Format {
        /// The path.
        path: String,
        /// What was found.
        detail: String,
    },
    /// A newer version of this package has written the file.
    #[error(
        "the store {path} has format {found}, and this version of websocket-relay knows formats up to {known}. It was not changed. Install a newer version"
    )]
    Version {
        /// The path.
        path: String,
        /// The format of the file.
        found: i64,
        /// The newest known format.
        known: i64,
    },
    /// Another server has the file open.
    #[error("the store {path} is used by another server. Stop that one, or name another path")]
    Locked {
        /// The path.
        path: String,
    },
    /// The file is damaged.
    #[error(
        "the store {path} is damaged: {detail}. It was not changed. Restore a backup, or move the file away to begin with an empty store"
    )]
    Damaged {
        /// The path.
        path: String,
        /// What was found.
        detail: String,
    },
    /// What is kept does not fit into memory as it is configured.
    #[error(
        "the store {path} holds more messages than maxTotalBytes ({limit} bytes) allows. Start with a higher maxTotalBytes"
    )]
    TooLarge {
        /// The path.
        path: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The disk is full. The store tries again.
    #[error(
        "the disk of the store {path} is full: messages that have to be stored are held until there is room. Make room"
    )]
    Full {
        /// The path.
        path: String,
    },
    /// The server is closed, and its store with it.
    #[error("the store is closed with its server")]
    Closed,
    /// Reading or writing failed, and what is on disk is not known. The store has been closed.
    #[error("the store {path} failed: {detail}. The server has stopped. Check the disk, then start it again")]
    Io {
        /// The path.
        path: String,
        /// What the system said.
        detail: String,
    },
}

impl StoreError {
    /// Returns the stable code. The text may change, the code may not.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "ERR_STORE_NOT_FOUND",
            Self::Access { .. } => "ERR_STORE_ACCESS",
            Self::Format { .. } => "ERR_STORE_FORMAT",
            Self::Version { .. } => "ERR_STORE_VERSION",
            Self::Locked { .. } => "ERR_STORE_LOCKED",
            Self::Damaged { .. } => "ERR_STORE_DAMAGED",
            Self::TooLarge { .. } => "ERR_STORE_TOO_LARGE",
            Self::Full { .. } => "ERR_STORE_FULL",
            Self::Closed => "ERR_STORE_CLOSED",
            Self::Io { .. } => "ERR_STORE_IO",
        }
    }
}

/// A problem with a certificate, a key or the TLS configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate is missing or cannot be parsed.
    #[error("cert is not a usable certificate: {0}")]
    Certificate(String),
    /// The key is missing or cannot be parsed.
    #[error("key is not a usable private key: {0}")]
    Key(String),
    /// The key is encrypted, and no passphrase was given.
    #[error("key is encrypted, and no passphrase was given")]
    PassphraseMissing,
    /// The passphrase does not decrypt the key.
    #[error("passphrase does not decrypt key")]
    PassphraseWrong,
    /// The key is encrypted in a format that OpenSSL no longer writes.
    #[error("key is encrypted in an old format; `openssl pkcs8 -topk8 -in key.pem -out new.pem` converts it")]
    OldEncryption,
    /// The certificate and the key do not match.
    #[error("cert and key do not belong together")]
    Mismatch,
    /// The certificate authorities for client certificates are missing or cannot be parsed.
    #[error("ca is not a usable certificate: {0}")]
    Authority(String),
    /// The relay was created without certificate and key.
    #[error("the server was created without cert and key")]
    NotSecure,
    /// Any other error of the TLS library.
    #[error("TLS cannot be set up: {0}")]
    Internal(String),
}

impl TlsError {
    /// Returns the stable code. The text may change, the code may not.
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
    /// Returns the stable code. The text may change, the code may not.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ClientNotFound { .. } => "ERR_CLIENT_NOT_FOUND",
            Self::ClientExists { .. } => "ERR_CLIENT_EXISTS",
            Self::ClientIdsExhausted => "ERR_CLIENT_IDS_EXHAUSTED",
            Self::ChannelExists => "ERR_CHANNEL_EXISTS",
            Self::ChannelNotFound => "ERR_CHANNEL_NOT_FOUND",
            Self::Limit(_) => "ERR_OUT_OF_RANGE",
            Self::System(_) => "ERR_SYSTEM",
            Self::NotStartable => "ERR_SERVER_ALREADY_LISTEN",
            Self::Tls(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}

/// Something a client did wrong. Its text is the message that `'error'` listeners get; it contains no token and nothing
/// that cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    /// A frame that is not JSON, or is nested too deeply.
    #[error("invalid JSON")]
    InvalidJson,
    /// A frame that is JSON but not one of the protocol's frames.
    #[error("Message unrecognized: {}", printable(excerpt))]
    Unrecognized {
        /// The JSON without its white space, cut at 200 characters, with tokens redacted.
        excerpt: String,
    },
    /// An authentication with an unknown id or the wrong token.
    #[error("incorrect token")]
    IncorrectToken,
    /// A relay frame before authentication.
    #[error("client not authenticated")]
    NotAuthenticated,
    /// A second authentication, as another client.
    #[error("connection is already authenticated as another client")]
    AlreadyAuthenticated,
    /// A message to a target without a channel.
    #[error("client tried to send through a channel that was not registered")]
    ChannelNotRegistered,
    /// A message that was refused because the target's queue is full.
    #[error("the queue for client {target} is full: message refused")]
    QueueFull {
        /// The recipient.
        target: ClientId,
    },
    /// An acknowledgement of a message that the client was not sent or has acknowledged before.
    #[error("client acknowledged a message that it was not sent")]
    InvalidAcknowledgement,
    /// A message above `maxPayload`.
    #[error("message is larger than maxPayload")]
    MessageTooBig,
    /// A binary frame.
    #[error("binary frames are not supported")]
    Binary,
    /// A text frame that is not valid UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// Bytes that violate RFC 6455.
    #[error("WebSocket protocol error: {0}")]
    Protocol(&'static str),
}

impl Offence {
    /// Returns the stable code. The text may change, the code may not.
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

    /// Returns what the offence does to the connection.
    pub fn consequence(&self) -> Consequence {
        match self {
            Self::IncorrectToken => Consequence::Close(CloseReason::IncorrectToken),
            Self::MessageTooBig => Consequence::Close(CloseReason::MessageTooBig),
            Self::Binary => Consequence::Close(CloseReason::Binary),
            Self::InvalidUtf8 => Consequence::Close(CloseReason::InvalidUtf8),
            Self::Protocol(text) => Consequence::Close(CloseReason::Protocol(text)),
            // Sending to a client that has been away for long is not the sender's fault.
            Self::QueueFull { .. } => Consequence::None,
            _ => Consequence::Counted,
        }
    }
}

/// The code and text with which a sender is told that a message has expired. Not an [`Offence`]: no client is at fault.
pub struct MessageExpired;

impl MessageExpired {
    /// The stable code. The text may change, the code may not.
    pub const CODE: &str = "ERR_MESSAGE_EXPIRED";
    /// The text.
    pub const TEXT: &str = "message expired: it was not received in time";
}

/// What an offence does to its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// It counts towards `maxOffences`.
    Counted,
    /// The connection is closed.
    Close(CloseReason),
}

/// Why a connection ended: the table of close codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// 1001: the server is closing.
    GoingAway,
    /// 1012: the server is restarting; the text says when to come back.
    Restarting(String),
    /// 1002: the client violated RFC 6455.
    Protocol(&'static str),
    /// 1003: a binary frame.
    Binary,
    /// 1007: text that is not valid UTF-8.
    InvalidUtf8,
    /// 1009: a message above `maxPayload`.
    MessageTooBig,
    /// 1011: a bug in the relay.
    Internal,
    /// 1013: too many connections.
    TooManyConnections,
    /// 4000: not authenticated in time.
    AuthTimeout,
    /// 4001: no answer to the heartbeat.
    PingTimeout,
    /// 4002: the client did not read, or a message did not arrive in full, for too long.
    TooSlow,
    /// 4003: the client exceeded its rate limit for too long.
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
    /// The application on the server closed the connection, with this code and text.
    ByServer(u16, String),
    /// The client closed the connection, with this code (1005 for none) and text, in which tokens are redacted.
    ByPeer(u16, String),
    /// 1006: the connection was lost.
    Lost,
}

impl CloseReason {
    /// Returns the WebSocket close code.
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

    /// Returns the text for an event. In a client's own text, characters that cannot be printed are escaped.
    pub fn printable_text(&self) -> Cow<'_, str> {
        match self {
            Self::ByPeer(_, text) => printable(text),
            _ => Cow::Borrowed(self.text()),
        }
    }

    /// Returns the text that is sent with the code.
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
