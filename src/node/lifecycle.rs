//! Of `NativeRelay` what is about clients and channels that come and go, and what there is to know of them.

use std::collections::BTreeMap;
use std::time::Duration;

use napi::bindgen_prelude::{Float64Array, Result};
use napi_derive::napi;

use super::{Code, NativeRelay, js_error};
use crate::error::Error;
use crate::ids::ClientId;

/// What there is to know of a client.
#[napi(object)]
pub struct NativeStatus {
    /// Whether it is connected.
    pub connected: bool,
    /// Messages that wait for it.
    pub queued_messages: f64,
    /// Their bytes, overhead included.
    pub queued_bytes: f64,
}

/// How often a code was given.
#[napi(object)]
pub struct NativeCount {
    /// The code.
    pub code: String,
    /// How often.
    pub count: f64,
}

/// What a relay counts.
#[napi(object)]
pub struct NativeStats {
    /// Open connections.
    pub connections: f64,
    /// Registered clients.
    pub registered: f64,
    /// Registered channels.
    pub channels: f64,
    /// Messages that wait.
    pub queued_messages: f64,
    /// Their bytes, overhead included.
    pub queued_bytes: f64,
    /// Messages that were taken.
    pub relayed_messages: f64,
    /// Their bytes.
    pub relayed_bytes: f64,
    /// Messages that were refused for good.
    pub rejected: Vec<NativeCount>,
    /// What clients did wrong.
    pub offences: Vec<NativeCount>,
    /// Clients that were not let in.
    pub turned_away: Vec<NativeCount>,
    /// WebSockets that were not ended by their clients.
    pub closed: Vec<NativeCount>,
    /// Events that did not fit into their queue.
    pub events_dropped: f64,
    /// Bugs of ours that ended a connection.
    pub panics: f64,
}

#[napi]
impl NativeRelay {
    /// Forgets a client.
    #[napi(catch_unwind)]
    pub fn unregister_client(&self, client: f64) -> Result<(), Code> {
        self.relay.unregister_client(id(client, "clientId")?).map_err(js_error)
    }

    /// Gives a client another token, and its registration so many milliseconds, or as many as it had.
    #[napi(catch_unwind)]
    pub fn refresh_token(&self, client: f64, lifetime: Option<f64>) -> Result<String, Code> {
        let token =
            self.relay.refresh_token(id(client, "clientId")?, duration(lifetime)).map_err(js_error)?;
        Ok(token.reveal().to_owned())
    }

    /// Ends a client's connection; false when it has none.
    #[napi(catch_unwind)]
    pub fn disconnect_client(&self, client: f64, code: u16, text: String) -> Result<bool, Code> {
        self.relay.disconnect_client(id(client, "clientId")?, code, text).map_err(js_error)
    }

    /// Lets all of these clients talk to each other; returns how many channels that made.
    #[napi(catch_unwind)]
    pub fn register_relay_channels(&self, clients: Vec<f64>) -> Result<f64, Code> {
        Ok(self.relay.register_relay_channels(&ids(clients)?).map_err(js_error)? as f64)
    }

    /// Lets a client talk to each of the others; returns how many channels that made.
    #[napi(catch_unwind)]
    pub fn register_relay_channels_with(&self, client: f64, others: Vec<f64>) -> Result<f64, Code> {
        let (client, others) = (id(client, "clientId")?, ids(others)?);
        Ok(self.relay.register_relay_channels_with(client, &others).map_err(js_error)? as f64)
    }

    /// Takes the channel of two clients from them.
    #[napi(catch_unwind)]
    pub fn unregister_relay_channel(&self, client1: f64, client2: f64) -> Result<(), Code> {
        let (first, second) = (id(client1, "clientId1")?, id(client2, "clientId2")?);
        self.relay.unregister_relay_channel(first, second).map_err(js_error)
    }

    /// The ids of all clients.
    #[napi(catch_unwind)]
    pub fn client_ids(&self) -> Float64Array {
        self.relay.clients().into_iter().map(|client| client.get() as f64).collect::<Vec<_>>().into()
    }

    /// Whether a client is connected.
    #[napi(catch_unwind)]
    pub fn is_connected(&self, client: f64) -> Result<bool, Code> {
        let status = self.relay.client(id(client, "clientId")?);
        let status = status.ok_or_else(|| js_error(Error::ClientNotFound { argument: "clientId" }))?;
        Ok(status.is_connected)
    }

    /// What there is to know of a client, if it is registered.
    #[napi(catch_unwind)]
    pub fn client_status(&self, client: f64) -> Option<NativeStatus> {
        let status = self.relay.client(ClientId::from_f64(client)?)?;
        Some(NativeStatus {
            connected: status.is_connected,
            queued_messages: status.waiting.messages as f64,
            queued_bytes: status.waiting.bytes as f64,
        })
    }

    /// What the relay counts.
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
        }
    }
}

/// `index.js` has checked that it is an integer from 1 on.
pub(super) fn duration(milliseconds: Option<f64>) -> Option<Duration> {
    milliseconds.map(|milliseconds| Duration::from_millis(milliseconds as u64))
}

/// Nobody has an id that is no integer from 0 on.
pub(super) fn id(number: f64, argument: &'static str) -> Result<ClientId, Code> {
    ClientId::from_f64(number).ok_or_else(|| js_error(Error::ClientNotFound { argument }))
}

fn ids(numbers: Vec<f64>) -> Result<Vec<ClientId>, Code> {
    numbers.into_iter().map(|number| id(number, "clientIds")).collect()
}

fn counts<K: ToString>(counts: &BTreeMap<K, u64>) -> Vec<NativeCount> {
    let counts =
        counts.iter().map(|(code, count)| NativeCount { code: code.to_string(), count: *count as f64 });
    counts.collect()
}
