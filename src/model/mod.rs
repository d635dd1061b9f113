//! Clients, channels and messages as pure state: no locks, clocks or sockets. Time is an argument.

pub mod ages;
pub mod client_set;
pub mod lane;
pub mod mailbox;
pub mod notices;
pub mod progress;
pub mod queue;
pub mod registry;

pub use client_set::ClientSet;
pub use lane::Window;
pub use mailbox::{
    AppendResult, ExpiredMessages, Freed, InvalidAck, Mailbox, MailboxSize, Receipts, SeqRange,
};
pub use notices::{ExpiredRange, Notices};
pub use progress::{Progress, StoreChange, StoredRange};
pub use queue::{ChunkPosition, LONG_MESSAGE_BYTES, Message};
pub use registry::{Identity, Lifetime, Registry, Shard};
