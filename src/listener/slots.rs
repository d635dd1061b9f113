//! The number of connections that may be open.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Limits;

/// The slots of all connections: `maxConnections`, and some above it for connections that are told so.
#[derive(Debug)]
pub struct ConnectionSlots {
    open: Arc<Semaphore>,
    excess: Arc<Semaphore>,
}

/// A connection's slot, released when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    is_within_limit: bool,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlots {
    /// All slots free.
    pub fn new(limits: &Limits) -> Self {
        let [open, excess] = [limits.max_connections, Limits::MAX_REJECTED_CONNECTIONS]
            .map(|count| Arc::new(Semaphore::new(count)));
        Self { open, excess }
    }

    /// Acquires a slot. `None` if there are so many connections that one more is dropped without a response.
    pub fn acquire(&self) -> Option<ConnectionSlot> {
        let open = Arc::clone(&self.open).try_acquire_owned().ok();
        open.map(|_permit| ConnectionSlot { is_within_limit: true, _permit })
            .or_else(|| self.acquire_excess())
    }

    /// Acquires a slot for a connection that is only told why it is rejected.
    pub fn acquire_excess(&self) -> Option<ConnectionSlot> {
        let excess = Arc::clone(&self.excess).try_acquire_owned().ok();
        excess.map(|_permit| ConnectionSlot { is_within_limit: false, _permit })
    }
}

impl ConnectionSlot {
    /// Returns whether the connection is within `maxConnections`. If not, it is only told so.
    pub fn is_within_limit(&self) -> bool {
        self.is_within_limit
    }
}
