//! Registered clients, their channels, and the relay's statistics.

use std::time::Duration;

use super::Relay;
use crate::error::{CloseReason, Error};
use crate::events::Event;
use crate::hub::{ClientStatus, NewClient, Registration, Totals};
use crate::ids::{ClientId, Token};
use crate::limits::Limits;
use crate::metrics::{Closed, Counts, Tables};
use crate::session::Shared;
use crate::store::StoreStats;

/// Statistics of a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open connections, including those not authenticated yet.
    pub connections: usize,
    /// Server-wide totals of clients, channels and messages.
    pub totals: Totals,
    /// Messages that were rejected or have expired, by code.
    pub rejected: Counts,
    /// Offences, by code.
    pub offences: Counts,
    /// Rejected connections, by [`Rejection::code`](crate::metrics::Rejection::code).
    pub turned_away: Counts,
    /// WebSockets not closed by their clients, by close code; 1006 counts lost connections.
    pub closed: Closed,
    /// Events dropped because their queue was full.
    pub events_dropped: u64,
    /// Panics, each a bug in the relay that ended a connection.
    pub panics: u64,
    /// Statistics of the store on disk, if there is one.
    pub store: Option<StoreStats>,
}

impl Relay {
    /// Registers a client.
    ///
    /// # Errors
    /// [`Error::ClientIdsExhausted`], or [`Error::System`] if the system has no randomness.
    pub fn register_client(&self) -> Result<Registration, Error> {
        self.context.hub.register(None)
    }

    /// Registers a client for `lifetime`. [`Relay::refresh_token`] extends it.
    ///
    /// # Errors
    /// [`Error::ClientIdsExhausted`], [`Error::System`].
    pub fn register_client_for(&self, lifetime: Duration) -> Result<Registration, Error> {
        self.context.hub.register(Some(lifetime))
    }

    /// Registers a client whose id or token the application may choose.
    ///
    /// # Errors
    /// [`Error::ClientExists`], [`Error::ClientIdsExhausted`], [`Error::System`].
    pub fn register(&self, client: NewClient) -> Result<Registration, Error> {
        self.context.hub.register_client(client)
    }

    /// Registers `count` clients, at most [`Limits::MAX_REGISTERED_AT_ONCE`], for `lifetime` or for good. Their ids ascend.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::ClientIdsExhausted`], [`Error::System`]. No client is registered then.
    pub fn register_clients(
        &self,
        count: usize,
        lifetime: Option<Duration>,
    ) -> Result<Vec<Registration>, Error> {
        Limits::MAX_REGISTERED_AT_ONCE.check(count as u64)?;
        self.context.hub.register_many(count, lifetime)
    }

    /// Takes the application's data about the clients that the store has kept, as JSON. Empty the second time.
    pub fn take_stored_data(&self) -> Vec<(ClientId, Box<str>)> {
        self.context.hub.take_data()
    }

    /// Replaces a client's token with `token` or a random one. The old token becomes invalid; an open connection stays open.
    ///
    /// A registration with a lifetime then expires after `lifetime` from now, or after its previous lifetime if `None`.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::System`].
    pub fn refresh_token(
        &self,
        client: ClientId,
        token: Option<Token>,
        lifetime: Option<Duration>,
    ) -> Result<Token, Error> {
        self.context.hub.refresh(client, token, lifetime)
    }

    /// Removes a client, its mailbox, its channels and its undelivered messages. Its connection is closed (4502).
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister_client(&self, client: ClientId) -> Result<(), Error> {
        let reason = CloseReason::Unregistered;
        if self.context.hub.unregister(client, reason.clone())?.was_connected {
            self.context.events.emit(Event::Disconnected(client, reason));
        }
        Ok(())
    }

    /// Closes a client's connection. Returns false if it has none.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn disconnect_client(&self, client: ClientId, code: u16, text: String) -> Result<bool, Error> {
        let reason = CloseReason::ByServer(code, text);
        self.context.hub.disconnect(client, reason.clone(), || {
            self.context.events.emit(Event::Disconnected(client, reason));
        })
    }

    /// Registers a channel between two clients, or from a client to itself.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelExists`].
    pub fn register_relay_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        self.context.hub.open_channel(first, second)
    }

    /// Registers the missing channels between all of these clients. Returns how many were missing.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`]; nothing has changed.
    pub fn register_relay_channels(&self, clients: &[ClientId]) -> Result<usize, Error> {
        self.context.hub.open_channels_among(clients)
    }

    /// Registers the missing channels between a client and each of the others, but not to itself. Returns how many were
    /// missing.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`]; nothing has changed.
    pub fn register_relay_channels_with(
        &self,
        client: ClientId,
        others: &[ClientId],
    ) -> Result<usize, Error> {
        self.context.hub.open_channels_with(client, others)
    }

    /// Removes the channel between two clients and drops the messages waiting in it.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelNotFound`].
    pub fn unregister_relay_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        self.context.hub.close_channel(first, second)
    }

    /// Returns the ids of the registered clients.
    pub fn clients(&self) -> Vec<ClientId> {
        self.context.hub.ids()
    }

    /// Returns the status of a client, if it is registered.
    pub fn client(&self, client: ClientId) -> Option<ClientStatus> {
        self.context.hub.status(client)
    }

    /// Returns the relay's statistics.
    pub fn stats(&self) -> Stats {
        let Shared { hub, events, metrics, .. } = &*self.context;
        let Tables { offences, rejected, turned_away, closed } = metrics.by_code();
        Stats {
            connections: metrics.connections(),
            totals: hub.totals(),
            rejected,
            offences,
            turned_away,
            closed,
            events_dropped: events.dropped(),
            panics: metrics.panics(),
            store: hub.store_stats(),
        }
    }
}
