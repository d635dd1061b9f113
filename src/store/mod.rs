//! What is kept: the registered clients, their tokens and their lifetimes. A store knows no frame, no socket and no bell.
//!
//! The [hub](crate::hub) works on the clients that are connected to this process; the store says which clients there are. It
//! keeps a value `T` beside each client, with which the hub finds the client's mailbox, and never looks into it.
//!
//! Messages and channels live in the hub's mailboxes. A **commit watermark** joins the two: the hub appends a message, writes
//! it to its recipient and goes on; its sender is told `accepted` when the store has committed it, or when the recipient has
//! received it, whichever comes first. [`Memory`] keeps nothing beyond the mailbox: what is appended is committed. [`Disk`] has a
//! thread that takes what is not committed from the mailboxes in its own time, through its [`Queue`].
//!
//! Every store passes the contract in `tests/store_contract.rs`. A new one is a variant of [`Store`], a module beside
//! `memory`, and a line in that test.

mod clock;
mod disk;
mod memory;
mod options;
mod queue;
mod record;
mod sqlite;

pub use clock::Clock;
pub use disk::Disk;
pub use memory::Memory;
pub use options::{Durability, Life, StoreOptions, StoreStats};
pub use queue::{Group, Queue, Ticket, Visit, Work};
pub use record::{ChannelRecord, ClientRecord, MessageRecord, Record, SessionRecord, UnixMillis};
pub use sqlite::{Database, Environment, PreviousEnd};

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, StoreError};
use crate::ids::{ClientId, Epoch, Offset, Token};
pub use crate::model::Identity;

/// What the store's thread writes to: the database, or a test's stand-in.
pub trait Commit {
    /// Commits all records together, in their order.
    ///
    /// # Errors
    /// [`StoreError::Full`]: nothing was changed, and it may be tried again. After any other it must not be used any more.
    fn write<'r>(&mut self, records: impl Iterator<Item = &'r Record> + Clone) -> Result<(), StoreError>;
}

/// A client to register. The default is one for good, with an id and a token of the server's.
#[derive(Clone, Debug, Default)]
pub struct NewClient {
    /// Its id, if the application names it. Otherwise it gets the one above the highest that was used.
    pub id: Option<ClientId>,
    /// Its token, if the application has one for it. Otherwise it gets a random one.
    pub token: Option<Token>,
    /// How long it is registered, if not for good.
    pub lifetime: Option<Duration>,
    /// The application's data about it, as JSON. Only a store on disk keeps it.
    pub data: Option<Box<str>>,
}

/// A new client.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its id.
    pub id: ClientId,
    /// Its secret.
    pub token: Token,
}

/// A client that was removed from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unregistered<T> {
    /// Its id.
    pub id: ClientId,
    /// The value that was kept beside it.
    pub value: T,
}

/// Where the clients are kept. An enum, not a trait object: the set is closed, and nothing is boxed on a message's way.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a relay has one")]
pub enum Store<T> {
    /// In this process, for as long as it lives.
    Memory(Memory<T>),
    /// In a file, too.
    Disk(Disk<T>),
}

impl<T: Clone> Store<T> {
    /// Creates an empty store in this process's memory.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn memory() -> Result<Self, Error> {
        Memory::new().map(Self::Memory)
    }

    /// Creates a store whose records and messages someone takes from its [queue](Store::queue) and commits.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn disk(path: &Path, epoch: Epoch, era: Offset) -> Result<Self, Error> {
        Disk::new(path, epoch, era).map(Self::Disk)
    }

    fn memory_part(&self) -> &Memory<T> {
        match self {
            Self::Memory(memory) => memory,
            Self::Disk(disk) => &disk.memory,
        }
    }

    /// Whether a message is committed as soon as it is appended.
    pub fn commits_at_once(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// Returns the way to the store's thread, if the store commits later.
    pub fn queue(&self) -> Option<&Queue> {
        match self {
            Self::Memory(_) => None,
            Self::Disk(disk) => Some(&disk.queue),
        }
    }

    /// Returns the offset above which the offsets of this life of the store begin.
    pub fn era(&self) -> Offset {
        match self {
            Self::Memory(_) => Offset::default(),
            Self::Disk(disk) => disk.era,
        }
    }

    /// Adds a client that was read from the file.
    pub fn restore(&self, client: ClientRecord, value: T) {
        if let Self::Disk(disk) = self {
            disk.restore(client, value);
        }
    }

    /// Goes on where an earlier life of the file has ended.
    pub fn begin_life(&mut self, epoch: Epoch, era: Offset, next_id: u64, unregistered: usize) {
        if let Self::Disk(disk) = self {
            (disk.epoch, disk.era) = (epoch, era);
            disk.memory.change(|registry| registry.restore_counters(next_id, unregistered));
        }
    }

    /// Checks that changes can be kept.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn check(&self) -> Result<(), Error> {
        self.queue().map_or(Ok(()), |queue| Ok(queue.check()?))
    }

    /// Waits until everything that was changed so far is committed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn flush(&self) -> Result<(), Error> {
        self.queue().map_or(Ok(()), |queue| Ok(queue.flush()?))
    }

    /// Returns the epoch: it names the life of what is kept, and changes when accepted messages may have been lost.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Memory(memory) => memory.epoch(),
            Self::Disk(disk) => disk.epoch,
        }
    }

    /// Registers a client, and keeps `value` beside it.
    ///
    /// # Errors
    /// [`Error::ClientExists`], [`Error::ClientIdsExhausted`], or [`Error::System`] when the system has no randomness to give.
    pub fn register(&self, value: T, new: NewClient) -> Result<Registration, Error> {
        match self {
            Self::Memory(memory) => memory.register(value, new),
            Self::Disk(disk) => disk.register(value, new),
        }
    }

    /// Registers a client for each of `values`, for `lifetime` or for good. Their ids ascend.
    ///
    /// # Errors
    /// [`Error::ClientIdsExhausted`], or [`Error::System`] when the system has no randomness to give. No client is registered
    /// then.
    pub fn register_many(
        &self,
        values: Vec<T>,
        lifetime: Option<Duration>,
    ) -> Result<Vec<Registration>, Error> {
        match self {
            Self::Memory(memory) => memory.register_many(values, lifetime),
            Self::Disk(disk) => disk.register_many(values, lifetime),
        }
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
        match self {
            Self::Memory(memory) => memory.refresh(id, token, lifetime),
            Self::Disk(disk) => disk.refresh(id, token, lifetime),
        }
    }

    /// Removes a client. Its id is not given again; it may be named again after [`Store::release`].
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister(&self, id: ClientId) -> Result<Unregistered<T>, Error> {
        match self {
            Self::Memory(memory) => memory.unregister(id),
            Self::Disk(disk) => disk.unregister(id),
        }
    }

    /// Notes that nothing is left of a client that was removed: another one may be registered with its id.
    pub fn release(&self, id: ClientId) {
        self.memory_part().release(id)
    }

    /// Takes the data of the clients that an earlier life of the store has kept, as JSON. Empty the second time.
    pub fn take_data(&self) -> Vec<(ClientId, Box<str>)> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Disk(disk) => disk.take_data(),
        }
    }

    /// Removes a client whose lifetime has ended by `now`, if there is one.
    pub fn take_expired(&self, now: Instant) -> Option<Unregistered<T>> {
        match self {
            Self::Memory(memory) => memory.take_expired(now),
            Self::Disk(disk) => disk.take_expired(now),
        }
    }

    /// Returns when the next lifetime ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.memory_part().next_deadline()
    }

    /// Waits until [`Store::next_deadline`] has changed.
    pub async fn deadline_changed(&self) {
        self.memory_part().deadline_changed().await
    }

    /// Checks a client's token. An unknown client and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        self.memory_part().authenticate(id, token)
    }

    /// Returns the value that is kept beside a client; `None` when it is not registered.
    pub fn get(&self, id: ClientId) -> Option<T> {
        self.memory_part().get(id)
    }

    /// Whether a client may have had this id and been removed.
    pub fn may_be_former(&self, id: ClientId) -> bool {
        self.memory_part().may_be_former(id)
    }
    /// Returns how many clients are registered.
    pub fn registered(&self) -> usize {
        self.memory_part().registered()
    }

    /// Returns how often a client was removed.
    pub fn unregistered(&self) -> usize {
        self.memory_part().unregistered()
    }

    /// Returns the ids of the registered clients in ascending order.
    pub fn ids(&self) -> Vec<ClientId> {
        self.memory_part().ids()
    }
}
