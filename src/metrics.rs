//! What is counted of clients' mistakes, of messages and of clients that were refused, and how many connections there are.
//! Rare things only: what is relayed is counted where it is kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How often, by code.
pub type Counts = BTreeMap<&'static str, u64>;

/// How often, by close code.
pub type Closed = BTreeMap<u16, u64>;

/// Why a client was not let in, by the option that says so where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There are too many connections.
    MaxConnections,
    /// There are too many of its address.
    MaxConnectionsPerAddress,
    /// Those of its address come too fast.
    ConnectionRate,
    /// It comes from a page that may not.
    AllowedOrigins,
    /// Its handshake of TLS or its request did not come in time.
    HeadersTimeout,
    /// The head of its request is too large.
    MaxHeaderSize,
    /// Somebody was asked, and said no.
    VerifyClient,
    /// Somebody was asked, and did not answer.
    Undecided,
    /// The relay is closing.
    Closing,
    /// Its request was answered by another listener of the same http server.
    Taken,
    /// Too many authentications have failed from its address: whether the token was right did not count.
    MaxAuthFailuresPerAddress,
    /// Too many have failed for its id.
    MaxAuthFailuresPerClient,
}

impl Rejection {
    /// What it is counted by.
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

/// The counters.
#[derive(Debug, Default)]
pub struct Metrics {
    connections: AtomicUsize,
    panics: AtomicU64,
    /// Nobody counts fast enough here for others to wait.
    tables: Mutex<Tables>,
}

/// What is counted by code.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// What clients did wrong.
    pub offences: Counts,
    /// Messages that were refused for good.
    pub rejected: Counts,
    /// Clients that were not let in.
    pub turned_away: Counts,
    /// WebSockets that were not ended by their clients; 1006 those that broke off.
    pub closed: Closed,
}

impl Metrics {
    /// A connection was upgraded.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// And is over.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A bug of ours showed.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A client did something wrong.
    pub fn offence(&self, code: &'static str) {
        self.count(|tables| &mut tables.offences, code, 1);
    }

    /// A message was refused for good.
    pub fn rejected(&self, code: &'static str) {
        self.dropped(code, 1);
    }

    /// So many messages were refused for good, or dropped after they had been taken.
    pub fn dropped(&self, code: &'static str, messages: u64) {
        self.count(|tables| &mut tables.rejected, code, messages);
    }

    /// A client was not let in.
    pub fn connection_rejected(&self, why: Rejection) {
        self.count(|tables| &mut tables.turned_away, why.code(), 1);
    }

    /// A WebSocket ended, and not by its client.
    pub fn closed(&self, code: u16) {
        self.count(|tables| &mut tables.closed, code, 1);
    }

    fn count<K: Ord>(&self, table: impl FnOnce(&mut Tables) -> &mut BTreeMap<K, u64>, code: K, times: u64) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        *table(&mut tables).entry(code).or_default() += times;
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What was counted by code.
    pub fn by_code(&self) -> Tables {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
