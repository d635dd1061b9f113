//! How clients and channels of a relay come and go, and what there is to know of it.

use std::time::{Duration, Instant};

use super::{Relay, restart_on_panic};
use crate::backend::{Departure, Registration, Status, Told, Totals, Undelivered};
use crate::error::{CloseReason, Error, MessageExpired};
use crate::events::Event;
use crate::ids::{ClientId, Token};
use crate::metrics::{Closed, Counts, Tables};
use crate::model::release_spare;
use crate::session::Shared;
use crate::trim::{freed, trim};

/// The time between two looks at whether the relay has come to rest.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
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
    /// Clients that were not let in, by [`TurnedAway::code`](crate::metrics::TurnedAway::code).
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
        self.shared.backend.register(Some(life))
    }

    /// Gives a client another token; the one before opens nothing any more. If the registration ends by itself, it does
    /// so after `life`, or after as long as was said before, counted from now. A connection goes on.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::System`].
    pub fn refresh_token(&self, client: ClientId, life: Option<Duration>) -> Result<Token, Error> {
        self.shared.backend.refresh(client, life)
    }

    /// Forgets a client, its mailbox, its channels and what it has waiting for others. Its connection ends (4502).
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister_client(&self, client: ClientId) -> Result<(), Error> {
        let reason = CloseReason::Unregistered;
        if self.shared.backend.unregister(client, reason.clone())?.was_connected {
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
        self.shared.backend.disconnect(client, reason.clone(), || {
            self.shared.events.emit(Event::Disconnected(client, reason));
        })
    }

    /// Lets all of these clients talk to each other; returns how many channels that made.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], and nothing has changed.
    pub fn register_relay_channels(&self, clients: &[ClientId]) -> Result<usize, Error> {
        self.shared.backend.authorize_all(clients)
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
        self.shared.backend.authorize_with(client, others)
    }

    /// Takes the channel of two clients from them and drops what waits in it.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelNotFound`].
    pub fn unregister_relay_channel(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        self.shared.backend.revoke_pair(first, second)
    }

    /// The registered clients, by id.
    pub fn clients(&self) -> Vec<ClientId> {
        self.shared.backend.ids()
    }

    /// What there is to know of a client.
    pub fn client(&self, client: ClientId) -> Option<Status> {
        self.shared.backend.status(client)
    }

    /// What the relay counts.
    pub fn stats(&self) -> Stats {
        let Shared { backend, events, metrics, .. } = &*self.shared;
        let Tables { offences, rejected, turned_away, closed } = metrics.by_code();
        Stats {
            connections: metrics.connections(),
            totals: backend.totals(),
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
pub(super) async fn run_maintenance(shared: &Shared) {
    // Each by itself: a panic of one must not cost the other what it is about to tell.
    tokio::join!(
        restart_on_panic(shared, || run_expiry(shared)),
        restart_on_panic(shared, || trim_memory(shared)),
        restart_on_panic(shared, || send_presence(shared))
    );
}

/// Tells clients who came and left, for ever.
async fn send_presence(shared: &Shared) {
    loop {
        let Told { is_left, has_rung } = shared.backend.tell_presence();
        match (is_left, has_rung) {
            (false, _) => shared.backend.presence_due().await,
            // Others have their turn first.
            (true, false) => tokio::task::yield_now().await,
            // They may be on other threads, which have more to do.
            (true, true) => tokio::time::sleep(PRESENCE_PAUSE).await,
        }
    }
}

/// Ends registrations and drops messages when their time has come, for ever.
async fn run_expiry(shared: &Shared) {
    loop {
        shared.backend.deadline().await;
        crate::faults::point("expire");
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(mut departure) = shared.backend.expire(now) else { break };
            let Departure { client, parted, .. } = departure;
            if parted.was_connected {
                shared.events.emit(Event::Disconnected(client, CloseReason::Expired));
            }
            while shared.backend.part(&mut departure) {
                tokio::task::yield_now().await;
            }
            let undelivered = parted.undelivered;
            // It is told once, and whoever keeps something for the client has to know.
            shared.events.emit_surely(Event::Expired { client, undelivered }).await;
        }
        for Undelivered { sender, recipient, messages } in shared.backend.expire_messages(now) {
            shared.metrics.dropped(MessageExpired::CODE, messages);
            shared.events.emit(Event::MessagesExpired { sender, recipient, messages });
        }
        tokio::task::yield_now().await;
    }
}

/// Drops all messages: nobody will come for them any more.
pub(super) fn drop_messages(shared: &Shared) {
    let before = shared.backend.totals();
    if before.queued_messages > 0 || before.queued_bytes > 0 {
        shared.backend.drop_messages();
    }
    // Twice: the first time it keeps what was needed lately.
    release_spare();
    release_spare();
    if before.queued_bytes >= MANY_BYTES || before.relayed_messages >= MANY_MESSAGES {
        trim();
    }
}

/// What there was at one look: messages that were ever relayed, bytes of buffers that were ever freed, bytes that wait.
#[derive(Clone, Copy)]
struct MemorySample {
    messages: u64,
    freed: usize,
    queued: usize,
}

/// Gives the system back what many messages have left behind, when they have become few or have gone; for ever.
async fn trim_memory(shared: &Shared) {
    let look = || {
        let Totals { relayed_messages: messages, queued_bytes: queued, .. } = shared.backend.totals();
        MemorySample { messages, freed: freed(), queued }
    };
    let mut before = look();
    let (mut most, mut trimmed) = (before.queued, before);
    loop {
        crate::faults::point("trim_memory");
        tokio::time::sleep(MEMORY_CHECK_INTERVAL).await;
        release_spare();
        let now = look();
        let lately =
            MemorySample { messages: now.messages - before.messages, freed: now.freed - before.freed, ..now };
        let all = MemorySample {
            messages: now.messages - trimmed.messages,
            freed: now.freed - trimmed.freed,
            ..now
        };
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
