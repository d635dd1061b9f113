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

mod disk;
mod memory;
mod options;
mod queue;
mod record;

pub use disk::Disk;
pub use memory::Memory;
pub use options::{Durability, StoreOptions, StoreStats};
pub use queue::{Group, Queue, Ticket, Visit, Work};
pub use record::{ChannelRecord, ClientRecord, MessageRecord, Record, SessionRecord, UnixMillis};

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::ids::{ClientId, Epoch, Offset, Token};
pub use crate::model::Identity;

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
    pub fn disk(epoch: Epoch, era: Offset) -> Result<Self, Error> {
        Disk::new(epoch, era).map(Self::Disk)
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

    /// Returns the epoch: it names the life of what is kept, and changes when accepted messages may have been lost.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Memory(memory) => memory.epoch(),
            Self::Disk(disk) => disk.epoch,
        }
    }

    /// Registers a client for `lifetime`, or for good, and keeps `value` beside it.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn register(&self, value: T, lifetime: Option<Duration>) -> Result<Registration, Error> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.register(value, lifetime),
        }
    }

    /// Gives a client another token and begins its lifetime anew: `lifetime` if given, else as long as before.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::System`].
    pub fn refresh(&self, id: ClientId, lifetime: Option<Duration>) -> Result<Token, Error> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.refresh(id, lifetime),
        }
    }

    /// Removes a client. Its id is not given again.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister(&self, id: ClientId) -> Result<Unregistered<T>, Error> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.unregister(id),
        }
    }

    /// Removes a client whose lifetime has ended by `now`, if there is one.
    pub fn take_expired(&self, now: Instant) -> Option<Unregistered<T>> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.take_expired(now),
        }
    }

    /// Returns when the next lifetime ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.next_deadline(),
        }
    }

    /// Waits until [`Store::next_deadline`] has changed.
    pub async fn deadline_changed(&self) {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.deadline_changed().await,
        }
    }

    /// Checks a client's token. An unknown client and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Identity {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.authenticate(id, token),
        }
    }

    /// Returns the value that is kept beside a client; `None` when it is not registered.
    pub fn get(&self, id: ClientId) -> Option<T> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.get(id),
        }
    }

    /// Whether a client with this id was registered once and is no more.
    pub fn was_registered(&self, id: ClientId) -> bool {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.was_registered(id),
        }
    }

    /// Returns how many clients are registered.
    pub fn registered(&self) -> usize {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.registered(),
        }
    }

    /// Returns how many clients were registered once and are no more.
    pub fn unregistered(&self) -> usize {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.unregistered(),
        }
    }

    /// Returns the ids of the registered clients in ascending order.
    pub fn ids(&self) -> Vec<ClientId> {
        match self {
            Self::Memory(memory) | Self::Disk(Disk { memory, .. }) => memory.ids(),
        }
    }
}
