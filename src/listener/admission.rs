//! What is known about a connection before its request is read.

use crate::access::{AddressKey, ConnectionPermit, HostAddress};

/// The client at the other end of a connection.
#[derive(Debug, Default)]
pub struct RemoteClient {
    /// Its address, if known.
    pub address: Option<HostAddress>,
    /// What its connections and failures are counted by.
    pub address_key: Option<AddressKey>,
    /// Held as long as the connection, if connections are counted.
    pub permit: Option<ConnectionPermit>,
}

/// What is known about a connection to the port before its request is read.
#[derive(Debug)]
pub enum Admission {
    /// The client is known.
    Identified(RemoteClient),
    /// The connection comes from this address; the request tells the client's, because proxies are trusted.
    BehindProxy(HostAddress),
    /// Its address has too many connections, or opens them too fast.
    OverLimit,
    /// The relay is closing.
    Closing,
}

impl Admission {
    /// Returns the client, if it is known.
    pub fn client(&self) -> Option<&RemoteClient> {
        match self {
            Self::Identified(client) => Some(client),
            _ => None,
        }
    }

    /// Returns the client, if it is known.
    pub fn into_client(self) -> Option<RemoteClient> {
        match self {
            Self::Identified(client) => Some(client),
            _ => None,
        }
    }
}
