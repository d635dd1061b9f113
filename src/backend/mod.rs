//! The seam behind which clients, channels and messages are kept. Every verb is one atomic step.

mod bell;
mod memory;

pub use bell::Bell;
pub use memory::{Claim, Memory};

use std::sync::Arc;

use crate::error::Error;
use crate::ids::{ClientId, Epoch, Offset, Seq, SessionId, Token};
use crate::limits::Limits;
use crate::model::Forged;

/// What became of a message that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It waits for its recipient.
    New,
    /// It had been taken before, as had everything up to this number.
    Duplicate(Seq),
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No channel to the target is registered, or there is no such target.
    ChannelNotRegistered,
    /// There is no room for a plain sender's message. The recipient is reading, so there will be: the sender's bell
    /// rings then.
    Held,
    /// There is no room.
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

/// What a connection that wants reliable delivery says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Resume {
    /// Its session.
    pub session: SessionId,
    /// Which of the session's connections it is.
    pub connection: u64,
    /// Whether it knows this store's epoch.
    pub knows_epoch: bool,
    /// Whether it wants to hear what was delivered.
    pub receipts: bool,
    /// Whether it wants to hear who comes and goes.
    pub presence: bool,
}

/// A connection that now holds its client's mailbox.
#[derive(Debug)]
pub struct Claimed {
    /// The hold.
    pub claim: Claim,
    /// The bell of the connection that held it until now.
    pub replaced: Option<Arc<Bell>>,
    /// Whether the same session goes on where it was.
    pub resumed: bool,
}

/// What comes of claiming a mailbox.
#[derive(Debug)]
pub enum Claiming {
    /// The connection has it.
    Claimed(Claimed),
    /// The connection is older than the one that has it, though it came later: its authentication was long on its way.
    Outdated,
    /// There is no such client.
    Unknown,
}

/// Something for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail<'a> {
    /// A message.
    Message {
        /// From whom.
        sender: ClientId,
        /// Its place in the mailbox.
        offset: Offset,
        /// Its JSON string.
        json: &'a str,
    },
    /// The target has this client's messages, all up to `seq`.
    Delivered {
        /// The recipient.
        target: ClientId,
        /// The last one.
        seq: Seq,
    },
    /// A client that shares a channel came or left.
    Presence {
        /// Who.
        client: ClientId,
        /// Whether it is there now.
        online: bool,
    },
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

    /// The life of this store.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Memory(memory) => memory.epoch(),
        }
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
    /// had it: from now on that one can neither append, nor read, nor acknowledge. A connection without `resume` is
    /// a plain one.
    pub fn claim(&self, client: ClientId, bell: Arc<Bell>, resume: Option<Resume>) -> Claiming {
        match self {
            Self::Memory(memory) => memory.claim(client, bell, resume),
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
    /// With a number it is added once, however often it is sent.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn append(
        &self,
        sender: &Claim,
        target: ClientId,
        seq: Option<Seq>,
        message: &str,
    ) -> Result<Taken, Refusal> {
        match self {
            Self::Memory(memory) => memory.append(sender, target, seq, message),
        }
    }

    /// Hands what waits for the client to `take`, until it returns false; of each lane no more than its window. True
    /// when something can still be read; false for a claim that was taken over.
    pub fn read(&self, claim: &Claim, take: impl FnMut(Mail<'_>) -> bool) -> bool {
        match self {
            Self::Memory(memory) => memory.read(claim, take),
        }
    }

    /// Forgets all messages that were read.
    pub fn received_read(&self, claim: &Claim) {
        match self {
            Self::Memory(memory) => memory.received_read(claim),
        }
    }

    /// Forgets the messages of `sender` up to `upto`.
    ///
    /// # Errors
    /// [`Forged`], and nothing has changed, when they were not read, or later ones were forgotten before.
    pub fn received(&self, claim: &Claim, sender: ClientId, upto: Offset) -> Result<(), Forged> {
        match self {
            Self::Memory(memory) => memory.received(claim, sender, upto),
        }
    }
}
