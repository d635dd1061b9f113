//! The seam behind which clients, channels and messages are kept. Every verb is one atomic step.

mod bell;
mod memory;

pub use bell::Bell;
pub use memory::{Claim, Memory};

use std::sync::Arc;

use crate::error::Error;
use crate::ids::{ClientId, Token};
use crate::limits::Limits;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No channel to the target is registered, or there is no such target.
    ChannelNotRegistered,
    /// There is no room. The recipient is reading, so there will be: the sender's bell rings then.
    Held,
    /// There is no room, and the recipient is away.
    Full,
    /// A newer connection of the sender has taken over.
    Replaced,
}

/// A new client.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Its id.
    pub id: ClientId,
    /// Its secret.
    pub token: Token,
}

/// A connection that now holds its client's mailbox.
#[derive(Debug)]
pub struct Claimed {
    /// The hold.
    pub claim: Claim,
    /// The bell of the connection that held it until now.
    pub replaced: Option<Arc<Bell>>,
}

/// Where everything is kept. An enum and not a trait: the set is closed, and nothing is boxed on a message's way.
#[derive(Debug)]
pub enum Backend {
    /// In this process.
    Memory(Memory),
}

impl Backend {
    /// A backend in this process's memory.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn memory(limits: Limits, authorize_all_channels: bool) -> Result<Self, Error> {
        Memory::new(limits, authorize_all_channels).map(Self::Memory)
    }

    /// Registers a client.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn register(&self) -> Result<Registration, Error> {
        match self {
            Self::Memory(memory) => memory.register(),
        }
    }

    /// Lets two clients, or one client and itself, talk.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelExists`].
    pub fn authorize_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => memory.authorize_pair(first, second),
        }
    }

    /// Whether `token` is the client's token. An unknown client and a wrong token take equally long.
    pub fn authenticate(&self, client: ClientId, token: &str) -> bool {
        match self {
            Self::Memory(memory) => memory.authenticate(client, token),
        }
    }

    /// Gives the client's mailbox to a connection, which hears of mail by `bell`, and takes it from the one that
    /// had it: from now on that one can neither append, nor read, nor acknowledge. `None` when there is no such
    /// client.
    pub fn claim(&self, client: ClientId, bell: Arc<Bell>) -> Option<Claimed> {
        match self {
            Self::Memory(memory) => memory.claim(client, bell),
        }
    }

    /// Gives the mailbox back; what was read and not received waits for the next connection. False when a newer
    /// connection has it.
    pub fn release(&self, claim: &Claim) -> bool {
        match self {
            Self::Memory(memory) => memory.release(claim),
        }
    }

    /// Adds a message, a JSON string, to the sender's lane in the target's mailbox, and rings the target's bell.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn append(&self, sender: &Claim, target: ClientId, message: &str) -> Result<(), Refusal> {
        match self {
            Self::Memory(memory) => memory.append(sender, target, message),
        }
    }

    /// Hands unread messages to `take`, until it returns false. True when something is still unread; false for
    /// a claim that was taken over.
    pub fn read(&self, claim: &Claim, take: impl FnMut(ClientId, &str) -> bool) -> bool {
        match self {
            Self::Memory(memory) => memory.read(claim, take),
        }
    }

    /// Forgets all that was read.
    pub fn received(&self, claim: &Claim) {
        match self {
            Self::Memory(memory) => memory.received(claim),
        }
    }
}
