//! How clients are registered and removed, and what is known of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Hub;
use super::client::{Client, ring};
use super::state::Detached;
use crate::error::{CloseReason, Error};
use crate::ids::{ClientId, Token};
use crate::model::{ClientSet, Freed, MailboxSize};
use crate::store::{NewClient, Registration, Unregistered};
use crate::sync::Ordering;

/// Peers from which a removed client is removed in one step.
const PEERS: usize = 64;

/// A client that is no longer registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedClient {
    /// Whether it was connected.
    pub was_connected: bool,
    /// Messages to it that it had not received.
    pub undelivered: usize,
}

/// The removal of a client, which its peers are still to be told of.
#[derive(Debug)]
pub struct Removal {
    /// The client's id.
    pub client: ClientId,
    /// The removed client.
    pub removed: RemovedClient,
    /// Clients that still keep something of it.
    peers: ClientSet,
}

/// What is known of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// Whether a connection has its mailbox.
    pub is_connected: bool,
    /// What waits in its mailbox.
    pub waiting: MailboxSize,
}

/// Server-wide totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Registered clients.
    pub registered: usize,
    /// Channels.
    pub channels: usize,
    /// Messages that wait.
    pub queued_messages: usize,
    /// Bytes of waiting messages, overhead included, and of outboxes that a socket did not take at once.
    pub queued_bytes: usize,
    /// Messages accepted since the start.
    pub relayed_messages: u64,
    /// Bytes of those messages.
    pub relayed_bytes: u64,
}

impl Hub {
    /// Registers a client for `lifetime`, or for good.
    ///
    /// # Errors
    /// [`Error::ClientIdsExhausted`], or [`Error::System`] when the system has no randomness to give.
    pub fn register(&self, lifetime: Option<Duration>) -> Result<Registration, Error> {
        self.register_client(NewClient { lifetime, ..NewClient::default() })
    }

    /// Registers a client.
    ///
    /// # Errors
    /// [`Error::ClientExists`], [`Error::ClientIdsExhausted`], [`Error::System`].
    pub fn register_client(&self, new: NewClient) -> Result<Registration, Error> {
        self.store.register(self.new_client(), new)
    }

    /// Registers `count` clients for `lifetime`, or for good. Their ids ascend.
    ///
    /// # Errors
    /// [`Error::ClientIdsExhausted`], [`Error::System`]. No client is registered then.
    pub fn register_many(
        &self,
        count: usize,
        lifetime: Option<Duration>,
    ) -> Result<Vec<Registration>, Error> {
        self.store.register_many((0..count).map(|_| self.new_client()).collect(), lifetime)
    }

    /// Takes the application's data about the clients that the store has kept, as JSON.
    pub fn take_data(&self) -> Vec<(ClientId, Box<str>)> {
        self.store.take_data()
    }

    /// Gives a client another token, `token` or a random one, and begins its lifetime anew: `lifetime` if given, else as long
    /// as before.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::System`].
    pub fn refresh(
        &self,
        id: ClientId,
        token: Option<Token>,
        lifetime: Option<Duration>,
    ) -> Result<Token, Error> {
        self.store.refresh(id, token, lifetime)
    }

    /// Removes a client with its mailbox, its channels and its messages to others, and ends its connection with `reason`.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister(&self, id: ClientId, reason: CloseReason) -> Result<RemovedClient, Error> {
        let mut removal = self.remove(self.store.unregister(id)?, reason);
        while self.remove_from_peers(&mut removal) {}
        self.store.flush()?;
        Ok(removal.removed)
    }

    /// Unregisters a client whose registration has ended by `now`, if there is one. [`Hub::remove_from_peers`] does the rest.
    pub fn expire(&self, now: Instant) -> Option<Removal> {
        self.store.take_expired(now).map(|expired| self.remove(expired, CloseReason::Expired))
    }

    /// Waits until a registration ends or messages expire.
    pub async fn deadline(&self) {
        loop {
            let Ok(visit) = self.next_visit() else { return };
            let next = self.store.next_deadline().into_iter().chain(visit).min();
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                () = self.store.deadline_changed() => {}
                () = self.deadline.notified() => {}
            }
        }
    }

    /// Drops all messages, when no connection will come for them. Clients and channels stay.
    pub fn drop_messages(&self) {
        for id in self.ids() {
            let Some(client) = self.client(id) else { continue };
            let mut state = client.lock();
            // A connection that cannot end would put its messages back.
            if state.connection.is_some() {
                continue;
            }
            if let Some(reliable) = state.reliable.take() {
                self.budget.adjust(reliable.counted.0, 0);
            }
            let visit = state.mailbox.scheduled_check();
            let MailboxSize { messages, bytes } = state.mailbox.clear();
            drop(state);
            self.cancel_visit(id, visit);
            self.budget.adjust(bytes, 0);
            self.queued_messages.fetch_sub(messages, Ordering::Relaxed);
        }
    }

    /// Ends the connection of a client that was just unregistered, and takes its mailbox.
    fn remove(
        &self,
        Unregistered { id, value: client }: Unregistered<Arc<Client>>,
        reason: CloseReason,
    ) -> Removal {
        let mut state = client.lock();
        state.is_unregistered = true;
        client.is_gone.store(true, Ordering::Relaxed);
        let detached = state.detach(false);
        let (waiting, contents) = (state.mailbox.release_held_senders(), state.mailbox.size());
        let mailbox = std::mem::take(&mut state.mailbox);
        if let Some(reliable) = state.reliable.take() {
            self.budget.adjust(reliable.counted.0, 0);
        }
        let was_connected = detached.is_some();
        let mut counted = contents;
        let mut freed = Freed::default();
        let bell =
            detached.map(|Detached { bell, outbox, messages, bytes, blocked_bytes, freed: of_copies }| {
                freed = of_copies;
                // These are among the contents, and were not counted.
                counted.messages -= messages;
                counted.bytes -= bytes;
                self.budget.adjust(blocked_bytes, 0);
                bell.end(reason, outbox.unwritten().into());
                bell
            });
        // After the reason is set: from here on everything is refused to the connection.
        client.claim.fetch_add(1, Ordering::AcqRel);
        drop(state);
        ring(bell);
        self.notify_senders(id, freed);
        for (sender, session, seq) in mailbox.unsettled() {
            self.accept(id, sender, session, seq);
        }
        self.cancel_visit(id, mailbox.scheduled_check());
        self.budget.adjust(counted.bytes, 0);
        self.queued_messages.fetch_sub(counted.messages, Ordering::Relaxed);
        self.ring(&waiting);
        // All at once: nobody opens or closes a channel of a client that is unregistered.
        self.channels.fetch_sub(mailbox.channels().len(), Ordering::Relaxed);
        let removed = RemovedClient { was_connected, undelivered: contents.messages };
        Removal { client: id, removed, peers: mailbox.senders() }
    }

    /// Removes what some peers keep of a removed client. Returns whether there are more peers. Its id can be named again when
    /// there are none.
    pub fn remove_from_peers(&self, removal: &mut Removal) -> bool {
        let Removal { client, peers, .. } = removal;
        let now = peers.take(PEERS);
        let queued: Vec<_> = now.into_iter().filter(|peer| self.remove_from(*peer, *client)).collect();
        self.queue_presence(queued);
        let has_more = !peers.is_empty();
        if !has_more {
            self.store.release(*client);
        }
        has_more
    }

    /// Removes what a peer keeps of a removed client. Returns whether the peer has to be queued to be told that it left.
    fn remove_from(&self, peer: ClientId, client: ClientId) -> bool {
        let Some(other) = self.client(peer) else { return false };
        let mut state = other.lock();
        let was_authorized = state.mailbox.is_authorized(client);
        let freed = state.mailbox.forget(client);
        if let Some(reliable) = state.reliable.as_deref_mut() {
            reliable.notices.forget(client);
            if let Some(accepted) = &mut reliable.accepted {
                accepted.remove(&client);
            }
        }
        // A peer that is not connected is told of all clients when it comes back.
        let is_queued = was_authorized && state.presence_changed(client);
        let bell = state.bell_after(&freed);
        drop(state);
        ring(bell);
        self.release_freed(peer, freed);
        is_queued
    }

    /// Returns the ids of the registered clients in ascending order.
    pub fn ids(&self) -> Vec<ClientId> {
        self.store.ids()
    }

    /// Returns what is known of a client; `None` when it is not registered.
    pub fn status(&self, id: ClientId) -> Option<ClientStatus> {
        let client = self.client(id)?;
        let state = client.lock();
        Some(ClientStatus { is_connected: state.connection.is_some(), waiting: state.mailbox.size() })
    }

    /// Returns the server-wide totals.
    pub fn totals(&self) -> Totals {
        let queued = self.queued_messages.load(Ordering::Relaxed);
        Totals {
            registered: self.store.registered(),
            channels: self.channels.load(Ordering::Relaxed),
            // A message may be read a moment before the batch that appended it counts it.
            queued_messages: isize::try_from(queued).map_or(0, isize::unsigned_abs),
            queued_bytes: self.budget.used(),
            relayed_messages: self.relayed_messages.load(Ordering::Relaxed),
            relayed_bytes: self.relayed_bytes.load(Ordering::Relaxed),
        }
    }
}
