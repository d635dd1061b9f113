//! What wakes a connection: mail, room for a message that is held back, or its end.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// One connection's bell. A ring while nobody listens is heard by the next who does.
#[derive(Debug, Default)]
pub struct Bell {
    notify: Notify,
    replaced: AtomicBool,
}

impl Bell {
    /// Wakes the connection.
    pub fn ring(&self) {
        self.notify.notify_one();
    }

    /// Wakes the connection to tell it that a newer one has taken over.
    pub fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether a newer connection has taken over.
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Waits for the next ring. May be dropped and called again without losing one.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}
