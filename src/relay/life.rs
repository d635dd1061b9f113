//! How clients and channels of a relay come and go, and what there is to know of it.

use std::time::{Duration, Instant};

use super::{Relay, go_on};
use crate::error::{CloseReason, Error, MessageExpired};
use crate::events::Event;
use crate::hub::{ClientStatus, ExpiredMessages, PresenceProgress, Registration, Removal, Totals};
use crate::ids::{ClientId, Token};
use crate::metrics::{Closed, Counts, Tables};
use crate::model::release_spare_chunks;
use crate::session::Shared;
use crate::trim::{freed, trim};

/// The time between two looks at whether the relay has come to rest.
const LOOK: Duration = Duration::from_secs(5);
/// Fewer messages leave nothing behind that is worth it.
const MANY_MESSAGES: u64 = 1000;
/// And neither do fewer bytes of them that have waited, or were put together.
const MANY_BYTES: usize = 16 * 1024 * 1024;

/// Registrations that end at one time before others have their turn.
const BATCH: usize = 64;

/// The time for which no presence is told when connections were woken to write some.
const PRESENCE_PAUSE: Duration = Duration::from_millis(1);

/// What a relay counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that are open, those that have not authenticated included.
    pub connections: usize,
    /// What there is of clients, channels and messages.
    pub totals: Totals,
    /// Messages that were refused for good, or have expired, by code.
    pub rejected: Counts,
    /// What clients did wrong, by code.
    pub offences: Counts,
    /// Clients that were not let in, by [`Rejection::code`](crate::metrics::Rejection::code).
    pub turned_away: Counts,
    /// WebSockets that were not ended by their clients, by close code; 1006 those that broke off.
    pub closed: Closed,
    /// Events that did not fit into their queue.
    pub events_dropped: u64,
    /// Bugs of ours that ended a connection.
    pub panics: u64,
}

impl Relay {
    /// Registers a client whose registration ends after `life`, unless it is refreshed before.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn register_client_for(&self, life: Duration) -> Result<Registration, Error> {
        self.shared.hub.register(Some(life))
    }

    /// Gives a client another token; the one before opens nothing any more. If the registration ends by itself, it does
    /// so after `life`, or after as long as was said before, counted from now. A connection goes on.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::System`].
    pub fn refresh_token(&self, client: ClientId, life: Option<Duration>) -> Result<Token, Error> {
        self.shared.hub.refresh(client, life)
    }

    /// Forgets a client, its mailbox, its channels and what it has waiting for others. Its connection ends (4502).
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister_client(&self, client: ClientId) -> Result<(), Error> {
        let reason = CloseReason::Unregistered;
        if self.shared.hub.unregister(client, reason.clone())?.was_connected {
            self.shared.events.emit(Event::Disconnected(client, reason));
        }
        Ok(())
    }

    /// Ends a client's connection; false when it has none.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn disconnect_client(&self, client: ClientId, code: u16, text: String) -> Result<bool, Error> {
        let reason = CloseReason::ByServer(code, text);
        self.shared.hub.disconnect(client, reason.clone(), || {
            self.shared.events.emit(Event::Disconnected(client, reason));
        })
    }

    /// Lets all of these clients talk to each other; returns how many channels that made.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], and nothing has changed.
    pub fn register_relay_channels(&self, clients: &[ClientId]) -> Result<usize, Error> {
        self.shared.hub.open_channels_among(clients)
    }

    /// Lets a client talk to each of the others, to itself not; returns how many channels that made.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], and nothing has changed.
    pub fn register_relay_channels_with(
        &self,
        client: ClientId,
        others: &[ClientId],
    ) -> Result<usize, Error> {
        self.shared.hub.open_channels_with(client, others)
    }

    /// Takes the channel of two clients from them and drops what waits in it.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelNotFound`].
    pub fn unregister_relay_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        self.shared.hub.close_channel(first, second)
    }

    /// The registered clients, by id.
    pub fn clients(&self) -> Vec<ClientId> {
        self.shared.hub.ids()
    }

    /// What there is to know of a client.
    pub fn client(&self, client: ClientId) -> Option<ClientStatus> {
        self.shared.hub.status(client)
    }

    /// What the relay counts.
    pub fn stats(&self) -> Stats {
        let Shared { hub, events, metrics, .. } = &*self.shared;
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
        }
    }
}

/// What has its time, for ever.
pub(super) async fn keep(shared: &Shared) {
    // Each by itself: a panic of one must not cost the other what it is about to tell.
    tokio::join!(
        go_on(shared, || expire(shared)),
        go_on(shared, || tidy(shared)),
        go_on(shared, || tell_presence(shared))
    );
}

/// Tells clients who came and left, for ever.
async fn tell_presence(shared: &Shared) {
    loop {
        let PresenceProgress { has_more, has_rung } = shared.hub.tell_presence();
        match (has_more, has_rung) {
            (false, _) => shared.hub.presence_pending().await,
            // Others have their turn first.
            (true, false) => tokio::task::yield_now().await,
            // They may be on other threads, which have more to do.
            (true, true) => tokio::time::sleep(PRESENCE_PAUSE).await,
        }
    }
}

/// Ends registrations and drops messages when their time has come, for ever.
async fn expire(shared: &Shared) {
    loop {
        shared.hub.deadline().await;
        crate::faults::point("expire");
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(mut removal) = shared.hub.expire(now) else { break };
            let Removal { client, removed, .. } = removal;
            if removed.was_connected {
                shared.events.emit(Event::Disconnected(client, CloseReason::Expired));
            }
            while shared.hub.remove_from_peers(&mut removal) {
                tokio::task::yield_now().await;
            }
            let undelivered = removed.undelivered;
            // It is told once, and whoever keeps something for the client has to know.
            shared.events.emit_or_wait(Event::Expired { client, undelivered }).await;
        }
        for ExpiredMessages { sender, recipient, messages } in shared.hub.expire_messages(now) {
            shared.metrics.dropped(MessageExpired::CODE, messages);
            shared.events.emit(Event::MessagesExpired { sender, recipient, messages });
        }
        tokio::task::yield_now().await;
    }
}

/// Drops all messages: nobody will come for them any more.
pub(super) fn drop_messages(shared: &Shared) {
    let before = shared.hub.totals();
    if before.queued_messages > 0 || before.queued_bytes > 0 {
        shared.hub.drop_messages();
    }
    // Twice: the first time it keeps what was needed lately.
    release_spare_chunks();
    release_spare_chunks();
    if before.queued_bytes >= MANY_BYTES || before.relayed_messages >= MANY_MESSAGES {
        trim();
    }
}

/// What there was at one look: messages that were ever relayed, bytes of buffers that were ever freed, bytes that wait.
#[derive(Clone, Copy)]
struct Seen {
    messages: u64,
    freed: usize,
    queued: usize,
}

/// Gives the system back what many messages have left behind, when they have become few or have gone; for ever.
async fn tidy(shared: &Shared) {
    let look = || {
        let Totals { relayed_messages: messages, queued_bytes: queued, .. } = shared.hub.totals();
        Seen { messages, freed: freed(), queued }
    };
    let mut before = look();
    let (mut most, mut trimmed) = (before.queued, before);
    loop {
        crate::faults::point("tidy");
        tokio::time::sleep(LOOK).await;
        release_spare_chunks();
        let now = look();
        let lately =
            Seen { messages: now.messages - before.messages, freed: now.freed - before.freed, ..now };
        let all = Seen { messages: now.messages - trimmed.messages, freed: now.freed - trimmed.freed, ..now };
        before = now;
        most = most.max(now.queued);
        // As many as ever need the memory again.
        let are_few = all.messages >= MANY_MESSAGES && lately.messages < all.messages / 10;
        let has_ended = all.freed >= MANY_BYTES && lately.freed < all.freed / 10;
        if are_few || has_ended || most - now.queued >= MANY_BYTES {
            trim();
            (trimmed, most) = (now, now.queued);
        }
    }
}
