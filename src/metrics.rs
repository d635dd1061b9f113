//! Counters of open connections and of rare events: offences, rejected messages, rejected connections, closes, panics.
//! Relayed messages are counted where they are stored.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts by code.
pub type Counts = BTreeMap<&'static str, u64>;

/// Counts by close code.
pub type Closed = BTreeMap<u16, u64>;

/// Why a connection was rejected. Named after the option that decides it, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There are too many connections.
    MaxConnections,
    /// There are too many connections from its address.
    MaxConnectionsPerAddress,
    /// Connections from its address arrive too fast.
    ConnectionRate,
    /// The page's origin is not allowed.
    AllowedOrigins,
    /// The TLS handshake or the request did not arrive in time.
    HeadersTimeout,
    /// The head of the request is too large.
    MaxHeaderSize,
    /// `verifyClient` rejected the request.
    VerifyClient,
    /// `verifyClient` did not answer.
    Undecided,
    /// The relay is closing.
    Closing,
    /// Another listener of the same http server answered the request.
    Taken,
    /// Too many authentications from its address have failed; the token was not checked.
    MaxAuthFailuresPerAddress,
    /// Too many authentications of its id have failed; the token was not checked.
    MaxAuthFailuresPerClient,
}

impl Rejection {
    /// Returns the code that it is counted under.
    pub fn code(self) -> &'static str {
        match self {
            Self::MaxConnections => "maxConnections",
            Self::MaxConnectionsPerAddress => "maxConnectionsPerAddress",
            Self::ConnectionRate => "connectionRate",
            Self::AllowedOrigins => "allowedOrigins",
            Self::HeadersTimeout => "headersTimeout",
            Self::MaxHeaderSize => "maxHeaderSize",
            Self::VerifyClient => "verifyClient",
            Self::Undecided => "undecided",
            Self::Closing => "closing",
            Self::Taken => "taken",
            Self::MaxAuthFailuresPerAddress => "maxAuthFailuresPerAddress",
            Self::MaxAuthFailuresPerClient => "maxAuthFailuresPerClient",
        }
    }
}

/// The counters of a relay.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: AtomicUsize,
    panics: AtomicU64,
    /// A plain lock: these events are too rare for threads to wait for each other.
    tables: Mutex<Tables>,
}

/// A snapshot of everything that is counted by code.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Offences of clients.
    pub offences: Counts,
    /// Messages that were rejected or dropped for good.
    pub rejected: Counts,
    /// Connections that were rejected.
    pub turned_away: Counts,
    /// WebSockets that were not closed by their clients; 1006 for lost connections.
    pub closed: Closed,
}

impl Metrics {
    /// Counts a connection that was upgraded.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of an upgraded connection.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a panic.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of panics.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Counts an offence.
    pub fn offence(&self, code: &'static str) {
        self.count(|tables| &mut tables.offences, code, 1);
    }

    /// Counts a message that was rejected for good.
    pub fn rejected(&self, code: &'static str) {
        self.dropped(code, 1);
    }

    /// Counts messages that were rejected for good, or dropped after they had been accepted.
    pub fn dropped(&self, code: &'static str, messages: u64) {
        self.count(|tables| &mut tables.rejected, code, messages);
    }

    /// Counts a rejected connection.
    pub fn connection_rejected(&self, why: Rejection) {
        self.count(|tables| &mut tables.turned_away, why.code(), 1);
    }

    /// Counts a WebSocket that was not closed by its client.
    pub fn closed(&self, code: u16) {
        self.count(|tables| &mut tables.closed, code, 1);
    }

    fn count<K: Ord>(&self, table: impl FnOnce(&mut Tables) -> &mut BTreeMap<K, u64>, code: K, times: u64) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        *table(&mut tables).entry(code).or_default() += times;
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns a snapshot of the tables.
    pub fn by_code(&self) -> Tables {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
