//! How a store on disk is configured, and what it reports.

use std::path::PathBuf;

use crate::ids::Epoch;

/// Where and how durably clients, channels and messages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// The path of the file. It is created if it does not exist; its directory has to exist.
    pub path: PathBuf,
    /// What a message that was accepted survives.
    pub durability: Durability,
}

/// What a message that was accepted survives, until it is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process. After a loss of power the last commits may be missing; clients are told then.
    #[default]
    Written,
    /// A loss of power, too: each commit waits for the disk.
    Synced,
}

/// Statistics of a store on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Messages that were committed since the start.
    pub committed: u64,
    /// Messages that were received before they were committed, and never written.
    pub skipped: u64,
    /// Bytes of messages, overhead included, that wait to be committed or received.
    pub pending_bytes: usize,
    /// How long the last commit took, in microseconds.
    pub last_commit_micros: u64,
}

/// What a store knows of its life so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Changes when accepted messages may have been lost.
    pub epoch: Epoch,
    /// How often it was opened, this time included.
    pub starts: u64,
    /// The number above the highest id that was used.
    pub next_id: u64,
    /// How often a client was unregistered.
    pub unregistered: usize,
}
