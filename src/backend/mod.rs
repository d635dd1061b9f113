//! The seam behind which clients, channels and messages are kept. Every verb is one atomic step.

mod accepted;
mod bell;
mod memory;
mod outbox;

pub use accepted::Accepted;
pub use bell::{Bell, Ending};
pub use memory::{Claim, Memory};
pub use outbox::Outbox;

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::error::{CloseReason, Error};
use crate::hand::Hand;
use crate::ids::{ClientId, Epoch, Offset, Seq, SessionId, Token};
use crate::limits::Limits;
pub use crate::model::Identity;
use crate::model::{ClientSet, InvalidAck, MailboxSize};

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

/// A client that was registered and is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parted {
    /// Whether it was connected.
    pub was_connected: bool,
    /// Messages for it that it had not received.
    pub undelivered: usize,
}

/// A client that is unregistered, and with whom it had to do.
#[derive(Debug)]
pub struct Departure {
    /// Which client.
    pub client: ClientId,
    /// What it leaves.
    pub parted: Parted,
    /// Those who have yet to forget it.
    peers: ClientSet,
    /// Whether most clients that there were are gone.
    is_sparse: bool,
}

/// What is left to be told of who came and left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether something is.
    pub is_left: bool,
    /// Whether connections were woken to write what they were told: each of them has to have its turn.
    pub has_rung: bool,
}

/// Messages that were not received in time and are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// Who sent them.
    pub sender: ClientId,
    /// For whom they were.
    pub recipient: ClientId,
    /// How many.
    pub messages: u64,
}

/// What there is to know of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether a connection has its mailbox.
    pub is_connected: bool,
    /// What waits for it.
    pub waiting: MailboxSize,
}

/// What there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Clients.
    pub registered: usize,
    /// Channels.
    pub channels: usize,
    /// Messages that wait.
    pub queued_messages: usize,
    /// Their bytes, overhead included, and those written ahead that a socket did not take.
    pub queued_bytes: usize,
    /// Messages that were ever taken.
    pub relayed_messages: u64,
    /// Their bytes.
    pub relayed_bytes: u64,
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

/// What there is to know when a connection gets its client's mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Greeting {
    /// Whether the same session goes on where it was.
    pub resumed: bool,
    /// Whether another connection held it until now.
    pub has_replaced: bool,
}

/// What comes of claiming a mailbox.
#[derive(Debug)]
pub enum Claiming {
    /// The connection has it: its hold.
    Claimed(Claim),
    /// The connection is older than the one that has it, though it came later: its authentication was long on its way.
    Outdated,
    /// There is no such client.
    Unknown,
}

/// How a connection comes to hold a mailbox.
#[derive(Debug)]
pub struct Claimant<'a> {
    /// Rung when there is something in the connection's outbox.
    pub bell: &'a Arc<Bell>,
    /// What the connection has not written yet. Taken when it gets the mailbox; from then on the outbox is kept with
    /// the mailbox, for whoever sends to the client writes into it.
    pub outbox: &'a mut Outbox,
    /// For those who send to the client, to write to its socket at once.
    pub socket: &'a mut Option<Hand>,
    /// What a connection says that wants reliable delivery.
    pub resume: Option<Resume>,
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

    /// Registers a client, for so long or for ever.
    ///
    /// # Errors
    /// [`Error::System`] when the system has no randomness to give.
    pub fn register(&self, life: Option<Duration>) -> Result<Registration, Error> {
        match self {
            Self::Memory(memory) => memory.register(life),
        }
    }

    /// Gives a client another token, and its registration its whole life anew: so long, or as long as before.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::System`].
    pub fn refresh(&self, client: ClientId, life: Option<Duration>) -> Result<Token, Error> {
        match self {
            Self::Memory(memory) => memory.refresh(client, life),
        }
    }

    /// Forgets a client, its mailbox, its channels and what it has waiting for others, and ends its connection with
    /// `reason`.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn unregister(&self, client: ClientId, reason: CloseReason) -> Result<Parted, Error> {
        match self {
            Self::Memory(memory) => memory.unregister(client, reason),
        }
    }

    /// Unregisters a client whose registration has ended by `now`, if there is one. [`Backend::part`] does the rest.
    pub fn expire(&self, now: Instant) -> Option<Departure> {
        match self {
            Self::Memory(memory) => memory.expire(now),
        }
    }

    /// Has some of those that shared a channel with a client forget it; false when all have.
    pub fn part(&self, departure: &mut Departure) -> bool {
        match self {
            Self::Memory(memory) => memory.part(departure),
        }
    }

    /// Waits until somebody is to hear that a client came or left.
    pub async fn presence_due(&self) {
        match self {
            Self::Memory(memory) => memory.presence_due().await,
        }
    }

    /// Tells some of those that share a channel with a client that came or left. To be called by one task.
    pub fn tell_presence(&self) -> Told {
        match self {
            Self::Memory(memory) => memory.tell_presence(),
        }
    }

    /// Drops messages that have waited for too long by `now`, and returns those that were dropped since it was asked last.
    pub fn expire_messages(&self, now: Instant) -> Vec<Undelivered> {
        match self {
            Self::Memory(memory) => memory.expire_messages(now),
        }
    }

    /// Drops all messages, when no connection will come for them any more. Clients and channels stay.
    pub fn drop_messages(&self) {
        match self {
            Self::Memory(memory) => memory.drop_messages(),
        }
    }

    /// Waits until a registration ends, or messages expire.
    pub async fn deadline(&self) {
        match self {
            Self::Memory(memory) => memory.deadline().await,
        }
    }

    /// Ends a client's connection; false when it has none. What it does not have waits for its next connection. `tell` is
    /// called, if it has one, before anything is told of the next; it must not come back to the backend.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`].
    pub fn disconnect(
        &self,
        client: ClientId,
        reason: CloseReason,
        tell: impl FnOnce(),
    ) -> Result<bool, Error> {
        match self {
            Self::Memory(memory) => memory.disconnect(client, reason, tell),
        }
    }

    /// The registered clients, by id.
    pub fn ids(&self) -> Vec<ClientId> {
        match self {
            Self::Memory(memory) => memory.ids(),
        }
    }

    /// What there is to know of a client; `None` when it is not registered.
    pub fn status(&self, client: ClientId) -> Option<Status> {
        match self {
            Self::Memory(memory) => memory.status(client),
        }
    }

    /// What there is of everything.
    pub fn totals(&self) -> Totals {
        match self {
            Self::Memory(memory) => memory.totals(),
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

    /// Lets all of these clients talk to each other; returns how many channels that made.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], and nothing has changed.
    pub fn authorize_all(&self, clients: &[ClientId]) -> Result<usize, Error> {
        match self {
            Self::Memory(memory) => memory.authorize_all(clients),
        }
    }

    /// Lets a client talk to each of the others, to itself not; returns how many channels that made.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], and nothing has changed.
    pub fn authorize_with(&self, client: ClientId, others: &[ClientId]) -> Result<usize, Error> {
        match self {
            Self::Memory(memory) => memory.authorize_with(client, others),
        }
    }

    /// Takes the channel of two clients from them and drops what waits in it.
    ///
    /// # Errors
    /// [`Error::ClientNotFound`], [`Error::ChannelNotFound`].
    pub fn revoke_pair(&self, first: ClientId, second: ClientId) -> Result<(), Error> {
        match self {
            Self::Memory(memory) => memory.revoke_pair(first, second),
        }
    }

    /// Whether `token` is the client's token. An unknown client and a wrong token take equally long.
    pub fn authenticate(&self, client: ClientId, token: &str) -> Identity {
        match self {
            Self::Memory(memory) => memory.authenticate(client, token),
        }
    }

    /// How many channels were taken from the client so far. Each may have been in use: whoever sent before it could know is
    /// refused, and has done nothing wrong.
    pub fn channels_lost(&self, claim: &Claim) -> usize {
        match self {
            Self::Memory(memory) => memory.channels_lost(claim),
        }
    }

    /// Gives the client's mailbox to a connection and takes it from the one that had it: from now on that one can
    /// neither append, nor write, nor acknowledge. `greet` writes what comes before everything else. What it tells is told
    /// before whatever is told of a later connection; it must not come back to the backend.
    pub fn claim(
        &self,
        client: ClientId,
        claimant: Claimant<'_>,
        greet: impl FnOnce(&mut Outbox, Greeting),
    ) -> Claiming {
        match self {
            Self::Memory(memory) => memory.claim(client, claimant, greet),
        }
    }

    /// Gives the mailbox back; what the recipient does not have waits for the next connection, but not what stays in
    /// the outbox, which comes back: with `everything` all that was to be written, else the rest of the frame that the
    /// socket has taken a part of. `None` when a newer connection has the mailbox, else `tell` is called, before anything
    /// is told of a newer connection; it must not come back to the backend.
    pub fn release(&self, claim: &Claim, everything: bool, tell: impl FnOnce()) -> Option<Outbox> {
        match self {
            Self::Memory(memory) => memory.release(claim, everything, tell),
        }
    }

    /// The last number that was accepted of this session for `target`, if `seq` is not above it.
    pub fn duplicate(&self, claim: &mut Claim, target: ClientId, seq: Seq) -> Option<Seq> {
        match self {
            Self::Memory(memory) => memory.duplicate(claim, target, seq),
        }
    }

    /// Adds a message, a JSON string, to the sender's lane in the target's mailbox and, when nothing waits before it and
    /// there is room, to its outbox, which [`Backend::flush`] writes. With a number it is added once, however often it is
    /// sent.
    ///
    /// # Errors
    /// [`Refusal`]; nothing has changed then.
    pub fn append(
        &self,
        sender: &mut Claim,
        target: ClientId,
        seq: Option<Seq>,
        message: &str,
    ) -> Result<Taken, Refusal> {
        match self {
            Self::Memory(memory) => memory.append(sender, target, seq, message),
        }
    }

    /// Writes what was appended on this thread, or rings the bells of those whose sockets cannot take it. To be called
    /// soon after [`Backend::append`], and once for many.
    pub fn flush(&self) {
        match self {
            Self::Memory(memory) => memory.flush(),
        }
    }

    /// Moves what waits for the client to its outbox, of each lane no more than its window, and hands that to `write`;
    /// again and again, until nothing waits or `write` is not ready. `write` is called at least once, also with an empty
    /// outbox, and must not come back to the backend.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn deliver(
        &self,
        claim: &Claim,
        write: impl FnMut(&mut Outbox) -> Poll<Result<(), CloseReason>>,
    ) -> Poll<Result<(), CloseReason>> {
        match self {
            Self::Memory(memory) => memory.deliver(claim, write),
        }
    }

    /// Counts bytes that a connection without a mailbox has left to write against the total bound, as long as the answer
    /// lives; `None` when there is no room for them.
    pub fn linger(&self, bytes: usize) -> Option<impl Sized> {
        match self {
            Self::Memory(memory) => memory.linger(bytes),
        }
    }

    /// Whether something waits that was not yet moved to the outbox, or the outbox was not yet written.
    pub fn has_waiting(&self, claim: &Claim) -> bool {
        match self {
            Self::Memory(memory) => memory.has_waiting(claim),
        }
    }

    /// Lets `write` have the outbox; `None` for a claim that was taken over.
    pub fn with_outbox<T>(&self, claim: &Claim, write: impl FnOnce(&mut Outbox) -> T) -> Option<T> {
        match self {
            Self::Memory(memory) => memory.with_outbox(claim, write),
        }
    }

    /// The client is about to be asked for an answer: when that comes it has heard all that was moved to its outbox before.
    pub fn ask(&self, claim: &Claim) {
        match self {
            Self::Memory(memory) => memory.ask(claim),
        }
    }

    /// The client has answered.
    pub fn answered(&self, claim: &Claim) {
        match self {
            Self::Memory(memory) => memory.answered(claim),
        }
    }

    /// Forgets the messages of `sender` up to `upto`.
    ///
    /// # Errors
    /// [`InvalidAck`], and nothing has changed, when they were not read, or later ones were forgotten before.
    pub fn received(&self, claim: &Claim, sender: ClientId, upto: Offset) -> Result<(), InvalidAck> {
        match self {
            Self::Memory(memory) => memory.received(claim, sender, upto),
        }
    }
}
