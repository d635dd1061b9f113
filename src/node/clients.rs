//! Clients, their channels and statistics: more methods of `NativeRelay`.

use std::collections::BTreeMap;
use std::time::Duration;

use napi::bindgen_prelude::{Float64Array, Result};
use napi_derive::napi;

use super::NativeRelay;
use super::errors::{Code, js_error};
use crate::error::Error;
use crate::hub::NewClient;
use crate::ids::{ClientId, Token};
use crate::store::StoreStats;

/// A registered client.
#[napi(object)]
pub struct NativeRegistration {
    /// Its id.
    pub id: f64,
    /// Its token.
    pub token: String,
}

/// Many registered clients.
#[napi(object)]
pub struct NativeRegistrations {
    /// Their ids, ascending.
    pub ids: Float64Array,
    /// Their tokens, in the order of the ids.
    pub tokens: Vec<String>,
}

/// What the store has kept of the application's data.
#[napi(object)]
pub struct NativeData {
    /// The client.
    pub id: f64,
    /// The data.
    pub json: String,
}

/// The status of a client.
#[napi(object)]
pub struct NativeStatus {
    /// Whether it is connected.
    pub connected: bool,
    /// Messages waiting for it.
    pub queued_messages: f64,
    /// Their bytes, including overhead.
    pub queued_bytes: f64,
}

/// The count of one code.
#[napi(object)]
pub struct NativeCount {
    /// The code.
    pub code: String,
    /// Its count.
    pub count: f64,
}

/// Statistics of a store on disk.
#[napi(object)]
pub struct NativeStoreStats {
    /// Messages that were committed.
    pub committed: f64,
    /// Messages that were received before they were committed.
    pub skipped: f64,
    /// Bytes of messages that wait for either.
    pub pending_bytes: f64,
    /// How long the last commit took, in milliseconds.
    pub last_commit_ms: f64,
}

impl From<StoreStats> for NativeStoreStats {
    fn from(stats: StoreStats) -> Self {
        Self {
            committed: stats.committed as f64,
            skipped: stats.skipped as f64,
            pending_bytes: stats.pending_bytes as f64,
            last_commit_ms: stats.last_commit_micros as f64 / 1000.0,
        }
    }
}

/// Statistics of a relay.
#[napi(object)]
pub struct NativeStats {
    /// Open connections.
    pub connections: f64,
    /// Registered clients.
    pub registered: f64,
    /// Registered channels.
    pub channels: f64,
    /// Messages waiting for their recipients.
    pub queued_messages: f64,
    /// Their bytes, including overhead.
    pub queued_bytes: f64,
    /// Messages accepted since the start.
    pub relayed_messages: f64,
    /// Their bytes.
    pub relayed_bytes: f64,
    /// Messages that were rejected or have expired.
    pub rejected: Vec<NativeCount>,
    /// Offences.
    pub offences: Vec<NativeCount>,
    /// Rejected connections.
    pub turned_away: Vec<NativeCount>,
    /// WebSockets not closed by their clients.
    pub closed: Vec<NativeCount>,
    /// Events dropped because their queue was full.
    pub events_dropped: f64,
    /// Panics, each a bug in the relay that ended a connection.
    pub panics: f64,
    /// Statistics of the store on disk, if there is one.
    pub store: Option<NativeStoreStats>,
}

#[napi]
impl NativeRelay {
    /// Registers a client, for `lifetime` milliseconds or without expiry. The id and the token are the application's if given;
    /// `data` is JSON that a store on disk keeps.
    #[napi(catch_unwind)]
    pub fn register_client(
        &self,
        lifetime: Option<f64>,
        client: Option<f64>,
        token: Option<String>,
        data: Option<String>,
    ) -> Result<NativeRegistration, Code> {
        let client = NewClient {
            id: client.map(|client| id(client, "id")).transpose()?,
            token: token.map(parse_token).transpose()?,
            lifetime: duration(lifetime),
            data: data.map(String::into_boxed_str),
        };
        let client = self.relay.register(client).map_err(js_error)?;
        Ok(NativeRegistration { id: client.id.get() as f64, token: client.token.reveal().to_owned() })
    }

    /// Registers `count` clients, for `lifetime` milliseconds or without expiry.
    #[napi(catch_unwind)]
    pub fn register_clients(&self, count: u32, lifetime: Option<f64>) -> Result<NativeRegistrations, Code> {
        let clients = self.relay.register_clients(count as usize, duration(lifetime)).map_err(js_error)?;
        let ids: Vec<_> = clients.iter().map(|client| client.id.get() as f64).collect();
        let tokens = clients.iter().map(|client| client.token.reveal().to_owned()).collect();
        Ok(NativeRegistrations { ids: ids.into(), tokens })
    }

    /// Returns the application's data about the clients that the store has kept. Empty the second time.
    #[napi(catch_unwind)]
    pub fn take_stored_data(&self) -> Vec<NativeData> {
        let data = self.relay.take_stored_data().into_iter();
        data.map(|(client, json)| NativeData { id: client.get() as f64, json: json.into() }).collect()
    }

    /// Removes a client.
    #[napi(catch_unwind)]
    pub fn unregister_client(&self, client: f64) -> Result<(), Code> {
        self.relay.unregister_client(id(client, "clientId")?).map_err(js_error)
    }

    /// Replaces a client's token, with `token` if given. Its registration then lasts `lifetime` milliseconds, or as long as
    /// before if null.
    #[napi(catch_unwind)]
    pub fn refresh_token(
        &self,
        client: f64,
        lifetime: Option<f64>,
        token: Option<String>,
    ) -> Result<String, Code> {
        let (client, token) = (id(client, "clientId")?, token.map(parse_token).transpose()?);
        let token = self.relay.refresh_token(client, token, duration(lifetime)).map_err(js_error)?;
        Ok(token.reveal().to_owned())
    }

    /// Closes a client's connection. Returns false if it has none.
    #[napi(catch_unwind)]
    pub fn disconnect_client(&self, client: f64, code: u16, text: String) -> Result<bool, Code> {
        self.relay.disconnect_client(id(client, "clientId")?, code, text).map_err(js_error)
    }

    /// Registers a channel between two clients.
    #[napi(catch_unwind)]
    pub fn register_relay_channel(&self, client1: f64, client2: f64) -> Result<(), Code> {
        let (first, second) = (id(client1, "clientId1")?, id(client2, "clientId2")?);
        self.relay.register_relay_channel(first, second).map_err(js_error)
    }

    /// Registers the missing channels between all of these clients. Returns how many were missing.
    #[napi(catch_unwind)]
    pub fn register_relay_channels(&self, clients: Vec<f64>) -> Result<f64, Code> {
        Ok(self.relay.register_relay_channels(&ids(clients)?).map_err(js_error)? as f64)
    }

    /// Registers the missing channels between a client and each of the others. Returns how many were missing.
    #[napi(catch_unwind)]
    pub fn register_relay_channels_with(&self, client: f64, others: Vec<f64>) -> Result<f64, Code> {
        let (client, others) = (id(client, "clientId")?, ids(others)?);
        Ok(self.relay.register_relay_channels_with(client, &others).map_err(js_error)? as f64)
    }

    /// Removes the channel between two clients.
    #[napi(catch_unwind)]
    pub fn unregister_relay_channel(&self, client1: f64, client2: f64) -> Result<(), Code> {
        let (first, second) = (id(client1, "clientId1")?, id(client2, "clientId2")?);
        self.relay.unregister_relay_channel(first, second).map_err(js_error)
    }

    /// Returns the ids of all registered clients.
    #[napi(catch_unwind)]
    pub fn client_ids(&self) -> Float64Array {
        self.relay.clients().into_iter().map(|client| client.get() as f64).collect::<Vec<_>>().into()
    }

    /// Returns whether a client is connected.
    #[napi(catch_unwind)]
    pub fn is_connected(&self, client: f64) -> Result<bool, Code> {
        let status = self.relay.client(id(client, "clientId")?);
        let status = status.ok_or_else(|| js_error(Error::ClientNotFound { argument: "clientId" }))?;
        Ok(status.is_connected)
    }

    /// Returns the status of a client, if it is registered.
    #[napi(catch_unwind)]
    pub fn client_status(&self, client: f64) -> Option<NativeStatus> {
        let status = self.relay.client(ClientId::from_f64(client)?)?;
        Some(NativeStatus {
            connected: status.is_connected,
            queued_messages: status.waiting.messages as f64,
            queued_bytes: status.waiting.bytes as f64,
        })
    }

    /// Returns the relay's statistics.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> NativeStats {
        let stats = self.relay.stats();
        NativeStats {
            connections: stats.connections as f64,
            registered: stats.totals.registered as f64,
            channels: stats.totals.channels as f64,
            queued_messages: stats.totals.queued_messages as f64,
            queued_bytes: stats.totals.queued_bytes as f64,
            relayed_messages: stats.totals.relayed_messages as f64,
            relayed_bytes: stats.totals.relayed_bytes as f64,
            rejected: counts(&stats.rejected),
            offences: counts(&stats.offences),
            turned_away: counts(&stats.turned_away),
            closed: counts(&stats.closed),
            events_dropped: stats.events_dropped as f64,
            panics: stats.panics as f64,
            store: stats.store.map(NativeStoreStats::from),
        }
    }
}

/// Converts milliseconds, which `index.js` has checked to be a positive integer.
fn duration(milliseconds: Option<f64>) -> Option<Duration> {
    milliseconds.map(|milliseconds| Duration::from_millis(milliseconds as u64))
}

/// Converts a client id. A number that is not an integer from 0 on is the id of no client.
fn id(number: f64, argument: &'static str) -> Result<ClientId, Code> {
    ClientId::from_f64(number).ok_or_else(|| js_error(Error::ClientNotFound { argument }))
}

/// Converts a token, which `index.js` has checked.
#[expect(clippy::needless_pass_by_value, reason = "for `map`")]
fn parse_token(digits: String) -> Result<Token, Code> {
    let error = || napi::Error::new("ERR_INVALID_ARG_TYPE".to_owned(), "token is no token".to_owned());
    Token::parse(&digits).ok_or_else(error)
}

fn ids(numbers: Vec<f64>) -> Result<Vec<ClientId>, Code> {
    numbers.into_iter().map(|number| id(number, "clientIds")).collect()
}

fn counts<K: ToString>(counts: &BTreeMap<K, u64>) -> Vec<NativeCount> {
    let native = |(code, count): (&K, &u64)| NativeCount { code: code.to_string(), count: *count as f64 };
    counts.iter().map(native).collect()
}
