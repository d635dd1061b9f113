//! Who is connected, and what is on its way: mailboxes with their lanes, outboxes, bells and claims.
//!
//! Each client has one `ClientState` behind a lock. A lock is held within one method and never across
//! an `.await`. A thread locks one client at a time, except to open or close channels: both ends change under both locks, so
//! that they always agree, and the locks are taken in the order of the ids. Debug builds check this. Work that grows with the
//! number of clients is done in batches, and no lock is held from one batch to the next.
//!
//! - **Sending.** [`Hub::append`] adds a message to its lane under the recipient's lock, or writes it past the lane into the
//!   recipient's outbox. The [`Batch`] of the sender's turn remembers which outboxes it wrote to, and writes them to their
//!   sockets when it is dropped, while the bytes are still in the processor's cache and without waking another task.
//! - **Receiving.** Once a socket does not take everything, its outbox is left alone: the recipient's own session waits for
//!   the socket, and new messages wait in their lanes. A connection that only its session can write to (TLS, a bridge) is
//!   woken by its [`Bell`] instead.
//! - **Keeping a message.** For a recipient that acknowledges, the lane keeps a message until it is acknowledged. For a plain
//!   recipient the outbox holds the only copy; if the connection ends before the socket has taken the whole message, it goes
//!   back to its lane.
//! - **Accepting a message.** A sender is told `accepted` once the [store](crate::store) has committed its message or the
//!   recipient has received it. A store in memory commits at once. Any other takes messages in its own time
//!   ([`Hub::take_uncommitted`]); [`Hub::committed`] and [`Hub::received`] add acceptances to the sender's outbox.
//! - **Take-over.** A claim on a mailbox is a number. Every method compares it under the lock of what it changes, so a
//!   replaced connection can change nothing from the moment that the newer one has the claim.
//! - **Back-pressure.** When the lane of a plain sender is full and its recipient is connected, the sender's session holds
//!   that one message and stops reading. The recipient's progress rings the sender's bell.
//!
//! The leaves (`bell`, `outbox`, `budget`, `client`, `state`, …) know nothing of [`Hub`]; the other modules each add
//! some of its methods.

mod accepted;
mod append;
mod batch;
mod bell;
mod budget;
mod channels;
mod claim;
mod client;
mod commit;
mod connection;
mod delivery;
mod expiry;
mod lifecycle;
mod outbox;
mod pending;
mod persist;
mod presence;
mod restore;
mod state;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::error::{Error, StoreError};
use crate::ids::{ClientId, Epoch, Offset, SessionId};
use crate::limits::Limits;
#[cfg(feature = "faults")]
use crate::store::Queue;
use crate::store::{Life, Record, Store};
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};

use budget::Budget;
use client::Client;
use pending::{ExpirySchedule, PresencePass, PresenceQueue};
use restore::Restoring;

pub use accepted::Accepted;
pub use append::{AppendError, Appended};
pub use batch::Batch;
pub use bell::{Bell, Ending};
pub use claim::{Claim, ClaimOutcome, ClaimRequest, Greeting, PreparedClaim};
pub use expiry::ExpiredMessages;
pub use lifecycle::{ClientStatus, Removal, RemovedClient, Totals};
pub use outbox::Outbox;
pub use persist::Pending;
pub use presence::PresenceProgress;
pub use state::SessionInfo;

pub use crate::store::{Identity, NewClient, Registration};

/// The clients of one relay, their connections and their mailboxes.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    authorize_all_channels: bool,
    /// The session that messages of plain senders are numbered in.
    session: SessionId,
    /// The registered clients, each with what this process knows of it.
    store: Store<Arc<Client>>,
    /// How many channels are registered. Changed under the locks of both ends, or of a client that is gone.
    channels: AtomicUsize,
    /// Clients whose presence changed, and clients that are to be told of others. See `presence.rs`.
    presence: Mutex<PresenceQueue>,
    presence_pass: Mutex<PresencePass>,
    presence_pending: Notify,
    /// When messages expire.
    expiry: Mutex<ExpirySchedule>,
    /// Notified when the next message to expire is another one than before.
    deadline: Notify,
    /// Messages that were received before a store that commits later was given them.
    skipped: AtomicU64,
    /// Messages that were committed by such a store.
    committed: AtomicU64,
    last_commit_micros: AtomicU64,
    /// Whether the store's disk is full: messages for clients that are away are held.
    is_store_full: AtomicBool,
    budget: Budget,
    /// Messages in all mailboxes. May be below 0 for a moment: a batch counts what it appended when it ends.
    queued_messages: AtomicUsize,
    relayed_messages: AtomicU64,
    relayed_bytes: AtomicU64,
}

impl Hub {
    /// Creates a hub whose clients are kept in this process's memory.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn new(limits: Limits, authorize_all_channels: bool) -> Result<Self, Error> {
        Self::with_store(limits, authorize_all_channels, Store::memory()?)
    }

    /// Creates a hub that goes on where an earlier life of a store has ended. `open` opens the store, passes what it has kept to
    /// the function that it is given, and returns the store and what it knows of its life.
    ///
    /// # Errors
    /// Those of `open`, [`StoreError::Damaged`] and [`StoreError::TooLarge`] of what was kept, [`Error::System`].
    pub fn restored<D>(
        limits: Limits,
        authorize_all_channels: bool,
        path: &Path,
        open: impl FnOnce(&mut dyn FnMut(Record) -> Result<(), StoreError>) -> Result<(D, Life), StoreError>,
    ) -> Result<(Self, D), Error> {
        let store = Store::disk(path, Epoch::from_u32(0), Offset::default())?;
        let mut hub = Self::with_store(limits, authorize_all_channels, store)?;
        let mut restoring = Restoring::new(&hub, path);
        let (opened, life) = open(&mut |record| restoring.add(record))?;
        let ends = restoring.into_ends();
        hub.begin_life(&life, ends);
        Ok((hub, opened))
    }

    /// Creates a hub whose messages someone takes ([`Hub::take_uncommitted`]) and commits ([`Hub::committed`]).
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    #[cfg(feature = "faults")]
    pub fn late(limits: Limits, authorize_all_channels: bool) -> Result<Self, Error> {
        let epoch = Epoch::random().map_err(|error| Error::System(io::Error::other(error)))?;
        let hub = Self::with_store(
            limits,
            authorize_all_channels,
            Store::disk(Path::new("late"), epoch, Offset(1 << 32))?,
        )?;
        hub.store.queue().into_iter().for_each(Queue::leave_unattended);
        Ok(hub)
    }

    fn with_store(
        limits: Limits,
        authorize_all_channels: bool,
        store: Store<Arc<Client>>,
    ) -> Result<Self, Error> {
        let budget = Budget::new(limits.max_total_bytes);
        let session = SessionId::random().map_err(|error| Error::System(io::Error::other(error)))?;
        Ok(Self {
            limits,
            authorize_all_channels,
            session,
            store,
            channels: AtomicUsize::new(0),
            presence: Mutex::default(),
            presence_pass: Mutex::default(),
            presence_pending: Notify::new(),
            expiry: Mutex::default(),
            deadline: Notify::new(),
            skipped: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            last_commit_micros: AtomicU64::new(0),
            is_store_full: AtomicBool::new(false),
            budget,
            queued_messages: AtomicUsize::new(0),
            relayed_messages: AtomicU64::new(0),
            relayed_bytes: AtomicU64::new(0),
        })
    }

    fn life(&self) -> state::Life {
        state::Life { session: self.session, era: self.store.era() }
    }

    /// Returns the epoch of the store.
    pub fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    /// Returns a client that nothing was sent to.
    fn new_client(&self) -> Arc<Client> {
        let is_stored = !self.store.commits_at_once();
        Arc::new(if is_stored { Client::for_store(self.store.era()) } else { Client::default() })
    }

    fn client(&self, id: ClientId) -> Option<Arc<Client>> {
        self.store.get(id)
    }

    /// Checks a client's token. An unknown client and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        self.store.authenticate(id, token)
    }

    /// Counts messages that were added to a mailbox.
    fn add_queued(&self, messages: usize) {
        if messages > 0 {
            self.queued_messages.fetch_add(messages, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
